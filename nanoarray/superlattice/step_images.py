"""What the steps on Datasets share: shapes, grids, and every image as the pipeline has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.superlattice import one_image
from nanoarray.superlattice.grids import collection_grid, scaled_grid
from nanoarray.superlattice.one_image import Field, Grid
from nanoarray.superlattice.parameters import PreparedParameters, TilesParameters
from nanoarray.superlattice.scale import common_pixel_size, scale_factors, scale_problem

#: What is known of every image besides its pixels; the first two always are.
SCALARS = ("height", "width", "usable", "pixel_size")


def present(ds: xr.Dataset, *names: str) -> list[str]:
    """Those of the names that the Dataset has."""
    return [name for name in names if name in ds]


def unmeasured(values: Mapping[str, Any], common_pixel_size_nm: float) -> bool:
    """Whether an image is left out: not usable, or without a place at the common pixel size."""
    size_nm = float(values.get("pixel_size", np.nan))
    return not values.get("usable", True) or bool(scale_problem(size_nm, common_pixel_size_nm))


def measured_images(ds: xr.Dataset) -> list[int]:
    """Positions of the images of a Dataset with tiles that are not `unmeasured`."""
    common = float(ds["common_pixel_size"]) if "common_pixel_size" in ds else np.nan
    names = present(ds, "usable", *(["pixel_size"] if np.isfinite(common) else []))
    columns = {name: ds[name].values for name in names}
    if "pixel_size" not in columns:  # of tiles alone, it is not known who is out of scale
        common = np.nan
    return [
        i
        for i in range(ds.sizes["image"])
        if not unmeasured({n: column[i] for n, column in columns.items()}, common)
    ]


def unknown(group: str, names: Sequence[str]) -> dict[str, Any]:
    """What stands for the result of an image that was left out: nothing, or unknown."""
    entries = {name: schema.GROUPS[group][name] for name in names}
    return {
        name: np.zeros((0,) * (len(entry.dims) - 1)) if len(entry.dims) > 1 else entry.fill_value
        for name, entry in entries.items()
    }


def field_of(
    values: Mapping[str, Any], common_pixel_size_nm: float, cleaning: PreparedParameters
) -> Field:
    """One image as the pipeline has it: cleaned and at the common pixel size."""
    height, width = int(values["height"]), int(values["width"])
    pixels = values["intensity"][:height, :width]
    defect = values.get("defect")
    return one_image.clean_image(
        pixels,
        np.zeros(pixels.shape, bool) if defect is None else defect[:height, :width],
        pixel_size_nm=float(values.get("pixel_size", np.nan)),
        common_pixel_size_nm=common_pixel_size_nm,
        spacing_px=float(values.get("lattice_spacing", np.nan)),
        parameters=cleaning,
    )


def common_pixel_size_of(ds: xr.Dataset) -> float:
    """The common pixel size of the tiles of a Dataset [nm], NaN where there is none."""
    common = float(ds["common_pixel_size"])
    if np.isfinite(common):
        _need_pixel_size(ds)
    return common


def _need_pixel_size(ds: xr.Dataset) -> None:
    if "pixel_size" not in ds:
        raise InputError(
            "the images are resampled to a common pixel size and the Dataset has no 'pixel_size': "
            "add it along image, in nm"
        )


def dataset_grid(
    ds: xr.Dataset,
    tile_size_px: int,
    stride_px: int,
    parameters: TilesParameters,
    cleaning: PreparedParameters,
) -> tuple[float, Grid]:
    """The common pixel size [nm] and the tile grid of the images of a Dataset."""
    if cleaning.common_pixel_size_nm != "none":
        _need_pixel_size(ds)
        sizes_nm = ds["pixel_size"].values.astype(float)
        if "usable" in ds:
            sizes_nm = np.where(ds["usable"].values, sizes_nm, np.nan)
        common = common_pixel_size(sizes_nm, cleaning.common_pixel_size_nm)
        if np.isfinite(common):
            factors = scale_factors(sizes_nm, common)
            shapes = ds["height"].values, ds["width"].values
            return common, scaled_grid(*shapes, factors, tile_size_px, stride_px, parameters)
    # Of the padded size, so that nothing has to be read.
    grid = collection_grid(ds.sizes["y"], ds.sizes["x"], tile_size_px, stride_px, parameters)
    return float("nan"), grid
