"""Tile size and stride of a collection in whole pixels."""

from __future__ import annotations

import numpy as np

from nanoarray.errors import InputError
from nanoarray.superlattice.parameters import TilesParameters
from nanoarray.superlattice.scale import known_median, sizes_differ


def length_px(
    parameters: TilesParameters,
    what: str,
    spacing_px: float,
    sizes_nm: np.ndarray,
    default: float,
) -> int:
    """A length in whole pixels, from pixels, nanometres or lattice spacings.

    ``sizes_nm`` are the pixel sizes that tiles are cut at: the common one, or those of the images.
    """
    pixels = getattr(parameters, f"{what}_px")
    if pixels is not None:
        return int(pixels)
    length_nm = getattr(parameters, f"{what}_nm")
    if length_nm is not None:
        scale_nm = known_median(sizes_nm)
        if not np.isfinite(scale_nm):
            raise InputError(f"tiles.{what}_nm needs a pixel size and no image has one")
        if sizes_differ(sizes_nm):
            raise InputError(
                f"tiles.{what}_nm is {length_nm:g}, but pixel sizes range from "
                f"{np.nanmin(sizes_nm):g} to {np.nanmax(sizes_nm):g} nm and images keep their own: "
                'set prepared.common_pixel_size_nm to "auto" or a number'
            )
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
