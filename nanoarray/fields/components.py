"""Connected parts of a large mask, found chunk by chunk and joined across the seams."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nanoarray.fields.packed import PackedArray

Mask = npt.NDArray[np.bool_]


class Components:
    """The 4-connected parts of a mask.

    Parameters
    ----------
    mask
        Of bool.
    """

    def __init__(self, mask: PackedArray) -> None:
        self._labels = PackedArray(mask.shape, np.int32, chunk=mask.chunk)
        pairs = [np.zeros((0, 2), np.int64)]
        areas = [np.zeros(1, np.int64)]
        count = 0
        for rows, columns in mask.cores():
            found, here = ndimage.label(mask[rows, columns])
            areas.append(np.bincount(found.ravel(), minlength=here + 1)[1:])
            found[found > 0] += count
            self._labels[rows, columns] = found
            count += here
            for line, beside in (
                (found[0], (slice(rows.start - 1, rows.start), columns)),
                (found[:, 0], (rows, slice(columns.start - 1, columns.start))),
            ):
                if min(beside[0].start, beside[1].start) >= 0:
                    other = self._labels[beside].ravel()
                    both = (line > 0) & (other > 0)
                    touching = np.stack([line[both], other[both]], axis=1).astype(np.int64)
                    pairs.append(np.unique(touching, axis=0))
        self._root = joined(np.concatenate(pairs), count)
        #: Pixels of every part; entry 0 is no part.
        self.area = np.bincount(self._root, np.concatenate(areas)).astype(np.int64)

    def count_in(self, mask: PackedArray) -> npt.NDArray[np.int64]:
        """How many pixels of every part are in another mask."""
        total = np.zeros(self.area.size, np.int64)
        for core in mask.cores():
            inside = mask[core]
            if inside.any():
                total += np.bincount(
                    self._root[self._labels[core][inside]], minlength=self.area.size
                )
        total[0] = 0
        return total

    def chosen(self, kept: Mask) -> PackedArray:
        """The mask of the parts that are kept; ``kept`` (parts + 1) by number of part."""
        flags = kept & (np.arange(kept.size) > 0)
        out = PackedArray(self._labels.shape, np.bool_, chunk=self._labels.chunk)
        return out.filled(lambda labels: flags[self._root[labels]], self._labels)


def joined(pairs: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Numbers of the sets that pairs of 1..count join, in order of first member; 0 stays 0."""
    graph = coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1)
    )
    # Sets are numbered by their first member, and 0 is alone.
    _, root = connected_components(graph, directed=False)
    return root.astype(np.int64)
