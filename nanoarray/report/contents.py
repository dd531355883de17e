"""What a report is about: the tables of a store, read once, and what is missing in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray.archive import store
from nanoarray.archive.engine import problems
from nanoarray.archive.tables import image_columns
from nanoarray.report.nanocrystals.contents import GROUPS as CRYSTAL_GROUPS
from nanoarray.report.nanocrystals.contents import CrystalContents, read_crystals
from nanoarray.report.style import condition_title, is_missing, number_text, tag_unit
from nanoarray.schema_statistics import GRAIN_STATISTICS
from nanoarray.superlattice.stages import STAGES as SUPERLATTICE_STAGES

#: Tags that make conditions where no statistics say which do.
DEFAULT_TAGS = ("temperature", "pressure")
#: Groups along ``image`` in the order in which images can be lost.
IMAGE_STAGES = ("prepared", "tiles", "tile_clusters", "grain_maps", "crystal_maps")
#: Tables of labelled regions: an image that could not be measured has its rows in them, unknown.
REGION_TABLES = ("grains", "crystals", "shapes")
#: Groups of each system in the order in which they are made.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "superlattice": tuple(stage.name for stage in SUPERLATTICE_STAGES),
    "nanocrystals": CRYSTAL_GROUPS,
}
NO_PIXEL_SIZE = "no pixel size: counted and mapped, but without lengths and areas"
#: Step of images that have no pixel size.
MEASURING = "measuring"
NOT_RUN = "added after this step was run: run the pipeline again"


@dataclass(frozen=True)
class Contents:
    """The tables of a store.

    Attributes
    ----------
    url
        The store.
    images
        One row per image: every one-dimensional variable of ``images``, and the columns of the
        later groups along ``image`` (``usable``, ``sharpness``, ``grain_count``, ...).
    grains
        One row per grain with ``image``, or None where that stage is not finished.
    statistics, pairs, trends
        Rows of ``grain_statistics``: conditions, comparisons of two, tests of trend; or None.
    labels
        Column of ``statistics`` -> (unit, meaning).
    grain_by, by
        Tags that make the conditions of the grains, and of all that the store holds.
    records
        Group -> provenance, of the groups that are there.
    left_out
        One row per image that is not, or not wholly, in the results: ``image``, ``step``,
        ``reason``.
    crystals
        What there is about crystals, or None where their table is not finished.
    """

    url: str
    images: pd.DataFrame
    grains: pd.DataFrame | None
    statistics: pd.DataFrame | None
    pairs: pd.DataFrame | None
    trends: pd.DataFrame | None
    labels: Mapping[str, tuple[str, str]]
    grain_by: tuple[str, ...]
    by: tuple[str, ...]
    records: Mapping[str, Mapping[str, Any]]
    left_out: pd.DataFrame
    crystals: CrystalContents | None = None

    def complete(self, group: str) -> bool:
        """Whether a group is there and finished."""
        return bool(self.records.get(group, {}).get("complete"))

    def open(self, group: str) -> xr.Dataset:
        """Open a group, lazily."""
        return store.open_group(self.url, group)

    @property
    def systems(self) -> tuple[str, ...]:
        """Which systems have been run, at least in part."""
        return tuple(
            name for name, groups in SYSTEMS.items() if any(g in self.records for g in groups)
        )

    @property
    def sized(self) -> pd.Series:
        """Which images count in the statistics of grain sizes."""
        return ~self.images["image"].isin(self._lost("superlattice"))

    @property
    def crystal_images(self) -> pd.DataFrame:
        """The images as the statistics of crystals see them: with ``usable``."""
        lost = self._lost("nanocrystals")
        # Without a pixel size there are no sizes, but shapes; and the other way round.
        lost -= set(self.left_out.loc[self.left_out["step"].isin((MEASURING, "shapes")), "image"])
        return self.images.assign(usable=~self.images["image"].isin(lost))

    @property
    def wholly_left_out(self) -> set[str]:
        """Images that are in no result of any system that has been run."""
        lost = set(self.left_out["image"])
        if "superlattice" in self.systems:
            lost &= set(self.images["image"][~self.sized])
        if "nanocrystals" in self.systems:
            frame = self.crystal_images
            lost &= set(frame["image"][~frame["usable"]])
        return lost

    def _lost(self, system: str) -> set[str]:
        others = {group for name, groups in SYSTEMS.items() if name != system for group in groups}
        return set(self.left_out.loc[~self.left_out["step"].isin(others), "image"])


def read_contents(url: str) -> Contents:
    """Read every table of a store.

    Raises
    ------
    InputError
        When ``url`` is no store, or has no images.
    """
    store.check_store(url)
    records = {name: store.provenance(url, name) for name in store.group_names(url)}
    frame = pd.DataFrame(image_columns(store.open_group(url, "images")))
    for group in IMAGE_STAGES:
        if group in records:
            frame = _join(frame, store.read_columns(url, group, "image"), group)
    grains = None
    if records.get("grains", {}).get("complete"):
        grains = pd.DataFrame(store.read_columns(url, "grains", "grain"))
        index = grains["image_index"].to_numpy(np.int64)
        grains.insert(0, "image", frame["image"].to_numpy(object)[index])
    tables: dict[str, pd.DataFrame] = {}
    labels: dict[str, tuple[str, str]] = {}
    run = any(group in records for group in SYSTEMS["superlattice"])
    by: Sequence[str] = [tag for tag in DEFAULT_TAGS if _varies(frame, tag)]
    if records.get("grain_statistics", {}).get("complete"):
        tables, labels = _statistics(store.open_group(url, "grain_statistics"))
        by = records["grain_statistics"]["basis"]["parameters"]["by"]
    crystals = read_crystals(url, frame, records)
    own = tuple(by) if run or crystals is None else ()
    return Contents(
        url=url,
        images=frame,
        grains=grains,
        statistics=tables.get("condition"),
        pairs=tables.get("pair"),
        trends=tables.get("trend"),
        labels=labels,
        grain_by=tuple(by),
        by=tuple(dict.fromkeys((*own, *(crystals.by if crystals is not None else ())))),
        records=records,
        left_out=_left_out(url, frame, records),
        crystals=crystals,
    )


def _join(frame: pd.DataFrame, columns: Mapping[str, np.ndarray], group: str) -> pd.DataFrame:
    """Add a group's columns; images that were added later have none."""
    added = {}
    for name, values in columns.items():
        if name in frame and name != "problem":
            continue
        text = values.dtype.kind == "O"
        column = np.full(len(frame), "" if text else np.nan, dtype=object if text else np.float64)
        column[: len(values)] = values[: len(frame)]
        added[f"{group}_problem" if name == "problem" else name] = column
    return frame.assign(**added)


