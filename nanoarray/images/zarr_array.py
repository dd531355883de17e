"""One array of a Zarr folder from a stranger, its metadata read with bounds.

Metadata may declare any size, name codecs that run what they unpack, and consolidated ones may
contradict those of the array. The zarr library bounds none of that, so what an image needs of the
formats 2 and 3 is read here: regular chunks of numbers, at most one compressor, shards.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import ImageError
from nanoarray.images.formats import MAX_PIXEL_BYTES
from nanoarray.images.zarr_chunks import COMPRESSORS, MAX_CHUNKS, Codecs, unpacked

#: Files that say that a folder is a group of Zarr, of versions 2 and 3.
GROUP_FILES = (".zattrs", "zarr.json")
#: The document of a group or array: attributes of whole collections stay far below.
MAX_METADATA_BYTES = 2**22
MAX_CHUNK_BYTES = MAX_PIXEL_BYTES // 8
#: Of all chunks that an image needs; those of stacks hold other images too.
MAX_UNPACKED_BYTES = 4 * MAX_PIXEL_BYTES
MAX_DIMS = 6
_TYPES_V3 = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_TYPES_V2 = re.compile(r"[<>|][biuf][1248]")


@dataclass(frozen=True)
class ZarrArray:
    """An array of which nothing but the metadata has been read.

    Attributes
    ----------
    folder
        Where it is.
    shape, chunks
        Of the array and of one of its chunks.
    dtype
        Of its values as they are stored.
    fill
        What stands where a chunk is missing.
    codecs
        How a chunk is packed.
    prefix, separator
        Of the names of chunk files, as "c/" and "/".
    """

    folder: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    codecs: Codecs
    prefix: str
    separator: str

    def plane(self, index: tuple[int, ...]) -> npt.NDArray[Any]:
        """The last two dimensions at a position of the others.

        Raises
        ------
        ImageError
            A chunk is not what the metadata say.
        """
        height, width = self.shape[-2:]
        plane = np.full((height, width), self.fill, self.dtype.newbyteorder("="))
        lead = tuple(i // c for i, c in zip(index, self.chunks, strict=False))
        within = tuple(i % c for i, c in zip(index, self.chunks, strict=False))
        rows, columns = self.chunks[-2:]
        for y, x in itertools.product(range(-(-height // rows)), range(-(-width // columns))):
            name = self.separator.join(map(str, (*lead, y, x)))
            packed = self._stored(os.path.join(self.folder, f"{self.prefix}{name}"))
            if packed is None:
                continue
            chunk = unpacked(packed, self.codecs, self.chunks, self.dtype, self.fill)[within]
            part = plane[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
            part[...] = chunk[: part.shape[0], : part.shape[1]]
        return plane

    def _stored(self, path: str) -> bytes | None:
        """Content of a chunk's file; None where there is none."""
        plain = math.prod(self.chunks) * self.dtype.itemsize
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                # Packing makes nothing much longer; a file that is, is not a chunk.
                if size > plain + plain // 8 + 2**20:
                    name = os.path.relpath(path, self.folder)
                    raise ImageError(f"its chunk {name} has {size} bytes, expected {plain}")
                return file.read()
        except FileNotFoundError:
            return None

    def check_credible(self, *, harmless_bytes: int, most_ratio: int) -> None:
        """Refuse an array that declares far more than its files can hold.

        Raises
        ------
        ImageError
            Naming what is declared and what is there.
        """
        declared = math.prod(self.shape) * self.dtype.itemsize
        if declared <= harmless_bytes:
            return
        stored = sum(size for _, size in files_below(self.folder))
        if declared > most_ratio * stored:
            raise ImageError(
                f"declares {' x '.join(map(str, self.shape))} values ({declared} bytes), not "
                f"credible for {stored} bytes of chunks"
            )


def files_below(folder: str) -> list[tuple[str, int]]:
    """Path and size of every file of a folder.

    Raises
    ------
    ImageError
        It holds something that is neither file nor folder (opening a pipe would wait forever), or
        a link that leads out of it.
    """
    inside = os.path.realpath(folder) + os.sep
    found, todo = [], [folder]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_symlink() and not os.path.realpath(entry.path).startswith(inside):
                    raise ImageError("holds links that lead out of its folder, not followed")
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    continue
                state = os.stat(entry.path)
                if stat.S_ISREG(state.st_mode):
                    found.append((entry.path, state.st_size))
                elif not (entry.is_symlink() and stat.S_ISDIR(state.st_mode)):
                    raise ImageError(f"holds {entry.name!r}, which is neither file nor folder")
    return found


