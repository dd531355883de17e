"""What the page shows of single images: a card each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from nanoarray.report import large_images
from nanoarray.report.canvas import Picture, picture_of, plot_micrograph
from nanoarray.report.contents import Contents, tags_text
from nanoarray.report.nanocrystals.image_panels import crystal_panels
from nanoarray.report.panels import Panel, image_panel
from nanoarray.report.superlattice.image_panels import grain_panels
from nanoarray.report.text_tables import number

#: Groups along ``image`` that pictures are made of.
_GROUPS = ("images", "prepared", "tiles", "tile_clusters", "grain_maps", "crystal_maps")
_SHOWN_TAGS = ("sample", "temperature", "pressure", "synthesis_method")
#: Columns that a card names: title and unit.
_MEASURES = (
    ("lattice_spacing", "row spacing", "px"),
    ("sharpness", "sharpness", ""),
    ("mapped_fraction", "in grains", "%"),
    ("crystal_fraction", "in crystals", "%"),
)


@dataclass(frozen=True)
class Card:
    """One image: its id, tags and measures as (name, value), pictures, and what is missing.

    ``symmetry`` is the fold of the lattice that the key to its orientation map is for; 0 for none.
    """

    image: str
    facts: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    symmetry: int
    notes: tuple[str, ...]


def open_groups(contents: Contents) -> dict[str, xr.Dataset]:
    """Every group along ``image``, lazily."""
    return {name: contents.open(name) for name in contents.records if name in _GROUPS}


def image_cards(
    contents: Contents, groups: Mapping[str, xr.Dataset], positions: Sequence[int]
) -> list[Card]:
    """A card for each of the images at these positions."""
    lost: dict[str, str] = {}
    for name, reason in zip(contents.left_out["image"], contents.left_out["reason"], strict=True):
        lost[str(name)] = f"{lost[str(name)]}; {reason}" if str(name) in lost else str(reason)
    return [_card(contents, groups, i, lost) for i in positions]


def _card(
    contents: Contents, groups: Mapping[str, xr.Dataset], i: int, lost: Mapping[str, str]
) -> Card:
    name = str(contents.images["image"].iloc[i])
    image = groups["images"].isel(image=i)
    large = large_images.is_large(image)
    picture = large_images.size_of(image) if large else picture_of(image)
    notes = [lost[name]] if name in lost else []
    notes += [large_images.NOTE] if large else []
    warning = str(contents.images["warning"].iloc[i]) if "warning" in contents.images else ""
    notes += warning.split("; ") if warning else []
    alt = f"Micrograph, image {name}, {_extent(picture)}"
    shown = large_images.overview(image) if large else image
    panels = [image_panel(plot_micrograph(shown), alt, "micrograph")]
    groups = groups if large else large_images.without_padding(image, groups)
    grains, symmetry = ([], 0) if large else grain_panels(groups, image, i)
    panels += grains
    if large:
        image, groups = large_images.middle(image, groups)
    panels += crystal_panels(contents.crystals, groups, image, i)
    return Card(name, _facts(contents, i, picture), tuple(panels), symmetry, tuple(notes))


def _extent(picture: Picture) -> str:
    if not math.isfinite(picture.pixel_size_nm):
        return f"{picture.width_px} by {picture.height_px} pixels, no pixel size"
    sides = [side * picture.pixel_size_nm for side in (picture.width_px, picture.height_px)]
    unit, scale = ("µm", 1000.0) if max(sides) >= 1000 else ("nm", 1.0)
    width, height = (number(side / scale) for side in sides)
    return f"{width} by {height} {unit}"


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
    for column, title, unit in _MEASURES:
        value = float(frame[column].iloc[i]) if column in frame else math.nan
        if math.isfinite(value):
            value = 100 * value if unit == "%" else value
            facts.append((title, f"{number(value, 2 if unit == '%' else 3)} {unit}".strip()))
    return tuple(facts)
