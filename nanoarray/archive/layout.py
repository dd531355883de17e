"""How a group is laid out before any work is done: its arrays, their chunks, its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanoarray import schema

#: Least length of the chunks of a column along `image`.
_COLUMN = 8192
#: Maps with more tiles along a side than the first are cut into chunks of the second: the profiles
#: of a mosaic are as large as its pixels.
_LARGE_GRID, _TILES = 640, 256


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


def _chunk(dim: str, size: int) -> int:
    """Length of a chunk along an inner dimension.

    Pixels are chunked by their own measure, not by the largest image: a mosaic must not make every
    small image cost as much, nor a first small image leave thousands of chunks to a large one.
    """
    if dim in ("tile_y", "tile_x"):
        return size if size <= _LARGE_GRID else _TILES
    return min(max(size, 1024), 2048) if dim in ("y", "x") else size


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
