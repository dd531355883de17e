"""Cost per image and memory as the archive grows: many small images, and full-size ones.

Driver and worker memory are sampled while the pipeline runs, so that growth within a run shows, not
only its peak. The share of the time before the first task of each stage ends is what planning and
handing out tasks takes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import nanoarray as na
from nanoarray.archive.engine import Progress
from nanoarray.archive.executor import local_client

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.bench_pipeline import write_archive


class Memory(threading.Thread):
    """Resident memory of this process and of the workers below it, every second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver: list[float] = []
        self.workers: list[float] = []
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        this = psutil.Process()
        while not self._ended.wait(1.0):
            self.driver.append(this.memory_info().rss / 2**20)
            sizes = []
            for child in this.children(recursive=True):
                try:
                    sizes.append(child.memory_info().rss / 2**20)
                except psutil.NoSuchProcess:
                    continue
            self.workers.append(max(sizes, default=0.0))

    def stop(self) -> None:
        """Take no more samples."""
        self._ended.set()
        self.join()


def growth(samples: list[float]) -> tuple[float, float]:
    """Median of the second and of the last quarter of samples."""
    if len(samples) < 8:
        return max(samples, default=0.0), max(samples, default=0.0)
    quarter = len(samples) // 4
    return (
        float(np.median(samples[quarter : 2 * quarter])),
        float(np.median(samples[-quarter:])),
    )


def measure(folder: Path, store: Path, workers: int) -> dict[str, float]:
    """Seconds to ingest and to run, seconds before first results, and memory."""
    first: dict[str, float] = {}

    def watch(event: Progress) -> None:
        if event.done and event.stage not in first:
            first[event.stage] = event.seconds

    memory = Memory()
    with local_client(workers):
        memory.start()
        start = time.perf_counter()
        na.ingest(folder, store, pattern="{sample} {temperature:g}degC {pressure:g}MPa {rest}")
        ingested = time.perf_counter() - start
        na.run("superlattice", store, progress=watch)
        ran = time.perf_counter() - start - ingested
        memory.stop()
    driver, worker = growth(memory.driver), growth(memory.workers)
    size = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    return {
        "ingest": ingested,
        "run": ran,
        "first": sum(first.values()),
        "driver_early": driver[0],
        "driver_late": driver[1],
        "worker_early": worker[0],
        "worker_late": worker[1],
        "objects": float(sum(1 for f in store.rglob("*") if f.is_file())),
        "bytes": float(size),
    }


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
    print(
        f"{'px':<10} {'images':>7} {'ingest ms':>10} {'run ms':>7} {'planning':>9} "
        f"{'driver MB':>12} {'worker MB':>12} {'objects':>8} {'MB':>6}   (ms and objects per image)"
    )
    for reduce, counts in ((4, small), (1, full)):
        for count in counts:
            with tempfile.TemporaryDirectory() as place:
                folder, store = Path(place, "in"), Path(place, "s.zarr")
                write_archive(folder, count, reduce=reduce)
                found = measure(folder, store, options.workers)
                shutil.rmtree(folder)
            print(
                f"{f'{1024 // reduce} x {884 // reduce}':<10} {count:>7} "
                f"{1000 * found['ingest'] / count:>10.1f} {1000 * found['run'] / count:>7.1f} "
                f"{found['first'] / found['run']:>9.1%} "
                f"{found['driver_early']:>5.0f} ->{found['driver_late']:>5.0f} "
                f"{found['worker_early']:>5.0f} ->{found['worker_late']:>5.0f} "
                f"{found['objects'] / count:>8.1f} {found['bytes'] / 1e6 / count:>6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
