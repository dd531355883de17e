"""Write one image with its label images as OME-Zarr, which napari, Fiji and others open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from nanoarray.exchange.bands import CHUNK_PX, Plane, halved, level_count, plane_of
from nanoarray.exchange.labels import as_labels
from nanoarray.exchange.ngff import (
    Version,
    image_attributes,
    label_attributes,
    labels_attributes,
)


def write_ome_zarr(
    path: str | os.PathLike[str],
    pixels: npt.NDArray[Any] | Plane,
    *,
    labels: Mapping[str, npt.NDArray[Any] | Plane] | None = None,
    pixel_size_nm: float = float("nan"),
    pixel_size_y_nm: float | None = None,
    version: Version = "0.4",
    tags: Mapping[str, Any] | None = None,
) -> Path:
    """Write an image as an OME-Zarr group with a pyramid.

    Written beside ``path`` and moved there when it is whole; what was there is replaced.

    Parameters
    ----------
    path
        The folder to write, by custom ending in ``.ome.zarr``.
    pixels
        ``(height, width)`` grey values: an array, or a plane that is read 1024 rows at a time.
    labels
        Label images ``(height, width)`` by name: whole numbers, 0 for background. Reduced levels
        hold the label of the first pixel of each square, so that no label is made up.
    pixel_size_nm, pixel_size_y_nm
        Length of a pixel along x and along y (by default the same); NaN when unknown, which
        leaves the axes without a unit.
    version
        Version of NGFF: "0.4" (Zarr v2, read nearly everywhere) or "0.5" (Zarr v3).
    tags
        What else is known about the image, kept under the attribute ``nanoarray``.

    Raises
    ------
    InputError
        A label image has another shape, or its values are not whole numbers.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    size_y = pixel_size_nm if pixel_size_y_nm is None else pixel_size_y_nm
    plane = plane_of(pixels)
    layers = {
        name: as_labels(plane_of(values), name=name, shape=plane.shape)
        for name, values in (labels or {}).items()
    }
    shutil.rmtree(partial, ignore_errors=True)
    try:
        root = _group(partial, version)
        name = target.name.removesuffix(".zarr").removesuffix(".ome")
        options: dict[str, Any] = {"pixel_size_nm": (size_y, pixel_size_nm), "version": version}
        count = _write_levels(root, plane, version=version, pooled=True)
        attributes = image_attributes(name, level_count=count, reduction="mean", **options)
        root.attrs.update(attributes | ({"nanoarray": dict(tags)} if tags else {}))
        if layers:
            group = root.create_group(
                "labels", attributes=labels_attributes([*layers], version=version)
            )
            for label, values in layers.items():
                own = group.create_group(label)
                count = _write_levels(own, values, version=version, pooled=False)
                attributes = image_attributes(
                    label, level_count=count, reduction="nearest", **options
                )
                own.attrs.update(label_attributes(attributes, version=version))
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _group(path: Path, version: Version) -> zarr.Group:
    return zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)


def _write_levels(group: zarr.Group, plane: Plane, *, version: Version, pooled: bool) -> int:
    """Write the arrays "0", "1", ... of a pyramid, some rows at a time; gives their number."""
    count = level_count(plane.shape)
    for level in range(count):
        array = _create_array(group, str(level), plane, version=version)
        for start, values in plane.bands():
            array[start : start + len(values)] = values
        # The next level is made from what was written: the image is read once.
        plane = halved(_stored(array), pooled=pooled)
    return count


def _stored(array: zarr.Array) -> Plane:
    height, width = array.shape
    return Plane((height, width), array.dtype, lambda a, b: np.asarray(array[a:b]))


def _create_array(group: zarr.Group, name: str, plane: Plane, *, version: Version) -> zarr.Array:
    options: dict[str, Any] = {"compressors": "auto"}
    if version == "0.4":
        from numcodecs import Zstd

        # NGFF 0.4 asks for nested chunks; Zstd is in every reader, Blosc's own codecs are not.
        options = {
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
            "compressors": Zstd(level=1),
        }
    else:
        options["dimension_names"] = ("y", "x")
    chunks = tuple(min(CHUNK_PX, max(1, n)) for n in plane.shape)
    return group.create_array(
        name, shape=plane.shape, dtype=plane.dtype, chunks=chunks, fill_value=0, **options
    )
