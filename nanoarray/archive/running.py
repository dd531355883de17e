"""Doing the blocks of a group."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from nanoarray.archive.blocks import (
    BlockResult,
    BlockTask,
    do_block,
    images_of,
    try_image,
)
from nanoarray.archive.careful import run_careful
from nanoarray.archive.executor import Executor
from nanoarray.archive.marks import BlockMarks
from nanoarray.archive.rows import FAILED
from nanoarray.archive.stage import Progress, Stage
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.errors import InputError, NanoarrayError, is_about_place

_log = logging.getLogger(__name__)


class BlockRun:
    """One run over blocks of a group.

    Parameters
    ----------
    url, stage, parameters
        What is made, and where.
    record
        The group's provenance.
    executor
        Where the work is done.
    time_limit_s
        Longest time for one image, or for one block of a table.
    progress
        Called with every step forward.
    start
        When the stage began, by `time.perf_counter`.
    """

    def __init__(
        self,
        url: str,
        stage: Stage,
        parameters: StageParameters,
        record: Mapping[str, Any],
        *,
        executor: Executor,
        time_limit_s: float | None,
        progress: Callable[[Progress], None] | None,
        start: float,
    ) -> None:
        self._executor, self._progress, self._start = executor, progress, start
        self._name, self._dim = stage.name, str(record["dim"])
        self._size, self._length = int(record["block"]), int(record["length"])
        self._pattern = BlockTask(
            url,
            stage,
            parameters,
            uuid.uuid4().hex,
            (record["digest"], record["plan_digest"]),
            0,
            slice(0, 0),
            time_limit_s,
        )
        self._done = self._failed = self._total = 0

    def do(self, keys: Mapping[int, tuple[int, int]]) -> None:
        """Do blocks, given as block -> (key it has, key it is to have).

        Raises
        ------
        NanoarrayError
            When some could not be done; the others are done, and marked.
        """
        tasks = [self._task(block) for block in keys]
        self._total = sum(t.rows.stop - t.rows.start for t in tasks)
        self._tell()
        errors: dict[int, BaseException] = {}
        with BlockMarks(self._pattern.url, self._name) as marks:
            marks.clear(block for block, (old, _) in keys.items() if old)
            for position, result, error in run_careful(
                self._executor,
                do_block,
                [(task,) for task in tasks],
                names=[f"{self._name}/{task.block}" for task in tasks],
                probe=try_image,
                parts=_images_of,
                without=_without,
            ):
                task = tasks[position]
                if error is not None:
                    errors[task.block] = error
                    continue
                marks.done(task.block, keys[task.block][1], result.checksum)
                self._failed += result.failed
                self._done += task.rows.stop - task.rows.start
                self._tell()
                if result.stuck:
                    _end_stuck_worker(self._executor, result)
        if errors:
            self._report(errors, len(tasks))

    def _task(self, block: int) -> BlockTask:
        rows = slice(block * self._size, min(self._length, (block + 1) * self._size))
        return dataclasses.replace(self._pattern, block=block, rows=rows)

    def _tell(self) -> None:
        if self._progress is not None:
            seconds = time.perf_counter() - self._start
            self._progress(
                Progress(self._name, self._done, self._total, self._dim, self._failed, seconds)
            )

    def _report(self, errors: Mapping[int, BaseException], count: int) -> None:
        block = min(errors)
        error = errors[block]
        rows = self._task(block).rows
        kind = InputError if is_about_place(error) else NanoarrayError
        raise kind(
            f"stage {self._name!r}: {len(errors)} of {count} blocks failed, the first "
            f"({self._dim} {rows.start} to {rows.stop - 1}) with {type(error).__name__}: "
            f"{error}. Finished blocks are kept; run the same command again"
        ) from error


def _images_of(item: tuple[BlockTask]) -> list[tuple[BlockTask, slice]]:
    """The images of a block, to be tried one by one."""
    return [(item[0], rows) for rows in images_of(item[0])]


def _without(item: tuple[BlockTask], reasons: Mapping[int, str]) -> tuple[BlockTask]:
    """The block without some of its images, which fail."""
    task, images = item[0], images_of(item[0])
    skip = {
        i: f"{FAILED}{reason}"
        for k, reason in reasons.items()
        for i in range(images[k].start, images[k].stop)
    }
    return (dataclasses.replace(task, skip=skip),)


def _end_stuck_worker(executor: Executor, result: BlockResult) -> None:
    """Restart a worker that still works on an image which was given up."""
    if executor.client is None or not result.worker:
        _log.warning("an image that was given up goes on taking a processor until this ends")
        return
    with contextlib.suppress(ValueError, KeyError, OSError, TimeoutError):  # it has no nanny
        executor.client.restart_workers([result.worker], raise_for_error=False)
