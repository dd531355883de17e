"""Label images of other programs, or drawn by hand, in place of segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.measure import label as connected

from nanoarray.errors import InputError

__all__ = ["labels_from_foreign"]


def labels_from_foreign(labels: ArrayLike, *, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Check a label image and number its objects 1..n in the order of their ids.

    Parameters
    ----------
    labels
        ``(height, width)`` whole numbers: 0 background, one positive id per crystal. A boolean
        mask is no label image: crystals that touch could not be told apart.
    shape
        Height and width of the micrograph.

    Returns
    -------
    ndarray
        ``(height, width)`` int32, ids 1..n.

    Raises
    ------
    InputError
        If the array is not a label image, has another shape, negative or fractional ids, or ids
        whose pixels are not connected (8 neighbours).
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
    dense = np.asarray(dense, np.int32).reshape(array.shape)
    if ids.size and ids[0] != 0:
        dense = dense + np.int32(1)
        ids = np.concatenate([[0], ids])
    parts = connected(dense, background=0, connectivity=2)
    owner = np.zeros(int(parts.max(initial=0)) + 1, np.int64)
    owner[parts.ravel()] = dense.ravel()
    split = np.flatnonzero(np.bincount(owner[1:], minlength=ids.size)[1:] > 1) + 1
    if split.size:
        shown = ", ".join(f"{ids[i]:g}" for i in split[:5])
        raise InputError(
            f"{split.size} ids of the label image have pixels in several separate places "
            f"(ids {shown}{', ...' if split.size > 5 else ''}): give every crystal an id of its own"
        )
    return dense
