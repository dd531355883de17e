"""Ingest: a folder of micrographs and what is known about them become the group ``images``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import Executor, open_executor
from nanoarray.archive.lease import working_on
from nanoarray.archive.store import GroupPlan
from nanoarray.archive.verify import seal
from nanoarray.errors import InputError
from nanoarray.images.finding import find_others
from nanoarray.images.geometry import TILTED, Stretch
from nanoarray.images.ingest_report import IngestReport as IngestReport
from nanoarray.images.ingest_write import (
    KERNEL_VERSION,
    PER_BLOCK,
    Placed,
    plan_images,
    progress_report,
    trim,
    write_columns,
    write_pixels,
)
from nanoarray.images.row_scales import ScaleOptions
from nanoarray.images.rows import (
    News,
    check_tags,
    existing_rows,
    has_pixels,
    known_content,
    retagged,
    settled_news,
    sort_out,
    tag_columns,
)
from nanoarray.images.scale import NOT_SQUARE_TEXT
from nanoarray.images.scan import ScannedImage, image_ids, scan
from nanoarray.images.tags import MergedTags, merge_tags, read_tags_csv, settle_copies
from nanoarray.images.units import check_possible

if TYPE_CHECKING:
    import pandas as pd


def ingest(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    store_url: str | os.PathLike[str],
    *,
    tags: str | os.PathLike[str] | None = None,
    pattern: str | None = None,
    pixel_size_nm: float | None = None,
    tilt_correction: str | None = None,
    square_pixels: bool | None = None,
    scale_bar: str = "",
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Read micrographs and their tags into a store; a second time, only what is new.

    Parameters
    ----------
    sources
        Folders (searched recursively), files, or glob patterns.
    store_url
        Store to make or to add to: a directory or an fsspec URL.
    tags
        CSV with one row per image; see `nanoarray.images.tags.read_tags_csv`.
    pattern
        How file names carry tags: ``"{sample}_{temperature:g}degC_{n:d}"``.
    pixel_size_nm
        Pixel size of every image of this call; goes before what the files say.
    tilt_correction
        Undo the foreshortening by the stage tilt: of a flat ``"surface"``, or of a
        ``"cross-section"`` at a right angle to it; ``"none"`` for neither. Images are enlarged
        across the tilt axis, which is taken to lie along their rows. None keeps what an earlier
        ingest did.
    square_pixels
        Enlarge images whose pixels are not square along the shorter side of a pixel. Without, they
        are kept without a pixel size. None keeps what an earlier ingest did.
    scale_bar
        ``"check"`` compares scale bars in the pixels with what the files say, ``"use"`` also uses
        them where nothing else is known, and so does the length of the bar, such as ``"200 nm"``.
    workers, scheduler
        As for `nanoarray.run`.
    progress
        Called with every step forward.

    Returns
    -------
    IngestReport
        What was added, left aside, doubtful or unreadable.

    Raises
    ------
    InputError
        For a source without images, two images with one id, a file that changed since it was
        ingested, tags of images that do not exist, or a pattern that matches no name. Nothing
        has been written then.
    BusyError
        When another run works on the store.
    """
    url = store.as_url(store_url)
    _check_options(pixel_size_nm, tilt_correction, scale_bar)
    start = time.perf_counter()
    table, units = read_tags_csv(tags) if tags is not None else (None, {})
    wanted = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    files = image_ids(wanted, url)
    if not store.is_store(url):
        store.check_place(url)
    with (
        working_on(url, "ingest") as lease,
        open_executor(workers=workers, scheduler=scheduler, lease=lease) as executor,
        _errors_name(url),
    ):
        before = existing_rows(url)
        known = known_content(before)
        # What is in the store is known by its SHA-256: new files are compared with it.
        hashed = has_pixels(url)
        scanned = scan(executor, files, known, progress, scale_bar=scale_bar, hashed=hashed)
        options = ScaleOptions(
            pixel_size_nm=pixel_size_nm,
            tilt_correction=tilt_correction,
            square_pixels=square_pixels,
            use_scale_bar=scale_bar not in ("", "check"),
            images=frozenset(row.image for row in scanned),
        )
        # Everything that can be refused is refused before anything is written.
        draft = _draft(before, scanned, _Said(table, units, pattern), options)
        store.create_store(url)
        report = progress_report(progress, lambda: time.perf_counter() - start)
        done = _write(url, draft, executor, report)
    return _report(url, done, other_files=find_others(wanted))


@dataclass(frozen=True)
class _Said:
    """What a person says about the images: a table with its units, and a pattern of names."""

    table: pd.DataFrame | None
    units: Mapping[str, str]
    pattern: str | None


@dataclass(frozen=True)
class _Draft:
    """The group as it will be: its rows, what is new in them, and its columns.

    Attributes
    ----------
    before
        Columns of the finished rows of the store.
    rows, news
        Of the store and of this call, and which are new.
    merged, lost
        Tags of every row, and those of copies that had to give way.
    options
        What the caller says about scales; its ``images`` are those of this call.
    columns, notes
        Every one-dimensional variable, and what is doubtful about them.
    """

    before: Mapping[str, np.ndarray]
    rows: list[ScannedImage]
    news: News
    merged: MergedTags
    lost: Sequence[object]
    options: ScaleOptions
    columns: dict[str, np.ndarray]
    notes: list[str]


