"""Does a size follow a tag? Whole samples are the observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from nanoarray.errors import InputError
from nanoarray.statistics.cohort import (
    Cohort,
    EdgeRule,
    ResampleUnit,
    build_cohort,
    mean_sizes,
)
from nanoarray.statistics.image_table import Units, tag_codes
from nanoarray.statistics.resampling import (
    check_resampling,
    condition_rng,
    in_parts,
    no_test_reason,
    permutation_test,
)

__all__ = ["trend_in_cohort", "trend_of_units", "trend_test"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


def trend_test(
    grains: pd.DataFrame,
    images: pd.DataFrame,
    *,
    tag: str,
    hold: Sequence[str] = (),
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Test whether grain area rises or falls with a numeric tag.

    Parameters
    ----------
    grains, images, edge
        As in `superlattice.statistics.sizes.summarize_grains`.
    tag
        Numeric tag, such as ``temperature``.
    hold
        Other tags to hold fixed: slopes are taken and tag values exchanged only among units that
        have these in common (a missing value is a value of its own).
    resample_unit
        The independent unit. ``"auto"``: samples wherever any is known, images where none is. Where
        a sample has several values of the tag, samples cannot be exchanged: hold ``"sample"`` and
        take ``"image"``.
    interval
        Confidence of the interval; 1 - interval is the level of the test.
    resamples, permutations, seed
        Resamples for the interval, largest number of arrangements for the test, and the seed.

    Returns
    -------
    One row with the columns of `nanoarray.schema_statistics`. ``slope`` is of a unit's mean
    ln(area) per unit of the tag, every unit counting once; its interval is a cluster bootstrap of
    whole units within strata with Student's t. The permutation test exchanges the tag's values
    between whole units; ``p_value`` is NaN where no test is possible, and ``notes`` says why.

    Raises
    ------
    InputError
        Where a column or tag does not exist, the tag is no number, or a parameter is out of range.
    """
    held = [hold] if isinstance(hold, str) else list(hold)
    return trend_in_cohort(
        build_cohort(grains, images, tags=[tag, *held], edge=edge),
        tag=tag,
        hold=held,
        resample_unit=resample_unit,
        interval=interval,
        resamples=resamples,
        permutations=permutations,
        seed=seed,
    )


def trend_in_cohort(
    cohort: Cohort,
    *,
    tag: str,
    hold: Sequence[str],
    resample_unit: ResampleUnit,
    interval: float,
    resamples: int,
    seed: int,
    permutations: int = 9999,
) -> pd.DataFrame:
    """As `trend_test`, of a cohort with the tags ``tag`` and ``hold``."""
    cohort = cohort.without_grains()

    def measure(kept: npt.NDArray[np.bool_]) -> tuple[Units, FloatArray]:
        part = cohort.take(kept)
        units = part.units(resample_unit, fall_back=False)
        return units, mean_sizes(part.unit_sums(units))["geometric_mean_area"]

    row = trend_of_units(
        cohort.images,
        cohort.used,
        measure,
        tag=tag,
        hold=hold,
        interval=interval,
        resamples=resamples,
        permutations=permutations,
        seed=seed,
    )
    row["unit_without_grain_count"] = row.pop("unit_without_size_count")
    return pd.DataFrame([row])


def trend_of_units(
    images: pd.DataFrame,
    used: npt.NDArray[np.bool_],
    measure: Callable[[npt.NDArray[np.bool_]], tuple[Units, FloatArray]],
    *,
    tag: str,
    hold: Sequence[str],
    interval: float,
    resamples: int,
    permutations: int,
    seed: int,
) -> dict[str, Any]:
    """Slope of the logarithm of a size against a numeric tag, every unit counting once.

    Parameters
    ----------
    images
        As from `nanoarray.statistics.image_table.image_table`, with the tags.
    used
        (images,) which of them count.
    measure
        Given which images are kept: their units, and the size of each unit (NaN: none).
    tag, hold, interval, resamples, permutations, seed
        As in `trend_test`.

    Returns
    -------
    The columns of the table ``trend`` of `nanoarray.schema_statistics`; units without a size are
    counted in ``unit_without_size_count``.
    """
    check_resampling(interval=interval, resamples=resamples, permutations=permutations)
    level = _numeric(images[tag], tag)
    known = np.isfinite(level)
    units, size = measure(used & known)
    mean_log = np.log(size)
    stratum = _strata(tag_codes(images[used & known], hold))
    level = level[used & known]
    row: dict[str, Any] = {
        "tag": tag,
        "hold": ", ".join(hold),
        "image_left_out_count": int((~used).sum()),
        "image_without_tag_count": int((used & ~known).sum()),
    }
    notes = (
        [f"{row['image_without_tag_count']} images have no {tag}"] if (used & ~known).any() else []
    )
    row |= {"resample_unit": units.kind, "unit_without_size_count": int(np.isnan(mean_log).sum())}
    mixed = _mixed_unit(units.of_image, level, stratum, units.names)
    if mixed is None:
        first = np.unique(units.of_image, return_index=True)[1]
        measured = np.isfinite(mean_log)
        row |= _trend(
            mean_log[measured],
            level[first][measured],
            stratum[first][measured],
            interval=interval,
            resamples=resamples,
            permutations=permutations,
            rng=condition_rng(seed, f"{tag} | {row['hold']}"),
        )
        notes.append(row.pop("note"))
    else:
        row |= _no_trend(len(units.names), level, stratum)
        notes.append(
            f"no test is possible: {units.kind} {mixed!r} has several values of "
            f"{' or '.join([tag, *hold])}; hold 'sample' and resample the images"
        )
    row["notes"] = "; ".join(note for note in (*notes, *units.notes) if note)
    return row


