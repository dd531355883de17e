"""Shape space: crystals at their p, axis ratio and d, as a figure and as points for the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nanoarray.report.nanocrystals.groups import (
    NO_GROUP,
    FloatArray,
    IntArray,
    all_finite,
    balanced_sample,
    empty_figure,
    group_colours,
    group_ids,
    group_legend,
    group_sizes,
    same_length,
)
from nanoarray.report.style import FAINT, INK, figure_style, new_figure

#: Points of the figure and of the page; more hide one another.
MAX_POINTS = 3000
_P_TICKS = (0.25, 0.5, 1, 2, 5, 10, 20, 50)
_RATIO_TICKS = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0)
_JITTER = 0.22


@dataclass(frozen=True)
class ShapePoints:
    """A sample of crystals in shape space, each coordinate from 0 to 1 within its ticks.

    Attributes
    ----------
    place
        (n, 3) log p, log axis ratio and d, the last spread a little: it is a whole number.
    group
        (n,) shape group, 0 none.
    ticks
        Per axis, its name and (place, label) of its ticks.
    total
        Crystals that the sample is of.
    counts
        Crystals of each group among them.
    """

    place: FloatArray
    group: IntArray
    ticks: tuple[tuple[str, tuple[tuple[float, str], ...]], ...]
    total: int
    counts: tuple[int, ...]

    @property
    def encoded(self) -> str:
        """Points as base64: per point three uint16 (little-endian, 0 to 65535) and the group."""
        record = np.zeros(len(self.place), dtype=[("place", "<u2", 3), ("group", "<u2")])
        record["place"] = np.rint(65535 * np.clip(self.place, 0, 1)).astype(np.uint16)
        record["group"] = self.group
        return base64.b64encode(record.tobytes()).decode("ascii")

    @property
    def axes(self) -> list[dict[str, object]]:
        """Names and ticks as the script of the page reads them."""
        return [
            {"name": name, "ticks": [[round(at, 4), label] for at, label in ticks]}
            for name, ticks in self.ticks
        ]

    @property
    def shown(self) -> list[int]:
        """Groups that have points, none (0) last."""
        found = sorted(int(k) for k in np.unique(self.group))
        return [*(k for k in found if k), *(k for k in found if not k)]

    @property
    def colours(self) -> list[str]:
        """Colour of no group, then of each group."""
        return [NO_GROUP, *group_colours(len(self.counts))]


def shape_points(
    p: npt.ArrayLike,
    axis_ratio: npt.ArrayLike,
    d: npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    max_points: int = MAX_POINTS,
    seed: int = 0,
) -> ShapePoints:
    """Sample crystals in shape space.

    Parameters
    ----------
    p, axis_ratio, d
        (n,) parameters of equation 1; crystals without them (NaN, d below 1) are left out.
    group
        (n,) shape group from 1, 0 or -1 none.
    max_points
        Largest number of points: small groups whole, large ones thinned at random.
    seed
        Seed of that, and of the spread of d.
    """
    same_length(p=p, axis_ratio=axis_ratio, d=d, group=group)
    exponent, ratio, axes = (np.asarray(a, dtype=np.float64) for a in (p, axis_ratio, d))
    ids, count = group_ids(group)
    known = all_finite((exponent, ratio, axes)) & (exponent > 0) & (ratio > 0) & (axes >= 1)
    rows = np.flatnonzero(known)
    counts = group_sizes(ids[rows], count)
    rows = rows[balanced_sample(ids[rows], max_points, seed=seed)]
    jitter = np.random.default_rng(seed).uniform(-_JITTER, _JITTER, rows.size)
    log_p, log_ratio = np.log(exponent[rows]), np.log(ratio[rows])
    order = axes[rows] + jitter
    largest = max(6.0, float(axes[known].max(initial=6.0)))
    spans = (
        _span(log_p, np.log(1.0), np.log(5.0)),
        _span(log_ratio, 0.0, np.log(1.5)),
        (0.5, largest + 0.5),
    )
    values = (log_p, log_ratio, order)
    place = np.column_stack([(v - a) / (b - a) for v, (a, b) in zip(values, spans, strict=True)])
    wanted = (
        ("p", [(np.log(t), f"{t:g}") for t in _P_TICKS]),
        ("axis ratio", [(np.log(t), f"{t:g}") for t in _RATIO_TICKS]),
        ("d", [(float(t), f"{t}") for t in range(1, int(largest) + 1)]),
    )
    ticks = tuple(
        (name, tuple(((v - a) / (b - a), s) for v, s in marks if a - 1e-9 <= v <= b + 1e-9))
        for (name, marks), (a, b) in zip(wanted, spans, strict=True)
    )
    return ShapePoints(place, ids[rows], ticks, int(known.sum()), tuple(counts))


def _span(values: FloatArray, low: float, high: float) -> tuple[float, float]:
    """Range of an axis: the values with a margin, at least ``low`` to ``high``."""
    low, high = min(low, float(values.min(initial=low))), max(high, float(values.max(initial=high)))
    room = 0.04 * (high - low)
    return low - room, high + room


def plot_shape_space(
    points: ShapePoints, *, azimuth_deg: float = -58, height_deg: float = 20
) -> Figure:
    """Crystals in the space of p, axis ratio and d, coloured by shape group.

    p and the axis ratio are on logarithmic axes; d is spread a little, so that points of equal d
    do not hide one another.

    Parameters
    ----------
    points
        As from `shape_points`.
    azimuth_deg, height_deg
        Where the reader stands.
    """
    with figure_style():
        if len(points.place) == 0:
            return empty_figure("no crystal with shape parameters")
        figure = new_figure(5.6, 4.9)
        ax = figure.add_axes((0.02, 0.02, 0.96, 0.88))
        ax.set_axis_off()
        ax.set_aspect("equal")
        turn = _rotation(azimuth_deg, height_deg)
        _draw_box(ax, points, turn)
        flat = (points.place - 0.5) @ turn.T
        order = np.argsort(flat[:, 2])  # far points first
        colours = np.array(points.colours, dtype=object)[points.group[order]]
        ax.scatter(
            flat[order, 0], flat[order, 1], s=7, c=list(colours), alpha=0.75, linewidths=0, zorder=3
        )
        group_legend(figure, points.counts, loc="upper left", ncols=4, borderaxespad=0.2)
        if len(points.place) < points.total:
            note = f"{len(points.place):,} of {points.total:,} crystals".replace(",", "\u2009")
            figure.text(0.99, 0.01, note, ha="right", fontsize=8)
    return figure


def _rotation(azimuth_deg: float, height_deg: float) -> FloatArray:
    """Rows: right, up and towards the reader, of the axes p, axis ratio and d (upwards)."""
    a, h = np.deg2rad([azimuth_deg, height_deg])
    return np.array(
        [
            [-np.sin(a), np.cos(a), 0.0],
            [-np.sin(h) * np.cos(a), -np.sin(h) * np.sin(a), np.cos(h)],
            [np.cos(h) * np.cos(a), np.cos(h) * np.sin(a), np.sin(h)],
        ]
    )


def _draw_box(ax: Axes, points: ShapePoints, turn: FloatArray) -> None:
    """The edges of the unit cube, and ticks along three that do not cross the points."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    flat = (corners - 0.5) @ turn.T
    nearest = int(flat[:, 2].argmax())
    for i in range(8):
        for axis in range(3):
            j = i | (4 >> axis)
            if j == i or nearest in (i, j):
                continue
            ax.plot(*flat[[i, j], :2].T, color=FAINT, lw=0.7, zorder=1)
    for axis, (name, ticks) in enumerate(points.ticks):
        base = _tick_edge(axis, turn)
        ends = np.array([base, base], float)
        ends[:, axis] = (0.0, 1.0)
        line = (ends - 0.5) @ turn.T
        ax.plot(*line[:, :2].T, color=INK, lw=0.9, zorder=2)
        out = line[:, :2].mean(axis=0)
        out = out / max(float(np.hypot(*out)), 1e-9)
        for place, label in ticks:
            at = line[0, :2] + place * (line[1, :2] - line[0, :2])
            ax.plot(*np.column_stack([at, at + 0.025 * out]), color=INK, lw=0.8)
            x, y = at + 0.075 * out
            ax.text(float(x), float(y), label, ha="center", va="center", fontsize=7.5)
        middle = line[:, :2].mean(axis=0) + 0.19 * out
        ax.text(float(middle[0]), float(middle[1]), name, ha="center", va="center", fontsize=9)


def _tick_edge(axis: int, turn: FloatArray) -> list[float]:
    """Of the four edges along an axis, the one at the outline: lowest, or for d the leftmost."""
    others = [k for k in range(3) if k != axis]
    best, found = np.inf, [0.0, 0.0, 0.0]
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            corner = [0.5, 0.5, 0.5]
            corner[others[0]], corner[others[1]] = a, b
            flat = turn @ (np.array(corner) - 0.5)
            score = float(flat[0] if axis == 2 else flat[1])
            if score < best - 1e-9:
                best, found = score, corner
    return found
