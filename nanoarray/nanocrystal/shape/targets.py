"""What the shape network learns: parameters in a form without the traps of equation 1.

A shape is one of twelve **kinds**, d from 1 to 6 with p below or above 2, and within its kind two
numbers and a phase. Regression is done per kind, so that two sets of parameters that draw the same
shape (p = 1 and p -> infinity at L = 1) are two answers between which the network chooses, never
two numbers that it averages. Within a kind:

* p as `formula.p_coordinate`, on the kind's side of the circle;
* log2 L, at least 0;
* the phase as sine and cosine of 2 phi and of 4 phi. The first is the period of the curve; at L = 1
  only the second is defined. The angle comes from 4 phi, the choice between its two from 2 phi.

Weights say how well a target is defined: none for d and phi of a circle, none for 2 phi at L = 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarray.nanocrystal.shape.formula import (
    AXIS_RATIO_RANGE,
    D_VALUES,
    ShapeParameters,
    canonical,
    distinctness,
    p_coordinate,
    p_from_coordinate,
)

#: Kind = 2 (d - 1) + (1 where p >= 2).
KINDS = 2 * len(D_VALUES)
#: A shape counts as fully distinct from a circle at this `formula.distinctness`.
_DISTINCT = 0.06
#: A mask shows a shape from this Jaccard index on.
_SHOWN_JACCARD = 0.8
#: 2 phi counts as fully defined at this log2 L.
_UNEVEN = 0.3


class Targets(NamedTuple):
    """Arrays of length n."""

    kind: NDArray[np.int64]
    p_coordinate: NDArray[np.float32]
    log2_axis_ratio: NDArray[np.float32]
    #: phi [rad].
    phase_rad: NDArray[np.float32]
    #: Weight of the kind and of 4 phi.
    distinct_weight: NDArray[np.float32]
    #: Weight of 2 phi.
    uneven_weight: NDArray[np.float32]
    #: Weight of the image: 0 where its mask does not show the shape.
    shown_weight: NDArray[np.float32]

    def rows(self, which: Any) -> Targets:
        """Some of the targets, by whatever indexes an array."""
        return Targets(
            self.kind[which],
            self.p_coordinate[which],
            self.log2_axis_ratio[which],
            self.phase_rad[which],
            self.distinct_weight[which],
            self.uneven_weight[which],
            self.shown_weight[which],
        )


def encode(
    parameters: ShapeParameters, *, jaccard: NDArray[np.floating[Any]] | None = None
) -> Targets:
    """Targets of shapes, made canonical first.

    `jaccard` is the index of every shape with the mask it is to be learned from. Below
    `_SHOWN_JACCARD` the mask does not show the shape (its tips are thinner than a pixel) and
    teaching it would teach to see such tips at every rough disc.
    """
    shapes = canonical(*parameters)
    log_ratio = np.log2(shapes.axis_ratio)
    distinct = np.clip(distinctness(shapes.p, shapes.axis_ratio) / _DISTINCT, 0.0, 1.0)
    shown = np.ones(log_ratio.shape) if jaccard is None else jaccard >= _SHOWN_JACCARD
    uneven = distinct * np.clip(log_ratio / _UNEVEN, 0.0, 1.0)
    return Targets(
        2 * (shapes.d.astype(np.int64) - 1) + (shapes.p >= 2.0),
        p_coordinate(shapes.p).astype(np.float32),
        log_ratio.astype(np.float32),
        np.deg2rad(shapes.phase_deg).astype(np.float32),
        distinct.astype(np.float32),
        uneven.astype(np.float32),
        shown.astype(np.float32),
    )


def phase_of(double: NDArray[np.complex128], quadruple: NDArray[np.complex128]) -> NDArray:
    """Phase [deg] in [0, 180) from the directions of exp(2 i phi) and exp(4 i phi)."""
    phase = np.angle(quadruple) / 4.0
    other = np.cos(2.0 * phase - np.angle(double)) < 0.0
    return np.asarray(np.rad2deg(np.mod(phase + np.where(other, np.pi / 2.0, 0.0), np.pi)))


def decode(
    kind: NDArray[np.integer],
    coordinate: NDArray[np.floating],
    log2_axis_ratio: NDArray[np.floating],
    phase_deg: NDArray[np.floating],
) -> ShapeParameters:
    """Parameters from what the network says within a kind; the inverse of `encode`."""
    low, high = np.log2(AXIS_RATIO_RANGE)
    ratio = 2.0 ** np.clip(np.asarray(log2_axis_ratio, np.float64), low, high)
    order = (np.asarray(kind) // 2 + 1).astype(np.int32)
    return ShapeParameters(
        p_from_coordinate(coordinate), order, ratio, np.asarray(phase_deg, np.float64)
    )
