"""The stages of the superlattice pipeline: what each reads, how its group is shaped and filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.engine import Inputs, LeftOut, Stage
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.errors import InputError
from nanoarray.superlattice import one_image
from nanoarray.superlattice.one_image import Field, Grid
from nanoarray.superlattice.parameters import (
    GrainsParameters,
    PreparedParameters,
    TilesParameters,
)
from nanoarray.superlattice.steps import (
    DEFAULT_STRIDE_SPACINGS,
    DEFAULT_TILE_SPACINGS,
    collection_grid,
    projection_angles,
)

#: Images per block of the map stages.
BLOCK = 4
#: Rows per block of the table of grains.
GRAIN_BLOCK = 4096
#: Pixel sizes that differ by less are measured in each image's own pixels.
SAME_PIXEL_SIZE = 0.02


def _plan(
    group: str,
    names: list[str],
    sizes: Mapping[str, int],
    constants: Mapping[str, Any] | None = None,
    resolved: Mapping[str, Any] | None = None,
) -> GroupPlan:
    """Plan a group along ``image``: ``names`` are filled by blocks, ``constants`` are known."""
    arrays = tuple(array_plan(group, name, sizes, block=BLOCK) for name in [*names, "problem"])
    known = {}
    for name, values in (constants or {}).items():
        entry = schema.GROUPS[group][name]
        known[name] = (entry.dims, values, entry.attrs)
    return GroupPlan(arrays, "image", sizes["image"], BLOCK, known, dict(resolved or {}))


# --- prepared ---------------------------------------------------------------------------------


def _plan_prepared(inputs: Inputs, parameters: PreparedParameters) -> GroupPlan:
    del parameters
    images = inputs["images"]
    sizes = {name: images.sizes[name] for name in ("image", "y", "x")}
    names = ["defect", "defect_fraction", "sharpness", "lattice_spacing", "usable"]
    return _plan("prepared", names, sizes)


def _prepare(
    inputs: Inputs, parameters: PreparedParameters, own: xr.Dataset, i: int
) -> dict[str, np.ndarray]:
    del own
    return one_image.prepare_image(_pixels(inputs["images"], i), parameters)


# --- tiles ------------------------------------------------------------------------------------


def _plan_tiles(inputs: Inputs, parameters: TilesParameters) -> GroupPlan:
    images, prepared = inputs["images"], inputs["prepared"]
    cleaning = _cleaning(prepared)
    usable = prepared["usable"].values.astype(bool)
    size_nm = images["pixel_size"].values
    common = _common_pixel_size(size_nm[usable], cleaning)
    factor = size_nm / common if np.isfinite(common) else np.ones(size_nm.shape)
    factor = np.where(np.isfinite(factor), factor, 1.0)
    spacing = float(np.nanmedian((prepared["lattice_spacing"].values * factor)[usable])) if (
        np.isfinite(prepared["lattice_spacing"].values[usable]).any()
    ) else np.nan
    scale_nm = common if np.isfinite(common) else _median(size_nm[usable])
    tile = _length(parameters, "tile_size", spacing, scale_nm, DEFAULT_TILE_SPACINGS)
    stride = _length(parameters, "stride", spacing, scale_nm, DEFAULT_STRIDE_SPACINGS)
    heights = np.floor(images["height"].values * factor)[usable]
    widths = np.floor(images["width"].values * factor)[usable]
    height, width = (int(v.max()) if v.size else tile for v in (heights, widths))
    grid = collection_grid(height, width, tile, stride, parameters)
    sizes = {
        "image": images.sizes["image"],
        "tile_y": grid.centres_y.size,
        "tile_x": grid.centres_x.size,
        "angle": parameters.angle_count,
    }
    return _plan(
        "tiles",
        ["projection_variance", "alignment", "valid"],
        sizes,
        constants={
            "tile_y": grid.centres_y,
            "tile_x": grid.centres_x,
            "angle": projection_angles(parameters.angle_count),
            "common_pixel_size": common,
            "tile_size": float(tile),
            "stride": float(stride),
        },
        resolved={"tile_size_px": tile, "stride_px": stride, "common_pixel_size_nm": repr(common)},
    )


def _tile(
    inputs: Inputs, parameters: TilesParameters, own: xr.Dataset, i: int
) -> dict[str, np.ndarray]:
    field = _field(inputs, float(own["common_pixel_size"]), i)
    return one_image.tile_features(field, _grid(own), own["angle"].values, parameters)


def _common_pixel_size(sizes_nm: np.ndarray, parameters: PreparedParameters) -> float:
    """Pixel size to resample to; NaN where every image keeps its own."""
    wanted = parameters.common_pixel_size_nm
    known = sizes_nm[np.isfinite(sizes_nm)]
    if wanted == "none" or known.size == 0:
        return float("nan")
    if wanted != "auto":
        return float(wanted)
    if known.max() / known.min() <= 1 + SAME_PIXEL_SIZE:
        return float("nan")
    # Three digits, so that a few more images do not move it.
    return float(f"{np.median(known):.3g}")


def _length(
    parameters: TilesParameters, what: str, spacing_px: float, scale_nm: float, default: float
) -> int:
    """A length in whole pixels, from pixels, nanometres or lattice spacings."""
    pixels = getattr(parameters, f"{what}_px")
    if pixels is not None:
        return int(pixels)
    length_nm = getattr(parameters, f"{what}_nm")
    if length_nm is not None:
        if not np.isfinite(scale_nm):
            raise InputError(f"tiles.{what}_nm needs a pixel size and no image has one")
        return max(1, round(length_nm / scale_nm))
    spacings = getattr(parameters, f"{what}_spacings")
    if not np.isfinite(spacing_px):
        raise InputError(
            f"no image shows a lattice to choose the {what.replace('_', ' ')} by: "
            f"set tiles.{what}_px"
        )
    length = (default if spacings is None else spacings) * spacing_px
    # Even steps of about 5 %, so that a few more images do not move it.
    step = 2 if length >= 24 else 1
    return max(4 if what == "tile_size" else 1, step * round(length / step))


# --- grains -----------------------------------------------------------------------------------


def _plan_grains(inputs: Inputs, parameters: GrainsParameters) -> GroupPlan:
    del parameters
    count = int(inputs["grain_maps"]["grain_count"].values.sum())
    arrays = tuple(
        array_plan("grains", name, {"grain": count}, block=GRAIN_BLOCK)
        for name in schema.GROUPS["grains"]
    )
    return GroupPlan(arrays, "grain", count, GRAIN_BLOCK)


def _measure(
    inputs: Inputs, parameters: GrainsParameters, own: xr.Dataset, rows: slice
) -> dict[str, np.ndarray]:
    """Rows ``rows`` of the table: the grains of the images that these rows belong to."""
    del parameters
    counts = inputs["grain_maps"]["grain_count"].values.astype(np.int64)
    ends = np.cumsum(counts)
    starts = ends - counts
    parts = []
    for i in np.flatnonzero((ends > rows.start) & (starts < rows.stop) & (counts > 0)):
        columns = _measure_image(inputs, int(i))
        kept = slice(max(rows.start - starts[i], 0), min(rows.stop, ends[i]) - starts[i])
        parts.append({name: values[kept] for name, values in columns.items()})
    names = [str(name) for name in own.data_vars]
    return {name: np.concatenate([part[name] for part in parts]) for name in names} if parts else {}


def _measure_image(inputs: Inputs, i: int) -> dict[str, np.ndarray]:
    """Grains of image ``i``, in the image's own pixels."""
    images, prepared, maps = inputs["images"], inputs["prepared"], inputs["grain_maps"]
    height, width = int(images["height"][i]), int(images["width"][i])
    size_nm = float(images["pixel_size"][i])
    factor = one_image.scale_factor(size_nm, float(maps["common_pixel_size"]))
    return one_image.measure_map(
        maps["grain"][i].values,
        maps["orientation"][i].values,
        maps["orientation_confidence"][i].values,
        _grid(maps),
        symmetry=int(maps["symmetry"][i]),
        defect=prepared["defect"][i, :height, :width].values,
        factor=factor,
        pixel_size_nm=size_nm,
        image_index=i,
    )


