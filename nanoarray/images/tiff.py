"""TIFF: which pages are images, whether what they declare can be true, and their pixels."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import tifffile
from numpy.typing import NDArray

from nanoarray.errors import ImageError
from nanoarray.fields.sizes import is_large
from nanoarray.images.banded import Banded
from nanoarray.images.formats import (
    MAX_BANDED_BYTES,
    MAX_FRAMES,
    MAX_PIXEL_BYTES,
    Format,
    Frame,
    Samples,
)
from nanoarray.images.grey import samples_of
from nanoarray.images.header import Header, merge_headers
from nanoarray.images.source import Source
from nanoarray.images.tiff_bands import tiff_bands
from nanoarray.images.tiff_structure import SIGNATURES, check_structure
from nanoarray.images.vendors import read_tiff_header
from nanoarray.images.vendors.jeol import maker_note, parse_jeol
from nanoarray.images.vendors.olympus import TAG as OLYMPUS_TAG

#: A compressed file can honestly declare more than it holds, up to deflate's limit of about
#: 1,032 : 1. Beyond that, and beyond what is harmless, the declared size is not believed.
MAX_COMPRESSION_RATIO = 1100
HARMLESS_BYTES = 2**26
#: Compressions whose decoders write no more than the size they are asked for: none, CCITT, LZW,
#: deflate, PackBits, LZMA, Zstandard. The others write what their own header declares.
BOUNDED_COMPRESSIONS = frozenset((1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000))
JPEG = 7
_PALETTE = 3


def tiff_frames(source: Source) -> list[Frame]:
    """The images of a TIFF file; previews and thumbnails beside them are none.

    The directories are read, and no pixels: the file is opened again for those.
    """
    with source.open() as file:
        check_structure(file)
        # tifffile opens what has a method for it anew for every use; the name says no other format.
        opener = _Opener(source, file)
        tif = tifffile.TiffFile(
            cast(Any, opener), name="image.tif", offset=0, size=source.size_bytes
        )
        with _opened(tif):
            return _frames(source, tif)


class _Opener:
    """Gives tifffile a file that is open already, and later the same anew."""

    def __init__(self, source: Source, file: io.BufferedIOBase) -> None:
        self._source = source
        self._file: io.BufferedIOBase | None = file

    def open(self) -> io.BufferedIOBase:
        """The file; the caller closes it."""
        file, self._file = self._file, None
        return file or self._source.open()


@contextmanager
def _opened(tif: tifffile.TiffFile) -> Iterator[None]:
    """While in it, the file can be read; no file stays open for images that wait."""
    tif.filehandle.open()
    try:
        yield
    finally:
        tif.filehandle.close()


def _frames(source: Source, tif: tifffile.TiffFile) -> list[Frame]:
    pages, doubts = _image_pages(tif)
    if len(pages) == 1:
        planes = _planes(tif, pages[0])
        if planes > 1:
            return _stack_frames(source, tif, pages[0], planes)
    if len(pages) > MAX_FRAMES:
        raise ImageError(f"holds {len(pages)} images, expected at most {MAX_FRAMES}: split it")
    names = [""] if len(pages) == 1 else [str(n) for n in range(1, len(pages) + 1)]
    return [
        Frame(
            name,
            merge_headers([read_tiff_header(source, tif, page), Header(warnings=doubts)]),
            _decoder(tif, page),
            (int(page.imagelength), int(page.imagewidth)),
            _dtype(page),
            _bands(tif, page),
        )
        for name, page in zip(names, pages, strict=True)
    ]


def _bands(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Banded | None:
    """The pixels in bands, of an image that is large enough for them to be asked for."""
    if not is_large(int(page.imagelength), int(page.imagewidth)):
        return None
    check = functools.partial(check_declared_size, tif, page, most=MAX_BANDED_BYTES)
    return tiff_bands(page, functools.partial(_opened, tif), check)


def _recognizes(start: bytes, path: str) -> bool:
    del path
    return start[:4] in SIGNATURES


TIFF_FORMAT = Format("TIFF", (".tif", ".tiff"), _recognizes, tiff_frames, by_path=True)


def _image_pages(tif: tifffile.TiffFile) -> tuple[list[tifffile.TiffPage], tuple[str, ...]]:
    """The pages that hold images, without previews and masks, and what is doubtful about that."""
    pages = [tif.pages[index] for index in range(len(tif.pages))]
    if not pages:
        raise ImageError("the TIFF holds no image")
    full = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
    if len(full) == 1:
        return full, ()
    own = [page for page in full if OLYMPUS_TAG in page.tags]
    if own:
        return own, ()  # iTEM: a coloured preview first, then the data
    described = next((note for page in full if (note := maker_note(page))), "")
    if described:
        # JEOL: the image with its data bar first, then the data alone.
        said = parse_jeol(described)
        fits = [
            page
            for page in full
            if (page.imagewidth, page.imagelength) == (said.image_width_px, said.image_height_px)
        ]
        return (fits or full)[-1:], ()
    grey = [page for page in full if page.samplesperpixel == 1]
    if len(grey) != 1:
        return full, ()
    return grey, (f"the only grey one of {len(full)} pages: the others are taken for previews",)


def _planes(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Images behind a single directory: ImageJ's contiguous stacks, and volumes."""
    if int(page.imagedepth) > 1:
        raise ImageError(f"holds a volume of {page.imagedepth} planes, expected 2-D images")
    said = tif.imagej_metadata if tif.is_imagej else None
    return max(1, int(said.get("images", 1))) if said else 1


