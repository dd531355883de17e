"""Small files of microscopes as tests make them, by the formats' published layouts."""

from __future__ import annotations

import io
import json
import struct

import numpy as np


def dm3(pixels: np.ndarray, *, scale=0.5, unit="nm", thumbnail=True, depth_unit="") -> bytes:
    """DigitalMicrograph 3; ``pixels`` (height, width) or (depth, height, width) of uint16."""
    images = [_dm_image(pixels, scale, unit, depth_unit)]
    if thumbnail:
        small = np.zeros((2, 2), np.uint32)
        images.insert(0, _dm_image(small, 1.0, "", "", kind=23))
    root = _group([("ImageList", _group([("", image) for image in images]))])
    body = root[1:]  # the root is a group without a head
    return struct.pack(">3I", 3, len(body), 1) + body + bytes(8)


def _dm_image(pixels, scale, unit, depth_unit, kind=10) -> bytes:
    sizes = pixels.shape[::-1]
    units = [unit, unit, depth_unit][: pixels.ndim]
    dimension = _group(
        [
            ("", _group([("Origin", _number(0.0)), ("Scale", _number(scale)), ("Units", _text(u))]))
            for u in units
        ]
    )
    array_type = 4 if pixels.dtype.itemsize == 2 else 5
    data = b"\x15" + _entry_data([20, array_type, pixels.size], pixels.tobytes())
    content = [
        ("Calibrations", _group([("Dimension", dimension)])),
        ("Data", data),
        ("DataType", _integer(kind)),
        ("Dimensions", _group([("", _integer(n)) for n in sizes])),
        ("PixelDepth", _integer(pixels.dtype.itemsize)),
    ]
    info = _group([("Voltage", _number(200_000.0)), ("Indicated Magnification", _number(5e4))])
    tags = _group([("Microscope Info", info)])
    return _group([("ImageData", _group(content)), ("ImageTags", tags)])


def _group(entries) -> bytes:
    parts = [struct.pack(">BBI", 1, 0, len(entries))]
    for name, value in entries:
        text = name.encode()
        parts.append(value[:1] + struct.pack(">H", len(text)) + text + value[1:])
    return b"\x14" + b"".join(parts)


def _entry_data(info, data: bytes) -> bytes:
    return b"%%%%" + struct.pack(f">I{len(info)}I", len(info), *info) + data


def _number(value: float) -> bytes:
    return b"\x15" + _entry_data([6], struct.pack("<f", value))


def _integer(value: int) -> bytes:
    return b"\x15" + _entry_data([5], struct.pack("<I", value))


def _text(text: str) -> bytes:
    return b"\x15" + _entry_data([20, 4, len(text)], text.encode("utf-16-le"))


def ser(images: list[np.ndarray], *, step_m=2e-9) -> bytes:
    """TIA series of uint16 images."""
    count = len(images)
    dimension = struct.pack("<iddii", count, 0.0, 1.0, 0, 6) + b"Number" + struct.pack("<i", 0)
    table_at = 30 + len(dimension)
    first = table_at + 8 * count  # after two tables of 32-bit offsets
    elements, offsets = b"", []
    for pixels in images:
        offsets.append(first + len(elements))
        height, width = pixels.shape
        elements += struct.pack("<ddi", 0.0, step_m, 0) * 2
        elements += struct.pack("<hii", 2, width, height) + pixels.astype("<u2").tobytes()
    tags = [first + len(elements) + 8 * k for k in range(count)]
    head = struct.pack(
        "<hhhiiiiii", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, count, count, table_at, 1
    )
    table = struct.pack(f"<{2 * count}i", *offsets, *tags)
    stamps = b"".join(struct.pack("<hi", 0x4152, 0) + bytes(2) for _ in images)
    return head + dimension + table + elements + stamps


def velox(images: list[np.ndarray], *, pixel_m=1e-10) -> bytes:
    """Velox EMD with one signal per stack (height, width, images)."""
    import h5py

    info = {
        "BinaryResult": {
            "PixelSize": {"width": str(pixel_m), "height": str(pixel_m)},
            "PixelUnitX": "m",
            "PixelUnitY": "m",
            "Detector": "HAADF",
        },
        "Optics": {"AccelerationVoltage": "300000"},
    }
    text = np.frombuffer(json.dumps(info).encode().ljust(2000, b"\0"), np.uint8)
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        for k, pixels in enumerate(images):
            group = h5.create_group(f"Data/Image/{k:032x}")
            group["Data"] = pixels
            group["Metadata"] = np.repeat(text[:, None], pixels.shape[2], axis=1)
    return file.getvalue()


def berkeley(pixels: np.ndarray, *, step=0.25, unit="[n_m]") -> bytes:
    """Berkeley EMD of an image (height, width) or a stack (images, height, width)."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        group = h5.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        group["data"] = pixels
        for k, size in enumerate(pixels.shape, start=1):
            length = k > pixels.ndim - 2
            dim = group.create_dataset(f"dim{k}", data=np.arange(size) * (step if length else 1.0))
            dim.attrs["units"] = unit if length else ""
    return file.getvalue()


def mrc(pixels: np.ndarray, *, voxel_angstrom=5.0, order="<") -> bytes:
    """MRC 2014 of float32 or 16-bit images (images, height, width)."""
    depth, height, width = pixels.shape
    mode = {"f4": 2, "u2": 6, "i2": 1}[pixels.dtype.str[1:]]
    head = bytearray(1024)
    struct.pack_into(f"{order}10i", head, 0, width, height, depth, mode, 0, 0, 0, width, height, 1)
    cell = (width * voxel_angstrom, height * voxel_angstrom, 1.0)
    struct.pack_into(f"{order}6f", head, 40, *cell, 90.0, 90.0, 90.0)
    struct.pack_into(f"{order}3i", head, 64, 1, 2, 3)
    head[208:212] = b"MAP "
    head[212:214] = b"\x44\x44" if order == "<" else b"\x11\x11"
    return bytes(head) + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
