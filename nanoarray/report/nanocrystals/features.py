"""Features of crystals by shape group: means, histograms, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nanoarray.nanocrystal.groups.columns import FEATURES, LOGARITHMS
from nanoarray.report.nanocrystals.groups import (
    MIN_NORMAL,
    FloatArray,
    IntArray,
    balanced_sample,
    empty_figure,
    feature_label,
    group_colours,
    group_ids,
    group_legend,
    group_sizes,
    mean_and_std,
    numeric_columns,
    same_length,
)
from nanoarray.report.style import FAINT, INK, figure_style, margins, new_figure

#: Share of the crystals beyond either end of a histogram, so that an outlier does not empty it.
_TAIL = 0.002
_PANEL_WIDTH, _PANEL_HEIGHT = 2.05, 1.75


def plot_group_features(
    crystals: pd.DataFrame, group: npt.ArrayLike, *, features: Sequence[str] = FEATURES
) -> Figure:
    """Mean and standard deviation of every feature in every shape group.

    Parameters
    ----------
    crystals
        One row per crystal, lengths in nm.
    group
        (n,) shape group from 1; crystals without one (0, -1, NaN) are left out.
    features
        Columns to show; those without a finite value are left out.
    """
    same_length(crystals=crystals, group=group)
    ids, count = group_ids(group)
    names = numeric_columns(crystals[ids > 0], features)
    with figure_style():
        if not names:
            return empty_figure("no crystal in a shape group")
        figure, axes = _grid(len(names), legend_rows=0)
        colours = group_colours(count)
        for name, ax in zip(names, axes, strict=False):
            values = crystals[name].to_numpy(np.float64)
            for k in range(1, count + 1):
                mean, std = mean_and_std(values[ids == k])
                bar = std if math.isfinite(std) else 0.0
                ax.errorbar(
                    [k], [mean], yerr=[bar], fmt="o", color=colours[k - 1], ms=5, capsize=3, lw=1.4
                )
            ax.set_title(feature_label(name), loc="left", fontsize=8.5)
            ax.set_xlim(0.4, count + 0.6)
            ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
            ax.yaxis.set_major_locator(MaxNLocator(4))
            ax.tick_params(labelsize=7.5)
        for ax in axes[max(0, len(names) - _columns(len(names))) : len(names)]:
            ax.set_xlabel("shape group", fontsize=8)
    return figure


def plot_feature_histograms(
    crystals: pd.DataFrame,
    group: npt.ArrayLike,
    *,
    features: Sequence[str] = FEATURES,
    bin_count: int = 40,
) -> Figure:
    """Histograms of features, one per shape group, with the normal curves of the groups.

    A curve has the mean and standard deviation of its group and the area of its histogram. The
    axes leave out the 0.2 % of the crystals beyond either end; the curves are of all crystals.

    Parameters
    ----------
    crystals, group, features
        As in `plot_group_features`.
    bin_count
        Number of bins.
    """
    same_length(crystals=crystals, group=group)
    ids, count = group_ids(group)
    names = numeric_columns(crystals[ids > 0], features)
    with figure_style():
        if not names:
            return empty_figure("no crystal in a shape group")
        figure, axes = _grid(len(names), legend_rows=1)
        for name, ax in zip(names, axes, strict=False):
            _draw_histograms(ax, crystals[name].to_numpy(np.float64), ids, count, bin_count)
            ax.set_xlabel(feature_label(name), fontsize=8)
            ax.tick_params(labelsize=7.5)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_locator(MaxNLocator(3))
        for ax in axes[: len(names) : _columns(len(names))]:
            ax.set_ylabel("crystals", fontsize=8)
        group_legend(figure, group_sizes(ids, count), loc="upper left", ncols=5, borderaxespad=0.2)
    return figure


def _draw_histograms(
    ax: Axes, values: FloatArray, ids: IntArray, count: int, bin_count: int
) -> None:
    known = np.isfinite(values) & (ids > 0)
    low, high = np.quantile(values[known], [_TAIL, 1 - _TAIL])
    if high - low < 1e-9 * max(abs(low), 1.0):
        low, high = low - 0.5, high + 0.5
    bins = np.linspace(low, high, bin_count + 1)
    at = np.linspace(low, high, 200)
    step = bins[1] - bins[0]
    tallest = 1.0
    for k, colour in enumerate(group_colours(count), start=1):
        part = values[known & (ids == k)]
        if part.size == 0:
            continue
        heights, _ = np.histogram(part, bins=bins)
        tallest = max(tallest, float(heights.max()))
        ax.stairs(heights, bins, fill=True, color=colour, alpha=0.4)
        mean, std = mean_and_std(part)
        if part.size >= MIN_NORMAL and std > 0:
            density = np.exp(-0.5 * ((at - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
            curve = part.size * step * density
            ax.plot(at, curve, color=colour, lw=1.2)
    ax.set_xlim(low, high)
    # The curve of a group within one bin is far above its bar.
    ax.set_ylim(0, 1.15 * tallest)


def plot_parallel_coordinates(
    crystals: pd.DataFrame,
    group: npt.ArrayLike,
    *,
    columns: Sequence[str] = FEATURES,
    line_count: int = 240,
    seed: int = 0,
) -> Figure:
    """Parallel coordinates: every column standardized, the groups' medians and quartiles.

    Lengths, areas and ratios by their logarithm, as they enter the grouping; then each column has
    mean 0 and standard deviation 1 over all crystals. Thick lines are medians, bands reach from
    the lower to the upper quartile, thin lines are single crystals.

    Parameters
    ----------
    crystals, group
        As in `plot_group_features`.
    columns
        Columns to show, such as the ten common features and p, d and axis_ratio.
    line_count
        Largest number of thin lines: small groups whole, large ones thinned at random.
    seed
        Seed of that.
    """
    same_length(crystals=crystals, group=group)
    ids, count = group_ids(group)
    names = numeric_columns(crystals[ids > 0], columns)
    with figure_style():
        if not names:
            return empty_figure("no crystal in a shape group")
        scores = np.column_stack([_scores(crystals[n].to_numpy(np.float64), n, ids) for n in names])
        width, height = max(4.5, 0.75 * len(names) + 1.2), 4.0
        figure = new_figure(width, height)
        ax = figure.subplots(gridspec_kw=margins(width, height, bottom=1.15, top=0.45))
        at = np.arange(len(names))
        for k, colour in enumerate(group_colours(count), start=1):
            if not (ids == k).any():
                continue
            low, middle, high = _quartiles(scores[ids == k])
            ax.fill_between(at, low, high, color=colour, alpha=0.16, lw=0)
            ax.plot(at, middle, color=colour, lw=2.2, marker="o", ms=3.5, zorder=4)
        rows = np.flatnonzero((ids > 0) & np.isfinite(scores).all(axis=1))
        rows = rows[balanced_sample(ids[rows], line_count, seed=seed)]
        lines = [np.column_stack([at, scores[row]]) for row in rows]
        shades = [group_colours(count)[ids[row] - 1] for row in rows]
        ax.add_collection(LineCollection(lines, colors=shades, linewidths=0.4, alpha=0.35))
        ax.set_xticks(at, [n.replace("_", " ") for n in names], rotation=40, ha="right")
        ax.grid(axis="x", color=FAINT, lw=0.5)
        ax.axhline(0, color=INK, lw=0.6)
        ax.set_xlim(-0.25, len(names) - 0.75)
        ax.set_ylim(-4, 4)
        ax.set_ylabel("standard deviations from the mean")
        group_legend(figure, group_sizes(ids, count), loc="upper left", ncols=5, borderaxespad=0.2)
    return figure


def _scores(values: FloatArray, name: str, ids: IntArray) -> FloatArray:
    if name.removesuffix("_px") in LOGARITHMS:
        values = np.log(np.where(values > 0, values, np.nan))
    mean, std = mean_and_std(values[ids > 0])
    return (values - mean) / (std if std > 0 else 1.0)


def _quartiles(scores: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    found = np.full((3, scores.shape[1]), np.nan)
    for column, values in enumerate(scores.T):
        known = values[np.isfinite(values)]
        if known.size:
            found[:, column] = np.quantile(known, [0.25, 0.5, 0.75])
    return found[0], found[1], found[2]


def _columns(count: int) -> int:
    return min(5, max(1, count))


def _grid(count: int, *, legend_rows: int) -> tuple[Figure, list[Axes]]:
    """Panels in rows of five; those beyond ``count`` are off."""
    columns = _columns(count)
    rows = -(-count // columns)
    top = 0.3 + 0.15 * legend_rows
    width, height = 0.5 + _PANEL_WIDTH * columns, top + 0.35 + _PANEL_HEIGHT * rows
    figure = new_figure(max(width, 4.7), height)
    grid = margins(max(width, 4.7), height, left=0.55, bottom=0.42, top=top)
    axes = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={**grid, "hspace": 0.55, "wspace": 0.38}
    ).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, list(axes)
