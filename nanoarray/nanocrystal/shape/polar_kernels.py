"""Masks and their moments, and their way onto a polar grid (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


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
def fill_polar(masks, cosines, sines, rim, out, known):
    """Sample masks out to `rim` times their farthest pixel, as 0 to 255."""
    for k in range(masks.shape[0]):
        area, centre_y, centre_x, far = mask_moments(masks[k])
        known[k] = area > 0.0
        if not known[k]:
            out[k] = 0
            continue
        for r in range(out.shape[1]):
            distance = far * rim * (r + 0.5) / out.shape[1]
            for a in range(out.shape[2]):
                value = _bilinear(
                    masks[k], centre_y - distance * sines[a], centre_x + distance * cosines[a]
                )
                out[k, r, a] = np.uint8(255.0 * value + 0.5)
