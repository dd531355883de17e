"""Does the size of nanocrystals follow a numeric tag? Whole samples are the observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.nanocrystal.compare.population import build_population, tag_names
from nanoarray.nanocrystal.compare.sizes import size_statistics, size_sums
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import ResampleUnit, Units
from nanoarray.statistics.trend import trend_of_units

__all__ = ["size_trend"]

FloatArray = npt.NDArray[np.float64]


def size_trend(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    tag: str,
    hold: Sequence[str] = (),
    size: str = "equivalent_diameter",
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Test whether crystals become larger or smaller with a numeric tag.

    Parameters
    ----------
    crystals, images, size, sample_tag, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`.
    tag, hold, resample_unit, interval, resamples, permutations, seed
        As in `nanoarray.statistics.trend.trend_test`.

    Returns
    -------
    One row with the columns of the table ``trend`` of `nanoarray.schema_crystal_statistics`:
    ``slope`` is of a unit's mean ln(size) per unit of the tag, every unit counting once.

    Raises
    ------
    InputError
        Where a column or tag does not exist, the tag is no number, or a parameter is out of range.
    """
    held = tag_names(hold, reserved=())
    population = build_population(
        crystals, images, tags=[tag, *held], size=size, edge=edge, sample_tag=sample_tag
    )

    def measure(kept: npt.NDArray[np.bool_]) -> tuple[Units, FloatArray]:
        part = population.take(kept)
        units = part.units(resample_unit, sizes=True, fall_back=False)
        sized = part.sized
        unit = part.unit_of_object(units, sizes=True)[sized]
        of = size_sums(part.size_nm[sized], part.weight[sized], unit, len(units.names))
        return units, np.exp(size_statistics(of.sums, of)["log_mean_size"])

    row = trend_of_units(
        population.images,
        population.scaled,
        measure,
        tag=tag,
        hold=held,
        interval=interval,
        resamples=resamples,
        permutations=permutations,
        seed=seed,
    )
    return pd.DataFrame([{**row, "size": size}])