def group_mentions(folder: str, *words: bytes) -> bool:
    """Whether the attributes of a group of Zarr have one of some words; of no group, False."""
    for name in GROUP_FILES:
        file = os.path.join(folder, name)
        try:
            if not os.path.isfile(file):  # opening a pipe would wait forever
                continue
            with open(file, "rb") as content:
                start = content.read(MAX_METADATA_BYTES)
        except OSError:
            continue
        if any(word in start for word in words):
            return True
    return False


def read_document(path: str) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file.

    Raises
    ------
    ImageError
        It is too large, or no JSON object.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_METADATA_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(content) > MAX_METADATA_BYTES:
        raise ImageError(f"its {name} has more than {MAX_METADATA_BYTES >> 20} MiB")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"its {name} is not JSON ({str(error)[:100]})") from None
    if not isinstance(document, dict):
        raise ImageError(f"its {name} is no JSON object")
    return document


def open_array(folder: str) -> ZarrArray:
    """The array in a folder, of format 2 or 3.

    Raises
    ------
    ImageError
        There is none, or it is not one that a micrograph needs, with what was found.
    """
    old = read_document(os.path.join(folder, ".zarray"))
    new = read_document(os.path.join(folder, "zarr.json"))
    if old is not None and new is not None:
        raise ImageError("its array has metadata of Zarr 2 and of Zarr 3: which holds is unknown")
    if old is not None:
        array = _of_format_2(folder, old)
    elif new is not None:
        array = _of_format_3(folder, new)
    else:
        raise ImageError(f"its level {os.path.basename(folder)!r} is not there")
    size = math.prod(array.chunks) * array.dtype.itemsize
    if size > MAX_CHUNK_BYTES:
        raise ImageError(f"declares chunks of {array.chunks}, {size} bytes: more than it may have")
    grid = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    if math.prod(grid[-2:]) > MAX_CHUNKS:
        raise ImageError(f"declares {math.prod(grid[-2:])} chunks per image, at most {MAX_CHUNKS}")
    if math.prod(grid[-2:]) * size > MAX_UNPACKED_BYTES:
        raise ImageError(
            f"declares chunks of {array.chunks}: for one image {math.prod(grid[-2:]) * size} bytes "
            "would have to be unpacked"
        )
    return array


def _of_format_2(folder: str, document: Mapping[str, Any]) -> ZarrArray:
    kind = document.get("dtype")
    if not isinstance(kind, str) or not _TYPES_V2.fullmatch(kind):
        raise ImageError(f"holds values of type {kind!r}, expected numbers")
    shape, chunks = _lengths(document, "shape", 0), _lengths(document, "chunks", 1)
    if len(shape) != len(chunks):
        raise ImageError(f"declares chunks of {chunks} for the shape {shape}")
    if document.get("filters"):
        raise ImageError(f"has the filters {str(document['filters'])[:80]}, which are not read")
    compressor = document.get("compressor")
    name = compressor.get("id") if isinstance(compressor, dict) else compressor
    axes = tuple(range(len(shape)))
    order = axes[::-1] if document.get("order") == "F" else axes
    separator = "/" if document.get("dimension_separator") == "/" else "."
    codecs = Codecs(order, _known_compressor(name))
    dtype = np.dtype(kind)
    fill = _fill(document.get("fill_value"), dtype)
    return ZarrArray(folder, shape, chunks, dtype, fill, codecs, "", separator)


