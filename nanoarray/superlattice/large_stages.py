"""The superlattice stages of an image that is read in windows and gives its results in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from nanoarray.archive.image_writer import Part
from nanoarray.archive.once import Once
from nanoarray.archive.stage import Inputs, LeftOut
from nanoarray.archive.stored_image import StoredImage
from nanoarray.fields import sizes
from nanoarray.fields.windows import Window, cores
from nanoarray.superlattice import large_image, large_map, one_image, one_map
from nanoarray.superlattice.grids import grid_of
from nanoarray.superlattice.large_image import CleanedPixels
from nanoarray.superlattice.one_image import Grid, own_tiles
from nanoarray.superlattice.parameters import (
    GrainMapsParameters,
    PreparedParameters,
    TileClustersParameters,
    TilesParameters,
)
from nanoarray.superlattice.scale import scale_factor, scale_problem

#: Measured grains of large images.
measured = Once[dict[str, Any]]()


def is_large(images: xr.Dataset, i: int) -> bool:
    """Whether image ``i`` is computed in fields."""
    return sizes.is_large(int(images["height"][i]), int(images["width"][i]))


def any_large(images: xr.Dataset) -> bool:
    """Whether the collection has such an image: then its maps are not read whole for any image."""
    pixels = images["height"].values.astype(np.int64) * images["width"].values
    return bool((pixels > sizes.WHOLE_PX).any())


def own_window(images: xr.Dataset, maps: xr.Dataset, i: int) -> Window:
    """Where the tiles of image ``i`` are in the maps of the collection."""
    factor = scale_factor(float(images["pixel_size"][i]), float(maps["common_pixel_size"]))
    sides = (round(int(images[name][i]) * factor) for name in ("height", "width"))
    return own_tiles(grid_of(maps), *sides)


def prepare(images: xr.Dataset, i: int, parameters: PreparedParameters) -> Iterator[Part]:
    """Defects, focus and spacing of a large image."""
    pixels = stored(images, "intensity", images, i)
    values, defect = large_image.prepare_large_image(pixels, parameters)
    if defect is not None:
        for core in cores(pixels.shape, sizes.FIELD_PX):
            yield Part({"defect": defect[core]}, (core[0].start, core[1].start))
    yield Part(values)


def cleaned_image(
    images: xr.Dataset,
    prepared: xr.Dataset,
    i: int,
    *,
    common_pixel_size_nm: float,
    parameters: PreparedParameters,
) -> CleanedPixels:
    """Large image ``i``, cleaned and at the common pixel size, if it is usable."""
    if not bool(prepared["usable"][i]):
        fraction, score = float(prepared["defect_fraction"][i]), float(prepared["sharpness"][i])
        raise LeftOut(one_image.unusable(fraction, score, parameters))
    size_nm = float(images["pixel_size"][i])
    reason = scale_problem(size_nm, common_pixel_size_nm)
    if reason:
        raise LeftOut(reason)
    return CleanedPixels(
        stored(images, "intensity", images, i),
        stored(prepared, "defect", images, i),
        pixel_size_nm=size_nm,
        common_pixel_size_nm=common_pixel_size_nm,
        spacing_px=float(prepared["lattice_spacing"][i]),
        parameters=parameters,
    )


def tile(
    cleaned: CleanedPixels, grid: Grid, angles_deg: np.ndarray, parameters: TilesParameters
) -> Iterator[Part]:
    """Features of the tiles of a large image."""
    for tiles in large_image.fields_of_tiles(grid, cleaned.shape):
        found = large_image.large_tile_features(cleaned, grid, tiles, angles_deg, parameters)
        yield Part(found, (tiles[0].start, tiles[1].start))


def cluster(
    tiles: xr.Dataset,
    i: int,
    own: Window,
    parameters: TileClustersParameters,
    model: dict[str, Any],
) -> Iterator[Part]:
    """Clusters of the tiles of an image, which are at ``own``, by the model of the collection."""
    found: set[int] = set()
    for core in cores((own[0].stop, own[1].stop), large_image.FIELD_TILES):
        labels = one_map.cluster_labels(vectors_in(tiles, i, core, parameters), parameters, model)
        found |= set(np.unique(labels["cluster"]).tolist()) - {-1}
        yield Part({"cluster": labels["cluster"]}, (core[0].start, core[1].start))
    yield Part({"cluster_count": len(found)})


class LargeVectors:
    """Feature vectors of the tiles of an image in a large map, where they are at ``own``."""

    def __init__(
        self, tiles: xr.Dataset, i: int, own: Window, parameters: TileClustersParameters
    ) -> None:
        self._tiles, self._i, self._own, self._parameters = tiles, i, own, parameters

    def finite(self) -> np.ndarray:
        """(tile_y, tile_x) True where a tile has features."""
        known = np.zeros(self._tiles["valid"].shape[1:], bool)
        for core in self._cores():
            known[core] = np.isfinite(self._read(core)).all(axis=-1)
        return known

    def __getitem__(self, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The vectors of the tiles at rows and columns."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for rows, columns in self._cores():
            inside = np.flatnonzero(
                (places[0] >= rows.start)
                & (places[0] < rows.stop)
                & (places[1] >= columns.start)
                & (places[1] < columns.stop)
            )
            if inside.size:
                vectors = self._read((rows, columns))
                y, x = places[0][inside] - rows.start, places[1][inside] - columns.start
                found.append((inside, vectors[y, x]))
        order = np.argsort(np.concatenate([inside for inside, _ in found]))
        return np.asarray(np.concatenate([vectors for _, vectors in found])[order])

    def _cores(self) -> Iterator[tuple[slice, slice]]:
        return cores((self._own[0].stop, self._own[1].stop), large_image.FIELD_TILES)

    def _read(self, window: tuple[slice, slice]) -> np.ndarray:
        return vectors_in(self._tiles, self._i, window, self._parameters)


def vectors_in(
    tiles: xr.Dataset, i: int, window: tuple[slice, slice], parameters: TileClustersParameters
) -> np.ndarray:
    """Feature vectors of the tiles in a window of the map of image ``i``."""
    source = tiles[one_map.FEATURE_SOURCE[parameters.features]]
    return one_map.tile_feature_vectors(
        source[i, window[0], window[1]].values,
        tiles["valid"][i, window[0], window[1]].values,
        parameters.features,
    )


def map_grains(
    inputs: Inputs, cleaned: CleanedPixels, i: int, own: xr.Dataset, parameters: GrainMapsParameters
) -> dict[str, Any]:
    """Grains of a large image, by orientation."""
    tiles = inputs["tiles"]
    if parameters.method != "orientation" or parameters.labels is not None:
        what = "labels" if parameters.labels is not None else f'method = "{parameters.method}"'
        raise LeftOut(
            f"the image of {cleaned.shape[0]} x {cleaned.shape[1]} px is computed in fields, which "
            f'grain_maps.{what} is not: use method = "orientation" without labels'
        )
    profile = StoredImage(tiles["projection_variance"], i)
    return large_map.large_grain_map(
        cleaned,
        grid_of(own),
        tiles["angle"].values,
        profile.__getitem__,
        tiles["valid"][i].values,
        parameters,
        band_pass=bool(tiles["band_pass"]),
    )


def stored(group: xr.Dataset, name: str, images: xr.Dataset, i: int) -> StoredImage:
    """A variable of image ``i`` that has its pixels, without padding."""
    return StoredImage(group[name], i, int(images["height"][i]), int(images["width"][i]))
