"""What a region looks like: the numbers by which a whole crystal is told from a part or a clump."""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = [
    "DEPTH_IN",
    "DEPTH_OUT",
    "INRADIUS",
    "LOG_AREA",
    "REGION_NUMBERS",
    "SOLIDITY",
    "describe_mask",
    "digital_hull_px",
]

#: The numbers of `describe_mask`, in order.
REGION_NUMBERS = (
    "log_area",
    "solidity",
    "ellipse",
    "circularity",
    "aspect",
    "inradius",
    "depth_in",
    "depth_spread",
    "depth_out",
    "contrast",
    "drop_mean",
    "drop_low",
    "drop_closed",
    "drop_spread",
    "contrast_closed",
    "hole_share",
    "hole_depth",
    "border_share",
    "outside_low",
    "core",
)
(
    LOG_AREA,
    SOLIDITY,
    ELLIPSE,
    CIRCULARITY,
    ASPECT,
    INRADIUS,
    DEPTH_IN,
    DEPTH_SPREAD,
    DEPTH_OUT,
    CONTRAST,
    DROP_MEAN,
    DROP_LOW,
    DROP_CLOSED,
    DROP_SPREAD,
    CONTRAST_CLOSED,
    HOLE_SHARE,
    HOLE_DEPTH,
    BORDER_SHARE,
    OUTSIDE_LOW,
    CORE,
) = range(len(REGION_NUMBERS))


@nb.njit(nogil=True, cache=True)
def _hull_chain(xs, ys, sign):
    """Corners of the left (sign -1) or right (+1) side of a hull, points sorted by row."""
    corner = np.empty(xs.size, np.int64)
    n = 0
    for i in range(xs.size):
        while n >= 2:
            a, b = corner[n - 2], corner[n - 1]
            cross = (xs[b] - xs[a]) * (ys[i] - ys[a]) - (ys[b] - ys[a]) * (xs[i] - xs[a])
            if cross * sign > 0:
                break
            n -= 1
        corner[n] = i
        n += 1
    return corner[:n]


@nb.njit(nogil=True, cache=True)
def _gcd(a, b):
    a, b = abs(a), abs(b)
    while b:
        a, b = b, a % b
    return a


@nb.njit(nogil=True, cache=True)
def digital_hull_px(mask):
    """Number of pixels whose centre lies in the convex hull of the pixel centres of a mask.

    Exactly the area of the mask where it is digitally convex (Pick's theorem), so the ratio of
    the two has no bias for small regions.
    """
    height, width = mask.shape
    left = np.empty(height, np.int64)
    right = np.empty(height, np.int64)
    row = np.empty(height, np.int64)
    n = 0
    for y in range(height):
        first, last = -1, -1
        for x in range(width):
            if mask[y, x]:
                if first < 0:
                    first = x
                last = x
        if first >= 0:
            left[n], right[n], row[n] = first, last, y
            n += 1
    if n == 0:
        return 0.0
    a = _hull_chain(left[:n], row[:n], -1)
    b = _hull_chain(right[:n], row[:n], 1)
    m = a.size + b.size
    px = np.empty(m, np.int64)
    py = np.empty(m, np.int64)
    for i in range(a.size):
        px[i], py[i] = left[a[i]], row[a[i]]
    for i in range(b.size):
        px[a.size + i] = right[b[b.size - 1 - i]]
        py[a.size + i] = row[b[b.size - 1 - i]]
    twice, rim = 0, 0
    for i in range(m):
        j = (i + 1) % m
        twice += px[i] * py[j] - px[j] * py[i]
        rim += _gcd(px[j] - px[i], py[j] - py[i])
    return abs(twice) / 2 + rim / 2 + 1


@nb.njit(nogil=True, cache=True)
def _moments(mask, hole, y0, x0, depth, out):
    """Area, ellipse, aspect ratio and grey levels; the mean inside."""
    area, holes = 0, 0
    sy, sx, syy, sxx, sxy = 0.0, 0.0, 0.0, 0.0, 0.0
    total, square, hole_total = 0.0, 0.0, 0.0
    core = -1e9
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if not mask[y, x] and hole[y, x] == 0:
                continue
            area += 1
            sy += y
            sx += x
            syy += y * y
            sxx += x * x
            sxy += x * y
            v = depth[y + y0, x + x0]
            if mask[y, x]:
                total += v
                square += v * v
                core = max(core, v)
            else:
                holes += 1
                hole_total += v
    solid = area - holes
    inside = total / solid
    cyy = syy / area - (sy / area) ** 2 + 1 / 12  # a pixel is a square, not a point
    cxx = sxx / area - (sx / area) ** 2 + 1 / 12
    cxy = sxy / area - sx * sy / area**2
    determinant = max(cyy * cxx - cxy * cxy, 1e-9)
    spread = np.sqrt(((cyy - cxx) / 2) ** 2 + cxy**2)
    mean = (cyy + cxx) / 2
    out[LOG_AREA] = np.log(area)
    out[SOLIDITY] = area / digital_hull_px(mask)
    out[ELLIPSE] = area / (4 * np.pi * np.sqrt(determinant))
    out[ASPECT] = np.sqrt((mean + spread) / max(mean - spread, 1e-6))
    out[DEPTH_IN] = inside
    out[DEPTH_SPREAD] = np.sqrt(max(square / solid - inside**2, 0.0))
    out[HOLE_SHARE] = holes / area
    return core, hole_total / max(holes, 1), holes


