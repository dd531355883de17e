"""Training of the shape network on simulated crops."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.distribution import (
    CropConditions,
    ShapeDistribution,
    as_plain,
    draw_shapes,
)
from nanoarray.nanocrystal.shape.formula import ShapeParameters, canonical
from nanoarray.nanocrystal.shape.polar import ANGLES, RADII, polar_masks
from nanoarray.nanocrystal.shape.refine import jaccard
from nanoarray.nanocrystal.shape.simulate import simulate_crops
from nanoarray.nanocrystal.shape.targets import Targets, encode

if TYPE_CHECKING:
    from nanoarray.nanocrystal.shape.net_training import Trainer

#: Shares of the images to train, to validate and to test on, as in the paper.
SPLIT = (0.7, 0.1, 0.2)
WEIGHTS_NAME = "shapes.safetensors"
CURVE_NAME = "learning_curve.json"
CHECKPOINT_NAME = "checkpoint.safetensors"

#: Called with what is being done, how much is done and how much there is.
Progress = Callable[[str, int, int], None]
_CHUNK = 2048
#: Images of the test share that the figures show.
_DIAGNOSED = 2000


def split_rows(images: int) -> tuple[slice, slice, slice]:
    """Rows to train, to validate and to test on; shapes are independent, so in order."""
    first, second = round(images * SPLIT[0]), round(images * (SPLIT[0] + SPLIT[1]))
    return slice(0, first), slice(first, second), slice(second, images)


def training_masks(
    images: int,
    *,
    seed: int,
    rows: slice | None = None,
    distribution: ShapeDistribution | None = None,
    conditions: CropConditions | None = None,
) -> tuple[ShapeParameters, NDArray[np.bool_]]:
    """Shapes and crop masks of a training set, or some of its rows.

    Crops are made in chunks with a seed each, so rows are the same whichever are asked for.
    """
    shapes = draw_shapes(images, seed=seed, distribution=distribution)
    first, last, _step = (rows or slice(0, images)).indices(images)
    parts = []
    for start in range(first // _CHUNK * _CHUNK, last, _CHUNK):
        chunk = shapes.rows(slice(start, start + _CHUNK))
        crops = simulate_crops(
            chunk,
            seed=int(np.random.SeedSequence((seed, start)).generate_state(1)[0]),
            conditions=conditions,
            distribution=distribution,
        )
        parts.append(crops.crop_mask[max(first - start, 0) : last - start])
    chosen = shapes.rows(slice(first, last))
    return chosen, np.concatenate(parts) if parts else np.zeros((0, 64, 64), np.bool_)


def train_shapes(
    out: str | Path,
    *,
    seed: int = 0,
    images: int = 65_000,
    epochs: int = 10,
    device: str = "auto",
    resume: bool = True,
    distribution: ShapeDistribution | None = None,
    conditions: CropConditions | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Train the shape network from a seed.

    The images are simulated anew from the seed (about a minute for 65,000), split 70/10/20, and
    seen once per epoch, half of the batches mirrored. Images whose masks do not show their shapes
    (see `targets.encode`) stay in the split and have no weight. After each epoch a checkpoint and
    the learning curve are written; the weights are those of the last epoch.

    Parameters
    ----------
    out
        Folder for ``shapes.safetensors``, ``learning_curve.json`` and ``checkpoint.safetensors``.
    seed
        Of shapes, noise, weights and order. The same seed on one CPU thread gives the same weights.
    images
        Number of simulated images, at least 100.
    epochs
        Passes over the training share.
    device
        "cpu", "cuda", or "auto" for a GPU where there is one.
    resume
        Go on from the folder's checkpoint where there is one; false starts again.
    distribution, conditions
        Of the shapes and of their crops.
    progress
        Called as the work goes on.
    stop_after
        Stop after this many epochs in all, to be resumed later.

    Returns
    -------
    dict
        ``settings``, ``epochs`` (a list with the losses of training and validation of each) and,
        when finished, ``test`` (losses of the test share) and ``diagnostics`` (see
        `held_out_diagnostics`).

    Raises
    ------
    InputError
        If a number is out of range, the device is not there, or the checkpoint does not fit.
    """
    if images < 100 or epochs < 1:
        raise InputError(f"images is {images} and epochs {epochs}: at least 100 and 1")
    from nanoarray.nanocrystal.shape.net_training import Trainer
    from nanoarray.nanocrystal.shape.net_weights import save_network

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    report = progress or _silent
    settings: dict[str, Any] = {
        "seed": seed,
        "images": images,
        "epochs": epochs,
        "distribution": as_plain(distribution or ShapeDistribution()),
        "conditions": as_plain(conditions or CropConditions()),
    }
    trainer = Trainer(seed=seed, epochs=epochs, device=_device(device))
    history: list[dict[str, Any]] = []
    if resume and (folder / CHECKPOINT_NAME).is_file():
        history = trainer.resume(folder / CHECKPOINT_NAME, settings=_as_text(settings))
    data = _training_set(settings, distribution, conditions, report)
    last = epochs if stop_after is None else min(stop_after, epochs)
    result = _run_epochs(trainer, folder, settings, history, data, last, report)
    if len(history) == epochs:
        save_network(trainer.net, folder / WEIGHTS_NAME, training=settings)
        result["diagnostics"] = held_out_diagnostics(
            folder / WEIGHTS_NAME,
            images=images,
            seed=seed,
            distribution=distribution,
            conditions=conditions,
        )
        _write_json(folder / CURVE_NAME, result)
    report("training", len(history), epochs)
    return result


