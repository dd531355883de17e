"""Do conditions differ? Whole samples are the observations.

Nothing is tested grain by grain: the images of one sample share whatever made that sample, so many
grains of one sample are one observation of its condition. Where samples are known they are what is
exchanged and resampled, and with too few of them there is no p-value but the reason why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.errors import InputError
from nanoarray.statistics.cohort import (
    Cohort,
    EdgeRule,
    ResampleUnit,
    build_cohort,
    condition_label,
    mean_sizes,
)
from nanoarray.statistics.resampling import (
    check_resampling,
    condition_rng,
    holm,
    no_test_reason,
    of_resamples,
    permutation_test,
    welch_reach,
)

__all__ = ["compare_conditions", "compare_in_cohort"]

FloatArray = npt.NDArray[np.float64]

_STATISTICS = (
    "mean_area",
    "area_weighted_mean_area",
    "mean_diameter",
    "area_weighted_mean_diameter",
    "geometric_mean_area",
    "mean_area_planimetric",
    "mean_intercept",
)

_COLUMNS = (
    "statistic",
    "resample_unit",
    "unit_count_a",
    "unit_count_b",
    "value_a",
    "value_b",
    "difference",
    "difference_low",
    "difference_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "p_value",
    "p_value_holm",
    "smallest_p_value",
    "exact",
    "notes",
)


def compare_conditions(
    grains: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str],
    statistic: str = "mean_area",
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Compare every two conditions.

    Parameters
    ----------
    grains, images, by, edge
        As in `superlattice.statistics.sizes.summarize_grains`.
    statistic
        ``mean_area`` or another mean of `summarize_grains`.
    resample_unit
        The independent unit. ``"auto"``: samples wherever any is known, images where none is.
        ``"image"`` with known samples asks whether these samples differ, not whether conditions do.
    interval
        Confidence of the intervals; 1 - interval is the level of the test.
    resamples, permutations, seed
        Resamples for the intervals, largest number of arrangements for the test, and the seed.

    Returns
    -------
    One row per pair (a, b), none where there is a single condition:

    - ``condition_a``, ``condition_b`` and their tags; ``statistic``, ``resample_unit``,
      ``unit_count_a``, ``unit_count_b``; ``value_a``, ``value_b`` [um2 or um];
    - ``difference`` = b - a and ``ratio`` = b / a, with ``_low`` and ``_high`` (Welch's t on
      bootstrap standard errors, the ratio on a log scale);
    - ``p_value`` of the permutation test that exchanges whole units, each of which counts once by
      the logarithm of its own statistic, NaN where no test is possible; ``p_value_holm``
      corrected for all pairs; ``smallest_p_value`` that the design allows; ``exact``;
    - ``notes``: what limits the result, why there is no p-value.

    Raises
    ------
    InputError
        Where a column, tag or statistic does not exist or a parameter is out of range.
    """
    if statistic not in _STATISTICS:
        raise InputError(f"statistic is {statistic!r}: it must be one of {', '.join(_STATISTICS)}")
    tags = [by] if isinstance(by, str) else list(by)
    return compare_in_cohort(
        build_cohort(grains, images, tags=tags, edge=edge),
        by=tags,
        statistic=statistic,
        resample_unit=resample_unit,
        interval=interval,
        resamples=resamples,
        permutations=permutations,
        seed=seed,
    )


def compare_in_cohort(
    cohort: Cohort,
    *,
    by: Sequence[str],
    resample_unit: ResampleUnit,
    interval: float,
    resamples: int,
    seed: int,
    statistic: str = "mean_area",
    permutations: int = 9999,
) -> pd.DataFrame:
    """As `compare_conditions`, of a cohort with the tags ``by``."""
    check_resampling(interval=interval, resamples=resamples, permutations=permutations)
    tags = list(by)
    parts = list(cohort.without_grains().conditions(tags))
    # Of a condition the same in all of its pairs, and of many units not soon drawn.
    drawn: dict[tuple[int, str], FloatArray] = {}
    rows = []
    for a, b in combinations(range(len(parts)), 2):
        (tags_a, part_a), (tags_b, part_b) = parts[a], parts[b]
        names = condition_label(tags_a), condition_label(tags_b)
        row: dict[str, Any] = {"condition_a": names[0], "condition_b": names[1]}
        row |= {f"{tag}_a": value for tag, value in tags_a.items()}
        row |= {f"{tag}_b": value for tag, value in tags_b.items()}
        row |= _compare(
            (part_a, part_b),
            statistic=statistic,
            resample_unit=resample_unit,
            interval=interval,
            resamples=resamples,
            permutations=permutations,
            conditions={a: names[0], b: names[1]},
            seed=seed,
            drawn=drawn,
        )
        rows.append(row)
    frame = pd.DataFrame(rows, columns=None if rows else _columns(tags))
    frame["p_value_holm"] = holm(frame["p_value"])
    return frame[_columns(tags)]


