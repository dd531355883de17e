"""Read micrographs: pixels without the data bar, and what the file says about them."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError
from nanoarray.fields.sizes import is_large
from nanoarray.images.banded import Banded, banded_pixels
from nanoarray.images.data_bar import data_bar_rows
from nanoarray.images.finding import find_micrographs, is_micrograph_path
from nanoarray.images.formats import Frame, Samples, format_of, known_formats
from nanoarray.images.grey import to_grey, to_supported_dtype
from nanoarray.images.header import Header, MetadataValue, to_json
from nanoarray.images.scale import ScaleRecord, settle
from nanoarray.images.source import Source, first_bytes, read_bytes

__all__ = [
    "Micrograph",
    "decode_micrograph",
    "find_micrographs",
    "frames_of",
    "is_micrograph_path",
    "open_source",
    "read_bytes",
    "read_frame",
    "read_micrograph",
    "read_micrographs",
    "shared_file_doubts",
]

#: Readings of these kinds are in the header of the microscope, and hold for the image it describes.
OF_THE_MICROSCOPE = ("vendor tag", "field width")

Result = TypeVar("Result")
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class Micrograph:
    """One micrograph as a 2-D array, and its metadata.

    Attributes
    ----------
    pixels
        Grey levels, shape ``(height, width)``, uint8, uint16 or float32, without the data bar; to
        be read in bands where `read_frame` was asked for that.
    bit_depth
        Bits per sample of the file.
    scale
        The size of a pixel: everything the file says about it, and which is used.
    metadata
        What is known among magnification, hfw_um, voltage_kV, current_pA, tilt_deg, detector,
        instrument, acquired (ISO 8601), working_distance_mm, dwell_us, data_bar_px.
    raw_metadata
        Everything the file says, as JSON by who wrote it; "" when there is nothing.
    warnings
        What a user should know before trusting the image.
    frame
        Which image of the file it is; "" where the file holds one.
    """

    pixels: Pixels
    bit_depth: int
    scale: ScaleRecord = field(default_factory=ScaleRecord)
    metadata: dict[str, MetadataValue] = field(default_factory=dict)
    raw_metadata: str = ""
    warnings: tuple[str, ...] = ()
    frame: str = ""

    @property
    def pixel_size_nm(self) -> float:
        """Length of a pixel along x [nm]; NaN when the file has none."""
        return self.scale.size_nm

    @property
    def pixel_size_y_nm(self) -> float:
        """Length of a pixel along y [nm]; NaN when the file has none."""
        return self.scale.size_y_nm

    @property
    def pixel_size_source(self) -> str:
        """Where the pixel size comes from, "" when unknown."""
        return self.scale.source


def read_micrograph(
    path: str | os.PathLike[str], *, frame: str = "", cut_data_bar: bool = True
) -> Micrograph:
    """Read one micrograph.

    Parameters
    ----------
    path
        The file. Grey images of any depth, and colour images that hold only grey.
    frame
        Which image of a file that holds several, as `frames_of` names them.
    cut_data_bar
        Remove the instrument's data bar from the bottom.

    Raises
    ------
    ImageError
        The file is missing, empty, truncated, of no known format, holds colour or several images
        of which none is named, or declares a size it cannot have. The message is the reason,
        without the path.
    """
    return _pick(open_source(path), frame, cut_data_bar)


def read_micrographs(path: str | os.PathLike[str]) -> Iterator[Micrograph]:
    """Every micrograph of a file, one after the other; see `read_micrograph`."""
    for frame in frames_of(open_source(path)):
        yield read_frame(frame)


def decode_micrograph(content: bytes, *, cut_data_bar: bool = True) -> Micrograph:
    """Decode the content of a file that holds one micrograph; see `read_micrograph`."""
    return _pick(Source("", content), "", cut_data_bar)


def open_source(path: str | os.PathLike[str], *, whole_bytes: int = 0) -> Source:
    """The file at ``path`` as readers take it: with its content, unless its format reads by path.

    Parameters
    ----------
    path
        The file.
    whole_bytes
        Take the content in any case of a file up to this size: for whoever needs all of it.

    Raises
    ------
    ImageError
        The file is missing, no regular file, too large, or cannot be read.
    """
    name = os.fspath(path)
    if os.path.isdir(name) and any(
        f.is_folder and f.recognizes(b"", name) for f in known_formats()
    ):
        return Source(name)
    start = first_bytes(name)
    if not start:
        raise ImageError("the file is empty (0 bytes)")
    whole = not format_of(start, name).by_path or 0 < os.stat(name).st_size <= whole_bytes
    return Source(name, read_bytes(name) if whole else b"")


def frames_of(source: Source) -> list[Frame]:
    """The images of a file, none of them decoded yet.

    Raises
    ------
    ImageError
        With the reason why the file holds none.
    """
    if not source.start and not os.path.isdir(source.path):
        raise ImageError("the file is empty (0 bytes)")
    known = format_of(source.start, source.path)
    return _guarded(lambda: known.frames(source))


def shared_file_doubts(count: int) -> list[str]:
    """What is doubtful of each of ``count`` images of one file."""
    shared = f"one of {count} images of a file: they may show the same place"
    return [shared] if count > 1 else []


def read_frame(frame: Frame, *, cut_data_bar: bool = True, in_bands: bool = False) -> Micrograph:
    """Decode one image of a file; see `read_micrograph`.

    With ``in_bands``, the pixels of an image that is too large for a task are not read yet.
    """
    if in_bands and frame.bands is not None and is_large(*frame.shape):
        banded = frame.bands
        return _guarded(lambda: _in_bands(banded, frame, cut_data_bar=cut_data_bar))
    samples = _guarded(frame.decode)
    micrograph = _assemble(samples, frame.header, cut_data_bar=cut_data_bar)
    return replace(micrograph, frame=frame.name)


def _pick(source: Source, name: str, cut_data_bar: bool) -> Micrograph:
    frames = frames_of(source)
    if len(frames) == 1 and name in ("", frames[0].name):
        return read_frame(frames[0], cut_data_bar=cut_data_bar)
    found = next((frame for frame in frames if name and frame.name == name), None)
    if found is None:
        names = ", ".join(frame.name for frame in frames[:10])
        raise ImageError(
            f"holds {len(frames)} images ({names}): "
            + (f"none of them is '{name}'" if name else "say which one")
        )
    return read_frame(found, cut_data_bar=cut_data_bar)


def _guarded(decode: Callable[[], Result]) -> Result:
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


def _assemble(samples: Samples, header: Header, *, cut_data_bar: bool) -> Micrograph:
    values, warnings = samples.values, list(samples.warnings)
    height, width = values.shape[:2]
    if values.ndim == 3 and values.shape[2] in (2, 4):
        values = values[..., :-1]  # alpha
    first = values if values.ndim == 2 else np.ascontiguousarray(values[..., 0])
    bar = data_bar_rows(
        first,
        image_height_px=header.image_height_px,
        image_width_px=header.image_width_px,
    )
    if cut_data_bar:
        values, first = values[: height - bar], first[: height - bar]
    pixels = to_supported_dtype(to_grey(values, warnings, first=first), warnings)
    if (pixels[0] == pixels.flat[0]).all() and pixels.min() == pixels.max():
        warnings.append(f"every pixel has the value {pixels.flat[0]}: the image shows nothing")
    scale, notes = scale_of(header, width_px=width)
    return Micrograph(
        pixels=pixels,
        bit_depth=samples.bit_depth,
        scale=scale,
        metadata={**header.metadata, "data_bar_px": float(bar)},
        raw_metadata=to_json(header.raw) if header.raw else "",
        warnings=(*header.warnings, *warnings, *notes, *scale.warnings),
    )


def _in_bands(source: Banded, frame: Frame, *, cut_data_bar: bool) -> Micrograph:
    """A micrograph of which the pixels are read when they are asked for."""
    header = frame.header
    pixels, bar = banded_pixels(
        source,
        image_height_px=header.image_height_px,
        image_width_px=header.image_width_px,
        cut_data_bar=cut_data_bar,
    )
    scale, notes = scale_of(header, width_px=source.shape[1])
    return Micrograph(
        pixels=cast(Pixels, pixels),  # as an array, but for how it is read
        bit_depth=source.bit_depth,
        scale=scale,
        metadata={**header.metadata, "data_bar_px": float(bar)},
        raw_metadata=to_json(header.raw) if header.raw else "",
        warnings=(*header.warnings, *pixels.warnings, *notes, *scale.warnings),
        frame=frame.name,
    )


def scale_of(header: Header, *, width_px: int) -> tuple[ScaleRecord, tuple[str, ...]]:
    """The pixel size that a file gives an image of its width, and what is doubtful about it."""
    if header.image_width_px in (0, width_px):
        return settle(header.readings), ()
    lost = [r for r in header.readings if r.kind in OF_THE_MICROSCOPE]
    kept = [r for r in header.readings if r.kind not in OF_THE_MICROSCOPE]
    if not lost:
        return settle(kept), ()
    note = (
        f"the image is {width_px} px wide but its header describes {header.image_width_px} px: "
        f"resized or cropped after acquisition, so the header's pixel size "
        f"({lost[0].size_nm:.6g} nm) is not used; pass --pixel-size NM or add a pixel_size "
        "column to the tags"
    )
    return settle(kept), (note,)


def one_line(error: BaseException) -> str:
    """Text of an error on one line, for the row of an image."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


# --- the logger of tifffile -------------------------------------------------------------------

_quiet_lock = threading.Lock()
_quiet_depth = 0
_disabled_before = False


@contextlib.contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Keep tifffile from logging what it finds wrong; it is the reason that an image's row carries.

    Blocks in several threads may overlap: the first to enter silences the logger and the last to
    leave lets it speak again. To change its level would empty the caches of all loggers each time.
    """
    global _quiet_depth, _disabled_before
    logger = logging.getLogger("tifffile")
    with _quiet_lock:
        if _quiet_depth == 0:
            _disabled_before = logger.disabled
            logger.disabled = True
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                logger.disabled = _disabled_before
