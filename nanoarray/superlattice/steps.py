"""The steps of the superlattice pipeline on Datasets: lazy where the Dataset is dask-backed.

Each takes a Dataset along ``image`` and returns only what is new.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.mapping import map_images, with_shapes
from nanoarray.archive.stage_parameters import checked
from nanoarray.archive.tables import join_tags
from nanoarray.superlattice import one_image, one_map
from nanoarray.superlattice.grids import grid_constants, grid_of
from nanoarray.superlattice.parameters import (
    GrainMapsParameters,
    PreparedParameters,
    TileClustersParameters,
    TilesParameters,
)
from nanoarray.superlattice.prepare import spectrum
from nanoarray.superlattice.scale import scale_factor
from nanoarray.superlattice.stage_labels import LABEL_MAP_NAMES, dataset_map, measure_given
from nanoarray.superlattice.step_images import (
    SCALARS,
    common_pixel_size_of,
    dataset_grid,
    field_of,
    measured_images,
    present,
    unknown,
    unmeasured,
)

#: Tile size and stride where no length is given, in spacings of the lattice rows.
DEFAULT_TILE_SPACINGS = 4.0
DEFAULT_STRIDE_SPACINGS = 0.75


def prepare_images(ds: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Find defects, judge the focus and measure the lattice spacing of every image.

    Parameters
    ----------
    ds
        ``intensity(image, y, x)`` with ``height(image)`` and ``width(image)`` [px].
    **parameters
        Fields of `PreparedParameters`.

    Returns
    -------
    xr.Dataset
        ``defect(image, y, x)``, ``defect_fraction``, ``sharpness``, ``lattice_spacing`` [px] and
        ``usable`` along ``image``.
    """
    chosen = checked(PreparedParameters, parameters, name="parameters")

    def one(intensity: np.ndarray, height: int, width: int) -> dict[str, Any]:
        return one_image.prepare_image(intensity[:height, :width], chosen)

    return map_images(
        one,
        with_shapes(ds),
        group="prepared",
        arrays=["intensity"],
        scalars=["height", "width"],
        outputs=["defect", "defect_fraction", "sharpness", "lattice_spacing", "usable"],
        sizes={"y": ds.sizes["y"], "x": ds.sizes["x"]},
    )


def tile_radon(
    ds: xr.Dataset,
    *,
    tile_size_px: int = 128,
    stride_px: int = 10,
    angle_count: int = 60,
    common_pixel_size_nm: Literal["auto", "none"] | float = "none",
    prepare: PreparedParameters | None = None,
    **parameters: Any,
) -> xr.Dataset:
    """Projection variance and alignment bits of every tile of every image.

    Building computes nothing where ``ds`` is dask-backed, and the result does not depend on the
    chunks.

    Parameters
    ----------
    ds
        ``intensity(image, y, x)``; optional ``height``, ``width`` [px], ``defect`` and
        ``lattice_spacing`` [px], and ``usable``: where it is False nothing is measured.
    tile_size_px, stride_px
        Side of a tile and distance of tile centres [px of the common pixel size].
    angle_count
        Projection angles, evenly over [0, 180) degrees.
    common_pixel_size_nm
        Pixel size that images are resampled to; "none": each keeps its own; "auto": the median
        where sizes differ by more than 2 %. Needs ``pixel_size`` [nm]; images without one, or
        more than four times away, have no valid tiles.
    prepare
        How the images are cleaned first, by default as the pipeline does; the common pixel size is
        not taken from here.
    **parameters
        Further fields of `TilesParameters`, such as ``coverage`` and ``window``.

    Returns
    -------
    xr.Dataset
        ``projection_variance(image, tile_y, tile_x, angle)``, ``alignment`` 0/1 and
        ``valid(image, tile_y, tile_x)``; how the tiles lie, which later steps need.

    Raises
    ------
    InputError
        For a stride of 0 or a tile larger than the images; for a common pixel size without
        ``pixel_size``.
    """
    given = {"tile_size_px": tile_size_px, "stride_px": stride_px, "angle_count": angle_count}
    chosen = checked(TilesParameters, {**given, **parameters}, name="parameters")
    cleaned = (prepare or PreparedParameters()).model_dump()
    cleaned["common_pixel_size_nm"] = common_pixel_size_nm
    cleaning = checked(PreparedParameters, cleaned, name="prepare")
    ds = with_shapes(ds)
    common, grid = dataset_grid(ds, tile_size_px, stride_px, chosen, cleaning)
    constants = grid_constants(grid, common, chosen)
    angles = constants["angle"]
    outputs = ["projection_variance", "alignment", "valid"]

    def one(**values: Any) -> dict[str, Any]:
        if unmeasured(values, common):
            return unknown("tiles", outputs)
        height, width = int(values["height"]), int(values["width"])
        if "lattice_spacing" not in values and chosen.band_pass and chosen.window == "aligned":
            mask = values["defect"][:height, :width] if "defect" in values else None
            pixels = values["intensity"][:height, :width]
            values["lattice_spacing"] = spectrum.lattice_spacing(pixels, defect=mask)
        field = field_of(values, common, cleaning)
        return one_image.tile_features(field, grid, angles, chosen)

    found = map_images(
        one,
        ds,
        group="tiles",
        arrays=present(ds, "intensity", "defect"),
        scalars=present(ds, *SCALARS, "lattice_spacing"),
        outputs=outputs,
        sizes={"tile_y": grid.centres_y.size, "tile_x": grid.centres_x.size, "angle": angle_count},
    )
    entries = schema.GROUPS["tiles"]
    known = {n: (entries[n].dims, v, entries[n].attrs) for n, v in constants.items()}
    return found.assign(known).set_coords(["angle", "tile_y", "tile_x"])


