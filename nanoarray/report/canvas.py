"""The ground that maps are drawn on: a micrograph, its scale bar, and the cells of its tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from nanoarray.errors import InputError
from nanoarray.report.style import INK, new_figure, scale_bar_length
from nanoarray.superlattice.grains.cells import cell_edges

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

_WIDTH_INCH = 6.4
#: Extent of the side panel of a figure with a key or a colour bar.
SIDE_INCH = 1.7


@dataclass(frozen=True)
class Picture:
    """One micrograph without padding: ``pixels`` (height, width) and its pixel size [nm] or NaN."""

    pixels: npt.NDArray[Any]
    pixel_size_nm: float

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True)
class Cells:
    """Where the tiles' cells lie in an image, in its pixels (pixel centres at integers).

    ``edges_y`` (ny + 1,) and ``edges_x`` (nx + 1,); ``row`` (height,) and ``column`` (width,) are
    the tile that each pixel belongs to, -1 for none.
    """

    edges_y: FloatArray
    edges_x: FloatArray
    row: IntArray
    column: IntArray

    def paint(self, values: npt.NDArray[Any], fill: Any) -> npt.NDArray[Any]:
        """Give every pixel the value of its tile, ``fill`` where it has none."""
        painted = values[np.ix_(np.maximum(self.row, 0), np.maximum(self.column, 0))].copy()
        painted[self.row < 0] = fill
        painted[:, self.column < 0] = fill
        return painted


def picture_of(image: xr.Dataset | npt.ArrayLike, *, pixel_size_nm: float | None = None) -> Picture:
    """Take the micrograph out of one row of the group ``images``, or out of an array.

    Parameters
    ----------
    image
        ``images.isel(image=i)`` with ``intensity`` (y, x) and, where known, ``height``, ``width``
        [px] and ``pixel_size`` [nm]; or the pixels (height, width) themselves.
    pixel_size_nm
        Goes before the pixel size of the Dataset; NaN says that it is unknown.

    Raises
    ------
    InputError
        When this is not one micrograph.
    """
    size = math.nan
    if isinstance(image, xr.Dataset):
        if "intensity" not in image or image["intensity"].ndim != 2:
            raise InputError(
                "expected one image with 'intensity' (y, x): choose one, as images.isel(image=0)"
            )
        intensity = image["intensity"]
        height, width = (
            int(image[name]) if name in image else intensity.shape[axis]
            for axis, name in enumerate(("height", "width"))
        )
        pixels = np.asarray(intensity[:height, :width].values)
        if "pixel_size" in image:
            size = float(image["pixel_size"])
    else:
        pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.size == 0:
        raise InputError(f"the image has shape {pixels.shape}: expected rows and columns of pixels")
    if pixel_size_nm is not None:
        size = float(pixel_size_nm)
    return Picture(pixels, size if size > 0 else math.nan)


def one_map(ds: xr.Dataset, name: str) -> npt.NDArray[Any]:
    """Values of the map ``name`` [tile_y, tile_x] of one image."""
    if name not in ds or ds[name].dims != ("tile_y", "tile_x"):
        raise InputError(
            f"expected one image with {name!r} (tile_y, tile_x): choose one, as "
            "grain_maps.isel(image=0)"
        )
    return np.asarray(ds[name].values)


def cells_of(maps: xr.Dataset, picture: Picture) -> Cells:
    """Find the cells of a map in the pixels of its image.

    ``maps`` has the coordinates ``tile_y`` and ``tile_x``; ``stride`` and ``common_pixel_size``
    where they are known, otherwise the stride is the distance of the centres and the coordinates
    are the image's own pixels.
    """
    if "image" in maps.dims:
        raise InputError(
            f"expected the maps of one image, found {maps.sizes['image']}: choose one, as "
            "grain_maps.isel(image=0)"
        )
    common = float(maps["common_pixel_size"]) if "common_pixel_size" in maps else math.nan
    resampled = math.isfinite(common) and math.isfinite(picture.pixel_size_nm)
    scale = common / picture.pixel_size_nm if resampled else 1.0
    # Scaling happens about the outer corner of the first pixel, whose centre is at 0.
    centres_y = (maps["tile_y"].values.astype(np.float64) + 0.5) * scale - 0.5
    centres_x = (maps["tile_x"].values.astype(np.float64) + 0.5) * scale - 0.5
    if "stride" in maps:
        stride = float(maps["stride"]) * scale
    else:
        steps = np.concatenate([np.diff(centres_y), np.diff(centres_x)])
        stride = float(steps.min()) if steps.size else float(max(picture.pixels.shape))
    # Whole tiles leave a margin; cells that cover the field reach its edges.
    to_edge = str(maps["coverage"].values) == "full" if "coverage" in maps else False
    edges_y, edges_x = (
        np.append(*_ends(cell_edges(centres, stride_px=stride, length_px=length, to_edge=to_edge)))
        for centres, length in ((centres_y, picture.height_px), (centres_x, picture.width_px))
    )
    return Cells(
        edges_y,
        edges_x,
        _owner(edges_y, picture.height_px),
        _owner(edges_x, picture.width_px),
    )


def _ends(low_high: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Lower edges of all cells and the upper edge of the last: cells adjoin."""
    low, high = low_high
    return low, high[-1:]


