"""Outlines of shapes as polygons and their exact coverage of pixels (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

#: Vertices of an outline, at least.
OUTLINE_VERTICES = 384


@njit(cache=True, nogil=True)
def pieces_of(d, vertices):
    """Pieces that a quarter period is cut into, on each side of its corner."""
    return max(math.ceil(vertices / (4.0 * d)), 12)


@njit(cache=True, nogil=True)
def fill_outline(p, d, axis_ratio, phase, pieces, ys, xs):
    """Vertices of one curve about its origin [units of R]; returns their number, 4 pieces d.

    The nodes gather at the tips (both axes), where a curve of small p is a cusp, and at the corner
    of large p between them, so that neither is cut off.
    """
    half = 2 * pieces
    corner = math.atan(axis_ratio)
    table_u = np.empty(half + 1)
    table_r = np.empty(half + 1)
    for j in range(half + 1):
        if j <= pieces:
            t, low, high = j / pieces, 0.0, corner
        else:
            t, low, high = (j - pieces) / pieces, corner, 0.5 * math.pi
        a, b = t * t * t, (1.0 - t) * (1.0 - t) * (1.0 - t)
        u = low + (high - low) * a / (a + b)
        major, minor = axis_ratio * math.cos(u), math.sin(u)
        big, small = max(major, minor), max(min(major, minor), 0.0)
        table_u[j] = u
        table_r[j] = (1.0 + (small / big) ** p) ** (-1.0 / p) / big
    count = 0
    for period in range(d):
        base = period * math.pi
        for j in range(2 * half):
            if j < half:
                u, r = base + table_u[j], table_r[j]
            else:
                u, r = base + math.pi - table_u[2 * half - j], table_r[2 * half - j]
            theta = 2.0 * (u - phase) / d
            ys[count] = -r * math.sin(theta)
            xs[count] = r * math.cos(theta)
            count += 1
    return count


@njit(cache=True, nogil=True)
def polygon_moments(ys, xs, count):
    """Area, centroid y, centroid x of a polygon."""
    twice, sum_y, sum_x = 0.0, 0.0, 0.0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        cross = xs[i] * ys[j] - xs[j] * ys[i]
        twice += cross
        sum_y += (ys[i] + ys[j]) * cross
        sum_x += (xs[i] + xs[j]) * cross
    return abs(twice) / 2.0, sum_y / (3.0 * twice), sum_x / (3.0 * twice)


@njit(cache=True, nogil=True)
def _add_row(sheet, row, x, xnext, area):
    """Spread one edge's share of one pixel row over the columns it crosses."""
    right = sheet.shape[1] - 2.0
    left = min(max(min(x, xnext), 0.0), right)
    end = min(max(max(x, xnext), 0.0), right)
    first, last = math.floor(left), math.ceil(end)
    if last <= first + 1:
        share = 0.5 * (left + end) - first
        sheet[row, first] += area - area * share
        sheet[row, first + 1] += area * share
        return
    slope = 1.0 / (end - left)
    into = left - first
    out = end - last + 1.0
    head = 0.5 * slope * (1.0 - into) * (1.0 - into)
    tail = 0.5 * slope * out * out
    sheet[row, first] += area * head
    if last == first + 2:
        sheet[row, first + 1] += area * (1.0 - head - tail)
    else:
        second = slope * (1.5 - into)
        sheet[row, first + 1] += area * (second - head)
        for column in range(first + 2, last - 1):
            sheet[row, column] += area * slope
        before = second + (last - first - 3) * slope
        sheet[row, last - 1] += area * (1.0 - before - tail)
    sheet[row, last] += area * tail


@njit(cache=True, nogil=True)
def cover(ys, xs, count, sheet, coverage):
    """Exact share of every pixel that lies inside a simple polygon.

    Vertices are in pixels, pixel centres at integers. `sheet` is scratch of shape (height,
    width + 2). Signed areas are summed along the edges and then along the rows.
    """
    height, width = coverage.shape
    sheet[:] = 0.0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        y0, x0, y1, x1 = ys[i] + 0.5, xs[i] + 0.5, ys[j] + 0.5, xs[j] + 0.5
        if y0 == y1:
            continue
        sign = 1.0
        if y0 > y1:
            y0, x0, y1, x1, sign = y1, x1, y0, x0, -1.0
        if y1 <= 0.0 or y0 >= height:
            continue
        slope = (x1 - x0) / (y1 - y0)
        x = x0
        if y0 < 0.0:
            x -= y0 * slope
            y0 = 0.0
        bottom = min(y1, float(height))
        for row in range(int(y0), min(math.ceil(bottom), height)):
            step = min(row + 1.0, bottom) - max(float(row), y0)
            xnext = x + slope * step
            _add_row(sheet, row, x, xnext, step * sign)
            x = xnext
    for row in range(height):
        total = 0.0
        for column in range(width):
            total += sheet[row, column]
            coverage[row, column] = min(abs(total), 1.0)


@njit(cache=True, nogil=True)
def place_outline(p, d, axis_ratio, phase, centre_y, centre_x, equivalent_radius, ys, xs):
    """Outline with its centroid at a place and the area of a disc of a radius, in pixels."""
    count = fill_outline(p, d, axis_ratio, phase, pieces_of(d, OUTLINE_VERTICES), ys, xs)
    area, mean_y, mean_x = polygon_moments(ys, xs, count)
    scale = equivalent_radius * math.sqrt(math.pi / area)
    for i in range(count):
        ys[i] = centre_y + scale * (ys[i] - mean_y)
        xs[i] = centre_x + scale * (xs[i] - mean_x)
    return count


@njit(cache=True, nogil=True)
def render_batch(p, d, axis_ratio, phase, centre_y, centre_x, equivalent_radius, coverage):
    """Fill `coverage` (n, height, width); a shape with a NaN is left empty."""
    height, width = coverage.shape[1:]
    ys, xs = np.empty(OUTLINE_VERTICES * 2), np.empty(OUTLINE_VERTICES * 2)
    sheet = np.empty((height, width + 2))
    page = np.empty((height, width))
    for k in range(p.shape[0]):
        total = p[k] + axis_ratio[k] + phase[k] + centre_y[k] + centre_x[k] + equivalent_radius[k]
        if not math.isfinite(total) or d[k] < 1:
            coverage[k] = 0.0
            continue
        count = place_outline(
            p[k], d[k], axis_ratio[k], phase[k], centre_y[k], centre_x[k],
            equivalent_radius[k], ys, xs,
        )  # fmt: skip
        cover(ys, xs, count, sheet, page)
        coverage[k] = page
