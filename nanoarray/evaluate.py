"""Scores of a grain map against a known truth.

Label images hold integer ids; 0 is no grain. Truth maps are per pixel; maps on the tile grid are
brought to pixels with `tiles_to_pixels`. Angles are in degrees, counter-clockwise from +x.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.superlattice.grains.misorientation import (
    merge_small_misorientation,
    misorientation_deg,
    neighbour_pairs,
)

__all__ = [
    "adjusted_rand",
    "boundary_distance",
    "evaluate_grain_map",
    "match_grains",
    "merge_small_misorientation",
    "misorientation_deg",
    "neighbour_pairs",
    "orientation_error_deg",
    "tiles_to_pixels",
]

Labels = NDArray[np.integer]


def tiles_to_pixels(tile_map: NDArray, *, stride_px: int, height_px: int, width_px: int) -> NDArray:
    """Bring a map on the full-coverage tile grid to pixels.

    Every tile owns the ``stride_px`` x ``stride_px`` cell around its centre; the cells partition
    the field; the last ones are clipped by it or take the remainder (less than half a stride).

    Parameters
    ----------
    tile_map
        Map ``(tile_y, tile_x)`` of any type.
    stride_px
        Distance of tile centres.
    height_px, width_px
        Size of the field.

    Returns
    -------
    ndarray
        ``(height_px, width_px)``, type of the map.

    Raises
    ------
    InputError
        If the cells do not reach the edges of the field.
    """
    rows, columns = tile_map.shape
    # The grid drops a last tile whose centre is beyond the edge: its neighbour takes the remainder.
    if min(rows * stride_px - height_px, columns * stride_px - width_px) < -(stride_px + 1) // 2:
        raise InputError(
            f"{rows} x {columns} cells of {stride_px} px do not cover {height_px} x {width_px} px: "
            "pass a map on the full-coverage grid and its own stride"
        )
    y = np.minimum(np.arange(height_px) // stride_px, rows - 1)
    x = np.minimum(np.arange(width_px) // stride_px, columns - 1)
    return tile_map[np.ix_(y, x)]


def _contingency(truth: Labels, found: Labels) -> NDArray[np.int64]:
    """Counts of pixels by (truth, found) label."""
    rows, columns = int(truth.max(initial=0)) + 1, int(found.max(initial=0)) + 1
    joint = truth.astype(np.int64).ravel() * columns + found.astype(np.int64).ravel()
    return np.bincount(joint, minlength=rows * columns).reshape(rows, columns)


def adjusted_rand(truth: Labels, found: Labels, *, mask: NDArray[np.bool_] | None = None) -> float:
    """Adjusted Rand index of two partitions of the pixels.

    Pixels without a true grain are left out. Pixels that the found map leaves out (label 0) are
    **not** left out: they count as one group of their own, so leaving pixels out never pays.

    Parameters
    ----------
    truth, found
        Labels of one shape.
    mask
        True where pixels count; everywhere by default.

    Returns
    -------
    float
        1 for equal partitions, about 0 for independent ones (Hubert and Arabie 1985).
    """
    _same_shape(truth, found)
    use = truth > 0
    if mask is not None:
        use &= mask
    table = _contingency(truth[use], found[use]).astype(np.float64)
    total = table.sum()
    if total < 2:
        return float("nan")
    pairs = (table * (table - 1)).sum() / 2
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    row_pairs = (rows * (rows - 1)).sum() / 2
    column_pairs = (columns * (columns - 1)).sum() / 2
    expected = row_pairs * column_pairs / (total * (total - 1) / 2)
    highest = (row_pairs + column_pairs) / 2
    if highest == expected:
        return 1.0
    return float((pairs - expected) / (highest - expected))


def match_grains(
    truth: Labels, found: Labels, *, min_area_px: float = 2000, iou: float = 0.5
) -> dict[str, NDArray]:
    """Match true grains to found ones by intersection over union.

    Above an IoU of 0.5 a grain has at most one partner, so no assignment problem arises.

    Parameters
    ----------
    truth, found
        Labels of one shape. Pixels with truth 0 (pores) are ignored.
    min_area_px
        True grains smaller than this are left out.
    iou
        Intersection over union from which on a grain counts as recovered; at least 0.5.

    Returns
    -------
    dict
        ``truth_label``, ``found_label`` (0 if not recovered), ``iou``, ``truth_area_px``,
        ``found_area_px``, one entry per true grain of at least ``min_area_px``.
    """
    _same_shape(truth, found)
    if not 0.5 <= iou <= 1:
        raise InputError(f"iou is {iou}: it must be between 0.5 and 1")
    inside = truth > 0
    table = _contingency(truth[inside], found[inside])
    truth_area = table.sum(axis=1)
    found_area = table.sum(axis=0)
    labels = np.flatnonzero(truth_area >= max(min_area_px, 1))
    labels = labels[labels > 0]
    if table.shape[1] < 2 or labels.size == 0:
        none = np.zeros(labels.size)
        return {
            "truth_label": labels,
            "found_label": none.astype(np.int64),
            "iou": none,
            "truth_area_px": truth_area[labels],
            "found_area_px": none.astype(np.int64),
        }
    overlap = table[labels, 1:]
    union = truth_area[labels, None] + found_area[None, 1:] - overlap
    score = overlap / np.maximum(union, 1)
    best = score.argmax(axis=1)
    best_iou = score[np.arange(labels.size), best]
    partner = np.where(best_iou >= iou, best + 1, 0)
    return {
        "truth_label": labels,
        "found_label": partner,
        "iou": best_iou,
        "truth_area_px": truth_area[labels],
        "found_area_px": np.where(partner > 0, found_area[partner], 0),
    }


def orientation_error_deg(
    truth_orientation_deg: NDArray[np.floating],
    found_orientation_deg: NDArray[np.floating],
    *,
    symmetry: int,
) -> NDArray[np.float64]:
    """Misorientation of found and true orientations where both are known.

    Parameters
    ----------
    truth_orientation_deg, found_orientation_deg
        Orientations of one shape, NaN where unknown.
    symmetry
        Symmetry of the true lattice.

    Returns
    -------
    ndarray
        One-dimensional, the entries where neither is NaN [deg].
    """
    _same_shape(truth_orientation_deg, found_orientation_deg)
    error = misorientation_deg(truth_orientation_deg, found_orientation_deg, symmetry=symmetry)
    return error[np.isfinite(error)]


def boundary_distance(truth: Labels, found: Labels) -> float:
    """Mean distance between the grain boundaries of two maps, both ways [px].

    Every boundary pixel of one map contributes its distance to the nearest boundary pixel of the
    other. Boundaries against label 0 do not count.

    Parameters
    ----------
    truth, found
        Labels of one shape.

    Returns
    -------
    float
        Mean of the two directed means; NaN if one map has no boundary.
    """
    _same_shape(truth, found)
    edges = [_boundary(truth), _boundary(found)]
    if not (edges[0].any() and edges[1].any()):
        return float("nan")
    there = ndimage.distance_transform_edt(~edges[1])[edges[0]].mean()
    back = ndimage.distance_transform_edt(~edges[0])[edges[1]].mean()
    return float((there + back) / 2)


def _boundary(grain: Labels) -> NDArray[np.bool_]:
    edge = np.zeros(grain.shape, bool)
    right = (grain[:, :-1] != grain[:, 1:]) & (grain[:, :-1] > 0) & (grain[:, 1:] > 0)
    below = (grain[:-1] != grain[1:]) & (grain[:-1] > 0) & (grain[1:] > 0)
    edge[:, :-1] |= right
    edge[:-1] |= below
    return edge


def evaluate_grain_map(
    *,
    truth_grain: Labels,
    truth_orientation_deg: ArrayLike,
    truth_symmetry: int,
    grain: Labels,
    orientation_deg: NDArray[np.floating],
    symmetry: int,
    stride_px: int,
    truth_merge_orientation_deg: ArrayLike | None = None,
    truth_merge_symmetry: int | None = None,
    merge_below_deg: float = 4.0,
    min_area_px: float = 2000,
    iou: float = 0.5,
) -> dict[str, float]:
    """Score a grain map on the tile grid against the truth on pixels.

    Parameters
    ----------
    truth_grain
        True labels ``(height, width)``, 0 inside pores.
    truth_orientation_deg, truth_symmetry
        Orientation of true grains 1..n, or of every pixel, as seen in the image, and its symmetry.
    grain, orientation_deg, symmetry
        Found labels and orientations ``(tile_y, tile_x)`` on the full-coverage grid, and the
        symmetry found: orientations are compared modulo the smaller period of the two.
    stride_px
        Distance of tile centres; 1 for a found map on pixels.
    truth_merge_orientation_deg, truth_merge_symmetry
        Orientations that decide which true neighbours count as one (in the plane of a tilted
        sample); the seen ones by default.
    merge_below_deg
        True neighbours less than this apart count as one.
    min_area_px, iou
        See `match_grains`.

    Returns
    -------
    dict
        ``adjusted_rand``; ``covered_adjusted_rand`` (of the pixels that have a grain);
        ``recovered`` (fraction of true grains of at least ``min_area_px``);
        ``grain_count`` and ``truth_count`` of that size; ``area_ratio`` (mean area of found over
        mean area of true grains, both of that size); ``all_area_ratio`` (the same of all grains);
        ``matched_area_ratio`` (mean of found over true area of recovered grains);
        ``orientation_error_deg`` (median over pixels), ``grain_orientation_error_deg`` (median
        over recovered grains), ``boundary_distance_px``, ``coverage`` (part of the area of true
        grains that has a grain), ``left_out`` (part of the area of no true grain that has none;
        NaN where there is no such area).
    """
    height, width = truth_grain.shape
    size = {"stride_px": stride_px, "height_px": height, "width_px": width}
    everywhere = tiles_to_pixels(grain, **size)
    found = np.where(truth_grain > 0, everywhere, 0)
    true_angle = np.asarray(truth_orientation_deg, float)
    merge_angle = true_angle
    if truth_merge_orientation_deg is not None:
        merge_angle = np.asarray(truth_merge_orientation_deg, float)
    truth = merge_small_misorientation(
        truth_grain,
        merge_angle,
        symmetry=truth_merge_symmetry or truth_symmetry,
        threshold_deg=merge_below_deg,
    )
    if true_angle.ndim == 1:
        true_angle = np.concatenate([[np.nan], true_angle])[truth_grain]
    angle = np.where(found > 0, tiles_to_pixels(orientation_deg, **size), np.nan)
    error = misorientation_deg(true_angle, angle, symmetry=max(truth_symmetry, symmetry))
    match = match_grains(truth, found, min_area_px=min_area_px, iou=iou)
    return {
        "adjusted_rand": adjusted_rand(truth, found),
        "covered_adjusted_rand": adjusted_rand(truth, found, mask=found > 0),
        "recovered": _mean(match["found_label"] > 0),
        **_area_scores(truth, found, match, min_area_px),
        **_orientation_scores(truth, found, match, error),
        "boundary_distance_px": boundary_distance(truth, found),
        "coverage": float((found > 0).sum() / max((truth > 0).sum(), 1)),
        "left_out": _mean(everywhere[truth_grain == 0] == 0),
    }


def _area_scores(
    truth: Labels, found: Labels, match: dict[str, NDArray], min_area_px: float
) -> dict[str, float]:
    areas = [np.bincount(labels.ravel())[1:] for labels in (truth, found)]
    truth_area, found_area = (a[a > 0] for a in areas)
    large, found_large = (a[a >= min_area_px] for a in (truth_area, found_area))
    recovered = match["found_label"] > 0
    return {
        "truth_count": float(large.size),
        "grain_count": float(found_large.size),
        "area_ratio": _mean(found_large) / _mean(large),
        "all_area_ratio": _mean(found_area) / _mean(truth_area),
        "matched_area_ratio": _mean(
            match["found_area_px"][recovered] / match["truth_area_px"][recovered]
        ),
    }


def _orientation_scores(
    truth: Labels, found: Labels, match: dict[str, NDArray], error: NDArray[np.float64]
) -> dict[str, float]:
    known = np.isfinite(error)
    medians = []
    for own, other in zip(match["truth_label"], match["found_label"], strict=True):
        common = (truth == own) & (found == other) & known
        if other > 0 and common.any():
            medians.append(np.median(error[common]))
    return {
        "orientation_error_deg": float(np.median(error[known])) if known.any() else float("nan"),
        "grain_orientation_error_deg": float(np.median(medians)) if medians else float("nan"),
    }


def _mean(values: NDArray) -> float:
    return float(np.mean(values)) if np.size(values) else float("nan")


def _same_shape(a: NDArray, b: NDArray) -> None:
    if a.shape != b.shape:
        raise InputError(f"the maps differ in shape: {a.shape} and {b.shape}")
