"""Crystals by condition: sizes, their intervals, composition, and how many crystals it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.population import Population, build_population
from nanoarray.report.nanocrystals.groups import (
    FloatArray,
    empty_figure,
    group_colours,
    plain_log_ticks,
)
from nanoarray.report.style import (
    CATEGORIES,
    FAINT,
    condition_title,
    figure_style,
    margins,
    new_figure,
    plain_text,
)
from nanoarray.statistics.cohort import EdgeRule

_NUMBER, _VOLUME = CATEGORIES[0], CATEGORIES[5]
#: A fit of fewer crystals says nothing.
_MIN_FIT = 5
_VALUES = {
    "mean_size": "mean size / nm",
    "median_size": "median size / nm",
    "relative_spread": "relative spread σ/d / %",
    "volume_weighted_mean_size": "volume-weighted mean size / nm",
}


def plot_crystal_sizes(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    size: str = "equivalent_diameter",
    edge: EdgeRule = "weight",
    statistics: pd.DataFrame | None = None,
) -> Figure:
    """Distribution of crystal sizes by condition, with the mean of the ensemble.

    Filled: share of the crystals; outline: share of their volume (third power of the size); line:
    the log-normal distribution of the same mean and standard deviation of the logarithm; point:
    the mean, with its interval where known.

    Parameters
    ----------
    crystals, images, by, size, edge
        As in `nanocrystal.compare.summary.summarize_crystals`.
    statistics
        As from there: the intervals of the means.
    """
    population = build_population(crystals, images, tags=list(by), size=size, edge=edge)
    parts = list(population.conditions(list(by)))
    everything = population.size_nm[population.sized]
    columns = 1 if len(parts) < 2 else 2
    rows = max(1, -(-len(parts) // columns))
    width, height = 4.7 * columns, 0.6 + 2.05 * rows
    with figure_style():
        if everything.size == 0:
            return empty_figure("no crystal with a size")
        figure = new_figure(width, height)
        axes = figure.subplots(
            rows,
            columns,
            squeeze=False,
            sharex=True,
            gridspec_kw={**margins(width, height, top=0.75), "hspace": 0.62, "wspace": 0.17},
        )
        bins = _bins(everything)
        for ax in axes.ravel()[len(parts) :]:
            ax.set_axis_off()
        for ax, (tags, part) in zip(axes.ravel(), parts, strict=False):
            row = _matching(statistics, tags)
            _draw_sizes(ax, part, bins, row)
            ax.set_title(condition_title(tags), loc="left", pad=15, parse_math=False)
            ax.text(0, 1.03, _note(part, row), transform=ax.transAxes, va="bottom", fontsize=7.5)
        name = size.replace("_", " ")
        for column in range(columns):
            shown = axes[: -(-(len(parts) - column) // columns), column]
            if shown.size:
                shown[-1].set_xlabel(f"{name} of a crystal / nm")
                shown[-1].tick_params(labelbottom=True)
        for ax in axes[:, 0]:
            ax.set_ylabel("share / %")
        figure.legend(*_legend(), loc="upper right", ncols=4, fontsize=8, borderaxespad=0.3)
    return figure


def _bins(size: FloatArray) -> FloatArray:
    """Equal bins from 0 over all but the 0.5 % largest sizes: by Scott's rule, 12 to 60."""
    high = float(np.quantile(size, 0.995)) * 1.1
    width = 3.49 * max(float(size.std()), 1e-6) / size.size ** (1 / 3)
    count = int(np.clip(np.ceil(high / width), 12, 60))
    return np.linspace(0.0, high, count + 1)


def _draw_sizes(ax: Axes, part: Population, bins: FloatArray, row: pd.Series | None) -> None:
    size, weight = part.size_nm[part.sized], part.weight[part.sized]
    ax.set_xlim(bins[0], bins[-1])
    if size.size == 0:
        ax.text(0.5, 0.5, "no crystal with a size", transform=ax.transAxes, ha="center")
        return
    weight = weight / weight.sum()
    volume = weight * size**3
    number, _ = np.histogram(size, bins=bins, weights=100 * weight)
    by_volume, _ = np.histogram(size, bins=bins, weights=100 * volume / volume.sum())
    ax.stairs(number, bins, fill=True, color=_NUMBER, alpha=0.45)
    ax.stairs(by_volume, bins, color=_VOLUME, lw=1.2)
    mean = float((weight * size).sum())
    log = np.log(size)
    centre = float((weight * log).sum())
    spread = float(np.sqrt((weight * (log - centre) ** 2).sum()))
    if size.size >= _MIN_FIT and spread > 0:
        at = np.linspace(bins[-1] / 400, bins[-1], 300)
        density = np.exp(-0.5 * ((np.log(at) - centre) / spread) ** 2)
        density *= 100 * (bins[1] - bins[0]) / (at * spread * math.sqrt(2 * math.pi))
        ax.plot(at, density, color=_NUMBER, lw=1.1, ls=(0, (4, 2)))
    top = 1.18 * max(float(number.max()), float(by_volume.max()), 1.0)
    error = [[0.0], [0.0]]
    if row is not None and math.isfinite(row["mean_size_low"]):
        mean = float(row["mean_size"])
        error = [[mean - row["mean_size_low"]], [row["mean_size_high"] - mean]]
    ax.errorbar([mean], [0.93 * top], xerr=error, fmt="o", color="#14181d", ms=5, capsize=3, lw=1.3)
    ax.set_ylim(0, top)


