"""A crop and its mask per crystal, and the way back into the image.

The window of a crystal is a square whose side is 1.25 times the longer side of its bounding box,
centred on the bounding box, scaled to ``size`` x ``size`` pixels. With pixel centres at integers,

    scale = 1.25 * longest side / size                      [pixels of the image per crop pixel]
    origin = box centre - (size - 1) / 2 * scale            [image position of crop pixel (0, 0)]
    image position of crop pixel (i, j) = origin + scale * (i, j)

Both directions resample with one operator: the mean over a square of side ``max(scale, 1)`` around
the position, of an image that is constant within its pixels. That is the exact area average where
the crop is coarser than the image (no aliasing), and bilinear interpolation where it is finer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.outline import fill_holes
from nanoarray.nanocrystal.measure.regions import find_regions

__all__ = ["CROP_MARGIN", "CROP_SIZE", "Crops", "cut_crops", "filled_masks", "place_crop"]

#: Side of a crop [crop pixels].
CROP_SIZE = 64
#: Side of the window over the longer side of the bounding box.
CROP_MARGIN = 1.25


@dataclass(frozen=True)
class Crops:
    """Crops of the crystals of one image, in ascending order of their labels."""

    #: (n,) the labels.
    label: NDArray[np.int32]
    #: (n, size, size) grey values: integers as in the image, float32 of an image of floats.
    pixels: NDArray[Any]
    #: (n, size, size) True in the crystal.
    mask: NDArray[np.bool_]
    #: (n,) pixels of the image per crop pixel.
    scale: NDArray[np.float64]
    #: (n, 2) position (y, x) of the centre of crop pixel (0, 0) in the image [px].
    origin: NDArray[np.float64]


def cut_crops(
    labels: NDArray[np.integer[Any]],
    pixels: NDArray[Any],
    *,
    size: int = CROP_SIZE,
    margin: float = CROP_MARGIN,
    fill: float | None = None,
) -> Crops:
    """Cut a square window around every crystal and scale it to a fixed size.

    Neighbours that reach into the window stay in the crop and are not in the mask. A crop pixel
    belongs to the mask where at least half of its square does. Where the crop is finer than the
    image (scale of at most 1: crystals up to 51 px at the default size), the crop pixel nearest to
    the centre of an image pixel follows that pixel, so that `place_crop` returns the mask exactly.
    A crystal that is too thin for half of any crop pixel keeps the crop pixels it covers most of.

    Parameters
    ----------
    labels
        (height, width) label image, 0 for background.
    pixels
        (height, width) the micrograph.
    size
        Side of a crop [crop pixels].
    margin
        Side of the window over the longer side of the bounding box, at least 1.
    fill
        Grey value beyond the edge of the image. By default the mean of what is not labelled in the
        window; the mean of the image's unlabelled part (or of the image) where there is none.

    Returns
    -------
    Crops
        A row for every label of the image, in ascending order.

    Raises
    ------
    InputError
        If the two images differ in shape, the size is below 1 or the margin below 1.
    """
    grey = np.asarray(pixels)
    regions = find_regions(labels)
    if grey.shape != regions.index.shape:
        raise InputError(
            f"the labels have the shape {regions.index.shape}, the pixels {grey.shape}: "
            "both must be of one image"
        )
    if size < 1 or not margin >= 1:
        raise InputError(f"size is {size} and margin {margin}: both must be at least 1")
    box = regions.box.astype(np.float64)
    side = margin * np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    scale = side / size
    centre = (box[:, :2] + box[:, 2:] - 1.0) / 2.0
    origin = centre - (size - 1) / 2.0 * scale[:, None]

    count = regions.label.size
    whole = np.issubdtype(grey.dtype, np.integer)
    crops = np.empty((count, size, size), grey.dtype if whole else np.float32)
    masks = np.empty((count, size, size), np.bool_)
    if count:
        grey = np.ascontiguousarray(grey, np.float32)  # exact for the integers of micrographs
        _cut(
            regions.index,
            grey,
            regions.box,
            scale,
            origin,
            np.nan if fill is None else float(fill),
            _background(regions.index, grey) if fill is None else float(fill),
            bool(whole),
            crops,
            masks,
        )
    return Crops(label=regions.label, pixels=crops, mask=masks, scale=scale, origin=origin)


def filled_masks(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Masks of crops with their holes filled (MATLAB's FilledImage).

    Parameters
    ----------
    masks
        (n, size, size) as `cut_crops` returns them.

    Returns
    -------
    (n, size, size) True also where 4-connected background does not reach the edge of the crop.
    """
    padded = np.pad(masks.astype(np.uint8), ((0, 0), (1, 1), (1, 1)))
    for mask in padded:
        fill_holes(mask)
    return padded[:, 1:-1, 1:-1].astype(np.bool_)


