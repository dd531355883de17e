"""Crystals over their micrograph, coloured by shape group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

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
from nanoarray.report.nanocrystals.groups import IntArray, group_colours
from nanoarray.report.style import figure_style, plain_text

#: Crystals without a group, and what is no crystal.
UNGROUPED = "#ffd21f"
REJECTED = "#ffffff"
_TINT = 0.30
#: More reasons than this would cover the micrograph.
_MAX_REASONS = 12


def plot_crystals(
    image: Image,
    crystal: npt.ArrayLike,
    *,
    groups: Mapping[int, int] | None = None,
    cut: Sequence[int] | npt.ArrayLike = (),
    rejected: npt.ArrayLike | None = None,
    reasons: Mapping[int, str] | None = None,
    count: int | None = None,
    pixel_size_nm: float | None = None,
    fill: bool = True,
) -> Figure:
    """Crystals over the micrograph: outlines and tints by group, what is left out marked.

    Crystals that the edge cuts have a dashed outline and no tint, as they are in no statistics.
    Rejected objects are hatched, with the reason beside the largest of them.

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    crystal
        (height, width) ids of crystals, 0 for none.
    groups
        Shape group from 1 by id; crystals without one are yellow.
    cut
        Ids of crystals that touch the edge.
    rejected
        (height, width) ids of rejected objects, 0 for none.
    reasons
        Why, by id.
    count
        Number of groups in the collection, which the colours depend on.
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    fill
        Tint the crystals.

    Raises
    ------
    InputError
        When a map is not of this image.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    labels = _map(crystal, picture.pixels.shape, "crystals")
    known = dict(groups or {})
    colours = [UNGROUPED, *group_colours(max([count or 0, *known.values(), 0]))]
    highest = int(labels.max(initial=0))
    group_of = np.zeros(highest + 1, np.int64)
    for label, group in known.items():
        if 0 < label <= highest and group > 0:
            group_of[label] = group
    is_cut = np.zeros(highest + 1, bool)
    cut_ids = np.asarray(cut, dtype=np.int64)
    is_cut[cut_ids[(cut_ids > 0) & (cut_ids <= highest)]] = True
    with figure_style():
        figure, ax = field_figure(picture)
        draw_micrograph(ax, picture)
        if fill and highest:
            tints = np.array([[*to_rgb(c), _TINT] for c in colours])[group_of]
            tints[is_cut] = 0.0
            tints[0] = 0.0
            ax.imshow(
                bytes_of(tints)[labels],
                extent=extent_of(picture),
                aspect="auto",
                interpolation="nearest",
            )
        _draw_outlines(ax, labels, group_of, is_cut, colours)
        if rejected is not None:
            objects = _map(rejected, picture.pixels.shape, "rejected objects")
            _draw_rejected(ax, objects, dict(reasons or {}))
        draw_scale_bar(ax, picture)
    return figure


def _map(values: npt.ArrayLike, shape: tuple[int, ...], what: str) -> IntArray:
    labels = np.asarray(values, dtype=np.int64)
    if labels.ndim == 2:
        labels = labels[: shape[0], : shape[1]]
    if labels.shape != shape:
        raise InputError(
            f"the map of {what} has shape {labels.shape}, the image {shape}: they must be of the "
            "same image"
        )
    return labels


def outline_segments(labels: IntArray, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Sides of pixels between a chosen label and anything else.

    Parameters
    ----------
    labels
        (height, width) ids.
    chosen
        (ids + 1,) bool by id.

    Returns
    -------
    ndarray
        (n, 2, 2) ends of each run of sides as (x, y) [px].
    """
    padded = np.pad(labels, 1)
    inside = np.pad(chosen, (0, 1))[padded]
    parts = []
    for axis in (0, 1):
        # Rows between pixel rows (axis 0), or columns between columns.
        a, b = padded, np.roll(padded, -1, axis)
        side = (a != b) & (inside | np.roll(inside, -1, axis))
        lines = side if axis == 0 else side.T
        # Runs of sides in one line are drawn as one segment.
        steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        row, start = np.nonzero(steps == 1)
        _, stop = np.nonzero(steps == -1)
        ends = np.stack([start, stop], axis=1) - 1.5
        level = np.broadcast_to((row - 0.5)[:, np.newaxis], ends.shape)
        parts.append(np.stack([ends, level] if axis == 0 else [level, ends], axis=2))
    return np.concatenate(parts).astype(np.float64)


def _broken(lines: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Every other piece of an outline made of pixel sides: dashes, however short the sides."""
    dash = 4.0
    middle = lines.mean(axis=1)
    pieces = []
    for (start, stop), centre in zip(lines, middle, strict=True):
        length = float(np.abs(stop - start).sum())
        if length <= dash:
            if int((centre.sum() + 1e6) // dash) % 2 == 0:
                pieces.append((start, stop))
            continue
        for low in np.arange(0.0, length, 2 * dash):
            high = min(low + dash, length)
            along = (stop - start) / length
            pieces.append((start + low * along, start + high * along))
    return np.array(pieces).reshape(-1, 2, 2)


def _draw_outlines(
    ax: Axes,
    labels: IntArray,
    group_of: IntArray,
    is_cut: npt.NDArray[np.bool_],
    colours: Sequence[str],
) -> None:
    """Outlines in the colour of the group, dashed where the edge cuts the crystal."""
    for group, colour in enumerate(colours):
        for dashed in (False, True):
            chosen = (group_of == group) & (is_cut == dashed)
            chosen[0] = False
            if not chosen.any():
                continue
            lines = outline_segments(labels, chosen)
            if lines.size:
                ax.add_collection(
                    LineCollection(
                        list(_broken(lines) if dashed else lines),
                        colors=colour,
                        linewidths=1.5,
                        capstyle="projecting",
                    )
                )


def _draw_rejected(ax: Axes, objects: IntArray, reasons: Mapping[int, str]) -> None:
    """Hatched outlines, and the reason beside the largest objects."""
    highest = int(objects.max(initial=0))
    if highest == 0:
        return
    chosen = np.arange(highest + 1) > 0
    ground = [withStroke(linewidth=2.2, foreground="black")]
    lines = outline_segments(objects, chosen)
    edges = LineCollection(list(lines), colors=REJECTED, linewidths=1.0, path_effects=ground)
    ax.add_collection(edges)
    height, width = objects.shape
    period = max(4, width // 60)
    row, column = np.indices(objects.shape)
    stripes = np.zeros((height, width, 4), np.uint8)
    stripes[(objects > 0) & ((row + column) % period < max(1, period // 3))] = (255, 255, 255, 190)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(stripes, extent=extent, aspect="auto", interpolation="nearest")
    areas = np.bincount(objects.ravel(), minlength=highest + 1)
    areas[0] = 0
    largest = [int(k) for k in np.argsort(-areas, kind="stable")[:_MAX_REASONS] if areas[k]]
    for label in largest:
        if label not in reasons:
            continue
        y, x = np.nonzero(objects == label)
        centre = float(np.clip(x.mean(), 0.12 * width, 0.88 * width))
        below = y.max() < 0.93 * height
        ax.text(
            centre,
            y.max() + 2 if below else y.min() - 2,
            plain_text(reasons[label], limit=32),
            color="white",
            fontsize=9.5,
            ha="center",
            va="top" if below else "bottom",
            parse_math=False,
            clip_on=True,
            path_effects=ground,
        )
