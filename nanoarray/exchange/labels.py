"""Label images as other programs want them, and the labels of tiles as labels of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.exchange.bands import Plane
from nanoarray.superlattice.grains.cells import cell_edges


def as_labels(values: Plane, *, name: str, shape: tuple[int, ...]) -> Plane:
    """A label image in the least type that holds it: uint8 for masks, uint16, else int32.

    It is read once for the range of its labels, and again when it is written.

    Fiji and QuPath show 16-bit label images as they are; wider integers only through conversion.

    Raises
    ------
    InputError
        The shape is another, or the values are not whole numbers that fit into int32.
    """
    if values.shape != shape:
        raise InputError(f"label image {name!r} has shape {values.shape}, the image {shape}")
    if values.dtype == np.bool_:
        return values.map(lambda band: band.astype(np.uint8), np.uint8)
    if values.dtype.kind not in "iu":
        raise InputError(f"label image {name!r} holds {values.dtype}: expected whole numbers")
    low = high = 0
    for _, band in values.bands():
        low, high = min(low, int(band.min(initial=0))), max(high, int(band.max(initial=0)))
    if low >= 0 and high <= np.iinfo(np.uint16).max:
        return values.map(lambda band: band.astype(np.uint16), np.uint16)
    limits = np.iinfo(np.int32)
    if low < limits.min or high > limits.max:
        raise InputError(f"label image {name!r} holds {low} to {high}: expected 32-bit integers")
    return values.map(lambda band: band.astype(np.int32), np.int32)


def tiles_to_pixels(
    values: npt.NDArray[Any],
    *,
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    stride_px: float,
    shape: tuple[int, int],
    factor: float = 1.0,
    to_edge: bool = True,
    fill: Any = 0,
) -> Plane:
    """Give every pixel the value of the tile whose cell holds its centre.

    Parameters
    ----------
    values
        ``(tile_y, tile_x)`` values of the tiles that the image has.
    centres_y, centres_x
        Tile centres [px of the grid].
    stride_px
        Distance of tile centres [px of the grid].
    shape
        Height and width of the image [its own px].
    factor
        Pixels of the grid per pixel of the image.
    to_edge
        Whether the last cells reach the edge of the image (coverage "full").
    fill
        What pixels outside every cell get.
    """
    owners = []
    for centres, length in zip((centres_y, centres_x), shape, strict=True):
        # Scaling happens about the outer edge of the first pixel, whose centre is at 0.
        own = (np.asarray(centres, np.float64) + 0.5) / factor - 0.5
        low, high = cell_edges(own, stride_px=stride_px / factor, length_px=length, to_edge=to_edge)
        position = np.arange(length, dtype=np.float64)
        index = np.searchsorted(low, position, side="right") - 1
        inside = (index >= 0) & (position < high[np.maximum(index, 0)]) if low.size else index >= 0
        owners.append(np.where(inside, index, -1))
    row, column = owners
    x = np.flatnonzero(column >= 0)

    def rows(start: int, stop: int) -> npt.NDArray[Any]:
        painted = np.full((stop - start, shape[1]), fill, values.dtype)
        y = np.flatnonzero(row[start:stop] >= 0)
        painted[np.ix_(y, x)] = values[np.ix_(row[start:stop][y], column[x])]
        return painted

    return Plane(shape, values.dtype, rows)
