"""Label images of the network's looks: their sizes, full resolution, and where outlines lie."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

__all__ = ["at_full_size", "evidence", "sharpened", "typical_diameter"]

#: The grey levels change fastest where the logit of the probability is this much higher than at the
#: outline, on simulated crystals of 12 to 50 px under a blur of 0.6 to 2 px (0.7), and somewhat
#: more, because people draw outlines farther out: half the way between both.
_STEEPEST_INSIDE = 1.1
#: Steps of the logit in which the steepest place is looked for, and as far as that.
_LOGIT_STEP, _LOGIT_MOST = 0.5, 5.0
#: No outline is drawn where the network is surer than this.
_SUREST = 0.8
_GRADIENT_PX = 0.7


def evidence(labels: NDArray[np.int32], probability: NDArray[np.float32]) -> float:
    """How much speaks for a segmentation [px].

    The sum of the diameters, by how sure the network is: at a wrong scale nearly as much is found,
    but all of it is doubtful. By area a clump taken for one crystal would win, by number the
    fragments of one.

    Parameters
    ----------
    labels
        ``(height, width)`` crystals 1..n, 0 background.
    probability
        ``(height, width)`` probability of crystal.
    """
    area = np.bincount(labels.ravel())
    sure = np.bincount(labels.ravel(), probability.ravel()) / np.maximum(area, 1)
    return float((np.sqrt(area) * np.clip(2 * sure - 1, 0, 1) ** 4)[1:].sum())


def typical_diameter(labels: NDArray[np.int32]) -> float:
    """Size of the crystals that scales are chosen by [px]; NaN for no crystals.

    Of each crystal the geometric mean of its equivalent diameter and of the largest disc inside
    it: thin rods are separated by their width. Of all the one that half of the summed sizes
    belongs to larger ones: specks do not count.
    """
    area = np.bincount(labels.ravel())
    width = _widths_px(labels, area.size)
    size = np.sqrt(np.sqrt(4 / np.pi * area[1:]) * width[1:])
    size = np.sort(size[area[1:] > 0])
    if not size.size:
        return float("nan")
    share = np.cumsum(size) / size.sum()
    return float(size[np.searchsorted(share, 0.5)])


@njit(cache=True, nogil=True)
def _widths_px(labels, count):
    """Diameter of the largest disc in every label, within a tenth (3-4 chamfer distance).

    The edge of the image is no outline: beyond it a crystal goes on.
    """
    height, width = labels.shape
    third = np.full((height, width), 3 * (height + width), np.int32)
    widest = np.zeros(count, np.float64)
    for sweep in range(2):
        for i in range(height):
            y = i if sweep == 0 else height - 1 - i
            back = -1 if sweep == 0 else 1
            for j in range(width):
                x = j if sweep == 0 else width - 1 - j
                own = labels[y, x]
                if own == 0:
                    continue
                best = third[y, x]
                for k in range(4):
                    v = y if k == 0 else y + back
                    u = x + back if k == 0 else x + k - 2
                    if 0 <= v < height and 0 <= u < width:
                        step = 4 if k == 1 or k == 3 else 3
                        best = min(best, step + (third[v, u] if labels[v, u] == own else 0))
                third[y, x] = best
                if sweep == 1:
                    widest[own] = max(widest[own], 2 * best / 3 - 1)
    return widest


def at_full_size(
    labels: NDArray[np.int32],
    probability: NDArray[np.float32],
    *,
    shape: tuple[int, int],
    threshold: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Labels and probability of a resized image brought to the size of the image.

    The outline against the ground is drawn at full resolution from the probability.

    Parameters
    ----------
    labels, probability
        ``(h, w)`` of the resized image.
    shape
        ``(height, width)`` of the image.
    threshold
        Probability from which a pixel is crystal.

    Returns
    -------
    tuple
        Labels (int32) and probability (float32), ``(height, width)``.
    """
    if labels.shape == shape:
        return labels, probability
    with torch.inference_mode():
        smooth = functional.interpolate(
            torch.from_numpy(probability)[None, None],
            size=shape,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )[0, 0].numpy()
    out = np.zeros(shape, np.int32)
    _draw(labels, smooth, threshold, out)
    return out, smooth


@njit(cache=True, nogil=True)
def _draw(labels, probability, threshold, out):
    """Give every pixel above the threshold the nearest label that is a pixel away at most."""
    height, width = labels.shape
    scale_y, scale_x = height / out.shape[0], width / out.shape[1]
    for i in range(out.shape[0]):
        y = (i + 0.5) * scale_y - 0.5
        v0 = min(max(round(y), 0), height - 1)
        for j in range(out.shape[1]):
            if probability[i, j] < threshold:
                continue
            x = (j + 0.5) * scale_x - 0.5
            u0 = min(max(round(x), 0), width - 1)
            if labels[v0, u0] > 0:
                out[i, j] = labels[v0, u0]
                continue
            nearest = 1e9
            for v in range(max(v0 - 1, 0), min(v0 + 2, height)):
                for u in range(max(u0 - 1, 0), min(u0 + 2, width)):
                    away = (v - y) ** 2 + (u - x) ** 2
                    if labels[v, u] > 0 and away < nearest:
                        nearest = away
                        out[i, j] = labels[v, u]


def sharpened(
    labels: NDArray[np.int32],
    probability: NDArray[np.float32],
    grey: NDArray[np.float32],
    *,
    threshold: float,
) -> NDArray[np.int32]:
    """Outlines moved inwards where blur has made crystals larger.

    The network draws small crystals around all of their blurred edge. Over the whole image, the
    probability at which the grey levels change fastest tells where the edges are.

    Parameters
    ----------
    labels
        ``(height, width)`` crystals 1..n, drawn where the probability is above the threshold.
    probability
        ``(height, width)`` probability of crystal.
    grey
        ``(height, width)`` grey levels, any scale.
    threshold
        Probability at the outlines of the labels.

    Returns
    -------
    ndarray
        ``(height, width)`` int32. No crystal grows or vanishes.
    """
    logit = np.log(np.clip(probability, 1e-4, 1 - 1e-4))
    logit -= np.log1p(-np.clip(probability, 1e-4, 1 - 1e-4))
    near = ndimage.maximum_filter(labels > 0, 5) & (np.abs(logit) < _LOGIT_MOST)
    if not near.any():
        return labels
    steepness = ndimage.gaussian_gradient_magnitude(grey, _GRADIENT_PX)
    bins = np.rint((logit[near] + _LOGIT_MOST) / _LOGIT_STEP).astype(np.int64)
    count = int(2 * _LOGIT_MOST / _LOGIT_STEP) + 1
    total = np.bincount(bins, steepness[near], minlength=count)
    mean = total / np.maximum(np.bincount(bins, minlength=count), 1)
    mean = ndimage.convolve1d(mean, [0.25, 0.5, 0.25], mode="nearest")
    steepest = _LOGIT_STEP * (2 + int(np.argmax(mean[2:-2]))) - _LOGIT_MOST
    moved = 1 / (1 + np.exp(_STEEPEST_INSIDE - steepest))
    if moved <= threshold:
        return labels
    kept = probability >= min(moved, _SUREST)
    gone = np.bincount(labels.ravel(), kept.ravel()) == 0
    return np.where(kept | gone[labels], labels, 0).astype(np.int32)
