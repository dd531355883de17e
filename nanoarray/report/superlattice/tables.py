"""Tables of text about grains: statistics, comparisons, trends."""

from __future__ import annotations

import math

from nanoarray.report.contents import Contents
from nanoarray.report.style import condition_title, tag_unit
from nanoarray.report.text_tables import TextTable, by_condition, interval, p_value

#: Columns of the statistics that are counts without being named so.
COUNTS = ("resample_unit", "resample_unit_count")
#: From this tilt of the stage on it is said that nothing corrects for it [deg].
_TILTED_DEG = 1.0


def statistics_tables(contents: Contents) -> list[TextTable]:
    """All columns of the statistics: sizes, distribution, and what they were made of."""
    frame = contents.statistics
    if frame is None or frame.empty:
        return []
    tags = [tag for tag in contents.grain_by if tag in frame]
    skip = {*tags, "condition", "warnings"}
    names = [n for n in frame.columns if n not in skip and not n.endswith(("_low", "_high"))]
    counts = [n for n in names if n.endswith("_count") or n in COUNTS]
    shape = [n for n in names if n.startswith(("grain_size_number", "log", "grains_needed"))]
    shape = [n for n in shape if n not in counts]
    sizes = [n for n in names if n not in counts and n not in shape]
    level = contents.records["grain_statistics"]["basis"]["parameters"].get("interval", 0.95)
    parts = (
        (f"Grain sizes, with intervals of {level:.0%} confidence", sizes),
        ("Distributions and grain size numbers (in the manner of ASTM E112)", shape),
        ("What they are made of", counts),
    )
    titles = [condition_title({t: frame[t].iloc[i] for t in tags}) for i in range(len(frame))]
    return [
        by_condition(frame, titles, caption, cols, contents.labels)
        for caption, cols in parts
        if cols
    ]


def condition_warnings(contents: Contents) -> list[tuple[str, list[str]]]:
    """What limits the statistics, condition by condition."""
    frame = contents.statistics
    if frame is None or "warnings" not in frame:
        return []
    tags = [tag for tag in contents.grain_by if tag in frame]
    found = []
    for i, text in enumerate(frame["warnings"]):
        if text:
            title = condition_title({t: frame[t].iloc[i] for t in tags})
            found.append((title, str(text).split("; ")))
    return found + _tilt_warning(contents)


def _tilt_warning(contents: Contents) -> list[tuple[str, list[str]]]:
    """Images of a tilted stage: what they show may be foreshortened, and nothing corrects it."""
    if "tilt" not in contents.images:
        return []
    tilt = contents.images.loc[contents.sized, "tilt"].abs()
    tilted = tilt[tilt >= _TILTED_DEG]
    if tilted.empty:
        return []
    low, high = f"{tilted.min():.3g}°", f"{tilted.max():.3g}°"
    which = low if low == high else f"{low} to {high}"
    count = f"{len(tilted)} image{'s' * (len(tilted) != 1)}"
    text = f"{count} at {which}: sizes and directions are those on the image, not corrected for it"
    return [("stage tilt", [text])]


def comparison_table(contents: Contents) -> TextTable | None:
    """Every two conditions compared."""
    frame = contents.pairs
    if frame is None or frame.empty:
        return None
    rows = []
    # A condition of which every image was left out has nothing to compare.
    frame = frame[(frame["unit_count_a"] > 0) & (frame["unit_count_b"] > 0)]
    if frame.empty:
        return None
    for i in range(len(frame)):
        row = frame.iloc[i]
        names = [
            condition_title(
                {t: row[f"{t}_{side}"] for t in contents.grain_by if f"{t}_{side}" in row}
            )
            for side in ("a", "b")
        ]
        rows.append(
            (
                f"{names[1]} against {names[0]}",
                interval(row["difference"], row["difference_low"], row["difference_high"]),
                interval(row["ratio"], row["ratio_low"], row["ratio_high"]),
                p_value(row["p_value"]),
                p_value(row["p_value_holm"]),
                f"{row['unit_count_b']} and {row['unit_count_a']} {row['resample_unit']}s",
                str(row["notes"]) or "–",
            )
        )
    head = ("second against first", "difference / µm²", "ratio", "p", "p, Holm", "units", "notes")
    return TextTable(
        "Mean grain area of every two conditions: permutation of whole samples or images",
        head,
        tuple(rows),
    )


def trend_table(contents: Contents) -> TextTable | None:
    """Does grain size follow a tag, at fixed values of the others?"""
    frame = contents.trends
    if frame is None or frame.empty:
        return None
    rows = []
    for i in range(len(frame)):
        row = frame.iloc[i]
        unit = tag_unit(str(row["tag"]))
        # Change per unit of the tag, in percent: exp(slope) - 1.
        change = [100.0 * math.expm1(row[name]) for name in ("slope", "slope_low", "slope_high")]
        rows.append(
            (
                str(row["tag"]) + (f" / {unit}" if unit else ""),
                str(row["hold"]) or "nothing",
                interval(*change),
                p_value(row["p_value"]),
                f"{row['unit_count']} {row['resample_unit']}s at {row['level_count']} values",
                str(row["notes"]) or "–",
            )
        )
    head = (
        "tag",
        "held fixed",
        "change of grain area per unit of the tag / %",
        "p",
        "units",
        "notes",
    )
    return TextTable("Trends: permutation of the tag between whole units", head, tuple(rows))
