"""Outlines of pixel masks: following them, their length, points at equal distances along them.

The boundary of a mask is a chain of pixel edges. The outline joins their midpoints: it is the
contour at one half between the pixel centres in and out of the mask (marching squares), and lies
half a pixel outside the chain through the outermost pixel centres that MATLAB's ``bwboundaries``
follows. The mask is 8-connected, its background 4-connected.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Weights of Vossepoel and Smeulders (Computer Graphics and Image Processing 20, 347, 1982) for
#: even (straight) and odd (diagonal) steps of a chain code, and for its corners: the length of
#: digitised straight lines is unbiased over directions.
EVEN, ODD, CORNER = 0.980, 1.406, -0.091

# Directions of an edge that has the mask on its right: east, south, west, north (y down).
_STEP_Y = (0, 1, 0, -1)
_STEP_X = (1, 0, -1, 0)
# The pixel on the left and on the right ahead of a pixel corner, per direction.
_LEFT_Y = (-1, 0, 0, -1)
_LEFT_X = (0, 0, -1, -1)
_RIGHT_Y = (0, 0, -1, -1)
_RIGHT_X = (0, -1, -1, 0)


@njit(cache=True, nogil=True)
def follow(mask, top, left, visited, edges):
    """Follow the pixel edges of one boundary, the mask on the right, until it closes.

    Parameters
    ----------
    mask
        (height, width) uint8 with a margin of zeros.
    top, left
        A pixel of the mask that has background above it.
    visited
        (height, width) uint8, set where a pixel's upper edge was passed.
    edges
        (>= 4 * pixels, 2) int32, filled with twice the midpoints (y, x) of the edges, in pixels of
        the mask; clockwise on the screen around the mask.

    Returns
    -------
    count
        Number of edges.
    area
        Area inside [px2]; negative for the boundary of a hole.
    length
        Length of the outline [px] by the weights of Vossepoel and Smeulders.
    centre_length
        Length of the chain through the outermost pixel centres, in steps of 1 and sqrt(2) [px]
        (MATLAB's PerimeterOld).
    """
    y, x, direction = top, left, 0
    count, area = 0, 0
    straight, left_turns, right_turns, changes = 0, 0, 0, 0
    turned, first_turned = 0, 0
    while True:
        if direction == 0:
            visited[y, x] = 1
            area -= y
        elif direction == 2:
            area += y
        edges[count, 0] = 2 * y - 1 + _STEP_Y[direction]
        edges[count, 1] = 2 * x - 1 + _STEP_X[direction]
        count += 1
        y += _STEP_Y[direction]
        x += _STEP_X[direction]
        last = turned
        if mask[y + _LEFT_Y[direction], x + _LEFT_X[direction]]:
            direction = (direction + 3) % 4
            left_turns += 1
            turned = 1
        elif mask[y + _RIGHT_Y[direction], x + _RIGHT_X[direction]]:
            straight += 1
            turned = 0
        else:
            direction = (direction + 1) % 4
            right_turns += 1
            turned = 1
        if count == 1:
            first_turned = turned
        elif turned != last:
            changes += 1
        if y == top and x == left and direction == 0:
            break
    if turned != first_turned:
        changes += 1
    # Two half steps across a corner of the pixel grid make one diagonal step.
    diagonal = (left_turns + right_turns) / 2
    length = EVEN * straight + ODD * diagonal + CORNER * changes
    centre_length = straight + np.sqrt(2.0) * left_turns
    return count, area, length, centre_length


@njit(cache=True, nogil=True)
def follow_all(mask):
    """Follow every boundary of a mask.

    Returns
    -------
    outline
        (m, 2) twice the midpoints (y, x) of the edges of the longest outer boundary.
    parts, holes
        Number of outer boundaries and of holes.
    length, centre_length
        As `follow`, summed over the outer boundaries.
    """
    height, width = mask.shape
    visited = np.zeros(mask.shape, np.uint8)
    total = 0
    for y in range(1, height):
        for x in range(1, width):
            total += mask[y, x] != mask[y - 1, x]
            total += mask[y, x] != mask[y, x - 1]
    edges = np.empty((total, 2), np.int32)
    outline = edges[:0]
    parts, holes, length, centre_length = 0, 0, 0.0, 0.0
    used = 0
    for y in range(1, height):
        for x in range(1, width):
            if mask[y, x] and not mask[y - 1, x] and not visited[y, x]:
                found = edges[used:]
                count, area, own, own_centre = follow(mask, y, x, visited, found)
                used += count
                if area > 0:
                    parts += 1
                    length += own
                    centre_length += own_centre
                    if count > outline.shape[0]:
                        outline = found[:count]
                else:
                    holes += 1
    return outline, parts, holes, length, centre_length


@njit(cache=True, nogil=True)
def spread_points(polygon, out):
    """Fill `out` (n, 2) with points at equal distances along a closed polygon (m, 2).

    The first one is the polygon's first vertex; the order is reversed, so that what ran clockwise
    on the screen runs counter-clockwise.
    """
    size = polygon.shape[0]
    reach = np.empty(size + 1)
    reach[0] = 0.0
    for i in range(size):
        a, b = (size - i) % size, size - i - 1
        dy = polygon[b, 0] - polygon[a, 0]
        dx = polygon[b, 1] - polygon[a, 1]
        reach[i + 1] = reach[i] + np.sqrt(dy * dy + dx * dx)
    i = 0
    for k in range(out.shape[0]):
        target = reach[size] * k / out.shape[0]
        while i < size - 1 and reach[i + 1] <= target:
            i += 1
        a, b = (size - i) % size, size - i - 1
        step = reach[i + 1] - reach[i]
        share = (target - reach[i]) / step if step > 0 else 0.0
        for axis in range(2):
            out[k, axis] = polygon[a, axis] + share * (polygon[b, axis] - polygon[a, axis])


@njit(cache=True, nogil=True)
def fill_holes(mask):
    """Set what the margin of zeros does not reach through 4-neighbours; returns pixels set."""
    height, width = mask.shape
    outside = np.zeros(mask.shape, np.uint8)
    stack = np.empty((mask.size + 1, 2), np.int32)
    stack[0, 0] = 0
    stack[0, 1] = 0
    outside[0, 0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        y, x = stack[depth, 0], stack[depth, 1]
        for direction in range(4):
            v, u = y + _STEP_Y[direction], x + _STEP_X[direction]
            if 0 <= v < height and 0 <= u < width and not outside[v, u] and not mask[v, u]:
                outside[v, u] = 1
                stack[depth, 0] = v
                stack[depth, 1] = u
                depth += 1
    added = 0
    for y in range(height):
        for x in range(width):
            if not outside[y, x] and not mask[y, x]:
                mask[y, x] = 1
                added += 1
    return added
