"""One simulated micrograph window and its segmentation (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nanoarray.nanocrystal.shape.raster import (
    OUTLINE_VERTICES,
    cover,
    fill_outline,
    pieces_of,
    polygon_moments,
)

#: Above this mean the Poisson distribution is drawn as a normal one.
_NORMAL_ABOVE = 30.0


@njit(cache=True, nogil=True)
def gaussian_blur(image, sigma, line):
    """Blur in place with a normalized Gaussian out to 2.5 sigma; edges repeat."""
    reach = max(math.ceil(2.5 * sigma), 1)
    weight = np.empty(reach + 1)
    total = 0.0
    for t in range(reach + 1):
        weight[t] = math.exp(-0.5 * (t / sigma) ** 2)
        total += weight[t] * (1.0 if t == 0 else 2.0)
    weight /= total
    height, width = image.shape
    for axis in range(2):
        length = width if axis == 0 else height
        for i in range(height if axis == 0 else width):
            for j in range(length):
                line[j] = image[i, j] if axis == 0 else image[j, i]
            for j in range(length):
                value = weight[0] * line[j]
                for t in range(1, reach + 1):
                    value += weight[t] * (line[max(j - t, 0)] + line[min(j + t, length - 1)])
                if axis == 0:
                    image[i, j] = value
                else:
                    image[j, i] = value


@njit(cache=True, nogil=True)
def keep_connected(mask, seed_y, seed_x, queue):
    """Keep the 4-connected part of a mask at a pixel, with its holes filled."""
    height, width = mask.shape
    mark = np.zeros((height, width), np.uint8)
    mask[seed_y, seed_x] = True
    for stage in range(2):
        wanted, code = stage == 0, 1 + stage
        count = 0
        if stage == 0:
            mark[seed_y, seed_x] = 1
            queue[0] = seed_y * width + seed_x
            count = 1
        else:
            for i in range(height):
                for j in range(width):
                    mask[i, j] = mark[i, j] == 1
                    edge = i == 0 or j == 0 or i == height - 1 or j == width - 1
                    if edge and not mask[i, j]:
                        mark[i, j] = 2
                        queue[count] = i * width + j
                        count += 1
        done = 0
        while done < count:
            i, j = queue[done] // width, queue[done] % width
            done += 1
            for step in range(4):
                y = i + (1 if step == 0 else -1 if step == 1 else 0)
                x = j + (1 if step == 2 else -1 if step == 3 else 0)
                if y < 0 or x < 0 or y >= height or x >= width:
                    continue
                if mark[y, x] == 0 and mask[y, x] == wanted:
                    mark[y, x] = code
                    queue[count] = y * width + x
                    count += 1
    for i in range(height):
        for j in range(width):
            mask[i, j] = mark[i, j] != 2


@njit(cache=True, nogil=True)
def _smooth_field(rng, amplitude, field):
    """Add a slow random field: 5 x 5 normal numbers, interpolated."""
    grid = np.empty((5, 5))
    for i in range(5):
        for j in range(5):
            grid[i, j] = amplitude * rng.standard_normal()
    side = field.shape[0]
    for i in range(side):
        v = 3.999 * i / (side - 1)
        for j in range(side):
            w = 3.999 * j / (side - 1)
            a, b = int(v), int(w)
            s, t = v - a, w - b
            top = grid[a, b] * (1.0 - t) + grid[a, b + 1] * t
            low = grid[a + 1, b] * (1.0 - t) + grid[a + 1, b + 1] * t
            field[i, j] = top * (1.0 - s) + low * s


@njit(cache=True, nogil=True)
def _support(ys, xs, count, angle):
    """Farthest reach of a polygon along a direction."""
    sine, cosine = math.sin(angle), math.cos(angle)
    far = -1e30
    for i in range(count):
        far = max(far, xs[i] * cosine + ys[i] * sine)
    return far


@njit(cache=True, nogil=True)
def _unit_outline(shape, ys, xs):
    """Outline with the centroid at 0 and the longer side of its box 1; vertices and area."""
    count = fill_outline(
        shape[0], int(shape[1]), shape[2], shape[3],
        pieces_of(int(shape[1]), OUTLINE_VERTICES), ys, xs,
    )  # fmt: skip
    area, mean_y, mean_x = polygon_moments(ys, xs, count)
    span = max(np.ptp(ys[:count]), np.ptp(xs[:count]))
    ys[:count] = (ys[:count] - mean_y) / span
    xs[:count] = (xs[:count] - mean_x) / span
    return count, area / (span * span), -mean_y / span, -mean_x / span


@njit(cache=True, nogil=True)
def relative_diameters(shapes):
    """Equivalent diameter of every shape over the longer side of its bounding box."""
    ys, xs = np.empty(2 * OUTLINE_VERTICES), np.empty(2 * OUTLINE_VERTICES)
    ratio = np.empty(shapes.shape[0])
    for k in range(shapes.shape[0]):
        _count, area, _y, _x = _unit_outline(shapes[k], ys, xs)
        ratio[k] = 2.0 * math.sqrt(area / math.pi)
    return ratio


@njit(cache=True, nogil=True)
def _draw_neighbours(neighbours, size, centre_y, centre_x, ys, xs, count, sheet, other, field):
    """Coverage of the neighbours beside a placed crystal into `other` (the larger of them)."""
    other[:] = 0.0
    near_y, near_x = np.empty_like(ys), np.empty_like(xs)
    for q in range(neighbours.shape[0]):
        angle, gap, ratio = neighbours[q, 4], neighbours[q, 5], neighbours[q, 6]
        if ratio <= 0.0:
            continue
        vertices, _area, _y, _x = _unit_outline(neighbours[q], near_y, near_x)
        reach = _support(ys, xs, count, angle) - (
            centre_x * math.cos(angle) + centre_y * math.sin(angle)
        )
        own = size * ratio * _support(near_y, near_x, vertices, angle + math.pi)
        away = reach + own + gap * size
        for i in range(vertices):
            near_y[i] = centre_y + away * math.sin(angle) + size * ratio * near_y[i]
            near_x[i] = centre_x + away * math.cos(angle) + size * ratio * near_x[i]
        cover(near_y, near_x, vertices, sheet, field)
        for i in range(other.shape[0]):
            for j in range(other.shape[1]):
                other[i, j] = max(other[i, j], field[i, j])


@njit(cache=True, nogil=True)
def simulate_window(rng, shape, neighbours, condition, grey, mask):
    """Fill one window with a picture and with what a segmentation would find.

    `shape` is p, d, L, phase [rad]; a row of `neighbours` the same with direction, gap and size
    ratio; `condition` the size, contrast, contrast to noise, blur, tilt y, tilt x, texture, blur of
    the segmentation, threshold, shift y, shift x, whether bright. Returns the centroid and the
    equivalent radius in the window [px].
    """
    side = grey.shape[0]
    size, contrast, to_noise, blur = condition[0], condition[1], condition[2], condition[3]
    ys, xs = np.empty(2 * OUTLINE_VERTICES), np.empty(2 * OUTLINE_VERTICES)
    own, other = np.empty((side, side)), np.empty((side, side))
    field, sheet = np.empty((side, side)), np.empty((side, side + 2))
    line, queue = np.empty(side), np.empty(side * side, np.int64)
    count, area, origin_y, origin_x = _unit_outline(shape, ys, xs)
    middle = (side - 1) / 2.0
    centre_y = middle - size * (ys[:count].max() + ys[:count].min()) / 2.0 + condition[9]
    centre_x = middle - size * (xs[:count].max() + xs[:count].min()) / 2.0 + condition[10]
    for i in range(count):
        ys[i] = centre_y + size * ys[i]
        xs[i] = centre_x + size * xs[i]
    cover(ys, xs, count, sheet, own)
    _draw_neighbours(neighbours, size, centre_y, centre_x, ys, xs, count, sheet, other, field)
    _smooth_field(rng, condition[6], field)
    for i in range(side):
        for j in range(side):
            absorbed = max(own[i, j] * max(1.0 + field[i, j], 0.3), other[i, j])
            tilt = 1.0 + condition[4] * (i / side - 0.5) + condition[5] * (j / side - 0.5)
            field[i, j] = tilt * (1.0 - min(contrast * absorbed, 0.95))
    gaussian_blur(field, blur, line)
    dose = (to_noise / contrast) ** 2
    for i in range(side):
        for j in range(side):
            mean = dose * field[i, j]
            if mean > _NORMAL_ABOVE:
                value = (mean + math.sqrt(mean) * rng.standard_normal()) / dose
            else:
                value = rng.poisson(mean) / dose
            field[i, j] = value
            shown = 90.0 + 130.0 * (1.0 - value) if condition[11] > 0 else 40.0 + 130.0 * value
            grey[i, j] = min(max(shown, 0.0), 255.0)
    gaussian_blur(field, condition[7], line)
    for i in range(side):
        for j in range(side):
            tilt = 1.0 + condition[4] * (i / side - 0.5) + condition[5] * (j / side - 0.5)
            taken = (1.0 - field[i, j] / tilt) / contrast
            neighbour = other[i, j] > max(own[i, j], 0.35)
            mask[i, j] = taken > condition[8] and not neighbour
    start_y = min(max(round(centre_y + size * origin_y), 0), side - 1)
    start_x = min(max(round(centre_x + size * origin_x), 0), side - 1)
    keep_connected(mask, start_y, start_x, queue)
    return centre_y, centre_x, size * math.sqrt(area / math.pi)


@njit(cache=True, nogil=True)
def simulate_mosaic(rng, shapes, neighbours, conditions, cell, grey, labels, places):
    """Windows side by side in one picture, with label k + 1 for crystal k.

    `places` (n, 3) gets the centroid in the mosaic and the equivalent radius [px].
    """
    columns = grey.shape[1] // cell
    for k in range(shapes.shape[0]):
        side = min(math.ceil(1.35 * conditions[k, 0]) + 6, cell)
        picture, mask = np.empty((side, side)), np.empty((side, side), np.bool_)
        y, x, radius = simulate_window(rng, shapes[k], neighbours[k], conditions[k], picture, mask)
        top, left = (k // columns) * cell, (k % columns) * cell
        for i in range(side):
            for j in range(side):
                grey[top + i, left + j] = np.uint8(picture[i, j] + 0.5)
                if mask[i, j]:
                    labels[top + i, left + j] = k + 1
        places[k, 0], places[k, 1], places[k, 2] = top + y, left + x, radius
