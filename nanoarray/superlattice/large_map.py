"""Grains of an image that is read in windows: fields of pixels, then the whole grid of tiles.

A tile has a few numbers for some hundred pixels, so the map itself is made whole, as that of a
small image is: there are no seams in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.fields.windows import Window
from nanoarray.superlattice import large_image, one_map
from nanoarray.superlattice.grains.cells_in_fields import areas_in_fields
from nanoarray.superlattice.grains.grain_map import Lattice, lattice_features
from nanoarray.superlattice.grains.labels import (
    FINE_TILE_SPACINGS,
    TILE_SPACINGS,
    grains_of_features,
)
from nanoarray.superlattice.grains.orientation import (
    angular_harmonics,
    symmetric_orders,
    symmetry_of,
    symmetry_power,
)
from nanoarray.superlattice.large_image import CleanedPixels, fields_of_tiles
from nanoarray.superlattice.one_image import Grid, Mask, own_tiles
from nanoarray.superlattice.parameters import GrainMapsParameters

#: Reads the profiles of a window of tiles: (tile_y, tile_x, angle).
Profiles = Callable[[Window], npt.NDArray[np.float32]]


def large_grain_map(
    cleaned: CleanedPixels,
    grid: Grid,
    angles_deg: npt.NDArray[np.float64],
    profiles: Profiles,
    valid: Mask,
    parameters: GrainMapsParameters,
    *,
    band_pass: bool,
) -> dict[str, Any]:
    """`one_map.grain_map` of an image that is read in windows."""
    valid = valid[own_tiles(grid, *cleaned.shape)]
    tile_strides = grid.tile_size_px / grid.stride_px
    step = max(1, round(tile_strides))
    symmetry: int = (
        _symmetry(profiles, valid, angles_deg, step)
        if parameters.symmetry == "auto"
        else parameters.symmetry
    )
    lattice = Lattice(symmetry, symmetric_orders(symmetry), tile_strides)
    fine_tile = max(6, round(grid.tile_size_px * FINE_TILE_SPACINGS / TILE_SPACINGS))
    shape = (*valid.shape, 2 * lattice.orders.size)
    coarse, detail = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    usable = np.zeros(valid.shape, bool)
    for tiles in fields_of_tiles(grid, cleaned.shape):
        profile = profiles(tiles)
        fine = large_image.large_variance(
            cleaned, grid, tiles, angles_deg, tile_size_px=fine_tile, band_pass=band_pass
        )
        finite = np.isfinite(profile).all(axis=-1) & np.isfinite(fine).all(axis=-1)
        usable[tiles] = valid[tiles] & finite
        for features, source in ((coarse, profile), (detail, fine)):
            waves = angular_harmonics(source, angles_deg)
            features[tiles] = lattice_features(waves, lattice.orders)
    found = grains_of_features(
        coarse,
        detail,
        usable,
        lattice,
        min_misorientation_deg=parameters.misorientation_deg,
        min_tiles=one_map.min_tiles(cleaned.spacing_px, grid, parameters),
    )
    del coarse, detail
    measured_px = sum(int((~bad).sum()) for _, bad in cleaned.missing_pixels())
    return one_map.map_variables(found, measured_px, map_areas(cleaned, grid))


def _symmetry(
    profiles: Profiles, valid: Mask, angles_deg: npt.NDArray[np.float64], step: int
) -> int:
    """`find_symmetry` of a map that is read in windows, each a tile wider than what it counts."""
    power = np.zeros(6)
    size = large_image.FIELD_TILES
    for top in range(0, valid.shape[0], size):
        for left in range(0, valid.shape[1], size):
            rows, columns = (
                slice(first, min(first + size + step, n))
                for first, n in zip((top, left), valid.shape, strict=True)
            )
            profile = profiles((rows, columns))
            usable = valid[rows, columns] & np.isfinite(profile).all(axis=-1)
            waves = angular_harmonics(profile, angles_deg)
            power += symmetry_power(waves, usable, tile_strides=step, first=(size, size))
    return symmetry_of(power)


class _Missing:
    """The defects of a cleaned image."""

    dtype: np.dtype[Any] = np.dtype(np.bool_)

    def __init__(self, cleaned: CleanedPixels) -> None:
        self._cleaned, self.shape = cleaned, cleaned.shape

    def __getitem__(self, window: Window) -> npt.NDArray[np.bool_]:
        return self._cleaned.missing(window)


def map_areas(cleaned: CleanedPixels, grid: Grid) -> npt.NDArray[np.float64]:
    """Area [px2] of every tile's cell inside the image and outside its defects."""
    own = own_tiles(grid, *cleaned.shape)
    return areas_in_fields(
        grid.centres_y[own[0]],
        grid.centres_x[own[1]],
        stride_px=grid.stride_px,
        missing=_Missing(cleaned),
        to_edge=grid.coverage == "full",
    )