# --- shared -----------------------------------------------------------------------------------


def _pixels(images: xr.Dataset, i: int) -> np.ndarray:
    """Pixels of image ``i`` without padding."""
    height, width = int(images["height"][i]), int(images["width"][i])
    return images["intensity"][i, :height, :width].values


def _field(inputs: Inputs, common_pixel_size_nm: float, i: int) -> Field:
    """Image ``i``, cleaned and at the common pixel size, if it is usable."""
    images, prepared = inputs["images"], inputs["prepared"]
    cleaning = _cleaning(prepared)
    if not bool(prepared["usable"][i]):
        fraction, score = float(prepared["defect_fraction"][i]), float(prepared["sharpness"][i])
        raise LeftOut(one_image.unusable(fraction, score, cleaning))
    pixels = _pixels(images, i)
    height, width = pixels.shape
    defect = prepared["defect"][i, :height, :width].values
    size_nm = float(images["pixel_size"][i])
    if np.isfinite(common_pixel_size_nm) and not np.isfinite(size_nm):
        raise LeftOut("no pixel size, and the collection is resampled to a common one")
    return one_image.clean_image(
        pixels,
        defect,
        pixel_size_nm=size_nm,
        common_pixel_size_nm=common_pixel_size_nm,
        parameters=cleaning,
    )


def _cleaning(prepared: xr.Dataset) -> PreparedParameters:
    """The parameters that the group ``prepared`` was made with."""
    return PreparedParameters.model_validate(prepared.attrs["nanoarray"]["basis"]["parameters"])


def _grid(tiles: xr.Dataset) -> Grid:
    return Grid(
        tiles["tile_y"].values,
        tiles["tile_x"].values,
        int(tiles["tile_size"]),
        int(tiles["stride"]),
    )


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


STAGES: tuple[Stage, ...] = (
    Stage(
        "prepared",
        ("images",),
        PreparedParameters,
        1,
        "image",
        _plan_prepared,
        _prepare,
        "defects, focus, lattice spacing",
    ),
    Stage(
        "tiles",
        ("images", "prepared"),
        TilesParameters,
        1,
        "image",
        _plan_tiles,
        _tile,
        "Radon features of overlapping tiles",
    ),
)
