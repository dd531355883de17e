"""PNG and JPEG: pixels only. Their resolution is for print and screen, never a scale.

What a microscope wrote into a text file beside the picture is read as for TIFF.
"""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from nanoarray.errors import ImageError
from nanoarray.images.formats import MAX_PIXEL_BYTES, Format, Frame, Samples
from nanoarray.images.header import Header, merge_headers
from nanoarray.images.source import Source
from nanoarray.images.vendors.hitachi import read_hitachi
from nanoarray.images.vendors.tescan import beside_hdr

PNG, JPEG = b"\x89PNG", b"\xff\xd8\xff"
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
# Deflate and JPEG cannot hold more than this many bytes of pixels in one byte of file.
MAX_COMPRESSION_RATIO = 1100
HARMLESS_BYTES = 2**26


def decode_picture(content: bytes, *, max_bytes: int = MAX_PIXEL_BYTES) -> tuple[NDArray[Any], int]:
    """Samples, ``(height, width)`` or ``(height, width, colour)``, and bits per sample.

    Raises
    ------
    ImageError
        The declared size is larger than ``max_bytes`` or not credible for the file, or the file
        holds several frames. Damaged content raises whatever the decoder does.
    """
    png = content.startswith(PNG)
    width, height, frames, inks = _declared(content, png=png)
    declared = width * height * (8 if png else 3)
    if frames > 1:
        raise ImageError(f"holds {frames} frames, expected one: split the animation first")
    if inks:
        raise ImageError("holds colours as CMYK, expected grey levels or RGB")
    if declared > max_bytes:
        raise ImageError(
            f"declares {width} x {height} px, more than the {max_bytes / 2**30:.0f} GiB that one "
            "micrograph may have"
        )
    if declared > max(HARMLESS_BYTES, MAX_COMPRESSION_RATIO * len(content)):
        raise ImageError(
            f"declares {width} x {height} px, not credible for {len(content)} bytes of data"
        )
    if not png and content.rfind(_END_OF_IMAGE) < content.rfind(_START_OF_SCAN):
        # The decoder would fill what is missing with grey and not say so.
        raise ImageError("truncated: the JPEG has no end")
    samples = imagecodecs.png_decode(content) if png else imagecodecs.jpeg8_decode(content)
    return samples, samples.dtype.itemsize * 8


def _declared(content: bytes, *, png: bool) -> tuple[int, int, int, bool]:
    """Width, height, number of frames, and whether its colours are inks."""
    try:
        # Not `PIL.Image.open`, whose own limit of size is a setting of the whole process.
        with (PngImageFile if png else JpegImageFile)(io.BytesIO(content)) as header:
            frames = int(getattr(header, "n_frames", 1))
            return *header.size, frames, header.mode == "CMYK"
    except Exception as error:  # PIL raises nearly every kind on what is damaged
        kind = "PNG" if png else "JPEG"
        raise ImageError(
            f"truncated or damaged: the header of the {kind} cannot be read"
        ) from error


def _frames(source: Source) -> list[Frame]:
    beside = [header for header in (read_hitachi(source), beside_hdr(source)) if header is not None]

    def decode() -> Samples:
        return Samples(*decode_picture(source.content))

    return [Frame("", merge_headers(beside) if beside else Header(), decode)]


def _is_png(start: bytes, path: str) -> bool:
    del path
    return start.startswith(PNG)


def _is_jpeg(start: bytes, path: str) -> bool:
    del path
    return start.startswith(JPEG)


PNG_FORMAT = Format("PNG", (".png",), _is_png, _frames)
JPEG_FORMAT = Format("JPEG", (".jpg", ".jpeg"), _is_jpeg, _frames)
