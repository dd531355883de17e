"""Masks of single regions: cropping, holes, distance to the outline."""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["crop_region", "distance_inside", "find_holes"]


@nb.njit(nogil=True, cache=True)
def crop_region(pixel, width, height, margin):
    """Mask of a region on its own bounding box and a margin, clipped by the image.

    Returns the mask and the row and column of its first pixel.
    """
    y0, x0, y1, x1 = height, width, -1, -1
    for i in range(pixel.size):
        y, x = pixel[i] // width, pixel[i] % width
        y0, y1 = min(y0, y), max(y1, y)
        x0, x1 = min(x0, x), max(x1, x)
    y0, x0 = max(y0 - margin, 0), max(x0 - margin, 0)
    y1, x1 = min(y1 + margin, height - 1), min(x1 + margin, width - 1)
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.bool_)
    for i in range(pixel.size):
        mask[pixel[i] // width - y0, pixel[i] % width - x0] = True
    return mask, y0, x0


@nb.njit(nogil=True, cache=True)
def find_holes(mask):
    """Number the background components that do not reach the rim of the crop.

    Returns an int32 map, 0 outside holes, and the number of holes.
    """
    height, width = mask.shape
    label = np.zeros((height, width), np.int32)
    stack = np.empty((height * width, 2), np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if mask[y, x] or label[y, x] != 0:
                continue
            top = 0
            count += 1
            stack[0, 0], stack[0, 1] = y, x
            label[y, x] = count
            top = 1
            seen = 0
            outside = False
            while seen < top:
                cy, cx = stack[seen, 0], stack[seen, 1]
                seen += 1
                if cy == 0 or cx == 0 or cy == height - 1 or cx == width - 1:
                    outside = True
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        ny, nx = cy + dy, cx + dx
                        if ny < 0 or nx < 0 or ny >= height or nx >= width:
                            continue
                        if mask[ny, nx] or label[ny, nx] != 0:
                            continue
                        label[ny, nx] = count
                        stack[top, 0], stack[top, 1] = ny, nx
                        top += 1
            if outside:
                for i in range(top):
                    label[stack[i, 0], stack[i, 1]] = -1
                count -= 1
    for y in range(height):
        for x in range(width):
            label[y, x] = max(label[y, x], 0)
    return label, count


@nb.njit(nogil=True, cache=True)
def distance_inside(mask):
    """Euclidean distance of every pixel of the mask to the nearest pixel outside it.

    Beyond the rim of the array nothing is known, and nothing counts as outside there: a crystal
    cut by the edge of the field keeps the distance map of the whole one. Felzenszwalb and
    Huttenlocher 2012.
    """
    height, width = mask.shape
    far = np.float32(height + width)
    column = np.empty((height, width), np.float32)
    for x in range(width):
        last = far
        for y in range(height):
            last = last + 1 if mask[y, x] else np.float32(0)
            column[y, x] = min(last, far)
        last = far
        for y in range(height - 1, -1, -1):
            last = last + 1 if mask[y, x] else np.float32(0)
            column[y, x] = min(last, column[y, x])
    out = np.zeros((height, width), np.float32)
    vertex = np.empty(width, np.int64)
    cut = np.empty(width + 1, np.float64)
    for y in range(height):
        k = 0
        vertex[0] = 0
        cut[0], cut[1] = -1e12, 1e12
        for x in range(1, width):
            g = np.float64(column[y, x]) ** 2 + x * x
            v = vertex[k]
            s = (g - np.float64(column[y, v]) ** 2 - v * v) / (2 * (x - v))
            while s <= cut[k]:
                k -= 1
                v = vertex[k]
                s = (g - np.float64(column[y, v]) ** 2 - v * v) / (2 * (x - v))
            k += 1
            vertex[k] = x
            cut[k], cut[k + 1] = s, 1e12
        k = 0
        for x in range(width):
            while cut[k + 1] < x:
                k += 1
            v = vertex[k]
            if mask[y, x]:
                out[y, x] = np.sqrt((x - v) ** 2 + np.float64(column[y, v]) ** 2)
    return out
