"""Unsupervised groups of tiles by their features, and models that label new tiles.

Labels are numbered by size, largest first; -1 is a tile without features. A model is a plain
dictionary of arrays: prototypes (``centers``) and the cluster each belongs to (``center_cluster``).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.superlattice.cluster.threshold import Pairs, find_threshold, spatial_pairs
from nanoarray.superlattice.cluster.ward import cut_tree, ward_tree

__all__ = [
    "find_threshold",
    "fit_clusters",
    "predict_clusters",
    "profile_features",
    "spatial_pairs",
]

Method = Literal["ward", "kmeans", "dtw"]
Model = dict[str, npt.NDArray[Any]]
Labels = npt.NDArray[np.int32]

#: Labelling the 14,080 tiles of 60 angles of an image of 1024 x 884 px costs about 0.05 s on one
#: core. 500 would be four times as fast and agree less with the grains: adjusted Rand index 0.329
#: instead of 0.354 in the cases of benchmarks/bench_cluster.py with 5,000 rows; 98 % relabelled
#: alike, not 99.97 %.
PROTOTYPES: Final = 2000
#: Averaging under time warping takes minutes for thousands of rows: more than this are sampled.
MAX_DTW_ROWS: Final = 1000
_PART: Final = 512


def profile_features(variance: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Continuous feature vector of a tile: logarithm of the variance about its mean over angles.

    Contrast and brightness of a tile scale all variances alike and drop out.

    Parameters
    ----------
    variance
        (..., na) projection variance; NaN where unknown.

    Returns
    -------
    features
        (..., na) float32, NaN where any angle is unknown or without variance.
    """
    values = np.asarray(variance, dtype=np.float32)
    known = np.all(values > 0, axis=-1, keepdims=True)
    log = np.log(np.where(known, values, 1.0))
    return np.where(known, log - log.mean(axis=-1, keepdims=True), np.nan).astype(np.float32)


def fit_clusters(
    features: npt.ArrayLike,
    *,
    method: Method = "ward",
    n_clusters: int | None = None,
    distance_threshold: float | None = None,
    pairs: Pairs | None = None,
    max_exact: int = 20_000,
    seed: int = 0,
) -> tuple[Labels, Model]:
    """Group tiles by their features.

    Parameters
    ----------
    features
        (n, features) one row per tile: alignment bits or a continuous profile. Rows with NaN are
        left out.
    method
        ``"ward"``: agglomerative. Up to `max_exact` rows exactly; beyond, a seeded sample of that
        many rows is clustered into 2,000 prototypes, every row is counted at its nearest
        prototype, and the weighted prototypes are clustered.
        ``"kmeans"``: Euclidean; in mini-batches beyond `max_exact` rows.
        ``"dtw"``: K-means under dynamic time warping with barycentre averaging (tslearn, the extra
        ``dtw``), fitted to a seeded sample of at most 1,000 rows. Warping lets patterns at
        different angles match, so it separates orientations less well: kept for comparison.
    n_clusters
        How many clusters. With Ward, alternatively:
    distance_threshold
        Ward distance at or above which clusters are not merged.
    pairs
        Index pairs of rows (similar, different) from which the Ward threshold is found by
        `find_threshold`, as from `spatial_pairs`.
    max_exact
        Number of rows up to which Ward and K-means see all rows at once.
    seed
        Seed of everything random.

    Returns
    -------
    labels
        (n,) int32 cluster of each row, 0 the largest; -1 for rows with NaN.
    model
        ``method``; ``centers`` (m, features) float32; ``center_cluster`` (m,) int32;
        ``cluster_size`` (k,) int64 rows per cluster; ``distance_threshold`` and ``separation``
        (NaN where they do not apply); ``exact`` bool, whether all rows were seen at once.

    Raises
    ------
    InputError
        No row without NaN, criteria that do not fit the method, or tslearn is not installed.
    """
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2:
        raise InputError(f"features have shape {rows.shape}: expected (tiles, features)")
    _check_criteria(method, n_clusters, distance_threshold, pairs)
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if kept.size == 0:
        raise InputError("no tile has features: all rows hold NaN")
    known = np.ascontiguousarray(rows[kept])
    if method == "ward":
        pairs = None if pairs is None else _renumbered(pairs, kept, rows.shape[0])
        found, model = _fit_ward(known, n_clusters, distance_threshold, pairs, max_exact, seed)
    elif method == "kmeans":
        found, model = _fit_kmeans(known, _clusters(n_clusters, known), max_exact, seed)
    else:
        found, model = _fit_dtw(known, _clusters(n_clusters, known), seed)
    found, model["center_cluster"] = _by_size(found, model["center_cluster"])
    model["cluster_size"] = np.bincount(found, minlength=int(model["center_cluster"].max()) + 1)
    model["method"] = np.array(method)
    labels = np.full(rows.shape[0], -1, dtype=np.int32)
    labels[kept] = found
    return labels, model


