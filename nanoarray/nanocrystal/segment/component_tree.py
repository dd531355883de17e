"""The component tree of an image: every connected dark region at every grey level, nested.

A crystal is a connected region of some level set. Which level differs from crystal to crystal
(faint ones beside black ones), so one threshold for an image cannot find them all. The tree holds
the regions of all thresholds at once, in near-linear time (Najman and Couprie 2006; Berger et al.
2007), with the attributes that can be summed along it: area, length and sharpness of the outline,
moments. Two neighbours above and beside each other connect pixels (4-connectivity): crystals that
touch at a corner stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["ComponentTree", "build_component_tree"]


@dataclass(frozen=True)
class ComponentTree:
    """Nodes of a component tree, root first: a parent always comes before its children.

    Attributes
    ----------
    parent
        ``(node,)`` parent node; -1 for the root.
    level
        ``(node,)`` grey level at which the region is a connected component.
    peak
        ``(node,)`` highest level inside the region.
    area_px
        ``(node,)`` number of pixels.
    outline_px
        ``(node,)`` number of pixel edges between the region and its surroundings; edges of the
        image do not count.
    outline_weight
        ``(node,)`` sum of the edge weight (the gradient) over the outline.
    pixel, start
        Flat pixel indices, and where each node's region starts among them: the region of node
        ``i`` is ``pixel[start[i]:start[i] + area_px[i]]``.
    """

    parent: NDArray[np.int32]
    level: NDArray[np.int32]
    peak: NDArray[np.int32]
    area_px: NDArray[np.int32]
    outline_px: NDArray[np.int32]
    outline_weight: NDArray[np.float64]
    pixel: NDArray[np.int32]
    start: NDArray[np.int32]


def build_component_tree(
    levels: NDArray[np.uint8], *, edge_weight: NDArray[np.float32]
) -> ComponentTree:
    """Build the tree of the regions ``levels >= t`` for all ``t``.

    Parameters
    ----------
    levels
        ``(height, width)`` quantized image, crystals high.
    edge_weight
        ``(height, width)`` weight of the outline at each pixel, for example the gradient magnitude.

    Returns
    -------
    ComponentTree
    """
    flat = np.ascontiguousarray(levels).ravel()
    parent, order = _link_pixels(flat, levels.shape[0], levels.shape[1])
    weight = np.ascontiguousarray(edge_weight, np.float32).ravel()
    return ComponentTree(*_nodes(flat, parent, order, weight, levels.shape[1]))


@nb.njit(nogil=True, cache=True)
def _root(link, pixel):
    root = pixel
    while link[root] != root:
        root = link[root]
    while link[pixel] != root:
        link[pixel], pixel = root, link[pixel]
    return root


@nb.njit(nogil=True, cache=True)
def _link_pixels(levels, height, width):
    """Parent pixel of every pixel (canonical), and the pixels from the lowest level up."""
    size = levels.size
    counts = np.zeros(257, np.int64)
    for i in range(size):
        counts[levels[i] + 1] += 1
    for v in range(256):
        counts[v + 1] += counts[v]
    order = np.empty(size, np.int32)
    for i in range(size):
        order[counts[levels[i]]] = i
        counts[levels[i]] += 1
    parent = np.empty(size, np.int32)
    link = np.full(size, -1, np.int32)
    for k in range(size - 1, -1, -1):
        p = order[k]
        parent[p] = p
        link[p] = p
        y, x = p // width, p % width
        for side in range(4):
            if side == 0:
                if y == 0:
                    continue
                n = p - width
            elif side == 1:
                if x == 0:
                    continue
                n = p - 1
            elif side == 2:
                if x == width - 1:
                    continue
                n = p + 1
            else:
                if y == height - 1:
                    continue
                n = p + width
            if link[n] < 0:
                continue
            r = _root(link, n)
            if r != p:
                link[r] = p
                parent[r] = p
    for k in range(size):
        p = order[k]
        q = parent[p]
        if levels[parent[q]] == levels[q]:
            parent[p] = parent[q]
    return parent, order


@nb.njit(nogil=True, cache=True)
def _nodes(levels, parent_pixel, order, weight, width):
    size = levels.size
    height = size // width
    rank = np.empty(size, np.int32)
    for k in range(size):
        rank[order[k]] = k
    node_of = np.full(size, -1, np.int32)
    count = 0
    for k in range(size):
        p = order[k]
        if parent_pixel[p] == p or levels[parent_pixel[p]] != levels[p]:
            node_of[p] = count
            count += 1
        else:
            node_of[p] = node_of[parent_pixel[p]]
    parent = np.full(count, -1, np.int32)
    level = np.zeros(count, np.int32)
    area = np.zeros(count, np.int32)
    own = np.zeros(count, np.int32)
    outline = np.zeros(count, np.int32)
    outline_weight = np.zeros(count, np.float64)
    for p in range(size):
        node = node_of[p]
        own[node] += 1
        q = parent_pixel[p]
        if node_of[q] != node:
            parent[node] = node_of[q]
        level[node] = levels[p]
        y, x = p // width, p % width
        for side in range(4):
            if side == 0:
                if y == 0:
                    continue
                n = p - width
            elif side == 1:
                if x == 0:
                    continue
                n = p - 1
            elif side == 2:
                if x == width - 1:
                    continue
                n = p + 1
            else:
                if y == height - 1:
                    continue
                n = p + width
            edge = 0.5 * (weight[p] + weight[n])
            if rank[n] > rank[p]:  # the neighbour was there before: the edge is inside now
                outline[node] -= 1
                outline_weight[node] -= edge
            else:
                outline[node] += 1
                outline_weight[node] += edge
    peak = level.copy()
    for i in range(count):
        area[i] = own[i]
    for i in range(count - 1, 0, -1):
        up = parent[i]
        area[up] += area[i]
        outline[up] += outline[i]
        outline_weight[up] += outline_weight[i]
        peak[up] = max(peak[up], peak[i])
    start = np.zeros(count, np.int32)
    cursor = np.zeros(count, np.int32)
    for i in range(1, count):
        up = parent[i]
        start[i] = cursor[up]
        cursor[up] += area[i]
        cursor[i] = start[i]
    pixel = np.empty(size, np.int32)
    for p in range(size):
        node = node_of[p]
        pixel[cursor[node]] = p
        cursor[node] += 1
    return parent, level, peak, area, outline, outline_weight, pixel, start
