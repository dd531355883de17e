"""TESCAN: sections ``[MAIN]`` and ``[SEM]`` or ``[FIB]`` in tag 50431, or in a ``.hdr`` beside."""

from __future__ import annotations

import math
from dataclasses import replace

import tifffile

from nanoarray.images.header import Header, MetadataValue, known_values, number, positive
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_bytes
from nanoarray.images.vendors.text import iso_date, parse_sections, to_text

TAG = 50431
_FIRST = b"[MAIN]"
_TILTED = ("StageTilt", "StageTX")


def read_tescan(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Header in the private tag, which also holds a preview before the text, or beside the file."""
    content = tag_bytes(tif, page, TAG) or tag_bytes(tif, tif.pages.first, TAG)
    at = content.find(_FIRST)
    if at >= 0:
        found = parse_tescan(content[at:], source="TESCAN tag")
    elif (beside := beside_hdr(source)) is not None:
        found = beside
    else:
        return None
    strip = found.metadata.get("data_bar_px", math.nan)
    if isinstance(strip, float) and 0 < strip < page.imagelength:
        return replace(found, image_height_px=int(page.imagelength - strip))
    return found


def beside_hdr(source: Source) -> Header | None:
    """Header of the ``.hdr`` beside the image: ``a.hdr`` or ``a-tif.hdr`` of ``a.tif``."""
    suffix = source.path.rsplit(".", 1)[-1].lower()
    beside = source.sidecar(".hdr", f"-{suffix}.hdr")
    if beside is None or _FIRST not in beside:
        return None
    return parse_tescan(beside[beside.find(_FIRST) :], source="TESCAN hdr file")


def parse_tescan(content: bytes, *, source: str) -> Header:
    """Quantities of the sections; lengths are in metres, voltages in volts, angles in degrees."""
    sections = parse_sections(to_text(content))
    main = sections.get("MAIN", {})
    column = sections.get("SEM") or sections.get("FIB") or {}
    found = reading(
        "vendor tag",
        value=positive(main.get("PixelSizeX")),
        value_y=positive(main.get("PixelSizeY")),
        unit="m",
        source=source,
    )
    strip = positive(main.get("ImageStripSize"))
    return Header(
        readings=(found,) if found else (),
        metadata=_metadata(main, column, strip),
        raw={"TESCAN": sections} if sections else {},
    )


def _metadata(
    main: dict[str, str], column: dict[str, str], strip_px: float
) -> dict[str, MetadataValue]:
    tilts = [number(column.get(key)) for key in _TILTED]
    numbers = {
        "magnification": positive(main.get("Magnification")),
        "voltage_kV": positive(column.get("HV")) / 1e3,
        "current_pA": positive(column.get("PredictedBeamCurrent")) * 1e12,
        "working_distance_mm": positive(column.get("WD")) * 1e3,
        "tilt_deg": next((t for t in tilts if math.isfinite(t)), math.nan),
        "data_bar_px": strip_px,
    }
    date = f"{main.get('Date', '')} {main.get('Time', '')}"
    texts = {
        "instrument": main.get("Device", "") or main.get("DeviceModel", ""),
        "detector": column.get("Detector", "") or column.get("Detector0", ""),
        "acquired": iso_date(date, ("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d")),
        "tilt_corrected": "yes" if column.get("TiltCorrection") in ("1", "yes", "true") else "",
    }
    return known_values(numbers, texts)
