"""Whether a store holds what was written there, and how to have what is damaged made again.

Every chunk ends in its CRC-32C, so that a changed one is noticed when it is read. What no reader
can notice, a chunk that vanished or was replaced by another sound one, shows in the checksum of its
block; the rest of a group (its metadata, coordinates, columns) in its seal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from nanoarray.archive import chunks, store
from nanoarray.archive import provenance as prov
from nanoarray.archive.marks import chunks_checksum
from nanoarray.errors import InputError

#: Chunks that are fetched at once.
_AT_ONCE = 64


@dataclass(frozen=True)
class Damage:
    """Something that is not what was written.

    ``block`` is the block that it belongs to, -1 for what belongs to the whole group; ``where`` is
    the key of a chunk or the name of what differs.
    """

    group: str
    block: int
    where: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """What a check of a store found.

    ``chunks`` were read; ``unsealed`` groups were made before checksums were recorded (or are not
    finished), so that only what is unreadable would have been noticed in them.
    """

    store: str
    chunks: int
    bytes: int
    damage: tuple[Damage, ...]
    unsealed: tuple[str, ...]


def verify(
    store_url: str | os.PathLike[str], *, groups: Iterable[str] | None = None
) -> Verification:
    """Read every chunk of a store and compare it with what was written.

    Parameters
    ----------
    store_url
        A store.
    groups
        Only these.

    Raises
    ------
    InputError
        When there is no such store or group.
    """
    url = store.as_url(store_url)
    store.check_store(url)
    names = store.group_names(url)
    for group in groups or ():
        if group not in names:
            raise InputError(f"{url} has no group {group!r}: it has {', '.join(names)}")
    damage: list[Damage] = []
    unsealed = []
    count = size = 0
    for group in groups or names:
        found, n, bytes_read, sealed = _verify_group(url, group)
        damage += found
        count += n
        size += bytes_read
        if not sealed:
            unsealed.append(group)
    return Verification(url, count, size, tuple(damage), tuple(unsealed))


def forget(store_url: str | os.PathLike[str], damage: Sequence[Damage]) -> None:
    """Say that what is damaged is not there, so that the same commands make it again.

    Blocks are done again by `run`, or by `ingest` from the same files. A group of which more than
    blocks is damaged is made anew, but for ``images``: there the columns are filled again from the
    files and from the tags that `ingest` is given, and pixels that are sound stay.
    """
    url = store.as_url(store_url)
    for group in dict.fromkeys(d.group for d in damage):
        mine = [d for d in damage if d.group == group]
        record = store.provenance(url, group)
        if all(d.block >= 0 for d in mine):
            blocks = sorted({d.block for d in mine})
            store.mark_blocks(url, group, dict.fromkeys(blocks, (0, 0)))
            store.set_provenance(url, group, {**record, "complete": False})
        elif group == "images":
            arrays = {d.where.split("/")[1] for d in mine if d.block < 0 and "/" in d.where}
            if arrays & {store.BLOCK_KEY, store.BLOCK_SUM}:
                arrays |= {store.BLOCK_KEY, store.BLOCK_SUM}
            store.set_provenance(url, group, {**record, "complete": False, "rows_complete": 0})
            store.delete_arrays(url, group, arrays)
            marks = {d.block: (0, 0) for d in mine if d.block >= 0}
            if marks and store.BLOCK_KEY not in arrays:
                store.mark_blocks(url, group, marks)
        else:
            store.delete_group(url, group)


def seal(url: str, group: str, block_arrays: Sequence[str]) -> str:
    """Digest of what a finished group holds besides its blocks: metadata, and arrays written whole.

    Parameters
    ----------
    url, group
        The group.
    block_arrays
        Its arrays that blocks fill.
    """
    place = chunks.Chunks(url, group)
    names = [name for name in place.arrays if name not in (store.BLOCK_KEY, store.BLOCK_SUM)]
    keys = [key for name in names if name not in block_arrays for key in place.keys(name)]
    sums = dict(zip(keys, place.stored_sums(keys), strict=True))
    return prov.digest(sums, place.metadata(names))


def _verify_group(url: str, group: str) -> tuple[list[Damage], int, int, bool]:
    """What is damaged, chunks and bytes read, and whether the group has a seal."""
    record = store.provenance(url, group)
    found: list[Damage] = []
    content = {name: value for name, value in record.items() if name != "checksum"}
    if "checksum" in record and record["checksum"] != prov.digest(content):
        found.append(Damage(group, -1, "provenance", "is not what was written"))
    place = chunks.Chunks(url, group)
    block_arrays = [a for a in record.get("block_arrays", ()) if a in place.arrays]
    sealed = bool(record.get("complete")) and "seal" in record
    count = size = 0
    whole = [key for name in place.arrays if name not in block_arrays for key in place.keys(name)]
    for key, content_bytes in _read(place, whole):
        count, size = count + 1, size + len(content_bytes)
        if not place.is_sound(key, content_bytes):
            found.append(Damage(group, -1, key, "its checksum differs"))
    if sealed and not found and seal(url, group, block_arrays) != record["seal"]:
        found.append(Damage(group, -1, "metadata or columns", "are not what was written"))
    if any(d.where.split("/")[1:2] == [store.BLOCK_KEY] for d in found):
        return found, count, size, sealed
    keys, sums = store.block_keys(url, group).tolist(), store.block_sums(url, group).tolist()
    for block in (b for b in range(len(keys)) if keys[b]):
        damage, n, bytes_read = _verify_block(place, record, block, block_arrays, sums[block])
        found += damage
        count, size = count + n, size + bytes_read
    return found, count, size, sealed and bool(all(sums))


def _verify_block(
    place: chunks.Chunks, record: dict[str, Any], block: int, arrays: Sequence[str], checksum: int
) -> tuple[list[Damage], int, int]:
    rows = int(record["block"])
    span = slice(block * rows, min((block + 1) * rows, int(record["length"])))
    found: list[Damage] = []
    sums: dict[str, int] = {}
    size = 0
    for key, content in _read(place, [k for name in arrays for k in place.keys(name, span)]):
        size += len(content)
        if place.is_sound(key, content):
            sums[key] = chunks.stored_sum(content)
        else:
            found.append(Damage(place.group, block, key, "its checksum differs"))
    if checksum and not found and chunks_checksum(sums) != checksum:
        found.append(Damage(place.group, block, f"{place.group} block {block}", _OTHER))
    return found, len(sums) + len(found), size


_OTHER = "a chunk is missing, or another than the one that was written"


def _read(place: chunks.Chunks, keys: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    """The chunks that are there, with their content, some at a time."""
    rest = iter(keys)
    while some := list(islice(rest, _AT_ONCE)):
        for key, content in zip(some, place.read(some), strict=True):
            if content is not None:
                yield key, content
