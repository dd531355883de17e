"""Where the tiles of an image lie, and which part of the field each of them stands for."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError

Coverage = Literal["full", "inside"]
FloatArray = npt.NDArray[np.float64]


def tile_grid(
    height_px: int,
    width_px: int,
    *,
    tile_size_px: int,
    stride_px: int,
    coverage: Coverage = "full",
) -> tuple[FloatArray, FloatArray]:
    """Centres of overlapping square tiles on a regular grid.

    The position of a centre does not depend on the size of the image, only the number of centres
    does: images of different sizes share one grid, and the smaller ones use its first part.

    Parameters
    ----------
    height_px, width_px
        Size of the image.
    tile_size_px
        Edge of the square tile.
    stride_px
        Distance between neighbouring centres.
    coverage
        ``"full"``: tile ``j`` stands for the pixels ``j * stride .. (j + 1) * stride - 1``, tiles
        overhang the edges of the image and what is outside is missing. ``"inside"``: the first
        tile starts at pixel 0 and every tile lies wholly inside the image, so that a margin of
        half a tile is not mapped.

    Returns
    -------
    centres_y, centres_x
        Tile centres [px], pixel centres at integers, y down.

    Raises
    ------
    InputError
        The tile does not fit into the image, or a size is not a positive integer.
    """
    for name, size in (
        ("height_px", height_px),
        ("width_px", width_px),
        ("tile_size_px", tile_size_px),
        ("stride_px", stride_px),
    ):
        if not float(size).is_integer() or size < 1:
            raise InputError(f"{name} is {size!r}: expected a whole number of pixels, at least 1")
    if tile_size_px > min(height_px, width_px):
        raise InputError(
            f"tile_size_px is {tile_size_px}, larger than the image of {height_px} x {width_px} px:"
            " choose a smaller tile"
        )
    if coverage == "full":
        starts_y = np.arange(0, height_px, stride_px, dtype=np.float64)
        starts_x = np.arange(0, width_px, stride_px, dtype=np.float64)
        middle = (stride_px - 1) / 2
        centres_y, centres_x = starts_y + middle, starts_x + middle
        # A last centre beyond the edge would see less than half a tile of image.
        keep_y, keep_x = centres_y < height_px - 0.5, centres_x < width_px - 0.5
        keep_y[0] = keep_x[0] = True
        return centres_y[keep_y], centres_x[keep_x]
    if coverage == "inside":
        middle = (tile_size_px - 1) / 2
        starts_y = np.arange(0, height_px - tile_size_px + 1, stride_px, dtype=np.float64)
        starts_x = np.arange(0, width_px - tile_size_px + 1, stride_px, dtype=np.float64)
        return starts_y + middle, starts_x + middle
    raise InputError(f"coverage is {coverage!r}: expected 'full' or 'inside'")


def valid_fraction(
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    tile_size_px: float,
    height_px: int,
    width_px: int,
    missing: npt.ArrayLike | None = None,
) -> FloatArray:
    """Fraction of each square tile that is inside the image and not missing.

    Parameters
    ----------
    centres_y, centres_x
        (ny,), (nx,) tile centres [px].
    tile_size_px
        Edge of the tile.
    height_px, width_px
        Size of the image.
    missing
        (height, width) bool, True where a pixel is a defect or unknown.

    Returns
    -------
    fraction
        (ny, nx), 0 to 1.
    """
    if missing is None:
        valid = np.ones((height_px, width_px), dtype=bool)
    else:
        valid = ~_mask_of_shape(missing, height_px, width_px)
    half = tile_size_px / 2
    middle_y = np.asarray(centres_y, dtype=np.float64) + 0.5
    middle_x = np.asarray(centres_x, dtype=np.float64) + 0.5
    inside = box_sums(valid, middle_y - half, middle_y + half, middle_x - half, middle_x + half)
    return np.clip(inside / float(tile_size_px) ** 2, 0.0, 1.0)


def _mask_of_shape(missing: npt.ArrayLike, height_px: int, width_px: int) -> npt.NDArray[np.bool_]:
    mask = np.asarray(missing, dtype=bool)
    if mask.shape != (height_px, width_px):
        raise InputError(
            f"the mask of missing pixels has shape {mask.shape}, the image"
            f" {(height_px, width_px)}: they must agree"
        )
    return mask


def box_sums(
    values: npt.NDArray[np.bool_],
    low_y: FloatArray,
    high_y: FloatArray,
    low_x: FloatArray,
    high_x: FloatArray,
) -> FloatArray:
    """Number of True pixels in boxes; parts of a pixel count in proportion.

    Parameters
    ----------
    values
        (height, width).
    low_y, high_y, low_x, high_x
        (ny,), (ny,), (nx,), (nx,) edges of the boxes: pixel p covers p to p + 1.

    Returns
    -------
    sums
        (ny, nx) [px2].
    """
    if values.all():
        rows, columns = np.ones(values.shape[0]), np.ones(values.shape[1])
        return np.outer(
            _shares(low_y, high_y, values.shape[0]) @ rows,
            _shares(low_x, high_x, values.shape[1]) @ columns,
        )
    down = _shares(low_y, high_y, values.shape[0]) @ values.astype(np.float64)
    return down @ _shares(low_x, high_x, values.shape[1]).T


def _shares(low: FloatArray, high: FloatArray, length: int) -> FloatArray:
    """Share of every pixel (columns) that is in every interval (rows)."""
    pixel = np.arange(length)
    upper = np.minimum(high[:, np.newaxis], pixel + 1)
    return np.clip(upper - np.maximum(low[:, np.newaxis], pixel), 0.0, 1.0)
