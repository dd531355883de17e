"""How well a classifier does: confusion matrix, accuracies by split, ablation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from nanoarray.errors import InputError
from nanoarray.report.nanocrystals.groups import empty_figure
from nanoarray.report.style import CATEGORIES, FAINT, figure_style, margins, new_figure, plain_text

_SHADES = LinearSegmentedColormap.from_list("nanoarray_share", ["#ffffff", "#0072b2"])


def plot_confusion(
    confusion: npt.ArrayLike,
    names: Sequence[str] | None = None,
    *,
    kind: str = "cluster reproducibility",
) -> Figure:
    """Confusion matrix: counts, shaded by the share of each row.

    Parameters
    ----------
    confusion
        (classes, classes) crystals by true class (row) and predicted class (column).
    names
        Names of the classes; 1, 2, ... by default.
    kind
        What the accuracy is: ``"cluster reproducibility"`` where the classes are the shape groups
        that the same columns made, ``"accuracy against human labels"`` otherwise.

    Raises
    ------
    InputError
        When the matrix is not square or the names do not fit.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise InputError(f"the confusion matrix has shape {counts.shape}: expected a square one")
    size = counts.shape[0]
    labels = [plain_text(n, limit=18) for n in names or [str(k + 1) for k in range(size)]]
    if len(labels) != size:
        raise InputError(f"{len(labels)} names of {size} classes: expected one per class")
    total = counts.sum()
    with figure_style():
        if total == 0:
            return empty_figure("no classified crystal")
        rows = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
        long = max(map(len, labels)) > 4
        side = max(2.2, 0.5 * size)
        left, bottom = (1.6 if long else 0.75), (1.3 if long else 0.6)
        width, height = max(left + side + 0.3, 4.4), bottom + side + 0.55
        figure = new_figure(width, height)
        ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
        ax.imshow(share, cmap=_SHADES, vmin=0, vmax=1)
        for i, j in np.argwhere(counts > 0):
            ax.text(
                j, i, f"{int(counts[i, j])}", ha="center", va="center",
                fontsize=9 if size <= 10 else 6.5,
                color="white" if share[i, j] > 0.55 else "#14181d", zorder=3,
            )  # fmt: skip
        ax.set_xticks(range(size), labels, parse_math=False, rotation=40 if long else 0,
                      ha="right" if long else "center")  # fmt: skip
        ax.set_yticks(range(size), labels, parse_math=False)
        ax.spines[["top", "right"]].set_visible(True)
        what = "class" if names and long else "group"
        ax.set_xlabel(f"predicted {what}")
        ax.set_ylabel(f"true {what}" if "human" in kind else f"{what} by clustering")
        right = float(np.trace(counts))
        figure.text(
            0.02, 1 - 0.08 / height,
            f"{plain_text(kind)}: {100 * right / total:.1f} %\n"
            f"{int(total - right)} of {int(total)} held-out crystals misclassified",
            va="top", fontsize=8.5, parse_math=False,
        )  # fmt: skip
    return figure


def plot_accuracies(
    names: Sequence[str],
    accuracy: npt.ArrayLike,
    *,
    std: npt.ArrayLike | None = None,
    chance: float = math.nan,
) -> Figure:
    """Accuracies beside one another: splits by crystal, image and sample, or sets of columns.

    Parameters
    ----------
    names
        What each is of.
    accuracy
        (n,) shares classified rightly, 0 to 1; NaN for those that were not possible.
    std
        (n,) standard deviations between folds, where there are any.
    chance
        What naming the most frequent class would reach.
    """
    values = 100 * np.asarray(accuracy, dtype=np.float64).ravel()
    spread = np.full(values.size, np.nan) if std is None else 100 * np.asarray(std, float).ravel()
    if not len(names) == values.size == spread.size:
        raise InputError(f"{len(names)} names of {values.size} accuracies: expected one for each")
    with figure_style():
        if not np.isfinite(values).any():
            return empty_figure("no accuracy")
        labels = [plain_text(name, limit=44) for name in names]
        left = 0.4 + 0.067 * max(map(len, labels))
        width, height = left + 3.6, 0.75 + 0.33 * len(labels)
        figure = new_figure(width, height)
        ax = figure.subplots(gridspec_kw=margins(width, height, left=left, right=0.85))
        at = np.arange(len(labels))
        error = np.nan_to_num(spread)
        ax.errorbar(
            values,
            at,
            xerr=error,
            fmt="o",
            color=CATEGORIES[0],
            ms=6,
            capsize=3,
            lw=1.4,
            clip_on=False,  # 100 % is common
        )
        if math.isfinite(chance):
            ax.axvline(100 * chance, color=FAINT, lw=1, ls=(0, (4, 3)))
        for k, value in enumerate(values):
            text = f"{value:.1f}" if math.isfinite(value) else "not possible"
            if error[k] > 0:
                text += f" ± {error[k]:.1f}"
            ax.text(1.02, k, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8)
        ax.set_yticks(at, labels, parse_math=False)
        ax.set_ylim(len(labels) - 0.4, -0.6)
        low = np.nanmin(np.append(values - error, 100 * chance if math.isfinite(chance) else 100))
        ax.set_xlim(max(0.0, min(float(low) - 5, 90.0)), 100.6)
        ax.set_xlabel("classified rightly / %" + ("; dashed: chance" if chance == chance else ""))
    return figure
