"""Tables as files for other programs, written a block of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray.errors import InputError

#: Rows in memory at a time.
_ROWS = 50_000


def write_table(ds: xr.Dataset, path: str | os.PathLike[str]) -> int:
    """Write the columns of a table as CSV or Parquet; gives the row count.

    Columns are the variables along the first dimension of the first variable; they are read and
    written 50,000 rows at a time, so that a table may be larger than memory. Units and meanings go
    into the column metadata of Parquet and, in CSV, units into the names (``area_um2``). In CSV a
    text that a spreadsheet would run as a formula gets an apostrophe before it.

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
    first = next((v for v in ds.data_vars.values() if v.ndim), None)
    if first is None:
        raise InputError(f"{target}: there is no column to write")
    dim = str(first.dims[0])
    columns = {str(n): v for n, v in ds.variables.items() if v.dims == (dim,)}
    # Rows without a name of their own are numbered, as pandas would.
    columns.setdefault(dim, xr.Variable((dim,), np.arange(ds.sizes[dim])))
    # The index first, then coordinates and columns as they are listed.
    names = sorted(columns, key=lambda n: (n != dim, n in ds.data_vars))
    partial = target.with_name(f".{target.name}.partial")
    write = _write_csv if target.suffix == ".csv" else _write_parquet
    try:
        write(partial, {name: columns[name] for name in names}, ds.sizes[dim])
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return int(ds.sizes[dim])


def _blocks(columns: Mapping[str, xr.Variable], length: int) -> Iterator[pd.DataFrame]:
    """The rows, some at a time; an empty table is one empty block."""
    for start in range(0, max(length, 1), _ROWS):
        rows = slice(start, start + _ROWS)
        values = {name: np.asarray(v[rows].values) for name, v in columns.items()}
        yield pd.DataFrame(
            {n: v.astype(object) if v.dtype.kind in "UT" else v for n, v in values.items()}
        )


def _units(variable: xr.Variable) -> str:
    return str(variable.attrs.get("units", "1"))


def _with_unit(name: str, units: str) -> str:
    """Name of a column with its unit, said once: ``area_um2``, and ``area_px2`` for ``area_px``."""
    if units == "1":
        return name
    return f"{name.removesuffix('_px') if units.startswith('px') else name}_{units}"


def _write_csv(path: Path, columns: Mapping[str, xr.Variable], length: int) -> None:
    plain = {name: _with_unit(name, _units(v)) for name, v in columns.items()}
    with path.open("w", encoding="utf-8", newline="") as handle:
        for i, frame in enumerate(_blocks(columns, length)):
            for name, variable in columns.items():
                if variable.dtype.kind in "OUT":
                    frame[name] = frame[name].map(_defused)
            frame.rename(columns=plain).to_csv(handle, index=False, header=i == 0)


def _defused(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell


def _write_parquet(path: Path, columns: Mapping[str, xr.Variable], length: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        pa.field(
            name,
            pa.string() if v.dtype.kind in "OUT" else pa.from_numpy_dtype(v.dtype),
            metadata={"units": _units(v), "long_name": str(v.attrs.get("long_name", ""))},
        )
        for name, v in columns.items()
    ]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema) as writer:
        for frame in _blocks(columns, length):
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
