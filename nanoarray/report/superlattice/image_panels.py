"""What the page shows of the grains of single images, and of one image in detail."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.figure import Figure

from nanoarray.report import large_images
from nanoarray.report.canvas import Picture, picture_of
from nanoarray.report.contents import Contents
from nanoarray.report.panels import Panel, image_panel, svg_panel
from nanoarray.report.superlattice.grain_maps import plot_clusters, plot_grains, plot_misorientation
from nanoarray.report.superlattice.maps import plot_defects, plot_orientation_map
from nanoarray.report.superlattice.tiles import plot_tile
from nanoarray.report.text_tables import number


def grain_panels(
    groups: Mapping[str, xr.Dataset], image: xr.Dataset, i: int
) -> tuple[list[Panel], int]:
    """Defects, orientations and grains of image ``i``, as far as they are there; its symmetry."""
    where = f"image {image['image'].values}"
    panels: list[Panel] = []
    symmetry = 0
    prepared = _row(groups, "prepared", i)
    if prepared is not None:
        share = 100 * float(prepared["defect_fraction"])
        panels.append(
            image_panel(
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
            image_panel(
                plot_orientation_map(image, maps, key=False),
                f"Orientation map of {where}: direction of the lattice rows by colour, "
                f"{number(100 * float(maps['indexed_fraction']), 2)} % of the field indexed",
                "orientation" + (f" modulo {360 // symmetry}°" if known else ""),
            )
        )
        panels.append(
            image_panel(
                plot_grains(image, maps),
                f"{count} grains of {where}: boundaries over the micrograph",
                f"{count} grains" + (", clear: cut by the edge" if count else ""),
            )
        )
    return panels, symmetry


def _row(groups: Mapping[str, xr.Dataset], group: str, i: int) -> xr.Dataset | None:
    """Row ``i`` of a group; None where the group has no result for this image."""
    ds = groups.get(group)
    if ds is None or i >= ds.sizes.get("image", 0):
        return None
    row = ds.isel(image=i)
    if group == "prepared":
        # An image that was not reached holds the fill values.
        return None if math.isnan(float(row["defect_fraction"])) else row
    return None if str(row["problem"].values) or int(row["symmetry"]) < 0 else row


def detail_panels(contents: Contents, groups: Mapping[str, xr.Dataset], i: int) -> list[Panel]:
    """One tile with its sinogram, the clusters, the boundaries of an image; none of a large one."""
    image = groups["images"].isel(image=i)
    if large_images.is_large(image):
        return []
    groups = large_images.without_padding(image, groups)
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
            image_panel(
                plot_clusters(image, clusters),
                f"Map of {count} tile clusters of image {name}",
                f"{count} clusters of tiles with like feature vectors",
            )
        )
    if maps is not None and int(maps["grain_count"]) > 0:
        panels.append(
            image_panel(
                plot_misorientation(image, maps),
                f"Misorientation along the grain boundaries of image {name}, and its distribution",
                "misorientation along the boundaries",
                width_px=960,
            )
        )
    return panels


def _mapped(groups: Mapping[str, xr.Dataset], group: str, i: int) -> xr.Dataset | None:
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
