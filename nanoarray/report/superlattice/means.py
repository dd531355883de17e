"""Mean grain sizes with their intervals against the tags: what figure 7 of the paper shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nanoarray.errors import InputError
from nanoarray.report.style import (
    CATEGORIES,
    condition_title,
    figure_style,
    is_missing,
    margins,
    new_figure,
    number_text,
    plain_text,
    tag_unit,
)
from nanoarray.schema_statistics import GRAIN_STATISTICS
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.superlattice.statistics.sizes import sizes_by_condition

_MARKERS = "osD^vPX"


def plot_condition_means(
    statistics: pd.DataFrame,
    *,
    x: str,
    by: Sequence[str] = (),
    value: str = "mean_area",
    points: pd.DataFrame | None = None,
) -> Figure:
    """Mean grain size against a tag, with intervals, for every combination of the other tags.

    Parameters
    ----------
    statistics
        As from `superlattice.statistics.sizes.summarize_grains`: one row per condition with
        the tags, ``value`` and its ``_low`` and ``_high``.
    x
        Tag along the horizontal axis; numbers are placed to scale, text one beside another.
    by
        Tags that a series has in common: one colour and marker each.
    value
        Statistic to show.
    points
        Smaller points behind the means, such as the mean of every image or sample: the tags and
        ``value``.

    Raises
    ------
    InputError
        When a column is not there.
    """
    by = [tag for tag in by if tag != x]
    for name in (x, *by, value):
        if name not in statistics:
            columns = ", ".join(map(str, statistics))
            raise InputError(f"the statistics have no column {name!r}: they have {columns}")
    # A condition of which every image was left out has nothing to show.
    known = statistics[value].notna()
    statistics = statistics[known] if known.any() else statistics
    places = _places(statistics[x])
    series = statistics.groupby(by, dropna=False, sort=True) if by else [((), statistics)]
    groups = [(key if isinstance(key, tuple) else (key,), frame) for key, frame in series]
    span = max(places.values()) - min(places.values()) if places else 0.0
    step = 0.035 * (span if span > 0 else 1.0)
    with figure_style():
        figure = new_figure(5.4, 3.5)
        ax = figure.subplots()
        handles, names = [], []
        for k, (key, frame) in enumerate(groups):
            shift = (k - (len(groups) - 1) / 2) * step
            tags = dict(zip(by, key, strict=True))
            colour = CATEGORIES[k % len(CATEGORIES)]
            marker = _MARKERS[(k // len(CATEGORIES) + k) % len(_MARKERS)]
            if points is not None:
                _draw_points(
                    ax, _matching(points, tags), x, value, places, shift - 0.45 * step, colour
                )
            handles.append(_draw_means(ax, frame, x, value, places, shift, colour, marker))
            names.append(condition_title(tags) if by else "mean")
        turned = _finish_means(ax, x, value, places)
        figure.subplots_adjust(**margins(5.4, 3.5, bottom=1.2 if turned else 0.5))
        if by:
            legend = ax.legend(handles, names, fontsize=8, loc="best")
            for text in legend.get_texts():
                text.set_parse_math(False)
    return figure


def unit_means(
    grains: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    edge: EdgeRule = "exclude",
    unit: Literal["sample", "image"] = "image",
) -> pd.DataFrame:
    """Mean area of the grains of every image or sample: points behind the means.

    Returns
    -------
    pandas.DataFrame
        The tags, ``unit`` (its name), ``grain_count`` and ``mean_area`` [um2].
    """
    name_of = {}
    if unit == "sample" and "sample" in images:
        name_of = dict(zip(images["image"].astype(str), images["sample"].astype(str), strict=True))
    rows = []
    for part in sizes_by_condition(grains, images, by=by, edge=edge):
        names = np.array([name_of.get(i) or i for i in part.image.tolist()], dtype=object)
        for name in sorted(set(names.tolist())):
            chosen = names == name
            weight = part.weight[chosen]
            mean = float((weight * part.area_um2[chosen]).sum() / weight.sum())
            rows.append({**part.tags, "unit": name, "grain_count": len(weight), "mean_area": mean})
    return pd.DataFrame(rows, columns=[*by, "unit", "grain_count", "mean_area"])


def _places(tag: pd.Series) -> dict[Any, float]:
    """Where each value of a tag stands on the axis; missing ones stand right of all others."""
    known = [v for v in dict.fromkeys(tag) if not is_missing(v)]
    numeric = bool(known) and all(isinstance(v, int | float | np.number) for v in known)
    if numeric:
        places = {v: float(v) for v in known}
    else:
        places = {v: float(i) for i, v in enumerate(sorted(known, key=str))}
    if len(known) < len(tag.drop_duplicates()):
        span = max(places.values(), default=0.0) - min(places.values(), default=0.0)
        gap = 0.15 * span if numeric and span > 0 else 1.0
        places[None] = max(places.values(), default=0.0) + gap
    return places


def _place(places: Mapping[Any, float], value: Any) -> float:
    return places.get(None if is_missing(value) else value, math.nan)


def _matching(frame: pd.DataFrame, tags: Mapping[str, Any]) -> pd.DataFrame:
    chosen = np.ones(len(frame), dtype=bool)
    for name, value in tags.items():
        same = frame[name].map(is_missing) if is_missing(value) else frame[name] == value
        chosen &= same.to_numpy(bool)
    return frame[chosen]


def _draw_points(
    ax: Axes,
    frame: pd.DataFrame,
    x: str,
    value: str,
    places: Mapping[Any, float],
    shift: float,
    colour: str,
) -> None:
    at = [_place(places, v) + shift for v in frame[x]]
    ax.plot(at, frame[value], "o", color=colour, mfc="none", alpha=0.6, ms=4, mew=0.8, zorder=1)


def _draw_means(
    ax: Axes,
    frame: pd.DataFrame,
    x: str,
    value: str,
    places: Mapping[Any, float],
    shift: float,
    colour: str,
    marker: str,
) -> Any:
    at = np.array([_place(places, v) + shift for v in frame[x]])
    order = np.argsort(at, kind="stable")
    mean = frame[value].to_numpy(np.float64)[order]
    error = np.full((2, len(mean)), np.nan)
    if f"{value}_low" in frame and f"{value}_high" in frame:
        low, high = (frame[f"{value}_{end}"].to_numpy(np.float64)[order] for end in ("low", "high"))
        error = np.vstack([mean - low, high - mean])
    # A line says "in between": only between numbers.
    known = np.array([isinstance(v, int | float | np.number) and v == v for v in frame[x]])[order]
    ax.plot(at[order][known], mean[known], "-", color=colour, lw=0.8, alpha=0.6, zorder=2)
    return ax.errorbar(
        at[order],
        mean,
        yerr=np.where(np.isfinite(error), np.maximum(error, 0.0), 0.0),
        fmt=marker,
        color=colour,
        ms=6,
        capsize=3,
        lw=1.3,
        zorder=3,
    )


def _finish_means(ax: Axes, x: str, value: str, places: Mapping[Any, float]) -> bool:
    """Ticks, labels and limits; tells whether the tick labels are long and stand aslant."""
    numeric = all(isinstance(v, int | float | np.number) for v in places if v is not None)
    ticks = list(places.values())
    labels = ["unknown" if v is None else plain_text(number_text(v), limit=24) for v in places]
    turned = not numeric and (len(ticks) > 4 or max(map(len, labels), default=0) > 16)
    if len(ticks) <= 12 or not numeric:
        ax.set_xticks(
            ticks,
            labels,
            parse_math=False,
            rotation=30 if turned else 0,
            ha="right" if turned else "center",
        )
    unit = tag_unit(x)
    ax.set_xlabel(plain_text(x) + (f" / {unit}" if unit and numeric else ""), parse_math=False)
    column = GRAIN_STATISTICS["condition"].get(value)
    unit, meaning = (column.units, column.meaning) if column else ("1", value)
    shown = {"um2": " / µm²", "um": " / µm"}.get(unit, "")
    ax.set_ylabel(meaning.replace("number-weighted ", "") + shown)
    ax.set_ylim(bottom=0)
    if len(ticks) == 1:
        ax.set_xlim(ticks[0] - 1, ticks[0] + 1)
    else:
        ax.margins(x=0.1)
    return turned
