"""Crops on a polar grid: what the shape network sees (numba).

The mask is sampled around its centroid, out to a little beyond its farthest pixel. So the margin
and the centring of a crop have no influence, and a turned crystal is the same picture moved along
one axis, which a circular convolution treats alike everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Angles and radii of the grid. 128 angles are 1.6 crop px apart at the rim of a crystal that
#: fills its crop; 32 radii are 0.9 px apart.
ANGLES = 128
RADII = 32
#: Farthest radius of the grid over the farthest pixel of the mask.
_RIM = 1.05


@njit(cache=True, nogil=True)
def mask_moments(mask):
    """Area [px], centroid y and x, and the farthest pixel's distance from it [px]."""
    area, sum_y, sum_x = 0.0, 0.0, 0.0
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            if mask[i, j]:
                area += 1.0
                sum_y += i
                sum_x += j
    if area == 0.0:
        return 0.0, np.nan, np.nan, np.nan
    centre_y, centre_x = sum_y / area, sum_x / area
    far = 0.0
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            if mask[i, j]:
                far = max(far, (i - centre_y) ** 2 + (j - centre_x) ** 2)
    return area, centre_y, centre_x, math.sqrt(far) + 0.5


@njit(cache=True, nogil=True)
def _bilinear(picture, y, x):
    i, j = math.floor(y), math.floor(x)
    s, t = y - i, x - j
    total = 0.0
    for a in range(2):
        for b in range(2):
            if 0 <= i + a < picture.shape[0] and 0 <= j + b < picture.shape[1]:
                weight = (s if a else 1.0 - s) * (t if b else 1.0 - t)
                total += weight * picture[i + a, j + b]
    return total


@njit(cache=True, nogil=True)
def _fill_polar(masks, cosines, sines, out, known):
    for k in range(masks.shape[0]):
        area, centre_y, centre_x, far = mask_moments(masks[k])
        known[k] = area > 0.0
        if not known[k]:
            out[k] = 0
            continue
        for r in range(out.shape[1]):
            distance = far * _RIM * (r + 0.5) / out.shape[1]
            for a in range(out.shape[2]):
                value = _bilinear(
                    masks[k], centre_y - distance * sines[a], centre_x + distance * cosines[a]
                )
                out[k, r, a] = np.uint8(255.0 * value + 0.5)


def polar_masks(
    crop_masks: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Masks on the polar grid.

    Parameters
    ----------
    crop_masks
        (n, height, width) True in the crystal.

    Returns
    -------
    (n, RADII, ANGLES) uint8 coverage from 0 to 255, the angle counter-clockwise from +x in steps of
    360 / ANGLES degrees; and (n,) False where a mask is empty.
    """
    masks = np.ascontiguousarray(crop_masks, np.bool_).view(np.uint8)
    theta = np.arange(ANGLES) * (2.0 * np.pi / ANGLES)
    out = np.empty((masks.shape[0], RADII, ANGLES), np.uint8)
    known: NDArray[Any] = np.empty(masks.shape[0], np.bool_)
    _fill_polar(masks, np.cos(theta), np.sin(theta), out, known)
    return out, known
