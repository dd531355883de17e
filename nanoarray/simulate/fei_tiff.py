"""Write micrographs as FEI/Thermo TIFF files: metadata in tag 34682 and a burned-in data bar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nanoarray.errors import InputError

#: Rows of the data bar of a 1024 px wide Helios image.
DATA_BAR_ROWS = 59
_FEI_HELIOS = 34682
# Width of the virtual print on which FEI states magnification [m].
_CANVAS_WIDTH_M = 0.128


@dataclass(frozen=True)
class Acquisition:
    """Conditions that the header and the data bar record."""

    voltage_kV: float = 5.0
    current_pA: float = 86.0
    tilt_deg: float = 52.0
    working_distance_mm: float = 4.1
    dwell_us: float = 3.0
    detector: str = "TLD"
    instrument: str = "Helios NanoLab"
    mode: str = "SE"


def write_fei_tiff(
    path: str | Path,
    image: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    pixel_size_nm: float,
    acquisition: Acquisition | None = None,
    acquired: datetime = datetime(2022, 3, 14, 11, 52, 46),
    data_bar: bool = True,
    rgb: bool = False,
) -> Path:
    """Write a micrograph the way a Helios does.

    Parameters
    ----------
    path
        File to write.
    image
        Micrograph, ``(height, width)`` uint8 or uint16.
    pixel_size_nm
        Size of a pixel. The magnification is the one that belongs to the width of the field.
    acquisition
        Recorded conditions.
    acquired
        Recorded date and time.
    data_bar
        Append the data bar, 59 rows that are not part of the micrograph.
    rgb
        Save as three equal channels (uint8 only), as some exports do.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the image is not a 2-D uint8 or uint16 array or the pixel size is not positive.
    """
    _check(image, pixel_size_nm, rgb)
    recorded = acquisition or Acquisition()
    pixels: NDArray = image
    if data_bar:
        bar: NDArray = _draw_data_bar(image.shape[1], pixel_size_nm, recorded)
        if image.dtype == np.dtype(np.uint16):
            bar = bar.astype(np.uint16) * 257
        pixels = np.concatenate([image, bar])
    bar_rows = DATA_BAR_ROWS if data_bar else 0
    sections = _metadata(image.shape, pixel_size_nm, recorded, acquired, bar_rows)
    text = "\r\n".join(
        f"[{name}]\r\n" + "".join(f"{key}={value}\r\n" for key, value in section.items())
        for name, section in sections.items()
    )
    tifffile.imwrite(
        path,
        np.repeat(pixels[..., None], 3, axis=2) if rgb else pixels,
        photometric="rgb" if rgb else "minisblack",
        resolution=(67, 67),
        resolutionunit="CENTIMETER",
        metadata=None,
        software=False,
        extratags=[(_FEI_HELIOS, 2, 0, text.encode("cp1252"), True)],
    )
    return Path(path)


def _check(image: NDArray, pixel_size_nm: float, rgb: bool) -> None:
    if image.ndim != 2 or image.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise InputError(
            f"image is {image.ndim}-D {image.dtype}: a 2-D uint8 or uint16 array is needed"
        )
    if rgb and image.dtype != np.dtype(np.uint8):
        raise InputError("rgb=True needs a uint8 image")
    if not (np.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise InputError(f"pixel_size_nm is {pixel_size_nm}: it must be positive")


def _draw_data_bar(width: int, pixel_size_nm: float, recorded: Acquisition) -> NDArray[np.uint8]:
    """Black bar with white frames, two rows of text and a scale bar."""
    field_width_um = width * pixel_size_nm / 1000
    magnification = _CANVAS_WIDTH_M / (field_width_um * 1e-6)
    cells = {
        "HV": f"{recorded.voltage_kV:.2f} kV",
        "curr": f"{recorded.current_pA:.0f} pA",
        "tilt": f"{recorded.tilt_deg:.0f}°",
        "mag": f"{magnification:,.0f} x".replace(",", " "),
        "WD": f"{recorded.working_distance_mm:.1f} mm",
        "HFW": f"{field_width_um:.2f} um",
    }
    bar = Image.new("L", (width, DATA_BAR_ROWS), 0)
    draw = ImageDraw.Draw(bar)
    font = ImageFont.load_default(size=max(8, min(22, width // 46)))
    draw.line([(0, 0), (width, 0)], fill=255)
    left = round(0.05 * width)
    step = (0.6 * width - left) / len(cells)
    for k, (name, value) in enumerate(cells.items()):
        x = left + k * step
        draw.line([(x, 0), (x, DATA_BAR_ROWS)], fill=255)
        draw.text((x + step / 2, 15), name, fill=255, font=font, anchor="mm")
        draw.text((x + step / 2, 43), value, fill=255, font=font, anchor="mm")
    right = round(0.6 * width)
    draw.line([(right, 0), (right, DATA_BAR_ROWS)], fill=255)
    # The longest of 1, 2, 5 x 10^n nm that fills at most 60 % of the last cell.
    room_nm = 0.6 * (width - right) * pixel_size_nm
    decade = 10.0 ** np.floor(np.log10(room_nm))
    length_nm = max(m * decade for m in (1, 2, 5) if m * decade <= room_nm)
    half = length_nm / pixel_size_nm / 2
    middle = (right + width) / 2
    draw.line([(middle - half, 15), (middle + half, 15)], fill=255, width=2)
    for end in (middle - half, middle + half):
        draw.line([(end, 11), (end, 19)], fill=255, width=2)
    label = f"{length_nm:g} nm" if length_nm < 1000 else f"{length_nm / 1000:g} um"
    box = draw.textbbox((middle, 15), label, font=font, anchor="mm")
    draw.rectangle([box[0] - 3, 2, box[2] + 3, 28], fill=0)
    draw.text((middle, 15), label, fill=255, font=font, anchor="mm")
    draw.line([(right, 30), (width, 30)], fill=255)
    draw.text((middle, 44), recorded.detector, fill=255, font=font, anchor="mm")
    return np.asarray(bar, dtype=np.uint8)


def _metadata(
    shape: tuple[int, ...],
    pixel_size_nm: float,
    recorded: Acquisition,
    acquired: datetime,
    data_bar_rows: int,
) -> dict[str, dict[str, object]]:
    """The sections of a Helios header that say something about the image."""
    height, width = shape
    detector = recorded.detector
    pixel_m = f"{pixel_size_nm * 1e-9:.9g}"
    field_m = f"{width * pixel_size_nm * 1e-9:.9g}"
    field_height_m = f"{height * pixel_size_nm * 1e-9:.9g}"
    tilt = f"{np.deg2rad(recorded.tilt_deg):.6g}"
    distance = f"{recorded.working_distance_mm * 1e-3:.6g}"
    dwell = f"{recorded.dwell_us * 1e-6:.6g}"
    volts = f"{recorded.voltage_kV * 1000:.10g}"
    fields = {"HorFieldsize": field_m, "VerFieldsize": field_height_m}
    return {
        "User": {
            "Date": acquired.strftime("%m/%d/%Y"),
            "Time": acquired.strftime("%I:%M:%S %p"),
            "User": "simulation",
            "UserText": "simulated",
        },
        "System": {"Type": "DualBeam", "Software": "nanoarray", "SystemType": recorded.instrument},
        "Beam": {"HV": volts, "ScanRotation": 0, "Beam": "EBeam", "Scan": "EScan"},
        "EBeam": {
            "HV": volts,
            "HFW": field_m,
            "VFW": field_height_m,
            "WD": distance,
            "BeamCurrent": f"{recorded.current_pA * 1e-12:.6g}",
            "TiltCorrectionIsOn": "no",
            "ScanRotation": 0,
            "StageTa": tilt,
        },
        "Scan": {
            "InternalScan": "true",
            "Dwelltime": dwell,
            "PixelWidth": pixel_m,
            "PixelHeight": pixel_m,
            **fields,
            "Average": 0,
            "Integrate": 1,
        },
        "EScan": {
            "InternalScan": "true",
            "Dwell": dwell,
            "PixelWidth": pixel_m,
            "PixelHeight": pixel_m,
            **fields,
        },
        "Stage": {"StageT": tilt, "WorkingDistance": distance},
        "Image": {
            "DigitalContrast": 1,
            "DigitalBrightness": 0,
            "DigitalGamma": 1,
            "ResolutionX": width,
            "ResolutionY": height,
            "ZoomFactor": 1,
            "MagCanvasRealWidth": _CANVAS_WIDTH_M,
            "MagnificationMode": 3,
        },
        "Detectors": {"Number": 1, "Name": detector, "Mode": recorded.mode},
        "PrivateFei": {
            "BitShift": 0,
            "DataBarSelected": "HV curr tilt mag HFW MicronBar" if data_bar_rows else "",
            "TimeOfCreation": acquired.strftime("%d.%m.%Y %H:%M:%S"),
            "DatabarHeight": data_bar_rows,
        },
    }
