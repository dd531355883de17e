"""Sizes of a population from sums over its units, so that resamples cost a product of matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nanoarray.nanocrystal.compare.population import Population
from nanoarray.statistics.distribution import (
    ResampledQuantile,
    normal_distance,
    weighted_quantile,
    weighted_std,
)
from nanoarray.statistics.image_table import Units
from nanoarray.statistics.resampling import (
    IntervalMethod,
    bootstrap_interval,
    of_resamples,
    without_each_unit,
)

__all__ = [
    "SIZE_STATISTICS",
    "SizeSums",
    "size_intervals",
    "size_statistics",
    "size_sums",
    "size_values",
]

FloatArray = npt.NDArray[np.float64]

#: What `size_statistics` gives, and whose differences can be tested.
SIZE_STATISTICS: Final = (
    "mean_size",
    "std_size",
    "relative_spread",
    "volume_weighted_mean_size",
    "mean_volume_size",
    "log_std_size",
)


@dataclass(frozen=True)
class SizeSums:
    """Sums over the crystals of every unit.

    Attributes
    ----------
    sums
        (units, 8) weight w, w^2, w x, w x^2, w d^3, w d^4, w y, w y^2 with x = d - centre and
        y = ln d - log_centre, so that a narrow spread is not lost to rounding.
    centre, log_centre
        Mean size [nm] and mean of ln(size / nm).
    """

    sums: FloatArray
    centre: float
    log_centre: float

    def keep(self, units: npt.NDArray[np.bool_]) -> SizeSums:
        """Sums of some of the units."""
        return SizeSums(self.sums[units], self.centre, self.log_centre)


def size_sums(size_nm: FloatArray, weight: FloatArray, unit: npt.NDArray, count: int) -> SizeSums:
    """Sums over crystals.

    Parameters
    ----------
    size_nm, weight
        (n,) sizes [nm] and weights, all above 0.
    unit
        (n,) unit of each.
    count
        Number of units.
    """
    total = weight.sum()
    log = np.log(size_nm)
    centre = float(weight @ size_nm / total) if size_nm.size else 0.0
    log_centre = float(weight @ log / total) if size_nm.size else 0.0
    x, y = size_nm - centre, log - log_centre
    w = weight
    terms = (w, w**2, w * x, w * x**2, w * size_nm**3, w * size_nm**4, w * y, w * y**2)
    sums = np.stack([np.bincount(unit, term, minlength=count) for term in terms], axis=1)
    return SizeSums(sums.astype(np.float64), centre, log_centre)


def size_statistics(sums: FloatArray, of: SizeSums) -> dict[str, FloatArray]:
    """Statistics of sums; (..., 8) sums give (...) values of each, NaN where there is none.

    Parameters
    ----------
    sums
        Sums of some units of `of`, added up.
    of
        Where they come from.

    Returns
    -------
    ``mean_size`` [nm], ``std_size`` [nm] (n - 1), ``relative_spread`` = std / mean, the paper's
    sigma/d; ``volume_weighted_mean_size`` = sum d^4 / sum d^3 [nm]; ``mean_volume_size`` =
    (mean d^3)^(1/3) [nm]; ``log_mean_size``, ``log_std_size`` of the log-normal fit.
    """
    w, ww, wx, wxx, w3, w4, wy, wyy = np.moveaxis(np.asarray(sums), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = of.centre + wx / w
        std = _std(w, ww, wx, wxx, scale=of.centre)
        return {
            "mean_size": mean,
            "std_size": std,
            "relative_spread": std / mean,
            "volume_weighted_mean_size": w4 / w3,
            "mean_volume_size": np.cbrt(w3 / w),
            "log_mean_size": of.log_centre + wy / w,
            "log_std_size": _std(w, ww, wy, wyy, scale=1.0),
        }


def size_values(size_nm: FloatArray, weight: FloatArray) -> dict[str, float]:
    """Statistics of sizes, with the median and how far a log-normal distribution is.

    Parameters
    ----------
    size_nm, weight
        (n,) sizes [nm] and weights, all above 0; none gives NaN.
    """
    of = size_sums(size_nm, weight, np.zeros(len(size_nm), np.intp), 1)
    values = {name: float(value[0]) for name, value in size_statistics(of.sums, of).items()}
    values["median_size"] = float(weighted_quantile(size_nm, 0.5, weight=weight)[0])
    values["lognormal_distance"] = np.nan
    log = np.log(size_nm)
    sigma = weighted_std(log, weight)
    if sigma > 1e-12:
        standardized = (log - values["log_mean_size"]) / sigma
        values["lognormal_distance"] = normal_distance(standardized, weight)
    return values


def size_intervals(
    part: Population,
    units: Units,
    values: dict[str, float],
    *,
    chosen: npt.NDArray[np.bool_],
    interval: float,
    method: IntervalMethod,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Ends of the intervals of every statistic and of the median, by resampling whole units.

    Parameters
    ----------
    part, units
        The population and its independent units, those of its images that have a scale.
    values
        As from `size_values` of the chosen crystals.
    chosen
        (n,) which objects the values are of.

    Returns
    -------
    ``<name>_low`` and ``<name>_high`` of each, NaN for fewer than two units.
    """
    names = (*SIZE_STATISTICS, "median_size")
    count = len(units.names)
    ends: dict[str, tuple[float, float]] = dict.fromkeys(names, (np.nan, np.nan))
    if count >= 2 and chosen.any():
        size, weight = part.size_nm[chosen], part.weight[chosen]
        unit = part.unit_of_object(units, sizes=True)[chosen]
        of = size_sums(size, weight, unit, count)
        median = ResampledQuantile(size, 0.5, weight=weight, unit=unit, units=count)

        def statistics(counts: FloatArray) -> dict[str, FloatArray]:
            return {**size_statistics(counts @ of.sums, of), "median_size": median(counts)}

        drawn = of_resamples(statistics, count, resamples=resamples, rng=rng)
        left_out = without_each_unit(statistics, count) if method == "bca" else {}
        for name in names:
            ends[name] = bootstrap_interval(
                values[name],
                drawn[name],
                units=count,
                interval=interval,
                method=method,
                left_out=left_out.get(name),
            )
    return {
        f"{name}_{side}": ends[name][i] for name in names for i, side in enumerate(("low", "high"))
    }


def _std(
    w: FloatArray, ww: FloatArray, wx: FloatArray, wxx: FloatArray, *, scale: float
) -> FloatArray:
    """Standard deviation, unbiased for the variance; what is rounding next to `scale` is 0."""
    freedom = w - ww / w  # n - 1 for equal weights
    variance = (wxx - wx**2 / w) / np.where(freedom > 1e-9 * w, freedom, np.nan)
    return np.sqrt(np.where(variance > (1e-10 * scale) ** 2, variance, 0.0 * variance))
