"""Branches of a component tree, and the nodes with the sharpest outlines on each of them.

A branch is a run of nested regions that grow without meeting another one: one object at falling
thresholds. Where two branches meet, a new one begins.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["pick_nodes"]

#: Outlines of a branch are at least this sharp, compared to its sharpest: less is its noise.
_LEAST_SHARP = 0.15
#: No more outlines of one branch, and areas that differ at least by this factor: nearer ones are
#: the same object.
_MOST_OUTLINES, _OTHER_AREA = 4, 4 / 3


@nb.njit(nogil=True, cache=True)
def _find_forks(parent, level, peak, area, least, height):
    """Which nodes count, and what branches inside them.

    Returns, per node: whether it is large and high enough, the number of its children that are,
    the number of branches inside, and the second largest area and the level of the fork inside
    that is nearest.
    """
    n = parent.size
    kept = np.zeros(n, np.bool_)
    children = np.zeros(n, np.int32)
    first = np.zeros(n, np.int32)
    second = np.zeros(n, np.int32)
    for i in range(1, n):
        up = parent[i]
        if area[i] >= least and peak[i] - level[up] >= height:
            kept[i] = True
            children[up] += 1
            if area[i] > first[up]:
                second[up], first[up] = first[up], area[i]
            elif area[i] > second[up]:
                second[up] = area[i]
    leaves = np.zeros(n, np.int32)
    below = np.zeros(n, np.int32)
    fork = np.zeros(n, np.int32)
    for i in range(n - 1, -1, -1):
        if children[i] == 0:
            leaves[i] = max(leaves[i], 1)
        if children[i] >= 2:
            below[i] = second[i]
            fork[i] = level[i]
        if i > 0 and kept[i]:
            leaves[parent[i]] += leaves[i]
            if below[i] > 0 and fork[parent[i]] == 0:
                below[parent[i]] = below[i]
                fork[parent[i]] = fork[i]
    return kept, children, leaves, below, fork


@nb.njit(nogil=True, cache=True)
def _follow_branches(parent, kept, children):
    """Nodes sorted by branch, from the outside in, and where each branch starts among them."""
    n = parent.size
    branch = np.full(n, -1, np.int32)
    count = 0
    for i in range(1, n):
        if kept[i]:
            up = parent[i]
            if branch[up] >= 0 and children[up] == 1:
                branch[i] = branch[up]
            else:
                branch[i] = count
                count += 1
    start = np.zeros(count + 1, np.int32)
    for i in range(n):
        if branch[i] >= 0:
            start[branch[i] + 1] += 1
    for b in range(count):
        start[b + 1] += start[b]
    members = np.empty(start[count], np.int32)
    cursor = start.copy()
    for i in range(n):
        if branch[i] >= 0:
            members[cursor[branch[i]]] = i
            cursor[branch[i]] += 1
    return members, start


@nb.njit(nogil=True, cache=True)
def _sharpest(nodes, area, sharp):
    """Places on a branch where the outline is sharpest."""
    taken = np.empty(_MOST_OUTLINES, np.int64)
    count = 0
    for k in np.argsort(-sharp):
        if count == _MOST_OUTLINES or sharp[k] <= 0 or sharp[k] < _LEAST_SHARP * sharp.max():
            break
        # A second outline in a branch (a shell around a core) is a summit of sharpness too.
        other = sharp[k] == sharp[max(k - 3, 0) : k + 4].max()
        for t in range(count):
            ratio = area[nodes[k]] / area[nodes[taken[t]]]
            if 1 / _OTHER_AREA < ratio < _OTHER_AREA:
                other = False
        if other:
            taken[count] = k
            count += 1
    return taken[:count]


@nb.njit(nogil=True, cache=True)
def pick_nodes(parent, level, peak, area, outline, outline_weight, least, most, height):
    """Nodes with the sharpest outline of every branch of the tree; their branch counts.

    Returns picked node indices (parents first), parent among the picked, stability (change of the
    logarithm of the area over four nodes), number of branches inside, share of the area in the
    second largest branch, level where that joins.
    """
    n = parent.size
    kept, children, leaves, below, fork = _find_forks(parent, level, peak, area, least, height)
    members, start = _follow_branches(parent, kept, children)
    picked = np.zeros(n, np.bool_)
    stability = np.zeros(n, np.float32)
    for b in range(start.size - 1):
        nodes = members[start[b] : start[b + 1]]
        sharp = np.empty(nodes.size, np.float64)
        for k in range(nodes.size):
            i = nodes[k]
            ok = outline[i] > 0 and area[i] <= most
            sharp[k] = outline_weight[i] / outline[i] if ok else -1.0
            outer, inner = nodes[max(k - 2, 0)], nodes[min(k + 2, nodes.size - 1)]
            stability[i] = np.log(area[outer] / area[inner])
        for k in _sharpest(nodes, area, sharp):
            picked[nodes[k]] = True
    index = np.flatnonzero(picked).astype(np.int32)
    place = np.full(n, -1, np.int32)
    for k in range(index.size):
        place[index[k]] = k
    above = np.full(n, -1, np.int32)
    for i in range(1, n):
        up = parent[i]
        above[i] = place[up] if place[up] >= 0 else above[up]
    share = below[index] / np.maximum(area[index], 1)
    return index, above[index], stability[index], leaves[index], share, fork[index]
