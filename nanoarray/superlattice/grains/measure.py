"""Measure the grains of one grain map: sizes, boundaries, orientation, edges, neighbours.

A grain map ``grain[tile_y, tile_x]`` is read as an image made of *cells*: every tile owns the cell
of one stride by one stride around its centre, cut where the image ends. The cells partition the
mapped field, so areas add up to it and nothing is counted twice. Pixel centres are at integers, y
points down, angles are counter-clockwise from +x in degrees.

A label is expected to be one connected region; a label in several pieces is measured as one grain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.statistics.edge_weight import miles_lantuejoul
from nanoarray.superlattice.grains.cells import boundary_length, cell_edges, grain_adjacency

__all__ = ["measure_grains"]

IntArray = npt.NDArray[np.intp]
FloatArray = npt.NDArray[np.float64]


class _Field(NamedTuple):
    """The part of the tile grid that the image has, and the sizes of its cells [px]."""

    rows: slice
    columns: slice
    height_px: FloatArray
    width_px: FloatArray
    y_px: FloatArray
    x_px: FloatArray


def measure_grains(
    grain: npt.NDArray[np.integer[Any]],
    *,
    orientation: npt.NDArray[np.floating[Any]] | None,
    confidence: npt.NDArray[np.floating[Any]] | None,
    cell_area_px: npt.NDArray[np.floating[Any]],
    stride_px: float,
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    field_height_px: float,
    field_width_px: float,
    pixel_size_nm: float,
    symmetry: int,
    to_edge: bool = False,
) -> dict[str, npt.NDArray[Any]]:
    """Measure every grain of one image.

    Parameters
    ----------
    grain
        (ny, nx) grain ids, 0 for none.
    orientation, confidence
        (ny, nx) lattice direction [deg] and its weight per tile, NaN where unknown; None for none.
    cell_area_px
        (ny, nx) area [px2] of each cell inside the image and outside defects, see `cell_areas`;
        0 for tiles that this image does not have.
    stride_px
        Side of a cell [px].
    centres_y, centres_x
        Tile centres [px], shapes (ny,) and (nx,).
    field_height_px, field_width_px
        Size of the image [px].
    pixel_size_nm
        Size of a pixel [nm], NaN when unknown: then lengths and areas in um are NaN.
    symmetry
        Rotational symmetry of the lattice: orientations repeat every 360 / symmetry degrees.
    to_edge
        Whether the last cells reach the edge of the image, as `cell_areas` was told.

    Returns
    -------
    One array per column of the group ``grains`` (see `nanoarray.schema`), with a row for every
    label of the map in ascending order; a grain that has only cells without area has the area 0.
    Orientations are means modulo 360 / symmetry.

    Raises
    ------
    InputError
        Where shapes disagree, the stride or the pixel size is not above 0, or the symmetry below 1.
    """
    _check(grain, orientation, confidence, cell_area_px, stride_px, pixel_size_nm, symmetry)
    field = _field(
        cell_area_px,
        centres_y,
        centres_x,
        stride_px=stride_px,
        height_px=field_height_px,
        width_px=field_width_px,
        to_edge=to_edge,
    )
    window = (field.rows, field.columns)
    labels, flat = np.unique(grain, return_inverse=True)
    index = flat.reshape(grain.shape)[window].astype(np.intp)
    if labels.size == 0 or labels[0] != 0:  # rank 0 always stands for "no grain"
        labels, index = np.concatenate([[0], labels]), index + 1
    count = labels.size
    area = np.asarray(cell_area_px, np.float64)[window]
    um = pixel_size_nm / 1000.0

    columns: dict[str, npt.NDArray[Any]] = {
        "label": labels.astype(np.int32),
        "perimeter": boundary_length(index, count=count) * stride_px * um,
        "tile_count": np.bincount(index.ravel(), minlength=count).astype(np.int32),
    }
    columns |= _areas(index, count, area, field, um=um)
    columns |= _mean_orientation(
        index,
        count,
        None if orientation is None else orientation[window],
        area if confidence is None else area * confidence[window],
        symmetry=symmetry,
    )
    columns |= _edges(index, count)
    columns |= _intercepts(index, count, area, field, um=um)
    columns["touches_defect"] = _touches_defect(index, count, area, field)
    pairs, _ = grain_adjacency(index)
    columns["neighbour_count"] = np.bincount(pairs.ravel(), minlength=count).astype(np.int32)
    return {name: values[1:] for name, values in columns.items()}


def _check(
    grain: npt.NDArray[Any],
    orientation: npt.NDArray[Any] | None,
    confidence: npt.NDArray[Any] | None,
    cell_area_px: npt.NDArray[Any],
    stride_px: float,
    pixel_size_nm: float,
    symmetry: int,
) -> None:
    arrays = {"orientation": orientation, "confidence": confidence, "cell_area_px": cell_area_px}
    for name, values in arrays.items():
        if values is not None and values.shape != grain.shape:
            raise InputError(
                f"{name} has the shape {values.shape}, the grain map {grain.shape}: "
                "both have one value per tile"
            )
    if not stride_px > 0:
        raise InputError(f"stride_px is {stride_px}: it must be above 0")
    if pixel_size_nm <= 0:
        raise InputError(
            f"pixel_size_nm is {pixel_size_nm}: it must be above 0, or NaN when unknown"
        )
    if symmetry < 1:
        raise InputError(f"symmetry is {symmetry}: it must be 4 (square), 6 (hexagonal) or 2")


def _field(
    cell_area_px: npt.NDArray[Any],
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    stride_px: float,
    height_px: float,
    width_px: float,
    to_edge: bool,
) -> _Field:
    """Find the rows and columns of tiles that the image has, and the sizes of their cells."""
    rows = np.flatnonzero((cell_area_px > 0).any(axis=1))
    columns = np.flatnonzero((cell_area_px > 0).any(axis=0))
    row = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
    column = slice(int(columns[0]), int(columns[-1]) + 1) if columns.size else slice(0, 0)
    low_y, high_y = (
        ends[row]
        for ends in cell_edges(centres_y, stride_px=stride_px, length_px=height_px, to_edge=to_edge)
    )
    low_x, high_x = (
        ends[column]
        for ends in cell_edges(centres_x, stride_px=stride_px, length_px=width_px, to_edge=to_edge)
    )
    return _Field(
        rows=row,
        columns=column,
        height_px=high_y - low_y,
        width_px=high_x - low_x,
        y_px=(high_y + low_y) / 2.0,
        x_px=(high_x + low_x) / 2.0,
    )


def _sum(index: IntArray, count: int, values: FloatArray) -> FloatArray:
    total = np.bincount(index.ravel(), weights=values.ravel(), minlength=count)
    return total.astype(np.float64)  # of nothing, bincount returns integers


def _areas(
    index: IntArray, count: int, area: FloatArray, field: _Field, *, um: float
) -> dict[str, npt.NDArray[Any]]:
    """Areas, diameters of the discs of these areas, and centroids."""
    area_px = _sum(index, count, area)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "area": area_px * um**2,
            "area_px": area_px,
            "equivalent_diameter": np.sqrt(4.0 * area_px / np.pi) * um,
            "centroid_y": _sum(index, count, area * field.y_px[:, None]) / area_px,
            "centroid_x": _sum(index, count, area * field.x_px[None, :]) / area_px,
        }


def _mean_orientation(
    index: IntArray,
    count: int,
    orientation: npt.NDArray[Any] | None,
    weight: FloatArray,
    *,
    symmetry: int,
) -> dict[str, npt.NDArray[Any]]:
    """Circular mean and standard deviation of directions that repeat every 360 / symmetry."""
    if orientation is None:
        unknown = np.full(count, np.nan)
        return {"orientation": unknown, "orientation_spread": unknown.copy()}
    known = np.isfinite(orientation) & np.isfinite(weight)
    phase = np.deg2rad(np.where(known, orientation, 0.0).astype(np.float64) * symmetry)
    used = np.where(known, weight, 0.0)
    total = _sum(index, count, used)
    with np.errstate(invalid="ignore", divide="ignore"):
        real = _sum(index, count, used * np.cos(phase)) / total
        imaginary = _sum(index, count, used * np.sin(phase)) / total
        length = np.minimum(np.hypot(real, imaginary), 1.0)
        spread = np.rad2deg(np.sqrt(-2.0 * np.log(length))) / symmetry
    period = 360.0 / symmetry
    mean = np.mod(np.rad2deg(np.arctan2(imaginary, real)) / symmetry, period)
    mean = np.where(mean == period, 0.0, mean)  # np.mod rounds up a tiny negative angle
    return {
        "orientation": mean,
        "orientation_spread": np.where(np.isnan(mean), np.nan, spread + 0.0),
    }


def _edges(index: IntArray, count: int) -> dict[str, npt.NDArray[Any]]:
    """Which grains the edge of the mapped field cuts, and what a count makes of them.

    `planimetric_count` is 1 inside, 1/2 at an edge, 1/4 at a corner (ASTM E112, planimetric
    procedure for rectangles); in general the Euler number of the grain less half its runs along the
    edges plus a quarter for every corner, which is unbiased.
    """
    planimetric, touches = np.ones(count), np.zeros(count, bool)
    height, width = index.shape
    if height == 0 or width == 0:
        return {
            "touches_edge": touches,
            "planimetric_count": planimetric,
            "edge_weight": planimetric,
        }
    for line in (index[0], index[-1], index[:, 0], index[:, -1]):
        starts = np.concatenate([[True], line[1:] != line[:-1]])
        planimetric -= 0.5 * np.bincount(line[starts], minlength=count)
        touches[line] = True
    for corner in (index[0, 0], index[0, -1], index[-1, 0], index[-1, -1]):
        planimetric[corner] += 0.25
    weight = miles_lantuejoul(
        _extent(index, count, axis=0),
        _extent(index, count, axis=1),
        field_height=height,
        field_width=width,
        touches_edge=touches,
    )
    return {"touches_edge": touches, "planimetric_count": planimetric, "edge_weight": weight}


def _extent(index: IntArray, count: int, *, axis: int) -> IntArray:
    """Return the side of every label's bounding box along an axis [cells]."""
    position = np.broadcast_to(np.expand_dims(np.arange(index.shape[axis]), 1 - axis), index.shape)
    first = np.full(count, index.shape[axis])
    last = np.full(count, -1)
    np.minimum.at(first, index.ravel(), position.ravel())
    np.maximum.at(last, index.ravel(), position.ravel())
    return np.maximum(last - first + 1, 0)


