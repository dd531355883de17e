"""Are there enough crystals? Their number against what a precision asks for; what more would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.needed import Estimator, crystals_needed
from nanoarray.nanocrystal.compare.population import (
    Population,
    build_population,
    condition_of,
    tag_names,
)
from nanoarray.nanocrystal.compare.sizes import SizeSums, size_statistics, size_sums, size_values
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import ResampleUnit, Units
from nanoarray.statistics.resampling import (
    bootstrap_standard_error,
    check_resampling,
    condition_rng,
    of_resamples,
)

__all__ = ["CURVE_COLUMNS", "PRECISION_COLUMNS", "precision_by_condition", "subsampling_curve"]

FloatArray = npt.NDArray[np.float64]

#: Units and meaning of the columns of `precision_by_condition`.
PRECISION_COLUMNS: Final = units_and_meanings("precision")

#: Units and meaning of the columns of `subsampling_curve`.
CURVE_COLUMNS: Final = units_and_meanings("subsample")

#: Power of the size and of its weight in every mean.
_MEANS: Final = {
    "mean_size": (1.0, 0.0),
    "mean_volume": (3.0, 0.0),
    "volume_weighted_mean_size": (1.0, 3.0),
}
_ESTIMATORS: Final[tuple[Estimator, Estimator]] = ("log-normal", "mean")


def precision_by_condition(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    relative_error: float = 0.05,
    confidence: float = 0.95,
    size: str = "equivalent_diameter",
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    resamples: int = 2000,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Compare the number of crystals with the number that a precision asks for.

    Parameters
    ----------
    crystals, images, by, size, sample_tag, resample_unit, resamples, seed, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`.
    relative_error, confidence
        Precision that is asked for.

    Returns
    -------
    Per condition a row for the mean size, the mean volume and the volume-weighted mean size: the
    tags and `PRECISION_COLUMNS`. Crystals of one image resemble each other: `effective_count` says
    what they are worth, and `needed_here` how many as they come here would do.

    Raises
    ------
    InputError
        Where a column or tag does not exist or a parameter is out of range.

    References
    ----------
    See `nanoarray.nanocrystal.compare.needed.crystals_needed`.
    """
    check_resampling(interval=confidence, resamples=resamples)
    tags = tag_names(by, reserved=tuple(PRECISION_COLUMNS))
    population = build_population(
        crystals, images, tags=tags, size=size, edge=edge, sample_tag=sample_tag
    )
    rows: list[dict[str, Any]] = []
    for tag_values, part in population.conditions(tags):
        units = part.units(resample_unit, sizes=True, fall_back=True)
        for quantity in _MEANS:
            row = condition_of(tag_values)
            rng = condition_rng(seed, f"{row['condition']} | {quantity}")
            row |= {"quantity": quantity, "relative_error": relative_error}
            row |= {"confidence": confidence, "notes": "; ".join(_notes(part, units))}
            row |= {"resample_unit": units.kind, "resample_unit_count": len(units.names)}
            rows.append(row | _precision(part, units, row, resamples=resamples, rng=rng))
    return pd.DataFrame(rows, columns=[*tags, *PRECISION_COLUMNS])


