"""Mean features on the two sides of a boundary between regions of a tile grid."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.int32]
Features = npt.NDArray[np.float32]


def means_near_boundary(
    labels: Labels,
    features: Features,
    pairs: npt.NDArray[np.int64],
    *,
    reach: float,
    skip: float,
) -> npt.NDArray[np.float64]:
    """Mean features on both sides of each boundary.

    Tiles of one region are weighted by their distance D (in tiles) to the other region: with a
    Gaussian of standard deviation `reach`, and rising from (almost) nothing at `skip`, because
    tiles nearer than half a window see both regions.

    Parameters
    ----------
    labels
        Regions.
    features
        ``(tile_y, tile_x, feature)``.
    pairs
        ``(n, 2)`` neighbouring regions.
    reach, skip
        Distances [tiles].

    Returns
    -------
    ndarray
        ``(n, 2, feature)``.
    """
    boxes = ndimage.find_objects(labels)
    out = np.empty((len(pairs), 2, features.shape[-1]))
    margin = int(np.ceil(3 * reach))
    for i, pair in enumerate(pairs):
        window = []
        for axis in (0, 1):
            starts = [boxes[p - 1][axis].start for p in pair]
            stops = [boxes[p - 1][axis].stop for p in pair]
            # What is further than the margin from the other region has no weight.
            window.append(slice(max(max(starts) - margin, 0), min(stops) + margin))
        crop, values = labels[tuple(window)], features[tuple(window)]
        for side in (0, 1):
            _side_mean(crop, values, pair[side], pair[1 - side], reach, skip, out[i, side])
    return out


@nb.njit(nogil=True, cache=True)
def _side_mean(
    labels: Labels,
    features: Features,
    own: int,
    other: int,
    reach: float,
    skip: float,
    mean: npt.NDArray[np.float64],
) -> None:
    """Fill ``mean`` with the weighted mean of the features of region ``own``."""
    height, width, depth = features.shape
    column = _column_distance(labels, other)
    mean[:] = 0.0
    total = 0.0
    for y in range(height):
        for x in range(width):
            if labels[y, x] != own:
                continue
            nearest = column[y, x] ** 2
            step = 1
            while step * step < nearest and step < width:
                if x >= step:
                    nearest = min(nearest, column[y, x - step] ** 2 + step * step)
                if x + step < width:
                    nearest = min(nearest, column[y, x + step] ** 2 + step * step)
                step += 1
            distance = math.sqrt(nearest)
            weight = math.exp(-0.5 * (distance / reach) ** 2)
            weight *= min(max((distance - skip) / 2, 0.02), 1.0)
            total += weight
            for k in range(depth):
                mean[k] += weight * features[y, x, k]
    mean /= total


@nb.njit(nogil=True, cache=True)
def _column_distance(labels: Labels, name: int) -> npt.NDArray[np.int64]:
    """Distance of every tile to the nearest one of a region in its column, large where none is."""
    height, width = labels.shape
    distance = np.empty((height, width), dtype=np.int64)
    for x in range(width):
        last = height + width
        for y in range(height):
            last = 0 if labels[y, x] == name else last + 1
            distance[y, x] = last
        last = height + width
        for y in range(height - 1, -1, -1):
            last = 0 if labels[y, x] == name else last + 1
            distance[y, x] = min(distance[y, x], last)
    return distance