def _owner(edges: FloatArray, length_px: int) -> IntArray:
    """The cell of every pixel centre along one axis, -1 outside all cells."""
    position = np.arange(length_px, dtype=np.float64)
    index = np.searchsorted(edges, position, side="right") - 1
    inside = (index >= 0) & (position < edges[-1])
    return np.where(inside, np.minimum(index, edges.size - 2), -1).astype(np.intp)


def boundaries(
    label: npt.NDArray[np.integer[Any]], cells: Cells
) -> tuple[FloatArray, IntArray, IntArray]:
    """Sides between cells of different labels.

    Parameters
    ----------
    label
        (ny, nx) labels, 0 for none; sides between a label and 0 are boundaries too.
    cells
        Where the cells lie.

    Returns
    -------
    segments
        (n, 2, 2) ends of each side as (x, y) [px].
    first, second
        (n,) flat index into ``label`` of the cells on either side.
    """
    index = np.arange(label.size).reshape(label.shape)
    y, x = cells.edges_y, cells.edges_x
    rows, columns = np.nonzero(label[:, :-1] != label[:, 1:])
    across = np.stack(
        [
            np.stack([x[columns + 1], y[rows]], axis=1),
            np.stack([x[columns + 1], y[rows + 1]], axis=1),
        ],
        axis=1,
    )
    first, second = [index[:, :-1][rows, columns]], [index[:, 1:][rows, columns]]
    rows, columns = np.nonzero(label[:-1] != label[1:])
    along = np.stack(
        [
            np.stack([x[columns], y[rows + 1]], axis=1),
            np.stack([x[columns + 1], y[rows + 1]], axis=1),
        ],
        axis=1,
    )
    first.append(index[:-1][rows, columns])
    second.append(index[1:][rows, columns])
    segments = np.concatenate([across, along]).astype(np.float64)
    one, other = np.concatenate(first), np.concatenate(second)
    real = np.abs(segments[:, 1] - segments[:, 0]).sum(axis=1) > 0  # cells outside are empty
    return segments[real], one[real].astype(np.intp), other[real].astype(np.intp)


# --- drawing ----------------------------------------------------------------------------------


def field_figure(picture: Picture, *, side: bool = False) -> tuple[Figure, Axes]:
    """A figure that the field of an image fills, but for a panel at its right where asked for."""
    height_inch = _WIDTH_INCH * picture.height_px / picture.width_px
    total = _WIDTH_INCH + (SIDE_INCH if side else 0.0)
    figure = new_figure(total, max(height_inch, 0.4))
    ax = figure.add_axes((0.0, 0.0, _WIDTH_INCH / total, 1.0))
    ax.set_axis_off()
    ax.set_xlim(-0.5, picture.width_px - 0.5)
    ax.set_ylim(picture.height_px - 0.5, -0.5)
    return figure, ax


def extent_of(picture: Picture) -> tuple[float, float, float, float]:
    """Where an array of the picture's shape lies: the ``extent`` of imshow."""
    return (-0.5, picture.width_px - 0.5, picture.height_px - 0.5, -0.5)


def bytes_of(colours: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Colours from 0 to 1 as bytes: images of bytes are drawn several times faster."""
    return np.rint(255 * np.asarray(colours, dtype=np.float64)).astype(np.uint8)


def draw_micrograph(ax: Axes, picture: Picture) -> None:
    """Draw the pixels in greys, without their rarest 0.5 % of darks and brights."""
    values = picture.pixels[np.isfinite(picture.pixels)]
    low, high = np.percentile(values, [0.5, 99.5]) if values.size else (0.0, 1.0)
    ax.imshow(
        picture.pixels,
        cmap="gray",
        vmin=low,
        vmax=high if high > low else low + 1,
        extent=extent_of(picture),
        aspect="auto",
    )


def draw_scale_bar(ax: Axes, picture: Picture, *, size: float = 1.4, font_pt: float = 14.5) -> None:
    """Draw a scale bar with its length at the lower left, on a dark ground.

    ``size`` is the thickness of the bar in percent of the field's width, and ``font_pt`` has to
    fit to it: axes smaller than a field need a thicker bar.
    """
    length, label = scale_bar_length(picture.width_px, picture.pixel_size_nm)
    unit = size * picture.width_px / 100.0
    left = 2.6 * unit
    bottom = picture.height_px - 0.5 - 2.6 * unit
    # The ground is as wide as the label when the bar is short.
    room = max(length, 2.2 * unit * len(label))
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom - 5.0 * unit),
            room,
            5.0 * unit,
            boxstyle=f"round,pad={1.2 * unit}",
            facecolor=INK,
            edgecolor="none",
            alpha=0.72,
            zorder=20,
        )
    )
    ax.add_patch(
        Rectangle(
            (left + (room - length) / 2, bottom - unit),
            length,
            unit,
            facecolor="white",
            edgecolor="none",
            zorder=21,
        )
    )
    ax.text(
        left + room / 2,
        bottom - 1.8 * unit,
        label,
        color="white",
        fontsize=font_pt,
        ha="center",
        va="bottom",
        zorder=21,
    )
