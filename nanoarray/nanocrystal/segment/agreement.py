"""How far a candidate agrees with the objects that the network found."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from nanoarray.nanocrystal.segment.candidates import Candidates

__all__ = ["AGREEMENT_NUMBERS", "agreement_numbers"]

#: Columns of `agreement_numbers`.
AGREEMENT_NUMBERS = (
    "object_iou",
    "object_share",
    "covered",
    "object_count",
    "probability",
    "probability_low",
)


@nb.njit(nogil=True, cache=True)
def _agreement(pixel, start, size, labels, area, probability):
    count = start.size
    out = np.zeros((count, 6), np.float32)
    shared = np.zeros(area.size, np.int64)
    seen = np.empty(area.size, np.int64)
    for i in range(count):
        n_seen, covered, low, total = 0, 0, 0, 0.0
        for k in range(start[i], start[i] + size[i]):
            label = labels[pixel[k]]
            total += probability[pixel[k]]
            low += probability[pixel[k]] < 0.5
            if label > 0:
                covered += 1
                if shared[label] == 0:
                    seen[n_seen] = label
                    n_seen += 1
                shared[label] += 1
        best, whole = 0, 0
        for k in range(n_seen):
            label = seen[k]
            iou = shared[label] / (area[label] + size[i] - shared[label])
            if iou > out[i, 0]:
                out[i, 0] = iou
                best = label
            whole += shared[label] > 0.5 * area[label]
        out[i, 1] = shared[best] / area[best] if best > 0 else 0.0
        out[i, 2] = covered / size[i]
        out[i, 3] = whole
        out[i, 4] = total / size[i]
        out[i, 5] = low / size[i]
        for k in range(n_seen):
            shared[seen[k]] = 0
    return out


def agreement_numbers(
    candidates: Candidates, labels: NDArray[np.int32], probability: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compare candidates with the network's objects and its probability of crystal.

    Parameters
    ----------
    candidates
        The candidates of one image.
    labels, probability
        ``(height, width)`` objects 1..n and probability of crystal.

    Returns
    -------
    ndarray
        ``(candidate, number)``: overlap (IoU) with the object that fits best, the part of that
        object inside the candidate, the part of the candidate that objects cover, the number of
        objects mostly inside it, the mean probability, and the part of it below one half.
    """
    flat = labels.ravel()
    return _agreement(
        candidates.pixel,
        candidates.start,
        candidates.size,
        flat,
        np.bincount(flat, minlength=1),
        np.ascontiguousarray(probability, np.float32).ravel(),
    )
