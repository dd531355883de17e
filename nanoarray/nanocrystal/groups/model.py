"""A fitted division into groups as a plain dictionary of arrays, and what it says of new crystals.

``version``, ``method``, ``dataset``, ``linkage`` (scalars), ``columns`` (c,), ``mean`` and
``scale`` (c,) of the columns after logarithms, ``group_size`` (k,), ``centers`` (k, c) standardized
means; for a mixture also ``covariances`` (k, c, c) and ``shares`` (k,); for linkage ``prototypes``
(m, c) and ``prototype_group`` (m,) 0...
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.nanocrystal.groups.columns import Standardized, Table, read_columns
from nanoarray.nanocrystal.groups.methods import Parts, assign

Model = dict[str, npt.NDArray[Any]]

#: Written into every model; another one is refused.
MODEL_VERSION: Final = 1


def predict_groups(model: Model, table: Table) -> npt.NDArray[np.int32]:
    """Group of each crystal of a table by a fitted model.

    Parameters
    ----------
    model
        As from `fit_groups`.
    table
        With the columns that the model was fitted to, in the same units.

    Returns
    -------
    groups
        (n,) int32, 1.. as in the fit; -1 where a value is missing, and everywhere if the model was
        fitted to no crystal.

    Raises
    ------
    InputError
        The model is of another version or incomplete, or a column is missing.
    """
    try:
        version, method = int(model["version"]), str(model["method"])
        columns = [str(name) for name in model["columns"]]
        mean, scale, sizes = model["mean"], model["scale"], model["group_size"]
    except KeyError as error:
        raise InputError(
            f"the model of shape groups has no {error}: fit the groups again"
        ) from error
    if version != MODEL_VERSION:
        raise InputError(
            f"the model of shape groups has version {version}, expected {MODEL_VERSION}:"
            " fit the groups again"
        )
    if not columns:
        raise InputError("the model of shape groups has no columns: fit the groups again")
    values = (read_columns(table, columns) - mean) / scale
    groups = np.full(values.shape[0], -1, dtype=np.int32)
    known = np.isfinite(values).all(axis=1)
    if len(sizes) and known.any():
        groups[known] = 1 + (
            assign(method, model, np.ascontiguousarray(values[known])) if method != "single" else 0
        )
    return groups


def numbered_groups(
    data: Standardized, method: str, parts: Parts, *, dataset: str, linkage: str
) -> tuple[npt.NDArray[np.int32], Model]:
    """Groups 1.. by size, and the model with its parts in that order.

    Parameters
    ----------
    data
        What was divided.
    method
        One of `METHODS`, ``"single"`` for one group, ``"none"`` for none.
    parts
        As of `nanoarray.nanocrystal.groups.methods.assign`.
    dataset, linkage
        Written into the model.
    """
    if method in ("single", "none"):
        own = np.zeros(data.rows.shape[0], dtype=np.int32)
    else:
        own = assign(method, parts, data.rows)
    count = int(own.max(initial=-1)) + 1
    if "centers" in parts:
        count = parts["centers"].shape[0]
    size = np.bincount(own, minlength=count)
    means = (
        np.stack(
            [
                data.rows[own == k].mean(axis=0) if size[k] else parts["centers"][k]
                for k in range(count)
            ]
        )
        if count
        else np.empty((0, len(data.columns)))
    )
    # Of equal size, by their means: the order in which a method found them is arbitrary.
    order = np.lexsort((*means.T[::-1], -size)) if count else np.empty(0, dtype=np.int64)
    rank = np.empty(count, dtype=np.int32)
    rank[order] = np.arange(count, dtype=np.int32)
    groups = np.full(data.count, -1, dtype=np.int32)
    groups[data.kept] = 1 + rank[own]
    model: Model = {
        "version": np.array(MODEL_VERSION),
        "method": np.array(method),
        "dataset": np.array(dataset),
        "linkage": np.array(linkage if method == "linkage" else ""),
        "columns": np.array(data.columns, dtype=np.str_),
        "mean": data.mean,
        "scale": data.scale,
        "group_size": size[order],
        "centers": means[order],
    }
    if "prototypes" in parts:
        model |= {
            "prototypes": parts["prototypes"],
            "prototype_group": rank[parts["prototype_group"]],
        }
    else:
        model |= {key: value[order] for key, value in parts.items()}
    return groups, model
