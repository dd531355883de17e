"""The steps of the superlattice pipeline on Datasets: lazy where the Dataset is dask-backed.

Each takes a Dataset along ``image`` and returns only what is new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.mapping import map_images
from nanoarray.errors import InputError
from nanoarray.superlattice import one_image
from nanoarray.superlattice.one_image import Grid
from nanoarray.superlattice.parameters import PreparedParameters, TilesParameters
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
    grid = collection_grid(ds.sizes["y"], ds.sizes["x"], tile_size_px, stride_px, chosen)
    angles = projection_angles(angle_count)
    names = ["intensity", "defect"] if "defect" in ds else ["intensity"]

    def one(
        intensity: np.ndarray, height: int, width: int, defect: np.ndarray | None = None
    ) -> dict[str, Any]:
        pixels = intensity[:height, :width]
        mask = np.zeros(pixels.shape, bool) if defect is None else defect[:height, :width]
        field = one_image.clean_image(
            pixels,
            mask,
            pixel_size_nm=np.nan,
            common_pixel_size_nm=np.nan,
            parameters=cleaning,
        )
        return one_image.tile_features(field, grid, angles, chosen)

    found = map_images(
        one,
        _with_shapes(ds),
        group="tiles",
        arrays=names,
        scalars=["height", "width"],
        outputs=["projection_variance", "alignment", "valid"],
        sizes={
            "tile_y": grid.centres_y.size,
            "tile_x": grid.centres_x.size,
            "angle": angle_count,
        },
    )
    return found.assign_coords(
        angle=("angle", angles, schema.GROUPS["tiles"]["angle"].attrs),
        tile_y=("tile_y", grid.centres_y, schema.GROUPS["tiles"]["tile_y"].attrs),
        tile_x=("tile_x", grid.centres_x, schema.GROUPS["tiles"]["tile_x"].attrs),
    )


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
    for name in ("intensity",):
        if name not in ds:
            raise InputError(f"the Dataset has no variable {name!r}: it has {', '.join(map(str, ds))}")
    count = ds.sizes["image"]
    given = {
        name: ("image", np.full(count, ds.sizes[dim], np.int32))
        for name, dim in (("height", "y"), ("width", "x"))
        if name not in ds
    }
    return ds.assign(given)
