"""Electron microscopy data in HDF5: the EMD files of Velox, and those of Berkeley (openNCEM)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoarray.errors import ImageError
from nanoarray.images.formats import MAX_FRAMES, MAX_PIXEL_BYTES, Frame, Samples
from nanoarray.images.header import Header, known_values, number
from nanoarray.images.source import Source

if TYPE_CHECKING:
    import h5py

__all__ = ["emd_frames"]

#: Images of a Velox file, and groups of a Berkeley one.
_VELOX = "Data/Image"
_BERKELEY_TYPE = "emd_group_type"
_MOST_METADATA = 2**22
_MOST_GROUPS = 10_000


def emd_frames(
    source: Source,
    *,
    refused: Callable[[str, str], Frame],
    scale_reading: Callable[..., tuple[Any, tuple[str, ...]]],
) -> list[Frame]:
    """The images of an EMD file; each signal that is none with the reason.

    ``refused`` makes such an entry, ``scale_reading`` a reading of a calibration.
    """
    import h5py

    with source.open() as raw, h5py.File(raw, "r") as file:
        top = _own(file, "Data")
        velox = _own(top, "Image") if isinstance(top, h5py.Group) else None
        if isinstance(velox, h5py.Group):
            signals = [
                _velox_signal(_own(velox, key), f"{_VELOX}/{key}", scale_reading)
                for key in sorted(velox)[:_MOST_GROUPS]
            ]
        else:
            signals = _berkeley_signals(file, scale_reading)
    if not signals:
        raise ImageError("the HDF5 file holds no image of Velox or Berkeley EMD")
    frames: list[Frame] = []
    for k, signal in enumerate(signals, start=1):
        frames += _frames(source, signal, str(k) if len(signals) > 1 else "", refused)
    return frames


def _frames(
    source: Source, signal: dict[str, Any], name: str, refused: Callable[[str, str], Frame]
) -> list[Frame]:
    if signal["reason"]:
        return [refused(name, signal["reason"])]
    depth, height, width = signal["shape"]
    frames = []
    for z in range(depth):
        parts = [name] if name else []
        parts += [str(z + 1)] if depth > 1 else []
        decode = _decoder(source, signal, z)
        frames.append(
            Frame(".".join(parts), signal["header"], decode, (height, width), signal["dtype"])
        )
    return frames


def _decoder(source: Source, signal: dict[str, Any], z: int) -> Callable[[], Samples]:
    def decode() -> Samples:
        import h5py

        with source.open() as raw, h5py.File(raw, "r") as file:
            data = file[signal["path"]]
            if data.ndim == 2:
                values = data[()]
            else:
                values = data[..., z] if signal["depth_last"] else data[z]
        return Samples(np.asarray(values), 8 * values.dtype.itemsize)

    return decode


def _signal(data: h5py.Dataset, path: str, header: Header, *, depth_last: bool) -> dict[str, Any]:
    """What is known of a data set, and why it is no image; "" where it is one."""
    shape = tuple(int(n) for n in data.shape)
    reason = ""
    if data.dtype.names or data.dtype.kind not in "uif":
        reason = "holds complex numbers or records, expected grey levels"
    elif data.ndim not in (2, 3) or 1 in shape[:2] or not all(shape):
        reason = f"has the shape {shape}, expected an image or a stack of images"
    elif data.external or data.is_virtual:
        reason = "its pixels are in another file, which is not opened"
    layers = (1, *shape) if len(shape) == 2 else shape
    if len(shape) == 3 and depth_last:
        layers = (shape[2], shape[0], shape[1])
    if not reason and layers[0] > MAX_FRAMES:
        reason = f"is a series of {layers[0]} images, expected at most {MAX_FRAMES}"
    if not reason and layers[1] * layers[2] * data.dtype.itemsize > MAX_PIXEL_BYTES:
        reason = f"declares {layers[2]} x {layers[1]} px, more than one micrograph may have"
    return {
        "path": path,
        "header": header,
        "shape": layers,
        "dtype": data.dtype.name,
        "depth_last": depth_last,
        "reason": reason,
    }


def _own(group: Any, name: str) -> Any:
    """A member of a group; None where it is not there, or is a link, which may leave the file."""
    import h5py

    link = group.get(name, getlink=True)
    return group.get(name) if isinstance(link, h5py.HardLink) else None


def _velox_signal(
    group: Any, path: str, scale_reading: Callable[..., tuple[Any, tuple[str, ...]]]
) -> dict[str, Any]:
    import h5py

    data = _own(group, "Data") if isinstance(group, h5py.Group) else None
    if not isinstance(data, h5py.Dataset):
        return {"reason": "has no data of its own in the file"}
    info = _velox_metadata(_own(group, "Metadata"))
    result = _part(info, "BinaryResult")
    pixel = _part(result, "PixelSize")
    units = [str(result.get(f"PixelUnit{axis}", "")) for axis in "XY"]
    lengths = [number(pixel.get(name)) for name in ("width", "height")]
    readings, doubts = scale_reading("Velox pixel size", lengths, units)
    started = number(_part(_part(info, "Acquisition"), "AcquisitionStartDatetime").get("DateTime"))
    acquired = ""
    if 0 < started < 4e9:
        acquired = datetime.fromtimestamp(started, UTC).replace(tzinfo=None).isoformat()
    metadata = known_values(
        {"voltage_kV": number(_part(info, "Optics").get("AccelerationVoltage")) / 1e3},
        {
            "instrument": str(_part(info, "Instrument").get("InstrumentModel", "")),
            "detector": str(result.get("Detector", "")),
            "acquired": acquired,
        },
    )
    header = Header(readings, metadata, {"Velox": info} if info else {}, warnings=doubts)
    return _signal(data, f"{path}/Data", header, depth_last=True)


def _velox_metadata(data: Any) -> dict[str, Any]:
    """The JSON of the first image, zero padded in a column of bytes."""
    if data is None or data.ndim != 2 or data.shape[0] > _MOST_METADATA or not data.shape[1]:
        return {}
    text = bytes(np.asarray(data[:, 0], np.uint8)).split(b"\0", 1)[0]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(info: dict[str, Any], name: str) -> dict[str, Any]:
    part = info.get(name)
    return part if isinstance(part, dict) else {}


def _berkeley_signals(
    file: h5py.File, scale_reading: Callable[..., tuple[Any, tuple[str, ...]]]
) -> list[dict[str, Any]]:
    """Groups that say they are EMD data: ``data`` and a vector ``dim1``, ``dim2``... per axis."""
    import h5py

    paths: list[str] = []
    seen = 0

    def visit(path: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(item, h5py.Group) and item.attrs.get(_BERKELEY_TYPE) == 1:
            paths.append(path)
        return True if seen > _MOST_GROUPS else None  # ends the walk

    file.visititems(visit)
    signals = []
    for path in paths:
        group = file[path]
        data = _own(group, "data")
        if not isinstance(data, h5py.Dataset):
            continue
        axes = [_axis(_own(group, f"dim{k}")) for k in range(1, data.ndim + 1)]
        # The stack runs along the axis that is no length; slower ones come first.
        depth_last = data.ndim == 3 and axes[0][1] == axes[1][1] != axes[2][1]
        across = axes[:2] if depth_last else axes[-2:]
        if len(across) < 2:
            signals.append({"reason": f"has {data.ndim} dimensions, expected an image"})
            continue
        (step_y, unit_y), (step_x, unit_x) = across
        readings, doubts = scale_reading("EMD axes", (step_x, step_y), (unit_x, unit_y))
        header = Header(readings, warnings=doubts)
        signals.append(_signal(data, f"{path}/data", header, depth_last=depth_last))
    return signals


def _axis(vector: Any) -> tuple[float, str]:
    """Step and unit of the vector of an axis; the unit is written as ``[n_m]``."""
    if vector is None or vector.ndim != 1 or vector.shape[0] < 2:
        return math.nan, ""
    first, second = (float(v) for v in vector[:2])
    unit = vector.attrs.get("units", "")
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)
    return second - first, text.strip("[] ").replace("_", "")
