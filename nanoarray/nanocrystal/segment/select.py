"""Choose candidates that do not overlap so that their gains sum highest."""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["best_gains", "select_candidates"]


@nb.njit(nogil=True, cache=True)
def best_gains(parent, alternative, gain):
    """Best sum of gains inside every candidate, by family of children, and how many give it.

    Parents come before their children. Returns ``(candidate, 2)`` sums and counts, and the highest
    gain of any candidate that contains the candidate (-1 for none).
    """
    n = parent.size
    inner = np.zeros((n, 2), np.float64)
    count = np.zeros((n, 2), np.int32)
    around = np.full(n, -1.0)
    for i in range(n - 1, -1, -1):
        up = parent[i]
        if up < 0:
            continue
        family = 0 if inner[i, 0] >= inner[i, 1] else 1
        if gain[i] > 0 and gain[i] >= inner[i, family]:
            inner[up, alternative[i]] += gain[i]
            count[up, alternative[i]] += 1
        else:
            inner[up, alternative[i]] += inner[i, family]
            count[up, alternative[i]] += count[i, family]
    for i in range(n):
        if parent[i] >= 0:
            around[i] = max(around[parent[i]], gain[parent[i]])
    return inner, count, around


@nb.njit(nogil=True, cache=True)
def select_candidates(parent, alternative, gain):
    """Set of candidates without overlap whose gains sum highest.

    Exact, by dynamic programming from the innermost candidates out: a candidate is taken where its
    gain is positive and no less than the best of what it contains.
    """
    n = parent.size
    inner, _, _ = best_gains(parent, alternative, gain)
    chosen = np.zeros(n, np.bool_)
    opened = np.zeros(n, np.bool_)
    for i in range(n):
        up = parent[i]
        if up >= 0:
            family = 0 if inner[up, 0] >= inner[up, 1] else 1
            if not opened[up] or family != alternative[i]:
                continue
        if gain[i] > 0 and gain[i] >= max(inner[i, 0], inner[i, 1]):
            chosen[i] = True
        else:
            opened[i] = True
    return np.flatnonzero(chosen)
