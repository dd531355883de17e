"""Windows of a resized image, each as the whole resized image has it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nanoarray.fields.windows import Window


def resized_window(
    read: Callable[[Window], NDArray[np.float32]],
    window: Window,
    *,
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> NDArray[np.float32]:
    """A window of an image that was resized by linear interpolation, without aliasing.

    Parameters
    ----------
    read
        Gives a window of the image.
    window
        Of the resized image.
    before, after
        Height and width of the image and of the resized one.
    """
    if tuple(before) == tuple(after):
        return read(window)
    (rows, down), (columns, across) = (
        axis_weights(s, n, m) for s, n, m in zip(window, before, after, strict=True)
    )
    return np.asarray(down @ read((rows, columns)) @ across.T, np.float32)


def axis_weights(span: slice, before: int, after: int) -> tuple[slice, NDArray[np.float32]]:
    """The pixels that a part of a resized axis depends on, and their weights, (part, pixels)."""
    ratio = before / after
    reach = max(ratio, 1.0)
    centre = (np.arange(span.start, span.stop) + 0.5) * ratio - 0.5
    first = max(int(np.floor(centre[0] - reach)), 0)
    last = min(int(np.ceil(centre[-1] + reach)) + 1, before)
    away = np.abs(np.arange(first, last)[None, :] - np.clip(centre, 0, before - 1)[:, None])
    weight = np.maximum(1.0 - away / reach, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    return slice(first, last), weight.astype(np.float32)
