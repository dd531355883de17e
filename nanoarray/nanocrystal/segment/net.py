"""Segmentation of a micrograph by the network, at the scale that suits its crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.net_decode import Decoded, Decoding, decode
from nanoarray.nanocrystal.segment.net_labels import (
    at_full_size,
    evidence,
    outline_probability,
    sharpened,
    typical_diameter,
)
from nanoarray.nanocrystal.segment.net_maps import Maps, predict_maps
from nanoarray.nanocrystal.segment.normalize import normalized

__all__ = ["Look", "NetworkResult", "Polarity", "look_at", "segment_with_network"]

Polarity = Literal["auto", "dark", "bright"]

#: The shorter side of the image in the first look, which tells dark from bright crystals, and in
#: the second, where the first is in doubt.
_FIRST_PX, _SECOND_PX = 256, 640
#: Bright crystals must be this many times more evident than dark ones: most micrographs of crystals
#: are bright-field. The ground between dark crystals reaches 0.2 times their evidence at most, on
#: 60 published micrographs but one.
_BRIGHT_FACTOR = 3.0
#: Evidence below this part of the shorter side may be noise, or crystals too small to be seen.
_DOUBTFUL = 0.3
#: Looks bring the typical crystal to this diameter.
_TARGET_PX = 32.0
#: A look at a scale that differs by less than this (logarithm) would see the same.
_SAME_SCALE = 0.35
#: Where nothing is found the next look is this much closer.
_CLOSER = 2.5
#: A look is better than the last one unless it finds clearly less.
_AS_GOOD = 0.9
_MOST_LOOKS = 4
#: Images are not reduced more than this, nor enlarged more, nor to more pixels than that unless
#: they have them.
_LEAST_SCALE, _MOST_SCALE = 0.05, 2.0
_MOST_PIXELS = 1.6e6


class NetworkResult(NamedTuple):
    """What the network found.

    ``labels``: crystals; ``probability`` of crystal; their ``polarity``; ``doubtful``: pieces that
    the network is not sure of, on other pixels than the crystals.
    """

    labels: NDArray[np.int32]
    probability: NDArray[np.float32]
    polarity: Literal["dark", "bright"]
    doubtful: NDArray[np.int32]


class _Look(NamedTuple):
    """Scale, sign of the grey levels, maps of the network, what is in them, what speaks for it."""

    scale: float
    sign: int
    maps: Maps
    found: Decoded
    evidence_px: float


def segment_with_network(
    pixels: ArrayLike,
    *,
    polarity: Polarity = "auto",
    settings: Decoding | None = None,
    weights: Path | str | None = None,
) -> NetworkResult:
    """Label the crystals of a micrograph.

    A first look at the reduced image finds whether the crystals are dark or bright, and how large;
    others follow at the scale at which they have the size that the network separates best, as long
    as they find as much.

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
    NetworkResult
        Labels 1..n, 0 background, int32; probability of crystal, float32; polarity; doubtful
        pieces 1..m, int32.

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
    grey = normalized(_finite(np.asarray(pixels, np.float32)))
    use = settings or Decoding()
    best = _best_look(grey, polarity, use, weights)
    shape = (grey.shape[0], grey.shape[1])
    labels, probability = at_full_size(
        best.found.labels, best.maps[0], shape=shape, threshold=use.foreground
    )
    doubtful = best.found.doubtful
    if doubtful.any():
        doubtful, _ = at_full_size(doubtful, best.maps[0], shape=shape, threshold=use.foreground)
        doubtful = np.where(labels > 0, np.int32(0), doubtful)
    elif doubtful.shape != shape:
        doubtful = np.zeros(shape, np.int32)
    labels = sharpened(labels, probability, grey, threshold=use.foreground)
    return NetworkResult(labels, probability, "dark" if best.sign > 0 else "bright", doubtful)


