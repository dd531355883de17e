"""A two-dimensional array that is kept compressed: masks and labels of a large image.

A mask of 30,000 x 30,000 pixels takes a few megabytes instead of 900.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.zstd import Zstd

from nanoarray.fields.windows import Window, cores, inner, widened

#: Side of the squares that are compressed, where nothing else is said.
CHUNK = 1024


class PackedArray:
    """An array of zeros that is read and written in windows.

    Parameters
    ----------
    shape
        Height and width.
    dtype
        Type of the values.
    chunk
        Side of the squares that are compressed. Windows that follow them are fastest.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, *, chunk: int | None = None
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)
        self.chunk = chunk or CHUNK
        self._codec = Zstd(level=1)
        self._chunks: dict[tuple[int, int], bytes] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(map(len, self._chunks.values()))

    def cores(self) -> Iterator[Window]:
        """The windows of its chunks, row by row."""
        return cores(self.shape, self.chunk)

    def __getitem__(self, window: Window) -> npt.NDArray[Any]:
        """The values in a window."""
        out = np.zeros([s.stop - s.start for s in window], self.dtype)
        for key, here, there in self._parts(window):
            if key in self._chunks:
                out[there] = self._load(key)[here]
        return out

    def __setitem__(self, window: Window, values: npt.NDArray[Any]) -> None:
        """Replace the values in a window."""
        for key, here, there in self._parts(window):
            part = values[there]
            shape = self._chunk_shape(key)
            if part.shape != shape:
                whole = self._load(key) if key in self._chunks else np.zeros(shape, self.dtype)
                whole[here] = part
                part = whole
            if part.any():
                content = np.ascontiguousarray(part, self.dtype)
                self._chunks[key] = self._codec.encode(content)
            else:
                self._chunks.pop(key, None)

    def filled(
        self,
        function: Callable[..., npt.NDArray[Any]],
        *sources: Any,
        margin: int = 0,
    ) -> PackedArray:
        """Fill with what a function makes of windows of others of the same shape.

        The function gets a window of each source, ``margin`` wider than what it has to be right in.
        """
        for core in self.cores():
            window = widened(core, margin, self.shape)
            self[core] = function(*(source[window] for source in sources))[inner(core, window)]
        return self

    def sum(self) -> int:
        """Sum of all values."""
        return sum(int(self[core].sum(dtype=np.int64)) for core in self.cores())

    def _chunk_shape(self, key: tuple[int, int]) -> tuple[int, int]:
        height, width = (
            min(self.chunk, n - k * self.chunk) for k, n in zip(key, self.shape, strict=True)
        )
        return height, width

    def _load(self, key: tuple[int, int]) -> npt.NDArray[Any]:
        content = np.frombuffer(self._codec.decode(self._chunks[key]), self.dtype)
        return content.reshape(self._chunk_shape(key)).copy()

    def _parts(self, window: Window) -> Iterator[tuple[tuple[int, int], Window, Window]]:
        """The chunks that a window meets: key, window in the chunk, window in the window."""
        ranges = [range(s.start // self.chunk, -(-s.stop // self.chunk)) for s in window]
        for i in ranges[0]:
            for j in ranges[1]:
                here, there = [], []
                for k, s in zip((i, j), window, strict=True):
                    first = k * self.chunk
                    low, high = max(s.start, first), min(s.stop, first + self.chunk)
                    here.append(slice(low - first, high - first))
                    there.append(slice(low - s.start, high - s.start))
                yield (i, j), (here[0], here[1]), (there[0], there[1])
