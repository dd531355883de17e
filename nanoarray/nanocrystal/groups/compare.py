"""Every method on a dataset: number of groups by silhouette, and how well each division does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform

from nanoarray.nanocrystal.groups.columns import Dataset, Standardized
from nanoarray.nanocrystal.groups.methods import (
    METHODS,
    Labels,
    Linkage,
    Method,
    assign,
    cut,
    fit_k_means,
    fit_mixture,
    tree_of,
)
from nanoarray.nanocrystal.groups.null import single_group_test
from nanoarray.nanocrystal.groups.quality import group_cophenet, silhouette, tree_cophenet

Floats = npt.NDArray[np.float64]

#: Rows whose pairwise distances are held: silhouettes, cophenetic correlations and trees of larger
#: tables are those of a seeded sample. 3,000 take 72 MB, and the standard error of a mean
#: silhouette is then below 0.005.
SAMPLE_ROWS: Final = 3000


@dataclass(frozen=True)
class Candidate:
    """One method on one dataset, a row of the comparison.

    Attributes
    ----------
    dataset, method
        What was divided, and how.
    n_groups
        Number of groups of the largest mean silhouette; 1 where no division has groups that are
        large enough.
    silhouette
        Mean silhouette there.
    cophenet
        Cophenetic correlation: for linkage that of its tree (`tree_cophenet`), for the others that
        of their groups (`group_cophenet`).
    cophenet_groups
        That of the groups for every method: comparable between methods.
    """

    dataset: Dataset
    method: Method
    n_groups: int
    silhouette: float
    cophenet: float
    cophenet_groups: float


@dataclass(frozen=True)
class Sample:
    """The rows that methods are compared on.

    Attributes
    ----------
    rows
        (m, c) standardized.
    index
        (m,) which rows of `Standardized.rows` they are.
    distances
        Condensed pairwise distances.
    tree
        (m - 1, 4) linkage matrix.
    """

    rows: Floats
    index: npt.NDArray[np.int64]
    distances: Floats
    tree: Floats


def take_sample(data: Standardized, *, linkage: Linkage, seed: int) -> Sample:
    """At most 3,000 rows, drawn by `seed`, with their distances and tree."""
    index = np.arange(data.rows.shape[0])
    if index.size > SAMPLE_ROWS:
        rng = np.random.default_rng(seed)
        index = np.sort(rng.choice(index.size, SAMPLE_ROWS, replace=False))
    rows = data.rows[index]
    return Sample(rows, index, pdist(rows), tree_of(rows, kind=linkage))


def divide(sample: Sample, method: Method, n_groups: int, *, seed: int) -> Labels:
    """Group 0.. of the rows of a sample."""
    if method == "linkage":
        return cut(sample.tree, n_groups)
    fit = fit_k_means if method == "k-means" else fit_mixture
    return assign(method, fit(sample.rows, n_groups, seed=seed), sample.rows)


def compare_methods(
    sample: Sample,
    dataset: Dataset,
    *,
    numbers: npt.NDArray[np.int64],
    min_share: float,
    seed: int,
) -> tuple[list[Candidate], Floats]:
    """Divide a sample by every method into every number of groups.

    Parameters
    ----------
    sample
        As from `take_sample`.
    dataset
        Its name.
    numbers
        (g,) numbers of groups to try.
    min_share
        A division with a group of a smaller share of the rows is not chosen: it cuts off outliers.
    seed
        Seed of everything random.

    Returns
    -------
    candidates
        One per method.
    silhouettes
        (methods, g) mean silhouette; NaN where it cannot be, also with fewer distinct rows.
    """
    square = squareform(sample.distances)
    distinct = np.unique(sample.rows, axis=0).shape[0]
    silhouettes = np.full((len(METHODS), numbers.size), np.nan)
    candidates = []
    for m, method in enumerate(METHODS):
        chosen = None
        for i, n_groups in enumerate(numbers):
            if n_groups > distinct:
                continue
            labels = divide(sample, method, int(n_groups), seed=seed)
            silhouettes[m, i] = silhouette(square, labels)
            sizes = np.bincount(labels, minlength=n_groups)
            large = sizes.min() >= min_share * labels.size
            if large and (chosen is None or silhouettes[m, i] > chosen[0]):
                chosen = (float(silhouettes[m, i]), labels)
        candidates.append(_candidate(sample, dataset, method, chosen))
    return candidates, silhouettes


def count_nested(
    rows: Floats,
    *,
    keep: npt.NDArray[np.bool_],
    max_groups: int,
    min_rows: float,
    seed: int,
) -> int:
    """Number of groups when each group is divided again until it is one.

    The silhouette prefers few groups: one population far from the others hides that the others
    are several. So k-means divides the rows into the number of groups of the largest silhouette,
    and each part, standardized anew, in the same way, as long as `single_group_test` finds more
    than one group in it.

    Parameters
    ----------
    rows
        (m, c) standardized.
    keep
        (c,) as of `single_group_test`.
    max_groups
        Largest number of groups in all.
    min_rows
        Rows below which a part is not a group.
    seed
        Seed of everything random.
    """
    return len(_parts(rows, keep, max_groups, min_rows, seed))


def _candidate(
    sample: Sample, dataset: Dataset, method: Method, chosen: tuple[float, Labels] | None
) -> Candidate:
    tree = tree_cophenet(sample.tree, sample.distances)
    if chosen is None:
        alone = tree if method == "linkage" else float("nan")
        return Candidate(dataset, method, 1, float("nan"), alone, float("nan"))
    value, labels = chosen
    groups = group_cophenet(sample.rows, labels, sample.distances)
    n_groups = int(labels.max()) + 1
    return Candidate(
        dataset, method, n_groups, value, tree if method == "linkage" else groups, groups
    )


def _parts(
    rows: Floats, keep: npt.NDArray[np.bool_], max_groups: int, min_rows: float, seed: int
) -> list[Floats]:
    if rows.shape[0] < 2 * min_rows or max_groups < 2:
        return [rows]
    spread = rows.std(axis=0)
    varies = spread > 1e-9
    # What keeps its distribution keeps its scale: there a small deviation is not to be enlarged.
    scale = np.where(keep, np.maximum(spread, 1.0), spread)[varies]
    local = (rows[:, varies] - rows[:, varies].mean(axis=0)) / scale
    share = min_rows / rows.shape[0]
    test = single_group_test(
        local, max_groups=max_groups, min_share=share, seed=seed, keep=keep[varies]
    )
    if not test.divided:
        return [rows]
    square = squareform(pdist(local))
    best, chosen = 0.0, None
    for k in range(2, min(max_groups, np.unique(local, axis=0).shape[0]) + 1):
        labels = assign("k-means", fit_k_means(local, k, seed=seed), local)
        value = silhouette(square, labels)
        if np.bincount(labels, minlength=k).min() >= min_rows and value > best:
            best, chosen = value, labels
    if chosen is None:
        return [rows]
    members = [rows[chosen == k] for k in range(int(chosen.max()) + 1)]
    # The largest first: it is the likeliest to hold several, if the number allowed runs out.
    members.sort(key=lambda part: -part.shape[0])
    parts: list[Floats] = []
    for i, member in enumerate(members):
        allowed = max_groups - len(parts) - (len(members) - i - 1)
        parts += _parts(member, keep, allowed, min_rows, seed)
    return parts
