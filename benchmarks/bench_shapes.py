"""Shape network: accuracy on crops it has not seen, on real masks where they are, and speed.

    python benchmarks/bench_shapes.py [--quick] [--crops N] [--weights FILE] [--real FOLDER]

Held-out crops are the test share of the training set of the shipped weights (rows 52,000 to 65,000
of seed 0). Speeds are per minute: by the clock with two threads, and by the processor time of one
core, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Before NumPy and torch start their threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools

import numpy as np

from nanoarray.nanocrystal.measure.crops import cut_crops
from nanoarray.nanocrystal.shape import diagnostics
from nanoarray.nanocrystal.shape.predict import fit_shapes, predict_candidates, predict_shapes
from nanoarray.nanocrystal.shape.refine import jaccard
from nanoarray.nanocrystal.shape.train import split_rows, training_masks

IMAGES = 65_000


def summary(values: np.ndarray) -> str:
    """Mean, median and low quantiles."""
    low, lowest = np.quantile(values, (0.05, 0.01))
    return (
        f"mean {values.mean():.4f}  median {np.median(values):.4f}  5 % {low:.3f}  1 % {lowest:.3f}"
    )


def simulated(count: int, weights: Path | None) -> np.ndarray:
    """Accuracy on held-out crops; returns their masks."""
    test = split_rows(IMAGES)[2]
    rows = slice(test.stop - count, test.stop)
    shapes, masks = training_masks(IMAGES, seed=0, rows=rows)
    predicted, refined = fit_shapes(masks, weights=weights)
    print(f"{count} held-out simulated crops with noise: Jaccard index of re-simulation and mask")
    print("  true parameters  ", summary(jaccard(masks, shapes)))
    print("  predicted        ", summary(predicted["jaccard"]))
    print("  predicted, fitted", summary(refined["jaccard"]))
    for name, found in (("predicted", predicted), ("fitted", refined)):
        print(f"errors of the parameters, {name}:")
        for what, value in diagnostics.parameter_errors(shapes, found).items():
            print(f"  {what:24s} {value:.4f}")
    print("by d: Jaccard predicted, fitted; d right")
    for d in range(1, 7):
        own = shapes.d == d
        print(
            f"  {d}  {predicted['jaccard'][own].mean():.4f}  {refined['jaccard'][own].mean():.4f}"
            f"  {np.mean(predicted['d'][own] == d):.3f}"
        )
    print("by p: share of crops, Jaccard of the true shape, predicted, fitted; RMSE of p")
    truth = jaccard(masks, shapes)
    edges = (0.0, 0.2501, 0.5, 1.0, 2.0, 5.0, 20.0, 71.0)
    errors = diagnostics.error_by_parameter(shapes.p, predicted["p"] - shapes.p, edges=edges)
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        own = (shapes.p >= low) & (shapes.p < high)
        print(
            f"  {low:5.2f} to {high:5.2f}  {own.mean():.3f}  {truth[own].mean():.4f}  "
            f"{predicted['jaccard'][own].mean():.4f}  {refined['jaccard'][own].mean():.4f}  "
            f"{errors['rmse'][k]:.2f}"
        )
    return masks


def real(folder: Path, weights: Path | None) -> None:
    """Jaccard indices on the crops of real panels with manual masks."""
    from skimage.io import imread

    masks, cut = [], []
    for path in sorted((folder / "masks").glob("*.png")):
        labels = imread(path).astype(np.int32)
        crops = cut_crops(labels, np.zeros(labels.shape, np.uint8))
        rim = np.unique(np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1])))
        masks.append(crops.mask)
        cut.append(np.isin(crops.label, rim))
    whole = ~np.concatenate(cut)
    predicted, refined = fit_shapes(np.concatenate(masks), weights=weights)
    print(f"{whole.size} real crops with manual masks, {whole.sum()} of them whole")
    for name, found in (("predicted        ", predicted), ("predicted, fitted", refined)):
        print(f"  {name} all  ", summary(found["jaccard"]))
        print(f"  {name} whole", summary(found["jaccard"][whole]))


def speed(name: str, work: Callable[[np.ndarray], object], masks: np.ndarray) -> None:
    """Crops per minute on two threads by the clock, and per core by processor time."""
    work(masks[:64])
    begun, used = time.perf_counter(), time.process_time()
    halves = np.array_split(masks, 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, halves))
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    print(
        f"  {name:28s} {60 * len(masks) / wall:10,.0f} per minute on 2 threads by the clock, "
        f"{60 * len(masks) / cpu:10,.0f} per core minute"
    )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--crops", type=int)
    parser.add_argument("--weights", type=Path)
    root = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("NANOARRAY_REAL_DATA", root.parent / "shared" / "data"))
    parser.add_argument("--real", type=Path, default=data / "tem_particles")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    masks = simulated(given.crops or (1000 if given.quick else 13_000), given.weights)
    if given.real.is_dir() and not given.quick:
        real(given.real, given.weights)
    print("speed")
    some = masks[:2000]
    speed("network", lambda part: predict_candidates(part, count=1, weights=given.weights), some)
    speed("predict_shapes", lambda part: predict_shapes(part, weights=given.weights), some)
    speed("fit_shapes", lambda part: fit_shapes(part, weights=given.weights), some)


if __name__ == "__main__":
    main()
