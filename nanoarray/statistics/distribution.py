"""Quantiles, spread and fit of weighted values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["ResampledQuantile", "ascending", "normal_distance", "weighted_quantile", "weighted_std"]

FloatArray = npt.NDArray[np.float64]

#: Values that are sorted, or otherwise worked on, at once.
_PIECE = 4_000_000
#: Half width of the values that resampled quantiles are looked for in, in standard errors.
_NEAR = 8.0


def ascending(values: FloatArray) -> Iterator[npt.NDArray[np.intp]]:
    """Positions of the values from the least to the largest, some millions at a time.

    Equal values keep their order. A hundred million values are never sorted at once, which would
    take several times the memory that they do.
    """
    pieces = -(-values.size // _PIECE)
    if pieces < 2:
        yield np.argsort(values, kind="stable")
        return
    some = values[:: max(1, values.size // 100_000)]
    ends = np.unique(np.quantile(some, np.arange(1, pieces) / pieces))
    for low, high in pairwise([-np.inf, *ends.tolist(), np.inf]):
        rows = np.flatnonzero((values > low) & (values <= high))
        yield rows[np.argsort(values[rows], kind="stable")]


@numba.njit(cache=True, nogil=True)  # 2,000 resamples of 10,000 values in 0.05 s
def _quantiles(
    values: FloatArray,
    unit: npt.NDArray[np.integer],
    weight: FloatArray,
    counts: FloatArray,
    q: float,
    total: FloatArray,
    before: FloatArray,
    last: bool,
) -> FloatArray:  # pragma: no cover - compiled
    """Quantile of sorted values in every resample, halfway where two are as good.

    The values may be a part of all, which weigh `total` in a resample, those before it `before`;
    `last` says that none comes after it. NaN where the quantile is not in the part.
    """
    out = np.full(counts.shape[0], np.nan)
    for r in range(counts.shape[0]):
        target, reached, found = q * total[r], before[r], False
        enough = target * (1.0 - 1e-12)
        if total[r] <= 0.0 or (reached > 0.0 and reached >= enough):
            continue
        value = np.nan
        for i in range(values.size):
            share = counts[r, unit[i]] * weight[i]
            if share <= 0.0:
                continue
            if found:
                out[r] = 0.5 * (value + values[i])
                break
            reached += share
            if reached >= enough:
                value, found = values[i], True
                if reached > target * (1.0 + 1e-12):
                    out[r] = value
                    break
        if found and last and np.isnan(out[r]):
            out[r] = value
    return out


class ResampledQuantile:
    """A quantile of weighted values, in any resamples of their units.

    Most resamples have it near that of all values, so only the values there are gone through: of a
    million units a thousandth. Where a resample has it elsewhere, all values are, from then on.

    Parameters
    ----------
    values, weight
        (n,) values and their weights.
    q
        Between 0 and 1, as for `weighted_quantile`.
    unit
        (n,) unit of each value.
    units
        Number of units.
    """

    def __init__(
        self,
        values: FloatArray,
        q: float,
        *,
        weight: FloatArray,
        unit: npt.NDArray[np.integer],
        units: int,
    ) -> None:
        self._all = (values, weight, unit)
        self._q, self._units = q, units
        self._total = np.bincount(unit, weight, minlength=units)
        (middle,) = weighted_quantile(values, q, weight=weight)
        below = self._weights(values <= middle)
        # Standard error of the share below the quantile, of all units drawn with replacement.
        everything = self._total.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(np.sum((below - q * self._total) ** 2)) / everything
        low, high = q - _NEAR * error, q + _NEAR * error
        if low > 0 and high < 1:
            self._look(*weighted_quantile(values, np.array([low, high]), weight=weight))
        else:
            self._look(-np.inf, np.inf)

    def __call__(self, counts: FloatArray) -> FloatArray:
        """Quantiles where each unit is drawn as often as `counts` (resamples, units) says."""
        counts = np.ascontiguousarray(counts, np.float64)
        total = counts @ self._total
        found = self._found(counts, total)
        if not self._whole and np.any(np.isnan(found) & (total > 0)):
            self._look(-np.inf, np.inf)
            found = self._found(counts, total)
        return found

    def _found(self, counts: FloatArray, total: FloatArray) -> FloatArray:
        before = counts @ self._before
        found: FloatArray = _quantiles(*self._near, counts, self._q, total, before, self._whole)
        return found

    def _weights(self, chosen: npt.NDArray[np.bool_]) -> FloatArray:
        """Weight of chosen values in each unit."""
        _, weight, unit = self._all
        return np.bincount(unit[chosen], weight[chosen], self._units).astype(np.float64)

    def _look(self, low: float, high: float) -> None:
        """From now on look among the values from `low` to `high` first."""
        values, weight, unit = self._all
        self._whole = low == -np.inf and high == np.inf
        self._before = self._weights(values < low)
        near = np.flatnonzero((values >= low) & (values <= high))
        near = near[np.lexsort((weight[near], values[near]))]
        self._near = (values[near], unit[near], weight[near])


def weighted_quantile(values: FloatArray, q: npt.ArrayLike, *, weight: FloatArray) -> FloatArray:
    """Quantiles of weighted values.

    The smallest value at which the cumulative weight reaches the share `q`, averaged with the next
    one where it is reached exactly (Hyndman & Fan's type 2; the usual median for equal weights).

    Parameters
    ----------
    values, weight
        (n,) values and their weights.
    q
        One or several shares between 0 and 1.

    Returns
    -------
    (quantiles,) NaN where nothing has a weight.
    """
    target = np.atleast_1d(np.asarray(q, np.float64)) * weight.sum()
    out = np.full(target.shape, np.nan)
    halfway = np.zeros(target.shape, bool)  # reached exactly: the next value is as good
    reached = 0.0
    for some in ascending(values):
        rows = some[weight[some] > 0]
        if not rows.size:
            continue
        sums = np.cumsum(np.append(reached, weight[rows]))[1:]
        reached = sums[-1]
        for k, wanted in enumerate(target):
            following = 0
            if np.isnan(out[k]) and reached >= wanted * (1 - 1e-12):
                first = int(np.searchsorted(sums, wanted * (1 - 1e-12)))
                out[k], following = values[rows[first]], first + 1
                halfway[k] = sums[first] <= wanted * (1 + 1e-12)
            if halfway[k] and following < rows.size:
                out[k] = 0.5 * (out[k] + values[rows[following]])
                halfway[k] = False
    return out


def weighted_std(values: FloatArray, weight: FloatArray) -> float:
    """Standard deviation, unbiased for the variance; NaN for fewer than two values."""
    if values.size < 2:
        return float("nan")
    total = weight.sum()
    mean = _sum(lambda i: weight[i] * values[i], values.size) / total
    # n / (n - 1) for equal weights
    freedom = total - _sum(lambda i: weight[i] ** 2, values.size) / total
    squares = _sum(lambda i: weight[i] * (values[i] - mean) ** 2, values.size)
    return float(np.sqrt(squares / freedom))


def _sum(terms: Callable[[slice], FloatArray], count: int, start: int = 0) -> float:
    """Sum of terms that are made some at a time; halved as NumPy halves sums, to the last bit."""
    if count <= _PIECE:
        return float(terms(slice(start, start + count)).sum())
    half = count // 2 - count // 2 % 8
    return _sum(terms, half, start) + _sum(terms, count - half, start + half)


def normal_distance(standardized: FloatArray, weight: FloatArray) -> float:
    """Kolmogorov-Smirnov distance of weighted values to the standard normal distribution.

    Without a p-value: its tables are for independent values and a distribution that was not fitted.
    """
    total, before, distance = weight.sum(), 0.0, 0.0
    for rows in ascending(standardized):
        expected = special.ndtr(standardized[rows])
        sums = np.cumsum(np.append(before, weight[rows]))
        before = sums[-1]
        share = sums / total
        distance = max(distance, np.max(share[1:] - expected), np.max(expected - share[:-1]))
    return float(distance)
