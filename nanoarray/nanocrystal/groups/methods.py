"""Three ways to divide crystals into groups, and the rule by which each labels a new one.

k-means: the nearest centre. Gaussian mixture: the most probable component. Linkage: the group of
the nearest prototype, a crystal that the tree was built from.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import solve_triangular
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

Method = Literal["k-means", "gaussian mixture", "linkage"]
Linkage = Literal["ward", "average"]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Parts = dict[str, npt.NDArray[Any]]

METHODS: Final[tuple[Method, ...]] = ("k-means", "gaussian mixture", "linkage")
#: Added to the variances of a mixture. Columns are functions of each other (area and diameter), and
#: without it components follow that thin sheet; 0.1 standard deviations is how well features of a
#: crystal are known at best.
MIXTURE_FLOOR: Final = 0.01
_CHUNK: Final = 16_384


def tree_of(rows: Floats, *, kind: Linkage) -> Floats:
    """Linkage matrix (m - 1, 4) of rows, as from `scipy.cluster.hierarchy.linkage`."""
    return linkage(rows, method=kind)


def cut(tree: Floats, n_groups: int) -> Labels:
    """Group 0.. of each leaf of a tree."""
    return (fcluster(tree, n_groups, criterion="maxclust") - 1).astype(np.int32)


def fit_k_means(rows: Floats, n_groups: int, *, seed: int, starts: int = 5) -> Parts:
    """Centres (k, c) of k-means, best of several starts."""
    from sklearn.cluster import KMeans

    estimator = KMeans(n_groups, n_init=starts, random_state=seed).fit(rows)
    return {"centers": np.asarray(estimator.cluster_centers_, dtype=np.float64)}


def fit_mixture(rows: Floats, n_groups: int, *, seed: int, starts: int = 1) -> Parts:
    """Means (k, c), covariances (k, c, c) and shares (k,) of a Gaussian mixture."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    estimator = GaussianMixture(
        n_groups, reg_covar=MIXTURE_FLOOR, n_init=starts, random_state=seed, max_iter=200
    )
    with warnings.catch_warnings():
        # An optimum that is still creeping after 200 steps serves as a division all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(rows)
    return {
        "centers": np.asarray(estimator.means_, dtype=np.float64),
        "covariances": np.asarray(estimator.covariances_, dtype=np.float64),
        "shares": np.asarray(estimator.weights_, dtype=np.float64),
    }


def assign(method: str, parts: Parts, rows: Floats) -> Labels:
    """Group 0.. of rows by the rule of a method.

    Parameters
    ----------
    method
        One of `METHODS`.
    parts
        As from `fit_k_means` or `fit_mixture`; for linkage ``prototypes`` (m, c) and
        ``prototype_group`` (m,) 0...
    rows
        (n, c) standardized.
    """
    if method == "linkage":
        _, nearest = KDTree(parts["prototypes"]).query(rows)
        return np.asarray(parts["prototype_group"], dtype=np.int32)[nearest]
    labels = np.empty(rows.shape[0], dtype=np.int32)
    for start in range(0, rows.shape[0], _CHUNK):
        part = rows[start : start + _CHUNK]
        if method == "k-means":
            labels[start : start + _CHUNK] = cdist(part, parts["centers"]).argmin(axis=1)
        else:
            labels[start : start + _CHUNK] = _log_density(parts, part).argmax(axis=1)
    return labels


def _log_density(parts: Parts, rows: Floats) -> Floats:
    """Logarithm of share times density of every component (n, k), but for a constant."""
    result = np.empty((rows.shape[0], parts["centers"].shape[0]))
    for k, mean in enumerate(parts["centers"]):
        root = np.linalg.cholesky(parts["covariances"][k])
        scaled = solve_triangular(root, (rows - mean).T, lower=True)
        result[:, k] = (
            np.log(parts["shares"][k])
            - np.log(np.diag(root)).sum()
            - 0.5 * np.einsum("ij,ij->j", scaled, scaled)
        )
    return result
