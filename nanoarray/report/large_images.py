"""Large images on the page: reduced, their middle as it is; and small ones beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from nanoarray.fields import sizes
from nanoarray.report.canvas import Picture

#: Longest side of a reduced image, and side of the part that is shown as it is [px].
_OVERVIEW_PX, _MIDDLE_PX = 2000, 1500

NOTE = "computed in fields: shown reduced, its crystals in the middle alone; maps are in the store"


def is_large(image: xr.Dataset) -> bool:
    """Whether one row of the group ``images`` is too large to be drawn as it is."""
    return sizes.is_large(int(image["height"]), int(image["width"]))


def size_of(image: xr.Dataset) -> Picture:
    """A picture of the image's size, without its pixels."""
    shape = int(image["height"]), int(image["width"])
    return Picture(np.broadcast_to(np.uint8(0), shape), float(image["pixel_size"]))


def overview(image: xr.Dataset) -> xr.Dataset:
    """The image, of every so many rows and columns one."""
    height, width = int(image["height"]), int(image["width"])
    step = -(-max(height, width) // _OVERVIEW_PX)
    return image.isel(y=slice(0, height, step), x=slice(0, width, step)).assign(
        height=-(-height // step),
        width=-(-width // step),
        pixel_size=image["pixel_size"] * step,
    )


def without_padding(image: xr.Dataset, groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The groups as far as one image reaches: arrays have the size of the largest image."""
    own = {"y": slice(0, int(image["height"])), "x": slice(0, int(image["width"]))}
    common = [float(ds["common_pixel_size"]) for ds in groups.values() if "common_pixel_size" in ds]
    scale = common[0] / float(image["pixel_size"]) if common else math.nan
    scale = scale if math.isfinite(scale) else 1.0
    parts = {}
    for name, ds in groups.items():
        for dim, pixels in (("tile_y", "y"), ("tile_x", "x")):
            if dim in ds.coords:
                # Scaling happens about the outer corner of the first pixel, whose centre is at 0.
                centres = (ds[dim].values + 0.5) * scale - 0.5
                own[dim] = slice(0, int(np.count_nonzero(centres < own[pixels].stop)))
        parts[name] = ds.isel(own, missing_dims="ignore")
    return parts


def middle(
    image: xr.Dataset, groups: Mapping[str, xr.Dataset]
) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """The middle of the image, and of the groups that have its pixels."""
    window = {}
    for dim, name in (("y", "height"), ("x", "width")):
        length = int(image[name])
        start = max(0, (length - _MIDDLE_PX) // 2)
        window[dim] = slice(start, min(start + _MIDDLE_PX, length))
    height, width = (window[dim].stop - window[dim].start for dim in ("y", "x"))
    parts = {name: ds.isel(window, missing_dims="ignore") for name, ds in groups.items()}
    return image.isel(window).assign(height=height, width=width), parts
