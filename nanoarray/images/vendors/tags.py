"""Values of TIFF tags, taken from the file with bounds."""

from __future__ import annotations

import struct
from typing import Any

import tifffile

from nanoarray.images.vendors.text import MAX_TEXT_BYTES

#: What tifffile raises on values that are damaged.
DAMAGED = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError),
    *(struct.error, OSError, tifffile.TiffFileError),
)


def tag_value(page: tifffile.TiffPage, code: int) -> Any:
    """Value of a tag as tifffile reads it; None where it is absent or damaged."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    try:
        return tag.value
    except DAMAGED:
        return None


def tag_bytes(tif: tifffile.TiffFile, page: tifffile.TiffPage, code: int) -> bytes:
    """The bytes of a tag's value as stored; empty where it is absent."""
    tag = page.tags.get(code)
    if tag is None:
        return b""
    try:
        size = min(int(tag.valuebytecount), MAX_TEXT_BYTES)
        tif.filehandle.seek(int(tag.valueoffset))
        return bytes(tif.filehandle.read(size))
    except DAMAGED:
        return b""


def tag_text(page: tifffile.TiffPage, code: int) -> str:
    """Text of a tag; "" where it is absent or is none."""
    value = tag_value(page, code)
    return value.strip("\0 ") if isinstance(value, str) else ""


def ratio(value: object) -> float:
    """Value of a rational tag, 0 where it is none or divides by zero."""
    if not isinstance(value, tuple) or len(value) != 2:
        return 0.0
    numerator, denominator = value
    if not isinstance(numerator, int) or not isinstance(denominator, int) or not denominator:
        return 0.0
    return numerator / denominator
