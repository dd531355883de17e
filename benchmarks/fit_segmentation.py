"""Fit the quality of segmentation candidates to images with manual masks and to simulated ones.

    python -m benchmarks.fit_segmentation --data FOLDER [--folds 5] [--out FILE.safetensors]

FOLDER holds `images/` and `masks/` with equal names. Prints the scores of images that the fit has
not seen (folds by image), then fits to all images and writes the weights. Simulated fields, whose
outlines are known exactly, are in every fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.bench_segmentation import Pair, describe_scores, read_pairs, score_image
from nanoarray.nanocrystal.segment.annotations import blank_boxes, find_annotations
from nanoarray.nanocrystal.segment.classical import (
    image_candidates,
    paint,
    sharpest_outlines,
)
from nanoarray.nanocrystal.segment.quality import (
    FORMAT,
    LEAST_QUALITY,
    Forest,
    QualityModel,
    context_numbers,
    predict_quality,
)
from nanoarray.nanocrystal.segment.select import select_candidates
from nanoarray.simulate.nanocrystal_specs import random_field_spec
from nanoarray.simulate.nanocrystals import simulate_field

#: Candidates that overlap no crystal are most of them; this part of them is enough to learn from.
NEGATIVES_KEPT = 0.2


def simulated_pairs(count, *, seed):
    """Random fields with known crystals; those without any are fields too."""
    pairs = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        spec = random_field_spec(rng, height_px=384, width_px=384)
        field = simulate_field(spec, seed=int(rng.integers(0, 2**62)))
        pairs.append(Pair(f"simulated {index}", field.image, field.labels))
    return pairs


def overlaps(candidates, truth):
    """IoU of every candidate with its best crystal, 0 below one half."""
    area = np.bincount(truth.ravel())
    flat = truth.ravel()
    out = np.zeros(candidates.size.size)
    for i, (start, size) in enumerate(zip(candidates.start, candidates.size, strict=True)):
        inside = np.bincount(flat[candidates.pixel[start : start + size]], minlength=area.size)
        iou = inside / (area + size - inside)
        out[i] = iou[1:].max(initial=0)
    return np.where(out > 0.5, out, 0)


def fit_forest(numbers, targets, *, seed):
    """One stage: every image weighs as the root of its number of candidates."""
    rng = np.random.default_rng(seed)
    rows, wanted, weights = [], [], []
    for row, target in zip(numbers, targets, strict=True):
        keep = (target > 0) | (rng.random(target.size) < NEGATIVES_KEPT)
        rows.append(row[keep])
        wanted.append(target[keep])
        weight = np.where(target[keep] > 0, 1, 1 / NEGATIVES_KEPT)
        weights.append(weight / np.sqrt(target.size))
    model = HistGradientBoostingRegressor(
        max_iter=160,
        learning_rate=0.08,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        random_state=seed,
    )
    model.fit(np.vstack(rows), np.concatenate(wanted), np.concatenate(weights))
    return as_forest(model)


def as_forest(model):
    """The trees of a fitted model as plain arrays."""
    trees = [stage[0].nodes for stage in model._predictors]
    root = np.cumsum([0] + [len(t) for t in trees])[:-1]
    nodes = np.concatenate(trees)
    shift = np.repeat(root, [len(t) for t in trees])
    leaf = nodes["is_leaf"].astype(bool)
    return Forest(
        root=root.astype(np.int32),
        feature=np.where(leaf, -1, nodes["feature_idx"]).astype(np.int32),
        threshold=nodes["num_threshold"].astype(np.float32),
        left=(nodes["left"] + shift).astype(np.int32),
        right=(nodes["right"] + shift).astype(np.int32),
        value=np.where(leaf, nodes["value"], 0).astype(np.float32),
        base=np.asarray(model._baseline_prediction, np.float32).reshape(1),
    )


def fit_model(found, noise, targets, *, folds, seed):
    """Both stages; the second learns from what the first says of images it has not seen."""
    numbers = [c.numbers for c in found]
    part = np.random.default_rng(seed).permutation(len(found)) % folds
    unseen = [np.zeros(0)] * len(found)
    for fold in range(folds):
        seen = [i for i in range(len(found)) if part[i] != fold]
        forest = fit_forest([numbers[i] for i in seen], [targets[i] for i in seen], seed=seed)
        for i in np.flatnonzero(part == fold):
            unseen[i] = forest.predict(numbers[i])
    context = [context_numbers(c, f, noise=n) for c, f, n in zip(found, unseen, noise, strict=True)]
    return QualityModel(
        alone=fit_forest(numbers, targets, seed=seed),
        among=fit_forest(context, targets, seed=seed),
    )


def label(candidates, quality, shape):
    chosen = select_candidates(candidates.parent, candidates.alternative, quality - LEAST_QUALITY)
    return paint(candidates, sharpest_outlines(candidates, chosen), shape[0] * shape[1]).reshape(
        shape
    )


def save(model, path):
    from safetensors.numpy import save_file

    arrays = {
        f"{stage}.{name}": array
        for stage in ("alone", "among")
        for name, array in vars(getattr(model, stage)).items()
    }
    save_file(arrays, path, metadata={"format": FORMAT})
    Path(path).chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--simulated", type=int, default=80, help="simulated fields")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    real = read_pairs(options.data)
    pairs = real + simulated_pairs(options.simulated, seed=options.seed)
    clear = [blank_boxes(p.pixels, find_annotations(p.pixels)) for p in pairs]
    candidates = [image_candidates(pixels, polarity="dark") for pixels in clear]
    found, noise = [c for c, _ in candidates], [n for _, n in candidates]
    targets = [overlaps(c, p.truth) for c, p in zip(found, pairs, strict=True)]
    part = np.full(len(pairs), -1)
    order = np.random.default_rng(options.seed).permutation(len(real))
    part[: len(real)] = order % max(options.folds, 1)
    rows = []
    for fold in range(options.folds):
        seen = np.flatnonzero(part != fold)
        model = fit_model(
            [found[i] for i in seen],
            [noise[i] for i in seen],
            [targets[i] for i in seen],
            folds=4,
            seed=options.seed,
        )
        for i in np.flatnonzero(part == fold):
            quality = predict_quality(found[i], noise=noise[i], model=model)
            labels = label(found[i], quality, pairs[i].pixels.shape)
            rows.append(score_image(pairs[i].name, pairs[i].truth, labels))
    if rows:
        print("images that the fit has not seen:")
        print(describe_scores(rows))
    if options.out:
        save(fit_model(found, noise, targets, folds=5, seed=options.seed), options.out)


if __name__ == "__main__":
    main()
