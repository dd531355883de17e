"""Shapes of crystals predicted by the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.formula import (
    D_VALUES,
    ShapeParameters,
    canonical,
    curve_jaccard,
)
from nanoarray.nanocrystal.shape.polar import polar_masks
from nanoarray.nanocrystal.shape.refine import checked_masks, jaccard, refine_shapes
from nanoarray.nanocrystal.shape.targets import decode, phase_of

__all__ = ["Candidates", "fit_shapes", "predict_candidates", "predict_shapes"]

#: Kinds whose shapes are drawn and compared with the mask.
_RANKS = 3
#: Place of each d (0: unknown) in the order in which shapes of several descriptions are described.
_PREFERRED_D = np.array([9, 1, 0, 2, 3, 4, 5])
#: Two kinds draw the same shape of a crystal where their overlaps with it differ by no more than
#: this, and their curves cover each other by this much.
_SAME_OVERLAP = 0.02
_SAME_CURVE = 0.955
#: How much a higher Jaccard index counts against a lower probability: a kind that is ten times
#: less likely has to cover the mask better by 0.046. Without it d is right less often (93 % of
#: simulated crops for 97 %), because a wrong shape fits the errors of an edge as well.
_TRUST = 0.02
#: A fit below this Jaccard index is tried again from the other kinds.
_GOOD_FIT = 0.96


class Candidates(NamedTuple):
    """Likeliest shapes of n masks, best first."""

    #: One `ShapeParameters` of length n per rank.
    shapes: list[ShapeParameters]
    #: (n, ranks) probability of the shape's kind.
    probability: NDArray[np.float64]
    #: (n, 6) probability of d = 1 ... 6; NaN where the mask is empty.
    d_probability: NDArray[np.float64]


def predict_candidates(
    crop_masks: NDArray[np.bool_],
    *,
    count: int = 3,
    weights: str | Path | None = None,
    batch: int = 1024,
) -> Candidates:
    """What the network says, without looking at what its shapes draw.

    Parameters
    ----------
    crop_masks
        (n, height, width) True in the crystal, of any square size.
    count
        Ranks to return: the likeliest kind (d, p below or above 2), the second, ...
    weights
        A file of `nanoarray train shapes`; by default the weights of the package.
    batch
        Crops per call of the network.

    Raises
    ------
    InputError
        If the masks are not (n, height, width), the batch is below 1 or the weights cannot be used.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}: it must be at least 1")
    masks = checked_masks(crop_masks)
    import torch

    from nanoarray.nanocrystal.shape.net_weights import load_network

    net = load_network(weights)
    total = masks.shape[0]
    values = np.full((total, count, 3), np.nan)
    kinds = np.zeros((total, count), np.int64)
    probability = np.full((total, count), np.nan)
    d_probability = np.full((total, len(D_VALUES)), np.nan)
    for first in range(0, total, batch):
        part = slice(first, min(first + batch, total))
        polar, known = polar_masks(masks[part])
        with torch.inference_mode():
            found = net(torch.from_numpy(polar).float() / 255.0)
            shares = torch.softmax(found.kind_logits, 1)
            top, order = torch.topk(shares, count, dim=1)

        def pick(value: Any, order: Any = order) -> NDArray[np.float64]:
            return np.asarray(torch.gather(value, 1, order).numpy(), np.float64)

        phase = phase_of(
            pick(found.double_phase[..., 0]) + 1j * pick(found.double_phase[..., 1]),
            pick(found.quadruple_phase[..., 0]) + 1j * pick(found.quadruple_phase[..., 1]),
        )
        answer = np.stack((pick(found.p_coordinate), pick(found.log2_axis_ratio), phase), axis=2)
        values[part] = np.where(known[:, None, None], answer, np.nan)
        kinds[part] = order.numpy()
        probability[part] = np.where(known[:, None], top.numpy(), np.nan)
        by_d = shares.view(-1, len(D_VALUES), 2).sum(2).numpy()
        d_probability[part] = np.where(known[:, None], by_d, np.nan)
    shapes = []
    for rank in range(count):
        raw = decode(kinds[:, rank], *values[:, rank].T)
        shapes.append(canonical(*raw))
    return Candidates(shapes, probability, d_probability)