def _draft(
    before: dict[str, np.ndarray],
    scanned: Sequence[ScannedImage],
    said: _Said,
    options: ScaleOptions,
) -> _Draft:
    """What the files declare, put together with the store and the tags."""
    rows, news = sort_out(before, scanned)
    images = [row.image for row in rows]
    merged = merge_tags(
        images,
        paths=[row.path for row in rows],
        table=said.table,
        table_units=said.units,
        pattern=said.pattern,
        file_tags=[dict(row.tags) for row in rows],
    )
    path_of = {row.image: row.path for row in scanned}
    copies = {copy: (path_of[copy], original) for copy, original in news.duplicates}
    merged, lost = settle_copies(merged, images, copies, said.table)
    check_tags(merged, said.pattern, len(rows))
    columns, notes = tag_columns(rows, merged, before, news, options)
    return _Draft(before, rows, news, merged, lost, options, columns, notes)


def _write(
    url: str, draft: _Draft, executor: Executor, report: Callable[[int, int, int], None]
) -> _Draft:
    """Write the group; gives it as it turned out when the images were decoded."""
    columns, units = draft.columns, draft.merged.units
    placed = [
        Placed(row, Stretch(x, y))
        for row, x, y in zip(draft.rows, columns["stretch_x"], columns["stretch_y"], strict=True)
    ]
    with _group(url, placed) as plan:
        write_columns(url, columns, units)  # what an interrupted ingest leaves is whole
        fresh = frozenset(row.image for row in [*draft.news.added, *draft.news.reread])
        rows = write_pixels(url, placed, plan, executor, report, fresh=fresh)
        news = settled_news(rows, draft.news, draft.before)
        columns, notes = tag_columns(rows, draft.merged, draft.before, news, draft.options)
        trim(url, columns, plan.resolved["dtype"])
        write_columns(url, columns, units, written=draft.columns)
    return replace(draft, rows=rows, news=news, columns=columns, notes=notes)


def _report(url: str, done: _Draft, *, other_files: Mapping[str, int]) -> IngestReport:
    rows, news, merged = done.rows, done.news, done.merged
    no_size = [
        row.image
        for row, size in zip(rows, done.columns["pixel_size"], strict=True)
        if not row.problem and math.isnan(size)
    ]
    failed = [(r.image, r.problem) for r in rows if r.problem and r.image in done.options.images]
    fresh = {row.image for row in [*news.added, *news.reread]}
    # What sources disagree on is listed for itself.
    warned = [
        (str(image), text)
        for image, texts in zip(done.columns["image"], done.columns["warning"], strict=True)
        if image in fresh
        for text in str(texts).split("; ")
        if text and " differs: " not in text and not text.startswith(NOT_SQUARE_TEXT)
    ]
    return IngestReport(
        store=url,
        added=tuple(r.image for r in news.added),
        repaired=tuple(r.image for r in news.reread if not r.problem),
        unchanged=len(rows) - len(news.added),
        duplicates=tuple(news.duplicates),
        failed=tuple(failed),
        without_pixel_size=tuple(no_size),
        disagreements=tuple(map(str, [*merged.disagreements, *done.lost, *done.notes])),
        untagged=tuple(merged.untagged_images),
        pattern_misses=tuple(merged.pattern_misses),
        warned=tuple(warned),
        retagged=tuple(retagged(done.before, done.columns)),
        other_files=other_files,
    )


@contextmanager
def _errors_name(url: str) -> Iterator[None]:
    """Errors of the system that name no file, such as that of a full disk, name the store."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, url) from error
        raise


def _check_options(
    pixel_size_nm: float | None, tilt_correction: str | None, scale_bar: str
) -> None:
    if scale_bar:
        from nanoarray.images.burned_in import check_option

        check_option(scale_bar)
    if pixel_size_nm is not None:
        if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
            raise InputError(f"pixel size {pixel_size_nm} nm: expected a positive number")
        check_possible(pixel_size_nm, tag="pixel_size", where="--pixel-size")
    if tilt_correction not in (None, "none", *TILTED):
        raise InputError(
            f"tilt correction {tilt_correction!r}: expected none, {' or '.join(TILTED)}"
        )


@contextmanager
def _group(url: str, placed: Sequence[Placed]) -> Iterator[GroupPlan]:
    """Make or resize the group; it is complete only when the block ends without an error."""
    start = time.perf_counter()
    before = store.provenance(url, "images")
    plan = plan_images(placed, before)
    record = {
        "stage": "images",
        "axis": "image",
        "digest": prov.digest({"kernel_version": KERNEL_VERSION}),
        "basis": {"kernel_version": KERNEL_VERSION},
        "input_groups": [],
        "dtype": plan.resolved["dtype"],
        "dim": "image",
        "length": plan.length,
        "block": plan.block,
        "block_arrays": list(PER_BLOCK),
        "rows_complete": int(before.get("rows_complete", 0)),
        "complete": False,
        "software": prov.software(),
        "created": before.get("created", prov.now()),
    }
    if before:
        if before["dtype"] != plan.resolved["dtype"]:
            # Deeper pixels: every image is read again. The tags of old images stay.
            store.forget_blocks(url, "images")
        store.set_provenance(url, "images", record)
        store.resize_group(url, "images", plan)
    else:
        store.create_group(url, "images", plan)
        store.set_provenance(url, "images", record)
    yield plan
    failed = int((~store.read_columns(url, "images", "image", ["ok"])["ok"]).sum())
    record |= {
        "rows_complete": plan.length,
        "complete": True,
        "seal": seal(url, "images", PER_BLOCK),
        "finished": prov.now(),
        "seconds": round(time.perf_counter() - start, 3),
        "failed": failed,
        "left_out": 0,
    }
    store.set_provenance(url, "images", record)
