"""Grains of a given label image: on the tile grid as a map, and measured on its pixels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.superlattice.grains.cells import cell_edges
from nanoarray.superlattice.grains.foreign import cell_owners, foreign_grains, majority_of_cells
from nanoarray.superlattice.grains.labels import orient_grains
from nanoarray.superlattice.grains.measure import measure_grains
from nanoarray.superlattice.one_image import Field, Grid, Mask, own_tiles
from nanoarray.superlattice.one_map import (
    map_variables,
    measure_map,
    measured_px,
    min_tiles,
)
from nanoarray.superlattice.parameters import GrainMapsParameters

#: Variables that a grain map has besides where the grains were given.
LABEL_MAP_NAMES = ("grain_pixels", "source_labels", "rejected_labels")
#: Columns of the table of grains that tiles know, not pixels.
_OF_TILES = ("orientation", "orientation_spread", "orientation_confidence", "tile_count")


def map_from_labels(
    field: Field,
    grid: Grid,
    angles_deg: npt.NDArray[np.float64],
    profile: npt.NDArray[np.float32],
    valid: Mask,
    parameters: GrainMapsParameters,
    labels: npt.NDArray[np.integer[Any]],
    defect: Mask,
) -> dict[str, Any]:
    """The map of one image whose grains are given.

    Parameters
    ----------
    field, grid, angles_deg, profile, valid, parameters
        As for `one_map.grain_map`.
    labels, defect
        ``(height, width)`` in the image's own pixels.

    Returns
    -------
    dict
        Variables of the group ``grain_maps``: ``grain`` is the label that most pixels of a tile's
        cell have; orientations are of the tiles inside of each grain, unknown where they show no
        lattice and in grains smaller than ``min_diameter_spacings``.
    """
    given = foreign_grains(labels)
    own = own_tiles(grid, *field.image.shape)
    profile, valid = profile[own], valid[own]
    grain = _on_tiles(given.pixels, grid, field.factor)
    least = min_tiles(field.spacing_px, grid, parameters)
    found = orient_grains(
        grain,
        profile,
        angles_deg,
        valid=valid,
        symmetry=None if parameters.symmetry == "auto" else parameters.symmetry,
        min_tiles=least,
        tile_strides=grid.tile_size_px / grid.stride_px,
    )
    variables = map_variables(found, measured_px(field), np.zeros(grain.shape))
    size = np.bincount(given.pixels.ravel(), minlength=given.source_labels.size + 1)
    indexed = np.unique(grain[np.isfinite(found.orientation_deg)])
    total = max(int((~defect | (given.pixels > 0)).sum()), 1)
    return variables | {
        "grain": grain,
        "grain_count": np.int32(given.source_labels.size),
        "mapped_fraction": np.float32(size[1:].sum() / total),
        "indexed_fraction": np.float32(size[indexed].sum() / total),
        "grain_pixels": given.pixels,
        "source_labels": json.dumps(given.source_labels.tolist()),
        "rejected_labels": json.dumps(given.rejected) if given.rejected else "",
    }


def _on_tiles(pixels: npt.NDArray[np.int32], grid: Grid, factor: float) -> npt.NDArray[np.int32]:
    """The grain of every tile of the image."""
    height, width = pixels.shape
    own = own_tiles(grid, round(height * factor), round(width * factor))
    centres_y, centres_x = grid.centres_y[own[0]], grid.centres_x[own[1]]
    owners = []
    for centres, length in ((centres_y, height), (centres_x, width)):
        # Pixel centres are at integers: scaling happens about the outer edge of the first pixel.
        low, high = cell_edges(
            (centres + 0.5) / factor - 0.5,
            stride_px=grid.stride_px / factor,
            length_px=length,
            to_edge=grid.coverage == "full",
        )
        owners.append(cell_owners(low, high, length))
    return majority_of_cells(pixels, owners[0], owners[1], (centres_y.size, centres_x.size))


def measure_labels(
    pixels: npt.NDArray[np.int32],
    source_labels: list[int],
    cells: dict[str, npt.NDArray[Any]],
    grid: Grid,
    *,
    symmetry: int,
    defect: Mask,
    factor: float,
    pixel_size_nm: float,
    image_index: int,
) -> dict[str, Any]:
    """Measure given grains on their pixels; their orientations are of the tiles.

    Parameters
    ----------
    pixels
        ``(height, width)`` grains 1..n, 0 for none.
    source_labels
        The id that each grain had.
    cells
        ``grain``, ``orientation`` and ``orientation_confidence`` on the tile grid.
    grid, symmetry, defect, factor, pixel_size_nm, image_index
        As for `one_map.measure_map`.

    Raises
    ------
    InputError
        The map holds other grains than it was made with.
    """
    height, width = pixels.shape
    columns: dict[str, Any] = measure_grains(
        pixels,
        orientation=None,
        confidence=None,
        # What was labelled counts, also where a defect was seen.
        cell_area_px=((pixels > 0) | ~defect).astype(np.float64),
        stride_px=1.0,
        centres_y=np.arange(height),
        centres_x=np.arange(width),
        field_height_px=height,
        field_width_px=width,
        pixel_size_nm=pixel_size_nm,
        symmetry=symmetry,
    )
    count = columns["label"].size
    if count != len(source_labels):
        raise InputError(f"the map holds {count} grains but {len(source_labels)} original ids")
    of_tiles = measure_map(
        cells["grain"],
        cells["orientation"],
        cells["orientation_confidence"],
        grid,
        symmetry=symmetry,
        defect=defect,
        factor=factor,
        pixel_size_nm=pixel_size_nm,
        image_index=image_index,
    )
    at = np.searchsorted(columns["label"], of_tiles["label"])
    for name in _OF_TILES:
        values = np.zeros(count, np.int32) if name == "tile_count" else np.full(count, np.nan)
        values[at] = of_tiles[name]
        columns[name] = values
    columns["image_index"] = np.full(count, image_index, np.int32)
    columns["symmetry"] = np.full(count, symmetry, np.int32)
    columns["problem"] = np.full(count, "", object)
    columns["source_label"] = np.array(source_labels, np.int64)
    return columns
