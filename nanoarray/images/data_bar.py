"""The data bar that an instrument burns into the bottom of a micrograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Fractions of a row, or of the bar; measured on bars of FEI instruments with generous room.
MIN_BACKGROUND_PER_ROW = 0.45
MIN_BACKGROUND_OF_BAR = 0.60
MIN_ONE_TONE_OF_WRITING = 0.25  # the rest is antialiased edges of the strokes
MIN_CONTRAST_OF_WRITING = 0.5  # of the span of the whole micrograph
MAX_BEYOND_WRITING = 0.15  # of the same; a piece of micrograph within vacuum has brighter spots
MIN_WRITING_OF_BAR = 0.005
MAX_BAR_OF_IMAGE = 0.25
MIN_BAR_ROWS = 8
#: Rows of micrograph that may show below a bar that was drawn over it, as Zeiss does.
MAX_ROWS_BELOW = 2
#: A ruled line around the bar is one tone over this part of a row, and this many rows thick; at the
#: very bottom some cameras draw a shaded one.
MIN_ONE_TONE_OF_RULE = 0.97
MAX_RULE_ROWS, MAX_BOTTOM_RULE_ROWS = 4, 10
_SAMPLES_OF_ROW = 64  # enough for the tone of a row that is nearly all of one
#: The tone of a bar covers this part of one of its top rows, and no more than this of those beyond.
EDGE_ROWS, MIN_TONE_INSIDE, MAX_TONE_BEYOND = 3, 0.9, 0.01
#: Writing of no one tone is known by how many strokes a row of it has, and how thin they are [px].
MIN_STROKES, MAX_STROKE_PX = 5, 8


def data_bar_rows(
    pixels: NDArray[np.generic], *, image_height_px: int = 0, image_width_px: int = 0
) -> int:
    """Rows at the bottom that are the data bar.

    Parameters
    ----------
    pixels
        The micrograph as stored, shape ``(height, width)``.
    image_height_px, image_width_px
        Size of the scanned field from the file's metadata; 0 when unknown.

    Returns
    -------
    int
        By metadata where it fits the array, otherwise by `find_data_bar`.
    """
    height, width = pixels.shape
    widths_agree = image_width_px in (0, width)
    if widths_agree and height / 2 < image_height_px <= height:
        return height - image_height_px
    return find_data_bar(pixels)


def find_data_bar(pixels: NDArray[np.generic]) -> int:
    """Number of rows of the data bar at the bottom, found from the pixels; 0 when there is none.

    A bar is a band over the full width in two flat tones, background and writing: most pixels of
    every row are the background, the strokes are one tone, the brightest or darkest there, and the
    row above is different. Vacuum, saturated or smooth regions at the bottom of a micrograph have
    no writing and are left alone.
    """
    height, width = pixels.shape
    deepest = int(height * MAX_BAR_OF_IMAGE)
    if deepest < MIN_BAR_ROWS or width < 32:
        return 0
    span = float(pixels.max()) - float(pixels.min())
    if not 0 < span < np.inf:
        return 0
    tolerance = 0.03 * span
    last = pixels[height - MIN_BAR_ROWS * 2 :].astype(np.float32)[::-1]
    background = _flat_tone(last, tolerance)
    of_last = (np.abs(last - background) <= tolerance).mean(axis=1) >= MIN_BACKGROUND_PER_ROW
    if not (of_last | _rules(last, tolerance, of_last))[: MAX_ROWS_BELOW + 1].any():
        return 0  # most micrographs end here, without a look at a quarter of their pixels
    bottom = pixels[height - deepest :].astype(np.float32)[::-1]  # last row first
    is_background = np.abs(bottom - background) <= tolerance
    of_background = is_background.mean(axis=1) >= MIN_BACKGROUND_PER_ROW
    frame = _rules(bottom, tolerance, of_background)
    belongs = of_background | frame
    below = int(np.argmax(belongs))
    if not belongs.any() or below > MAX_ROWS_BELOW:
        return 0
    rest = belongs[below:]
    rows = deepest if rest.all() else below + int(np.argmin(rest))
    if rows - below < MIN_BAR_ROWS or rows == deepest:
        return 0
    bar, inside = bottom[below:rows], is_background[below:rows]
    inner = ~frame[below:rows]
    if not inner.any() or inside[inner].mean() < MIN_BACKGROUND_OF_BAR:
        return 0
    strokes = bar[inner][np.abs(bar[inner] - background) >= MIN_CONTRAST_OF_WRITING * span]
    if strokes.size < MIN_WRITING_OF_BAR * bar.size:
        return 0
    if _is_pasted(is_background.mean(axis=1), below, rows) and _is_text(~inside[inner]):
        return rows  # scaled with the picture, its writing is of no one tone
    writing = _flat_tone(strokes, tolerance)
    if np.mean(np.abs(strokes - writing) <= tolerance) < MIN_ONE_TONE_OF_WRITING:
        return 0
    extreme = float(strokes.max() if writing > background else strokes.min())
    if abs(extreme - writing) > MAX_BEYOND_WRITING * span:
        return 0
    return rows


def _rules(
    bottom: NDArray[np.float32], tolerance: float, of_background: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Rows that are a ruled line around the bar: of one tone, and few together.

    More such rows are a dark or saturated part of the micrograph, or of the bar itself.
    """
    few = max(1, bottom.shape[1] // _SAMPLES_OF_ROW)
    middle = np.median(bottom[:, few // 2 :: few], axis=1, keepdims=True)
    one_tone = (np.abs(bottom - middle) <= tolerance).mean(axis=1) >= MIN_ONE_TONE_OF_RULE
    rule = one_tone & ~of_background
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rule, [False]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        at_bottom = start <= MAX_ROWS_BELOW
        if stop - start > (MAX_BOTTOM_RULE_ROWS if at_bottom else MAX_RULE_ROWS):
            rule[start:stop] = False
    constant = (bottom.max(axis=1) - bottom.min(axis=1)) <= tolerance
    return rule | (constant & of_background)


def _is_pasted(share: NDArray[np.float64], below: int, rows: int) -> bool:
    """Whether the bar ends as only something drawn does: with one row, over the whole width.

    ``share`` is the part of each row, the last first, that is the tone of the bar.
    """
    edge = share[max(below, rows - EDGE_ROWS) : rows].max() >= MIN_TONE_INSIDE
    return bool(edge and share[rows : rows + EDGE_ROWS].max() <= MAX_TONE_BEYOND)


def _is_text(ink: NDArray[np.bool_]) -> bool:
    """Whether what is in the bar is many thin strokes; ``ink`` is where it is no background."""
    padded = np.pad(ink, ((0, 0), (1, 1)))
    starts, ends = padded[:, 1:] & ~padded[:, :-1], padded[:, :-1] & ~padded[:, 1:]
    runs = np.nonzero(ends)[1] - np.nonzero(starts)[1]
    many = len(runs) >= MIN_STROKES * int(ink.any(axis=1).sum())
    return many and float(np.median(runs)) <= MAX_STROKE_PX


def _flat_tone(values: NDArray[np.float32], tolerance: float) -> float:
    """Most frequent grey level, as the mean of the fullest bin of width ``tolerance``."""
    lowest = float(values.min())
    bins = ((values - lowest) / max(tolerance, 1e-30)).astype(np.int64).ravel()
    fullest = np.bincount(bins).argmax()
    return float(values.ravel()[bins == fullest].mean())
