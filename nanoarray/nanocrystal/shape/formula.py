"""The polar curve of nanocrystal shapes (equation 1) and its canonical parameters.

The curve is the one of Williamson et al., with the factor d/2 in both terms::

    R(theta) = (|L cos(d theta / 2 + phi)|^p + |sin(d theta / 2 + phi)|^p)^(-1/p)

p sets the curvature (below 1 concave sides, 1 straight, 2 an ellipse in the angle d theta / 2,
large p boxes), d the number of major axes, L the ratio of major to minor axis, phi the phase.

Several sets of parameters draw the same curve up to size. `canonical` keeps one of each:

* **L and 1/L.** R with 1/L equals L times R with L and phi + 90 degrees. Canonical: L >= 1.
* **phi.** The curve repeats after 180 degrees of phi (a turn of the crystal by 360/d degrees), at
  L = 1 after 90 degrees. Canonical: 0 <= phi < 180, at L = 1 below 90.
* **Circles.** p = 2 and L = 1 is a circle for every d and phi. Canonical: d = 2, phi = 0.
* **p and p/(p - 1) at L = 1.** p = 1 and p -> infinity draw the same curve, phi apart by 45 degrees
  (at d = 2 both are squares; the coincidence holds at every d), and between them p and its
  conjugate exponent nearly do. Canonical: p >= 2 where L = 1.
* **Large p.** The curve hardly changes above p = 20: p is learned and averaged as
  `p_coordinate`, (p - 2)/(p + 2), which is flat in 1/p there and mirrors p and 4/p at the circle.

Angles run counter-clockwise from +x as seen on the screen, so a point of the curve is at
x = R cos(theta), y = -R sin(theta). phi -> phi + a turns the curve by -2 a / d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Range of p, of the ratio of axes and of d that shapes are described with.
P_RANGE = (0.25, 70.0)
AXIS_RATIO_RANGE = (1.0, 16.0)
D_VALUES = (1, 2, 3, 4, 5, 6)

#: Two curves whose areas overlap by this Jaccard index are one shape in a 64 px crop: the
#: difference is a third of a pixel along the outline of a crystal 50 px across.
SAME_SHAPE_JACCARD = 0.975

#: Pairs of curves compared at a time: bounds memory.
_PAIRS = 2048


class ShapeParameters(NamedTuple):
    """Parameters of n shapes, as arrays of length n; an unknown shape is NaN, its d -1."""

    p: NDArray[np.float64]
    d: NDArray[np.int32]
    axis_ratio: NDArray[np.float64]
    phase_deg: NDArray[np.float64]

    def rows(self, which: Any) -> ShapeParameters:
        """Some of the shapes, by whatever indexes an array."""
        return ShapeParameters(
            self.p[which], self.d[which], self.axis_ratio[which], self.phase_deg[which]
        )


def radius(
    theta_rad: ArrayLike,
    *,
    p: ArrayLike,
    d: ArrayLike,
    axis_ratio: ArrayLike,
    phase_rad: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    """Radius of the curve at given angles; everything broadcasts.

    Parameters
    ----------
    theta_rad
        Angles [rad], counter-clockwise from +x.
    p
        Exponent, above 0; may be infinite.
    d
        Number of major axes, an integer for a closed curve.
    axis_ratio
        L, above 0. Values below 1 are allowed here.
    phase_rad
        phi [rad].

    Returns
    -------
    ndarray
        R, between 1/L and 1 for p <= 2 and L >= 1. Not normalized to a size.

    Notes
    -----
    Equation 1 of Williamson et al., written with the larger term taken out so that large p neither
    overflow nor underflow. It equals the superformula of Gielis with m = 2d, a = 1/L, b = 1,
    n1 = n2 = n3 = p, at an angle shifted by 2 phi / d.
    """
    exponent = np.asarray(p, np.float64)
    half_angle = np.asarray(d, np.float64) * np.asarray(theta_rad, np.float64) / 2.0
    half_angle = half_angle + np.asarray(phase_rad, np.float64)
    major = np.abs(np.asarray(axis_ratio, np.float64) * np.cos(half_angle))
    minor = np.abs(np.sin(half_angle))
    larger = np.maximum(major, minor)
    ratio = np.minimum(major, minor) / larger
    finite = np.where(np.isinf(exponent), 1.0, exponent)
    power = np.where(np.isinf(exponent), 1.0, (1.0 + ratio**finite) ** (-1.0 / finite))
    return np.asarray(power / larger, np.float64)


def p_coordinate(p: ArrayLike) -> NDArray[np.float64]:
    """The coordinate (p - 2)/(p + 2) in which p is learned: -1 at p = 0, 0 at 2, 1 at infinity."""
    exponent = np.asarray(p, np.float64)
    return np.asarray((exponent - 2.0) / (exponent + 2.0), np.float64)


def p_from_coordinate(coordinate: ArrayLike) -> NDArray[np.float64]:
    """Inverse of `p_coordinate`, clipped to `P_RANGE`."""
    low, high = p_coordinate(P_RANGE)
    inside = np.clip(np.asarray(coordinate, np.float64), low, high)
    return np.asarray(2.0 * (1.0 + inside) / (1.0 - inside), np.float64)


def curve_jaccard(
    first: ShapeParameters, second: ShapeParameters, *, angle_count: int = 1440
) -> NDArray[np.float64]:
    """Jaccard index of pairs of curves about one origin, both scaled to the same area.

    Exact up to the sampling of angles: the overlap of two star-shaped regions is the integral of
    the smaller squared radius. Curves are compared as they stand, not turned onto each other.

    Returns
    -------
    ndarray
        Between 0 and 1, one per pair.
    """
    theta = (np.arange(angle_count) + 0.5) * (2.0 * np.pi / angle_count)
    one = [np.atleast_1d(np.asarray(value, np.float64)) for value in first]
    other = [np.atleast_1d(np.asarray(value, np.float64)) for value in second]
    found = np.empty(one[0].shape[0])
    for start in range(0, found.size, _PAIRS):
        rows = slice(start, start + _PAIRS)
        squares = []
        for p, d, ratio, phase in (one, other):
            square = radius(
                theta,
                p=p[rows, None],
                d=d[rows, None],
                axis_ratio=ratio[rows, None],
                phase_rad=np.deg2rad(phase[rows, None]),
            )
            square **= 2
            squares.append(square / square.mean(axis=1, keepdims=True))
        both, either = np.minimum(*squares), np.maximum(*squares)
        found[rows] = both.sum(axis=1) / either.sum(axis=1)
    return found


def distinctness(p: ArrayLike, axis_ratio: ArrayLike) -> NDArray[np.float64]:
    """How far a curve is from a circle: 1 minus its Jaccard index with the circle of its area.

    0 is a circle, where d and phi have no meaning. It does not depend on d.
    """
    exponent, ratio = np.broadcast_arrays(
        np.atleast_1d(np.asarray(p, np.float64)), np.atleast_1d(np.asarray(axis_ratio, np.float64))
    )
    count = exponent.shape[0]
    even, none = np.full(count, 2, np.int32), np.zeros(count)
    circle = ShapeParameters(np.full(count, 2.0), even, np.ones(count), none)
    shape = ShapeParameters(exponent, even, ratio, none)
    return 1.0 - _period_jaccard(shape, circle)


def _period_jaccard(first: ShapeParameters, second: ShapeParameters) -> NDArray[np.float64]:
    """`curve_jaccard` of pairs with one d each, over one period: then d does not matter."""
    none = np.full(first.p.shape[0], 2, np.int32)
    return curve_jaccard(first._replace(d=none), second._replace(d=none), angle_count=360)


def canonical(
    p: ArrayLike,
    d: ArrayLike,
    axis_ratio: ArrayLike,
    phase_deg: ArrayLike,
    *,
    same_shape_jaccard: float = SAME_SHAPE_JACCARD,
) -> ShapeParameters:
    """One set of parameters for each shape (the rules are in the description of this module).

    L >= 1 and the range of the phase are exact. Where L is so near 1 that a curve with L = 1
    overlaps by `same_shape_jaccard`, the rules of L = 1 apply: circles lose their d and phase, and
    1 <= p < 2 becomes the conjugate exponent.

    Parameters
    ----------
    p, d, axis_ratio, phase_deg
        Parameters, broadcast against each other. NaN stays NaN with d = -1.
    same_shape_jaccard
        Overlap from which two curves count as one shape.

    Returns
    -------
    ShapeParameters
        Arrays of length n; p within `P_RANGE`.
    """
    arrays = np.broadcast_arrays(*(np.atleast_1d(a) for a in (p, d, axis_ratio, phase_deg)))
    exponent, axes, ratio, phase = (np.array(a, np.float64) for a in arrays)
    known = np.isfinite(ratio) & np.isfinite(phase) & ~np.isnan(exponent) & (axes >= 1)
    exponent = np.clip(np.where(known, exponent, 2.0), *P_RANGE)
    order = np.where(known, axes, 2).astype(np.int32)
    ratio, phase = np.where(known, ratio, 1.0), np.where(known, phase, 0.0)
    swapped = ratio < 1.0
    ratio = np.where(swapped, 1.0 / np.maximum(ratio, 1e-12), ratio)
    phase = np.mod(np.where(swapped, phase + 90.0, phase), 180.0)

    # Only where p is between 1 and 2 and L small can a curve with L = 1 overlap enough.
    near = np.flatnonzero((exponent >= 1.0) & (exponent < 2.0) & (ratio < 1.2))
    conjugate = np.clip(exponent[near] / np.maximum(exponent[near] - 1.0, 1e-9), 2.0, P_RANGE[1])
    shapes = ShapeParameters(exponent[near], order[near], ratio[near], phase[near])
    partner = ShapeParameters(conjugate, order[near], np.ones(near.size), phase[near] + 45.0)
    same = _period_jaccard(shapes, partner) >= same_shape_jaccard
    fold = near[same]
    exponent[fold], ratio[fold] = conjugate[same], 1.0
    phase[fold] += 45.0

    round_ = 1.0 - distinctness(exponent, ratio) >= same_shape_jaccard
    exponent, ratio = np.where(round_, 2.0, exponent), np.where(round_, 1.0, ratio)
    order, phase = np.where(round_, 2, order).astype(np.int32), np.where(round_, 0.0, phase)
    phase = np.where(ratio == 1.0, np.mod(phase, 90.0), np.mod(phase, 180.0))

    unknown = ~known
    exponent[unknown] = ratio[unknown] = phase[unknown] = np.nan
    order[unknown] = -1
    return ShapeParameters(exponent, order, ratio, phase)
