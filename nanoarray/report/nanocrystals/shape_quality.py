"""How well shapes fit: overlap, examples with their outlines, and diagnostics of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.render import outline
from nanoarray.report.nanocrystals.groups import (
    FloatArray,
    empty_figure,
    plain_log_ticks,
    same_length,
)
from nanoarray.report.nanocrystals.montage import CropSample
from nanoarray.report.style import (
    CATEGORIES,
    FAINT,
    INK,
    figure_style,
    margins,
    new_figure,
    scale_bar_length,
)

#: Curves of a training that are shown, with what they are, where its file has them.
_CURVES = {
    "total": "loss",
    "overlap": "1 − overlap with the truth",
    "p_rmse": "RMS error of (p − 2)/(p + 2)",
    "axis_ratio_rmse": "RMS error of log₂ axis ratio",
    "d_accuracy": "share with the right d",
}
_OUTLINE = CATEGORIES[5]


def plot_overlaps(jaccard: npt.ArrayLike, *, before: npt.ArrayLike | None = None) -> Figure:
    """Histogram of the overlap of crystals with their re-simulated shapes (Jaccard index).

    Parameters
    ----------
    jaccard
        (n,) overlaps from 0 to 1; NaN is left out.
    before
        (n,) the same before refinement, drawn as an outline.
    """
    after = np.asarray(jaccard, dtype=np.float64).ravel()
    after = after[np.isfinite(after)]
    with figure_style():
        if after.size == 0:
            return empty_figure("no crystal with a shape")
        figure = new_figure(4.4, 3.0)
        ax = figure.subplots(gridspec_kw=margins(4.4, 3.0, top=0.5, right=0.3))
        first = np.zeros(0) if before is None else np.asarray(before, np.float64).ravel()
        first = first[np.isfinite(first)]
        low = math.floor(20 * float(np.quantile(np.concatenate([after, first]), 0.005))) / 20
        bins = np.linspace(min(low, 0.9), 1.0, 41)
        share = [100 * np.histogram(v, bins=bins)[0] / max(v.size, 1) for v in (after, first)]
        name = "refined" if first.size else "all crystals"
        label = f"{name}: mean {after.mean():.3f}, median {np.median(after):.3f}"
        ax.stairs(share[0], bins, fill=True, color=CATEGORIES[0], alpha=0.5, label=label)
        if first.size:
            label = f"network alone: mean {first.mean():.3f}, median {np.median(first):.3f}"
            ax.stairs(share[1], bins, color=_OUTLINE, lw=1.3, label=label)
        ax.set_xlim(bins[0], 1.0)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_xlabel("Jaccard index of crystal and shape")
        ax.set_ylabel("crystals / %")
        figure.legend(loc="upper left", fontsize=8, borderaxespad=0.2)
    return figure


def plot_shape_examples(
    sample: CropSample,
    shapes: Mapping[str, npt.ArrayLike],
    *,
    columns: int = 8,
) -> Figure:
    """Crystals with the outlines of their re-simulated shapes over them.

    Each crop has a bar of its own, in nm, or in pixels of its image where the pixel size is
    unknown.

    Parameters
    ----------
    sample
        Crops.
    shapes
        ``p``, ``d``, ``axis_ratio``, ``phase`` [deg] and, where known, ``jaccard`` of each.
    columns
        Crops of a row.
    """
    values = {name: np.asarray(shapes[name], np.float64) for name in shapes}
    same_length(group=sample.group, **values)
    known = np.isfinite(np.stack([values[n] for n in ("p", "d", "axis_ratio", "phase")])).all(0)
    known &= (values["d"] >= 1) & sample.mask.any(axis=(1, 2))
    rows = np.flatnonzero(known)
    with figure_style():
        if rows.size == 0:
            return empty_figure("no crystal with a shape")
        columns = max(3, min(columns, rows.size))
        lines = -(-rows.size // columns)
        cell, text = 1.0, 0.32
        width, height = cell * columns + 0.1, (cell + text) * lines + 0.05
        figure = new_figure(width, height)
        for place, i in enumerate(rows):
            line, column = divmod(place, columns)
            bottom = height - (line + 1) * (cell + text)
            box = (
                (0.05 + column * cell + 0.03) / width, (bottom + text) / height,
                (cell - 0.06) / width, (cell - 0.06) / height,
            )  # fmt: skip
            ax = figure.add_axes(box)
            _draw_example(ax, sample, values, int(i))
    return figure


def _draw_example(ax: Axes, sample: CropSample, values: Mapping[str, FloatArray], i: int) -> None:
    size = sample.pixels.shape[1]
    pixels = np.asarray(sample.pixels[i], dtype=np.float64)
    low, high = np.percentile(pixels, [1, 99])
    ax.imshow(pixels, cmap="gray", vmin=low, vmax=high if high > low else low + 1)
    y, x = np.nonzero(sample.mask[i])
    points = outline(
        p=float(values["p"][i]),
        d=int(values["d"][i]),
        axis_ratio=float(values["axis_ratio"][i]),
        phase_deg=float(values["phase"][i]),
        equivalent_radius_px=math.sqrt(y.size / math.pi),
        centroid_y_px=float(y.mean()),
        centroid_x_px=float(x.mean()),
    )
    closed = np.vstack([points, points[:1]])
    ax.plot(closed[:, 1], closed[:, 0], color=_OUTLINE, lw=1.3)
    ax.set_xlim(-0.5, size - 0.5)
    ax.set_ylim(size - 0.5, -0.5)
    ax.set_axis_off()
    unit = float(sample.scale_px[i] * sample.pixel_size_nm[i])
    if math.isfinite(unit):
        length, label = scale_bar_length(size, unit, share=0.4)
    else:
        scale = float(sample.scale_px[i])
        length, label = scale_bar_length(size * scale, math.nan, share=0.4)
        length /= scale
    ax.plot([3, 3 + length], [size - 4] * 2, color="white", lw=2.5, solid_capstyle="butt")
    ax.plot([3, 3 + length], [size - 4] * 2, color="black", lw=0.8, solid_capstyle="butt")
    lines = [f"p {values['p'][i]:.2g}, L {values['axis_ratio'][i]:.2f}, d {int(values['d'][i])}"]
    overlap = values["jaccard"][i] if "jaccard" in values else math.nan
    lines.append(f"bar {label}" + (f", J {overlap:.2f}" if math.isfinite(overlap) else ""))
    ax.text(
        0.5, -0.03, "\n".join(lines), transform=ax.transAxes, ha="center", va="top", fontsize=6.3
    )


def plot_learning_curve(epochs: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses of training and validation against the number of images seen.

    Parameters
    ----------
    epochs
        The list ``epochs`` of the file that `nanoarray train shapes` writes: per epoch
        ``images_seen``, ``train`` and ``validation``, dictionaries of losses.
    """
    names = [n for n in _CURVES if any(n in e.get("validation", {}) for e in epochs)]
    with figure_style():
        if not names:
            return empty_figure("no epoch of a training")
        columns = min(3, len(names))
        rows = -(-len(names) // columns)
        width, height = 0.4 + 2.7 * columns, 0.45 + 2.15 * rows
        figure = new_figure(width, height)
        grid = margins(width, height, top=0.5)
        axes = figure.subplots(
            rows, columns, squeeze=False, gridspec_kw={**grid, "wspace": 0.38, "hspace": 0.5}
        ).ravel()
        seen = [float(e.get("images_seen", math.nan)) / 1000 for e in epochs]
        for name, ax in zip(names, axes, strict=False):
            for part, style, colour in (
                ("train", "-", CATEGORIES[0]), ("validation", "--", CATEGORIES[5]),
            ):  # fmt: skip
                curve = [float(e.get(part, {}).get(name, math.nan)) for e in epochs]
                if np.isfinite(curve).any():
                    ax.plot(seen, curve, style, color=colour, lw=1.3, marker="o", ms=2.5)
            ax.set_title(_CURVES[name], loc="left", fontsize=8.5)
            if name == "total" and min(_positive(epochs)) > 0:
                ax.set_yscale("log")
                plain_log_ticks(ax.yaxis)
            ax.set_xlabel("thousand images seen", fontsize=8)
        for ax in axes[len(names) :]:
            ax.set_axis_off()
        handles = [
            axes[0].plot([], [], "-", color=CATEGORIES[0], label="training")[0],
            axes[0].plot([], [], "--", color=CATEGORIES[5], label="validation")[0],
        ]
        figure.legend(handles=handles, loc="upper left", ncols=2, fontsize=8, borderaxespad=0.2)
    return figure


def _positive(epochs: Sequence[Mapping[str, Any]]) -> list[float]:
    found = [e.get(part, {}).get("total") for e in epochs for part in ("train", "validation")]
    return [float(v) for v in found if v is not None and math.isfinite(v)] or [0.0]


def plot_axes_quantiles(true_d: npt.ArrayLike, predicted_d: npt.ArrayLike) -> Figure:
    """Q-Q plot of the number of axes d: quantiles of the predicted against those of the true.

    Parameters
    ----------
    true_d, predicted_d
        (n,) numbers of axes of simulated shapes; predictions may be fractions.
    """
    same_length(true_d=true_d, predicted_d=predicted_d)
    pair = np.stack([np.asarray(true_d, np.float64), np.asarray(predicted_d, np.float64)])
    pair = pair[:, np.isfinite(pair).all(axis=0) & (pair > 0).all(axis=0)]
    with figure_style():
        if pair.shape[1] == 0:
            return empty_figure("no simulated shapes")
        figure = new_figure(3.5, 3.4)
        ax = figure.subplots(gridspec_kw=margins(3.5, 3.4, left=0.6))
        at = (np.arange(200) + 0.5) / 200
        one, other = (np.quantile(values, at) for values in pair)
        places, number = np.unique(np.round(np.stack([one, other]), 3), axis=1, return_counts=True)
        top = float(np.ceil(pair.max())) + 0.5
        ax.plot([0.5, top], [0.5, top], color=FAINT, lw=0.9, ls=(0, (4, 3)))
        ax.scatter(
            places[0], places[1], s=8 + 2.5 * number, color=CATEGORIES[0], alpha=0.75, linewidths=0
        )
        ax.set_xlim(0.5, top)
        ax.set_ylim(0.5, top)
        ax.set_aspect("equal")
        ax.set_xticks(range(1, int(top) + 1))
        ax.set_yticks(range(1, int(top) + 1))
        ax.set_xlabel("quantiles of the true d")
        ax.set_ylabel("quantiles of the predicted d")
    return figure


def plot_parameter_errors(
    true: Mapping[str, npt.ArrayLike],
    predicted: Mapping[str, npt.ArrayLike],
    *,
    jaccard: npt.ArrayLike | None = None,
    bin_count: int = 16,
) -> Figure:
    """Error of each shape parameter against its true value, in bins of equal numbers of shapes.

    Of p and the axis ratio the root mean square of the relative error (of the logarithm), of d the
    share that is wrong; where given, the overlap against p.

    Parameters
    ----------
    true, predicted
        ``p``, ``axis_ratio``, ``d`` of n simulated shapes.
    jaccard
        (n,) overlaps of true and predicted shapes.
    bin_count
        Number of bins.
    """
    names = ("p", "axis_ratio", "d")
    missing = [n for n in names if n not in true or n not in predicted]
    if missing:
        raise InputError(f"the shapes have no {missing[0]!r}: expected p, axis_ratio and d of both")
    real = {n: np.asarray(true[n], np.float64) for n in names}
    found = {n: np.asarray(predicted[n], np.float64) for n in names}
    same_length(**real, predicted=found["p"])
    known = np.isfinite(np.stack([*real.values(), *found.values()])).all(axis=0)
    with figure_style():
        if not known.any():
            return empty_figure("no simulated shapes")
        overlap = None if jaccard is None else np.asarray(jaccard, np.float64)[known]
        real = {n: v[known] for n, v in real.items()}
        found = {n: v[known] for n, v in found.items()}
        panels = 3 if overlap is None else 4
        width, height = 0.4 + 2.6 * panels, 2.7
        figure = new_figure(width, height)
        axes = figure.subplots(1, panels, gridspec_kw={**margins(width, height), "wspace": 0.42})
        for name, ax in zip(("p", "axis_ratio"), axes, strict=False):
            error = 100 * np.log(found[name] / real[name])
            at, rms = _binned(real[name], error**2, bin_count)
            ax.plot(at, np.sqrt(rms), "o-", color=CATEGORIES[0], ms=3.5, lw=1.2)
            ax.set_xscale("log")
            plain_log_ticks(ax.xaxis)
            ax.set_xlabel(f"true {name.replace('_', ' ')}")
            ax.set_ylabel("RMS relative error / %")
        for d in np.unique(real["d"]):
            wrong = np.rint(found["d"][real["d"] == d]) != d
            axes[2].bar(d, 100 * wrong.mean(), color=CATEGORIES[0], width=0.7)
        axes[2].set_xlabel("true d")
        axes[2].set_ylabel("wrong d / %")
        if overlap is not None:
            at, mean = _binned(real["p"], overlap, bin_count)
            axes[3].plot(at, mean, "o-", color=CATEGORIES[2], ms=3.5, lw=1.2)
            axes[3].set_xscale("log")
            plain_log_ticks(axes[3].xaxis)
            axes[3].set_xlabel("true p")
            axes[3].set_ylabel("mean Jaccard index")
        for ax in axes[:3]:
            ax.set_ylim(bottom=0)
        for ax in axes:
            if ax.get_xscale() == "log":
                ax.axvline(1.0 if ax is axes[1] else 2.0, color=INK, lw=0.4, alpha=0.5)
    return figure


def _binned(at: FloatArray, values: FloatArray, bin_count: int) -> tuple[FloatArray, FloatArray]:
    """Means of values and places in bins of equal numbers."""
    order = np.argsort(at, kind="stable")
    parts = [p for p in np.array_split(order, min(bin_count, at.size)) if p.size]
    return np.array([at[p].mean() for p in parts]), np.array([values[p].mean() for p in parts])
