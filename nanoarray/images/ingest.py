"""Ingest: a folder of micrographs and what is known about them become the group ``images``."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import Executor, open_executor, run_tasks
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.errors import InputError, NanoarrayError
from nanoarray.images.read import decode_micrograph, quiet_tifffile, read_bytes
from nanoarray.images.rows import (
    GivenSize,
    check_tags,
    existing_rows,
    known_content,
    retagged,
    sort_out,
    tag_columns,
)
from nanoarray.images.scan import ScannedImage, image_ids, other_files, scan
from nanoarray.images.tags import merge_tags, read_tags_csv, settle_copies
from nanoarray.images.units import check_possible

KERNEL_VERSION = 1
#: Images per block: large enough that a task is not overhead, small enough to share a few images.
BLOCK = 2


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did, for people."""

    store: str
    added: tuple[str, ...]
    repaired: tuple[str, ...]
    unchanged: int
    duplicates: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    without_pixel_size: tuple[str, ...]
    disagreements: tuple[str, ...]
    untagged: tuple[str, ...]
    pattern_misses: tuple[str, ...]
    retagged: tuple[str, ...]
    other_files: Mapping[str, int]

    def lines(self, listed: int = 10) -> list[str]:
        """The report as lines: a summary, then what deserves a look."""
        total = self.unchanged + len(self.added)
        new = len({image for image, _ in self.failed} & set(self.added))
        lines = [
            f"{self.store}: {len(self.added)} images added, {self.unchanged} were there, "
            f"{total} in all"
        ]
        rest: list[tuple[str, Sequence[str]]] = [
            (
                f"unreadable ({new} of them new), kept with the reason",
                [f"{i}: {r}" for i, r in self.failed],
            ),
            ("read again after repair", self.repaired),
            ("not added, same content as another", [f"{a} = {b}" for a, b in self.duplicates]),
            ("without a pixel size (pass --pixel-size NM)", self.without_pixel_size),
            ("tags on which sources disagree", self.disagreements),
            ("not in the tags table", self.untagged),
            ("name does not match the pattern", self.pattern_misses),
            ("tags changed", self.retagged),
            (
                "files of other kinds left aside",
                [f"{count} {suffix}" for suffix, count in sorted(self.other_files.items())],
            ),
        ]
        for title, entries in rest:
            if entries:
                lines.append(f"{title}: {len(entries)}")
                lines += [f"  {entry}" for entry in entries[:listed]]
                if len(entries) > listed:
                    lines.append(f"  and {len(entries) - listed} more")
        return lines


