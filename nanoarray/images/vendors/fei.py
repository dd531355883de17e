"""FEI and Thermo Fisher: sections of ``Key=Value`` lines, or XML, in private tags or at the end."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from xml.etree import ElementTree

import tifffile

from nanoarray.images.header import Header, MetadataValue, known_values, number, positive
from nanoarray.images.scale import ScaleReading, reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_bytes
from nanoarray.images.vendors.text import (
    find_all,
    find_text,
    flat,
    iso_date,
    parse_sections,
    parse_xml,
    to_text,
)

#: xT of SEM and FIB writes 34680 or 34682, Phenom and newer programs 34683.
TAGS = (34682, 34680, 34683)
#: Old versions of xT append the text to the file and write no tag.
END_OF_FILE_BYTES = 2**16
# Another "pixel width" is a corrupt field: 1 fm to 1 cm.
SMALLEST_PIXEL_M, LARGEST_PIXEL_M = 1e-15, 1e-2

_DATES = (
    *("%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
    *("%d/%m/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S"),
)

AnySections = Mapping[str, Mapping[str, object]]


def read_fei(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Header in a private tag of this page or the first, or at the end of the file."""
    for where in (page, tif.pages.first):
        for code in TAGS:
            content = tag_bytes(tif, where, code)
            if content:
                return parse_fei(content)
    tif.filehandle.seek(max(0, source.size_bytes - END_OF_FILE_BYTES))
    tail = tif.filehandle.read(END_OF_FILE_BYTES)
    start = max(tail.rfind(b"[User]"), tail.rfind(b"[Date]"))
    if start < 0 or (b"PixelWidth" not in tail[start:] and b"HFW" not in tail[start:]):
        return None
    return parse_fei(tail[start:], source="FEI text at the end of the file")


def parse_fei(header: bytes | str | AnySections, *, source: str = "FEI tag") -> Header:
    """Quantities of an FEI header.

    Parameters
    ----------
    header
        The content of the tag: sections with lines of any ending, or XML; or its sections.
    source
        Where it stands, for ``pixel_size_source``.

    Returns
    -------
    Header
        The pixel size is ``PixelWidth`` of the scan that made the image; its field of view over
        ``ResolutionX`` is a reading of its own. A missing section or a field that is no number
        leaves its quantity unknown; nothing raises.
    """
    if isinstance(header, Mapping):
        return _of_sections(
            {k: dict(v) for k, v in header.items() if isinstance(v, Mapping)}, source
        )
    text = to_text(header) if isinstance(header, bytes) else header
    if text.lstrip().startswith("<"):
        root = parse_xml(text)
        return _of_xml(root, source) if root is not None else _damaged(source)
    return _of_sections(parse_sections(text), source)


def _damaged(source: str) -> Header:
    return Header(warnings=(f"the {source} holds XML that cannot be read",))


# --- sections ---------------------------------------------------------------------------------


def _of_sections(sections: AnySections, source: str) -> Header:
    beam_name = _text(sections, "Beam", "Beam")
    # Where the beam is named, the others describe columns that did not make this image.
    beams = [beam_name] if beam_name else ["EBeam", "IBeam", "IRBeam"]
    scan_name = _text(sections, "Beam", "Scan")
    scans = [scan_name] if scan_name else ["EScan", "IScan"]
    width, height = _integer(sections, "ResolutionX"), _integer(sections, "ResolutionY")
    fov_m = _first(sections, [*((b, "HFW") for b in beams), ("Scan", "HorFieldsize")])
    fov_y_m = _first(sections, [*((b, "VFW") for b in beams), ("Scan", "VerFieldsize")])
    places = ["Scan", *scans]
    readings = (
        reading(
            "vendor tag",
            value=_first(sections, [(s, "PixelWidth") for s in places], pixel=True),
            value_y=_first(sections, [(s, "PixelHeight") for s in places], pixel=True),
            unit="m",
            source=source,
        ),
        field_width(fov_m, width, fov_y_m=fov_y_m, height_px=height, source=source),
    )
    return Header(
        readings=tuple(r for r in readings if r is not None),
        metadata=_metadata(sections, beams, scans, fov_m),
        raw={"FEI": sections} if sections else {},
        image_width_px=width,
        image_height_px=height,
    )


def field_width(
    fov_m: float, width_px: int, *, fov_y_m: float = math.nan, height_px: int = 0, source: str
) -> ScaleReading | None:
    """Reading of a field's width over the pixels of a row; None where one is unknown."""
    if not (fov_m > 0 and width_px > 0):
        return None
    return reading(
        "field width",
        value=fov_m / width_px,
        value_y=fov_y_m / height_px if fov_y_m > 0 and height_px > 0 else math.nan,
        unit="m",
        source=f"{source}, field of {fov_m * 1e6:.6g} um over {width_px} px",
    )


