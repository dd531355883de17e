"""Segmentation without a network: nested regions of all grey levels, cut at their necks.

The steps are those of the paper (contrast, filter, threshold, erosion, watershed, rebuilding,
filling of holes), with one change: no threshold and no erosion depth is chosen for the image. All
levels and all necks give candidates, and the set of candidates that fits crystals best is taken. So
faint crystals are found beside black ones, a crystal crossed by bend contours stays whole because
the whole is a better crystal than its fragments, and a gap in a ring of crystals stays a gap.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.nanocrystal.segment.background import flatten_background
from nanoarray.nanocrystal.segment.candidates import (
    CANDIDATE_NUMBERS,
    Candidates,
    find_candidates,
    no_candidates,
)
from nanoarray.nanocrystal.segment.component_tree import build_component_tree
from nanoarray.nanocrystal.segment.outline import grow_outlines
from nanoarray.nanocrystal.segment.prepare import prepare_image
from nanoarray.nanocrystal.segment.quality import (
    LEAST_QUALITY,
    NetworkResult,
    QualityModel,
    load_quality_model,
    predict_quality,
)
from nanoarray.nanocrystal.segment.select import select_candidates

__all__ = ["QUALITY_WEIGHTS", "choose_crystals", "image_candidates", "segment_classical"]

QUALITY_WEIGHTS = Path(__file__).parents[1] / "weights" / "region_quality.safetensors"

#: Grey levels of the component tree, over this range of the depth: half a percent each is finer
#: than the noise of any micrograph.
_LEVELS = 128
_DEPTH_RANGE = (-0.2, 1.2)
#: Least area of a crystal: below 3 x 3 pixels there is no outline to judge.
_LEAST_PX = 9
#: A branch must stand this many standard deviations of the noise above its surroundings, within
#: limits: less than 4 % of the contrast cannot be seen, more than 12 % can be at any noise.
_BRANCH_NOISE = 2.5
_BRANCH_HEIGHT = (0.04, 0.12)
#: A cut is tried where both sides are this much wider than the neck.
_NECK_PX = 0.75
_SPLIT_BELOW_SOLIDITY = 0.97
#: A region inside another with at least this part of its area is the same crystal, and is taken
#: instead where its outline is this many times sharper all around.
_SAME_CRYSTAL, _WITHIN, _FAR_SHARPER = 0.5, 0.95, 8.0
#: How far the network may move an outline outwards: past the blur of an edge.
_REACH_PX = 3.0


def image_candidates(pixels: NDArray, *, polarity: str) -> tuple[Candidates, float]:
    """Candidates of an image, and the noise of its depth image.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values.
    polarity
        ``"dark"`` or ``"bright"`` crystals.

    Returns
    -------
    Candidates, float

    Raises
    ------
    ImageError
        If the image has no contrast.
    """
    prepared = prepare_image(flatten_background(pixels, polarity=polarity), polarity=polarity)
    if prepared.only_noise:
        return no_candidates(), prepared.noise
    depth = prepared.depth
    low, high = _DEPTH_RANGE
    scale = _LEVELS / (high - low)
    levels = np.clip((depth - low) * scale, 0, _LEVELS - 1).astype(np.uint8)
    gradient = np.hypot(
        ndimage.gaussian_filter(depth, 0.7, order=(0, 1)),
        ndimage.gaussian_filter(depth, 0.7, order=(1, 0)),
    )
    height = float(np.clip(_BRANCH_NOISE * prepared.noise, *_BRANCH_HEIGHT))
    candidates = find_candidates(
        build_component_tree(levels, edge_weight=gradient),
        depth,
        least_px=_LEAST_PX,
        most_px=pixels.size // 2,
        height_levels=int(np.ceil(height * scale)),
        neck_px=_NECK_PX,
        split_below=_SPLIT_BELOW_SOLIDITY,
    )
    return candidates, prepared.noise


def _sharpest_outlines(
    candidates: Candidates, chosen: NDArray[np.int64], labels: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Replace a chosen candidate by one inside it with a far sharper outline, where there is one.

    A crystal and a crystal with the noise around it overlap well, so both are good candidates; but
    only the first has an outline all around. ``labels`` is flat and numbers the chosen 1..n.
    """
    numbers = candidates.numbers
    sharp = numbers[:, CANDIDATE_NUMBERS.index("drop_mean")]
    sharp = sharp * np.clip(numbers[:, CANDIDATE_NUMBERS.index("drop_low")], 0, None)
    out = chosen.copy()
    for i in np.flatnonzero(sharp > 0):
        pixel = candidates.pixel[candidates.start[i] : candidates.start[i] + candidates.size[i]]
        k = labels[pixel[pixel.size // 2]] - 1
        if k < 0 or sharp[i] <= max(_FAR_SHARPER * sharp[chosen[k]], sharp[out[k]]):
            continue
        if not _SAME_CRYSTAL <= pixel.size / candidates.size[chosen[k]] <= 1:
            continue
        if np.mean(labels[pixel] == k + 1) >= _WITHIN:
            out[k] = i
    return out


def _paint(labels: NDArray[np.int32], candidates: Candidates, chosen: NDArray[np.int64]) -> None:
    """Number the pixels of the chosen candidates 1..n in a flat label image."""
    for number, i in enumerate(chosen, start=1):
        start = candidates.start[i]
        labels[candidates.pixel[start : start + candidates.size[i]]] = number


def choose_crystals(
    candidates: Candidates,
    shape: tuple[int, int],
    *,
    noise: float,
    model: QualityModel,
    network: NetworkResult | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Label image of the candidates that are crystals, and their quality.

    Parameters
    ----------
    candidates, noise
        What `image_candidates` found.
    shape
        Height and width of the image.
    model
        What tells crystals from other regions.
    network
        What the network found.

    Returns
    -------
    labels
        ``(height, width)`` int32, 0 background, objects 1..n.
    quality
        ``(n,)`` expected overlap of each object with a crystal.
    """
    labels = np.zeros(shape, np.int32)
    if candidates.size.size == 0:
        return labels, np.zeros(0)
    quality = predict_quality(candidates, noise=noise, model=model, network=network)
    chosen = select_candidates(candidates.parent, candidates.alternative, quality - LEAST_QUALITY)
    flat = labels.reshape(-1)
    _paint(flat, candidates, chosen)
    sharpest = _sharpest_outlines(candidates, chosen, flat)
    flat[:] = 0
    _paint(flat, candidates, sharpest)
    if network is not None:
        labels = grow_outlines(labels, network[1], reach_px=_REACH_PX)
    return labels, quality[chosen]


def segment_classical(
    pixels: NDArray,
    *,
    polarity: str,
    network: NetworkResult | None = None,
    model: QualityModel | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find crystals from grey levels and shapes.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values.
    polarity
        ``"dark"`` or ``"bright"`` crystals.
    network
        What the network found, to be weighed in the choice of candidates and of their outlines.
    model
        What tells crystals from other regions; by default the one of the package.

    Returns
    -------
    labels
        ``(height, width)`` int32, 0 background, objects 1..n.
    quality
        ``(n,)`` expected overlap of each object with a crystal.

    Raises
    ------
    ImageError
        If the image has no contrast.
    InputError
        If the weights of the package cannot be read.
    """
    candidates, noise = image_candidates(pixels, polarity=polarity)
    model = model or load_quality_model(QUALITY_WEIGHTS)
    shape = (pixels.shape[0], pixels.shape[1])
    return choose_crystals(candidates, shape, noise=noise, model=model, network=network)
