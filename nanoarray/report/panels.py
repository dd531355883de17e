"""Pictures as parts of the page."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from nanoarray.report.style import data_uri, image_bytes, svg_bytes

#: Width of a picture of pixels.
CARD_WIDTH_PX = 760


@dataclass(frozen=True)
class Panel:
    """One picture: its ``data:`` address, what it shows, and a line under it."""

    src: str
    alt: str
    caption: str
    width: int
    height: int


def svg_panel(figure: Figure, alt: str, caption: str) -> Panel:
    """A figure as a picture of lines, sharp at any size."""
    width, height = (round(96 * inch) for inch in figure.get_size_inches())
    return Panel(data_uri(svg_bytes(figure), "image/svg+xml"), alt, caption, width, height)


def image_panel(
    figure: Figure, alt: str, caption: str, *, width_px: int = CARD_WIDTH_PX, quality: int = 75
) -> Panel:
    """A figure as a picture of pixels, for micrographs."""
    content, kind = image_bytes(figure, width_px=width_px, quality=quality)
    height = round(width_px * figure.get_figheight() / figure.get_figwidth())
    return Panel(data_uri(content, kind), alt, caption, width_px, height)
