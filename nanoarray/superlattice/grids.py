"""The tile grid of a collection, as Datasets carry it from step to step."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nanoarray.errors import InputError
from nanoarray.superlattice.one_image import Grid
from nanoarray.superlattice.parameters import TilesParameters
from nanoarray.superlattice.radon.tile_grid import tile_grid

#: What a Dataset has to hold so that the grid of its tiles is known.
GRID_NAMES = ("tile_y", "tile_x", "common_pixel_size", "tile_size", "stride", "coverage")


def projection_angles(count: int) -> np.ndarray:
    """``count`` projection angles [deg], evenly over [0, 180)."""
    return np.arange(count) * (180.0 / count)


def collection_grid(
    height_px: int, width_px: int, tile_size_px: int, stride_px: int, parameters: TilesParameters
) -> Grid:
    """The tile grid of a collection whose largest image is ``height_px`` by ``width_px``."""
    centres_y, centres_x = tile_grid(
        height_px,
        width_px,
        tile_size_px=tile_size_px,
        stride_px=stride_px,
        coverage=parameters.coverage,
    )
    return Grid(centres_y, centres_x, int(tile_size_px), int(stride_px), parameters.coverage)


def scaled_grid(
    heights_px: np.ndarray,
    widths_px: np.ndarray,
    factors: np.ndarray,
    tile_size_px: int,
    stride_px: int,
    parameters: TilesParameters,
) -> Grid:
    """The tile grid of images of these sizes after resampling; at NaN an image takes no part."""
    used = np.isfinite(factors)
    if not used.any():
        raise InputError(
            "no image is usable: in a store see `nanoarray status`, in a Dataset the variables "
            "usable and pixel_size"
        )
    height, width = (
        int(np.rint(lengths[used] * factors[used]).max()) for lengths in (heights_px, widths_px)
    )
    return collection_grid(height, width, tile_size_px, stride_px, parameters)


def grid_constants(
    grid: Grid, common_pixel_size_nm: float, parameters: TilesParameters
) -> dict[str, Any]:
    """Variables of the group ``tiles`` that do not depend on the images."""
    return {
        "tile_y": grid.centres_y,
        "tile_x": grid.centres_x,
        "angle": projection_angles(parameters.angle_count),
        "common_pixel_size": common_pixel_size_nm,
        "tile_size": float(grid.tile_size_px),
        "stride": float(grid.stride_px),
        "coverage": grid.coverage,
        "band_pass": parameters.band_pass,
    }


def grid_of(ds: xr.Dataset) -> Grid:
    """The grid that a Dataset with tiles or maps carries."""
    for name in GRID_NAMES:
        if name not in ds:
            raise InputError(f"the Dataset has no {name!r}: merge what na.tile_radon gave")
    coverage = str(ds["coverage"].values)
    return Grid(
        ds["tile_y"].values,
        ds["tile_x"].values,
        int(ds["tile_size"]),
        int(ds["stride"]),
        "inside" if coverage == "inside" else "full",
    )
