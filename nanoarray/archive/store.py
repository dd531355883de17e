"""The store: one Zarr v3 group tree per collection. The only door to zarr.

A group is a stage's product. Its attribute ``nanoarray`` is the stage's provenance; its array
``block_key`` holds, per block, the key of the finished block (0: not done). A chunk's presence is
no mark of completion, because a chunk that is all fill is never written.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec
from zarr.errors import GroupNotFoundError, ZarrUserWarning

from nanoarray import schema
from nanoarray.archive.guard import check_safe
from nanoarray.errors import InputError, NanoarrayError

BLOCK_KEY = "block_key"


@dataclass(frozen=True)
class ArrayPlan:
    """Shape and meaning of one array before any work is done.

    ``chunks`` along a dimension 0 means the whole dimension.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    attrs: Mapping[str, Any]
    fill: Any
    coord: bool = False


@dataclass(frozen=True)
class GroupPlan:
    """Everything about a group that is known before its blocks are computed.

    Parameters
    ----------
    arrays
        The arrays that the blocks fill.
    dim, length, block
        The dimension that blocks run along, how long it is and how many of it a block holds.
    constants
        Arrays that are known now: coordinates, resolved parameters, a fitted model, as
        name -> (dims, values, attrs).
    resolved
        Parameters that were found from the data (such as an automatic tile size).
    """

    arrays: tuple[ArrayPlan, ...]
    dim: str
    length: int
    block: int
    constants: Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]] = field(
        default_factory=dict
    )
    resolved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        return -(-self.length // self.block) if self.length else 0

    def span(self, block: int) -> slice:
        """Rows of ``dim`` that ``block`` owns."""
        return slice(block * self.block, min(self.length, (block + 1) * self.block))


def array_plan(
    group: str, name: str, sizes: Mapping[str, int], *, block: int, dtype: str | None = None
) -> ArrayPlan:
    """Plan an array of the schema: one image per chunk where it has inner dimensions.

    Parameters
    ----------
    group, name
        Where the schema describes it.
    sizes
        Length of every dimension.
    block
        Rows per block; one-dimensional arrays get one chunk per block.
    dtype
        Needed where the schema leaves it open.
    """
    entry = schema.GROUPS[group][name]
    shape = tuple(sizes[d] for d in entry.dims)
    first = 1 if len(shape) > 1 else block
    inner = (_chunk(dim, sizes[dim]) for dim in entry.dims[1:])
    chunks = (first, *inner) if shape else ()
    return ArrayPlan(
        name,
        entry.dims,
        shape,
        dtype or entry.dtype,
        chunks,
        entry.attrs,
        entry.fill_value,
        entry.coord,
    )


def as_url(place: str | os.PathLike[str]) -> str:
    """The address of a store as the other functions take it: a path, or an fsspec URL.

    Raises
    ------
    InputError
        For a protocol that is not known, or whose driver is not installed.
    """
    url = os.fspath(place).removeprefix("file://").rstrip("/") or "/"
    if "://" in url:
        import fsspec

        try:
            fsspec.get_filesystem_class(url.split("://")[0])
        except (ImportError, ValueError) as error:
            raise InputError(f"cannot open {url}: {error}") from None
    return url


def _chunk(dim: str, size: int) -> int:
    """Length of a chunk along an inner dimension.

    Pixels are chunked by their own measure, not by the largest image: a mosaic must not make every
    small image cost as much, nor a first small image leave thousands of chunks to a large one.
    """
    return min(max(size, 1024), 2048) if dim in ("y", "x") else size


# --- the tree ---------------------------------------------------------------------------------


def is_store(url: str) -> bool:
    """Whether ``url`` holds a nanoarray store."""
    try:
        root = zarr.open_group(url, mode="r")
    except (GroupNotFoundError, FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return False
    return "nanoarray_format" in root.attrs


def check_store(url: str) -> None:
    """Raise InputError unless ``url`` is a store this version can read."""
    if not is_store(url):
        raise InputError(
            f"{url} is not a nanoarray store: make one with `nanoarray ingest SOURCE {url}`"
        )
    found = zarr.open_group(url, mode="r").attrs["nanoarray_format"]
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
        zarr.open_group(url, mode="a", attributes={"nanoarray_format": schema.FORMAT_VERSION})
    except OSError as error:
        raise InputError(f"cannot write to {url}: {error.strerror or error}") from None


def check_place(url: str) -> None:
    """Raise InputError when something that is no store stands at ``url``, or it is unwritable."""
    if "://" in url:
        return
    if os.path.exists(url):
        if not os.path.isdir(url) or os.listdir(url):
            raise InputError(f"{url} exists and is not a nanoarray store: choose another place")
        parent = url
    else:
        parent = os.path.dirname(os.path.abspath(url))
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {url}: {parent} is not a writable folder")


def group_names(url: str) -> list[str]:
    """Names of the groups that are there, in the order of the schema."""
    root = zarr.open_group(url, mode="r")
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
    tree = xr.open_datatree(url, engine="zarr", consolidated=False, chunks={})
    return tree.map_over_datasets(lambda ds: ds.drop_vars(BLOCK_KEY, errors="ignore"))


def open_group(url: str, group: str, *, chunks: dict[str, int] | None = None) -> xr.Dataset:
    """Open one group. Without ``chunks``, values are read when they are indexed, without Dask."""
    if group not in zarr.open_group(url, mode="r"):
        raise InputError(
            f"{url} has no group {group!r}: it has {', '.join(group_names(url)) or 'none yet'}"
        )
    ds = xr.open_dataset(url, group=group, engine="zarr", consolidated=False, chunks=chunks)
    return ds.drop_vars(BLOCK_KEY, errors="ignore")


def provenance(url: str, group: str) -> dict[str, Any]:
    """The provenance of a group; empty when the group is not there."""
    if group not in zarr.open_group(url, mode="r"):
        return {}
    return dict(zarr.open_group(url, path=group, mode="r").attrs.get("nanoarray", {}))


def set_provenance(url: str, group: str, record: Mapping[str, Any]) -> None:
    """Write the provenance of a group."""
    zarr.open_group(url, path=group, mode="a").attrs["nanoarray"] = dict(record)


def delete_group(url: str, group: str) -> None:
    """Delete a group and all it holds."""
    root = zarr.open_group(url, mode="a")
    if group in root:
        # Half deleted it must not pass for complete.
        set_provenance(url, group, {})
        del root[group]


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
        compressors=[ZstdCodec(level=1, checksum=True)],
    )


def create_group(url: str, group: str, plan: GroupPlan) -> None:
    """Make a group with the arrays of ``plan``, all unknown, and no block done."""
    delete_group(url, group)
    parent = zarr.open_group(url, path=group, mode="a")
    for array in plan.arrays:
        _create_array(parent, array)
    for name, (dims, values, attrs) in plan.constants.items():
        constant, data = _constant(name, dims, values, attrs)
        _create_array(parent, constant)[...] = data
    keys = ArrayPlan(
        BLOCK_KEY,
        ("block",),
        (plan.block_count,),
        "uint64",
        (1,),
        {"units": "1", "long_name": "key of each finished block, 0 where not done"},
        0,
    )
    _create_array(parent, keys)


def put_constant(
    url: str, group: str, name: str, dims: tuple[str, ...], values: Any, attrs: Mapping[str, Any]
) -> None:
    """Write a whole array, in place where one of its kind is there."""
    parent = zarr.open_group(url, path=group, mode="a")
    plan, data = _constant(name, dims, values, attrs)
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


def _constant(
    name: str, dims: tuple[str, ...], values: Any, attrs: Mapping[str, Any]
) -> tuple[ArrayPlan, np.ndarray]:
    """The plan of an array whose values are known, and the values as they are written."""
    data = np.asarray(values)
    text = data.dtype.kind in "UOT"
    data = data.astype(object) if text else data
    dtype = "str" if text else str(data.dtype)
    plan = ArrayPlan(name, dims, data.shape, dtype, data.shape, attrs, schema.fill_of(dtype))
    return plan, data


def resize_group(url: str, group: str, plan: GroupPlan) -> None:
    """Give every array of a group the shape that ``plan`` asks for; values stay."""
    parent = zarr.open_group(url, path=group, mode="a")
    for array in plan.arrays:
        if array.name in parent and not _holds(parent[array.name], array):
            del parent[array.name]
        if array.name not in parent:
            _create_array(parent, array)
        elif tuple(parent[array.name].shape) != array.shape:
            parent[array.name].resize(array.shape)
    parent[BLOCK_KEY].resize((plan.block_count,))


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


def write_rows(url: str, group: str, rows: slice, values: Mapping[str, np.ndarray]) -> None:
    """Write rows ``rows`` of the first dimension of the named arrays.

    An array may be smaller than the stored one in its inner dimensions: it is written at their
    start.
    """
    parent = zarr.open_group(url, path=group, mode="r+")
    for name, data in values.items():
        index = (rows, *(slice(0, n) for n in data.shape[1:]))
        parent[name][index] = data.astype(object) if data.dtype.kind in "UOT" else data


def read_columns(
    url: str, group: str, dim: str, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Values of the named (by default, all) arrays of a group along ``dim`` alone; text as objects.

    Each array is read by itself, so that a group an interruption left uneven can be read.
    """
    parent = zarr.open_group(url, path=group, mode="r")
    columns = {}
    arrays = parent.arrays() if names is None else ((name, parent[name]) for name in names)
    for name, array in arrays:
        if tuple(array.metadata.dimension_names or ()) == (dim,):
            values = np.asarray(array[:])
            columns[name] = values.astype(object) if values.dtype.kind in "UOT" else values
    return columns


def read_tags(url: str) -> dict[str, np.ndarray]:
    """The columns of ``images``, without the files' own metadata and where the files are."""
    parent = zarr.open_group(url, path="images", mode="r")
    names = [name for name in parent.array_keys() if name not in ("metadata", "path")]
    return read_columns(url, "images", "image", names)


def block_keys(url: str, group: str) -> np.ndarray:
    """Key of every block, uint64; 0 where the block is not done."""
    parent = zarr.open_group(url, path=group, mode="r")
    if BLOCK_KEY not in parent:  # as an interrupted creation leaves it
        return np.zeros(0, np.uint64)
    return np.asarray(parent[BLOCK_KEY][:])


def forget_blocks(url: str, group: str) -> None:
    """Say that no block of a group is done."""
    zarr.open_group(url, path=group, mode="r+")[BLOCK_KEY][:] = np.uint64(0)


def mark_block(url: str, group: str, block: int, key: int) -> None:
    """Say that ``block`` is done, with ``key``; 0 says that it is not."""
    zarr.open_group(url, path=group, mode="r+")[BLOCK_KEY][block] = np.uint64(key)


def has_arrays(url: str, group: str, names: Iterable[str]) -> bool:
    """Whether the group holds all the named arrays."""
    parent = zarr.open_group(url, path=group, mode="r")
    return all(name in parent for name in names)


def group_size_bytes(url: str, group: str) -> int:
    """Bytes a group takes in the store."""
    parent = zarr.open_group(url, path=group, mode="r")
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
