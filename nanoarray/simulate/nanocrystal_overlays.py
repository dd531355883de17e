"""What figures burn into micrographs: panel letters, scale bars, text, data bars, frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OverlayKind = Literal["text", "scale bar", "data bar", "frame", "arrow", "box"]


#: Typefaces of published panels: sans, serif (Times-like), each plain and bold.
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "STIXGeneral", "STIXGeneralBol", "DejaVuSerif", "cmr10")


@dataclass(frozen=True)
class Overlay:
    """One burned-in mark.

    Attributes
    ----------
    kind
        What it is.
    y, x
        Place of its upper left corner as a share of the field.
    size
        Height of the text (of the data bar; width of the frame) as a share of the field.
    text
        What is written (in a data bar up to three lines).
    grey
        Grey level of the ink, 0 to 1.
    box
        Grey level of an opaque box behind it; negative for none.
    length
        Length of a scale bar or arrow as a share of the width.
    bold
        Thickness of strokes relative to plain text.
    font
        One of `FONTS`; empty for Pillow's own.
    """

    kind: OverlayKind
    y: float = 0.9
    x: float = 0.05
    size: float = 0.05
    text: str = ""
    grey: float = 0.0
    box: float = -1.0
    length: float = 0.2
    bold: int = 0
    font: str = ""


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A typeface; those with a name are files that Matplotlib brings (it is not imported)."""
    found = find_spec("matplotlib") if name else None
    if found is None or found.origin is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(
        str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"), size
    )


def draw_overlays(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    overlays: tuple[Overlay, ...],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.bool_]]:
    """Draw marks over an image.

    Returns
    -------
    tuple
        The image, and where nothing of the sample is seen any more (boxes, data bars, frames);
        ink of letters and bars without a box is not among it, a crystal goes on beneath.
    """
    blocked = np.zeros(image.shape, bool)
    if not overlays:
        return image, blocked
    full = float(np.iinfo(image.dtype).max)
    canvas = image.astype(np.float32) / full
    for overlay in overlays:
        ink = Image.new("L", (image.shape[1], image.shape[0]), 0)
        covered = Image.new("L", ink.size, 0)
        _draw(overlay, ImageDraw.Draw(ink), ImageDraw.Draw(covered), image.shape, rng)
        under = np.asarray(covered) > 127
        if overlay.box >= 0:
            canvas[under] = overlay.box
            blocked |= under
        alpha = np.asarray(ink, np.float32) / 255
        canvas += alpha * (overlay.grey - canvas)
        if overlay.kind in ("frame", "box"):
            blocked |= alpha > 0.5
    return np.rint(np.clip(canvas, 0, 1) * full).astype(image.dtype), blocked


def _draw(
    overlay: Overlay,
    ink: ImageDraw.ImageDraw,
    covered: ImageDraw.ImageDraw,
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    height, width = shape[:2]
    top, left = overlay.y * height, overlay.x * width
    size = max(overlay.size * height, 5.0)
    stroke = round(overlay.bold * size / 24)
    if overlay.kind == "frame":
        edge = max(round(overlay.size * height), 1)
        ink.rectangle((0, 0, width - 1, height - 1), outline=255, width=edge)
        return
    if overlay.kind == "box":
        corner = (left + overlay.length * width, top + size)
        ink.rectangle((left, top, *corner), fill=255)
        return
    if overlay.kind == "arrow":
        angle = rng.uniform(0, 2 * np.pi)
        length = overlay.length * width
        tip = (left + length * np.cos(angle), top + length * np.sin(angle))
        ink.line((left, top, *tip), fill=255, width=max(round(size / 6), 1))
        ink.regular_polygon((*tip, size / 3), 3, rotation=int(np.rad2deg(-angle)) - 90, fill=255)
        return
    font = _font(overlay.font, round(size if overlay.kind != "data bar" else size / 5))
    if overlay.kind == "data bar":
        covered.rectangle((0, height - size, width, height), fill=255)
        for line, text in enumerate(overlay.text.split("\n")):
            place = (left, height - size + (0.1 + 0.28 * line) * size)
            ink.text(place, text, fill=255, font=font)
        bar = (
            0.6 * width,
            height - 0.6 * size,
            (0.6 + overlay.length) * width - 1,  # the last column is inked, too
            height - 0.5 * size,
        )
        ink.rectangle(bar, fill=255)
        return
    x0, y0, x1, y1 = ink.textbbox((left, top), overlay.text, font=font, stroke_width=stroke)
    pad = size * 0.25
    area = [x0, y0, x1, y1]
    if overlay.kind == "scale bar":
        length, thick = overlay.length * width, max(size * rng.uniform(0.06, 0.35), 1.0)
        below = y1 + pad if rng.random() < 0.75 else y0 - pad - thick
        start = (x0 + x1 - length) / 2
        bar_place = (start, below, start + length - 1, below + thick)  # as above
        if rng.random() < 0.15:
            ink.rectangle(bar_place, outline=255, width=max(round(thick / 5), 1))
        else:
            ink.rectangle(bar_place, fill=255)
        area = [min(x0, start), min(y0, below), max(x1, start + length), max(y1, below + thick)]
    ink.text((left, top), overlay.text, fill=255, font=font, stroke_width=stroke)
    covered.rectangle((area[0] - pad, area[1] - pad, area[2] + pad, area[3] + pad), fill=255)
