"""One tile, its sinogram and its feature vector: what the pipeline sees of a lattice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nanoarray.errors import InputError
from nanoarray.report.canvas import Picture, draw_micrograph, draw_scale_bar
from nanoarray.report.style import CATEGORIES, FAINT, figure_style, margins, new_figure

FloatArray = npt.NDArray[np.float64]


def plot_tile(
    tile: npt.ArrayLike,
    *,
    angles_deg: npt.ArrayLike,
    projection_variance: npt.ArrayLike | None = None,
    alignment: npt.ArrayLike | None = None,
    orientation_deg: float = math.nan,
    symmetry: int = 2,
    pixel_size_nm: float = math.nan,
) -> Figure:
    """Tile with its sinogram, its projection variance and its alignment bits.

    Parameters
    ----------
    tile
        Pixels (size, size).
    angles_deg
        (n,) projection angles: theta of `skimage.transform.radon`, 0 sums down the columns.
    projection_variance
        (n,) variance of the projections; computed from the sinogram that is shown where not given.
    alignment
        (n,) 0/1, the feature vector; not drawn where not given.
    orientation_deg, symmetry
        Direction of the densest rows, counter-clockwise from +x, and the fold of the lattice. Rows
        of direction phi stand out at the projection angle phi + 90 (mod 180), which is marked.
    pixel_size_nm
        Length of a pixel.

    Raises
    ------
    InputError
        When the arrays do not fit together.
    """
    pixels = np.asarray(tile, dtype=np.float64)
    angles = np.asarray(angles_deg, dtype=np.float64)
    if pixels.ndim != 2 or min(pixels.shape) < 4:
        raise InputError(f"the tile has shape {pixels.shape}: expected at least 4 x 4 pixels")
    sinogram, offset = tile_sinogram(pixels, angles)
    if projection_variance is None:
        variance = np.nanvar(sinogram, axis=0)
    else:
        variance = np.asarray(projection_variance, dtype=np.float64)
    bits = None if alignment is None else np.asarray(alignment)
    for name, values in (("projection_variance", variance), ("alignment", bits)):
        if values is not None and values.shape != angles.shape:
            raise InputError(f"{name} has shape {values.shape}, angles_deg {angles.shape}")
    marks = _row_angles(orientation_deg, symmetry)
    with figure_style():
        figure = new_figure(9.6, 3.6)
        grid = figure.add_gridspec(
            2,
            2,
            width_ratios=[1, 2.1],
            height_ratios=[1.15, 1],
            hspace=0.32,
            wspace=0.2,
            **margins(9.6, 3.6, left=0.15, top=0.3),
        )
        left = figure.add_subplot(grid[:, 0])
        upper = figure.add_subplot(grid[0, 1])
        lower = figure.add_subplot(grid[1, 1], sharex=upper)
        _draw_tile(left, Picture(pixels, pixel_size_nm))
        _draw_sinogram(upper, sinogram, offset, angles, marks)
        _draw_vector(lower, variance, bits, angles, marks)
    return figure


def tile_sinogram(pixels: FloatArray, angles_deg: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Projections of a tile less its mean, and the offset of each bin from the centre [px].

    Computed by `skimage.transform.radon`. Only the central half of the projections is given, where
    all lines cross a disc in the tile and chords have similar lengths at every angle.
    """
    from skimage.transform import radon

    side = min(pixels.shape)
    square = pixels[:side, :side] - pixels[:side, :side].mean()
    y, x = np.ogrid[:side, :side]
    centre = side // 2
    disc = (y - centre) ** 2 + (x - centre) ** 2 <= (side // 2) ** 2
    sinogram = radon(np.where(disc, square, 0.0), theta=angles_deg, circle=True)
    offset = np.arange(sinogram.shape[0]) - centre
    kept = np.abs(offset) <= max(side // 4, 2)
    return np.asarray(sinogram[kept], dtype=np.float64), offset[kept].astype(np.float64)


def _row_angles(orientation_deg: float, symmetry: int) -> list[float]:
    """Projection angles along which the densest rows lie: one per direction of the lattice."""
    if not math.isfinite(orientation_deg):
        return []
    count = max(1, symmetry // 2)
    step = 360.0 / symmetry
    return sorted((orientation_deg + 90.0 + k * step) % 180.0 for k in range(count))


def _draw_tile(ax: Axes, picture: Picture) -> None:
    draw_micrograph(ax, picture)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title("tile")
    draw_scale_bar(ax, picture, size=2.0, font_pt=9)


def _draw_sinogram(
    ax: Axes, sinogram: FloatArray, offset: FloatArray, angles: FloatArray, marks: list[float]
) -> None:
    step = angles[1] - angles[0] if angles.size > 1 else 180.0
    extent = (angles[0] - step / 2, angles[-1] + step / 2, offset[-1] + 0.5, offset[0] - 0.5)
    ax.imshow(sinogram, cmap="gray", aspect="auto", extent=extent, interpolation="nearest")
    ax.set_ylabel("offset / px")
    ax.set_title("sinogram: sums along lines at each projection angle")
    ax.tick_params(labelbottom=False)
    for mark in marks:
        ax.axvline(mark, color=CATEGORIES[1], lw=1.0, ls=(0, (4, 3)))


def _draw_vector(
    ax: Axes,
    variance: FloatArray,
    bits: npt.NDArray[Any] | None,
    angles: FloatArray,
    marks: list[float],
) -> None:
    top = float(np.nanmax(variance)) if np.isfinite(variance).any() else 0.0
    scaled = variance / (top if top > 0 else 1.0)
    for mark in marks:
        ax.axvline(mark, color=CATEGORIES[1], lw=1.0, ls=(0, (4, 3)))
    ax.plot(angles, scaled, color=CATEGORIES[0], lw=1.5, marker=".", ms=3.5)
    ticks = {0.0: "0", 0.5: "0.5", 1.0: "1"}
    if bits is not None:
        step = angles[1] - angles[0] if angles.size > 1 else 180.0
        aligned = bits > 0
        ax.bar(angles[aligned], 0.14, bottom=-0.24, width=step, color=CATEGORIES[5], lw=0)
        ax.bar(angles[~aligned], 0.14, bottom=-0.24, width=step, color=FAINT, alpha=0.3, lw=0)
        ticks = {-0.17: "bits", **ticks}
    ax.set_ylim(-0.3 if bits is not None else 0.0, 1.08)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.set_xticks(range(0, 181, 30))
    ax.set_xlabel("projection angle / °")
    ax.set_title("projection variance" + (", rows of the lattice dashed" if marks else ""))
