"""Images per minute, scaling with workers and with the archive, and memory of the workers.

    python benchmarks/bench_pipeline.py [--quick] [--skip-settings] [--reduce N] [--images N...]

Micrographs are simulated (1024 x 884 px); a larger archive repeats 24 of them under other dates, so
that every file has its own checksum. Times are wall time from the store to the table of grains and
its statistics. Before the clock starts the workers are up, and each has been through every stage
with two images, so that modules and compiled code are loaded.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# Before NumPy starts its threads: a process stands for a worker, which has one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from distributed import get_task_stream

import nanoarray as na
from nanoarray import pipeline as pipelines
from nanoarray.archive.engine import run_stage
from nanoarray.archive.executor import Executor, local_client
from nanoarray.simulate.archive import plan_archive, simulate_archive_image
from nanoarray.simulate.fei_tiff import write_fei_tiff

DISTINCT = 24
PATTERN = "{sample} {temperature:g}degC {pressure:g}MPa {rest}"
SETTINGS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "default": ("superlattice", {}),
    "paper's tiles, fast kernel": (
        "superlattice",
        {
            "tiles": {
                "tile_size_px": 128,
                "stride_px": 10,
                "angle_count": 42,
                "coverage": "inside",
                "band_pass": False,
            },
            "tile_clusters": {"scope": "image"},
            "grain_maps": {"method": "clusters"},
        },
    ),
    "paper preset": ("superlattice_paper", {}),
}


@dataclass(frozen=True)
class Run:
    """A run of a pipeline: wall time [s], also by stage; time in tasks [s]; peak memory [MB]."""

    seconds: float
    stages: dict[str, float]
    busy: float
    worker_mb: float
    driver_mb: float


def write_archive(folder: Path, count: int, *, reduce: int = 1) -> None:
    """Write ``count`` micrographs of ``DISTINCT`` different fields, sides divided by ``reduce``."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = plan_archive(image_count=DISTINCT, seed=0)
    size = {"height_px": 884 // reduce, "width_px": 1024 // reduce}
    pictures = [simulate_archive_image(spec, **size).image for spec in plan[: min(DISTINCT, count)]]
    start = datetime(2022, 3, 14)
    for k in range(count):
        spec = plan[k % len(pictures)]
        write_fei_tiff(
            folder / f"{spec.stem} {k:05d}.tif",
            pictures[k % len(pictures)],
            pixel_size_nm=2.5,
            acquired=start + timedelta(seconds=k),
        )


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_here(store: str, setting: str) -> float:
    """Run a pipeline in this process on one thread; seconds."""
    pipeline, overrides = SETTINGS[setting]
    start = time.perf_counter()
    for stage, parameters in pipelines.load_pipeline(pipeline, overrides).stages:
        run_stage(store, stage, parameters, executor=Executor(), overwrite=True)
    return time.perf_counter() - start


def small_store(folder: Path, store: Path, count: int) -> str:
    """A new store of the first images of a folder."""
    shutil.rmtree(store, ignore_errors=True)
    na.ingest(sorted(folder.glob("*.tif"))[:count], store, pattern=PATTERN)
    return str(store)


def measure(folder: Path, store: Path, workers: int, setting: str) -> Run:
    """Run a pipeline on an archive with worker processes that are warm."""
    pipeline, overrides = SETTINGS[setting]
    small = [small_store(folder, store.with_name(f"warm{k}.zarr"), 2) for k in range(workers)]
    shutil.rmtree(store, ignore_errors=True)
    na.ingest(folder, store, pattern=PATTERN)
    with local_client(workers) as client:
        places = client.scheduler_info()["workers"]
        for url, place in zip(small, places, strict=True):
            client.submit(run_here, url, setting, workers=[place], pure=False).result()
        with get_task_stream(client) as stream:
            start = time.perf_counter()
            reports = na.run(pipeline, store, **overrides)
            seconds = time.perf_counter() - start
        memory = max(client.run(peak_memory_mb).values())
    spans = [s for task in stream.data for s in task["startstops"] if s["action"] == "compute"]
    return Run(
        seconds=seconds,
        stages={r.stage: r.seconds for r in reports},
        busy=sum(s["stop"] - s["start"] for s in spans),
        worker_mb=memory,
        driver_mb=peak_memory_mb(),
    )


def throughput_of_two(work: Callable[..., float], arguments: list[tuple[Any, ...]]) -> float:
    """Throughput of two independent processes over that of one: what the machine allows.

    ``work(*arguments[k])`` gives its own seconds; one and two take turns, medians of three.
    """
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(work, *a) for a in arguments]:
            future.result()
        ratios = []
        for _ in range(3):
            one = pool.submit(work, *arguments[0]).result()
            two = [f.result() for f in [pool.submit(work, *a) for a in arguments]]
            ratios.append(2 * one / max(two))
    return float(np.median(ratios))


