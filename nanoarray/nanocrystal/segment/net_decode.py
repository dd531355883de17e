"""From the maps of the segmentation network to crystals: seeded watershed and joining.

Every local maximum of the depth map is a seed. The watershed cuts the foreground among seeds, and
two neighbours are joined again where the ground between them is nearly as deep as the shallower of
the two and no contact line lies on it. Nothing here is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed


@dataclass(frozen=True)
class Decoding:
    """Settings of the decoding, chosen once for all images.

    Attributes
    ----------
    foreground
        Probability from which a pixel is crystal.
    saddle
        Two pieces are joined when the deepest pass between them is at least this share of the
        shallower piece's depth.
    line_weight
        How much a contact line lowers the ground.
    seed
        Least depth of a seed.
    smooth_px
        Standard deviation of the smoothing of the depth map.
    least_area_px
        Smaller pieces are dropped.
    least_probability
        Pieces whose mean probability is lower are dropped.
    """

    foreground: float = 0.35
    saddle: float = 0.5
    line_weight: float = 0.4
    seed: float = 0.25
    smooth_px: float = 1.5
    least_area_px: int = 9
    least_probability: float = 0.8


def decode(
    foreground: NDArray[np.float32],
    depth: NDArray[np.float32],
    contact: NDArray[np.float32],
    *,
    settings: Decoding | None = None,
) -> NDArray[np.int32]:
    """Crystals from the three maps of the network.

    Parameters
    ----------
    foreground, contact
        Probabilities of crystal and of contact line, ``(height, width)``.
    depth
        Depth inside a crystal, 0 at its outline to 1.
    settings
        Thresholds.

    Returns
    -------
    ndarray
        Labels 1..n, 0 background, int32.
    """
    use = settings or Decoding()
    inside = foreground >= use.foreground
    if not inside.any():
        return np.zeros(foreground.shape, np.int32)
    ground = np.clip(depth, 0, 1.2) * (1 - use.line_weight * contact)
    ground = ndimage.gaussian_filter(ground, use.smooth_px)
    peak = (ground >= ndimage.maximum_filter(ground, 3)) & inside & (ground >= use.seed)
    seeds, count = ndimage.label(peak, np.ones((3, 3)))
    if not count:
        return np.zeros(foreground.shape, np.int32)
    pieces = watershed(-ground, seeds, mask=inside).astype(np.int32)
    height = np.zeros(count + 1)
    height[1:] = ndimage.maximum(ground, seeds, np.arange(1, count + 1))
    first, second, saddle = _passes(pieces, ground.astype(np.float32))
    joined = _join(first, second, saddle, height, use.saddle)[pieces]
    return _tidy(joined, foreground, use)


def _passes(
    pieces: NDArray[np.int32], ground: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of neighbouring pieces and the deepest pass between them."""
    keys, values = [], []
    size = int(pieces.max()) + 1
    for axis in (0, 1):
        a = [slice(None)] * 2
        b = [slice(None)] * 2
        a[axis], b[axis] = slice(None, -1), slice(1, None)
        here, there = pieces[tuple(a)], pieces[tuple(b)]
        meet = (here != there) & (here > 0) & (there > 0)
        low = np.minimum(here[meet], there[meet]).astype(np.int64)
        high = np.maximum(here[meet], there[meet])
        keys.append(low * size + high)
        values.append(np.minimum(ground[tuple(a)][meet], ground[tuple(b)][meet]))
    key, value = np.concatenate(keys), np.concatenate(values).astype(np.float64)
    pairs, place = np.unique(key, return_inverse=True)
    deepest = np.zeros(len(pairs))
    np.maximum.at(deepest, place, value)
    order = np.argsort(-deepest, kind="stable")
    return pairs[order] // size, pairs[order] % size, deepest[order]


@njit(cache=True, nogil=True)
def _join(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    saddle: NDArray[np.float64],
    height: NDArray[np.float64],
    share: float,
) -> NDArray[np.int32]:
    """New label of every piece; passes come deepest first."""
    parent = np.arange(height.size)
    for k in range(first.size):
        a, b = first[k], second[k]
        while parent[a] != a:
            a = parent[a]
        while parent[b] != b:
            b = parent[b]
        if a != b and saddle[k] >= share * min(height[a], height[b]):
            keep, gone = (a, b) if height[a] >= height[b] else (b, a)
            parent[gone] = keep
    out = np.zeros(height.size, np.int32)
    for k in range(height.size):
        a = k
        while parent[a] != a:
            a = parent[a]
        out[k] = a
    return out


def _tidy(
    labels: NDArray[np.int32], foreground: NDArray[np.float32], use: Decoding
) -> NDArray[np.int32]:
    """Drop specks and doubtful pieces, and number the rest 1..n in order of their first pixel."""
    flat = labels.ravel()
    area = np.bincount(flat)
    sure = np.bincount(flat, foreground.ravel()) / np.maximum(area, 1)
    keep = (area >= use.least_area_px) & (sure >= use.least_probability)
    keep[0] = False
    kept = keep[flat]
    ids, first = np.unique(flat[kept], return_index=True)
    new = np.zeros(len(area), np.int32)
    new[ids[np.argsort(first)]] = np.arange(1, len(ids) + 1)
    return new[labels]
