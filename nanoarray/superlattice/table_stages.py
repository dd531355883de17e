"""The stages of the superlattice pipeline whose groups are tables: grains and their statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray import schema
from nanoarray.archive.engine import Inputs
from nanoarray.archive.rows import measure_rows, row_identity
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.archive.tables import tag_attrs
from nanoarray.superlattice import large_stages, one_map, stage_labels
from nanoarray.superlattice.grids import grid_of
from nanoarray.superlattice.parameters import GrainsParameters, GrainStatisticsParameters
from nanoarray.superlattice.scale import known_median, scale_factor

__all__ = ["grain_identity", "measure_block", "no_blocks", "plan_grains", "plan_statistics"]

#: Rows per block of the table of grains: those of some ten images.
GRAIN_BLOCK = 256
#: Columns of grains that their statistics need, and how many rows are read at a time.
_STATISTICS_COLUMNS = (
    *("image_index", "label", "area", "touches_edge", "edge_weight", "problem"),
    *("planimetric_count", "intercept_length", "intercept_count", "mean_intercept"),
)
_PART = 1_000_000


def plan_grains(inputs: Inputs, parameters: GrainsParameters) -> GroupPlan:
    """As many rows as the maps have grains."""
    del parameters
    count = int(inputs["grain_maps"]["grain_count"].values.sum())
    given = "source_labels" in inputs["grain_maps"]
    arrays = tuple(
        array_plan("grains", name, {"grain": count}, block=GRAIN_BLOCK)
        for name in schema.GROUPS["grains"]
        if given or name != "source_label"
    )
    return GroupPlan(arrays, "grain", count, GRAIN_BLOCK)


def measure_block(
    inputs: Inputs, parameters: GrainsParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    """Rows ``rows`` of the table: the grains of the images that these rows belong to."""
    del parameters
    counts = _grain_counts(inputs)
    return measure_rows(
        lambda i: _measure_image(inputs, i), counts, own=own, group="grains", rows=rows
    )


def grain_identity(inputs: Inputs, rows: slice) -> dict[str, Any]:
    """Image and label of rows of the table of grains."""
    return row_identity(_grain_counts(inputs), rows)


def _grain_counts(inputs: Inputs) -> np.ndarray:
    """Grains of each image."""
    counts: np.ndarray = inputs["grain_maps"]["grain_count"].values.astype(np.int64)
    return counts


def _measure_image(inputs: Inputs, i: int) -> dict[str, Any]:
    """Grains of image ``i``, in the image's own pixels."""
    images, prepared, maps = inputs["images"], inputs["prepared"], inputs["grain_maps"]
    height, width = int(images["height"][i]), int(images["width"][i])
    size_nm = float(images["pixel_size"][i])
    defect = large_stages.stored(prepared, "defect", images, i)
    large = large_stages.is_large(images, i)
    options: dict[str, Any] = {
        "symmetry": int(maps["symmetry"][i]),
        "defect": defect if large else defect[:height, :width],
        "factor": scale_factor(size_nm, float(maps["common_pixel_size"])),
        "pixel_size_nm": size_nm,
        "image_index": i,
    }
    if "grain_pixels" in maps:
        return stage_labels.measure_given(maps, i, (height, width), **options)

    def measure() -> dict[str, Any]:
        here = (i, *large_stages.own_window(images, maps, i))
        return one_map.measure_map(
            maps["grain"][here].values,
            maps["orientation"][here].values,
            maps["orientation_confidence"][here].values,
            grid_of(maps),
            **options,
        )

    # A large image has thousands of grains, in many blocks of rows.
    return large_stages.measured.get(maps, i, measure) if large else measure()


def plan_statistics(inputs: Inputs, parameters: GrainStatisticsParameters) -> GroupPlan:
    """All of the statistics: small enough to be known before any block."""
    from nanoarray.superlattice.summary import image_table, summarize

    maps = inputs["grain_maps"]
    images = image_table(inputs["images"], inputs["prepared"], maps)
    size_nm = float(maps["common_pixel_size"])
    size_nm = size_nm if np.isfinite(size_nm) else known_median(images["pixel_size"].to_numpy())
    ds = summarize(
        _grain_parts(inputs["grains"], _grain_counts(inputs)),
        images,
        parameters,
        tags=tag_attrs(inputs["images"]),
        tile_size_um=float(maps["tile_size"]) * size_nm / 1000 if np.isfinite(size_nm) else None,
    )
    constants = {
        str(name): (tuple(map(str, v.dims)), v.values, v.attrs) for name, v in ds.variables.items()
    }
    count = ds.sizes["condition"]
    return GroupPlan((), "condition", count, max(1, count), constants)


def _grain_parts(grains: xr.Dataset, counts: np.ndarray) -> Iterator[pd.DataFrame]:
    """The columns that statistics need, of the grains of some images at a time."""
    names = [name for name in _STATISTICS_COLUMNS if name in grains]
    ends = np.cumsum(counts)
    cuts = ends[:-1][np.diff(ends // _PART) > 0].tolist()
    for rows in map(slice, [0, *cuts], [*cuts, grains.sizes["grain"]]):
        yield pd.DataFrame({name: grains[name][rows].values for name in names})


def no_blocks(
    inputs: Inputs, parameters: GrainStatisticsParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    """Everything was known when the group was planned."""
    del inputs, parameters, own, rows
    return {}
