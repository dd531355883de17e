"""A product made again from its record, and compared with it."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import open_executor
from nanoarray.archive.lease import working_on
from nanoarray.archive.schedule import run_stages
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.catalog.describe import given_parameters, image_inputs
from nanoarray.catalog.record import InputRecord, Record, check_id
from nanoarray.catalog.verify import SAID_OF_FILES, GroupCheck, verify_store
from nanoarray.errors import ImageError, InputError
from nanoarray.images.ingest import ingest
from nanoarray.images.pattern import RESERVED
from nanoarray.images.read import find_micrographs, open_source
from nanoarray.pipeline import STAGES, parse_parameters

_LISTED = 5
_TAGS = "tags.csv"


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild made.

    Attributes
    ----------
    store
        Where it is.
    checks
        How each group compares with the record.
    notes
        What is not as it was then: versions of packages, kernels, code.
    """

    store: str
    checks: tuple[GroupCheck, ...]
    notes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether it holds what the record says, up to rounding."""
        return all(check.good for check in self.checks)


def rebuild(
    record: Record,
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Rebuilt:
    """Make a product again: find its images by checksum, ingest them, run its stages, compare.

    Parameters
    ----------
    record
        What is to be made.
    images
        Folders that hold the images, under whatever names.
    out
        Store to make, a directory; an interrupted rebuild goes on.
    settings
        stage -> parameter -> file, for parameters that name a file or a folder: those are looked
        for where you say, never where a record says, and must have the recorded content.
    workers, scheduler, progress
        As for `nanoarray.run`.

    Returns
    -------
    Rebuilt
        The store and how it compares.

    Raises
    ------
    InputError
        When images are missing (they are named), a stage or a parameter is unknown, or a file that
        a parameter names is missing or has another content.
    """
    check_id(record.id)
    url = store.as_url(out)
    stages = [
        (STAGES[name], _parameters(name, record, settings or {}))
        for name in record.groups
        if _is_stage(name)
    ]
    if "://" in url:
        raise InputError(f"{url} is no directory: a product is made again in one")
    _check_own(record, url)
    found = find_images(record, images)
    links = Path(f"{url}.inputs")
    _check_free(links)
    try:
        _ingest(record, found, url, links, workers, scheduler, progress)
    finally:
        shutil.rmtree(links, ignore_errors=True)
    with (
        working_on(url, f"rebuild {record.id}") as lease,
        open_executor(workers=workers, scheduler=scheduler, lease=lease) as executor,
    ):
        ids = [i.image for i in image_inputs(url)[0]]
        paths = np.array([str(found[image].absolute()) for image in ids], dtype=object)
        attrs = schema.GROUPS["images"]["path"].attrs
        store.put_constant(url, "images", "path", ("image",), paths, attrs)
        run_stages(url, stages, executor=executor, progress=progress)
    return Rebuilt(url, tuple(verify_store(record, url, rebuilt=True)), tuple(notes(record)))


def _check_own(record: Record, url: str) -> None:
    """Refuse a store of other images: an ingest would add to it."""
    if not store.is_store(url) or "images" not in store.group_names(url):
        return
    ids = store.read_columns(url, "images", "image", ("image",))["image"].tolist()
    others = sorted({*ids} - {i.image for i in record.inputs})
    if others:
        raise InputError(
            f"{url} is a store of other images, such as {others[0]!r}: {record.id!r} is made again "
            "in a store of its own; name another place with --out"
        )


def notes(record: Record) -> list[str]:
    """What is not as it was when a product was made."""
    now = prov.software()
    said = [
        f"{name} is {now.get(name, 'not installed')}, was {version}"
        for name, version in record.software.items()
        if now.get(name) != version
    ]
    for name, group in record.groups.items():
        if name in STAGES and STAGES[name].version != group.kernel_version:
            said.append(
                f"{name} is computed by version {STAGES[name].version}, was {group.kernel_version}"
            )
    return said


def _is_stage(name: str) -> bool:
    if name == "images":
        return False
    if name not in STAGES:
        raise InputError(
            f"group {name!r} was made by a stage that this version does not have: it has "
            f"{', '.join(STAGES)}; use the nanoarray that the record names"
        )
    return True


# --- parameters -------------------------------------------------------------------------------


def _parameters(
    name: str, record: Record, settings: Mapping[str, Mapping[str, Any]]
) -> StageParameters:
    """A stage's recorded parameters, with files where the caller says they are."""
    stage, recorded = STAGES[name], record.groups[name].parameters
    values, given = given_parameters(name, recorded), dict(settings.get(name, {}))
    for key in _file_keys(stage.parameters):
        if values.get(key) is None:
            continue
        if key not in given:
            raise InputError(
                f"{name}.{key} was {values[key]!r} on the machine it was made on: say where that "
                f"file is now with --set {name}.{key}=PATH"
            )
        values[key] = given.pop(key)
    if given:
        raise InputError(
            f"{name}.{next(iter(given))} cannot be set: a rebuild takes the record's parameters; "
            "only files can be named"
        )
    parameters = parse_parameters(stage, values)
    made = parameters.model_dump(mode="json")
    changed = [
        text
        for text in prov.differences(recorded, made)
        if text.partition(":")[0] not in _file_keys(stage.parameters)
    ]
    if changed:
        raise InputError(
            f"{name} cannot be made as it was: {'; '.join(changed)} (a file has another content, "
            "or this version of nanoarray has other parameters)"
        )
    return parameters


