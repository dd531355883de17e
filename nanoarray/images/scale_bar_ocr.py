"""Read the number of a scale bar, where the extra `ocr` is installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.images.scale_bar import ScaleBar, find_scale_bars
from nanoarray.images.scale_bar_writing import Box

__all__ = ["can_read_labels", "read_scale_bar", "with_labels"]

#: Height that writing is brought to [px], as the recognition network was trained, and the ground
#: left around it as parts of its height.
_LINE_PX, _MARGINS = 48, (0.2, 0.35)
#: The network's confidence below which a text is not believed.
_LEAST_SCORE = 0.8


def can_read_labels() -> bool:
    """Whether an engine that reads is installed."""
    return all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))


def read_scale_bar(
    pixels: NDArray[Any], *, length_nm: float | None = None, data_bar_px: int = 0
) -> ScaleBar | None:
    """The scale bar of a micrograph with the length that it stands for.

    Parameters
    ----------
    pixels
        ``(height, width)`` finite grey values, with the data bar where there is one.
    length_nm
        What the bar stands for, by the user's word; by default its number is read.
    data_bar_px
        Rows of data bar at the bottom, where they are known.

    Returns
    -------
    ScaleBar or None
        None where no bar was found, or none whose number could be read; never a guess.

    Raises
    ------
    InputError
        ``length_nm`` was given and several lines could be the bar, or no engine is installed and
        ``length_nm`` was not given.
    """
    if length_nm is None and not can_read_labels():
        raise InputError(
            "no engine that reads scale bars is installed: pip install 'nanoarray[ocr]', or say "
            'what the bar stands for, as --scale-bar "200 nm"'
        )
    bars = find_scale_bars(pixels, data_bar_px=data_bar_px)
    if length_nm is None:
        return next((bar for bar in with_labels(pixels, bars) if bar.label), None)
    if len(bars) > 1:
        lengths = ", ".join(f"{bar.length_px:.1f} px" for bar in bars)
        raise InputError(f"{len(bars)} lines could be the scale bar ({lengths})")
    return bars[0].labelled(f"{length_nm:g} nm") if bars else None


def with_labels(pixels: NDArray[Any], bars: Sequence[ScaleBar]) -> list[ScaleBar]:
    """The same bars, each with the length that its number says where that can be read.

    Without an engine they stay as they are.
    """
    if not can_read_labels():
        return list(bars)
    return [_with_label(pixels, bar) for bar in bars]


def _with_label(pixels: NDArray[Any], bar: ScaleBar) -> ScaleBar:
    for box in bar.writing:
        # Read twice, with more and with less around it: a misread digit seldom comes twice.
        readings = [_recognize(_line_of(pixels, box, margin=margin)) for margin in _MARGINS]
        try:
            first, second = (bar.labelled(text) for text, _ in readings)
        except InputError:
            continue  # another line of writing
        if first.length_nm == second.length_nm and max(s for _, s in readings) >= _LEAST_SCORE:
            return first
    return bar


def _line_of(pixels: NDArray[Any], box: Box, *, margin: float) -> NDArray[np.uint8]:
    """A line of writing, dark on bright or bright on dark, at the height the network wants."""
    from scipy import ndimage

    y0, x0, y1, x1 = box
    around = max(2, round(margin * (y1 - y0)))
    crop = pixels[
        max(y0 - around, 0) : y1 + around,
        max(x0 - around, 0) : x1 + around,
    ].astype(np.float32)
    low, high = float(crop.min()), float(crop.max())
    grey = (crop - low) * (255.0 / (high - low)) if high > low else np.zeros_like(crop)
    factor = _LINE_PX / grey.shape[0]
    return np.clip(ndimage.zoom(grey, factor, order=1), 0, 255).astype(np.uint8)


def _recognize(line: NDArray[np.uint8]) -> tuple[str, float]:
    """Text of one line of writing and the confidence in it."""
    found = _engine()(np.stack([line] * 3, axis=-1), use_det=False, use_cls=False, use_rec=True)
    if not found.txts:
        return "", 0.0
    return str(found.txts[0]), float(found.scores[0])


@functools.cache
def _engine() -> Any:
    import logging

    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    # Its networks come with the package: nothing is fetched. One thread, as workers are many.
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
