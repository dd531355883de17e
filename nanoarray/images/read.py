"""Read one micrograph: pixels without the data bar, and what the file says about them."""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import math
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from nanoarray.errors import ImageError, InputError
from nanoarray.images.data_bar import data_bar_rows
from nanoarray.images.grey import samples_of, to_grey, to_supported_dtype
from nanoarray.images.header import Header, read_header
from nanoarray.images.picture import decode_picture, is_picture

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_SUFFIX_TEXT = ", ".join(SUFFIXES)
MAX_PIXEL_BYTES = 2**31
# A compressed file can honestly declare more than it holds, up to deflate's limit of about
# 1,032 : 1. Beyond that, and beyond what is harmless, the declared size is not believed.
MAX_COMPRESSION_RATIO = 1100
HARMLESS_BYTES = 2**26
MAX_FILE_BYTES = MAX_PIXEL_BYTES + 2**28  # the largest pixels, and room for headers and previews


Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class Micrograph:
    """One micrograph as a 2-D array, and its metadata.

    Attributes
    ----------
    pixels
        Grey levels, shape ``(height, width)``, uint8, uint16 or float32, without the data bar.
    bit_depth
        Bits per sample of the file.
    pixel_size_nm, pixel_size_y_nm
        Pixel size along x and y [nm]; NaN when the file has none.
    pixel_size_source
        Where the pixel size comes from, "" when unknown.
    metadata
        What is known among magnification, hfw_um, voltage_kV, current_pA, tilt_deg, detector,
        instrument, acquired (ISO 8601), working_distance_mm, dwell_us, data_bar_px.
    raw_metadata
        The vendor's header as JSON, "" when there is none.
    warnings
        What a user should know before trusting the image.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
    bit_depth: int
    pixel_size_nm: float = math.nan
    pixel_size_y_nm: float = math.nan
    pixel_size_source: str = ""
    metadata: dict[str, float | str] = field(default_factory=dict)
    raw_metadata: str = ""
    warnings: tuple[str, ...] = ()


def read_micrograph(path: str | os.PathLike[str], *, cut_data_bar: bool = True) -> Micrograph:
    """Read a micrograph in TIFF, PNG or JPEG.

    Parameters
    ----------
    path
        The file. Grey images of any depth, and colour images that hold only grey.
    cut_data_bar
        Remove the instrument's data bar from the bottom.

    Raises
    ------
    ImageError
        The file is missing, empty, truncated, of no known format, holds several frames or
        colour, or declares a size it cannot have. The message is the reason, without the path.
    """
    return decode_micrograph(read_bytes(path), cut_data_bar=cut_data_bar)


def decode_micrograph(content: bytes, *, cut_data_bar: bool = True) -> Micrograph:
    """Decode the content of a micrograph; see `read_micrograph`."""
    if not content:
        raise ImageError("the file is empty (0 bytes)")
    if is_picture(content):
        samples, bits = _decoded(lambda: decode_picture(content, max_bytes=MAX_PIXEL_BYTES))
        return _assemble(samples, bits, Header(), [], cut_data_bar=cut_data_bar)
    if content[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ImageError(f"not a TIFF, PNG or JPEG file: it starts with {content[:4]!r}")
    samples, bits, header, warnings = _decoded(lambda: _decode_tiff(content))
    return _assemble(samples, bits, header, warnings, cut_data_bar=cut_data_bar)


def _decode_tiff(content: bytes) -> tuple[NDArray[Any], int, Header, list[str]]:
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        page = _picture_page(tif)
        _check_declared_size(tif, page)
        header = read_header(tif, page)
        samples, warnings = samples_of(page, page.asarray())
        return samples, int(page.bitspersample), header, warnings


def _decoded(decode: Callable[[], Decoded]) -> Decoded:
    """What ``decode`` gives; every way it can fail becomes the image's reason."""
    try:
        return decode()
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("not enough memory to read the image") from error
    except Exception as error:
        # The decoders raise nearly every built-in exception on damaged data, and one damaged
        # file must not end a batch: whatever it is becomes this image's reason.
        raise ImageError(f"cannot be read as an image: {one_line(error)}") from error


def is_micrograph_path(path: str | os.PathLike[str]) -> bool:
    """Whether the file name ends as that of a TIFF, PNG or JPEG file, in any case."""
    return Path(path).suffix.lower() in SUFFIXES


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Content of a file that can be a micrograph.

    Raises
    ------
    ImageError
        The file is missing, not a regular file (opening a pipe would wait forever), larger than
        `MAX_FILE_BYTES`, or cannot be read.
    """
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise ImageError("is not a file (a folder, pipe or device)")
        if state.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"has {state.st_size / 2**30:.1f} GiB, more than the "
                f"{MAX_FILE_BYTES / 2**30:.2g} GiB that one micrograph may have"
            )
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise ImageError("does not exist") from error
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror or error}") from error
    except MemoryError as error:
        raise ImageError("not enough memory to read the file") from error


_quiet_lock = threading.Lock()
_quiet_depth = 0
_level_before = logging.NOTSET


@contextlib.contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Keep tifffile from logging what it finds wrong; it is the reason that an image's row carries.

    Blocks in several threads may overlap: the first to enter silences the logger and the last to
    leave restores the level it had.
    """
    global _quiet_depth, _level_before
    logger = logging.getLogger("tifffile")
    with _quiet_lock:
        if _quiet_depth == 0:
            _level_before = logger.level
            logger.setLevel(logging.CRITICAL)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                logger.setLevel(_level_before)


