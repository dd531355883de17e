"""Chunks of one image in arrays that hold an image per chunk: written in parts, and removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from nanoarray.archive.memory import Memory
from nanoarray.archive.place import CheckedStore, chunks_at


def write_part(
    url: str,
    group: str,
    i: int,
    start: tuple[int, ...],
    values: Mapping[str, np.ndarray],
    *,
    fills: Mapping[str, Any],
    memory: Memory | None = None,
) -> dict[str, int]:
    """Write a part of one image.

    Parameters
    ----------
    url, group, i
        The image, by its position.
    start
        Where the values begin along the first inner dimensions; 0 along the others.
    values
        By array; without the dimension along images.
    fills
        What stands where nothing is known.
    memory
        Metadata that need not be read again.

    Returns
    -------
    dict
        CRC-32C by key of the chunks that were written. A chunk of nothing but fill values is not.
    """
    place = chunks_at(url, memory)
    parent = zarr.open_group(place, path=group, mode="r+", zarr_format=3, use_consolidated=False)
    for name, data in values.items():
        array = parent[name]
        begin = (*start, *(0,) * data.ndim)[: data.ndim]
        # A part that ends inside a chunk at the end of its image is widened to the chunk: what
        # stood there, of a larger image, must not stay.
        stops = [
            min(-(-(b + n) // c) * c, s) if b % c == 0 else b + n
            for b, n, c, s in zip(begin, data.shape, array.chunks[1:], array.shape[1:], strict=True)
        ]
        shape = tuple(stop - b for stop, b in zip(stops, begin, strict=True))
        if shape != data.shape:
            whole = np.full(shape, fills[name], array.dtype)
            whole[tuple(slice(0, n) for n in data.shape)] = data
            data = whole
        inner = tuple(slice(b, stop) for b, stop in zip(begin, stops, strict=True))
        array[(i, *inner)] = data
    return place.written


def keep_only(
    url: str,
    group: str,
    i: int,
    names: Collection[str],
    kept: Collection[str],
    *,
    memory: Memory | None = None,
) -> None:
    """Remove the chunks of image ``i`` whose keys are not among ``kept``."""
    place = chunks_at(url, memory)
    parent = zarr.open_group(place, path=group, mode="r+", zarr_format=3, use_consolidated=False)
    for name in names:
        array = parent[name]
        if array.chunks[0] != 1:
            continue
        counts = [-(-n // c) for n, c in zip(array.shape[1:], array.chunks[1:], strict=True)]
        prefix = f"{group}/{name}/c/{i}/"
        if all(n == 1 for n in counts):
            key = prefix + "/".join("0" for _ in counts)
            if key not in kept:
                sync(place.delete(key))
        else:
            sync(_remove(place, prefix, kept))


async def _remove(place: CheckedStore, prefix: str, kept: Collection[str]) -> None:
    stale = [key async for key in place.list_prefix(prefix) if key not in kept]
    for key in stale:
        await place.delete(key)