def subsampling_curve(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    counts: Sequence[int] | None = None,
    confidence: float = 0.95,
    size: str = "equivalent_diameter",
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    resamples: int = 2000,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Half width of the interval of the mean size against the number of crystals, and of images.

    The curve of whole images lies above that of crystals where the crystals of one image resemble
    each other: then more images help, and more crystals of the same ones do not.

    Parameters
    ----------
    crystals, images, by, size, sample_tag, resample_unit, resamples, seed, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`.
    counts
        Numbers of images (or samples) to draw, from 2; None: about ten, up to twice as many as
        there are. Crystals are drawn in the numbers that so many images have.
    confidence
        Confidence of the interval.

    Returns
    -------
    Per condition the rows of two curves: the tags and `CURVE_COLUMNS`. Drawn with replacement, so
    the curve goes on beyond what there is; nothing where there are fewer than two units.

    Raises
    ------
    InputError
        Where a column or tag does not exist or a parameter is out of range.
    """
    check_resampling(interval=confidence, resamples=resamples)
    if counts is not None and min(counts, default=2) < 2:
        raise InputError(f"counts has {min(counts)}: an interval needs at least 2")
    tags = tag_names(by, reserved=tuple(CURVE_COLUMNS))
    population = build_population(
        crystals, images, tags=tags, size=size, edge=edge, sample_tag=sample_tag
    )
    rows: list[dict[str, Any]] = []
    for tag_values, part in population.conditions(tags):
        units = part.units(resample_unit, sizes=True, fall_back=True)
        condition = condition_of(tag_values)
        rng = condition_rng(seed, f"{condition['condition']} | curve")
        curve = _curve(part, units, counts, confidence=confidence, resamples=resamples, rng=rng)
        rows += [{**condition, **row} for row in curve]
    return pd.DataFrame(rows, columns=[*tags, *CURVE_COLUMNS])


def _curve(
    part: Population,
    units: Units,
    counts: Sequence[int] | None,
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Curve of whole units, then that of single crystals."""
    of = _unit_sums(part, units)
    total, measured = len(of.sums), int(part.sized.sum())
    if total < 2 or measured < 2:
        return []
    weight = part.weight[part.sized]
    values = size_values(part.size_nm[part.sized], weight)
    # Crystals of unequal weight are worth fewer of equal weight (Kish)
    worth = weight.sum() ** 2 / (weight**2).sum() / measured
    whole: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    for count in counts if counts is not None else _grid(total):
        drawn = of_resamples(
            lambda drawn: size_statistics(drawn @ of.sums, of),
            total,
            draw=count,
            resamples=resamples,
            rng=rng,
        )
        means = drawn["mean_size"][np.isfinite(drawn["mean_size"])]
        # Of n units the bootstrap's variance is (n - 1) / n of an unbiased one.
        error = float(np.std(means)) * math.sqrt(total / (total - 1))
        crystals = count * measured / total
        many = max(round(crystals), 2)
        alone = values["std_size"] / math.sqrt(many * worth)
        for rows, kind, number, center, spread in (
            (whole, units.kind, count, float(means.mean()), error),
            (single, "crystal", many, values["mean_size"], alone),
        ):
            half = float(stats.t.ppf((1 + confidence) / 2, number - 1)) * spread
            row = {"drawn": kind, "count": number, "crystal_count": crystals, "mean_size": center}
            row |= {"half_width": half, "relative_half_width": half / values["mean_size"]}
            rows.append(row)
    return whole + single


def _precision(
    part: Population,
    units: Units,
    wanted: dict[str, Any],
    *,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Numbers of crystals and errors of one mean of one condition."""
    power, weight_power = _MEANS[wanted["quantity"]]
    size, weight = part.size_nm[part.sized], part.weight[part.sized]
    log_std, count = size_values(size, weight)["log_std_size"], len(size)
    needed, directly = (
        float(
            crystals_needed(
                log_std,
                power=power,
                weight_power=weight_power,
                relative_error=wanted["relative_error"],
                confidence=wanted["confidence"],
                estimator=estimator,
            )
        )
        for estimator in _ESTIMATORS
    )
    row: dict[str, Any] = {"crystal_count": count, "log_std_size": log_std}
    row |= {"needed": needed, "needed_directly": directly, "enough": bool(count >= needed)}
    alone = math.nan
    if count > 1:
        of_one = size**weight_power
        mean = (weight @ (of_one * size**power)) / (weight @ of_one)
        # What each crystal moves the ratio by, were it alone (linearized)
        moved = weight * of_one * (size**power - mean) / (weight @ of_one * mean)
        alone = math.sqrt(np.sum(moved**2) * count / (count - 1))
    clustered, resampled = math.nan, len(units.names)
    if resampled >= 2 and count > 1:
        unit = part.unit_of_object(units, sizes=True)[part.sized]
        base = size**weight_power
        sums = np.stack(
            [
                np.bincount(unit, weight * term, minlength=resampled)
                for term in (base * size**power, base)
            ]
        )

        def log_mean(counts: FloatArray) -> dict[str, FloatArray]:
            above, below = sums @ counts.T
            with np.errstate(invalid="ignore", divide="ignore"):
                return {"log": np.log(above / below)}

        drawn = of_resamples(log_mean, resampled, resamples=resamples, rng=rng)
        clustered = bootstrap_standard_error(drawn["log"], units=resampled)
    tail = (1 + wanted["confidence"]) / 2
    plain = clustered * float(stats.norm.ppf(tail))
    return row | {
        "error_if_independent": alone * float(stats.norm.ppf(tail)),
        "error_reached": clustered * float(stats.t.ppf(tail, max(resampled - 1, 1))),
        "effective_count": count * (alone / clustered) ** 2 if clustered > 0 else math.nan,
        "needed_here": math.ceil(count * (plain / wanted["relative_error"]) ** 2)
        if clustered > 0
        else math.nan,
    }


def _unit_sums(part: Population, units: Units) -> SizeSums:
    sized = part.sized
    unit = part.unit_of_object(units, sizes=True)[sized]
    return size_sums(part.size_nm[sized], part.weight[sized], unit, len(units.names))


def _grid(total: int) -> list[int]:
    """About ten numbers from 2 to twice the total."""
    steps = np.geomspace(2, max(2 * total, 4), 10)
    return sorted({round(float(step)) for step in steps} | {total})


def _notes(part: Population, units: Units) -> list[str]:
    if not part.sized.any():
        return ["no crystal to measure"]
    if len(units.names) < 2:
        return [*units.notes, f"one {units.kind}: nothing to resample"]
    return [*units.notes]
