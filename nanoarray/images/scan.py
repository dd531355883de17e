"""A first look at every file of a collection: its id, its content, its metadata."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nanoarray.archive import store
from nanoarray.archive.careful import run_careful
from nanoarray.archive.engine import TIME_LIMIT_S, Progress
from nanoarray.archive.executor import Executor
from nanoarray.archive.tasks import run_tasks
from nanoarray.archive.time_limit import within
from nanoarray.errors import ImageError, InputError, NanoarrayError
from nanoarray.images.finding import find_real
from nanoarray.images.formats import Frame
from nanoarray.images.grey import supported_dtype
from nanoarray.images.read import (
    Micrograph,
    frames_of,
    one_line,
    open_source,
    quiet_tifffile,
    read_frame,
    scale_of,
    shared_file_doubts,
)
from nanoarray.images.scale import SCALE_BAR, ScaleReading
from nanoarray.images.source import MAX_FILE_BYTES, Source, read_ahead
from nanoarray.images.tags import tags_of_header

_SCAN_BATCH = 16
#: Most headers are within so much of the start or the end of a file.
_AHEAD_BYTES = 2**16


@dataclass(frozen=True)
class KnownFile:
    """A file that was read before: its SHA-256, and the images that it holds ("" for one)."""

    sha256: str
    frames: tuple[str, ...]


@dataclass(frozen=True)
class ScannedImage:
    """What a first look at a file found; ``problem`` is "" where it is a micrograph.

    ``sha256`` is "" as long as ``fingerprint`` tells the file from all others.
    """

    image: str
    path: str
    sha256: str = ""
    fingerprint: str = ""
    height: int = 0
    width: int = 0
    dtype: str = "uint8"
    bit_depth: int = -1
    data_bar: int = -1
    frame: str = ""
    stamp: tuple[int, int] = (0, 0)
    readings: tuple[ScaleReading, ...] = ()
    tags: Mapping[str, float | str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problem: str = ""

    @property
    def content(self) -> tuple[str, str]:
        """What images of equal content have in common."""
        return self.sha256 or self.fingerprint, self.frame


def image_ids(sources: Sequence[str | os.PathLike[str]], url: str) -> dict[str, Path]:
    """Id -> file. The id is the path within its source, without suffix.

    Files of one folder that differ in their suffix alone keep it in their ids.
    """
    wanted: dict[str, list[tuple[str, Path]]] = {}
    seen: set[str] = set()
    inside = os.path.realpath(url) + os.sep
    for source in sources:
        folder = os.fspath(source)
        if not os.path.isfile(folder) and store.is_store(folder):
            raise InputError(f"{source} is a nanoarray store, expected micrographs as SOURCE")
        above = os.path.join(Path(folder), "") if os.path.isdir(folder) else ""
        for real, path in find_real(folder):
            if real in seen or real.startswith(inside):
                continue
            seen.add(real)
            name = str(path)
            if not above:
                relative = path.name
            elif name.startswith(above):
                relative = name[len(above) :]
            else:
                relative = os.path.relpath(name, folder)
            whole = as_text(relative.replace(os.sep, "/"))
            wanted.setdefault(os.path.splitext(whole)[0], []).append((whole, path))
    found: dict[str, Path] = {}
    for image, files in wanted.items():
        together = len({path.parent for _, path in files}) == 1
        for whole, path in files:
            name = whole if len(files) > 1 and together else image
            if name in found:
                raise InputError(
                    f"two images with the id '{name}': {found[name]} and {path}; rename one, or "
                    "ingest the folder above both"
                )
            found[name] = path
    return found


def as_text(path: str) -> str:
    r"""Text of a path for the store; bytes of a name that are not UTF-8 are written as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def scan(
    executor: Executor,
    files: Mapping[str, Path],
    known: Mapping[str, KnownFile],
    progress: Callable[[Progress], None] | None,
    *,
    scale_bar: str = "",
    hashed: bool = True,
) -> list[ScannedImage]:
    """Look at every image of every file, in parallel; the result is in the order of ``files``.

    What a file says before it is decoded is enough to plan the store. A file that only decoding can
    tell about is decoded.

    Parameters
    ----------
    executor
        Where the files are read.
    files
        By id.
    known
        The files that were read before, by id: of one that still has its SHA-256, the rows hold no
        more than id, path and SHA-256.
    progress
        Called with every step forward.
    scale_bar
        As for `ingest`.
    hashed
        Whether the SHA-256 of every file is needed, for which it is read whole. Otherwise only
        those are hashed that may be copies of each other, and whoever reads the pixels hashes the
        rest on the way: an archive larger than memory is then read from disk once.
    """
    start = time.perf_counter()
    entries = [
        (image, os.path.abspath(path), known.get(image), "", hashed)
        for image, path in files.items()
    ]
    batches = [
        (entries[i : i + _SCAN_BATCH], scale_bar) for i in range(0, len(entries), _SCAN_BATCH)
    ]
    results: dict[int, list[ScannedImage]] = {}
    done = failed = 0
    for position, result, error in run_careful(
        executor,
        _scan_batch,
        batches,
        names=[f"read/{batch[0][0][1]}" for batch in batches],
        probe=_scan_batch,
        parts=lambda batch: [([entry], batch[1]) for entry in batch[0]],
        without=_without,
    ):
        if error is not None:
            raise NanoarrayError(f"reading {batches[position][0][0][1]} failed: {error!r}")
        results[position] = result
        done += len(batches[position][0])
        failed += sum(bool(r.problem) for r in result)
        if progress is not None:
            seconds = time.perf_counter() - start
            progress(Progress("reading", done, len(entries), "file", failed, seconds))
    rows = [row for position in sorted(results) for row in results[position]]
    return _copies_hashed(executor, rows)


