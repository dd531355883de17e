"""Segmentation of a micrograph by the network, at the scale that suits its crystals."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.measure import regionprops
from skimage.segmentation import expand_labels, find_boundaries
from torch.nn import functional

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.net_decode import Decoding, decode
from nanoarray.nanocrystal.segment.net_model import STRIDE, SegmentationNet
from nanoarray.nanocrystal.segment.net_weights import load_network
from nanoarray.nanocrystal.segment.normalize import normalized

Polarity = Literal["auto", "dark", "bright"]
Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

#: The second pass brings the typical crystal to this diameter, within these scales.
TARGET_DIAMETER_PX = 30.0
_SCALES = (0.2, 2.0)
_POLARITY_SIDE_PX = 256
# Bright crystals must be this much more evident: most micrographs of crystals are bright-field.
_BRIGHT_FACTOR = 1.5
_LEAST_SIDE_PX = 64
# A pass at a scale that differs by less than this (logarithm) would see the same.
_SAME_SCALE = 0.25
# A look at the better scale is taken unless it finds clearly less.
_AS_GOOD = 0.9
#: The first pass looks at an image at most this wide, a later one at no more pixels than that.
FIRST_SIDE_PX = 640
MOST_PIXELS = 1.6e6


class _Look(NamedTuple):
    """Scale, maps of the network, crystals, and how much speaks for them."""

    scale: float
    maps: Maps
    labels: NDArray[np.int32]
    evidence: float


@lru_cache(maxsize=2)
def _network(path: str | None) -> SegmentationNet:
    return load_network(path)


def predict_maps(
    pixels: NDArray[np.float32], *, scale: float = 1.0, weights: Path | str | None = None
) -> Maps:
    """Run the network on an image resized by `scale`.

    Parameters
    ----------
    pixels
        Normalized image ``(height, width)``, crystals dark.
    scale
        The image is resized by this factor first.
    weights
        Another weights file.

    Returns
    -------
    tuple
        Probability of crystal, depth, probability of contact line, at the size of the resized
        image; float32.
    """
    net = _network(None if weights is None else str(weights))
    height, width = pixels.shape
    size = (max(round(height * scale), 8), max(round(width * scale), 8))
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
        if size != (height, width):
            image = functional.interpolate(
                image, size=size, mode="bilinear", antialias=True, align_corners=False
            )
        below, right = -size[0] % STRIDE, -size[1] % STRIDE
        # Reflection needs more image than it adds: tiny images are repeated at the edge instead.
        mode = "reflect" if below < size[0] and right < size[1] else "replicate"
        image = functional.pad(image, (0, right, 0, below), mode=mode)
        maps = net(image.contiguous(memory_format=torch.channels_last))
        foreground, depth, contact = maps[0, :, : size[0], : size[1]].contiguous()
        return torch.sigmoid(foreground).numpy(), depth.numpy(), torch.sigmoid(contact).numpy()


def _resized(
    labels: NDArray[np.int32],
    foreground: NDArray[np.float32],
    shape: tuple[int, int],
    threshold: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Labels and probability of a resized image brought to the size of the image.

    The outline against the ground is drawn at full resolution from the probability.
    """
    if labels.shape == shape:
        return labels, foreground
    with torch.inference_mode():
        smooth = functional.interpolate(
            torch.from_numpy(foreground)[None, None],
            size=shape,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )[0, 0].numpy()
    row = np.minimum((np.arange(shape[0]) + 0.5) * labels.shape[0] / shape[0], labels.shape[0] - 1)
    column = np.minimum(
        (np.arange(shape[1]) + 0.5) * labels.shape[1] / shape[1], labels.shape[1] - 1
    )
    grown = expand_labels(labels, 1.5)[np.ix_(row.astype(int), column.astype(int))]
    return np.where(smooth >= threshold, grown, 0).astype(np.int32), smooth


def typical_diameter(labels: NDArray[np.int32]) -> float:
    """Size of the crystals that scales are chosen by [px]; NaN for no crystals.

    Of each crystal the geometric mean of its equivalent diameter and of the largest disc inside
    it: thin rods are separated by their width. Of all the one that half of the summed sizes
    belongs to larger ones: specks do not count.
    """
    flat = labels.ravel()
    area = np.bincount(flat)
    inner = (labels > 0) & ~find_boundaries(labels, mode="inner")
    # The edge of the image is no outline: pixels beside it are inside.
    radius = np.zeros(len(area))
    np.maximum.at(radius, flat, ndimage.distance_transform_edt(inner).ravel())
    size = np.sqrt(np.sqrt(4 / np.pi * area[1:]) * (2 * radius[1:] + 1))
    size = np.sort(size[area[1:] > 0])
    if not size.size:
        return float("nan")
    share = np.cumsum(size) / size.sum()
    return float(size[np.searchsorted(share, 0.5)])