def ingest(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    store_url: str | os.PathLike[str],
    *,
    tags: str | os.PathLike[str] | None = None,
    pattern: str | None = None,
    pixel_size_nm: float | None = None,
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
    """
    url = store.as_url(store_url)
    if pixel_size_nm is not None and not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise InputError(f"pixel size {pixel_size_nm} nm: expected a positive number")
    if pixel_size_nm is not None:
        check_possible(pixel_size_nm, tag="pixel_size", where="--pixel-size")
    table, units = read_tags_csv(tags) if tags is not None else (None, {})
    wanted = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    files = image_ids(wanted, url)
    before = existing_rows(url)
    with open_executor(workers=workers, scheduler=scheduler) as executor:
        scanned = scan(executor, files, known_content(before), progress)
        rows, news = sort_out(before, scanned)
        merged = merge_tags(
            [r.image for r in rows],
            paths=[r.path for r in rows],
            table=table,
            table_units=units,
            pattern=pattern,
            file_tags=[dict(r.tags) for r in rows],
        )
        copies = {copy: (str(files[copy]), original) for copy, original in news.duplicates}
        merged, lost = settle_copies(merged, [r.image for r in rows], copies, table)
        check_tags(merged, pattern, len(rows))
        given = GivenSize(pixel_size_nm, frozenset(files))
        columns, notes = tag_columns(rows, merged, before, news, given)
        store.create_store(url)
        _write(url, rows, columns, merged.units, executor, progress)
    no_size = [
        r.image
        for r, size in zip(rows, columns["pixel_size"], strict=True)
        if not r.problem and math.isnan(size)
    ]
    return IngestReport(
        store=url,
        added=tuple(r.image for r in news.added),
        repaired=tuple(r.image for r in news.reread if not r.problem),
        unchanged=len(rows) - len(news.added),
        duplicates=tuple(news.duplicates),
        failed=tuple((r.image, r.problem) for r in scanned if r.problem),
        without_pixel_size=tuple(no_size),
        disagreements=tuple(map(str, [*merged.disagreements, *lost, *notes])),
        untagged=tuple(merged.untagged_images),
        pattern_misses=tuple(merged.pattern_misses),
        retagged=tuple(retagged(before, columns)),
        other_files=other_files(wanted),
    )


def _write(
    url: str,
    rows: Sequence[ScannedImage],
    columns: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    executor: Executor,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Write columns, then pixels block by block; the group is complete only at the end."""
    start = time.perf_counter()
    before = store.provenance(url, "images")
    plan = _plan(rows, before)
    digest = prov.digest({"kernel_version": KERNEL_VERSION})
    record = {
        "stage": "images",
        "axis": "image",
        "digest": digest,
        "basis": {"kernel_version": KERNEL_VERSION},
        "input_groups": [],
        "dtype": plan.resolved["dtype"],
        "dim": "image",
        "length": plan.length,
        "block": plan.block,
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
    for name, values in columns.items():
        entry = schema.known("images", name)
        attrs = (
            entry.attrs if entry else {"units": units.get(name, "1"), "long_name": f"tag {name}"}
        )
        store.put_constant(url, "images", name, ("image",), values, attrs)
    _write_pixels(url, rows, plan, executor, progress, start)
    record |= {
        "rows_complete": plan.length,
        "complete": True,
        "finished": prov.now(),
        "seconds": round(time.perf_counter() - start, 3),
        "failed": sum(bool(r.problem) for r in rows),
        "left_out": 0,
    }
    store.set_provenance(url, "images", record)


def _write_pixels(
    url: str,
    rows: Sequence[ScannedImage],
    plan: GroupPlan,
    executor: Executor,
    progress: Callable[[Progress], None] | None,
    start: float,
) -> None:
    keys = [
        prov.block_key(KERNEL_VERSION, [(r.image, r.sha256, r.problem) for r in rows[plan.span(b)]])
        for b in range(plan.block_count)
    ]
    found = store.block_keys(url, "images")
    todo = [b for b in range(plan.block_count) if int(found[b]) != keys[b]]
    items = [(url, b, plan.span(b), rows[plan.span(b)], keys[b]) for b in todo]
    done, total = 0, sum(len(item[3]) for item in items)
    for position, _, error in run_tasks(executor, _write_block, items):
        if error is not None:
            raise (
                error
                if isinstance(error, NanoarrayError | OSError)
                else NanoarrayError(f"writing images failed: {type(error).__name__}: {error}")
            )
        done += len(items[position][3])
        if progress is not None:
            seconds = time.perf_counter() - start
            progress(Progress("writing", done, total, "image", 0, seconds))


def _plan(rows: Sequence[ScannedImage], before: Mapping[str, Any]) -> GroupPlan:
    """Arrays for pixels: as large as the largest image, as deep as the deepest."""
    dtypes = {row.dtype for row in rows if row.dtype and not row.problem}
    if before:
        dtypes.add(before["dtype"])
    if dtypes <= {"uint8"}:
        dtype = "uint8"
    else:
        dtype = "float32" if "float32" in dtypes else "uint16"
    if before and before["dtype"] != dtype:
        missing = [r.path for r in rows if not r.problem and not os.path.isfile(r.path)]
        if missing:
            raise InputError(
                f"the store holds {before['dtype']} pixels and the new files need {dtype}: every "
                f"image must be read again, but {missing[0]} is not there (of {len(missing)})"
            )
    sizes = {
        "image": len(rows),
        "y": max([row.height for row in rows] + [1]),
        "x": max([row.width for row in rows] + [1]),
    }
    arrays = (
        array_plan("images", "intensity", sizes, block=BLOCK, dtype=dtype),
        array_plan("images", "metadata", sizes, block=BLOCK),
    )
    return GroupPlan(arrays, "image", len(rows), BLOCK, resolved={"dtype": dtype})


def _write_block(
    url: str, block: int, rows: slice, images: Sequence[ScannedImage], key: int
) -> None:
    store.mark_block(url, "images", block, 0)
    metadata = np.full(len(images), "", dtype=object)
    for k, row in enumerate(images):
        if row.problem:
            continue
        content = read_bytes(row.path)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise InputError(f"{row.path} changed while it was being ingested: run it again")
        with quiet_tifffile():
            micrograph = decode_micrograph(content)
        metadata[k] = micrograph.raw_metadata
        at = rows.start + k
        store.write_rows(
            url, "images", slice(at, at + 1), {"intensity": micrograph.pixels[np.newaxis]}
        )
    store.write_rows(url, "images", rows, {"metadata": metadata})
    store.mark_block(url, "images", block, key)