def cluster_tiles(
    tiles: xr.Dataset, *, model: xr.Dataset | None = None, **parameters: Any
) -> xr.Dataset:
    """Group the tiles of a collection by their features, or label them with a fitted model.

    Parameters
    ----------
    tiles
        As `tile_radon` gives them. A fit reads a bounded sample of tiles at once; the labels are
        lazy where ``tiles`` is dask-backed.
    model
        The result of an earlier call, or the group ``tile_clusters`` of a store: its prototypes
        label these tiles, and nothing is fitted. Features must be those of its fit.
    **parameters
        Fields of `TileClustersParameters`, such as ``method="kmeans", n_clusters=8``.

    Returns
    -------
    xr.Dataset
        ``cluster(image, tile_y, tile_x)``, -1 where not valid, ``cluster_count(image)``, and the
        model where the scope is the collection.
    """
    chosen = checked(TileClustersParameters, parameters, name="parameters")
    fitted: dict[str, np.ndarray] = {}
    if model is not None:
        fitted = {n: model[n].values for n in ("method", "centers", "center_cluster")}
    elif chosen.scope == "collection":
        positions = measured_images(tiles)
        if "image" in tiles.coords:
            positions.sort(key=tiles["image"].values.tolist().__getitem__)
        fitted = one_map.fit_collection(
            np.array(positions, np.intp),
            lambda i: tile_vectors(tiles, i, chosen),
            chosen,
        )

    source = one_map.FEATURE_SOURCE[chosen.features]

    def one(**values: np.ndarray) -> dict[str, Any]:
        vectors = one_map.tile_feature_vectors(values[source], values["valid"], chosen.features)
        return one_map.cluster_labels(vectors, chosen, fitted)

    found = map_images(
        one,
        tiles,
        group="tile_clusters",
        arrays=[source, "valid"],
        scalars=[],
        outputs=["cluster", "cluster_count"],
        sizes={"tile_y": tiles.sizes["tile_y"], "tile_x": tiles.sizes["tile_x"]},
    )
    entries = schema.GROUPS["tile_clusters"]
    return found.assign({n: (entries[n].dims, v, entries[n].attrs) for n, v in fitted.items()})


