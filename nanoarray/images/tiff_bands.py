"""Rows of a TIFF page without the rest of it: from its strips or tiles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from nanoarray.images.banded import Banded
from nanoarray.images.formats import MAX_PIXEL_BYTES
from nanoarray.images.grey import black_is_zero, white_is_zero

_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1


def tiff_bands(
    page: tifffile.TiffPage,
    opened: Callable[[], AbstractContextManager[None]],
    check: Callable[[], None],
) -> Banded | None:
    """The grey levels of a page in bands; None where it is not plain grey.

    Parameters
    ----------
    page
        The page.
    opened
        While in it, the file can be read.
    check
        Refuses what the file cannot hold; the file is open.
    """
    plain = (
        page.dtype is not None
        and page.samplesperpixel == 1
        and page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        and page.axes == "YX"
        and page.dtype.kind in "uif"
    )
    if not plain or _segment_bytes(page) > MAX_PIXEL_BYTES:
        return None

    def read(start: int, stop: int) -> NDArray[Any]:
        with opened():
            check()
            rows = _contiguous(page, start, stop) if page.is_memmappable else None
            rows = _decoded(page, start, stop) if rows is None else rows
        return black_is_zero(page, rows) if white_is_zero(page) else rows

    shape = (int(page.imagelength), int(page.imagewidth))
    return Banded(shape, page.dtype.name, int(page.bitspersample), read)


def _segment_bytes(page: tifffile.TiffPage) -> int:
    """Bytes of a strip or tile once decoded; those that need no decoding can be read in part."""
    if page.is_memmappable:
        return 0
    rows, columns = (
        (page.tilelength, page.tilewidth)
        if page.is_tiled
        else (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    )
    return int(rows) * int(columns) * int(page.dtype.itemsize)


def _contiguous(page: tifffile.TiffPage, start: int, stop: int) -> NDArray[Any]:
    width = int(page.imagewidth)
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)
    offset = page.dataoffsets[0] + start * width * dtype.itemsize
    handle = page.parent.filehandle
    values = handle.read_array(dtype, (stop - start) * width, offset)
    return np.asarray(values.reshape(stop - start, width), dtype.newbyteorder("="))


def _decoded(page: tifffile.TiffPage, start: int, stop: int) -> NDArray[Any]:
    height, width = int(page.imagelength), int(page.imagewidth)
    tall, wide = (
        (int(page.tilelength), int(page.tilewidth))
        if page.is_tiled
        else (min(int(page.rowsperstrip), height), width)
    )
    across = -(-width // wide)
    out = np.full((stop - start, width), page.nodata, page.dtype)
    handle = page.parent.filehandle
    for index in range(start // tall * across, -(-stop // tall) * across):
        handle.seek(page.dataoffsets[index])
        content = handle.read(page.databytecounts[index])
        segment, place, shape = page.decode(content, index, jpegtables=page.jpegtables)
        if segment is None:
            continue
        top, left = int(place[2]), int(place[3])
        low, high = max(top, start), min(top + int(shape[1]), stop)
        # Tiles may reach beyond the image.
        part = segment[0, low - top : high - top, : min(int(shape[2]), width - left), 0]
        out[low - start : high - start, left : left + part.shape[1]] = part
    return out
