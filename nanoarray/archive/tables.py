"""Tables of a store with the tags of each row's image, for queries and for export."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray import schema
from nanoarray.archive.open_table import Table, join_tags, table
from nanoarray.archive.table_files import write_table

__all__ = [
    "Table",
    "frame_variables",
    "image_columns",
    "join_tags",
    "table",
    "tag_attrs",
    "write_table",
]


def image_columns(ds: xr.Dataset) -> dict[str, np.ndarray]:
    """One-dimensional variables of ``images`` as columns; text as objects."""
    columns = {}
    for name, variable in ds.variables.items():
        if variable.dims == ("image",) and name != "metadata":
            values = variable.values
            columns[str(name)] = values.astype(object) if values.dtype.kind in "UOT" else values
    return columns


def tag_attrs(images: xr.Dataset) -> dict[str, dict[str, str]]:
    """Units and meaning of every tag."""
    columns = {str(n): v.attrs for n, v in images.variables.items() if v.dims == ("image",)}
    return {name: attrs for name, attrs in columns.items() if "units" in attrs}


def frame_variables(
    frame: pd.DataFrame,
    dim: str,
    columns: Mapping[str, tuple[str, str]],
    *,
    prefix: str = "",
    tags: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Columns of a table of statistics as variables along `dim`, with units and meaning.

    `columns` gives (units, meaning) by name; ``_low`` and ``_high`` are ends of an interval, and
    what is not in it is a tag of the images, or with ``_a`` and ``_b`` that of two of them. `tags`
    has the attributes of tags that the schema leaves open. Units "" differ from row to row and
    stand in the column ``units``. The names in the result start with `prefix`.
    """
    variables = {}
    ends = {"_low": ", lower end of the interval", "_high": ", upper end of the interval"}
    for column in map(str, frame.columns):
        base = column.removesuffix("_low").removesuffix("_high")
        base = column if column in columns else base
        if base in columns:
            units, text = columns[base]
            text += ends.get(column[len(base) :], "")
        else:
            units, text = _tag_attrs(column, tags or {})
        values = frame[column].to_numpy()
        if values.dtype.kind not in "fiub":
            values = np.array(["" if v is None or v != v else str(v) for v in values], dtype=object)
        variables[f"{prefix}{column}"] = (dim, values, {"units": units, "long_name": text})
    return variables


def _tag_attrs(column: str, tags: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    """Units and meaning of a column that holds a tag, or that of the first or second of a pair."""
    for name, whose in (
        (column, ""),
        (column.removesuffix("_a"), " of the first"),
        (column.removesuffix("_b"), " of the second"),
    ):
        entry = schema.known("images", name)
        attrs = tags.get(name) or (entry.attrs if entry else None)
        if attrs:
            return attrs.get("units", "1"), attrs.get("long_name", name) + whose
    return "1", column.replace("_", " ")
