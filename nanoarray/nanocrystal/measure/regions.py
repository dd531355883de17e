"""The labelled regions of a label image: their ids, their index image, their bounding boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nanoarray.errors import InputError


@dataclass(frozen=True)
class Regions:
    """Labels in ascending order, and where they are."""

    #: (n,) the labels.
    label: NDArray[np.int32]
    #: (height, width) int32: 0 for background, k + 1 for the k-th label.
    index: NDArray[np.int32]
    #: (n, 4) bounding boxes [px]: first row, first column, row and column after the last.
    box: NDArray[np.int32]


def find_regions(labels: NDArray[np.integer[Any]]) -> Regions:
    """Find the regions of a label image.

    Parameters
    ----------
    labels
        (height, width) integers: 0 for background, one positive number per region. Numbers may be
        missing; a region may have several parts.

    Returns
    -------
    Regions
        In ascending order of the labels; empty where there are none.

    Raises
    ------
    InputError
        If the labels are not a 2-D array of integers, or one of them is negative or above the
        largest int32.
    """
    given = np.asarray(labels)
    if given.ndim != 2 or not (np.issubdtype(given.dtype, np.integer) or given.dtype == bool):
        raise InputError(
            f"the labels are a {given.ndim}-D array of {given.dtype}: (height, width) integers "
            "are needed, 0 for background"
        )
    lowest, highest = int(given.min(initial=0)), int(given.max(initial=0))
    if lowest < 0 or highest > np.iinfo(np.int32).max:
        raise InputError(
            f"the labels run from {lowest} to {highest}: they must be 0 (background) to 2**31 - 1"
        )
    index = np.ascontiguousarray(given, dtype=np.int32)
    if highest > 4 * index.size + 1024:  # numbers of another program: too sparse for a table
        present, ranks = np.unique(index, return_inverse=True)
        first = int(present.size > 0 and present[0] != 0)
        index = (ranks.reshape(index.shape) + first).astype(np.int32)
        present = present[present > 0]
        return Regions(present.astype(np.int32), index, _boxes(index, present.size))
    box = _boxes(index, highest)
    here = np.flatnonzero(box[:, 2] > 0)
    if here.size < highest:
        lookup = np.zeros(highest + 1, np.int32)
        lookup[here + 1] = np.arange(1, here.size + 1)
        index = lookup[index]
    return Regions((here + 1).astype(np.int32), index, box[here])


@njit(cache=True, nogil=True)
def _boxes(index, count):
    height, width = index.shape
    box = np.zeros((count, 4), np.int32)
    box[:, 0] = height
    box[:, 1] = width
    for y in range(height):
        for x in range(width):
            k = index[y, x] - 1
            if k < 0:
                continue
            if y < box[k, 0]:
                box[k, 0] = y
            if x < box[k, 1]:
                box[k, 1] = x
            if y >= box[k, 2]:
                box[k, 2] = y + 1
            if x >= box[k, 3]:
                box[k, 3] = x + 1
    return box
