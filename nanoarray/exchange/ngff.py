"""OME-NGFF metadata: what the attributes of an OME-Zarr image and of its labels say.

Sources: the OME-NGFF specification, versions 0.4 (Zarr v2) and 0.5 (Zarr v3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Version = Literal["0.4", "0.5"]

#: Each level of a pyramid has half of the pixels per side of the one before.
LEVEL_FACTOR = 2


def image_attributes(
    name: str,
    *,
    level_count: int,
    pixel_size_nm: tuple[float, float],
    version: Version,
    reduction: str,
) -> dict[str, Any]:
    """Attributes of an image's group.

    Parameters
    ----------
    name
        Name of the image.
    level_count
        Levels of the pyramid; their arrays are named "0", "1", ...
    pixel_size_nm
        Length of a pixel of level 0 along y and x; NaN where unknown: then the axes have no unit
        and one pixel is one step.
    version
        Version of NGFF.
    reduction
        How a level was made from the one before.
    """
    known = all(math.isfinite(size) for size in pixel_size_nm)
    step = pixel_size_nm if known else (1.0, 1.0)
    axes: list[dict[str, str]] = [{"name": n, "type": "space"} for n in ("y", "x")]
    if known:
        axes = [axis | {"unit": "nanometer"} for axis in axes]
    entry: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transforms(step, level)}
            for level in range(level_count)
        ],
        "type": reduction,
    }
    if version == "0.4":
        return {"multiscales": [{"version": version, **entry}]}
    return {"ome": {"version": version, "multiscales": [entry]}}


def label_attributes(attributes: Mapping[str, Any], *, version: Version) -> dict[str, Any]:
    """Attributes of a label image's group, from those that it has as an image."""
    source = {"source": {"image": "../../"}}
    if version == "0.4":
        return {**attributes, "image-label": {"version": version, **source}}
    return {"ome": {**attributes["ome"], "image-label": source}}


def labels_attributes(names: Sequence[str], *, version: Version) -> dict[str, Any]:
    """Attributes of the group ``labels``, which lists the label images of an image."""
    if version == "0.4":
        return {"labels": list(names)}
    return {"ome": {"version": version, "labels": list(names)}}


def _transforms(step: tuple[float, float], level: int) -> list[dict[str, Any]]:
    factor = LEVEL_FACTOR**level
    transforms: list[dict[str, Any]] = [
        {"type": "scale", "scale": [float(length * factor) for length in step]}
    ]
    if level:
        # Pixel centres are at integers, and a pixel of a level covers a square of level 0: the
        # middle of the first one is half a square less half a pixel from that of its first pixel.
        shift = [float(length * (factor - 1) / 2) for length in step]
        transforms.append({"type": "translation", "translation": shift})
    return transforms
