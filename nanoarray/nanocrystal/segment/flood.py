"""Flooding a depth map from its deepest points: where its basins meet, and which are one."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["basins"]

#: Steps in which the flood falls.
_STEPS = 60_000
#: A basin that has no number yet.
_UNKNOWN = np.iinfo(np.int32).min


def basins(
    depth: NDArray[np.float32],
    inside: NDArray[np.bool_],
    *,
    share: float,
    least_depth: float = 0.0,
    least_area_px: int = 1,
    weight: NDArray[np.float32] | None = None,
    least_weight: float = 0.0,
    doubtful_weight: float | None = None,
    highest: float | None = None,
) -> NDArray[np.int32]:
    """Label the basins of a depth map: a watershed whose shallow divides are removed.

    The flood falls from every maximum. Two basins become one where the deepest pass between them is
    at least `share` of the shallower one's depth; 1 keeps all apart, 0 joins all that touch.

    Parameters
    ----------
    depth
        ``(height, width)``, no negative values; a sixty-thousandth of its range is resolved.
    inside
        ``(height, width)`` pixels to label.
    share
        Depth of a pass, as part of the shallower basin's, from which it is no divide.
    least_depth
        Shallower basins are dropped.
    least_area_px
        Smaller ones are dropped.
    weight, least_weight
        Basins with a lower mean of `weight` are dropped.
    doubtful_weight
        From this mean on they are not dropped but have negative numbers.
    highest
        Top of the range of depths; by default the largest one there is.

    Returns
    -------
    ndarray
        ``(height, width)`` int32: 1..n in order of their first pixel, 0 elsewhere; doubtful basins
        -1..-m, in the same order.
    """
    labels = np.zeros(depth.shape, np.int32)
    pixels = np.flatnonzero(inside)
    if not pixels.size:
        return labels
    steps = _STEPS / max(float(depth.max()) if highest is None else highest, 1e-9)
    level = (depth * steps).astype(np.uint16)
    falling = pixels[np.argsort(level.ravel()[pixels], kind="stable")[::-1]]
    deepest, parent = _flood(falling, level, labels, share)
    if weight is None:
        weight, least_weight, doubtful_weight = np.zeros((1, 1), np.float32), 0.0, None
    else:
        weight = np.ascontiguousarray(weight)
    weights = (least_weight, least_weight if doubtful_weight is None else doubtful_weight)
    _number(labels, parent, deepest >= least_depth * steps, weight, least_area_px, weights)
    return labels


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _flood(falling, level, labels, share):
    """Give every pixel of `falling` (deepest first) a basin 1..n in `labels`.

    Returns the deepest level of every basin, joined ones included, and the basin that it belongs
    to (itself, or another one to follow).
    """
    height, width = level.shape
    parent = np.zeros(falling.size + 1, np.int32)
    deepest = np.zeros(falling.size + 1, np.float32)
    count = 0
    step_y, step_x = (-1, 0, 0, 1), (0, -1, 1, 0)
    for p in falling:
        y, x = p // width, p % width
        here = np.float32(level[y, x])
        own, own_level = 0, -1
        for k in range(4):
            v, u = y + step_y[k], x + step_x[k]
            if 0 <= v < height and 0 <= u < width and labels[v, u] > 0 and level[v, u] > own_level:
                own, own_level = labels[v, u], level[v, u]
        if own == 0:
            count += 1
            parent[count] = count
            deepest[count] = here
            labels[y, x] = count
            continue
        labels[y, x] = own
        a = _root(parent, own)
        for k in range(4):
            v, u = y + step_y[k], x + step_x[k]
            if not (0 <= v < height and 0 <= u < width) or labels[v, u] == 0:
                continue
            b = _root(parent, labels[v, u])
            if a != b and here >= share * min(deepest[a], deepest[b]):
                if deepest[a] < deepest[b]:
                    a, b = b, a
                parent[b] = a
    return deepest[: count + 1], parent[: count + 1]


@njit(cache=True, nogil=True)
def _number(labels, parent, found, weight, least_area_px, least_weights):
    """Number joined basins, without those to be dropped, in order of their first pixel."""
    least_weight, doubtful_weight = least_weights
    area = np.zeros(parent.size, np.int64)
    total = np.zeros(parent.size, np.float64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] > 0:
                a = _root(parent, labels[y, x])
                labels[y, x] = a
                area[a] += 1
                if least_weight > 0:
                    total[a] += weight[y, x]
    number = np.full(parent.size, _UNKNOWN, np.int32)
    count = doubtful = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            a = labels[y, x]
            if a == 0:
                continue
            if number[a] == _UNKNOWN:
                number[a] = 0
                if found[a] and area[a] >= least_area_px:
                    if total[a] >= least_weight * area[a]:
                        count += 1
                        number[a] = count
                    elif total[a] >= doubtful_weight * area[a]:
                        doubtful += 1
                        number[a] = -doubtful
            labels[y, x] = number[a]
