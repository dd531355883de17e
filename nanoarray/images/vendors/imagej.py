"""ImageJ and Fiji: the unit in the description, pixels per unit in the resolution tags."""

from __future__ import annotations

import math
import re

import tifffile

from nanoarray.images.header import Header
from nanoarray.images.scale import nm_per_unit, reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.resolution import LARGEST_NM as LARGEST_OF_PRINT_NM
from nanoarray.images.vendors.tags import ratio, tag_text, tag_value

DESCRIPTION, X_RESOLUTION, Y_RESOLUTION = 270, 282, 283
#: ImageJ turns the dots per inch of a file it opened into these units: print, no scale.
UNITS_OF_PRINT = frozenset(("inch", "in", "cm"))


def read_imagej(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Scale of a file that ImageJ saved; without a unit of length there is none."""
    del source
    description = tag_text(tif.pages.first, DESCRIPTION)
    if not description.startswith("ImageJ="):
        return None
    fields = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)
    unit = _decoded(fields.get("unit", ""))
    unit_y = _decoded(fields.get("yunit", "")) or unit
    per_x, per_y = (ratio(tag_value(page, code)) for code in (X_RESOLUTION, Y_RESOLUTION))
    to_x = nm_per_unit(unit_y) / nm_per_unit(unit)
    found = reading(
        "ImageJ",
        value=1 / per_x if per_x > 0 else math.nan,
        value_y=to_x / per_y if per_y > 0 else math.nan,
        unit=unit,
        source="ImageJ",
    )
    if found and unit.lower() in UNITS_OF_PRINT and found.size_nm > LARGEST_OF_PRINT_NM:
        found = None
    return Header(readings=(found,) if found else (), raw={"ImageJ": fields})


def _decoded(unit: str) -> str:
    r"""ImageJ escapes what is not ASCII: ``\u00B5m`` is the micrometre."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit.strip())
