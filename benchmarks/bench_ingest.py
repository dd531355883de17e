"""Ingest against a bare read and decode of the same files: `python -m benchmarks.bench_ingest`.

Three ways, each on as many threads as there are cores, on the same files, in turns; each pass
begins with the files out of the file cache where the system allows it (``posix_fadvise``). Start it
with a limit on what the disk gives to see where the disk is what an ingest waits for
(docs/explanation/performance.md):

- bare: read each file whole and decode it with tifffile, and forget it;
- floor: bare, and what a store cannot be without: the SHA-256 of the file, and the pixels written,
  compressed as they are in a store, into a file of their own. No metadata, no data bar, no tables;
- ingest.

Ratios are medians of those of the rounds; of the "long run" without what an ingest takes for two
files, which does not grow with the archive. Beside the rates stands the processor time per image,
which other programs disturb less. Then: how long the list of a folder of many files takes, and how
memory grows with the number of files while one ingest runs.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import tifffile
from numcodecs.zstd import Zstd

import nanoarray as na
from nanoarray.archive.stage import Progress
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


def bare(paths: list[Path], threads: int) -> None:
    """Read and decode every file on ``threads`` threads."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda path: _decoded(path.read_bytes()).nbytes, paths))


def floor(paths: list[Path], threads: int, place: Path) -> None:
    """As `bare`, and hash every file and write its pixels compressed."""
    place.mkdir()

    def store(path: Path) -> None:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        pixels = _decoded(content)
        grey = np.ascontiguousarray(pixels[..., 0]) if pixels.ndim == 3 else pixels
        (place / path.stem).write_bytes(Zstd(level=1, checksum=True).encode(grey))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(store, paths))


def _decoded(content: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        return tif.pages.first.asarray(maxworkers=1)


def compare(count: int, rounds: int) -> bool:
    """Print the rates of all for every kind of file; whether all are above the goal."""
    threads = len(os.sched_getaffinity(0))
    print(f"{count} images, {threads} threads, median of {rounds} rounds; images per second")
    print(
        f"{'files':<26} {'MB':>5} {'bare':>7} {'floor':>7} {'ingest':>7} {'of bare':>8} "
        f"{'of floor':>9} {'long run':>9}   CPU ms"
    )
    good = True
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "in")
            folder.mkdir()
            paths = write_files(folder, count, **kind)
            na.ingest(paths[:2], Path(place, "first.zarr"))  # imports are no part of it
            times, cpu = [], []
            for k in range(rounds):
                ways = (
                    functools.partial(bare, paths, threads),
                    functools.partial(floor, paths, threads, Path(place, f"floor{k}")),
                    functools.partial(na.ingest, folder, Path(place, f"s{k}.zarr")),
                    functools.partial(na.ingest, paths[:2], Path(place, f"two{k}.zarr")),
                )
                spent = [_spent(way, paths) for way in ways]
                times.append([wall for wall, _ in spent])
                cpu.append([seconds for _, seconds in spent])
            size = sum(p.stat().st_size for p in paths) / 1e6 / count
            of_bare = statistics.median(t[0] / t[2] for t in times)
            of_floor = statistics.median(t[1] / t[2] for t in times)
            long_run = statistics.median(t[0] / (t[2] - t[3]) for t in times)
            good &= of_bare >= GOAL
            rates = (count / statistics.median(t[i] for t in times) for i in range(3))
            least = (1e3 * min(c[i] for c in cpu) / count for i in range(3))
            print(
                f"{name:<26} {size:>5.2f} {' '.join(f'{rate:>7.1f}' for rate in rates)} "
                f"{of_bare:>8.2f} {of_floor:>9.2f} {long_run:>9.2f}   "
                f"{' '.join(f'{ms:.1f}' for ms in least)}",
                flush=True,
            )
    return good


def _spent(way: Callable[[], object], paths: list[Path]) -> tuple[float, float]:
    """Seconds by the clock and of the processor, with the files out of the cache before."""
    forget(paths)
    start, before = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - start, time.process_time() - before


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
    """Print how the memory of one ingest of ``count`` images grows with the images done."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "in")
        folder.mkdir()
        first = write_files(folder, 1)[0].read_bytes()
        for k in range(1, count):  # other pixels in the last row, so that no file is a copy
            (folder / f"{k:05d}.tif").write_bytes(first[:-8] + k.to_bytes(8, "little"))
        command = [sys.executable, "-m", "benchmarks.bench_ingest", "--only-memory", str(folder)]
        subprocess.run(command, check=True)


def _memory_of(folder: Path) -> None:
    """Resident memory while the pixels are read and written, after the imports."""
    process, seen = psutil.Process(), []
    files = sorted(folder.iterdir())
    na.ingest(files[:16], folder.parent / "first.zarr")

    def look(now: Progress) -> None:
        if now.stage == "writing":
            seen.append((now.done, process.memory_info().rss / 1e6))

    na.ingest(folder, folder.parent / "s.zarr", progress=look)
    total = sum(path.stat().st_size for path in files) / 1e6
    print(f"memory of an ingest of {len(files)} images, {total:.0f} MB of files:")
    for part in (8, 4, 2, 1):
        some = [mb for done, mb in seen if done <= len(files) // part]
        print(f"  first {len(files) // part:>5} images: at most {max(some):.0f} MB")
    half = [(done, mb) for done, mb in seen if done > len(files) / 4]
    slope = np.polyfit(*zip(*half, strict=True), 1)[0]
    print(
        f"  growth: {1e3 * slope:+.1f} kB per image, of {1e3 * total / len(files):.0f} kB of file"
    )


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
    memory(256 if options.quick else 2048)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
