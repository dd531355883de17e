"""Syntheses or ways of measuring side by side: the paper's Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.population import build_population, tag_names
from nanoarray.nanocrystal.compare.summary import summarize_crystals
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.statistics.image_table import condition_label, tag_codes

__all__ = ["METHOD_COLUMNS", "compare_methods", "run_times"]

#: Tag with the time [s] that the analysis of an image took.
TIME: Final = "analysis_time"

#: Units and meaning of the columns of `compare_methods`.
METHOD_COLUMNS: Final = units_and_meanings("method")


def compare_methods(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str],
    size: str = "axis_major",
    run_time_s: Mapping[str, float] | None = None,
    min_share: float = 0.01,
    **summary: Any,
) -> pd.DataFrame:
    """Syntheses, or ways of measuring, side by side.

    Lengths measured by hand are rows of `crystals` like others, under a tag of their own: no image
    of theirs needs a mask, only its name.

    Parameters
    ----------
    crystals, images, by, size
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`; the paper's size is the
        major axis.
    run_time_s
        Time [s] that the analysis of a condition took, by the name of the condition.
    min_share
        A shape group counts for a condition that has this share of its grouped crystals in it.
    **summary
        Other arguments of `summarize_crystals`.

    Returns
    -------
    One row per condition: the tags and `METHOD_COLUMNS`.

    Raises
    ------
    InputError
        As in `summarize_crystals`, and where a run time is of no condition.
    """
    tags = tag_names(by, reserved=tuple(METHOD_COLUMNS))
    frame = summarize_crystals(crystals, images, by=tags, size=size, **summary)
    times = dict(run_time_s or {})
    unknown = sorted(set(times) - set(frame["condition"]))
    if unknown:
        raise InputError(
            f"run_time_s names the condition {unknown[0]!r}: expected of "
            f"{', '.join(frame['condition'])}"
        )
    if "shape_group" in crystals:
        population = build_population(crystals, images, tags=tags, size=size, edge="include")
        counts = []
        for _, part in population.conditions(tags):
            group = part.group[part.shaped & ~part.touches_edge & (part.group > 0)]
            shares = np.bincount(group) / max(len(group), 1)
            counts.append(int((shares >= min_share).sum()) if len(group) else 0)
        frame["shape_group_count"] = counts
    else:
        frame["shape_group_count"] = -1
    frame["run_time"] = [float(times.get(name, np.nan)) for name in frame["condition"]]
    frame["crystals_per_minute"] = frame["crystal_count"] / (frame["run_time"] / 60)
    return frame[[*tags, *METHOD_COLUMNS]]


def run_times(images: pd.DataFrame, by: Sequence[str]) -> dict[str, float]:
    """Time [s] that the analysis of each condition took: the sum of the tag ``analysis_time``.

    Conditions with an image whose time is not known are left out.
    """
    if TIME not in images:
        return {}
    seconds = pd.to_numeric(images[TIME], errors="coerce").to_numpy(np.float64)
    codes = tag_codes(images, by)
    found = {}
    for key in np.unique(codes, axis=0):
        rows = (codes == key).all(axis=1)
        if np.isfinite(seconds[rows]).all():
            first = images.iloc[int(np.flatnonzero(rows)[0])]
            found[condition_label({tag: first[tag] for tag in by})] = float(seconds[rows].sum())
    return found
