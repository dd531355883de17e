"""The pixels of the group ``images``: planned from what files declare, written block by block.

Every image is decoded once, by the task that writes it. What only its pixels tell (the rows of
its data bar, whether it can be read at all) comes back with the task.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nanoarray import schema
from nanoarray.archive import image_chunks, store
from nanoarray.archive import provenance as prov
from nanoarray.archive.careful import run_careful
from nanoarray.archive.chunk_writer import ChunkLayout, chunk_layout, write_chunks
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import Executor
from nanoarray.archive.marks import BlockMarks, chunks_checksum
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.errors import ImageError, InputError, NanoarrayError
from nanoarray.images.banded import BandedPixels
from nanoarray.images.formats import Frame
from nanoarray.images.geometry import Stretch, stretched
from nanoarray.images.read import Micrograph, frames_of, open_source, quiet_tifffile
from nanoarray.images.scan import ScannedImage, decoded, stamp_of, unreadable
from nanoarray.images.source import Source, read_ahead

KERNEL_VERSION = 1
#: Images per block: large enough that a task is not overhead, small enough to share a few images.
BLOCK = 2
#: A task takes blocks of up to so many bytes of pixels, and so many of them: one task per block of
#: small images would cost as much as their reading.
TASK_BYTES = 2**24
MOST_BLOCKS = 8
#: A file up to this size is read once, in one piece, to be hashed and decoded.
WHOLE_BYTES = 2**26
#: The arrays that blocks fill.
PER_BLOCK = ("intensity", "metadata")


@dataclass(frozen=True)
class Placed:
    """An image and where it goes: its row, and how its pixels are stretched on the way."""

    row: ScannedImage
    stretch: Stretch

    @property
    def identity(self) -> tuple[object, ...]:
        """What its block's key covers."""
        plain = (self.row.image, self.row.sha256, self.row.problem)
        # Stores of before there were frames and stretches keep their keys.
        more = (self.row.frame, self.stretch.x, self.stretch.y)
        return plain if more == ("", 1.0, 1.0) else (*plain, *more)


def plan_images(placed: Sequence[Placed], before: Mapping[str, Any]) -> GroupPlan:
    """Arrays for pixels: as large as the largest image declared, as deep as the deepest.

    Parameters
    ----------
    placed
        Every row.
    before
        Provenance of the group; empty where there is none.

    Raises
    ------
    InputError
        Every image must be read again, for deeper pixels, and one is not there.
    """
    rows = [p.row for p in placed]
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
        "y": max([p.stretch.rows(p.row.height) for p in placed] + [1]),
        "x": max([p.stretch.columns(p.row.width) for p in placed] + [1]),
    }
    return _plan(sizes, dtype)


def _plan(sizes: Mapping[str, int], dtype: str) -> GroupPlan:
    arrays = (
        array_plan("images", "intensity", sizes, block=BLOCK, dtype=dtype),
        array_plan("images", "metadata", sizes, block=BLOCK),
    )
    return GroupPlan(arrays, "image", sizes["image"], BLOCK, resolved={"dtype": dtype})


def trim(url: str, columns: Mapping[str, np.ndarray], dtype: str) -> None:
    """Give the pixels the size of the largest image as it turned out, without data bars."""
    sizes = {"image": len(columns["image"])}
    for dim, name in (("y", "height"), ("x", "width")):
        sizes[dim] = max([int(n) for n in columns[name]] + [1])
    store.resize_group(url, "images", _plan(sizes, dtype))


