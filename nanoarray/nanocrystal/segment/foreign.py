"""Label images of other programs, or drawn by hand, in place of segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from skimage.measure import label as connected

from nanoarray.errors import InputError
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
    array = np.asarray(labels)
    if array.shape != tuple(shape):
        raise InputError(
            f"the label image has shape {array.shape}, the micrograph {tuple(shape)} "
            "(height, width): give one integer per pixel, without colour channels or borders"
        )
    if array.dtype == bool:
        raise InputError(
            "the label image is a mask of true and false: number the crystals 1..n "
            "(for example with skimage.measure.label)"
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            raise InputError("the label image has fractional or missing ids: use whole numbers")
    elif array.dtype.kind not in "iu":
        raise InputError(f"the label image has type {array.dtype}: use whole numbers")
    if array.size and array.min() < 0:
        raise InputError(
            f"the label image has the negative id {array.min():g}: 0 is background, crystals are "
            "positive"
        )
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