def bench_settings(root: Path, count: int, settings: list[str], repeats: int) -> None:
    """One worker against two for each setting, taking turns."""
    folder = root / "base"
    write_archive(folder, count)
    print(f"\n{count} images of 1024 x 884 px; from the store to the grain statistics")
    print(
        f"{'setting':<28} {'workers':>7} {'s':>7} {'images/min':>11} {'in tasks, s':>12} "
        f"{'MB/worker':>10}"
    )
    for setting in settings:
        runs: dict[int, list[Run]] = {1: [], 2: []}
        for workers in (1, 2) * repeats:
            run = measure(folder, root / "s.zarr", workers, setting)
            runs[workers].append(run)
            print(
                f"{setting:<28} {workers:>7} {run.seconds:>7.1f} {60 * count / run.seconds:>11.0f} "
                f"{run.busy:>12.1f} {run.worker_mb:>10.0f}",
                flush=True,
            )
        for workers, found in runs.items():
            median = sorted(found, key=lambda r: r.seconds)[len(found) // 2]
            parts = ", ".join(f"{name} {value:.1f}" for name, value in median.stages.items())
            print(f"    by stage, {workers} workers [s]: {parts}")
        stores = [small_store(folder, root / f"alone{k}.zarr", 8) for k in range(2)]
        ceiling = throughput_of_two(run_here, [(url, setting) for url in stores])
        pairs = list(zip(*runs.values(), strict=True))
        faster = np.array([one.seconds / two.seconds for one, two in pairs])
        longer = np.median([two.busy / one.busy for one, two in pairs])
        share = np.median([two.busy / (2 * two.seconds) for _, two in pairs])
        print(
            f"    2 workers are {np.median(faster):.2f} times as fast as 1"
            f" ({faster.min():.2f} to {faster.max():.2f})"
        )
        print(f"    machine ceiling: two processes that share nothing, {ceiling:.2f} times one")
        print(f"    tasks take {longer:.2f} times as long beside another worker")
        print(f"    2 workers are in tasks {share:.0%} of the time", flush=True)


def bench_sizes(root: Path, sizes: list[int], reduce: int) -> None:
    """Cost per image and memory in a growing archive."""
    shape = f"{1024 // reduce} x {884 // reduce} px"
    print(f"\ndefault setting, 2 workers, growing archive of {shape}")
    print(f"{'images':>7} {'s':>8} {'ms/image':>9} {'MB/worker':>10} {'MB driver':>10}")
    rates = []
    for count in sizes:
        folder = root / f"n{count}"
        write_archive(folder, count, reduce=reduce)
        run = measure(folder, root / "s.zarr", 2, "default")
        rates.append(run.seconds / count)
        print(
            f"{count:>7} {run.seconds:>8.1f} {1000 * rates[-1]:>9.0f} {run.worker_mb:>10.0f} "
            f"{run.driver_mb:>10.0f}",
            flush=True,
        )
        parts = ", ".join(f"{name} {1000 * v / count:.0f}" for name, v in run.stages.items())
        print(f"    by stage [ms/image]: {parts}", flush=True)
        shutil.rmtree(folder)
    print(f"cost per image, largest over smallest archive: {rates[-1] / rates[0]:.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few images only")
    parser.add_argument("--images", type=int, nargs="*", help="sizes of the archive; none: skipped")
    parser.add_argument("--reduce", type=int, default=1, help="divide the sides of its images")
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--skip-settings", action="store_true", help="archive sizes only")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each setting")
    options = parser.parse_args()
    sizes = [12, 24] if options.quick else [50, 200, 2000]
    sizes = sizes if options.images is None else options.images
    with tempfile.TemporaryDirectory() as place:
        if not options.skip_settings:
            count, repeats = (12, 1) if options.quick else (48, options.repeats)
            bench_settings(Path(place), count, options.settings, repeats)
        if sizes:
            bench_sizes(Path(place), sizes, options.reduce)


if __name__ == "__main__":
    main()