def predict_clusters(model: Model, features: npt.ArrayLike) -> Labels:
    """Label tiles by the cluster of their nearest prototype.

    Parameters
    ----------
    model
        As from `fit_clusters`.
    features
        (..., features) computed as those that the model was fitted to.

    Returns
    -------
    labels
        (...) int32, -1 for rows with NaN. A row's label does not depend on the other rows.

    Raises
    ------
    InputError
        The number of features differs from the model's.
    """
    values = np.asarray(features, dtype=np.float32)
    centers = np.asarray(model["centers"], dtype=np.float32)
    if values.ndim < 1 or values.shape[-1] != centers.shape[1]:
        raise InputError(
            f"tiles have {values.shape[-1] if values.ndim else 0} features, the model"
            f" {centers.shape[1]}: compute them with the same angles and method"
        )
    rows = values.reshape(-1, centers.shape[1])
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    labels = np.full(rows.shape[0], -1, dtype=np.int32)
    known = np.ascontiguousarray(rows[kept])
    if str(model["method"]) == "dtw":
        nearest = _nearest_dtw(known, centers)
    else:
        nearest = _nearest(known, centers)
    labels[kept] = np.asarray(model["center_cluster"], dtype=np.int32)[nearest]
    return labels.reshape(values.shape[:-1])


def _check_criteria(
    method: str, n_clusters: int | None, distance_threshold: float | None, pairs: Pairs | None
) -> None:
    if method not in ("ward", "kmeans", "dtw"):
        raise InputError(f"method is {method!r}: expected 'ward', 'kmeans' or 'dtw'")
    if n_clusters is not None and n_clusters < 1:
        raise InputError(f"n_clusters is {n_clusters}: expected at least 1")
    given = [value is not None for value in (n_clusters, distance_threshold, pairs)]
    if method == "ward" and sum(given) != 1:
        raise InputError("ward needs exactly one of n_clusters, distance_threshold and pairs")
    if method != "ward" and given != [True, False, False]:
        raise InputError(f"{method} needs n_clusters, and nothing else")


def _clusters(n_clusters: int | None, rows: npt.NDArray[np.float32]) -> int:
    """No more clusters than there are different rows."""
    if n_clusters is None:
        raise InputError("n_clusters is missing")
    return min(n_clusters, np.unique(rows, axis=0).shape[0])


def _renumbered(pairs: Pairs, kept: npt.NDArray[np.intp], count: int) -> Pairs:
    """Pairs of all rows as pairs of the kept ones; pairs with a dropped row are left out."""
    new = np.full(count, -1, dtype=np.int64)
    new[kept] = np.arange(kept.size)
    similar, different = (new[np.asarray(p, dtype=np.int64).reshape(-1, 2)] for p in pairs)
    return similar[(similar >= 0).all(axis=1)], different[(different >= 0).all(axis=1)]


def _by_size(labels: Labels, center_cluster: Labels) -> tuple[Labels, Labels]:
    """Number clusters by size, largest first; equal ones by their first row."""
    count = int(max(labels.max(), center_cluster.max())) + 1
    size = np.bincount(labels, minlength=count)
    first = np.full(count, labels.size)
    np.minimum.at(first, labels, np.arange(labels.size))
    new = np.empty(count, dtype=np.int32)
    new[np.lexsort((first, -size))] = np.arange(count, dtype=np.int32)
    return new[labels], new[center_cluster]


