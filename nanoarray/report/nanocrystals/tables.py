"""Tables of text about crystals: features by group, methods, sizes, comparisons, what was left."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nanoarray.report.nanocrystals.contents import CrystalContents, numbers_of, text_of, texts_of
from nanoarray.report.nanocrystals.groups import feature_label, mean_and_std
from nanoarray.report.style import condition_title
from nanoarray.report.text_tables import TextTable, by_condition, interval, number, p_value
from nanoarray.schema_crystal_statistics import CRYSTAL_STATISTICS, units_and_meanings

#: Rows of a table that the page shows; the downloads have all of them.
MAX_ROWS = 60
#: What the small tables of the statistics are about, in the order they are shown.
_CAPTIONS = {
    "method": "Syntheses side by side, by the major axis (as table 2 of the paper)",
    "pair": "Every two conditions compared: permutation of whole samples or images",
    "distance": "Distances between conditions",
    "trend": "Does the size follow a tag?",
    "rejection": "What was rejected, and why",
    "batch": "Batch-to-batch reproducibility",
    "precision": "Crystals measured against the number that a precision asks for "
    "(in the manner of ISO 13322-1; no compliance is claimed)",
}
#: Shown in other ways, or as figures.
_ELSEWHERE = ("condition", "composition", "subsample")
#: Columns that say, with the condition, what a row is about, and those that remark on it.
_WHICH = ("quantity", "kind", "shape_group", "rejected")
_REMARKS = ("notes", "warnings")
_P_VALUES = ("p_value", "p_value_holm", "smallest_p_value")


def feature_table(crystals: CrystalContents) -> TextTable | None:
    """Mean and standard deviation of every feature in every shape group, and in all."""
    count = crystals.group_count
    if count == 0:
        return None
    whole = crystals.whole.to_numpy(bool)
    group = np.where(whole, crystals.group, -1)
    chosen = [group == k for k in range(1, count + 1)] + [whole]
    names = [*crystals.features, *(n for n in ("p", "d", "axis_ratio") if n in crystals.rows)]
    rows = [("crystals", *(number(int(c.sum())) for c in chosen))]
    for name in names:
        values = crystals.rows[name].to_numpy(np.float64)
        if name == "d":
            values = np.where(values >= 1, values, np.nan)
        cells = []
        for part in chosen:
            mean, std = mean_and_std(values[part])
            cells.append(
                f"{number(mean)} ± {number(std, 2)}" if math.isfinite(std) else number(mean)
            )
        rows.append((feature_label(name), *cells))
    head = ("feature", *(f"group {k}" for k in range(1, count + 1)), "all")
    note = "Whole crystals only: those that the edge cuts, and rejected objects, are left out."
    return TextTable(
        "Mean ± standard deviation of every feature by shape group", head, tuple(rows), (note,)
    )


def method_table(crystals: CrystalContents) -> TextTable | None:
    """Methods and datasets of the grouping compared, as in the paper's table S8."""
    model = crystals.model
    datasets, methods = (texts_of(model, f"candidate_{n}") for n in ("dataset", "method"))
    if not datasets:
        return None
    values = {
        n: numbers_of(model, f"candidate_{n}")
        for n in ("n_groups", "silhouette", "cophenet", "cophenet_groups")
    }
    chosen = (text_of(model, "model_dataset"), text_of(model, "model_method"))
    rows = []
    for k, pair in enumerate(zip(datasets, methods, strict=True)):
        cells = [number(v[k]) if k < v.size else "–" for v in values.values()]
        rows.append((f"{pair[0]}, {pair[1]}", *cells, "chosen" if pair == chosen else ""))
    head = (
        "dataset, method", "groups", "mean silhouette", "cophenetic correlation",
        "of the groups alone", "",
    )  # fmt: skip
    notes = (
        "The cophenetic correlation is defined for a tree: for linkage it is that of its tree; for "
        "the other methods two crystals are as far apart as the means of their groups. The last "
        "figure has that second definition for every method, so that methods can be compared.",
    )
    return TextTable("Methods and datasets compared", head, tuple(rows), notes)


def division_tests(crystals: CrystalContents) -> TextTable | None:
    """Is there more than one group at all?"""
    names = texts_of(crystals.model, "dataset")
    found = [numbers_of(crystals.model, f"test_{n}") for n in ("silhouette", "expected", "p_value")]
    if not names or any(v.size != len(names) for v in found):
        return None
    rows = [
        (name, number(found[0][k]), number(found[1][k]), p_value(found[2][k]))
        for k, name in enumerate(names)
        if np.isfinite(found[0][k])
    ]
    head = ("dataset", "largest silhouette", "expected of a single group", "p")
    return TextTable("Is there more than one group?", head, tuple(rows)) if rows else None


