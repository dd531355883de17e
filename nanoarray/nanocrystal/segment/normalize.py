"""Grey levels as the segmentation network sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def normalized(pixels: ArrayLike) -> NDArray[np.float32]:
    """Stretch an image so that its 1st and 99th percentile are -1 and 1.

    Parameters
    ----------
    pixels
        Image ``(height, width)`` of any numeric type.

    Returns
    -------
    ndarray
        float32 within -2 to 2; zeros where the image is constant.
    """
    values = np.asarray(pixels, np.float32)
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.float32)
    return np.clip((values - low) * (2 / (high - low)) - 1, -2, 2).astype(np.float32)
