"""The loops of `nanoarray.superlattice.radon.aligned`, compiled by numba."""

from __future__ import annotations

import math
from typing import Final

import numba as nb
import numpy as np
import numpy.typing as npt

from nanoarray.superlattice.radon.vector import RUN, subtract_run

#: Bins that are read together: along them the ends of the chords have the same row.
SEGMENT: Final = RUN
#: Least sum of squared valid chord lengths, as a part of that of a whole tile.
MIN_VALID_FRACTION: Final = 0.1
# Order of sums is free, but no assumption that hides a NaN.
_FAST: Final = {"reassoc", "contract", "nsz", "arcp"}

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@nb.njit(nogil=True, cache=True)
def decimated(image: Float32, valid: Mask, factor: int) -> tuple[Float64, Float64]:
    """Sums and counts of the valid pixels in blocks of factor x factor pixels."""
    height, width = image.shape
    sums = np.zeros((-(-height // factor), -(-width // factor)), dtype=np.float64)
    counts = np.zeros_like(sums)
    for y in range(height):
        row = y // factor
        for x in range(width):
            if valid[y, x]:
                sums[row, x // factor] += image[y, x]
                counts[row, x // factor] += 1.0
    return sums, counts


@nb.njit(nogil=True, cache=True)
def subtract_local(image: Float32, valid: Mask, local: Float32, factor: int) -> Float32:
    """Image minus the bilinearly enlarged local mean, zero where invalid."""
    height, width = image.shape
    rows, columns = local.shape
    flat = np.empty((height, width), dtype=np.float32)
    line = np.empty(columns, dtype=np.float32)
    for y in range(height):
        # Block k covers pixels factor * k .. factor * k + factor - 1: its centre is in the middle.
        position = min(max((y + 0.5) / factor - 0.5, 0.0), rows - 1.0)
        above = min(int(position), max(rows - 2, 0))
        part = np.float32(position - above)
        below = min(above + 1, rows - 1)
        for k in range(columns):
            line[k] = local[above, k] + part * (local[below, k] - local[above, k])
        for x in range(width):
            position = min(max((x + 0.5) / factor - 0.5, 0.0), columns - 1.0)
            left = min(int(position), max(columns - 2, 0))
            right = min(left + 1, columns - 1)
            mean = line[left] + np.float32(position - left) * (line[right] - line[left])
            flat[y, x] = image[y, x] - mean if valid[y, x] else np.float32(0.0)
    return flat


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _add_row(source: Float32, sums: Float32, row: int, q: float, row0: int) -> None:
    """Running sum after `row`, on lines of slope q: sums[row + 1] = sums[row] + shifted row.

    Row r of the running sum is stored shifted by floor(q r), so that it covers the image's columns.
    Rows are counted from `row0`, so that a field of an image is sheared as the whole image is.
    """
    shift = math.floor(q * (row + row0))
    step = math.floor(q * (row + row0 + 1)) - shift
    f = np.float32(q * (row + row0) - shift)
    # Cubic convolution (Keys 1981, a = -1/2) at -1, 0, 1, 2.
    w0 = np.float32(((-0.5 * f + 1.0) * f - 0.5) * f)
    w1 = np.float32((1.5 * f - 2.5) * f * f + 1.0)
    w2 = np.float32(((-1.5 * f + 2.0) * f + 0.5) * f)
    w3 = np.float32((0.5 * f - 0.5) * f * f)
    width = source.shape[1]
    ring = sums.shape[0]
    line = source[row]
    last = sums[row & (ring - 1)]
    new = sums[(row + 1) & (ring - 1)]
    # Columns at the rim are padding: nothing to add, and no line there reaches a tile again.
    low, high = 3, width - 3
    new[:low] = np.float32(0.0)
    new[high:] = np.float32(0.0)
    a, b, c, d, old = (
        line[low - step - 1 : high - step - 1],
        line[low - step : high - step],
        line[low - step + 1 : high - step + 1],
        line[low - step + 2 : high - step + 2],
        last[low - step : high - step],
    )
    target = new[low:high]
    for i in range(high - low):
        target[i] = old[i] + w0 * a[i] + w1 * b[i] + w2 * c[i] + w3 * d[i]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _bins(sums: Float32, starts: Integers, first: int, count: int, bins: Float32) -> None:
    """Projections of one tile: differences of two rows of the running sum, segment by segment."""
    for s in range(starts.shape[0]):
        low = starts[s, 0] + first
        high = starts[s, 1] + first
        subtract_run(bins, s * SEGMENT, sums, high, low)
    bins[count : starts.shape[0] * SEGMENT] = np.float32(0.0)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _whole_variance(bins: Float32, padded_count: int, count: int) -> float:
    first = np.float32(0.0)
    second = np.float32(0.0)
    for i in range(padded_count):
        first += bins[i]
        second += bins[i] * bins[i]
    mean = np.float64(first) / count
    return max(np.float64(second) / count - mean * mean, 0.0)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _partial_variance(bins: Float32, known: Float32, padded_count: int) -> tuple[float, float]:
    """Weighted variance of the means along the chords, and the sum of squared chord lengths."""
    cross = np.float32(0.0)
    second = np.float32(0.0)
    weight = np.float32(0.0)
    for i in range(padded_count):
        cross += bins[i] * known[i]
        second += bins[i] * bins[i]
        weight += known[i] * known[i]
    if weight <= 0.0:
        return 0.0, 0.0
    total = np.float64(weight)
    return max(np.float64(second) - np.float64(cross) ** 2 / total, 0.0) / total, total


@nb.njit(nogil=True, cache=True)
def _segment_starts(
    y: float,
    q: float,
    slope: float,
    count: int,
    chord: int,
    height: int,
    width: int,
    pad: int,
    ring: int,
    starts: Integers,
    row0: int,
) -> None:
    """Where the two ends of each segment of bins of a tile at row y lie in the running sum.

    Indices into the flattened ring of rows, less the tile's own first bin. `y` counts from the
    first row of the image, of which the field begins at `row0`.
    """
    base = math.floor(q * row0)
    for s in range(starts.shape[0]):
        start = s * SEGMENT
        across = start + 0.5 * (SEGMENT - 1) - 0.5 * (count - 1)
        top = round(y - across * slope - 0.5 * (chord - 1)) - row0
        low = min(max(top, 0), height)
        high = min(max(top + chord, 0), height)
        column_low = column_high = start + pad
        if high == low:
            # Wholly outside the image: nothing less nothing, at a place that exists.
            column_low += math.floor(q * y) - base
            column_high = column_low
        else:
            column_low += math.floor(q * (low + row0)) - base
            column_high += math.floor(q * (high + row0)) - base
        starts[s, 0] = (low & (ring - 1)) * width + column_low
        starts[s, 1] = (high & (ring - 1)) * width + column_high


@nb.njit(nogil=True, cache=True)
def sheared_variance(
    image: Float32,
    known: Float32,
    whole: Mask,
    ys: Float64,
    xs: Float64,
    tile: float,
    pad: int,
    thetas: Float64,
    slots: Integers,
    out: Float32,
    row0: int,
    col0: int,
) -> None:
    """Fill out[:, :, slots] with the variance at the angles `thetas` (within 45 deg of 0).

    Parameters
    ----------
    image, known
        (height, width + 2 pad) flattened image and its validity (0 or 1) between columns of zeros;
        `known` may be empty where all tiles are whole.
    whole
        (ny, nx) whether the window of a tile is free of missing pixels at every angle.
    ys, xs
        (ny,), (nx,) tile centres [px of the whole image], `ys` ascending.
    tile
        Edge of the window [px].
    pad
        Columns of zeros on either side, beyond the reach of a window.
    thetas, slots
        Angles [rad] and their places along the last axis of `out`.
    out
        (ny, nx, na).
    row0, col0
        Where the field `image`, without padding, begins in the whole image.
    """
    height, width = image.shape
    reach = tile * math.sqrt(0.5) + SEGMENT
    # Only the rows within reach of a tile are kept: for small tiles they stay in the cache.
    ring = 1
    while ring < 2 * reach + 4:
        ring *= 2
    with_mask = known.shape[0] > 0
    sums = np.zeros((ring, width), dtype=np.float32)
    known_sums = np.zeros((ring if with_mask else 0, width), dtype=np.float32)
    bins = np.empty(2 * int(tile) + 2 * SEGMENT, dtype=np.float32)
    known_bins = np.empty_like(bins)
    for k in range(thetas.size):
        cosine, sine = math.cos(thetas[k]), math.sin(thetas[k])
        q = sine / cosine
        base = math.floor(q * row0)
        count = round(tile / cosine)
        chord = round(tile * cosine)
        starts = np.empty((-(-count // SEGMENT), 2), dtype=np.int64)
        padded_count = starts.shape[0] * SEGMENT
        sums[0] = np.float32(0.0)
        if with_mask:
            known_sums[0] = np.float32(0.0)
        done = 0
        for j in range(ys.size):
            # A row of tiles follows the rows it needs: they are still in the cache.
            needed = min(height, math.ceil(ys[j] - row0 + reach) + 1)
            while done < needed:
                _add_row(image, sums, done, q, row0)
                if with_mask:
                    _add_row(known, known_sums, done, q, row0)
                done += 1
            _segment_starts(
                *(ys[j], q, sine * cosine, count, chord, height, width, pad, ring, starts, row0)
            )
            for i in range(xs.size):
                first = round(xs[i] - q * ys[j] - 0.5 * (count - 1)) - col0 + base
                _bins(sums.ravel(), starts, first, count, bins)
                if whole[j, i]:
                    value = _whole_variance(bins, padded_count, count)
                    out[j, i, slots[k]] = (tile / chord) ** 2 * value
                    continue
                _bins(known_sums.ravel(), starts, first, count, known_bins)
                value, weight = _partial_variance(bins, known_bins, padded_count)
                if weight < MIN_VALID_FRACTION * count * chord * chord:
                    out[j, i, slots[k]] = np.nan
                else:
                    out[j, i, slots[k]] = tile * tile * value
