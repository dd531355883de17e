"""Tables of text for the page: statistics, comparisons, trends, stages, the collection."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nanoarray.report.contents import Contents, conditions_of
from nanoarray.report.style import is_missing

#: With more conditions, these become the rows of a table instead of its columns.
_MANY_CONDITIONS = 6
_UNITS = {"1": "", "um2": "µm²", "um": "µm", "px2": "px²", "deg": "°", "degC": "°C"}
#: Counts that are -1 where nothing is known.
_UNKNOWN_COUNTS = ("small_grain_count", "ungrouped_count")


@dataclass(frozen=True)
class TextTable:
    """A table of text: the first cell of every row is its header."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def transposed(self) -> TextTable:
        """Rows as columns."""
        cells = list(zip(self.head, *self.rows, strict=True))
        return TextTable(self.caption, tuple(cells[0]), tuple(cells[1:]), self.notes)


def number(value: Any, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; "–" where unknown."""
    if isinstance(value, str):
        return value or "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or not math.isfinite(value):
        return "–"
    return _plain_number(value, digits).replace("-", "\u2212")


def _plain_number(value: Any, digits: int) -> str:
    if isinstance(value, int | np.integer) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace(",", "\u2009")
    if abs(value) >= 10**digits:
        return f"{value:,.0f}".replace(",", "\u2009")
    # Rounded first: 99.7 to two digits is 100, not 1e+02.
    return f"{float(f'{value:.{digits}g}'):.{max(digits, 4)}g}"


def interval(value: Any, low: Any, high: Any) -> str:
    """A number with its interval."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def by_condition(
    frame: pd.DataFrame,
    titles: Sequence[str],
    caption: str,
    names: Sequence[str],
    labels: Mapping[str, tuple[str, str]],
) -> TextTable:
    """Columns ``names`` of a table of conditions, values with their intervals."""
    rows = []
    for i, title in enumerate(titles):
        cells = [title]
        for name in names:
            value = frame[name].iloc[i]
            if name in _UNKNOWN_COUNTS and value == -1:
                value = math.nan
            if f"{name}_low" in frame:
                low, high = frame[f"{name}_low"].iloc[i], frame[f"{name}_high"].iloc[i]
                cells.append(interval(value, low, high))
            else:
                cells.append(number(value))
        rows.append(tuple(cells))
    heads = [_meaning(name, labels) for name in names]
    table = TextTable(caption, ("condition", *heads), tuple(rows))
    return table if len(titles) > _MANY_CONDITIONS else table.transposed()


def _meaning(name: str, labels: Mapping[str, tuple[str, str]]) -> str:
    unit, meaning = labels.get(name, ("1", name.replace("_", " ")))
    unit = _UNITS.get(unit, unit)
    return f"{meaning} / {unit}" if unit else meaning


def p_value(value: float) -> str:
    """A p-value, or that there is none."""
    if not math.isfinite(value):
        return "no test"
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def condition_table(contents: Contents) -> TextTable:
    """Images, samples and grains by condition."""
    frame = contents.images
    names = conditions_of(frame, contents.by)
    sized = contents.sized
    if "superlattice" not in contents.systems:
        sized = contents.crystal_images["usable"] & (frame["pixel_size"] > 0)
    rows = []
    for name in sorted(set(names)):
        part = frame[names == name]
        samples = {str(s) for s in part.get("sample", []) if not is_missing(s)}
        inside = set(part["image"])
        counted = []
        if contents.grains is not None:
            counted.append(number(int(contents.grains["image"].isin(inside).sum())))
        if contents.crystals is not None:
            found = contents.crystals.rows["image"].isin(inside) & contents.crystals.accepted
            counted.append(number(int(found.sum())))
        rows.append(
            (
                name,
                number(len(part)),
                number(int(sized[names == name].sum())),
                number(len(samples)) if samples else "unknown",
                *counted,
            )
        )
    head = ["condition", "images", "in the sizes", "samples"]
    head += ["grains found"] if contents.grains is not None else []
    head += ["crystals found"] if contents.crystals is not None else []
    return TextTable("Conditions", tuple(head), tuple(rows))


def instrument_table(frame: pd.DataFrame) -> TextTable:
    """Images by instrument, pixel size and where that is from."""
    known = frame[frame["ok"].astype(bool)]
    keys = [
        (
            _text(known, "instrument", i),
            _text(known, "detector", i),
            _setting(known["voltage"].iloc[i] if "voltage" in known else math.nan, "kV"),
            _setting(known["tilt"].iloc[i] if "tilt" in known else math.nan, "°"),
            _setting(known["pixel_size"].iloc[i], "nm"),
            _text(known, "pixel_size_source", i) if known["pixel_size"].iloc[i] > 0 else "–",
            f"{known['width'].iloc[i]} × {known['height'].iloc[i]}",
        )
        for i in range(len(known))
    ]
    counts = Counter(keys)
    shown = counts.most_common(20)
    notes = (f"and {len(counts) - len(shown)} more combinations",) if len(counts) > 20 else ()
    head = (
        "instrument", "detector", "voltage", "tilt", "pixel size", "pixel size from",
        "size / px", "images",
    )  # fmt: skip
    rows = tuple((*key, number(count)) for key, count in shown)
    return TextTable("Instruments, pixel sizes and where they come from", head, rows, notes)


def _text(frame: pd.DataFrame, name: str, i: int) -> str:
    value = frame[name].iloc[i] if name in frame else ""
    return "unknown" if is_missing(value) else str(value)


def _setting(value: float, unit: str) -> str:
    return "unknown" if not math.isfinite(value) else f"{number(float(value), 4)} {unit}"
