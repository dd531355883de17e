"""Burned-in scale bars: found, and measured in fractions of a pixel.

A bar is a level line of one tone: plain, hollow or chequered, alone on the micrograph, in a label
box or in the data bar, sometimes cut in two by its number. Where its ends carry ticks or
arrowheads, the length it stands for reaches from the middle of one to the middle of the other, or
where they are thicker than the pen that draws a line, from outside to outside; without, from edge
to edge. That rule was measured on files whose header has the pixel size. Where no such bar is
found, plain ones of any tone are looked for, `find_plain_bars`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.images.scale_bar_plain import PEN_PX, PlainBar, find_plain_bars
from nanoarray.images.scale_bar_writing import Box, find_writing
from nanoarray.nanocrystal.segment.annotations import BAR, BOX, DATA_BAR, find_annotations

__all__ = ["ScaleBar", "find_scale_bars", "parse_length_nm"]

#: Least length of a bar, and of one half of a bar cut in two: pixels and part of the width.
_LEAST_PX, _LEAST_OF_WIDTH = 12, 0.02
_MOST_OF_WIDTH = 0.7
#: A bar is this many times longer than the line is thick.
_ASPECT = 3.5
#: A row of the line covers at least this part of the bar's length.
_SPINE = 0.9
#: All but its first and last row, which are blurred, are shorter by at most so much.
_CORNER_PX, _CORNER = 2, 0.02
#: Ticks and arrowheads stand within this part of the length of an end, or these pixels.
_END, _END_PX = 0.12, 4
#: A box is looked into without its rim, a plain bar with what is around it [px].
_RIM_PX, _AROUND_PX = 2, 8
_NM = {"pm": 1e-3, "å": 0.1, "a": 0.1, "nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "mm": 1e6}
# The number is no end of a longer one, nor one whose comma may stand for a thousand.
_LENGTH = re.compile(
    r"(?<![\d.,])(?![1-9]\d{0,2},\d{3}(?!\d))(\d+(?:[.,]\d+)?)\s*(pm|nm|um|µm|μm|mm|å)(?![a-z])",
    re.IGNORECASE,
)

Place = Literal["label box", "data bar", "image"]


@dataclass(frozen=True)
class ScaleBar:
    """One scale bar.

    Attributes
    ----------
    length_px
        Its length.
    y_px, left_px, right_px
        Its middle row and its two ends; pixel centres at integers.
    where
        "label box", "data bar" or "image".
    writing
        Where its number may stand: first row and column, and row and column after, the likeliest
        first.
    label, length_nm
        What the number says, "" and NaN where it was not read.
    """

    length_px: float
    y_px: float
    left_px: float
    right_px: float
    where: Place
    writing: tuple[Box, ...] = ()
    label: str = ""
    length_nm: float = math.nan

    @property
    def pixel_size_nm(self) -> float:
        """Length of a pixel along x [nm]; NaN where the number is unknown."""
        return self.length_nm / self.length_px

    def labelled(self, label: str) -> ScaleBar:
        """The same bar with the length that ``label`` says.

        Raises
        ------
        InputError
            The label holds no length.
        """
        return replace(self, label=label.strip(), length_nm=parse_length_nm(label))


def parse_length_nm(text: str) -> float:
    """Length [nm] in a text such as ``200 nm`` or ``0.5 µm``.

    Raises
    ------
    InputError
        The text does not hold exactly one length above 0.
    """
    found = _LENGTH.findall(text)
    # "Mm" or "nM" are no lengths; "NM" is how some write "nm".
    found = [(n, unit) for n, unit in found if unit in (unit.lower(), unit.upper())]
    lengths = {float(n.replace(",", ".")) * _NM[unit.lower()] for n, unit in found}
    if len(lengths) != 1 or min(lengths) <= 0:
        raise InputError(
            f"{text!r} is no length of a scale bar: expected a number and pm, nm, um or mm, such "
            'as "200 nm"'
        )
    return lengths.pop()


def find_scale_bars(pixels: NDArray, *, data_bar_px: int = 0) -> list[ScaleBar]:
    """Scale bars drawn into a micrograph, measured.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values, with the data bar where there is one.
    data_bar_px
        Rows of data bar at the bottom, where they are known.

    Returns
    -------
    list of ScaleBar
        Those in label boxes first, then those of the data bar, then those in the field; more than
        one when it is not clear which line is the bar.
    """
    height, width = pixels.shape
    found: list[ScaleBar] = []
    if data_bar_px:
        strip = (slice(height - data_bar_px, height), slice(0, width))
        found = _in_box(pixels, strip, "data bar", rim_px=0)
    kind = find_annotations(pixels[: height - data_bar_px])
    places: tuple[tuple[int, Place], ...]
    places = ((BOX, "label box"), (DATA_BAR, "data bar"))
    for value, where in places:
        parts, _ = ndimage.label(kind == value)
        for place in ndimage.find_objects(parts):
            found += _in_box(pixels, place, where, rim_px=_RIM_PX)
    bars, _ = ndimage.label(kind == BAR)
    for place in ndimage.find_objects(bars):
        found += _in_field(pixels, place)
    order = ("label box", "data bar", "image")
    found = sorted(_without_inner(found), key=lambda bar: order.index(bar.where))
    return found or _without_inner(
        [_plain(bar, kind, height - data_bar_px) for bar in find_plain_bars(pixels)]
    )


def _plain(bar: PlainBar, kind: NDArray[np.uint8], field_rows: int) -> ScaleBar:
    """A plain bar with the place where it is."""
    row, column = round(bar.y_px), round((bar.left_px + bar.right_px) / 2)
    place = DATA_BAR if row >= field_rows else int(kind[row, column])
    where: Place = "image"
    if place in (DATA_BAR, BOX):
        where = "data bar" if place == DATA_BAR else "label box"
    return ScaleBar(
        length_px=bar.right_px - bar.left_px,
        y_px=bar.y_px,
        left_px=bar.left_px,
        right_px=bar.right_px,
        where=where,
        writing=() if bar.writing is None else (bar.writing,),
    )


@dataclass(frozen=True)
class _Line:
    """A level line: its rows and columns, the last ones included; its ticks as a mask."""

    top: int
    bottom: int
    left: int
    right: int
    ticks: NDArray[np.bool_]

    @property
    def length(self) -> int:
        return self.right - self.left + 1


def _in_box(
    pixels: NDArray,
    place: tuple[slice, slice],
    where: Place,
    *,
    rim_px: int,
) -> list[ScaleBar]:
    """Bars on the plain ground of a label box or data bar."""
    top, left = place[0].start + rim_px, place[1].start + rim_px
    window = pixels[top : place[0].stop - rim_px, left : place[1].stop - rim_px].astype(np.float64)
    if min(window.shape) < 3:
        return []
    ground = _commonest(window)
    strength = np.abs(window - ground)
    full = float(strength.max())
    if not full > 0:
        return []
    ink = _without_frame(strength >= 0.5 * full)
    return [
        _measured(strength / full, ink, pair, (top, left), where)
        for pair in _joined(_lines(ink, pixels.shape[1]))
    ]


def _in_field(pixels: NDArray, place: tuple[slice, slice]) -> list[ScaleBar]:
    """The bar that was found in the field at ``place``, among what is around it."""
    height, width = pixels.shape
    beside = round(0.7 * (place[1].stop - place[1].start))
    tall = max(round(0.12 * height), 4 * (place[0].stop - place[0].start))
    rows, columns = (
        slice(max(s.start - reach, 0), min(s.stop + reach, length))
        for s, reach, length in zip(place, (tall, beside), (height, width), strict=True)
    )
    window = pixels[rows, columns].astype(np.float64)
    own = (
        slice(place[0].start - rows.start, place[0].stop - rows.start),
        slice(place[1].start - columns.start, place[1].stop - columns.start),
    )
    near = np.zeros(window.shape, bool)
    near[
        max(own[0].start - _AROUND_PX, 0) : own[0].stop + _AROUND_PX,
        max(own[1].start - _AROUND_PX, 0) : own[1].stop + _AROUND_PX,
    ] = True
    near[own] = False
    tone, ground = float(np.median(window[own])), float(np.median(window[near]))
    if tone == ground:
        return []
    strength = np.clip((window - ground) / (tone - ground), 0.0, 1.0)
    # Only what is joined to the bar: the field around it has its own tones.
    ink = strength >= 0.5
    parts, _ = ndimage.label(ink, structure=np.ones((3, 3)))
    if not parts[own].any():
        return []
    number = int(np.bincount(parts[own].ravel())[1:].argmax()) + 1
    if _has_holes(parts[own] == number):
        # A low and wide label box has the shape of a bar: what is in it says which it is.
        inside = _in_box(pixels, place, "label box", rim_px=_RIM_PX)
        if inside:
            return inside
    return [
        _measured(strength, ink, [line], (rows.start, columns.start), "image")
        for line in _lines(parts == number, width)
    ]


def _without_frame(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Ink without the ruled lines around and between the cells of a data bar."""
    parts, _ = ndimage.label(ink, structure=np.ones((3, 3)))
    ruled = [
        number
        for number, part in enumerate(ndimage.find_objects(parts), start=1)
        if any(
            s.stop - s.start >= 0.9 * n and (o.start == 0 or o.stop == m)
            for (s, n), (o, m) in permutations(zip(part, ink.shape, strict=True))
        )
    ]
    return ink & ~np.isin(parts, ruled)


