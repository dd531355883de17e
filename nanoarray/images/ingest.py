"""Ingest: a folder of micrographs and what is known about them become the group ``images``."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import Executor, open_executor, run_tasks
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.errors import ImageError, InputError, NanoarrayError
from nanoarray.images.read import find_micrographs, read_micrograph, sha256_of
from nanoarray.images.tags import MergedTags, merge_tags, read_tags_csv, tags_of_micrograph

KERNEL_VERSION = 1
#: Images per block: large enough that a task is not overhead, small enough to share a few images.
BLOCK = 2
_SCAN_BATCH = 16
#: Two statements of a pixel size that differ by more are reported.
PIXEL_SIZE_TOLERANCE = 0.02
_OTHER_FORMATS = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".dm3", ".dm4", ".emd", ".ser", ".emi", ".mrc", ".h5")
)


@dataclass(frozen=True)
class ScannedImage:
    """What a first look at a file found; ``problem`` is "" where it is a micrograph."""

    image: str
    path: str
    sha256: str = ""
    height: int = 0
    width: int = 0
    dtype: str = "uint8"
    bit_depth: int = -1
    data_bar: int = -1
    pixel_size_source: str = ""
    tags: Mapping[str, float | str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problem: str = ""


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
        lines = [
            f"{self.store}: {len(self.added)} images added, {self.unchanged} were there, "
            f"{total} in all"
        ]
        rest: list[tuple[str, Sequence[str]]] = [
            ("unreadable, kept with the reason", [f"{i}: {r}" for i, r in self.failed]),
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
    url = os.fspath(store_url)
    if pixel_size_nm is not None and not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise InputError(f"pixel size {pixel_size_nm} nm: expected a positive number")
    table, units = read_tags_csv(tags) if tags is not None else (None, {})
    wanted = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    files = _image_ids(wanted, url)
    before = _existing_rows(url)
    with open_executor(workers=workers, scheduler=scheduler) as executor:
        scanned = _scan(executor, files, progress)
        rows, news = _sort_out(before, scanned)
        merged = merge_tags(
            [r.image for r in rows],
            paths=[r.path for r in rows],
            table=table,
            table_units=units,
            pattern=pattern,
            file_tags=[dict(r.tags) for r in rows],
        )
        _check_tags(merged, pattern, len(rows))
        columns, notes = _columns(rows, merged, before, news, pixel_size_nm)
        store.create_store(url)
        _write(url, rows, columns, merged.units, executor, progress)
    fresh = {r.image for r in news.added} | {r.image for r in news.repaired}
    failed = [(r.image, r.problem) for r in rows if r.problem and r.image in fresh]
    no_size = [
        r.image
        for r, size in zip(rows, columns["pixel_size"], strict=True)
        if not r.problem and math.isnan(size)
    ]
    return IngestReport(
        store=url,
        added=tuple(r.image for r in news.added),
        repaired=tuple(r.image for r in news.repaired),
        unchanged=len(rows) - len(news.added),
        duplicates=tuple(news.duplicates),
        failed=tuple(failed),
        without_pixel_size=tuple(no_size),
        disagreements=tuple(map(str, [*merged.disagreements, *notes])),
        untagged=tuple(merged.untagged_images),
        pattern_misses=tuple(merged.pattern_misses),
        retagged=tuple(_retagged(before, columns)),
        other_files=_other_files(wanted),
    )


# --- finding ----------------------------------------------------------------------------------


def _image_ids(sources: Sequence[str | os.PathLike[str]], url: str) -> dict[str, Path]:
    """Id -> file. The id is the path within its source, without suffix."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for source in sources:
        folder = Path(source)
        if store.is_store(os.fspath(source)):
            raise InputError(f"{source} is a nanoarray store, expected micrographs as SOURCE")
        for path in find_micrographs(source):
            real = os.path.realpath(path)
            if real in seen or real.startswith(os.path.realpath(url) + os.sep):
                continue
            seen.add(real)
            relative = path.relative_to(folder) if folder.is_dir() else Path(path.name)
            image = relative.with_suffix("").as_posix()
            if image in found:
                raise InputError(
                    f"two images with the id '{image}': {found[image]} and {path}; rename one, or "
                    "ingest the folder above both"
                )
            found[image] = path
    return found