def write_columns(
    url: str,
    columns: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    *,
    written: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the one-dimensional variables, whole; those that were ``written`` so are left."""

    def attrs(name: str) -> Mapping[str, Any]:
        entry = schema.known("images", name)
        known = {"units": units.get(name, "1"), "long_name": f"tag {name}"}
        return entry.attrs if entry else known

    whole = {
        name: (("image",), values, attrs(name))
        for name, values in columns.items()
        if written is None or name not in written or not _same(written[name], values)
    }
    store.put_constants(url, "images", whole)


def _same(old: np.ndarray, new: np.ndarray) -> bool:
    return old.dtype == new.dtype and store.same_values(old, new)


def write_pixels(
    url: str,
    placed: Sequence[Placed],
    plan: GroupPlan,
    executor: Executor,
    report: Callable[[int, int, int], None],
    *,
    fresh: frozenset[str],
) -> list[ScannedImage]:
    """Decode and write the images of every block that is not done.

    Parameters
    ----------
    url, placed, plan
        The store, every row in order, and the arrays.
    executor
        Runs a task per block.
    report
        Called with the numbers of images done, in all, and unreadable.
    fresh
        Images of which the store knows nothing yet: those in finished blocks, as an interrupted
        ingest leaves them, are decoded again for what their rows hold.

    Returns
    -------
    list of ScannedImage
        The rows; those that were decoded with all that decoding tells.
    """
    keys = [
        prov.block_key(KERNEL_VERSION, [p.identity for p in placed[plan.span(b)]])
        for b in range(plan.block_count)
    ]
    found = [int(key) for key in store.block_keys(url, "images")]
    layouts = tuple(chunk_layout(url, "images", n) for n in PER_BLOCK)
    together = _blocks_per_task(plan)
    tasks: dict[int, list[_Block]] = {}
    for b in range(plan.block_count):
        images = placed[plan.span(b)]
        done = found[b] == keys[b]
        clear = plan.arrays[0].shape[1:] if found[b] and not done else ()
        if not done or any(p.row.image in fresh and not p.row.problem for p in images):
            block = _Block(b, plan.span(b), images, not done, clear)
            tasks.setdefault(b // together, []).append(block)
    rows = [p.row for p in placed]
    done_images, failed = 0, 0
    todo = [block for blocks in tasks.values() for block in blocks]
    total = sum(len(block.images) for block in todo)
    with BlockMarks(url, "images") as marks:
        marks.clear(b.number for b in todo if found[b.number] and b.write)
        for _, result, error in run_careful(
            executor,
            write_blocks,
            [(layouts, blocks) for blocks in tasks.values()],
            names=[f"images/{first}" for first in tasks],
            probe=write_blocks,
            parts=_images_of,
            without=_without,
        ):
            if error is not None:
                raise (
                    error
                    if isinstance(error, NanoarrayError | OSError)
                    else NanoarrayError(f"writing images failed: {type(error).__name__}: {error}")
                )
            for b, read, checksum in result:
                images = placed[plan.span(b)]
                if found[b] != keys[b]:
                    hashed = [
                        replace(p, row=replace(p.row, sha256=row.sha256)).identity
                        for p, row in zip(images, read, strict=True)
                    ]
                    marks.done(b, prov.block_key(KERNEL_VERSION, hashed), checksum)
                rows[plan.span(b)] = read
                done_images += len(read)
                failed += sum(bool(row.problem) for row in read)
            report(done_images, total, failed)
    return rows


@dataclass(frozen=True)
class _Block:
    """The images of one block, to be decoded and, with ``write``, written.

    ``clear`` is the height and width that pixels have room for where something else stands there.
    """

    number: int
    rows: slice
    images: Sequence[Placed]
    write: bool
    clear: Sequence[int] = ()


def _blocks_per_task(plan: GroupPlan) -> int:
    """Blocks of small images share a task, which costs as much as reading one of them."""
    pixels = plan.arrays[0]
    block_bytes = plan.block * math.prod(pixels.shape[1:]) * np.dtype(pixels.dtype).itemsize
    return max(1, min(MOST_BLOCKS, TASK_BYTES // block_bytes))


def _images_of(item: tuple) -> list[tuple]:
    """The images of a task, each to be decoded alone."""
    layouts, blocks = item
    return [
        (layouts, [replace(block, images=[image], write=False, clear=())])
        for block in blocks
        for image in block.images
    ]


def _without(item: tuple, reasons: Mapping[int, str]) -> tuple:
    """The task with problems in place of images that no process outlives."""
    layouts, blocks = item
    said, k = [], 0
    for block in blocks:
        images = list(block.images)
        for n, placed in enumerate(images):
            if k in reasons:
                row = unreadable(_hashed(placed.row), f"cannot be read: {reasons[k]}")
                images[n] = replace(placed, row=row)
            k += 1
        said.append(replace(block, images=images))
    return layouts, said


def write_blocks(
    layouts: tuple[ChunkLayout, ChunkLayout], blocks: Sequence[_Block]
) -> list[tuple[int, list[ScannedImage], int]]:
    """Decode the images of some blocks and write them, or only decode them.

    ``layouts`` are those of the pixels and of the files' metadata. Gives the number of each block,
    its rows, and the checksum of the chunks that were written.
    """
    for path in dict.fromkeys(image.row.path for block in blocks for image in block.images):
        read_ahead(path, most_bytes=TASK_BYTES)
    with quiet_tifffile():
        return [(block.number, *_write_block(layouts, block)) for block in blocks]


def _write_block(
    layouts: tuple[ChunkLayout, ChunkLayout], block: _Block
) -> tuple[list[ScannedImage], int]:
    intensity, metadata = layouts
    written: dict[str, int] = {}
    if block.clear:
        store.write_rows(
            intensity.url,
            intensity.group,
            block.rows,
            {intensity.name: np.zeros((len(block.images), *block.clear), np.uint8)},
        )
    texts = np.full(len(block.images), "", dtype=object)
    found: list[ScannedImage] = []
    opened: dict[str, tuple[list[Frame], str]] = {}
    for k, placed in enumerate(block.images):
        row = placed.row
        if not row.problem:
            row, micrograph = _decode(row, opened)
            if micrograph is not None and block.write:
                texts[k] = micrograph.raw_metadata
                written |= _write_pixels(intensity, block.rows.start + k, micrograph, placed)
        found.append(row)
    if block.write and (block.clear or any(texts)):
        written |= write_chunks(metadata, block.rows.start, texts)
    return found, chunks_checksum(written)


def _write_pixels(
    layout: ChunkLayout, i: int, micrograph: Micrograph, placed: Placed
) -> dict[str, int]:
    """Write the pixels of one image: at once, or band by band."""
    pixels: Any = micrograph.pixels
    if not isinstance(pixels, BandedPixels):
        return write_chunks(layout, i, stretched(pixels, placed.stretch)[np.newaxis])
    if placed.stretch != Stretch():
        raise InputError(
            f"{placed.row.path} has {pixels.shape[0]} x {pixels.shape[1]} px, and images that are "
            "read in bands are not stretched: ingest it without --tilt-correction and "
            "--square-pixels"
        )
    written: dict[str, int] = {}
    for top, band in pixels.bands():
        written |= image_chunks.write_part(
            layout.url, layout.group, i, (top, 0), {layout.name: band}, fills={layout.name: 0}
        )
    return written


def _decode(
    row: ScannedImage, opened: dict[str, tuple[list[Frame], str]]
) -> tuple[ScannedImage, Micrograph | None]:
    """Decode an image; ``opened`` keeps the last file, of which the next image may be one too."""
    if row.path not in opened:
        opened.clear()
        _check_unchanged(row)
        try:
            opened[row.path] = _frames_of(row)
        except ImageError as error:
            if row.stamp[0]:  # a disk that fails: this image is lost, and not the others
                return unreadable(row, str(error)), None
            raise InputError(f"{row.path} {error}: it could be read before") from error
    frames, sha256 = opened[row.path]
    row = replace(row, sha256=sha256)
    if not sha256:
        return unreadable(row, "cannot be read to its end"), None
    found = decoded(row, next(f for f in frames if f.name == row.frame))
    _check_unchanged(row)
    return found


def _frames_of(row: ScannedImage) -> tuple[list[Frame], str]:
    """The images of a row's file, and its SHA-256; "" where it cannot be read to its end."""
    source = open_source(row.path, whole_bytes=WHOLE_BYTES)
    if not row.stamp[0] and source.sha256 != row.sha256:
        raise InputError(f"{row.path} changed since it was ingested: restore it")
    return frames_of(source), row.sha256 or _sha256_of(source)


def _check_unchanged(row: ScannedImage) -> None:
    """What was hashed, declared and decoded must be one file."""
    try:
        if not row.stamp[0] or row.stamp == stamp_of(row.path):
            return
    except FileNotFoundError:
        pass
    raise InputError(f"{row.path} changed while it was being ingested: run it again")


def _hashed(row: ScannedImage) -> ScannedImage:
    """The row with the SHA-256 of its file; without, where the file cannot be read."""
    return row if row.sha256 else replace(row, sha256=_sha256_of(Source(row.path)))


def _sha256_of(source: Source) -> str:
    with contextlib.suppress(OSError):
        return source.sha256
    return ""


def progress_report(
    progress: Callable[[Progress], None] | None, seconds: Callable[[], float]
) -> Callable[[int, int, int], None]:
    """Pass the counts of `write_pixels` on as progress."""

    def report(done: int, total: int, failed: int) -> None:
        if progress is not None:
            progress(Progress("writing", done, total, "image", failed, seconds()))

    return report
