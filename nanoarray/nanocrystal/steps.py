"""The steps of the nanocrystal pipeline on Datasets: lazy where the Dataset is dask-backed.

The first two take images and their maps along ``image``, the others the table along ``crystal``
that they make. Each returns only what is new, except the table, which has the tags of its images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive.mapping import map_images, with_shapes
from nanoarray.archive.rows import measure_rows
from nanoarray.archive.stage_parameters import checked
from nanoarray.archive.tables import join_tags
from nanoarray.nanocrystal import class_models, models
from nanoarray.nanocrystal.groups.columns import FEATURES
from nanoarray.nanocrystal.one_image import measure_one, segment_one
from nanoarray.nanocrystal.parameters import (
    ClassesParameters,
    CrystalMapsParameters,
    CrystalsParameters,
    ShapeGroupsParameters,
    ShapesParameters,
)
from nanoarray.nanocrystal.rows import measured_crystals
from nanoarray.nanocrystal.step_tables import empty_table, need, row_by_row, rows_of_images

#: What groups and classes know of a shape: the network's prediction.
NETWORK_COLUMNS = ("p_network", "d_network", "axis_ratio_network", "jaccard")
#: Columns of the table of crystals that groups and classes are given by.
_ROWS = (*FEATURES, "rejected", "problem", "touches_edge")
#: What a crystal is measured in.
_MEASURED = (
    *("intensity", "crystal", "rejected_object", "height", "width", "pixel_size"),
    *("rejected_reasons", "source_labels"),
)
#: Variables that a map of crystals has.
CRYSTAL_MAP_NAMES = (
    "crystal",
    "rejected_object",
    "crystal_count",
    "rejected_count",
    "rejected_reasons",
    "source_labels",
    "polarity",
    "crystal_fraction",
)
#: Variables that a place in shape space has.
SHAPE_NAMES = tuple(
    n for n in schema.GROUPS["shapes"] if n not in ("image_index", "label", "problem")
)


def segment_crystals(ds: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Find the crystals of every image.

    Parameters
    ----------
    ds
        ``intensity(image, y, x)``; without ``height(image)`` and ``width(image)`` [px] images have
        no padding. Where ``ok`` is False nothing is looked for: 0 crystals, the rest unknown.
    **parameters
        Fields of `CrystalMapsParameters`, such as ``method="classical"``.

    Returns
    -------
    xr.Dataset
        ``crystal(image, y, x)`` and ``rejected_object(image, y, x)``, ids local to the image;
        ``crystal_count``, ``rejected_count``, ``rejected_reasons``, ``polarity`` and
        ``crystal_fraction`` along ``image``.

    Raises
    ------
    InputError
        For a parameter that does not exist, and where ``ds`` has no images.
    """
    chosen = checked(CrystalMapsParameters, parameters, name="parameters")
    ds = with_shapes(ds)
    scalars = ["height", "width", *(n for n in ("ok", "image", "data_bar") if n in ds)]
    entries = {n: schema.GROUPS["crystal_maps"][n] for n in CRYSTAL_MAP_NAMES}

    def one(**values: Any) -> Mapping[str, Any]:
        if not values.get("ok", True):
            return {n: np.full((0,) * (len(e.dims) - 1), e.fill_value) for n, e in entries.items()}
        pixels = values["intensity"][: int(values["height"]), : int(values["width"])]
        return segment_one(
            pixels,
            chosen,
            image=str(values.get("image", "")),
            data_bar_px=int(values.get("data_bar", 0)),
        )

    return map_images(
        one,
        ds,
        group="crystal_maps",
        arrays=["intensity"],
        scalars=scalars,
        outputs=CRYSTAL_MAP_NAMES,
        sizes={"y": ds.sizes["y"], "x": ds.sizes["x"]},
    )


