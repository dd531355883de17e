"""Crops on a polar grid: what the shape network sees.

The mask is sampled around its centroid, out to a little beyond its farthest pixel. So the margin
and the centring of a crop have no influence, and a turned crystal is the same picture moved along
one axis, which a circular convolution treats alike everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.nanocrystal.shape.polar_kernels import fill_polar

#: Angles and radii of the grid. 128 angles are 1.6 crop px apart at the rim of a crystal that
#: fills its crop; 32 radii are 0.9 px apart.
ANGLES = 128
RADII = 32
#: Farthest radius of the grid over the farthest pixel of the mask.
_RIM = 1.05


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
    fill_polar(masks, np.cos(theta), np.sin(theta), _RIM, out, known)
    return out, known
