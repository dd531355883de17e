"""Gatan DigitalMicrograph: the calibration that it writes into TIFF files, tags 65003 to 65013."""

from __future__ import annotations

import tifffile

from nanoarray.images.header import Header, known_values, positive
from nanoarray.images.scale import nm_per_unit, reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_text, tag_value

UNIT_X, UNIT_Y, SCALE_X, SCALE_Y = 65003, 65004, 65009, 65010
UNIT_NAMES = (65012, 65013)


def read_gatan(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Calibration of a file that DigitalMicrograph saved; a reciprocal one is no pixel size."""
    del source, tif
    scale = positive(tag_value(page, SCALE_X))
    unit, unit_y = (
        _unit(page, short, long) for short, long in zip((UNIT_X, UNIT_Y), UNIT_NAMES, strict=True)
    )
    if not unit and SCALE_X not in page.tags:
        return None
    per_unit = nm_per_unit(unit_y) / nm_per_unit(unit)
    found = reading(
        "vendor tag",
        value=scale,
        value_y=positive(tag_value(page, SCALE_Y)) * per_unit,
        unit=unit,
        source="Gatan tag",
    )
    raw = {"scale": scale, "unit": unit}
    return Header(readings=(found,) if found else (), metadata=known_values({}), raw={"Gatan": raw})


def _unit(page: tifffile.TiffPage, short: int, long: int) -> str:
    """The unit by its sign, or by its name where the sign is in another encoding."""
    sign, name = tag_text(page, short), tag_text(page, long)
    return sign if nm_per_unit(sign) > 0 else name or sign
