"""The tables of crystals that a report is about, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray.archive import store
from nanoarray.nanocrystal.compare.summary import SUMMARY_COLUMNS
from nanoarray.nanocrystal.groups.columns import FEATURES, SHAPE_PARAMETERS

#: Groups of the nanocrystal system in the order in which they are made.
GROUPS = ("crystal_maps", "crystals", "shapes", "shape_groups", "classes", "crystal_statistics")
#: Tags that make conditions where no statistics say which do.
DEFAULT_TAGS = ("synthesis_method",)
#: Features that are shown in pixels where no crystal has a length.
_IN_PIXELS = (
    *("area", "equivalent_diameter", "axis_major", "axis_minor", "perimeter"),
    *("feret_max", "feret_min", "convex_area"),
)
#: More scalars than the ten common features, in the order of the table.
_MORE = ("feret_max", "feret_min", "convex_area", "intensity_mean", "intensity_std", "contrast")


@dataclass(frozen=True)
class CrystalContents:
    """What a store says about crystals.

    Attributes
    ----------
    url
        The store.
    rows
        One row per object with ``image``, the scalar columns of ``crystals`` and ``shapes``,
        ``shape_group`` and ``predicted_group`` as far as those groups are finished; -1 for none.
    tables
        The small tables of ``crystal_statistics`` by their dimension: ``condition``, ``pair``,
        ``composition``, ``batch``, ``subsample``, ...
    labels
        Column of the table of conditions -> (unit, meaning).
    by
        Tags that make the conditions.
    model, classes
        What ``shape_groups`` and ``classes`` hold besides their columns, in memory; empty where
        they are not there.
    notes
        What is to be said of the rows.
    """

    url: str
    rows: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    labels: Mapping[str, tuple[str, str]]
    by: tuple[str, ...]
    model: xr.Dataset
    classes: xr.Dataset
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> pd.Series:
        """Rows that are crystals, not rejected objects, of images that could be measured."""
        return (self.rows["rejected"] == "") & (self.rows["problem"] == "")

    @property
    def whole(self) -> pd.Series:
        """Crystals that the edge does not cut: those that are compared."""
        return self.accepted & ~self.rows["touches_edge"].astype(bool)

    @property
    def group(self) -> np.ndarray:
        """Shape group of every row, -1 for none."""
        if "shape_group" not in self.rows:
            return np.full(len(self.rows), -1, np.int64)
        return self.rows["shape_group"].to_numpy(np.int64)

    @property
    def group_count(self) -> int:
        """Number of shape groups."""
        if "group_count" in self.model:
            return max(int(self.model["group_count"]), 0)
        return max(int(self.group.max(initial=0)), 0)

    @property
    def statistics(self) -> pd.DataFrame | None:
        """Rows of ``crystal_statistics``, one per condition."""
        return self.tables.get("condition")

    @property
    def size(self) -> str:
        """Column that the sizes are of."""
        frame = self.statistics
        if frame is not None and len(frame) and "size" in frame:
            return str(frame["size"].iloc[0])
        return "equivalent_diameter"

    @property
    def measured(self) -> bool:
        """Whether any crystal has a length."""
        return bool(np.isfinite(self.rows[self.size].to_numpy(np.float64)[self.whole]).any())

    @property
    def features(self) -> list[str]:
        """Features to show: the ten common ones first, in pixels where nothing has a length."""
        names = [
            f"{n}_px" if n in _IN_PIXELS and not self.measured else n for n in (*FEATURES, *_MORE)
        ]
        return [n for n in names if n in self.rows]

    @property
    def common_features(self) -> list[str]:
        """The ten common features and the shape parameters, as far as they are there."""
        shapes = [n for n in SHAPE_PARAMETERS if n in self.rows]
        return [*self.features[: len(FEATURES)], *shapes]


def read_crystals(
    url: str, images: pd.DataFrame, records: Mapping[str, Mapping[str, Any]]
) -> CrystalContents | None:
    """Read the tables of crystals; None where the table of crystals is not finished."""
    if not records.get("crystals", {}).get("complete"):
        return None
    rows = pd.DataFrame(store.read_columns(url, "crystals", "crystal"))
    index = rows["image_index"].to_numpy(np.int64)
    rows.insert(0, "image", images["image"].to_numpy(object)[index])
    notes = []
    for group in ("shapes", "shape_groups", "classes"):
        if not records.get(group, {}).get("complete"):
            continue
        columns = store.read_columns(url, group, "crystal")
        if any(len(values) != len(rows) for values in columns.values()):
            notes.append(f"{group} has other rows than crystals and is not shown: run it again")
            continue
        rows = rows.assign(**{n: v for n, v in columns.items() if n not in rows})
    statistics, labels = _tables(url, records)
    parameters = records.get("crystal_statistics", {}).get("basis", {}).get("parameters", {})
    by = parameters.get("by", DEFAULT_TAGS if statistics == {} else ())
    return CrystalContents(
        url=url,
        rows=rows,
        tables=statistics,
        labels=labels,
        by=tuple(str(tag) for tag in by if tag in images and images[tag].nunique() > 0),
        model=_constants(url, "shape_groups", records),
        classes=_constants(url, "classes", records),
        parameters=parameters,
        notes=tuple(notes),
    )


def _constants(url: str, group: str, records: Mapping[str, Mapping[str, Any]]) -> xr.Dataset:
    """What a group holds besides its columns along crystals."""
    if not records.get(group, {}).get("complete"):
        return xr.Dataset()
    ds = store.open_group(url, group)
    return ds.drop_vars([n for n, v in ds.variables.items() if "crystal" in v.dims]).load()


def _tables(
    url: str, records: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, pd.DataFrame], dict[str, tuple[str, str]]]:
    """The small tables of ``crystal_statistics``, in the order of their columns."""
    if not records.get("crystal_statistics", {}).get("complete"):
        return {}, {}
    ds = store.open_group(url, "crystal_statistics")
    order = {name: i for i, name in enumerate(SUMMARY_COLUMNS)}
    columns: dict[str, dict[str, Any]] = {}
    labels = {}
    for name in sorted(map(str, ds.variables), key=lambda n: _place(n, order)):
        variable = ds.variables[name]
        if variable.ndim != 1:
            continue
        dim = str(variable.dims[0])
        short = name if dim == "condition" else name.removeprefix(f"{dim}_")
        values = variable.values
        text = values.dtype.kind in "UOT"
        columns.setdefault(dim, {})[short] = values.astype(object) if text else values
        if dim == "condition":
            attrs = variable.attrs
            labels[short] = (str(attrs.get("units", "1")), str(attrs.get("long_name", short)))
    return {dim: pd.DataFrame(parts) for dim, parts in columns.items()}, labels


def _place(name: str, order: Mapping[str, int]) -> tuple[int, str]:
    base = name.removesuffix("_low").removesuffix("_high")
    return order.get(base, len(order)), name


def text_of(ds: xr.Dataset, name: str) -> str:
    """A short text of a group, "" where it is not there."""
    return str(ds[name].values) if name in ds else ""


def texts_of(ds: xr.Dataset, name: str) -> list[str]:
    """Several texts of a group."""
    return [str(v) for v in np.atleast_1d(ds[name].values)] if name in ds else []


def numbers_of(ds: xr.Dataset, name: str) -> np.ndarray:
    """Numbers of a group, empty where they are not there."""
    if name not in ds:
        return np.zeros(0)
    return np.asarray(ds[name].values, dtype=np.float64)
