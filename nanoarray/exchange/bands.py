"""Images that are read some rows at a time, so that one larger than memory can be exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Side of a chunk or tile of what is written.
CHUNK_PX = 512
#: Rows that are held at once: whole chunks, of this image and of the one half its size.
BAND_PX = 2 * CHUNK_PX


@dataclass(frozen=True)
class Plane:
    """An image of which nothing has been read.

    Attributes
    ----------
    shape, dtype
        Height and width, and the type of its values.
    rows
        Gives the rows from one number to another, ``(rows, width)``.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    rows: Callable[[int, int], npt.NDArray[Any]]

    def bands(self, height_px: int = BAND_PX) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The first row of each band, and its values."""
        for start in range(0, self.shape[0], height_px):
            yield start, self.rows(start, min(start + height_px, self.shape[0]))

    def map(
        self, function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], dtype: npt.DTypeLike
    ) -> Plane:
        """The plane with a function of its values, applied when they are read."""
        rows = self.rows
        return Plane(self.shape, np.dtype(dtype), lambda a, b: function(rows(a, b)))


def plane_of(values: npt.NDArray[Any] | Plane) -> Plane:
    """An array as a plane."""
    if isinstance(values, Plane):
        return values
    height, width = values.shape
    return Plane((height, width), values.dtype, lambda start, stop: values[start:stop])


def pool(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Means of squares of two by two pixels, in the same type; at an odd edge, of what is there."""
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge")
    # By rows of squares, in a wider type that holds the sum.
    wide = np.float64 if pixels.dtype.kind == "f" else np.int64
    total = np.add.reduce(
        [padded[y::2, x::2].astype(wide) for y in (0, 1) for x in (0, 1)], dtype=wide
    )
    mean = total / 4
    return (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)


def nearest(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The first pixel of each square of two by two, so that no label is made up."""
    return pixels[::2, ::2]


def halved(plane: Plane, *, pooled: bool) -> Plane:
    """The plane at half its size, reduced when it is read; see `pool` and `nearest`."""
    height, width = plane.shape
    reduce = pool if pooled else nearest

    def rows(start: int, stop: int) -> npt.NDArray[Any]:
        # By parts: a level of a level of a level would ask for many times as many rows at once.
        starts = range(start, stop, CHUNK_PX)
        ends = (min(2 * min(k + CHUNK_PX, stop), height) for k in starts)
        parts = [reduce(plane.rows(2 * k, end)) for k, end in zip(starts, ends, strict=True)]
        return np.concatenate(parts)

    return Plane((-(-height // 2), -(-width // 2)), plane.dtype, rows)


def level_count(shape: tuple[int, int]) -> int:
    """Levels of a pyramid whose last one is at most about a chunk."""
    count, longest = 1, max(shape)
    while longest > CHUNK_PX:
        longest = -(-longest // 2)
        count += 1
    return count
