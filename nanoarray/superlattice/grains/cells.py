"""Geometry of a map made of tile cells: areas, boundary lengths, neighbours.

Every tile owns the cell of one stride by one stride around its centre, cut where the image ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.tile_grid import box_sums

__all__ = ["boundary_length", "cell_areas", "cell_edges", "grain_adjacency"]

FloatArray = npt.NDArray[np.float64]

#: Steps (dy, dx) of the eight test-line directions, in order of angle.
_CROFTON_STEPS = ((0, 1), (1, 2), (1, 1), (2, 1), (1, 0), (2, -1), (1, -1), (1, -2))
_CROFTON_PAD = 2  # cells: the longest step


def cell_areas(
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    stride_px: float,
    field_height_px: float,
    field_width_px: float,
    defect: npt.NDArray[np.bool_] | None = None,
    to_edge: bool = False,
) -> FloatArray:
    """Area of every tile's cell inside the image and outside defects.

    Parameters
    ----------
    centres_y, centres_x
        Tile centres [px], shapes (ny,) and (nx,).
    stride_px
        Distance between tile centres and side of a cell [px].
    field_height_px, field_width_px
        Size of the image [px]; cells are cut there, cells beyond it have the area 0.
    defect
        (height, width) of the image, True where nothing can be measured.
    to_edge
        As in `cell_edges`: the cells share the whole image out among them.

    Returns
    -------
    (ny, nx) areas [px2].
    """
    low_y, high_y = cell_edges(
        centres_y, stride_px=stride_px, length_px=field_height_px, to_edge=to_edge
    )
    low_x, high_x = cell_edges(
        centres_x, stride_px=stride_px, length_px=field_width_px, to_edge=to_edge
    )
    area = np.outer(high_y - low_y, high_x - low_x)
    if defect is None:
        return area
    found = np.asarray(defect)
    expected = (round(field_height_px), round(field_width_px))
    if found.shape != expected:
        raise InputError(
            f"the defect mask has the shape {found.shape}, the field {expected}: "
            "pass the mask of this image"
        )
    if not found.any():
        return area
    lost = box_sums(found, low_y + 0.5, high_y + 0.5, low_x + 0.5, high_x + 0.5)
    # The sums are rounded: without this a fully defect cell would not be exactly 0.
    remaining = np.where(area - lost < 1e-6, 0.0, area - lost)
    return np.minimum(remaining, area)


def cell_edges(
    centres: npt.ArrayLike, *, stride_px: float, length_px: float, to_edge: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Where each cell begins and ends along one axis [px], cut at the image.

    With ``to_edge``, ``centres`` are all those that the image has, with coverage "full": what a
    stride does not divide, at most half of it, goes to the last cell.
    """
    centre = np.asarray(centres, np.float64)
    low = np.clip(centre - stride_px / 2.0, -0.5, length_px - 0.5)
    high = np.clip(centre + stride_px / 2.0, -0.5, length_px - 0.5)
    if to_edge:
        high[-1:] = length_px - 0.5
    return low, high


def boundary_length(
    grain: npt.NDArray[np.integer[Any]], *, count: int | None = None
) -> npt.NDArray[np.float64]:
    """Length of the boundary of every label, in cell sides, by Crofton's formula.

    Crossings of the boundary are counted along all lattice lines of eight directions, steps (0, 1),
    (1, 2), (1, 1), (2, 1) and so on, each weighted by the spacing of its lines and the range of
    angle that it stands for. The edge of the map counts as boundary. Against the truth: discs of
    radius 3 cells -2.3 %, from 6 cells on within 0.5 %; rectangles in any direction -3 to -6 % at a
    short side of 10 cells, -2.5 to 0 % at 30 (the corners are what is lost).

    Parameters
    ----------
    grain
        (ny, nx) labels from 0.
    count
        Number of labels with 0; the largest label plus one by default.

    Returns
    -------
    (count,) lengths [cell sides]; entry 0 is the boundary of what is no grain and of the map.

    References
    ----------
    Ohser & Muecklich, *Statistical Analysis of Microstructures in Materials Science*, Wiley 2000.
    """
    size = int(grain.max(initial=0)) + 1 if count is None else count
    padded = np.pad(np.asarray(grain, np.intp), _CROFTON_PAD)
    height, width = padded.shape
    angle = np.array([np.arctan2(dy, dx) for dy, dx in _CROFTON_STEPS])
    wrapped = np.concatenate([[angle[-1] - np.pi], angle, [angle[0] + np.pi]])
    # Radians that each direction stands for; they sum to pi.
    share = (wrapped[2:] - wrapped[:-2]) / 2.0
    length = np.zeros(size)
    for (dy, dx), weight in zip(_CROFTON_STEPS, share, strict=True):
        here = padded[: height - dy, max(0, -dx) : width - max(0, dx)]
        there = padded[dy:, max(0, dx) : width - max(0, -dx)]
        differ = here != there
        crossings = np.bincount(here[differ], minlength=size)
        crossings += np.bincount(there[differ], minlength=size)
        length += 0.5 * weight * crossings / np.hypot(dy, dx)
    return length


def grain_adjacency(
    grain: npt.NDArray[np.integer[Any]],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Pairs of grains that share a boundary.

    Parameters
    ----------
    grain
        (ny, nx) labels, 0 for none.

    Returns
    -------
    pairs
        (n, 2) labels, the smaller first, in ascending order.
    sides
        (n,) number of cell sides that the two have in common.
    """
    here = np.concatenate([grain[:, :-1].ravel(), grain[:-1].ravel()]).astype(np.int64)
    there = np.concatenate([grain[:, 1:].ravel(), grain[1:].ravel()]).astype(np.int64)
    both = (here != there) & (here > 0) & (there > 0)
    low, high = np.minimum(here, there)[both], np.maximum(here, there)[both]
    base = int(grain.max(initial=0)) + 1
    code, sides = np.unique(low * base + high, return_counts=True)
    return np.stack([code // base, code % base], axis=1).astype(np.int32), sides.astype(np.int32)