def summary_tables(crystals: CrystalContents) -> list[TextTable]:
    """All columns of the statistics by condition."""
    frame = crystals.statistics
    if frame is None or frame.empty:
        return []
    skip = {*crystals.by, "condition", "warnings", "size"}
    names = [n for n in frame.columns if n not in skip and not n.endswith(("_low", "_high"))]
    counts = [n for n in names if n.endswith(("_count", "_reasons")) or n == "resample_unit"]
    counts += [n for n in names if n == "resample_unit_count" and n not in counts]
    sizes = [n for n in names if n not in counts]
    level = crystals.parameters.get("interval", 0.95)
    what = crystals.size.replace("_", " ")
    parts = (
        (f"Crystal sizes ({what}), with intervals of {level:.0%} confidence", sizes),
        ("What they are made of", counts),
    )
    titles = condition_names(frame, crystals.by)
    return [
        by_condition(frame, titles, caption, columns, crystals.labels)
        for caption, columns in parts
        if columns
    ]


def condition_names(frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Names of conditions for people."""
    tags = [tag for tag in by if tag in frame]
    return [
        condition_title({t: row[t] for t in tags}) if row.get("condition") != "total" else "total"
        for _, row in frame.iterrows()
    ]


def size_warnings(crystals: CrystalContents) -> list[tuple[str, list[str]]]:
    """What limits the statistics, condition by condition."""
    frame = crystals.statistics
    if frame is None or "warnings" not in frame:
        return []
    names = condition_names(frame, crystals.by)
    texts = [str(text) for text in frame["warnings"]]
    return [(n, t.split("; ")) for n, t in zip(names, texts, strict=True) if t]


def composition_tables(crystals: CrystalContents) -> list[TextTable]:
    """Share and size of every shape group by condition: the layout of the paper's table 1."""
    found = []
    for dim, caption in (
        ("composition", "Shape groups by condition"),
        ("batch", "Shape groups by batch (as table 1 of the paper)"),
    ):
        frame = crystals.tables.get(dim)
        if frame is None or frame.empty or not {"share", "shape_group"} <= set(frame):
            continue
        names = condition_names(frame, crystals.by)
        rows = []
        for k in range(len(frame)):
            row = frame.iloc[k]
            group = int(row["shape_group"])
            rows.append(
                (
                    f"{names[k]}: " + (f"group {group}" if group > 0 else "all"),
                    number(_get(row, "crystal_count")),
                    _interval(row, "share", 100.0),
                    _interval(row, "mean_size", 1.0),
                    number(_get(row, "std_size")),
                    _interval(row, "relative_spread", 1.0),
                )
            )
        head = ("condition and group", "crystals", "share / %", "mean size / nm", "σ / nm", "σ/d")
        found.append(_limited(TextTable(caption, head, tuple(rows))))
    return found


#: Columns that are shown of wide tables; the others are in the store.
_FEW: dict[str, tuple[str, ...]] = {
    "precision": (
        "condition", "quantity", "crystal_count", "needed", "needed_here", "effective_count",
        "relative_error", "error_reached", "resample_unit_count", "resample_unit", "notes",
    ),
    "batch": (
        "condition", "quantity", "shape_group", "units", "batch_count", "resample_unit_count",
        "resample_unit", "mean_of_batches", "std_between_batches", "std_between_images",
        "batch_fraction", "p_value", "p_value_holm", "notes",
    ),
}  # fmt: skip


def further_tables(crystals: CrystalContents) -> list[TextTable]:
    """The other tables of the statistics: comparisons, batches, precision."""
    found = []
    known = [n for n in _CAPTIONS if n in crystals.tables]
    others = [n for n in crystals.tables if n not in (*_CAPTIONS, *_ELSEWHERE)]
    for dim in (*known, *sorted(others)):
        frame = crystals.tables[dim]
        if frame.empty or (dim == "batch" and "share" in frame):
            continue
        caption = _CAPTIONS.get(dim, dim.replace("_", " ").capitalize())
        table = _compared(frame, dim, crystals.by, caption)
        units = units_and_meanings(dim) if dim in CRYSTAL_STATISTICS else {}
        plain = plain_table(_named(frame, crystals.by), caption, units)
        found.append(_limited(table or plain))
    return found


def _named(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The same with conditions named as elsewhere, and without the tags that they are made of."""
    hidden = {"size"}
    for side in ("", "_a", "_b"):
        tags = {f"{tag}{side}": tag for tag in by if f"{tag}{side}" in frame}
        if tags and f"condition{side}" in frame:
            names = condition_names(
                frame[[*tags, f"condition{side}"]].rename(
                    columns={**tags, f"condition{side}": "condition"}
                ),
                by,
            )
            frame = frame.assign(**{f"condition{side}": names})
            hidden |= set(tags)
    return frame.drop(columns=[n for n in hidden if n in frame])


def _compared(frame: pd.DataFrame, dim: str, by: Sequence[str], caption: str) -> TextTable | None:
    """Comparisons of two conditions, and what `_FEW` has, in few columns; None for other tables."""
    wanted = _FEW.get(dim, ())
    if wanted and set(wanted) <= set(frame):
        wanted += tuple(f"{name}{end}" for name in wanted for end in ("_low", "_high"))
        return plain_table(_named(frame, by)[[n for n in wanted if n in frame]], caption)
    if not {"condition_a", "condition_b", "p_value", "unit_count_a", "notes"} <= set(frame):
        return None
    named = _named(frame, by)
    kind = "kind" if "kind" in frame else "quantity"
    rows = []
    for k in range(len(named)):
        row = named.iloc[k]
        what = str(row.get(kind, "")).replace("_", " ")
        group = row.get("shape_group", -1)
        what += f" of group {int(group)}" if group > 0 else ""
        unit = str(row.get("units", "1"))
        cells = [f"{row['condition_b']} against {row['condition_a']}", what]
        if "difference" in row:
            cells += [_interval(row, "difference", 1.0), _interval(row, "ratio", 1.0)]
        else:
            cells += [number(row.get("distance")), number(row.get("exchanged_high"))]
        cells[2] += f" {unit}" if unit not in ("1", "") and cells[2] != "–" else ""
        cells += [p_value(float(row["p_value"])), p_value(float(row.get("p_value_holm", math.nan)))]
        counts = f"{row['unit_count_b']:.0f} and {row['unit_count_a']:.0f}"
        cells.append(f"{counts} {row['resample_unit']}s")
        cells.append(str(row["notes"]) or "–")
        rows.append(tuple(cells))
    values = ("difference", "ratio") if "difference" in frame else ("distance", "by exchange below")
    head = ("second against first", "of", *values, "p", "p, Holm", "units", "notes")
    return TextTable(caption, head, tuple(rows))


def plain_table(
    frame: pd.DataFrame, caption: str, units: Mapping[str, tuple[str, str]] | None = None
) -> TextTable:
    """Every column of a small table; those with ends become a value with its interval."""
    names = [
        str(n)
        for n in frame.columns
        if not (str(n).endswith(("_low", "_high")) and str(n).rsplit("_", 1)[0] in frame)
    ]
    # What says which row it is comes first, remarks last.
    names.sort(key=lambda n: (not n.startswith("condition"), n not in _WHICH, n in _REMARKS))
    rows = []
    for k in range(len(frame)):
        row = frame.iloc[k]
        rows.append(tuple(_cell(row, name) for name in names))
    return TextTable(caption, tuple(_head(n, units or {}) for n in names), tuple(rows))


def _head(name: str, units: Mapping[str, tuple[str, str]]) -> str:
    """A column's name with its unit."""
    unit = units.get(name, ("1", ""))[0]
    return name.replace("_", " ") + (f" / {unit}" if unit not in ("1", "") else "")


def _cell(row: pd.Series, name: str) -> str:
    value = row[name]
    if name in _P_VALUES:
        return p_value(float(value))
    if isinstance(value, str):
        return value or ("all images" if name.startswith("condition") else "–")
    if name == "shape_group":
        return f"group {int(value)}" if value > 0 else "all"
    if f"{name}_low" in row:
        return interval(value, row[f"{name}_low"], row[f"{name}_high"])
    return number(value)


def _get(row: pd.Series, name: str) -> Any:
    return row.get(name, math.nan)


def _interval(row: pd.Series, name: str, scale: float) -> str:
    value, low, high = (scale * float(_get(row, n)) for n in (name, f"{name}_low", f"{name}_high"))
    return interval(value, low, high)


def _limited(table: TextTable) -> TextTable:
    extra = len(table.rows) - MAX_ROWS
    if extra <= 0:
        return table
    note = f"and {number(extra)} more rows, in the download"
    return TextTable(table.caption, table.head, table.rows[:MAX_ROWS], (*table.notes, note))


def object_table(crystals: CrystalContents, images: pd.DataFrame) -> TextTable:
    """What became of every object: in groups and sizes, or left out and why."""
    rows = crystals.rows
    accepted = crystals.accepted.to_numpy(bool)
    whole = crystals.whole.to_numpy(bool)
    scaled = (images["pixel_size"].to_numpy(np.float64) > 0)[rows["image_index"].to_numpy(np.int64)]
    parts: list[tuple[str, np.ndarray, str]] = [
        (f"rejected: {reason}", (rows["rejected"] == reason).to_numpy(bool), "nothing")
        for reason, _ in Counter(rows.loc[~accepted, "rejected"].astype(str)).most_common(30)
    ]
    parts.append(("crystal cut by the edge", accepted & ~whole, "only the correction for the edge"))
    parts.append(("crystal of an image without a pixel size", whole & ~scaled, "shapes, not sizes"))
    parts.append(("whole crystal with a size", whole & scaled, "sizes and shapes"))
    if "shape_group" in rows:
        alone = whole & (crystals.group < 1)
        parts.append(("of the whole crystals, those in no shape group", alone, "no group"))
    index = rows["image_index"].to_numpy(np.int64)
    cells = [
        (what, number(int(part.sum())), number(len(np.unique(index[part]))), counts)
        for what, part, counts in parts
        if part.any() or not what.startswith("of the")
    ]
    head = ("object", "number", "in images", "counts for")
    return TextTable(f"What became of the {number(len(rows))} objects found", head, tuple(cells))
