"""Take an uneven background out, where there is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["flatten_background"]

#: Blocks per side in which the background is looked for, and the order of the surface through them.
_BLOCKS = 12
_ORDER = 2
#: Part of the contrast that the background must vary by to be taken out. Below it the correction
#: costs more than it brings: a component tree does not mind slow changes.
_LEAST_VARIATION = 0.35
#: Part of the blocks that must fit the surface: a dense field has no background to fit.
_LEAST_FIT = 0.5


def flatten_background(pixels: NDArray, *, polarity: str) -> NDArray[np.float32]:
    """Subtract a smooth surface through the background if it varies strongly.

    The background is the brightest tenth (darkest for bright crystals) of each block; blocks that
    crystals cover lie off the surface and are left out of the fit, which is repeated without them.

    Parameters
    ----------
    pixels
        ``(height, width)`` grey values.
    polarity
        ``"dark"`` or ``"bright"`` crystals.

    Returns
    -------
    ndarray
        float32 image; the same values where nothing had to be done.
    """
    grey = pixels.astype(np.float32)
    sign = 1.0 if polarity == "dark" else -1.0
    height, width = grey.shape
    if min(height, width) < 4 * _BLOCKS:
        return grey
    smooth = sign * ndimage.uniform_filter(grey, 3)
    rows, columns = height // _BLOCKS, width // _BLOCKS
    blocks = smooth[: rows * _BLOCKS, : columns * _BLOCKS]
    blocks = blocks.reshape(_BLOCKS, rows, _BLOCKS, columns).transpose(0, 2, 1, 3)
    bright = np.percentile(blocks.reshape(_BLOCKS, _BLOCKS, -1), 90, axis=2).ravel()
    at = (np.arange(_BLOCKS) + 0.5) * 2 / _BLOCKS - 1
    v, u = (a.ravel() for a in np.meshgrid(at, at, indexing="ij"))
    contrast = float(np.subtract(*np.percentile(smooth, [99, 1])))
    use = np.ones(bright.size, bool)
    for _ in range(5):
        fit, *_ = np.linalg.lstsq(_terms(v[use], u[use]), bright[use], rcond=None)
        rest = bright - _terms(v, u) @ fit
        use = np.abs(rest) < 0.1 * contrast
        if use.mean() < _LEAST_FIT:
            return grey
    surface = _terms(v, u) @ fit
    if np.ptp(surface) < _LEAST_VARIATION * contrast:
        return grey
    y = (np.arange(height) + 0.5) * 2 / height - 1
    x = (np.arange(width) + 0.5) * 2 / width - 1
    full = sum(c * np.multiply.outer(y**i, x**j) for c, (i, j) in zip(fit, _powers(), strict=True))
    return (grey - sign * (full - surface.max())).astype(np.float32)


def _powers() -> list[tuple[int, int]]:
    return [(i, j) for i in range(_ORDER + 1) for j in range(_ORDER + 1 - i)]


def _terms(v: NDArray, u: NDArray) -> NDArray[np.float64]:
    return np.stack([v**i * u**j for i, j in _powers()], axis=1)
