"""Pixels near a mask, compiled by numba."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def within(mask: Mask, distance_px: float) -> Mask:
    """Pixels at most ``distance_px`` from a True pixel.

    The same as a comparison of `scipy.ndimage.distance_transform_edt` of the complement, in a
    fraction of its time where the distance is a few pixels.

    Parameters
    ----------
    mask
        (height, width).
    distance_px
        Largest distance between pixel centres [px].

    Returns
    -------
    ndarray
        (height, width) bool; all False where ``mask`` is.
    """
    if distance_px < 1 or not mask.any():
        return mask.copy()
    return _within(np.ascontiguousarray(mask), float(distance_px))


@nb.njit(nogil=True, cache=True)
def _within(mask: Mask, distance: float) -> Mask:
    height, width = mask.shape
    reach = min(int(distance), max(height, width))
    # Per pixel the distance along the column, at most reach + 1.
    column = np.empty((height, width), dtype=np.int32)
    last = np.full(width, reach + 1, dtype=np.int32)
    for y in range(height):
        for x in range(width):
            last[x] = 0 if mask[y, x] else min(last[x] + 1, reach + 1)
            column[y, x] = last[x]
    last[:] = reach + 1
    for y in range(height - 1, -1, -1):
        for x in range(width):
            last[x] = 0 if mask[y, x] else min(last[x] + 1, reach + 1)
            column[y, x] = min(column[y, x], last[x])
    near = np.zeros((height, width), dtype=np.bool_)
    for y in range(height):
        for step in range(-reach, reach + 1):
            most = np.int32(math.sqrt(distance * distance - step * step))
            low, high = max(0, -step), min(width, width - step)
            for x in range(low, high):
                near[y, x] |= column[y, x + step] <= most
    return near