def _other_files(sources: Sequence[str | os.PathLike[str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for source in sources:
        for _, _, names in os.walk(source):
            counts.update(s for n in names if (s := Path(n).suffix.lower()) in _OTHER_FORMATS)
    return counts


def _scan(
    executor: Executor, files: Mapping[str, Path], progress: Callable[[Progress], None] | None
) -> list[ScannedImage]:
    import time

    start = time.perf_counter()
    entries = [(image, str(path)) for image, path in files.items()]
    batches = [(entries[i : i + _SCAN_BATCH],) for i in range(0, len(entries), _SCAN_BATCH)]
    results: dict[int, list[ScannedImage]] = {}
    done = failed = 0
    for position, result, error in run_tasks(executor, _scan_batch, batches):
        if error is not None:
            raise NanoarrayError(f"reading {batches[position][0][0][1]} failed: {error!r}")
        results[position] = result
        done += len(result)
        failed += sum(bool(r.problem) for r in result)
        if progress is not None:
            seconds = time.perf_counter() - start
            progress(Progress("reading", done, len(entries), "image", failed, seconds))
    return [row for position in sorted(results) for row in results[position]]


def _scan_batch(entries: Sequence[tuple[str, str]]) -> list[ScannedImage]:
    return [_scan_one(image, path) for image, path in entries]


def _scan_one(image: str, path: str) -> ScannedImage:
    row = ScannedImage(image, path)
    try:
        row = replace(row, sha256=sha256_of(path))
        micrograph = read_micrograph(path)
    except ImageError as error:
        return replace(row, problem=str(error) or "unreadable")
    height, width = micrograph.pixels.shape
    return replace(
        row,
        height=height,
        width=width,
        dtype=str(micrograph.pixels.dtype),
        bit_depth=micrograph.bit_depth,
        data_bar=int(micrograph.metadata.get("data_bar_px", -1)),
        pixel_size_source=micrograph.pixel_size_source,
        tags=tags_of_micrograph(micrograph),
        warnings=micrograph.warnings,
    )


# --- what is there ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _News:
    added: list[ScannedImage]
    repaired: list[ScannedImage]
    duplicates: list[tuple[str, str]]


def _existing_rows(url: str) -> dict[str, np.ndarray]:
    """Columns of the finished rows of a store; empty when there is none."""
    if not store.is_store(url):
        store.check_place(url)
        return {}
    store.check_store(url)
    record = store.provenance(url, "images")
    count = int(record.get("rows_complete", 0))
    if not count:
        return {}
    columns = store.read_columns(url, "images", "image")
    return {name: values[:count] for name, values in columns.items()}


def _sort_out(
    before: Mapping[str, np.ndarray], scanned: Sequence[ScannedImage]
) -> tuple[list[ScannedImage], _News]:
    """All rows the store will have, old ones first, and what is new about them."""
    rows = [_row_of(before, i) for i in range(len(before.get("image", ())))]
    position = {row.image: i for i, row in enumerate(rows)}
    content = {row.sha256: row.image for row in rows if not row.problem}
    news = _News([], [], [])
    for row in scanned:
        if row.image in position:
            old = rows[position[row.image]]
            if old.sha256 == row.sha256:
                rows[position[row.image]] = replace(old, path=row.path)
            elif old.problem:
                rows[position[row.image]] = row
                news.repaired.append(row)
            else:
                raise InputError(
                    f"image '{row.image}' changed since it was ingested ({row.path} has another "
                    "SHA-256): restore the file, give the new one another name, or ingest into "
                    "another store"
                )
        elif not row.problem and row.sha256 in content:
            news.duplicates.append((row.image, content[row.sha256]))
        else:
            if not row.problem:
                content[row.sha256] = row.image
            news.added.append(row)
    return [*rows, *news.added], news


def _row_of(columns: Mapping[str, np.ndarray], i: int) -> ScannedImage:
    return ScannedImage(
        image=str(columns["image"][i]),
        path=str(columns["path"][i]),
        sha256=str(columns["sha256"][i]),
        height=int(columns["height"][i]),
        width=int(columns["width"][i]),
        dtype="",
        bit_depth=int(columns["bit_depth"][i]),
        data_bar=int(columns["data_bar"][i]),
        pixel_size_source=str(columns["pixel_size_source"][i]),
        warnings=tuple(str(columns["warning"][i]).split("; ") if columns["warning"][i] else ()),
        problem=str(columns["problem"][i]),
    )


# --- tags -------------------------------------------------------------------------------------


def _check_tags(merged: MergedTags, pattern: str | None, count: int) -> None:
    if merged.unknown_images:
        names = ", ".join(f"'{name}'" for name in merged.unknown_images[:3])
        raise InputError(
            f"the tags table has {len(merged.unknown_images)} rows for images that do not exist "
            f"({names}): correct or remove them"
        )
    if pattern is not None and len(merged.pattern_misses) == count:
        raise InputError(
            f"pattern '{pattern}' matches none of {count} image names, such as "
            f"'{merged.pattern_misses[0]}'"
        )


def _columns(
    rows: Sequence[ScannedImage],
    merged: MergedTags,
    before: Mapping[str, np.ndarray],
    news: _News,
    pixel_size_nm: float | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every one-dimensional variable of the group, and notes on doubtful pixel sizes."""
    old = len(before.get("image", ()))
    fresh = {row.image for row in [*news.added, *news.repaired]}
    columns: dict[str, np.ndarray] = {
        "image": np.array([r.image for r in rows], dtype=object),
        "path": np.array([r.path for r in rows], dtype=object),
        "sha256": np.array([r.sha256 for r in rows], dtype=object),
        "height": np.array([r.height for r in rows], dtype=np.int32),
        "width": np.array([r.width for r in rows], dtype=np.int32),
        "bit_depth": np.array([r.bit_depth for r in rows], dtype=np.int32),
        "data_bar": np.array([r.data_bar for r in rows], dtype=np.int32),
        "ok": np.array([not r.problem for r in rows], dtype=bool),
        "problem": np.array([r.problem for r in rows], dtype=object),
    }
    names = {
        n for n, v in schema.GROUPS["images"].items() if v.dims == ("image",) and n not in columns
    }
    names -= {"pixel_size_source", "metadata", "warning"}
    names |= {name for tags in merged.tags for name in tags}
    names |= set(before) - set(columns) - {"pixel_size_source", "metadata", "warning"}
    for name in sorted(names):
        values: list[Any] = [tags.get(name) for tags in merged.tags]
        for i in range(old):
            if values[i] is None and rows[i].image not in fresh and name in before:
                values[i] = before[name][i]
        columns[name] = _column(name, values)
    notes: list[str] = []
    warnings = [list(row.warnings) for row in rows]
    sources = _pixel_sizes(rows, merged, fresh, pixel_size_nm, columns, warnings, notes)
    columns["pixel_size_source"] = np.array(sources, dtype=object)
    for disagreement in merged.disagreements:
        i = next(k for k, r in enumerate(rows) if r.image == disagreement.image)
        said = ", ".join(f"{source} {value!r}" for source, value in disagreement.values.items())
        text = f"{disagreement.tag} differs: {said}"
        if text not in warnings[i]:
            warnings[i].append(text)
    columns["warning"] = np.array(
        ["; ".join(w.replace("; ", ", ") for w in ws) for ws in warnings], dtype=object
    )
    return columns, notes


def _pixel_sizes(
    rows: Sequence[ScannedImage],
    merged: MergedTags,
    fresh: set[str],
    pixel_size_nm: float | None,
    columns: dict[str, np.ndarray],
    warnings: list[list[str]],
    notes: list[str],
) -> list[str]:
    """Settle every image's pixel size (in ``columns``) and say where it comes from."""
    sizes = columns["pixel_size"]
    sources = []
    for i, row in enumerate(rows):
        given = merged.sources[i].get("pixel_size", "")
        source = row.pixel_size_source if given in ("", "file metadata") else given
        if pixel_size_nm is not None and (row.image in fresh or math.isnan(sizes[i])):
            if abs(sizes[i] / pixel_size_nm - 1) > PIXEL_SIZE_TOLERANCE:
                text = f"pixel size {pixel_size_nm:g} nm given, but {source} says {sizes[i]:g} nm"
                warnings[i].append(text)
                notes.append(f"image '{row.image}': {text}; the given one is used")
            sizes[i], source = pixel_size_nm, "command line"
        elif not math.isnan(sizes[i]) and sizes[i] <= 0:
            raise InputError(
                f"image '{row.image}': pixel size {sizes[i]:g} nm from {source}: expected a "
                "positive number"
            )
        sources.append("" if row.problem and math.isnan(sizes[i]) else source)
    return sources


def _column(name: str, values: list[Any]) -> np.ndarray:
    entry = schema.known("images", name)
    numeric = all(v is None or isinstance(v, int | float | np.number) for v in values)
    if entry is not None and entry.dtype != "str":
        if not numeric:
            bad = next(v for v in values if v is not None and isinstance(v, str))
            raise InputError(f"tag {name} is {bad!r}: expected a number [{entry.units}]")
        return np.array([entry.fill_value if v is None else v for v in values], dtype=entry.dtype)
    if numeric and entry is None:
        return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
    return np.array(["" if v is None else _text(v) for v in values], dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)


def _retagged(before: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> list[str]:
    changed: dict[str, list[str]] = {}
    for name, old in before.items():
        if name in ("path", "warning", "metadata", "problem", "ok", "sha256", "height", "width"):
            continue
        for i, value in enumerate(old):
            new = columns[name][i] if name in columns else value
            if not (value == new or (value != value and new != new)):  # NaN equals NaN here
                changed.setdefault(str(columns["image"][i]), []).append(f"{name} {value} -> {new}")
    return [f"{image}: {', '.join(parts)}" for image, parts in changed.items()]


# --- writing ----------------------------------------------------------------------------------


def _write(
    url: str,
    rows: Sequence[ScannedImage],
    columns: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    executor: Executor,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Write columns, then pixels block by block; the group is complete only at the end."""
    import time

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
    if before and before["dtype"] == plan.resolved["dtype"]:
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
    import time

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
        if sha256_of(row.path) != row.sha256:
            raise InputError(f"{row.path} changed while it was being ingested: run it again")
        micrograph = read_micrograph(row.path)
        metadata[k] = micrograph.raw_metadata
        at = rows.start + k
        store.write_rows(
            url, "images", slice(at, at + 1), {"intensity": micrograph.pixels[np.newaxis]}
        )
    store.write_rows(url, "images", rows, {"metadata": metadata})
    store.mark_block(url, "images", block, key)
