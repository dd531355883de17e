"""Label images of the network's looks: their sizes, full resolution, and where outlines lie."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from nanoarray.fields.windows import Window
from nanoarray.nanocrystal.segment.resized import resized_window

__all__ = [
    "at_full_size",
    "draw_window",
    "evidence",
    "outline_probability",
    "sharpened",
    "typical_diameter",
]

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
    ratios = labels.shape[0] / shape[0], labels.shape[1] / shape[1]
    _draw(labels, smooth, threshold, ratios, (0, 0), (0, 0), out)
    return out, smooth


def draw_window(
    labels: NDArray[np.int32],
    probability: NDArray[np.float32],
    *,
    origin: tuple[int, int],
    before: tuple[int, int],
    window: Window,
    after: tuple[int, int],
    threshold: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """`at_full_size` of a window, from a field of the resized image.

    Parameters
    ----------
    labels, probability
        The field, a few pixels wider than the window.
    origin
        Where it begins in the resized image.
    before, after
        Height and width of the resized image, and of the image.
    window
        Of the image.
    threshold
        Probability from which a pixel is crystal.
    """
    top, left = origin
    if before == after:
        part = (
            slice(window[0].start - top, window[0].stop - top),
            slice(window[1].start - left, window[1].stop - left),
        )
        return labels[part], probability[part]
    smooth = resized_window(
        lambda w: probability[
            w[0].start - top : w[0].stop - top, w[1].start - left : w[1].stop - left
        ],
        window,
        before=before,
        after=after,
    )
    out = np.zeros(smooth.shape, np.int32)
    ratios = before[0] / after[0], before[1] / after[1]
    _draw(labels, smooth, threshold, ratios, origin, (window[0].start, window[1].start), out)
    return out, smooth


@njit(cache=True, nogil=True)
def _draw(labels, probability, threshold, ratios, origin, start, out):
    """Give every pixel above the threshold the nearest label that is a pixel away at most.

    Labels begin at `origin` of the resized image, `out` at `start` of the image.
    """
    height, width = labels.shape
    scale_y, scale_x = ratios
    for i in range(out.shape[0]):
        y = (start[0] + i + 0.5) * scale_y - 0.5 - origin[0]
        v0 = min(max(round(y), 0), height - 1)
        for j in range(out.shape[1]):
            if probability[i, j] < threshold:
                continue
            x = (start[1] + j + 0.5) * scale_x - 0.5 - origin[1]
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
    outline = outline_probability(labels, probability, grey, threshold=threshold)
    if outline <= threshold:
        return labels
    kept = probability >= outline
    gone = np.bincount(labels.ravel(), kept.ravel()) == 0
    return np.where(kept | gone[labels], labels, 0).astype(np.int32)


def outline_probability(
    labels: NDArray[np.int32],
    probability: NDArray[np.float32],
    grey: NDArray[np.float32],
    *,
    threshold: float,
) -> float:
    """Probability of crystal where the grey levels of an image change fastest.

    Parameters as for `sharpened`; never below the threshold.
    """
    count = int(2 * _LOGIT_MOST / _LOGIT_STEP) + 1
    slopes = _slope_weights(_GRADIENT_PX)
    number, total = _steepness_by_logit(labels, probability, grey, slopes, count)
    if not number.any():
        return threshold
    mean = total / np.maximum(number, 1)
    mean = ndimage.convolve1d(mean, [0.25, 0.5, 0.25], mode="nearest")
    steepest = _LOGIT_STEP * (2 + int(np.argmax(mean[2:-2]))) - _LOGIT_MOST
    moved = 1 / (1 + np.exp(_STEEPEST_INSIDE - steepest))
    return float(min(moved, _SUREST)) if moved > threshold else threshold


def _slope_weights(sigma_px: float) -> NDArray[np.float32]:
    """Weights of a derivative of a Gaussian down the rows; across the columns, its transpose."""
    reach = int(4 * sigma_px + 0.5)
    impulse = np.zeros((2 * reach + 1, 2 * reach + 1))
    impulse[reach, reach] = 1
    return ndimage.gaussian_filter(impulse, sigma_px, order=(1, 0)).astype(np.float32)


@njit(cache=True, nogil=True)
def _steepness_by_logit(labels, probability, grey, slopes, count):
    """Number of pixels near crystals by the logit of their probability, and their summed slope.

    The gradient is computed where it counts: for most of an image the network is sure.
    """
    height, width = labels.shape
    reach = slopes.shape[0] // 2
    number, total = np.zeros(count, np.int64), np.zeros(count, np.float64)
    least = 1 / (1 + np.exp(_LOGIT_MOST))
    for y in range(height):
        for x in range(width):
            p = probability[y, x]
            if not least < p < 1 - least:
                continue
            near = False
            for v in range(max(y - 2, 0), min(y + 3, height)):
                for u in range(max(x - 2, 0), min(x + 3, width)):
                    near = near or labels[v, u] > 0
            if not near:
                continue
            down, across = np.float32(0), np.float32(0)
            for i in range(-reach, reach + 1):
                v = _mirrored(y + i, height)
                for j in range(-reach, reach + 1):
                    here = grey[v, _mirrored(x + j, width)]
                    down += slopes[reach + i, reach + j] * here
                    across += slopes[reach + j, reach + i] * here
            k = round((np.log(p / (1 - p)) + _LOGIT_MOST) / _LOGIT_STEP)
            number[k] += 1
            total[k] += np.hypot(down, across)
    return number, total


@njit(cache=True, nogil=True)
def _mirrored(i, length):
    """Place of a pixel beyond the edge of an image, mirrored at the edge."""
    if i < 0:
        i = -1 - i
    if i >= length:
        i = 2 * length - 1 - i
    return min(max(i, 0), length - 1)
