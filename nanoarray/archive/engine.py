"""Runs a stage over blocks: plan, create, compute what is missing, mark, report.

A task may run twice, on any worker, in any order, and the result is the same: it writes only whole
chunks that its block owns and then sets the block's key. The key covers the stage's digest, the
plan and the keys of its inputs, so that a later run knows exactly which blocks are still good.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.blocks import plan_group
from nanoarray.archive.executor import Executor
from nanoarray.archive.lineage import Lineage, expected_keys, is_current
from nanoarray.archive.rows import FAILED, failure
from nanoarray.archive.running import BlockRun
from nanoarray.archive.stage import Inputs, LeftOut, Progress, Stage, StageReport, inputs_of
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.archive.tasks import WorkerDiedError, run_tasks
from nanoarray.archive.verify import seal
from nanoarray.errors import BusyError, InputError, NanoarrayError

__all__ = [
    "Inputs",
    "LeftOut",
    "Progress",
    "Stage",
    "StageReport",
    "failure",
    "inputs_of",
    "is_current",
    "problems",
    "run_stage",
]

#: Longest time for one image, or one block of a table [s].
TIME_LIMIT_S = 3600.0
#: How often missing marks are made good before the run gives up: another run removes them.
_ROUNDS = 3
#: Priority of plans: above any number of stages.
_FIRST = 1000


def run_stage(
    url: str,
    stage: Stage,
    parameters: StageParameters,
    *,
    executor: Executor,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    time_limit_s: float | None = TIME_LIMIT_S,
) -> StageReport:
    """Bring one group up to date and say what was done.

    Parameters
    ----------
    url, stage, parameters
        Where, and what.
    executor
        Where the work is done.
    overwrite
        Replace a group that was made differently, or half made by other versions, and try images
        that failed again.
    progress
        Called with every step forward.
    time_limit_s
        Longest time for one image, which fails when it takes longer, or for one block of a table.

    Raises
    ------
    InputError
        When an input group is missing or incomplete, or, without ``overwrite``, when the group is
        there with other parameters or half made by other versions (the difference is named).
    NanoarrayError
        When blocks failed; the finished ones are kept.
    """
    start = time.perf_counter()
    lineage = Lineage(url)
    basis = _basis(lineage, stage, parameters)
    digest = prov.digest(basis)
    before = store.provenance(url, stage.name)
    refusal = _refusal(url, stage.name, before, basis, digest)
    if refusal and not overwrite:
        raise InputError(refusal)
    keys = lineage.input_keys(inputs_of(stage, parameters), stage.axis)
    plan_key = prov.digest(digest, keys)
    if before and not refusal and before["plan_key"] == plan_key:
        record = before
    else:
        kept = {} if refusal else before
        record = _prepare(url, stage, parameters, kept, basis, digest, plan_key, executor)
    expected = expected_keys(record, keys)
    again = _blocks_with_failures(url, stage, record) if overwrite else set()
    blocks = BlockRun(
        url,
        stage,
        parameters,
        record,
        executor=executor,
        time_limit_s=time_limit_s,
        progress=progress,
        start=start,
    )
    todo = _do_missing(blocks, url, stage.name, expected, again)
    seconds = time.perf_counter() - start
    failed, left_out = problems(url, stage.name)
    if todo or not record.get("complete"):
        _complete(url, record, seconds, len(failed), len(left_out))
    return StageReport(
        stage=stage.name,
        status="done" if len(todo) == len(expected) else "resumed" if todo else "unchanged",
        blocks=len(expected),
        blocks_computed=len(todo),
        rows=int(record["length"]),
        seconds=seconds,
        failed=tuple(failed),
        left_out=tuple(left_out),
    )


def _refusal(
    url: str, group: str, before: Mapping[str, Any], basis: Mapping[str, Any], digest: str
) -> str:
    """Why blocks must not be added to a group as it is; "" where they may."""
    if not before:
        return ""
    if before["digest"] != digest:
        changes = prov.differences(before["basis"], basis)
        return (
            f"{url} holds {group!r} made differently ({'; '.join(changes)}): "
            "run with --overwrite to replace it, or use another store"
        )
    changes = prov.other_versions(before["software"])
    if changes and not before.get("complete") and store.block_keys(url, group).any():
        return (
            f"{url} holds {group!r} half made with other versions ({'; '.join(changes)}): finish "
            "it with those, or run with --overwrite to make it anew"
        )
    return ""


def _complete(
    url: str, record: Mapping[str, Any], seconds: float, failed: int, left_out: int
) -> None:
    """Say in a group's record that all is done."""
    group = str(record["stage"])
    content = {
        **record,
        **_software(record),
        "complete": True,
        "seal": seal(url, group, record["block_arrays"]),
        "finished": prov.now(),
        "seconds": round(float(record.get("seconds", 0.0)) + seconds, 3),
        "failed": failed,
        "left_out": left_out,
    }
    store.set_provenance(url, group, content)


