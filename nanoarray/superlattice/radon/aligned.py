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
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.kernels import (
    SEGMENT,
    decimated,
    sheared_variance,
    subtract_local,
)
from nanoarray.superlattice.radon.tile_grid import box_sums

DECIMATION: Final = 4

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
    origin_px: tuple[int, int] = (0, 0),
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
        `superlattice.radon.tile_grid.tile_grid`. Bins and chord ends are placed to the nearest
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
        the image only, 0 nothing.
    origin_px
        Row and column at which `image`, a field of a larger image, begins there: centres are those
        of the larger image. Tiles whose reach, about 0.71 tiles and 10 px, lies in the field are
        what they are in the larger image, but for the rounding of sums (1e-5 of the variance).

    Returns
    -------
    variance
        (ny, nx, na) float32, in squared intensity times px^2: the variance over bins of line
        integrals of length `tile_size_px`. NaN at all angles where at some angle the sum of
        n**2 is below a tenth of that of a whole tile (a tenth of the chords, or a third of every
        chord).

    Raises
    ------
    InputError
        Shapes that do not agree, a tile smaller than 4 px, or centres that do not ascend.

    Notes
    -----
    Rows are shifted by cubic convolution (Keys, a = -1/2), which attenuates a lattice of 11 px
    spacing by less than 1 % at any angle. Noise that is independent from pixel to pixel adds about
    T times its variance, which is uneven over the angles (0.8 to 1.1, and 1.4 at exactly 45 and
    135 degrees); after a blur of 0.8 px it is even to 5 %.

    The kernel runs on one core and releases the GIL: map it over images in threads. The result
    depends on nothing but the arguments.
    """
    return project_tiles(
        image,
        centres_y,
        centres_x,
        tile_size_px=tile_size_px,
        angles_deg=angles_deg,
        missing=missing,
        flatten_px=flatten_px,
        origin_px=origin_px,
        kernel=sheared_variance,
    )


def project_tiles(
    image: npt.ArrayLike,
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    tile_size_px: int,
    angles_deg: npt.ArrayLike,
    missing: npt.ArrayLike | None,
    flatten_px: float | None,
    origin_px: tuple[int, int],
    kernel: Callable[..., None],
) -> FloatImage:
    """`tile_radon` with the innermost loops done by `kernel`.

    `kernel` takes the arguments of `nanoarray.superlattice.radon.kernels.sheared_variance`.
    """
    image = np.asarray(image)
    centres_y = _ascending("centres_y", centres_y)
    centres_x = _ascending("centres_x", centres_x)
    angles = np.atleast_1d(np.asarray(angles_deg, dtype=np.float64))
    _check(image, tile_size_px, angles)
    height, width = image.shape
    variance = np.full((centres_y.size, centres_x.size, angles.size), np.nan, dtype=np.float32)
    rows, columns = (
        np.flatnonzero((centres > first - 0.5) & (centres < first + length - 0.5))
        for centres, first, length in zip(
            (centres_y, centres_x), origin_px, (height, width), strict=True
        )
    )
    if rows.size == 0 or columns.size == 0:
        return variance
    valid = _valid_pixels(image, missing)
    image = np.ascontiguousarray(image, dtype=np.float32)
    flat = flatten(image, valid, box_px=tile_size_px if flatten_px is None else flatten_px)
    places = (centres_y[rows], centres_x[columns])
    part = _project(flat, valid, places, origin_px, float(tile_size_px), angles, kernel)
    part[np.isnan(part).any(axis=2)] = np.nan
    variance[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = part
    return variance


def flatten(image: FloatImage, valid: Mask, *, box_px: float) -> FloatImage:
    """Image minus its local mean, zero where invalid.

    Parameters
    ----------
    image
        (height, width) float32 intensities.
    valid
        (height, width) bool, True where the pixel is known.
    box_px
        Edge of the box, applied twice (so the local mean weighs by a pyramid of base
        ``2 * box_px``); infinity for the mean of the whole image, 0 for nothing.

    Returns
    -------
    flat
        (height, width) float32 in the units of the image.
    """
    if box_px == 0:
        return np.where(valid, image, np.float32(0))
    sums, counts = decimated(image, valid, DECIMATION)
    total = counts.sum()
    mean = sums.sum() / total if total else 0.0
    # Relative to the mean first: sums of large intensities would lose their last digits.
    sums -= mean * counts
    if math.isinf(box_px):
        local = np.full(sums.shape, mean, dtype=np.float32)
        return subtract_local(image, valid, local, DECIMATION)
    size = max(1, round(box_px / DECIMATION))
    for _ in range(2):
        sums = ndimage.uniform_filter(sums, size, mode="constant")
        counts = ndimage.uniform_filter(counts, size, mode="constant")
    # Far inside a large defect there is nothing to average; what is put there is not used.
    known = counts > 1e-6
    local = np.divide(sums, counts, out=np.zeros_like(sums), where=known) + mean
    return subtract_local(image, valid, local.astype(np.float32), DECIMATION)


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
    centres: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    origin_px: tuple[int, int],
    tile: float,
    angles: npt.NDArray[np.float64],
    kernel: Callable[..., None],
) -> FloatImage:
    """Variance (ny, nx, na) of all tiles; both halves of the angles in the same frame."""
    (centres_y, centres_x), (top, left) = centres, origin_px
    out = np.empty((centres_y.size, centres_x.size, angles.size), dtype=np.float32)
    whole = _whole_tiles(valid, centres_y - top, centres_x - left, tile)
    pad = padding(tile)
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
            row0, col0 = left, top
        else:
            view, flags, y, x = out, whole, centres_y, centres_x
            row0, col0 = top, left
        kernel(padded, known, flags, y, x, tile, pad, theta, chosen, view, row0, col0)
    return out


def padding(tile_size_px: float) -> int:
    """Columns of zeros beside the image: no window of a tile inside it reaches further."""
    return math.ceil(tile_size_px * math.sqrt(0.5)) + SEGMENT + 4


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
    bad = box_sums(
        ~valid,
        np.floor(centres_y - reach),
        np.ceil(centres_y + reach) + 1,
        np.floor(centres_x - reach),
        np.ceil(centres_x + reach) + 1,
    )
    return inside & (bad == 0)
