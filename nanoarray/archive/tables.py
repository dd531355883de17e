"""Tables of a store with the tags of each row's image, for queries and for export."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray import schema
from nanoarray.archive import store
from nanoarray.archive.engine import is_current
from nanoarray.errors import InputError

#: Variables of ``images`` that are no tags: pixels, bookkeeping, raw headers.
_NOT_TAGS = frozenset(
    "intensity metadata sha256 path problem warning ok height width bit_depth data_bar".split()
)


def table(store_url: str | os.PathLike[str], group: str) -> xr.Dataset:
    """Open a table of a store with the tags of each row's image joined on.

    Parameters
    ----------
    store_url
        A store.
    group
        ``"grains"``, ``"images"``, ``"grain_statistics"``: any group with rows. Further tables of a
        group are named behind a slash: ``"grain_statistics/pair"`` (comparisons of conditions) and
        ``"grain_statistics/trend"``.

    Returns
    -------
    xr.Dataset
        Rows along the group's dimension, ready for ``.query`` and ``.groupby``. Columns are read
        when they are used; variables with inner dimensions are dask-backed. Rows with an
        ``image_index`` carry ``image`` (the id) and every tag of their image as coordinates.

    Raises
    ------
    InputError
        When there is no such store or group, or when the group holds no table.
    """
    url = store.as_url(store_url)
    store.check_store(url)
    group, _, other = group.partition("/")
    ds = store.open_group(url, group)
    inner = [n for n, v in ds.data_vars.items() if v.ndim > 1]
    ds = ds.assign(store.open_group(url, group, chunks={})[inner])
    record = store.provenance(url, group)
    dim = other or record.get("dim", "")
    if not is_current(url, group):
        state = "out of date: images or tags changed" if record.get("complete") else "incomplete"
        warnings.warn(f"group {group!r} of {url} is {state}: run the pipeline again", stacklevel=2)
    names = [n for n, v in ds.data_vars.items() if v.dims[:1] == (dim,) and n != "intensity"]
    if not dim or not names:
        raise InputError(
            f"group {group!r} holds no table: expected one with rows, such as 'grains'"
        )
    rows = ds[names]
    rows.attrs = {}
    for name in rows.variables:
        if rows[name].dtype.kind in "TO":
            rows[name] = (rows[name].dims, rows[name].values.astype(object), rows[name].attrs)
    # A store lists its arrays in no order: the schema's is the one to read them in.
    known = [*schema.GROUPS.get(group, {}), *record.get("variables", [])]
    order = {name: i for i, name in reversed(list(enumerate(known)))}
    rows = rows[sorted(rows.data_vars, key=lambda n: (order.get(str(n), len(order)), str(n)))]
    if "image_index" not in rows:
        return rows
    return join_tags(rows, store.open_group(url, "images"), dim)


def join_tags(rows: xr.Dataset, images: xr.Dataset, dim: str) -> xr.Dataset:
    """Give every row along ``dim`` the id and the tags of the image of its ``image_index``."""
    index = rows["image_index"].values
    tags = {}
    for name, variable in images.variables.items():
        if variable.dims == ("image",) and name not in _NOT_TAGS and name not in rows:
            values = variable.values
            values = values.astype(object) if values.dtype.kind in "UOT" else values
            tags[str(name)] = ((dim,), values[index], variable.attrs)
    order = {name: i for i, name in enumerate(schema.GROUPS["images"])}
    names = sorted(tags, key=lambda n: (order.get(n, len(order)), n))
    return rows.assign_coords({name: tags[name] for name in names})


def write_table(ds: xr.Dataset, path: str | os.PathLike[str]) -> int:
    """Write the one-dimensional variables of a table as CSV or Parquet; gives the row count.

    Units go into the column metadata of Parquet and, in CSV, into the names (``area_um2``). A text
    that a spreadsheet would run as a formula gets an apostrophe before it in CSV.

    Raises
    ------
    InputError
        For another suffix, or a folder that is not there.
    """
    target = Path(path)
    if target.suffix not in (".csv", ".parquet"):
        raise InputError(f"{target}: expected a name ending in .csv or .parquet")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.absolute().parent} does not exist")
    flat = ds[[n for n, v in ds.variables.items() if v.ndim == 1]]
    frame = flat.to_dataframe().reset_index()
    units = {str(n): str(v.attrs.get("units", "1")) for n, v in flat.variables.items()}
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.suffix == ".csv":
            plain = {n: n if u == "1" else f"{n}_{u}" for n, u in units.items()}
            texts = frame.select_dtypes(exclude=["number", "bool"]).columns
            frame[texts] = frame[texts].map(_defused)
            frame.rename(columns=plain).to_csv(partial, index=False)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            content = pa.Table.from_pandas(frame, preserve_index=False)
            fields = [f.with_metadata({"units": units.get(f.name, "1")}) for f in content.schema]
            schema = pa.schema(fields, metadata=content.schema.metadata)
            pq.write_table(content.cast(schema), partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return len(frame)


def _defused(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell


def image_columns(ds: xr.Dataset) -> dict[str, np.ndarray]:
    """One-dimensional variables of ``images`` as columns; text as objects."""
    columns = {}
    for name, variable in ds.variables.items():
        if variable.dims == ("image",) and name != "metadata":
            values = variable.values
            columns[str(name)] = values.astype(object) if values.dtype.kind in "UOT" else values
    return columns


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
