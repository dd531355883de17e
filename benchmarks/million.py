"""What a million micrographs would take: measured parts, multiplied.

Measured: how fast this machine's Dask scheduler handles tasks that do nothing, handed out as a run
hands them out, and how the memory of the process that drives grows with their number; objects and
bytes per image of a small store, and per block; marks and keys of a million images.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import nanoarray as na
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.executor import Executor
from nanoarray.archive.layout import ArrayPlan, GroupPlan
from nanoarray.archive.marks import BlockMarks
from nanoarray.archive.tasks import run_tasks

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.bench_pipeline import write_archive

IMAGES = 1_000_000


def nothing(*arguments: object) -> tuple[int, int]:
    """A task that takes no time and gives what a block gives."""
    return 0, len(arguments)


def tasks_per_second(count: int) -> tuple[float, float]:
    """Tasks per second through a real scheduler and two workers; MB the driver grew by."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        executor = Executor(client=client)
        items = [
            ("s3://group/archive.zarr", "tiles", b, slice(4 * b, 4 * b + 4)) for b in range(count)
        ]
        for _ in run_tasks(executor, nothing, items[:200]):
            pass
        before, start = _peak_mb(), time.perf_counter()
        for _ in run_tasks(executor, nothing, items):
            pass
        return count / (time.perf_counter() - start), _peak_mb() - before


def keys_and_marks(images: int, block: int) -> dict[str, float]:
    """Seconds for the keys of all images, to write all marks and to read them; their objects."""
    start = time.perf_counter()
    rows = [prov.digest(str(i), 2.5, True, 884, 1024) for i in range(images)]
    found = {"image keys": time.perf_counter() - start}
    start = time.perf_counter()
    keys = [prov.block_key("d", rows[i : i + block]) for i in range(0, images, block)]
    found["block keys"] = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as place:
        url = str(Path(place, "s.zarr"))
        store.create_store(url)
        attrs = {"units": "1", "long_name": "x"}
        array = ArrayPlan("x", ("image",), (images,), "float32", (block,), attrs, np.nan)
        store.create_group(url, "mean", GroupPlan((array,), "image", images, block))
        start = time.perf_counter()
        with BlockMarks(url, "mean") as marks:
            for b, key in enumerate(keys):
                marks.done(b, key, key)
        found["writing marks"] = time.perf_counter() - start
        start = time.perf_counter()
        found["equal"] = float(store.block_keys(url, "mean").tolist() == keys)
        found["reading marks"] = time.perf_counter() - start
        folders = [Path(url, "mean", name, "c") for name in ("block_key", "block_checksum")]
        files = [f for folder in folders for f in folder.rglob("*") if f.is_file()]
        found["objects of marks"] = float(len(files))
    return found


def objects(count: int) -> dict[str, tuple[float, float]]:
    """Objects and MB per image, by group, of a store of full-size images."""
    with tempfile.TemporaryDirectory() as place:
        folder, url = Path(place, "in"), Path(place, "s.zarr")
        write_archive(folder, count)
        na.ingest(folder, url, pattern="{sample} {temperature:g}degC {pressure:g}MPa {rest}")
        na.run("superlattice", url)
        shutil.rmtree(folder)
        found = {}
        for group in store.group_names(str(url)):
            files = [f for f in (url / group).rglob("*") if f.is_file() and f.name != "zarr.json"]
            size = sum(f.stat().st_size for f in files)
            found[group] = len(files) / count, size / 1e6 / count
    return found


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth")
    options = parser.parse_args()
    part = 100 if options.quick else 1
    for count in (2_000, 50_000 // part):
        rate, grown = tasks_per_second(count)
        print(f"{count} tasks: {rate:.0f} tasks/s, driver grew by {grown:.0f} MB", flush=True)
    for name, value in keys_and_marks(IMAGES // part, 4).items():
        print(f"{IMAGES // part} images, {name}: {value:.1f}", flush=True)
    total = np.zeros(2)
    for group, pair in objects(8 if options.quick else 24).items():
        total += pair
        print(f"{group:<18} {pair[0]:>6.2f} objects {pair[1]:>7.3f} MB per image", flush=True)
    print(f"{'all':<18} {total[0]:>6.2f} objects {total[1]:>7.3f} MB per image")


if __name__ == "__main__":
    main()
