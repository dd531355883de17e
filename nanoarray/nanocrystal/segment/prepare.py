"""From the pixels of a micrograph to a depth image: crystals high, range 0 to 1, noise known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.errors import ImageError

__all__ = ["Prepared", "prepare_image"]

#: Widths of the smoothing, from the one that only removes pixel noise up. The first whose remaining
#: noise is small against the contrast is taken: more would round the corners of crystals.
_SMOOTHING_PX = (0.8, 1.2, 1.8)
_NOISE_GOAL = 0.035
_BLOCK_PX = 32
#: Percentile of the darkness that counts as the darkest crystals; where there are so few that the
#: second is this many times further from the middle, the second.
_DARK, _DARKEST, _FEW = 99.8, 99.98, 2.5
#: White noise keeps six tenths of its spread in the fine texture after the smoothing, a micrograph
#: with crystals a third at most. Crystals stand out of the noise by more than this many of its
#: standard deviations somewhere: pure noise exceeds 5.5 once in 50 million pixels.
_ONLY_NOISE, _STANDS_OUT = 0.5, 6.0


@dataclass(frozen=True)
class Prepared:
    """A depth image.

    Attributes
    ----------
    depth
        ``(height, width)`` float32, 0 at the 99th percentile of the brightness (of the darkness
        for bright crystals), 1 at the darkest crystals.
    noise
        Standard deviation of what is left of the noise, on the same scale.
    smoothing_px
        Standard deviation of the Gaussian that was applied.
    only_noise
        Whether nothing stands out of the noise.
    """

    depth: NDArray[np.float32]
    noise: float
    smoothing_px: float
    only_noise: bool


def prepare_image(pixels: NDArray, *, polarity: str) -> Prepared:
    """Adjust the contrast and filter the noise.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values.
    polarity
        ``"dark"`` or ``"bright"`` crystals.

    Returns
    -------
    Prepared

    Raises
    ------
    ImageError
        If the image has no contrast.
    """
    grey = pixels.astype(np.float32)
    if polarity == "dark":
        grey = -grey
    for smoothing_px in _SMOOTHING_PX:
        smooth = ndimage.gaussian_filter(grey, smoothing_px)
        low, high = _range(smooth)
        depth = ((smooth - low) / (high - low)).astype(np.float32)
        noise = _noise(depth)
        if noise <= _NOISE_GOAL:
            break
    return Prepared(depth, noise, smoothing_px, _is_only_noise(depth, noise))


def _is_only_noise(depth: NDArray[np.float32], noise: float) -> bool:
    spread = float(depth.std())
    farthest = float((depth.max() - np.median(depth)) / spread)
    return noise > _ONLY_NOISE * spread and farthest < _STANDS_OUT


def _range(smooth: NDArray[np.float32]) -> tuple[float, float]:
    """Grey levels of the clear background and of the darkest crystals."""
    low, middle, high, highest = np.percentile(smooth, [1, 50, _DARK, _DARKEST])
    if highest - middle > _FEW * (high - middle):  # so few crystals that the first missed them
        high = highest
    if not high > low:
        low, high = smooth.min(), smooth.max()
    if not high > low:
        raise ImageError("the image has no contrast: all its pixels have the same value")
    return float(low), float(high)


def _noise(depth: NDArray[np.float32]) -> float:
    """Spread of the fine texture in the quieter part of the image."""
    texture = np.abs(depth - ndimage.gaussian_filter(depth, 3))
    rows, columns = (max(n // _BLOCK_PX, 1) for n in depth.shape)
    height, width = depth.shape[0] // rows, depth.shape[1] // columns
    blocks = texture[: rows * height, : columns * width].reshape(rows, height, columns, width)
    middle = np.median(blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1), axis=1)
    return float(1.4826 * np.percentile(middle, 30))
