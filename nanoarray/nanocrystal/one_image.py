"""Segmenting and measuring one image, on NumPy arrays: what every block and Dataset maps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.images.label_images import given_labels, read_labels
from nanoarray.nanocrystal.measure.crops import cut_crops
from nanoarray.nanocrystal.measure.features import measure_crystals
from nanoarray.nanocrystal.parameters import CrystalMapsParameters
from nanoarray.nanocrystal.segment.foreign import labels_from_foreign
from nanoarray.nanocrystal.segment.segment import segment_image


def segment_one(
    pixels: npt.NDArray[Any],
    parameters: CrystalMapsParameters,
    *,
    image: str,
    data_bar_px: int = 0,
) -> dict[str, Any]:
    """Crystals and rejected objects of one image (height, width), as `crystal_maps` holds them."""
    if parameters.labels is None:
        found = segment_image(pixels, method=parameters.method, polarity=parameters.polarity)
        source: list[int] = []
    else:
        foreign = given_labels(
            read_labels(parameters.labels, image, prefer="crystal"),
            shape=(pixels.shape[0], pixels.shape[1]),
            data_bar_px=data_bar_px,
            what="crystals",
        )
        found = labels_from_foreign(foreign, shape=pixels.shape)
        source = _ids_in(foreign, np.where(found.rejected > 0, found.rejected, found.crystal))
    return {
        "crystal": found.crystal,
        "rejected_object": found.rejected,
        "crystal_count": np.int32(found.crystal.max(initial=0)),
        "rejected_count": np.int32(len(found.reasons)),
        "rejected_reasons": json.dumps(found.reasons),
        "source_labels": json.dumps(source) if source else "",
        "polarity": found.polarity,
        "crystal_fraction": np.float32(np.mean(found.crystal > 0)),
    }


def _ids_in(foreign: npt.NDArray[Any], objects: npt.NDArray[np.integer]) -> list[int]:
    """The id that each object 1..n has in the label image it comes from."""
    numbers, first = np.unique(objects, return_index=True)
    return [int(i) for i in foreign.ravel()[first[numbers > 0]]]


def measure_one(
    crystal: npt.NDArray[np.integer],
    rejected: npt.NDArray[np.integer],
    reasons: list[str],
    pixels: npt.NDArray[Any],
    *,
    pixel_size_nm: float,
    crop_size: int,
    image_index: int,
    source_labels: list[int] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Rows of the table `crystals`, crystals first, then rejected objects.

    Parameters
    ----------
    crystal, rejected
        (height, width) label images; ids of rejected objects go on after those of the crystals.
    reasons
        Why each object was rejected, in the order of its id.
    pixels
        (height, width) the micrograph.
    pixel_size_nm
        NaN when unknown.
    crop_size
        Side of a crop.
    image_index
        Position of the image in the collection.
    source_labels
        Id that each object had in the label image of another program; none where there was none.

    Raises
    ------
    InputError
        When the maps and the reasons do not fit each other.
    """
    labels = np.where(rejected > 0, rejected, crystal)
    rows = measure_crystals(labels, pixels, pixel_size_nm=pixel_size_nm)
    crops = cut_crops(labels, pixels, size=crop_size)
    count = rows["label"].size
    first_rejected = int(crystal.max(initial=0))
    if count != first_rejected + len(reasons):
        raise InputError(
            f"the maps hold {count} objects, expected {first_rejected} crystals and "
            f"{len(reasons)} rejected"
        )
    if source_labels and len(source_labels) != count:
        raise InputError(f"the maps hold {count} objects but {len(source_labels)} original ids")
    return {
        "image_index": np.full(count, image_index, np.int32),
        "source_label": np.array(source_labels or [-1] * count, np.int64),
        "rejected": np.array([""] * first_rejected + reasons, dtype=object),
        **rows,
        "crop": crops.pixels,
        "crop_mask": crops.mask,
        "crop_scale": crops.scale,
        "crop_origin_y": crops.origin[:, 0],
        "crop_origin_x": crops.origin[:, 1],
    }
