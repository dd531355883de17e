"""Shapes drawn into pixels with exact anti-aliasing, and their outlines.

A shape is placed by its **centroid** and sized by its **equivalent radius** (of the disc of equal
area). Both can be had from a mask, also for odd d, where the origin of the formula is off centre.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.formula import ShapeParameters
from nanoarray.nanocrystal.shape.raster import (
    OUTLINE_VERTICES,
    fill_outline,
    pieces_of,
    polygon_moments,
    render_batch,
)

FloatArray = NDArray[np.float64]

#: Radius at which two shapes are drawn to be compared: a crystal fills its 64 px crop.
_RADIUS_PX = 20.0


def shape_parameters(parameters: Mapping[str, ArrayLike] | ShapeParameters) -> ShapeParameters:
    """Parameters of n shapes as arrays, from a mapping with `p`, `d`, `axis_ratio`, `phase` [deg].

    Raises
    ------
    InputError
        If one is missing or the lengths differ.
    """
    if isinstance(parameters, ShapeParameters):
        values = list(parameters)
    else:
        missing = [name for name in ("p", "d", "axis_ratio", "phase") if name not in parameters]
        if missing:
            raise InputError(
                f"shape parameters without {', '.join(missing)}: give p, d, axis_ratio and phase"
            )
        values = [np.asarray(parameters[name]) for name in ("p", "d", "axis_ratio", "phase")]
    p, d, axis_ratio, phase = (np.atleast_1d(np.asarray(value)) for value in values)
    if not p.shape == d.shape == axis_ratio.shape == phase.shape or p.ndim != 1:
        raise InputError(
            f"shape parameters of different lengths: p {p.shape}, d {d.shape}, "
            f"axis_ratio {axis_ratio.shape}, phase {phase.shape}"
        )
    order = np.where(np.isfinite(d.astype(np.float64)), d, -1).astype(np.int32)
    return ShapeParameters(
        p.astype(np.float64), order, axis_ratio.astype(np.float64), phase.astype(np.float64)
    )


def render_shapes(
    parameters: Mapping[str, ArrayLike] | ShapeParameters,
    *,
    size_px: int = 64,
    equivalent_radius_px: ArrayLike,
    centroid_y_px: ArrayLike | None = None,
    centroid_x_px: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Draw shapes: the exact share of every pixel that each covers.

    Parameters
    ----------
    parameters
        n shapes.
    size_px
        Side of the square pictures [px].
    equivalent_radius_px
        Radius of the disc with the area of the shape [px], a number or n of them.
    centroid_y_px, centroid_x_px
        Where the centroid lies [px]; by default the middle of the picture, (size_px - 1) / 2.

    Returns
    -------
    ndarray of float32, (n, size_px, size_px)
        Coverage from 0 to 1. The sum is the area of the shape where the picture holds all of it.
        A shape with unknown (NaN) parameters is an empty picture.
    """
    shapes = shape_parameters(parameters)
    count, middle = shapes.p.shape[0], (size_px - 1) / 2.0

    def each(value: ArrayLike | None) -> FloatArray:
        filled = np.asarray(middle if value is None else value, np.float64)
        return np.ascontiguousarray(np.broadcast_to(filled, (count,)))

    coverage = np.empty((count, size_px, size_px), np.float32)
    render_batch(
        shapes.p,
        shapes.d,
        shapes.axis_ratio,
        np.deg2rad(shapes.phase_deg),
        each(centroid_y_px),
        each(centroid_x_px),
        each(equivalent_radius_px),
        coverage,
    )
    return coverage


def drawn_jaccard(first: ShapeParameters, second: ShapeParameters) -> NDArray[np.float64]:
    """Jaccard index of pairs of shapes drawn with one centroid and one area, edges soft.

    Unlike `nanoarray.nanocrystal.shape.formula.curve_jaccard` it compares shapes of different d,
    whose centroids lie elsewhere.
    """
    one = render_shapes(first, size_px=96, equivalent_radius_px=_RADIUS_PX)
    other = render_shapes(second, size_px=96, equivalent_radius_px=_RADIUS_PX)
    both = np.minimum(one, other).sum(axis=(1, 2), dtype=np.float64)
    return np.asarray(both / np.maximum(one, other).sum(axis=(1, 2), dtype=np.float64))


def outline(
    *,
    p: float,
    d: int,
    axis_ratio: float,
    phase_deg: float,
    equivalent_radius_px: float = 1.0,
    centroid_y_px: float = 0.0,
    centroid_x_px: float = 0.0,
    vertices: int = OUTLINE_VERTICES,
) -> FloatArray:
    """Closed outline of one shape for figures, at least `vertices` points.

    Returns
    -------
    ndarray, (vertices, 2)
        y, x [px] (y down), the first point repeated at the end; centroid and area as asked.
    """
    pieces = int(pieces_of(d, vertices))
    ys, xs = np.empty(4 * pieces * d), np.empty(4 * pieces * d)
    count = int(fill_outline(p, d, axis_ratio, np.deg2rad(phase_deg), pieces, ys, xs))
    area, mean_y, mean_x = polygon_moments(ys, xs, count)
    scale = equivalent_radius_px * np.sqrt(np.pi / area)
    points = np.column_stack(
        (centroid_y_px + scale * (ys - mean_y), centroid_x_px + scale * (xs - mean_x))
    )
    return np.vstack((points, points[:1]))