@overload
def place_crop(
    crop: NDArray[np.bool_],
    *,
    scale: float,
    origin: tuple[float, float] | NDArray[np.floating[Any]],
    shape: tuple[int, int],
) -> NDArray[np.bool_]: ...
@overload
def place_crop(
    crop: NDArray[Any],
    *,
    scale: float,
    origin: tuple[float, float] | NDArray[np.floating[Any]],
    shape: tuple[int, int],
) -> NDArray[Any]: ...
def place_crop(
    crop: NDArray[Any],
    *,
    scale: float,
    origin: tuple[float, float] | NDArray[np.floating[Any]],
    shape: tuple[int, int],
) -> NDArray[Any]:
    """Put a crop or its mask back where it was in the image.

    A mask whose scale is at most 1 comes back pixel for pixel. Above 1 the crop has fewer pixels
    than the crystal and its boundary is rounded: at 64 px, discs, ellipses, rectangles, triangles
    and stars of 54 to 400 px come back with a Jaccard index of 0.96 to 1.00 (0.98 in the mean),
    their area within 1 % and their centroid within 0.3 crop pixels; long ones that are only a few
    crop pixels wide with 0.89 and more.

    Parameters
    ----------
    crop
        (size, size) one crop, or its mask as booleans.
    scale, origin
        As `cut_crops` returned them for this crop.
    shape
        (height, width) of the image.

    Returns
    -------
    (height, width): for a mask booleans, False outside the window; for grey values float32, NaN
    outside the window.

    Raises
    ------
    InputError
        If the crop is not a 2-D array or the scale is not above 0.
    """
    given = np.asarray(crop)
    if given.ndim != 2 or not (np.isfinite(scale) and scale > 0):
        raise InputError(
            f"the crop is {given.ndim}-D and its scale {scale}: one 2-D crop and a scale above 0 "
            "are needed"
        )
    is_mask = given.dtype == np.bool_
    top, left = float(origin[0]), float(origin[1])
    height, width = shape
    if is_mask and scale <= 1:
        placed = np.zeros(shape, np.bool_)
        _place_nearest(given, scale, top, left, placed)
        return placed
    rows = _weights(height, given.shape[0], scale, top)
    columns = _weights(width, given.shape[1], scale, left)
    values = rows @ given.astype(np.float64) @ columns.T
    if is_mask:
        half: NDArray[np.bool_] = values >= 0.5
        return half
    inside = np.outer(rows.sum(axis=1) > 0.5, columns.sum(axis=1) > 0.5)
    cover = np.outer(rows.sum(axis=1), columns.sum(axis=1))
    return np.where(inside, values / np.where(inside, cover, 1.0), np.nan).astype(np.float32)


def _weights(length: int, size: int, scale: float, origin: float) -> NDArray[np.float64]:
    """(length, size) share of every crop pixel in each pixel of the image along one axis."""
    position = (np.arange(length) - origin) / scale
    half = max(1.0 / scale, 1.0) / 2.0
    cell = np.arange(size)
    low = np.maximum(position[:, None] - half, cell - 0.5)
    high = np.minimum(position[:, None] + half, cell + 0.5)
    return np.maximum(high - low, 0.0) / (2.0 * half)


def _background(index: NDArray[np.int32], grey: NDArray[Any]) -> float:
    """Mean of what is not labelled; of everything where all is."""
    background = grey[index == 0]
    return float((background if background.size else grey).mean(dtype=np.float64))


@njit(cache=True, nogil=True)
def _nearest(position, origin, scale):
    """Crop pixel nearest to a position in the image."""
    return int(np.floor((position - origin) / scale + 0.5))


@njit(cache=True, nogil=True)
def _place_nearest(crop, scale, top, left, placed):
    for y in range(placed.shape[0]):
        i = _nearest(y, top, scale)
        if i < 0 or i >= crop.shape[0]:
            continue
        for x in range(placed.shape[1]):
            j = _nearest(x, left, scale)
            if 0 <= j < crop.shape[1]:
                placed[y, x] = crop[i, j]


