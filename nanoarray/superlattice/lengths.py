"""Lengths of a collection: the common pixel size, the tile size and the stride, in whole pixels."""

from __future__ import annotations

import numpy as np

from nanoarray.errors import InputError
from nanoarray.superlattice.parameters import PreparedParameters, TilesParameters

#: Pixel sizes that differ by less are measured in each image's own pixels.
SAME_PIXEL_SIZE = 0.02
#: Images are enlarged or reduced by at most this factor; further away a lattice cannot be seen.
MAX_RESAMPLING = 4.0


def common_pixel_size(sizes_nm: np.ndarray, parameters: PreparedParameters) -> float:
    """Pixel size to resample to; NaN where every image keeps its own."""
    wanted = parameters.common_pixel_size_nm
    known = sizes_nm[np.isfinite(sizes_nm)]
    if wanted == "none" or known.size == 0:
        return float("nan")
    if wanted != "auto":
        return float(wanted)
    if known.max() / known.min() <= 1 + SAME_PIXEL_SIZE:
        return float("nan")
    # Three digits, so that a few more images do not move it.
    return float(f"{np.median(known):.3g}")


def length_px(
    parameters: TilesParameters, what: str, spacing_px: float, scale_nm: float, default: float
) -> int:
    """A length in whole pixels, from pixels, nanometres or lattice spacings."""
    pixels = getattr(parameters, f"{what}_px")
    if pixels is not None:
        return int(pixels)
    length_nm = getattr(parameters, f"{what}_nm")
    if length_nm is not None:
        if not np.isfinite(scale_nm):
            raise InputError(f"tiles.{what}_nm needs a pixel size and no image has one")
        return max(1, round(length_nm / scale_nm))
    spacings = getattr(parameters, f"{what}_spacings")
    if not np.isfinite(spacing_px):
        raise InputError(
            f"no image shows a lattice to choose the {what.replace('_', ' ')} by: "
            f"set tiles.{what}_px"
        )
    length = (default if spacings is None else spacings) * spacing_px
    # Even steps of about 5 %, so that a few more images do not move it.
    step = 2 if length >= 24 else 1
    return max(4 if what == "tile_size" else 1, step * round(length / step))


def known_median(values: np.ndarray) -> float:
    """Median of the values that are known, NaN where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
