"""What a store declares is checked before anything acts on it: it may come from a stranger.

Reading Zarr v3 arrays runs no code, as long as the codecs are plain compressors; Zarr v2 has a
codec that unpickles, and is refused. Metadata may declare shapes that fill the memory, names that
lead out of the folder, and a folder may hold links to anywhere. Metadata is checked when a store is
opened, the way to a chunk when it is read or written: a store of a million chunks opens as fast as
one of ten.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np

from nanoarray.errors import InputError

#: Folder of a store where runs say that they work on it; no group.
RUNS = ".runs"
#: Codecs that can do nothing but transform bytes.
CODECS = frozenset(
    "bytes zstd gzip blosc crc32c vlen-utf8 vlen-bytes transpose sharding_indexed".split()
)
DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 string".split()
)
#: One chunk is in memory at a time, per thread.
MAX_CHUNK_BYTES = 2**31
#: A frame of Zstandard begins so.
_ZSTD = b"\x28\xb5\x2f\xfd"
#: Dask keeps the length of every chunk along every dimension.
MAX_CHUNKS = 20_000_000
#: xarray loads the coordinates of dimensions when it opens a group.
MAX_INDEX = 20_000_000
#: A column is read whole when it is used.
MAX_ROWS = 2**31
MAX_DIMS = 16
MAX_METADATA_BYTES = 64 * 2**20
MAX_NODES = 10_000
#: What drivers of other file systems are told. They remember what they have listed: a group that
#: another process makes would not be seen, nor its chunks when the group is deleted.
DRIVER: Mapping[str, Any] = {"use_listings_cache": False}


def files_at(url: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it."""
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(url, **(DRIVER if "://" in url else {}))
    return found


@lru_cache(maxsize=256)
def check_safe(url: str) -> None:
    """Refuse a store whose content could do anything but be read; checked once in a process.

    Raises
    ------
    InputError
        Naming the array and what is wrong with it.
    """
    if "://" not in url:
        _check_folder(url, RUNS)
    for count, (name, metadata) in enumerate(_nodes(url)):
        if count > MAX_NODES:
            raise _unsafe(url, "it", f"more than {MAX_NODES} groups and arrays")
        where = repr(name) if name else "its root"
        if metadata.get("zarr_format") != 3:
            raise _unsafe(url, where, f"Zarr format {metadata.get('zarr_format')!r}, expected 3")
        if metadata.get("node_type") == "array":
            reason = _misdeclared(name.rsplit("/", 1)[-1], metadata)
        else:
            reason = _misrecorded(metadata)
        if reason:
            raise _unsafe(url, where, reason)


def check_way(root: str, key: str) -> None:
    """Refuse an object of a local store that is not reached by plain folders, or is no plain file.

    Parameters
    ----------
    root
        Folder of the store, which may itself be a link.
    key
        Of an object or a folder in it, which need not be there.

    Raises
    ------
    InputError
        Naming the link, or what is neither file nor folder.
    """
    path = root
    for part in key.strip("/").split("/"):
        path = f"{path}/{part}"
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if part == ".." or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            _refuse_entry(root, os.path.relpath(path, root), link=stat.S_ISLNK(mode))


def check_inflated(url: str, key: str, content: bytes) -> None:
    """Refuse a chunk that says it unpacks to more than a chunk may hold, or does not say to what.

    A few kilobytes of Zstandard unpack to as many gigabytes.

    Raises
    ------
    InputError
        Naming the chunk.
    """
    if content[:4] != _ZSTD or len(content) < 5:
        return
    descriptor = content[4]
    single = descriptor >> 5 & 1  # a frame of one segment, without a byte for its window
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    length = (single, 2, 4, 8)[descriptor >> 6]
    size = int.from_bytes(content[start : start + length], "little")
    if not length or size > MAX_CHUNK_BYTES:
        said = f"unpacks to {size:.3g} bytes" if length else "does not say what it unpacks to"
        raise _unsafe(url, key, f"a chunk that {said}")


def _unsafe(url: str, where: str, reason: str) -> InputError:
    return InputError(f"{url} is not opened: {where} has {reason}; nanoarray writes no such store")


def _refuse_entry(url: str, name: str, *, link: bool) -> None:
    kind = "a link" if link else "neither a file nor a folder"
    raise InputError(
        f"{url} is not opened: {name!r} in it is {kind}, and a store has none: "
        "copy what it stands for into its place"
    )


def _check_folder(url: str, name: str) -> None:
    """Refuse links, which could lead anywhere, and what is neither file nor folder."""
    with suppress(FileNotFoundError), os.scandir(os.path.join(url, name)) as entries:
        for entry in entries:
            inside = f"{name}/{entry.name}".lstrip("/")
            plain = entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
            if not plain:
                _refuse_entry(url, inside, link=entry.is_symlink())
            if entry.name in (".zgroup", ".zarray", ".zattrs"):
                raise _unsafe(url, repr(inside), "metadata of Zarr format 2")


