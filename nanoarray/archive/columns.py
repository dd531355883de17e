"""Columns of tables that are read when and where they are used, of one store or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from nanoarray import schema

Key = tuple[Any, ...]


class Rows(BackendArray):
    """Rows of several lazy variables, one after the other.

    Parameters
    ----------
    parts
        Variables along the same dimensions; None stands for rows of unknown values.
    lengths
        Rows of each part.
    dtype
        Of the result; ``object`` for text.
    convert
        Per part, applied to whatever is read of it (a change of units, of positions).
    """

    def __init__(
        self,
        parts: Sequence[xr.Variable | None],
        lengths: Sequence[int],
        *,
        dtype: np.dtype,
        convert: Sequence[Callable[[np.ndarray], np.ndarray] | None] | None = None,
    ) -> None:
        self.parts = tuple(parts)
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.convert = tuple(convert or [None] * len(self.parts))
        self.shape = (int(self.starts[-1]),)
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read what an indexer of xarray asks for."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: Key) -> np.ndarray:
        (rows,) = key
        if isinstance(rows, slice):  # xarray reads forward and turns round what it has read
            return self._read_slice(*rows.indices(self.shape[0]))
        one, wanted = not isinstance(rows, np.ndarray), np.atleast_1d(rows)
        result = np.empty(len(wanted), self.dtype)
        part_of = np.searchsorted(self.starts, wanted, side="right") - 1
        for p in np.unique(part_of):
            here = part_of == p
            result[here] = self._part(int(p), wanted[here] - self.starts[p], int(here.sum()))
        return result[0] if one else result

    def _read_slice(self, start: int, stop: int, step: int) -> np.ndarray:
        pieces = []
        for p, (first, after) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            # The first row at or after `first` that the step meets.
            begin = start if start >= first else start + -(-(first - start) // step) * step
            end = min(stop, after)
            if begin < end:
                own = slice(int(begin - first), int(end - first), step)
                pieces.append(self._part(p, own, len(range(own.start, own.stop, step))))
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)

    def _part(self, p: int, rows: Any, count: int) -> np.ndarray:
        variable, convert = self.parts[p], self.convert[p]
        if variable is None:
            kind = "str" if self.dtype == object else str(self.dtype)
            return np.full(count, schema.fill_of(kind), self.dtype)
        values = np.asarray(variable[rows].values)
        if convert is not None:
            values = convert(values)
        return values.astype(self.dtype)


class Joined(BackendArray):
    """The value of a small table that each row points at.

    Parameters
    ----------
    index
        Positions in ``values``, along rows; -1 gives the unknown.
    values
        A column of the table that is pointed at; read whole when a row is.
    """

    def __init__(self, index: xr.Variable, values: xr.Variable) -> None:
        self.index = index
        self.values = values
        self.shape = index.shape
        self.dtype = np.dtype(object) if values.dtype.kind in "OUT" else values.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read what an indexer of xarray asks for."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: Key) -> np.ndarray:
        index = np.asarray(self.index[key].values)
        values = np.asarray(self.values.values).astype(self.dtype)
        kind = "str" if self.dtype == object else str(self.dtype)
        # Position -1 is the last one.
        return np.append(values, np.array([schema.fill_of(kind)], self.dtype))[index]


def lazy(
    array: BackendArray, dims: tuple[str, ...], attrs: dict[str, Any] | None = None
) -> xr.Variable:
    """A variable that reads from ``array`` when it is used, and keeps what it has read."""
    # As xarray wraps what it opens; its types do not say that these nest.
    wrappers: tuple[Any, ...] = (
        indexing.LazilyIndexedArray,
        indexing.CopyOnWriteArray,
        indexing.MemoryCachedArray,
    )
    data: Any = array
    for wrap in wrappers:
        data = wrap(data)
    return xr.Variable(dims, data, attrs, fastpath=True)


def dtype_of(variables: Sequence[xr.Variable]) -> np.dtype:
    """The dtype that holds the values of all, text as objects."""
    if any(v.dtype.kind in "OUT" for v in variables):
        return np.dtype(object)
    return np.result_type(*(v.dtype for v in variables))
