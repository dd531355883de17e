"""What each vendor writes into TIFF files: one reader per module, asked in this order.

A reader takes the file, the open TIFF and the page that holds the picture, and returns a `Header`,
or None when the file is not of its vendor. Support for another vendor is one more function here.
"""

from __future__ import annotations

from collections.abc import Callable

import tifffile

from nanoarray.images.header import Header, merge_headers
from nanoarray.images.source import Source
from nanoarray.images.vendors.fei import read_fei
from nanoarray.images.vendors.gatan import read_gatan
from nanoarray.images.vendors.hitachi import read_hitachi
from nanoarray.images.vendors.imagej import read_imagej
from nanoarray.images.vendors.jeol import read_jeol
from nanoarray.images.vendors.olympus import read_olympus
from nanoarray.images.vendors.ome import read_ome
from nanoarray.images.vendors.resolution import read_resolution
from nanoarray.images.vendors.tescan import read_tescan
from nanoarray.images.vendors.tvips import read_tvips
from nanoarray.images.vendors.zeiss import read_zeiss

HeaderReader = Callable[[Source, tifffile.TiffFile, tifffile.TiffPage], Header | None]

HEADER_READERS: tuple[HeaderReader, ...] = (
    *(read_fei, read_zeiss, read_jeol, read_hitachi, read_tescan, read_olympus, read_tvips),
    *(read_gatan, read_ome, read_imagej, read_resolution),
)


def read_tiff_header(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header:
    """Everything that any reader finds about the image on ``page``."""
    found = (reader(source, tif, page) for reader in HEADER_READERS)
    return merge_headers([header for header in found if header is not None])
