"""What all figures share: colours, the cyclic map of orientations, scale bars, encodings."""

from __future__ import annotations

import base64
import io
import math
import unicodedata
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from nanoarray import schema
from nanoarray.errors import InputError

FloatArray = npt.NDArray[np.float64]

#: Text and lines; replaced by the page's own ink where a figure becomes part of a page.
INK = "#14181d"
FAINT = "#8a929b"
#: "Not indexed". The axis of the ellipse of colours runs through it: no colour comes near it.
NOT_INDEXED = "#7f7f7f"
#: Okabe & Ito, https://jfly.uni-koeln.de/color/ (2008), without black.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b9a80f")

# What becomes of the darker colours above in dark pages.
_DARK = {INK: "#e7eaee", FAINT: "#8a929b", CATEGORIES[0]: "#3d9be0", CATEGORIES[5]: "#f0772a"}
_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "path",
    # Element ids must not depend on the time, so that a report can be compared with another.
    "svg.hashsalt": "nanoarray",
}

# The orientation map is one ellipse in CIELAB around a mid grey. Light is green, dark is plum,
# yellow and blue stand at right angles to them: lightness and blue-yellow, the two that people
# with red-green colour blindness see, run a quarter of a turn apart, so that no two directions
# look alike to them either.
_LAB_CENTRE = np.array([57.0, 0.0, 0.0])
_LAB_COS = np.array([29.0, -26.0, 0.0])
_LAB_SIN = np.array([0.0, 0.0, 46.0])
_COLOURS = 256


@cache
def orientation_colormap() -> Colormap:
    """Colours of directions: cyclic, perceptually uniform, colour-blind-safe.

    Returns
    -------
    matplotlib.colors.Colormap
        256 colours in equal steps of CIEDE2000 around a closed curve; NaN is a neutral grey.
    """
    from skimage.color import deltaE_ciede2000, lab2rgb

    turn = np.linspace(0.0, 2 * np.pi, 16 * _COLOURS + 1)
    for _ in range(3):  # equal steps in angle become equal steps in perceived difference
        lab = _ellipse(turn)
        length = np.concatenate([[0.0], np.cumsum(deltaE_ciede2000(lab[1:], lab[:-1]))])
        turn = np.interp(np.linspace(0.0, length[-1], turn.size), length, turn)
    colours = lab2rgb(_ellipse(turn[:-1:16]))
    return ListedColormap(colours, name="nanoarray_orientation").with_extremes(bad=NOT_INDEXED)


def _ellipse(turn: FloatArray) -> FloatArray:
    lab: FloatArray = (
        _LAB_CENTRE
        + np.cos(turn)[:, np.newaxis] * _LAB_COS
        + np.sin(turn)[:, np.newaxis] * _LAB_SIN
    )
    return lab


def orientation_colours(angle_deg: npt.ArrayLike, *, symmetry: int) -> FloatArray:
    """RGBA of lattice directions modulo 360 / ``symmetry`` degrees; grey where unknown.

    Parameters
    ----------
    angle_deg
        Directions of any shape, NaN where not indexed.
    symmetry
        Fold of the lattice symmetry: 2, 4 or 6.
    """
    period = 360.0 / check_symmetry(symmetry)
    angle = np.asarray(angle_deg, dtype=np.float64)
    share = np.mod(angle, period) / period
    # The last colour stands beside the first: the index wraps, it does not saturate.
    index = np.where(np.isfinite(share), np.nan_to_num(share) * _COLOURS, -1).astype(int)
    table = np.vstack([orientation_colormap()(np.arange(_COLOURS)), _rgba(NOT_INDEXED)])
    return np.asarray(table[np.where(index < 0, _COLOURS, index % _COLOURS)], dtype=np.float64)


def check_symmetry(symmetry: int) -> int:
    """Give ``symmetry`` back as an int; InputError unless it is 2, 4 or 6."""
    if symmetry not in (2, 4, 6):
        raise InputError(
            f"symmetry is {symmetry}: expected 4 (square), 6 (hexagonal) or 2 (oblique, unknown)"
        )
    return int(symmetry)


def _rgba(colour: str) -> FloatArray:
    from matplotlib.colors import to_rgba

    return np.array(to_rgba(colour))


