"""Runs a stage over blocks: plan, create, compute what is missing, mark, report.

A task may run twice, on any worker, in any order, and the result is the same: it writes only whole
chunks that its block owns and then sets the block's key. The key covers the stage's digest, the
plan and the keys of its inputs, so that a later run knows exactly which blocks are still good.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.executor import Executor, run_tasks
from nanoarray.archive.lineage import Lineage, expected_keys, is_current
from nanoarray.archive.rows import FAILED, failure
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.archive.store import GroupPlan
from nanoarray.errors import InputError, NanoarrayError, is_about_place

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

Inputs = Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class Stage:
    """How one group is made from others.

    Parameters
    ----------
    name
        The group it writes.
    inputs
        The groups it reads; a function of the parameters where they decide.
    parameters
        Model of its parameters.
    version
        Raised whenever the same input and parameters would give another result.
    axis
        "image": ``compute(inputs, parameters, own, i)`` gives the variables of image ``i``;
        "row": ``compute(inputs, parameters, own, rows)`` gives those rows of a table;
        "whole": ``compute(inputs, parameters, own, rows)`` is called once.
        ``own`` is the stage's own group: coordinates, resolved parameters, fitted model.
    plan
        ``plan(inputs, parameters)`` gives shapes and whatever has to be known, or fitted, before.
    """

    name: str
    inputs: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    parameters: type[StageParameters]
    version: int
    axis: Literal["image", "row", "whole"]
    plan: Callable[[Inputs, Any], GroupPlan]
    compute: Callable[..., Mapping[str, np.ndarray]]
    description: str = ""


def inputs_of(stage: Stage, parameters: StageParameters) -> tuple[str, ...]:
    """The groups that a stage reads with these parameters."""
    return stage.inputs(parameters) if callable(stage.inputs) else stage.inputs


@dataclass(frozen=True)
class Progress:
    """How far a stage is; ``rate`` in units (images or rows) per second."""

    stage: str
    done: int
    total: int
    unit: str
    failed: int
    seconds: float


@dataclass(frozen=True)
class StageReport:
    """What a run of a stage did."""

    stage: str
    status: Literal["done", "resumed", "unchanged"]
    blocks: int
    blocks_computed: int
    rows: int
    seconds: float
    failed: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


class LeftOut(InputError):
    """An image that a stage leaves out on purpose, with the reason; not a failure."""


def run_stage(
    url: str,
    stage: Stage,
    parameters: StageParameters,
    *,
    executor: Executor,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> StageReport:
    """Bring one group up to date and say what was done.

    Raises
    ------
    InputError
        When an input group is missing or incomplete, or when the group is there with other
        parameters and ``overwrite`` is not set (the difference is named).
    NanoarrayError
        When blocks failed; the finished ones are kept.
    """
    start = time.perf_counter()
    lineage = Lineage(url)
    basis = _basis(lineage, stage, parameters)
    digest = prov.digest(basis)
    before = store.provenance(url, stage.name)
    if before and before["digest"] != digest and not overwrite:
        changes = prov.differences(before["basis"], basis)
        raise InputError(
            f"{url} holds {stage.name!r} made differently ({'; '.join(changes)}): "
            "run with --overwrite to replace it, or use another store"
        )
    keys = lineage.input_keys(inputs_of(stage, parameters), stage.axis)
    plan_key = prov.digest(digest, keys)
    if before and before["digest"] == digest and before["plan_key"] == plan_key:
        record = before
    else:
        record = _prepare(url, stage, parameters, before, basis, digest, plan_key, executor)
    expected = expected_keys(record, keys)
    found = store.block_keys(url, stage.name).tolist()
    again = _blocks_with_failures(url, stage, record) if overwrite else set()
    todo = [b for b in range(len(expected)) if found[b] != expected[b] or b in again]
    if todo:
        keys_of = {b: (found[b], expected[b]) for b in todo}
        _run_blocks(url, stage, parameters, record, keys_of, executor, progress, start)
    status: Literal["done", "resumed", "unchanged"] = (
        "done" if len(todo) == len(expected) else "resumed" if todo else "unchanged"
    )
    seconds = time.perf_counter() - start
    failed, left_out = problems(url, stage.name)
    if todo or not record.get("complete"):
        record = {
            **record,
            "complete": True,
            "finished": prov.now(),
            "seconds": round(float(record.get("seconds", 0.0)) + seconds, 3),
            "failed": len(failed),
            "left_out": len(left_out),
        }
        store.set_provenance(url, stage.name, record)
    return StageReport(
        stage=stage.name,
        status=status,
        blocks=len(expected),
        blocks_computed=len(todo),
        rows=int(record["length"]),
        seconds=seconds,
        failed=tuple(failed),
        left_out=tuple(left_out),
    )


def problems(url: str, group: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Images that failed and images that were left out in a group, as (id, reason)."""
    if not store.has_arrays(url, group, ["problem"]):
        return [], []
    ids = store.read_columns(url, "images", "image", ("image",))["image"].tolist()
    dim = store.provenance(url, group).get("dim", "image")
    names = ("problem",) if dim == "image" else ("problem", "image_index")
    columns = store.read_columns(url, group, dim, names)
    index = columns.get("image_index", np.arange(len(ids)))
    # An image has one reason, which in a table each of its rows repeats.
    pairs = zip(index.tolist(), columns["problem"].tolist(), strict=False)
    found = {i: str(reason) for i, reason in pairs if reason}
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
    ((_, plan, error),) = run_tasks(executor, _plan, [(url, stage, parameters)])
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
        "complete": False,
        "software": prov.software(),
        "created": prov.now(),
    }
    grown = (
        bool(before)
        and before["digest"] == digest
        and before["plan_digest"] == plan_digest
        and before["block"] == plan.block
        and stage.axis == "image"
    )
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


