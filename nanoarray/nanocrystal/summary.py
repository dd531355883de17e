"""Statistics of crystals as Datasets: tables by condition, pair, group, batch and count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray.archive.stage_parameters import checked
from nanoarray.archive.tables import frame_variables, image_columns
from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.composition import COMPOSITION_COLUMNS, group_composition
from nanoarray.nanocrystal.compare.distances import (
    DEFAULT_FEATURES,
    DISTANCE_COLUMNS,
    population_distances,
)
from nanoarray.nanocrystal.compare.pairs import COMPARISON_COLUMNS, compare_populations
from nanoarray.nanocrystal.compare.precision import (
    CURVE_COLUMNS,
    PRECISION_COLUMNS,
    precision_by_condition,
    subsampling_curve,
)
from nanoarray.nanocrystal.compare.reproducibility import (
    REPRODUCIBILITY_COLUMNS,
    batch_reproducibility,
)
from nanoarray.nanocrystal.compare.summary import (
    SUMMARY_COLUMNS,
    count_rejections,
)
from nanoarray.nanocrystal.compare.summary import summarize_crystals as summarize_sizes
from nanoarray.nanocrystal.parameters import CrystalStatisticsParameters

#: Columns of the table of crystals that the statistics need.
_COLUMNS = (
    *("image_index", "label", "rejected", "problem", "touches_edge", "edge_weight"),
    *DEFAULT_FEATURES,
)
_REJECTION_COLUMNS = {
    "condition": ("1", "name of the condition"),
    "reason": ("1", "why objects are no crystals"),
    "count": ("1", "number of them"),
}


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
        One row per ``condition``; further tables along ``pair``, ``distance``, ``composition``,
        ``batch``, ``precision``, ``subsample`` and ``rejection``, whose variables begin so.

    Raises
    ------
    InputError
        Where a tag does not exist or a parameter is out of range.
    """
    chosen = checked(CrystalStatisticsParameters, parameters, name="parameters")
    return summarize(crystal_frame(crystals, crystals), image_frame(images), chosen)


def image_frame(images: xr.Dataset, maps: xr.Dataset | None = None) -> pd.DataFrame:
    """Images as rows with their tags, and ``usable``: segmented without a problem."""
    frame = pd.DataFrame(image_columns(images))
    frame["usable"] = frame["ok"].to_numpy().astype(bool) if "ok" in frame else True
    if maps is not None:
        frame["usable"] &= maps["problem"].values.astype(object) == ""
    return frame


def summarize(
    crystals: pd.DataFrame, images: pd.DataFrame, parameters: CrystalStatisticsParameters
) -> xr.Dataset:
    """Statistics of crystals and images as a Dataset of small tables."""
    by = list(parameters.by)
    missing = [tag for tag in by if tag not in images]
    if missing:
        raise InputError(
            f"crystal_statistics.by names the tag {missing[0]!r}, which no image has: expected "
            f"some of {', '.join(map(str, images.columns))}"
        )
    seeded: dict[str, Any] = {"by": by, "seed": parameters.seed, "edge": parameters.edge}
    resampled = {
        **seeded,
        "resample_unit": parameters.resample_unit,
        "resamples": parameters.resamples,
    }
    with_interval = {**resampled, "interval": parameters.interval}
    condition = summarize_sizes(crystals, images, **with_interval)
    tables = {"condition": (condition, SUMMARY_COLUMNS)}
    if len(condition) > 1:
        tables["pair"] = (
            compare_populations(crystals, images, **with_interval),
            COMPARISON_COLUMNS,
        )
        distances = population_distances(
            crystals,
            images,
            resample_unit=parameters.resample_unit,
            level=round(1 - parameters.interval, 12),
            **seeded,
        )
        tables["distance"] = (distances, DISTANCE_COLUMNS)
    if "shape_group" in crystals:
        found = group_composition(crystals, images, total=True, **with_interval)
        tables["composition"] = (found, COMPOSITION_COLUMNS)
    if "batch" in images:
        found = batch_reproducibility(crystals, images, interval=parameters.interval, **seeded)
        tables["batch"] = (found, REPRODUCIBILITY_COLUMNS)
    tables["precision"] = (precision_by_condition(crystals, images, **resampled), PRECISION_COLUMNS)
    tables["subsample"] = (subsampling_curve(crystals, images, **resampled), CURVE_COLUMNS)
    tables["rejection"] = (count_rejections(crystals, images, by=by), _REJECTION_COLUMNS)
    variables: dict[str, Any] = {}
    for dim, (frame, columns) in tables.items():
        prefix = "" if dim == "condition" else f"{dim}_"
        variables |= frame_variables(frame, dim, columns, prefix=prefix)
    return xr.Dataset(variables)


def known_rows(ds: xr.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """The variables of a Dataset as a stage's plan takes them."""
    return {str(n): (tuple(map(str, v.dims)), v.values, v.attrs) for n, v in ds.variables.items()}
