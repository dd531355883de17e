"""Segmentation without a network: contrast, background, filter, threshold, watershed, filling.

The steps of the paper, one after the other. Necks are found as erosion finds them: two basins of
the distance map stay apart where the neck is narrower than a part of the narrower of the two, and
every crystal keeps its whole area, as after rebuilding. One threshold serves the whole image, so
faint crystals beside black ones, bend contours and uneven films are left to the network.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import expand_labels

from nanoarray.nanocrystal.measure.features import measure_crystals
from nanoarray.nanocrystal.segment.background import flatten_background
from nanoarray.nanocrystal.segment.flood import basins
from nanoarray.nanocrystal.segment.prepare import prepare_image

__all__ = ["segment_classical"]

#: Necks narrower than this part of the narrower crystal are cut.
_NECK = 0.75
#: Smoothing of the distance map: pixels of a rough outline are no necks.
_SMOOTH_PX = 1.5
_LEAST_PX = 20
#: Objects of a smaller part of the typical diameter are specks.
_SPECK = 0.3
#: Crystals are found above Otsu's threshold, which is too deep for their blurred rims: they grow
#: this far down to this part of the way from the ground to the threshold.
_RIM_PX, _RIM = 2.0, 0.85
#: Bright crystals must fit this many times better: most micrographs are bright-field.
_BRIGHT_FACTOR = 1.1
#: An object of this solidity is no crystal at all, when telling dark from bright ones.
_CONCAVE = 0.75


def segment_classical(
    pixels: NDArray, *, polarity: Literal["auto", "dark", "bright"]
) -> tuple[NDArray[np.int32], Literal["dark", "bright"]]:
    """Find crystals by a threshold and the shape of what is above it.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values.
    polarity
        ``"dark"`` or ``"bright"`` crystals; ``"auto"`` takes what looks more like crystals.

    Returns
    -------
    labels
        ``(height, width)`` int32, 0 background, objects 1..n.
    polarity
        ``"dark"`` or ``"bright"``.

    Raises
    ------
    ImageError
        If the image has no contrast.
    """
    if polarity != "auto":
        return _segment(pixels, polarity), polarity
    dark, bright = _segment(pixels, "dark"), _segment(pixels, "bright")
    if _likeness(bright) > _BRIGHT_FACTOR * _likeness(dark):
        return bright, "bright"
    return dark, "dark"


def _segment(pixels: NDArray, polarity: Literal["dark", "bright"]) -> NDArray[np.int32]:
    prepared = prepare_image(flatten_background(pixels, polarity=polarity), polarity=polarity)
    if prepared.only_noise:
        return np.zeros((pixels.shape[0], pixels.shape[1]), np.int32)
    depth = prepared.depth
    threshold = float(threshold_otsu(depth))
    above = ndimage.binary_opening(depth > threshold, np.ones((3, 3)))
    # Filled crystals are cut again: a hole makes a ring, whose distance map has many basins.
    filled = _filled(_cut_at_necks(above))
    labels = _without_specks(_cut_at_necks(filled > 0))
    ground = float(np.median(depth[depth <= threshold]))
    rim = depth > ground + _RIM * (threshold - ground)
    return np.where(rim, expand_labels(labels, _RIM_PX), labels).astype(np.int32)


def _cut_at_necks(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    # Beyond the edge of the field nothing is known, and the distance transform counts no outline.
    distance = ndimage.distance_transform_edt(mask).astype(np.float32)
    distance = ndimage.gaussian_filter(distance, _SMOOTH_PX)
    return basins(distance, mask, share=_NECK, least_area_px=_LEAST_PX)


def _filled(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Holes of single crystals filled; what several surround is a gap and stays."""
    out = labels.copy()
    around = np.ones((3, 3), bool)
    gaps, _ = ndimage.label(labels == 0, around)
    for number, (y, x) in enumerate(ndimage.find_objects(gaps), start=1):
        if min(y.start, x.start) == 0 or y.stop == gaps.shape[0] or x.stop == gaps.shape[1]:
            continue
        window = slice(y.start - 1, y.stop + 1), slice(x.start - 1, x.stop + 1)
        gap = gaps[window] == number
        rim = ndimage.binary_dilation(gap, around) & ~gap
        owners = np.unique(labels[window][rim])
        if owners.size == 1:
            out[window][gap] = owners[0]
    return out


def _without_specks(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Without objects far smaller than the size that half of the summed diameters are above."""
    size = np.sqrt(np.bincount(labels.ravel())[1:])
    if not size.size:
        return labels
    rising = np.sort(size)
    typical = rising[np.searchsorted(np.cumsum(rising), rising.sum() / 2)]
    kept = np.concatenate([[False], size >= _SPECK * typical])
    number = np.where(kept, np.cumsum(kept), 0)
    return number[labels].astype(np.int32)


def _likeness(labels: NDArray[np.int32]) -> float:
    """How much there is of convex objects inside the field: ground is concave and goes on."""
    if not labels.any():
        return 0.0
    rows = measure_crystals(labels, np.zeros(labels.shape, np.float32), pixel_size_nm=1.0)
    whole = rows["touches_edge"] == 0
    convex = np.clip((rows["solidity"] - _CONCAVE) / (1 - _CONCAVE), 0, 1) ** 2
    # The square root: neither many specks nor one large gap decides alone.
    return float((np.sqrt(rows["area_px"]) * convex)[whole].sum())
