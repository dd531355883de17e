"""Is there more than one group at all? The silhouette against clouds that have one.

Any division of any cloud has a silhouette above 0, larger where the cloud is long or its columns
say the same. So it is compared with that of simulated clouds that have a single peak, and the
spread, skewness and correlations of the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform
from scipy.special import inv_boxcox, ndtr, ndtri
from scipy.stats import rankdata

from nanoarray.nanocrystal.groups.methods import assign, fit_k_means
from nanoarray.nanocrystal.groups.quality import silhouette

Floats = npt.NDArray[np.float64]

#: Simulated clouds; to exceed all of 19 is a test at the level of 5 %.
SIMULATIONS: Final = 19
#: Rows that the test sees; more would make differences significant that are too small to matter.
TEST_ROWS: Final = 1000
#: Silhouette by which the data must exceed the largest of the clouds: with many crystals
#: differences are significant that are too small to matter. Over the archives of
#: benchmarks/bench_groups.py, one population exceeds it by 0.03 at most, divided ones by 0.05 and
#: more.
MIN_EXCESS: Final = 0.04


@dataclass(frozen=True)
class SingleGroupTest:
    """Outcome of the test for one group.

    Attributes
    ----------
    silhouette
        Largest mean silhouette over the numbers of groups, by k-means on the test's rows; 0 where
        no division has groups large enough.
    expected, largest
        Mean and maximum of the same over the simulated clouds of one group.
    p_value
        Share of the clouds, the data counted among them, that reach the silhouette of the data.
    """

    silhouette: float
    expected: float
    largest: float
    p_value: float

    @property
    def excess(self) -> float:
        """Silhouette above the largest of one group."""
        return self.silhouette - self.largest

    @property
    def divided(self) -> bool:
        """Whether there is more than one group: significant, and by enough to matter."""
        return self.excess >= MIN_EXCESS


def single_group_test(
    rows: Floats,
    *,
    max_groups: int,
    min_share: float,
    seed: int,
    keep: npt.NDArray[np.bool_] | None = None,
) -> SingleGroupTest:
    """Compare the best silhouette with that of simulated clouds of one group.

    Parameters
    ----------
    rows
        (m, c) standardized; at most 1,000 of them, drawn by `seed`, are used.
    max_groups
        Largest number of groups to try.
    min_share
        Share of the rows below which a part is not a group.
    seed
        Seed of the draws and of k-means.
    keep
        (c,) columns whose own distribution the clouds keep, whatever it is. Default none.

    Notes
    -----
    A cloud is drawn from a normal distribution with the correlations of the data, column by column
    after a Yeo-Johnson transformation that makes them as normal as a single peak can be, and
    transformed back. Two peaks stay out of it; skewness and bent dependence stay in. `keep` is for
    d, which takes a few values whatever the crystals: by itself it is no evidence of groups. All
    methods share this test, which is made with k-means.
    """
    rng = np.random.default_rng(seed)
    if rows.shape[0] > TEST_ROWS:
        rows = rows[np.sort(rng.choice(rows.shape[0], TEST_ROWS, replace=False))]
    found = _best_silhouette(rows, max_groups, min_share, seed)
    if found <= 0.0:
        return SingleGroupTest(0.0, 0.0, 0.0, 1.0)
    cloud = _Cloud(rows, np.zeros(rows.shape[1], dtype=bool) if keep is None else keep)
    expected = np.array(
        [_best_silhouette(cloud.draw(rng), max_groups, min_share, seed) for _ in range(SIMULATIONS)]
    )
    reached = np.count_nonzero(expected >= found)
    return SingleGroupTest(
        silhouette=found,
        expected=float(expected.mean()),
        largest=float(expected.max()),
        p_value=(1 + reached) / (1 + SIMULATIONS),
    )


def _best_silhouette(rows: Floats, max_groups: int, min_share: float, seed: int) -> float:
    distance = squareform(pdist(rows))
    distinct = np.unique(rows, axis=0).shape[0]
    best = 0.0
    for k in range(2, min(max_groups, distinct) + 1):
        labels = assign("k-means", fit_k_means(rows, k, seed=seed, starts=2), rows)
        sizes = np.bincount(labels, minlength=k)
        if sizes.min() >= min_share * labels.size:
            best = max(best, silhouette(distance, labels))
    return best


class _Cloud:
    """Single-peaked rows that resemble some data."""

    def __init__(self, rows: Floats, keep: npt.NDArray[np.bool_]) -> None:
        from sklearn.preprocessing import PowerTransformer

        self._rows = rows
        self._keep = keep
        self._power = PowerTransformer(method="yeo-johnson", standardize=False)
        score = np.empty_like(rows)
        free = ~self._keep
        if free.any():
            score[:, free] = self._power.fit_transform(rows[:, free])
        if self._keep.any():
            rank = rankdata(rows[:, self._keep], axis=0)
            score[:, self._keep] = ndtri((rank - 0.5) / rows.shape[0])
        self._mean = score.mean(axis=0)
        self._spread = score.std(axis=0)
        variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(score, rowvar=False)))
        self._root = axes * np.sqrt(np.clip(variance, 0.0, None))

    def draw(self, rng: np.random.Generator) -> Floats:
        score = self._mean + rng.standard_normal(self._rows.shape) @ self._root.T
        drawn = np.empty_like(score)
        free = ~self._keep
        if free.any():
            drawn[:, free] = self._inverse(score[:, free])
        for column in np.flatnonzero(self._keep):
            share = ndtr((score[:, column] - self._mean[column]) / (self._spread[column] or 1.0))
            drawn[:, column] = np.quantile(self._rows[:, column], share, method="inverted_cdf")
        drawn = np.clip(drawn, self._rows.min(axis=0), self._rows.max(axis=0))
        spread = drawn.std(axis=0)
        return (drawn - drawn.mean(axis=0)) / np.where(spread > 0, spread, 1.0)

    def _inverse(self, value: Floats) -> Floats:
        """Back from the Yeo-Johnson transformation; beyond its range, infinite.

        scikit-learn's own gives NaN there, whichever end it is, and a warning.
        """
        power = self._power.lambdas_
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            upper = inv_boxcox(value, power) - 1.0
            lower = 1.0 - inv_boxcox(-value, 2.0 - power)
        upper = np.where(np.isnan(upper), np.inf, upper)
        lower = np.where(np.isnan(lower), -np.inf, lower)
        return np.where(value >= 0, upper, lower)