def _has_holes(part: NDArray[np.bool_]) -> bool:
    return bool((ndimage.binary_fill_holes(part) & ~part).any())


def _commonest(values: NDArray[np.float64]) -> float:
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=32, range=(low, high if high > low else low + 1))
    fullest = int(counts.argmax())
    chosen = values[(values >= edges[fullest]) & (values <= edges[fullest + 1])]
    return float(np.median(chosen))


def _lines(ink: NDArray[np.bool_], image_width: int) -> list[_Line]:
    """Connected parts of the ink that are a level line, with no more than ticks at its ends."""
    parts, _ = ndimage.label(ink, structure=np.ones((3, 3)))
    least = max(_LEAST_PX, _LEAST_OF_WIDTH * image_width)
    lines = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        length = columns.stop - columns.start
        if not least <= length <= _MOST_OF_WIDTH * image_width:
            continue
        part = parts[rows, columns] == number
        spine = np.flatnonzero(_longest_runs(part) >= _SPINE * length)
        if not spine.size:
            continue
        inner = part[spine[0] + 1 : spine[-1]]
        extent = length - inner.argmax(axis=1) - inner[:, ::-1].argmax(axis=1)
        if extent.size and length - extent.min() > max(_CORNER_PX, _CORNER * length):
            continue  # a crystal with rounded ends
        top, bottom = int(spine[0]), int(spine[-1])
        if length < _ASPECT * (bottom - top + 1):
            continue
        end = max(_END_PX, round(_END * length))
        middle = np.flatnonzero(part[:, end:-end].any(axis=1))
        if middle[0] < top - 1 or middle[-1] > bottom + 1:  # beyond rows that are half covered
            continue
        ticks = parts == number
        ticks[rows.start + middle[0] : rows.start + middle[-1] + 1] = False
        top, bottom = top + rows.start, bottom + rows.start
        lines.append(_Line(top, bottom, columns.start, columns.stop - 1, ticks))
    return lines


