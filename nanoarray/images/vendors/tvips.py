"""TVIPS EM-MENU: private tag 37706, version 2 of which has the size of a pixel."""

from __future__ import annotations

from datetime import datetime, timedelta

import tifffile

from nanoarray.images.header import Header, known_values, number, positive
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_value

TAG = 37706


def read_tvips(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Header of an EM-MENU file; lengths are in nanometres, the high tension in volts."""
    del source, tif
    fields = tag_value(page, TAG)
    if not isinstance(fields, dict):
        return None
    found = reading(
        "vendor tag",
        value=positive(fields.get("PixelSizeX")),
        value_y=positive(fields.get("PixelSizeY")),
        unit="nm",
        source="TVIPS tag",
    )
    numbers = {
        "magnification": positive(fields.get("TemMagnification")),
        "voltage_kV": positive(fields.get("TemHighTension")) / 1e3,
    }
    texts = {
        "instrument": str(fields.get("TemType") or ""),
        "detector": str(fields.get("CameraType") or ""),
        "acquired": _date(number(fields.get("Date")), number(fields.get("Time"))),
    }
    said = {k: v for k, v in fields.items() if isinstance(v, str | int | float) and v != ""}
    return Header(
        readings=(found,) if found else (),
        metadata=known_values(numbers, texts),
        raw={"TVIPS": said},
    )


def _date(day: float, seconds: float) -> str:
    """Of year, month and day in the bytes of a number, and the seconds since midnight."""
    if not (0 < day < 2**31 and 0 <= seconds < 86400):
        return ""
    packed = int(day)
    try:
        start = datetime(packed >> 16, packed >> 8 & 0xFF, packed & 0xFF)
    except ValueError:
        return ""
    return (start + timedelta(seconds=int(seconds))).isoformat()