def _copies_hashed(executor: Executor, rows: list[ScannedImage]) -> list[ScannedImage]:
    """The rows, with the SHA-256 of files that may be copies of each other."""
    paths: dict[str, set[str]] = {}
    for row in rows:
        if row.fingerprint and not row.sha256:
            paths.setdefault(row.fingerprint, set()).add(row.path)
    alike = sorted(path for same in paths.values() if len(same) > 1 for path in same)
    batches = [(alike[i : i + _SCAN_BATCH],) for i in range(0, len(alike), _SCAN_BATCH)]
    found: dict[str, str] = {}
    for position, sums, error in run_tasks(executor, _sha256_of, batches):
        if error is not None:
            raise NanoarrayError(f"reading {batches[position][0][0]} failed: {error!r}")
        found.update(zip(batches[position][0], sums, strict=True))
    return [
        replace(row, sha256=found[row.path]) if found.get(row.path) and not row.sha256 else row
        for row in rows
    ]


def _sha256_of(paths: Sequence[str]) -> list[str]:
    """SHA-256 of files; "" of one that cannot be read, which its reader will say."""
    sums = []
    for path in paths:
        try:
            sums.append(Source(path).sha256)
        except OSError:
            sums.append("")
    return sums


def image_id(file_id: str, frame: str) -> str:
    """Id of an image of a file; a file that holds one gives it its own."""
    return f"{file_id}#{frame}" if frame else file_id


def _without(batch: tuple, reasons: Mapping[int, str]) -> tuple:
    """The batch with problems in place of files that no process outlives."""
    entries, scale_bar = batch
    said = [
        (*entry[:3], f"cannot be read: {reasons[k]}" if k in reasons else "", entry[4])
        for k, entry in enumerate(entries)
    ]
    return said, scale_bar


def _scan_batch(
    entries: Sequence[tuple[str, str, KnownFile | None, str, bool]], scale_bar: str
) -> list[ScannedImage]:
    for _, path, _, problem, _ in entries:
        if not problem:
            read_ahead(path, most_bytes=_AHEAD_BYTES)
    with quiet_tifffile():
        return [row for entry in entries for row in _scan_file(*entry, scale_bar)]


def _scan_file(
    file_id: str, path: str, known: KnownFile | None, problem: str, hashed: bool, scale_bar: str
) -> list[ScannedImage]:
    row = ScannedImage(file_id, path, problem=problem)
    if problem:
        return [row]
    try:
        source = open_source(path)
        row = replace(row, stamp=stamp_of(path))
        if hashed or known is not None:
            row = replace(row, sha256=source.sha256)
        if known is not None and known.sha256 == row.sha256:
            rows = [replace(row, image=image_id(file_id, f), frame=f) for f in known.frames]
            return _with_bars(rows, source, scale_bar) if scale_bar else rows
        try:
            frames = frames_of(source)
        except ImageError as error:
            # A giant is not read to its end to learn which unreadable file it is.
            sha = source.sha256 if source.size_bytes <= MAX_FILE_BYTES else ""
            return [replace(row, sha256=sha, problem=str(error) or "unreadable")]
        row = replace(row, fingerprint="" if row.sha256 else source.fingerprint)
    except ImageError as error:
        return [replace(row, problem=str(error) or "unreadable")]
    except OSError as error:
        return [replace(row, problem=f"cannot be opened: {error.strerror or error}")]
    doubts = shared_file_doubts(len(frames))
    if file_id.endswith(os.path.splitext(as_text(path))[1] or "\0"):
        doubts.append("another file has its name but for the suffix: it may be the same image")
    rows = []
    for frame in frames:
        of_frame = replace(row, image=image_id(file_id, frame.name), frame=frame.name)
        of_frame = replace(of_frame, warnings=tuple(doubts))
        # A scale bar is found in the pixels.
        said = not scale_bar and frame.dtype and min(frame.shape) > 0
        found = declared if said else functools.partial(decoded, scale_bar=scale_bar)
        rows.append(found(of_frame, frame)[0])
    return rows


