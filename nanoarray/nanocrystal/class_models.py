"""Training and use of the classifier on the tables of a store."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from nanoarray.errors import InputError
from nanoarray.nanocrystal.classify.ablation import AblationRow, ablate
from nanoarray.nanocrystal.classify.human import match_classes, read_human_classes
from nanoarray.nanocrystal.classify.saved import dump_model, load_model
from nanoarray.nanocrystal.classify.train import (
    CAUTION,
    MEANING,
    Classification,
    NothingToClassifyError,
    Source,
    predict_classes,
    train_classifier,
)
from nanoarray.nanocrystal.constants import Constant, constant, texts
from nanoarray.nanocrystal.groups.columns import SHAPE_PARAMETERS
from nanoarray.nanocrystal.parameters import ClassesParameters
from nanoarray.nanocrystal.rows import feature_names, group_table, whole_crystals

#: Tags whose values are held back whole in cross-validations, besides images.
UNITS = ("sample", "batch")


def train_classes(
    images: xr.Dataset,
    crystals: xr.Dataset,
    shapes: xr.Dataset,
    groups: xr.Dataset,
    parameters: ClassesParameters,
) -> dict[str, Constant]:
    """The trained classifier and its figures, as the group `classes` holds them.

    Fewer than two classes are no error: the group then says so and classifies nothing.

    Raises
    ------
    InputError
        When the labels cannot be read, or none of them is of a crystal of this store.
    """
    features = feature_names(crystals)
    table = group_table(crystals, shapes)
    source: Source = "groups" if parameters.labels is None else "people"
    notes: list[str] = []
    if parameters.labels is None:
        classes = np.where(whole_crystals(crystals), groups["shape_group"].values, -1)
    else:
        classes, notes = _human(images, crystals, parameters.labels)
    chosen = _sample(classes, parameters)
    index = crystals["image_index"].values[chosen]
    units = {"image": index}
    units |= {n: images[n].values.astype(object)[index] for n in UNITS if n in images}
    common: dict[str, Any] = {
        "source": source,
        "kinds": (parameters.classifier,),
        "folds": parameters.folds,
        "n_trials": parameters.trials,
        "seed": parameters.seed,
    }
    rows = {name: values[chosen] for name, values in table.items()}
    columns = (*features, *SHAPE_PARAMETERS)
    try:
        found = train_classifier(rows, classes[chosen], columns=columns, units=units, **common)
        ablation = ablate(rows, classes[chosen], features=features, **common)
    except NothingToClassifyError as reason:
        if source == "people":  # who gives labels expects a classifier
            warnings.warn(f"no classifier was trained: {reason}", stacklevel=2)
        return _nothing(source, [*notes, str(reason)])
    if chosen.size < np.count_nonzero(_known(classes)):
        notes.append(f"trained and tested on {chosen.size} crystals drawn at random")
    return _constants(found, ablation, notes)


def give_classes(
    own: xr.Dataset, crystals: xr.Dataset, shapes: xr.Dataset
) -> npt.NDArray[np.int32]:
    """Class of each crystal by the model of the Dataset ``own``; -1 for none."""
    content = own["model"].values.astype(np.uint8).tobytes()
    if not content:
        return np.full(crystals.sizes["crystal"], -1, np.int32)
    found = predict_classes(load_model(content), group_table(crystals, shapes))
    if found.dtype.kind in "iu":
        return found.astype(np.int32)
    number = {str(name): k + 1 for k, name in enumerate(own["class_name"].values.tolist())}
    return np.array([number.get(name, -1) for name in found.tolist()], np.int32)


def _human(
    images: xr.Dataset, crystals: xr.Dataset, path: str
) -> tuple[npt.NDArray[Any], list[str]]:
    ids = images["image"].values.astype(object)[crystals["image_index"].values]
    found = match_classes(read_human_classes(path), ids, crystals["label"].values)
    if not found.matched:
        raise InputError(
            f"{path}: none of its {len(found.unknown)} rows is a crystal of this store, the first "
            f"is image {found.unknown[0][0]!r}, label {found.unknown[0][1]}: the columns `image` "
            "and `label` are those of `nanoarray table STORE crystals`"
            if found.unknown
            else f"{path}: holds no class"
        )
    notes = [f"{found.matched} crystals with a human label"]
    if found.unknown:
        named = ", ".join(f"{image} {label}" for image, label in found.unknown[:5])
        notes.append(f"{len(found.unknown)} labels of no crystal of this store: {named}")
        warnings.warn(f"{path}: {notes[-1]}", stacklevel=2)
    return found.classes, notes


def _known(classes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray(classes >= 1 if classes.dtype.kind in "iu" else classes != "")


def _sample(classes: npt.NDArray[Any], parameters: ClassesParameters) -> npt.NDArray[np.intp]:
    """Rows to train and test on: all with a class, or as many as the parameters allow."""
    rows = np.flatnonzero(_known(classes))
    if rows.size > parameters.max_crystals:
        rng = np.random.default_rng(parameters.seed)
        rows = np.sort(rng.choice(rows, parameters.max_crystals, replace=False))
    return rows


def _constants(
    found: Classification, ablation: tuple[AblationRow, ...], notes: list[str]
) -> dict[str, Constant]:
    evaluations = [("held back 20 %", found.test_accuracy, np.nan, found.n_test)]
    evaluations += [(f"folds by {s.unit}", s.mean, s.std, s.units) for s in found.splits]
    remarks = [f"{s.unit}: {note}" for s in found.splits for note in s.notes]
    names, accuracies, spreads, counts = zip(*evaluations, strict=True)
    model = np.frombuffer(dump_model(found.classifier), np.uint8)
    return {
        **_head(found.meaning, found.caution, [*notes, *found.notes, *remarks]),
        "class_name": texts("true", list(map(str, found.classifier.classes)), "name of the class"),
        "confusion": constant(
            "true predicted", found.confusion, "held-back crystals by true and predicted class"
        ),
        "evaluation_name": texts("evaluation", names, "what was held back"),
        "evaluation_accuracy": constant(
            "evaluation", np.array(accuracies), "share classified rightly"
        ),
        "evaluation_accuracy_std": constant(
            "evaluation", np.array(spreads), "standard deviation over the folds"
        ),
        "evaluation_count": constant(
            "evaluation", np.array(counts, np.int64), "crystals, images or samples"
        ),
        "balanced_accuracy": constant("", found.balanced_accuracy, "mean over classes, held back"),
        "chance": constant("", found.chance, "accuracy of naming the most frequent class"),
        "ablation_features": texts(
            "ablation", [r.name for r in ablation], "columns that were seen"
        ),
        "ablation_accuracy": constant(
            "ablation", np.array([r.test_accuracy for r in ablation]), "share classified rightly"
        ),
        "ablation_mean": constant(
            "ablation", np.array([r.mean for r in ablation]), "mean accuracy over the folds"
        ),
        "ablation_std": constant(
            "ablation", np.array([r.std for r in ablation]), "standard deviation over the folds"
        ),
        "setting": texts("tuned", [f"{k} = {v}" for k, v in found.settings.items()], "tuned"),
        "model": constant("byte", model, "the classifier in skops format"),
    }


def _nothing(source: Source, notes: list[str]) -> dict[str, Constant]:
    return {
        **_head(MEANING[source], CAUTION[source], notes),
        "class_name": texts("true", [], "name of the class"),
        "confusion": constant("true predicted", np.zeros((0, 0), np.int64), "held-back crystals"),
        "model": constant("byte", np.zeros(0, np.uint8), "no classifier"),
    }


def _head(meaning: str, caution: str, notes: list[str]) -> dict[str, Constant]:
    return {
        "kind": constant("", meaning, "what the accuracy is an accuracy of"),
        "caution": constant("", caution, "what it does not prove"),
        "note": texts("note", notes, "what was left out or done with less"),
    }
