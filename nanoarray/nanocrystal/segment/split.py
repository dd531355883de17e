"""Cut a region at its necks: the parts that the distance to its outline suggests, nested."""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["split_at_necks"]


@nb.njit(nogil=True, cache=True)
def _find(link, i):
    while link[i] != i:
        link[i] = link[link[i]]
        i = link[i]
    return i


@nb.njit(nogil=True, cache=True)
def _from_the_top(flat):
    """Pixels with a distance, from the largest down, to a sixteenth of a pixel (counting sort)."""
    rank = np.empty(flat.size, np.int32)
    counts = np.zeros(int(flat.max() * 16) + 2, np.int64)
    total = 0
    for p in range(flat.size):
        rank[p] = int(flat[p] * 16)
        if flat[p] > 0:
            counts[rank[p]] += 1
            total += 1
    place = np.empty(counts.size, np.int64)
    above = 0
    for v in range(counts.size - 1, -1, -1):
        place[v] = above
        above += counts[v]
    order = np.empty(total, np.int64)
    for p in range(flat.size):
        if flat[p] > 0:
            order[place[rank[p]]] = p
            place[rank[p]] += 1
    return order


@nb.njit(nogil=True, cache=True)
def _basins(distance, depth_px):
    """Flood the distance map from its summits; the basin of every pixel, and the necks.

    A summit that stands less than ``depth_px`` above the pass to a higher one is no basin of its
    own. Returns basin map (-1 outside), summit heights, and passes (basin, basin, height).
    """
    height, width = distance.shape
    flat = distance.ravel()
    order = _from_the_top(flat)
    basin = np.full(flat.size, -1, np.int32)
    link = np.empty(order.size, np.int32)
    top = np.empty(order.size, np.float32)
    passes = np.empty((4 * order.size, 3), np.float32)
    n_basin, n_pass = 0, 0
    for k in range(order.size):
        p = order[k]
        y, x = p // width, p % width
        best, best_height = -1, np.float32(-1)
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                ny, nx = y + dy, x + dx
                if ny < 0 or nx < 0 or ny >= height or nx >= width:
                    continue
                q = ny * width + nx
                if basin[q] < 0 or q == p:
                    continue
                if flat[q] > best_height:
                    best, best_height = basin[q], flat[q]
        if best < 0:
            basin[p] = n_basin
            link[n_basin] = n_basin
            top[n_basin] = flat[p]
            n_basin += 1
            continue
        basin[p] = best
        here = _find(link, best)
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                ny, nx = y + dy, x + dx
                if ny < 0 or nx < 0 or ny >= height or nx >= width:
                    continue
                q = ny * width + nx
                if basin[q] < 0:
                    continue
                other = _find(link, basin[q])
                if other == here:
                    continue
                low, high = (other, here) if top[other] < top[here] else (here, other)
                if top[low] - flat[p] < depth_px:
                    link[low] = high
                    here = high
                elif n_pass < passes.shape[0]:
                    passes[n_pass, 0], passes[n_pass, 1] = low, high
                    passes[n_pass, 2] = flat[p]
                    n_pass += 1
    number = np.full(n_basin, -1, np.int32)
    count = 0
    for i in range(n_basin):
        if _find(link, i) == i:
            number[i] = count
            top[count] = top[i]
            count += 1
    for k in range(order.size):
        basin[order[k]] = number[_find(link, basin[order[k]])]
    for i in range(n_pass):
        passes[i, 0] = number[_find(link, int(passes[i, 0]))]
        passes[i, 1] = number[_find(link, int(passes[i, 1]))]
    return basin, top[:count], passes[:n_pass]


@nb.njit(nogil=True, cache=True)
def split_at_necks(distance, depth_px, keep_ratio):
    """Parts of a region and the order in which they join again.

    Parts join from the widest neck (relative to the narrower part) to the narrowest; necks
    narrower than ``keep_ratio`` times the narrower part are never joined again.

    Returns the part of every pixel (flat, -1 outside), the number of parts, and for every node
    (parts first, then joined ones in order) the node it becomes part of (-1 none).
    """
    basin, top, passes = _basins(distance, depth_px)
    n = top.size
    total = max(2 * n - 1, 1)
    up = np.full(total, -1, np.int32)
    if n < 2:
        return basin, n, up[:n], np.zeros(n, np.float32)
    neck = np.zeros((n, n), np.float32)
    for i in range(passes.shape[0]):
        a, b = int(passes[i, 0]), int(passes[i, 1])
        if a != b:
            neck[a, b] = max(neck[a, b], passes[i, 2])
            neck[b, a] = neck[a, b]
    node = np.arange(n).astype(np.int32)
    alive = np.ones(n, np.bool_)
    ratio_of = np.zeros(total, np.float32)
    summit = top.copy()
    count = n
    while True:
        best, a_best, b_best = np.float32(keep_ratio), -1, -1
        for a in range(n):
            if not alive[a]:
                continue
            for b in range(a):
                if alive[b] and neck[a, b] > 0:
                    ratio = neck[a, b] / min(summit[a], summit[b])
                    if ratio > best:
                        best, a_best, b_best = ratio, a, b
        if a_best < 0:
            break
        up[node[a_best]] = count
        up[node[b_best]] = count
        ratio_of[count] = best
        alive[b_best] = False
        node[a_best] = count
        summit[a_best] = max(summit[a_best], summit[b_best])
        for c in range(n):
            joined = max(neck[a_best, c], neck[b_best, c])
            neck[a_best, c] = joined
            neck[c, a_best] = joined
        neck[a_best, a_best] = 0
        count += 1
    return basin, n, up[:count], ratio_of[:count]
