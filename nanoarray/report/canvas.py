"""The ground that maps are drawn on: a micrograph and its scale bar."""

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
from nanoarray.report.style import INK, figure_style, new_figure, scale_bar_length

Image = xr.Dataset | npt.ArrayLike

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

    Where the micrograph has one of its own there, it stands at the lower right.

    ``size`` is the thickness of the bar in percent of the field's width, and ``font_pt`` has to
    fit to it: axes smaller than a field need a thicker bar.
    """
    length, label = scale_bar_length(picture.width_px, picture.pixel_size_nm)
    unit = size * picture.width_px / 100.0
    left = 2.6 * unit
    bottom = picture.height_px - 0.5 - 2.6 * unit
    # The ground is as wide as the label when the bar is short.
    room = max(length, 2.2 * unit * len(label))
    if _has_own_bar(picture.pixels):
        left = picture.width_px - 0.5 - left - room
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


def _has_own_bar(pixels: npt.NDArray[Any]) -> bool:
    """Whether a scale bar is burned into the lower left corner."""
    from nanoarray.images.scale_bar import find_scale_bars

    corner = pixels[-(pixels.shape[0] // 4) :, : pixels.shape[1] // 2]
    return corner.size > 0 and bool(np.isfinite(corner).all()) and bool(find_scale_bars(corner))


def plot_micrograph(image: Image, *, pixel_size_nm: float | None = None) -> Figure:
    """Micrograph with a physical scale bar (in pixels where the pixel size is unknown).

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    with figure_style():
        figure, ax = field_figure(picture)
        draw_micrograph(ax, picture)
        draw_scale_bar(ax, picture)
    return figure