class Look(NamedTuple):
    """How an image is to be looked at: by what was found in a sample of it.

    ``scale`` of the resized image; ``sign`` of its grey levels, 1 where crystals are dark;
    ``outline``: probability at the outlines of crystals; ``polarity``: ``"dark"`` or ``"bright"``.
    """

    scale: float
    sign: int
    outline: float
    polarity: Literal["dark", "bright"]


def look_at(sample: NDArray[np.float32], *, polarity: Polarity) -> Look:
    """Find out how an image is to be looked at, from a normalized sample of it.

    Crystals are not enlarged: what the sample costs, the image would cost many times.
    """
    use = Decoding()
    best = _best_look(sample, polarity, use, None, most_scale=1.0)
    labels, probability = at_full_size(
        best.found.labels,
        best.maps[0],
        shape=(sample.shape[0], sample.shape[1]),
        threshold=use.foreground,
    )
    outline = outline_probability(labels, probability, sample, threshold=use.foreground)
    return Look(best.scale, best.sign, outline, "dark" if best.sign > 0 else "bright")


def _best_look(
    grey: NDArray[np.float32],
    polarity: Polarity,
    settings: Decoding,
    weights: Path | str | None,
    *,
    most_scale: float = _MOST_SCALE,
) -> _Look:
    """The look at the scale and with the sign that show most."""

    def look(scale: float, sign: int) -> _Look:
        maps = predict_maps(grey if sign > 0 else -grey, scale=scale, weights=weights)
        found = decode(*maps, settings=settings)
        return _Look(scale, sign, maps, found, evidence(found.labels, maps[0]) / scale)

    side = min(grey.shape)
    signs = {"dark": (1,), "bright": (-1,), "auto": (1, -1)}[polarity]
    looks = [look(min(1.0, _FIRST_PX / side), sign) for sign in signs]
    if _in_doubt(looks, side) and side > _FIRST_PX:
        looks += [look(min(1.0, _SECOND_PX / side), sign) for sign in signs]
    sign = _likelier_sign(looks)
    best = max((one for one in looks if one.sign == sign), key=lambda one: one.evidence_px)
    highest = min(most_scale, max(float(np.sqrt(_MOST_PIXELS / grey.size)), 1.0))
    for _ in range(_MOST_LOOKS):
        size_px = typical_diameter(best.found.labels) / best.scale
        closer = _TARGET_PX / size_px if np.isfinite(size_px) else _CLOSER * best.scale
        scale = float(np.clip(closer, _LEAST_SCALE, highest))
        if abs(np.log(scale / best.scale)) < _SAME_SCALE:
            break
        another = look(scale, sign)
        if another.evidence_px < _AS_GOOD * best.evidence_px:
            break
        best = another
    return best


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image with missing pixels at the median."""
    if values.ndim != 2 or min(values.shape) < 8:
        raise InputError(
            f"an image of shape {values.shape} cannot be segmented: pass (y, x) pixels"
        )
    finite = np.isfinite(values)
    if finite.all():
        return values
    if not finite.any():
        raise InputError("an image with no finite pixel cannot be segmented")
    return np.where(finite, values, np.median(values[finite]))


def _most_evidence(looks: list[_Look], sign: int) -> float:
    return max((one.evidence_px for one in looks if one.sign == sign), default=0.0)


def _in_doubt(looks: list[_Look], side_px: int) -> bool:
    """Whether little is found, or neither polarity clearly wins."""
    low, high = sorted(_most_evidence(looks, sign) for sign in (1, -1))
    return high < _DOUBTFUL * side_px or low * _BRIGHT_FACTOR > high


def _likelier_sign(looks: list[_Look]) -> int:
    dark, bright = (_most_evidence(looks, sign) for sign in (1, -1))
    if all(one.sign < 0 for one in looks):
        return -1
    only_dark = all(one.sign > 0 for one in looks)
    return 1 if only_dark or bright <= _BRIGHT_FACTOR * dark else -1
