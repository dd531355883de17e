"""Hitachi: a text file beside the image, of ``Key=Value`` lines under ``[SemImageFile]``."""

from __future__ import annotations

import math
import re

import tifffile

from nanoarray.images.header import Header, known_values, number, positive
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.text import iso_date, parse_sections, quantity, to_text

_SECTIONS = ("SemImageFile", "TemImageFile")
_VOLTS = {"": 1e-3, "V": 1e-3, "Volt": 1e-3, "kV": 1.0}
_AMPERES = {"": 1e3, "nA": 1e3, "uA": 1e6, "pA": 1.0}


def read_hitachi(
    source: Source, tif: tifffile.TiffFile | None = None, page: tifffile.TiffPage | None = None
) -> Header | None:
    """Header of the ``.txt`` beside the image."""
    del tif, page
    beside = source.sidecar(".txt")
    return parse_hitachi(beside) if beside is not None else None


def parse_hitachi(content: bytes) -> Header | None:
    """Quantities of the text file; None where it is not Hitachi's.

    ``PixelSize`` is in nanometres, ``DataSize`` is ``width x height`` of the stored image.
    Voltages are in volts, currents in nanoamperes and lengths in micrometres where no unit stands.
    """
    sections = parse_sections(to_text(content))
    fields = next((sections[name] for name in _SECTIONS if name in sections), None)
    if fields is None:
        return None
    value, unit = quantity(fields.get("PixelSize", ""))
    found = reading("vendor tag", value=value, unit=unit or "nm", source="Hitachi text file")
    size = re.match(r"\s*(\d{1,9})\s*[xX*]\s*(\d{1,9})", fields.get("DataSize", ""))
    distance, distance_unit = quantity(fields.get("WorkingDistance", ""))
    per_mm = {"": 1e-3, "um": 1e-3, "mm": 1.0}.get(distance_unit, math.nan)
    voltage, voltage_unit = quantity(fields.get("AcceleratingVoltage", ""))
    current, current_unit = quantity(fields.get("EmissionCurrent", ""))
    del current, current_unit  # of the gun, not of the probe
    numbers = {
        "magnification": positive(fields.get("Magnification")),
        "voltage_kV": voltage * _VOLTS.get(voltage_unit, math.nan),
        "working_distance_mm": distance * per_mm,
        "tilt_deg": number(fields.get("StagePositionT")),
    }
    date = f"{fields.get('Date', '')} {fields.get('Time', '')}"
    texts = {
        "instrument": fields.get("InstructName", ""),
        "detector": fields.get("SignalName", ""),
        "acquired": iso_date(date, ("%m/%d/%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%m/%d/%Y")),
    }
    return Header(
        readings=(found,) if found else (),
        metadata=known_values(numbers, texts),
        raw={"Hitachi": fields},
        image_width_px=int(size[1]) if size else 0,
    )
