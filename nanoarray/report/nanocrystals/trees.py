"""How groups were found: dendrogram, silhouettes, principal components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nanoarray.errors import InputError
from nanoarray.report.nanocrystals.groups import (
    FloatArray,
    IntArray,
    empty_figure,
    group_colours,
    group_ids,
    group_legend,
    group_sizes,
)
from nanoarray.report.style import CATEGORIES, FAINT, INK, figure_style, margins, new_figure

_MARKERS = "osD^vPX"


def plot_dendrogram(
    tree: npt.ArrayLike,
    *,
    leaf_group: npt.ArrayLike | None = None,
    max_branches: int = 60,
) -> Figure:
    """Dendrogram of a linkage tree: its last merges, with the crystals below each branch.

    Parameters
    ----------
    tree
        (m - 1, 4) linkage matrix as from `scipy.cluster.hierarchy.linkage`.
    leaf_group
        (m,) shape group of every leaf. A branch has the colour of its group where at least 90 % of
        its leaves are of one; the strip at the bottom shows the shares.
    max_branches
        Number of branches that the drawing ends with: what merges below is one branch.

    Raises
    ------
    InputError
        When this is no linkage matrix, or the groups are not one per leaf.
    """
    links = np.asarray(tree, dtype=np.float64)
    if links.ndim != 2 or links.shape[1] != 4:
        raise InputError(f"the tree has shape {links.shape}: expected a linkage matrix (m - 1, 4)")
    leaves = links.shape[0] + 1
    ids, count = group_ids(np.zeros(leaves) if leaf_group is None else leaf_group)
    if ids.size != leaves and links.shape[0]:
        raise InputError(f"{ids.size} groups of {leaves} leaves: expected one per leaf")
    with figure_style():
        if links.shape[0] == 0:
            return empty_figure("no tree: fewer than two crystals")
        counts = _node_counts(links, ids, count)
        branches = min(max_branches, leaves)
        x, y, ends = _layout(links, branches)
        width, height = min(max(4.7, 0.14 * branches + 1.4), 16.0), 3.9
        figure = new_figure(width, height)
        grid = margins(width, height, bottom=0.4, top=0.45, left=0.75)
        ax, strip = figure.subplots(
            2, 1, sharex=True, gridspec_kw={**grid, "height_ratios": (10, 1), "hspace": 0.03}
        )
        segments, shades = _segments(links, counts, x, y, ends)
        ax.add_collection(LineCollection(segments, colors=shades, linewidths=1.1))
        ax.set_xlim(-0.7, branches - 0.3)
        top = 1.03 * links[-1, 2] or 1.0  # 0: all crystals are equal
        ax.set_ylim(0.97 * min(y[n] for n in y if n not in ends), top)
        ax.set_ylabel("distance of merged branches")
        ax.tick_params(bottom=False)
        _draw_strip(strip, counts, x, ends, count)
        what = f"{branches} branches of {leaves:,} crystals".replace(",", "\u2009")
        strip.set_xlabel(what + ": share of each group in a branch" if count else what)
        group_legend(figure, group_sizes(ids, count), loc="upper left", ncols=5, borderaxespad=0.2)
    return figure


def _node_counts(links: FloatArray, ids: IntArray, count: int) -> IntArray:
    """Leaves of each group (0 for none) below every node, (2 m - 1, groups + 1)."""
    leaves = ids.size
    counts = np.zeros((leaves + links.shape[0], count + 1), np.int64)
    counts[np.arange(leaves), ids] = 1
    for row, (a, b) in enumerate(links[:, :2].astype(np.int64)):
        counts[leaves + row] = counts[a] + counts[b]
    return counts


def _layout(
    links: FloatArray, branches: int
) -> tuple[dict[int, float], dict[int, float], set[int]]:
    """Place and height of the last nodes, and which of them are the ends of the drawing.

    Without recursion: the tree of an average linkage may be as deep as it has leaves.
    """
    leaves = links.shape[0] + 1
    first_shown = leaves + links.shape[0] - (branches - 1)
    order: list[int] = []
    stack = [leaves + links.shape[0] - 1]
    inner: list[int] = []
    while stack:
        node = stack.pop()
        if node < first_shown:
            order.append(node)
            continue
        inner.append(node)
        left, right = links[node - leaves, :2].astype(np.int64)
        stack += [int(right), int(left)]
    x = {node: float(place) for place, node in enumerate(order)}
    y = dict.fromkeys(order, 0.0)
    for node in sorted(inner):  # children have lower numbers
        left, right = links[node - leaves, :2].astype(np.int64)
        x[node] = (x[int(left)] + x[int(right)]) / 2
        y[node] = float(links[node - leaves, 2])
    return x, y, set(order)


def _segments(
    links: FloatArray,
    counts: IntArray,
    x: Mapping[int, float],
    y: Mapping[int, float],
    ends: set[int],
) -> tuple[list[list[tuple[float, float]]], list[str]]:
    leaves = links.shape[0] + 1
    colours = group_colours(counts.shape[1] - 1)
    segments, shades = [], []

    def shade(node: int) -> str:
        share = counts[node] / max(counts[node].sum(), 1)
        best = int(share[1:].argmax()) + 1 if share.size > 1 else 0
        return colours[best - 1] if best and share[best] >= 0.9 else INK

    for node, height in y.items():
        if node in ends:
            continue
        left, right = (int(child) for child in links[node - leaves, :2])
        segments.append([(x[left], height), (x[right], height)])
        shades.append(shade(node))
        for child in (left, right):
            segments.append([(x[child], y[child]), (x[child], height)])
            shades.append(shade(child))
    return segments, shades


def _draw_strip(
    ax: Axes, counts: IntArray, x: Mapping[int, float], ends: set[int], count: int
) -> None:
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.set_xticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
    nodes = sorted(ends)
    places = [x[node] for node in nodes]
    shares = counts[nodes] / np.maximum(counts[nodes].sum(axis=1, keepdims=True), 1)
    base = np.zeros(len(nodes))
    for k, colour in enumerate([FAINT, *group_colours(count)]):
        ax.bar(places, shares[:, k], bottom=base, width=0.8, color=colour, lw=0)
        base = base + shares[:, k]


def plot_explained_variance(explained_variance: npt.ArrayLike) -> Figure:
    """Pareto chart of principal components: share of the variance of each, and their sum.

    Parameters
    ----------
    explained_variance
        (c,) share of the variance of each component, the largest first.
    """
    share = 100.0 * np.asarray(explained_variance, dtype=np.float64).ravel()
    share = share[np.isfinite(share)]
    with figure_style():
        if share.size == 0:
            return empty_figure("no principal components: no crystal with all values")
        width, height = max(3.6, 0.42 * share.size + 1.2), 3.0
        figure = new_figure(width, height)
        ax = figure.subplots(gridspec_kw=margins(width, height, top=0.3))
        at = np.arange(1, share.size + 1)
        ax.bar(at, share, color=CATEGORIES[0], width=0.75)
        ax.plot(at, np.cumsum(share), "o-", color=CATEGORIES[5], ms=4, lw=1.3)
        ax.axhline(95, color=FAINT, lw=0.8, ls=(0, (4, 3)))
        enough = int(np.searchsorted(np.cumsum(share), 95 - 1e-9)) + 1
        ax.text(
            share.size + 0.45, 93.5, f"95 % with {min(enough, share.size)}",
            ha="right", va="top", fontsize=7.5,
        )  # fmt: skip
        ax.set_xlim(0.4, share.size + 0.6)
        ax.set_ylim(0, 104)
        ax.xaxis.set_major_locator(MaxNLocator(14, integer=True, min_n_ticks=1))
        ax.set_xlabel("principal component")
        ax.set_ylabel("variance / %")
    return figure


def plot_silhouettes(
    number: npt.ArrayLike,
    silhouette: npt.ArrayLike,
    *,
    datasets: Sequence[str],
    methods: Sequence[str],
    expected: npt.ArrayLike | None = None,
    chosen: tuple[str, str, int] | None = None,
) -> Figure:
    """Mean silhouette against the number of groups, by dataset and method.

    Parameters
    ----------
    number
        (g,) numbers of groups that were tried.
    silhouette
        (datasets, methods, g) mean silhouettes; NaN where there is none.
    datasets, methods
        Their names.
    expected
        (datasets,) largest silhouette to expect of a single group, where known.
    chosen
        Dataset, method and number of groups of the model: ringed.
    """
    tried = np.asarray(number, dtype=np.float64).ravel()
    values = np.asarray(silhouette, dtype=np.float64)
    if values.shape != (len(datasets), len(methods), tried.size):
        raise InputError(
            f"the silhouettes have shape {values.shape}: expected "
            f"({len(datasets)}, {len(methods)}, {tried.size}), datasets, methods and numbers"
        )
    limits = np.full(len(datasets), np.nan) if expected is None else np.asarray(expected, float)
    shown = [k for k in range(len(datasets)) if np.isfinite(values[k]).any()]
    with figure_style():
        if not shown:
            return empty_figure("no silhouettes: too few crystals with all values")
        width, height = 0.6 + 2.6 * len(shown), 3.0
        figure = new_figure(max(width, 4.2), height)
        grid = margins(max(width, 4.2), height, top=0.62)
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False, gridspec_kw=grid)[0]
        for k, ax in zip(shown, axes, strict=True):
            for m, method in enumerate(methods):
                ax.plot(
                    tried, values[k, m], marker=_MARKERS[m % len(_MARKERS)], ms=4, lw=1.2,
                    color=CATEGORIES[m % len(CATEGORIES)], label=method,
                )  # fmt: skip
            if math.isfinite(limits[k]):
                label = "expected of one group"
                ax.axhline(limits[k], color=FAINT, lw=1, ls=(0, (4, 3)), label=label)
            if chosen is not None and chosen[0] == datasets[k] and chosen[1] in methods:
                here = np.flatnonzero(tried == chosen[2])
                place = values[k, list(methods).index(chosen[1]), here]
                ax.plot(tried[here], place, "o", mfc="none", mec=INK, ms=11, mew=1.3)
            ax.set_title(datasets[k], loc="left")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set_xlabel("number of groups")
        axes[0].set_ylabel("mean silhouette")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", ncols=4, fontsize=8, borderaxespad=0.2)
    return figure
