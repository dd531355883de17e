"""Measuring the objects of an image that is read in windows: some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.fields.windows import Pixels, Window, cores
from nanoarray.nanocrystal.measure.border import edge_columns
from nanoarray.nanocrystal.measure.crops import CROP_MARGIN, cut_crops
from nanoarray.nanocrystal.measure.features import RING_PX, measure_crystals
from nanoarray.nanocrystal.measure.regions import find_regions

#: Objects are measured together in windows of at most so many pixels, or of one object.
_WINDOW_PX = 8_000_000
_FIELD_PX = 2048
#: Columns that are places in the image.
_PLACES = ("outline", "hull", "extrema", "feret_max_ends", "feret_min_ends")


class Objects:
    """Crystals and rejected objects of an image, in one label image that is read in windows."""

    def __init__(self, crystal: Pixels, rejected: Pixels) -> None:
        self._crystal, self._rejected = crystal, rejected
        self.shape, self.dtype = crystal.shape, crystal.dtype

    def __getitem__(self, window: Window) -> NDArray[np.integer[Any]]:
        """Ids in a window."""
        rejected = self._rejected[window]
        return np.where(rejected > 0, rejected, self._crystal[window])


def find_boxes(objects: Pixels, count: int) -> NDArray[np.int32]:
    """Bounding boxes of objects 1..count: first row and column, row and column after the last.

    Raises
    ------
    InputError
        The image has other objects.
    """
    low = np.full((count, 2), np.iinfo(np.int32).max, np.int64)
    high = np.zeros((count, 2), np.int64)
    for core in cores(objects.shape, _FIELD_PX):
        found = find_regions(objects[core])
        at = found.label - 1
        if at.size and at[-1] >= count:
            raise InputError(f"the maps hold object {at[-1] + 1}, expected {count} objects")
        start = np.array([core[0].start, core[1].start])
        low[at] = np.minimum(low[at], found.box[:, :2] + start)
        high[at] = np.maximum(high[at], found.box[:, 2:] + start)
    if not (high > 0).all():
        raise InputError(f"the maps hold {np.count_nonzero(high[:, 0])} objects, expected {count}")
    return np.concatenate([low, high], axis=1).astype(np.int32)


def measure_some(
    objects: Pixels,
    pixels: Pixels,
    boxes: NDArray[np.int32],
    some: slice,
    *,
    pixel_size_nm: float,
    crop_size: int,
) -> dict[str, NDArray[Any]]:
    """Columns of objects ``some.start + 1`` to ``some.stop``, as of the whole image.

    Parameters
    ----------
    objects
        (height, width) ids from 1 on.
    pixels
        (height, width) the micrograph.
    boxes
        `find_boxes` of all objects.
    some
        Which, by their places in ``boxes``.
    pixel_size_nm, crop_size
        As for `measure_crystals` and `cut_crops`. A crop that reaches over the edge of the image,
        and has nothing without a label in it, is filled with the mean of what is around it.
    """
    parts = []
    for places, window in _windows(boxes, np.arange(some.start, some.stop), objects.shape):
        labels, grey = np.asarray(objects[window]), pixels[window]
        rows = measure_crystals(labels, grey, pixel_size_nm=pixel_size_nm)
        crops = cut_crops(labels, grey, size=crop_size)
        rows |= {
            "crop": crops.pixels,
            "crop_mask": crops.mask,
            "crop_scale": crops.scale,
            "crop_origin_y": crops.origin[:, 0],
            "crop_origin_x": crops.origin[:, 1],
        }
        own = np.isin(rows["label"], places + 1)
        parts.append(_moved({name: values[own] for name, values in rows.items()}, window))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns["label"])
    columns = {name: values[order] for name, values in columns.items()}
    return columns | edge_columns(columns["bbox"], (objects.shape[0], objects.shape[1]))


def _windows(
    boxes: NDArray[np.int32], places: NDArray[np.intp], shape: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.intp], Window]]:
    """Objects that are near each other, and the windows that measuring them needs.

    Objects that follow one another lie side by side over the whole width of the image: they are
    halved across the longer side of where they lie until their window is small enough.
    """
    window = _window(boxes[places], shape)
    sides = [s.stop - s.start for s in window]
    if places.size == 1 or sides[0] * sides[1] <= _WINDOW_PX:
        yield places, window
        return
    axis = int(np.ptp(boxes[places, :2], axis=0).argmax())
    places = places[np.argsort(boxes[places, axis], kind="stable")]
    for half in np.array_split(places, 2):
        yield from _windows(boxes, half, shape)


def _window(boxes: NDArray[np.int32], shape: tuple[int, ...]) -> Window:
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    longest = int((boxes[:, 2:] - boxes[:, :2]).max())
    # A crop is a square about its object, which may be thin, and looks a pixel of its own further.
    reach = max(RING_PX + 3, int(np.ceil(longest * CROP_MARGIN)) + 3)
    rows, columns = (
        slice(max(int(low[k]) - reach, 0), min(int(high[k]) + reach, shape[k])) for k in (0, 1)
    )
    return rows, columns


def _moved(columns: dict[str, NDArray[Any]], window: Window) -> dict[str, NDArray[Any]]:
    """Columns of a window with their places in the image."""
    top, left = window[0].start, window[1].start
    columns["bbox"] = columns["bbox"] + np.array([top, left, top, left], np.int32)
    for name in _PLACES:
        columns[name] = columns[name] + np.array([top, left], np.float32)
    for name, by in (("centroid_y", top), ("centroid_x", left)):
        columns[name] = columns[name] + by
    columns["crop_origin_y"] = columns["crop_origin_y"] + top
    columns["crop_origin_x"] = columns["crop_origin_x"] + left
    return columns
