"""A few small stages whose kernels misbehave on request, for tests and campaigns of faults.

Importable by worker processes. What it does to an image is in the parameters, not in the image; or
in the environment, for trouble that passes without another digest:

- ``FAULT_TROUBLE``: parameters that replace those given, as JSON;
- ``FAULT_JOURNAL``: a file that gets a line, of time, process, stage and block, for every block
  that begins;
- ``FAULT_VERSION``: version of the kernels.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import json
import os
import time
from pathlib import Path

import numpy as np
import tifffile
from distributed import WorkerPlugin

from nanoarray.archive.engine import Stage
from nanoarray.archive.rows import row_identity
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.archive.store import ArrayPlan, GroupPlan, array_plan

BLOCK = 2


class Trouble(StageParameters):
    """What happens at which image."""

    factor: float = 1.0
    fail_on: str = ""
    crash_on: str = ""
    hang_on: str = ""
    eat_on: str = ""
    slow_s: float = 0.0


def plan(inputs, parameters):
    images = inputs["images"]
    sizes = [images.sizes[d] for d in ("image", "y", "x")]
    attrs = {"units": "1", "long_name": "value"}
    arrays = (
        ArrayPlan("mean", ("image",), (sizes[0],), "float64", (BLOCK,), attrs, np.nan),
        ArrayPlan(
            "half", ("image", "y", "x"), tuple(sizes), "float32", (1, 1024, 1024), attrs, np.nan
        ),
        ArrayPlan("problem", ("image",), (sizes[0],), "str", (BLOCK,), attrs, ""),
    )
    return GroupPlan(arrays, "image", sizes[0], BLOCK)


def trouble(parameters, stage, block, *names):
    """Note that a block begins, and let happen to its images what is to happen."""
    if journal := os.environ.get("FAULT_JOURNAL"):
        with open(journal, "a") as file:
            file.write(f"{time.time()} {os.getpid()} {stage} {block}\n")
    given = json.loads(os.environ.get("FAULT_TROUBLE", "{}"))
    parameters = parameters.model_copy(update=given)
    time.sleep(parameters.slow_s)

    def meant(name):
        return bool(name) and any(name in str(n) for n in names)

    if meant(parameters.fail_on) and stage == "mean":  # a table says by itself which rows failed
        raise ValueError("it is in no mood")
    if meant(parameters.crash_on):
        ctypes.string_at(0)  # a segmentation fault, as a broken library makes it
    if meant(parameters.hang_on):
        time.sleep(3600)
    if meant(parameters.eat_on):
        eaten = []
        while True:
            eaten.append(np.ones(2**22))
            time.sleep(0.01)


def compute(inputs, parameters, own, i):
    images = inputs["images"]
    trouble(parameters, "mean", i // BLOCK, str(images["image"][i].values))
    height, width = int(images["height"][i]), int(images["width"][i])
    pixels = images["intensity"][i, :height, :width].values.astype(np.float64)
    return {"mean": pixels.mean() * parameters.factor, "half": (pixels / 2).astype(np.float32)}


FAULTY = Stage("mean", ("images",), Trouble, 1, "image", plan, compute)


#: Rows of the table per image and per block: images do not end with blocks.
ROWS, TABLE_BLOCK = 3, 4


def plan_table(inputs, parameters):
    count = ROWS * inputs["images"].sizes["image"]
    arrays = tuple(
        array_plan("grains", name, {"grain": count}, block=TABLE_BLOCK)
        for name in ("image_index", "label", "area", "problem")
    )
    return GroupPlan(arrays, "grain", count, TABLE_BLOCK)


def identity(inputs, rows):
    return row_identity(np.full(inputs["images"].sizes["image"], ROWS), rows)


def compute_table(inputs, parameters, own, rows):
    found = identity(inputs, rows)
    names = inputs["images"]["image"].values[found["image_index"]]
    trouble(parameters, "grains", rows.start // TABLE_BLOCK, *names)
    area = parameters.factor * (10.0 * found["image_index"] + found["label"])
    return {**found, "area": area, "problem": np.full(len(area), "", dtype=object)}


TABLE = Stage("grains", ("images",), Trouble, 1, "row", plan_table, compute_table, "", identity)


def plan_values(dim, inputs):
    count = inputs["mean"].sizes["image"]
    attrs = {"units": "1", "long_name": "value"}
    value = ArrayPlan("value", (dim,), (count,), "float64", (BLOCK,), attrs, np.nan)
    problem = ArrayPlan("problem", (dim,), (count,), "str", (BLOCK,), attrs, "")
    return GroupPlan((value, problem) if dim == "image" else (value,), dim, count, BLOCK)


def compute_twice(inputs, parameters, own, i):
    trouble(parameters, "twice", i // BLOCK)
    return {"value": 2 * float(inputs["mean"]["mean"][i])}


def compute_sums(inputs, parameters, own, rows):
    trouble(parameters, "sums", rows.start // BLOCK)
    table, mean = inputs["grains"], inputs["mean"]["mean"].values[rows]
    index, area = table["image_index"].values, table["area"].values
    sums = [np.nansum(area[index == i]) for i in range(rows.start, rows.start + len(mean))]
    return {"value": mean + sums}


TWICE = Stage(
    "twice", ("mean",), Trouble, 1, "image", lambda i, p: plan_values("image", i), compute_twice
)
SUMS = Stage(
    "sums", ("mean", "grains"), Trouble, 1, "row", lambda i, p: plan_values("sum", i), compute_sums
)
#: `mean` and `grains` run together; `twice` reads the first, `sums` both.
STAGES = {stage.name: stage for stage in (FAULTY, TABLE, TWICE, SUMS)}


class CrashingReader(WorkerPlugin):
    """Has the workers crash on a file, as a broken library makes them, where a module reads it."""

    name = "crashing reader"

    def __init__(self, module, file):
        self.module, self.file = module, file

    def setup(self, worker):
        module = importlib.import_module(self.module)
        self.read = module.frames_of

        def frames_of(source):
            if source.path.endswith(self.file):
                ctypes.string_at(0)
            return self.read(source)

        module.frames_of = frames_of

    def teardown(self, worker):
        importlib.import_module(self.module).frames_of = self.read


def write_images(folder: Path, count: int, size_px: int = 40) -> Path:
    """Write small noisy images im00.tif, im01.tif, ..."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for k in range(count):
        pixels = rng.integers(1, 255, (size_px + k % 3, size_px), dtype=np.uint8)
        tifffile.imwrite(folder / f"im{k:02d}.tif", pixels, metadata=None)
    return folder


def drive(url: str, *stages: str, overwrite: bool = False, **parameters) -> None:
    """Run stages, by default `mean`, as a process of its own would; for `python -c`."""
    from nanoarray.archive.executor import open_executor
    from nanoarray.archive.lease import working_on
    from nanoarray.archive.schedule import run_stages

    workers = int(os.environ.get("FAULT_WORKERS", "0")) or None
    scheduler = os.environ.get("FAULT_SCHEDULER")
    time_limit_s = float(os.environ.get("FAULT_TIME_LIMIT", "60"))
    version = int(os.environ.get("FAULT_VERSION", "1"))
    planned = [
        (dataclasses.replace(STAGES[name], version=version), Trouble(**parameters))
        for name in stages or ("mean",)
    ]
    with (
        working_on(url, "fault drill") as lease,
        open_executor(workers=workers, scheduler=scheduler, lease=lease) as executor,
    ):
        for report in run_stages(
            url, planned, executor=executor, overwrite=overwrite, time_limit_s=time_limit_s
        ):
            print(report.status, report.blocks_computed, [name for name, _ in report.failed])
