"""Label images of other programs, or drawn by hand, as grains: on pixels, and on tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nanoarray.errors import InputError

__all__ = ["ForeignGrains", "cell_owners", "foreign_grains", "majority_of_cells"]

#: An id that has at least this share of its pixels in one place is one grain; the rest are specks.
ONE_PLACE = 0.99


@dataclass(frozen=True)
class ForeignGrains:
    """Grains of a label image.

    Attributes
    ----------
    pixels
        ``(height, width)`` int32, grains 1..n in the order of their ids, 0 for none.
    source_labels
        ``(n,)`` int64, the id that each grain has in the label image.
    rejected
        Ids that are no grain, and why.
    """

    pixels: npt.NDArray[np.int32]
    source_labels: npt.NDArray[np.int64]
    rejected: dict[int, str]


def foreign_grains(labels: npt.NDArray[np.integer]) -> ForeignGrains:
    """Number the grains of a label image.

    An id in several separate places (8 neighbours) is no one grain: clusters and phases are
    labelled so, and taking them for grains would give sizes without meaning. Such ids are rejected;
    specks of less than 1 % of the id's pixels do not count, and stay with their grain.

    Parameters
    ----------
    labels
        ``(height, width)`` whole numbers, 0 background, as `check_labels` lets them pass.

    Raises
    ------
    InputError
        There is no label in it, or no id is one grain.
    """
    ids, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape).astype(np.int32)
    if ids.size == 0 or ids[0] != 0:
        ids, dense = np.concatenate([[0], ids.astype(np.int64)]), dense + 1
    if ids.size == 1:
        raise InputError("the label image holds no grain: every pixel is 0")
    total = np.bincount(dense.ravel(), minlength=ids.size)
    rejected: dict[int, str] = {}
    keep = np.zeros(ids.size, bool)
    for k, box in enumerate(ndimage.find_objects(dense), start=1):
        parts, count = ndimage.label(dense[box] == k, structure=np.ones((3, 3)))
        largest = int(np.bincount(parts.ravel())[1:].max()) if count > 1 else int(total[k])
        keep[k] = largest >= ONE_PLACE * total[k]
        if not keep[k]:
            rejected[int(ids[k])] = f"in {count} separate places"
    if not keep.any():
        raise InputError(
            f"each of the {ids.size - 1} ids of the label image lies in several separate places: "
            "these are classes, not grains; number the grains (skimage.measure.label)"
        )
    lookup = np.zeros(ids.size, np.int32)
    lookup[keep] = np.arange(1, int(keep.sum()) + 1)
    return ForeignGrains(lookup[dense], ids[keep].astype(np.int64), rejected)


def cell_owners(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], length_px: int
) -> npt.NDArray[np.intp]:
    """The cell that holds the centre of every pixel along one axis, -1 where none does.

    ``low`` and ``high`` are where the cells begin and end [px] (`cells.cell_edges`).
    """
    position = np.arange(length_px, dtype=np.float64)
    owner = np.searchsorted(low, position, side="right") - 1
    if low.size == 0:
        return np.full(length_px, -1, np.intp)
    return np.where((owner >= 0) & (position < high[np.maximum(owner, 0)]), owner, -1)


def majority_of_cells(
    pixels: npt.NDArray[np.int32],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    shape: tuple[int, int],
) -> npt.NDArray[np.int32]:
    """The label that most pixels of each cell have, 0 among them; of equally many the least.

    Parameters
    ----------
    pixels
        ``(height, width)`` labels.
    rows, columns
        The cell of every row and column of pixels (`cell_owners`).
    shape
        Number of cells along y and x.
    """
    base = int(pixels.max(initial=0)) + 1
    found = np.zeros(shape, np.int32)
    used = np.flatnonzero(columns >= 0)
    code = columns[used].astype(np.int64) * base
    for row in range(shape[0]):
        strip = pixels[rows == row][:, used]
        if not strip.size:
            continue
        keys, counts = np.unique(strip + code, return_counts=True)
        cell, label = np.divmod(keys, base)
        order = np.lexsort((-label, counts, cell))  # the last of each cell has the most pixels
        last = np.flatnonzero(np.append(cell[1:] != cell[:-1], True))
        chosen = order[last]
        found[row, cell[chosen]] = label[chosen]
    return found
