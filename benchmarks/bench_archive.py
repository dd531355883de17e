"""Cost per image and memory as the archive grows: many small images, and full-size ones.

    python -m benchmarks.bench_archive [--quick] [--small N...] [--full N...] [--workers N]

Processor seconds of the driver and of the workers and their resident memory are sampled every
second, with how far each stage is. So growth within a run shows: what an image costs in the second
and in the last quarter of a stage (of stages that run at the same time, together).
Processor time is reported beside wall time because it depends less on what else the machine does.
Micrographs repeat 24 simulated fields under other dates, so
that every file has its own checksum.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import nanoarray as na
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import local_client

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.bench_pipeline import PATTERN, write_archive

MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """The state of a run at one moment: CPU time [s], resident memory [MB], progress."""

    seconds: float
    driver_cpu: float
    worker_cpu: float
    driver_mb: float
    worker_mb: float
    stage: str
    done: int


class Sampler(threading.Thread):
    """Watches this process and the workers below it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._now = ("", 0)
        self._ended = threading.Event()

    def at(self, stage: str, done: int) -> None:
        """Say how far the run is."""
        self._now = (stage, done)

    def run(self) -> None:
        """Sample until told to stop."""
        this = psutil.Process()
        while not self._ended.wait(1.0):
            self.samples.append(self._sample(this))

    def stop(self) -> None:
        """Take a last sample."""
        self._ended.set()
        self.join()
        self.samples.append(self._sample(psutil.Process()))

    def _sample(self, this: psutil.Process) -> Sample:
        cpu, sizes = 0.0, [0.0]
        for child in this.children(recursive=True):
            try:
                times = child.cpu_times()
                cpu += times.user + times.system
                sizes.append(child.memory_info().rss / MIB)
            except psutil.NoSuchProcess:
                continue
        own = this.memory_info().rss / MIB
        return Sample(time.perf_counter(), time.process_time(), cpu, own, max(sizes), *self._now)


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Median of the second and of the last quarter."""
    n = max(1, len(values) // 4)
    return float(np.median(values[n : 2 * n] or values)), float(np.median(values[-n:]))


def cost_by_quarter(samples: list[Sample], total: int) -> tuple[float, float]:
    """CPU seconds per image in the second and in the last quarter of one stage."""
    done = np.array([s.done for s in samples], float)
    cpu = np.array([s.driver_cpu + s.worker_cpu for s in samples])
    done, last = np.unique(done[::-1], return_index=True)
    at = np.interp(np.array([0.25, 0.5, 0.75, 1.0]) * total, done, cpu[::-1][last])
    return (at[1] - at[0]) / (total / 4), (at[3] - at[2]) / (total / 4)


def measure(folder: Path, store: Path, workers: int, count: int) -> None:
    """Ingest and run, and print what it took."""
    planned: dict[str, float] = {}
    sampler = Sampler()

    def watch(event: Progress) -> None:
        planned.setdefault(event.stage, event.seconds)
        sampler.at(event.stage, event.done)
        if event.done == event.total:
            mine = [s for s in sampler.samples if s.stage == event.stage]
            print_stage(event.stage, mine, count)

    print(f"    {'stage':<18} {'CPU ms/image':>12} {'2nd -> last quarter':>20} {'wall s':>8}")
    with local_client(workers):
        sampler.start()
        start = time.perf_counter()
        na.ingest(folder, store, pattern=PATTERN, progress=watch)
        reports = na.run("superlattice", store, progress=watch)
        wall = time.perf_counter() - start
        sampler.stop()
    samples = sampler.samples
    driver, worker = samples[-1].driver_cpu, samples[-1].worker_cpu
    driver -= samples[0].driver_cpu
    worker -= samples[0].worker_cpu
    files = [f for f in store.rglob("*") if f.is_file()]
    size = sum(f.stat().st_size for f in files)
    by_driver = quarters([s.driver_mb for s in samples])
    by_worker = quarters([s.worker_mb for s in samples])
    seconds = sum(r.seconds for r in reports)
    print(
        f"    all: CPU {1000 * (driver + worker) / count:.1f} ms/image, of it driver and scheduler "
        f"{driver / (driver + worker):.1%}; wall {wall:.0f} s\n"
        f"    until the first task is handed out: {sum(planned.values()):.1f} s, "
        f"{sum(planned.values()) / seconds:.1%} of the stages' time\n"
        f"    driver {by_driver[0]:.0f} -> {by_driver[1]:.0f} MB, "
        f"peak {max(s.driver_mb for s in samples):.0f}; "
        f"worker {by_worker[0]:.0f} -> {by_worker[1]:.0f} MB, "
        f"peak {max(s.worker_mb for s in samples):.0f}\n"
        f"    {len(files) / count:.2f} objects and {size / 1e6 / count:.3f} MB per image",
        flush=True,
    )


def print_stage(stage: str, samples: list[Sample], count: int) -> None:
    """Print what a stage took per image."""
    if not samples:
        return
    first, last = samples[0], samples[-1]
    cpu = last.driver_cpu + last.worker_cpu - first.driver_cpu - first.worker_cpu
    change = ""
    total = max(s.done for s in samples)
    if len(samples) >= 12 and total:
        early, late = (1000 * c * total / count for c in cost_by_quarter(samples, total))
        change = f"{early:.1f} -> {late:.1f}"
    print(
        f"    {stage:<18} {1000 * cpu / count:>12.1f} {change:>20} "
        f"{last.seconds - first.seconds:>8.0f}",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small archives only")
    parser.add_argument("--small", type=int, nargs="*", help="numbers of images of 256 x 221 px")
    parser.add_argument("--full", type=int, nargs="*", help="numbers of images of 1024 x 884 px")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    given = options.small is not None or options.full is not None
    small = options.small or ([] if given else [20, 60] if options.quick else [1000, 10_000])
    full = options.full or ([] if given else [] if options.quick else [100, 1000])
    print(f"default setting, {options.workers} workers")
    for reduce, counts in ((4, small), (1, full)):
        for count in counts:
            print(f"{count} images of {1024 // reduce} x {884 // reduce} px", flush=True)
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place, "in")
                write_archive(folder, count, reduce=reduce)
                measure(folder, Path(place, "s.zarr"), options.workers, count)


if __name__ == "__main__":
    main()
