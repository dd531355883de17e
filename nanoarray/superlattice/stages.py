"""The stages of the superlattice pipeline: what each reads, how its group is shaped and filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.engine import Inputs, LeftOut, Stage
from nanoarray.archive.image_writer import Result
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.images.label_images import check_label_folder
from nanoarray.superlattice import large_stages, one_image, one_map, stage_labels, table_stages
from nanoarray.superlattice.grids import GRID_NAMES, grid_constants, grid_of, scaled_grid
from nanoarray.superlattice.large_image import CleanedPixels
from nanoarray.superlattice.lengths import length_px
from nanoarray.superlattice.one_image import Field
from nanoarray.superlattice.parameters import (
    GrainMapsParameters,
    GrainsParameters,
    GrainStatisticsParameters,
    PreparedParameters,
    TileClustersParameters,
    TilesParameters,
)
from nanoarray.superlattice.radon.on_torch import check_device
from nanoarray.superlattice.scale import (
    common_pixel_size,
    known_median,
    scale_factors,
    scale_problem,
)
from nanoarray.superlattice.steps import (
    DEFAULT_STRIDE_SPACINGS,
    DEFAULT_TILE_SPACINGS,
    GRAIN_MAP_NAMES,
    tile_vectors,
)

#: Images per block of the map stages.
BLOCK = 4


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


def _prepare(inputs: Inputs, parameters: PreparedParameters, own: xr.Dataset, i: int) -> Result:
    del own
    if large_stages.is_large(inputs["images"], i):
        return large_stages.prepare(inputs["images"], i, parameters)
    return one_image.prepare_image(_pixels(inputs["images"], i), parameters)


# --- tiles ------------------------------------------------------------------------------------


def _plan_tiles(inputs: Inputs, parameters: TilesParameters) -> GroupPlan:
    if parameters.device != "cpu":
        check_device(parameters.device)  # before any result is replaced
    images, prepared = inputs["images"], inputs["prepared"]
    cleaning = _cleaning(prepared)
    usable = prepared["usable"].values.astype(bool)
    size_nm = images["pixel_size"].values
    common = common_pixel_size(size_nm[usable], cleaning.common_pixel_size_nm)
    factor = np.where(usable, scale_factors(size_nm, common), np.nan)
    spacing = known_median(prepared["lattice_spacing"].values * factor)
    scales_nm = np.array([common]) if np.isfinite(common) else size_nm[usable]
    tile = length_px(parameters, "tile_size", spacing, scales_nm, DEFAULT_TILE_SPACINGS)
    stride = length_px(parameters, "stride", spacing, scales_nm, DEFAULT_STRIDE_SPACINGS)
    grid = scaled_grid(
        images["height"].values, images["width"].values, factor, tile, stride, parameters
    )
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
        constants=grid_constants(grid, common, parameters),
        resolved={"tile_size_px": tile, "stride_px": stride, "common_pixel_size_nm": repr(common)},
    )


def _tile(inputs: Inputs, parameters: TilesParameters, own: xr.Dataset, i: int) -> Result:
    field = _field(inputs, float(own["common_pixel_size"]), i)
    if parameters.band_pass and parameters.window == "aligned":
        _need_lattice(field)
    if isinstance(field, CleanedPixels):
        return large_stages.tile(field, grid_of(own), own["angle"].values, parameters)
    return one_image.tile_features(field, grid_of(own), own["angle"].values, parameters)


# --- tile_clusters ----------------------------------------------------------------------------


def _plan_tile_clusters(inputs: Inputs, parameters: TileClustersParameters) -> GroupPlan:
    """Shapes, and for a fit across the collection the fitted model."""
    tiles = inputs["tiles"]
    sizes = {name: tiles.sizes[name] for name in ("image", "tile_y", "tile_x")}
    constants = {n: tiles[n].values for n in ("tile_y", "tile_x")}
    if parameters.scope == "collection":
        images = inputs["images"]
        names = images["image"].values.tolist()
        made = np.flatnonzero(tiles["problem"].values.astype(object) == "").tolist()
        constants |= one_map.fit_collection(
            np.array(sorted(made, key=names.__getitem__), np.intp),
            lambda i: (
                large_stages.LargeVectors(
                    tiles, i, large_stages.own_window(images, tiles, i), parameters
                )
                if large_stages.any_large(images)
                else tile_vectors(tiles, i, parameters)
            ),
            parameters,
        )
    return _plan("tile_clusters", ["cluster", "cluster_count"], sizes, constants=constants)


def _cluster(inputs: Inputs, parameters: TileClustersParameters, own: xr.Dataset, i: int) -> Result:
    names = ("method", "centers", "center_cluster")
    model = {n: own[n].values for n in names} if "centers" in own else {}
    images, tiles = inputs["images"], inputs["tiles"]
    if model and large_stages.any_large(images):
        window = large_stages.own_window(images, tiles, i)
        return large_stages.cluster(tiles, i, window, parameters, model)
    if large_stages.is_large(images, i):
        raise LeftOut(
            "clusters of an image by itself need all of its tiles at once, and this one is "
            'computed in fields: set tile_clusters.scope = "collection"'
        )
    vectors = tile_vectors(tiles, i, parameters)
    return one_map.cluster_labels(vectors, parameters, model)


# --- grain_maps -------------------------------------------------------------------------------


def _grain_map_inputs(parameters: GrainMapsParameters) -> tuple[str, ...]:
    base = ("images", "prepared", "tiles")
    return base if parameters.method == "orientation" else (*base, "tile_clusters")


def _plan_grain_maps(inputs: Inputs, parameters: GrainMapsParameters) -> GroupPlan:
    tiles = inputs["tiles"]
    sizes = {name: tiles.sizes[name] for name in ("image", "tile_y", "tile_x")}
    constants = {n: tiles[n].values for n in GRID_NAMES}
    names, resolved = list(GRAIN_MAP_NAMES), dict[str, Any]()
    if parameters.labels is not None:
        sizes |= {name: inputs["images"].sizes[name] for name in ("y", "x")}
        names += stage_labels.LABEL_MAP_NAMES
        ids = inputs["images"]["image"].values.tolist()
        resolved = check_label_folder(parameters.labels, ids)
    return _plan("grain_maps", names, sizes, constants=constants, resolved=resolved)


def _map_grains(
    inputs: Inputs, parameters: GrainMapsParameters, own: xr.Dataset, i: int
) -> dict[str, Any]:
    tiles = inputs["tiles"]
    field = _field(inputs, float(own["common_pixel_size"]), i)
    if isinstance(field, CleanedPixels):
        _need_lattice(field)
        return large_stages.map_grains(inputs, field, i, own, parameters)
    if parameters.labels is not None:
        return stage_labels.map_given(inputs, parameters, own, i, field)
    grid = grid_of(own)
    here = (i, *one_image.own_tiles(grid, *field.image.shape))
    profile = tiles["projection_variance"][here].values
    if parameters.method != "orientation":
        return one_map.grain_map_from_clusters(
            field,
            grid,
            tiles["angle"].values,
            profile,
            inputs["tile_clusters"]["cluster"][here].values,
            parameters,
        )
    band_pass = bool(tiles["band_pass"])
    if band_pass:
        _need_lattice(field)
    return one_map.grain_map(
        field,
        grid,
        tiles["angle"].values,
        profile,
        tiles["valid"][here].values,
        parameters,
        band_pass=band_pass,
    )


# --- shared -----------------------------------------------------------------------------------


def _pixels(images: xr.Dataset, i: int) -> np.ndarray:
    """Pixels of image ``i`` without padding."""
    height, width = int(images["height"][i]), int(images["width"][i])
    return images["intensity"][i, :height, :width].values


def _field(inputs: Inputs, common_pixel_size_nm: float, i: int) -> Field | CleanedPixels:
    """Image ``i``, cleaned and at the common pixel size, if it is usable."""
    images, prepared = inputs["images"], inputs["prepared"]
    cleaning = _cleaning(prepared)
    if large_stages.is_large(images, i):
        return large_stages.cleaned_image(
            images, prepared, i, common_pixel_size_nm=common_pixel_size_nm, parameters=cleaning
        )
    if not bool(prepared["usable"][i]):
        fraction, score = float(prepared["defect_fraction"][i]), float(prepared["sharpness"][i])
        raise LeftOut(one_image.unusable(fraction, score, cleaning))
    pixels = _pixels(images, i)
    height, width = pixels.shape
    defect = prepared["defect"][i, :height, :width].values
    size_nm = float(images["pixel_size"][i])
    reason = scale_problem(size_nm, common_pixel_size_nm)
    if reason:
        raise LeftOut(reason)
    return one_image.clean_image(
        pixels,
        defect,
        pixel_size_nm=size_nm,
        common_pixel_size_nm=common_pixel_size_nm,
        spacing_px=float(prepared["lattice_spacing"][i]),
        parameters=cleaning,
    )


def _need_lattice(field: Field | CleanedPixels) -> None:
    """Leave out an image whose lattice spacing, which the band of a band pass needs, is unknown."""
    if not np.isfinite(field.spacing_px):
        raise LeftOut("no lattice was found in the image; tiles.band_pass = false goes without")


def _cleaning(prepared: xr.Dataset) -> PreparedParameters:
    """The parameters that the group ``prepared`` was made with."""
    return PreparedParameters.model_validate(prepared.attrs["nanoarray"]["basis"]["parameters"])


STAGES: tuple[Stage, ...] = (
    Stage(
        "prepared",
        ("images",),
        PreparedParameters,
        2,
        "image",
        _plan_prepared,
        _prepare,
        "defects, focus, lattice spacing",
    ),
    Stage(
        "tiles",
        ("images", "prepared"),
        TilesParameters,
        3,
        "image",
        _plan_tiles,
        _tile,
        "Radon features of overlapping tiles",
    ),
    Stage(
        "tile_clusters",
        ("images", "tiles"),
        TileClustersParameters,
        3,
        "image",
        _plan_tile_clusters,
        _cluster,
        "groups of tiles with like features",
    ),
    Stage(
        "grain_maps",
        _grain_map_inputs,
        GrainMapsParameters,
        4,
        "image",
        _plan_grain_maps,
        _map_grains,
        "grains and lattice orientations",
    ),
    Stage(
        "grains",
        ("images", "prepared", "grain_maps"),
        GrainsParameters,
        3,
        "row",
        table_stages.plan_grains,
        table_stages.measure_block,
        "the table of grains",
        table_stages.grain_identity,
    ),
    Stage(
        "grain_statistics",
        ("images", "prepared", "grain_maps", "grains"),
        GrainStatisticsParameters,
        2,
        "whole",
        table_stages.plan_statistics,
        table_stages.no_blocks,
        "statistics by condition",
    ),
)