def _varies(frame: pd.DataFrame, tag: str) -> bool:
    return tag in frame and frame[tag].nunique() > 0


def _statistics(
    ds: xr.Dataset,
) -> tuple[dict[str, pd.DataFrame], dict[str, tuple[str, str]]]:
    """The small tables of ``grain_statistics`` in the order of their columns; units, meanings."""
    tables: dict[str, dict[str, Any]] = {"condition": {}, "pair": {}, "trend": {}}
    labels = {}
    # Arrays of a group have no order of their own.
    order = {name: i for i, name in enumerate(GRAIN_STATISTICS["condition"])}
    for name in sorted(map(str, ds.variables), key=lambda n: (order.get(n, len(order)), n)):
        variable = ds.variables[name]
        if len(variable.dims) != 1 or variable.dims[0] not in tables:
            continue
        dim = str(variable.dims[0])
        values = variable.values
        short = name.removeprefix(f"{dim}_") if dim != "condition" else name
        tables[dim][short] = values.astype(object) if values.dtype.kind in "UOT" else values
        if dim == "condition":
            attrs = variable.attrs
            labels[short] = (str(attrs.get("units", "1")), str(attrs.get("long_name", short)))
    return {dim: pd.DataFrame(columns) for dim, columns in tables.items() if columns}, labels