def label_grains(
    ds: xr.Dataset, *, prepare: PreparedParameters | None = None, **parameters: Any
) -> xr.Dataset:
    """Map the grains of every image.

    Parameters
    ----------
    ds
        Images, what `prepare_images` found and what `tile_radon` made of them, merged; for the
        methods "clusters" and "paper" also ``cluster`` from `cluster_tiles`. Images whose
        ``usable`` is False, or that have no place at the common pixel size of the tiles, get no
        map: ``grain_count`` 0, the rest unknown.
    prepare
        How the images are cleaned, as `tile_radon` was told.
    **parameters
        Fields of `GrainMapsParameters`, such as ``misorientation_deg=6``; with ``labels`` the
        images are found by the coordinate ``image``.

    Returns
    -------
    xr.Dataset
        ``grain``, ``orientation`` [deg], ``orientation_confidence`` and
        ``boundary_misorientation`` [deg] along (image, tile_y, tile_x); ``symmetry``,
        ``grain_count``, ``indexed_fraction``, ``mapped_fraction`` along image, and
        ``paper_mean_area_tiles`` with the method "paper".
    """
    chosen = checked(GrainMapsParameters, parameters, name="parameters")
    grid, common = grid_of(ds), common_pixel_size_of(ds)
    angles, band_pass = ds["angle"].values, bool(ds["band_pass"])
    cleaning = prepare or PreparedParameters()

    given = chosen.labels is not None
    outputs = (*GRAIN_MAP_NAMES, *(LABEL_MAP_NAMES if given else ()))

    def one(**values: Any) -> dict[str, Any]:
        if unmeasured(values, common):
            return unknown("grain_maps", outputs)
        field = field_of(values, common, cleaning)
        if given:
            return dataset_map(values, field, grid, angles, chosen)
        profile = values["projection_variance"]
        if chosen.method != "orientation":
            return one_map.grain_map_from_clusters(
                field, grid, angles, profile, values["cluster"], chosen
            )
        return one_map.grain_map(
            field, grid, angles, profile, values["valid"], chosen, band_pass=band_pass
        )

    arrays = ["intensity", "defect", "projection_variance", "valid"]
    ds = with_shapes(ds)
    found = map_images(
        one,
        ds,
        group="grain_maps",
        arrays=arrays if chosen.method == "orientation" else [*arrays, "cluster"],
        scalars=[*present(ds, *SCALARS), "lattice_spacing", *(["image"] if given else [])],
        outputs=outputs,
        sizes={name: ds.sizes[name] for name in ("y", "x", "tile_y", "tile_x")},
    )
    return found.assign_coords({n: ds[n] for n in ("tile_y", "tile_x")})


def measure_grains(ds: xr.Dataset) -> xr.Dataset:
    """Measure every grain: the table of grains, with the tags of their images.

    Parameters
    ----------
    ds
        Images with ``defect``, merged with the maps that `label_grains` made. Without
        ``pixel_size`` [nm] lengths are NaN and areas are in pixels only. Images without a map
        have no rows.

    Returns
    -------
    xr.Dataset
        Along ``grain``: ``area`` [um2], ``equivalent_diameter`` [um], ``orientation`` [deg] and the
        other variables of the group ``grains``, and the tags. Computed at once: the number of
        rows has to be known.
    """
    ds, grid, common = with_shapes(ds), grid_of(ds), common_pixel_size_of(ds)
    columns: list[dict[str, Any]] = []
    for i in np.flatnonzero(ds["symmetry"].values > 0).tolist():
        one = ds.isel(image=i)
        size_nm = float(one["pixel_size"]) if "pixel_size" in ds else np.nan
        height, width = int(one["height"]), int(one["width"])
        options: dict[str, Any] = {
            "symmetry": int(one["symmetry"]),
            "defect": one["defect"].values[:height, :width],
            "factor": scale_factor(size_nm, common),
            "pixel_size_nm": size_nm,
            "image_index": i,
        }
        if "grain_pixels" in ds:
            columns.append(measure_given(ds, i, (height, width), **options))
            continue
        grain, angle = one["grain"].values, one["orientation"].values
        weight = one["orientation_confidence"].values
        columns.append(one_map.measure_map(grain, angle, weight, grid, **options))
    entries = dict(schema.GROUPS["grains"])
    if "grain_pixels" not in ds:
        del entries["source_label"]
    rows = xr.Dataset(
        {
            name: ("grain", _rows([c[name] for c in columns], entry.dtype), entry.attrs)
            for name, entry in entries.items()
        }
    )
    return join_tags(rows, ds, "grain")


#: Variables that a grain map has.
GRAIN_MAP_NAMES = (
    "grain",
    "orientation",
    "orientation_confidence",
    "boundary_misorientation",
    "symmetry",
    "grain_count",
    "indexed_fraction",
    "mapped_fraction",
    "paper_mean_area_tiles",
)


def tile_vectors(tiles: xr.Dataset, i: int, parameters: TileClustersParameters) -> np.ndarray:
    """Feature vectors of the tiles of image ``i``, (tile_y, tile_x, features), NaN if not valid."""
    return one_map.tile_feature_vectors(
        tiles[one_map.FEATURE_SOURCE[parameters.features]][i].values,
        tiles["valid"][i].values,
        parameters.features,
    )


def _rows(parts: list[np.ndarray], dtype: str) -> np.ndarray:
    """Columns of several images as one; of none, an empty one."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
