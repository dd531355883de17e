"""A first look at every file of a collection: its id, its content, its metadata."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nanoarray.archive import store
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import Executor, run_tasks
from nanoarray.errors import ImageError, InputError, NanoarrayError
from nanoarray.images.read import (
    decode_micrograph,
    find_micrographs,
    one_line,
    quiet_tifffile,
    read_bytes,
)
from nanoarray.images.tags import tags_of_micrograph

_SCAN_BATCH = 16
_OTHER_FORMATS = frozenset((".bmp", ".gif", ".dm3", ".dm4", ".emd", ".ser", ".emi", ".mrc", ".h5"))


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


def image_ids(sources: Sequence[str | os.PathLike[str]], url: str) -> dict[str, Path]:
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
            image = as_text(relative.with_suffix("").as_posix())
            if image in found:
                raise InputError(
                    f"two images with the id '{image}': {found[image]} and {path}; rename one, or "
                    "ingest the folder above both"
                )
            found[image] = path
    return found


def as_text(path: str) -> str:
    r"""Text of a path for the store; bytes of a name that are not UTF-8 are written as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def other_files(sources: Sequence[str | os.PathLike[str]]) -> Counter[str]:
    """Count the files in the sources that look like images but cannot be read, by suffix."""
    counts: Counter[str] = Counter()
    for source in sources:
        for _, _, names in os.walk(source):
            counts.update(s for n in names if (s := Path(n).suffix.lower()) in _OTHER_FORMATS)
    return counts


def scan(
    executor: Executor,
    files: Mapping[str, Path],
    known: Mapping[str, str],
    progress: Callable[[Progress], None] | None,
) -> list[ScannedImage]:
    """Look at every file, in parallel; the result is in the order of ``files``.

    ``known`` gives the SHA-256 of the images that were read before: a file that still has it is
    not decoded, and its row holds no more than its id, path and SHA-256.
    """
    start = time.perf_counter()
    entries = [
        (image, os.path.abspath(path), known.get(image, "")) for image, path in files.items()
    ]
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


def _scan_batch(entries: Sequence[tuple[str, str, str]]) -> list[ScannedImage]:
    with quiet_tifffile():
        return [_scan_one(*entry) for entry in entries]


def _scan_one(image: str, path: str, known_sha256: str) -> ScannedImage:
    row = ScannedImage(image, path)
    try:
        content = read_bytes(path)
        row = replace(row, sha256=hashlib.sha256(content).hexdigest())
        return row if row.sha256 == known_sha256 else _describe(row, content)
    except ImageError as error:
        return replace(row, problem=str(error) or "unreadable")
    except Exception as error:  # noqa: BLE001 -- one odd file must not end the run
        return replace(row, problem=f"cannot be read: {type(error).__name__}: {one_line(error)}")


def _describe(row: ScannedImage, content: bytes) -> ScannedImage:
    micrograph = decode_micrograph(content)
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
