"""What runs on a worker: planning a group, and computing and writing one block of it."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from nanoarray.archive import store
from nanoarray.archive.image_writer import ImageWriter, parts_of
from nanoarray.archive.layout import GroupPlan, with_block
from nanoarray.archive.marks import chunks_checksum
from nanoarray.archive.memory import Memory, memory_of_run
from nanoarray.archive.rows import FAILED, failure, unknown_rows
from nanoarray.archive.stage import Inputs, LeftOut, Stage, inputs_of
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.archive.time_limit import TimeLimitError, within
from nanoarray.errors import BusyError, DamagedError


@dataclass(frozen=True)
class BlockTask:
    """One block to do.

    Parameters
    ----------
    url, stage, parameters
        What is made, and where.
    this_run
        Names the run; groups are opened once per run.
    record_key
        Digests of the group's record: the block is not written where the group has another.
    block, rows
        Its number, and the rows along the group's dimension.
    time_limit_s
        Longest time for one image (or for one block of a table); None for any.
    skip
        Position -> reason of images, or rows of a table, that must not be tried.
    """

    url: str
    stage: Stage
    parameters: StageParameters
    this_run: str
    record_key: tuple[str, str]
    block: int
    rows: slice
    time_limit_s: float | None = None
    skip: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockResult:
    """What became of a block.

    ``failed`` images of it failed; ``checksum`` is that of its chunks; ``stuck`` says that an image
    was given up and its thread goes on, on the Dask worker ``worker`` ("" for none).
    """

    failed: int
    checksum: int
    stuck: bool = False
    worker: str = ""


def plan_group(url: str, stage: Stage, parameters: StageParameters) -> GroupPlan:
    """The plan of a stage's group; blocks of a group that goes on are as large as they were."""
    inputs = {group: store.open_group(url, group) for group in inputs_of(stage, parameters)}
    before = store.provenance(url, stage.name)
    made_so = (parameters.model_dump(mode="json"), stage.version)
    basis = before.get("basis", {})
    same = (basis.get("parameters"), basis.get("kernel_version")) == made_so
    goes_on = same and stage.axis == "image"  # a table that grows is made anew
    return with_block(stage.plan(inputs, parameters), before.get("block") if goes_on else None)


def do_block(task: BlockTask) -> BlockResult:
    """Compute and write one block.

    Raises
    ------
    BusyError
        When another run has begun to make the group differently.
    """
    url, stage = task.url, task.stage
    inputs, own = _groups(task)
    stuck = False
    written: dict[str, int] = {}
    if stage.axis == "image":
        check = functools.partial(_check_record, task)
        writer = ImageWriter(url, stage.name, own, task.rows, check, _memory(task))
        values, stuck = _compute_images(task, inputs, own, writer)
        written = writer.written
    else:
        values = within(task.time_limit_s, _compute_rows, task, inputs, own)
    _check_record(task)
    written |= store.write_rows(url, stage.name, task.rows, values, memory=_memory(task))
    worker = _worker_address() if stuck else ""
    return BlockResult(_count_failed(values), chunks_checksum(written), stuck, worker)


def _check_record(task: BlockTask) -> None:
    record = store.provenance(task.url, task.stage.name)
    if (record.get("digest"), record.get("plan_digest")) != task.record_key:
        raise BusyError(
            f"another run makes {task.stage.name!r} of {task.url} differently at the same time"
        )


def images_of(task: BlockTask) -> list[slice]:
    """The images of a block, each by its rows; none of a table that cannot leave images out."""
    rows, identity = task.rows, task.stage.identity
    if task.stage.axis == "image":
        return [slice(i, i + 1) for i in range(rows.start, rows.stop)]
    if identity is None:
        return []
    index = np.asarray(identity(_groups(task)[0], rows)["image_index"])
    cuts = (np.flatnonzero(np.diff(index)) + 1 + rows.start).tolist()
    return [slice(*ends) for ends in itertools.pairwise([rows.start, *cuts, rows.stop])]


def try_image(task: BlockTask, rows: slice) -> None:
    """Compute the rows of one image and forget them: to see whether the process outlives it."""
    inputs, own = _groups(task)
    at = rows.start if task.stage.axis == "image" else rows
    within(task.time_limit_s, _compute_and_forget, task, inputs, own, at)


