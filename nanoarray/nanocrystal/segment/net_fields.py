"""Training samples of the segmentation network: simulated fields and what it must answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.simulate.nanocrystal_specs import random_field_spec
from nanoarray.simulate.nanocrystals import simulate_field

#: Crystals of this diameter have weight 1 in the loss; smaller ones more, larger ones less.
_WEIGHT_DIAMETER_PX = 25.0

# Labels reach this far into gaps when contact lines are drawn: narrow gaps are lines too.
_REACH_PX = 2.0

# The ground of a crystal is the mean over about this distance.
_GROUND_PX = 12.0
_UNSEEN_WEIGHT = 0.05

#: Weights are stored in steps of 1 / this in seven bits; the eighth is the contact line.
WEIGHT_STEPS = 40


def training_sample(seed: int, index: int, size_px: int, focused: bool = True) -> NDArray[np.uint8]:
    """Field `index` of a training set.

    Returns
    -------
    ndarray
        ``(3, size, size)`` uint8: image; 0 outside crystals, 1 to 255 the depth inside; the weight
        of the pixel (7 bits) and the contact line (the eighth).
    """
    # Fields have their own random stream each, so that any of them can be made alone.
    rng = np.random.default_rng([seed, index])
    spec = random_field_spec(rng, height_px=size_px, width_px=size_px, focused=focused)
    image, labels, _ = simulate_field(spec, seed=int(rng.integers(0, 2**62)))
    depth, contact, weight = targets(labels)
    weight[unseen(image, labels)] = _UNSEEN_WEIGHT
    coded = np.where(labels > 0, 1 + np.rint(254 * depth), 0)
    packed = np.clip(np.rint(weight * WEIGHT_STEPS), 1, 127).astype(np.uint8)
    packed[contact] |= 128
    return np.stack([image.astype(np.uint8), coded.astype(np.uint8), packed])


def targets(
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """What the network must answer for a label image.

    Returns
    -------
    tuple
        Depth inside each crystal (0 at its outline, 1 where it is deepest; the edge of the field is
        no outline), contact lines between crystals, weights of pixels in the loss.
    """
    if not labels.any():
        return (
            np.zeros(labels.shape, np.float32),
            np.zeros(labels.shape, bool),
            np.full(labels.shape, 0.7, np.float32),
        )
    meeting = _meeting(labels)
    distance = ndimage.distance_transform_edt((labels > 0) & ~meeting) + 0.5 * (labels > 0)
    ids = np.arange(labels.max() + 1)
    deepest = np.full(len(ids), 0.5)
    np.maximum.at(deepest, labels.ravel(), distance.ravel())
    deepest[0] = 1.0
    depth = np.where(labels > 0, distance / deepest[labels], 0).astype(np.float32)
    away, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    grown = np.where(away <= _REACH_PX, labels[tuple(nearest)], 0)
    contact = _meeting(grown)
    area = np.maximum(np.bincount(labels.ravel(), minlength=len(ids)), 1)
    by_size = np.clip(_WEIGHT_DIAMETER_PX / np.sqrt(4 / np.pi * area), 0.5, 2.5)
    by_size[0] = 0.7
    weight = by_size[grown].astype(np.float32)
    weight[contact] = np.minimum(weight[contact] * 1.3, 3.0)
    return depth, contact, weight


def unseen(image: NDArray, labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of crystals that nobody could find in the image.

    A crystal whose mean differs from the ground around it by less than three grey levels, or by
    less than five times its standard error, is not asked for: the answer would be a guess.
    """
    if not labels.any():
        return np.zeros(labels.shape, bool)
    grey = image.astype(np.float32)
    empty = (labels == 0).astype(np.float32)
    share = ndimage.gaussian_filter(empty, _GROUND_PX) + 1e-3
    ground = ndimage.gaussian_filter(grey * empty, _GROUND_PX) + 1e-3 * float(np.median(grey))
    ground = ground / share
    flat = labels.ravel()
    area = np.maximum(np.bincount(flat), 1)
    contrast = np.abs(np.bincount(flat, (grey - ground).ravel()) / area)
    noise = float(np.std(grey[1:] - grey[:-1])) / np.sqrt(2)
    hidden = (contrast < 3.0) | (contrast < 5 * noise / np.sqrt(area))
    hidden[0] = False
    return hidden[labels]


def _meeting(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels beside a pixel of another crystal."""
    out = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        a = [slice(None)] * 2
        b = [slice(None)] * 2
        a[axis], b[axis] = slice(None, -1), slice(1, None)
        here, there = labels[tuple(a)], labels[tuple(b)]
        differ = (here != there) & (here > 0) & (there > 0)
        out[tuple(a)] |= differ
        out[tuple(b)] |= differ
    return out
