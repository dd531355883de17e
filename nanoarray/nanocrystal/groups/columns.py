"""Which columns of a table of crystals describe them, and how they are made comparable.

Lengths, areas and ratios enter by their logarithm: sizes spread in ratios (log-normal), and so a
crystal twice as large is as far away as one half as large. Then every column has mean 0 and
standard deviation 1, so units do not matter.

The number of axes d enters as one number, and a step of it is at most one standard deviation. As
six yes-or-no columns, or divided by a tiny deviation, it would outweigh p and the axis ratio, and a
value that is rare, often only a mistaken prediction, would be a group of its own.
A circle has no axes, and any d that a network gives it is chance: the less the radius varies, the
nearer d is moved to the middle of its scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError

Dataset = Literal["features", "shape parameters", "both"]
Floats = npt.NDArray[np.float64]
#: Columns by name, one value per crystal: a dictionary of arrays or a `pandas.DataFrame`.
Table = Mapping[str, Any]

#: The ten features that most studies share.
FEATURES: Final = (
    "area",
    "equivalent_diameter",
    "axis_major",
    "axis_minor",
    "aspect_ratio",
    "eccentricity",
    "circularity",
    "solidity",
    "extent",
    "perimeter",
)
#: Parameters of the simulated shape. The phase is left out: it only says how the crystal lies.
SHAPE_PARAMETERS: Final = ("p", "d", "axis_ratio")
DATASETS: Final[tuple[Dataset, ...]] = ("features", "shape parameters", "both")
#: Columns that enter by their logarithm.
LOGARITHMS: Final = frozenset(
    {
        "area",
        "equivalent_diameter",
        "axis_major",
        "axis_minor",
        "aspect_ratio",
        "perimeter",
        "p",
        "axis_ratio",
    }
)


#: Spread of the radius, in parts of its mean, from which d counts in full: half that of a square,
#: twice that of a circle whose predicted p and axis ratio are 10 % off.
_CLEAR_SPREAD: Final = 0.20
#: Middle of the numbers of axes 1 to 6.
_MIDDLE_D: Final = 3.5


@dataclass(frozen=True)
class Standardized:
    """Rows of numbers that methods can compare, and how they were made.

    Attributes
    ----------
    rows
        (m, c) standardized values of the crystals that have all of them, in an order that depends
        on the values alone.
    kept
        (m,) which row of the table each of them is.
    count
        Rows of the table.
    columns
        (c,) names.
    logarithm
        (c,) bool, whether the logarithm was taken first.
    mean, scale
        (c,) subtracted, then divided by.
    notes
        What was left out, in words.
    """

    rows: Floats
    kept: npt.NDArray[np.int64]
    count: int
    columns: tuple[str, ...]
    logarithm: npt.NDArray[np.bool_]
    mean: Floats
    scale: Floats
    notes: tuple[str, ...]


def dataset_columns(
    dataset: Dataset,
    *,
    features: Sequence[str] = FEATURES,
    shape_parameters: Sequence[str] = SHAPE_PARAMETERS,
) -> tuple[str, ...]:
    """Names of the columns of a dataset.

    Raises
    ------
    InputError
        No such dataset, or it has no columns.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset is {dataset!r}: expected one of {', '.join(DATASETS)}")
    chosen = {
        "features": (*features,),
        "shape parameters": (*shape_parameters,),
        "both": (*features, *shape_parameters),
    }[dataset]
    if not chosen:
        raise InputError(f"dataset {dataset!r} has no columns")
    return chosen