def _of_format_3(folder: str, document: Mapping[str, Any]) -> ZarrArray:
    if document.get("node_type") != "array" or document.get("storage_transformers"):
        raise ImageError("its finest level is no plain array of Zarr")
    kind = document.get("data_type")
    if not isinstance(kind, str) or not _TYPES_V3.fullmatch(kind):
        raise ImageError(f"holds values of type {kind!r}, expected numbers")
    grid, shape = _configuration(document.get("chunk_grid")), _lengths(document, "shape", 0)
    chunks = _lengths(grid, "chunk_shape", 1)
    if len(shape) != len(chunks):
        raise ImageError(f"declares chunks of {chunks} for the shape {shape}")
    codecs, endian = _chain(document.get("codecs"), chunks)
    keys = document.get("chunk_key_encoding")
    plain = isinstance(keys, dict) and keys.get("name") == "v2"
    separator = _configuration(keys).get("separator", "." if plain else "/")
    if separator not in (".", "/"):
        raise ImageError(f"names its chunks with {separator!r}, expected '.' or '/'")
    dtype = np.dtype(kind).newbyteorder(endian)
    fill = _fill(document.get("fill_value"), dtype)
    prefix = "" if plain else f"c{separator}"
    return ZarrArray(folder, shape, chunks, dtype, fill, codecs, prefix, separator)


def _chain(codecs: Any, chunks: tuple[int, ...], *, shards: bool = True) -> tuple[Codecs, Any]:
    """The codecs of format 3, in the order in which they pack, and the byte order of values."""
    if not isinstance(codecs, list) or not 0 < len(codecs) <= MAX_DIMS:
        raise ImageError(f"has the codecs {str(codecs)[:80]}")
    found, endian = Codecs(tuple(range(len(chunks)))), "<"
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else codec
        about = _configuration(codec)
        if name == "bytes":
            endian = ">" if about.get("endian") == "big" else "<"
        elif name == "transpose":
            order = about.get("order")
            axes = list(range(len(chunks)))
            if not isinstance(order, list) or order not in map(list, itertools.permutations(axes)):
                raise ImageError(f"orders its axes as {str(order)[:80]}")
            found = replace(found, order=tuple(order))
        elif name == "crc32c":
            found = replace(found, summed=True)
        elif name == "sharding_indexed" and shards:
            parts = _lengths(about, "chunk_shape", 1)
            if len(parts) != len(chunks) or any(c % p for c, p in zip(chunks, parts, strict=True)):
                raise ImageError(f"declares shards {chunks} of chunks {parts}")
            inner, endian = _chain(about.get("codecs"), parts, shards=False)
            names = [c.get("name") for c in about.get("index_codecs") or [] if isinstance(c, dict)]
            if names not in (["bytes"], ["bytes", "crc32c"]):
                raise ImageError(f"packs the index of shards with {str(names)[:80]}")
            first = about.get("index_location") == "start"
            found = replace(found, inner=inner, inner_chunks=parts, index_first=first)
            found = replace(found, index_summed=len(names) == 2)
        else:
            if found.compressor or found.inner is not None:
                raise ImageError("packs its chunks more than once, which is not read")
            found = replace(found, compressor=_known_compressor(name))
    return found, endian


def _known_compressor(name: Any) -> str:
    if name is None:
        return ""
    if not isinstance(name, str) or name not in COMPRESSORS:
        known = ", ".join(COMPRESSORS)
        raise ImageError(f"has the codec {str(name)[:80]!r}, expected plain compression: {known}")
    return name


# --- values of metadata -----------------------------------------------------------------------


def _configuration(holder: Any) -> dict[str, Any]:
    found = holder.get("configuration") if isinstance(holder, dict) else None
    return found if isinstance(found, dict) else {}


def _lengths(holder: Mapping[str, Any], name: str, least: int) -> tuple[int, ...]:
    value = holder.get(name)
    if (
        not isinstance(value, list)
        or not 2 <= len(value) <= MAX_DIMS
        or not all(type(n) is int and least <= n < 2**40 for n in value)
    ):
        raise ImageError(f"declares the {name} {str(value)[:80]}, expected two or more lengths")
    return tuple(value)


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """The fill value as a number of the type; 0 where the metadata leave it open."""
    try:
        if isinstance(value, str) and value.startswith("0x"):
            stored = int(value[:20], 16).to_bytes(dtype.itemsize, "big")
            return np.frombuffer(stored, dtype.newbyteorder(">"))[0]
        known = 0 if value is None else float(value) if isinstance(value, str) else value
        return np.array(known).astype(dtype)[()]
    except (TypeError, ValueError, OverflowError):
        raise ImageError(f"has the fill value {str(value)[:80]!r}") from None
