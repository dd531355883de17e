"""Montages of crystals at one physical scale: examples of every group, and a population."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nanoarray.errors import InputError
from nanoarray.report.nanocrystals.groups import (
    NO_GROUP,
    FloatArray,
    IntArray,
    empty_figure,
    group_colours,
    group_ids,
)
from nanoarray.report.style import INK, figure_style, new_figure, scale_bar_length

#: Resolution of a montage [pixels per inch of the figure].
_DPI = 110


@dataclass(frozen=True)
class CropSample:
    """Crops of some crystals, and what is known of each.

    Attributes
    ----------
    pixels
        (n, size, size) grey values.
    mask
        (n, size, size) True in the crystal.
    scale_px
        (n,) pixels of the image per crop pixel.
    pixel_size_nm
        (n,) pixel size of the image, NaN where unknown.
    group
        (n,) shape group from 1; 0, -1 none.
    """

    pixels: npt.NDArray[np.generic]
    mask: npt.NDArray[np.bool_]
    scale_px: FloatArray
    pixel_size_nm: FloatArray
    group: IntArray

    def __post_init__(self) -> None:
        count = len(self.group)
        for name in ("pixels", "mask", "scale_px", "pixel_size_nm"):
            if len(getattr(self, name)) != count:
                raise InputError(
                    f"{name} has {len(getattr(self, name))} rows and group {count}: "
                    "expected one of each per crystal"
                )

    def take(self, rows: npt.ArrayLike) -> CropSample:
        """Some of the crystals."""
        index = np.asarray(rows)
        return CropSample(
            self.pixels[index],
            self.mask[index],
            self.scale_px[index],
            self.pixel_size_nm[index],
            self.group[index],
        )

    @property
    def physical(self) -> bool:
        """Whether every crystal has a pixel size."""
        return bool(np.isfinite(self.pixel_size_nm).all())

    @property
    def unit_per_crop_px(self) -> FloatArray:
        """Size of a crop pixel: nm, or pixels of the image where a pixel size is missing."""
        return self.scale_px * (self.pixel_size_nm if self.physical else 1.0)


def plot_group_montage(sample: CropSample, *, per_group: int = 12) -> Figure:
    """Exemplary crystals of every group, cut out of their micrographs.

    One row per group, all crystals of a row at one scale, which its bar shows: physical where
    every crystal of the row has a pixel size, otherwise in pixels of the images. The outline has
    the colour of the group.

    Parameters
    ----------
    sample
        Crystals, the best examples of each group first.
    per_group
        Crystals of a row.
    """
    ids, count = group_ids(sample.group)
    shown = [k for k in range(1, count + 1) if (ids == k).any()]
    with figure_style():
        if not shown:
            return empty_figure("no crystal in a shape group")
        cell = 0.86
        width, height = 0.85 + cell * per_group, 0.1 + (cell + 0.06) * len(shown)
        figure = new_figure(width, height)
        for place, k in enumerate(shown):
            part = sample.take(np.flatnonzero(ids == k)[:per_group])
            colour = group_colours(count)[k - 1]
            size = round(cell * _DPI)
            unit = float(part.unit_per_crop_px.max()) * part.pixels.shape[1] / size
            row = np.full((size, per_group * size, 4), 0.0)
            for column in range(len(part.group)):
                row[:, column * size : (column + 1) * size] = _cell(
                    part, column, unit, size, colour
                )
            bottom = height - 0.05 - (place + 1) * (cell + 0.06) + 0.06
            figure.text(0.08 / width, (bottom + 0.68 * cell) / height, f"group {k}", fontsize=9)
            ax = figure.add_axes(
                (0.8 / width, bottom / height, per_group * cell / width, cell / height)
            )
            ax.imshow(row, aspect="auto", interpolation="nearest")
            ax.set_axis_off()
            _draw_bar(figure, (0.08, bottom + 0.25), 0.62, cell / size, unit, part.physical)
    return figure


def _draw_bar(
    figure: Figure,
    corner_inch: tuple[float, float],
    room_inch: float,
    inch_per_px: float,
    unit_per_px: float,
    physical: bool,
) -> None:
    """A scale bar beside a row, with its length."""
    width, height = figure.get_size_inches()
    room_px = room_inch / inch_per_px
    if physical:
        length, label = scale_bar_length(room_px, unit_per_px, share=1.0)
    else:
        length, label = scale_bar_length(room_px * unit_per_px, math.nan, share=1.0)
        length /= unit_per_px
    x, y = corner_inch
    figure.add_artist(
        Rectangle(
            (x / width, y / height), length * inch_per_px / width, 0.045 / height,
            facecolor=INK, transform=figure.transFigure,
        )
    )  # fmt: skip
    figure.text(x / width, (y - 0.05) / height, label, fontsize=7.5, va="top")


def _cell(part: CropSample, i: int, unit: float, size: int, colour: str) -> FloatArray:
    """One crop at ``unit`` per pixel in the middle of a square, with its outline."""
    side = max(3, round(part.pixels.shape[1] * float(part.unit_per_crop_px[i]) / unit))
    side = min(side, size)
    grey = _stretched(part.pixels[i])
    square = np.zeros((size, size, 4))
    top = (size - side) // 2
    body = square[top : top + side, top : top + side]
    body[..., :3] = _resized(grey, side)[..., np.newaxis]
    body[..., 3] = 1.0
    cover = _resized(part.mask[i].astype(np.float64), side)
    edge = (cover > 0.5) & ~_shrunk(cover > 0.5)
    body[edge, :3] = to_rgb(colour)
    return square


def _shrunk(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(mask, iterations=2), dtype=bool)


def _stretched(
    pixels: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_] | None = None
) -> FloatArray:
    """Grey values from 0 to 1, over all of a crop or within a mask."""
    values = np.asarray(pixels, dtype=np.float64)
    chosen = values if mask is None or not mask.any() else values[mask]
    low, high = np.percentile(chosen, [1, 99])
    return np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)


def _resized(values: FloatArray, side: int) -> FloatArray:
    from PIL import Image

    picture = Image.fromarray(values.astype(np.float32))
    method = Image.Resampling.BOX if side < values.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(picture.resize((side, side), method), dtype=np.float64)


def plot_population_montage(
    sample: CropSample, *, width_px: int = 1000, typical_px: float = 26.0
) -> Figure:
    """Crystals of all groups at one scale, ordered by group and size: the population at a glance.

    The number of crystals of a group in a random sample is its share of the population, and the
    area that they fill is its share of what is crystal.

    Parameters
    ----------
    sample
        A random sample of crystals. Where a pixel size is missing, those without one are left out,
        unless none has one: then they are drawn in pixels of their images.
    width_px
        Width of the montage [px of the figure].
    typical_px
        Size at which the median crystal is drawn.
    """
    known = np.isfinite(sample.pixel_size_nm)
    if known.any():
        sample = sample.take(np.flatnonzero(known))
    area = sample.mask.sum(axis=(1, 2)) * sample.unit_per_crop_px**2
    ids, count = group_ids(sample.group)
    with figure_style():
        if len(ids) == 0 or not (area > 0).any():
            return empty_figure("no crystal to show")
        unit = 2 * math.sqrt(float(np.median(area[area > 0])) / math.pi) / typical_px
        sprites = [_sprite(sample, i, unit) for i in range(len(ids))]
        colours = np.array([to_rgb(c) for c in (NO_GROUP, *group_colours(count))])
        order = np.lexsort((-area, np.where(ids > 0, ids, count + 1)))
        places, height_px = _shelves([sprites[i].shape for i in order], width_px)
        canvas = np.zeros((height_px, width_px, 4), np.float32)
        for i, (top, left) in zip(order, places, strict=True):
            sprite = sprites[i]
            window = canvas[top : top + sprite.shape[0], left : left + sprite.shape[1]]
            window[..., :3] = 0.7 * colours[ids[i]] + 0.3 * sprite[..., :1]
            window[..., 3] = np.maximum(window[..., 3], sprite[..., 1])
        width_inch = width_px / _DPI
        figure = new_figure(width_inch, height_px / _DPI + 0.55)
        total = figure.get_figheight()
        ax = figure.add_axes((0, 0.55 / total, 1, height_px / _DPI / total))
        ax.imshow(canvas, aspect="auto", interpolation="nearest")
        ax.set_axis_off()
        _draw_bar(figure, (0.1, 0.33), 1.6, 1 / _DPI, unit, sample.physical)
        _name_groups(figure, ids, count)
    return figure


def _sprite(sample: CropSample, i: int, unit: float) -> FloatArray:
    """Grey value and cover of one crystal within its bounding box, (height, width, 2)."""
    side = max(3, round(sample.pixels.shape[1] * float(sample.unit_per_crop_px[i]) / unit))
    cover = _resized(sample.mask[i].astype(np.float64), side)
    grey = _resized(_stretched(sample.pixels[i], sample.mask[i]), side)
    rows, columns = (np.flatnonzero((cover > 0.05).any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return np.zeros((1, 1, 2))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.stack([grey[box], np.clip(cover[box], 0, 1)], axis=2)


def _shelves(
    shapes: list[tuple[int, ...]], width_px: int, *, gap_px: int = 3
) -> tuple[list[tuple[int, int]], int]:
    """Top and left corner of every sprite in rows from the left, and the height of all."""
    places, top, left, tallest = [], gap_px, gap_px, 0
    for height, width, *_ in shapes:
        if left + width + gap_px > width_px and left > gap_px:
            top, left, tallest = top + tallest + gap_px, gap_px, 0
        places.append((top, left))
        left += width + gap_px
        tallest = max(tallest, height)
    return places, top + tallest + gap_px


def _name_groups(figure: Figure, ids: IntArray, count: int) -> None:
    from matplotlib.patches import Patch

    numbers = np.bincount(ids, minlength=count + 1)
    entries = [(k, group_colours(count)[k - 1], f"group {k}") for k in range(1, count + 1)]
    entries.append((0, NO_GROUP, "none"))
    shown = [(colour, f"{name}: {numbers[k]}") for k, colour, name in entries if numbers[k]]
    figure.legend(
        [Patch(color=colour) for colour, _ in shown],
        [name for _, name in shown],
        loc="lower right",
        ncols=6,
        fontsize=8,
        borderaxespad=0.2,
    )
