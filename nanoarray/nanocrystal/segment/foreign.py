"""Label images of other programs, or drawn by hand, in place of segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from skimage.measure import label as connected

from nanoarray.images.label_images import check_labels
from nanoarray.nanocrystal.segment.result import Segmentation, assemble

__all__ = ["labels_from_foreign"]


def labels_from_foreign(labels: ArrayLike, *, shape: tuple[int, int]) -> Segmentation:
    """Check a label image and number its objects 1..n in the order of their ids.

    An id whose pixels are not connected (8 neighbours) is no one crystal: it is rejected, with the
    reason, and the others are kept.

    Parameters
    ----------
    labels
        ``(height, width)`` whole numbers: 0 background, one positive id per crystal. A boolean
        mask is no label image: crystals that touch could not be told apart.
    shape
        Height and width of the micrograph.

    Returns
    -------
    Segmentation
        Its polarity is "": nobody looked at the grey values.

    Raises
    ------
    InputError
        If the array is not a label image, has another shape, or negative or fractional ids.
    """
    array = check_labels(labels, shape=shape, what="crystals")
    ids, dense = np.unique(array, return_inverse=True)
    dense = dense.reshape(array.shape)
    if ids.size and ids[0] != 0:
        dense = dense + 1
        ids = np.concatenate([[0], ids])
    parts = connected(dense, background=0, connectivity=2)
    owner = np.zeros(int(parts.max(initial=0)) + 1, np.int64)
    owner[parts.ravel()] = dense.ravel()
    split = np.flatnonzero(np.bincount(owner[1:], minlength=ids.size)[1:] > 1) + 1
    return assemble(
        np.asarray(dense, np.int32),
        reasons={int(i): "one id in several separate places" for i in split},
        polarity="",
    )