def _stack_frames(
    source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage, planes: int
) -> list[Frame]:
    """Images of a contiguous stack, which lie one behind the other without directories."""
    if planes > MAX_FRAMES:
        raise ImageError(f"holds {planes} images, expected at most {MAX_FRAMES}: split it")
    header = read_tiff_header(source, tif, page)
    check_declared_size(tif, page)
    plane_bytes = page.nbytes
    start = page.dataoffsets[0]
    if page.compression != 1 or start + planes * plane_bytes > tif.filehandle.size:
        raise ImageError(f"truncated: the file has no room for the {planes} images it declares")

    def plane(index: int) -> Frame:
        def decode() -> Samples:
            with _opened(tif):
                values = tif.filehandle.read_array(
                    np.dtype(f"{tif.byteorder}{page.dtype.char}"),
                    plane_bytes // page.dtype.itemsize,
                    start + index * plane_bytes,
                )
                return _samples(page, values.reshape(page.shape))

        return Frame(str(index + 1), header, decode, page.shape[:2], _dtype(page))

    return [plane(index) for index in range(planes)]


def _decoder(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Callable[[], Samples]:
    def decode() -> Samples:
        with _opened(tif):
            check_declared_size(tif, page)
            return _samples(page, page.asarray(maxworkers=1))

    return decode


def _dtype(page: tifffile.TiffPage) -> str:
    """Type of the grey levels as `samples_of` will give them; "" where it is not known."""
    return (
        "" if page.dtype is None else "uint8" if page.photometric == _PALETTE else page.dtype.name
    )


def _samples(page: tifffile.TiffPage, values: NDArray[np.generic]) -> Samples:
    grey_or_colour, warnings = samples_of(page, values)
    return Samples(grey_or_colour, int(page.bitspersample), tuple(warnings))


def check_declared_size(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, *, most: int = MAX_PIXEL_BYTES
) -> None:
    """Refuse sizes that the file cannot hold before anything is allocated for them.

    ``most`` is the largest size of the decoded image [bytes].

    Raises
    ------
    ImageError
        Naming what is declared and what is there.
    """
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    if width < 1 or height < 1 or samples < 1 or page.dtype is None:
        raise ImageError(f"declares an impossible image: {width} x {height} x {samples} samples")
    declared = width * height * samples * page.dtype.itemsize
    if declared > most:
        raise ImageError(
            f"declares {width} x {height} px ({declared / 2**30:.1f} GiB), more than the "
            f"{most / 2**30:.0f} GiB that one micrograph may have"
        )
    size = tif.filehandle.size
    offsets, counts = page.dataoffsets, page.databytecounts
    if not offsets or len(offsets) != len(counts):
        raise ImageError("the TIFF does not say where its pixels are")
    end = max(offset + count for offset, count in zip(offsets, counts, strict=True))
    if end > size:
        raise ImageError(f"truncated: pixels reach to byte {end}, the file ends at {size}")
    stored = sum(counts)
    bits = width * height * samples * int(page.bitspersample)
    if page.compression == 1 and stored * 8 < bits:
        raise ImageError(
            f"declares {width} x {height} px ({bits // 8} bytes) but stores {stored} bytes"
        )
    if declared > max(HARMLESS_BYTES, MAX_COMPRESSION_RATIO * stored):
        raise ImageError(
            f"declares {width} x {height} px ({declared} bytes), not credible for {stored} "
            "bytes of compressed data"
        )
    if 0 in counts:
        raise ImageError(f"truncated: {counts.count(0)} of {len(counts)} strips are empty")
    _check_segments(tif, page)


def _check_segments(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Refuse tiles larger than the image, and compressed data that declares its own size."""
    tile_bytes = page.tilewidth * page.tilelength * page.samplesperpixel * page.dtype.itemsize
    if tile_bytes > max(HARMLESS_BYTES, 4 * page.nbytes):
        raise ImageError(
            f"declares tiles of {page.tilewidth} x {page.tilelength} px in an image of "
            f"{page.imagewidth} x {page.imagelength} px"
        )
    if page.compression in BOUNDED_COMPRESSIONS:
        return
    if page.compression != JPEG:
        raise ImageError(
            f"is compressed by {page.compression.name}, which is not read: save it uncompressed "
            "or with deflate, LZW or Zstandard"
        )
    most = page.nbytes + max(tile_bytes, 0) + HARMLESS_BYTES // 4
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        tif.filehandle.seek(offset)
        width, height = jpeg_size(tif.filehandle.read(count))
        if width * height * page.samplesperpixel > most:
            raise ImageError(f"holds a JPEG of {width} x {height} px, larger than the image")


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height in the frame header of a JPEG stream; zeros where it has none."""
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 2 + int(struct.unpack_from(">H", content, at + 2)[0])
    return 0, 0
