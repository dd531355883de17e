"""FEI and Thermo Fisher metadata: sections of ``Key=Value`` lines in a private TIFF tag."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

Sections = dict[str, dict[str, object]]

# Outside these a "pixel size" is a corrupt field, not a microscope: 1 fm to 1 cm per pixel.
SMALLEST_PIXEL_M, LARGEST_PIXEL_M = 1e-15, 1e-2
# PixelWidth and HFW / ResolutionX are rounded separately; more than this apart is a contradiction.
SCALE_TOLERANCE = 0.02

_DATE_FORMATS = (
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %I:%M:%S %p",
    "%Y-%m-%d %H:%M:%S",
    "%m/%d/%Y",
)


@dataclass(frozen=True)
class FeiFields:
    """Quantities of one FEI header in this package's units; unknown is NaN, 0 or absent."""

    pixel_size_nm: float
    pixel_size_y_nm: float
    image_width_px: int
    image_height_px: int
    metadata: dict[str, float | str] = field(default_factory=dict)
    sections: Sections = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def parse_fei(header: Mapping[str, object] | str | bytes) -> FeiFields:
    """Quantities of an FEI header.

    Parameters
    ----------
    header
        Sections and their fields as tifffile returns them, or the text itself (``[Section]``
        lines, any line ending).

    Returns
    -------
    FeiFields
        The pixel size is ``PixelWidth`` of the scan that made the image, otherwise its field of
        view over ``ResolutionX``. A missing section or a field that is not a number leaves its
        quantity unknown; nothing raises.
    """
    sections = _as_sections(header)
    beam_name = _text(sections, "Beam", "Beam")
    # Where the beam is named, the others describe columns that did not make this image.
    named = [beam_name] if beam_name else ["EBeam", "IBeam", "IRBeam"]
    beams = [name for name in named if sections.get(name)]
    scan_name = _text(sections, "Beam", "Scan")
    scans = [scan_name] if scan_name else ["EScan", "IScan"]

    width, height = _integer(sections, "ResolutionX"), _integer(sections, "ResolutionY")
    fov_x_m = _first(sections, [(b, "HFW") for b in beams] + [("Scan", "HorFieldsize")])
    fov_y_m = _first(sections, [(b, "VFW") for b in beams] + [("Scan", "VerFieldsize")])
    places = ["Scan", *scans]
    scan_x_m = _first(sections, [(s, "PixelWidth") for s in places], pixel=True)
    scan_y_m = _first(sections, [(s, "PixelHeight") for s in places], pixel=True)
    size_x_m = scan_x_m if math.isfinite(scan_x_m) else _ratio(fov_x_m, width)
    size_y_m = scan_y_m if math.isfinite(scan_y_m) else _ratio(fov_y_m, height)

    warnings = []
    expected = _ratio(fov_x_m, width)
    if math.isfinite(expected) and abs(size_x_m / expected - 1) > SCALE_TOLERANCE:
        warnings.append(
            f"FEI header contradicts itself: pixel width {size_x_m * 1e9:.4g} nm, but field of "
            f"view over image width is {expected * 1e9:.4g} nm; the pixel width is used"
        )
    return FeiFields(
        pixel_size_nm=size_x_m * 1e9,
        pixel_size_y_nm=(size_y_m if math.isfinite(size_y_m) else size_x_m) * 1e9,
        image_width_px=width,
        image_height_px=height,
        metadata=_metadata(sections, beams, scans, fov_x_m),
        sections=sections,
        warnings=tuple(warnings),
    )


def _metadata(
    sections: Sections, beams: list[str], scans: list[str], fov_x_m: float
) -> dict[str, float | str]:
    canvas_m = _first(sections, [("Image", "MagCanvasRealWidth")])
    tilt_places = [("Stage", "StageT"), *((b, "StageTa") for b in beams)]
    distance_places = [("Stage", "WorkingDistance"), *((b, "WD") for b in beams)]
    numbers = {
        "magnification": _ratio(canvas_m, fov_x_m),
        "hfw_um": fov_x_m * 1e6,
        "voltage_kV": _first(sections, [*((b, "HV") for b in beams), ("Beam", "HV")]) / 1e3,
        "current_pA": _first(sections, [(b, "BeamCurrent") for b in beams]) * 1e12,
        "tilt_deg": math.degrees(_first(sections, tilt_places, positive=False)),
        "working_distance_mm": _first(sections, distance_places) * 1e3,
        "dwell_us": _first(sections, [("Scan", "Dwelltime"), *((s, "Dwell") for s in scans)]) * 1e6,
        "data_bar_px": _first(sections, [("PrivateFei", "DatabarHeight")], positive=False),
    }
    texts = {
        "detector": _text(sections, "Detectors", "Name"),
        "instrument": _text(sections, "System", "SystemType").replace('"', "").strip(),
        "acquired": _acquired(sections),
    }
    metadata: dict[str, float | str] = {k: v for k, v in numbers.items() if math.isfinite(v)}
    metadata.update({k: v for k, v in texts.items() if v})
    return metadata


def _acquired(sections: Sections) -> str:
    """Local time in ISO 8601; ``TimeOfCreation`` first, its day and month are not ambiguous."""
    user = f"{_text(sections, 'User', 'Date')} {_text(sections, 'User', 'Time')}".strip()
    for text in (_text(sections, "PrivateFei", "TimeOfCreation"), user):
        for pattern in _DATE_FORMATS:
            try:
                return datetime.strptime(text, pattern).isoformat()
            except ValueError:
                continue
    return ""


def _as_sections(header: Mapping[str, object] | str | bytes) -> Sections:
    if isinstance(header, bytes):
        header = header.decode("cp1252", errors="replace")
    if isinstance(header, str):
        return _parse_text(header)
    return {
        str(name): {str(key): value for key, value in fields.items()}
        for name, fields in header.items()
        if isinstance(fields, Mapping)
    }


def _parse_text(text: str) -> Sections:
    sections: Sections = {}
    current: dict[str, object] = {}
    for line in re.split(r"[\r\n\0]+", text):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1].strip(), {})
        elif "=" in line:
            key, value = line.split("=", 1)
            current[key.strip()] = value.strip()
    return sections


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _first(
    sections: Sections,
    places: list[tuple[str, str]],
    *,
    positive: bool = True,
    pixel: bool = False,
) -> float:
    """First usable number among ``(section, key)`` places; lengths and currents are positive."""
    for section, key in places:
        number = _number(sections.get(section, {}).get(key))
        if pixel and not SMALLEST_PIXEL_M <= number <= LARGEST_PIXEL_M:
            continue
        if math.isfinite(number) and (number > 0 or not positive):
            return number
    return math.nan


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.nan


def _integer(sections: Sections, key: str) -> int:
    number = _number(sections.get("Image", {}).get(key))
    return int(number) if 0 < number < 2**31 else 0


def _text(sections: Sections, section: str, key: str) -> str:
    value = sections.get(section, {}).get(key, "")
    return str(value).strip() if isinstance(value, str | int | float) else ""
