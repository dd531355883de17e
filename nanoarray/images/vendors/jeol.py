"""JEOL: ``$KEY=value`` lines in the EXIF MakerNote or a ``.txt`` beside it, XML of TEM Center."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import tifffile

from nanoarray.images.header import Header, known_values, number, positive
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.fei import field_width
from nanoarray.images.vendors.tags import ratio, tag_text, tag_value
from nanoarray.images.vendors.text import (
    find_text,
    flat,
    iso_date,
    parse_xml,
    quantity,
    to_text,
)

EXIF, IMAGE_DESCRIPTION, X_RESOLUTION = 34665, 270, 282
_ENCODING_BYTES = 8  # `UNICODE\0` before the text
_INCH_M = 0.0254
_MICRO = {"μs": 1.0, "µs": 1.0, "us": 1.0, "ms": 1e3, "ns": 1e-3}


def read_jeol(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Header of an SEM image (MakerNote or sidecar) or of TEM Center (XML description)."""
    for where in (page, tif.pages.first):
        note = maker_note(where)
        if note:
            header = parse_jeol(note)
            taken = _exif_date(where)
            return replace(header, metadata={**taken, **header.metadata})
    description = tag_text(page, IMAGE_DESCRIPTION)
    if "<TemReporter" in description:
        root = parse_xml(description)
        if root is None:
            return Header(warnings=("the JEOL description holds XML that cannot be read",))
        return _of_tem_reporter(root, ratio(tag_value(page, X_RESOLUTION)))
    beside = source.sidecar(".txt")
    if beside is not None and (b"$CM_" in beside or b"$\0C\0M\0" in beside):
        return parse_jeol(to_text(beside), source="JEOL text file")
    return None


def _exif_date(page: tifffile.TiffPage) -> dict[str, str]:
    """When the image was taken, which newer MakerNotes leave to EXIF."""
    date = tag_value(page, EXIF).get("DateTimeOriginal")
    text = iso_date(date, ("%Y:%m:%d %H:%M:%S",)) if isinstance(date, str) else ""
    return {"acquired": text} if text else {}


def maker_note(page: tifffile.TiffPage) -> str:
    """Text of the MakerNote of a JEOL file; "" where there is none."""
    exif = tag_value(page, EXIF)
    note = exif.get("MakerNote") if isinstance(exif, dict) else None
    if not isinstance(note, bytes):
        return ""
    text = to_text(note[_ENCODING_BYTES:] if note.startswith(b"UNICODE\0") else note)
    return text if "$CM_" in text else ""


def parse_jeol(text: str, *, source: str = "JEOL MakerNote") -> Header:
    r"""Quantities of ``$KEY=value`` entries separated by tabs or line ends (SEM).

    The field of view is ``width height`` with a unit, and ``$SM_PNU_HEIGHT`` the rows of the data
    bar below ``$CM_IMAGE_SIZE``, in older files ``$CM_FULL_SIZE``. The order of the angles in the
    stage position is not published, so the tilt stays unknown.
    """
    fields = dict(re.findall(r"\$(\w+)[= ]([^\t\r\n]*)", text))
    said = fields.get("CM_IMAGE_SIZE", "") or fields.get("CM_FULL_SIZE", "")
    size = [positive(part) for part in said.split()][:2]
    width, height = (int(n) if n < 2**31 else 0 for n in (*size, math.nan, math.nan)[:2])
    fov_text = fields.get("CM_FIELD_OF_VIEW", "")
    fov_unit = re.search(r"[^\W\d]+\s*$", fov_text)
    fov_um, _ = quantity(fov_text)
    if fov_unit is not None and fov_unit[0].strip() == "mm":
        fov_um *= 1e3
    elif fov_unit is not None and fov_unit[0].strip() == "nm":
        fov_um /= 1e3
    value, unit = quantity(fields.get("CM_PIXEL_SIZE", ""))
    readings = (
        reading("vendor tag", value=value, unit=unit, source=source),
        field_width(fov_um * 1e-6, width, source=source),
    )
    dwell, dwell_unit = quantity(fields.get("SM_DWELL_TIME", ""))
    date = f"{fields.get('CM_DATE', '')} {fields.get('CM_TIME', '')}"
    numbers = {
        "magnification": positive(fields.get("CM_MAG")),
        "hfw_um": fov_um,
        "voltage_kV": positive(fields.get("CM_ACCEL_VOLT")),
        "working_distance_mm": positive(fields.get("SM_WD")),
        "dwell_us": dwell * _MICRO.get(dwell_unit, math.nan),
        "data_bar_px": number(fields.get("SM_PNU_HEIGHT")),
    }
    texts = {
        "instrument": fields.get("SM_NICKNAME", "") or fields.get("CM_INSTRUMENT", ""),
        "detector": fields.get("FE_DETECTOR_NAME", "") or fields.get("CM_SIGNAL_NAME", ""),
        "acquired": iso_date(date, ("%Y/%m/%d %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y/%m/%d")),
        "tilt_corrected": "yes" if fields.get("SM_TILT_MAG_CORRECTION") == "1" else "",
    }
    return Header(
        readings=tuple(r for r in readings if r is not None),
        metadata=known_values(numbers, texts),
        raw={"JEOL": fields} if fields else {},
        image_width_px=width,
        image_height_px=height,
    )


def _of_tem_reporter(root: ElementTree.Element, dots_per_inch: float) -> Header:
    """XML of TEM Center: pixels of the camera, enlarged by the selected magnification.

    The scale is the pitch of pixels in the recording plane over the magnification. The pitch is the
    resolution tag, and once more ``PixelsPerMeter`` of the image in the XML.
    """
    enlarged = find_text(root, "ImageFormingSystem", "ModeString") in ("MAG", "LOWMAG", "SAMAG")
    magnification = positive(find_text(root, "ImageFormingSystem", "SelectorValue"))
    per_m = positive(find_text(root, "PixelsPerMeter", "Horizontal"))
    pitches = [
        (_INCH_M / dots_per_inch if dots_per_inch > 0 else math.nan, "resolution"),
        (1 / per_m, "PixelsPerMeter"),
    ]
    readings = [
        reading(
            "vendor tag",
            value=pitch / magnification,
            unit="m",
            source=f"JEOL TEM Center, {name} over magnification",
        )
        for pitch, name in pitches
        if enlarged
    ]
    numbers = {
        "magnification": magnification,
        "voltage_kV": positive(find_text(root, "ElectronGun", "AccelerationVoltage")) / 1e3,
    }
    texts = {
        "instrument": find_text(root, "Instruments"),
        "acquired": iso_date(find_text(root, "DateTime")[:19], ("%Y-%m-%dT%H:%M:%S",)),
    }
    return Header(
        readings=tuple(r for r in readings if r is not None),
        metadata=known_values(numbers, texts),
        raw={"JEOL": flat(root)},
    )
