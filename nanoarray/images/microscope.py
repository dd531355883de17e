"""Microscope formats beside TIFF: dm3 and dm4, ser, mrc, and the door to emd.

They are read where the extra `microscopes` is installed: ncempy.io (the part of ncempy under MIT),
mrcfile and h5py (BSD). Each image of a stack, or each signal, is an image of its own, or one with
the reason why it is none. Pixels are taken from the file by the positions that the libraries found,
after those were checked against its size.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nanoarray.errors import ImageError
from nanoarray.images.formats import (
    MAX_FRAMES,
    MAX_PIXEL_BYTES,
    Format,
    Frame,
    Samples,
    refused,
)
from nanoarray.images.header import Header, known_values, number
from nanoarray.images.microscope_emd import emd_frames
from nanoarray.images.microscope_probe import check_ends
from nanoarray.images.scale import ScaleReading, is_possible, nm_per_unit
from nanoarray.images.source import Source

__all__ = ["MICROSCOPE_FORMATS"]

#: Data types of DigitalMicrograph, by their number in the file.
_DM_TYPES = {1: "<i2", 2: "<f4", 6: "u1", 7: "<i4", 9: "i1", 10: "<u2", 11: "<u4", 12: "<f8"}
_DM_MOST_TAGS = 200_000
_SER_TYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
_SER_IMAGES = 0x4122
_HDF5 = b"\x89HDF\r\n\x1a\n"


def _need(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise ImageError(
            f"needs {library}, which is not installed: pip install 'nanoarray[microscopes]'"
        )


@contextlib.contextmanager
def _file_of(source: Source) -> Iterator[str]:
    """A path that a library can open; of content in memory, a temporary file."""
    if source.path and os.path.isfile(source.path):
        yield source.path
        return
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(source.content)
        file.flush()
        yield file.name


def _cut(source: Source, offset: int, shape: tuple[int, int], dtype: str) -> Callable[[], Samples]:
    """Decode an image that lies uncompressed in a file, after a check that the file holds it."""
    size = np.dtype(dtype).itemsize
    end = offset + shape[0] * shape[1] * size

    def decode() -> Samples:
        if min(shape) < 1 or offset < 0:
            raise ImageError(f"declares an impossible image: {shape[1]} x {shape[0]} px")
        if end - offset > MAX_PIXEL_BYTES:
            raise ImageError(
                f"declares {shape[1]} x {shape[0]} px, more than one micrograph may have"
            )
        if end > source.size_bytes:
            raise ImageError(
                f"truncated: pixels reach to byte {end}, the file ends at {source.size_bytes}"
            )
        values = np.empty(shape, dtype)
        with source.open() as file:
            file.seek(offset)
            found = file.readinto(values.data.cast("B"))
        if found < values.nbytes:
            raise ImageError("truncated: the file became shorter while it was read")
        return Samples(values, 8 * size)

    return decode


def scale_reading(
    source: str, lengths: Sequence[float], units: Sequence[str]
) -> tuple[tuple[ScaleReading, ...], tuple[str, ...]]:
    """The reading of a calibration along x and y, and what is doubtful about it."""
    texts = [str(unit).strip().strip("\0") for unit in units]
    sizes = [abs(v) * nm_per_unit(u) for v, u in zip(map(number, lengths), texts, strict=True)]
    if all(is_possible(size) for size in sizes):
        x, y = sizes
        reading = ScaleReading("vendor tag", x, y, source, float(lengths[0]), texts[0])
        return (reading,), ()
    if any("1/" in unit or "-1" in unit for unit in texts):
        return (), (f"calibrated in {texts[0]}: a diffraction pattern, without a length per pixel",)
    return (), ()


# --- dm3 and dm4 ------------------------------------------------------------------------------


def _dm_frames(source: Source) -> list[Frame]:
    _need("ncempy")
    from ncempy.io import dm

    class Bounded(dm.fileDM):  # type: ignore[misc]
        """Gives up on files whose tables of tags never end."""

        _read = 0

        def _readTagEntry(self) -> None:
            self._read += 1
            if self._read > _DM_MOST_TAGS:
                raise ImageError("damaged: its table of tags does not end")
            super()._readTagEntry()

    with _file_of(source) as path, Bounded(path) as file:
        tags = {str(k): _plain(v) for k, v in file.allTags.items()}
        objects = range(1 if file.thumbnail and file.numObjects > 1 else 0, file.numObjects)
        starts = np.cumsum([0, *(int(n) for n in file.dataShape)])
        entries = [_dm_entry(file, k, int(starts[k]), tags) for k in objects]
    several = len(entries) > 1
    frames: list[Frame] = []
    for k, entry in enumerate(entries, start=1):
        frames += _dm_images(source, entry, f"{k}" if several else "")
    if not frames:
        raise ImageError("the DM file holds no image")
    return frames


def _dm_entry(file: Any, k: int, start: int, tags: dict[str, Any]) -> dict[str, Any]:
    """What the file says of its data set ``k``."""
    units = [str(u) for u in file.scaleUnit[start : start + int(file.dataShape[k])]]
    scales = [float(s) for s in file.scale[start : start + int(file.dataShape[k])]]
    prefix = f".ImageList.{k + 1}.ImageTags."
    own = {key[len(prefix) :]: v for key, v in tags.items() if key.startswith(prefix)}
    return {
        "shape": [int(n[k]) for n in (file.xSize, file.ySize, file.zSize, file.zSize2)],
        "type": int(file.dataType[k]),
        "offset": int(file.dataOffset[k]),
        "units": [*units, "", ""],
        "scales": [*scales, math.nan, math.nan],
        "tags": own,
    }


def _dm_images(source: Source, entry: dict[str, Any], name: str) -> list[Frame]:
    width, height, depth, depth_2 = (max(n, 1) for n in entry["shape"])
    units = entry["units"]
    if entry["type"] not in _DM_TYPES:
        return [refused(name, f"holds data of type {entry['type']}, expected grey levels")]
    if height == 1 or depth_2 > 1 or "eV" in units[:3]:
        return [refused(name, "is a spectrum or has more than three dimensions, expected an image")]
    if depth > MAX_FRAMES:
        return [refused(name, f"is a series of {depth} images, expected at most {MAX_FRAMES}")]
    readings, doubts = scale_reading("Gatan DM calibration", entry["scales"][:2], units[:2])
    header = Header(
        readings, _dm_metadata(entry["tags"]), {"Gatan DM": entry["tags"]}, warnings=doubts
    )
    dtype = _DM_TYPES[entry["type"]]
    step = width * height * np.dtype(dtype).itemsize
    frames = []
    for z in range(depth):
        parts = [name] if name else []
        parts += [str(z + 1)] if depth > 1 else []
        decode = _cut(source, entry["offset"] + z * step, (height, width), dtype)
        type_name = np.dtype(dtype).name
        frames.append(Frame(".".join(parts), header, decode, (height, width), type_name))
    return frames


def _dm_metadata(tags: dict[str, Any]) -> dict[str, float | str]:
    info = "Microscope Info."
    return known_values(
        {
            "magnification": number(tags.get(f"{info}Indicated Magnification")),
            "voltage_kV": number(tags.get(f"{info}Voltage")) / 1e3,
            "tilt_deg": number(tags.get(f"{info}Stage Position.Stage Alpha")),
        },
        {
            "instrument": str(tags.get(f"{info}Name", "")),
            "detector": str(tags.get("Acquisition.Device.Name", "")),
        },
    )


def _plain(value: Any) -> Any:
    """A tag as JSON can hold it; long arrays are left out."""
    if isinstance(value, np.ndarray | list | tuple):
        values = np.asarray(value)
        return values.tolist() if values.size <= 16 else f"{values.size} values"
    return value.item() if isinstance(value, np.generic) else value


# --- ser --------------------------------------------------------------------------------------


def _ser_frames(source: Source) -> list[Frame]:
    _need("ncempy")
    from ncempy.io import ser

    with _file_of(source) as path, open(path, "rb") as file, ser.fileSER(file) as series:
        head = series.head
        if int(head["DataTypeID"]) != _SER_IMAGES:
            raise ImageError("is a series of spectra, expected images")
        count = int(head["ValidNumberElements"])
        if not 0 < count <= MAX_FRAMES:
            raise ImageError(f"is a series of {count} images, expected 1 to {MAX_FRAMES}")
        offsets = [int(offset) for offset in head["DataOffsetArray"][:count]]
    if len(offsets) < count:
        raise ImageError(f"truncated: lists {len(offsets)} of its {count} images")
    return [
        _ser_image(source, offset, str(k) if count > 1 else "")
        for k, offset in enumerate(offsets, start=1)
    ]


def _ser_image(source: Source, offset: int, name: str) -> Frame:
    """One element: two calibrations of 20 bytes, type, width, height, then the pixels."""
    head = source.read(offset, 50) if 0 <= offset < source.size_bytes else b""
    if len(head) < 50:
        raise ImageError(
            f"truncated: an image begins at byte {offset}, the file has {source.size_bytes}"
        )
    steps = [float(np.frombuffer(head, "<f8", 1, at)[0]) for at in (8, 28)]
    kind = int(np.frombuffer(head, "<i2", 1, 40)[0])
    width, height = (int(n) for n in np.frombuffer(head, "<i4", 2, 42))
    if kind not in _SER_TYPES:
        return refused(name, f"holds data of type {kind}, expected grey levels")
    readings, doubts = scale_reading("TIA calibration", steps, ("m", "m"))
    decode = _cut(source, offset + 50, (height, width), _SER_TYPES[kind])
    dtype = np.dtype(_SER_TYPES[kind]).name
    return Frame(name, Header(readings, warnings=doubts), decode, (height, width), dtype)


def _emi_frames(source: Source) -> list[Frame]:
    name = os.path.basename(source.path)
    images = ser_files_of(source.path)
    if not images:
        stem = os.path.splitext(name)[0]
        raise ImageError(
            "an emi file describes an acquisition, and the file with its images is not beside it: "
            f"expected {stem}_1.ser, copy it from where {name or 'the emi file'} comes from"
        )
    raise ImageError(
        "an emi file describes an acquisition; its images are in the ser files beside it: "
        f"read {', '.join(images[:3])}"
    )


def ser_files_of(emi_path: str | os.PathLike[str]) -> list[str]:
    """Names of the files beside an emi file that hold its images, in order."""
    folder, name = os.path.split(os.fspath(emi_path))
    stem = os.path.splitext(name)[0]
    numbered = re.compile(re.escape(stem) + r"_(\d{1,9})\.ser", re.IGNORECASE)
    names = os.listdir(folder or ".") if name else []
    return sorted((n for n in names if numbered.fullmatch(n)), key=lambda n: (len(n), n))


# --- mrc --------------------------------------------------------------------------------------


def _mrc_frames(source: Source) -> list[Frame]:
    _need("mrcfile")
    import warnings

    import mrcfile

    with _file_of(source) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it finds odd is checked here
        with mrcfile.open(path, permissive=True, header_only=True) as file:
            head = file.header
            mode, extended = int(head.mode), int(head.nsymbt)
            width, height, depth = (int(head[n]) for n in ("nx", "ny", "nz"))
            voxel = file.voxel_size
            sizes = [float(voxel.x), float(voxel.y)]
            big = head.mode.dtype.byteorder == ">"
    types = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
    if mode not in types:
        raise ImageError(f"holds data of mode {mode}, expected grey levels")
    if not 0 < depth <= MAX_FRAMES or min(width, height) < 1:
        raise ImageError(f"declares {depth} images of {width} x {height} px")
    if extended < 0:
        raise ImageError("damaged: its extended header has a negative length")
    dtype = np.dtype((">" if big else "<") + types[mode])
    readings, doubts = scale_reading("MRC cell", sizes, ("Å", "Å"))
    if sizes == [1, 1]:
        doubts = ("1 Å per pixel is also what programs write that know no pixel size",)
    header = Header(readings, warnings=doubts)
    step = width * height * dtype.itemsize
    first = 1024 + extended
    return [
        Frame(
            str(z + 1) if depth > 1 else "",
            header,
            _cut(source, first + z * step, (height, width), dtype.str),
            (height, width),
            dtype.newbyteorder("=").name,
        )
        for z in range(depth)
    ]


# --- the formats ------------------------------------------------------------------------------


def _is_dm(start: bytes, path: str) -> bool:
    del path
    version = int.from_bytes(start[:4], "big")
    at = {3: 8, 4: 12}.get(version)
    return at is not None and start[at : at + 4] in (b"\0\0\0\1", b"\0\0\0\0")


def _is_ser(start: bytes, path: str) -> bool:
    del path
    return start[:4] == b"\x49\x49\x97\x01"


def _is_emi(start: bytes, path: str) -> bool:
    return start[:2] == b"JM" or path.lower().endswith(".emi")


def _is_mrc(start: bytes, path: str) -> bool:
    # "MAP " stands at byte 208, past what is looked at: by name, and a mode that exists.
    mode = start[12:16]
    values = {int.from_bytes(mode, "little"), int.from_bytes(mode, "big")}
    return path.lower().endswith((".mrc", ".mrcs", ".rec", ".st")) and bool(
        values & {0, 1, 2, 3, 4, 6, 12}
    )


def _is_hdf5(start: bytes, path: str) -> bool:
    del path
    return start.startswith(_HDF5)


def _emd(source: Source) -> list[Frame]:
    _need("h5py")
    with _file_of(source) as path:
        check_ends(path, size_bytes=source.size_bytes)
    return list_emd(source)


def list_emd(source: Source) -> list[Frame]:
    """The images of an EMD file, in this process."""
    return emd_frames(source, refused=refused, scale_reading=scale_reading)


MICROSCOPE_FORMATS = (
    Format("DM3 or DM4", (".dm3", ".dm4"), _is_dm, _dm_frames, by_path=True),
    Format("SER", (".ser",), _is_ser, _ser_frames, by_path=True),
    Format("EMI", (), _is_emi, _emi_frames, by_path=True),
    Format("EMD", (".emd",), _is_hdf5, _emd, by_path=True),
    Format("MRC", (".mrc", ".mrcs"), _is_mrc, _mrc_frames, by_path=True),
)
