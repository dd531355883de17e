"""Ward's agglomerative clustering of weighted points in memory proportional to their number.

`scipy.cluster.hierarchy.linkage` holds all pairwise distances (0.5 GB at 7,000 tiles) and takes no
weights. Here the distances are computed anew from centroids while a chain of nearest neighbours is
followed (Murtagh 1983), in O(n) memory; the tree is the same.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError

#: Points whose distances are found together, and features after which it is asked whether any of
#: them can still be the nearest.
_BLOCK: Final = 128
_STEP: Final = 8
#: Axes along which points are put into order, and the share of them that is left when they are
#: put into order again.
_AXES: Final = 16
_REARRANGED: Final = 0.8
#: More than any distance.
_FAR: Final = np.float32(1e30)
_ROUNDING: Final = np.float32(1.00001)
_FAST: Final = {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"}

Tree = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def ward_tree(points: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> Tree:
    """Merge tree of Ward's criterion.

    Parameters
    ----------
    points
        (n, features) finite.
    weights
        (n,) positive: a point of weight w counts as w equal points. Default 1.

    Returns
    -------
    tree
        (n - 1, 4) float64 as from `scipy.cluster.hierarchy.linkage`: the two clusters merged
        (points are 0 .. n - 1, the cluster of row i is n + i), the height (distance of the
        centroids times sqrt(2 w1 w2 / (w1 + w2))) in ascending order, and the weight of the result.

    Raises
    ------
    InputError
        Points that are not finite, or weights that are not positive or do not fit.

    Notes
    -----
    Distances are float32: heights are good to about 1e-5. Where several pairs are equally far
    apart, as is common between bit vectors, the order of merging is arbitrary but repeatable, and
    may differ from scipy's.
    """
    values = np.ascontiguousarray(points, dtype=np.float32)
    if values.ndim != 2 or values.shape[0] == 0 or not np.isfinite(values).all():
        raise InputError(
            f"points of shape {values.shape}: expected finite (n, features), at least one row"
        )
    if weights is None:
        mass = np.ones(values.shape[0])
    else:
        mass = np.asarray(weights, dtype=np.float64)
        if mass.shape != values.shape[:1] or not np.all((mass > 0) & np.isfinite(mass)):
            raise InputError("weights must be positive, one per point")
    turned = _principal_components(values)
    # A power of two: no digit is lost, and no distance comes near what stands for far away.
    scale = np.ldexp(1.0, int(np.frexp(np.abs(turned).max())[1]))
    first, second, height = _chain((turned / scale).astype(np.float32), mass)
    height *= scale
    order = np.argsort(height, kind="stable")
    return _numbered(first[order], second[order], height[order], mass)


def cut_tree(
    tree: Tree, *, n_clusters: int | None = None, distance_threshold: float | None = None
) -> npt.NDArray[np.int32]:
    """Cluster of every point: either a number of clusters, or no merges at or above a height.

    Parameters
    ----------
    tree
        (n - 1, 4) as from `ward_tree`.
    n_clusters
        How many clusters to leave; at most n.
    distance_threshold
        Merges at this height or above are not made (as in scikit-learn).

    Returns
    -------
    labels
        (n,) int32, numbered in order of first appearance.

    Raises
    ------
    InputError
        Both or none of the two criteria are given, or fewer than one cluster is asked for.
    """
    if n_clusters is not None and distance_threshold is not None:
        raise InputError("give either n_clusters or distance_threshold, not both")
    count = tree.shape[0] + 1
    if distance_threshold is not None:
        merges = int(np.searchsorted(tree[:, 2], distance_threshold, side="left"))
    elif n_clusters is not None:
        if n_clusters < 1:
            raise InputError(f"n_clusters is {n_clusters}: expected at least 1")
        merges = max(count - int(n_clusters), 0)
    else:
        raise InputError("give either n_clusters or distance_threshold")
    return _labels(tree, merges)


def merge_heights(tree: Tree, pairs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Height at which the two points of each pair come together (cophenetic distance).

    Parameters
    ----------
    tree
        (n - 1, 4) as from `ward_tree`.
    pairs
        (k, 2) indices of points.

    Returns
    -------
    heights
        (k,), 0 for a point with itself.
    """
    both = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    count = tree.shape[0] + 1
    if both.size and (both.min() < 0 or both.max() >= count):
        raise InputError(f"pairs must name points 0 to {count - 1}")
    return _merge_heights(tree, both)


def _principal_components(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The points (features, n) about their mean, turned so that the first axes tell them apart.

    Distances stay as they are; float32 holds more digits of differences about the mean.
    """
    centred = values - values.mean(axis=0)
    _, axes = np.linalg.eigh(_scatter(centred))
    turned = centred.astype(np.float64) @ axes[:, ::-1]
    return np.ascontiguousarray(turned.T, dtype=np.float32)


@nb.njit(nogil=True, cache=True)
def _scatter(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Sum of products of the columns, added in the order of the rows on any number of threads."""
    count, features = rows.shape
    total = np.zeros((features, features))
    for k in range(count):
        for i in range(features):
            value = np.float64(rows[k, i])
            for j in range(features):
                total[i, j] += value * rows[k, j]
    return total


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _scan(
    points: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    active: int,
    slot: int,
    bound: np.float32,
    keys: npt.NDArray[np.float32],
) -> int:
    """Ward distance (squared, halved) of active slots to one; returns the slot of the smallest.

    ``bound``: more than the smallest distance. A block of slots that are all farther away than
    that, or than a slot seen before, is left when its first features show it, as far away.
    """
    features = points.shape[0]
    own = weights[slot]
    best, where = bound, -1
    for start in range(0, active, _BLOCK):
        stop = min(start + _BLOCK, active)
        part = keys[start:stop]
        mass = weights[start:stop]
        part[:] = np.float32(0.0)
        if start <= slot < stop:
            part[slot - start] = _FAR
        done, near = 0, 1
        while done < features and near > 0:
            upto = min(done + _STEP, features)
            for f in range(done, upto):
                value = points[f, slot]
                row = points[f, start:stop]
                for i in range(stop - start):
                    difference = row[i] - value
                    part[i] += difference * difference
            done = upto
            # A little more than the best: these products are rounded otherwise than those below.
            limit = best * _ROUNDING
            near = 0
            for i in range(stop - start):
                near += part[i] * (own * mass[i]) <= limit * (own + mass[i])
        if near == 0:
            part[:] = _FAR
            continue
        for i in range(stop - start):
            part[i] *= own * mass[i] / (own + mass[i])
        for i in range(stop - start):
            if part[i] < best:
                best, where = part[i], start + i
    return where


@nb.njit(nogil=True, cache=True)
def _near_together(points: npt.NDArray[np.float32]) -> Integers:
    """Order of points in which every block holds points near each other.

    Halves along the axis of the largest spread, down to the blocks of `_scan`.
    """
    features, count = points.shape
    order = np.arange(count)
    waiting = [(0, count)]
    while len(waiting) > 0:
        start, stop = waiting.pop()
        blocks = (stop - start + _BLOCK - 1) // _BLOCK
        if blocks < 2:
            continue
        own = order[start:stop]
        axis, widest = 0, np.float32(-1.0)
        for f in range(min(features, _AXES)):
            spread = points[f][own].std()
            if spread > widest:
                axis, widest = f, spread
        order[start:stop] = own[np.argsort(points[axis][own], kind="mergesort")]
        middle = start + _BLOCK * (blocks // 2)
        waiting.append((start, middle))
        waiting.append((middle, stop))
    return order


@nb.njit(nogil=True, cache=True)
def _chain(
    points: npt.NDArray[np.float32], mass: npt.NDArray[np.float64]
) -> tuple[Integers, Integers, npt.NDArray[np.float64]]:
    """Merges in the order of the nearest-neighbour chain: a point of each side, and the height."""
    features, count = points.shape
    weights = mass.astype(np.float32)
    heavy = mass.copy()
    keys = np.empty(count, dtype=np.float32)
    # Slots 0 .. active - 1 hold the clusters that are left; `member` is a point of each.
    member = np.arange(count)
    slot_of = np.arange(count)
    chain = np.empty(count + 1, dtype=np.int64)
    # Distance of each link of the chain to the one before.
    step = np.empty(count + 1, dtype=np.float32)
    first = np.empty(count - 1, dtype=np.int64)
    second = np.empty(count - 1, dtype=np.int64)
    height = np.empty(count - 1)
    active, length, merges = count, 0, 0
    arranged = 2 * count
    while active > 1:
        if active < _REARRANGED * arranged and active > _BLOCK:
            # Merged clusters leave gaps, which others fill: the blocks lose their order.
            order = _near_together(points[:, :active])
            points[:, :active] = points[:, :active][:, order]
            weights[:active], heavy[:active] = weights[:active][order], heavy[:active][order]
            member[:active] = member[:active][order]
            slot_of[member[:active]] = np.arange(active)
            arranged = active
        if length == 0:
            chain[0] = member[0]
            step[0] = _FAR
            length = 1
        slot = slot_of[chain[length - 1]]
        # Rounding may put the distance back a little above the distance here.
        other = _scan(points, weights, active, slot, step[length - 1] * _ROUNDING, keys)
        previous = slot_of[chain[length - 2]] if length > 1 else -1
        # Of equally near clusters the previous one is taken, or the chain would not end.
        if length == 1 or keys[other] < keys[previous]:
            chain[length] = member[other]
            step[length] = keys[other]
            length += 1
            continue
        other = previous
        first[merges], second[merges] = member[slot], member[other]
        height[merges] = np.sqrt(2.0 * keys[other])
        merges += 1
        length -= 2
        low, high = min(slot, other), max(slot, other)
        total = heavy[low] + heavy[high]
        for f in range(features):
            points[f, low] = (heavy[low] * points[f, low] + heavy[high] * points[f, high]) / total
        heavy[low] = total
        weights[low] = total
        active -= 1
        if high != active:
            points[:, high] = points[:, active]
            heavy[high], weights[high] = heavy[active], weights[active]
            member[high] = member[active]
            slot_of[member[high]] = high
    return first, second, height


@nb.njit(nogil=True, cache=True)
def _root(parent: Integers, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@nb.njit(nogil=True, cache=True)
def _numbered(
    first: Integers,
    second: Integers,
    height: npt.NDArray[np.float64],
    mass: npt.NDArray[np.float64],
) -> Tree:
    """Linkage matrix from merges sorted by height, each named by one point of either side."""
    count = mass.size
    parent = np.arange(2 * count - 1)
    weight = np.zeros(2 * count - 1)
    weight[:count] = mass
    tree = np.empty((count - 1, 4))
    for i in range(count - 1):
        a, b = _root(parent, first[i]), _root(parent, second[i])
        new = count + i
        parent[a] = parent[b] = new
        weight[new] = weight[a] + weight[b]
        tree[i, 0], tree[i, 1] = min(a, b), max(a, b)
        tree[i, 2], tree[i, 3] = height[i], weight[new]
    return tree


@nb.njit(nogil=True, cache=True)
def _labels(tree: Tree, merges: int) -> npt.NDArray[np.int32]:
    count = tree.shape[0] + 1
    parent = np.arange(2 * count - 1)
    for i in range(merges):
        parent[np.int64(tree[i, 0])] = parent[np.int64(tree[i, 1])] = count + i
    number = np.full(2 * count - 1, -1, dtype=np.int32)
    labels = np.empty(count, dtype=np.int32)
    found = 0
    for i in range(count):
        root = _root(parent, i)
        if number[root] < 0:
            number[root] = found
            found += 1
        labels[i] = number[root]
    return labels


@nb.njit(nogil=True, cache=True)
def _merge_heights(tree: Tree, pairs: Integers) -> npt.NDArray[np.float64]:
    count = tree.shape[0] + 1
    parent = np.full(2 * count - 1, -1, dtype=np.int64)
    for i in range(count - 1):
        parent[np.int64(tree[i, 0])] = parent[np.int64(tree[i, 1])] = count + i
    heights = np.zeros(pairs.shape[0])
    for k in range(pairs.shape[0]):
        a, b = pairs[k, 0], pairs[k, 1]
        # Later merges have larger numbers: climb from the smaller until both meet.
        while a != b:
            if a < b:
                a = parent[a]
            else:
                b = parent[b]
        if a >= count:
            heights[k] = tree[a - count, 2]
    return heights
