"""Grey levels from what a TIFF page stores: palettes, colour channels, odd number types."""

from __future__ import annotations

from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from nanoarray.errors import ImageError

# Coloured labels on a grey micrograph are accepted, a coloured picture is not.
MAX_COLOURED_FRACTION = 0.01
COLOUR_TOLERANCE = 2 / 255
#: Of TIFF: where white is 0, palettes, and YCbCr, which is read only where JPEG makes it RGB.
_WHITE_IS_ZERO, _PALETTE, _YCBCR, _JPEG = 0, 3, 6, 7
PHOTOMETRIC = 262
#: Colours that are neither grey nor RGB: inks, YCbCr, three kinds of L*a*b*, raw sensors, LogLuv.
_OTHER_COLOURS = frozenset((5, _YCBCR, 8, 9, 10, 32803, 32845))
_ROWS_AT_ONCE = 32


def samples_of(page: tifffile.TiffPage, values: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Samples as ``(height, width)`` or ``(height, width, colour)``, and warnings."""
    warnings: list[str] = []
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise ImageError(f"has axes {page.axes}, expected one 2-D image")
    if np.iscomplexobj(values):
        raise ImageError("holds complex numbers, expected grey levels")
    rgb_of_jpeg = page.photometric == _YCBCR and page.compression == _JPEG
    if page.photometric in _OTHER_COLOURS and not rgb_of_jpeg:
        raise ImageError(f"holds colours as {page.photometric.name}, expected grey levels or RGB")
    if page.photometric == _PALETTE and page.colormap is not None and values.ndim == 2:
        values = _apply_palette(values, np.asarray(page.colormap))
    elif white_is_zero(page):
        values = black_is_zero(page, values)
    orientation = page.tags.get("Orientation")
    if orientation is not None and orientation.value != 1:
        warnings.append(f"the TIFF asks for orientation {orientation.value}; read as stored")
    return values, warnings


def white_is_zero(page: tifffile.TiffPage) -> bool:
    """Whether a page says so; tifffile takes the absent tag for it, other programs for black."""
    return PHOTOMETRIC in page.tags and page.photometric == _WHITE_IS_ZERO


def black_is_zero(page: tifffile.TiffPage, values: NDArray[Any]) -> NDArray[Any]:
    """The other way round, the values of a page on which white is 0."""
    if values.dtype.kind != "u":
        return -values if values.dtype.kind == "f" else ~values
    bits = min(int(page.bitspersample), 8 * values.dtype.itemsize)
    return values.dtype.type(2**bits - 1) - values


def _apply_palette(values: NDArray[Any], colormap: NDArray[np.integer]) -> NDArray[Any]:
    """Grey levels when the palette is a grey ramp, otherwise 8-bit colours."""
    colours = (colormap.astype(np.uint32) >> 8).astype(np.uint8)  # (3, entries)
    if (colours == colours[0]).all():
        return colours[0][values]
    return colours.T[values]


def to_grey(
    samples: NDArray[Any], warnings: list[str], *, first: NDArray[Any] | None = None
) -> NDArray[Any]:
    """One grey level per pixel; colour beyond small labels raises ImageError.

    ``first`` is a copy of the first colour, where the caller has one.
    """
    if samples.ndim == 2:
        return samples
    if samples.shape[2] == 1:
        return samples[..., 0]
    if _is_grey(samples):
        return samples[..., 0] if first is None else first
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * 255
    full = float(np.iinfo(samples.dtype).max) if samples.dtype.kind in "ui" else 1.0
    highest, lowest = samples.max(axis=2), samples.min(axis=2)
    coloured = float(np.mean((highest - lowest) > COLOUR_TOLERANCE * full))
    if coloured > MAX_COLOURED_FRACTION:
        raise ImageError(
            f"is a colour image ({coloured:.0%} of its pixels are coloured), expected grey levels"
        )
    if coloured > 0:
        warnings.append(f"{coloured:.2%} of the pixels are coloured (labels?); read as grey")
    return np.rint(samples.mean(axis=2)).astype(samples.dtype)


def _is_grey(samples: NDArray[Any]) -> bool:
    """Whether all colours of every pixel are equal.

    Neighbours in memory are compared, a few rows at once: several times as fast as by colour.
    """
    colours = samples.shape[2]
    for start in range(0, len(samples), _ROWS_AT_ONCE):
        line = samples[start : start + _ROWS_AT_ONCE].reshape(-1)
        same = line[1:] == line[:-1]
        same[colours - 1 :: colours] = True  # the last of one pixel and the first of the next
        if not same.all():
            return False
    return True


def supported_dtype(dtype: str) -> str:
    """The type that `to_supported_dtype` gives samples of ``dtype``."""
    kind = np.dtype(dtype)
    if kind == np.bool_:
        return "uint8"
    return kind.name if kind.kind == "u" and kind.itemsize <= 2 else "float32"


def to_supported_dtype(
    grey: NDArray[Any], warnings: list[str]
) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Grey levels as uint8, uint16 or float32, all finite."""
    if grey.dtype == np.bool_:
        return np.ascontiguousarray(grey, dtype=np.uint8)
    if grey.dtype.kind == "u" and grey.dtype.itemsize <= 2:
        return np.ascontiguousarray(grey, dtype=grey.dtype.newbyteorder("="))
    if grey.dtype.kind not in "uif":
        raise ImageError(f"holds {grey.dtype} values, expected grey levels")
    pixels = np.ascontiguousarray(grey, dtype=np.float32)
    finite = np.isfinite(pixels)
    if not finite.all():
        if not finite.any():
            raise ImageError("holds no finite grey level")
        warnings.append(f"{np.mean(~finite):.2%} of the pixels are not finite; set to the median")
        pixels[~finite] = np.median(pixels[finite])
    return pixels