def _note(part: Population, row: pd.Series | None) -> str:
    size, weight = part.size_nm[part.sized], part.weight[part.sized]
    if size.size == 0:
        return f"{int((part.rejected == '').sum())} crystals, none with a size"
    mean = float(np.average(size, weights=weight))
    std = math.sqrt(float(np.average((size - mean) ** 2, weights=weight)))
    if row is not None and math.isfinite(row["mean_size"]):
        mean, std = float(row["mean_size"]), float(row["std_size"])
    text = f"{size.size} crystals, {int(part.scaled.sum())} images: {mean:.3g}"
    known = math.isfinite(std)  # one crystal has no standard deviation
    text += f" ± {std:.2g} nm, σ/d {100 * std / mean:.0f} %" if known else " nm"
    cut = part.count("edge")
    return text + (f"; without {cut} at the edge" if cut else "")


def _matching(statistics: pd.DataFrame | None, tags: dict[str, object]) -> pd.Series | None:
    """The row of a condition; None where there is no such row."""
    if statistics is None:
        return None
    for _, row in statistics.iterrows():
        if all(
            name in row and (row[name] == value or (row[name] != row[name] and value != value))
            for name, value in tags.items()
        ):
            return row
    return None


def _legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return (
        [
            Patch(facecolor=_NUMBER, alpha=0.45),
            Line2D([], [], color=_VOLUME, lw=1.2),
            Line2D([], [], color=_NUMBER, lw=1.1, ls=(0, (4, 2))),
            Line2D([], [], color="#14181d", marker="o", lw=1.3, ms=5),
        ],
        ["by number", "by volume", "log-normal", "mean"],
    )


