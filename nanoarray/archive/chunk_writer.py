"""Whole chunks written past zarr's asynchronous machinery, in zarr's own format.

A chunk that a task owns is encoded and put in place by a rename, as zarr does it. Through
zarr itself an array is opened for every write, and every chunk passes one event loop: on images of
a megabyte that costs several times what encoding them does. Where an array is laid out otherwise
than this package lays them out, or is not on a local disk, zarr writes it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from nanoarray.archive import store
from nanoarray.archive.guard import check_way

_TEXT = "string"
_CODECS = {_TEXT: ["vlen-utf8", "zstd"]}
_PLAIN_CODECS = ["bytes", "zstd"]
#: Follows them where chunks end in their CRC-32C.
_SUM = "crc32c"
_KEYS = ({"name": "default", "configuration": {"separator": "/"}}, {"name": "default"})


@dataclass(frozen=True)
class ChunkLayout:
    """How the chunks of one array are stored.

    Attributes
    ----------
    url, group, name
        The array.
    folder
        Its local directory; "" where zarr has to write it.
    chunks
        Shape of a chunk.
    dtype
        As zarr names it; "string" for text.
    level, checksum
        Of its Zstandard codec.
    summed
        Whether a chunk ends in its CRC-32C.
    """

    url: str
    group: str
    name: str
    folder: str = ""
    chunks: tuple[int, ...] = ()
    dtype: str = ""
    level: int = 1
    checksum: bool = True
    summed: bool = False


def chunk_layout(url: str, group: str, name: str) -> ChunkLayout:
    """Layout of an array of a store, for `write_chunks`."""
    elsewhere = ChunkLayout(url, group, name)
    folder = os.path.join(url, group, name)
    if "://" in url or not os.path.isfile(os.path.join(folder, "zarr.json")):
        return elsewhere
    with open(os.path.join(folder, "zarr.json"), "rb") as file:
        document = json.load(file)
    kind, grid = document["data_type"], document["chunk_grid"]
    codecs = document["codecs"]
    summed = codecs[-1]["name"] == _SUM
    codecs = codecs[:-1] if summed else codecs
    plain = (
        isinstance(kind, str)
        and [codec["name"] for codec in codecs] == _CODECS.get(kind, _PLAIN_CODECS)
        and codecs[0].get("configuration", {}).get("endian", "little") == "little"
        and grid["name"] == "regular"
        and document["chunk_key_encoding"] in _KEYS
        and not document.get("storage_transformers")
    )
    if not plain:
        return elsewhere
    return ChunkLayout(
        *(url, group, name, folder),
        tuple(grid["configuration"]["chunk_shape"]),
        kind,
        codecs[1]["configuration"]["level"],
        codecs[1]["configuration"]["checksum"],
        summed,
    )


def write_chunks(layout: ChunkLayout, start: int, values: np.ndarray) -> dict[str, int]:
    """Write rows that begin at ``start``, as whole chunks of which nobody else holds a part.

    Parameters
    ----------
    layout
        Of the array.
    start
        First row; a multiple of the rows of a chunk.
    values
        Rows, which may be smaller than the array in their inner dimensions: what they do not reach
        of the chunks that they touch is zero, or empty text.

    Returns
    -------
    dict
        CRC-32C by key of the chunks, as `store.write_rows` gives them.

    Raises
    ------
    OSError
        A chunk cannot be written.
    """
    if not layout.folder:
        rows = slice(start, start + len(values))
        return store.write_rows(layout.url, layout.group, rows, {layout.name: values})
    written = {}
    counts = [-(-n // c) for n, c in zip(values.shape, layout.chunks, strict=True)]
    for position in itertools.product(*map(range, counts)):
        spans = zip(position, layout.chunks, strict=True)
        part = values[tuple(slice(p * c, (p + 1) * c) for p, c in spans)]
        at = (start // layout.chunks[0] + position[0], *position[1:])
        key = "/".join((layout.group, layout.name, "c", *map(str, at)))
        written[key] = _write_chunk(layout, at, part)
    return written


def _write_chunk(layout: ChunkLayout, at: Sequence[int], part: np.ndarray) -> int:
    """Write one chunk; gives what it ends in, as a number."""
    text = layout.dtype == _TEXT
    dtype = np.dtype(object) if text else np.dtype(layout.dtype).newbyteorder("<")
    whole = part.shape == layout.chunks and part.dtype == dtype and part.flags.c_contiguous
    chunk = part if whole else np.full(layout.chunks, "" if text else 0, dtype)
    if not whole:
        chunk[tuple(slice(0, n) for n in part.shape)] = part
    raw = VLenUTF8().encode(chunk.ravel()) if text else chunk
    content = Zstd(level=layout.level, checksum=layout.checksum).encode(raw)
    if layout.summed:
        content += google_crc32c.value(content).to_bytes(4, "little")
    place = os.path.join(layout.folder, "c", *(str(n) for n in at))
    check_way(layout.url, os.path.relpath(place, layout.url))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    temporary = f"{place}.{uuid.uuid4().hex}.partial"  # as zarr names them
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, place)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return int.from_bytes(content[-4:], "little")
