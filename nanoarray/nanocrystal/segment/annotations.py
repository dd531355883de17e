"""Find what was drawn into a micrograph: label boxes, data bars, scale bars and writing.

Graphics have one tone, the brightest or the darkest of the image, sharp edges, and (boxes and bars)
straight sides along the rows and columns. Crystals can be as dark and as flat, so no tone alone
makes an annotation: a bar must be a clean level rectangle, writing must stand beside a bar or a
box, and a panel letter must be made of strokes and stand in a corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as connected
from skimage.morphology import convex_hull_image

from nanoarray.images.data_bar import find_data_bar
from nanoarray.nanocrystal.measure.regions import find_regions

__all__ = [
    "ANNOTATION_REASONS",
    "BAR",
    "BOX",
    "DATA_BAR",
    "HIDING",
    "WRITING",
    "blank_boxes",
    "find_annotations",
]

DATA_BAR, BOX, BAR, WRITING = 1, 2, 3, 4
#: What covers the micrograph with all of its area.
HIDING = (DATA_BAR, BOX)
ANNOTATION_REASONS = {
    DATA_BAR: "data bar",
    BOX: "label box",
    BAR: "scale bar",
    WRITING: "letter or number",
}

#: How far from the extreme tone of the image graphics may be, as part of its span: compression.
_TONE = 0.08
#: The antialiased rim of a stroke is nearer to its tone than this, and at least this part of a
#: letter has the tone itself.
_RIM, _FULL_TONE = 0.4, 0.15
#: A drawn bar has at most this part of the noise of the field.
_BAR_NOISE = 0.25
#: A box covers at least this part of its bounding rectangle (with its writing filled), and at most
#: this part of the image.
_BOX_FILL, _BOX_MOST = 0.94, 0.3
_BOX_LEAST_PX = 14
_BAR_FILL, _BAR_ASPECT = 0.88, 3.5
#: Least length of a bar, as part of the width of the image.
_BAR_LEAST = 0.03
#: Spread of the tone inside a bar, as part of the span of the image.
_FLAT = 0.03
#: Height of writing, as part of the height of the image.
_WRITING_LEAST, _WRITING_MOST = 0.008, 0.15
#: Where panel letters stand: within this part of both sides of a corner.
_CORNER = 0.17
#: Where more of the image than this has the tone, crystals or background share it, and letters
#: cannot be told from them by it.
_RARE = 0.12
#: Graphics stand out from what is around them by this part of the span of the image.
_CRISP = 0.25
#: How far around they are compared, past the blur of a compressed edge.
_AROUND_PX = 4
#: Strokes are this much narrower than the letter is high.
_STROKE = 0.45


@dataclass(frozen=True)
class _Region:
    """A connected part of a mask, looked at only where its size makes it worth it."""

    labels: NDArray[np.int32]
    number: int
    bbox: tuple[int, int, int, int]

    @property
    def window(self) -> tuple[slice, slice]:
        y0, x0, y1, x1 = self.bbox
        return slice(y0, y1), slice(x0, x1)

    @cached_property
    def image(self) -> NDArray[np.bool_]:
        return self.labels[self.window] == self.number

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        return ndimage.binary_fill_holes(self.image, np.ones((3, 3)))

    @cached_property
    def area(self) -> int:
        return int(np.count_nonzero(self.image))


def find_annotations(pixels: NDArray) -> NDArray[np.uint8]:
    """Mark pixels of drawn-in graphics.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values.

    Returns
    -------
    ndarray
        ``(height, width)`` uint8: 0 none, otherwise a key of `ANNOTATION_REASONS`.
    """
    grey = pixels.astype(np.float32)
    found = np.zeros(grey.shape, np.uint8)
    low, high = float(grey.min()), float(grey.max())
    if not high > low:
        return found
    grey = (grey - low) / (high - low)
    rows = find_data_bar(pixels)
    if rows and _is_drawn(grey, rows):
        found[grey.shape[0] - rows :] = DATA_BAR
    for distance in (1 - grey, grey):
        _mark_tone(grey, distance, found)
    return found


def _is_drawn(grey: NDArray[np.float32], rows: int) -> bool:
    """Whether the bottom rows lack the noise of the micrograph: a drawn bar has none."""
    texture = np.abs(np.diff(grey, axis=1))
    bar, field = texture[-rows:], texture[:-rows]
    return bool(np.median(bar) <= _BAR_NOISE * np.median(field))


def blank_boxes(pixels: NDArray, kind: NDArray[np.uint8]) -> NDArray:
    """Replace label boxes and data bars by the grey level next to them.

    Their white would pass for background and their writing for crystals.

    Parameters
    ----------
    pixels
        ``(height, width)`` the micrograph.
    kind
        What `find_annotations` found in it.

    Returns
    -------
    ndarray
        The same where there are none.
    """
    boxes = (kind == DATA_BAR) | (kind == BOX)
    if not boxes.any():
        return pixels
    out = pixels.copy()
    rim = 2  # blurred
    parts, _ = ndimage.label(boxes, np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        y, x = (slice(max(s.start - rim - _AROUND_PX, 0), s.stop + rim + _AROUND_PX) for s in place)
        own = ndimage.binary_dilation(parts[y, x] == number, iterations=rim)
        others = ndimage.binary_dilation(boxes[y, x], iterations=rim)
        around = pixels[y, x][~others]
        out[y, x][own] = np.median(around) if around.size else np.median(pixels)
    return out


def _mark_tone(grey: NDArray[np.float32], distance: NDArray[np.float32], found: NDArray) -> None:
    """Mark the boxes, bars and writing of one tone, given the distance of every pixel to it."""
    height, width = grey.shape
    tone = (distance <= _TONE) & (found == 0)
    rare = bool(tone.mean() <= _RARE)
    bars, letters = [], []
    for region in _regions_that_may_be_drawn(tone):
        y0, x0, y1, x1 = region.bbox
        if _is_bar(region, grey):
            if _is_crisp(region, grey):
                bars.append(region)
        elif min(y1 - y0, x1 - x0) >= _BOX_LEAST_PX and _is_box(region, grey):
            found[y0:y1, x0:x1] = BOX
        else:
            letters.append(region)
    for bar in bars:
        found[bar.window][bar.image] = BAR
    # Thin strokes are antialiased through and through: whole letters first, by a looser tone.
    loose = _regions_that_may_be_drawn((distance <= _RIM) & (found == 0))
    for letter, strict in [(r, False) for r in loose] + [(r, True) for r in letters]:
        y0, x0, y1, x1 = letter.bbox
        if not _WRITING_LEAST * height <= y1 - y0 <= _WRITING_MOST * height:
            continue
        if x1 - x0 > 0.3 * width or found[letter.window][letter.image].any():
            continue
        if not strict and tone[letter.window][letter.image].mean() <= _FULL_TONE:
            continue
        beside = any(_beside(letter, bar, height) for bar in bars)
        panel = strict and rare and _is_panel_letter(letter, grey)
        if (beside or panel) and _is_crisp(letter, grey):
            found[letter.window][letter.filled] = WRITING


def _regions_that_may_be_drawn(mask: NDArray[np.bool_]) -> list[_Region]:
    """The connected parts of a mask that have the size of a bar, a box or a letter.

    Noise makes thousands of others, and describing each costs more than the network.
    """
    labels = connected(mask, connectivity=2).astype(np.int32)
    found = find_regions(labels)
    height, width = mask.shape
    tall, wide = (found.box[:, 2 + axis] - found.box[:, axis] for axis in (0, 1))
    bar = (wide >= _BAR_ASPECT * tall) & (wide >= _BAR_LEAST * width)
    box = np.minimum(tall, wide) >= _BOX_LEAST_PX
    letter = (tall >= _WRITING_LEAST * height) & (tall <= _WRITING_MOST * height)
    kept = (bar | box | letter) & (tall * wide <= _BOX_MOST * mask.size)
    rows = zip(found.label[kept].tolist(), found.box[kept].tolist(), strict=True)
    return [_Region(labels, number, tuple(bbox)) for number, bbox in rows]


def _is_bar(region: _Region, grey: NDArray[np.float32]) -> bool:
    y0, x0, y1, x1 = region.bbox
    tall, wide, width = y1 - y0, x1 - x0, grey.shape[1]
    return bool(
        tall >= 2
        and wide >= _BAR_ASPECT * tall
        and _BAR_LEAST * width <= wide <= 0.6 * width
        and region.area >= _BAR_FILL * tall * wide
        and grey[region.window][region.image].std() <= _FLAT
    )


def _is_box(region: _Region, grey: NDArray[np.float32]) -> bool:
    """A filled level rectangle with straight sides, flat but for the writing in it."""
    image = region.filled
    if image.sum() < _BOX_FILL * image.size:
        return False
    sides = (image[1], image[-2], image[:, 1], image[:, -2])
    straight = all(side.mean() > 0.85 for side in sides)
    own = grey[region.window][region.image]
    return bool(straight and own.std() <= _FLAT and region.area >= 0.3 * image.size)


def _beside(letter: _Region, bar: _Region, height: int) -> bool:
    """Whether a letter stands above or below a bar, as the number of a scale bar does."""
    y0, x0, y1, x1 = bar.bbox
    top, left, bottom, right = letter.bbox
    gap = max(y0 - bottom, top - y1)
    centre = (left + right) / 2
    room = 0.35 * (x1 - x0)
    near = gap <= 0.06 * height and bottom - top <= 0.6 * (x1 - x0)
    return bool(near and x0 - room <= centre <= x1 + room)


def _is_panel_letter(letter: _Region, grey: NDArray[np.float32]) -> bool:
    height, width = grey.shape
    y, x = (letter.bbox[axis] + np.nonzero(letter.image)[axis].mean() for axis in (0, 1))
    corner = min(y, height - y) <= _CORNER * height and min(x, width - x) <= _CORNER * width
    tall = letter.bbox[2] - letter.bbox[0]
    if not corner or tall < 0.02 * height:
        return False
    padded = np.pad(letter.image, 1)
    stroke = 2 * ndimage.distance_transform_edt(padded).max()
    # Filled, so that a crystal with a bright middle is no letter.
    solidity = letter.filled.sum() / convex_hull_image(letter.image).sum()
    return bool(stroke <= _STROKE * tall and solidity < 0.85)


def _is_crisp(region: _Region, grey: NDArray[np.float32]) -> bool:
    """Whether the surroundings have another tone: noise that is cut off by a tone has not."""
    y0, x0, y1, x1 = region.bbox
    reach = _AROUND_PX
    y, x = max(y0 - reach, 0), max(x0 - reach, 0)
    window = grey[y : y1 + reach, x : x1 + reach]
    own = np.zeros(window.shape, bool)
    own[y0 - y : y1 - y, x0 - x : x1 - x] = region.image
    near = ndimage.binary_dilation(own, iterations=2)
    around = ndimage.binary_dilation(near, iterations=reach - 2) & ~near
    if not around.any():
        return False
    return bool(abs(np.median(window[around]) - window[own].mean()) >= _CRISP)
