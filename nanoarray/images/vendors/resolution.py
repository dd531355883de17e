"""Baseline TIFF resolution tags, where their unit is physical."""

from __future__ import annotations

import math

import tifffile

from nanoarray.images.header import Header
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import ratio, tag_value

X_RESOLUTION, Y_RESOLUTION, UNIT = 282, 283, 296
#: A resolution is a scale only when no printer or screen could have meant it: 1 um per pixel is
#: 25,400 dots per inch, and typesetters end near 5,000.
LARGEST_NM = 1000.0
UNITS = {2: "inch", 3: "cm"}  # TIFF 6.0; 1 is no unit of length
_INCH = 2


def read_resolution(
    source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage
) -> Header | None:
    """Scale of the resolution tags, when it is too fine to be meant for paper or screen.

    Cameras such as TVIPS write the true scale there; most else writes 72 or 300 dots per inch,
    which says nothing about the specimen and is ignored.
    """
    del source, tif
    code = tag_value(page, UNIT)
    unit = UNITS.get(int(code) if isinstance(code, int) else _INCH)
    per_x, per_y = (ratio(tag_value(page, code)) for code in (X_RESOLUTION, Y_RESOLUTION))
    if unit is None or per_x <= 0:
        return None
    found = reading(
        "resolution tag",
        value=1 / per_x,
        value_y=1 / per_y if per_y > 0 else math.nan,
        unit=unit,
        source="TIFF resolution tag",
    )
    if found is None or max(found.size_nm, found.y_nm) > LARGEST_NM:
        return None
    return Header(readings=(found,))