@nb.njit(nogil=True, cache=True)
def _padded(mask, hole):
    """The region without its holes, with two empty pixels around: no neighbour is out of bounds."""
    out = np.zeros((mask.shape[0] + 4, mask.shape[1] + 4), np.uint8)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            out[y + 2, x + 2] = mask[y, x] or hole[y, x] > 0
    return out


@nb.njit(nogil=True, cache=True)
def _outward(solid, y, x):
    """Unit vector away from the region; zeros where its surroundings balance."""
    gy, gx = np.int64(0), np.int64(0)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            empty = 1 - np.int64(solid[y + 2 + dy, x + 2 + dx])
            gy += empty * dy
            gx += empty * dx
    norm = np.sqrt(gy * gy + gx * gx)
    if norm == 0:
        return 0.0, 0.0
    return gy / norm, gx / norm


@nb.njit(nogil=True, cache=True)
def _sample(depth, y, x):
    """The nearest pixel, of those in the image."""
    iy = min(max(int(np.floor(y + 0.5)), 0), depth.shape[0] - 1)
    ix = min(max(int(np.floor(x + 0.5)), 0), depth.shape[1] - 1)
    return depth[iy, ix]


@nb.njit(nogil=True, cache=True)
def _walk_outline(mask, hole, y0, x0, depth, step_px):
    """Grey levels across the outline, and its length in the field and on the field's edge.

    For every pixel of the outline: how far the depth drops on the way out (a bright line between
    two crystals counts), how far it is lower outside, and the depth outside.
    """
    height, width = mask.shape
    image_height, image_width = depth.shape
    solid = _padded(mask, hole)
    values = np.empty((mask.sum(), 3), np.float32)
    n, border, edges = 0, 0, 0
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            near = (
                solid[y + 1, x + 2]
                + solid[y + 3, x + 2]
                + solid[y + 2, x + 1]
                + solid[y + 2, x + 3]
            )
            if near == 4:
                continue
            rim, gone = False, False
            for side in range(4):
                ny = y + (side == 0) - (side == 1)
                nx = x + (side == 2) - (side == 3)
                iy, ix = ny + y0, nx + x0
                if iy < 0 or ix < 0 or iy >= image_height or ix >= image_width:
                    gone = True
                elif solid[ny + 2, nx + 2] == 0:
                    rim = True
                    edges += 1
            border += gone
            if not rim:
                continue
            uy, ux = _outward(solid, y, x)
            oy, ox = y + y0 + step_px * uy, x + x0 + step_px * ux
            beyond = oy < -0.5 or ox < -0.5 or oy >= image_height - 0.5 or ox >= image_width - 0.5
            if (uy == 0 and ux == 0) or beyond:
                continue
            inner = _sample(depth, y + y0 - step_px * uy, x + x0 - step_px * ux)
            outer = _sample(depth, oy, ox)
            low = outer
            for k in range(1, int(step_px)):
                low = min(low, _sample(depth, y + y0 + k * uy, x + x0 + k * ux))
            values[n, 0], values[n, 1], values[n, 2] = inner - low, inner - outer, outer
            n += 1
    return values[:n], edges, border


@nb.njit(nogil=True, cache=True)
def describe_mask(mask, hole, y0, x0, depth, step_px):
    """Measure one region; see `REGION_NUMBERS`.

    ``mask`` and ``hole`` are crops whose first pixel is (``y0``, ``x0``) of ``depth``, the image
    turned so that crystals are high and scaled so that its range is about 0 to 1. ``step_px`` is
    how far from the outline the inside and the outside are sampled. The inradius is left to the
    caller, who has the distance map.
    """
    out = np.zeros(len(REGION_NUMBERS), np.float32)
    core, hole_depth, holes = _moments(mask, hole, y0, x0, depth, out)
    walk, edges, border = _walk_outline(mask, hole, y0, x0, depth, step_px)
    # A digital outline is 4 / pi longer than the curve, on average over directions.
    outline = max((edges + border) * np.pi / 4, 1.0)
    out[CIRCULARITY] = 4 * np.pi * np.exp(out[LOG_AREA]) / outline**2
    out[BORDER_SHARE] = border / max(edges + border, 1)
    n = walk.shape[0]
    if n > 0:
        drop, step, outside = np.sort(walk[:, 0]), np.sort(walk[:, 1]), np.sort(walk[:, 2])
        typical = max(drop[n // 2], 0.02)
        out[DEPTH_OUT] = outside[n // 2]
        out[CONTRAST] = step[n // 2]
        out[DROP_MEAN] = drop[n // 2]
        out[DROP_LOW] = drop[n // 10] / typical
        out[DROP_SPREAD] = (drop[(3 * n) // 4] - drop[n // 4]) / typical
        out[DROP_CLOSED] = np.mean(drop > 0.4 * typical)
        out[CONTRAST_CLOSED] = np.mean(step > 0.4 * typical)
        out[OUTSIDE_LOW] = outside[n // 10]
    contrast = max(out[DEPTH_IN] - out[DEPTH_OUT], 0.02)
    out[HOLE_DEPTH] = (hole_depth - out[DEPTH_OUT]) / contrast if holes else 1.0
    out[CORE] = (core - out[DEPTH_IN]) / contrast
    return out
