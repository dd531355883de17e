"""The stages of the nanocrystal pipeline: what each reads, how its group is shaped and filled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.engine import Inputs, Stage
from nanoarray.archive.image_writer import Result
from nanoarray.archive.rows import measure_rows, row_identity
from nanoarray.archive.store import ArrayPlan, GroupPlan, array_plan
from nanoarray.archive.tables import tag_attrs
from nanoarray.images.label_images import check_label_folder
from nanoarray.nanocrystal import large_stages
from nanoarray.nanocrystal.measure.features import OUTLINE_POINTS
from nanoarray.nanocrystal.one_image import measure_one, segment_one
from nanoarray.nanocrystal.parameters import (
    ClassesParameters,
    CrystalMapsParameters,
    CrystalsParameters,
    CrystalStatisticsParameters,
    ShapeGroupsParameters,
    ShapesParameters,
)
from nanoarray.nanocrystal.rows import measured_crystals

#: Images per block of the segmentation.
BLOCK = 2
#: Rows per block of the tables of crystals: crops of a block are a few megabytes.
ROW_BLOCK = 1024
#: Columns that say which crystal of which image a row is.
_IDENTITY = ("image_index", "label")


# --- crystal_maps -----------------------------------------------------------------------------


def _plan_maps(inputs: Inputs, parameters: CrystalMapsParameters) -> GroupPlan:
    images = inputs["images"]
    sizes = {name: images.sizes[name] for name in ("image", "y", "x")}
    resolved = {}
    if parameters.labels is not None:
        resolved = check_label_folder(parameters.labels, images["image"].values.tolist())
    arrays = tuple(
        array_plan("crystal_maps", name, sizes, block=BLOCK)
        for name in schema.GROUPS["crystal_maps"]
    )
    return GroupPlan(arrays, "image", sizes["image"], BLOCK, resolved=resolved)


def _segment(inputs: Inputs, parameters: CrystalMapsParameters, own: xr.Dataset, i: int) -> Result:
    del own
    images = inputs["images"]
    if large_stages.is_large(images, i):
        return large_stages.segment(images, i, parameters)
    return segment_one(
        _pixels(images, i),
        parameters,
        image=str(images["image"][i].values),
        data_bar_px=int(images["data_bar"][i]),
    )


# --- crystals ---------------------------------------------------------------------------------


def _plan_crystals(inputs: Inputs, parameters: CrystalsParameters) -> GroupPlan:
    count = int(_counts(inputs["crystal_maps"]).sum())
    sizes = {
        "crystal": count,
        "corner": 4,
        "point": OUTLINE_POINTS,
        "axis": 2,
        "extremum": 8,
        "end": 2,
        "crop_y": parameters.crop_size,
        "crop_x": parameters.crop_size,
    }
    grey = str(inputs["images"]["intensity"].dtype)
    arrays = _row_arrays("crystals", schema.GROUPS["crystals"], sizes, dtypes={"crop": grey})
    return GroupPlan(arrays, "crystal", count, ROW_BLOCK)


def _measure(
    inputs: Inputs, parameters: CrystalsParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    """Rows ``rows`` of the table: the objects of the images that these rows belong to."""
    counts = _counts(inputs["crystal_maps"])
    return measure_rows(
        lambda i: _measure_image(inputs, parameters, i),
        counts,
        own=own,
        group="crystals",
        rows=rows,
        measure_part=lambda i, some: _measure_part(inputs, parameters, i, some),
    )


def _measure_part(
    inputs: Inputs, parameters: CrystalsParameters, i: int, some: slice
) -> dict[str, Any] | None:
    """Some objects of an image that is read in windows; None for other images."""
    images, maps = inputs["images"], inputs["crystal_maps"]
    if not large_stages.is_large(images, i):
        return None
    return large_stages.measure(images, maps, i, some, crop_size=parameters.crop_size)


def _measure_image(inputs: Inputs, parameters: CrystalsParameters, i: int) -> dict[str, Any]:
    images, maps = inputs["images"], inputs["crystal_maps"]
    height, width = int(images["height"][i]), int(images["width"][i])
    return measure_one(
        maps["crystal"][i, :height, :width].values,
        maps["rejected_object"][i, :height, :width].values,
        json.loads(str(maps["rejected_reasons"][i].values) or "[]"),
        _pixels(images, i),
        pixel_size_nm=float(images["pixel_size"][i]),
        crop_size=parameters.crop_size,
        image_index=i,
        source_labels=json.loads(str(maps["source_labels"][i].values) or "[]"),
    )


def _measured_identity(inputs: Inputs, rows: slice) -> dict[str, np.ndarray]:
    """Image and label of rows of the table of crystals."""
    return row_identity(_counts(inputs["crystal_maps"]), rows)


def _counts(maps: xr.Dataset) -> np.ndarray:
    """Rows of the table of crystals that each image has."""
    names = ("crystal_count", "rejected_count")
    return np.sum([maps[name].values.astype(np.int64) for name in names], axis=0)


# --- shapes -----------------------------------------------------------------------------------


def _plan_shapes(inputs: Inputs, parameters: ShapesParameters) -> GroupPlan:
    from nanoarray.nanocrystal import models

    models.check_shape_weights(parameters)  # before any result is replaced
    count = inputs["crystals"].sizes["crystal"]
    arrays = _row_arrays("shapes", schema.GROUPS["shapes"], {"crystal": count})
    return GroupPlan(arrays, "crystal", count, ROW_BLOCK)


def _place(
    inputs: Inputs, parameters: ShapesParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    from nanoarray.nanocrystal import models

    del own
    crystals = inputs["crystals"].isel(crystal=rows)
    found = models.place_images(
        crystals["crop_mask"].values,
        measured_crystals(crystals),
        crystals["image_index"].values,
        parameters,
    )
    return {**_identity(crystals), **found}


def _placed_identity(inputs: Inputs, rows: slice) -> dict[str, np.ndarray]:
    """Image and label of rows of the table of shapes."""
    return _identity(inputs["crystals"].isel(crystal=rows))


# --- shape_groups -----------------------------------------------------------------------------


def _shape_inputs(parameters: ShapeGroupsParameters) -> tuple[str, ...]:
    needed = parameters.dataset != "features" or parameters.min_jaccard > 0
    return ("crystals", "shapes") if needed else ("crystals",)


def _plan_groups(inputs: Inputs, parameters: ShapeGroupsParameters) -> GroupPlan:
    from nanoarray.nanocrystal import models

    constants = models.fit_shape_groups(inputs["crystals"], inputs.get("shapes"), parameters)
    return _plan_rows("shape_groups", ["shape_group"], inputs["crystals"], constants)


def _group(
    inputs: Inputs, parameters: ShapeGroupsParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    from nanoarray.nanocrystal import models

    crystals = inputs["crystals"].isel(crystal=rows)
    shapes = inputs["shapes"].isel(crystal=rows) if "shapes" in inputs else None
    groups = models.give_groups(own, crystals, shapes, parameters)
    return {**_identity(crystals), "shape_group": groups}


# --- classes ----------------------------------------------------------------------------------


def _plan_classes(inputs: Inputs, parameters: ClassesParameters) -> GroupPlan:
    from nanoarray.nanocrystal import class_models

    constants = class_models.train_classes(
        inputs["images"],
        inputs["crystals"],
        inputs["shapes"],
        inputs["shape_groups"],
        parameters,
    )
    return _plan_rows("classes", ["predicted_group"], inputs["crystals"], constants)


def _classify(
    inputs: Inputs, parameters: ClassesParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    from nanoarray.nanocrystal import class_models

    del parameters
    crystals = inputs["crystals"].isel(crystal=rows)
    shapes = inputs["shapes"].isel(crystal=rows)
    classes = class_models.give_classes(own, crystals, shapes)
    return {**_identity(crystals), "predicted_group": classes}


# --- crystal_statistics -----------------------------------------------------------------------


def _plan_statistics(inputs: Inputs, parameters: CrystalStatisticsParameters) -> GroupPlan:
    """All of the statistics: small enough to be known before any block."""
    from nanoarray.nanocrystal.summary import crystal_frame, image_frame, known_rows, summarize

    ds = summarize(
        crystal_frame(inputs["crystals"], inputs["shape_groups"]),
        image_frame(inputs["images"], inputs["crystal_maps"]),
        parameters,
        tags=tag_attrs(inputs["images"]),
    )
    count = ds.sizes["condition"]
    return GroupPlan((), "condition", count, max(1, count), known_rows(ds))


def _no_blocks(
    inputs: Inputs, parameters: CrystalStatisticsParameters, own: xr.Dataset, rows: slice
) -> dict[str, Any]:
    """Everything was known when the group was planned."""
    del inputs, parameters, own, rows
    return {}


# --- shared -----------------------------------------------------------------------------------


def _row_arrays(
    group: str,
    names: Iterable[str],
    sizes: Mapping[str, int],
    *,
    dtypes: Mapping[str, str] | None = None,
) -> tuple[ArrayPlan, ...]:
    """Arrays along crystals, with one chunk per block of rows whatever their inner dimensions."""
    plans = [
        array_plan(group, name, sizes, block=ROW_BLOCK, dtype=(dtypes or {}).get(name))
        for name in names
    ]
    return tuple(dataclasses.replace(p, chunks=(ROW_BLOCK, *p.chunks[1:])) for p in plans)


def _plan_rows(
    group: str, names: list[str], crystals: xr.Dataset, constants: Mapping[str, Any]
) -> GroupPlan:
    count = crystals.sizes["crystal"]
    arrays = _row_arrays(group, [*_IDENTITY, *names], {"crystal": count})
    return GroupPlan(arrays, "crystal", count, ROW_BLOCK, constants)


def _identity(crystals: xr.Dataset) -> dict[str, np.ndarray]:
    """Which crystal a row is: what joins a table with the tags of its images."""
    return {name: crystals[name].values for name in _IDENTITY}


def _pixels(images: xr.Dataset, i: int) -> np.ndarray:
    """Pixels of image ``i`` without padding."""
    height, width = int(images["height"][i]), int(images["width"][i])
    return images["intensity"][i, :height, :width].values


STAGES: tuple[Stage, ...] = (
    Stage(
        "crystal_maps",
        ("images",),
        CrystalMapsParameters,
        4,
        "image",
        _plan_maps,
        _segment,
        "crystals found in the micrographs",
    ),
    Stage(
        "crystals",
        ("images", "crystal_maps"),
        CrystalsParameters,
        2,
        "row",
        _plan_crystals,
        _measure,
        "the table of crystals: features and crops",
        _measured_identity,
    ),
    Stage(
        "shapes",
        ("crystals",),
        ShapesParameters,
        3,
        "row",
        _plan_shapes,
        _place,
        "parameters of the shape of each crystal",
        _placed_identity,
    ),
    Stage(
        "shape_groups",
        _shape_inputs,
        ShapeGroupsParameters,
        3,
        "row",
        _plan_groups,
        _group,
        "groups of crystals of like shape",
    ),
    Stage(
        "classes",
        ("images", "crystals", "shapes", "shape_groups"),
        ClassesParameters,
        2,
        "row",
        _plan_classes,
        _classify,
        "a classifier of crystals and its accuracy",
    ),
    Stage(
        "crystal_statistics",
        ("images", "crystal_maps", "crystals", "shape_groups"),
        CrystalStatisticsParameters,
        4,
        "whole",
        _plan_statistics,
        _no_blocks,
        "sizes and groups by condition",
    ),
)