def _longest_runs(part: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The longest run of True in every row."""
    longest = np.zeros(part.shape[0], np.int64)
    run = longest.copy()
    for column in part.T:
        run = np.where(column, run + 1, 0)
        longest = np.maximum(longest, run)
    return longest


def _joined(lines: list[_Line]) -> list[list[_Line]]:
    """Lines, those two that are halves of one bar with its number between them joined."""
    left = sorted(lines, key=lambda line: line.left)
    bars: list[list[_Line]] = []
    while left:
        first = left.pop(0)
        for other in left:
            level = abs(first.top - other.top) <= 1 and abs(first.bottom - other.bottom) <= 1
            alike = abs(first.length - other.length) <= 0.25 * max(first.length, other.length)
            gap = other.left - first.right - 1
            if level and alike and 0 < gap <= 4 * first.length:
                left.remove(other)
                bars.append([first, other])
                break
        else:
            bars.append([first])
    return bars


def _measured(
    strength: NDArray[np.float64],
    ink: NDArray[np.bool_],
    lines: list[_Line],
    origin: tuple[int, int],
    where: Place,
) -> ScaleBar:
    """Find both ends of a bar; ``strength`` is 0 on the ground and 1 in full ink."""
    first, last = lines[0], lines[-1]
    gap = None if first is last else (first.right, last.left)
    left = _end(strength, first, first.left, 1)
    right = _end(strength, last, last.right, -1)
    writing = [
        (y0 + origin[0], x0 + origin[1], y1 + origin[0], x1 + origin[1])
        for y0, x0, y1, x1 in find_writing(
            ink & ~(first.ticks | last.ticks),
            (first.top, first.left, first.bottom, last.right),
            gap=gap,
        )
    ]
    return ScaleBar(
        length_px=right - left,
        y_px=origin[0] + (first.top + first.bottom) / 2,
        left_px=origin[1] + left,
        right_px=origin[1] + right,
        where=where,
        writing=tuple(writing),
    )


def _end(strength: NDArray[np.float64], line: _Line, column: int, inward: int) -> float:
    """Where a bar ends: the middle of the tick, or the edge of the line (half the ink)."""
    reach = max(_END_PX, round(_END * line.length))
    zone = sorted((column, column + inward * reach))
    columns = np.arange(max(zone[0], 0), min(zone[1] + 1, strength.shape[1]))
    ticks = line.ticks[:, columns]
    if ticks[: line.top].any() and ticks[line.bottom + 1 :].any():
        weight = np.where(ticks, strength[:, columns], 0.0).sum(axis=0)
        if np.count_nonzero(weight >= 0.5 * weight.max()) <= PEN_PX:
            return float((weight * columns).sum() / weight.sum())
    profile = strength[line.top : line.bottom + 1].mean(axis=0)
    inside = float(np.median(profile[columns]))
    before = column - inward
    outside = float(profile[before]) if 0 <= before < profile.size else 0.0
    # The edge of a pixel is half a pixel from its centre; its partial ink says how far it reaches.
    covered = min(float(profile[column]) / inside, 1.0) + min(outside / inside, 1.0)
    return column + inward * (0.5 - covered)


def _without_inner(bars: list[ScaleBar]) -> list[ScaleBar]:
    """Bars, without one that lies within the columns and near the rows of a longer one."""
    kept: list[ScaleBar] = []
    for bar in sorted(bars, key=lambda b: -b.length_px):
        inner = any(
            other.left_px - 1 <= bar.left_px
            and bar.right_px <= other.right_px + 1
            and abs(bar.y_px - other.y_px) <= 0.1 * other.length_px
            for other in kept
        )
        if not inner:
            kept.append(bar)
    return kept