def _left_out(
    url: str, frame: pd.DataFrame, records: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Why images are not in the results: the first step that lost each, and its reason."""
    # An image is lost once by each system, and once for both where it cannot be read.
    rows: dict[tuple[str, str], tuple[str, str, str]] = {}
    system_of = {group: name for name, groups in SYSTEMS.items() for group in groups}

    def lose(image: str, step: str, reason: str) -> None:
        if (image, "") not in rows:
            rows.setdefault((image, system_of.get(step, "")), (image, step, reason))

    for image, reason in zip(frame["image"], frame["problem"], strict=True):
        if reason:
            lose(image, "reading", reason)
    for group in (*IMAGE_STAGES, *REGION_TABLES):
        if group not in records:
            continue
        failed, left_out = problems(url, group)
        for image, reason in failed:
            lose(image, group, f"failed: {reason}")
        for image, reason in left_out:
            lose(image, group, reason.removeprefix("left out: "))
        if group == "prepared" and "usable" in frame:
            doubtful = (frame["usable"] == 0) & (frame["ok"].astype(bool))
            for image, score in frame.loc[doubtful, ["image", "sharpness"]].itertuples(index=False):
                # The next step gives the reason in full; before it has run, this one stands.
                if "tiles" not in records:
                    lose(image, group, f"not usable (sharpness {score:.2f})")
        if group in IMAGE_STAGES:
            for image in frame["image"][int(records[group].get("length", 0)) :]:
                lose(image, group, NOT_RUN)
    unknown = frame["ok"].astype(bool) & ~(frame["pixel_size"] > 0)
    gone = {image for image, _ in rows}
    for image in frame.loc[unknown, "image"]:
        if image not in gone:
            lose(image, MEASURING, NO_PIXEL_SIZE)
    return pd.DataFrame(list(rows.values()), columns=["image", "step", "reason"])


def reason_counts(left_out: pd.DataFrame) -> list[tuple[str, str, int, str]]:
    """Reasons without their numbers and brackets, as (step, reason, count, example)."""
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for image, step, reason in left_out.astype(str).itertuples(index=False, name=None):
        general = re.sub(r"\s*\([^()]*\)", "", reason)
        general = re.sub(r"\d+(\.\d+)?", "#", general)
        counts[step, general] += 1
        example.setdefault((step, general), f"{image}: {reason}")
    return [(step, text, n, example[step, text]) for (step, text), n in counts.most_common()]


def conditions_of(images: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Name of the condition of every image."""
    known = [tag for tag in by if tag in images]
    names = [
        condition_title(dict(zip(known, values, strict=True)))
        for values in zip(*(images[tag] for tag in known), strict=True)
    ]
    return pd.Series(names if known else ["all images"] * len(images), index=images.index)


def choose_images(contents: Contents, count: int) -> list[int]:
    """Positions of images to show: spread over the conditions, and always the same ones.

    Images with grains or crystals come first; those that were lost on the way show only where
    there are not enough others.
    """
    frame = contents.images
    condition = conditions_of(frame, contents.by).to_numpy(object)
    readable = frame["ok"].to_numpy(bool)
    counts = np.maximum(
        *(np.nan_to_num(_column(frame, name)) for name in ("grain_count", "crystal_count"))
    )
    mapped = readable & (counts > 0)
    chosen: list[int] = []
    for pool in (np.flatnonzero(mapped), np.flatnonzero(readable & ~mapped)):
        queues = []
        for name in sorted(set(condition[pool].tolist())):
            rows = pool[condition[pool] == name]
            order = rows[np.argsort(frame["image"].to_numpy(str)[rows], kind="stable")]
            queues.append(_spread(order.tolist()))
        for turn in range(max(map(len, queues), default=0)):
            for queue in queues:
                if turn < len(queue) and len(chosen) < count:
                    chosen.append(queue[turn])
    by_condition = {i: (condition[i], str(frame["image"].iloc[i])) for i in chosen}
    return sorted(chosen, key=lambda i: by_condition[i])


def _spread(rows: list[int]) -> list[int]:
    """The same rows, each next one far from those before: first, last, middle, quarters, ..."""
    order: list[int] = []
    spans = [(0, len(rows) - 1)]
    if rows:
        order = [rows[0]] + ([rows[-1]] if len(rows) > 1 else [])
    while spans:
        low, high = spans.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order.append(rows[middle])
            spans += [(low, middle), (middle, high)]
    return order


def _column(frame: pd.DataFrame, name: str) -> np.ndarray:
    if name not in frame:
        return np.zeros(len(frame))
    return frame[name].to_numpy(np.float64)


def tags_text(frame: pd.DataFrame, i: int, tags: Sequence[str]) -> dict[str, str]:
    """The tags of an image that are known, for people."""
    found = {}
    for tag in tags:
        value = frame[tag].iloc[i]
        if not is_missing(value):
            found[tag] = f"{number_text(value)} {tag_unit(tag)}".strip()
    return found
