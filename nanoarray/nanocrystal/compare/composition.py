"""Shares of the shape groups by condition, and the sizes in each: the paper's Table 1.

A share is a ratio of sums of edge weights. Its interval is Korn and Graubard's: Clopper-Pearson's
for as many crystals as the spread between images or samples leaves of them, which stays inside 0
to 1 and is not empty where a group has no crystal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.population import (
    Population,
    build_population,
    condition_of,
    tag_names,
)
from nanoarray.nanocrystal.compare.sizes import size_intervals, size_values
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import ResampleUnit, Units
from nanoarray.statistics.resampling import (
    bootstrap_standard_error,
    check_resampling,
    condition_rng,
    of_resamples,
)

__all__ = [
    "ALL_GROUPS",
    "COMPOSITION_COLUMNS",
    "group_composition",
    "group_sums",
    "known_groups",
    "share_interval",
    "shares_with_intervals",
]

FloatArray = npt.NDArray[np.float64]

#: Stands for all crystals of a condition, in a group or not, in the column `shape_group`.
ALL_GROUPS: Final = -1

#: Units and meaning of the columns of `group_composition`.
COMPOSITION_COLUMNS: Final = units_and_meanings("composition")


def group_composition(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    size: str = "equivalent_diameter",
    total: bool = False,
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Share and size of every shape group by condition.

    With ``by="batch", size="axis_major", total=True`` it is the paper's Table 1.

    Parameters
    ----------
    crystals, images, by, size, sample_tag, resample_unit, interval, resamples, seed, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`; `shape_group` is needed.
        Crystals of images without a pixel size count in the shares.
    total
        Whether all conditions together follow as a last one named "total".

    Returns
    -------
    Per condition a row for all crystals (`shape_group` -1) and one for every group of the table,
    also where the condition has no such crystal: the tags and `COMPOSITION_COLUMNS`.

    Raises
    ------
    InputError
        As in `summarize_crystals`, and where the crystals have no `shape_group`.

    References
    ----------
    Korn & Graubard, Surv. Methodol. 24 (1998) 193 (interval of a share in a clustered sample).
    """
    check_resampling(interval=interval, resamples=resamples)
    tags = tag_names(by, reserved=tuple(COMPOSITION_COLUMNS))
    population = build_population(
        crystals, images, tags=tags, size=size, edge=edge, sample_tag=sample_tag
    )
    groups = known_groups(crystals, population)
    parts = [(condition_of(values), part) for values, part in population.conditions(tags)]
    if total:
        parts.append(({**dict.fromkeys(tags), "condition": "total"}, population))
    rows: list[dict[str, Any]] = []
    for condition, part in parts:
        kinds = [part.units(resample_unit, sizes=sizes, fall_back=True) for sizes in (False, True)]
        shares = shares_with_intervals(
            part,
            kinds[0],
            groups,
            interval=interval,
            resamples=resamples,
            rng=condition_rng(seed, f"{condition['condition']} | composition"),
        )
        for group, share in zip((ALL_GROUPS, *groups), shares, strict=True):
            rng = condition_rng(seed, f"{condition['condition']} | {group}")
            row = {**condition, "size": size, "shape_group": group, **share}
            row |= _group_sizes(
                part, kinds[1], group, interval=interval, resamples=resamples, rng=rng
            )
            row |= {"resample_unit": kinds[0].kind, "resample_unit_count": len(kinds[0].names)}
            notes = [*kinds[0].notes] if row["crystal_count"] else ["no crystal"]
            row["notes"] = "; ".join(notes)
            rows.append(row)
    return pd.DataFrame(rows, columns=[*tags, *COMPOSITION_COLUMNS])


def known_groups(crystals: pd.DataFrame, population: Population) -> list[int]:
    """Shape groups of the crystals that count in any condition.

    Raises
    ------
    InputError
        Where the crystals have no column `shape_group`.
    """
    if "shape_group" not in crystals:
        raise InputError("the crystals have no column 'shape_group': group them first")
    found = np.unique(population.group[population.shaped])
    return [int(group) for group in found if group > 0]


