"""Chunks of Zarr unpacked with bounds: a chunk of a few kilobytes can unpack to any size."""

from __future__ import annotations

import bz2
import itertools
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
import numpy.typing as npt

from nanoarray.errors import ImageError

#: Chunks of one image, of which each may be a file, and of one shard.
MAX_CHUNKS = 2**18


@dataclass(frozen=True)
class Codecs:
    """How chunks are packed: ``order`` of the axes, byte order, one compressor, or shards."""

    order: tuple[int, ...]
    compressor: str = ""
    summed: bool = False
    inner: Codecs | None = None
    inner_chunks: tuple[int, ...] = ()
    index_summed: bool = False
    index_first: bool = False


def unpacked(
    content: bytes,
    codecs: Codecs,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    fill: Any,
) -> npt.NDArray[Any]:
    """The values of a chunk; never more memory than they take.

    Raises
    ------
    ImageError
        The content is not a chunk of this shape.
    """
    if codecs.inner is not None:
        return _unpacked_shard(content, codecs, shape, dtype, fill)
    size = math.prod(shape) * dtype.itemsize
    if codecs.summed:
        if len(content) < 4 or google_crc32c.value(content[:-4]) != _uint32(content, -4):
            raise ImageError("a chunk is not what was written: its checksum differs")
        content = content[:-4]
    if codecs.compressor:
        content = COMPRESSORS[codecs.compressor](content, size)
    if len(content) != size:
        raise ImageError(f"a chunk unpacks to {len(content)} bytes, expected {size}")
    stored = np.frombuffer(content, dtype).reshape([shape[axis] for axis in codecs.order])
    return stored.transpose(np.argsort(codecs.order))


def _unpacked_shard(
    content: bytes,
    codecs: Codecs,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    fill: Any,
) -> npt.NDArray[Any]:
    """The chunks of a shard, each where the index at its start or end says."""
    parts, inner = codecs.inner_chunks, codecs.inner
    counts = [n // p for n, p in zip(shape, parts, strict=True)]
    number = math.prod(counts)
    length = 16 * number + 4 * codecs.index_summed
    if inner is None or number > MAX_CHUNKS or length > len(content):
        raise ImageError(f"a shard of {len(content)} bytes has no index of {number} chunks")
    index = content[:length] if codecs.index_first else content[-length:]
    if codecs.index_summed and google_crc32c.value(index[:-4]) != _uint32(index, -4):
        raise ImageError("the index of a shard is not what was written: its checksum differs")
    places = np.frombuffer(index[: 16 * number], "<u8").reshape(number, 2).tolist()
    whole = np.full(shape, fill, dtype)
    for position, (start, size) in zip(itertools.product(*map(range, counts)), places, strict=True):
        if start == size == 2**64 - 1:
            continue
        if start + size > len(content):
            raise ImageError("the index of a shard points beyond its end")
        at = tuple(slice(k * p, (k + 1) * p) for k, p in zip(position, parts, strict=True))
        whole[at] = unpacked(content[start : start + size], inner, parts, dtype, fill)
    return whole


# --- compressors ------------------------------------------------------------------------------


def _inflate(content: bytes, most: int) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(content, most + 1)


def _blosc(content: bytes, most: int) -> bytes:
    if len(content) < 16 or _uint32(content, 4) > most or _uint32(content, 12) != len(content):
        raise ImageError("a chunk of blosc declares another size than the array")
    return bytes(imagecodecs.blosc_decode(content))


def _lz4(content: bytes, most: int) -> bytes:
    if len(content) < 4 or _uint32(content, 0) > most:
        raise ImageError("a chunk of lz4 declares another size than the array")
    return bytes(imagecodecs.lz4_decode(content, header=True))


#: Unpack content to at most so many bytes (or one more, which the caller sees).
COMPRESSORS: dict[str, Callable[[bytes, int], bytes]] = {
    "blosc": _blosc,
    "bz2": lambda content, most: bz2.BZ2Decompressor().decompress(content, most + 1),
    "gzip": _inflate,
    "lz4": _lz4,
    "lzma": lambda content, most: lzma.LZMADecompressor(memlimit=2**28).decompress(
        content, most + 1
    ),
    "zlib": _inflate,
    "zstd": lambda content, most: bytes(imagecodecs.zstd_decode(content, out=most)),
}


def _uint32(content: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", content, at if at >= 0 else len(content) + at)[0])
