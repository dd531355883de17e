"""The Ward threshold found from the data: tiles that should and should not be merged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.superlattice.cluster.ward import merge_heights

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def spatial_pairs(
    valid: npt.ArrayLike,
    *,
    near_tiles: int = 1,
    far_tiles: float | None = None,
    count: int = 20_000,
    seed: int = 0,
) -> Pairs:
    """Pairs of tiles that mostly share a grain, and pairs that mostly do not.

    Parameters
    ----------
    valid
        (ny, nx) or (images, ny, nx) bool, which tiles have features.
    near_tiles
        Distance in tiles along y or x of the similar pairs. On simulated polycrystals neighbours
        (1) led to thresholds at which the adjusted Rand index is 0.93 of the best possible
        (median); half a tile or more to too few clusters, as too many pairs cross a boundary.
    far_tiles
        Least distance in tiles of the different pairs; default a third of the larger side of the
        map. Should exceed the size of most grains.
    count
        At most so many pairs of each kind.
    seed
        Seed of the drawing.

    Returns
    -------
    similar, different
        (k, 2) int64 indices among the valid tiles in row-major order (that is, rows of
        ``features[valid]``).
    """
    mask = np.asarray(valid, dtype=bool)
    mask = mask.reshape(-1, *mask.shape[-2:])
    index = np.full(mask.shape, -1, dtype=np.int64)
    index[mask] = np.arange(np.count_nonzero(mask))
    generator = np.random.default_rng(seed)
    beside = [
        (index[:, :-near_tiles].ravel(), index[:, near_tiles:].ravel()),
        (index[:, :, :-near_tiles].ravel(), index[:, :, near_tiles:].ravel()),
    ]
    similar = np.concatenate([np.stack(pair, axis=1) for pair in beside])
    similar = similar[(similar >= 0).all(axis=1)]
    if similar.shape[0] > count:
        similar = similar[np.sort(generator.choice(similar.shape[0], count, replace=False))]
    image, y, x = np.nonzero(mask)
    if image.size == 0:
        return similar, similar
    least = max(mask.shape[-2:]) / 3 if far_tiles is None else far_tiles
    # Drawn with some to spare, as those too close together are dropped.
    a = generator.integers(0, image.size, 4 * count)
    size = np.bincount(image, minlength=mask.shape[0])
    start = np.cumsum(size) - size
    b = start[image[a]] + (generator.random(a.size) * size[image[a]]).astype(np.int64)
    far = np.hypot(y[a] - y[b], x[a] - x[b]) >= least
    return similar, np.stack([a[far], b[far]], axis=1)[:count]


def find_threshold(
    tree: npt.NDArray[np.float64], similar: npt.ArrayLike, different: npt.ArrayLike
) -> tuple[float, float]:
    """Distance threshold that best separates similar from different pairs of tiles.

    The paper determines the threshold as the one that "maximizes the separation" between the
    distances of tiles with similar and with slightly different orientation. Here the distance of
    two tiles is the one that the threshold is compared with: the Ward distance at which they are
    merged. The threshold maximizes the fraction of similar pairs merged below it less the fraction
    of different pairs merged below it (Youden's index). Wrong pairs among both sets lower the
    maximum, but move it little.

    Parameters
    ----------
    tree
        (n - 1, 4) as from `nanoarray.superlattice.cluster.ward.ward_tree`.
    similar, different
        (k, 2) indices of points.

    Returns
    -------
    threshold
        Ward distance, halfway between two heights of the tree.
    separation
        The difference of the two fractions, 0 (no structure) to 1.

    Raises
    ------
    InputError
        One of the sets of pairs is empty.
    """
    same, other = merge_heights(tree, similar), merge_heights(tree, different)
    if same.size == 0 or other.size == 0:
        raise InputError("no pairs to find the threshold from: give n_clusters or a threshold")
    heights = tree[:, 2]
    below_same = np.searchsorted(np.sort(same), heights, side="right") / same.size
    below_other = np.searchsorted(np.sort(other), heights, side="right") / other.size
    best = int(np.argmax(below_same - below_other))
    # Equal heights are merged together.
    best = int(np.searchsorted(heights, heights[best], side="right")) - 1
    above = heights[best + 1] if best + 1 < heights.size else 2 * heights[best]
    return float((heights[best] + above) / 2), float(below_same[best] - below_other[best])
