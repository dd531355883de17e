"""A small stage whose kernel misbehaves on request, for tests and campaigns of faults.

Importable by worker processes. What it does to an image is in the parameters, not in the image.
"""

from __future__ import annotations

import ctypes
import importlib
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


def compute(inputs, parameters, own, i):
    images = inputs["images"]
    name = str(images["image"][i].values)
    if parameters.slow_s:
        time.sleep(parameters.slow_s)
    if parameters.crash_on and parameters.crash_on in name:
        ctypes.string_at(0)  # a segmentation fault, as a broken library makes it
    if parameters.hang_on and parameters.hang_on in name:
        time.sleep(3600)
    if parameters.eat_on and parameters.eat_on in name:
        eaten = []
        while True:
            eaten.append(np.ones(2**22))
            time.sleep(0.01)
    height, width = int(images["height"][i]), int(images["width"][i])
    pixels = images["intensity"][i, :height, :width].values.astype(np.float64)
    return {"mean": pixels.mean() * parameters.factor, "half": (pixels / 2).astype(np.float32)}


FAULTY = Stage("mean", ("images",), Trouble, 1, "image", plan, compute)


#: Rows of the table per image: images do not end with blocks of BLOCK rows.
ROWS = 3


def plan_table(inputs, parameters):
    count = ROWS * inputs["images"].sizes["image"]
    arrays = tuple(
        array_plan("grains", name, {"grain": count}, block=BLOCK)
        for name in ("image_index", "label", "area", "problem")
    )
    return GroupPlan(arrays, "grain", count, BLOCK)


def identity(inputs, rows):
    return row_identity(np.full(inputs["images"].sizes["image"], ROWS), rows)


def compute_table(inputs, parameters, own, rows):
    found = identity(inputs, rows)
    names = inputs["images"]["image"].values[found["image_index"]]
    if parameters.crash_on and any(parameters.crash_on in str(name) for name in names):
        ctypes.string_at(0)
    area = parameters.factor * (10.0 * found["image_index"] + found["label"])
    return {**found, "area": area, "problem": np.full(len(area), "", dtype=object)}


TABLE = Stage("grains", ("images",), Trouble, 1, "row", plan_table, compute_table, "", identity)


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


def drive(url: str, **parameters) -> None:
    """Run the stage as a process of its own would; for `python -c`."""
    from nanoarray.archive.engine import run_stage
    from nanoarray.archive.executor import open_executor
    from nanoarray.archive.lease import working_on

    workers = int(os.environ.get("FAULT_WORKERS", "0")) or None
    scheduler = os.environ.get("FAULT_SCHEDULER")
    with (
        working_on(url, "fault drill") as lease,
        open_executor(workers=workers, scheduler=scheduler, lease=lease) as executor,
    ):
        report = run_stage(url, FAULTY, Trouble(**parameters), executor=executor, time_limit_s=60)
        print(report.status, report.blocks_computed, [name for name, _ in report.failed])
