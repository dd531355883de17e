"""Shape groups and classifiers: quality on known populations, false alarms, time and memory.

    python benchmarks/bench_groups.py [--quick]

One core. Crystals are drawn as rows of a table: size, elongation and roundness of each population
vary, features follow from them with an error of measurement, and 2 % of the numbers of axes are
mistaken.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

# Before NumPy starts its threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.metrics import adjusted_rand_score

from nanoarray.nanocrystal.classify.ablation import ablate
from nanoarray.nanocrystal.classify.train import train_classifier
from nanoarray.nanocrystal.groups.fit import fit_groups
from nanoarray.nanocrystal.groups.model import predict_groups

#: Diameter [nm], aspect ratio, p, d, circularity and solidity of the middle of a population.
KINDS = {
    "cubes": (10.0, 1.05, 8.0, 2, 0.85, 0.96),
    "large cubes": (15.0, 1.05, 8.0, 2, 0.85, 0.96),
    "spheres": (10.0, 1.03, 2.0, 2, 0.91, 0.98),
    "platelets": (13.0, 1.7, 8.0, 2, 0.78, 0.96),
    "rods": (13.0, 2.6, 5.0, 2, 0.66, 0.96),
    "triangles": (14.0, 1.05, 1.5, 3, 0.68, 0.95),
    "stars": (24.0, 1.10, 0.8, 5, 0.50, 0.78),
}
ARCHIVES = {
    "cubes": {"cubes": 1.0},
    "spheres": {"spheres": 1.0},
    "rods": {"rods": 1.0},
    "cubes, rods": {"cubes": 0.6, "rods": 0.4},
    "two sizes": {"cubes": 0.6, "large cubes": 0.4},
    "cubes, spheres": {"cubes": 0.5, "spheres": 0.5},
    "cubes, spheres, rods": {"cubes": 0.4, "spheres": 0.3, "rods": 0.3},
    "the paper's four": {"cubes": 0.45, "large cubes": 0.25, "platelets": 0.2, "stars": 0.1},
    "five": {"cubes": 0.3, "spheres": 0.2, "rods": 0.2, "triangles": 0.2, "stars": 0.1},
}


def draw(archive: dict[str, float], count: int, seed: int) -> tuple[dict, np.ndarray]:
    """Table of crystals and the population of each."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(archive), count, p=list(archive.values()))
    middle = np.array([KINDS[name] for name in archive])[truth]
    vary = rng.standard_normal((6, count))
    size = middle[:, 0] * np.exp(0.10 * vary[0])
    ratio = 1 + (middle[:, 1] - 1) * np.exp(0.2 * vary[1]) + 0.02 * np.abs(vary[2])
    p = middle[:, 2] * np.exp(0.15 * vary[3])
    area = np.pi / 4 * size**2
    circularity = middle[:, 4] - 0.15 * (ratio - middle[:, 1]) + 0.012 * vary[4]
    d = middle[:, 3].copy()
    # A circle has any number of axes; of others 2 % are mistaken.
    wrong = (np.abs(np.log(p / 2)) < 0.3) & (ratio < 1.15) | (rng.random(count) < 0.02)
    d[wrong] = rng.integers(1, 7, np.count_nonzero(wrong))
    table = {
        "area": area,
        "equivalent_diameter": size,
        "axis_major": size * np.sqrt(ratio),
        "axis_minor": size / np.sqrt(ratio),
        "aspect_ratio": ratio,
        "eccentricity": np.sqrt(1 - 1 / ratio**2),
        "circularity": circularity,
        "solidity": middle[:, 5] + 0.006 * vary[5],
        "extent": np.clip(0.74 + 0.06 * rng.standard_normal(count), 0.3, 1.0),
        "perimeter": np.sqrt(4 * np.pi * area / circularity),
        "p": p,
        "d": d,
        "axis_ratio": ratio * np.exp(0.04 * rng.standard_normal(count)),
    }
    table["axis_ratio"] = np.maximum(table["axis_ratio"], 1.0)
    return table, truth


def compare_archives(count: int, seeds: int) -> None:
    print(
        f"\n{count} crystals, {seeds} draws: groups by silhouette and nested, adjusted Rand index"
    )
    for name, archive in ARCHIVES.items():
        found = []
        for seed in range(seeds):
            table, truth = draw(archive, count, seed)
            for nested in (False, True):
                fit = fit_groups(table, nested=nested, seed=seed)
                score = adjusted_rand_score(truth, fit.groups)
                found.append(f"{fit.n_groups}" + (f" {score:.3f}" if len(archive) > 1 else ""))
        print(f"{name:24} {len(archive)} true   {' | '.join(found)}", flush=True)


def show_comparison(count: int) -> None:
    table, truth = draw(ARCHIVES["the paper's four"], count, 0)
    fit = fit_groups(table, nested=True)
    print(f"\nThe paper's four, {count} crystals (its table S8)")
    print(f"{'dataset':18} {'method':18} {'k':>3} {'silhouette':>11} {'cophenet':>9} {'groups':>7}")
    for c in fit.comparison:
        print(
            f"{c.dataset:18} {c.method:18} {c.n_groups:3} {c.silhouette:11.3f} {c.cophenet:9.3f}"
            f" {c.cophenet_groups:7.3f}"
        )
    print(f"chosen: {fit.model['dataset']}, {fit.model['method']}, {fit.n_groups}; {fit.notes}")
    print(f"adjusted Rand index {adjusted_rand_score(truth, fit.groups):.3f}")


def measure_scale(count: int) -> None:
    table, _ = draw(ARCHIVES["five"], count, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{count} crystals; memory before {before:.0f} MB   {'CPU s':>7} {'peak MB':>8}")

    def step(name: str, start: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:43} {time.process_time() - start:7.1f} {peak:8.0f}", flush=True)

    start = time.process_time()
    fit = fit_groups(table, nested=True)
    step(f"groups ({fit.n_groups}, {fit.model['method']})", start)
    for method in ("gaussian mixture", "linkage"):
        start = time.process_time()
        other = fit_groups(table, method=method, dataset="both")
        step(f"groups by {method}", start)
        start = time.process_time()
        predict_groups(other.model, table)
        step(f"labelling by {method}", start)
    start = time.process_time()
    images = np.arange(count) % 100
    found = train_classifier(table, fit.groups, source="groups", units={"image": images})
    step(f"classifier ({found.classifier.kind})", start)
    print(f"cluster reproducibility {found.test_accuracy:.4f}, chance {found.chance:.3f}")


def show_ablation(count: int) -> None:
    table, _ = draw(ARCHIVES["five"], count, 0)
    groups = fit_groups(table, dataset="both").groups
    print(f"\nAblation, {count} crystals in {groups.max()} groups: test, cross-validation")
    for row in ablate(table, groups, source="groups", kinds=("svm",), n_trials=10, folds=5):
        print(f"{row.name:32} {row.test_accuracy:7.3f} {row.mean:7.3f} +- {row.std:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer crystals and draws")
    quick = parser.parse_args().quick
    show_comparison(600 if quick else 3000)
    measure_scale(10_000 if quick else 100_000)
    show_ablation(600 if quick else 2000)
    compare_archives(400 if quick else 1000, 1 if quick else 4)


if __name__ == "__main__":
    main()
