"""Fits over a whole archive: clusters of seven million tiles, shape groups of a million crystals.

Features are synthetic. Every fit runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np


def clusters_of_tiles(images: int) -> tuple[int, float, float, float]:
    """Fit and label 6,840 tiles of 40 features per image: rows, s to fit, s to label, peak MB."""
    from nanoarray.superlattice import one_map
    from nanoarray.superlattice.parameters import TileClustersParameters

    parameters = TileClustersParameters()
    directions = np.random.default_rng(0).normal(size=(8, 40)).astype(np.float32)

    def vectors(i: int) -> np.ndarray:
        """Tiles of eight orientations in patches, with noise: made anew as if read."""
        rng = np.random.default_rng(i + 1)
        patches = np.kron(rng.integers(0, 8, (9, 8)), np.ones((8, 12), int))[:72, :95]
        noise = rng.normal(scale=0.3, size=(*patches.shape, 40)).astype(np.float32)
        return directions[patches] + noise

    start = time.perf_counter()
    model = one_map.fit_collection(np.arange(images), vectors, parameters)
    fitted = time.perf_counter() - start
    model = {name: model[name] for name in ("method", "centers", "center_cluster")}
    rows = 0
    for i in range(images):
        rows += one_map.cluster_labels(vectors(i), parameters, model)["cluster"].size
    return rows, fitted, time.perf_counter() - start - fitted, _peak_mb()


def groups_of_crystals(count: int) -> tuple[int, float, float, float]:
    """Fit and label shape groups: rows, s to fit, s to label, peak MB."""
    from nanoarray.nanocrystal.groups.columns import FEATURES, SHAPE_PARAMETERS
    from nanoarray.nanocrystal.groups.fit import fit_groups
    from nanoarray.nanocrystal.groups.model import predict_groups

    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, count)
    names = (*FEATURES, *SHAPE_PARAMETERS)
    centres = rng.uniform(1, 8, (3, len(names)))
    table = {
        name: centres[group, k] * rng.lognormal(sigma=0.1, size=count)
        for k, name in enumerate(names)
    }
    start = time.perf_counter()
    fit = fit_groups(table)
    fitted = time.perf_counter() - start
    predict_groups(fit.model, table)
    return count, fitted, time.perf_counter() - start - fitted, _peak_mb()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows")
    options = parser.parse_args()
    part = 100 if options.quick else 1
    jobs = (
        ("clusters of tiles", clusters_of_tiles, 1024 // part),
        ("groups of crystals", groups_of_crystals, 1_000_000 // part),
    )
    print(f"{'fit':<20} {'rows':>10} {'s to fit':>9} {'s to label':>11} {'peak MB':>8}", flush=True)
    context = multiprocessing.get_context("spawn")
    for name, job, size in jobs:
        with context.Pool(1) as pool:
            rows, fit, label, peak = pool.apply(job, (size,))
        print(f"{name:<20} {rows:>10,} {fit:>9.1f} {label:>11.1f} {peak:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
