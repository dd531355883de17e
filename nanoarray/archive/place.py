"""Where a store lies, and a zarr store over it that notices damaged chunks and links.

Every chunk ends in its CRC-32C. zarr checks it too, but says neither which chunk nor which store.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any, Self

import google_crc32c
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from nanoarray.archive.guard import DRIVER, RUNS, check_inflated, check_way, files_at
from nanoarray.archive.memory import Memory
from nanoarray.errors import DamagedError, InputError

_SUM_BYTES = 4
#: What drivers are told besides, by protocol. Of S3: reads need not begin with asking for the size.
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 1}}


def as_url(place: str | os.PathLike[str]) -> str:
    """The address of a store as the other functions take it: an absolute path, or an fsspec URL.

    Workers of a cluster have working directories of their own: there a relative path is another.

    Raises
    ------
    InputError
        For a protocol that is not known, or whose driver is not installed.
    """
    url = os.fspath(place).removeprefix("file://").rstrip("/") or "/"
    if "://" in url:
        import fsspec

        try:
            fsspec.get_filesystem_class(url.split("://")[0])
        except (ImportError, ValueError) as error:
            raise InputError(f"cannot open {url}: {error}") from None
        return url
    return os.path.abspath(url)


def check_place(url: str) -> None:
    """Raise InputError when something that is no store stands at ``url``, or it is unwritable."""
    if "://" in url:
        return
    if os.path.exists(url):
        if not os.path.isdir(url) or set(os.listdir(url)) - {RUNS}:
            raise InputError(f"{url} exists and is not a nanoarray store: choose another place")
        parent = url
    else:
        parent = os.path.dirname(os.path.abspath(url))
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {url}: {parent} is not a writable folder")


def chunks_at(url: str, memory: Memory | None = None) -> CheckedStore:
    """The zarr store at an address; what is in ``memory`` is not read again."""
    if "://" not in url:
        return CheckedStore(PlainStore(url), url, memory)
    options = {**DRIVER, **_OPTIONS.get(url.split("://")[0], {})}
    return CheckedStore(FsspecStore.from_url(url, storage_options=options), url, memory)


def document_at(url: str, key: str) -> dict[str, Any] | None:
    """A JSON object of a store, such as the metadata of a group; None where it is not there."""
    content = sync(chunks_at(url).get(key, default_buffer_prototype()))
    if content is None:
        return None
    found = json.loads(content.to_bytes())
    return found if isinstance(found, dict) else None


def size_bytes(url: str, group: str) -> int:
    """Bytes that the objects of a group take; on an object store by listing them."""
    if "://" not in url:
        return sum(
            os.lstat(os.path.join(folder, name)).st_size
            for folder, _, names in os.walk(os.path.join(url, group))
            for name in names
        )
    fs, root = files_at(url)
    return int(fs.du(f"{root}/{group}"))


class PlainStore(LocalStore):  # type: ignore[misc]  # zarr is not followed
    """A local store that reads and writes nothing through links, pipes or devices."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As zarr's; without a thread of its own for metadata, which is read sooner than that."""
        check_way(str(self.root), key)
        if byte_range is None and key.endswith("zarr.json"):
            try:
                content = (self.root / key).read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None
            return (prototype or default_buffer_prototype()).buffer.from_bytes(content)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """As zarr's."""
        check_way(str(self.root), key)
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """As zarr's."""
        check_way(str(self.root), key)
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        """As zarr's."""
        check_way(str(self.root), key)
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """As zarr's."""
        check_way(str(self.root), prefix)
        await super().delete_dir(prefix)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """As zarr's."""
        check_way(str(self.root), prefix)
        async for name in super().list_dir(prefix):
            yield name


class CheckedStore(WrapperStore[Store]):  # type: ignore[misc]  # zarr is not followed
    """A zarr store that names a damaged chunk and remembers the checksums of what it wrote.

    Attributes
    ----------
    address
        The address of the store, for people.
    written
        CRC-32C by key of the chunks that were written through this store.
    """

    def __init__(self, store: Store, address: str, memory: Memory | None = None) -> None:
        super().__init__(store)
        self.address = address
        self._memory = memory
        self.written: dict[str, int] = {}
        self._without_sums: set[str] = set()

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.address, self._memory)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """As zarr's; raises DamagedError for a chunk that is not what was written."""
        if self._memory is None or byte_range is not None or not self._memory.keeps(key):
            return await self._get_checked(key, prototype, byte_range)
        known, content = self._memory.get(key)
        if known:
            return None if content is None else prototype.buffer.from_bytes(content)
        found = await self._get_checked(key, prototype)
        self._memory.put(key, None if found is None else found.to_bytes())
        return found

    async def _get_checked(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await self._store.get(key, prototype, byte_range)
        if found is not None and byte_range is None and is_chunk(key):
            content = found.to_bytes()
            if not is_sound(content) and await self._has_sums(array_of(key)):
                raise DamagedError(
                    f"chunk {key} of {self.address} is damaged: what it holds is not what was "
                    f"written. `nanoarray verify {self.address} --forget` and running the same "
                    "commands again makes it anew"
                )
            check_inflated(self.address, key, content)
        return found

    async def set(self, key: str, value: Buffer) -> None:
        """As zarr's; remembers the checksum of a chunk."""
        if self._memory is not None:
            self._memory.forget(key)
        await self._store.set(key, value)
        if is_chunk(key):
            self.written[key] = int.from_bytes(value.to_bytes()[-_SUM_BYTES:], "little")

    async def delete(self, key: str) -> None:
        """As zarr's; a chunk of nothing but fill values is deleted rather than written."""
        if self._memory is not None:
            self._memory.forget(key)
        await self._store.delete(key)
        self.written.pop(key, None)

    async def getsize(self, key: str) -> int:
        """As zarr's; without reading."""
        return int(await self._store.getsize(key))

    async def getsize_prefix(self, prefix: str) -> int:
        """As zarr's; without reading."""
        return int(await self._store.getsize_prefix(prefix))

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """As zarr's, without the folder where runs say that they work."""
        async for name in self._store.list_dir(prefix):
            if name != RUNS:
                yield name

    @property
    def unchecked(self) -> Store:
        """The store beneath, which gives damaged chunks as they are."""
        return self._store

    async def _has_sums(self, array: str) -> bool:
        """Whether an array's chunks end in checksums: those of older stores do not."""
        if array in self._without_sums:
            return False
        content = await self._store.get(f"{array}/zarr.json", default_buffer_prototype())
        codecs: list[dict[str, Any]] = []
        if content is not None:
            codecs = json.loads(content.to_bytes()).get("codecs", [])
        if codecs and codecs[-1].get("name") == "crc32c":
            return True
        self._without_sums.add(array)
        return False


def is_chunk(key: str) -> bool:
    """Whether the key of an object is that of a chunk; others hold metadata."""
    return "/c/" in key or key.endswith("/c")


def array_of(key: str) -> str:
    """The path of the array that a chunk belongs to."""
    return key.removesuffix("/c").split("/c/")[0]


def is_sound(content: bytes) -> bool:
    """Whether a chunk ends in its CRC-32C."""
    stored = int.from_bytes(content[-_SUM_BYTES:], "little")
    return len(content) > _SUM_BYTES and google_crc32c.value(content[:-_SUM_BYTES]) == stored
