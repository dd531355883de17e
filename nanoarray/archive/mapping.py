"""Map a NumPy function over the images of a Dataset, lazily where the Dataset is dask-backed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.errors import InputError

#: Order of dimensions in which functions on one image expect their arrays.
_ORDER = ("y", "x", "tile_y", "tile_x", "angle")


def map_images(
    function: Callable[..., Mapping[str, Any]],
    ds: xr.Dataset,
    *,
    group: str,
    arrays: Sequence[str],
    scalars: Sequence[str],
    outputs: Sequence[str],
    sizes: Mapping[str, int],
) -> xr.Dataset:
    """Apply ``function`` to every image of ``ds``.

    Parameters
    ----------
    function
        Called with one image's ``arrays`` and ``scalars`` as keyword arguments; returns the
        ``outputs`` by name. An output may be smaller than ``sizes``: the rest stays unknown.
    ds
        Dataset along ``image``. Dimensions other than ``image`` may be chunked in any way.
    group
        Group of the schema that describes the outputs.
    arrays, scalars
        Names of the variables of ``ds`` with and without inner dimensions.
    outputs
        Names of the variables to make.
    sizes
        Length of every inner dimension of the outputs.

    Returns
    -------
    xr.Dataset
        The outputs along ``image``; nothing has been computed where ``ds`` is lazy.

    Raises
    ------
    InputError
        When ``ds`` lacks a variable.
    """
    names = [*arrays, *scalars]
    for name in names:
        if name not in ds:
            raise InputError(
                f"the Dataset has no variable {name!r}: it has {', '.join(map(str, ds))}"
            )
    entries = {name: schema.GROUPS[group][name] for name in outputs}
    inner = [sorted((str(d) for d in ds[n].dims if d != "image"), key=_ORDER.index) for n in names]
    core = [[d for d in entry.dims if d != "image"] for entry in entries.values()]
    found = xr.apply_ufunc(
        _of_block(function, names, entries, sizes),
        *(ds[n] for n in names),
        input_core_dims=inner,
        output_core_dims=core,
        dask="parallelized",
        output_dtypes=[_dtype(entry.dtype) for entry in entries.values()],
        dask_gufunc_kwargs={
            "output_sizes": {d: sizes[d] for dims in core for d in dims},
            "allow_rechunk": True,
        },
    )
    found = found if isinstance(found, tuple) else (found,)
    variables = {
        name: array.transpose(*entry.dims).assign_attrs(entry.attrs)
        for (name, entry), array in zip(entries.items(), found, strict=True)
    }
    keep = {"image": ds["image"]} if "image" in ds.coords else {}
    return xr.Dataset(variables, coords=keep)


def _of_block(
    function: Callable[..., Mapping[str, Any]],
    names: Sequence[str],
    entries: Mapping[str, schema.Variable],
    sizes: Mapping[str, int],
) -> Callable[..., Any]:
    """`function` for the arrays of some images at once: the outputs, padded to their sizes."""

    def of_block(*blocks: np.ndarray) -> Any:
        count = blocks[0].shape[0]
        results = {
            name: np.full(
                (count, *(sizes[d] for d in entry.dims if d != "image")),
                entry.fill_value,
                dtype=_dtype(entry.dtype),
            )
            for name, entry in entries.items()
        }
        for i in range(count):
            values = function(**{n: b[i] for n, b in zip(names, blocks, strict=True)})
            for name, result in results.items():
                data = np.asarray(values[name])
                part: tuple[Any, ...] = (i, *(slice(0, n) for n in data.shape))
                result[part] = data
        return tuple(results.values()) if len(results) > 1 else next(iter(results.values()))

    return of_block


def with_shapes(ds: xr.Dataset) -> xr.Dataset:
    """``ds`` with the height and width of every image; without padding where it does not say."""
    if "intensity" not in ds:
        raise InputError(
            f"the Dataset has no variable 'intensity': it has {', '.join(map(str, ds))}"
        )
    count = ds.sizes["image"]
    given = {
        name: ("image", np.full(count, ds.sizes[dim], np.int32))
        for name, dim in (("height", "y"), ("width", "x"))
        if name not in ds
    }
    return ds.assign(given)


def _dtype(name: str) -> Any:
    return object if name == "str" else np.dtype(name)