def read_columns(table: Table, columns: Sequence[str]) -> Floats:
    """Values of some columns of a table.

    Parameters
    ----------
    table
        Columns of equal length.
    columns
        Which, in this order.

    Returns
    -------
    values
        (n, c) float64 after logarithms; NaN where there is no finite value, or none whose
        logarithm exists.

    Raises
    ------
    InputError
        A column is not there, is not one number per crystal, or differs in length.
    """
    # Whether d is defined takes all three to say.
    needed = dict.fromkeys((*columns, *(SHAPE_PARAMETERS if "d" in columns else ())))
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(f"the table of crystals has no column {', '.join(missing)}")
    parts: dict[str, Floats] = {}
    for name in needed:
        try:
            part = np.asarray(table[name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"column {name} does not hold numbers: {error}") from error
        if part.ndim != 1 or any(part.shape != other.shape for other in parts.values()):
            raise InputError(f"column {name} has shape {part.shape}: expected a number per crystal")
        parts[name] = part
    if "d" in parts:
        weight = _axes_weight(parts["p"], parts["axis_ratio"])
        parts["d"] = _MIDDLE_D + weight * (parts["d"] - _MIDDLE_D)
    values = np.column_stack([parts[name] for name in columns])
    return _with_logarithms(values, _takes_logarithm(columns))


def standardize(table: Table, columns: Sequence[str]) -> Standardized:
    """Make columns comparable: logarithms, then mean 0 and standard deviation 1.

    Parameters
    ----------
    table
        Columns of equal length, one row per crystal.
    columns
        Which to use.

    Returns
    -------
    standardized
        Columns with one value only (unless all are such), or with none at all, are dropped and
        named in the notes. Rows without a value in any other column are left out and counted. Rows
        are sorted by value, so that nothing that follows depends on their order.
    """
    values = read_columns(table, columns)
    count = values.shape[0]
    names = np.array(columns)
    notes = []
    # A column without a single number would leave no row at all.
    known = np.atleast_1d(np.isfinite(values).any(axis=0))
    if not known.any():
        known = np.ones(names.size, dtype=bool)
    elif not known.all():
        notes.append(f"columns without any value dropped: {', '.join(names[~known])}")
    values, names = values[:, known], names[known]
    complete = np.isfinite(values).all(axis=1) if names.size else np.zeros(count, dtype=bool)
    kept = np.flatnonzero(complete)
    if kept.size < count:
        notes.append(f"{count - kept.size} of {count} crystals without all values left out")
    values = values[kept]
    varies = _varies(values)
    if varies.any() and not varies.all():
        notes.append(f"constant columns dropped: {', '.join(names[~varies])}")
        values, names, varies = values[:, varies], names[varies], varies[varies]
    elif kept.size > 1 and names.size and not varies.any():
        notes.append("all columns are constant")
    order = np.lexsort(values.T[::-1]) if names.size else np.arange(kept.size)
    values = values[order]
    mean = values.mean(axis=0) if kept.size else np.zeros(names.size)
    scale = np.where(varies, values.std(axis=0), 1.0) if kept.size else np.ones(names.size)
    scale = np.where(names == "d", np.maximum(scale, 1.0), scale)
    return Standardized(
        rows=np.ascontiguousarray(np.where(varies, (values - mean) / scale, 0.0)),
        kept=kept[order],
        count=count,
        columns=tuple(names.tolist()),
        logarithm=_takes_logarithm(names.tolist()),
        mean=mean,
        scale=scale,
        notes=tuple(notes),
    )


def explained_variance(rows: Floats) -> Floats:
    """Share of the variance that each principal component explains, for a Pareto figure.

    Parameters
    ----------
    rows
        (m, c) standardized.

    Returns
    -------
    share
        (c,) descending, of sum 1; NaN where nothing varies.
    """
    if rows.shape[0] < 2 or not np.ptp(rows, axis=0).any():
        return np.full(rows.shape[1], np.nan)
    variance = np.linalg.eigvalsh(np.cov(rows, rowvar=False, ddof=0).reshape((rows.shape[1],) * 2))
    variance = np.clip(variance[::-1], 0.0, None)
    return variance / variance.sum()


def _takes_logarithm(columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    return np.array([name in LOGARITHMS for name in columns], dtype=bool)


def _with_logarithms(values: Floats, logarithm: npt.NDArray[np.bool_]) -> Floats:
    result = np.where(np.isfinite(values), values, np.nan)
    positive = result[:, logarithm]
    result[:, logarithm] = np.log(positive, out=np.full_like(positive, np.nan), where=positive > 0)
    return result


def _axes_weight(p: Floats, axis_ratio: Floats) -> Floats:
    """How far the number of axes is defined: 0 for a circle, 1 where the radius varies clearly."""
    known = (p > 0) & (axis_ratio > 0)
    power = np.where(known, p, np.nan)[:, np.newaxis]
    phase = np.linspace(0.0, np.pi / 2, 33)
    with np.errstate(divide="ignore", invalid="ignore"):
        # log R of equation 1; log 0 = -inf drops out of the sum as it should.
        log_radius = (
            -np.logaddexp(
                power
                * (
                    np.log(np.where(known, axis_ratio, np.nan))[:, np.newaxis]
                    + np.log(np.cos(phase).clip(0.0))
                ),
                power * np.log(np.sin(phase)),
            )
            / power
        )
    radius = np.exp(log_radius - log_radius.max(axis=1, keepdims=True))
    spread = (1.0 - radius.min(axis=1)) / radius.mean(axis=1)
    return np.minimum(spread / _CLEAR_SPREAD, 1.0)


def _varies(values: Floats) -> npt.NDArray[np.bool_]:
    """Whether columns differ by more than rounding."""
    if values.shape[0] < 2:
        return np.zeros(values.shape[1], dtype=bool)
    return np.ptp(values, axis=0) > 1e-9 * np.maximum(np.abs(values).max(axis=0), 1e-300)