def plot_condition_intervals(
    statistics: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    values: Sequence[str] = ("mean_size", "relative_spread"),
) -> Figure:
    """Mean size and relative spread of every condition, with intervals.

    Parameters
    ----------
    statistics
        As from `nanocrystal.compare.summary.summarize_crystals`.
    by
        Tags that name the conditions.
    values
        Columns with ``_low`` and ``_high``.
    """
    missing = [name for name in values if name not in statistics]
    if missing:
        raise InputError(
            f"the statistics have no column {missing[0]!r}: they have "
            f"{', '.join(map(str, statistics.columns))}"
        )
    names = [
        condition_title({tag: row[tag] for tag in by if tag in row}) if by else "all images"
        for _, row in statistics.iterrows()
    ]
    with figure_style():
        if not names:
            return empty_figure("no condition")
        left = 0.35 + 0.067 * max(map(len, names))
        width, height = left + 2.9 * len(values), 0.75 + 0.36 * len(names)
        figure = new_figure(width, height)
        grid = {**margins(width, height, left=left), "wspace": 0.15}
        axes = figure.subplots(1, len(values), squeeze=False, sharey=True, gridspec_kw=grid)[0]
        for value, ax in zip(values, axes, strict=True):
            scale = 100.0 if value == "relative_spread" else 1.0
            _draw_intervals(ax, *(scale * a for a in _with_interval(statistics, value)))
            ax.set_xlabel(_VALUES.get(value, value.replace("_", " ")))
        axes[0].set_yticks(range(len(names)), names, parse_math=False)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def _with_interval(frame: pd.DataFrame, value: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    names = (value, f"{value}_low", f"{value}_high")
    middle, low, high = (
        frame[n].to_numpy(np.float64) if n in frame else np.full(len(frame), np.nan) for n in names
    )
    return middle, low, high


def _draw_intervals(
    ax: Axes, middle: FloatArray, low: FloatArray, high: FloatArray, *, colour: str = CATEGORIES[0]
) -> None:
    error = np.nan_to_num(np.maximum(np.vstack([middle - low, high - middle]), 0.0))
    at = np.arange(middle.size)
    ax.errorbar(middle, at, xerr=error, fmt="o", color=colour, ms=5.5, capsize=3, lw=1.4)
    ax.grid(axis="x", color=FAINT, lw=0.4, alpha=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(5))


def plot_composition(composition: pd.DataFrame, *, by: Sequence[str] = ()) -> Figure:
    """Share of every shape group in every condition, with intervals.

    Parameters
    ----------
    composition
        As from `nanocrystal.compare.composition.group_composition`: ``condition``,
        ``shape_group`` and ``share`` with its ends.
    by
        Tags that name the conditions.
    """
    for name in ("condition", "shape_group", "share"):
        if name not in composition:
            raise InputError(f"the composition has no column {name!r}")
    frame = composition[composition["shape_group"] > 0]
    groups = sorted(int(k) for k in frame["shape_group"].unique())
    with figure_style():
        if not groups:
            return empty_figure("no shape groups")
        keys = list(dict.fromkeys(frame["condition"].astype(str)))
        names = [_name_of(frame, key, by) for key in keys]
        columns = min(5, len(groups))
        rows = -(-len(groups) // columns)
        left = 0.35 + 0.067 * max(map(len, names))
        each = 0.55 + 0.3 * len(names)
        width, height = left + 1.75 * columns + 0.2, 0.4 + each * rows + 0.1
        figure = new_figure(max(width, 4), height)
        grid = margins(max(width, 4), height, left=left, top=0.3)
        axes = figure.subplots(
            rows, columns, squeeze=False, sharey=True, sharex=True,
            gridspec_kw={**grid, "wspace": 0.15, "hspace": 0.5},
        ).ravel()  # fmt: skip
        colours = group_colours(max(groups))
        top = 0.0
        for group, ax in zip(groups, axes, strict=False):
            part = frame[frame["shape_group"] == group].set_index("condition").reindex(keys)
            middle, low, high = (100 * a for a in _with_interval(part, "share"))
            _draw_intervals(ax, middle, low, high, colour=colours[group - 1])
            top = max(top, float(np.nanmax(np.append(middle, np.append(high, 1.0)))))
            ax.set_title(f"group {group}", loc="left", fontsize=8.5)
        for ax in axes[len(groups) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(groups) - columns) : len(groups)]:
            ax.set_xlabel("share / %", fontsize=8)
            ax.tick_params(labelbottom=True)
        axes[0].set_xlim(0, min(1.05 * top, 102))
        axes[0].set_yticks(range(len(names)), names, parse_math=False)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def _name_of(frame: pd.DataFrame, key: str, by: Sequence[str]) -> str:
    if key == "total" or not by:
        return plain_text(key) or "all images"
    row = frame[frame["condition"].astype(str) == key].iloc[0]
    return condition_title({tag: row[tag] for tag in by if tag in row})


def plot_subsampling(
    curve: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    precision: pd.DataFrame | None = None,
    relative_error: float = 0.05,
) -> Figure:
    """How the interval of the mean size narrows with the number of crystals measured.

    Solid: whole images or samples are drawn, as they come; dashed: crystals, as if each were
    independent. Where the solid curve is above the dashed one, crystals of one image are alike.

    Parameters
    ----------
    curve
        As from `nanocrystal.compare.precision.subsampling_curve`: ``condition``, ``drawn``,
        ``crystal_count`` and ``relative_half_width``.
    by
        Tags that name the conditions.
    precision
        As from `nanocrystal.compare.precision.precision_by_condition`: the numbers of crystals that
        the precision asks for (ISO 13322-1) are marked.
    relative_error
        Precision that is asked for, where ``precision`` does not say.
    """
    for name in ("condition", "drawn", "crystal_count", "relative_half_width"):
        if name not in curve:
            raise InputError(f"the subsampling curve has no column {name!r}")
    known = curve[np.isfinite(curve["relative_half_width"].to_numpy(np.float64))]
    needed: dict[str, float] = {}
    if precision is not None and len(precision):
        means = precision[precision["quantity"] == "mean_size"]
        keys = means["condition"].astype(str)
        needed = dict(zip(keys, means["needed"].astype(float), strict=True))
        relative_error = float(precision["relative_error"].iloc[0])
    with figure_style():
        if known.empty:
            return empty_figure("no subsampling curve: it takes two images with crystals")
        figure = new_figure(6.0, 3.6)
        ax = figure.subplots(gridspec_kw=margins(6.0, 3.6, top=0.2))
        for k, name in enumerate(dict.fromkeys(known["condition"].astype(str))):
            part = known[known["condition"].astype(str) == name].sort_values("crystal_count")
            colour = CATEGORIES[k % len(CATEGORIES)]
            for drawn, rows in part.groupby("drawn"):
                alone = drawn == "crystal"
                ax.plot(
                    rows["crystal_count"], 100 * rows["relative_half_width"],
                    "--" if alone else "o-", color=colour, ms=3.5, lw=1.2,
                    label=None if alone else f"{_name_of(known, name, by)}, "
                    f"by {drawn}",
                )  # fmt: skip
            if math.isfinite(needed.get(name, math.nan)):
                ax.plot(needed[name], 100 * relative_error, "v", color=colour, ms=8, mec="white")
        ax.axhline(100 * relative_error, color=FAINT, lw=1, ls=(0, (4, 3)))
        note = f"{100 * relative_error:g} %" + ("; triangle: crystals needed" if needed else "")
        ax.text(0.01, 98 * relative_error, note, transform=ax.get_yaxis_transform(),
                va="top", fontsize=7.5)  # fmt: skip
        for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            ax.set(**{f"{name}scale": "log"})
            plain_log_ticks(axis)
        ax.set_xlabel("crystals measured")
        ax.set_ylabel("half width of the interval\nof the mean size / %")
        legend = ax.legend(fontsize=8)
        for text in legend.get_texts() if legend else ():
            text.set_parse_math(False)
    return figure
