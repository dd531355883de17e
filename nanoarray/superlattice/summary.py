"""Grain statistics on Datasets: tables of conditions, pairs of conditions and trends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray.archive.stage_parameters import checked
from nanoarray.archive.tables import frame_variables, image_columns, tag_attrs
from nanoarray.errors import InputError
from nanoarray.schema_statistics import GRAIN_STATISTICS, variable_prefix
from nanoarray.statistics.cohort import build_cohort
from nanoarray.statistics.comparison import compare_in_cohort
from nanoarray.statistics.trend import trend_in_cohort
from nanoarray.superlattice.parameters import GrainStatisticsParameters
from nanoarray.superlattice.statistics.sizes import summarize_cohort


def image_table(
    images: xr.Dataset, prepared: xr.Dataset | None = None, maps: xr.Dataset | None = None
) -> pd.DataFrame:
    """Images as rows with their tags, and ``usable``: in focus and with a grain map."""
    frame = pd.DataFrame(image_columns(images))
    usable = np.ones(len(frame), bool)
    for name in ("ok", "usable"):
        if name in frame:
            usable &= frame[name].to_numpy().astype(bool)
    if "symmetry" in frame:  # of a map merged into the images; -1 where there is none
        usable &= frame["symmetry"].to_numpy() > 0
    frame["usable"] = usable
    for ds in (prepared, maps):
        if ds is not None:
            frame["usable"] &= ds["problem"].values.astype(object) == ""
    if prepared is not None:
        frame["usable"] &= prepared["usable"].values.astype(bool)
    return frame


def summarize_grains(
    grains: xr.Dataset, images: xr.Dataset, *, tile_size_um: float | None = None, **parameters: Any
) -> xr.Dataset:
    """Grain sizes by condition, with intervals, comparisons and trends.

    Parameters
    ----------
    grains
        Along ``grain``, as `nanoarray.table` gives them.
    images
        Along ``image`` with the tags; images without grains count too.
    tile_size_um
        Side of a tile [um]: smaller grains are counted and warned about.
    **parameters
        Fields of `GrainStatisticsParameters`, such as ``by=("temperature",)``.

    Returns
    -------
    xr.Dataset
        One row per ``condition``, per ``pair`` of conditions and per ``trend``; see
        `nanoarray.superlattice.statistics.sizes`.
    """
    chosen = checked(GrainStatisticsParameters, parameters, name="parameters")
    frame = grains.to_dataframe().reset_index(drop=True)
    return summarize(
        frame, image_table(images), chosen, tags=tag_attrs(images), tile_size_um=tile_size_um
    )


def summarize(
    grains: pd.DataFrame | Iterable[pd.DataFrame],
    images: pd.DataFrame,
    parameters: GrainStatisticsParameters,
    *,
    tags: Mapping[str, Mapping[str, str]],
    tile_size_um: float | None,
) -> xr.Dataset:
    """Statistics of grains, in parts by image, and images as a Dataset of small tables."""
    common: dict[str, Any] = {
        "interval": parameters.interval,
        "resamples": parameters.resamples,
        "seed": parameters.seed,
        "resample_unit": parameters.resample_unit,
    }
    by = list(parameters.by)
    twice = [tag for tag in by if by.count(tag) > 1]
    if twice:
        raise InputError(f"grain_statistics.by names the tag {twice[0]!r} twice")
    missing = [tag for tag in by if tag not in images]
    if missing:
        raise InputError(
            f"grain_statistics.by names the tag {missing[0]!r}, which no image has: expected some "
            f"of {', '.join(sorted(map(str, images.columns)))}"
        )
    how: dict[str, Any] = {"edge": parameters.edge, "tile_size_um": tile_size_um}
    cohort = build_cohort(grains, images, tags=by, **how)
    summary = summarize_cohort(cohort, by=by, **how, **common)
    cohort = cohort.without_grains()
    pairs = compare_in_cohort(cohort, by=by, **common) if len(summary) > 1 else pd.DataFrame()
    trends = [
        trend_in_cohort(cohort, tag=tag, hold=[t for t in by if t != tag], **common)
        for tag in by
        if images[tag].dtype.kind in "fi" and images[tag].nunique() > 1
    ]
    tables = {"condition": summary, "pair": pairs}
    tables["trend"] = pd.concat(trends, ignore_index=True) if trends else pd.DataFrame()
    if trends:
        units = [tags.get(tag, {}).get("units", "1") for tag in tables["trend"]["tag"]]
        tables["trend"]["units"] = ["1" if unit == "1" else f"1/{unit}" for unit in units]
    variables: dict[str, Any] = {}
    for dim, frame in tables.items():
        columns = {n: (c.units, c.meaning) for n, c in GRAIN_STATISTICS[dim].items()}
        variables |= frame_variables(frame, dim, columns, prefix=variable_prefix(dim), tags=tags)
    return xr.Dataset(variables)