def _strata(codes: IntArray) -> IntArray:
    """Number the combinations of codes (image, tag) that occur."""
    if codes.shape[1] == 0:
        return np.zeros(len(codes), np.intp)
    return np.unique(codes, axis=0, return_inverse=True)[1].ravel()


def _numeric(values: pd.Series, tag: str) -> FloatArray:
    """Return a tag as numbers, NaN where it is missing."""
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = values[numbers.isna() & values.notna() & (values != "")]
    if len(wrong):
        raise InputError(f"the tag {tag!r} has the value {wrong.iloc[0]!r}: a trend needs numbers")
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _mixed_unit(
    of_image: IntArray, level: FloatArray, stratum: IntArray, names: Sequence[str]
) -> str | None:
    """Find a unit whose images do not all have one level and one stratum."""
    first = np.unique(of_image, return_index=True)[1]
    differs = (level != level[first][of_image]) | (stratum != stratum[first][of_image])
    return names[int(of_image[differs].min())] or "unknown" if differs.any() else None


def _no_trend(units: int, level: FloatArray, stratum: IntArray) -> dict[str, Any]:
    return {
        "unit_count": units,
        "level_count": len(np.unique(level)),
        "stratum_count": len(np.unique(stratum)),
        "slope": math.nan,
        "slope_low": math.nan,
        "slope_high": math.nan,
        "ratio_per_unit": math.nan,
        "p_value": math.nan,
        "smallest_p_value": math.nan,
        "exact": False,
    }


def _trend(
    response: FloatArray,
    level: FloatArray,
    stratum: IntArray,
    *,
    interval: float,
    resamples: int,
    permutations: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Slope, interval and test; one value of each per independent unit."""
    row = _no_trend(len(response), level, stratum)
    order = np.lexsort((response, level, stratum))
    response, level = response[order], level[order]
    stratum = np.unique(stratum[order], return_inverse=True)[1]
    row["note"] = "no test is possible: no two units to compare have different values of the tag"
    if len(response) < 2:
        return row
    ones = np.ones((1, len(response)))
    slope = float(_slopes(response, level, stratum, ones)[0])
    if math.isnan(slope):
        return row
    row |= {"slope": slope, "ratio_per_unit": math.exp(slope)}
    freedom = len(response) - len(np.unique(stratum)) - 1
    if freedom >= 1:
        drawn = _resampled_slopes(response, level, stratum, resamples=resamples, rng=rng)
        reach = stats.t.ppf((1 + interval) / 2, freedom) * np.nanstd(drawn)
        row |= {"slope_low": slope - reach, "slope_high": slope + reach}
    result = permutation_test(
        response, level, stratum=stratum, permutations=permutations, rng=rng, alpha=1 - interval
    )
    row |= {
        "p_value": result.p_value,
        "smallest_p_value": result.smallest_p,
        "exact": result.exact,
        "note": no_test_reason(result, alpha=1 - interval),
    }
    return row


def _resampled_slopes(
    response: FloatArray,
    level: FloatArray,
    stratum: IntArray,
    *,
    resamples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Slopes of resamples of the units within strata, which are sorted."""
    sizes = np.bincount(stratum)

    def part(start: int, stop: int) -> dict[str, FloatArray]:
        counts = [rng.multinomial(n, np.full(n, 1.0 / n), size=stop - start) for n in sizes]
        drawn = np.concatenate(counts, axis=1).astype(np.float64)
        return {"slope": _slopes(response, level, stratum, drawn)}

    return in_parts(part, resamples, len(response))["slope"]


def _slopes(
    response: FloatArray, level: FloatArray, stratum: IntArray, counts: FloatArray
) -> FloatArray:
    """Slopes within strata for every row of counts; NaN where a row has a single level left."""
    covariance, variance = np.zeros(len(counts)), np.zeros(len(counts))
    centred = level - level.mean()
    for code in np.unique(stratum):
        rows = stratum == code
        c, x, y = counts[:, rows], centred[rows], response[rows]
        total = c.sum(axis=1)
        mean_x, mean_y = c @ x / total, c @ y / total
        covariance += c @ (x * y) - total * mean_x * mean_y
        variance += c @ (x * x) - total * mean_x**2
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = covariance / variance
    return np.where(variance > 1e-9 * np.ptp(level) ** 2, slopes, np.nan)
