"""The steps of the superlattice pipeline on Datasets: lazy where the Dataset is dask-backed.

Each takes a Dataset along ``image`` and returns only what is new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.mapping import map_images
from nanoarray.archive.tables import join_tags
from nanoarray.errors import InputError
from nanoarray.superlattice import one_image, one_map, spectrum
from nanoarray.superlattice.one_image import Grid
from nanoarray.superlattice.parameters import (
    GrainMapsParameters,
    PreparedParameters,
    TileClustersParameters,
    TilesParameters,
)
from nanoarray.superlattice.tile_grid import tile_grid

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
    chosen = PreparedParameters.model_validate(parameters)

    def one(intensity: np.ndarray, height: int, width: int) -> dict[str, Any]:
        return one_image.prepare_image(intensity[:height, :width], chosen)

    return map_images(
        one,
        _with_shapes(ds),
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
    prepare: PreparedParameters | None = None,
    **parameters: Any,
) -> xr.Dataset:
    """Projection variance and alignment bits of every tile of every image.

    Building computes nothing where ``ds`` is dask-backed, and the result does not depend on the
    chunks.

    Parameters
    ----------
    ds
        ``intensity(image, y, x)``; optional ``height``, ``width`` [px] and ``defect``.
    tile_size_px, stride_px
        Side of a tile and distance of tile centres [px].
    angle_count
        Projection angles, evenly over [0, 180) degrees.
    prepare
        How the images are cleaned first; by default as the pipeline does, without resampling.
    **parameters
        Further fields of `TilesParameters`, such as ``coverage`` and ``window``.

    Returns
    -------
    xr.Dataset
        ``projection_variance(image, tile_y, tile_x, angle)``, ``alignment`` 0/1 and
        ``valid(image, tile_y, tile_x)``.

    Raises
    ------
    InputError
        For a stride of 0 or a tile larger than the images.
    """
    chosen = TilesParameters(
        tile_size_px=tile_size_px, stride_px=stride_px, angle_count=angle_count, **parameters
    )
    cleaning = prepare or PreparedParameters(common_pixel_size_nm="none")
    ds = _with_shapes(ds)
    grid = collection_grid(ds.sizes["y"], ds.sizes["x"], tile_size_px, stride_px, chosen)
    angles = projection_angles(angle_count)
    names = ["intensity", "defect"] if "defect" in ds else ["intensity"]
    scalars = ["height", "width", *(["lattice_spacing"] if "lattice_spacing" in ds else [])]

    def one(
        intensity: np.ndarray,
        height: int,
        width: int,
        defect: np.ndarray | None = None,
        lattice_spacing: float | None = None,
    ) -> dict[str, Any]:
        pixels = intensity[:height, :width]
        mask = np.zeros(pixels.shape, bool) if defect is None else defect[:height, :width]
        if lattice_spacing is None and chosen.band_pass and chosen.window == "aligned":
            lattice_spacing = spectrum.lattice_spacing(pixels, defect=mask)
        field = one_image.clean_image(
            pixels,
            mask,
            pixel_size_nm=np.nan,
            common_pixel_size_nm=np.nan,
            spacing_px=np.nan if lattice_spacing is None else float(lattice_spacing),
            parameters=cleaning,
        )
        return one_image.tile_features(field, grid, angles, chosen)

    found = map_images(
        one,
        ds,
        group="tiles",
        arrays=names,
        scalars=scalars,
        outputs=["projection_variance", "alignment", "valid"],
        sizes={
            "tile_y": grid.centres_y.size,
            "tile_x": grid.centres_x.size,
            "angle": angle_count,
        },
    )
    found = found.assign({n: ((), v, tile_attrs(n)) for n, v in _grid_scalars(grid).items()})
    return found.assign_coords(
        angle=("angle", angles, schema.GROUPS["tiles"]["angle"].attrs),
        tile_y=("tile_y", grid.centres_y, schema.GROUPS["tiles"]["tile_y"].attrs),
        tile_x=("tile_x", grid.centres_x, schema.GROUPS["tiles"]["tile_x"].attrs),
    )


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
    chosen = TileClustersParameters.model_validate(parameters)
    fitted: dict[str, np.ndarray] = {}
    if model is not None:
        fitted = {n: model[n].values for n in ("method", "centers", "center_cluster")}
    elif chosen.scope == "collection":
        count = tiles.sizes["image"]
        fitted = one_map.fit_collection(
            np.arange(count), lambda i: tile_vectors(tiles, i, chosen), chosen
        )

    def one(**values: np.ndarray) -> dict[str, Any]:
        vectors = one_map.tile_feature_vectors(
            values["projection_variance"], values["alignment"], values["valid"], chosen.features
        )
        return one_map.cluster_labels(vectors, chosen, fitted)

    found = map_images(
        one,
        tiles,
        group="tile_clusters",
        arrays=["projection_variance", "alignment", "valid"],
        scalars=[],
        outputs=["cluster", "cluster_count"],
        sizes={"tile_y": tiles.sizes["tile_y"], "tile_x": tiles.sizes["tile_x"]},
    )
    entries = schema.GROUPS["tile_clusters"]
    return found.assign({n: (entries[n].dims, v, entries[n].attrs) for n, v in fitted.items()})


def label_grains(ds: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Map the grains of every image.

    Parameters
    ----------
    ds
        Images, what `prepare_images` found and what `tile_radon` made of them, merged; for the
        methods "clusters" and "paper" also ``cluster`` from `cluster_tiles`.
    **parameters
        Fields of `GrainMapsParameters`, such as ``misorientation_deg=6``.

    Returns
    -------
    xr.Dataset
        ``grain``, ``orientation`` [deg], ``orientation_confidence`` and
        ``boundary_misorientation`` [deg] along (image, tile_y, tile_x); ``symmetry``,
        ``grain_count``, ``indexed_fraction``, ``mapped_fraction`` along image.
    """
    chosen = GrainMapsParameters.model_validate(parameters)
    grid = _grid_of(ds)
    angles = ds["angle"].values
    cleaning = PreparedParameters(common_pixel_size_nm="none")

    def one(**values: Any) -> dict[str, Any]:
        height, width = int(values["height"]), int(values["width"])
        field = one_image.clean_image(
            values["intensity"][:height, :width],
            values["defect"][:height, :width],
            pixel_size_nm=np.nan,
            common_pixel_size_nm=np.nan,
            spacing_px=float(values["lattice_spacing"]),
            parameters=cleaning,
        )
        profile = values["projection_variance"]
        if chosen.method != "orientation":
            return one_map.grain_map_from_clusters(
                field, grid, angles, profile, values["cluster"], chosen
            )
        return one_map.grain_map(field, grid, angles, profile, values["valid"], chosen)

    arrays = ["intensity", "defect", "projection_variance", "valid"]
    found = map_images(
        one,
        _with_shapes(ds),
        group="grain_maps",
        arrays=arrays if chosen.method == "orientation" else [*arrays, "cluster"],
        scalars=["height", "width", "lattice_spacing"],
        outputs=GRAIN_MAP_NAMES,
        sizes={"tile_y": ds.sizes["tile_y"], "tile_x": ds.sizes["tile_x"]},
    )
    return found.assign_coords({n: ds[n] for n in ("tile_y", "tile_x")})


