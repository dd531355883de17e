"""What a micrograph file says about itself, and the readers that find it.

A reader takes an open TIFF and the page that holds the picture and returns a `Header`, or None
when the file is not of its vendor. `read_header` asks the readers of `HEADER_READERS` in order;
support for another vendor is one more function in that tuple.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tifffile

from nanoarray.images.fei import parse_fei

# A resolution tag is a scale only when no printer or screen could have meant it: 1 um per pixel
# is 25,400 dots per inch, and typesetters end near 5,000.
LARGEST_RESOLUTION_TAG_NM = 1000.0
NM_PER_RESOLUTION_UNIT = {2: 25.4e6, 3: 1e7}  # TIFF 6.0: 2 is the inch, 3 the centimetre

MetadataValue = float | str


@dataclass(frozen=True)
class Header:
    """What the file's own metadata says; unknown is NaN, 0 or ""."""

    pixel_size_nm: float = math.nan
    pixel_size_y_nm: float = math.nan
    pixel_size_source: str = ""
    metadata: dict[str, MetadataValue] = field(default_factory=dict)
    raw: str = ""
    image_width_px: int = 0
    image_height_px: int = 0
    warnings: tuple[str, ...] = ()


HeaderReader = Callable[[tifffile.TiffFile, tifffile.TiffPage], Header | None]


def read_header(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header:
    """Header of the micrograph on ``page``; everything unknown when no reader knows the file."""
    for reader in HEADER_READERS:
        header = reader(tif, page)
        if header is not None:
            return header
    return Header()


def read_fei_tag(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """FEI and Thermo Fisher: private tags 34680 and 34682."""
    for name in ("FEI_HELIOS", "FEI_SFEG", "FEI_TITAN"):
        tag = page.tags.get(name) or tif.pages.first.tags.get(name)
        if tag is not None and isinstance(tag.value, dict | str | bytes):
            fields = parse_fei(tag.value)
            return Header(
                pixel_size_nm=fields.pixel_size_nm,
                pixel_size_y_nm=fields.pixel_size_y_nm,
                pixel_size_source="FEI tag" if math.isfinite(fields.pixel_size_nm) else "",
                metadata=fields.metadata,
                raw=to_json(fields.sections),
                image_width_px=fields.image_width_px,
                image_height_px=fields.image_height_px,
                warnings=fields.warnings,
            )
    return None


def read_olympus_tag(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Olympus Soft Imaging Solutions (iTEM, analySIS): private tag 33560."""
    tag = page.tags.get("OlympusSIS") or tif.pages.first.tags.get("OlympusSIS")
    if tag is None or not isinstance(tag.value, dict):
        return None
    fields: dict[str, Any] = tag.value
    size_x_nm = positive(fields.get("pixelsizex")) * 1e9
    size_y_nm = positive(fields.get("pixelsizey")) * 1e9
    metadata: dict[str, MetadataValue] = {}
    magnification = positive(fields.get("magnification"))
    if math.isfinite(magnification):
        metadata["magnification"] = magnification
    instrument = str(fields.get("cameraname") or "").strip()
    if not instrument and (model := page.tags.get("Model")) is not None:
        instrument = str(model.value).strip()
    if instrument:
        metadata["instrument"] = instrument
    acquired = fields.get("datetime")
    if acquired is not None and hasattr(acquired, "isoformat"):
        metadata["acquired"] = acquired.isoformat()
    return Header(
        pixel_size_nm=size_x_nm,
        pixel_size_y_nm=size_y_nm if math.isfinite(size_y_nm) else size_x_nm,
        pixel_size_source="Olympus SIS tag" if math.isfinite(size_x_nm) else "",
        metadata=metadata,
        raw=to_json(fields),
    )


def read_resolution_tags(_tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Baseline TIFF resolution, when it is too fine to be meant for paper or screen.

    Cameras such as TVIPS write the true scale there; everything else writes 72 or 300 dots per
    inch, which says nothing about the specimen and is ignored.
    """
    unit = page.tags.get("ResolutionUnit")
    nm_per_unit = NM_PER_RESOLUTION_UNIT.get(int(unit.value) if unit is not None else 2)
    if nm_per_unit is None:
        return None
    sizes_nm = [nm_per_unit / _resolution(page, name) for name in ("XResolution", "YResolution")]
    if not all(0 < size <= LARGEST_RESOLUTION_TAG_NM for size in sizes_nm):
        return None
    return Header(
        pixel_size_nm=sizes_nm[0],
        pixel_size_y_nm=sizes_nm[1],
        pixel_size_source="TIFF resolution tag",
    )


HEADER_READERS: tuple[HeaderReader, ...] = (read_fei_tag, read_olympus_tag, read_resolution_tags)


def positive(value: object) -> float:
    """Return ``value`` as a finite float above 0, otherwise NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) and number > 0 else math.nan


def to_json(value: object) -> str:
    """JSON text of a vendor's header; what JSON has no form for is written as its ``str``."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _resolution(page: tifffile.TiffPage, name: str) -> float:
    tag = page.tags.get(name)
    if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2:
        return math.nan
    numerator, denominator = tag.value
    if not numerator or not denominator:
        return math.nan
    return float(numerator) / float(denominator)
