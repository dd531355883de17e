"""The parts of the page about grains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import xarray as xr

from nanoarray.report.contents import Contents, conditions_of
from nanoarray.report.panels import Panel, svg_panel
from nanoarray.report.style import data_uri, svg_bytes
from nanoarray.report.superlattice.distributions import plot_size_distributions
from nanoarray.report.superlattice.image_panels import detail_panels
from nanoarray.report.superlattice.maps import plot_orientation_key
from nanoarray.report.superlattice.means import plot_condition_means, unit_means
from nanoarray.report.text_tables import number

#: Conditions that a figure of distributions has panels for; the tables have all of them.
MAX_PANELS = 24


def grain_facts(contents: Contents) -> list[tuple[str, str]]:
    """The numbers at the top: value and what it counts."""
    facts = []
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


def orientation_keys(symmetries: Iterable[int]) -> dict[int, str]:
    """Keys to the orientation colours of the symmetries that occur: each is in the page once."""
    found = sorted({fold for fold in symmetries if fold in (2, 4, 6)})
    return {
        fold: data_uri(svg_bytes(plot_orientation_key(fold)), "image/svg+xml") for fold in found
    }


def detail(
    contents: Contents, groups: Mapping[str, xr.Dataset], positions: Sequence[int]
) -> tuple[str, list[Panel]]:
    """One image in detail: the first of those shown that has tiles."""
    for i in positions:
        panels = detail_panels(contents, groups, i)
        if panels:
            return str(contents.images["image"].iloc[i]), panels
    return "", []


def distributions(contents: Contents) -> list[Panel]:
    """Distributions of grain sizes, of all images and by condition."""
    if contents.grains is None or contents.statistics is None:
        return []
    images, edge = _statistics_images(contents), _edge(contents)
    grains = contents.grains
    panels = []
    shown = images
    tags = [tag for tag in contents.grain_by if tag in images]
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


def means(contents: Contents) -> list[Panel]:
    """Mean area against each tag that has more than one value."""
    frame = contents.statistics
    if frame is None or contents.grains is None or frame["mean_area"].isna().all():
        return []
    images = _statistics_images(contents)
    tags = [tag for tag in contents.grain_by if tag in frame]
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
