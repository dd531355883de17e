"""Coverage of pixels by polygons, and collisions of crystals while they are placed."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Sub-lines per pixel row; along x the coverage is exact, so five give areas to about 0.1 %.
_SUBLINES = 5


@njit(cache=True, nogil=True)
def polygon_coverage(
    points_y: NDArray[np.float64], points_x: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float32]:
    """Share of every pixel that a closed polygon covers (even-odd rule), ``(height, width)``.

    Pixel centres are at integers: pixel ``i`` reaches from ``i - 0.5`` to ``i + 0.5``.
    """
    out = np.zeros((height, width), np.float32)
    count = points_y.size
    crossing = np.empty(count, np.float64)
    for line in range(height * _SUBLINES):
        row = line // _SUBLINES
        y = (line + 0.5) / _SUBLINES - 0.5
        found = 0
        for k in range(count):
            after = k + 1 if k + 1 < count else 0
            y0, y1 = points_y[k], points_y[after]
            if (y0 <= y) != (y1 <= y):
                share = (y - y0) / (y1 - y0)
                x = points_x[k] + share * (points_x[after] - points_x[k])
                place = found
                while place > 0 and crossing[place - 1] > x:
                    crossing[place] = crossing[place - 1]
                    place -= 1
                crossing[place] = x
                found += 1
        for pair in range(0, found - 1, 2):
            left = max(crossing[pair] + 0.5, 0.0)
            right = min(crossing[pair + 1] + 0.5, float(width))
            if right <= left:
                continue
            first, last = int(left), min(int(right), width - 1)
            if first == last:
                out[row, first] += (right - left) / _SUBLINES
            else:
                out[row, first] += (first + 1 - left) / _SUBLINES
                for column in range(first + 1, last):
                    out[row, column] += 1.0 / _SUBLINES
                out[row, last] += (right - last) / _SUBLINES
    return out


@njit(cache=True, nogil=True)
def covered_pixels(
    taken: NDArray[np.uint8], shape: NDArray[np.uint8], top: int, left: int, enough: int
) -> int:
    """Pixels of `shape` put at (top, left) that are taken; counting stops above `enough`."""
    count = 0
    for i in range(max(0, -top), min(shape.shape[0], taken.shape[0] - top)):
        for j in range(max(0, -left), min(shape.shape[1], taken.shape[1] - left)):
            if shape[i, j] and taken[top + i, left + j]:
                count += 1
        if count > enough:
            return count
    return count


@njit(cache=True, nogil=True)
def slide_in(
    taken: NDArray[np.uint8],
    shape: NDArray[np.uint8],
    centre_y: float,
    centre_x: float,
    step_y: float,
    step_x: float,
    steps: int,
    enough: int,
) -> tuple[float, float]:
    """Move a shape toward the origin of the path until it would cover more than `enough` pixels.

    The path starts `steps` steps away from (centre_y, centre_x) and ends there. Returns the last
    place (y, x) of the shape's upper left corner before contact.
    """
    best_y, best_x = centre_y + steps * step_y, centre_x + steps * step_x
    for k in range(steps, -1, -1):
        y, x = centre_y + k * step_y, centre_x + k * step_x
        if covered_pixels(taken, shape, round(y), round(x), enough) > enough:
            break
        best_y, best_x = y, x
    return best_y, best_x


@njit(cache=True, nogil=True)
def mark(taken: NDArray[np.uint8], shape: NDArray[np.uint8], top: int, left: int) -> None:
    """Set the pixels of `shape` put at (top, left) as taken."""
    for i in range(max(0, -top), min(shape.shape[0], taken.shape[0] - top)):
        for j in range(max(0, -left), min(shape.shape[1], taken.shape[1] - left)):
            if shape[i, j]:
                taken[top + i, left + j] = 1
