"""Shapes laid onto masks: overlap, placing, and the fit that maximizes it (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nanoarray.nanocrystal.shape.formula import AXIS_RATIO_RANGE, P_RANGE
from nanoarray.nanocrystal.shape.polar_kernels import mask_moments
from nanoarray.nanocrystal.shape.raster import cover, fill_outline, pieces_of, polygon_moments

#: Vertices of the outlines that are compared with masks.
_VERTICES = 192
#: `formula.P_RANGE` as `formula.p_coordinate`, and the end of `formula.AXIS_RATIO_RANGE`.
_COORDINATE_LOW = (P_RANGE[0] - 2.0) / (P_RANGE[0] + 2.0)
_COORDINATE_HIGH = (P_RANGE[1] - 2.0) / (P_RANGE[1] + 2.0)
_LOG2_RATIO_LIMIT = math.log2(AXIS_RATIO_RANGE[1])


@njit(cache=True, nogil=True)
def draw_state(state, d, ys, xs, sheet, coverage):
    """Coverage of a shape: centre y, x, log radius [log px], p coordinate, log2 L, phase [rad]."""
    p = 2.0 * (1.0 + state[3]) / (1.0 - state[3])
    pieces = pieces_of(d, _VERTICES)
    count = fill_outline(p, d, 2.0 ** state[4], state[5], pieces, ys, xs)
    area, mean_y, mean_x = polygon_moments(ys, xs, count)
    scale = math.exp(state[2]) * math.sqrt(math.pi / area)
    for i in range(count):
        ys[i] = state[0] + scale * (ys[i] - mean_y)
        xs[i] = state[1] + scale * (xs[i] - mean_x)
    cover(ys, xs, count, sheet, coverage)


@njit(cache=True, nogil=True)
def overlap(coverage, mask):
    """Jaccard index of a mask and the pixels covered by at least a half."""
    both, either = 0, 0
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            drawn = coverage[i, j] >= 0.5
            both += drawn and mask[i, j]
            either += drawn or mask[i, j]
    return both / either if either > 0 else 0.0


@njit(cache=True, nogil=True)
def _align(state, d, mask, area, centre_y, centre_x, ys, xs, sheet, coverage):
    """Give the drawn pixels the centroid and the area of the mask; returns the best overlap met.

    Tips thinner than half a pixel are not drawn, so the curve's own centroid and area do not do.
    """
    state[0], state[1], state[2] = centre_y, centre_x, 0.5 * math.log(area / math.pi)
    best, kept = -1.0, state.copy()
    for step in range(3):
        draw_state(state, d, ys, xs, sheet, coverage)
        score = overlap(coverage, mask)
        if score > best:
            best = score
            kept[:] = state
        count, sum_y, sum_x = 0.0, 0.0, 0.0
        for i in range(mask.shape[0]):
            for j in range(mask.shape[1]):
                if coverage[i, j] >= 0.5:
                    count += 1.0
                    sum_y += i
                    sum_x += j
        if count == 0.0 or step == 2:
            break
        state[2] += min(0.5 * math.log(area / count), 0.7)
        state[0] += centre_y - sum_y / count
        state[1] += centre_x - sum_x / count
    state[:] = kept
    return best


@njit(cache=True, nogil=True)
def _squared_error(coverage, mask):
    total = 0.0
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            total += (coverage[i, j] - mask[i, j]) ** 2
    return total


@njit(cache=True, nogil=True)
def _step(state, damping, matrix, gradient):
    """One damped Gauss-Newton step of a state, within limits."""
    damped = matrix.copy()
    for a in range(6):
        damped[a, a] += damping * matrix[a, a] + 1e-9
    change = np.linalg.solve(damped, gradient)
    moved = state.copy()
    for a in range(6):
        limit = 4.0 if a < 2 else 0.3
        moved[a] -= min(max(change[a], -limit), limit)
    moved[3] = min(max(moved[3], _COORDINATE_LOW), _COORDINATE_HIGH)
    moved[4] = min(max(moved[4], -_LOG2_RATIO_LIMIT), _LOG2_RATIO_LIMIT)
    return moved


@njit(cache=True, nogil=True)
def _fit(state, d, mask, iterations, ys, xs, sheet, pages):
    """Damped least squares of coverage against the mask; the state is replaced by the best.

    The squared difference of a coverage and a mask is the area of their symmetric difference with
    soft edges, so its minimum is the greatest overlap for a given mask.
    """
    steps = np.array([0.012, 0.02, 0.004 * d + 0.004])
    current, moved = pages[6], pages[7]
    height, width = mask.shape
    draw_state(state, d, ys, xs, sheet, current)
    error = _squared_error(current, mask)
    damping = 0.01
    matrix, gradient, row = np.empty((6, 6)), np.empty(6), np.empty(6)
    for _ in range(iterations):
        for a in range(3):
            trial = state.copy()
            if a == 0 and trial[3] + steps[0] >= _COORDINATE_HIGH:
                steps[0] = -steps[0]
            trial[3 + a] += steps[a]
            draw_state(trial, d, ys, xs, sheet, pages[a])
        matrix[:] = 0.0
        gradient[:] = 0.0
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                # Moving and growing the shape moves its picture: the slopes of the coverage.
                row[0] = 0.5 * (current[i - 1, j] - current[i + 1, j])
                row[1] = 0.5 * (current[i, j - 1] - current[i, j + 1])
                row[2] = (i - state[0]) * row[0] + (j - state[1]) * row[1]
                here = current[i, j]
                steady = row[0] == 0.0 and row[1] == 0.0
                for a in range(3):
                    row[3 + a] = (pages[a, i, j] - here) / steps[a]
                    steady = steady and row[3 + a] == 0.0
                if steady:
                    continue
                residual = here - mask[i, j]
                for a in range(6):
                    gradient[a] += row[a] * residual
                    for b in range(a + 1):
                        matrix[a, b] += row[a] * row[b]
        steps[0] = abs(steps[0])
        for a in range(6):
            for b in range(a):
                matrix[b, a] = matrix[a, b]
        gained = 0.0
        for _attempt in range(4):
            trial = _step(state, damping, matrix, gradient)
            draw_state(trial, d, ys, xs, sheet, moved)
            found = _squared_error(moved, mask)
            if found < error:
                gained = error - found
                error = found
                state[:] = trial
                current[:] = moved
                damping = max(damping * 0.3, 1e-4)
                break
            damping *= 6.0
        if gained < 0.002 * error + 0.05:
            break
    return error


@njit(cache=True, nogil=True)
def fit_masks(masks, start, kinds_d, iterations, states, scores, chosen):
    """Place or fit candidate shapes on masks and keep the best of each mask.

    `start` (n, candidates, 3) has p coordinate, log2 L and phase [rad], `kinds_d` (n, candidates)
    their d (below 1: no candidate). With 0 iterations shapes are only placed. `states` (n, 6),
    `scores` (n, candidates) and `chosen` (n) are filled; an empty mask gives NaN and -1.
    """
    height, width = masks.shape[1:]
    ys, xs = np.empty(2 * _VERTICES), np.empty(2 * _VERTICES)
    sheet = np.empty((height, width + 2))
    pages = np.empty((8, height, width))
    state = np.empty(6)
    for k in range(masks.shape[0]):
        states[k] = np.nan
        scores[k] = np.nan
        chosen[k] = -1
        area, centre_y, centre_x, _far = mask_moments(masks[k])
        if area == 0.0:
            continue
        best = -1.0
        for c in range(start.shape[1]):
            d = kinds_d[k, c]
            if d < 1 or not math.isfinite(start[k, c].sum()):
                continue
            state[3:] = start[k, c]
            score = _align(state, d, masks[k], area, centre_y, centre_x, ys, xs, sheet, pages[6])
            if iterations > 0:
                placed = state.copy()
                _fit(state, d, masks[k], iterations, ys, xs, sheet, pages)
                draw_state(state, d, ys, xs, sheet, pages[6])
                fitted = overlap(pages[6], masks[k])
                if fitted < score:
                    state[:] = placed
                score = max(score, fitted)
            scores[k, c] = score
            if score > best:
                best = score
                chosen[k] = c
                states[k] = state
