"""Marks of finished blocks, written together by the process that drives a run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from nanoarray.archive import provenance as prov
from nanoarray.archive import store

#: Marks wait at most this long for others [s]: what a killed run may have to do again.
_WAIT_S = 0.5


def chunks_checksum(written: Mapping[str, int]) -> int:
    """One number for the checksums of a block's chunks, as `store.write_rows` gives them."""
    return prov.block_key(sorted(written.items()))


class BlockMarks:
    """Marks of one group's blocks; to be used in a ``with`` statement."""

    def __init__(self, url: str, group: str) -> None:
        self._url, self._group = url, group
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[int, int]] = {}
        self._written = -float("inf")
        self._timer: threading.Timer | None = None

    def clear(self, blocks: Iterable[int]) -> None:
        """Say that blocks are not done, before anything in them changes."""
        marks = dict.fromkeys(blocks, (0, 0))
        if marks:
            store.mark_blocks(self._url, self._group, marks)

    def done(self, block: int, key: int, checksum: int) -> None:
        """Say what is in a block whose data have been written; soon, if not at once."""
        with self._lock:
            self._waiting[block] = (key, checksum)
            if time.monotonic() - self._written >= _WAIT_S:
                self._write()
            elif self._timer is None:
                self._timer = threading.Timer(_WAIT_S, self._in_time)
                self._timer.daemon = True
                self._timer.start()

    def __enter__(self) -> BlockMarks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            # A disk that is full has been reported: these blocks are done again.
            with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
                self._write()

    def _in_time(self) -> None:
        with self._lock:
            self._timer = None
            # The process that drives meets the same trouble, and reports it.
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        if self._waiting:
            store.mark_blocks(self._url, self._group, self._waiting)
            self._waiting = {}
        self._written = time.monotonic()
