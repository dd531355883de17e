"""Regions of a tile grid: growing, merging, refining. Labels 1..n, 0 is outside."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label as connected_labels
from skimage.segmentation import watershed

from nanoarray.fields.windows import spans
from nanoarray.superlattice.grains.merging import merge_schedule, region_sums

Features = NDArray[np.float32]
Labels = NDArray[np.int32]
#: Values of the features that are looked at together.
_BAND_VALUES = 4_000_000


def bands(features: Features) -> list[slice]:
    """Rows of tiles to go through a map in, where what is made of them is larger than they are."""
    return spans(features.shape[0], max(1, _BAND_VALUES // max(1, math.prod(features.shape[1:]))))


def renumber(labels: NDArray[np.integer]) -> Labels:
    """Labels 1..n without gaps, in order of first value; 0 stays 0."""
    present = np.unique(labels)
    lookup = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    present = present[present > 0]
    lookup[present] = np.arange(1, present.size + 1)
    return lookup[labels]


def split_disconnected(labels: NDArray[np.integer]) -> Labels:
    """Give every 4-connected part of a label a label of its own."""
    return connected_labels(labels, background=0, connectivity=1).astype(np.int32)


def initial_regions(features: Features, valid: NDArray[np.bool_]) -> Labels:
    """Catchment basins of the gradient of the features: many small regions.

    Parameters
    ----------
    features
        ``(tile_y, tile_x, n)``.
    valid
        True where a tile takes part.

    Returns
    -------
    ndarray
        Labels ``(tile_y, tile_x)``.
    """
    gradient = np.empty(valid.shape, features.dtype)
    for rows in bands(features):
        index = np.clip(np.arange(rows.start - 1, rows.stop + 1), 0, len(features) - 1)
        padded = np.pad(features[index], ((0, 0), (1, 1), (0, 0)), mode="edge")
        down = padded[2:, 1:-1] - padded[:-2, 1:-1]
        across = padded[1:-1, 2:] - padded[1:-1, :-2]
        gradient[rows] = np.sqrt((down**2 + across**2).sum(axis=-1))
    smooth = ndimage.gaussian_filter(gradient, 1.0)
    return watershed(smooth, mask=valid).astype(np.int32)


def region_means(labels: Labels, features: Features) -> NDArray[np.float64]:
    """Mean features of regions 0..n, ``(n + 1, feature)``."""
    flat = labels.ravel()
    size = int(labels.max(initial=0)) + 1
    count = np.maximum(np.bincount(flat, minlength=size), 1)
    columns = [
        np.bincount(flat, features[..., k].ravel(), minlength=size) / count
        for k in range(features.shape[-1])
    ]
    return np.stack(columns, axis=1)


def depth_in_region(labels: Labels) -> NDArray[np.float64]:
    """Distance of every tile to the nearest tile that borders on another region [tiles].

    Bordering tiles have depth 0. The edge of the field and label 0 are no other region.
    """
    border = np.zeros(labels.shape, bool)
    for a, b in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        differ = (labels[a] != labels[b]) & (labels[a] > 0) & (labels[b] > 0)
        border[a] |= differ
        border[b] |= differ
    if not border.any():
        return np.full(labels.shape, np.inf)
    return ndimage.distance_transform_edt(~border)


def merge_by_cost(labels: Labels, features: Features, *, cost: float) -> Labels:
    """Merge neighbouring regions while a merge costs less than its boundary.

    The full lambda-schedule of Koepfler, Lopez and Morel (SIAM J. Numer. Anal. 31, 1994) for the
    piecewise constant Mumford-Shah energy: the pair with the smallest increase of the squared
    error per length of common boundary is merged first, until that exceeds `cost`.

    Parameters
    ----------
    labels
        Regions 1..n.
    features
        ``(tile_y, tile_x, feature)``.
    cost
        Energy of one tile's edge of boundary.

    Returns
    -------
    ndarray
        Merged labels, without gaps.
    """
    count = int(labels.max(initial=0))
    size, mean = region_sums(labels, features, count)
    root = merge_schedule(*neighbour_pairs(labels), size, mean, cost)
    return renumber(root[labels])


def refine_boundaries(
    labels: Labels,
    features: Features,
    *,
    core_depth: float,
    min_core_tiles: int,
    boundary_cost: float,
    iterations: int = 20,
) -> Labels:
    """Assign boundary tiles to the neighbouring region whose core they resemble.

    Tiles near a boundary see both sides, and a strip of them looks like a region of intermediate
    orientation. So only the core of a region (tiles at least `core_depth` from its border) says
    what the region looks like, and a region without a core is dissolved. Then iterated conditional
    modes on a Potts energy: squared distance to the mean of the core plus `boundary_cost` per
    unlike neighbour (8 neighbours, diagonal ones count 0.71).

    Parameters
    ----------
    labels
        Regions 1..n.
    features
        ``(tile_y, tile_x, feature)``, from small windows.
    core_depth
        Half the window [tiles].
    min_core_tiles
        Regions with fewer core tiles are dissolved, unless none would be left.
    boundary_cost
        Cost of an unlike neighbour.
    iterations
        Sweeps at most.

    Returns
    -------
    ndarray
        New labels; regions may have become disconnected or vanished.
    """
    core = np.where(depth_in_region(labels) >= core_depth, labels, 0).astype(np.int32)
    size = np.bincount(core.ravel(), minlength=int(labels.max(initial=0)) + 1)
    kept = size >= min_core_tiles
    kept[0] = False
    if not kept.any():
        return labels.copy()
    means = np.zeros((size.size, features.shape[-1]))
    core_means = region_means(core, features)
    means[: len(core_means)] = core_means
    refined = np.where(kept[labels], labels, np.where(labels > 0, -1, 0)).astype(np.int32)
    _potts_sweeps(refined, features, means, boundary_cost, iterations)
    # What touches no kept region (cut off by invalid tiles) stays as it was.
    return np.where(refined < 0, labels, refined).astype(np.int32)


@njit(cache=True, nogil=True)
def _potts_sweeps(labels, features, means, boundary_cost, iterations):  # type: ignore[no-untyped-def]
    height, width, depth = features.shape
    near = np.empty(8, np.int64)
    weight = np.empty(8)
    for _ in range(iterations):
        changes = 0
        for y in range(height):
            for x in range(width):
                own = labels[y, x]
                if own == 0:
                    continue
                found = 0
                mixed = False
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        r, c = y + dy, x + dx
                        if (dy == 0 and dx == 0) or r < 0 or c < 0 or r >= height or c >= width:
                            continue
                        if labels[r, c] <= 0:
                            continue
                        near[found] = labels[r, c]
                        weight[found] = 1.0 if dy == 0 or dx == 0 else 0.7071
                        mixed |= labels[r, c] != own
                        found += 1
                if not mixed:
                    continue
                best, lowest = own, np.inf
                for candidate in range(-1 if own > 0 else 0, found):
                    name = own if candidate < 0 else near[candidate]
                    energy = 0.0
                    for k in range(depth):
                        energy += (features[y, x, k] - means[name, k]) ** 2
                    for i in range(found):
                        if near[i] != name:
                            energy += boundary_cost * weight[i]
                    if energy < lowest - 1e-9:
                        best, lowest = name, energy
                if best != own:
                    labels[y, x] = best
                    changes += 1
        if changes == 0:
            break


def absorb_small(labels: Labels, features: Features, *, min_tiles: int) -> Labels:
    """Give regions of fewer than `min_tiles` tiles to the most similar neighbour, smallest first.

    A small region without neighbours is removed (label 0).
    """
    labels = labels.copy()
    means = region_means(labels, features)
    size = np.bincount(labels.ravel(), minlength=len(means)).astype(np.float64)
    boxes: list[Any] = [None, *ndimage.find_objects(labels)]
    waiting = [(n, k) for k, n in enumerate(size.tolist()) if k > 0 and 0 < n < min_tiles]
    heapq.heapify(waiting)
    while waiting:
        tiles, smallest = heapq.heappop(waiting)
        if size[smallest] != tiles:
            continue  # it has grown, or is gone
        # Only its surroundings are looked at: a large map has thousands of small regions.
        window = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in boxes[smallest])
        near_by = labels[window]
        inside = near_by == smallest
        ring = ndimage.binary_dilation(inside) & ~inside & (near_by > 0)
        near = np.unique(near_by[ring])
        target = 0
        if near.size:
            distance = ((means[near] - means[smallest]) ** 2).sum(axis=1)
            target = int(near[distance.argmin()])
            both = size[target] + size[smallest]
            means[target] = (means[target] * size[target] + means[smallest] * size[smallest]) / both
            size[target] = both
            boxes[target] = tuple(
                slice(min(a.start, b.start), max(a.stop, b.stop))
                for a, b in zip(boxes[target], boxes[smallest], strict=True)
            )
            if both < min_tiles:
                heapq.heappush(waiting, (float(both), target))
        near_by[inside] = target
        size[smallest] = 0
    return renumber(labels)


def remove_specks(mask: NDArray[np.bool_], *, min_tiles: int) -> NDArray[np.bool_]:
    """The mask without 4-connected parts of fewer than `min_tiles` tiles."""
    parts = split_disconnected(mask.astype(np.int32))
    size = np.bincount(parts.ravel())
    size[0] = 0
    kept: NDArray[np.bool_] = size[parts] >= min_tiles
    return kept


def neighbour_pairs(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of regions that share tile edges, ``(n, 2)`` lower first, and how many they share."""
    codes = []
    base = int(labels.max(initial=0)) + 1
    for a, b in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        touch = (a != b) & (a > 0) & (b > 0)
        one, other = a[touch].astype(np.int64), b[touch].astype(np.int64)
        codes.append(np.minimum(one, other) * base + np.maximum(one, other))
    unique, counts = np.unique(np.concatenate(codes), return_counts=True)
    return np.stack([unique // base, unique % base], axis=1), counts.astype(np.int64)


def join(labels: Labels, pairs: NDArray[np.int64]) -> Labels:
    """Merge the given pairs of regions, transitively; labels without gaps."""
    size = int(labels.max(initial=0)) + 1
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    # Component numbers follow the first label they contain, so 0 keeps a component of its own.
    return renumber(component[labels].astype(np.int32))
