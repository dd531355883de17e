"""Cost and quality of grouping tiles: Ward against scipy, prototypes against all rows, methods.

    python benchmarks/bench_cluster.py [--quick]

One core, simulated polycrystals with known grains.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable

# Before NumPy starts its threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.cluster.hierarchy import linkage
from sklearn.metrics import adjusted_rand_score

from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice.cluster.fit import (
    fit_clusters,
    predict_clusters,
    profile_features,
    spatial_pairs,
)
from nanoarray.superlattice.cluster.ward import cut_tree, ward_tree
from nanoarray.superlattice.radon.aligned import tile_radon
from nanoarray.superlattice.radon.paper import alignment_bits, tile_radon_paper
from nanoarray.superlattice.radon.tile_grid import tile_grid

ANGLES = np.linspace(0, 180, 42, endpoint=False)
CASES = (("square", 0.15), ("hexagonal", 0.15), ("square", 0.4), ("hexagonal", 0.4))


def measured(work: Callable[[], object]) -> tuple[object, float, float]:
    """Result, seconds and peak MB of a call (timed and traced in separate runs)."""
    start = time.perf_counter()
    result = work()
    took = time.perf_counter() - start
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return result, took, peak


def tiles_of(lattice: str, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Profiles and paper's bits (ny, nx, features), and the true grain of each tile (ny, nx)."""
    crystal = simulate_polycrystal(lattice=lattice, noise=noise, seed=seed)
    grid = tile_grid(*crystal.image.shape, tile_size_px=128, stride_px=10, coverage="inside")
    options = {"tile_size_px": 128, "angles_deg": ANGLES}
    profile = profile_features(tile_radon(crystal.image, *grid, **options))
    variance = tile_radon_paper(crystal.image, *grid, **options)
    bits = alignment_bits(variance, method="second_difference", periodic=False)
    rows, columns = (np.rint(centres).astype(int) for centres in grid)
    return profile, bits.astype(np.float32), crystal.grain[np.ix_(rows, columns)]


def compare_ward(rows: np.ndarray) -> None:
    print(f"\nWard tree of {rows.shape[0]} x {rows.shape[1]}   {'s':>8} {'peak MB':>8}")
    ward_tree(rows[:100])
    ours, seconds, peak = measured(lambda: ward_tree(rows))
    print(f"{'nanoarray':28} {seconds:8.2f} {peak:8.0f}")
    theirs, seconds, peak = measured(lambda: linkage(rows, "ward"))
    print(f"{'scipy':28} {seconds:8.2f} {peak:8.0f}")
    difference = np.max(np.abs(ours[:, 2] / theirs[:, 2] - 1))
    print(f"largest relative difference of heights {difference:.1e}")


def compare_prototypes(rows: np.ndarray, truth: np.ndarray, limits: tuple[int, ...]) -> None:
    count = 30
    print(f"\n{rows.shape[0]} tiles of several images, {count} clusters; limit of exact rows")
    print(f"{'':12} {'s':>8} {'peak MB':>8} {'ARI to exact':>13} {'ARI to truth':>13}")
    exact = None
    for limit in (rows.shape[0], *limits):
        (labels, _), seconds, peak = measured(
            lambda n=limit: fit_clusters(rows, n_clusters=count, max_exact=n)
        )
        exact = labels if exact is None else exact
        print(
            f"{limit if limit < rows.shape[0] else 'all (exact)':>12} {seconds:8.2f} {peak:8.0f}"
            f" {adjusted_rand_score(exact, labels):13.3f}"
            f" {adjusted_rand_score(truth, labels):13.3f}"
        )


def compare_thresholds(cases: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    print("\nWard threshold found from the data, against the best number of clusters by the truth")
    print(f"{'features':22} {'threshold':>9} {'clusters':>9} {'ARI':>6} {'best ARI':>9} {'at':>4}")
    for name, which in (("profile", 0), ("second difference bits", 1)):
        for case in cases:
            features, truth = case[which], case[2]
            rows = features.reshape(-1, features.shape[-1])
            pairs = spatial_pairs(np.ones(truth.shape, dtype=bool))
            labels, model = fit_clusters(rows, pairs=pairs)
            tree = ward_tree(rows)
            scores = [
                (adjusted_rand_score(truth.ravel(), cut_tree(tree, n_clusters=k)), k)
                for k in range(4, 60, 2)
            ]
            best, at = max(scores)
            print(
                f"{name:22} {float(model['distance_threshold']):9.1f} {labels.max() + 1:9}"
                f" {adjusted_rand_score(truth.ravel(), labels):6.3f} {best:9.3f} {at:4}"
            )


def compare_methods(features: np.ndarray, truth: np.ndarray, methods: tuple[str, ...]) -> None:
    rows = features.reshape(-1, features.shape[-1])
    print(f"\n{rows.shape[0]} tiles, 24 clusters {'s':>10} {'ARI to truth':>13} {'relabelled':>11}")
    for method in methods:
        start = time.perf_counter()
        labels, model = fit_clusters(rows, method=method, n_clusters=24)
        took = time.perf_counter() - start
        same = np.mean(predict_clusters(model, rows) == labels)
        score = adjusted_rand_score(truth.ravel(), labels)
        print(f"{method:25} {took:10.2f} {score:13.3f} {same:11.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, no time warping")
    options = parser.parse_args()
    chosen = CASES[:2] if options.quick else CASES
    cases = [tiles_of(lattice, noise, i) for i, (lattice, noise) in enumerate(chosen)]
    compare_ward(cases[0][0].reshape(-1, ANGLES.size)[:6840])
    compare_thresholds(cases)
    compare_methods(
        cases[0][0], cases[0][2], ("ward", "kmeans", "dtw")[: 2 if options.quick else 3]
    )
    # Tiles of several images together; grains of different images are different grains.
    rows = np.concatenate([case[0].reshape(-1, ANGLES.size) for case in cases])
    truth = np.concatenate([1000 * i + case[2].ravel() for i, case in enumerate(cases)])
    compare_prototypes(rows, truth, (20_000, 10_000, 5_000) if not options.quick else (5_000,))


if __name__ == "__main__":
    main()