def _software(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Versions that blocks are made with now, and those of blocks that are kept, if others."""
    now = prov.software()
    earlier = list(kept.get("software_before", []))
    if kept and prov.other_versions(kept["software"]):
        earlier.append(kept["software"])
    return {"software": now, "software_before": earlier} if earlier else {"software": now}


def _do_missing(
    blocks: BlockRun, url: str, group: str, expected: list[int], again: set[int]
) -> set[int]:
    """Do blocks until every one holds what it is to hold; gives those that were done."""
    todo: set[int] = set()
    for _ in range(_ROUNDS):
        found = store.block_keys(url, group).tolist()
        missing = {b for b in range(len(expected)) if found[b] != expected[b]} | again
        if not missing:
            return todo
        blocks.do({b: (found[b], expected[b]) for b in sorted(missing)})
        todo |= missing
        again = set()
    if store.block_keys(url, group).tolist() != expected:
        raise BusyError(f"another run changes {group!r} of {url} at the same time: run this again")
    return todo


def problems(url: str, group: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Images that failed and images that were left out in a group, as (id, reason)."""
    if not store.has_arrays(url, group, ["problem"]):
        return [], []
    said = list(store.problem_rows(url, group))
    if not said:
        return [], []
    ids = store.read_columns(url, "images", "image", ("image",))["image"].tolist()
    index = [row for row, _ in said]
    if store.provenance(url, group).get("dim", "image") != "image":
        index = store.read_rows(url, group, "image_index", index).tolist()
    # An image has one reason, which in a table each of its rows repeats.
    found = {i: reason for i, (_, reason) in zip(index, said, strict=True)}
    rows = [(str(ids[i]), reason) for i, reason in found.items()]
    failed = [(i, r.removeprefix(FAILED)) for i, r in rows if r.startswith(FAILED)]
    left_out = [(i, r) for i, r in rows if not r.startswith(FAILED)]
    return failed, left_out


def _basis(lineage: Lineage, stage: Stage, parameters: StageParameters) -> dict[str, Any]:
    """What a stage's result depends on, besides the images themselves."""
    url, inputs = lineage.url, {}
    for group in inputs_of(stage, parameters):
        record = lineage.record(group)
        if not lineage.is_current(group):
            state = "is not there"
            if record:
                state = "is out of date" if record.get("complete") else "is incomplete"
            raise InputError(
                f"stage {stage.name!r} needs group {group!r}, which {state} in {url}: "
                + ("run `nanoarray ingest` first" if group == "images" else "run its stage first")
            )
        inputs[group] = record["digest"]
    return {
        "parameters": parameters.model_dump(mode="json"),
        "kernel_version": stage.version,
        "inputs": inputs,
    }


def _prepare(
    url: str,
    stage: Stage,
    parameters: StageParameters,
    before: Mapping[str, Any],
    basis: Mapping[str, Any],
    digest: str,
    plan_key: str,
    executor: Executor,
) -> dict[str, Any]:
    """Plan the group (on a worker: a plan may fit a model) and make its arrays ready."""
    plan, error = _plan_on_worker(executor, (url, stage, parameters))
    if error is not None:
        if isinstance(error, NanoarrayError):
            raise error
        raise NanoarrayError(f"stage {stage.name!r} could not be planned: {error!r}") from error
    shapes = [
        (a.name, a.dims, a.shape[1:] if stage.axis == "image" else a.shape) for a in plan.arrays
    ]
    plan_digest = prov.digest(
        shapes,
        prov.array_digest({n: values for n, (_, values, _) in plan.constants.items()}),
        plan.resolved,
    )
    record = {
        "stage": stage.name,
        "axis": stage.axis,
        "digest": digest,
        "basis": basis,
        "input_groups": list(inputs_of(stage, parameters)),
        "plan_key": plan_key,
        "plan_digest": plan_digest,
        "resolved": dict(plan.resolved),
        # A store lists its arrays in no order.
        "variables": [*plan.constants, *(array.name for array in plan.arrays)],
        "dim": plan.dim,
        "length": plan.length,
        "block": plan.block,
        "block_arrays": [array.name for array in plan.arrays],
        "complete": False,
        "created": prov.now(),
    }
    grown = (
        bool(before)
        and before["digest"] == digest
        and before["plan_digest"] == plan_digest
        and before["block"] == plan.block
        and stage.axis == "image"
    )
    record |= _software(before if grown else {})
    if grown:
        # Until its arrays have their new lengths the group must not pass for complete, and only
        # then may it claim the new plan.
        store.set_provenance(url, stage.name, {**before, "complete": False})
        store.resize_group(url, stage.name, plan)
        store.set_provenance(url, stage.name, record)
    else:
        store.create_group(url, stage.name, plan)
        store.set_provenance(url, stage.name, record)
    return record


def _plan_on_worker(executor: Executor, item: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    """A plan or why there is none. All blocks wait for it, so it goes before those of others."""
    first = dataclasses.replace(executor, priority=_FIRST)
    with executor.turns.together():
        ((_, plan, error),) = run_tasks(first, plan_group, [item])
    if isinstance(error, WorkerDiedError):  # perhaps for a block of another stage, beside it
        with executor.turns.alone():
            ((_, plan, error),) = run_tasks(first, plan_group, [item])
    return plan, error


def _blocks_with_failures(url: str, stage: Stage, record: Mapping[str, Any]) -> set[int]:
    """Blocks that hold an image that failed: `overwrite` tries them again."""
    if not store.has_arrays(url, stage.name, ["problem"]):
        return set()
    size = int(record["block"])
    said = store.problem_rows(url, stage.name)
    return {row // size for row, reason in said if reason.startswith(FAILED)}