@lru_cache(maxsize=8)
def _opened(url: str, group: str, made: str, this_run: str) -> xr.Dataset:
    """A group as it is while a run makes ``made``: opening takes as long as reading an image."""
    return store.open_group(url, group, memory=memory_of_run(url, made, this_run))


def _groups(task: BlockTask) -> tuple[dict[str, xr.Dataset], xr.Dataset]:
    """The groups that a block reads, and its own."""
    names = inputs_of(task.stage, task.parameters)
    own = task.stage.name
    opened = {group: _opened(task.url, group, own, task.this_run) for group in (*names, own)}
    return {group: opened[group] for group in names}, opened[own]


def _memory(task: BlockTask) -> Memory:
    return memory_of_run(task.url, task.stage.name, task.this_run)


def _compute_images(
    task: BlockTask, inputs: Inputs, own: xr.Dataset, writer: ImageWriter
) -> tuple[dict[str, np.ndarray], bool]:
    """Compute the images of a block one by one; one that fails keeps a reason, not a result.

    What has a value for each image is given back; what has more is written by the writer. The
    second result is True where an image was given up and its thread still runs.
    """
    rows = task.rows
    stuck = False
    reasons = np.full(rows.stop - rows.start, "", dtype=object)
    for k, i in enumerate(range(rows.start, rows.stop)):
        reasons[k] = task.skip.get(i) or _left_out_before(inputs, i)
        try:
            if not reasons[k]:
                within(task.time_limit_s, _compute_image, task, inputs, own, i, writer)
        except LeftOut as reason:
            reasons[k] = f"left out: {reason}"
        except (OSError, MemoryError, DamagedError, BusyError):
            raise  # the place or the machine failed, not the image: the block is to be done again
        except Exception as error:  # noqa: BLE001 -- one bad image must not lose the batch
            reasons[k] = failure(error)
            stuck |= isinstance(error, TimeLimitError)
        if reasons[k]:
            writer.leave(i)
    return {**writer.columns, "problem": reasons}, stuck


def _compute_image(
    task: BlockTask, inputs: Inputs, own: xr.Dataset, i: int, writer: ImageWriter
) -> None:
    writer.put(i, task.stage.compute(inputs, task.parameters, own, i))


def _compute_and_forget(task: BlockTask, inputs: Inputs, own: xr.Dataset, at: int | slice) -> None:
    for _ in parts_of(task.stage.compute(inputs, task.parameters, own, at)):
        pass


def _compute_rows(task: BlockTask, inputs: Inputs, own: xr.Dataset) -> dict[str, Any]:
    """Compute the rows of a block of a table; those not to be tried keep a reason, not a result."""
    stage = task.stage
    compute: Callable[..., Any] = stage.compute  # a table's gives columns, and no parts of images
    if not task.skip or stage.identity is None:
        return dict(compute(inputs, task.parameters, own, task.rows))
    runs: list[dict[str, np.ndarray]] = []
    places = range(task.rows.start, task.rows.stop)
    for reason, run in itertools.groupby(places, lambda i: task.skip.get(i, "")):
        count = len(list(run))
        start = task.rows.start + sum(len(r["problem"]) for r in runs)
        rows = slice(start, start + count)
        columns = unknown_rows(own, stage.name, count)
        if reason:
            columns |= stage.identity(inputs, rows)
            columns["problem"][:] = reason
        else:
            columns |= compute(inputs, task.parameters, own, rows)
        runs.append(columns)
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def _left_out_before(inputs: Inputs, i: int) -> str:
    """Why an image cannot be used: the reason an input group gives."""
    for group, ds in inputs.items():
        if "problem" in ds and ds["problem"].dims == ("image",):
            reason = str(ds["problem"][i].values)
            if reason and group == "images":
                return f"left out: unreadable: {reason}"
            if reason:
                return f"left out: {reason.removeprefix('left out: ')}"
    return ""


def _worker_address() -> str:
    """The Dask worker that this runs on; "" for none."""
    if "distributed" not in sys.modules:
        return ""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return ""


def _count_failed(values: Mapping[str, np.ndarray]) -> int:
    """How many images of a block failed; in a table each of an image's rows says so."""
    reasons = np.asarray(values.get("problem", np.array([], dtype=object)), dtype=object)
    failed = np.array([str(r).startswith(FAILED) for r in reasons], dtype=bool)
    if "image_index" in values:
        return len(set(np.asarray(values["image_index"])[failed].tolist()))
    return int(failed.sum())
