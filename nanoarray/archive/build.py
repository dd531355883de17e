"""Making and reshaping the arrays of a group, with a request for each object and few others.

zarr asks for every parent, and for what may be in the way, before it makes an array. Whoever works
on a store does so alone and has deleted what was there, so arrays are made in memory and copied.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Hashable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.api.asynchronous import open_array
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.errors import ArrayNotFoundError
from zarr.storage import MemoryStore

from nanoarray.archive.layout import ArrayPlan, GroupPlan, constant_plan
from nanoarray.archive.place import CheckedStore, chunks_at

#: Per block: the key of what is in it, 0 where it is not done, and the checksum of its chunks.
BLOCK_KEY, BLOCK_SUM = "block_key", "block_checksum"
#: Blocks whose marks share a chunk: few objects, and one small write for many marks.
_MARKS = 4096

#: name -> (dims, values, attrs)
Constants = Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]]


def build_group(url: str, group: str, plan: GroupPlan) -> None:
    """Write the arrays of ``plan`` where no group is: all unknown, no block done."""
    arrays = [*plan.arrays, *marks_plans(plan.block_count)]
    _build(url, group, arrays, plan.constants, new=True)


def marks_plans(count: int) -> list[ArrayPlan]:
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


def build_sums(url: str, group: str, block_count: int) -> None:
    """Give a group of a store that is older than checksums the place for them."""
    _build(url, group, marks_plans(block_count)[1:], {})


def put_constants(url: str, group: str, constants: Constants) -> None:
    """Write whole arrays, each in place where one of its kind is there."""
    there = _arrays(url, group, constants)
    new, unfit = {}, []
    for name, (dims, values, attrs) in constants.items():
        plan, data = constant_plan(name, dims, values, attrs)
        array = there.get(name)
        if array is None or not _holds(array, plan):
            unfit += [name] if array is not None else []
            new[name] = (dims, values, attrs)
        elif array.shape != data.shape:
            array.resize(data.shape)
            array[...] = data
        elif not same_values(array[...], data):
            array[...] = data
    _delete(url, group, unfit)
    _build(url, group, [], new)


def resize_group(url: str, group: str, plan: GroupPlan) -> None:
    """Give every array of a group the shape that ``plan`` asks for; values stay."""
    all_marks = marks_plans(plan.block_count)
    there = _arrays(url, group, [array.name for array in (*plan.arrays, *all_marks)])
    new = []
    for array in plan.arrays:
        if array.name in there and not _holds(there[array.name], array):
            _delete(url, group, [array.name])
            del there[array.name]
        if array.name not in there:
            new.append(array)
        elif tuple(there[array.name].shape) != array.shape:
            there[array.name].resize(array.shape)
    for marks in all_marks:
        if marks.name not in there:  # of a store that is older than checksums
            new.append(marks)
        elif tuple(there[marks.name].shape) != marks.shape:
            there[marks.name].resize(marks.shape)
    _build(url, group, new, {})


def _build(
    url: str, group: str, plans: Iterable[ArrayPlan], constants: Constants, *, new: bool = False
) -> None:
    """Make arrays in memory and copy them; of a new group the metadata first."""
    contents: dict[str, Buffer] = {}
    built = MemoryStore(contents)
    parent = zarr.open_group(built, path=group, mode="w", zarr_format=3)
    kinds: dict[Hashable, bytes] = {}
    for plan in plans:
        _create_array(parent, plan, contents, kinds)
    for name, (dims, values, attrs) in constants.items():
        plan, data = constant_plan(name, dims, values, attrs)
        _create_array(parent, plan, contents, kinds)
        if not same_values(np.full(data.shape, plan.fill, data.dtype), data):
            parent[name][...] = data
    sync(_copy(built, url, group, new=new))


async def _copy(built: MemoryStore, url: str, group: str, *, new: bool) -> None:
    place, first = chunks_at(url), f"{group}/zarr.json"
    keys = [key async for key in built.list_prefix(f"{group}/")]
    if new:
        await _copy_one(built, place, first)
    await asyncio.gather(*(_copy_one(built, place, key) for key in keys if key != first))


async def _copy_one(built: MemoryStore, place: CheckedStore, key: str) -> None:
    content = await built.get(key, default_buffer_prototype())
    if content is not None:
        await place.set(key, content)


def _create_array(
    parent: zarr.Group,
    plan: ArrayPlan,
    contents: MutableMapping[str, Buffer],
    kinds: MutableMapping[Hashable, bytes],
) -> None:
    """Make an array in a group whose objects are ``contents``.

    zarr takes a millisecond or two for one: arrays that differ in their attributes alone are
    copies of the first, which ``kinds`` remembers.
    """
    kind = (plan.dtype, plan.shape, plan.chunks, str(plan.fill), plan.dims)
    key = f"{parent.path}/{plan.name}/zarr.json"
    if kind in kinds:
        document = json.loads(kinds[kind]) | {"attributes": dict(plan.attrs)}
        content = json.dumps(document, indent=2).encode()
        contents[key] = default_buffer_prototype().buffer.from_bytes(content)
        return
    dtype: Any = str if plan.dtype == "str" else np.dtype(plan.dtype)
    chunks = tuple(max(1, c or s) for c, s in zip(plan.chunks, plan.shape, strict=True))
    parent.create_array(
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
    kinds[kind] = contents[key].to_bytes()


def _arrays(url: str, group: str, names: Iterable[str]) -> dict[str, zarr.Array]:
    """The named arrays of a group that are there, all opened at the same time."""
    wanted = list(names)
    found = sync(_open_all(url, group, wanted))
    return {
        name: zarr.Array(array)
        for name, array in zip(wanted, found, strict=True)
        if array is not None
    }


async def _open_all(url: str, group: str, names: Sequence[str]) -> list[Any]:
    place = chunks_at(url)

    async def opened(name: str) -> Any:
        try:
            return await open_array(store=place, path=f"{group}/{name}", mode="r+", zarr_format=3)
        except (ArrayNotFoundError, FileNotFoundError):
            return None

    return await asyncio.gather(*map(opened, names))


def _delete(url: str, group: str, names: Iterable[str]) -> None:
    for name in names:
        del zarr.open_group(chunks_at(url), path=group, mode="r+", zarr_format=3)[name]


def _holds(array: zarr.Array, plan: ArrayPlan) -> bool:
    """Whether a stored array can hold what is planned without being made anew."""
    text = array.dtype.kind in "UOT"
    same = text if plan.dtype == "str" else not text and array.dtype == np.dtype(plan.dtype)
    return same and tuple(array.metadata.dimension_names or ()) == tuple(plan.dims)


def same_values(old: Any, new: np.ndarray) -> bool:
    """Whether two arrays hold the same; NaN equals NaN."""
    values = np.asarray(old)
    if values.dtype.kind in "UOT":
        return values.tolist() == new.tolist()
    return bool(np.array_equal(values, new, equal_nan=values.dtype.kind == "f"))
