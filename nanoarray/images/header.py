"""What a micrograph file says about an image: the common record of every format's reader."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nanoarray.images.scale import ScaleReading

MetadataValue = float | str

# Where a comma stands in for the point: `2,5e-9`. Not `1,024`, which may be a thousand.
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(?!0*[1-9]\d{0,2},\d{3}\s*$)\d*,\d+(?:[eE][-+]?\d+)?\s*")


@dataclass(frozen=True)
class Header:
    """What the file's own metadata says; unknown is NaN, 0, "" or absent.

    Attributes
    ----------
    readings
        What it says about the size of a pixel.
    metadata
        What is known among magnification, hfw_um, voltage_kV, current_pA, tilt_deg, detector,
        instrument, acquired (ISO 8601), working_distance_mm, dwell_us, data_bar_px.
    raw
        Everything the file says, by the name of who wrote it; what JSON can hold.
    image_width_px, image_height_px
        Size of the scanned field without a data bar; 0 where unknown.
    warnings
        What a person should know before trusting it.
    """

    readings: tuple[ScaleReading, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)
    image_width_px: int = 0
    image_height_px: int = 0
    warnings: tuple[str, ...] = ()


def merge_headers(headers: Sequence[Header]) -> Header:
    """One header of several of the same image; where two know something, the first is kept."""
    metadata: dict[str, MetadataValue] = {}
    raw: dict[str, Any] = {}
    for header in headers:
        metadata = {**header.metadata, **metadata}
        raw = {**header.raw, **raw}
    return Header(
        readings=tuple(r for header in headers for r in header.readings),
        metadata=metadata,
        raw=raw,
        image_width_px=next((h.image_width_px for h in headers if h.image_width_px), 0),
        image_height_px=next((h.image_height_px for h in headers if h.image_height_px), 0),
        warnings=tuple(text for header in headers for text in header.warnings),
    )


def known_values(
    numbers: Mapping[str, float], texts: Mapping[str, str] | None = None
) -> dict[str, MetadataValue]:
    """Metadata from candidates: numbers that are finite, texts that are not empty."""
    known: dict[str, MetadataValue] = {k: float(v) for k, v in numbers.items() if math.isfinite(v)}
    known.update({k: v.strip() for k, v in (texts or {}).items() if v.strip()})
    return known


def number(value: object) -> float:
    """Return ``value`` as a finite float, otherwise NaN; a text may have a decimal comma."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        value = value.replace(",", ".")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def positive(value: object) -> float:
    """Return ``value`` as a finite float above 0, otherwise NaN."""
    result = number(value)
    return result if result > 0 else math.nan


def to_json(value: object) -> str:
    """JSON text of a header; what JSON has no form for is written as its ``str``."""
    return json.dumps(value, default=str, ensure_ascii=False)
