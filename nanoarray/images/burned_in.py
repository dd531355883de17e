"""The size of a pixel by a scale bar that is burned into the image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nanoarray.images.scale import DISAGREEMENT, SCALE_BAR, ScaleReading
from nanoarray.images.scale_bar import find_scale_bars

#: Values of the option beside a length such as "200 nm".
CHECK, USE = "check", "use"


def burned_in_reading(
    pixels: NDArray[np.generic], *, data_bar_px: int, option: str
) -> tuple[ScaleReading | None, str]:
    """What the scale bar of an image says.

    Parameters
    ----------
    pixels
        ``(height, width)`` grey levels, with the data bar.
    data_bar_px
        Rows of data bar at the bottom.
    option
        `CHECK` or `USE` take the number that was read at the bar; otherwise it is the number.

    Returns
    -------
    reading : ScaleReading or None
        None where there is no bar, several of different lengths, or no number.
    doubt : str
        Why there is none where the user gave the number; otherwise "".
    """
    bars = find_scale_bars(pixels, data_bar_px=data_bar_px)
    given = option not in (CHECK, USE)
    if given:
        bars = [bar.labelled(option) for bar in bars]
    sizes_nm = [bar.pixel_size_nm for bar in bars]
    known = [k for k, size_nm in enumerate(sizes_nm) if math.isfinite(size_nm)]
    if not known:
        return None, "no scale bar was found" if given else ""
    best = bars[known[0]]
    if any(abs(sizes_nm[k] / best.pixel_size_nm - 1) > DISAGREEMENT for k in known):
        return None, "several lines may be the scale bar, so none is used" if given else ""
    said = f"scale bar of {best.label} over {best.length_px:.4g} px"
    value, unit = best.pixel_size_nm, "nm"
    return ScaleReading(SCALE_BAR, value, source=said, value=value, unit=unit), ""