def _intercepts(
    index: IntArray, count: int, area: FloatArray, field: _Field, *, um: float
) -> dict[str, npt.NDArray[Any]]:
    """Chords of one horizontal and one vertical test line through every row and column of cells.

    The mean intercept of whole fields is the ratio of the sums of length and count, where a chord
    counts half for either end that is at the edge of the field (ASTM E112, intercept procedure).
    """
    runs, cut = np.zeros(count), np.zeros(count)
    for lines in (index, index.T):
        if lines.size == 0:
            continue
        starts = np.ones(lines.shape, bool)
        starts[:, 1:] = lines[:, 1:] != lines[:, :-1]
        runs += np.bincount(lines[starts], minlength=count)
        cut += np.bincount(lines[:, 0], minlength=count) + np.bincount(
            lines[:, -1], minlength=count
        )
    # A cell's mean chord is its area by its other side, so that defects shorten chords as well.
    chord = area / field.height_px[:, None] + area / field.width_px[None, :]
    length = _sum(index, count, chord) * um
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = length / runs
    return {"mean_intercept": mean, "intercept_length": length, "intercept_count": runs - 0.5 * cut}


def _touches_defect(
    index: IntArray, count: int, area: FloatArray, field: _Field
) -> npt.NDArray[np.bool_]:
    """Which grains have or border a cell that lost more than half of its area."""
    lost = np.pad(area < 0.5 * np.outer(field.height_px, field.width_px), 1)
    near = lost[1:-1, 1:-1] | lost[:-2, 1:-1] | lost[2:, 1:-1] | lost[1:-1, :-2] | lost[1:-1, 2:]
    return np.bincount(index[near], minlength=count) > 0
