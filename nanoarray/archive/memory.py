"""What a process has read of a store that does not change meanwhile, kept for the next reader.

On an object store every read is a request. During one run of a stage its input groups do not
change, and neither do the shapes of the group that it writes: every image of a block, and every
block of a worker, would ask for the same metadata and for the same chunks of columns.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

#: Bytes that a memory holds, and the largest object that it keeps.
_MOST_BYTES, _LARGEST_BYTES = 32 * 2**20, 4 * 2**20
#: What an entry costs besides its content.
_ENTRY_BYTES = 200


class Memory:
    """Objects of a store by key, the latest used up to a number of bytes; None: it is not there.

    Parameters
    ----------
    changing
        Group whose chunks are being written, and are not kept.
    metadata_only
        Keep no chunks.
    """

    def __init__(self, changing: str = "", *, metadata_only: bool = False) -> None:
        self._changing = f"{changing}/" if changing else ""
        self._metadata_only = metadata_only
        self._lock = threading.Lock()
        self._found: OrderedDict[str, bytes | None] = OrderedDict()
        self._size = 0

    def __reduce__(self) -> tuple[Callable[[str, bool], Memory], tuple[str, bool]]:
        """Another process gets a memory of its own, and empty."""
        return _empty, (self._changing.removesuffix("/"), self._metadata_only)

    def keeps(self, key: str) -> bool:
        """Whether an object of this key may be kept."""
        if key.endswith("zarr.json"):
            return True
        return not self._metadata_only and not (self._changing and key.startswith(self._changing))

    def get(self, key: str) -> tuple[bool, bytes | None]:
        """Whether an object is known, and what it holds."""
        with self._lock:
            if key not in self._found:
                return False, None
            self._found.move_to_end(key)
            return True, self._found[key]

    def put(self, key: str, content: bytes | None) -> None:
        """Keep an object."""
        if content is not None and len(content) > _LARGEST_BYTES:
            return
        with self._lock:
            self._drop(key)
            self._found[key] = content
            self._size += _size(content)
            while self._size > _MOST_BYTES:
                self._drop(next(iter(self._found)))

    def forget(self, key: str) -> None:
        """Know nothing of an object, which changes."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: str) -> None:
        if key in self._found:
            self._size -= _size(self._found.pop(key))


def _empty(changing: str, metadata_only: bool) -> Memory:
    return Memory(changing, metadata_only=metadata_only)


def _size(content: bytes | None) -> int:
    return _ENTRY_BYTES + len(content or b"")


@lru_cache(maxsize=2)
def memory_of_run(url: str, group: str, this_run: str) -> Memory:
    """What this process remembers of a store while a run makes one of its groups."""
    del url, this_run
    return Memory(group)