def _with_bars(rows: Sequence[ScannedImage], source: Source, scale_bar: str) -> list[ScannedImage]:
    """Rows of images that the store has, with what their scale bars say."""
    try:
        frames = {frame.name: frame for frame in frames_of(source)}
    except ImageError:  # of a format that is not read any more: the pixels are in the store
        return list(rows)

    def look(row: ScannedImage) -> tuple[ScannedImage, None]:
        bar = read_frame(frames[row.frame], in_bands=True).metadata["data_bar_px"]
        burned, doubts = _burned_in(frames[row.frame], int(bar), scale_bar)
        return replace(row, readings=tuple(burned), warnings=tuple(doubts)), None

    looks = (functools.partial(within, TIME_LIMIT_S, look, row) for row in rows)
    found = [_safely(row, one)[0] for row, one in zip(rows, looks, strict=True)]
    return [old if new.problem else new for old, new in zip(rows, found, strict=True)]


def stamp_of(path: str) -> tuple[int, int]:
    """Size and time of change of a file: another stamp, another content."""
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns


def declared(row: ScannedImage, frame: Frame) -> tuple[ScannedImage, Micrograph | None]:
    """The row of an image by what its file declares; nothing is decoded."""
    return _safely(row, lambda: (_declared(row, frame), None))


def decoded(
    row: ScannedImage, frame: Frame, *, scale_bar: str = ""
) -> tuple[ScannedImage, Micrograph | None]:
    """The row of an image, and its pixels; None with the problem where they cannot be read."""
    return _safely(row, lambda: within(TIME_LIMIT_S, _decoded, row, frame, scale_bar))


def _safely(
    row: ScannedImage, look: Callable[[], tuple[ScannedImage, Micrograph | None]]
) -> tuple[ScannedImage, Micrograph | None]:
    try:
        return look()
    except ImageError as error:
        return unreadable(row, str(error) or "unreadable"), None
    except Exception as error:  # noqa: BLE001 -- one odd file must not end the run
        problem = f"cannot be read: {type(error).__name__}: {one_line(error)}"
        return unreadable(row, problem), None


def _declared(row: ScannedImage, frame: Frame) -> ScannedImage:
    scale, notes = scale_of(frame.header, width_px=frame.shape[1])
    return replace(
        row,
        height=frame.shape[0],
        width=frame.shape[1],
        dtype=supported_dtype(frame.dtype),
        readings=scale.readings,
        tags=tags_of_header(frame.header),
        warnings=(*frame.header.warnings, *notes, *row.warnings),
    )


def _decoded(
    row: ScannedImage, frame: Frame, scale_bar: str
) -> tuple[ScannedImage, Micrograph | None]:
    micrograph = read_frame(frame, in_bands=True)
    data_bar = int(micrograph.metadata.get("data_bar_px", -1))
    # A scale bar that was measured before is still there when the pixels are decoded again.
    burned, doubts = [r for r in row.readings if r.kind == SCALE_BAR], list[str]()
    if scale_bar:
        burned, doubts = _burned_in(frame, data_bar, scale_bar)
    height, width = micrograph.pixels.shape
    known = dict.fromkeys((*micrograph.warnings, *doubts, *row.warnings))
    found = replace(
        row,
        height=height,
        width=width,
        dtype=str(micrograph.pixels.dtype),
        bit_depth=micrograph.bit_depth,
        data_bar=data_bar,
        readings=(*micrograph.scale.readings, *burned),
        tags=tags_of_header(frame.header),
        warnings=tuple(known),
    )
    return found, micrograph


def unreadable(row: ScannedImage, problem: str) -> ScannedImage:
    """The row of an image that cannot be read, with the reason."""
    return replace(row, problem=problem, warnings=(), height=0, width=0, dtype="uint8")


def _burned_in(
    frame: Frame, data_bar_px: int, scale_bar: str
) -> tuple[list[ScaleReading], list[str]]:
    from nanoarray.images.burned_in import burned_in_frame

    return burned_in_frame(frame, data_bar_px, scale_bar)