def _metadata(
    sections: AnySections, beams: list[str], scans: list[str], fov_m: float
) -> dict[str, MetadataValue]:
    canvas_m = _first(sections, [("Image", "MagCanvasRealWidth")])
    tilt_places = [("Stage", "StageT"), *((b, "StageTa") for b in beams)]
    distances = [("Stage", "WorkingDistance"), *((b, "WD") for b in beams)]
    dwells = [("Scan", "Dwelltime"), *((s, "Dwell") for s in scans)]
    rotations = [*((b, "ScanRotation") for b in beams), ("Beam", "ScanRotation")]
    corrected = any(_text(sections, b, "TiltCorrectionIsOn").lower() == "yes" for b in beams)
    user_date = f"{_text(sections, 'User', 'Date')} {_text(sections, 'User', 'Time')}"
    # The day and month of `TimeOfCreation` are not ambiguous.
    created = iso_date(_text(sections, "PrivateFei", "TimeOfCreation"), _DATES)
    numbers = {
        "magnification": canvas_m / fov_m,
        "hfw_um": fov_m * 1e6,
        "voltage_kV": _first(sections, [*((b, "HV") for b in beams), ("Beam", "HV")]) / 1e3,
        "current_pA": _first(sections, [(b, "BeamCurrent") for b in beams]) * 1e12,
        "tilt_deg": math.degrees(_first(sections, tilt_places, positive=False)),
        "scan_rotation_deg": math.degrees(_first(sections, rotations, positive=False)),
        "working_distance_mm": _first(sections, distances) * 1e3,
        "dwell_us": _first(sections, dwells) * 1e6,
        "data_bar_px": _first(sections, [("PrivateFei", "DatabarHeight")], positive=False),
    }
    texts = {
        "detector": _text(sections, "Detectors", "Name"),
        "instrument": _text(sections, "System", "SystemType").replace('"', ""),
        "acquired": created or iso_date(user_date, _DATES),
        "tilt_corrected": "yes" if corrected else "",
    }
    return known_values(numbers, texts)


def _first(
    sections: AnySections,
    places: list[tuple[str, str]],
    *,
    positive: bool = True,
    pixel: bool = False,
) -> float:
    """First usable number among ``(section, key)`` places; lengths and currents are positive."""
    for section, key in places:
        found = number(sections.get(section, {}).get(key))
        if pixel and not SMALLEST_PIXEL_M <= found <= LARGEST_PIXEL_M:
            continue
        if math.isfinite(found) and (found > 0 or not positive):
            return found
    return math.nan


def _integer(sections: AnySections, key: str) -> int:
    found = number(sections.get("Image", {}).get(key))
    return int(found) if 0 < found < 2**31 else 0


def _text(sections: AnySections, section: str, key: str) -> str:
    value = sections.get(section, {}).get(key, "")
    return str(value).strip() if isinstance(value, str | int | float) else ""


# --- XML --------------------------------------------------------------------------------------


def _of_xml(root: ElementTree.Element, source: str) -> Header:
    """``FeiImage`` of Phenom, or ``Metadata`` of the newer Thermo programs."""
    return _of_phenom(root, source) if find_text(root, "pixelWidth") else _of_thermo(root, source)


def _of_phenom(root: ElementTree.Element, source: str) -> Header:
    width = next(find_all(root, "pixelWidth"))
    found = reading(
        "vendor tag",
        value=positive(find_text(root, "pixelWidth")),
        value_y=positive(find_text(root, "pixelHeight")),
        unit=width.get("unit", ""),
        source=source,
    )
    voltage = next(find_all(root, "highVoltage"), None)
    in_volts = voltage is not None and voltage.get("unit", "kV") == "V"
    numbers = {
        "voltage_kV": positive(find_text(root, "highVoltage")) / (1e3 if in_volts else 1),
        "magnification": positive(find_text(root, "magnification")),
    }
    texts = {
        "instrument": find_text(root, "instrument", "type"),
        "detector": find_text(root, "acquisition", "detector"),
        "acquired": iso_date(find_text(root, "time")[:19], _DATES),
    }
    return Header(
        readings=(found,) if found else (),
        metadata=known_values(numbers, texts),
        raw={"FEI": flat(root)},
    )


def _of_thermo(root: ElementTree.Element, source: str) -> Header:
    width = positive(find_text(root, "ScanSettings", "ScanSize", "Width"))
    height = positive(find_text(root, "ScanSettings", "ScanSize", "Height"))
    unit = next((e.get("unit", "m") for e in find_all(root, "PixelSize", "X")), "m")
    fov_m = positive(find_text(root, "ScanFieldOfView", "X"))
    across, down = (int(n) if n < 2**31 else 0 for n in (width, height))
    readings = (
        reading(
            "vendor tag",
            value=positive(find_text(root, "PixelSize", "X")),
            value_y=positive(find_text(root, "PixelSize", "Y")),
            unit=unit,
            source=source,
        ),
        field_width(
            fov_m,
            across,
            fov_y_m=positive(find_text(root, "ScanFieldOfView", "Y")),
            height_px=down,
            source=source,
        ),
    )
    corrected = find_text(root, "Optics", "SampleTiltCorrectionOn").lower() == "true"
    numbers = {
        "hfw_um": fov_m * 1e6,
        "voltage_kV": positive(find_text(root, "Optics", "AccelerationVoltage")) / 1e3,
        "current_pA": positive(find_text(root, "Optics", "BeamCurrent")) * 1e12,
        "working_distance_mm": positive(find_text(root, "Optics", "WorkingDistance")) * 1e3,
        "dwell_us": positive(find_text(root, "ScanSettings", "DwellTime")) * 1e6,
        "tilt_deg": math.degrees(number(find_text(root, "StagePosition", "Tilt", "Alpha"))),
    }
    texts = {
        "instrument": find_text(root, "Instrument", "InstrumentClass")
        or find_text(root, "Instrument", "InstrumentModel"),
        "detector": find_text(root, "DetectorName"),
        "acquired": iso_date(
            re.sub(r"\..*|[zZ]|[+-]\d\d:\d\d$", "", find_text(root, "AcquisitionDatetime")), _DATES
        ),
        "tilt_corrected": "yes" if corrected else "",
    }
    return Header(
        readings=tuple(r for r in readings if r is not None),
        metadata=known_values(numbers, texts),
        raw={"FEI": flat(root)},
        image_width_px=across,
        image_height_px=down,
    )
