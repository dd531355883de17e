"""Plain scale bars of any tone, also where crystals or letters touch them.

What is drawn is flat, while a micrograph has noise: the rows of a bar are runs of one tone that
begin and end in the same columns. No shape is cut out, so what touches the bar from above or below
does not matter. A crystal can look like that, too: so a number must stand beside the bar, or its
tone, its sides and its corners must be such as only a drawing has. Bars with an outline are left
out, for it is not clear whether the outline counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.images.scale_bar_writing import Box

__all__ = ["PEN_PX", "PlainBar", "find_plain_bars"]

#: Least and largest length, as parts of the width of the image, and the least in pixels.
_LEAST_OF_WIDTH, _MOST_OF_WIDTH, _LEAST_PX = 0.03, 0.7, 20
#: A bar is this many times longer than high.
_ASPECT = 3.5
#: Tones are parts of the span of the image. Next pixels of a bar differ by at most this much; all
#: but those at its ends, which compression blurs, by at most this part of its contrast.
_STEP, _SPREAD, _BLURRED_PX = 0.03, 0.25, 2
#: A bar differs from what is around it by this much, this many pixels away: the edge is blurred.
_CONTRAST, _REACH_PX = 0.15, 5
#: This part of the columns does so on one side, and on the other, where letters and crystals of the
#: same tone may touch it.
_CLEAR, _CLEAR_TOUCHED = 0.85, 0.5
#: Rows begin and end within these pixels of each other.
_LEVEL_PX = 2
#: Without a number: as much darker or brighter than what is around it as only a drawing is, this
#: near to the extreme tone, not touched, at least so high, longer than a dash of large writing, as
#: part of the width.
_BOLD, _EXTREME, _CLEAR_ALONE, _HIGH_PX, _LONG = 0.5, 0.02, 0.97, 4, 0.08
#: Crystals and letters have round corners. Of 38 bars in figures 37 lack up to 0.25 of their ink
#: there, one in noise 0.47; rods lack from 0.41. The first is for bars without a number.
_SQUARE, _ROUND = 0.3, 0.6
#: Ticks stand within this part of the length of an end, and reach out of the blurred rim.
_TICK, _TICK_PX = 0.06, 3
#: Ticks up to this wide are lines of a pen: instruments count from the middle of one.
PEN_PX = 3
#: The sides of a frame go on from its corners for at least so far.
_FRAME_PX = 8
#: Writing is at most so high, as part of the height of the image. A letter: least height; strokes
#: and width as parts of the height; letters of a line.
_WRITING, _LETTER_PX, _STROKE, _LETTER_WIDTH, _LETTERS = 0.12, 4, 0.5, 2.5, 3
#: How near to the tone of the bar ink is, as part of its contrast: letters are thinner, so paler.
_INK = (0.5, 0.65, 0.8)
_SIGMA_OF_MAD = 1.4826  # of normal noise


@dataclass(frozen=True)
class PlainBar:
    """A level rectangle of one tone.

    Attributes
    ----------
    y_px, left_px, right_px
        Its middle row and its two ends; pixel centres at integers.
    writing
        Where a line of writing of its tone stands: first row and column, and row and column after;
        None where none was found.
    """

    y_px: float
    left_px: float
    right_px: float
    writing: Box | None


@dataclass(frozen=True)
class _Rows:
    """Successive rows of one tone; last row and column included; grey values of 0 to 1."""

    top: int
    bottom: int
    left: int
    right: int
    tone: float
    ground: float
    #: 1 where it is darker than what is around it, -1 where it is brighter.
    sign: int
    #: Standard deviation of the ground.
    noise: float
    #: Part of the columns that differ from the ground.
    clear: float

    @property
    def length(self) -> int:
        return self.right - self.left + 1

    @property
    def depth(self) -> float:
        return self.ground - self.tone


def find_plain_bars(pixels: NDArray) -> list[PlainBar]:
    """Plain scale bars anywhere in a micrograph.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values.

    Returns
    -------
    list of PlainBar
        From top to bottom.
    """
    grey = pixels.astype(np.float32)
    low, high = float(grey.min()), float(grey.max())
    if not high > low:
        return []
    grey = (grey - low) / (high - low)
    level = [rows for stack in _stacked(_runs(grey)) if (rows := _rows(grey, stack)) is not None]
    bars = []
    for rows in level:
        if rows.sign * rows.depth < _CONTRAST or _is_part(rows, level) or _is_frame(grey, rows):
            continue
        lacking = _lacking_corners(grey, rows)
        if lacking > _ROUND:
            continue
        writing = _writing(grey, rows)
        if writing is not None or (lacking <= _SQUARE and _is_drawn(rows, grey.shape[1])):
            left, right = (_end(grey, rows, inward) for inward in (1, -1))
            bars.append(PlainBar((rows.top + rows.bottom) / 2, left, right, writing))
    return bars


#: A row, its first and last column of one tone, and the tone.
_Run = tuple[int, int, int, float]


def _runs(grey: NDArray[np.float32]) -> list[_Run]:
    """Runs of one tone along rows that could be a row of a bar."""
    width = grey.shape[1]
    alike = np.abs(np.diff(grey, axis=1)) <= _STEP
    steps = np.diff(np.pad(alike, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    y, left = np.nonzero(steps == 1)
    right = np.nonzero(steps == -1)[1]
    length = right - left + 1
    # What reaches a side of the image is cut off by it.
    kept = (length >= max(_LEAST_PX, _LEAST_OF_WIDTH * width)) & (length <= _MOST_OF_WIDTH * width)
    kept &= (left > 0) & (right < width - 1)
    y, left, right = y[kept], left[kept], right[kept]
    if not y.size:
        return []
    begin, end = y * width + left + _BLURRED_PX, y * width + right + 1 - _BLURRED_PX
    inner = np.stack([begin, end], axis=1).ravel()
    darkest = np.minimum.reduceat(grey.ravel(), inner)[::2]
    brightest = np.maximum.reduceat(grey.ravel(), inner)[::2]
    tone = (darkest + brightest) / 2
    outside = range(1, _REACH_PX + 1)
    contrast = np.minimum(
        *(
            np.max([np.abs(grey[y, np.clip(x + way * k, 0, width - 1)] - tone) for k in outside], 0)
            for x, way in ((left, -1), (right, 1))
        )
    )
    kept = (contrast >= _CONTRAST) & (brightest - darkest <= _SPREAD * contrast)
    columns = (values[kept].tolist() for values in (y, left, right, tone))
    return list(zip(*columns, strict=True))


def _stacked(runs: list[_Run]) -> list[list[_Run]]:
    """Runs of one tone in successive rows that begin and end alike."""
    stacks: list[list[_Run]] = []
    growing: list[list[_Run]] = []
    for run in runs:  # by row
        y, left, right, tone = run
        growing = [stack for stack in growing if stack[-1][0] >= y - 1]
        for stack in growing:
            above = stack[-1]
            level = max(abs(above[1] - left), abs(above[2] - right)) <= _LEVEL_PX
            if above[0] == y - 1 and level and abs(above[3] - tone) <= 2 * _STEP:
                stack.append(run)
                break
        else:
            growing.append([run])
            stacks.append(growing[-1])
    return stacks


def _rows(grey: NDArray[np.float32], stack: list[_Run]) -> _Rows | None:
    """A stack of runs where it is darker, or brighter, than what is above and below it."""
    top, bottom = stack[0][0], stack[-1][0]
    left, right = (round(float(np.median([run[k] for run in stack]))) for k in (1, 2))
    tone = float(np.median([run[3] for run in stack]))
    above = grey[max(top - _REACH_PX, 0) : top, left : right + 1] - tone
    below = grey[bottom + 1 : bottom + 1 + _REACH_PX, left : right + 1] - tone
    if right - left + 1 < _ASPECT * (bottom - top + 1) or not above.size or not below.size:
        return None
    sign = 1 if np.median(above[0]) > 0 else -1
    sides = [float(((sign * part).max(axis=0) >= _CONTRAST).mean()) for part in (above, below)]
    if max(sides) < _CLEAR or min(sides) < _CLEAR_TOUCHED:
        return None
    # Beyond the blurred rim, on the side where the bar stands out less.
    around = [part for part in (above[:-_TICK_PX], below[_TICK_PX:]) if part.size]
    depths = [float(sign * np.median(part)) for part in around]
    if not depths:
        return None
    part, depth = around[int(np.argmin(depths))], min(depths)
    noise = _SIGMA_OF_MAD * float(np.median(np.abs(part - np.median(part))))
    return _Rows(top, bottom, left, right, tone, tone + sign * depth, sign, noise, min(sides))


def _is_same(one: _Rows, other: _Rows) -> bool:
    """Whether two stacks are parts of one drawing: rim, fill or outline."""
    apart = max(other.top - one.bottom, one.top - other.bottom)
    ends = max(abs(one.left - other.left), abs(one.right - other.right))
    return apart <= _REACH_PX and ends <= max(_REACH_PX, 0.05 * one.length)


def _is_part(rows: _Rows, level: list[_Rows]) -> bool:
    """Whether a stack is the rim of a bar, its outline, its fill, or one of its pieces."""
    for other in level:
        if other is rows:
            continue
        deeper = other.sign * other.depth > rows.sign * rows.depth
        if _is_same(rows, other) and (other.sign != rows.sign or deeper):
            return True
        if _in_line(rows, other):
            return True
    return False


def _in_line(one: _Rows, other: _Rows) -> bool:
    """Whether two stacks are like the halves of a bar, or the fields of a chequered one."""
    level = other.top <= one.bottom and one.top <= other.bottom
    return level and abs(one.length - other.length) <= 0.25 * max(one.length, other.length)


def _is_frame(grey: NDArray[np.float32], rows: _Rows) -> bool:
    """Whether lines go up from both ends of a bar, and none down, or the other way round."""
    far = max(_FRAME_PX, round(_TICK * rows.length))
    sides = []
    for beyond in (grey[max(rows.top - far, 0) : rows.top], grey[rows.bottom + 1 :][:far]):
        ink = np.abs(beyond - rows.tone) <= 0.5 * abs(rows.depth)
        ends = (ink[:, max(x - _TICK_PX, 0) : x + _TICK_PX + 1] for x in (rows.left, rows.right))
        sides.append([bool(end.all(axis=0).any()) for end in ends])
    up, down = sides
    return (all(up) and not any(down)) or (all(down) and not any(up))


def _is_drawn(rows: _Rows, width: int) -> bool:
    """Whether nothing but a drawn bar looks so, even without a number."""
    return (
        abs(rows.depth) >= _BOLD
        and min(rows.tone, 1 - rows.tone) <= _EXTREME
        and rows.clear >= _CLEAR_ALONE
        and rows.bottom - rows.top + 1 >= _HIGH_PX
        and rows.length >= _LONG * width
    )


def _lacking_corners(grey: NDArray[np.float32], rows: _Rows) -> float:
    """How much less ink a bar has somewhere than its height and its width tell: 0 in a rectangle.

    What is blurred alike in all directions does not count.
    """
    top, left = max(rows.top - _REACH_PX, 0), max(rows.left - _REACH_PX, 0)
    window = grey[top : rows.bottom + _REACH_PX + 1, left : rows.right + _REACH_PX + 1]
    ink = np.clip((window - rows.ground) / (rows.tone - rows.ground), 0, 1)
    across = np.median(ink, axis=1)
    along = np.median(ink[rows.top - top : rows.bottom - top + 1], axis=0)
    drawn = np.outer(across, along)
    return float((drawn - ink)[drawn >= 0.5].max())


def _end(grey: NDArray[np.float32], rows: _Rows, inward: int) -> float:
    """Where a bar ends: the middle of a tick, or the edge (half the ink)."""
    column = rows.left if inward > 0 else rows.right
    tick = _tick(grey, rows, column, inward)
    if tick is not None:
        return tick
    profile = grey[rows.top : rows.bottom + 1].mean(axis=0)
    beyond = column - inward * np.arange(_REACH_PX - 1, _REACH_PX + 3)
    ground = float(np.median(profile[np.clip(beyond, 0, profile.size - 1)]))
    if abs(ground - rows.tone) < _CONTRAST:  # something of the same tone, a letter
        ground = rows.ground
    first = column + inward * _REACH_PX
    at = first - inward * np.arange(2 * _REACH_PX)
    at = at[(at >= 0) & (at < profile.size)]
    cover = np.clip((profile[at] - ground) / (rows.tone - ground), 0, 1)
    # The edge is blurred as far as the ink grows less; what follows is the field.
    rises = np.flatnonzero((np.diff(cover) > 0) & (cover[:-1] < 0.5))
    if rises.size:
        cover = cover[: int(rises[0]) + 1]
    return float(first + inward * (0.5 - cover.sum()))


def _tick(grey: NDArray[np.float32], rows: _Rows, column: int, inward: int) -> float | None:
    """Middle of a thin tick that crosses the end of a bar."""
    reach = max(_TICK_PX, round(_TICK * rows.length))
    columns = np.arange(column - _TICK_PX, column + reach) if inward > 0 else None
    if columns is None:
        columns = np.arange(column - reach + 1, column + _TICK_PX + 1)
    columns = columns[(columns >= 0) & (columns < grey.shape[1])]
    across = [rows.top - _TICK_PX, rows.bottom + _TICK_PX]
    if across[0] < 0 or across[1] >= grey.shape[0]:
        return None
    ink = np.clip((grey[across][:, columns] - rows.ground) / (rows.tone - rows.ground), 0, 1)
    weight = ink.min(axis=0)  # above and below
    if weight.max() <= 0.5 or np.count_nonzero(weight > 0.5) > PEN_PX:
        return None
    return float((weight * columns).sum() / weight.sum())


def _writing(grey: NDArray[np.float32], rows: _Rows) -> Box | None:
    """A line of letters of the tone of a bar beside it."""
    height, width = grey.shape
    tall = round(min(_WRITING * height, 1.2 * rows.length))
    y0, y1 = max(rows.top - 2 * tall, 0), rows.bottom + 2 * tall + 1
    x0, x1 = max(rows.left - rows.length, 0), min(rows.right + rows.length + 1, width)
    strength = np.abs(grey[y0:y1, x0:x1] - rows.tone) / abs(rows.depth)
    # Without the bar and its blurred rim, so that letters which touch it come off.
    strength[
        max(rows.top - y0 - 1, 0) : rows.bottom - y0 + 2, rows.left - x0 : rows.right - x0 + 1
    ] = np.inf
    at = (rows.top - y0, rows.left - x0, rows.bottom - y0, rows.right - x0)
    for nearest in _INK:
        if nearest > _INK[0] and (1 - nearest) * abs(rows.depth) < 3 * rows.noise:
            break  # specks of noise would be letters
        letters = _letters(strength <= nearest, tall)
        lines = [line for letter in letters if (line := _line(letter, letters, at)) is not None]
        if lines:
            line = max(lines, key=lambda box: box[3] - box[1])
            return line[0] + y0, line[1] + x0, line[2] + y0, line[3] + x0
    return None


def _letters(ink: NDArray[np.bool_], tall: int) -> list[Box]:
    """Parts of the ink that are thin strokes of the size of a letter, by their first column."""
    parts, _ = ndimage.label(ink, np.ones((3, 3)))
    letters = []
    for number, (y, x) in enumerate(ndimage.find_objects(parts), start=1):
        high, wide = y.stop - y.start, x.stop - x.start
        if not _LETTER_PX <= high <= tall or wide > _LETTER_WIDTH * high:
            continue
        letter = np.pad(parts[y, x] == number, 1)
        if 2 * ndimage.distance_transform_edt(letter).max() - 1 <= _STROKE * high:
            letters.append((y.start, x.start, y.stop, x.stop))
    return sorted(letters, key=lambda box: box[1])


def _line(first: Box, letters: list[Box], bar: Box) -> Box | None:
    """The line of writing that begins with a letter, if it is one and stands beside the bar."""
    high = first[2] - first[0]
    line = [first]
    for letter in letters:
        level = abs(letter[2] - first[2]) <= 0.35 * high
        alike = 0.55 * high <= letter[2] - letter[0] <= 1.5 * high
        if level and alike and -0.2 * high <= letter[1] - line[-1][3] <= 1.2 * high:
            line.append(letter)
    top, left = min(box[0] for box in line), line[0][1]
    bottom, right = max(box[2] for box in line), line[-1][3]
    apart = max(bar[0] - bottom, top - bar[2])
    aside = max(bar[1] - right, left - bar[3])
    beside = (apart <= high and aside < 0) or (apart < 0 and aside <= 1.5 * high)
    return (top, left, bottom, right) if len(line) >= _LETTERS and beside else None
