"""Fit the quality of segmentation candidates to images with manual masks and to simulated ones.

    python -m benchmarks.fit_segmentation --data FOLDER [--folds 5] [--out FILE.safetensors]

FOLDER holds `images/` and `masks/` with equal names. Prints the scores of images that the fit has
not seen (folds by image), then fits to all images and writes the weights. Simulated fields, whose
outlines are known exactly, are in every fit.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.bench_segmentation import Pair, describe_scores, read_pairs, score_image
from nanoarray.nanocrystal.segment.agreement import agreement_numbers
from nanoarray.nanocrystal.segment.annotations import blank_boxes, find_annotations
from nanoarray.nanocrystal.segment.candidates import Candidates
from nanoarray.nanocrystal.segment.classical import (
    choose_crystals,
    image_candidates,
)
from nanoarray.nanocrystal.segment.net import segment_with_network
from nanoarray.nanocrystal.segment.quality import (
    FORMAT,
    STAGES,
    Forest,
    NetworkResult,
    QualityModel,
    context_numbers,
)
from nanoarray.simulate.nanocrystal_specs import random_field_spec
from nanoarray.simulate.nanocrystals import simulate_field

#: Candidates that overlap no crystal are most of them; this part of them is enough to learn from.
NEGATIVES_KEPT = 0.2
#: Weight of a simulated field: the network does better on them than on real images, and should not
#: be trusted for that.
SIMULATED_WEIGHT = 0.5


@dataclass(frozen=True)
class Field:
    """One image, its candidates, how well they fit, and what the network says."""

    pair: Pair
    candidates: Candidates
    noise: float
    target: np.ndarray
    network: NetworkResult
    weight: float


def prepare(pair, *, weight=1.0):
    clear = blank_boxes(pair.pixels, find_annotations(pair.pixels))
    candidates, noise = image_candidates(clear, polarity="dark")
    network = segment_with_network(clear, polarity="dark")
    return Field(pair, candidates, noise, overlaps(candidates, pair.truth), network, weight)


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


def fit_forest(numbers, fields, *, seed):
    """One stage: every image weighs as the root of its number of candidates."""
    rng = np.random.default_rng(seed)
    rows, wanted, weights = [], [], []
    for row, field in zip(numbers, fields, strict=True):
        target = field.target
        if target.size == 0:
            continue
        keep = (target > 0) | (rng.random(target.size) < NEGATIVES_KEPT)
        rows.append(row[keep])
        wanted.append(target[keep])
        weight = np.where(target[keep] > 0, 1, 1 / NEGATIVES_KEPT)
        weights.append(field.weight * weight / np.sqrt(target.size))
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


def fit_model(fields, *, folds, seed):
    """All stages; the later ones learn from what the first says of images it has not seen."""
    numbers = [f.candidates.numbers for f in fields]
    part = np.random.default_rng(seed).permutation(len(fields)) % folds
    unseen = [np.zeros(0)] * len(fields)
    for fold in range(folds):
        seen = [i for i in range(len(fields)) if part[i] != fold]
        forest = fit_forest([numbers[i] for i in seen], [fields[i] for i in seen], seed=seed)
        for i in np.flatnonzero(part == fold):
            unseen[i] = forest.predict(numbers[i])
    context = [
        context_numbers(f.candidates, first, noise=f.noise)
        for f, first in zip(fields, unseen, strict=True)
    ]
    informed = [
        np.hstack([c, agreement_numbers(f.candidates, *f.network)])
        for f, c in zip(fields, context, strict=True)
    ]
    return QualityModel(
        alone=fit_forest(numbers, fields, seed=seed),
        among=fit_forest(context, fields, seed=seed),
        informed=fit_forest(informed, fields, seed=seed),
    )


def segment(field, model, *, informed):
    """Labels of one field."""
    labels, _ = choose_crystals(
        field.candidates,
        field.pair.truth.shape,
        noise=field.noise,
        network=field.network if informed else None,
        model=model,
    )
    return labels


def save(model, path):
    from safetensors.numpy import save_file

    arrays = {
        f"{stage}.{name}": array
        for stage in STAGES
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
    parser.add_argument("--each", action="store_true", help="one line per image as well")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    real = [prepare(pair) for pair in read_pairs(options.data)]
    pairs = simulated_pairs(options.simulated, seed=options.seed)
    simulated = [prepare(pair, weight=SIMULATED_WEIGHT) for pair in pairs]
    part = np.random.default_rng(options.seed).permutation(len(real)) % max(options.folds, 1)
    rows = {"classical": [], "with the network": []}
    for fold in range(options.folds):
        seen = [real[i] for i in np.flatnonzero(part != fold)]
        model = fit_model(seen + simulated, folds=3, seed=options.seed)
        for i in np.flatnonzero(part == fold):
            for method, scores in rows.items():
                labels = segment(real[i], model, informed=method != "classical")
                scores.append(score_image(real[i].pair.name, real[i].pair.truth, labels))
    for method, scores in rows.items():
        if scores:
            print(f"images that the fit has not seen, {method}:")
            print(describe_scores(scores, each=options.each))
    if options.out:
        save(fit_model(real + simulated, folds=4, seed=options.seed), options.out)


if __name__ == "__main__":
    main()
