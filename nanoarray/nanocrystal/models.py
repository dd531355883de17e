"""Shape space and shape groups on the tables of a store: kernels with names and units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from nanoarray import schema
from nanoarray.archive.rows import failure
from nanoarray.nanocrystal.constants import Constant, constant, texts
from nanoarray.nanocrystal.groups.columns import DATASETS
from nanoarray.nanocrystal.groups.fit import GroupFit, fit_groups
from nanoarray.nanocrystal.groups.methods import METHODS
from nanoarray.nanocrystal.groups.model import predict_groups
from nanoarray.nanocrystal.parameters import ShapeGroupsParameters, ShapesParameters
from nanoarray.nanocrystal.rows import feature_names, group_table

_MODEL = "model_"


# --- shapes -----------------------------------------------------------------------------------


def check_shape_weights(parameters: ShapesParameters) -> None:
    """Raise InputError unless the weights can be used."""
    from nanoarray.nanocrystal.shape.net_weights import load_network

    load_network(parameters.weights)


def place_in_shape_space(
    masks: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_], parameters: ShapesParameters
) -> dict[str, npt.NDArray[Any]]:
    """Shape parameters of the crop masks (n, size, size) that are ``kept``; unknown for others."""
    from nanoarray.nanocrystal.shape.predict import fit_shapes, predict_shapes

    if parameters.refine:
        predicted, chosen = fit_shapes(masks[kept], weights=parameters.weights)
    else:
        predicted = chosen = predict_shapes(masks[kept], weights=parameters.weights)
    d = chosen["d"]
    known = d > 0
    confidence = np.full(d.size, np.nan)
    confidence[known] = predicted["d_probability"][known, d[known] - 1]
    found = {name: chosen[name] for name in ("p", "d", "axis_ratio", "phase", "jaccard")}
    found["d_confidence"] = confidence
    found |= {f"{n}_network": predicted[n] for n in ("p", "d", "axis_ratio", "jaccard")}
    entries = schema.GROUPS["shapes"]
    rows = {n: np.full(kept.size, entries[n].fill_value, entries[n].dtype) for n in found}
    for name, values in found.items():
        rows[name][kept] = values
    return rows


def place_images(
    masks: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.bool_],
    image_index: npt.NDArray[np.integer],
    parameters: ShapesParameters,
) -> dict[str, npt.NDArray[Any]]:
    """As `place_in_shape_space`, with a ``problem`` instead of shapes where an image fails.

    All crystals are placed at once. Only where that fails are they placed image by image, to find
    which are to blame.
    """
    problem = np.full(kept.size, "", dtype=object)
    try:
        return {**place_in_shape_space(masks, kept, parameters), "problem": problem}
    except (OSError, MemoryError):
        raise  # the place or the machine failed, not the crystals
    except Exception:  # noqa: BLE001 -- one bad image must not lose the table
        check_shape_weights(parameters)  # if these are to blame, no image is
    rows = place_in_shape_space(masks, np.zeros_like(kept), parameters)
    for i in np.unique(image_index).tolist():
        own = image_index == i
        try:
            found = place_in_shape_space(masks, kept & own, parameters)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 -- one bad image must not lose the table
            problem[own] = failure(error)
            continue
        for name, values in found.items():
            rows[name][own] = values[own]
    return {**rows, "problem": problem}


# --- shape groups -----------------------------------------------------------------------------


def fit_shape_groups(
    crystals: xr.Dataset, shapes: xr.Dataset | None, parameters: ShapeGroupsParameters
) -> dict[str, Constant]:
    """The fitted model and how it was chosen, as the group `shape_groups` holds them."""
    table = _table(crystals, shapes, parameters)
    fit = fit_groups(
        table,
        dataset=parameters.dataset,
        method=parameters.method,
        n_groups=parameters.n_groups,
        max_groups=parameters.max_groups,
        min_share=parameters.min_share,
        linkage=parameters.linkage,
        nested=parameters.nested,
        features=feature_names(crystals),
        seed=parameters.seed,
    )
    return _constants(fit)


def give_groups(
    own: xr.Dataset,
    crystals: xr.Dataset,
    shapes: xr.Dataset | None,
    parameters: ShapeGroupsParameters,
) -> npt.NDArray[np.int32]:
    """Group of each crystal by the model of the Dataset ``own``; -1 for none."""
    model = {
        str(name).removeprefix(_MODEL): _plain(own[name].values)
        for name in own.variables
        if str(name).startswith(_MODEL)
    }
    return predict_groups(model, _table(crystals, shapes, parameters))


def _table(
    crystals: xr.Dataset, shapes: xr.Dataset | None, parameters: ShapeGroupsParameters
) -> dict[str, npt.NDArray[np.float64]]:
    table = group_table(crystals, shapes)
    if parameters.min_jaccard > 0:
        poor = table["jaccard"] < parameters.min_jaccard
        table = {name: np.where(poor, np.nan, values) for name, values in table.items()}
    return table


def _constants(fit: GroupFit) -> dict[str, Constant]:
    datasets, methods = list(DATASETS), list(METHODS)
    silhouette = np.full((len(datasets), len(methods), fit.numbers.size), np.nan)
    tests = np.full((3, len(datasets)), np.nan)
    for k, name in enumerate(DATASETS):
        if name in fit.silhouettes:
            silhouette[k] = fit.silhouettes[name]
            test = fit.tests[name]
            tests[:, k] = test.silhouette, test.expected, test.p_value
    constants: dict[str, Constant] = {
        "dataset": texts("dataset", datasets, "columns that crystals were compared by"),
        "method": texts("method", methods, "how they were divided"),
        "number": constant("number", fit.numbers, "number of groups"),
        "silhouette": constant("dataset method number", silhouette, "mean silhouette"),
        "explained_variance": constant(
            "component", fit.explained_variance, "share of the variance of a principal component"
        ),
        "tree": constant("merge tree_column", fit.tree, "linkage matrix of a sample of crystals"),
        "tree_row": constant("leaf", fit.tree_rows, "row of the crystals that a leaf is"),
        "group_count": constant("", np.int32(fit.n_groups), "number of groups"),
        "left_out_count": constant("", np.int64(fit.left_out), "crystals without a group"),
        "note": texts("note", fit.notes, "what was dropped, left out or decided"),
    }
    for figures, title, text in zip(
        tests,
        ("test_silhouette", "test_expected", "test_p_value"),
        (
            "largest silhouette of the crystals",
            "the same expected of a single group",
            "probability of such a silhouette of a single group",
        ),
        strict=True,
    ):
        constants[title] = constant("dataset", figures, text)
    for field, text in (
        ("dataset", "columns"),
        ("method", "method"),
        ("n_groups", "number of groups of the largest silhouette"),
        ("silhouette", "mean silhouette there"),
        ("cophenet", "cophenetic correlation: of the tree for linkage, else of the groups"),
        ("cophenet_groups", "cophenetic correlation of the groups"),
    ):
        column = [getattr(c, field) for c in fit.comparison]
        kind: Any = object if field in ("dataset", "method") else float
        constants[f"candidate_{field}"] = constant("candidate", np.array(column, kind), text)
    for key, part in fit.model.items():
        dims = " ".join(f"model_{key}_{k}" for k in range(np.ndim(part)))
        constants[f"{_MODEL}{key}"] = constant(dims, _plain(part), f"fitted model: {key}")
    return constants


def _plain(values: Any) -> Any:
    """Texts as a store holds them, and back as kernels take them."""
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind in "UT" else array