def _means(
    rows: npt.NDArray[np.float32], groups: npt.NDArray[np.integer], count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Mean row and number of rows of each group (all groups hold a row)."""
    size = np.bincount(groups, minlength=count).astype(np.float64)
    sums = np.stack(
        [np.bincount(groups, weights=column, minlength=count) for column in rows.T], axis=1
    )
    return (sums / np.maximum(size, 1)[:, np.newaxis]).astype(np.float32), size


def _fit_ward(
    rows: npt.NDArray[np.float32],
    n_clusters: int | None,
    distance_threshold: float | None,
    pairs: Pairs | None,
    max_exact: int,
    seed: int,
) -> tuple[Labels, Model]:
    exact = rows.shape[0] <= max_exact
    if exact:
        # Equal rows are one point with a weight: alignment bits repeat.
        points, leaf = np.unique(rows, axis=0, return_inverse=True)
        leaf = leaf.reshape(-1)
    else:
        prototypes, leaf = _prototypes(rows, max_exact, seed)
        points, _ = _means(rows, leaf, prototypes.shape[0])
    tree = ward_tree(points, weights=np.bincount(leaf))
    separation = np.nan
    if pairs is not None:
        similar, different = (leaf[p] for p in pairs)
        distance_threshold, separation = find_threshold(tree, similar, different)
    of_point = cut_tree(tree, n_clusters=n_clusters, distance_threshold=distance_threshold)
    if exact:
        # A finer cut of the same tree stands for the clusters' shapes when new rows are labelled.
        fine = cut_tree(tree, n_clusters=max(PROTOTYPES, int(of_point.max()) + 1))
        prototypes, _ = _means(rows, fine[leaf], int(fine.max()) + 1)
        center_cluster = np.empty(prototypes.shape[0], dtype=np.int32)
        center_cluster[fine] = of_point
    else:
        center_cluster = of_point
    return of_point[leaf], {
        "centers": prototypes,
        "center_cluster": center_cluster,
        "distance_threshold": np.array(
            np.nan if distance_threshold is None else distance_threshold, dtype=np.float64
        ),
        "separation": np.array(separation),
        "exact": np.array(exact),
    }


def _prototypes(
    rows: npt.NDArray[np.float32], sample_size: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Centres of fine Ward clusters of a sample, and the nearest of them for every row."""
    chosen = np.random.default_rng(seed).choice(rows.shape[0], sample_size, replace=False)
    sample = rows[np.sort(chosen)]
    fine = cut_tree(ward_tree(sample), n_clusters=PROTOTYPES)
    centers, _ = _means(sample, fine, int(fine.max()) + 1)
    used, leaf = np.unique(_nearest(rows, centers), return_inverse=True)
    return centers[used], leaf.reshape(-1)


def _centers_model(centers: npt.NDArray, exact: bool) -> Model:
    return {
        "centers": np.asarray(centers, dtype=np.float32),
        "center_cluster": np.arange(len(centers), dtype=np.int32),
        "distance_threshold": np.array(np.nan),
        "separation": np.array(np.nan),
        "exact": np.array(exact),
    }


def _fit_kmeans(
    rows: npt.NDArray[np.float32], n_clusters: int, max_exact: int, seed: int
) -> tuple[Labels, Model]:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    exact = rows.shape[0] <= max_exact
    if exact:
        estimator = KMeans(n_clusters, n_init=10, random_state=seed)
    else:
        estimator = MiniBatchKMeans(n_clusters, n_init=10, batch_size=4096, random_state=seed)
    # The number of threads changes the order of sums, and with it the last digits.
    with threadpool_limits(1):
        estimator.fit(rows)
    model = _centers_model(estimator.cluster_centers_, exact)
    nearest = _nearest(rows, model["centers"])
    return nearest.astype(np.int32), model


def _fit_dtw(rows: npt.NDArray[np.float32], n_clusters: int, seed: int) -> tuple[Labels, Model]:
    clustering = _tslearn("clustering")
    exact = rows.shape[0] <= MAX_DTW_ROWS
    sample = rows
    if not exact:
        chosen = np.random.default_rng(seed).choice(rows.shape[0], MAX_DTW_ROWS, replace=False)
        sample = rows[np.sort(chosen)]
    estimator = clustering.TimeSeriesKMeans(
        n_clusters, metric="dtw", max_iter=20, max_iter_barycenter=20, random_state=seed, n_jobs=1
    )
    estimator.fit(sample[:, :, np.newaxis].astype(np.float64))
    model = _centers_model(estimator.cluster_centers_[:, :, 0], exact)
    return _nearest_dtw(rows, model["centers"]).astype(np.int32), model


def _tslearn(name: str) -> Any:
    import importlib
    import warnings

    try:
        with warnings.catch_warnings():
            # It warns that models cannot be saved to HDF5 without h5py: not used here.
            warnings.filterwarnings("ignore", message="h5py not installed")
            return importlib.import_module(f"tslearn.{name}")
    except ImportError as error:
        raise InputError(
            "method 'dtw' needs tslearn: install it with pip install 'nanoarray[dtw]'"
        ) from error


def _nearest_dtw(
    rows: npt.NDArray[np.float32], centers: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    metrics = _tslearn("metrics")
    nearest = np.empty(rows.shape[0], dtype=np.int64)
    for start in range(0, rows.shape[0], 10_000):
        part = rows[start : start + 10_000].astype(np.float64)
        nearest[start : start + 10_000] = metrics.cdist_dtw(
            part[:, :, np.newaxis], centers[:, :, np.newaxis].astype(np.float64), n_jobs=1
        ).argmin(axis=1)
    return nearest


def _nearest(
    rows: npt.NDArray[np.float32], centers: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Index of the nearest of `centers` (m, features) for every row (n, features)."""
    # Relative to their mean, float32 holds more digits of the differences.
    middle = centers.mean(axis=0)
    columns = np.ascontiguousarray((centers - middle).T)
    half_square = 0.5 * (columns * columns).sum(axis=0)
    nearest = np.empty(rows.shape[0], dtype=np.int64)
    # Always products of one shape: their last digits must not depend on how many rows there are.
    part = np.zeros((_PART, centers.shape[1]), dtype=np.float32)
    for start in range(0, rows.shape[0], _PART):
        some = rows[start : start + _PART]
        np.subtract(some, middle, out=part[: some.shape[0]])
        distance = half_square - part @ columns
        nearest[start : start + _PART] = distance.argmin(axis=1)[: some.shape[0]]
    return nearest
