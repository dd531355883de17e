"""The compiled loop over the crystals of one image that `features` turns into columns."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nanoarray.nanocrystal.measure.feret import (
    centre_hull,
    edge_hull,
    feret_max,
    feret_min,
    lattice_points,
)
from nanoarray.nanocrystal.measure.outline import fill_holes, follow_all, spread_points

#: What is measured of a crystal before units and ratios: lengths in px, moments in px2.
RAW = np.dtype(
    [
        (name, np.float64)
        for name in (
            "area",
            "centroid_y",
            "centroid_x",
            "moment_yy",
            "moment_xx",
            "moment_xy",
            "convex_area",
            "filled_area",
            "parts",
            "holes",
            "perimeter",
            "perimeter_old",
            "feret_max",
            "feret_max_angle",
            "feret_min",
            "feret_min_angle",
            "intensity_mean",
            "intensity_std",
            "intensity_min",
            "intensity_max",
            "intensity_ring",
        )
    ]
)


def grey_values(pixels: NDArray) -> NDArray[np.float32]:
    """Contiguous float32: exact for the integers of micrographs, and one compiled version."""
    return np.ascontiguousarray(pixels, dtype=np.float32)


@njit(cache=True, nogil=True)
def measure_all(index, grey, box, ring_px, raw, outline, hull, extrema, max_ends, min_ends):
    """Fill a row of every output per crystal; positions in the image's pixels."""
    for k in range(box.shape[0]):
        top, left = box[k, 0] - 1, box[k, 1] - 1
        mask = np.zeros((box[k, 2] - top + 1, box[k, 3] - left + 1), np.uint8)
        for y in range(box[k, 0], box[k, 2]):
            for x in range(box[k, 1], box[k, 3]):
                mask[y - top, x - left] = index[y, x] == k + 1
        row = raw[k]
        _sums(mask, grey, top, left, row)
        _extrema(mask, top, left, extrema[k])
        row.intensity_ring = _ring_mean(index, grey, k + 1, box[k], ring_px)

        edges, parts, holes, length, centre_length = follow_all(mask)
        row.parts, row.holes = parts, holes
        row.perimeter, row.perimeter_old = length, centre_length
        row.filled_area = row.area
        if holes > 0:
            row.filled_area += fill_holes(mask)
        polygon = np.empty(edges.shape, np.float64)
        _to_image(edges, top, left, polygon)
        spread_points(polygon, outline[k])

        centres = centre_hull(mask)
        row.convex_area = lattice_points(centres)
        corners = edge_hull(centres)
        convex = np.empty(corners.shape, np.float64)
        _to_image(corners, top, left, convex)
        spread_points(convex, hull[k])
        row.feret_max, row.feret_max_angle = feret_max(convex, max_ends[k])
        row.feret_min, row.feret_min_angle = feret_min(convex, min_ends[k])


@njit(cache=True, nogil=True)
def _to_image(half_pixels, top, left, out):
    for i in range(half_pixels.shape[0]):
        out[i, 0] = top + 0.5 * half_pixels[i, 0]
        out[i, 1] = left + 0.5 * half_pixels[i, 1]


@njit(cache=True, nogil=True)
def _sums(mask, grey, top, left, row):
    """Area, centroid, central second moments and grey values of the pixels of a mask."""
    # Whole numbers: twice the distance from the middle of the bounding box. So nothing is lost in
    # large crystals, and equal moments of symmetric ones are exactly equal.
    middle_y, middle_x = mask.shape[0] - 1, mask.shape[1] - 1
    area, sum_y, sum_x, yy, xx, xy = 0, 0, 0, 0, 0, 0
    total, lowest, highest = 0.0, np.inf, -np.inf
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if not mask[y, x]:
                continue
            area += 1
            v, u = 2 * y - middle_y, 2 * x - middle_x
            sum_y += v
            sum_x += u
            yy += v * v
            xx += u * u
            xy += u * v
            value = float(grey[top + y, left + x])
            total += value
            lowest = value if not value >= lowest else lowest
            highest = value if not value <= highest else highest
    mean_y, mean_x, mean = sum_y / area, sum_x / area, total / area
    squares = 0.0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x]:
                squares += (float(grey[top + y, left + x]) - mean) ** 2
    row.area = area
    row.centroid_y = top + 0.5 * (middle_y + mean_y)
    row.centroid_x = left + 0.5 * (middle_x + mean_x)
    row.moment_yy = 0.25 * (yy / area - mean_y * mean_y)
    row.moment_xx = 0.25 * (xx / area - mean_x * mean_x)
    row.moment_xy = 0.25 * (xy / area - mean_x * mean_y)
    row.intensity_mean = mean
    row.intensity_std = np.sqrt(squares / area)
    row.intensity_min, row.intensity_max = lowest, highest


