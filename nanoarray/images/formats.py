"""Formats of files, and the registry of their readers.

A `Format` recognizes its files and lists the images in one as `Frame`s, which say what the file
tells about an image and decode its pixels when asked. Another format is one more entry of
`known_formats`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nanoarray.errors import ImageError
from nanoarray.images.header import Header
from nanoarray.images.source import Source

if TYPE_CHECKING:
    from nanoarray.images.banded import Banded

#: One image may take this many bytes decoded.
MAX_PIXEL_BYTES = 2**31
#: The same of an image that is read in bands.
MAX_BANDED_BYTES = 2**36
#: Images of one file. A longer series is a film, whose frames say little that is new.
MAX_FRAMES = 1000


@dataclass(frozen=True)
class Samples:
    """Decoded pixels: shape ``(height, width)`` or ``(height, width, colour)``.

    ``bit_depth`` is the bits per sample of the file.
    """

    values: NDArray[Any]
    bit_depth: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """One image of a file, not decoded yet.

    Attributes
    ----------
    name
        "" where the file holds one image; otherwise what tells it from the others, such as "2" or
        the name of a signal. It becomes part of the image's id, after "#".
    header
        What the file says about it.
    decode
        Gives the pixels, or raises ImageError with the reason why there are none.
    shape, dtype
        Height and width as stored, and NumPy's name of the type of a sample, where the file says so
        before it is decoded; otherwise (0, 0) and "".
    bands
        The same pixels in bands of rows, where the format can be read so.
    """

    name: str
    header: Header
    decode: Callable[[], Samples]
    shape: tuple[int, int] = (0, 0)
    dtype: str = ""
    bands: Banded | None = None


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes
    ----------
    name
        For people: "TIFF".
    suffixes
        Of file names, lower case with the dot; what a folder is searched for.
    recognizes
        Whether a file is of this kind, from its first 64 bytes (empty for a folder) and its path.
    frames
        The images of a file; raises ImageError with the reason where there are none.
    by_path
        The reader takes from the file what it needs: the content is not read for it, so the file
        may be larger than memory.
    is_folder
        Such an image is a folder, as OME-Zarr is.
    """

    name: str
    suffixes: tuple[str, ...]
    recognizes: Callable[[bytes, str], bool]
    frames: Callable[[Source], list[Frame]]
    by_path: bool = False
    is_folder: bool = False


def refused(name: str, reason: str) -> Frame:
    """A part of a file that is no image, with the reason."""

    def decode() -> Samples:
        raise ImageError(reason)

    return Frame(name, Header(), decode)


@functools.cache
def known_formats() -> tuple[Format, ...]:
    """Every format that can be read, the first that recognizes a file reads it."""
    from nanoarray.images.microscope import MICROSCOPE_FORMATS
    from nanoarray.images.ome_zarr import OME_ZARR_FORMAT
    from nanoarray.images.picture import JPEG_FORMAT, PNG_FORMAT
    from nanoarray.images.tiff import TIFF_FORMAT

    return (TIFF_FORMAT, PNG_FORMAT, JPEG_FORMAT, *MICROSCOPE_FORMATS, OME_ZARR_FORMAT)


def format_of(start: bytes, path: str) -> Format:
    """The format of a file.

    Parameters
    ----------
    start
        Its first 64 bytes; empty for a folder.
    path
        Its path, "" where there is none.

    Raises
    ------
    ImageError
        No reader knows it.
    """
    formats = known_formats()
    for known in formats:
        if known.recognizes(start, path):
            return known
    names = ", ".join(known.name for known in formats)
    raise ImageError(f"of no known format ({names}): it starts with {start[:4]!r}")


def known_suffixes(*, folders: bool = False) -> tuple[str, ...]:
    """Suffixes of the files, or of the folders, that a search finds."""
    return tuple(
        s for known in known_formats() if known.is_folder == folders for s in known.suffixes
    )
