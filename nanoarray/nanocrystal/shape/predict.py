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
)
from nanoarray.nanocrystal.shape.polar import polar_masks
from nanoarray.nanocrystal.shape.refine import checked_masks, jaccard, refine_shapes
from nanoarray.nanocrystal.shape.render import drawn_jaccard
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
#: A curve of other than two axes is called an ellipse where, at its best, it covers the crystal by
#: no more than this better than the ellipse of equal moments, and covers that by so much.
_ELLIPSE_OVERLAP = 0.01
_ELLIPSE_CURVE = 0.90
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
    predicted, chosen, plain = _best_drawn(masks, found)
    refined = refine_shapes(masks, predicted)
    prior = _TRUST * np.log(np.maximum(found.probability, 1e-12))
    score = refined["jaccard"] + prior[np.arange(masks.shape[0]), chosen]
    score[plain] += _SAME_OVERLAP  # as when it was preferred
    for rank, shapes in enumerate(found.shapes):
        tried = np.flatnonzero((refined["jaccard"] < _GOOD_FIT) & (chosen != rank))
        other = refine_shapes(masks[tried], shapes.rows(tried))
        found_score = other["jaccard"] + prior[tried, rank]
        better = found_score > score[tried]
        score[tried[better]] = found_score[better]
        for name, values in refined.items():
            values[tried[better]] = other[name][better]
    return predicted, refined


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
    picked = _pick(shapes, chosen)
    for rank, other in enumerate(shapes):
        simpler = order[rows, rank] < order[rows, best]
        near = overlap[rows, rank] >= overlap[rows, chosen] - _SAME_OVERLAP
        tried = np.flatnonzero(simpler & near)
        same = drawn_jaccard(picked.rows(tried), other.rows(tried)) >= _SAME_CURVE
        best[tried[same]] = rank
    return best


def _pick(shapes: Sequence[ShapeParameters], chosen: NDArray[np.intp]) -> ShapeParameters:
    """Of every row the shape of its rank."""
    rows = np.arange(chosen.size)
    p, d, axis_ratio, phase = (
        np.column_stack(parts)[rows, chosen] for parts in zip(*shapes, strict=True)
    )
    return ShapeParameters(p, d, axis_ratio, phase)


def _ellipses(masks: NDArray[np.bool_]) -> ShapeParameters:
    """Ellipses with the second moments of masks that hold pixels."""
    y, x = (np.arange(size, dtype=np.float64) for size in masks.shape[1:])
    by_y, by_x = masks.sum(axis=2, dtype=np.float64), masks.sum(axis=1, dtype=np.float64)
    area = by_y.sum(axis=1)
    mean_y, mean_x = by_y @ y / area, by_x @ x / area
    yy, xx = by_y @ y**2 / area - mean_y**2, by_x @ x**2 / area - mean_x**2
    # Of one row after another: all at once would be a copy of the masks in floating point.
    xy = np.array([y @ mask @ x for mask in masks]) / area - mean_y * mean_x
    spread, mean = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2 + 1 / 12  # a pixel is a square
    ratio = np.sqrt((mean + spread) / (mean - spread))
    # Of the long axis, counter-clockwise with y down; at a phase of 0 the curve is longest along y.
    direction = 0.5 * np.arctan2(-2 * xy, xx - yy)
    two = np.full(area.size, 2)
    return canonical(two.astype(np.float64), two, ratio, 90.0 - np.rad2deg(direction))


def _plain_ellipses(
    masks: NDArray[np.bool_], picked: ShapeParameters, overlap: NDArray[np.float64]
) -> tuple[ShapeParameters, NDArray[np.float64], NDArray[np.bool_]]:
    """Call an ellipse what the network's curve, at its best, hardly covers better.

    A slightly egg-shaped curve of one axis, or a rounded hexagon, passes for a circle of a few
    pixels, and the network may name neither kind of two axes. Half of the spheres of one
    population would be eggs.

    Returns the shapes, their overlaps, and which are such ellipses.
    """
    tried = np.flatnonzero((picked.d > 0) & (picked.d != 2))
    tried = tried[overlap[tried] > 0]
    ellipses = _ellipses(masks[tried])
    covered = jaccard(masks[tried], ellipses)
    same = covered >= overlap[tried] - _ELLIPSE_OVERLAP
    same[same] = drawn_jaccard(picked.rows(tried[same]), ellipses.rows(same)) >= _ELLIPSE_CURVE
    best = refine_shapes(masks[tried[same]], picked.rows(tried[same]))["jaccard"]
    same[same] = covered[same] >= best - _ELLIPSE_OVERLAP
    plain = np.zeros(overlap.size, bool)
    plain[tried[same]] = True
    p, d = picked.p.copy(), picked.d.copy()
    axis_ratio, phase = picked.axis_ratio.copy(), picked.phase_deg.copy()
    p[plain], d[plain], axis_ratio[plain], phase[plain] = ellipses.rows(same)
    overlap = overlap.copy()
    overlap[plain] = covered[same]
    return ShapeParameters(p, d, axis_ratio, phase), overlap, plain


def _best_drawn(
    masks: NDArray[np.bool_], found: Candidates
) -> tuple[dict[str, NDArray[Any]], NDArray[np.intp], NDArray[np.bool_]]:
    """The shape of every mask by probability and overlap, its rank, and whether it is an ellipse.

    The rank of an ellipse is that of the kind that it replaces.
    """
    overlap = np.column_stack([jaccard(masks, shapes) for shapes in found.shapes])
    score = overlap + _TRUST * np.log(np.maximum(found.probability, 1e-12))
    chosen = np.argmax(np.where(np.isnan(score), -np.inf, score), axis=1)
    chosen = _simplest(found.shapes, overlap, chosen)
    covered = overlap[np.arange(masks.shape[0]), chosen]
    picked, covered, plain = _plain_ellipses(masks, _pick(found.shapes, chosen), covered)
    best: dict[str, NDArray[Any]] = {
        "p": picked.p,
        "d": picked.d,
        "axis_ratio": picked.axis_ratio,
        "phase": picked.phase_deg,
        "d_probability": found.d_probability,
        "jaccard": covered,
    }
    return best, chosen, plain
