"""Write one image as OME-TIFF, which Fiji, QuPath and napari open with its scale."""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: A TIFF resolution is a ratio of 32-bit numbers: finer than this many pixels per centimetre it
#: cannot be said, and only the OME metadata have it.
_MOST_PER_CENTIMETRE = 4e9
_TILE_PX = 512
_NM_PER_CENTIMETRE = 1e7


def write_ome_tiff(
    path: str | os.PathLike[str],
    pixels: npt.NDArray[Any],
    *,
    pixel_size_nm: float = float("nan"),
    pixel_size_y_nm: float | None = None,
    name: str = "",
    description: str = "",
) -> Path:
    """Write an image as a compressed, tiled OME-TIFF.

    Written beside ``path`` and moved there when it is whole; what was there is replaced.

    Parameters
    ----------
    path
        The file, by custom ending in ``.ome.tif``.
    pixels
        ``(height, width)`` grey values or labels: integers of 8, 16 or 32 bits, or float32.
    pixel_size_nm, pixel_size_y_nm
        Length of a pixel along x and along y (by default the same); NaN when unknown, which
        leaves the file without a scale.
    name, description
        Of the image, as OME metadata.
    """
    import tifffile

    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    size_y_nm = pixel_size_nm if pixel_size_y_nm is None else pixel_size_y_nm
    # The same image is the same file: tifffile's own choice is random.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{name}\n{description}\n{_digest(pixels)}")
    metadata: dict[str, Any] = {"axes": "YX", "Name": name or target.name, "UUID": str(identity)}
    if description:
        metadata["Description"] = description
    options: dict[str, Any] = {"resolutionunit": "NONE"}
    if math.isfinite(pixel_size_nm) and math.isfinite(size_y_nm):
        metadata |= {
            "PhysicalSizeX": float(pixel_size_nm),
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": float(size_y_nm),
            "PhysicalSizeYUnit": "nm",
        }
        per_cm = (_NM_PER_CENTIMETRE / pixel_size_nm, _NM_PER_CENTIMETRE / size_y_nm)
        if max(per_cm) <= _MOST_PER_CENTIMETRE:
            options = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    try:
        tifffile.imwrite(
            partial,
            pixels,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            predictor=pixels.dtype.kind in "iu",
            tile=(_TILE_PX, _TILE_PX) if max(pixels.shape) > _TILE_PX else None,
            metadata=metadata,
            **options,
        )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _digest(pixels: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
