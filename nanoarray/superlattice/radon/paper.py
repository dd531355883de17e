"""Projection variance exactly as the paper's code computes it, and its 0/1 alignment bits.

The paper calls `skimage.transform.radon(tile, circle=False)` for every tile. All tiles have the
same shape, so rotation, interpolation and summing are one sparse matrix from the pixels of a tile
to the bins of its sinogram. It is built once and applied to a whole row of tiles at a time.
"""

from __future__ import annotations

import functools
import math
from typing import Final, Literal, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
from scipy import sparse

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.vector import WIDE_RUN, weighted_runs

#: Rows of a tile done together: with the bins of 48 tiles they fit the caches next to the core.
ROW_BLOCK: Final = 8

BitMethod = Literal["variance", "second_difference"]


class Projector(NamedTuple):
    """Sparse matrix from tile pixels to sinogram bins.

    Entries are in order of angle, block of `ROW_BLOCK` rows of the tile, bin, pixel: the pixels of
    a block stay in the fastest cache while all bins take their part of it.

    Attributes
    ----------
    starts
        (na * row_blocks * bins + 1,) first entry of each bin's part of each block.
    row, column
        (entries,) tile pixel of each entry.
    weight
        (entries,) share of the pixel in the bin.
    unit
        (na * bins,) projection of a tile of ones.
    bins
        Bins per angle: the diagonal of the tile.
    row_blocks
        Blocks of rows of the tile.
    """

    starts: npt.NDArray[np.int64]
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    unit: npt.NDArray[np.float64]
    bins: int
    row_blocks: int


