"""Where the number of a scale bar stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "find_writing"]

#: First row and column, and row and column after.
Box = tuple[int, int, int, int]
#: Least height and width of writing.
_LETTER_PX = 5


def find_writing(
    ink: NDArray[np.bool_], bar: Box, *, gap: tuple[int, int] | None = None
) -> list[Box]:
    """Lines of writing in the gap of a bar, below, above, to the right and to the left of it.

    Parameters
    ----------
    ink
        ``(height, width)`` what has the tone of the bar.
    bar
        Its first row and column and its last row and column.
    gap
        Last column of the first half and first column of the second, of a bar cut in two.

    Returns
    -------
    list of Box
        First row and column, and row and column after.
    """
    top, left, bottom, right = bar
    length = right - left + 1
    height, width = ink.shape
    wide = (max(left - length // 2, 0), min(right + length // 2 + 1, width))
    tall = (max(top - length, 0), min(bottom + length + 1, height))
    areas = [
        (bottom + 2, wide[0], height, wide[1], "down"),
        (0, wide[0], max(top - 1, 0), wide[1], "up"),
        (tall[0], right + 2, tall[1], min(right + 1 + 2 * length, width), "level"),
        (tall[0], max(left - 2 * length, 0), tall[1], max(left - 1, 0), "level"),
    ]
    if gap is not None:
        areas.insert(0, (tall[0], gap[0] + 2, tall[1], gap[1] - 1, "level"))
    middle = (top + bottom) / 2
    found = []
    for y0, x0, y1, x1, way in areas:
        if y1 - y0 < _LETTER_PX or x1 - x0 < _LETTER_PX:
            continue
        box = _nearest_line(ink[y0:y1, x0:x1], way, middle - y0, (left + right) / 2 - x0)
        if box is not None:
            found.append((y0 + box[0], x0 + box[1], y0 + box[2], x0 + box[3]))
    return found


def _nearest_line(ink: NDArray[np.bool_], way: str, middle_y: float, middle_x: float) -> Box | None:
    """The line of writing next to a bar in an area beside it."""
    bands = [(a, b) for a, b in _runs(np.asarray(ink.any(axis=1)), gap=1) if b - a >= _LETTER_PX]
    if way == "level":
        bands = [(a, b) for a, b in bands if a <= middle_y <= b]
    if not bands:
        return None
    top, bottom = bands[-1] if way == "up" else bands[0]
    tall = bottom - top
    words = _runs(np.asarray(ink[top:bottom].any(axis=0)), gap=round(1.2 * tall))
    left, right = min(words, key=lambda word: max(word[0] - middle_x, middle_x - word[1], 0.0))
    return (top, left, bottom, right) if right - left >= _LETTER_PX else None


def _runs(values: NDArray[np.bool_], *, gap: int) -> list[tuple[int, int]]:
    """Begin and end of every run of True, runs joined over at most ``gap`` of False."""
    at = np.flatnonzero(values)
    if not at.size:
        return []
    cuts = np.flatnonzero(np.diff(at) > gap + 1)
    starts, ends = at[np.append(0, cuts + 1)], at[np.append(cuts, at.size - 1)] + 1
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]
