"""What a store declares is checked before anything acts on it: it may come from a stranger.

Reading Zarr v3 arrays runs no code, as long as the codecs are plain compressors; Zarr v2 has a
codec that unpickles, and is refused. Metadata may declare shapes that fill the memory, names that
lead out of the folder, and a folder may hold links to anywhere.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np

from nanoarray.errors import InputError

#: Codecs that can do nothing but transform bytes.
CODECS = frozenset(
    "bytes zstd gzip blosc crc32c vlen-utf8 vlen-bytes transpose sharding_indexed".split()
)
DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 string".split()
)
#: One chunk is in memory at a time, per thread.
MAX_CHUNK_BYTES = 2**31
#: Dask keeps the length of every chunk along every dimension.
MAX_CHUNKS = 20_000_000
#: xarray loads the coordinates of dimensions when it opens a group.
MAX_INDEX = 20_000_000
#: A column is read whole when it is used.
MAX_ROWS = 2**31
MAX_DIMS = 16
MAX_METADATA_BYTES = 64 * 2**20
MAX_NODES = 10_000


@lru_cache(maxsize=256)
def check_safe(url: str) -> None:
    """Refuse a store whose content could do anything but be read; checked once in a process.

    Raises
    ------
    InputError
        Naming the array and what is wrong with it.
    """
    if "://" not in url:
        _check_files(url)
    for count, (name, metadata) in enumerate(_nodes(url)):
        if count > MAX_NODES:
            raise _unsafe(url, "it", f"more than {MAX_NODES} groups and arrays")
        where = repr(name) if name else "its root"
        if metadata.get("zarr_format") != 3:
            raise _unsafe(url, where, f"Zarr format {metadata.get('zarr_format')!r}, expected 3")
        if metadata.get("node_type") == "array":
            reason = _misdeclared(name.rsplit("/", 1)[-1], metadata)
            if reason:
                raise _unsafe(url, where, reason)


def _unsafe(url: str, where: str, reason: str) -> InputError:
    return InputError(f"{url} is not opened: {where} has {reason}; nanoarray writes no such store")


def _check_files(url: str) -> None:
    """Refuse links, which could lead anywhere, and what is neither file nor folder."""
    todo = [url]
    while todo:
        with suppress(FileNotFoundError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    continue
                if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
                    kind = "a link" if entry.is_symlink() else "neither a file nor a folder"
                    name = os.path.relpath(entry.path, url)
                    raise InputError(
                        f"{url} is not opened: {name!r} in it is {kind}, and a store has none: "
                        "copy what it stands for into its place"
                    )
                if entry.name in (".zgroup", ".zarray", ".zattrs"):
                    name = os.path.relpath(entry.path, url)
                    raise _unsafe(url, repr(name), "metadata of Zarr format 2")


def _nodes(url: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and metadata of every group and array, those of consolidated metadata too."""
    import fsspec

    fs, root = fsspec.core.url_to_fs(url)
    todo = [""]
    while todo:
        name = todo.pop()
        place = f"{root}/{name}".rstrip("/")
        path = f"{place}/zarr.json"
        try:
            size = fs.size(path)
            if size > MAX_METADATA_BYTES:
                raise _unsafe(url, repr(name), f"{size} bytes of metadata")
            content = fs.cat_file(path)
        except FileNotFoundError:
            continue  # no node: nothing reads it; or a run is just replacing it
        metadata = _parsed(url, name, content)
        yield name, metadata
        consolidated = metadata.get("consolidated_metadata")
        entries = consolidated.get("metadata") if isinstance(consolidated, dict) else None
        for inner, entry in entries.items() if isinstance(entries, dict) else ():
            if inner.startswith("/") or ".." in inner.split("/") or not isinstance(entry, dict):
                raise _unsafe(url, repr(inner), "a name that leads out of the store")
            yield inner, entry
        if metadata.get("node_type") == "group":
            children = fs.ls(place, detail=True)
            names = [
                c["name"].rstrip("/").rsplit("/", 1)[-1]
                for c in children
                if c["type"] == "directory"
            ]
            todo += [f"{name}/{child}".lstrip("/") for child in names]


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
