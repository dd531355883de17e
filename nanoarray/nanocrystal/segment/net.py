"""Segmentation of a micrograph by the network, at the scale that suits its crystals."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skimage.measure import regionprops
from skimage.segmentation import expand_labels
from torch.nn import functional

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.net_decode import Decoding, decode
from nanoarray.nanocrystal.segment.net_model import STRIDE, SegmentationNet
from nanoarray.nanocrystal.segment.net_weights import load_network
from nanoarray.nanocrystal.segment.normalize import normalized

Polarity = Literal["auto", "dark", "bright"]
Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

#: The second pass brings the typical crystal to this diameter, within these scales.
TARGET_DIAMETER_PX = 32.0
_SCALES = (0.2, 2.0)
_POLARITY_SIDE_PX = 256
_LEAST_SIDE_PX = 64
# A pass at a scale that differs by less than this (logarithm) would see the same.
_SAME_SCALE = 0.25
#: The first pass looks at an image at most this wide, a later one at no more pixels than that.
FIRST_SIDE_PX = 640
MOST_PIXELS = 1.6e6


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
    """Diameter that half of the crystals' perimeter belongs to larger ones [px]; NaN for none."""
    area = np.bincount(labels.ravel())[1:]
    diameter = np.sort(np.sqrt(4 / np.pi * area[area > 0]))
    if not diameter.size:
        return float("nan")
    share = np.cumsum(diameter) / diameter.sum()
    return float(diameter[np.searchsorted(share, 0.5)])


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
    scale, maps, labels = _first_look(grey, use, weights)
    highest = min(_SCALES[1], float(np.sqrt(MOST_PIXELS / grey.size)))
    for _ in range(2):
        diameter = typical_diameter(labels) / scale
        if not np.isfinite(diameter):
            break
        better = float(np.clip(TARGET_DIAMETER_PX / diameter, _SCALES[0], highest))
        if abs(np.log(better / scale)) < _SAME_SCALE:
            break
        scale = better
        maps = predict_maps(grey, scale=scale, weights=weights)
        labels = decode(*maps, settings=use)
    return _resized(labels, maps[0], (grey.shape[0], grey.shape[1]), use.foreground)


def _first_look(
    grey: NDArray[np.float32], settings: Decoding, weights: Path | str | None
) -> tuple[float, Maps, NDArray[np.int32]]:
    """The scale, out of three, at which most is found and the network is surest of it.

    Crystals count by their diameter: by area a clump taken for one crystal would win, by number
    the fragments of one.
    """
    best = None
    most = -1.0
    for reduction in (1.0, 0.5, 0.25):
        scale = min(1.0, FIRST_SIDE_PX / min(grey.shape)) * reduction
        if reduction < 1 and scale * min(grey.shape) < _LEAST_SIDE_PX:
            break
        maps = predict_maps(grey, scale=scale, weights=weights)
        labels = decode(*maps, settings=settings)
        area = np.bincount(labels.ravel())
        sure = np.bincount(labels.ravel(), maps[0].ravel()) / np.maximum(area, 1)
        # A high power: at a wrong scale nearly as much is found, but all of it is doubtful.
        found = float((np.sqrt(area) * np.clip(2 * sure - 1, 0, 1) ** 4)[1:].sum()) / scale
        if found > most:
            best, most = (scale, maps, labels), found
    assert best is not None
    return best


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
    return "dark" if found[0] >= found[1] else "bright"
