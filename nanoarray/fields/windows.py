"""Windows of a large array: how it is cut into fields, and what can be read in windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Window = tuple[slice, slice]


class Pixels(Protocol):
    """A two-dimensional array that is read by slices: a NumPy array, or one that is elsewhere."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __getitem__(self, window: Any, /) -> npt.NDArray[Any]:
        """The values in a window, given as two slices with a start and a stop."""


def spans(length: int, size: int) -> list[slice]:
    """Consecutive parts of ``size``, the last one smaller."""
    return [slice(a, min(a + size, length)) for a in range(0, length, size)]


def cores(shape: tuple[int, ...], size: int) -> Iterator[Window]:
    """Fields that share an array out among them, row by row."""
    for rows in spans(shape[0], size):
        for columns in spans(shape[1], size):
            yield rows, columns


def widened(core: Window, margin: int, shape: tuple[int, ...]) -> Window:
    """A field with a margin, as far as the array reaches."""
    rows, columns = (
        slice(max(s.start - margin, 0), min(s.stop + margin, n))
        for s, n in zip(core, shape, strict=False)
    )
    return rows, columns


def inner(core: Window, window: Window) -> Window:
    """Where a field lies in its window with margin."""
    rows, columns = (
        slice(c.start - w.start, c.stop - w.start) for c, w in zip(core, window, strict=True)
    )
    return rows, columns


def scaled(core: Window, factor: int, shape: tuple[int, ...]) -> Window:
    """The pixels of blocks of ``factor`` x ``factor``; the last ones may overhang."""
    rows, columns = (
        slice(s.start * factor, min(s.stop * factor, n)) for s, n in zip(core, shape, strict=False)
    )
    return rows, columns


def sampled_in(core: Window, every: int) -> Window:
    """Where in a field every so many rows and columns of the whole array are."""
    rows, columns = (slice(-s.start % every, None, every) for s in core)
    return rows, columns