def predict_shapes(
    crop_masks: NDArray[np.bool_], *, weights: str | Path | None = None, batch: int = 1024
) -> dict[str, NDArray[Any]]:
    """Shapes of crystals, from the masks of their crops.

    The network names its three likeliest kinds with a shape for each; the shape kept is the
    likeliest, unless a less likely one covers the mask better by enough (0.02 per factor e).

    Parameters
    ----------
    crop_masks
        (n, height, width) True in the crystal. Position, size and margin in the crop do not matter.
    weights
        A file of `nanoarray train shapes`; by default the weights of the package.
    batch
        Crops per call of the network.

    Returns
    -------
    dict
        `p`, `d` (int), `axis_ratio` (at least 1), `phase` [deg], in canonical form (see
        `nanoarray.nanocrystal.shape.formula`); `d_probability` (n, 6) of d = 1 ... 6; `jaccard` of
        the mask and the shape drawn with its centroid and area. An empty mask has NaN, d = -1.

    Raises
    ------
    InputError
        If the masks are not (n, height, width), the batch is below 1 or the weights cannot be used.
    """
    found = predict_candidates(crop_masks, count=_RANKS, weights=weights, batch=batch)
    return _best_drawn(checked_masks(crop_masks), found)[0]


def fit_shapes(
    crop_masks: NDArray[np.bool_], *, weights: str | Path | None = None, batch: int = 1024
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Predict shapes, then refine them by greatest overlap with the masks.

    The fit starts from the prediction and, where it covers the mask poorly, from the network's
    other kinds too.

    Parameters
    ----------
    crop_masks, weights, batch
        As for `predict_shapes`.

    Returns
    -------
    (predicted, refined)
        What `predict_shapes` and `refine.refine_shapes` return.
    """
    masks = checked_masks(crop_masks)
    found = predict_candidates(masks, count=_RANKS, weights=weights, batch=batch)
    predicted, chosen = _best_drawn(masks, found)
    refined = refine_shapes(masks, predicted)
    prior = _TRUST * np.log(np.maximum(found.probability, 1e-12))
    score = refined["jaccard"] + prior[np.arange(masks.shape[0]), chosen]
    for rank, shapes in enumerate(found.shapes):
        tried = np.flatnonzero((refined["jaccard"] < _GOOD_FIT) & (chosen != rank))
        other = refine_shapes(masks[tried], shapes.rows(tried))
        found_score = other["jaccard"] + prior[tried, rank]
        better = found_score > score[tried]
        score[tried[better]] = found_score[better]
        for name, values in refined.items():
            values[tried[better]] = other[name][better]
    return predicted, refined


def _rows(shapes: ShapeParameters, rows: NDArray[np.intp]) -> ShapeParameters:
    return ShapeParameters(
        shapes.p[rows], shapes.d[rows], shapes.axis_ratio[rows], shapes.phase_deg[rows]
    )


def _simplest(
    shapes: Sequence[ShapeParameters], overlap: NDArray[np.float64], chosen: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Of kinds that draw the same shape, the one that comes first in `_PREFERRED_D`.

    A square with rounded corners is a curve of two axes with a large p, and nearly the same one of
    four axes with a p below 2. Left to chance, one population would come out as two.
    """
    order = np.column_stack([_PREFERRED_D[np.maximum(s.d, 0)] for s in shapes])
    rows = np.arange(chosen.size)
    best = chosen.copy()
    picked = ShapeParameters(
        np.column_stack([s.p for s in shapes])[rows, chosen],
        np.column_stack([s.d for s in shapes])[rows, chosen],
        np.column_stack([s.axis_ratio for s in shapes])[rows, chosen],
        np.column_stack([s.phase_deg for s in shapes])[rows, chosen],
    )
    for rank, other in enumerate(shapes):
        simpler = order[rows, rank] < order[rows, best]
        near = overlap[rows, rank] >= overlap[rows, chosen] - _SAME_OVERLAP
        tried = np.flatnonzero(simpler & near)
        same = curve_jaccard(_rows(picked, tried), _rows(other, tried), angle_count=360)
        best[tried[same >= _SAME_CURVE]] = rank
    return best


def _best_drawn(
    masks: NDArray[np.bool_], found: Candidates
) -> tuple[dict[str, NDArray[Any]], NDArray[np.intp]]:
    """The shape of every mask by probability and overlap together, and its rank."""
    overlap = np.column_stack([jaccard(masks, shapes) for shapes in found.shapes])
    score = overlap + _TRUST * np.log(np.maximum(found.probability, 1e-12))
    chosen = np.argmax(np.where(np.isnan(score), -np.inf, score), axis=1)
    chosen = _simplest(found.shapes, overlap, chosen)
    rows = np.arange(masks.shape[0])

    def pick(field: str) -> NDArray[Any]:
        return np.column_stack([getattr(shapes, field) for shapes in found.shapes])[rows, chosen]

    best = {
        "p": pick("p"),
        "d": pick("d"),
        "axis_ratio": pick("axis_ratio"),
        "phase": pick("phase_deg"),
        "d_probability": found.d_probability,
        "jaccard": overlap[rows, chosen],
    }
    return best, chosen