def find_micrographs(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Micrograph files of folders (recursively), of glob patterns, and named one by one.

    Hidden files and folders are left out. Linked folders are followed, each once.
    A file that is named itself is returned whatever its suffix.

    Returns
    -------
    list of Path
        Sorted, each file once.

    Raises
    ------
    InputError
        A source does not exist, or holds no micrograph.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[str, Path] = {}
    for source in sources:
        files = _files_of(os.fspath(source))
        for file in files:
            real = os.path.realpath(file)
            known = found.get(real)
            if known is None or len(file.parts) < len(known.parts):
                found[real] = file
    return sorted(found.values())


def _files_of(source: str) -> list[Path]:
    if os.path.isfile(source):
        return [Path(source)]
    if os.path.isdir(source):
        files = _walk(source)
        if not files:
            raise InputError(f"folder '{source}' holds no micrograph ({_SUFFIX_TEXT})")
        return files
    matches = glob.glob(source, recursive=True) if glob.has_magic(source) else []
    files = [
        file
        for match in matches
        for file in (_walk(match) if os.path.isdir(match) else [Path(match)])
        if is_micrograph_path(file)
    ]
    if not files and os.path.exists(source):
        raise InputError(f"source '{source}' is neither a file nor a folder")
    if not files:
        what = (
            f"matches no micrograph ({_SUFFIX_TEXT})"
            if glob.has_magic(source)
            else "does not exist"
        )
        raise InputError(f"source '{source}' {what}")
    return files


def _walk(folder: str) -> list[Path]:
    files = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(root, name)
            for name in names
            if not name.startswith(".") and is_micrograph_path(name)
        ]
    return files


def _picture_page(tif: tifffile.TiffFile) -> tifffile.TiffPage:
    """The page that holds the micrograph; previews beside it are no second frame."""
    pages = [tif.pages[index] for index in range(len(tif.pages))]
    if not pages:
        raise ImageError("the TIFF holds no image")
    full = [page for page in pages if not page.is_reduced] or pages
    grey = [page for page in full if page.samplesperpixel == 1]
    if len(full) > 1 and len(grey) == 1:
        full = grey  # Olympus SIS: a coloured preview first, then the data
    if len(full) > 1:
        raise ImageError(f"holds {len(full)} frames, expected one: split the stack first")
    page = full[0]
    frames = _frames_in_page(tif, page)
    if frames > 1:
        raise ImageError(f"holds {frames} frames, expected one: split the stack first")
    return page


def _frames_in_page(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Frames behind a single directory: ImageJ's contiguous stacks, and volumes."""
    frames = int(page.imagedepth)
    imagej = tif.imagej_metadata if tif.is_imagej else None
    if imagej:
        frames = max(frames, int(imagej.get("images", 1)))
    return frames


def _check_declared_size(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Refuse sizes that the file cannot hold before anything is allocated for them."""
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    if width < 1 or height < 1 or samples < 1 or page.dtype is None:
        raise ImageError(f"declares an impossible image: {width} x {height} x {samples} samples")
    declared = width * height * samples * page.dtype.itemsize
    if declared > MAX_PIXEL_BYTES:
        raise ImageError(
            f"declares {width} x {height} px ({declared / 2**30:.1f} GiB), more than the "
            f"{MAX_PIXEL_BYTES / 2**30:.0f} GiB that one micrograph may have"
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


def _assemble(
    samples: NDArray[Any],
    bits: int,
    header: Header,
    warnings: list[str],
    *,
    cut_data_bar: bool,
) -> Micrograph:
    height, width = samples.shape[:2]
    if samples.ndim == 3 and samples.shape[2] in (2, 4):
        samples = samples[..., :-1]  # alpha
    first = samples if samples.ndim == 2 else samples[..., 0]
    bar = data_bar_rows(
        first, image_height_px=header.image_height_px, image_width_px=header.image_width_px
    )
    if cut_data_bar:
        samples = samples[: height - bar]
    pixels = to_supported_dtype(to_grey(samples, warnings), warnings)
    if pixels.min() == pixels.max():
        warnings.append(f"every pixel has the value {pixels.flat[0]}: the image shows nothing")
    size_x, size_y, source = header.pixel_size_nm, header.pixel_size_y_nm, header.pixel_size_source
    if math.isfinite(size_x) and header.image_width_px not in (0, width):
        warnings.append(
            f"the image is {width} px wide but its header describes {header.image_width_px} px: "
            f"resized or cropped after acquisition, so the header's pixel size ({size_x:.6g} nm) "
            "is not used; pass --pixel-size NM or add a pixel_size column to the tags"
        )
        size_x, size_y, source = math.nan, math.nan, ""
    metadata = dict(header.metadata)
    metadata["data_bar_px"] = float(bar)
    return Micrograph(
        pixels=pixels,
        bit_depth=bits,
        pixel_size_nm=size_x,
        pixel_size_y_nm=size_y,
        pixel_size_source=source,
        metadata=metadata,
        raw_metadata=header.raw,
        warnings=(*header.warnings, *warnings),
    )


def one_line(error: BaseException) -> str:
    """Text of an error on one line, for the row of an image."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
