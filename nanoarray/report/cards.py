"""What the page shows of single images: a card each, and one of them in detail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.figure import Figure

from nanoarray.report.canvas import Picture, picture_of
from nanoarray.report.contents import Contents, tags_text
from nanoarray.report.grain_maps import plot_clusters, plot_grains, plot_misorientation
from nanoarray.report.maps import plot_defects, plot_micrograph, plot_orientation_map
from nanoarray.report.style import data_uri, image_bytes, svg_bytes
from nanoarray.report.text_tables import number
from nanoarray.report.tiles import plot_tile

_CARD_WIDTH_PX = 760
_GROUPS = ("images", "prepared", "tiles", "tile_clusters", "grain_maps")
_SHOWN_TAGS = ("sample", "temperature", "pressure", "synthesis_method")


@dataclass(frozen=True)
class Panel:
    """One picture: its ``data:`` address, what it shows, and a line under it."""

    src: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One image: its id, tags and measures as (name, value), pictures, and what is missing."""

    image: str
    facts: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    symmetry: int
    notes: tuple[str, ...]


def open_groups(contents: Contents) -> dict[str, xr.Dataset]:
    """Every group along ``image``, lazily."""
    return {name: contents.open(name) for name in contents.records if name in _GROUPS}


def image_cards(
    contents: Contents, groups: dict[str, xr.Dataset], positions: Sequence[int]
) -> list[Card]:
    """A card for each of the images at these positions."""
    lost = {str(k): str(v) for k, v in contents.left_out.set_index("image")["reason"].items()}
    return [_card(contents, groups, i, lost) for i in positions]


def _card(contents: Contents, groups: dict[str, xr.Dataset], i: int, lost: dict[str, str]) -> Card:
    name = str(contents.images["image"].iloc[i])
    image = groups["images"].isel(image=i)
    picture = picture_of(image)
    notes = [lost[name]] if name in lost else []
    warning = str(contents.images["warning"].iloc[i]) if "warning" in contents.images else ""
    notes += warning.split("; ") if warning else []
    where = f"image {name}"
    panels = [
        _panel(plot_micrograph(image), f"Micrograph, {where}, {_extent(picture)}", "micrograph")
    ]
    symmetry = 0
    prepared = _row(groups, "prepared", i)
    if prepared is not None:
        share = 100 * float(prepared["defect_fraction"])
        panels.append(
            _panel(
                plot_defects(image, prepared),
                f"Defects of {where}: {number(share, 2)} % of the field, in orange",
                f"defects, {number(share, 2)} % of the field",
            )
        )
    maps = _row(groups, "grain_maps", i)
    if maps is not None:
        symmetry = int(maps["symmetry"])
        count = int(maps["grain_count"])
        known = symmetry in (2, 4, 6)
        panels.append(
            _panel(
                plot_orientation_map(image, maps, key=False),
                f"Orientation map of {where}: direction of the lattice rows by colour, "
                f"{number(100 * float(maps['indexed_fraction']), 2)} % of the field indexed",
                "orientation" + (f" modulo {360 // symmetry}°" if known else ""),
            )
        )
        panels.append(
            _panel(
                plot_grains(image, maps),
                f"{count} grains of {where}: boundaries over the micrograph",
                f"{count} grains" + (", clear: cut by the edge" if count else ""),
            )
        )
    return Card(name, _facts(contents, i, picture), tuple(panels), symmetry, tuple(notes))


def _row(groups: dict[str, xr.Dataset], group: str, i: int) -> xr.Dataset | None:
    """Row ``i`` of a group; None where the group has no result for this image."""
    ds = groups.get(group)
    if ds is None or i >= ds.sizes.get("image", 0):
        return None
    row = ds.isel(image=i)
    if group == "prepared":
        # An image that was not reached holds the fill values.
        return None if math.isnan(float(row["defect_fraction"])) else row
    return None if str(row["problem"].values) or int(row["symmetry"]) < 0 else row


def _extent(picture: Picture) -> str:
    if not math.isfinite(picture.pixel_size_nm):
        return f"{picture.width_px} by {picture.height_px} pixels, no pixel size"
    sides = (picture.width_px, picture.height_px)
    width, height = (number(side * picture.pixel_size_nm / 1000) for side in sides)
    return f"{width} by {height} µm"


def _facts(contents: Contents, i: int, picture: Picture) -> tuple[tuple[str, str], ...]:
    frame = contents.images
    shown = [*contents.by, *(t for t in _SHOWN_TAGS if t not in contents.by)]
    facts = list(tags_text(frame, i, [t for t in shown if t in frame]).items())
    size = picture.pixel_size_nm
    if math.isfinite(size):
        source = str(frame["pixel_size_source"].iloc[i]) or "unknown source"
        facts.append(("pixel size", f"{size:g} nm ({source})"))
    else:
        facts.append(("pixel size", "unknown"))
    facts.append(("field", _extent(picture)))
    for column, title, unit in (
        ("lattice_spacing", "row spacing", "px"),
        ("sharpness", "sharpness", ""),
        ("mapped_fraction", "in grains", "%"),
    ):
        value = float(frame[column].iloc[i]) if column in frame else math.nan
        if math.isfinite(value):
            value = 100 * value if unit == "%" else value
            facts.append((title, f"{number(value, 2 if unit == '%' else 3)} {unit}".strip()))
    return tuple(facts)


