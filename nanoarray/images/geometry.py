"""Images on a specimen seen at an angle, and pixels that are not square."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What the beam looks at: the specimen's surface, or a section cut at a right angle to it.
TILTED = ("surface", "cross-section")
#: Foreshortened more than this, a face is seen too flatly for its lengths to mean much.
LARGEST_FACTOR = 5.0
#: Scan rotation by which the tilt axis may be off the rows of the image [deg].
LARGEST_ROTATION_DEG = 2.0


@dataclass(frozen=True)
class Stretch:
    """By how much an image is enlarged along each axis; never below 1, so that nothing is lost."""

    x: float = 1.0
    y: float = 1.0

    def rows(self, height_px: int) -> int:
        """Rows of an image of ``height_px`` afterwards."""
        return round(height_px * self.y)

    def columns(self, width_px: int) -> int:
        """Columns of an image of ``width_px`` afterwards."""
        return round(width_px * self.x)


def tilt_factor(
    kind: str, *, tilt_deg: float, scan_rotation_deg: float = 0.0, by_microscope: bool = False
) -> tuple[float, str]:
    """Length on the specimen over length in the image, across the tilt axis.

    The stage turns about the axis along the rows of the image. A flat surface that is tilted by t
    is foreshortened by cos t; a section cut at a right angle into it, as by an ion beam that
    stands at t to the electron beam, by sin t.

    Parameters
    ----------
    kind
        One of `TILTED`.
    tilt_deg
        Stage tilt; NaN where unknown.
    scan_rotation_deg
        By which the scan is turned; NaN where unknown, which counts as 0.
    by_microscope
        Whether the microscope stretched the image already.

    Returns
    -------
    factor : float
        1 where nothing can be corrected.
    reason : str
        Why nothing is corrected; "" where it is.
    """
    if kind not in TILTED:
        raise ValueError(f"{kind!r} is not among {', '.join(TILTED)}")
    if by_microscope:
        return 1.0, "the microscope's own tilt correction was on"
    if not math.isfinite(tilt_deg):
        return 1.0, "the stage tilt is not known"
    if abs(math.remainder(scan_rotation_deg, 180.0)) > LARGEST_ROTATION_DEG:
        return 1.0, f"the scan is rotated by {scan_rotation_deg:.4g} deg"
    seen = abs(math.cos(math.radians(tilt_deg)))
    if kind != "surface":
        seen = abs(math.sin(math.radians(tilt_deg)))
    if seen * LARGEST_FACTOR < 1:
        return 1.0, f"at {tilt_deg:.4g} deg the {kind} is seen too flatly"
    return 1 / seen, ""


def stretched(pixels: NDArray[Any], stretch: Stretch) -> NDArray[Any]:
    """The image enlarged by linear interpolation, its type kept.

    The outer edges of the image stay where they are: pixel i of the result is centred at
    (i + 1/2) / s - 1/2 of the original, s the ratio of the lengths along that axis, which are
    whole pixels: from the enlargement asked for it is less than half a pixel per length away.
    """
    result = pixels
    for axis, length in ((0, stretch.rows(pixels.shape[0])), (1, stretch.columns(pixels.shape[1]))):
        if length != result.shape[axis]:
            result = _along(result, axis, length)
    return result


def _along(pixels: NDArray[Any], axis: int, length: int) -> NDArray[Any]:
    old = pixels.shape[axis]
    at = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, old - 1)
    shape = (-1, 1) if axis == 0 else (1, -1)
    weight = (at - below).astype(np.float32).reshape(shape)
    low, high = (np.take(pixels, index, axis=axis).astype(np.float32) for index in (below, above))
    mixed = low + weight * (high - low)
    if pixels.dtype.kind in "ui":
        mixed = np.rint(mixed)
    return mixed.astype(pixels.dtype)