def segment_with_network(
    pixels: ArrayLike,
    *,
    polarity: Polarity = "auto",
    settings: Decoding | None = None,
    weights: Path | str | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Label the crystals of a micrograph.

    A first look at three scales finds how large the crystals are; another one at the scale at which
    they have the size that the network separates best, and once more where that was far off.

    Parameters
    ----------
    pixels
        Image ``(height, width)``.
    polarity
        Whether crystals are darker or brighter than their surroundings, or found out.
    settings
        Thresholds of the decoding.
    weights
        Another weights file than that of the package.

    Returns
    -------
    tuple
        Labels 1..n, 0 background, int32; probability of crystal, float32.

    Raises
    ------
    InputError
        If the image is not two-dimensional, or the weights cannot be used.

    Notes
    -----
    The same image gives the same labels on the same machine and number of threads. Sums of other
    lengths differ in the last bits between processors and thread numbers, which can move single
    pixels of an outline.
    """
    values = np.asarray(pixels, np.float32)
    if values.ndim != 2 or min(values.shape) < 8:
        raise InputError(
            f"an image of shape {values.shape} cannot be segmented: pass (y, x) pixels"
        )
    finite = np.isfinite(values)
    if not finite.any():
        raise InputError("an image with no finite pixel cannot be segmented")
    if not finite.all():
        values = np.where(finite, values, np.median(values[finite]))
    use = settings or Decoding()
    grey = normalized(values)
    if polarity == "auto":
        polarity = find_polarity(grey, weights=weights)
    if polarity == "bright":
        grey = -grey
    first = min(1.0, FIRST_SIDE_PX / min(grey.shape))
    least = _LEAST_SIDE_PX / min(grey.shape)
    scales = [first, *(s for s in (first / 2, first / 4) if s >= least)]
    best = max((_look(grey, s, use, weights) for s in scales), key=lambda look: look.evidence)
    highest = min(_SCALES[1], float(np.sqrt(MOST_PIXELS / grey.size)))
    for _ in range(2):
        size = typical_diameter(best.labels) / best.scale
        if not np.isfinite(size):
            break
        better = float(np.clip(TARGET_DIAMETER_PX / size, _SCALES[0], highest))
        if abs(np.log(better / best.scale)) < _SAME_SCALE:
            break
        another = _look(grey, better, use, weights)
        if another.evidence < _AS_GOOD * best.evidence:
            break
        best = another
    return _resized(best.labels, best.maps[0], (grey.shape[0], grey.shape[1]), use.foreground)


def _look(
    grey: NDArray[np.float32], scale: float, settings: Decoding, weights: Path | str | None
) -> _Look:
    """What the network finds at one scale.

    The evidence is what is found, and how sure the network is of it: at a wrong scale nearly as
    much is found, but all of it is doubtful. Crystals count by their diameter: by area a clump
    taken for one crystal would win, by number the fragments of one.
    """
    maps = predict_maps(grey, scale=scale, weights=weights)
    labels = decode(*maps, settings=settings)
    area = np.bincount(labels.ravel())
    sure = np.bincount(labels.ravel(), maps[0].ravel()) / np.maximum(area, 1)
    counted = np.sqrt(area) * np.clip(2 * sure - 1, 0, 1) ** 4
    return _Look(scale, maps, labels, float(counted[1:].sum()) / scale)


def find_polarity(
    grey: NDArray[np.float32], *, weights: Path | str | None = None
) -> Literal["dark", "bright"]:
    """Whether crystals are darker than the ground.

    Both readings are tried on a small version of the image. Of the ground between crystals the
    network makes few, doubtful and concave pieces; of crystals many, sure and convex ones.
    """
    scale = min(1.0, _POLARITY_SIDE_PX / min(grey.shape))
    found = []
    for sign in (1, -1):
        maps = predict_maps(sign * grey, scale=scale, weights=weights)
        labels = decode(*maps)
        evidence = 0.0
        for piece in regionprops(labels, intensity_image=maps[0]):
            top, left, bottom, right = piece.bbox
            if min(bottom - top, right - left) < 3:
                continue  # a line has no convex hull
            convex = max(piece.solidity - 0.7, 0) / 0.3
            sure = max(piece.intensity_mean - 0.6, 0) / 0.4
            evidence += float(np.sqrt(piece.area)) * convex * sure
        found.append(evidence)
    return "dark" if _BRIGHT_FACTOR * found[0] >= found[1] else "bright"
