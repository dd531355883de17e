"""The defects of a micrograph, and the direction of its lattice."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from nanoarray.errors import InputError
from nanoarray.report.canvas import (
    Image,
    bytes_of,
    draw_micrograph,
    draw_scale_bar,
    extent_of,
    field_figure,
    picture_of,
)
from nanoarray.report.style import (
    INK,
    NOT_INDEXED,
    check_symmetry,
    figure_style,
    new_figure,
    orientation_colours,
)
from nanoarray.report.superlattice.cells import boundaries, cells_of, one_map

_DEFECT = "#d55e00"


def plot_defects(
    image: Image, prepared: xr.Dataset | npt.ArrayLike, *, pixel_size_nm: float | None = None
) -> Figure:
    """Micrograph with the defects that nothing is measured in.

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    prepared
        One row of the group ``prepared``, or its mask ``defect`` (height, width).
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    mask = np.asarray(prepared["defect"] if isinstance(prepared, xr.Dataset) else prepared, bool)
    mask = mask[: picture.height_px, : picture.width_px]
    if mask.shape != picture.pixels.shape:
        raise InputError(
            f"the mask of defects has shape {mask.shape}, the image {picture.pixels.shape}: "
            "they must be of the same image"
        )
    with figure_style():
        figure, ax = field_figure(picture)
        draw_micrograph(ax, picture)
        shade = np.zeros((*mask.shape, 4), np.uint8)
        shade[mask] = bytes_of((*to_rgb(_DEFECT), 0.42))
        ax.imshow(shade, extent=extent_of(picture), aspect="auto", interpolation="nearest")
        if mask.any() and not mask.all():
            ax.contour(mask, levels=[0.5], colors=[_DEFECT], linewidths=1.2)
        draw_scale_bar(ax, picture)
    return figure


def plot_orientation_map(
    image: Image,
    maps: xr.Dataset,
    *,
    symmetry: int | None = None,
    pixel_size_nm: float | None = None,
    key: bool = True,
) -> Figure:
    """Direction of the lattice in every tile, on a cyclic map; grey where not indexed.

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    maps
        One row of the group ``grain_maps``: ``orientation`` [deg] and, where known, ``grain``
        (boundaries are drawn) and ``symmetry``.
    symmetry
        Fold of the lattice symmetry, if the Dataset does not say it.
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    key
        Draw the key to the colours beside the map.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    fold = symmetry_of(maps, symmetry)
    cells = cells_of(maps, picture)
    colours = bytes_of(orientation_colours(one_map(maps, "orientation"), symmetry=fold))
    grey = bytes_of(orientation_colours(math.nan, symmetry=fold))
    with figure_style():
        figure, ax = field_figure(picture, side=key)
        ax.imshow(
            cells.paint(colours, grey),
            extent=extent_of(picture),
            aspect="auto",
            interpolation="nearest",
        )
        if "grain" in maps:
            segments, _, _ = boundaries(one_map(maps, "grain"), cells)
            ax.add_collection(LineCollection(list(segments), colors="black", linewidths=0.9))
        draw_scale_bar(ax, picture)
        if key:
            left = ax.get_position().x1
            side = figure.add_axes((left + 0.005, 0.45, 0.99 - left, 0.53), aspect="equal")
            _draw_key(side, fold)
    return figure


def plot_orientation_key(symmetry: int) -> Figure:
    """The key to an orientation map: every direction in its colour, modulo the symmetry."""
    fold = check_symmetry(symmetry)
    with figure_style():
        figure = new_figure(1.7, 2.1)
        _draw_key(figure.add_axes((0.02, 0.02, 0.96, 0.96), aspect="equal"), fold)
    return figure


def _draw_key(ax: Axes, symmetry: int) -> None:
    ax.set_axis_off()
    ax.set_xlim(-1.55, 1.55)
    ax.set_ylim(-2.3, 1.5)
    step = 4.0
    for angle in np.arange(0.0, 360.0, step):
        colour = tuple(orientation_colours(angle + step / 2, symmetry=symmetry))
        # A little overlap, or the page shows through between the wedges.
        ax.add_patch(Wedge((0, 0), 1.0, angle, angle + step + 0.6, width=0.45, color=colour, lw=0))
    for angle in range(0, 360, 45):
        x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        if angle <= 180:
            ax.text(1.24 * x, 1.2 * y, f"{angle}°", ha="center", va="center", fontsize=8)
        ax.plot([1.0 * x, 1.06 * x], [1.0 * y, 1.06 * y], color=INK, lw=0.8)
    ax.text(0, 0, f"mod\n{360 // symmetry}°", ha="center", va="center", fontsize=9)
    ax.text(
        0,
        -1.32,
        f"direction of the rows,\n{symmetry}-fold lattice",
        ha="center",
        va="top",
        fontsize=8,
    )
    ax.scatter([-0.85], [-2.12], marker="s", s=50, color=NOT_INDEXED)
    ax.text(-0.65, -2.12, "not indexed", ha="left", va="center", fontsize=8)


def symmetry_of(maps: xr.Dataset, symmetry: int | None) -> int:
    """The given symmetry, or the Dataset's; 2 (nothing assumed) where neither knows it."""
    if symmetry is None:
        symmetry = int(maps["symmetry"]) if "symmetry" in maps else 2
        symmetry = 2 if symmetry < 0 else symmetry
    return check_symmetry(symmetry)
