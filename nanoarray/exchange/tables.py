"""Export a table of a store as Parquet or CSV, some rows at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray import schema
from nanoarray.archive import store
from nanoarray.archive.lineage import is_current
from nanoarray.archive.tables import join_tags
from nanoarray.errors import InputError

#: Rows that are held at once.
ROWS = 50_000


class _Writer(Protocol):
    def __enter__(self) -> _Writer: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def write(self, frame: pd.DataFrame) -> None: ...


def export_table(
    store_url: str | os.PathLike[str], group: str, path: str | os.PathLike[str]
) -> int:
    """Write a table with the tags of each row's image; memory does not grow with the table.

    Parameters
    ----------
    store_url
        A store.
    group
        A group with rows, as `nanoarray.table` takes it.
    path
        A file ending in ``.parquet``, with ``units`` and ``long_name`` in the metadata of each
        column, or in ``.csv``, with the unit in the column's name (``area_um2``) and an apostrophe
        before a text that a spreadsheet would run as a formula.

    Returns
    -------
    int
        The number of rows.

    Raises
    ------
    InputError
        No such store or table, another ending, or a folder that is not there.
    """
    target = Path(path)
    if target.suffix not in (".csv", ".parquet"):
        raise InputError(f"{target}: expected a name ending in .csv or .parquet")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.absolute().parent} does not exist")
    partial = target.with_name(f".{target.name}.partial")
    writer: _Writer
    rows = 0
    try:
        parts = table_parts(store_url, group)
        first = next(parts)
        writer = (_Csv if target.suffix == ".csv" else _Parquet)(partial, first)
        with writer:
            writer.write(_frame(first))
            rows = _length(first)
            for part in parts:
                writer.write(_frame(part))
                rows += _length(part)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def table_parts(
    store_url: str | os.PathLike[str], group: str, *, rows: int = ROWS
) -> Iterator[xr.Dataset]:
    """Give the one-dimensional columns of a table in parts of ``rows`` rows, at least one part.

    Raises
    ------
    InputError
        No such store or table.
    """
    url = store.as_url(store_url)
    whole, dim = _columns(url, group)
    images = store.open_group(url, "images") if "image_index" in whole else None
    length = whole.sizes[dim]
    for start in range(0, max(length, 1), rows):
        part = whole.isel({dim: slice(start, start + rows)}).load()
        if images is not None:
            part = _with_tags(part, images, dim)
        if dim not in part.coords:  # the number of the row, of the whole table
            part = part.assign_coords({dim: np.arange(start, start + part.sizes[dim])})
        yield part


def _columns(url: str, group: str) -> tuple[xr.Dataset, str]:
    """The columns of a table before anything is read, in the order of the schema."""
    store.check_store(url)
    group, _, other = group.partition("/")
    ds = store.open_group(url, group)
    record = store.provenance(url, group)
    dim = other or str(record.get("dim", ""))
    columns = [str(n) for n, v in ds.variables.items() if v.dims == (dim,)]
    if not columns:
        raise InputError(
            f"group {group!r} holds no table: expected one with rows, such as 'grains'"
        )
    if not is_current(url, group):
        warnings.warn(
            f"group {group!r} of {url} is incomplete or out of date: run the pipeline again",
            stacklevel=4,
        )
    known = [*schema.GROUPS.get(group, {}), *record.get("variables", [])]
    order = {name: i for i, name in reversed(list(enumerate(known)))}
    columns.sort(key=lambda name: (order.get(name, len(order)), name))
    return ds[columns], dim


def _with_tags(part: xr.Dataset, images: xr.Dataset, dim: str) -> xr.Dataset:
    """Tags of only the images that these rows are of."""
    index = part["image_index"].values
    if not index.size:
        return join_tags(part, images.isel(image=slice(0, 0)), dim)
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= images.sizes["image"]:
        raise InputError(f"rows are of images {low} to {high}, the store has {images.sizes}")
    part["image_index"] = (dim, index - low, part["image_index"].attrs)
    joined = join_tags(part, images.isel(image=slice(low, high + 1)), dim)
    joined["image_index"] = (dim, index, part["image_index"].attrs)
    return joined


def _length(part: xr.Dataset) -> int:
    return int(next(iter(part.sizes.values()), 0))


def _frame(part: xr.Dataset) -> pd.DataFrame:
    return part.to_dataframe().reset_index()


def _attributes(part: xr.Dataset) -> dict[str, dict[str, str]]:
    return {
        str(name): {
            "units": str(variable.attrs.get("units", "1")),
            "long_name": str(variable.attrs.get("long_name", "")),
        }
        for name, variable in part.variables.items()
    }


class _Csv:
    """A CSV file with units in the names of columns."""

    def __init__(self, path: Path, first: xr.Dataset) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        units = {name: attrs["units"] for name, attrs in _attributes(first).items()}
        self._names = {n: n if u == "1" else f"{n}_{u}" for n, u in units.items()}
        self._begun = False

    def __enter__(self) -> _Csv:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, frame: pd.DataFrame) -> None:
        """Append rows."""
        texts = frame.select_dtypes(exclude=["number", "bool"]).columns
        frame[texts] = frame[texts].map(_defused)
        frame.rename(columns=self._names).to_csv(
            self._file, index=False, header=not self._begun, lineterminator="\n"
        )
        self._begun = True


class _Parquet:
    """A Parquet file with units in the metadata of columns."""

    def __init__(self, path: Path, first: xr.Dataset) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        attributes = _attributes(first)
        fields = [
            pa.field(f.name, _column_type(f.type), metadata=attributes.get(f.name, {"units": "1"}))
            for f in pa.Schema.from_pandas(_frame(first), preserve_index=False)
        ]
        self._schema = pa.schema(fields)
        self._file = pq.ParquetWriter(path, self._schema)

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, frame: pd.DataFrame) -> None:
        """Append rows."""
        import pyarrow as pa

        self._file.write_table(
            pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False)
        )


def _column_type(arrow_type: Any) -> Any:
    """The type of a column; text also where the first rows hold none to tell it by."""
    import pyarrow as pa

    unknown = pa.types.is_null(arrow_type) or pa.types.is_large_string(arrow_type)
    return pa.string() if unknown else arrow_type


def _defused(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell
