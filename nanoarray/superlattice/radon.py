"""Projection variance of every tile of an image, at the speed of a few passes over the image.

A Radon transform per tile would visit every pixel once per tile that covers it (164 times at tile
128, stride 10) and per angle. Here an image is sheared once per angle so that the projection
direction becomes vertical, and summed down the columns: a projection bin of any tile is then the
difference of two entries of the running sum, whatever the tile size.

Geometry. The lines of projection angle theta run along (sin theta, cos theta) in (x, y down), as in
`skimage.transform.radon`. Angles more than 45 degrees from the vertical are done on the transposed
image, where the angle is 90 - theta, so that a shear moves a row by at most one pixel per row.
With q = tan theta the line through (x, y) is named by u = x - q y; bins are one pixel of u apart,
which is cos theta px across the lines. The window of a tile is the square of `tile_size_px` turned
with the projection direction: all chords have the same length, so that a mean intensity or the
shape of the window leaves no mark on the variance. (Along the lines the ends of the chords follow
the turned square in steps of `SEGMENT` bins, which keeps memory accesses contiguous.)
"""

from __future__ import annotations

import math
from typing import Final

import numba as nb
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.superlattice.vector import RUN, subtract_run

SEGMENT: Final = RUN
DECIMATION: Final = 4
# A window with less valid area than this part of the tile says nothing about a lattice.
MIN_VALID_FRACTION: Final = 0.1
# Order of sums is free, but no assumption that hides a NaN.
_FAST: Final = {"reassoc", "contract", "nsz", "arcp"}

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def tile_radon(
    image: npt.ArrayLike,
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    tile_size_px: int,
    angles_deg: npt.ArrayLike,
    missing: npt.ArrayLike | None = None,
    flatten_px: float | None = None,
) -> FloatImage:
    """Variance of the projections of every tile, per projection angle.

    The local mean is subtracted first (normalized box blur of the valid pixels, twice, edge
    `flatten_px`), which removes backgrounds and shading. Missing pixels and what lies outside the
    image then are zero, that is, filled with the local mean. A bin whose chord has n valid pixels
    of T (the tile size) is a measurement of the mean along the chord with weight n**2::

        variance = T**2 * (sum p**2 - (sum n p)**2 / sum n**2) / sum n**2

    with p the sums over the chords; without missing pixels this is the plain variance of the
    projections. So tiles that are partly missing are on the same scale as whole ones.

    Parameters
    ----------
    image
        (height, width) intensities, any real dtype. NaN counts as missing.
    centres_y, centres_x
        (ny,), (nx,) ascending tile centres [px], pixel centres at integers, as from
        `nanoarray.superlattice.tile_grid.tile_grid`. Bins and chord ends are placed to the nearest
        pixel. Centres outside the image give NaN.
    tile_size_px
        Edge of the square window, which turns with the projection direction.
    angles_deg
        (na,) projection angles in the convention of `skimage.transform.radon`: at 0 the columns
        are summed. Any angle; the result has period 180.
    missing
        (height, width) bool, True where a pixel is a defect or unknown.
    flatten_px
        Edge of the box of the local mean, default the tile size. Infinity subtracts the mean of
        the image only.

    Returns
    -------
    variance
        (ny, nx, na) float32, in squared intensity times px^2: the variance over bins of line
        integrals of length `tile_size_px`. NaN at all angles where less than a tenth of the
        window is valid at some angle.

    Raises
    ------
    InputError
        Shapes that do not agree, a tile smaller than 4 px, or centres that do not ascend.

    Notes
    -----
    Rows are shifted by cubic convolution (Keys, a = -1/2), which attenuates a lattice of 11 px
    spacing by less than 1 % at any angle. The kernel runs on one core and releases the GIL: map it
    over images in threads. The result depends on nothing but the arguments.
    """
    image = np.asarray(image)
    centres_y = _ascending("centres_y", centres_y)
    centres_x = _ascending("centres_x", centres_x)
    angles = np.atleast_1d(np.asarray(angles_deg, dtype=np.float64))
    _check(image, tile_size_px, angles)
    height, width = image.shape
    variance = np.full((centres_y.size, centres_x.size, angles.size), np.nan, dtype=np.float32)
    rows = np.flatnonzero((centres_y > -0.5) & (centres_y < height - 0.5))
    columns = np.flatnonzero((centres_x > -0.5) & (centres_x < width - 0.5))
    if rows.size == 0 or columns.size == 0:
        return variance
    valid = _valid_pixels(image, missing)
    image = np.ascontiguousarray(image, dtype=np.float32)
    flat = flatten(image, valid, box_px=tile_size_px if flatten_px is None else flatten_px)
    part = _project(flat, valid, centres_y[rows], centres_x[columns], float(tile_size_px), angles)
    part[np.isnan(part).any(axis=2)] = np.nan
    variance[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = part
    return variance


def flatten(image: npt.NDArray, valid: Mask, *, box_px: float) -> FloatImage:
    """Image minus its local mean, zero where invalid.

    Parameters
    ----------
    image
        (height, width) intensities.
    valid
        (height, width) bool, True where the pixel is known.
    box_px
        Edge of the box, applied twice (so the local mean weighs by a pyramid of base
        ``2 * box_px``); infinity for the mean of the whole image.

    Returns
    -------
    flat
        (height, width) float32 in the units of the image.
    """
    sums, counts = _decimated(image, valid, DECIMATION)
    total = counts.sum()
    mean = sums.sum() / total if total else 0.0
    # Relative to the mean first: sums of large intensities would lose their last digits.
    sums -= mean * counts
    if math.isinf(box_px):
        local = np.full(sums.shape, mean, dtype=np.float32)
        return _subtract(image, valid, local, DECIMATION)
    size = max(1, round(box_px / DECIMATION))
    for _ in range(2):
        sums = ndimage.uniform_filter(sums, size, mode="constant")
        counts = ndimage.uniform_filter(counts, size, mode="constant")
    # Far inside a large defect there is nothing to average; what is put there is not used.
    known = counts > 1e-6
    local = np.divide(sums, counts, out=np.zeros_like(sums), where=known) + mean
    return _subtract(image, valid, local.astype(np.float32), DECIMATION)


def _ascending(name: str, centres: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.atleast_1d(np.asarray(centres, dtype=np.float64))
    if values.ndim != 1 or not np.all(np.diff(values) > 0):
        raise InputError(f"{name} has shape {values.shape}: expected one row of ascending centres")
    return values


def _check(image: npt.NDArray, tile_size_px: float, angles: npt.NDArray[np.float64]) -> None:
    if image.ndim != 2 or image.size == 0:
        raise InputError(f"the image has shape {image.shape}: expected (height, width)")
    if not (4 <= tile_size_px <= 4096):
        raise InputError(f"tile_size_px is {tile_size_px!r}: expected 4 to 4096 px")
    if angles.ndim != 1 or not np.all(np.isfinite(angles)):
        raise InputError("angles_deg must be one row of finite angles in degrees")


def _valid_pixels(image: npt.NDArray, missing: npt.ArrayLike | None) -> Mask:
    if missing is None:
        valid = np.ones(image.shape, dtype=bool)
    else:
        valid = ~np.asarray(missing, dtype=bool)
        if valid.shape != image.shape:
            raise InputError(
                f"the mask of missing pixels has shape {valid.shape}, the image {image.shape}:"
                " they must agree"
            )
    if image.dtype.kind == "f":
        valid &= np.isfinite(image)
    return valid


def _project(
    flat: FloatImage,
    valid: Mask,
    centres_y: npt.NDArray[np.float64],
    centres_x: npt.NDArray[np.float64],
    tile: float,
    angles: npt.NDArray[np.float64],
) -> FloatImage:
    """Variance (ny, nx, na) of all tiles; both halves of the angles in the same frame."""
    out = np.empty((centres_y.size, centres_x.size, angles.size), dtype=np.float32)
    whole = _whole_tiles(valid, centres_y, centres_x, tile)
    pad = math.ceil(tile * math.sqrt(0.5)) + SEGMENT + 4
    folded = np.mod(angles + 45.0, 180.0) - 45.0
    upright = folded <= 45.0
    for swap in (False, True):
        chosen = np.flatnonzero(upright != swap)
        if chosen.size == 0:
            continue
        # In the transposed image the direction (sin t, cos t) becomes (cos t, sin t).
        theta = np.deg2rad(90.0 - folded[chosen] if swap else folded[chosen])
        padded, known = _padded(flat, valid, pad, swap, not whole.all())
        if swap:
            view, flags, y, x = out.transpose(1, 0, 2), whole.T, centres_x, centres_y
        else:
            view, flags, y, x = out, whole, centres_y, centres_x
        _sheared_variance(padded, known, flags, y, x, tile, pad, theta, chosen, view)
    return out


def _padded(
    flat: FloatImage, valid: Mask, pad: int, swap: bool, with_mask: bool
) -> tuple[FloatImage, FloatImage]:
    """The image and (if needed) its validity, transposed or not, between columns of zeros."""
    source = flat.T if swap else flat
    height, width = source.shape
    padded = np.zeros((height, width + 2 * pad), dtype=np.float32)
    padded[:, pad : pad + width] = source
    if not with_mask:
        return padded, np.zeros((0, 0), dtype=np.float32)
    known = np.zeros_like(padded)
    known[:, pad : pad + width] = valid.T if swap else valid
    return padded, known


def _whole_tiles(
    valid: Mask, centres_y: npt.NDArray[np.float64], centres_x: npt.NDArray[np.float64], tile: float
) -> Mask:
    """(ny, nx) True where no pixel within reach of the turned window is missing or outside."""
    height, width = valid.shape
    reach = math.ceil(tile * math.sqrt(0.5)) + SEGMENT // 2 + 2
    inside = ((centres_y >= reach) & (centres_y <= height - 1 - reach))[:, np.newaxis] & (
        (centres_x >= reach) & (centres_x <= width - 1 - reach)
    )[np.newaxis, :]
    if valid.all():
        return inside
    table = np.zeros((height + 1, width + 1), dtype=np.int64)
    np.cumsum(np.cumsum(~valid, axis=0, dtype=np.int32), axis=1, dtype=np.int64, out=table[1:, 1:])
    top = np.clip(np.floor(centres_y - reach), 0, height).astype(np.intp)
    bottom = np.clip(np.ceil(centres_y + reach) + 1, 0, height).astype(np.intp)
    left = np.clip(np.floor(centres_x - reach), 0, width).astype(np.intp)
    right = np.clip(np.ceil(centres_x + reach) + 1, 0, width).astype(np.intp)
    count = (
        table[np.ix_(bottom, right)]
        - table[np.ix_(top, right)]
        - table[np.ix_(bottom, left)]
        + table[np.ix_(top, left)]
    )
    return inside & (count == 0)


@nb.njit(nogil=True, cache=True)
def _decimated(image, valid, factor):
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
def _subtract(image, valid, local, factor):
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
            flat[y, x] = np.float32(image[y, x]) - mean if valid[y, x] else np.float32(0.0)
    return flat


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _add_row(source, sums, row, q):
    """Running sum after `row`, on lines of slope q: sums[row + 1] = sums[row] + shifted row.

    Row r of the running sum is stored shifted by floor(q r), so that it covers the image's columns.
    """
    shift = math.floor(q * row)
    step = math.floor(q * (row + 1)) - shift
    f = np.float32(q * row - shift)
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
def _bins(sums, starts, first, count, bins):
    """Projections of one tile: differences of two rows of the running sum, segment by segment."""
    for s in range(starts.shape[0]):
        low = starts[s, 0] + first
        high = starts[s, 1] + first
        subtract_run(bins, s * SEGMENT, sums, high, low)
    bins[count : starts.shape[0] * SEGMENT] = np.float32(0.0)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _whole_variance(bins, padded_count, count):
    first = np.float32(0.0)
    second = np.float32(0.0)
    for i in range(padded_count):
        first += bins[i]
        second += bins[i] * bins[i]
    mean = np.float64(first) / count
    return max(np.float64(second) / count - mean * mean, 0.0)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _partial_variance(bins, known, padded_count):
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
def _segment_starts(y, q, slope, count, chord, height, width, pad, ring, starts):
    """Where the two ends of each segment of bins of a tile at row y lie in the running sum.

    Indices into the flattened ring of rows, less the tile's own first bin.
    """
    for s in range(starts.shape[0]):
        start = s * SEGMENT
        across = start + 0.5 * (SEGMENT - 1) - 0.5 * (count - 1)
        top = int(round(y - across * slope - 0.5 * (chord - 1)))
        low = min(max(top, 0), height)
        high = min(max(top + chord, 0), height)
        column_low = column_high = start + pad
        if high == low:
            # Wholly outside the image: nothing less nothing, at a place that exists.
            column_low += math.floor(q * y)
            column_high = column_low
        else:
            column_low += math.floor(q * low)
            column_high += math.floor(q * high)
        starts[s, 0] = (low & (ring - 1)) * width + column_low
        starts[s, 1] = (high & (ring - 1)) * width + column_high


@nb.njit(nogil=True, cache=True)
def _sheared_variance(image, known, whole, ys, xs, tile, pad, thetas, slots, out):
    """Fill out[:, :, slots] with the variance at the angles `thetas` (within 45 deg of 0)."""
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
        count = int(round(tile / cosine))
        chord = int(round(tile * cosine))
        starts = np.empty((-(-count // SEGMENT), 2), dtype=np.int64)
        padded_count = starts.shape[0] * SEGMENT
        sums[0] = np.float32(0.0)
        if with_mask:
            known_sums[0] = np.float32(0.0)
        done = 0
        for j in range(ys.size):
            # A row of tiles follows the rows it needs: they are still in the cache.
            needed = min(height, int(math.ceil(ys[j] + reach)) + 1)
            while done < needed:
                _add_row(image, sums, done, q)
                if with_mask:
                    _add_row(known, known_sums, done, q)
                done += 1
            _segment_starts(ys[j], q, sine * cosine, count, chord, height, width, pad, ring, starts)
            for i in range(xs.size):
                first = int(round(xs[i] - q * ys[j] - 0.5 * (count - 1)))
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
