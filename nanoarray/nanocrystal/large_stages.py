"""The nanocrystal stages of an image that is read in windows and gives its results in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from nanoarray.archive.image_writer import Part
from nanoarray.archive.once import Once
from nanoarray.archive.stage import LeftOut
from nanoarray.archive.stored_image import StoredImage
from nanoarray.fields import sizes
from nanoarray.fields.windows import cores
from nanoarray.nanocrystal.large_image import Objects, find_boxes, measure_some
from nanoarray.nanocrystal.parameters import CrystalMapsParameters

#: Bounding boxes of the objects of large images.
_boxes = Once[np.ndarray]()


def is_large(images: xr.Dataset, i: int) -> bool:
    """Whether image ``i`` is computed in fields."""
    return sizes.is_large(int(images["height"][i]), int(images["width"][i]))


def segment(images: xr.Dataset, i: int, parameters: CrystalMapsParameters) -> Iterator[Part]:
    """Crystals of a large image."""
    if parameters.labels is not None or parameters.method == "classical":
        what = "labels" if parameters.labels is not None else 'method = "classical"'
        raise LeftOut(
            f"the image of {int(images['height'][i])} x {int(images['width'][i])} px is computed "
            f'in fields, which crystal_maps.{what} is not: use method = "auto"'
        )
    from nanoarray.nanocrystal.segment.large import segment_in_fields

    pixels = stored(images, "intensity", images, i)
    found = segment_in_fields(pixels, polarity=parameters.polarity)
    for core in cores(pixels.shape, sizes.FIELD_PX):
        values = {"crystal": found.crystal(core), "rejected_object": found.rejected(core)}
        yield Part(values, (core[0].start, core[1].start))
    yield Part(
        {
            "crystal_count": np.int32(found.accepted.max(initial=0)),
            "rejected_count": np.int32(len(found.reasons)),
            "rejected_reasons": json.dumps(found.reasons),
            "source_labels": "",
            "polarity": found.polarity,
            "crystal_fraction": np.float32(found.crystal_px / (pixels.shape[0] * pixels.shape[1])),
        }
    )


def measure(
    images: xr.Dataset, maps: xr.Dataset, i: int, some: slice, *, crop_size: int
) -> dict[str, Any]:
    """Some rows of the table of crystals of a large image, by their places among its rows."""
    objects = Objects(*(stored(maps, n, images, i) for n in ("crystal", "rejected_object")))
    reasons = json.loads(str(maps["rejected_reasons"][i].values) or "[]")
    crystals = int(maps["crystal_count"][i])
    columns: dict[str, Any] = measure_some(
        objects,
        stored(images, "intensity", images, i),
        _boxes.get(maps, i, lambda: find_boxes(objects, crystals + len(reasons))),
        some,
        pixel_size_nm=float(images["pixel_size"][i]),
        crop_size=crop_size,
    )
    count = some.stop - some.start
    columns["image_index"] = np.full(count, i, np.int32)
    columns["source_label"] = np.full(count, -1, np.int64)
    columns["rejected"] = np.array(([""] * crystals + reasons)[some], dtype=object)
    return columns


def stored(group: xr.Dataset, name: str, images: xr.Dataset, i: int) -> StoredImage:
    """A variable of image ``i`` that has its pixels, without padding."""
    return StoredImage(group[name], i, int(images["height"][i]), int(images["width"][i]))
