"""The chunks of a group as they are stored: their keys, bytes and checksums."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

import zarr
from zarr.abc.store import SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from nanoarray.archive.place import chunks_at, is_sound

_SUM_BYTES = 4


class Chunks:
    """The stored chunks of one group; nothing is decoded."""

    def __init__(self, url: str, group: str) -> None:
        self.group = group
        self._store = chunks_at(url)
        opened = zarr.open_group(self._store, path=group, mode="r", zarr_format=3)
        self._arrays = dict(sorted(opened.arrays()))
        self._summed = {
            name: array.metadata.to_dict()["codecs"][-1].get("name") == "crc32c"
            for name, array in self._arrays.items()
        }

    @property
    def arrays(self) -> list[str]:
        """Names of the group's arrays."""
        return list(self._arrays)

    def keys(self, name: str, rows: slice | None = None) -> list[str]:
        """Keys that the chunks of an array have, or those that hold rows of its first dimension."""
        array = self._arrays[name]
        if not array.shape:
            return [f"{self.group}/{name}/c"]
        counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
        ranges = [range(n) for n in counts]
        if rows is not None:
            first = array.chunks[0]
            ranges[0] = range(rows.start // first, min(counts[0], -(-rows.stop // first)))
        return [
            f"{self.group}/{name}/c/" + "/".join(map(str, at)) for at in itertools.product(*ranges)
        ]

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Bytes of objects; None for those that are not there."""
        return sync(self._read(keys))

    def stored_sums(self, keys: Sequence[str]) -> list[int | None]:
        """The checksums that chunks carry; None for those that are not there."""
        found = sync(self._read(keys, _SUM_BYTES))
        return [None if content is None else stored_sum(content) for content in found]

    def metadata(self, names: Sequence[str]) -> dict[str, Any]:
        """What is stored about arrays, by name."""
        contents = self.read([f"{self.group}/{name}/zarr.json" for name in names])
        return {
            name: {} if content is None else json.loads(content)
            for name, content in zip(names, contents, strict=True)
        }

    def is_sound(self, key: str, content: bytes) -> bool:
        """Whether a chunk is what was written; True where its array has no checksums."""
        name = key.split("/")[1]
        return not self._summed[name] or is_sound(content)

    async def _read(self, keys: Sequence[str], last: int | None = None) -> list[bytes | None]:
        part = None if last is None else SuffixByteRequest(last)
        inner = self._store.unchecked
        found = await asyncio.gather(
            *(inner.get(key, default_buffer_prototype(), part) for key in keys)
        )
        return [None if content is None else content.to_bytes() for content in found]


def stored_sum(content: bytes) -> int:
    """The CRC-32C that a chunk ends in."""
    return int.from_bytes(content[-_SUM_BYTES:], "little")
