"""Images per minute, scaling with workers and with the archive, and memory of the workers.

Micrographs are simulated (1024 x 884 px); a larger archive repeats 24 of them under other dates, so
that every file has its own checksum. Times are wall time from the store to the table of grains and
its statistics, after one image has been through every stage to load compiled code.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

import nanoarray as na
from nanoarray.archive.executor import local_client
from nanoarray.simulate.archive import plan_archive, simulate_archive_image
from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.superlattice.stages import BLOCK

DISTINCT = 24
SETTINGS = {
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


def measure(
    folder: Path, store: Path, workers: int, setting: str
) -> tuple[float, dict[str, float], float, float]:
    """Seconds, seconds by stage, and peak memory (MB) of the largest worker and of the driver."""
    pipeline, overrides = SETTINGS[setting]
    shutil.rmtree(store, ignore_errors=True)
    na.ingest(folder, store, pattern="{sample} {temperature:g}degC {pressure:g}MPa {rest}")
    with local_client(workers) as client:
        warm = store.with_name("warm.zarr")
        shutil.rmtree(warm, ignore_errors=True)
        # One block per worker, so that each has its compiled code before the clock starts.
        na.ingest(sorted(folder.glob("*.tif"))[: BLOCK * workers], warm)
        na.run(pipeline, warm, **overrides)
        start = time.perf_counter()
        reports = na.run(pipeline, store, **overrides)
        seconds = time.perf_counter() - start
        memory = max(client.run(peak_memory_mb).values())
    return seconds, {r.stage: r.seconds for r in reports}, memory, peak_memory_mb()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few images only")
    parser.add_argument("--images", type=int, nargs="*", help="sizes of the archive")
    parser.add_argument("--reduce", type=int, default=1, help="divide the sides of its images")
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--skip-settings", action="store_true", help="archive sizes only")
    options = parser.parse_args()
    sizes = options.images or ([12, 24] if options.quick else [50, 200, 2000])
    base = 12 if options.quick else 48
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        if not options.skip_settings:
            write_archive(root / "base", base)
            print(f"\n{base} images of 1024 x 884 px; from the store to the grain statistics")
            print(f"{'setting':<28} {'workers':>7} {'s':>7} {'images/min':>11} {'MB/worker':>10}")
            for setting in options.settings:
                times = {}
                for workers in (1, 2):
                    seconds, stages, memory, _ = measure(
                        root / "base", root / "s.zarr", workers, setting
                    )
                    times[workers] = seconds
                    print(
                        f"{setting:<28} {workers:>7} {seconds:>7.1f} {60 * base / seconds:>11.0f} "
                        f"{memory:>10.0f}"
                    )
                parts = ", ".join(f"{name} {value:.1f}" for name, value in stages.items())
                print(f"    by stage with 2 workers [s]: {parts}")
                print(f"    2 workers are {times[1] / times[2]:.2f} times as fast as 1")
        shape = f"{1024 // options.reduce} x {884 // options.reduce} px"
        print(f"\ndefault setting, 2 workers, growing archive of {shape}")
        print(f"{'images':>7} {'s':>8} {'ms/image':>9} {'MB/worker':>10} {'MB driver':>10}")
        rates = []
        for count in sizes:
            folder = root / f"n{count}"
            write_archive(folder, count, reduce=options.reduce)
            seconds, stages, memory, driver = measure(folder, root / "s.zarr", 2, "default")
            rates.append(seconds / count)
            print(
                f"{count:>7} {seconds:>8.1f} {1000 * seconds / count:>9.0f} {memory:>10.0f} "
                f"{driver:>10.0f}"
            )
            parts = ", ".join(f"{name} {1000 * v / count:.0f}" for name, v in stages.items())
            print(f"    by stage [ms/image]: {parts}")
            shutil.rmtree(folder)
        print(
            f"cost per image, largest over smallest archive: {rates[-1] / np.array(rates)[0]:.2f}"
        )


if __name__ == "__main__":
    main()