def _panel(figure: Figure, alt: str, caption: str, *, width_px: int = _CARD_WIDTH_PX) -> Panel:
    content, kind = image_bytes(figure, width_px=width_px)
    height = round(width_px * figure.get_figheight() / figure.get_figwidth())
    return Panel(data_uri(content, kind), alt, caption, width_px, height)


def svg_panel(figure: Figure, alt: str, caption: str) -> Panel:
    """A figure as a picture of lines, sharp at any size."""
    width, height = (round(96 * inch) for inch in figure.get_size_inches())
    return Panel(data_uri(svg_bytes(figure), "image/svg+xml"), alt, caption, width, height)


# --- one image in detail ----------------------------------------------------------------------


def detail_panels(contents: Contents, groups: dict[str, xr.Dataset], i: int) -> list[Panel]:
    """One tile with its sinogram, the clusters, and the boundaries of an image."""
    image = groups["images"].isel(image=i)
    name = str(contents.images["image"].iloc[i])
    maps = _row(groups, "grain_maps", i)
    panels = []
    tiles = _mapped(groups, "tiles", i)
    if tiles is not None:
        tile = _tile_figure(image, tiles, maps)
        if tile is not None:
            alt = f"A tile of image {name}, its sinogram and its projection variance by angle"
            caption = "the tile of the image with the clearest lattice, as recorded"
            panels.append(svg_panel(tile, alt, caption))
    clusters = _mapped(groups, "tile_clusters", i)
    if clusters is not None and tiles is not None:
        count = int(clusters["cluster_count"]) if "cluster_count" in clusters else 0
        clusters = clusters[["cluster"]].assign(
            stride=tiles["stride"], common_pixel_size=tiles["common_pixel_size"]
        )
        panels.append(
            _panel(
                plot_clusters(image, clusters),
                f"Map of {count} tile clusters of image {name}",
                f"{count} clusters of tiles with like feature vectors",
            )
        )
    if maps is not None and int(maps["grain_count"]) > 0:
        panels.append(
            _panel(
                plot_misorientation(image, maps),
                f"Misorientation along the grain boundaries of image {name}, and its distribution",
                "misorientation along the boundaries",
                width_px=960,
            )
        )
    return panels


def _mapped(groups: dict[str, xr.Dataset], group: str, i: int) -> xr.Dataset | None:
    ds = groups.get(group)
    if ds is None or i >= ds.sizes.get("image", 0):
        return None
    row = ds.isel(image=i)
    return None if str(row["problem"].values) else row


def _tile_figure(image: xr.Dataset, tiles: xr.Dataset, maps: xr.Dataset | None) -> Figure | None:
    """The tile whose projection variance stands out most, among those wholly in the image."""
    picture = picture_of(image)
    common = float(tiles["common_pixel_size"])
    scale = common / picture.pixel_size_nm if common / picture.pixel_size_nm > 0 else 1.0
    side = float(tiles["tile_size"]) * scale
    top = (tiles["tile_y"].values + 0.5) * scale - side / 2
    left = (tiles["tile_x"].values + 0.5) * scale - side / 2
    inside = np.outer(
        (top >= 0) & (top + side <= picture.height_px),
        (left >= 0) & (left + side <= picture.width_px),
    )
    inside &= tiles["valid"].values.astype(bool)
    if not inside.any():
        return None
    variance = tiles["projection_variance"].values
    y, x = _clearest(np.where(inside[..., np.newaxis], variance, np.nan))
    pixels = _crop(picture, top[y], left[x], side, round(float(tiles["tile_size"])))
    orientation, symmetry = math.nan, 2
    if maps is not None and maps["orientation"].shape == variance.shape[:2]:
        orientation, symmetry = float(maps["orientation"][y, x]), int(maps["symmetry"])
    return plot_tile(
        pixels,
        angles_deg=tiles["angle"].values,
        projection_variance=variance[y, x],
        alignment=tiles["alignment"].values[y, x],
        orientation_deg=orientation,
        symmetry=symmetry,
        pixel_size_nm=picture.pixel_size_nm * side / pixels.shape[0],
    )


def _clearest(variance: npt.NDArray[np.floating]) -> tuple[int, int]:
    """Tile with the largest ratio of highest to mean variance."""
    known = np.nan_to_num(variance.astype(np.float64), nan=0.0)
    contrast = known.max(axis=-1) / np.maximum(known.mean(axis=-1), 1e-12)
    y, x = np.unravel_index(int(contrast.argmax()), contrast.shape)
    return int(y), int(x)


def _crop(
    picture: Picture, top: float, left: float, side: float, size_px: int
) -> npt.NDArray[np.float64]:
    """A square of the image at the pixel size of the tiles."""
    from skimage.transform import resize

    y, x, length = round(top), round(left), max(4, round(side))
    pixels = np.asarray(picture.pixels[y : y + length, x : x + length], dtype=np.float64)
    if length != size_px:
        pixels = resize(pixels, (size_px, size_px), order=1, anti_aliasing=length > size_px)
    return pixels
