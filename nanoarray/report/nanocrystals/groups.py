"""What figures of shape groups share: their colours and names, and the labels of features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.report.style import CATEGORIES, FAINT, new_figure

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: What has no shape group.
NO_GROUP = FAINT
#: A normal curve of fewer crystals says nothing.
MIN_NORMAL = 5
_UNITS = {"1": "", "nm2": "nm²", "px2": "px²", "um2": "µm²", "deg": "°"}


def group_colours(count: int) -> list[str]:
    """Colours of the groups 1 to ``count``.

    The seven of Okabe & Ito as far as they go; beyond, steps of viridis, neighbours far apart.
    Every figure with more than a few groups names them by number too.
    """
    if count <= len(CATEGORIES):
        return list(CATEGORIES[: max(count, 0)])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    place = np.mod(np.arange(count) * 0.618034, 1.0)
    return [to_hex(colour) for colour in colormaps["viridis"](0.95 * place)]


def group_ids(group: npt.ArrayLike, *, count: int | None = None) -> tuple[IntArray, int]:
    """Groups as integers, 0 where there is none, and how many there are.

    Parameters
    ----------
    group
        (n,) shape group from 1; NaN, 0 and below for none.
    count
        Number of groups, if some may be empty.
    """
    values = np.nan_to_num(np.asarray(group, dtype=np.float64), nan=0.0)
    if values.ndim != 1:
        raise InputError(f"the groups have shape {values.shape}: expected one per crystal")
    ids = np.maximum(values, 0).astype(np.int64)
    return ids, max(int(ids.max(initial=0)), count or 0)


def same_length(**columns: npt.ArrayLike) -> int:
    """Number of crystals of columns that belong together; InputError where they differ."""
    lengths = {name: len(np.asarray(values)) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise InputError(f"columns of different length: {text}; expected one value per crystal")
    return next(iter(lengths.values()))


def feature_label(name: str) -> str:
    """A feature for people, with its unit: ``equivalent diameter / nm``."""
    unit = ""
    for group in ("crystals", "shapes"):
        entry = schema.known(group, name)
        if entry is not None:
            unit = _UNITS.get(entry.units, entry.units)
            break
    text = name.removesuffix("_px").replace("_", " ")
    return f"{text} / {unit}" if unit else text


def numeric_columns(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of the columns that hold at least one finite number.

    Raises
    ------
    InputError
        When a column is not there.
    """
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(
            f"the table of crystals has no column {missing[0]!r}: it has "
            f"{', '.join(map(str, table.columns))}"
        )
    return [n for n in names if np.isfinite(table[n].to_numpy(np.float64)).any()]


def group_legend(
    target: Axes | Figure, counts: Sequence[int], *, total: bool = True, **place: Any
) -> None:
    """A legend of the groups that occur, with their numbers of crystals where ``total``."""
    from matplotlib.patches import Patch

    colours = group_colours(len(counts))
    shown = [k for k, n in enumerate(counts) if n > 0]
    if not shown:
        return
    names = [f"group {k + 1}" + (f" ({counts[k]:,})" if total else "") for k in shown]
    names = [name.replace(",", "\u2009") for name in names]
    target.legend([Patch(color=colours[k]) for k in shown], names, fontsize=8, **place)


def group_sizes(ids: IntArray, count: int) -> list[int]:
    """Crystals of each of the groups 1 to ``count``."""
    return [int(n) for n in np.bincount(ids, minlength=count + 1)[1 : count + 1]]


def empty_figure(text: str, *, width_inch: float = 4.7, height_inch: float = 1.6) -> Figure:
    """A figure that only says why it shows nothing."""
    figure = new_figure(width_inch, height_inch)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def spread_rows(rows: IntArray, limit: int) -> IntArray:
    """At most ``limit`` of the rows, evenly spaced in their order."""
    if rows.size <= limit:
        return rows
    return rows[np.linspace(0, rows.size - 1, limit).round().astype(np.intp)]


def balanced_sample(ids: IntArray, limit: int, *, seed: int) -> IntArray:
    """Rows of at most ``limit`` crystals: small groups whole, large ones thinned at random."""
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(ids == k) for k in np.unique(ids)]
    left, chosen = limit, []
    for position, part in enumerate(sorted(parts, key=len)):
        share = left // (len(parts) - position)
        if part.size > share:
            part = rng.choice(part, share, replace=False)
        left -= part.size
        chosen.append(part)
    rows = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    return np.sort(rows).astype(np.int64)


def mean_and_std(values: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of the finite values; NaN where there is none."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return math.nan, math.nan
    mean, std = float(known.mean()), float(known.std(ddof=1)) if known.size > 1 else math.nan
    # What is rounding next to the mean is no spread.
    return mean, 0.0 if std < 1e-12 * abs(mean) else std


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def all_finite(columns: Iterable[npt.ArrayLike]) -> npt.NDArray[np.bool_]:
    """Rows in which every column is finite."""
    arrays = [np.isfinite(np.asarray(c, dtype=np.float64)) for c in columns]
    return np.asarray(np.logical_and.reduce(arrays), dtype=bool)