def _columns(tags: Sequence[str]) -> list[str]:
    """Columns of a comparison, also of one without rows."""
    own = [f"{tag}_{side}" for side in "ab" for tag in tags]
    return ["condition_a", "condition_b", *own, *_COLUMNS]


def _compare(
    parts: tuple[Cohort, Cohort],
    *,
    statistic: str,
    resample_unit: ResampleUnit,
    interval: float,
    resamples: int,
    permutations: int,
    conditions: dict[int, str],
    seed: int,
    drawn: dict[tuple[int, str], FloatArray],
) -> dict[str, Any]:
    """Difference, ratio and test of one pair; `drawn` keeps the resamples of a condition."""
    known = any((part.images["sample"][part.used] != "").any() for part in parts)
    kind: ResampleUnit = resample_unit
    if resample_unit == "auto":
        kind = "sample" if known else "image"
    units = [part.units(kind, fall_back=False) for part in parts]
    sums = [part.unit_sums(unit) for part, unit in zip(parts, units, strict=True)]
    sums = [values[np.isfinite(mean_sizes(values)[statistic])] for values in sums]
    counts = [len(values) for values in sums]
    value_a, value_b = (float(mean_sizes(values.sum(axis=0))[statistic]) for values in sums)
    for (number, name), values in zip(conditions.items(), sums, strict=True):
        if (number, kind) not in drawn:
            rng = condition_rng(seed, name)
            drawn[number, kind] = _drawn(values, statistic, resamples=resamples, rng=rng)
    resampled = [drawn[number, kind] for number in conditions]
    row: dict[str, Any] = {
        "statistic": statistic,
        "resample_unit": kind,
        "unit_count_a": counts[0],
        "unit_count_b": counts[1],
        "value_a": value_a,
        "value_b": value_b,
    }
    reach = welch_reach(resampled, counts, interval=interval)
    row["difference"] = value_b - value_a
    row |= {
        "difference_low": row["difference"] - reach,
        "difference_high": row["difference"] + reach,
    }
    factor = math.exp(
        welch_reach([np.log(values) for values in resampled], counts, interval=interval)
    )
    row["ratio"] = value_b / value_a
    row |= {"ratio_low": row["ratio"] / factor, "ratio_high": row["ratio"] * factor}
    result = permutation_test(
        np.log(np.concatenate([mean_sizes(values)[statistic] for values in sums])),
        np.repeat([0.0, 1.0], counts),
        permutations=permutations,
        rng=condition_rng(seed, " / ".join(conditions.values())),
        alpha=1 - interval,
    )
    row |= {
        "p_value": result.p_value,
        "smallest_p_value": result.smallest_p,
        "exact": result.exact,
    }
    notes = [no_test_reason(result, alpha=1 - interval)]
    if min(counts) < 2:
        notes.append(f"{min(counts)} {kind} in a condition: no interval is possible")
    notes += [note for unit in units for note in unit.notes]
    shared = sorted(set(units[0].names) & set(units[1].names))
    if shared and kind == "sample":
        notes.append(f"sample {shared[0] or 'unknown'} is in both conditions, taken as two")
    row["notes"] = "; ".join(dict.fromkeys(note for note in notes if note))
    return row


def _drawn(
    sums: FloatArray, statistic: str, *, resamples: int, rng: np.random.Generator
) -> FloatArray:
    """A mean size in resamples of the units; NaN without any."""
    if not len(sums):
        return np.full(resamples, np.nan)
    return of_resamples(
        lambda counts: mean_sizes(counts @ sums), len(sums), resamples=resamples, rng=rng
    )[statistic]
