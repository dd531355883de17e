"""Ingest against a bare read and decode of the same files: `python -m benchmarks.bench_ingest`.

Both run on as many threads as there are cores, on the same files, in turns; each pass begins with
the files out of the file cache where the system allows it (``posix_fadvise``). What is bare reads a
file and decodes it with tifffile, keeps nothing, and knows no metadata, no hash and no store.
Beside the rates stands the processor time per image of both, which other programs disturb less.
Then: how long the list of a folder of many files takes, and the peak of memory over collections of
one size and of four times as many images.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tifffile

import nanoarray as na
from nanoarray.images.finding import find_micrographs
from nanoarray.simulate.superlattice import simulate_polycrystal

#: Kinds of files: how a micrograph is stored, as microscopes and programs do.
KINDS = {
    "grey, uncompressed": {},
    "grey as RGB, uncompressed": {"rgb": True},
    "grey, LZW": {"compression": "lzw"},
    "grey as RGB, LZW": {"rgb": True, "compression": "lzw"},
    "16 bit, deflate": {"deep": True, "compression": "zlib"},
}
GOAL = 0.8


def write_files(folder: Path, count: int, **kind: object) -> list[Path]:
    """Micrographs of 884 x 1024 px with fresh noise each, so that none compresses like another."""
    base = simulate_polycrystal(height_px=884, width_px=1024, grain_count=30, seed=1).image
    rng = np.random.default_rng(2)
    paths = []
    for k in range(count):
        pixels = np.roll(base, 17 * k, axis=1).astype(np.int16) + rng.integers(-6, 7, base.shape)
        image = np.clip(pixels, 0, 255).astype(np.uint8)
        if kind.get("deep"):
            image = image.astype(np.uint16) * 257
        if kind.get("rgb"):
            image = np.stack([image] * 3, axis=-1)
        paths.append(folder / f"{k:05d}.tif")
        tifffile.imwrite(
            paths[-1],
            image,
            photometric="rgb" if kind.get("rgb") else "minisblack",
            compression=kind.get("compression"),
            rowsperstrip=64,
            metadata=None,
        )
    return paths


def forget(paths: list[Path]) -> None:
    """Drop the files from the file cache."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def bare(paths: list[Path], threads: int) -> float:
    """Seconds to read and decode every file on ``threads`` threads."""

    def decode(path: Path) -> int:
        with tifffile.TiffFile(io.BytesIO(path.read_bytes())) as tif:
            return int(tif.pages.first.asarray(maxworkers=1).nbytes)

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, paths))
    return time.perf_counter() - start


def ingest(folder: Path, place: Path) -> float:
    """Seconds of an ingest into a new store."""
    start = time.perf_counter()
    na.ingest(folder, place)
    return time.perf_counter() - start


def compare(count: int, rounds: int) -> bool:
    """Print the rates of both for every kind of file; whether all are above the goal."""
    threads = len(os.sched_getaffinity(0))
    print(f"{count} images, {threads} threads, median of {rounds} rounds")
    print(f"{'files':<28} {'MB':>6} {'bare /s':>9} {'ingest /s':>10} {'ratio':>7} {'CPU ms':>12}")
    good = True
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "in")
            folder.mkdir()
            paths = write_files(folder, count, **kind)
            times, cpu = [], []
            for k in range(rounds):
                forget(paths)
                start = time.process_time()
                once = bare(paths, threads)
                middle = time.process_time()
                forget(paths)
                times.append((once, ingest(folder, Path(place, f"s{k}.zarr"))))
                cpu.append((middle - start, time.process_time() - middle))
            size = sum(p.stat().st_size for p in paths) / 1e6 / count
            first, second = (statistics.median(t[i] for t in times) for i in (0, 1))
            ratio = statistics.median(a / b for a, b in times)
            good &= ratio >= GOAL
            rates = f"{count / first:>9.1f} {count / second:>10.1f}"
            spent = "{:.1f} {:.1f}".format(*(1e3 * min(c[i] for c in cpu) / count for i in (0, 1)))
            print(f"{name:<28} {size:>6.2f} {rates} {ratio:>7.2f} {spent:>12}", flush=True)
    return good


def listing(count: int) -> None:
    """Print how long the list of a folder of ``count`` files takes."""
    with tempfile.TemporaryDirectory() as place:
        for k in range(count):
            if k % 1000 == 0:
                folder = Path(place, f"{k // 1000:04d}")
                folder.mkdir()
            (folder / f"image {k:07d}.tif").touch()
        start = time.perf_counter()
        found = find_micrographs(place)
        print(f"list of {len(found)} files: {time.perf_counter() - start:.1f} s")


def memory(count: int) -> None:
    """Print the peak of memory of an ingest of ``count`` images and of four times as many."""
    for images in (count, 4 * count):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "in")
            folder.mkdir()
            write_files(folder, images)
            command = [sys.executable, __file__, "--only-memory", str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"ingest of {images} images: {done.stdout}", end="")


def _memory_of(folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ingest(folder, folder.parent / "s.zarr")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak {peak / 1024:.0f} MB, {before / 1024:.0f} MB before")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer files")
    parser.add_argument("--only-memory", type=Path)
    options = parser.parse_args()
    if options.only_memory:
        _memory_of(options.only_memory)
        return 0
    good = compare(32 if options.quick else 256, 1 if options.quick else 3)
    listing(10_000 if options.quick else 100_000)
    memory(24 if options.quick else 64)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
