"""How good a shape network is: the paper's diagnostics as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarray.nanocrystal.shape.formula import (
    D_VALUES,
    SAME_SHAPE_JACCARD,
    ShapeParameters,
    canonical,
    distinctness,
    p_coordinate,
)
from nanoarray.nanocrystal.shape.render import drawn_jaccard, shape_parameters

#: A shape closer to a circle than this has no d or phase worth counting.
_ROUND = 0.06


def learning_curve(history: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Arrays over the epochs of `train.train_shapes`' history, for a figure.

    Returns
    -------
    dict
        `images_seen`, and for every loss `train_<name>` and `validation_<name>`; the root mean
        square errors are `p_rmse` (of (p - 2)/(p + 2)) and `axis_ratio_rmse` (of log2 L).
    """
    epochs = history["epochs"]
    curve = {"images_seen": np.array([line["images_seen"] for line in epochs], np.float64)}
    for part in ("train", "validation"):
        for name in epochs[0][part] if epochs else ():
            curve[f"{part}_{name}"] = np.array([line[part][name] for line in epochs], np.float64)
    return curve


def expected_d(d_probability: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Mean d of the probabilities (n, 6): continuous, as the paper's uncorrected prediction."""
    return np.asarray(np.asarray(d_probability, np.float64) @ np.array(D_VALUES, np.float64))


def quantiles_of_d(
    true_d: ArrayLike, predicted_d: ArrayLike, *, count: int = 101
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Q-Q plot of d: quantiles of the true and of the predicted values (NaN left out)."""
    levels = np.linspace(0.0, 1.0, count)
    true = np.quantile(np.asarray(true_d, np.float64), levels)
    return true, np.nanquantile(np.asarray(predicted_d, np.float64), levels)


def phase_error_deg(truth: ShapeParameters, predicted: ShapeParameters) -> NDArray[np.float64]:
    """Turn of the crystal between two phases of one d [deg], from 0 to 180 / d.

    Where L = 1 in either, the curve repeats after half its period and so does the error. NaN where
    d differs.
    """
    period = np.where((truth.axis_ratio == 1.0) | (predicted.axis_ratio == 1.0), 90.0, 180.0)
    apart = np.mod(predicted.phase_deg - truth.phase_deg, period)
    turn = np.minimum(apart, period - apart) * 2.0 / np.maximum(truth.d, 1)
    return np.where(predicted.d == truth.d, turn, np.nan)


def error_by_parameter(
    parameter: ArrayLike, error: ArrayLike, *, edges: ArrayLike
) -> dict[str, NDArray[np.float64]]:
    """Root mean square and median absolute error in bins of a true parameter.

    Returns
    -------
    dict
        `low`, `high`, `count`, `rmse`, `median` per bin; NaN errors are left out, an empty bin is
        NaN.
    """
    values, errors = np.asarray(parameter, np.float64), np.asarray(error, np.float64)
    bounds = np.asarray(edges, np.float64)
    known = np.isfinite(errors)
    where = np.digitize(values, bounds) - 1
    rmse, median = np.full((2, bounds.size - 1), np.nan)
    count = np.zeros(bounds.size - 1)
    for k in range(bounds.size - 1):
        chosen = errors[known & (where == k)]
        count[k] = chosen.size
        if chosen.size:
            rmse[k], median[k] = np.sqrt(np.mean(chosen**2)), np.median(np.abs(chosen))
    return {"low": bounds[:-1], "high": bounds[1:], "count": count, "rmse": rmse, "median": median}


def parameter_errors(
    truth: ShapeParameters, predicted: Mapping[str, ArrayLike] | ShapeParameters
) -> dict[str, float]:
    """Errors of every parameter over a test set; both sides are made canonical.

    Returns
    -------
    dict
        `d_accuracy` of the shapes that are not nearly round, and `d_or_same_shape`, counting
        another d as right where the drawn shapes overlap by `formula.SAME_SHAPE_JACCARD` or more;
        of the shapes with the right d `p_coordinate_rmse`, `p_relative_median` (|p' - p| / p),
        `log2_axis_ratio_rmse`, `axis_ratio_median` (absolute), `turn_median_deg`,
        `turn_within_5_deg` (share); `shape_jaccard`, mean overlap of true and predicted shapes, and
        `unknown`, the number of shapes without a prediction.
    """
    true, found = canonical(*truth), canonical(*shape_parameters(predicted))
    known = found.d > 0
    true, found = true.rows(known), found.rows(known)
    overlap = drawn_jaccard(true, found)
    distinct = distinctness(true.p, true.axis_ratio) > _ROUND
    right = found.d == true.d
    same = right | (overlap >= SAME_SHAPE_JACCARD)
    both = right & distinct
    coordinate = (p_coordinate(found.p) - p_coordinate(true.p))[right]
    ratio = (np.log2(found.axis_ratio) - np.log2(true.axis_ratio))[right]
    turn = phase_error_deg(true, found)[both]
    return {
        "d_accuracy": float(np.mean(right[distinct])),
        "d_or_same_shape": float(np.mean(same[distinct])),
        "p_coordinate_rmse": float(np.sqrt(np.mean(coordinate**2))),
        "p_relative_median": float(np.median((np.abs(found.p - true.p) / true.p)[right])),
        "log2_axis_ratio_rmse": float(np.sqrt(np.mean(ratio**2))),
        "axis_ratio_median": float(np.median(np.abs(found.axis_ratio - true.axis_ratio)[right])),
        "turn_median_deg": float(np.median(turn)),
        "turn_within_5_deg": float(np.mean(turn <= 5.0)),
        "shape_jaccard": float(np.mean(overlap)),
        "unknown": float(np.sum(~known)),
    }


def d_confusion(
    truth: ShapeParameters, predicted: Mapping[str, ArrayLike] | ShapeParameters
) -> NDArray[np.int64]:
    """(6, 6) counts: row the true d, column the predicted; nearly round shapes left out."""
    true, found = canonical(*truth), shape_parameters(predicted)
    counted = (distinctness(true.p, true.axis_ratio) > _ROUND) & (found.d > 0)
    table = np.zeros((len(D_VALUES), len(D_VALUES)), np.int64)
    np.add.at(table, (true.d[counted] - 1, found.d[counted] - 1), 1)
    return table