@njit(cache=True, nogil=True)
def _window_fill(index, grey, top, left, side, otherwise):
    """Mean of what is not labelled in the window."""
    total, count = 0.0, 0
    for y in range(max(top, 0), min(top + side, index.shape[0])):
        for x in range(max(left, 0), min(left + side, index.shape[1])):
            if index[y, x] == 0:
                total += grey[y, x]
                count += 1
    return total / count if count > 0 else otherwise


@njit(cache=True, nogil=True)
def _load_window(index, grey, own, top, left, fill, values, inside):
    """Copy the window out of the image; what is beyond the edge gets the fill."""
    for r in range(values.shape[0]):
        y = top + r
        for c in range(values.shape[1]):
            x = left + c
            if 0 <= y < index.shape[0] and 0 <= x < index.shape[1]:
                values[r, c] = grey[y, x]
                inside[r, c] = 1.0 if index[y, x] == own else 0.0
            else:
                values[r, c] = fill
                inside[r, c] = 0.0


@njit(cache=True, nogil=True)
def _spans(size, offset, scale, first, weight):
    """First pixel and weights of every crop pixel along an axis; returns how many at most."""
    half = max(scale, 1.0) / 2.0
    for i in range(size):
        low = offset + i * scale - half
        high = offset + i * scale + half
        first[i] = int(np.floor(low + 0.5))
        for t in range(weight.shape[1]):
            pixel = first[i] + t
            share = min(high, pixel + 0.5) - max(low, pixel - 0.5)
            weight[i, t] = max(share, 0.0) / (2.0 * half)


@njit(cache=True, nogil=True)
def _resample(window, first_y, weight_y, first_x, weight_x, row, out):
    """Weighted means of a window: along y into one row, then along x."""
    limit_y, limit_x = window.shape
    for i in range(out.shape[0]):
        row[:] = 0.0
        for t in range(weight_y.shape[1]):
            share = weight_y[i, t]
            y = first_y[i] + t
            if share > 0.0 and 0 <= y < limit_y:
                for x in range(limit_x):
                    row[x] += share * window[y, x]
        for j in range(out.shape[1]):
            total = 0.0
            for t in range(weight_x.shape[1]):
                x = first_x[j] + t
                if 0 <= x < limit_x:
                    total += weight_x[j, t] * row[x]
            out[i, j] = total


@njit(cache=True, nogil=True)
def _set_mask(share, mask):
    """At least half of the crop pixel, or the largest share where no pixel has half."""
    highest = share.max()
    least = min(0.5, highest) - 1e-6
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            mask[i, j] = share[i, j] >= least


@njit(cache=True, nogil=True)
def _cut(index, grey, box, scale, origin, fill, otherwise, whole, crops, masks):
    size = crops.shape[1]
    share = np.empty((size, size), np.float32)
    mean = np.empty((size, size), np.float32)
    first_y = np.empty(size, np.int64)
    first_x = np.empty(size, np.int64)
    for k in range(box.shape[0]):
        step = scale[k]
        reach = max(step, 1.0) / 2.0
        top = int(np.floor(origin[k, 0] - reach + 0.5))
        left = int(np.floor(origin[k, 1] - reach + 0.5))
        side = int(np.ceil((size - 1) * step + 2.0 * reach)) + 2
        values = np.empty((side, side), np.float32)
        inside = np.empty((side, side), np.float32)
        beyond = fill
        if np.isnan(fill):
            beyond = otherwise
            if top < 0 or left < 0 or top + side > grey.shape[0] or left + side > grey.shape[1]:
                beyond = _window_fill(index, grey, top, left, side, otherwise)
        _load_window(index, grey, k + 1, top, left, beyond, values, inside)
        weight_y = np.empty((size, int(np.ceil(2.0 * reach)) + 1))
        weight_x = np.empty_like(weight_y)
        _spans(size, origin[k, 0] - top, step, first_y, weight_y)
        _spans(size, origin[k, 1] - left, step, first_x, weight_x)
        row = np.empty(side, np.float32)
        _resample(values, first_y, weight_y, first_x, weight_x, row, mean)
        _resample(inside, first_y, weight_y, first_x, weight_x, row, share)
        _set_mask(share, masks[k])
        if step <= 1.0:
            for y in range(top, top + side):
                i = _nearest(y, origin[k, 0], step)
                for x in range(left, left + side):
                    j = _nearest(x, origin[k, 1], step)
                    if 0 <= i < size and 0 <= j < size:
                        masks[k, i, j] = inside[y - top, x - left] > 0.5
        for i in range(size):
            for j in range(size):
                crops[k, i, j] = np.floor(mean[i, j] + 0.5) if whole else mean[i, j]