def held_out_diagnostics(
    weights: str | Path,
    *,
    images: int,
    seed: int,
    distribution: ShapeDistribution | None = None,
    conditions: CropConditions | None = None,
) -> dict[str, Any]:
    """True and predicted parameters of images of the test share, for the figures of a report.

    Parameters
    ----------
    weights
        A file of weights.
    images, seed, distribution, conditions
        Of the training set, as in `train_shapes`.

    Returns
    -------
    dict
        ``true`` and ``predicted``, each with lists of ``p``, ``axis_ratio``, ``d`` of at most 2,000
        shapes, and ``jaccard`` of each mask and its predicted shape. As JSON holds it: rounded,
        None where nothing was predicted.
    """
    from nanoarray.nanocrystal.shape.predict import predict_shapes

    first = split_rows(images)[2].start
    rows = slice(first, min(images, first + _DIAGNOSED))
    drawn, masks = training_masks(
        images, seed=seed, rows=rows, distribution=distribution, conditions=conditions
    )
    shapes = canonical(*drawn)
    found = predict_shapes(masks, weights=weights)
    known = found["d"] > 0

    def plain(values: NDArray[Any]) -> list[float | None]:
        rounded = [float(f"{value:.4g}") for value in values]
        return [v if k else None for v, k in zip(rounded, known, strict=True)]

    names = ("p", "axis_ratio", "d")
    return {
        "true": {name: plain(getattr(shapes, name)) for name in names},
        "predicted": {name: plain(found[name]) for name in names},
        "jaccard": plain(found["jaccard"]),
    }


def _run_epochs(
    trainer: Trainer,
    folder: Path,
    settings: dict[str, Any],
    history: list[dict[str, Any]],
    data: tuple[NDArray[np.uint8], Targets],
    last: int,
    report: Progress,
) -> dict[str, Any]:
    """Go on from a history up to an epoch, keeping checkpoint and learning curve on the way."""
    train, validate, test = split_rows(settings["images"])

    def part(rows: slice) -> tuple[NDArray[np.uint8], Targets]:
        return data[0][rows], data[1].rows(rows)

    result: dict[str, Any] = {"settings": settings, "epochs": history}
    for epoch in range(len(history), last):
        report("training", epoch, settings["epochs"])
        began = time.monotonic()
        line = {
            "epoch": epoch + 1,
            "images_seen": (epoch + 1) * (train.stop - train.start),
            "train": trainer.run_epoch(epoch, *part(train)),
            "validation": trainer.check(*part(validate)),
        }
        history.append(line | {"seconds": round(time.monotonic() - began, 1)})
        trainer.save(folder / CHECKPOINT_NAME, history=history, settings=_as_text(settings))
        _write_json(folder / CURVE_NAME, result)
    if len(history) == settings["epochs"]:
        result["test"] = trainer.check(*part(test))
        _write_json(folder / CURVE_NAME, result)
    return result


def _as_text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _training_set(
    settings: dict[str, Any],
    distribution: ShapeDistribution | None,
    conditions: CropConditions | None,
    report: Progress,
) -> tuple[NDArray[np.uint8], Targets]:
    """Polar pictures and targets of all images."""
    images, seed = settings["images"], settings["seed"]
    polar, shown = np.empty((images, RADII, ANGLES), np.uint8), np.empty(images)
    for first in range(0, images, _CHUNK):
        report("simulating", first, images)
        rows = slice(first, min(first + _CHUNK, images))
        shapes, masks = training_masks(
            images, seed=seed, rows=rows, distribution=distribution, conditions=conditions
        )
        polar[rows], shown[rows] = polar_masks(masks)[0], jaccard(masks, shapes)
    shapes = draw_shapes(images, seed=seed, distribution=distribution)
    return polar, encode(shapes, jaccard=shown)


def _device(name: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"device is {name!r}: it must be 'cpu', 'cuda' or 'auto'")
    if name == "cuda" and not available:
        raise InputError("device is 'cuda', but torch finds no GPU: use 'cpu' or 'auto'")
    return name


def _write_json(path: Path, content: dict[str, Any]) -> None:
    half = path.with_name(path.name + ".part")
    half.write_text(json.dumps(content, indent=1) + "\n")
    half.replace(path)


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
    del what, done, total
