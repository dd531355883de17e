"""Grain sizes by condition: distributions, and means with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nanoarray.errors import InputError
from nanoarray.report.style import (
    CATEGORIES,
    FAINT,
    condition_title,
    figure_style,
    margins,
    new_figure,
)
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.superlattice.statistics.sizes import ConditionSizes, sizes_by_condition

Quantity = Literal["area", "equivalent_diameter"]
FloatArray = npt.NDArray[np.float64]

_NUMBER, _AREA = CATEGORIES[0], CATEGORIES[5]
#: A fit of fewer grains says nothing.
_MIN_FIT = 5


class SizeDistribution(NamedTuple):
    """Sizes of one condition and how much each grain counts."""

    size: FloatArray
    number_weight: FloatArray
    area_weight: FloatArray
    log_mean: float
    log_std: float
    #: Natural logarithm that the area weighting shifts a log-normal distribution by, per variance.
    shift: float


def plot_size_distributions(
    grains: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    quantity: Quantity = "area",
    edge: EdgeRule = "exclude",
) -> Figure:
    """Distribution of grain sizes by condition, weighted by number and by area.

    Each panel shows the share of grains (filled) and of the grains' area (outline) per bin of the
    logarithm of the size, with the log-normal distribution of the same mean and standard deviation
    of ln(size) as a line, and says how many grains it is made of.

    Parameters
    ----------
    grains, images, by, edge
        As in `superlattice.statistics.sizes.summarize_grains`. Grains cut by the edge of the
        field are left out of the sizes unless ``edge`` is ``"include"``.
    quantity
        ``"area"`` [um2] or ``"equivalent_diameter"`` [um].

    Raises
    ------
    InputError
        For an unknown quantity, or columns that are not there.
    """
    if quantity not in ("area", "equivalent_diameter"):
        raise InputError(f"quantity is {quantity!r}: expected 'area' or 'equivalent_diameter'")
    sizes = sizes_by_condition(grains, images, by=by, edge=edge)
    cut = _edge_counts(grains, images, sizes, by=by) if edge != "include" else [0] * len(sizes)
    # A condition of which every image was left out has nothing to show.
    shown_sizes = [(part, n) for part, n in zip(sizes, cut, strict=True) if part.area_um2.size or n]
    sizes, cut = [part for part, _ in shown_sizes], [n for _, n in shown_sizes]
    parts = [_distribution(part, quantity) for part in sizes]
    everything = np.concatenate([p.size for p in parts]) if parts else np.zeros(0)
    columns = 1 if len(parts) < 2 else 2
    rows = max(1, -(-len(parts) // columns))
    width, height = 4.7 * columns, 0.45 + 1.95 * rows
    with figure_style():
        figure = new_figure(width, height)
        axes = figure.subplots(
            rows,
            columns,
            sharex=True,
            squeeze=False,
            gridspec_kw={**margins(width, height, top=0.75), "hspace": 0.5, "wspace": 0.17},
        )
        if everything.size == 0:
            for ax in axes.ravel():
                ax.set_axis_off()
            axes[0, 0].text(0.5, 0.5, "no grain with a size", ha="center", va="center")
            return figure
        bins = _bins(everything)
        for ax in axes.ravel()[len(parts) :]:
            ax.set_axis_off()
        for k, (ax, part, sample) in enumerate(zip(axes.ravel(), parts, sizes, strict=False)):
            _draw_distribution(ax, part, bins)
            grain_count, image_count = part.size.size, len(np.unique(sample.image))
            note = f"{grain_count} grain{'s' * (grain_count != 1)}, "
            note += f"{image_count} image{'s' * (image_count != 1)}"
            if edge != "include":
                note += f", {cut[k]} cut by the edge left out"
                note += " (weighted for it)" if edge == "weight" else ""
            ax.set_title(condition_title(sample.tags), loc="left", pad=15, parse_math=False)
            ax.text(0.0, 1.03, note, transform=ax.transAxes, va="bottom", fontsize=7.5)
            ax.set_ylabel("share / %")
        unit = "µm²" if quantity == "area" else "µm"
        for column in range(columns):
            shown = axes[: -(-(len(parts) - column) // columns), column]
            if shown.size:
                shown[-1].set_xlabel(f"{quantity.replace('_', ' ')} of a grain / {unit}")
                shown[-1].tick_params(labelbottom=True)
        figure.legend(*_legend(), loc="upper right", ncols=3, fontsize=8)
    return figure


# --- parts ---------------------------------------------------------------------------------------


def _distribution(part: ConditionSizes, quantity: Quantity) -> SizeDistribution:
    size = part.area_um2 if quantity == "area" else part.diameter_um
    weight = part.weight / part.weight.sum() if part.weight.size else part.weight
    area = weight * part.area_um2
    area = area / area.sum() if area.size else area
    log_mean = log_std = math.nan
    if size.size >= _MIN_FIT:
        log = np.log(size)
        log_mean = float((weight * log).sum())
        log_std = float(np.sqrt((weight * (log - log_mean) ** 2).sum()))
    return SizeDistribution(
        size, weight, area, log_mean, log_std, 1.0 if quantity == "area" else 2.0
    )


def _bins(size: FloatArray) -> FloatArray:
    """Bins of equal ratio over all sizes: by Scott's rule on the logarithm, 8 to 40 of them."""
    low, high = float(np.log(size.min())), float(np.log(size.max()))
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    width = 3.49 * max(float(np.log(size).std()), 1e-6) / size.size ** (1 / 3)
    count = int(np.clip(np.ceil((high - low) / width), 8, 40))
    step = (high - low) / count
    # An empty bin on either side shows where the fitted curves go.
    return np.exp(np.linspace(low - step, high + step, count + 3))


