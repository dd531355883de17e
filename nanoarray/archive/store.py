"""The store: one Zarr v3 group tree per collection. With `place`, the only door to zarr.

A group is a stage's product. Its attribute ``nanoarray`` is the stage's provenance; its array
``block_key`` holds, per block, the key of the finished block (0: not done). A chunk's presence is
no mark of completion, because a chunk that is all fill is never written.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import GroupNotFoundError, ZarrUserWarning

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive.guard import check_safe
from nanoarray.archive.layout import ArrayPlan as ArrayPlan
from nanoarray.archive.layout import GroupPlan as GroupPlan
from nanoarray.archive.layout import array_plan as array_plan
from nanoarray.archive.layout import constant_plan
from nanoarray.archive.place import as_url as as_url
from nanoarray.archive.place import check_place as check_place
from nanoarray.archive.place import chunks_at
from nanoarray.errors import InputError, NanoarrayError

#: Per block: the key of what is in it, 0 where it is not done, and the checksum of its chunks.
BLOCK_KEY, BLOCK_SUM = "block_key", "block_checksum"
_BOOKKEEPING = [BLOCK_KEY, BLOCK_SUM]
#: Blocks whose marks share a chunk: few objects, and one small write for many marks.
_MARKS = 4096


#: Said, so that zarr does not ask for the files of every format: on an object store, of eight.
_FORMAT: dict[str, Any] = {"zarr_format": 3, "use_consolidated": False}


def _group(url: str, group: str, mode: str) -> zarr.Group:
    return zarr.open_group(chunks_at(url), path=group, mode=mode, **_FORMAT)


# --- the tree ---------------------------------------------------------------------------------


def is_store(url: str) -> bool:
    """Whether ``url`` holds a nanoarray store."""
    try:
        root = _group(url, "", "r")
    except (GroupNotFoundError, FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return False
    return "nanoarray_format" in root.attrs


def check_store(url: str) -> None:
    """Raise InputError unless ``url`` is a store this version can read."""
    if not is_store(url):
        raise InputError(
            f"{url} is not a nanoarray store: make one with `nanoarray ingest SOURCE {url}`"
        )
    found = _group(url, "", "r").attrs["nanoarray_format"]
    if found != schema.FORMAT_VERSION:
        raise InputError(
            f"{url} has store format {found}, this version reads {schema.FORMAT_VERSION}: "
            "use a matching version of nanoarray"
        )
    check_safe(url)


def create_store(url: str) -> None:
    """Make an empty store, or accept the one that is there.

    Raises
    ------
    InputError
        If something else is there, or the place cannot be written.
    """
    if is_store(url):
        check_store(url)
        return
    check_place(url)
    try:
        zarr.open_group(
            chunks_at(url),
            mode="a",
            zarr_format=3,
            attributes={"nanoarray_format": schema.FORMAT_VERSION},
        )
    except OSError as error:
        raise InputError(f"cannot write to {url}: {error.strerror or error}") from None


def group_names(url: str) -> list[str]:
    """Names of the groups that are there, in the order of the schema."""
    root = _group(url, "", "r")
    with warnings.catch_warnings():
        # Zarr warns of its own half-written files, which a run beside this one may have just now.
        warnings.simplefilter("ignore", ZarrUserWarning)
        names = [name for name, _ in root.groups()]
    order = list(schema.GROUPS)
    return sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n))


def open_tree(place: str | os.PathLike[str]) -> xr.DataTree:
    """Open a whole store, lazily.

    Parameters
    ----------
    place
        A directory or an fsspec URL that holds a store.

    Returns
    -------
    xr.DataTree
        One child per group; arrays are dask-backed, nothing is read yet.

    Raises
    ------
    InputError
        When there is no store.
    """
    url = as_url(place)
    check_store(url)
    tree = xr.open_datatree(
        chunks_at(url), engine="zarr", consolidated=False, zarr_format=3, chunks={}
    )
    return tree.map_over_datasets(lambda ds: ds.drop_vars(_BOOKKEEPING, errors="ignore"))


def open_group(url: str, group: str, *, chunks: dict[str, int] | None = None) -> xr.Dataset:
    """Open one group. Without ``chunks``, values are read when they are indexed, without Dask."""
    if group not in _group(url, "", "r"):
        raise InputError(
            f"{url} has no group {group!r}: it has {', '.join(group_names(url)) or 'none yet'}"
        )
    ds = xr.open_dataset(
        chunks_at(url),
        group=group,
        engine="zarr",
        consolidated=False,
        zarr_format=3,
        chunks=chunks,
    )
    return ds.drop_vars(_BOOKKEEPING, errors="ignore")


def provenance(url: str, group: str) -> dict[str, Any]:
    """The provenance of a group; empty when the group is not there."""
    if group not in _group(url, "", "r"):
        return {}
    return dict(_group(url, group, "r").attrs.get("nanoarray", {}))


def set_provenance(url: str, group: str, record: Mapping[str, Any]) -> None:
    """Write the provenance of a group, with a checksum of itself."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    if content:
        content["checksum"] = prov.digest(content)
    _group(url, group, "a").attrs["nanoarray"] = content