def tile_radon_paper(
    image: npt.ArrayLike,
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    tile_size_px: int,
    angles_deg: npt.ArrayLike,
) -> npt.NDArray[np.float32]:
    """Variance per angle of `skimage.transform.radon(tile, circle=False)` for every tile.

    Parameters
    ----------
    image
        (height, width) intensities. No pixel may be NaN; the paper's code sets defects to 0.
    centres_y, centres_x
        (ny,), (nx,) tile centres [px] as from `tile_grid` with ``coverage="inside"``: whole tiles
        start at pixels, and neighbours along x are equally far apart.
    tile_size_px
        Edge of the square tile, parallel to the image's edges.
    angles_deg
        (na,) projection angles [deg] as in scikit-image.

    Returns
    -------
    variance
        (ny, nx, na) float32, in squared intensity times px^2. It equals
        ``radon(tile, angles_deg, circle=False, preserve_range=True).var(axis=0)`` to about 1e-5.
        NaN for tiles that are not wholly inside the image.

    Raises
    ------
    InputError
        The grid is not regular or its tiles do not start at whole pixels.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 2:
        raise InputError(f"the image has shape {pixels.shape}: expected (height, width)")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError("the image holds NaN or infinity: set missing pixels to 0, as the paper")
    starts_y = _starts("centres_y", centres_y, tile_size_px)
    starts_x = _starts("centres_x", centres_x, tile_size_px)
    angles = np.atleast_1d(np.asarray(angles_deg, dtype=np.float64))
    variance = np.full((starts_y.size, starts_x.size, angles.size), np.nan, dtype=np.float32)
    rows = _inside(starts_y, pixels.shape[0], tile_size_px)
    columns = _inside(starts_x, pixels.shape[1], tile_size_px)
    inner_x = starts_x[columns]
    if inner_x.size == 0 or starts_y[rows].size == 0:
        return variance
    stride = int(inner_x[1] - inner_x[0]) if inner_x.size > 1 else 1
    if np.any(np.diff(inner_x) != stride) or stride < 1:
        raise InputError("centres_x are not equally spaced in ascending order")
    projector = paper_projector(int(tile_size_px), tuple(angles.tolist()))
    # Projections of the mean are known exactly: leave it out of the float32 sums, add it after.
    mean = float(pixels.mean(dtype=np.float64))
    comb = _comb((pixels - mean).astype(np.float32), int(inner_x[0]), stride)
    part = np.empty((starts_y[rows].size, inner_x.size, angles.size), dtype=np.float32)
    _apply(
        np.append(comb, np.zeros(WIDE_RUN, dtype=np.float32)),
        comb.shape[1] * comb.shape[2],
        _offsets(projector, comb.shape),
        projector.weight,
        projector.starts,
        projector.unit * mean,
        projector.bins,
        projector.row_blocks,
        starts_y[rows],
        part,
    )
    variance[rows, columns] = part
    return variance


def alignment_bits(
    variance: npt.ArrayLike, *, method: BitMethod = "variance", periodic: bool = True
) -> npt.NDArray[np.uint8]:
    """Which projection angles of a tile are aligned with rows of its lattice: 0/1 per angle.

    Parameters
    ----------
    variance
        (..., na) projection variance over angles that divide 180 degrees evenly.
    method
        ``"variance"``: 1 where the variance is above its mean over the angles (the paper's text).
        ``"second_difference"``: 1 where the absolute second difference along the angle is above
        its mean (the paper's code).
    periodic
        Whether the second difference goes round from the last angle to the first (angles are
        periodic over 180 degrees). Otherwise both ends are lost, as in the paper's code.

    Returns
    -------
    bits
        (..., na) uint8, or (..., na - 2) for the second difference when not periodic. Tiles with
        unknown variance (NaN) get zeros only.

    Raises
    ------
    InputError
        Unknown method, or fewer than three angles.
    """
    values = np.asarray(variance)
    if values.ndim < 1 or values.shape[-1] < 3:
        raise InputError(f"variance has shape {values.shape}: expected at least 3 angles, last")
    if method == "variance":
        score = values
    elif method == "second_difference":
        if periodic:
            values = np.concatenate([values[..., -1:], values, values[..., :1]], axis=-1)
        score = np.abs(np.diff(values, n=2, axis=-1))
    else:
        raise InputError(f"method is {method!r}: expected 'variance' or 'second_difference'")
    threshold = score.mean(axis=-1, keepdims=True, dtype=np.float64)
    return (score > threshold).astype(np.uint8)


@functools.lru_cache(maxsize=4)
def paper_projector(tile_size_px: int, angles_deg: tuple[float, ...]) -> Projector:
    """Build the sparse projector of `skimage.transform.radon` with ``circle=False``.

    Parameters
    ----------
    tile_size_px
        Edge of the square tile.
    angles_deg
        Projection angles [deg].

    Returns
    -------
    projector
        About 2.4 entries per pixel and angle. Kept for the last four arguments.

    Notes
    -----
    Follows scikit-image 0.26: the tile is padded to its diagonal, rotated about pixel
    ``diagonal // 2`` with bilinear interpolation (zero outside) and summed along y.
    """
    size = tile_size_px
    side = size + math.ceil(math.sqrt(2) * size - size)
    before = side // 2 - size // 2
    centre = side // 2
    y_out, x_out = np.mgrid[:side, :side].astype(np.float64)
    blocks = []
    for angle in np.deg2rad(angles_deg):
        cosine, sine = math.cos(angle), math.sin(angle)
        x = cosine * x_out + sine * y_out - centre * (cosine + sine - 1)
        y = -sine * x_out + cosine * y_out - centre * (cosine - sine - 1)
        left, top = np.floor(x), np.floor(y)
        part_x, part_y = x - left, y - top
        taps = []
        for dy, weight_y in ((0, 1 - part_y), (1, part_y)):
            for dx, weight_x in ((0, 1 - part_x), (1, part_x)):
                row, column = top + dy - before, left + dx - before
                weight = weight_y * weight_x
                used = (row >= 0) & (row < size) & (column >= 0) & (column < size) & (weight > 0)
                pixel = (row[used] * size + column[used]).astype(np.int32)
                taps.append((weight[used], x_out[used].astype(np.int32), pixel))
        weight, bin_index, pixel = (np.concatenate(parts) for parts in zip(*taps, strict=True))
        # Conversion to CSR adds the entries that fall on the same bin and pixel.
        blocks.append(
            sparse.coo_array((weight, (bin_index, pixel)), shape=(side, size * size)).tocsr()
        )
    matrix = sparse.vstack(blocks, format="csr")
    unit = np.asarray(matrix.sum(axis=1), dtype=np.float64).reshape(-1)
    entries = matrix.tocoo()
    row, column = entries.col // size, entries.col % size
    angle, bin_index = entries.row // side, entries.row % side
    row_blocks = -(-size // ROW_BLOCK)
    group = (angle * row_blocks + row // ROW_BLOCK) * side + bin_index
    order = np.lexsort((entries.col, group))
    groups = len(angles_deg) * row_blocks * side
    return Projector(
        starts=np.searchsorted(group[order], np.arange(groups + 1)).astype(np.int64),
        row=row[order].astype(np.int32),
        column=column[order].astype(np.int32),
        weight=entries.data[order].astype(np.float32),
        unit=unit,
        bins=side,
        row_blocks=row_blocks,
    )


def _starts(name: str, centres: npt.ArrayLike, tile_size_px: int) -> npt.NDArray[np.int64]:
    starts = np.atleast_1d(np.asarray(centres, dtype=np.float64)) - (tile_size_px - 1) / 2
    whole = np.rint(starts)
    if starts.ndim != 1 or not np.allclose(starts, whole, rtol=0, atol=1e-6):
        raise InputError(
            f"{name}: tiles of {tile_size_px} px around these centres do not start at whole"
            ' pixels: take the grid with coverage="inside"'
        )
    return whole.astype(np.int64)


def _inside(starts: npt.NDArray[np.int64], extent: int, size: int) -> slice:
    """The run of tiles that lie wholly inside the image."""
    kept = np.flatnonzero((starts >= 0) & (starts + size <= extent))
    return slice(kept[0], kept[-1] + 1) if kept.size else slice(0, 0)


def _comb(image: npt.NDArray[np.float32], start: int, stride: int) -> npt.NDArray[np.float32]:
    """(height, stride, n) with the pixels of equal column within their tiles side by side.

    Pixel (y, start + stride * n + r) is found at [y, r, n]: what neighbouring tiles have at the
    same place is contiguous.
    """
    height, width = image.shape
    count = -(-(width - start) // stride)
    padded = np.zeros((height, count * stride), dtype=np.float32)
    padded[:, : width - start] = image[:, start:]
    return np.ascontiguousarray(padded.reshape(height, count, stride).transpose(0, 2, 1))


def _offsets(projector: Projector, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Position in the comb of each entry, for the first tile of the first row."""
    _, stride, count = shape
    along = projector.column % stride * count + projector.column // stride
    return (projector.row * (stride * count) + along).astype(np.int32)


@nb.njit(nogil=True, cache=True)
def _apply(
    comb: npt.NDArray[np.float32],
    row_length: int,
    offsets: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    unit: npt.NDArray[np.float64],
    bins: int,
    row_blocks: int,
    starts_y: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    """Variance (ny, nx, na) of the projections, row of tiles by row of tiles."""
    count = out.shape[1]
    totals = np.empty(bins * WIDE_RUN, dtype=np.float32)
    first = np.empty(WIDE_RUN)
    second = np.empty(WIDE_RUN)
    for j in range(starts_y.size):
        for k in range(out.shape[2]):
            for tile in range(0, count, WIDE_RUN):
                base = starts_y[j] * row_length + tile
                totals[:] = np.float32(0.0)
                for block in range(row_blocks):
                    group = (k * row_blocks + block) * bins
                    for b in range(bins):
                        low, high = starts[group + b], starts[group + b + 1]
                        if low < high:
                            at = b * WIDE_RUN
                            weighted_runs(totals, at, comb, base, offsets, weight, low, high)
                first[:] = 0.0
                second[:] = 0.0
                for b in range(bins):
                    for t in range(WIDE_RUN):
                        value = totals[b * WIDE_RUN + t] + unit[k * bins + b]
                        first[t] += value
                        second[t] += value * value
                for t in range(min(WIDE_RUN, count - tile)):
                    mean = first[t] / bins
                    out[j, tile + t, k] = max(second[t] / bins - mean * mean, 0.0)
