"""The store: one Zarr v3 group tree per collection. With `place`, the only door to zarr.

A group is a stage's product. Its attribute ``nanoarray`` is the stage's provenance; its array
``block_key`` holds, per block, the key of the finished block (0: not done). A chunk's presence is
no mark of completion, because a chunk that is all fill is never written.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.errors import ArrayNotFoundError, GroupNotFoundError, ZarrUserWarning

from nanoarray import schema
from nanoarray.archive import build
from nanoarray.archive import provenance as prov
from nanoarray.archive.build import BLOCK_KEY as BLOCK_KEY
from nanoarray.archive.build import BLOCK_SUM as BLOCK_SUM
from nanoarray.archive.build import put_constants as put_constants
from nanoarray.archive.build import resize_group as resize_group
from nanoarray.archive.build import same_values as same_values
from nanoarray.archive.guard import check_safe
from nanoarray.archive.layout import ArrayPlan as ArrayPlan
from nanoarray.archive.layout import GroupPlan as GroupPlan
from nanoarray.archive.layout import array_plan as array_plan
from nanoarray.archive.memory import Memory
from nanoarray.archive.place import as_url as as_url
from nanoarray.archive.place import check_place as check_place
from nanoarray.archive.place import chunks_at, document_at, size_bytes
from nanoarray.errors import InputError, NanoarrayError

_BOOKKEEPING = [BLOCK_KEY, BLOCK_SUM]
#: Rows of a table that are read at once where all are gone through.
_ROWS = 1_000_000
#: Said, so that zarr does not ask for the files of every format: on an object store, of eight.
_FORMAT: dict[str, Any] = {"zarr_format": 3, "use_consolidated": False}


def _group(url: str, group: str, mode: str) -> zarr.Group:
    return zarr.open_group(chunks_at(url), path=group, mode=mode, **_FORMAT)


def _array(url: str, group: str, name: str) -> Any:
    """An array of a group; None where it is not there."""
    try:
        return zarr.open_array(chunks_at(url), path=f"{group}/{name}", mode="r+", zarr_format=3)
    except (ArrayNotFoundError, FileNotFoundError):
        return None


def _attributes(url: str, group: str) -> dict[str, Any] | None:
    """The attributes of a group; None where it is not there."""
    document = document_at(url, f"{group}/zarr.json".lstrip("/"))
    return None if document is None else dict(document.get("attributes") or {})


# --- the tree ---------------------------------------------------------------------------------


def is_store(url: str) -> bool:
    """Whether ``url`` holds a nanoarray store."""
    return _format_of(url) is not None


def _format_of(url: str) -> Any:
    """The store format at a place; None where there is no store."""
    try:
        return _group(url, "", "r").attrs.get("nanoarray_format")
    except (GroupNotFoundError, FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None


def check_store(url: str) -> None:
    """Raise InputError unless ``url`` is a store this version can read."""
    found = _format_of(url)
    if found is None:
        raise InputError(
            f"{url} is not a nanoarray store: make one with `nanoarray ingest SOURCE {url}`"
        )
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
    memory = Memory(metadata_only=True)
    tree = xr.open_datatree(
        chunks_at(url, memory), engine="zarr", consolidated=False, zarr_format=3, chunks={}
    )
    return tree.map_over_datasets(lambda ds: ds.drop_vars(_BOOKKEEPING, errors="ignore"))


def open_group(
    url: str,
    group: str,
    *,
    chunks: dict[str, int] | None = None,
    memory: Memory | None = None,
) -> xr.Dataset:
    """Open one group. Without ``chunks``, values are read when they are indexed, without Dask.

    What is in ``memory`` is not read again.
    """
    if _attributes(url, group) is None:
        raise InputError(
            f"{url} has no group {group!r}: it has {', '.join(group_names(url)) or 'none yet'}"
        )
    ds = xr.open_dataset(
        chunks_at(url, memory or Memory(metadata_only=True)),
        group=group,
        engine="zarr",
        consolidated=False,
        zarr_format=3,
        chunks=chunks,
    )
    return ds.drop_vars(_BOOKKEEPING, errors="ignore")


def provenance(url: str, group: str) -> dict[str, Any]:
    """The provenance of a group; empty when the group is not there."""
    return dict((_attributes(url, group) or {}).get("nanoarray", {}))


def set_provenance(url: str, group: str, record: Mapping[str, Any]) -> None:
    """Write the provenance of a group, with a checksum of itself."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    if content:
        content["checksum"] = prov.digest(content)
    _group(url, group, "r+").attrs["nanoarray"] = content