def _run_blocks(
    url: str,
    stage: Stage,
    parameters: StageParameters,
    record: Mapping[str, Any],
    keys: Mapping[int, tuple[int, int]],
    executor: Executor,
    progress: Callable[[Progress], None] | None,
    start: float,
) -> None:
    """Compute the blocks of ``keys``, which hold what each is and what it is to be marked with."""
    size, length = int(record["block"]), int(record["length"])
    spans = [slice(b * size, min(length, (b + 1) * size)) for b in keys]
    this_run = uuid.uuid4().hex
    items = [
        (url, stage, parameters, this_run, block, span, *marks)
        for (block, marks), span in zip(keys.items(), spans, strict=True)
    ]
    total = sum(s.stop - s.start for s in spans)
    done = failed = 0
    errors: list[tuple[int, BaseException]] = []

    def tell() -> None:
        if progress is not None:
            seconds = time.perf_counter() - start
            progress(Progress(stage.name, done, total, str(record["dim"]), failed, seconds))

    tell()
    for position, count, error in run_tasks(executor, _do_block, items):
        if error is None:
            failed += count
            done += spans[position].stop - spans[position].start
        else:
            errors.append((position, error))
        tell()
    if errors:
        position, error = min(errors, key=lambda e: e[0])
        span = spans[position]
        kind = InputError if is_about_place(error) else NanoarrayError
        raise kind(
            f"stage {stage.name!r}: {len(errors)} of {len(items)} blocks failed, the first "
            f"({record['dim']} {span.start} to {span.stop - 1}) with {type(error).__name__}: "
            f"{error}. Finished blocks are kept; run the same command again"
        ) from error


def _blocks_with_failures(url: str, stage: Stage, record: Mapping[str, Any]) -> set[int]:
    """Blocks that hold an image that failed: `overwrite` tries them again."""
    if not store.has_arrays(url, stage.name, ["problem"]):
        return set()
    reasons = store.read_columns(url, stage.name, str(record["dim"]), ("problem",))["problem"]
    return {i // int(record["block"]) for i, r in enumerate(reasons) if r.startswith("failed: ")}


def _plan(url: str, stage: Stage, parameters: StageParameters) -> GroupPlan:
    inputs = {group: store.open_group(url, group) for group in inputs_of(stage, parameters)}
    return stage.plan(inputs, parameters)


@lru_cache(maxsize=8)
def _opened(url: str, group: str, this_run: str) -> xr.Dataset:
    """A group as it is during one run of a stage: opening takes as long as reading an image."""
    del this_run
    return store.open_group(url, group)


def _do_block(
    url: str,
    stage: Stage,
    parameters: StageParameters,
    this_run: str,
    block: int,
    rows: slice,
    old_key: int,
    key: int,
) -> int:
    """Compute, write and mark one block; the number of images in it that failed."""
    if old_key:
        store.mark_block(url, stage.name, block, 0)
    inputs = {group: _opened(url, group, this_run) for group in inputs_of(stage, parameters)}
    own = _opened(url, stage.name, this_run)
    if stage.axis == "image":
        values = _compute_images(stage, inputs, parameters, own, rows)
    else:
        values = dict(stage.compute(inputs, parameters, own, rows))
    store.write_rows(url, stage.name, rows, values)
    store.mark_block(url, stage.name, block, key)
    reasons = np.asarray(values.get("problem", np.array([], dtype=object)), dtype=object)
    failed = np.array([str(r).startswith("failed: ") for r in reasons], dtype=bool)
    if "image_index" in values:
        return len(set(np.asarray(values["image_index"])[failed].tolist()))
    return int(failed.sum())


def _compute_images(
    stage: Stage, inputs: Inputs, parameters: StageParameters, own: xr.Dataset, rows: slice
) -> dict[str, np.ndarray]:
    """Compute the images of a block one by one; one that fails keeps a reason, not a result."""
    count = rows.stop - rows.start
    values: dict[str, np.ndarray] = {}
    for name, variable in own.data_vars.items():
        if variable.dims[:1] == ("image",) and name != "problem":
            shape = (count, *variable.shape[1:])
            entry = schema.known(stage.name, str(name))
            fill = entry.fill_value if entry else schema.fill_of(str(variable.dtype))
            values[str(name)] = np.full(shape, fill, variable.dtype)
    reasons = np.full(count, "", dtype=object)
    for k, i in enumerate(range(rows.start, rows.stop)):
        reasons[k] = _left_out_before(inputs, i)
        if reasons[k]:
            continue
        try:
            result = stage.compute(inputs, parameters, own, i)
        except LeftOut as reason:
            reasons[k] = f"left out: {reason}"
            continue
        except (OSError, MemoryError):
            raise  # the place or the machine failed, not the image: the block is to be done again
        except Exception as error:  # noqa: BLE001 -- one bad image must not lose the batch
            reasons[k] = failure(error)
            continue
        for name, data in result.items():
            inner: tuple[Any, ...] = tuple(slice(0, n) for n in np.shape(data))
            values[name][(k, *inner)] = data
    return {**values, "problem": reasons}


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
