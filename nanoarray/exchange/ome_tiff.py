"""Write one image as OME-TIFF, which Fiji, QuPath and napari open with its scale."""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.exchange.bands import CHUNK_PX, Plane, halved, level_count, plane_of

#: A TIFF resolution is a ratio of 32-bit numbers: finer than this many pixels per centimetre it
#: cannot be said, and only the OME metadata have it.
_MOST_PER_CENTIMETRE = 4e9
_NM_PER_CENTIMETRE = 1e7
#: Images with a longer side get a pyramid: viewers show smaller ones whole.
_PYRAMID_PX = 4 * CHUNK_PX
#: Offsets of a usual TIFF end at 4 GiB; compression may make noise a little longer.
_BIG_BYTES = 2**32 - 2**28


def write_ome_tiff(
    path: str | os.PathLike[str],
    pixels: npt.NDArray[Any] | Plane,
    *,
    pixel_size_nm: float = float("nan"),
    pixel_size_y_nm: float | None = None,
    name: str = "",
    description: str = "",
    labels: bool = False,
) -> Path:
    """Write an image as a compressed, tiled OME-TIFF, with a pyramid where it is large.

    Written beside ``path`` and moved there when it is whole; what was there is replaced.

    Parameters
    ----------
    path
        The file, by custom ending in ``.ome.tif``.
    pixels
        ``(height, width)`` grey values or labels: integers of 8, 16 or 32 bits, or float32; an
        array, or a plane that is read 512 rows at a time, once per level and once for its digest.
    pixel_size_nm, pixel_size_y_nm
        Length of a pixel along x and along y (by default the same); NaN when unknown, which
        leaves the file without a scale.
    name, description
        Of the image, as OME metadata.
    labels
        Whether values are labels: reduced levels then hold that of the first pixel of each square,
        instead of the mean.
    """
    import tifffile

    target, plane = Path(path), plane_of(pixels)
    partial = target.with_name(f".{target.name}.partial")
    size_y_nm = pixel_size_nm if pixel_size_y_nm is None else pixel_size_y_nm
    # The same image is the same file: tifffile's own choice is random.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{name}\n{description}\n{_digest(plane)}")
    metadata: dict[str, Any] = {"axes": "YX", "Name": name or target.name, "UUID": str(identity)}
    if description:
        metadata["Description"] = description
    per_cm = None
    if math.isfinite(pixel_size_nm) and math.isfinite(size_y_nm):
        metadata |= {
            "PhysicalSizeX": float(pixel_size_nm),
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": float(size_y_nm),
            "PhysicalSizeYUnit": "nm",
        }
        per_cm = (_NM_PER_CENTIMETRE / pixel_size_nm, _NM_PER_CENTIMETRE / size_y_nm)
    levels = level_count(plane.shape) if max(plane.shape) > _PYRAMID_PX else 1
    size = 1.4 * math.prod(plane.shape) * plane.dtype.itemsize
    try:
        with tifffile.TiffWriter(partial, ome=True, bigtiff=size > _BIG_BYTES) as writer:
            _write_level(writer, plane, per_cm, metadata=metadata, subifds=levels - 1)
            for level in range(1, levels):
                plane = halved(plane, pooled=not labels)
                reduced = None if per_cm is None else tuple(v / 2**level for v in per_cm)
                _write_level(writer, plane, reduced, subfiletype=1)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _write_level(
    writer: Any, plane: Plane, per_cm: tuple[float, ...] | None, **options: Any
) -> None:
    """Write one level, tile by tile where it is larger than one."""
    said = per_cm is not None and max(per_cm) <= _MOST_PER_CENTIMETRE
    scale = (
        {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
        if said
        else {"resolutionunit": "NONE"}
    )
    tiled = max(plane.shape) > CHUNK_PX
    writer.write(
        _tiles(plane) if tiled else plane.rows(0, plane.shape[0]),
        shape=plane.shape,
        dtype=plane.dtype,
        photometric="minisblack",
        compression="zlib",
        predictor=plane.dtype.kind in "iu",
        tile=(CHUNK_PX, CHUNK_PX) if tiled else None,
        **scale,
        **options,
    )


def _tiles(plane: Plane) -> Iterator[npt.NDArray[Any]]:
    """Tiles in the order in which TIFF has them, those at the edge filled up with 0."""
    for _, band in plane.bands(CHUNK_PX):
        for start in range(0, plane.shape[1], CHUNK_PX):
            tile = np.zeros((CHUNK_PX, CHUNK_PX), plane.dtype)
            part = band[:, start : start + CHUNK_PX]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def _digest(plane: Plane) -> str:
    digest = hashlib.sha256()
    for _, band in plane.bands(CHUNK_PX):
        digest.update(np.ascontiguousarray(band).data)
    return digest.hexdigest()