def delete_group(url: str, group: str) -> None:
    """Delete a group and all it holds."""
    root = _group(url, "", "a")
    if group in root:
        # Half deleted it must not pass for complete.
        set_provenance(url, group, {})
        del root[group]


def delete_arrays(url: str, group: str, names: Iterable[str]) -> None:
    """Delete arrays of a group, where they are there."""
    parent = _group(url, group, "a")
    for name in names:
        if name in parent:
            del parent[name]


# --- arrays -----------------------------------------------------------------------------------


def _create_array(
    parent: zarr.Group,
    plan: ArrayPlan,
) -> zarr.Array:
    dtype: Any = str if plan.dtype == "str" else np.dtype(plan.dtype)
    chunks = tuple(max(1, c or s) for c, s in zip(plan.chunks, plan.shape, strict=True))
    return parent.create_array(
        plan.name,
        shape=plan.shape,
        dtype=dtype,
        chunks=chunks or "auto",
        fill_value=plan.fill,
        dimension_names=plan.dims,
        attributes=dict(plan.attrs),
        # The CRC-32C comes last, so that a chunk can be checked without unpacking it.
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
    )


def create_group(url: str, group: str, plan: GroupPlan) -> None:
    """Make a group with the arrays of ``plan``, all unknown, and no block done."""
    delete_group(url, group)
    parent = _group(url, group, "a")
    for array in plan.arrays:
        _create_array(parent, array)
    for name, (dims, values, attrs) in plan.constants.items():
        constant, data = constant_plan(name, dims, values, attrs)
        _create_array(parent, constant)[...] = data
    for marks in _marks(plan.block_count):
        _create_array(parent, marks)


def _marks(count: int) -> list[ArrayPlan]:
    """The arrays that say which of ``count`` blocks are done, with what in them."""
    meanings = {
        BLOCK_KEY: "key of each finished block, 0 where not done",
        BLOCK_SUM: "checksum of the chunks of each finished block, 0 where not recorded",
    }
    return [
        ArrayPlan(
            name, ("block",), (count,), "uint64", (_MARKS,), {"units": "1", "long_name": text}, 0
        )
        for name, text in meanings.items()
    ]


def put_constant(
    url: str, group: str, name: str, dims: tuple[str, ...], values: Any, attrs: Mapping[str, Any]
) -> None:
    """Write a whole array, in place where one of its kind is there."""
    parent = _group(url, group, "a")
    plan, data = constant_plan(name, dims, values, attrs)
    array = parent.get(name)
    if array is None or not _holds(array, plan):
        if array is not None:
            del parent[name]
        _create_array(parent, plan)[...] = data
        return
    if array.shape != data.shape:
        array.resize(data.shape)
    elif _same_values(array[...], data):
        return
    array[...] = data


def resize_group(url: str, group: str, plan: GroupPlan) -> None:
    """Give every array of a group the shape that ``plan`` asks for; values stay."""
    parent = _group(url, group, "a")
    for array in plan.arrays:
        if array.name in parent and not _holds(parent[array.name], array):
            del parent[array.name]
        if array.name not in parent:
            _create_array(parent, array)
        elif tuple(parent[array.name].shape) != array.shape:
            parent[array.name].resize(array.shape)
    for marks in _marks(plan.block_count):
        if marks.name not in parent:  # of a store that is older than checksums
            _create_array(parent, marks)
        parent[marks.name].resize(marks.shape)


def _holds(array: zarr.Array, plan: ArrayPlan) -> bool:
    """Whether a stored array can hold what is planned without being made anew."""
    text = array.dtype.kind in "UOT"
    same = text if plan.dtype == "str" else not text and array.dtype == np.dtype(plan.dtype)
    return same and tuple(array.metadata.dimension_names or ()) == tuple(plan.dims)


