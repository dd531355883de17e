"""How a group is laid out before any work is done: its arrays, their chunks, its blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nanoarray import schema

#: Least length of the chunks of a column along `image`.
_COLUMN = 8192
#: Least and greatest side of a chunk of pixels.
_LEAST_PX, _MOST_PX = 1024, 2048
#: Maps with more tiles along a side than the first are cut into chunks of the second: the profiles
#: of a mosaic are as large as its pixels.
_LARGE_GRID, _TILES = 640, 256
#: Images share a chunk up to this size: a store of small objects is slow and costly anywhere.
_SHARED_BYTES = 2 * 2**20
#: Groups whose images are written one by one, each into chunks of its own.
_ONE_BY_ONE = frozenset({"images"})
#: Blocks grow once a group has this many, up to so many times: a scheduler hands out a few hundred
#: tasks a second, and every column has an object per block.
_MANY_BLOCKS, _MOST_GROWTH = 1024, 16
#: Results of a block, and what of them a task holds until its end.
_BLOCK_BYTES, _HELD_BYTES = 384 * 2**20, 128 * 2**20


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
    """Plan an array of the schema: as many images of a block per chunk as make a large object.

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
    inner = tuple(_chunk(dim, sizes[dim]) for dim in entry.dims[1:])
    plan = ArrayPlan(
        name,
        entry.dims,
        shape,
        dtype or entry.dtype,
        (1, *inner) if shape else (),
        entry.attrs,
        entry.fill_value,
        entry.coord,
    )
    if len(shape) > 1 and (group in _ONE_BY_ONE or entry.dims[0] != "image"):
        return plan
    return _shared(plan, block)


def with_block(plan: GroupPlan, recorded: int | None = None) -> GroupPlan:
    """The plan with blocks that suit the number of rows, or as large as recorded.

    Parameters
    ----------
    plan
        With the smallest blocks that the stage wants.
    recorded
        The size of blocks of the group that is there and goes on; a block is its unit of work and
        of resuming, so it does not change as a group grows.
    """
    block = recorded or plan.block * _growth(plan)
    if block == plan.block:
        return plan
    arrays = (
        # What has a row per chunk, or more than fit, is as it was.
        _shared(a, block)
        if a.dims[:1] == (plan.dim,) and (len(a.shape) == 1 or a.chunks[0] > 1)
        else a
        for a in plan.arrays
    )
    return replace(plan, arrays=tuple(arrays), block=block)


def _growth(plan: GroupPlan) -> int:
    """How many times larger blocks should be: a power of two."""
    filled = [a for a in plan.arrays if a.dims[:1] == (plan.dim,)]
    everything = sum(_row_bytes(a) for a in filled)
    # What has a chunk for each image is written when the image is done.
    held = sum(_row_bytes(a) for a in filled if len(a.shape) == 1 or a.chunks[0] > 1)
    most = min(
        plan.length // (plan.block * _MANY_BLOCKS),
        _BLOCK_BYTES // max(1, everything * plan.block),
        _HELD_BYTES // max(1, held * plan.block),
        _MOST_GROWTH,
    )
    return 1 << max(0, most.bit_length() - 1)


def _shared(plan: ArrayPlan, block: int) -> ArrayPlan:
    """The array with the rows per chunk that divide a block and make chunks large enough."""
    if not plan.shape:
        return plan
    rows = block
    if len(plan.shape) > 1:
        whole = all(c >= n for c, n in zip(plan.chunks[1:], plan.shape[1:], strict=True))
        size = math.prod(plan.chunks[1:]) * _item_bytes(plan.dtype)
        most = max(1, _SHARED_BYTES // max(1, size)) if whole else 1
        rows = max(n for n in range(1, block + 1) if block % n == 0 and n <= most)
    return replace(plan, chunks=(rows, *plan.chunks[1:]))


def _row_bytes(plan: ArrayPlan) -> int:
    return math.prod(plan.shape[1:]) * _item_bytes(plan.dtype)


def _item_bytes(dtype: str) -> int:
    return 16 if dtype == "str" else np.dtype(dtype).itemsize


def _chunk(dim: str, size: int) -> int:
    """Length of a chunk along an inner dimension.

    Pixels are chunked by their own measure, not by the largest image: a mosaic must not make every
    small image cost as much, nor a first small image leave thousands of chunks to a large one.
    """
    if dim in ("tile_y", "tile_x"):
        return size if size <= _LARGE_GRID else _TILES
    return min(max(size, _LEAST_PX), _MOST_PX) if dim in ("y", "x") else size


def constant_plan(
    name: str, dims: tuple[str, ...], values: Any, attrs: Mapping[str, Any]
) -> tuple[ArrayPlan, np.ndarray]:
    """The plan of an array whose values are known, and the values as they are written."""
    data = np.asarray(values)
    text = data.dtype.kind in "UOT"
    data = data.astype(object) if text else data
    dtype = "str" if text else str(data.dtype)
    # A column that grows with the collection must not grow by a chunk per addition.
    chunks = tuple(max(n, _COLUMN) for n in data.shape) if dims == ("image",) else data.shape
    plan = ArrayPlan(name, dims, data.shape, dtype, chunks, attrs, schema.fill_of(dtype))
    return plan, data
