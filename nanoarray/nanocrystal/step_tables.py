"""What the steps on tables of crystals share: empty tables, rows of images, labels of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.features import OUTLINE_POINTS


def need(ds: xr.Dataset, names: Sequence[str], what: str) -> None:
    """Raise InputError unless a Dataset has these variables; ``what`` is what has them."""
    missing = [name for name in names if name not in ds]
    if missing:
        raise InputError(
            f"the Dataset has no variable {missing[0]!r}: merge it with {what}; it has "
            f"{', '.join(map(str, ds))}"
        )


def empty_table(crop_size: int, grey: np.dtype[Any]) -> xr.Dataset:
    """The table of crystals without a row."""
    lengths = {
        "corner": 4,
        "point": OUTLINE_POINTS,
        "axis": 2,
        "extremum": 8,
        "end": 2,
        "crop_y": crop_size,
        "crop_x": crop_size,
    }
    return xr.Dataset(
        {
            name: (
                entry.dims,
                np.zeros((0, *(lengths[d] for d in entry.dims[1:])), _dtype(entry.dtype, grey)),
                entry.attrs,
            )
            for name, entry in schema.GROUPS["crystals"].items()
        }
    )


def _dtype(name: str, grey: np.dtype[Any]) -> np.dtype[Any]:
    return {"str": np.dtype(object), "any": grey}.get(name) or np.dtype(name)


def rows_of_images(
    measure: Callable[..., Mapping[str, np.ndarray]],
    images: Sequence[xr.DataArray],
    counts: np.ndarray,
    template: xr.Dataset,
) -> xr.Dataset:
    """The table of what is in several images.

    Parameters
    ----------
    measure
        ``measure(i, *arrays)`` gives the columns of image ``i``; ``arrays`` are its parts of
        ``images``.
    images
        Along ``image``. Where one is dask-backed the table is, with a task for every image.
    counts
        (images,) rows that each image has.
    template
        The table without a row.
    """
    import dask
    import dask.array as da

    def typed(i: int, *data: np.ndarray) -> dict[str, np.ndarray]:
        columns = measure(i, *data)
        return {str(n): columns[str(n)].astype(v.dtype) for n, v in template.data_vars.items()}

    lazy = any(array.chunks is not None for array in images)
    parts: list[xr.Dataset] = []
    for i in np.flatnonzero(counts).tolist():
        data = [array[i].data for array in images]
        found = dask.delayed(typed, pure=False)(i, *data) if lazy else typed(i, *data)
        columns: dict[str, Any] = {}
        for name, variable in template.data_vars.items():
            shape = (int(counts[i]), *variable.shape[1:])
            part = found[str(name)]
            part = da.from_delayed(part, shape, variable.dtype) if lazy else part
            columns[str(name)] = (variable.dims, part, variable.attrs)
        parts.append(xr.Dataset(columns))
    return xr.concat(parts, "crystal") if parts else template


def row_by_row(
    function: Callable[..., Any], inputs: list[xr.DataArray], group: str, names: Sequence[str]
) -> xr.Dataset:
    """Apply a function of whole rows to the inputs, block by block where they are dask-backed."""
    entries = [schema.GROUPS[group][name] for name in names]
    lazy = [data.chunksizes["crystal"] for data in inputs if data.chunks is not None]
    if lazy:
        # Dask cannot choose the blocks of texts, which a table may hold in memory.
        inputs = [d if d.chunks is not None else d.chunk({"crystal": lazy[0]}) for d in inputs]
    found = xr.apply_ufunc(
        function,
        *inputs,
        input_core_dims=[[d for d in data.dims if d != "crystal"] for data in inputs],
        output_core_dims=[[] for _ in names],
        dask="parallelized",
        output_dtypes=[np.dtype(entry.dtype) for entry in entries],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )
    columns = found if isinstance(found, tuple) else (found,)
    return xr.Dataset(
        {
            name: ("crystal", data.data, entry.attrs)
            for name, data, entry in zip(names, columns, entries, strict=True)
        }
    )