def _draw_distribution(ax: Axes, part: SizeDistribution, bins: FloatArray) -> None:
    ax.set_xscale("log")
    ax.set_xlim(bins[0] / 1.1, bins[-1] * 1.1)
    ax.xaxis.set_major_locator(LogLocator(subs=_ticks(bins[-1] / bins[0])))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    step = math.log(bins[1] / bins[0])
    number, _ = np.histogram(part.size, bins=bins, weights=100 * part.number_weight)
    area, _ = np.histogram(part.size, bins=bins, weights=100 * part.area_weight)
    ax.stairs(number, bins, fill=True, color=_NUMBER, alpha=0.45)
    ax.stairs(area, bins, color=_AREA, linewidth=1.3)
    if part.log_std > 0:
        at = np.linspace(math.log(bins[0]), math.log(bins[-1]), 200)
        moved = part.log_mean + part.shift * part.log_std**2
        for centre, colour in ((part.log_mean, _NUMBER), (moved, _AREA)):
            density = np.exp(-0.5 * ((at - centre) / part.log_std) ** 2)
            density *= 100 * step / (part.log_std * math.sqrt(2 * math.pi))
            ax.plot(np.exp(at), density, color=colour, lw=1.1, ls=(0, (4, 2)))
    ax.set_ylim(0, 1.05 * max(float(number.max()), float(area.max()), 1.0))


def _ticks(ratio: float) -> tuple[float, ...]:
    """Which steps of a decade to label, so that labels neither collide nor are missing."""
    if ratio > 300:
        return (1.0,)
    return (1.0, 2.0, 5.0) if ratio > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)


def _legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return (
        [
            Patch(facecolor=_NUMBER, alpha=0.45),
            Line2D([], [], color=_AREA, lw=1.3),
            Line2D([], [], color=FAINT, lw=1.1, ls=(0, (4, 2))),
        ],
        ["by number", "by area", "log-normal"],
    )


def _edge_counts(
    grains: pd.DataFrame,
    images: pd.DataFrame,
    sizes: Sequence[ConditionSizes],
    *,
    by: Sequence[str],
) -> list[int]:
    """How many grains each condition leaves out because the edge cuts them."""
    with_edge = sizes_by_condition(grains, images, by=by, edge="include")
    return [len(w.area_um2) - len(o.area_um2) for w, o in zip(with_edge, sizes, strict=True)]
