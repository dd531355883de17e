"""Segmentation of a micrograph by the network, at the scale that suits its crystals."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
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


@lru_cache(maxsize=2)
def _network(path: str | None) -> SegmentationNet:
    return load_network(path)


def predict_maps(
    pixels: NDArray[np.float32], *, scale: float = 1.0, weights: Path | str | None = None
) -> Maps:
    """Run the network at one scale.

    Parameters
    ----------
    pixels
        Normalized image ``(height, width)``, crystals dark.
    scale
        The image is resized by this factor first, and the maps back.
    weights
        Another weights file.

    Returns
    -------
    tuple
        Probability of crystal, depth, probability of contact line; ``(height, width)`` float32.
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
        maps = maps[:, :, : size[0], : size[1]].contiguous()
        if size != (height, width):
            maps = functional.interpolate(
                maps, size=(height, width), mode="bilinear", align_corners=False
            )
        maps[:, [0, 2]] = torch.sigmoid(maps[:, [0, 2]])
    foreground, depth, contact = maps[0].numpy()
    return foreground, depth, contact


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

    A first pass finds how large the crystals are; a second one looks at the image at the scale at
    which they have the size that the network separates best.

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
    if not np.isfinite(values).all():
        values = np.where(np.isfinite(values), values, np.median(values[np.isfinite(values)]))
    grey = normalized(values)
    first_scale = min(1.0, 640 / min(grey.shape))
    if polarity == "auto":
        polarity = find_polarity(grey, weights=weights)
    if polarity == "bright":
        grey = -grey
    maps = predict_maps(grey, scale=first_scale, weights=weights)
    labels = decode(*maps, settings=settings)
    diameter = typical_diameter(labels)
    if not np.isfinite(diameter):
        return labels, maps[0]
    scale = float(np.clip(TARGET_DIAMETER_PX / diameter, *_SCALES))
    if abs(np.log(scale / first_scale)) > 0.2:
        maps = predict_maps(grey, scale=scale, weights=weights)
        labels = decode(*maps, settings=settings)
    return labels, maps[0]


def find_polarity(
    grey: NDArray[np.float32], *, weights: Path | str | None = None
) -> Literal["dark", "bright"]:
    """Whether crystals are darker than the ground: the reading of which the network is surer."""
    scale = min(1.0, 256 / min(grey.shape))
    sure = []
    for sign in (1, -1):
        foreground, depth, _ = predict_maps(sign * grey, scale=scale, weights=weights)
        sure.append(float((np.clip(depth, 0, 1) * np.clip(2 * foreground - 1, 0, 1)).mean()))
    return "dark" if sure[0] >= 0.8 * sure[1] else "bright"