@njit(cache=True, nogil=True)
def _extrema(mask, top, left, out):
    """The eight extreme pixel corners in MATLAB's order, clockwise from the top on the left."""
    bottom_edge, right_edge = mask.shape[0] - 2, mask.shape[1] - 2  # the margin is one pixel
    ends = np.full((4, 2), -1, np.int64)  # first and last in the top, right, bottom, left line
    for x in range(mask.shape[1]):
        for side, y in ((0, 1), (2, bottom_edge)):
            if mask[y, x]:
                ends[side, 1] = x
                if ends[side, 0] < 0:
                    ends[side, 0] = x
    for y in range(mask.shape[0]):
        for side, x in ((1, right_edge), (3, 1)):
            if mask[y, x]:
                ends[side, 1] = y
                if ends[side, 0] < 0:
                    ends[side, 0] = y
    low_y, low_x = top + 0.5, left + 0.5
    high_y, high_x = top + bottom_edge + 0.5, left + right_edge + 0.5
    out[0, 0], out[0, 1] = low_y, left + ends[0, 0] - 0.5
    out[1, 0], out[1, 1] = low_y, left + ends[0, 1] + 0.5
    out[2, 0], out[2, 1] = top + ends[1, 0] - 0.5, high_x
    out[3, 0], out[3, 1] = top + ends[1, 1] + 0.5, high_x
    out[4, 0], out[4, 1] = high_y, left + ends[2, 1] + 0.5
    out[5, 0], out[5, 1] = high_y, left + ends[2, 0] - 0.5
    out[6, 0], out[6, 1] = top + ends[3, 1] + 0.5, low_x
    out[7, 0], out[7, 1] = top + ends[3, 0] - 0.5, low_x


@njit(cache=True, nogil=True)
def _ring_mean(index, grey, own, box, ring_px):
    """Mean grey value around a crystal; NaN where there is no such pixel.

    Of the pixels at most 1 + ring_px from the crystal those that have no label, nor one beside
    them: the edges of crystals are blurred.
    """
    reach = ring_px + 1
    top, left = max(box[0] - reach, 0), max(box[1] - reach, 0)
    bottom, right = min(box[2] + reach, index.shape[0]), min(box[3] + reach, index.shape[1])
    ring = np.zeros((bottom - top, right - left), np.uint8)
    for y in range(box[0], box[2]):
        for x in range(box[1], box[3]):
            if index[y, x] != own or not _has_other(index, y, x, own):
                continue
            for v in range(max(y - reach, top), min(y + reach + 1, bottom)):
                for u in range(max(x - reach, left), min(x + reach + 1, right)):
                    if (v - y) ** 2 + (u - x) ** 2 <= reach * reach:
                        ring[v - top, u - left] = 1
    total, count = 0.0, 0
    for y in range(top, bottom):
        for x in range(left, right):
            if ring[y - top, x - left] and index[y, x] == 0 and not _has_other(index, y, x, 0):
                total += grey[y, x]
                count += 1
    return total / count if count > 0 else np.nan


@njit(cache=True, nogil=True)
def _has_other(index, y, x, own):
    """Whether one of the eight neighbours has another label."""
    for v in range(max(y - 1, 0), min(y + 2, index.shape[0])):
        for u in range(max(x - 1, 0), min(x + 2, index.shape[1])):
            if index[v, u] != own:
                return True
    return False