def scale_bar_length(
    width_px: float, pixel_size_nm: float, *, share: float = 0.25
) -> tuple[float, str]:
    """Length of a scale bar: 1, 2 or 5 times a power of ten, at most ``share`` of the width.

    Parameters
    ----------
    width_px
        Width of the image.
    pixel_size_nm
        Length of a pixel, NaN where unknown: the bar is then in pixels.
    share
        Largest part of the width that the bar may take.

    Returns
    -------
    length_px, label
        Length of the bar in pixels and what to write at it: nm below 1 um, um above.
    """
    known = math.isfinite(pixel_size_nm) and pixel_size_nm > 0
    room = share * width_px * (pixel_size_nm if known else 1.0)
    power = 10.0 ** math.floor(math.log10(room))
    length = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= room * (1 + 1e-9))
    if not known:
        return length, f"{length:g} px"
    if length >= 1e6:
        label = f"{length / 1e6:g} mm"
    elif length >= 1e3:
        label = f"{length / 1e3:g} µm"
    else:
        label = f"{length:g} nm"
    return length / pixel_size_nm, label


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """An empty figure with an Agg canvas, outside pyplot."""
    figure = Figure(figsize=(width_inch, height_inch))
    FigureCanvasAgg(figure)
    return figure


def margins(
    width_inch: float,
    height_inch: float,
    *,
    left: float = 0.68,
    right: float = 0.15,
    bottom: float = 0.5,
    top: float = 0.15,
) -> dict[str, float]:
    """Margins in inches as the fractions that a grid of axes takes.

    Fixed margins, because a layout that is solved for costs more than all of the drawing.
    """
    return {
        "left": left / width_inch,
        "right": 1.0 - right / width_inch,
        "bottom": bottom / height_inch,
        "top": 1.0 - top / height_inch,
    }


def figure_style() -> Any:
    """Context in which figures are drawn: their rcParams, restored afterwards."""
    return rc_context(_STYLE)


def plain_text(text: object, *, limit: int = 60) -> str:
    """Text from a stranger, fit for one line of a figure: no control characters, not too long."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(text))
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def condition_title(tags: Mapping[str, Any]) -> str:
    """Name of a condition for people: ``temperature 22 °C, pressure 1.54 MPa``."""
    parts = [
        f"{name} unknown" if is_missing(value) else f"{name} {number_text(value)} {tag_unit(name)}"
        for name, value in tags.items()
    ]
    return plain_text(", ".join(part.strip() for part in parts) or "all images", limit=70)


def tag_unit(name: str) -> str:
    """Unit of a tag of the schema as people write it; "" for none and for other tags."""
    entry = schema.known("images", name)
    unit = entry.units if entry is not None else "1"
    return {"1": "", "degC": "°C", "um": "µm", "deg": "°"}.get(unit, unit)


def number_text(value: Any) -> str:
    """A tag's value: numbers without needless digits."""
    return f"{value:.12g}" if isinstance(value, float | np.floating) else str(value)


def is_missing(value: Any) -> bool:
    """Whether a tag is unknown: None, "", NaN."""
    return value is None or value == "" or value != value


# --- encodings --------------------------------------------------------------------------------


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a ``data:`` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def svg_bytes(figure: Figure) -> bytes:
    """A figure as an SVG that follows the reader's light or dark colours."""
    buffer = io.BytesIO()
    with figure_style(), warnings.catch_warnings():
        # A tag in a script that the font has not: boxes in the figure, the text in the tables.
        warnings.filterwarnings("ignore", message=".*missing from font", category=UserWarning)
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue().decode("utf-8")
    light, dark = "", ""
    for number, (colour, other) in enumerate(_DARK.items()):
        text = text.replace(colour, f"var(--c{number})")
        light += f"--c{number}:{colour};"
        dark += f"--c{number}:{other};"
    css = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head, mark, body = text.partition("<defs>")
    return (head + css + mark + body).encode("utf-8")


def image_bytes(figure: Figure, *, width_px: int, quality: int = 75) -> tuple[bytes, str]:
    """A figure as WebP (or JPEG where Pillow has no WebP), and its media type."""
    from PIL import Image, features

    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)
    figure.set_dpi(width_px / figure.get_figwidth())
    with figure_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from font", category=UserWarning)
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    buffer = io.BytesIO()
    if features.check("webp"):
        picture.save(buffer, "WEBP", quality=quality, method=2)
        return buffer.getvalue(), "image/webp"
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue(), "image/jpeg"
