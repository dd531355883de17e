"""The size of a pixel by a scale bar that is burned into the image."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError, InputError
from nanoarray.images.formats import Frame
from nanoarray.images.read import read_frame
from nanoarray.images.scale import SCALE_BAR, ScaleReading
from nanoarray.images.scale_bar import parse_length_nm
from nanoarray.images.scale_bar_ocr import can_read_labels, read_scale_bar

#: Values of the option beside a length such as "200 nm".
CHECK, USE = "check", "use"


def check_option(option: str) -> None:
    """Raise InputError unless ``option`` can be followed.

    It is `CHECK` or `USE`, which need an engine that reads the number, or the number.
    """
    if option not in (CHECK, USE):
        _given_nm(option)
    elif not can_read_labels():
        raise InputError(
            f"--scale-bar {option} needs an engine that reads the number: pip install "
            "'nanoarray[ocr]', or say what the bar stands for, as --scale-bar \"200 nm\""
        )


def burned_in_frame(
    frame: Frame, data_bar_px: int, option: str
) -> tuple[list[ScaleReading], list[str]]:
    """What the scale bar of an image of a file says, and why there is none.

    An image that is read in bands only, because of its size, is left alone.
    """
    try:
        pixels = read_frame(frame, cut_data_bar=False).pixels
    except ImageError as error:
        return [], [f"no scale bar is looked for: {error}"]
    found, doubt = burned_in_reading(pixels, data_bar_px=data_bar_px, option=option)
    return ([] if found is None else [found]), ([doubt] if doubt else [])


def burned_in_reading(
    pixels: NDArray[np.generic], *, data_bar_px: int, option: str
) -> tuple[ScaleReading | None, str]:
    """What the scale bar of an image says.

    Parameters
    ----------
    pixels
        ``(height, width)`` grey levels, with the data bar.
    data_bar_px
        Rows of data bar at the bottom.
    option
        As for `check_option`.

    Returns
    -------
    reading : ScaleReading or None
        None where there is no bar whose length is known.
    doubt : str
        Why there is none where the user gave the number; otherwise "".
    """
    given = option not in (CHECK, USE)
    length_nm = _given_nm(option) if given else None
    try:
        bar = read_scale_bar(pixels, length_nm=length_nm, data_bar_px=data_bar_px)
    except InputError as error:
        return None, f"the scale bar is not used: {error}"
    if bar is None:
        return None, "no scale bar was found" if given else ""
    said = f"scale bar of {bar.label or option} over {bar.length_px:.5g} px"
    return ScaleReading(SCALE_BAR, bar.pixel_size_nm, source=said), ""


def _given_nm(option: str) -> float:
    """The length that the user gives, which is all of the text: a label has more around it."""
    if re.fullmatch(r"\s*\d+(?:[.,]\d+)?\s*\w+\s*", option) is None:
        raise InputError(
            f"{option!r} is no length of a scale bar: expected check, use, or a number and its "
            'unit, such as "200 nm"'
        )
    return parse_length_nm(option)
