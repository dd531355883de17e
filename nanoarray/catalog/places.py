"""Where the store of a record is: records come from strangers, and stores move.

An address that is relative must stay in the catalog's folder. One that is absolute is followed only
to look whether the very store is there that the record describes: the same images by checksum,
groups with the same digests. A record cannot make anything else be opened. Addresses of other
machines are asked only where the caller named them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from nanoarray.archive import store
from nanoarray.catalog.describe import same_product
from nanoarray.catalog.record import Record
from nanoarray.errors import InputError, NanoarrayError


def address_of(url: str, catalog: Path) -> str:
    """How a record in ``catalog`` names the store at ``url``."""
    if "://" in url:
        return url
    real, folder = os.path.realpath(url), os.path.realpath(catalog)
    if real.startswith(folder + os.sep):
        return Path(os.path.relpath(real, folder)).as_posix()
    return real


def find_store(
    record: Record, catalog: Path, stores: Sequence[str] = (), *, changed: bool = False
) -> str:
    """Address of the store that a record describes.

    Parameters
    ----------
    record, catalog
        A record and the folder that it is in.
    stores
        Stores, or folders of stores, that the caller named: where the store may be as well.
    changed
        Also take a store that has changed since it was recorded, if it still has images of it.

    Raises
    ------
    InputError
        When it is nowhere, when another store is there, or when the record leads elsewhere.
    """
    refusal = ""
    for url in _candidates(record, catalog, stores):
        try:
            if not store.is_store(url):
                continue
        except OSError as error:
            refusal = f"nothing can be read at {url} ({error.strerror or error})"
            continue
        store.check_store(url)
        try:
            refusal = same_product(record, url)
        except (OSError, ValueError, RuntimeError, NanoarrayError) as error:
            refusal = f"it cannot be read ({' '.join(str(error).split())})"
        if not refusal or (changed and (not os.path.isabs(record.store) or _related(record, url))):
            return url
        refusal = f"the store at {url} is not what was recorded: {refusal}"
    if refusal:
        raise InputError(
            f"product {record.id!r}: {refusal}. See `nanoarray catalog verify`, record it again "
            "with `nanoarray catalog add`, or say where the recorded store is with --store"
        )
    raise InputError(
        f"product {record.id!r}: its store is not at {record.store}. If it moved, say where it is "
        "with --store PLACE (in Python: Catalog(path, stores=[PLACE])), record it again with "
        "`nanoarray catalog add`, or make it again with `nanoarray catalog rebuild`"
    )


def _related(record: Record, url: str) -> bool:
    """Whether a store has micrographs that the record names by their checksums."""
    try:
        found = store.read_columns(url, "images", "image", ("sha256",))["sha256"].tolist()
    except (OSError, ValueError, RuntimeError, KeyError, NanoarrayError):
        return False
    return not {i.sha256 for i in record.inputs if i.sha256}.isdisjoint(found)


def _candidates(record: Record, catalog: Path, stores: Sequence[str]) -> Iterator[str]:
    address = record.store
    named = [store.as_url(place) for place in stores]
    if "\0" in address or not address.strip():
        raise InputError(f"product {record.id!r}: {address!r} is no address of a store")
    if "://" in address or address.startswith(("\\\\", "//")):
        if any(address == place or address.startswith(f"{place}/") for place in named):
            yield address
        elif not named:
            raise InputError(
                f"product {record.id!r} is at {address}, which is asked only if you name it: "
                "--store PLACE (in Python: Catalog(path, stores=[PLACE]))"
            )
    elif os.path.isabs(address):
        yield address
    else:
        yield _inside(record, catalog)
    last = address.rstrip("/").rsplit("/", 1)[-1]
    for place in named:
        yield place
        if last not in ("", ".", ".."):
            yield f"{place}/{last}"


def _inside(record: Record, catalog: Path) -> str:
    """A relative address as a path, which must not leave the catalog's folder."""
    parts = {*PurePosixPath(record.store).parts, *PureWindowsPath(record.store).parts}
    folder = os.path.realpath(catalog)
    place = os.path.join(folder, *PurePosixPath(record.store).parts)
    real = os.path.realpath(place)
    if ".." in parts or PureWindowsPath(record.store).drive or not real.startswith(folder + os.sep):
        raise InputError(
            f"product {record.id!r}: its store {record.store!r} is outside of the catalog's "
            f"folder {catalog}, which a relative address must not leave"
        )
    return place
