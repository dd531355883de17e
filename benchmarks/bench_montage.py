"""Peak memory and processor time of every step on a montage, by its size.

    python -m benchmarks.bench_montage --size 6000 12000 [--system superlattice] [--steps prepared]

Montages are simulated fields side by side. Every step runs in a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

STEPS = {
    "superlattice": (
        "ingest",
        "prepared",
        "tiles",
        "tile_clusters",
        "grain_maps",
        "grains",
        "grain_statistics",
        "report",
        "export",
    ),
    "nanocrystal": ("ingest", "crystal_maps", "crystals", "shapes", "report", "export"),
}
_FIELD_PX = 1000
_FIELDS = 4


def make_montage(path: Path, system: str, size_px: int, seed: int = 0) -> None:
    """Write a square montage of simulated fields, turned and side by side, as a TIFF file."""
    fields = [_field(system, seed + n) for n in range(_FIELDS)]
    rng = np.random.default_rng(seed)
    pixels = tifffile.memmap(path, shape=(size_px, size_px), dtype=np.uint8, bigtiff=True)
    for y in range(0, size_px, _FIELD_PX):
        for x in range(0, size_px, _FIELD_PX):
            field = np.rot90(fields[rng.integers(_FIELDS)], rng.integers(4))
            pixels[y : y + _FIELD_PX, x : x + _FIELD_PX] = field[: size_px - y, : size_px - x]
        pixels.flush()


def _field(system: str, seed: int) -> np.ndarray:
    if system == "superlattice":
        from nanoarray.simulate.superlattice import simulate_polycrystal

        return simulate_polycrystal(
            height_px=_FIELD_PX, width_px=_FIELD_PX, grain_count=24, pore_count=1, seed=seed
        ).image
    from nanoarray.simulate.nanocrystal_specs import random_field_spec
    from nanoarray.simulate.nanocrystals import simulate_field

    spec = random_field_spec(
        np.random.default_rng(5), height_px=_FIELD_PX, width_px=_FIELD_PX, focused=True
    )
    spec = dataclasses.replace(spec, overlays=())
    return np.asarray(simulate_field(spec, seed=seed)[0], np.uint8)


def run_one(what: str, system: str, source: str, url: str) -> None:
    """Run one step in this process, and print what it took."""
    import nanoarray as na
    from nanoarray.archive.engine import run_stage
    from nanoarray.archive.executor import Executor

    if what == "montage":
        make_montage(Path(source), system, int(url))
    elif what == "ingest":
        na.ingest(source, url, pixel_size_nm=2.5)
    elif what == "report":
        from nanoarray.report.page import write_report

        write_report(url, f"{url}.html")
    elif what == "export":
        from nanoarray.exchange.images import export_images

        export_images(url, f"{url}.exported", format="ome-tiff", overwrite=True)
    else:
        stages = importlib.import_module(f"nanoarray.{system}.stages").STAGES
        stage = next(s for s in stages if s.name == what)
        run_stage(url, stage, stage.parameters(), executor=Executor(threads=1), time_limit_s=None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} {time.process_time():.0f}")


def _in_process(*step: str) -> list[str]:
    """Peak memory and processor time of a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_montage", "--one", *step]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return found.stdout.split()[-2:]


def main() -> None:
    """Print a table: step, size, peak memory, processor time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[6000])
    parser.add_argument("--system", choices=sorted(STEPS), nargs="+", default=sorted(STEPS))
    parser.add_argument("--steps", nargs="+", help="only these, and ingest")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(*options.one)
        return
    print("| step | side [px] | peak memory [MB] | processor time [s] |\n|---|---|---|---|")
    for system in options.system:
        for size in options.size:
            with tempfile.TemporaryDirectory() as folder:
                source, url = Path(folder) / "montage.tif", f"{folder}/montage.zarr"
                # Not in this process: what it holds counts as the peak of those that it starts.
                _in_process("montage", system, str(source), str(size))
                for what in STEPS[system]:
                    if options.steps and what not in ("ingest", *options.steps):
                        continue
                    peak, seconds = _in_process(what, system, str(source), url)
                    print(f"| {what} | {size} | {peak} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