def _file_keys(model: type[StageParameters]) -> list[str]:
    """Parameters that name a file or a folder."""
    return [
        name
        for name, field in model.model_fields.items()
        if "existing_path" in repr((field.annotation, field.metadata))
    ]


# --- images -----------------------------------------------------------------------------------


def find_images(record: Record, folders: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """Files of a record's images, by id, found by their checksums under any name.

    Raises
    ------
    InputError
        Naming images of which no folder has the file.
    """
    wanted = {i.sha256 for i in record.inputs if i.sha256}
    names = {i.image.rsplit("/", 1)[-1] for i in record.inputs}
    files = [path for folder in folders for path in find_micrographs(folder)]
    found: dict[str, Path] = {}
    # Those that are still called as they were first: then the rest need not be read.
    for path in sorted(files, key=lambda p: p.stem not in names):
        if len(found) == len(wanted):
            break
        with suppress(ImageError, OSError):
            sha = open_source(path).sha256
            if sha in wanted:
                found.setdefault(sha, path)
    missing = [i.image for i in record.inputs if i.sha256 not in found]
    if missing:
        listed = ", ".join(map(repr, missing[:_LISTED]))
        unread = sum(not i.sha256 for i in record.inputs)
        note = f" ({unread} could not be read then, and have no checksum)" if unread else ""
        made = f"; they are made by: {' && '.join(record.commands)}" if record.commands else ""
        raise InputError(
            f"{len(missing)} of {len(record.inputs)} images of {record.id!r} are in none of "
            f"{', '.join(map(str, folders))}: {listed}"
            f"{', ...' if len(missing) > _LISTED else ''}{note}{made}"
        )
    return {i.image: found[i.sha256] for i in record.inputs}


def _ingest(
    record: Record,
    found: Mapping[str, Path],
    url: str,
    links: Path,
    workers: int | None,
    scheduler: str | None,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Ingest images under their recorded ids and in their recorded order, with their tags."""
    sources = _links(record, found, links)

    def read(places: Sequence[Path], tags: Path | None, **options: Any) -> None:
        ingest(
            places,
            url,
            tags=tags,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
            **options,
        )

    # Images that were stretched alike, one after the other, as they were ingested.
    for options, run in groupby(record.inputs, key=_geometry):
        read(list(dict.fromkeys(sources[_file_id(i)] for i in run)), None, **dict(options))
    rows = {i.image: i for i in image_inputs(url)[0]}
    missing = [i.image for i in record.inputs if i.image not in rows]
    if missing:
        raise InputError(
            f"{len(missing)} images of {record.id!r} are not read from their files by this version "
            f"of nanoarray, such as {missing[0]!r}"
        )
    table = links / _TAGS
    if _write_tags(table, record, rows):
        read(list(sources.values()), table)


def _check_free(links: Path) -> None:
    """Refuse to use, and remove, a folder that holds anything but links and tags of a rebuild."""
    if links.is_symlink() or any(
        not path.is_symlink() and not path.is_dir() and path != links / _TAGS
        for path in (links, *links.rglob("*"))
        if os.path.lexists(path)
    ):
        raise InputError(f"{links} is in the way: a rebuild puts links there; rename it")


def _file_id(image: InputRecord) -> str:
    """Id of the file of an image, which may be one of several in it."""
    frame = str(image.tags.get("frame", ""))
    return image.image.removesuffix(f"#{frame}") if frame else image.image


def _geometry(image: InputRecord) -> tuple[tuple[str, Any], ...]:
    """How ingest was told to stretch an image."""
    tags = image.tags
    tilted = tags.get("tilt_correction") or None
    stretched = tags.get("stretch_x", 1.0) != 1.0 or (
        tilted is None and tags.get("stretch_y", 1.0) != 1.0
    )
    return (("tilt_correction", tilted), ("square_pixels", stretched or None))


def _links(record: Record, found: Mapping[str, Path], links: Path) -> dict[str, Path]:
    """A folder for each file, with a link to it called as it was: ids are paths in folders."""
    sources: dict[str, Path] = {}
    for image in record.inputs:
        name, path = _file_id(image), found[image.image]
        if name in sources:
            continue
        sources[name] = links / f"{len(sources):07d}"
        link = sources[name] / f"{name}{path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())
    return sources


def _write_tags(place: Path, record: Record, found: Mapping[str, InputRecord]) -> bool:
    """Write the tags that the files themselves do not say; False where there is none."""
    rows = {
        i.image: {n: v for n, v in i.tags.items() if found[i.image].tags.get(n) != v}
        for i in record.inputs
    }
    said = {name for row in rows.values() for name in row} - SAID_OF_FILES - RESERVED
    names = [name for name in record.tags if name in said]
    if not names:
        return False
    with place.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", *(_column(n, record.tags[n].units) for n in names)])
        for image, row in rows.items():
            writer.writerow([image, *(row.get(n, "") for n in names)])
    return True


def _column(name: str, units: str) -> str:
    return name if units in ("1", "") else f"{name}_{units}"
