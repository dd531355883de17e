"""Zeiss SmartSEM: names of parameters and their ``Name = value unit`` lines in tag 34118."""

from __future__ import annotations

import math
import re

import tifffile

from nanoarray.images.header import Header, known_values, number
from nanoarray.images.scale import ScaleReading, nm_per_unit, reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.fei import field_width
from nanoarray.images.vendors.tags import tag_bytes
from nanoarray.images.vendors.text import iso_date, quantity, to_text

TAG = 34118
#: The first unnamed value is the length of a pixel [m] in an image of this width, in full digits.
REFERENCE_WIDTH_PX = 1024
#: `AP_IMAGE_PIXEL_SIZE` is printed with four digits: further away the unnamed value is another.
ROUNDING = 0.005
_UNNAMED_PIXEL = 3  # position among the lines before the first name
_TILT_LIMIT_DEG = 90.0
_VOLTS = {"V": 1e-3, "kV": 1.0}
_AMPERES = {"pA": 1.0, "nA": 1e3, "µA": 1e6, "uA": 1e6}
_SECONDS = {"ns": 1e-3, "µs": 1.0, "us": 1.0, "ms": 1e3}


def read_zeiss(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Header of a SmartSEM image; of several pages each has its own."""
    del source
    content = tag_bytes(tif, page, TAG) or tag_bytes(tif, tif.pages.first, TAG)
    return parse_zeiss(content, width_px=int(page.imagewidth)) if content else None


def parse_zeiss(content: bytes, *, width_px: int) -> Header:
    """Quantities of a SmartSEM header.

    The pixel size is that of the stored image, ``AP_IMAGE_PIXEL_SIZE``; ``AP_PIXEL_SIZE`` is of the
    monitor and is not used. Where the unnamed value before all names agrees, its digits are taken.

    Parameters
    ----------
    content
        Of tag 34118.
    width_px
        Of the stored image.
    """
    fields, unnamed = _fields(to_text(content))
    stored = re.match(r"\s*(\d{1,9})\s*\*\s*(\d{1,9})", fields.get("DP_IMAGE_STORE", ""))
    stored_px = int(stored[1]) if stored else 0
    width_m = _length(fields, "AP_WIDTH") * 1e-9
    readings = (
        _image_pixel(fields, unnamed, stored_px or width_px),
        field_width(width_m, stored_px or width_px, source="Zeiss tag"),
    )
    tilt = quantity(fields.get("AP_STAGE_AT_T", ""))[0]
    turned = fields.get("DP_SCAN_ROT", "").lower() in ("on", "yes")
    rotation = quantity(fields.get("AP_SCANROTATION", ""))[0] if turned else 0.0
    corrected = fields.get("DP_TILT_CORRECTION", "").lower() in ("on", "yes")
    date = f"{fields.get('AP_DATE', '')} {fields.get('AP_TIME', '')}"
    numbers = {
        "magnification": _magnification(fields.get("AP_MAG", "")),
        "hfw_um": width_m * 1e6,
        "voltage_kV": _in(fields, "AP_ACTUALKV", _VOLTS),
        "current_pA": _in(fields, "AP_IPROBE", _AMPERES),
        "working_distance_mm": _length(fields, "AP_WD") / 1e6,
        "tilt_deg": tilt + 0.0 if abs(tilt) <= _TILT_LIMIT_DEG else math.nan,
        "scan_rotation_deg": rotation if "DP_SCAN_ROT" in fields else math.nan,
        "dwell_us": _in(fields, "DP_DWELL_TIME", _SECONDS),
    }
    texts = {
        "instrument": fields.get("DP_SEM", ""),
        "detector": fields.get("DP_DETECTOR_CHANNEL", "") or fields.get("DP_DETECTOR_TYPE", ""),
        "acquired": iso_date(date, ("%d %b %Y %H:%M:%S", "%d %b %Y")),
        "tilt_corrected": "yes" if corrected else "",
    }
    return Header(
        readings=tuple(r for r in readings if r is not None),
        metadata=known_values(numbers, texts),
        raw={"Zeiss": fields} if fields else {},
        image_width_px=stored_px,
    )


def _image_pixel(
    fields: dict[str, str], unnamed: list[float], width_px: int
) -> ScaleReading | None:
    value, unit = quantity(fields.get("AP_IMAGE_PIXEL_SIZE", ""))
    if len(unnamed) > _UNNAMED_PIXEL and width_px > 0:
        exact_nm = unnamed[_UNNAMED_PIXEL] * 1e9 * REFERENCE_WIDTH_PX / width_px
        printed_nm = value * nm_per_unit(unit)
        if abs(exact_nm - printed_nm) <= ROUNDING * printed_nm:
            return reading("vendor tag", value=exact_nm, unit="nm", source="Zeiss tag")
    return reading("vendor tag", value=value, unit=unit, source="Zeiss tag")


def _fields(text: str) -> tuple[dict[str, str], list[float]]:
    """Values by parameter, and the numbers on the lines before the first parameter."""
    fields: dict[str, str] = {}
    unnamed: list[float] = []
    key = ""
    for line in text.splitlines():
        line = line.strip("\0 ")
        if re.fullmatch(r"[A-Z]{2}_[A-Z0-9_@]+", line):
            key = line
        elif key:
            separator = "=" if "=" in line else ":"  # as in `Time :10:28:07`
            fields.setdefault(key, line.partition(separator)[2].strip())
            key = ""
        elif not fields:
            unnamed.append(number(line))
    return fields, unnamed


def _length(fields: dict[str, str], key: str) -> float:
    """A length [nm]; NaN where it is absent or not positive."""
    value, unit = quantity(fields.get(key, ""))
    return value * nm_per_unit(unit) if value > 0 else math.nan


def _in(fields: dict[str, str], key: str, factors: dict[str, float]) -> float:
    value, unit = quantity(fields.get(key, ""))
    return value * factors.get(unit, math.nan) if value > 0 else math.nan


def _magnification(text: str) -> float:
    """``105 X``, or ``4.53 K X`` for thousands."""
    value, unit = quantity(text)
    return value * (1e3 if unit == "K" else 1.0)
