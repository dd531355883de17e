"""Running the stages of a pipeline: each as soon as those that it reads are done.

Stages that do not read each other run at the same time on a cluster, so that one that keeps a
single worker busy, as a fit across the collection does, leaves the others work. What a stage writes
depends on what it reads alone, so the order changes no result.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from nanoarray.archive.engine import TIME_LIMIT_S, run_stage
from nanoarray.archive.executor import Executor
from nanoarray.archive.stage import Progress, Stage, StageReport, inputs_of
from nanoarray.archive.stage_parameters import StageParameters

Planned = tuple[Stage, StageParameters]


def run_stages(
    url: str,
    stages: Sequence[Planned],
    *,
    executor: Executor,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    time_limit_s: float | None = TIME_LIMIT_S,
) -> list[StageReport]:
    """Bring the groups of several stages up to date.

    Parameters
    ----------
    url, executor, overwrite, time_limit_s
        As for `run_stage`.
    stages
        With their parameters; each after those it reads.
    progress
        Called with every step forward of any stage, by one thread at a time.

    Returns
    -------
    list of StageReport
        One per stage, in their order.

    Raises
    ------
    InputError, NanoarrayError
        As `run_stage`: the first that a stage ends with. The others stop; their finished blocks are
        kept.
    """
    run = partial(run_stage, url, overwrite=overwrite, time_limit_s=time_limit_s)
    if executor.client is None:  # a stage takes all threads
        return [run(*planned, executor=executor, progress=progress) for planned in stages]
    return _run_together(partial(run, progress=_one_at_a_time(progress)), stages, executor)


def _run_together(
    run: Callable[..., StageReport], stages: Sequence[Planned], executor: Executor
) -> list[StageReport]:
    """Start each stage when those that it reads are done; stop all with the first that fails."""
    needs = _needs(stages)
    pending, reports = dict(needs), dict[str, StageReport]()
    running: dict[Future[StageReport], str] = {}
    by_name = {stage.name: (stage, parameters) for stage, parameters in stages}
    with ThreadPoolExecutor(len(stages), thread_name_prefix="nanoarray stage") as pool:
        try:
            while len(reports) < len(stages):
                for name in [n for n, inputs in pending.items() if inputs <= reports.keys()]:
                    del pending[name]
                    # What many stages wait for goes before what none does.
                    place = dataclasses.replace(executor, priority=_followers(name, needs))
                    running[pool.submit(run, *by_name[name], executor=place)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in [f for f in running if f in done]:
                    reports[running.pop(future)] = future.result()
        except BaseException:
            executor.stop.set()
            raise
    return [reports[stage.name] for stage, _ in stages]


def _needs(stages: Sequence[Planned]) -> dict[str, set[str]]:
    """Per stage, which of the others it reads."""
    names = {stage.name for stage, _ in stages}
    return {stage.name: names & {*inputs_of(stage, p)} for stage, p in stages}


def _followers(name: str, needs: Mapping[str, set[str]]) -> int:
    """How many stages wait for one, directly or not."""
    found, new = set[str](), {name}
    while new:
        new = {n for n, inputs in needs.items() if inputs & new} - found
        found |= new
    return len(found)


def _one_at_a_time(
    progress: Callable[[Progress], None] | None,
) -> Callable[[Progress], None] | None:
    """A listener that several threads may call."""
    if progress is None:
        return None
    lock, listener = threading.Lock(), progress

    def tell(event: Progress) -> None:
        with lock:
            listener(event)

    return tell
