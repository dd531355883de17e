"""The cells that the tiles of a map have in the pixels of its image, and their boundaries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from nanoarray.errors import InputError
from nanoarray.report.canvas import Picture
from nanoarray.superlattice.grains.cells import cell_edges

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Cells:
    """Where the tiles' cells lie in an image, in its pixels (pixel centres at integers).

    ``edges_y`` (ny + 1,) and ``edges_x`` (nx + 1,); ``row`` (height,) and ``column`` (width,) are
    the tile that each pixel belongs to, -1 for none.
    """

    edges_y: FloatArray
    edges_x: FloatArray
    row: IntArray
    column: IntArray

    def paint(self, values: npt.NDArray[Any], fill: Any) -> npt.NDArray[Any]:
        """Give every pixel the value of its tile, ``fill`` where it has none."""
        painted = values[np.ix_(np.maximum(self.row, 0), np.maximum(self.column, 0))].copy()
        painted[self.row < 0] = fill
        painted[:, self.column < 0] = fill
        return painted


def one_map(ds: xr.Dataset, name: str) -> npt.NDArray[Any]:
    """Values of the map ``name`` [tile_y, tile_x] of one image."""
    if name not in ds or ds[name].dims != ("tile_y", "tile_x"):
        raise InputError(
            f"expected one image with {name!r} (tile_y, tile_x): choose one, as "
            "grain_maps.isel(image=0)"
        )
    return np.asarray(ds[name].values)


def cells_of(maps: xr.Dataset, picture: Picture) -> Cells:
    """Find the cells of a map in the pixels of its image.

    ``maps`` has the coordinates ``tile_y`` and ``tile_x``; ``stride`` and ``common_pixel_size``
    where they are known, otherwise the stride is the distance of the centres and the coordinates
    are the image's own pixels.
    """
    if "image" in maps.dims:
        raise InputError(
            f"expected the maps of one image, found {maps.sizes['image']}: choose one, as "
            "grain_maps.isel(image=0)"
        )
    common = float(maps["common_pixel_size"]) if "common_pixel_size" in maps else math.nan
    resampled = math.isfinite(common) and math.isfinite(picture.pixel_size_nm)
    scale = common / picture.pixel_size_nm if resampled else 1.0
    # Scaling happens about the outer corner of the first pixel, whose centre is at 0.
    centres_y = (maps["tile_y"].values.astype(np.float64) + 0.5) * scale - 0.5
    centres_x = (maps["tile_x"].values.astype(np.float64) + 0.5) * scale - 0.5
    if "stride" in maps:
        stride = float(maps["stride"]) * scale
    else:
        steps = np.concatenate([np.diff(centres_y), np.diff(centres_x)])
        stride = float(steps.min()) if steps.size else float(max(picture.pixels.shape))
    # Whole tiles leave a margin; cells that cover the field reach its edges.
    to_edge = str(maps["coverage"].values) == "full" if "coverage" in maps else False
    edges_y, edges_x = (
        np.append(*_ends(cell_edges(centres, stride_px=stride, length_px=length, to_edge=to_edge)))
        for centres, length in ((centres_y, picture.height_px), (centres_x, picture.width_px))
    )
    return Cells(
        edges_y,
        edges_x,
        _owner(edges_y, picture.height_px),
        _owner(edges_x, picture.width_px),
    )


def _ends(low_high: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Lower edges of all cells and the upper edge of the last: cells adjoin."""
    low, high = low_high
    return low, high[-1:]


def _owner(edges: FloatArray, length_px: int) -> IntArray:
    """The cell of every pixel centre along one axis, -1 outside all cells."""
    position = np.arange(length_px, dtype=np.float64)
    index = np.searchsorted(edges, position, side="right") - 1
    inside = (index >= 0) & (position < edges[-1])
    return np.where(inside, np.minimum(index, edges.size - 2), -1).astype(np.intp)


def boundaries(
    label: npt.NDArray[np.integer[Any]], cells: Cells
) -> tuple[FloatArray, IntArray, IntArray]:
    """Sides between cells of different labels.

    Parameters
    ----------
    label
        (ny, nx) labels, 0 for none; sides between a label and 0 are boundaries too.
    cells
        Where the cells lie.

    Returns
    -------
    segments
        (n, 2, 2) ends of each side as (x, y) [px].
    first, second
        (n,) flat index into ``label`` of the cells on either side.
    """
    index = np.arange(label.size).reshape(label.shape)
    y, x = cells.edges_y, cells.edges_x
    rows, columns = np.nonzero(label[:, :-1] != label[:, 1:])
    across = np.stack(
        [
            np.stack([x[columns + 1], y[rows]], axis=1),
            np.stack([x[columns + 1], y[rows + 1]], axis=1),
        ],
        axis=1,
    )
    first, second = [index[:, :-1][rows, columns]], [index[:, 1:][rows, columns]]
    rows, columns = np.nonzero(label[:-1] != label[1:])
    along = np.stack(
        [
            np.stack([x[columns], y[rows + 1]], axis=1),
            np.stack([x[columns + 1], y[rows + 1]], axis=1),
        ],
        axis=1,
    )
    first.append(index[:-1][rows, columns])
    second.append(index[1:][rows, columns])
    segments = np.concatenate([across, along]).astype(np.float64)
    one, other = np.concatenate(first), np.concatenate(second)
    real = np.abs(segments[:, 1] - segments[:, 0]).sum(axis=1) > 0  # cells outside are empty
    return segments[real], one[real].astype(np.intp), other[real].astype(np.intp)