def _nodes(url: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and metadata of every group and array, those of consolidated metadata too."""
    fs, root = files_at(url)
    local = "://" not in url
    level = [""]
    while level:
        if local:
            for name in level:
                _check_folder(url, name)
        paths = [f"{root}/{name}".rstrip("/") + "/zarr.json" for name in level]
        # A range is one request; a whole object would be asked for its size first.
        contents = fs.cat_ranges(
            paths, [0] * len(paths), [MAX_METADATA_BYTES + 1] * len(paths), on_error="return"
        )
        groups = []
        for name, content in zip(level, contents, strict=True):
            if isinstance(content, FileNotFoundError | IsADirectoryError):
                continue  # no node: nothing reads it; or a run is just replacing it
            if isinstance(content, BaseException):
                raise content
            if len(content) > MAX_METADATA_BYTES:
                raise _unsafe(url, repr(name), f"more than {MAX_METADATA_BYTES} bytes of metadata")
            metadata = _parsed(url, name, content)
            yield name, metadata
            yield from _consolidated(url, metadata)
            if metadata.get("node_type") == "group":
                groups.append(name)
        level = [child for name in groups for child in _children(fs, root, name)]


def _consolidated(url: str, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a group says of the groups and arrays in it."""
    consolidated = metadata.get("consolidated_metadata")
    entries = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    for inner, entry in entries.items() if isinstance(entries, dict) else ():
        if inner.startswith("/") or ".." in inner.split("/") or not isinstance(entry, dict):
            raise _unsafe(url, repr(inner), "a name that leads out of the store")
        yield inner, entry


def _children(fs: Any, root: str, group: str) -> list[str]:
    """Names of the folders in a group."""
    found = fs.ls(f"{root}/{group}".rstrip("/"), detail=True)
    names = [c["name"].rstrip("/").rsplit("/", 1)[-1] for c in found if c["type"] == "directory"]
    return [f"{group}/{name}".lstrip("/") for name in names if name != RUNS]


def _parsed(url: str, name: str, content: bytes) -> Mapping[str, Any]:
    try:
        metadata = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unsafe(url, repr(name), f"metadata that is not JSON ({error})") from None
    if not isinstance(metadata, dict):
        raise _unsafe(url, repr(name), "metadata that is no JSON object")
    return metadata


def _misdeclared(name: str, metadata: Mapping[str, Any]) -> str:
    """What is wrong with the metadata of an array; "" where nothing is."""
    dtype, shape = metadata.get("data_type"), metadata.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        return f"values of type {dtype!r}"
    if not _lengths(shape, least=0):
        return f"shape {shape!r}"
    chunks = _chunks(metadata.get("chunk_grid"))
    if not _lengths(chunks, least=1) or len(chunks) != len(shape):
        return f"chunks {chunks!r} of shape {shape!r}"
    codecs = metadata.get("codecs")
    reason = _codecs_refused(codecs)
    if reason:
        return reason
    for codec in codecs or []:
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            chunks = _chunks(codec)
            if not _lengths(chunks, least=1) or len(chunks) != len(shape):
                return f"shards of chunks {chunks!r}"
    size = math.prod(chunks) * (8 if dtype == "string" else np.dtype(dtype).itemsize)
    if size > MAX_CHUNK_BYTES:
        return f"chunks of {size:.3g} bytes"
    most = max((n // c for n, c in zip(shape, chunks, strict=True)), default=0)
    if most > MAX_CHUNKS:
        return f"{most} chunks along a dimension"
    if len(shape) == 1 and shape[0] > MAX_ROWS:
        return f"{shape[0]} rows"
    dims = metadata.get("dimension_names")
    if not isinstance(dims, list | None) or len(dims or []) != len(shape):
        return f"dimensions {dims!r}, of shape {shape!r}"
    if dims == [name] and shape[0] > MAX_INDEX:
        return f"a coordinate of {shape[0]} values"
    return ""


def _misrecorded(metadata: Mapping[str, Any]) -> str:
    """What is wrong with what a group says of itself; "" where nothing is."""
    attributes = metadata.get("attributes", {})
    record = attributes.get("nanoarray", {}) if isinstance(attributes, dict) else None
    if not isinstance(record, dict):
        return f"the record {record!r:.100}"
    length, block = record.get("length", 0), record.get("block", 1)
    # Every block is looked at, whatever there is of it.
    if not (_lengths([length], least=0) and _lengths([block], least=1)):
        return f"{length!r:.100} rows in blocks of {block!r:.100}"
    if length > MAX_ROWS or length // block > MAX_CHUNKS:
        return f"{length} rows in blocks of {block}"
    return ""


def _chunks(holder: Any) -> Any:
    """The shape of chunks that a grid, or a codec of shards, declares."""
    configuration = holder.get("configuration") if isinstance(holder, dict) else None
    return configuration.get("chunk_shape") if isinstance(configuration, dict) else None


def _lengths(value: Any, *, least: int) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMS
        and all(type(n) is int and n >= least for n in value)
    )


def _codecs_refused(codecs: Any) -> str:
    """Which codec is not a plain one; "" where all are."""
    if not isinstance(codecs, list) or len(codecs) > MAX_DIMS:
        return f"codecs {codecs!r}"
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else codec
        if not isinstance(name, str) or name not in CODECS:
            return f"the codec {name!r}"
        configuration = codec.get("configuration") if isinstance(codec, dict) else None
        for key in ("codecs", "index_codecs"):
            if isinstance(configuration, dict) and key in configuration:
                reason = _codecs_refused(configuration[key])
                if reason:
                    return reason
    return ""