def measure_grains(ds: xr.Dataset) -> xr.Dataset:
    """Measure every grain: the table of grains, with the tags of their images.

    Parameters
    ----------
    ds
        Images with ``defect``, merged with the maps that `label_grains` made. Without
        ``pixel_size`` [nm] lengths are NaN and areas are in pixels only.

    Returns
    -------
    xr.Dataset
        Along ``grain``: ``area`` [um2], ``equivalent_diameter`` [um], ``orientation`` [deg] and the
        other variables of the group ``grains``, and the tags. Computed at once: the number of
        rows has to be known.
    """
    ds, grid = _with_shapes(ds), _grid_of(ds)
    columns: list[dict[str, Any]] = []
    for i in range(ds.sizes["image"]):
        one = ds.isel(image=i)
        height, width = int(one["height"]), int(one["width"])
        columns.append(
            one_map.measure_map(
                one["grain"].values,
                one["orientation"].values,
                one["orientation_confidence"].values,
                grid,
                symmetry=int(one["symmetry"]),
                defect=one["defect"].values[:height, :width],
                factor=1.0,
                pixel_size_nm=float(one["pixel_size"]) if "pixel_size" in ds else np.nan,
                image_index=i,
            )
        )
    entries = schema.GROUPS["grains"]
    rows = xr.Dataset(
        {
            name: ("grain", np.concatenate([c[name] for c in columns]), entry.attrs)
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
)


def tile_vectors(tiles: xr.Dataset, i: int, parameters: TileClustersParameters) -> np.ndarray:
    """Feature vectors of the tiles of image ``i``, (tile_y, tile_x, features), NaN if not valid."""
    return one_map.tile_feature_vectors(
        tiles["projection_variance"][i].values,
        tiles["alignment"][i].values,
        tiles["valid"][i].values,
        parameters.features,
    )


def tile_attrs(name: str) -> dict[str, str]:
    """Attributes of a variable of the group ``tiles``."""
    return schema.GROUPS["tiles"][name].attrs


def _grid_scalars(grid: Grid) -> dict[str, float]:
    return {
        "common_pixel_size": float("nan"),
        "tile_size": float(grid.tile_size_px),
        "stride": float(grid.stride_px),
    }


def _grid_of(ds: xr.Dataset) -> Grid:
    for name in ("tile_y", "tile_x", "tile_size", "stride"):
        if name not in ds:
            raise InputError(f"the Dataset has no {name!r}: merge what na.tile_radon gave")
    return Grid(ds["tile_y"].values, ds["tile_x"].values, int(ds["tile_size"]), int(ds["stride"]))


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
    return Grid(centres_y, centres_x, int(tile_size_px), int(stride_px))


def _with_shapes(ds: xr.Dataset) -> xr.Dataset:
    """``ds`` with the height and width of every image; without padding where it does not say."""
    if "intensity" not in ds:
        raise InputError(
            f"the Dataset has no variable 'intensity': it has {', '.join(map(str, ds))}"
        )
    count = ds.sizes["image"]
    given = {
        name: ("image", np.full(count, ds.sizes[dim], np.int32))
        for name, dim in (("height", "y"), ("width", "x"))
        if name not in ds
    }
    return ds.assign(given)
