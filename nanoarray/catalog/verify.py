"""Comparison of a store with its record: to the last bit, array by array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.catalog.contents import NOT_CONTENT, array_record, differences, within_rounding
from nanoarray.catalog.describe import image_inputs, made_how
from nanoarray.catalog.record import ArrayRecord, GroupRecord, InputRecord, Record
from nanoarray.errors import NanoarrayError

State = Literal["identical", "within rounding", "differs", "missing", "unreadable"]
#: What a rebuilt store may say differently of files: where pixel sizes were said, and doubts.
SAID_OF_FILES = frozenset(
    "metadata warning pixel_size_source pixel_size_agreement pixel_size_record".split()
)
#: What reading damaged or foreign arrays ends in.
_CANNOT_BE_READ = (OSError, ValueError, RuntimeError, KeyError, NanoarrayError)


@dataclass(frozen=True)
class GroupCheck:
    """How a group of a store compares with its record.

    Attributes
    ----------
    group, state
        The worst of its arrays decides: "identical" to the last bit; "within rounding" where
        floating-point figures agree to a millionth; "differs"; "missing"; "unreadable".
    details
        What differs, array by array; notes where nothing does.
    """

    group: str
    state: State
    details: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the group holds what its record says, up to rounding."""
        return self.state in ("identical", "within rounding")


def verify_store(
    record: Record,
    url: str,
    *,
    rebuilt: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[GroupCheck]:
    """Read every array of a store and compare it with the record.

    Parameters
    ----------
    record, url
        What is said, and the store.
    rebuilt
        The store was made again from the record: what is said of the files may then differ, and a
        newer version may say more than the record has (both become notes).
    progress
        Called with each group, how many are done, and how many there are.

    Returns
    -------
    list of GroupCheck
        One per group of the record, and one per group that the record does not have.
    """
    store.check_store(url)
    names = store.group_names(url)
    checks = []
    for done, (group, recorded) in enumerate(record.groups.items()):
        if progress is not None:
            progress(group, done, len(record.groups))
        if group not in names:
            checks.append(GroupCheck(group, "missing", ("the store has no such group",)))
            continue
        checks.append(_check(url, group, recorded, rebuilt))
        if group == "images":
            checks[-1] = _with_inputs(checks[-1], record, url, rebuilt)
    for group in names:
        if group not in record.groups:
            checks.append(GroupCheck(group, "differs", ("the record has no such group",)))
    return checks


def _check(url: str, group: str, recorded: GroupRecord, rebuilt: bool) -> GroupCheck:
    said: dict[State | Literal["note"], list[str]] = {}
    provenance = store.provenance(url, group)
    if provenance.get("digest") != recorded.digest:
        said["differs"] = [f"digest {provenance.get('digest')}, recorded {recorded.digest}"]
    elif not rebuilt:  # of one that was made again the digest says enough, and files lie elsewhere
        found = made_how(provenance)
        changed = prov.differences({name: getattr(recorded, name) for name in found}, found)
        said |= {"differs": changed} if changed else {}
    try:
        ds = store.open_group(url, group)
    except _CANNOT_BE_READ as error:
        return GroupCheck(group, "unreadable", (_said(error),))
    left = NOT_CONTENT.get(group, frozenset())
    for name in sorted({*map(str, ds.variables), *recorded.arrays} - left):
        state, text = _compared(ds.variables.get(name), recorded.arrays.get(name))
        noted = name not in recorded.arrays or (group == "images" and name in SAID_OF_FILES)
        if text:
            said.setdefault("note" if rebuilt and noted else state, []).append(f"{name}: {text}")
    ranked: tuple[State, ...] = ("unreadable", "differs", "within rounding")
    worst: State = next((state for state in ranked if state in said), "identical")
    order: tuple[State | Literal["note"], ...] = (*ranked, "note")
    return GroupCheck(group, worst, tuple(text for state in order for text in said.get(state, ())))


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _compared(variable: xr.Variable | None, recorded: ArrayRecord | None) -> tuple[State, str]:
    """How a variable compares with its record, and what differs."""
    if recorded is None or variable is None:
        return "differs", "not recorded" if recorded is None else "missing"
    if tuple(variable.shape) != recorded.shape:  # then it is not read
        return "differs", f"shape {list(variable.shape)}, recorded {list(recorded.shape)}"
    try:
        found = array_record(variable)
    except _CANNOT_BE_READ as error:
        return "unreadable", _said(error)
    text = differences(recorded, found)
    return ("within rounding" if within_rounding(recorded, found) else "differs"), text


def _with_inputs(check: GroupCheck, record: Record, url: str, rebuilt: bool) -> GroupCheck:
    """Name the images that differ: more use than a checksum of all tags."""
    if check.state == "unreadable":
        return check
    inputs, _ = image_inputs(url)
    old = {i.image: i for i in record.inputs}
    new = {i.image: i for i in inputs}
    said = [f"image {name!r}: not recorded" for name in new if name not in old]
    said += [f"image {name!r}: missing" for name in old if name not in new]
    left = SAID_OF_FILES | ({*_names(inputs)} - {*record.tags} if rebuilt else set())
    for name in old.keys() & new.keys():
        if old[name].sha256 != new[name].sha256:
            said.append(f"image {name!r}: made from another file")
        a, b = old[name].tags, new[name].tags
        said += [
            f"image {name!r}: {tag} {b.get(tag)!r}, recorded {a.get(tag)!r}"
            for tag in sorted({*a, *b} - left)
            if a.get(tag) != b.get(tag)
        ]
    return GroupCheck(check.group, check.state, (*check.details, *sorted(said)))


def _names(inputs: Sequence[InputRecord]) -> Iterator[str]:
    return (name for i in inputs for name in i.tags)
