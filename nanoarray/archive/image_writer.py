"""Variables of a block's images, written as they come: an image may give its own in parts.

What shares chunks with other images is collected and written with the block.
An image that is small gives all of its variables at once. One that is larger than a task may hold
gives them in parts, each of which is written before the next one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive import image_chunks
from nanoarray.archive.memory import Memory
from nanoarray.errors import NanoarrayError


@dataclass(frozen=True)
class Part:
    """Values of one image: of variables with inner dimensions those that begin at ``start``.

    Parts that begin and end with chunks are written fastest; each is given once.
    """

    values: Mapping[str, Any]
    start: tuple[int, ...] = (0, 0)


Result = Mapping[str, Any] | Iterator[Part]


def parts_of(result: Result) -> Iterator[Part]:
    """What a kernel gave for one image, part by part."""
    if isinstance(result, Mapping):
        yield Part(result)
    else:
        yield from result


@dataclass
class ImageWriter:
    """Writes the variables of the images ``rows`` of a group.

    Parameters
    ----------
    url, group, own
        The group, and as it is opened.
    rows
        The images.
    check
        Called before an image's first variable is written; raises where it must not be.
    memory
        Metadata that need not be read again.
    """

    url: str
    group: str
    own: xr.Dataset
    rows: slice
    check: Callable[[], None]
    memory: Memory | None = None
    columns: dict[str, np.ndarray] = field(init=False)
    written: dict[str, int] = field(default_factory=dict)
    _inner: dict[str, Any] = field(init=False)
    _single: set[str] = field(default_factory=set)
    _closed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        count = self.rows.stop - self.rows.start
        self.columns, self._inner = {}, {}
        for key, variable in self.own.data_vars.items():
            name = str(key)
            if variable.dims[:1] != ("image",) or name == "problem":
                continue
            entry = schema.known(self.group, name)
            fill = entry.fill_value if entry else schema.fill_of(str(variable.dtype))
            chunks = variable.encoding.get("chunks", ())
            if variable.ndim > 1 and chunks[:1] == (1,):
                self._inner[name] = fill
                if chunks and all(
                    c >= n for c, n in zip(chunks[1:], variable.shape[1:], strict=True)
                ):
                    self._single.add(name)
            else:
                self.columns[name] = np.full((count, *variable.shape[1:]), fill, variable.dtype)

    def put(self, i: int, result: Result) -> None:
        """Write what a kernel gave for image ``i``."""
        done: dict[str, int] = {}
        put: set[str] = set()
        first = True
        for part in parts_of(result):
            if i in self._closed:
                raise NanoarrayError(f"image {i} was given up: nothing more is written of it")
            if first:
                self.check()
            first = False
            arrays = {n: np.asarray(v) for n, v in part.values.items() if n in self._inner}
            if arrays:
                done |= image_chunks.write_part(
                    self.url,
                    self.group,
                    i,
                    part.start,
                    arrays,
                    fills=self._inner,
                    memory=self.memory,
                )
                put |= arrays.keys()
            for name in part.values.keys() - arrays.keys():
                data = np.asarray(part.values[name])
                begin = (*part.start, *(0,) * data.ndim)[: data.ndim]
                inner = (slice(b, b + n) for b, n in zip(begin, data.shape, strict=True))
                self.columns[name][(i - self.rows.start, *inner)] = data
        self._keep(i, done, put)

    def leave(self, i: int) -> None:
        """Leave image ``i`` unknown, also where parts of it have been written."""
        self._closed.add(i)
        for name, column in self.columns.items():
            entry = schema.known(self.group, name)
            fill = entry.fill_value if entry else schema.fill_of(str(column.dtype))
            column[i - self.rows.start] = fill
        self.check()
        self._keep(i, {}, set())

    def _keep(self, i: int, done: Mapping[str, int], replaced: set[str]) -> None:
        """Remove what else is stored of image ``i``: of another run, or of what was given up.

        Of an array with one chunk per image nothing else can be there once it was ``replaced``.
        """
        names = [name for name in self._inner if name not in replaced & self._single]
        if not names:
            self.written |= done
            return
        image_chunks.keep_only(self.url, self.group, i, names, done, memory=self.memory)
        self.written |= done
