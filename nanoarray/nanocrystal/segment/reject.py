"""Turn down objects that are no crystals, with the reason.

Works on any label image and its micrograph, so it serves every method of segmentation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.nanocrystal.segment.annotations import (
    ANNOTATION_REASONS,
    WRITING,
    find_annotations,
)

__all__ = ["DOUBTFUL", "OUTLIER", "TOO_SMALL", "reject_objects", "size_outliers"]

TOO_SMALL = "far smaller than the crystals of the image"
OUTLIER = "far larger than the crystals of the image"
DOUBTFUL = "the network is not sure that this is a crystal"

#: Part of an object under drawn-in graphics from which on it belongs to them.
_COVERED = 0.5
_BETWEEN_STROKES_PX = 2
#: Objects needed to say what is usual in an image.
_LEAST_COUNT = 8
#: Diameters this many times below or above the middle are suspicious; real ones come in numbers.
_SMALL, _LARGE = 0.12, 5.0
#: A part of the objects this large is a population of its own, and is kept.
_POPULATION = 0.05


def reject_objects(
    labels: NDArray[np.int32],
    pixels: NDArray,
    *,
    annotations: NDArray[np.uint8] | None = None,
    add_annotations: bool = True,
    first_doubtful: int | None = None,
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Find objects that are no crystals.

    Parameters
    ----------
    labels
        ``(height, width)`` objects 1..n, 0 background.
    pixels
        ``(height, width)`` the micrograph.
    annotations
        What `find_annotations` found in the micrograph, if it is known already.
    add_annotations
        Whether graphics that are no object yet become rejected objects, so that what was left out
        is on record.
    first_doubtful
        Of objects from this id on the method of segmentation is not sure.

    Returns
    -------
    labels
        The same, with annotations as further objects after n.
    reasons
        Reason for every rejected id.
    """
    kind = find_annotations(pixels) if annotations is None else annotations
    count = int(labels.max(initial=0))
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count + 1).astype(np.float64)
    reasons: dict[int, str] = {}
    for key, reason in ANNOTATION_REASONS.items():
        under = kind == key
        if not under.any():
            continue
        if key == WRITING:  # the gaps between strokes belong to it
            under = ndimage.binary_dilation(under, iterations=_BETWEEN_STROKES_PX)
        covered = np.bincount(flat[under.ravel()], minlength=count + 1)
        for i in np.flatnonzero(covered > _COVERED * np.maximum(area, 1)):
            if i > 0:
                reasons.setdefault(int(i), reason)
    for unsure in range(count + 1 if first_doubtful is None else first_doubtful, count + 1):
        if area[unsure] > 0:
            reasons.setdefault(unsure, DOUBTFUL)
    kept = np.array([i for i in range(1, count + 1) if i not in reasons and area[i] > 0], int)
    reasons.update(size_outliers(kept, 2 * np.sqrt(area[kept] / np.pi)))
    if add_annotations:
        labels, more = _add_annotations(labels, kind, reasons)
        reasons.update(more)
    return labels, reasons


def size_outliers(kept: NDArray[np.int64], diameter_px: NDArray[np.float64]) -> dict[int, str]:
    """Single objects of a size that nothing else in the image has.

    The middle is taken by area, so that many specks do not make one crystal an outlier.
    """
    if kept.size < _LEAST_COUNT:
        return {}
    order = np.argsort(diameter_px)
    share = np.cumsum(diameter_px[order] ** 2)
    by_area = diameter_px[order][np.searchsorted(share, share[-1] / 2)]
    by_count = np.median(diameter_px)
    most = max(1, int(_POPULATION * kept.size))
    out: dict[int, str] = {}
    small = kept[diameter_px < _SMALL * by_area]
    large = kept[diameter_px > _LARGE * by_count]
    if 0 < small.size <= most:
        out |= {int(i): TOO_SMALL for i in small}
    if 0 < large.size <= most:
        out |= {int(i): OUTLIER for i in large}
    return out


def _add_annotations(
    labels: NDArray[np.int32], kind: NDArray[np.uint8], reasons: dict[int, str]
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Every connected annotation as one object, without taking pixels of others."""
    from skimage.measure import label as connected

    parts = connected(np.where(labels == 0, kind, 0), background=0, connectivity=2)
    count = int(labels.max(initial=0))
    taken = {
        reason: [i for i, given in reasons.items() if given == reason]
        for reason in ANNOTATION_REASONS.values()
    }
    out, more = labels.copy(), {}
    for part, place in enumerate(ndimage.find_objects(parts), start=1):
        y, x = (slice(max(s.start - 1, 0), s.stop + 1) for s in place)
        where = parts[y, x] == part
        reason = ANNOTATION_REASONS[int(kind[y, x][where][0])]
        rim = np.unique(labels[y, x][ndimage.binary_dilation(where)])
        partner = [int(i) for i in rim if int(i) in taken[reason]]
        if partner:  # the rest of an object that is rejected already
            continue
        if np.count_nonzero(where) < 4:
            continue
        count += 1
        out[y, x][where] = count
        more[count] = reason
    return out, more