def group_sums(part: Population, units: Units, groups: Sequence[int]) -> FloatArray:
    """Sums of weights by unit and group, (units, groups), of crystals with a size or without."""
    inside = part.shaped & (part.group > 0)
    unit = part.unit_of_object(units, sizes=False)[inside]
    sums = np.zeros((len(units.names), len(groups)))
    np.add.at(sums, (unit, np.searchsorted(groups, part.group[inside])), part.weight[inside])
    return sums


def shares_with_intervals(
    part: Population,
    units: Units,
    groups: Sequence[int],
    *,
    interval: float,
    resamples: int,
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """Count and share of all crystals, then of every group, with the ends of its interval."""
    inside = part.shaped
    rows: list[dict[str, float]] = [
        {
            "crystal_count": int(inside.sum()),
            "share": 1.0 if (inside & (part.group > 0)).any() else np.nan,
            "share_low": np.nan,
            "share_high": np.nan,
        }
    ]
    sums = group_sums(part, units, groups)
    total = sums.sum()
    weight = part.weight[inside & (part.group > 0)]
    # Crystals of unequal weight are worth fewer of equal weight (Kish)
    crystals = weight.sum() ** 2 / (weight**2).sum() if weight.size else 0.0
    share = sums.sum(axis=0) / total if total > 0 else np.full(len(groups), np.nan)
    variance = np.full(len(groups), np.nan)
    if len(units.names) >= 2 and total > 0:
        drawn = of_resamples(
            lambda counts: {"sums": counts @ sums}, len(units.names), resamples=resamples, rng=rng
        )["sums"]
        with np.errstate(invalid="ignore"):
            drawn /= drawn.sum(axis=1, keepdims=True)
        errors = [bootstrap_standard_error(values, units=len(units.names)) for values in drawn.T]
        variance = np.array(errors) ** 2
    simple = share * (1 - share) / max(crystals, 1.0)
    between = (simple > 0) & np.isfinite(variance)
    # Where a group is absent there is no spread to see: that of the most clustered group is taken.
    worst = max(1.0, float((variance[between] / simple[between]).max(initial=1.0)))
    for group, value, simple_g, variance_g in zip(groups, share, simple, variance, strict=True):
        design = variance_g / simple_g if simple_g > 0 else variance_g + worst
        low, high = share_interval(
            value, crystals=crystals, design=design, units=len(units.names), interval=interval
        )
        rows.append(
            {
                "crystal_count": int((inside & (part.group == group)).sum()),
                "share": float(value),
                "share_low": low,
                "share_high": high,
            }
        )
    return rows


def share_interval(
    share: float, *, crystals: float, design: float, units: int, interval: float
) -> tuple[float, float]:
    """Interval of a share when crystals come in images or samples (Korn and Graubard).

    Parameters
    ----------
    share
        The share, 0 to 1.
    crystals
        Number of crystals.
    design
        Variance of the share by what it would be for independent crystals.
    units
        Number of images or samples, whose spread gave `design`.
    interval
        Confidence.

    Returns
    -------
    low, high
        NaN for fewer than two units.
    """
    if units < 2 or not np.isfinite(share) or not np.isfinite(design):
        return np.nan, np.nan
    tail = (1 - interval) / 2
    effective = crystals
    if crystals > 1:
        few = stats.t.ppf(tail, crystals - 1) / stats.t.ppf(tail, units - 1)
        effective = min(crystals, crystals / max(design, 1e-12) * few**2)
    hits, misses = share * effective, (1 - share) * effective
    low = stats.beta.ppf(tail, hits, misses + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, misses) if misses > 0 else 1.0
    return float(low), float(high)


def _group_sizes(
    part: Population,
    units: Units,
    group: int,
    *,
    interval: float,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Sizes of one group, of the units that have crystals of it."""
    chosen = part.sized & ((part.group == group) if group != ALL_GROUPS else True)
    values = size_values(part.size_nm[chosen], part.weight[chosen])
    ends = size_intervals(
        part,
        units,
        values,
        chosen=chosen,
        interval=interval,
        method="t",
        resamples=resamples,
        rng=rng,
    )
    row: dict[str, Any] = {"sized_count": int(chosen.sum()), "std_size": values["std_size"]}
    for name in ("mean_size", "relative_spread"):
        row[name] = values[name]
        row |= {f"{name}_{end}": ends[f"{name}_{end}"] for end in ("low", "high")}
    return row
