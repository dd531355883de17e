"""The report: one HTML file that holds everything it shows and asks the network for nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

import nanoarray
from nanoarray.archive.engine import is_current
from nanoarray.archive.provenance import now
from nanoarray.archive.store import as_url
from nanoarray.errors import InputError
from nanoarray.pipeline import STAGES
from nanoarray.report import text_tables
from nanoarray.report.cards import Card, image_cards, open_groups
from nanoarray.report.contents import (
    Contents,
    choose_images,
    conditions_of,
    read_contents,
    reason_counts,
)
from nanoarray.report.downloads import MAX_BYTES, downloads, frame_rows
from nanoarray.report.panels import Panel, svg_panel
from nanoarray.report.style import data_uri, svg_bytes
from nanoarray.report.superlattice import tables as grain_tables
from nanoarray.report.superlattice.distributions import plot_size_distributions
from nanoarray.report.superlattice.image_panels import detail_panels
from nanoarray.report.superlattice.maps import plot_orientation_key
from nanoarray.report.superlattice.means import plot_condition_means, unit_means
from nanoarray.report.text_tables import TextTable, number

#: Conditions that a figure of distributions has panels for; the tables have all of them.
MAX_PANELS = 24
#: Rows of the lists of images that the page shows; the downloads have all of them.
MAX_LISTED = 200


def write_report(
    store_url: str | os.PathLike[str], out: str | os.PathLike[str], *, image_count: int = 12
) -> Path:
    """Write a report of a store as one self-contained HTML file.

    Parameters
    ----------
    store_url
        A store, at any stage: what is not there yet is said to be missing.
    out
        The HTML file to write; one that is there is replaced once the new one is whole.
    image_count
        Number of images to show, spread over the conditions. All images are in the statistics.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        When there is no such store, the folder of ``out`` does not exist, or ``image_count`` is
        negative.
    """
    target = Path(out)
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.absolute().parent} does not exist")
    if target.is_dir():
        raise InputError(f"{target} is a folder: expected the name of an HTML file")
    if image_count < 0:
        raise InputError(f"image_count is {image_count}: expected 0 or more")
    text = render(read_contents(as_url(store_url)), image_count=image_count)
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def render(contents: Contents, *, image_count: int = 12) -> str:
    """The page of a store's contents as HTML."""
    # Everything from the store is text from strangers: escaped wherever it is put.
    environment = Environment(
        loader=PackageLoader("nanoarray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    positions = choose_images(contents, image_count)
    groups = open_groups(contents)
    cards = image_cards(contents, groups, positions)
    listed, unlisted = frame_rows(contents.left_out, MAX_LISTED)
    warned, unwarned = _warned_images(contents)
    return environment.get_template("report.html.j2").render(
        title=_title(contents.url),
        url=contents.url,
        version=nanoarray.__version__,
        created=now(),
        facts=_summary(contents),
        alerts=_alerts(contents),
        stages=_stages(contents),
        software=_software(contents),
        tables=[
            text_tables.condition_table(contents),
            text_tables.instrument_table(contents.images),
        ],
        reasons=reason_counts(contents.left_out),
        left_out=listed,
        left_out_more=unlisted,
        warned=warned,
        warned_more=unwarned,
        image_total=len(contents.images),
        cards=cards,
        keys=_keys(cards),
        detail=_detail(contents, groups, positions),
        distributions=_distributions(contents),
        means=_means(contents),
        statistics=grain_tables.statistics_tables(contents),
        warnings=grain_tables.condition_warnings(contents),
        comparisons=_present(
            grain_tables.trend_table(contents), grain_tables.comparison_table(contents)
        ),
        has_statistics=contents.statistics is not None,
        downloads=downloads(contents),
        max_megabytes=MAX_BYTES // 1_000_000,
    )


def _title(url: str) -> str:
    return url.rstrip("/").split("/")[-1] or url


def _present(*tables: TextTable | None) -> list[TextTable]:
    return [table for table in tables if table is not None]


def _summary(contents: Contents) -> list[tuple[str, str]]:
    """The numbers at the top: value and what it counts."""
    frame = contents.images
    facts = [(number(len(frame)), "images")]
    conditions = conditions_of(frame, contents.by).nunique()
    facts.append((number(conditions), "condition" if conditions == 1 else "conditions"))
    lost = len(contents.left_out)
    facts.append((number(lost), "images left out" if lost != 1 else "image left out"))
    if contents.grains is not None:
        facts.append((number(len(contents.grains)), "grains found"))
    if contents.statistics is not None and "grain_count" in contents.statistics:
        counted = int(contents.statistics["grain_count"].sum())
        facts.append((number(counted), "grains in the statistics"))
        means = contents.statistics["mean_area"].dropna()
        if len(means):
            low, high = number(float(means.min())), number(float(means.max()))
            span = low if low == high else f"{low} to {high}"
            facts.append((f"{span} µm²", "mean grain area by condition"))
    return facts


def _alerts(contents: Contents) -> list[str]:
    """What a reader must know before any number."""
    found = []
    for name, record in contents.records.items():
        if not record.get("complete"):
            found.append(f"{name} is not finished: what follows from it is missing or partial.")
        elif name in ("prepared", "tiles", "tile_clusters", "grain_maps"):
            new = len(contents.images) - int(record.get("length", 0))
            if new > 0:
                found.append(f"{new} images were added after {name} was made: run it again.")
                continue
        if record.get("complete") and not is_current(contents.url, name):
            found.append(
                f"{name} is out of date: images, pixel sizes or tags changed after it was made: "
                "run it again."
            )
    for name in STAGES:
        if name not in contents.records:
            found.append(f"{name} has not been run.")
    return found


def _stages(contents: Contents) -> list[dict[str, Any]]:
    """What was run: one entry per group of the store."""
    entries = []
    for name, record in contents.records.items():
        basis = record.get("basis", {})
        stage = STAGES.get(name)
        lost = contents.left_out["step"].isin([name, "reading" if name == "images" else name])
        entries.append(
            {
                "name": name,
                "description": stage.description if stage else "micrographs and their tags",
                "parameters": _parameters(basis.get("parameters", {})),
                "resolved": _parameters(record.get("resolved", {})),
                "rows": _counted(int(record.get("length", 0)), str(record.get("dim", "row"))),
                "lost": number(int(lost.sum())),
                "seconds": float(record.get("seconds", 0.0)),
                "finished": str(record.get("finished", "")),
                "digest": str(record.get("digest", "")),
                "version": str(basis.get("kernel_version", "")),
                "complete": bool(record.get("complete")),
            }
        )
    return entries


def _counted(count: int, what: str) -> str:
    return f"{number(count)} {what}" + ("" if count == 1 else "s")


def _parameters(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value)) or "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return {"None": "default", "nan": "none"}.get(str(value), str(value))

    return [(name, text(value)) for name, value in values.items()]


def _software(contents: Contents) -> list[tuple[str, str]]:
    """Versions, each with the groups that differ where not all were made with the same."""
    found: dict[tuple[str, str], list[str]] = {}
    for group, record in contents.records.items():
        for package, version in record.get("software", {}).items():
            found.setdefault((package, version), []).append(group)
    packages = [package for package, _ in found]
    return [
        (p, v if packages.count(p) == 1 else f"{v} ({', '.join(groups)})")
        for (p, v), groups in found.items()
    ]


def _warned_images(contents: Contents) -> tuple[list[tuple[str, ...]], int]:
    frame = contents.images
    if "warning" not in frame:
        return [], 0
    return frame_rows(frame.loc[frame["warning"] != "", ["image", "warning"]], MAX_LISTED)


def _keys(cards: Sequence[Card]) -> dict[int, str]:
    """Keys to the orientation colours of the symmetries that occur: each is in the page once."""
    found = sorted({card.symmetry for card in cards if card.symmetry in (2, 4, 6)})
    return {
        fold: data_uri(svg_bytes(plot_orientation_key(fold)), "image/svg+xml") for fold in found
    }


def _detail(
    contents: Contents, groups: dict[str, xr.Dataset], positions: Sequence[int]
) -> tuple[str, list[Panel]]:
    """One image in detail: the first of those shown that has tiles."""
    for i in positions:
        panels = detail_panels(contents, groups, i)
        if panels:
            return str(contents.images["image"].iloc[i]), panels
    return "", []


def _distributions(contents: Contents) -> list[Panel]:
    if contents.grains is None or contents.statistics is None:
        return []
    images, edge = _statistics_images(contents), _edge(contents)
    grains = contents.grains
    panels = []
    shown = images
    tags = [tag for tag in contents.by if tag in images]
    if tags and len(contents.statistics) > 1:
        figure = plot_size_distributions(grains, images, edge=edge)
        alt = "Histogram of the grain areas of all images, by number and by area"
        panels.append(svg_panel(figure, alt, "all images"))
        condition = conditions_of(images, tags)
        caption = "by condition"
        if condition.nunique() > MAX_PANELS:
            per_image = grains["image"].value_counts()
            weight = images["image"].map(per_image).fillna(0).groupby(condition).sum()
            kept = weight.sort_values(ascending=False, kind="stable").index[:MAX_PANELS]
            shown = images[condition.isin(kept)]
            caption += f": the {MAX_PANELS} with most grains of {condition.nunique()}"
    else:
        caption = "all images"
    chosen = grains[grains["image"].isin(set(shown["image"]))]
    figure = plot_size_distributions(chosen, shown, by=tags, edge=edge)
    alt = "Histograms of the grain areas of each condition, by number and by area"
    panels.append(svg_panel(figure, alt, caption))
    return panels


def _means(contents: Contents) -> list[Panel]:
    """Mean area against each tag that has more than one value."""
    frame = contents.statistics
    if frame is None or contents.grains is None or frame["mean_area"].isna().all():
        return []
    images = _statistics_images(contents)
    tags = [tag for tag in contents.by if tag in frame]
    by_sample = "sample" in images and (images["sample"] != "").any()
    unit: Literal["sample", "image"] = "sample" if by_sample else "image"
    points = unit_means(contents.grains, images, by=tags, edge=_edge(contents), unit=unit)
    panels = []
    for tag in tags:
        if frame[tag].nunique() < 2:
            continue
        figure = plot_condition_means(frame, x=tag, by=tags, points=points)
        caption = f"against {tag}; bars: intervals, rings: each {unit}"
        panels.append(svg_panel(figure, f"Mean grain area against {tag}, with intervals", caption))
    return panels


def _edge(contents: Contents) -> Any:
    return contents.records["grain_statistics"]["basis"]["parameters"].get("edge", "exclude")


def _statistics_images(contents: Contents) -> pd.DataFrame:
    """The images as the statistics saw them: those that were lost are not usable."""
    return contents.images.assign(usable=contents.sized)
