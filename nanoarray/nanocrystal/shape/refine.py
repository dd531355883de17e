"""Re-simulation: how well shapes cover the masks they were predicted from, and a fit of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.fit_kernels import fit_masks
from nanoarray.nanocrystal.shape.formula import (
    AXIS_RATIO_RANGE,
    ShapeParameters,
    canonical,
    p_coordinate,
    p_from_coordinate,
)
from nanoarray.nanocrystal.shape.render import shape_parameters

#: Damped least-squares steps at most; most fits stop after four to eight.
_ITERATIONS = 14


def place_shapes(
    crop_masks: NDArray[np.bool_], parameters: Mapping[str, ArrayLike] | ShapeParameters
) -> dict[str, NDArray[Any]]:
    """Lay shapes over masks: same centroid and same area, as drawn in pixels.

    Parameters
    ----------
    crop_masks
        (n, height, width) True in the crystal.
    parameters
        n shapes.

    Returns
    -------
    dict
        `jaccard` (n), `centroid_y_px`, `centroid_x_px`, `equivalent_radius_px` of the placed shape
        [crop px]; NaN where the mask is empty or the shape unknown.
    """
    shapes = shape_parameters(parameters)
    masks = checked_masks(crop_masks, shapes.p.shape[0])
    states, scores, _chosen = run_fit(masks, _starts(shapes), shapes.d[:, None], iterations=0)
    return {"jaccard": scores[:, 0], **_placing(states)}


def jaccard(
    crop_masks: NDArray[np.bool_], parameters: Mapping[str, ArrayLike] | ShapeParameters
) -> NDArray[np.float64]:
    """Jaccard index of masks and of the shapes drawn with their centroid and area.

    Both as pixels of the crop: a drawn pixel is one covered by at least a half.

    Returns
    -------
    ndarray, (n,)
        Between 0 and 1; NaN where the mask is empty or the shape unknown.
    """
    return place_shapes(crop_masks, parameters)["jaccard"]


def refine_shapes(
    crop_masks: NDArray[np.bool_],
    parameters: Mapping[str, ArrayLike] | ShapeParameters,
    *,
    alternatives: list[ShapeParameters] | None = None,
    iterations: int = _ITERATIONS,
) -> dict[str, NDArray[Any]]:
    """Fit shapes to masks by greatest overlap, from a prediction.

    p, L, phase, place and size move by damped least squares between the drawn coverage and the
    mask; d stays that of the start. Never worse than the start.

    Parameters
    ----------
    crop_masks
        (n, height, width) True in the crystal.
    parameters
        Where to start: what `predict.predict_shapes` returned.
    alternatives
        Further starts for every mask, for example with another d; the best fit is kept.
    iterations
        Steps at most per start.

    Returns
    -------
    dict
        `p`, `d`, `axis_ratio`, `phase` [deg] in canonical form, `jaccard` of the fit, and where it
        lies: `centroid_y_px`, `centroid_x_px`, `equivalent_radius_px` [crop px]. NaN (d: -1) where
        the mask is empty or the start unknown.
    """
    candidates = [shape_parameters(parameters), *(alternatives or [])]
    masks = checked_masks(crop_masks, candidates[0].p.shape[0])
    starts = np.concatenate([_starts(shapes) for shapes in candidates], axis=1)
    orders = np.column_stack([shapes.d for shapes in candidates])
    states, scores, chosen = run_fit(masks, starts, orders, iterations=iterations)
    return fitted_shapes(states, scores, chosen, orders)


def run_fit(
    masks: NDArray[np.bool_],
    starts: NDArray[np.float64],
    orders: NDArray[np.int32],
    *,
    iterations: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """`fit_kernels.fit_masks` on fresh arrays: states (n, 6), scores (n, candidates), chosen."""
    count, candidates = orders.shape
    states, scores = np.empty((count, 6)), np.empty((count, candidates))
    chosen = np.empty(count, np.int64)
    fit_masks(masks, starts, np.ascontiguousarray(orders), iterations, states, scores, chosen)
    return states, scores, chosen


def fitted_shapes(
    states: NDArray[np.float64],
    scores: NDArray[np.float64],
    chosen: NDArray[np.int64],
    orders: NDArray[np.int32],
) -> dict[str, NDArray[Any]]:
    """What `refine_shapes` returns, from the best states of `run_fit`."""
    rows, best = np.arange(chosen.size), np.maximum(chosen, 0)
    d = np.where(chosen >= 0, orders[rows, best], -1)
    ratio = 2.0 ** states[:, 4]
    shapes = canonical(p_from_coordinate(states[:, 3]), d, ratio, np.rad2deg(states[:, 5]))
    return {
        "p": shapes.p,
        "d": shapes.d,
        "axis_ratio": shapes.axis_ratio,
        "phase": shapes.phase_deg,
        "jaccard": np.where(chosen >= 0, scores[rows, best], np.nan),
        **_placing(states),
    }


def checked_masks(crop_masks: NDArray[np.bool_], count: int | None = None) -> NDArray[np.bool_]:
    """Masks as a contiguous (n, height, width) array of booleans.

    Raises
    ------
    InputError
        If they are not three-dimensional, or not as many as there are shapes.
    """
    masks = np.ascontiguousarray(crop_masks, np.bool_)
    if masks.ndim != 3 or 0 in masks.shape[1:]:
        raise InputError(f"crop masks of shape {masks.shape}: (crystal, crop_y, crop_x) is needed")
    if count is not None and masks.shape[0] != count:
        raise InputError(f"{masks.shape[0]} crop masks and {count} shapes: one of each is needed")
    return masks


def _starts(shapes: ShapeParameters) -> NDArray[np.float64]:
    ratio = np.clip(shapes.axis_ratio, *AXIS_RATIO_RANGE)
    columns = (p_coordinate(shapes.p), np.log2(ratio), np.deg2rad(shapes.phase_deg))
    return np.ascontiguousarray(np.column_stack(columns)[:, None, :])


def _placing(states: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    return {
        "centroid_y_px": states[:, 0],
        "centroid_x_px": states[:, 1],
        "equivalent_radius_px": np.exp(states[:, 2]),
    }
