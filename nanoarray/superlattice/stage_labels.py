"""Grains of given label images in the stages `grain_maps` and `grains`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray.archive.stage import Inputs
from nanoarray.images.label_images import given_labels, read_labels
from nanoarray.superlattice.grids import grid_of
from nanoarray.superlattice.label_maps import (
    LABEL_MAP_NAMES,
    map_from_labels,
    measure_labels,
)
from nanoarray.superlattice.one_image import Field, Grid, own_tiles
from nanoarray.superlattice.parameters import GrainMapsParameters

__all__ = ["LABEL_MAP_NAMES", "dataset_map", "map_given", "measure_given"]


def map_given(
    inputs: Inputs, parameters: GrainMapsParameters, own: xr.Dataset, i: int, field: Field
) -> dict[str, Any]:
    """The map of image ``i``, whose grains are in a label image; ``field`` as it is tiled."""
    images, tiles = inputs["images"], inputs["tiles"]
    values = {n: images[n][i].values for n in ("image", "height", "width", "data_bar")}
    grid = grid_of(own)
    rows, columns = own_tiles(grid, *field.image.shape)
    values |= {n: tiles[n][i, rows, columns].values for n in ("projection_variance", "valid")}
    height, width = int(values["height"]), int(values["width"])
    values["defect"] = inputs["prepared"]["defect"][i, :height, :width].values
    return dataset_map(values, field, grid, tiles["angle"].values, parameters)


def dataset_map(
    values: Mapping[str, Any],
    field: Field,
    grid: Grid,
    angles_deg: np.ndarray,
    parameters: GrainMapsParameters,
) -> dict[str, Any]:
    """The map of an image of which ``values`` hold the variables, as `map_images` gives them."""
    height, width = int(values["height"]), int(values["width"])
    found = read_labels(str(parameters.labels), str(values["image"]), prefer="grain")
    bar = int(values.get("data_bar", 0))
    return map_from_labels(
        field,
        grid,
        angles_deg,
        values["projection_variance"],
        values["valid"],
        parameters,
        given_labels(found, shape=(height, width), data_bar_px=bar, what="grains"),
        values["defect"][:height, :width],
    )


def measure_given(
    maps: xr.Dataset, i: int, shape: tuple[int, int], **options: Any
) -> dict[str, Any]:
    """Rows of the grains of image ``i`` of this shape; ``options`` as for `measure_labels`."""
    names = ("grain", "orientation", "orientation_confidence")
    grid, factor = grid_of(maps), float(options["factor"])
    rows, columns = own_tiles(grid, *(round(n * factor) for n in shape))
    return measure_labels(
        maps["grain_pixels"][i, : shape[0], : shape[1]].values,
        json.loads(str(maps["source_labels"][i].values) or "[]"),
        {name: maps[name][i, rows, columns].values for name in names},
        grid,
        **options,
    )