def delete_group(url: str, group: str) -> None:
    """Delete a group and all it holds."""
    if _attributes(url, group) is not None:
        # Half deleted it must not pass for complete.
        set_provenance(url, group, {})
        del _group(url, "", "r+")[group]


def delete_arrays(url: str, group: str, names: Iterable[str]) -> None:
    """Delete arrays of a group, where they are there."""
    parent = _group(url, group, "a")
    for name in names:
        if name in parent:
            del parent[name]


# --- arrays -----------------------------------------------------------------------------------


def create_group(url: str, group: str, plan: GroupPlan) -> None:
    """Make a group with the arrays of ``plan``, all unknown, and no block done."""
    delete_group(url, group)
    build.build_group(url, group, plan)


def put_constant(
    url: str, group: str, name: str, dims: tuple[str, ...], values: Any, attrs: Mapping[str, Any]
) -> None:
    """Write a whole array, in place where one of its kind is there."""
    put_constants(url, group, {name: (dims, values, attrs)})


def write_rows(
    url: str,
    group: str,
    rows: slice,
    values: Mapping[str, np.ndarray],
    *,
    memory: Memory | None = None,
) -> dict[str, int]:
    """Write rows ``rows`` of the first dimension of the named arrays.

    An array may be smaller than the stored one in its inner dimensions: it is written at their
    start.

    Returns
    -------
    dict
        CRC-32C by key of the chunks that were written. A chunk of nothing but fill values is not.
    """
    place = chunks_at(url, memory)
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


def problem_rows(url: str, group: str) -> Iterator[tuple[int, str]]:
    """Rows of a group whose ``problem`` says why they have no result; a million read at a time."""
    problem = _group(url, group, "r")["problem"]
    for start in range(0, problem.shape[0], _ROWS):
        reasons = np.asarray(problem[start : start + _ROWS])
        for i in np.flatnonzero(reasons != "").tolist():
            yield start + i, str(reasons[i])


def read_rows(url: str, group: str, name: str, rows: Sequence[int]) -> np.ndarray:
    """Some rows of a column."""
    return np.asarray(_group(url, group, "r")[name].oindex[np.asarray(rows, np.intp)])


def read_tags(url: str) -> dict[str, np.ndarray]:
    """The columns of ``images``, without the files' own metadata and where the files are."""
    parent = _group(url, "images", "r")
    names = [name for name in parent.array_keys() if name not in ("metadata", "path")]
    return read_columns(url, "images", "image", names)


def block_keys(url: str, group: str) -> np.ndarray:
    """Key of every block, uint64; 0 where the block is not done."""
    array = _array(url, group, BLOCK_KEY)
    # An interrupted creation may leave none.
    return np.zeros(0, np.uint64) if array is None else np.asarray(array[:])


def block_sums(url: str, group: str) -> np.ndarray:
    """Checksum of every block's chunks, uint64; 0 where none was recorded."""
    array = _array(url, group, BLOCK_SUM)
    if array is None:  # of a store that is older than checksums
        return np.zeros_like(block_keys(url, group))
    return np.asarray(array[:])


def mark_blocks(url: str, group: str, marks: Mapping[int, tuple[int, int]]) -> None:
    """Say what is in blocks, as block -> (key, checksum); a key of 0 says that it is not done.

    Only one process may do this at a time: marks share chunks.
    """
    at = np.array(list(marks))
    values = np.array(list(marks.values()), np.uint64)
    keys, sums = _array(url, group, BLOCK_KEY), _array(url, group, BLOCK_SUM)
    if keys is None:
        raise NanoarrayError(f"{url}: {group!r} has no {BLOCK_KEY}: run its stage again")
    if sums is None:
        build.build_sums(url, group, keys.size)
        sums = _array(url, group, BLOCK_SUM)
    for array, column in ((sums, values[:, 1]), (keys, values[:, 0])):
        array.set_coordinate_selection((at,), column)


def forget_blocks(url: str, group: str) -> None:
    """Say that no block of a group is done."""
    array = _array(url, group, BLOCK_KEY)
    if array is not None:
        array[:] = np.uint64(0)


def has_arrays(url: str, group: str, names: Iterable[str]) -> bool:
    """Whether the group holds all the named arrays."""
    parent = _group(url, group, "r")
    return all(name in parent for name in names)


def group_size_bytes(url: str, group: str) -> int:
    """Bytes a group takes in the store."""
    return size_bytes(url, group)


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