def measure_crystals(ds: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Measure every crystal and cut it out: the table of crystals, with the tags of their images.

    Parameters
    ----------
    ds
        Images, merged with the maps that `segment_crystals` made of them. Without ``pixel_size``
        [nm] lengths are NaN and only those in pixels are known.
    **parameters
        Fields of `CrystalsParameters`, such as ``crop_size=64``.

    Returns
    -------
    xr.Dataset
        Along ``crystal``: the variables of the group ``crystals``, and the tags. The counts of
        crystals are computed at once, because the number of rows has to be known; the rows are
        lazy where ``intensity`` or ``crystal`` are dask-backed.

    Raises
    ------
    InputError
        For a parameter that does not exist, and where ``ds`` lacks images or maps.
    """
    chosen = checked(CrystalsParameters, parameters, name="parameters")
    ds = with_shapes(ds)
    need(ds, CRYSTAL_MAP_NAMES, "the maps of segment_crystals")
    counts = (ds["crystal_count"] + ds["rejected_count"]).values.astype(np.int64)
    template = empty_table(chosen.crop_size, ds["intensity"].dtype)
    if "pixel_size" not in ds:
        ds = ds.assign(pixel_size=("image", np.full(counts.size, np.nan)))

    def one(i: int, *values: Any) -> dict[str, Any]:
        """Rows of the objects of image ``i``."""
        given = dict(zip(_MEASURED, values, strict=True))
        field = np.s_[: int(given["height"]), : int(given["width"])]
        return measure_rows(
            lambda i: measure_one(
                given["crystal"][field],
                given["rejected_object"][field],
                json.loads(str(given["rejected_reasons"]) or "[]"),
                given["intensity"][field],
                pixel_size_nm=float(given["pixel_size"]),
                crop_size=chosen.crop_size,
                image_index=i,
                source_labels=json.loads(str(given["source_labels"]) or "[]"),
            ),
            np.where(np.arange(counts.size) == i, counts, 0),
            own=template,
            group="crystals",
            rows=slice(0, int(counts[i])),
        )

    inputs = [ds[name].transpose("image", ...) for name in _MEASURED]
    return join_tags(rows_of_images(one, inputs, counts, template), ds, "crystal")


def predict_shapes(crystals: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Place every crystal in shape space.

    Parameters
    ----------
    crystals
        As from `measure_crystals`, or the group ``crystals`` of a store: ``crop_mask(crystal,
        crop_y, crop_x)`` and ``rejected(crystal)``.
    **parameters
        Fields of `ShapesParameters`, such as ``refine=False``.

    Returns
    -------
    xr.Dataset
        ``p``, ``d``, ``axis_ratio``, ``phase`` [deg], ``d_confidence``, ``jaccard`` and the
        network's own prediction (``p_network``, ...) along ``crystal``; unknown for rejected
        objects.

    Raises
    ------
    InputError
        For a parameter that does not exist, weights that cannot be used, and where ``crystals``
        lacks the masks.
    """
    chosen = checked(ShapesParameters, parameters, name="parameters")
    need(crystals, ("crop_mask", "rejected", "problem"), "the table of measure_crystals")
    models.check_shape_weights(chosen)

    def place(mask: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, ...]:
        found = models.place_in_shape_space(np.asarray(mask, bool), kept, chosen)
        return tuple(found[name] for name in SHAPE_NAMES)

    kept = xr.DataArray(measured_crystals(crystals), dims="crystal")
    return row_by_row(place, [crystals["crop_mask"], kept], "shapes", SHAPE_NAMES)


def group_shapes(
    crystals: xr.Dataset, *, model: xr.Dataset | None = None, **parameters: Any
) -> xr.Dataset:
    """Divide crystals into groups of like shape, or give them those of a fitted model.

    Parameters
    ----------
    crystals
        As from `measure_crystals`, merged with what `predict_shapes` found unless
        ``dataset="features"``. A fit reads its columns at once; the groups are lazy where the
        columns are dask-backed.
    model
        The result of an earlier call, or the group ``shape_groups`` of a store: it gives these
        crystals their groups, and nothing is fitted.
    **parameters
        Fields of `ShapeGroupsParameters`, such as ``n_groups=4``.

    Returns
    -------
    xr.Dataset
        ``shape_group(crystal)``, 1 the largest, -1 for what is rejected or cut by the edge; and the
        model with how it was chosen: silhouettes, cophenetic correlations, notes.

    Raises
    ------
    InputError
        For a parameter that does not exist, and where a column is missing.
    """
    chosen = checked(ShapeGroupsParameters, parameters, name="parameters")
    need(crystals, _ROWS, "the table of measure_crystals")
    if chosen.dataset != "features" or chosen.min_jaccard > 0:
        need(crystals, NETWORK_COLUMNS, "what predict_shapes found")
    if model is None:
        own = xr.Dataset(models.fit_shape_groups(crystals, _shapes_in(crystals), chosen))
    else:
        own = _without_rows(model)

    def give(rows: xr.Dataset) -> np.ndarray:
        return models.give_groups(own, rows, _shapes_in(rows), chosen)

    return _labelled(give, crystals, "shape_groups", "shape_group").merge(own)


def classify_crystals(
    crystals: xr.Dataset, *, model: xr.Dataset | None = None, **parameters: Any
) -> xr.Dataset:
    """Train a classifier of crystals and test it, or let a trained one name their classes.

    Parameters
    ----------
    crystals
        As from `measure_crystals`, merged with what `predict_shapes` found and, without ``labels``,
        with ``shape_group``. Images, and tags `sample` and `batch`, are held back whole where the
        table has them. Training reads its columns at once; the classes are lazy where the columns
        are dask-backed.
    model
        The result of an earlier call, or the group ``classes`` of a store: nothing is trained.
    **parameters
        Fields of `ClassesParameters`, such as ``classifier="random forest"``.

    Returns
    -------
    xr.Dataset
        ``predicted_group(crystal)``, -1 for none; and the classifier with its accuracies, the
        confusion matrix and the ablation.

    Raises
    ------
    InputError
        For a parameter that does not exist, where a column is missing, and where no human label is
        of a crystal.
    """
    chosen = checked(ClassesParameters, parameters, name="parameters")
    need(crystals, _ROWS, "the table of measure_crystals")
    need(crystals, NETWORK_COLUMNS, "what predict_shapes found")
    if model is None:
        if chosen.labels is None:
            need(crystals, ("shape_group",), "what group_shapes found")
        found = class_models.train_classes(
            _images_of(crystals), crystals, crystals, crystals, chosen
        )
        own = xr.Dataset(found)
    else:
        own = _without_rows(model)

    def give(rows: xr.Dataset) -> np.ndarray:
        return class_models.give_classes(own, rows, rows)

    return _labelled(give, crystals, "classes", "predicted_group").merge(own)


def _shapes_in(rows: xr.Dataset) -> xr.Dataset | None:
    return rows if all(name in rows for name in NETWORK_COLUMNS) else None


def _without_rows(model: xr.Dataset) -> xr.Dataset:
    """What is fitted of a group, without the crystals that it was fitted to."""
    return model.drop_vars([n for n, v in model.variables.items() if "crystal" in v.dims]).load()


def _images_of(crystals: xr.Dataset) -> xr.Dataset:
    """Ids and tags of the images of a table, at the positions that its rows name."""
    index = crystals["image_index"].values
    columns = {}
    for name in ("image", *class_models.UNITS):
        if name in crystals or name == "image":
            values = np.full(index.max(initial=-1) + 1, "", dtype=object)
            values[index] = crystals[name].values if name in crystals else index.astype(str)
            columns[name] = ("image", values)
    return xr.Dataset(columns)


def _labelled(
    give: Callable[[xr.Dataset], np.ndarray], crystals: xr.Dataset, group: str, name: str
) -> xr.Dataset:
    """The column ``name`` that a fitted model gives the rows, block by block."""
    names = [n for n in (*_ROWS, *NETWORK_COLUMNS) if n in crystals]

    def block(*columns: np.ndarray) -> np.ndarray:
        return give(xr.Dataset(dict(zip(names, (("crystal", c) for c in columns), strict=True))))

    return row_by_row(block, [crystals[n] for n in names], group, (name,))
