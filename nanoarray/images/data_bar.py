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
    bottom = pixels[height - deepest :].astype(np.float32)[::-1]  # last row first
    span = float(pixels.max()) - float(pixels.min())
    if not 0 < span < np.inf:
        return 0
    tolerance = 0.03 * span
    background = _flat_tone(bottom[: MIN_BAR_ROWS * 2], tolerance)
    is_background = np.abs(bottom - background) <= tolerance
    frame = (bottom.max(axis=1) - bottom.min(axis=1)) <= tolerance  # ruled line around the bar
    belongs = (is_background.mean(axis=1) >= MIN_BACKGROUND_PER_ROW) | frame
    rows = deepest if belongs.all() else int(np.argmin(belongs))
    if rows < MIN_BAR_ROWS or rows == deepest:
        return 0
    bar, inside = bottom[:rows], is_background[:rows]
    inner = ~frame[:rows]
    if not inner.any() or inside[inner].mean() < MIN_BACKGROUND_OF_BAR:
        return 0
    strokes = bar[inner][np.abs(bar[inner] - background) >= MIN_CONTRAST_OF_WRITING * span]
    if strokes.size < MIN_WRITING_OF_BAR * bar.size:
        return 0
    writing = _flat_tone(strokes, tolerance)
    if np.mean(np.abs(strokes - writing) <= tolerance) < MIN_ONE_TONE_OF_WRITING:
        return 0
    extreme = float(strokes.max() if writing > background else strokes.min())
    if abs(extreme - writing) > MAX_BEYOND_WRITING * span:
        return 0
    return rows


def _flat_tone(values: NDArray[np.float32], tolerance: float) -> float:
    """Most frequent grey level, as the mean of the fullest bin of width ``tolerance``."""
    lowest = float(values.min())
    bins = ((values - lowest) / max(tolerance, 1e-30)).astype(np.int64).ravel()
    fullest = np.bincount(bins).argmax()
    return float(values.ravel()[bins == fullest].mean())
