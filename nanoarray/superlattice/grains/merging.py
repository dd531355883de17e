"""Merging of neighbouring regions, cheapest pair first; time and memory grow with their borders."""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def region_sums(
    labels: NDArray[np.int32], features: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of tiles, and mean features, of regions 0..count."""
    height, width, depth = features.shape
    size = np.zeros(count + 1)
    mean = np.zeros((count + 1, depth))
    for y in range(height):
        for x in range(width):
            a = labels[y, x]
            if a == 0:
                continue
            size[a] += 1
            for k in range(depth):
                mean[a, k] += features[y, x, k]
    for a in range(1, count + 1):
        if size[a] > 0:
            mean[a] /= size[a]
    return size, mean


@njit(cache=True, nogil=True)
def _value(
    a: int, b: int, shared: float, size: NDArray[np.float64], mean: NDArray[np.float64]
) -> float:
    """What joining two regions adds to the squared error, per length of their boundary."""
    distance = ((mean[a] - mean[b]) ** 2).sum()
    return size[a] * size[b] / (size[a] + size[b]) * distance / shared


@njit(cache=True, nogil=True)
def merge_schedule(
    pairs: NDArray[np.int64],
    lengths: NDArray[np.int64],
    size: NDArray[np.float64],
    mean: NDArray[np.float64],
    cost: float,
) -> NDArray[np.int64]:
    """Join the pair with the lowest value while that is below ``cost``.

    Of equal values the pair with the lowest numbers goes first.

    Parameters
    ----------
    pairs, lengths
        ``(n, 2)`` neighbouring regions, lower number first, and the length of their boundary.
    size, mean
        Tiles of regions 0..n and their mean features; they are changed.
    cost
        Where merging ends.

    Returns
    -------
    ndarray
        The region that every region has become part of.
    """
    count = size.size - 1
    edges = pairs.shape[0]
    shared = lengths.astype(np.float64)
    version = np.zeros(edges, np.int64)
    alive = np.ones(edges, np.bool_)
    # Each region has a chain of half edges; 2 e and 2 e + 1 are the two ends of edge e.
    head = np.full(count + 1, -1, np.int64)
    follow = np.empty(2 * edges, np.int64)
    other = np.empty(2 * edges, np.int64)
    heap = [(np.inf, 0, 0, 0, 0)]
    for e in range(edges):
        a, b = pairs[e]
        other[2 * e], other[2 * e + 1] = b, a
        follow[2 * e], head[a] = head[a], 2 * e
        follow[2 * e + 1], head[b] = head[b], 2 * e + 1
        heap.append((_value(a, b, shared[e], size, mean), a, b, e, 0))
    heapq.heapify(heap)
    parent = np.arange(count + 1)
    edge_to = np.full(count + 1, -1, np.int64)
    while True:
        value, a, b, e, made = heapq.heappop(heap)
        if value >= cost:
            break
        if not alive[e] or version[e] != made:
            continue
        mean[a] = (mean[a] * size[a] + mean[b] * size[b]) / (size[a] + size[b])
        size[a] += size[b]
        parent[b] = a
        alive[e] = False
        half, chain = head[a], -1
        while half >= 0:  # what is left of the chain of a
            after = follow[half]
            if alive[half // 2]:
                edge_to[other[half]] = half // 2
                follow[half], chain = chain, half
            half = after
        half = head[b]
        while half >= 0:  # that of b joins it
            after = follow[half]
            edge, c = half // 2, other[half]
            if alive[edge]:
                if edge_to[c] >= 0:
                    shared[edge_to[c]] += shared[edge]
                    alive[edge] = False
                else:
                    edge_to[c] = edge
                    other[half ^ 1] = a
                    follow[half], chain = chain, half
            half = after
        head[a], head[b] = chain, -1
        half = chain
        while half >= 0:
            edge, c = half // 2, other[half]
            edge_to[c] = -1
            version[edge] += 1
            again = _value(a, c, shared[edge], size, mean)
            heapq.heappush(heap, (again, min(a, c), max(a, c), edge, version[edge]))
            half = follow[half]
    for a in range(1, count + 1):
        root = a
        while parent[root] != root:
            root = parent[root]
        parent[a] = root
    return parent
