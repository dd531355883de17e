"""Sizes and counts of nanocrystals by condition, with intervals from images or samples.

Crystals cut by the edge of the field are not simply dropped: large ones are cut more often. The
default weighs each one inside by 1 / P(it lies inside) (Miles-Lantuejoul).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from nanoarray.nanocrystal.compare.needed import crystals_needed
from nanoarray.nanocrystal.compare.population import (
    build_population,
    condition_of,
    image_counts,
    tag_names,
)
from nanoarray.nanocrystal.compare.sizes import size_intervals, size_values
from nanoarray.schema_crystal_statistics import CRYSTAL_STATISTICS, units_and_meanings
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import (
    NO_PIXEL_SIZE,
    NOT_MEASURED,
    NOT_OK,
    NOT_USABLE,
    ResampleUnit,
    Units,
)
from nanoarray.statistics.resampling import IntervalMethod, check_resampling, condition_rng

__all__ = ["SUMMARY_COLUMNS", "count_rejections", "summarize_crystals"]

#: Units and meaning of the columns of `summarize_crystals`; `_low` and `_high` are interval ends.
SUMMARY_COLUMNS: Final = {
    name: (column.units, column.meaning) for name, column in CRYSTAL_STATISTICS["condition"].items()
}


def summarize_crystals(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    size: str = "equivalent_diameter",
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    interval_method: IntervalMethod = "t",
    resamples: int = 2000,
    seed: int = 0,
    edge: EdgeRule = "weight",
    min_crystals: int = 50,
    min_units: int = 3,
) -> pd.DataFrame:
    """Summarize crystal sizes by condition.

    Parameters
    ----------
    crystals
        One row per object: `image` (or `image_index`, the position in `images`), the column `size`
        [nm], where known `rejected` ("" a crystal), `shape_group` (from 1; 0, -1 none),
        `touches_edge` and, for `edge="weight"`, `edge_weight`.
    images
        One row per image, also of those without crystals: `image` (column or index), the tags, and
        where known the sample, `ok`, `usable`, `pixel_size` [nm]. Images without a pixel size have
        no sizes and are counted.
    by
        Names of the tags whose combinations are the conditions; none: all images are one.
        A missing tag (NaN, None, "") is a value of its own.
    size
        Column [nm] that is the size; the paper's "average size" is ``"axis_major"``.
    sample_tag
        Tag that says which images come from one preparation: ``"sample"`` or ``"batch"``.
    resample_unit
        What the intervals resample. ``"auto"``: samples, or the images of a condition that has one
        sample only or none known; then `warnings` says so.
    interval
        Confidence of the intervals.
    interval_method
        See `nanoarray.statistics.resampling.bootstrap_interval`.
    resamples, seed
        Number of resamples and their seed. The order of rows and other conditions change nothing.
    edge
        ``"weight"``: crystals inside the field, weighted by 1 / P(inside); ``"exclude"``: those
        inside, equally; ``"include"``: cut crystals as if they were whole.
    min_crystals, min_units
        Fewer crystals or resampled units are warned about.

    Returns
    -------
    One row per condition: the tags, then the columns of `SUMMARY_COLUMNS`, of which the sizes have
    `_low` and `_high`. Without ``edge="include"``, objects = counted + at the edge + rejected +
    unsized + left out.

    Raises
    ------
    InputError
        Where a column or tag is missing, ids repeat, or a parameter is out of range.

    References
    ----------
    ISO 9276-2 (means), ISO 13322-1 (edge, counts); see `nanoarray.statistics.edge_weight`.
    """
    check_resampling(interval=interval, resamples=resamples)
    tags = tag_names(by, reserved=_column_order())
    population = build_population(
        crystals, images, tags=tags, size=size, edge=edge, sample_tag=sample_tag
    )
    grouped = "shape_group" in crystals
    rows = []
    for tag_values, part in population.conditions(tags):
        units = part.units(resample_unit, sizes=True, fall_back=True)
        row: dict[str, Any] = {**condition_of(tag_values), "size": size}
        row |= image_counts(part, units)
        row["ungrouped_count"] = int((part.shaped & (part.group == 0)).sum()) if grouped else -1
        values = size_values(part.size_nm[part.sized], part.weight[part.sized])
        row |= values
        row["crystals_needed"] = float(crystals_needed(values["log_std_size"]))
        row["crystals_needed_volume"] = float(crystals_needed(values["log_std_size"], power=3))
        row |= size_intervals(
            part,
            units,
            values,
            chosen=part.sized,
            interval=interval,
            method=interval_method,
            resamples=resamples,
            rng=condition_rng(seed, row["condition"]),
        )
        row["warnings"] = "; ".join(
            _warnings(units, row, edge=edge, min_crystals=min_crystals, min_units=min_units)
        )
        rows.append(row)
    frame = pd.DataFrame(rows, columns=None if rows else [*tags, *_column_order()])
    return frame[[*tags, *_column_order()]]


def count_rejections(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    size: str = "equivalent_diameter",
) -> pd.DataFrame:
    """Count what was rejected, by condition and reason.

    Parameters
    ----------
    crystals, images, by, size
        As in `summarize_crystals`.

    Returns
    -------
    One row per condition and reason: the tags, `condition`, `rejected` (the reason),
    `object_count`, `image_count` (images with such an object) and `share` of all objects of the
    condition's images that count.
    """
    columns = ("condition", "rejected", "object_count", "image_count", "share")
    tags = tag_names(by, reserved=columns)
    population = build_population(crystals, images, tags=tags, size=size, edge="include")
    rows = []
    for tag_values, part in population.conditions(tags):
        rejected = part.take(part.used)
        reason = pd.Series(rejected.rejected, dtype=object)
        for name in sorted(set(reason) - {""}):
            found = (reason == name).to_numpy()
            row = condition_of(tag_values)
            row |= {
                "rejected": name,
                "object_count": int(found.sum()),
                "image_count": len(set(rejected.row[found])),
                "share": float(found.mean()),
            }
            rows.append(row)
    return pd.DataFrame(rows, columns=[*tags, *columns])


def _column_order() -> list[str]:
    return list(units_and_meanings("condition"))


def _warnings(
    units: Units, row: dict[str, Any], *, edge: EdgeRule, min_crystals: int, min_units: int
) -> list[str]:
    """What limits the statistics of a condition, in words."""
    reasons = {
        NOT_OK: row["image_not_ok_count"],
        NOT_USABLE: row["image_not_usable_count"],
        NOT_MEASURED: row["image_not_measured_count"],
    }
    out = [f"images left out: {n} {reason}" for reason, n in reasons.items() if n]
    if n := row["image_no_pixel_size_count"]:
        out.append(f"images without sizes: {n} {NO_PIXEL_SIZE}")
    if row["unsized_count"]:
        out.append(f"{row['unsized_count']} crystals have no size")
    crystals, count = row["crystal_count"], len(units.names)
    if crystals == 0:
        return [*out, "no crystal to measure"]
    out += units.notes
    if count < 2:
        out.append(f"one {units.kind}: no interval is possible")
    elif count < min_units:
        out.append(f"the intervals come from {count} {units.kind}s only")
    if crystals < min_crystals:
        out.append(f"{crystals} crystals: fewer than {min_crystals}")
    elif crystals < row["crystals_needed"]:
        out.append(
            f"{crystals} crystals: {row['crystals_needed']:.0f} independent ones would give the "
            "mean size within 5 %"
        )
    cut = row["edge_crystal_count"]
    if cut and edge == "include":
        out.append(f"{cut} crystals are cut by the edge and measured as if they were whole")
    elif edge == "exclude" and cut > 0.25 * (cut + crystals):
        out.append(
            f"{cut / (cut + crystals):.0%} of the crystals are cut by the edge: sizes are biased "
            "low"
        )
    return out
