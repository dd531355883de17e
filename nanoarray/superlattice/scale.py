"""Pixel sizes of a collection: the common one, and how far every image is from it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError

#: Pixel sizes that differ by less are measured in each image's own pixels.
SAME_PIXEL_SIZE = 0.02
#: Images are enlarged or reduced by at most this factor; further away a lattice cannot be seen.
MAX_RESAMPLING = 4.0
#: Resampling by less than this changes nothing that can be measured.
_SAME_SCALE = 1e-3

CommonPixelSize = Literal["auto", "none"] | float


def common_pixel_size(sizes_nm: npt.NDArray[np.floating], wanted: CommonPixelSize) -> float:
    """Pixel size [nm] to resample to; NaN where every image keeps its own."""
    known = sizes_nm[np.isfinite(sizes_nm)]
    if wanted == "none" or known.size == 0:
        return float("nan")
    if wanted != "auto":
        return float(wanted)
    if not sizes_differ(known):
        return float("nan")
    # Three digits, so that a few more images do not move it.
    return float(f"{np.median(known):.3g}")


def sizes_differ(sizes_nm: npt.NDArray[np.floating]) -> bool:
    """Whether the known pixel sizes are too different to be measured side by side in pixels."""
    known = sizes_nm[np.isfinite(sizes_nm)]
    return bool(known.size and known.max() / known.min() > 1 + SAME_PIXEL_SIZE)


def scale_factor(pixel_size_nm: float, common_pixel_size_nm: float) -> float:
    """Common pixels per pixel of an image; 1 where nothing is resampled.

    Raises
    ------
    InputError
        When the image cannot be brought to the common pixel size, see `scale_problem`.
    """
    reason = scale_problem(pixel_size_nm, common_pixel_size_nm)
    if reason:
        raise InputError(reason)
    if not np.isfinite(common_pixel_size_nm):
        return 1.0
    factor = pixel_size_nm / common_pixel_size_nm
    return 1.0 if abs(factor - 1.0) < _SAME_SCALE else float(factor)


def scale_problem(pixel_size_nm: float, common_pixel_size_nm: float) -> str:
    """Why an image cannot be brought to the common pixel size; "" where it can."""
    if not np.isfinite(common_pixel_size_nm):
        return ""
    if not np.isfinite(pixel_size_nm):
        return (
            "no pixel size, and the collection is resampled to a common one: "
            "pass --pixel-size NM or add a pixel_size column to the tags"
        )
    if abs(np.log(pixel_size_nm / common_pixel_size_nm)) > np.log(MAX_RESAMPLING):
        common = f"{common_pixel_size_nm:g} nm"
        return f"pixel size {pixel_size_nm:g} nm is too far from the common {common}"
    return ""


def scale_factors(
    sizes_nm: npt.NDArray[np.floating], common_pixel_size_nm: float
) -> npt.NDArray[np.float64]:
    """`scale_factor` of every image; NaN where there is a `scale_problem`."""
    return np.array(
        [
            np.nan
            if scale_problem(size, common_pixel_size_nm)
            else scale_factor(size, common_pixel_size_nm)
            for size in sizes_nm.astype(float).tolist()
        ],
        dtype=np.float64,
    )


def known_median(values: npt.NDArray[np.floating]) -> float:
    """Median of the values that are known, NaN where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
