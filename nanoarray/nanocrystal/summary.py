"""Statistics of crystals as Datasets: tables by condition, pair, group, batch and count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray import schema
from nanoarray.archive.stage_parameters import checked
from nanoarray.archive.tables import frame_variables, image_columns, tag_attrs
from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.composition import group_composition
from nanoarray.nanocrystal.compare.distances import DEFAULT_FEATURES, population_distances
from nanoarray.nanocrystal.compare.methods import compare_methods, run_times
from nanoarray.nanocrystal.compare.pairs import compare_populations
from nanoarray.nanocrystal.compare.precision import precision_by_condition, subsampling_curve
from nanoarray.nanocrystal.compare.reproducibility import batch_reproducibility
from nanoarray.nanocrystal.compare.summary import count_rejections
from nanoarray.nanocrystal.compare.summary import summarize_crystals as summarize_sizes
from nanoarray.nanocrystal.compare.trend import size_trend
from nanoarray.nanocrystal.parameters import CrystalStatisticsParameters
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.schema_statistics import variable_prefix

#: Columns of the table of crystals that the statistics need.
_COLUMNS = (
    *("image_index", "label", "rejected", "problem", "touches_edge", "edge_weight"),
    "axis_major",  # the size of the paper's table 2
    *DEFAULT_FEATURES,
)
#: Tag that says how the sizes of an image were measured, where several ways are compared.
ANALYSIS = "analysis"


def crystal_frame(crystals: xr.Dataset, groups: xr.Dataset) -> pd.DataFrame:
    """The columns that statistics need, with the shape groups where ``groups`` has them."""
    columns: dict[str, Any] = {name: crystals[name].values for name in _COLUMNS}
    columns |= {name: columns[name].astype(object) for name in ("rejected", "problem")}
    if "shape_group" in groups:
        columns["shape_group"] = groups["shape_group"].values
    return pd.DataFrame(columns)


def summarize_crystals(crystals: xr.Dataset, images: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Sizes and groups of crystals by condition, with intervals, comparisons and precision.

    Parameters
    ----------
    crystals
        Along ``crystal``: as from `measure_crystals`, or `nanoarray.table` gives them; with
        ``shape_group`` merged, composition is compared too.
    images
        Along ``image`` with the tags; images without crystals count too.
    **parameters
        Fields of `CrystalStatisticsParameters`, such as ``by=("synthesis_method",)``.

    Returns
    -------
    xr.Dataset
        One row per ``condition``; further tables along ``pair``, ``distance``, ``trend`` (of
        numeric tags), ``method``, ``composition``, ``batch``, ``precision``, ``subsample`` and
        ``rejection``, whose variables begin so.

    Raises
    ------
    InputError
        Where a tag does not exist or a parameter is out of range.
    """
    chosen = checked(CrystalStatisticsParameters, parameters, name="parameters")
    frame = crystal_frame(crystals, crystals)
    return summarize(frame, image_frame(images), chosen, tags=tag_attrs(images))


def image_frame(images: xr.Dataset, maps: xr.Dataset | None = None) -> pd.DataFrame:
    """Images as rows with their tags, and ``usable``: segmented without a problem."""
    frame = pd.DataFrame(image_columns(images))
    frame["usable"] = frame["ok"].to_numpy().astype(bool) if "ok" in frame else True
    if maps is not None:
        frame["usable"] &= maps["problem"].values.astype(object) == ""
    return frame


def summarize(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    parameters: CrystalStatisticsParameters,
    *,
    tags: Mapping[str, Mapping[str, str]] | None = None,
) -> xr.Dataset:
    """Statistics of crystals and images as a Dataset of small tables.

    ``tags`` has the attributes (units, meaning) of tags that the schema leaves open.
    """
    by = list(parameters.by)
    missing = [tag for tag in by if tag not in images]
    if missing:
        raise InputError(
            f"crystal_statistics.by names the tag {missing[0]!r}, which no image has: expected "
            f"some of {', '.join(sorted(map(str, images.columns)))}"
        )
    tables = _tables(crystals, images, parameters)
    if "trend" in tables:
        units = [(tags or {}).get(tag, {}).get("units", "1") for tag in tables["trend"]["tag"]]
        tables["trend"]["units"] = ["1" if unit == "1" else f"1/{unit}" for unit in units]
    variables: dict[str, Any] = {}
    for dim, frame in tables.items():
        columns = units_and_meanings(dim)
        found = frame_variables(frame, dim, columns, prefix=variable_prefix(dim), tags=tags)
        variables |= {n: (d, _typed(n, v), attrs) for n, (d, v, attrs) in found.items()}
    return xr.Dataset(variables)


def _tables(
    crystals: pd.DataFrame, images: pd.DataFrame, parameters: CrystalStatisticsParameters
) -> dict[str, pd.DataFrame]:
    """The tables of `nanoarray.schema_crystal_statistics`, as far as there is anything in them."""
    by = list(parameters.by)
    seeded: dict[str, Any] = {"by": by, "seed": parameters.seed, "edge": parameters.edge}
    resampled = {
        **seeded,
        "resample_unit": parameters.resample_unit,
        "resamples": parameters.resamples,
    }
    bounded = {**resampled, "interval": parameters.interval}
    tables = {"condition": summarize_sizes(crystals, images, **bounded)}
    if len(tables["condition"]) > 1:
        tables["pair"] = compare_populations(crystals, images, **bounded)
        tables["distance"] = population_distances(
            crystals,
            images,
            resample_unit=parameters.resample_unit,
            level=round(1 - parameters.interval, 12),
            **seeded,
        )
    trends = [
        size_trend(crystals, images, tag=t, hold=[o for o in by if o != t], **_without_by(bounded))
        for t in by
        if images[t].dtype.kind in "fi" and images[t].nunique() > 1
    ]
    if trends:
        tables["trend"] = pd.concat(trends, ignore_index=True)
    methods = [*by, *([ANALYSIS] if ANALYSIS in images and ANALYSIS not in by else [])]
    if len(tables["condition"]) > 1 or methods != by:
        tables["method"] = compare_methods(
            crystals, images, run_time_s=run_times(images, methods), **{**bounded, "by": methods}
        )
    if "shape_group" in crystals:
        tables["composition"] = group_composition(crystals, images, total=True, **bounded)
    if "batch" in images:
        tables["batch"] = batch_reproducibility(
            crystals,
            images,
            interval=parameters.interval,
            resample_unit=parameters.resample_unit,
            **seeded,
        )
    tables["precision"] = precision_by_condition(crystals, images, **resampled)
    tables["subsample"] = subsampling_curve(crystals, images, **resampled)
    tables["rejection"] = count_rejections(crystals, images, by=by)
    return tables


def _without_by(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "by"}


def _typed(name: str, values: np.ndarray) -> np.ndarray:
    """Values as the schema has them: a table without rows does not know its types."""
    entry = schema.known("crystal_statistics", name)
    if entry is None or entry.dtype == "str":
        return values
    return values.astype(entry.dtype)


def known_rows(ds: xr.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """The variables of a Dataset as a stage's plan takes them."""
    return {str(n): (tuple(map(str, v.dims)), v.values, v.attrs) for n, v in ds.variables.items()}