def _same_values(old: Any, new: np.ndarray) -> bool:
    values = np.asarray(old)
    if values.dtype.kind in "UOT":
        return values.tolist() == new.tolist()
    return bool(np.array_equal(values, new, equal_nan=values.dtype.kind == "f"))


def write_rows(
    url: str, group: str, rows: slice, values: Mapping[str, np.ndarray]
) -> dict[str, int]:
    """Write rows ``rows`` of the first dimension of the named arrays.

    An array may be smaller than the stored one in its inner dimensions: it is written at their
    start.

    Returns
    -------
    dict
        CRC-32C by key of the chunks that were written. A chunk of nothing but fill values is not.
    """
    place = chunks_at(url)
    parent = zarr.open_group(place, path=group, mode="r+", **_FORMAT)
    for name, data in values.items():
        index = (rows, *(slice(0, n) for n in data.shape[1:]))
        parent[name][index] = data.astype(object) if data.dtype.kind in "UOT" else data
    return place.written


def read_columns(
    url: str, group: str, dim: str, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Values of the named (by default, all) arrays of a group along ``dim`` alone; text as objects.

    Each array is read by itself, so that a group an interruption left uneven can be read.
    """
    parent = _group(url, group, "r")
    columns = {}
    arrays = parent.arrays() if names is None else ((name, parent[name]) for name in names)
    for name, array in arrays:
        if tuple(array.metadata.dimension_names or ()) == (dim,):
            values = np.asarray(array[:])
            columns[name] = values.astype(object) if values.dtype.kind in "UOT" else values
    return columns


def read_tags(url: str) -> dict[str, np.ndarray]:
    """The columns of ``images``, without the files' own metadata and where the files are."""
    parent = _group(url, "images", "r")
    names = [name for name in parent.array_keys() if name not in ("metadata", "path")]
    return read_columns(url, "images", "image", names)


def block_keys(url: str, group: str) -> np.ndarray:
    """Key of every block, uint64; 0 where the block is not done."""
    parent = _group(url, group, "r")
    if BLOCK_KEY not in parent:  # as an interrupted creation leaves it
        return np.zeros(0, np.uint64)
    return np.asarray(parent[BLOCK_KEY][:])


def block_sums(url: str, group: str) -> np.ndarray:
    """Checksum of every block's chunks, uint64; 0 where none was recorded."""
    parent = _group(url, group, "r")
    if BLOCK_SUM not in parent:  # of a store that is older than checksums
        return np.zeros_like(block_keys(url, group))
    return np.asarray(parent[BLOCK_SUM][:])


def mark_blocks(url: str, group: str, marks: Mapping[int, tuple[int, int]]) -> None:
    """Say what is in blocks, as block -> (key, checksum); a key of 0 says that it is not done.

    Only one process may do this at a time: marks share chunks.
    """
    parent = _group(url, group, "r+")
    if BLOCK_SUM not in parent:
        _create_array(parent, _marks(parent[BLOCK_KEY].shape[0])[1])
    at = np.array(list(marks))
    values = np.array(list(marks.values()), np.uint64)
    for name, column in zip((BLOCK_SUM, BLOCK_KEY), (values[:, 1], values[:, 0]), strict=True):
        parent[name].set_coordinate_selection((at,), column)


def forget_blocks(url: str, group: str) -> None:
    """Say that no block of a group is done."""
    _group(url, group, "r+")[BLOCK_KEY][:] = np.uint64(0)


def has_arrays(url: str, group: str, names: Iterable[str]) -> bool:
    """Whether the group holds all the named arrays."""
    parent = _group(url, group, "r")
    return all(name in parent for name in names)


def group_size_bytes(url: str, group: str) -> int:
    """Bytes a group takes in the store."""
    parent = _group(url, group, "r")
    return sum(array.nbytes_stored() for _, array in parent.arrays())


def check_group(url: str, group: str) -> None:
    """Check a group against the schema.

    Raises
    ------
    NanoarrayError
        Naming the first variable that differs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        ds = open_group(url, group)
    rows = [
        (str(n), tuple(map(str, v.dims)), str(v.dtype), v.attrs) for n, v in ds.variables.items()
    ]
    try:
        schema.validate(group, rows)
    except InputError as error:
        raise NanoarrayError(f"{url}: {error}") from None
