"""Speed of the tile transforms against `skimage.transform.radon` and against copying memory.

    python benchmarks/bench_radon.py [--quick] [--image FILE]
    python benchmarks/bench_radon.py --every-tile FILE...

One core, one process, the same image: the ratios hold where absolute times depend on the machine.
With ``--every-tile`` nothing is timed: the paper preset is compared with scikit-image on every tile
of the given micrographs, which takes minutes for each.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

# Before NumPy starts its threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from skimage.transform import radon

from nanoarray.images.read import read_micrograph
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice.radon.aligned import flatten, tile_radon
from nanoarray.superlattice.radon.paper import alignment_bits, tile_radon_paper
from nanoarray.superlattice.radon.tile_grid import tile_grid

TILE, STRIDE, ANGLE_COUNT = 128, 10, 42
ANGLES = np.linspace(0, 180, ANGLE_COUNT, endpoint=False)


def seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and minimum of several runs, the first (compiling) left out."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), min(times)


def reference(image: np.ndarray, tops: np.ndarray, lefts: np.ndarray) -> tuple[np.ndarray, float]:
    """Variances by scikit-image of some tiles, and the median seconds per tile."""
    variances, times = [], []
    for top, left in zip(tops, lefts, strict=True):
        tile = image[top : top + TILE, left : left + TILE].astype(np.float64)
        start = time.perf_counter()
        sinogram = radon(tile, ANGLES, circle=False, preserve_range=True)
        times.append(time.perf_counter() - start)
        variances.append(sinogram.var(axis=0))
    return np.array(variances), float(np.median(times))


def copy_bandwidth(repeats: int) -> float:
    """Bytes read and written per second when an array is copied that fits no cache."""
    source = np.ones(2**25, dtype=np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: np.copyto(target, source), repeats)[1]


def copier() -> Callable[[], None]:
    """Work that copies an array which fits no cache, for up to two threads at once."""
    source = np.ones(2**25, dtype=np.float32)
    targets = [np.ones_like(source) for _ in range(2)]

    def work() -> None:
        target = targets.pop()
        np.copyto(target, source)
        targets.append(target)

    return work


def two_threads(work: Callable[[], object], repeats: int) -> float:
    """Throughput of two threads over that of one."""

    def run(count: int) -> None:
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return 2 * seconds(lambda: run(1), repeats)[1] / seconds(lambda: run(2), repeats)[1]


def every_tile(path: Path) -> None:
    """Print how the paper preset agrees with scikit-image on all tiles of a micrograph."""
    image = read_micrograph(path).pixels
    height, width = image.shape
    inside = tile_grid(height, width, tile_size_px=TILE, stride_px=STRIDE, coverage="inside")
    tops, lefts = (np.rint(c - (TILE - 1) / 2).astype(int) for c in inside)
    found = tile_radon_paper(image, *inside, tile_size_px=TILE, angles_deg=ANGLES)
    with ProcessPoolExecutor() as pool:
        rows = pool.map(partial(_reference_row, image, lefts), tops)
        expected = np.array(list(rows))
    pairs = zip(found.reshape(-1, ANGLE_COUNT), expected.reshape(-1, ANGLE_COUNT), strict=True)
    correlation = np.array([_correlation(a, b) for a, b in pairs])
    print(
        f"{path.name}: {correlation.size} tiles, least correlation {correlation.min():.8f}", end=""
    )
    for method in ("variance", "second_difference"):
        a, b = (alignment_bits(v, method=method, periodic=False) for v in (found, expected))
        print(f", {method} bits equal {np.mean(a == b):.4%}", end="")
    print(flush=True)


def _reference_row(image: np.ndarray, lefts: np.ndarray, top: int) -> np.ndarray:
    return reference(image, np.full(lefts.size, top), lefts)[0]


def _limits(
    default: Callable[[], object],
    paper: Callable[[], object],
    fast: float,
    pixels: int,
    repeats: int,
) -> None:
    """Print how far the kernels are from the bandwidth of memory, and how they scale to threads."""
    # The least traffic of this method: the image read, and as many sums written, per angle.
    traffic = ANGLE_COUNT * 2 * 4 * pixels
    floor = traffic / copy_bandwidth(repeats)
    print(
        f"\nreading and writing the image {ANGLE_COUNT} times at the speed of a memory copy:"
        f" {floor:.4f} s; the default takes {fast / floor:.1f} times that"
    )
    copies = two_threads(copier(), repeats)
    for name, work in (("default", default), ("paper", paper)):
        gain = two_threads(work, repeats)
        print(f"{name}: two threads have {gain:.2f} times the throughput of one", flush=True)
    print(f"memory copies: two threads have {copies:.2f} times the throughput of one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--image", type=Path, help="a micrograph instead of a simulated one")
    parser.add_argument("--every-tile", type=Path, nargs="+", help="compare on all tiles of these")
    options = parser.parse_args()
    if options.every_tile:
        for path in options.every_tile:
            every_tile(path)
        return
    repeats, sample = (3, 10) if options.quick else (9, 60)
    if options.image is None:
        image = simulate_polycrystal(seed=0).image
    else:
        image = read_micrograph(options.image).pixels
    height, width = image.shape
    inside = tile_grid(height, width, tile_size_px=TILE, stride_px=STRIDE, coverage="inside")
    tops, lefts = (np.rint(c - (TILE - 1) / 2).astype(int) for c in inside)
    tiles = tops.size * lefts.size
    print(
        f"{height} x {width} px, tile {TILE}, stride {STRIDE}: {tiles} tiles, {ANGLE_COUNT} angles"
    )

    rng = np.random.default_rng(0)
    at = rng.integers(0, tops.size, sample), rng.integers(0, lefts.size, sample)
    expected, _ = reference(image, tops[at[0]], lefts[at[1]])

    print(f"\n{'method':42} {'s/image':>9} {'fastest':>9} {'speed-up':>9}")

    def show(name: str, work: Callable[[], object], compare: bool = True) -> float:
        """Print the median, the fastest and the median ratio to runs of scikit-image between."""
        work()
        times, ratios = [], []
        for _ in range(repeats):
            slow = reference(image, tops[at[0][:8]], lefts[at[1][:8]])[1] * tiles if compare else 0
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
            ratios.append(slow / times[-1])
        ratio = f"{np.median(ratios):9.0f}" if compare else ""
        print(f"{name:42} {np.median(times):9.4f} {min(times):9.4f} {ratio}", flush=True)
        return min(times)

    slow = reference(image, tops[at[0]], lefts[at[1]])[1] * tiles
    print(f"{'skimage.transform.radon (median tile)':42} {slow:9.2f} {'':>9} {1:9}")

    def default() -> np.ndarray:
        return tile_radon(image, *inside, tile_size_px=TILE, angles_deg=ANGLES)

    def paper() -> np.ndarray:
        return tile_radon_paper(image, *inside, tile_size_px=TILE, angles_deg=ANGLES)

    fast = show("default: aligned windows", default)
    show("paper: exact sparse projector", paper)
    for size, stride, count in ((128, 10, 42), (48, 8, 60), (40, 10, 90)):
        grid = tile_grid(height, width, tile_size_px=size, stride_px=stride)
        angles = np.linspace(0, 180, count, endpoint=False)
        show(
            f"default to the edges: {size}, {stride}, {count} angles",
            lambda g=grid, s=size, a=angles: tile_radon(image, *g, tile_size_px=s, angles_deg=a),
            compare=False,
        )

    _limits(default, paper, fast, height * width, repeats)
    found = paper()[at]
    print(f"\nagreement with scikit-image on {sample} tiles")
    print(f"paper: least correlation {min(map(_correlation, found, expected)):.8f}", end="")
    for method in ("variance", "second_difference"):
        a, b = (alignment_bits(v, method=method, periodic=False) for v in (found, expected))
        print(f", {method} bits equal {np.mean(a == b):.2%}", end="")
    # Their window is a square that does not turn: with a mean in it, it has a signature of its own.
    flat = flatten(image.astype(np.float32), np.ones(image.shape, dtype=bool), box_px=TILE)
    expected, _ = reference(flat, tops[at[0]], lefts[at[1]])
    median = np.median(list(map(_correlation, default()[at], expected)))
    print(f"\ndefault, and scikit-image after subtracting the local mean: correlation {median:.4f}")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    main()
