"""Train a classifier of crystals, and say how far it can be relied on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.nanocrystal.classify.models import (
    KINDS,
    Kind,
    Trial,
    search,
    stratified_sample,
    train,
)
from nanoarray.nanocrystal.classify.splits import SplitAccuracy, split_accuracies
from nanoarray.nanocrystal.groups.columns import FEATURES, SHAPE_PARAMETERS, Table, read_columns

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Source = Literal["groups", "people"]

#: What the accuracy is an accuracy of.
MEANING: Final[dict[Source, str]] = {
    "groups": "cluster reproducibility",
    "people": "accuracy against human labels",
}
CAUTION: Final[dict[Source, str]] = {
    "groups": (
        "The classes are shape groups, found without supervision in columns that the classifier"
        " may see too. A high figure says that the borders of the groups can be learned again. It"
        " does not prove that the groups are real, that their number is right, that a person would"
        " draw them so, or that crystals of another sample fall into them."
    ),
    "people": (
        "The classes were given by people; crystals without a class were not used. The figure holds"
        " for crystals like those that were labelled; the split by image or sample says more about"
        " others."
    ),
}
#: Crystals of a class below which it is left out: it takes two to train and two to test.
MIN_MEMBERS: Final = 4
#: Rows that the final model and each fold of the cross-validations are trained on, at most: the
#: time and size of a support vector machine grow with their square.
TRAIN_ROWS: Final = 20_000
CROSS_VALIDATION_ROWS: Final = 10_000


class NothingToClassifyError(InputError):
    """Fewer than two classes with enough crystals."""


@dataclass(frozen=True)
class Classifier:
    """A trained model: all that `predict_classes` needs.

    Attributes
    ----------
    pipeline
        scikit-learn pipeline that predicts codes 0...
    columns
        Columns of a table that it sees.
    classes
        Class of each code: whole numbers or names.
    kind
        Which kind of model.
    source
        Where the classes of the training came from.
    """

    pipeline: Any
    columns: tuple[str, ...]
    classes: tuple[int, ...] | tuple[str, ...]
    kind: Kind
    source: Source


@dataclass(frozen=True)
class Classification:
    """A trained classifier and its figures.

    Attributes
    ----------
    classifier
        Trained on the training share.
    meaning, caution
        What `test_accuracy` is, and what it does not prove.
    settings
        Tuned settings of the classifier.
    trials
        Of the search, best first.
    test_accuracy
        Share of the held-back crystals classified rightly.
    balanced_accuracy
        Mean over classes of the share of each.
    chance
        What naming the most frequent class would reach.
    confusion
        (true, predicted) counts of the held-back crystals, in the order of the classes.
    splits
        Cross-validated accuracies of the training share: by crystal, then by each unit.
    n_train, n_test
        Crystals of the two shares.
    left_out
        Crystals without a class, without a value, or of a class that is too small.
    notes
        What was left out or done with less, in words.
    """

    classifier: Classifier
    meaning: str
    caution: str
    settings: dict[str, float | int | str]
    trials: tuple[Trial, ...]
    test_accuracy: float
    balanced_accuracy: float
    chance: float
    confusion: npt.NDArray[np.int64]
    splits: tuple[SplitAccuracy, ...]
    n_train: int
    n_test: int
    left_out: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Material:
    rows: Floats
    codes: Codes
    classes: tuple[int, ...] | tuple[str, ...]
    index: npt.NDArray[np.int64]
    notes: list[str]


def train_classifier(
    table: Table,
    classes: npt.ArrayLike,
    *,
    source: Source,
    columns: Sequence[str] = (*FEATURES, *SHAPE_PARAMETERS),
    kinds: Sequence[Kind] = KINDS,
    n_trials: int = 30,
    folds: int = 10,
    test_share: float = 0.2,
    units: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
) -> Classification:
    """Tune, cross-validate, train and test a classifier.

    Parameters
    ----------
    table
        Columns of equal length, one row per crystal.
    classes
        (n,) whole numbers, below 1 unknown, or names, "" unknown.
    source
        ``"groups"``: the classes are shape groups; ``"people"``: human labels.
    columns
        What the classifier sees.
    kinds
        Kinds of classifier to choose from.
    n_trials
        Trials of the Bayesian optimization of kind and settings; it sees the training share only.
    folds
        Folds of the cross-validations; fewer where a class has fewer crystals.
    test_share
        Share of the crystals held back for the test, the same of each class.
    units
        By name (``"image"``, ``"sample"``), (n,) which unit each crystal is from: the same
        cross-validation with whole units held back.
    seed
        Seed of everything random. The order of the rows has no influence.

    Returns
    -------
    classification
        The model trained on the training share (at most 20,000 crystals of it), and its figures.
        Cross-validations use at most 10,000, the search 2,000.

    Raises
    ------
    NothingToClassifyError
        Fewer than two classes have 4 crystals with all values.
    InputError
        A column is missing, or an option is impossible.
    """
    from sklearn.model_selection import train_test_split
    from threadpoolctl import threadpool_limits

    _check(source, kinds, folds, test_share, n_trials)
    material = _material(table, columns, classes)
    codes = material.codes
    counts = np.bincount(codes)
    n_test = max(round(test_share * codes.size), counts.size)
    with threadpool_limits(1):
        fitted, held = train_test_split(
            np.arange(codes.size), test_size=n_test, random_state=seed, stratify=codes
        )
        fitted, held = np.sort(fitted), np.sort(held)
        rows, own = material.rows[fitted], codes[fitted]
        trials = search(rows, own, kinds=tuple(kinds), n_trials=n_trials, seed=seed)
        kind, settings = trials[0].kind, trials[0].settings
        splits = _splits(material, fitted, units or {}, kind, settings, folds, seed)
        pipeline = train(
            kind, settings, *stratified_sample(rows, own, TRAIN_ROWS, seed=seed), seed=seed
        )
        found = _predict(pipeline, material.rows[held])
    return Classification(
        classifier=Classifier(pipeline, tuple(columns), material.classes, kind, source),
        meaning=MEANING[source],
        caution=CAUTION[source],
        settings=settings,
        trials=trials,
        **_figures(codes[held], found, counts.size),
        splits=splits,
        n_train=fitted.size,
        n_test=held.size,
        left_out=np.asarray(classes).size - codes.size,
        notes=tuple(material.notes),
    )


def _figures(true: Codes, found: Codes, classes: int) -> dict[str, Any]:
    """What the test says: the fields of `Classification` that come from the confusion."""
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (true, found), 1)
    per_class = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return {
        "test_accuracy": float(np.trace(confusion) / true.size),
        "balanced_accuracy": float(per_class.mean()),
        "chance": float(confusion.sum(axis=1).max() / true.size),
        "confusion": confusion,
    }


def predict_classes(classifier: Classifier, table: Table) -> npt.NDArray[Any]:
    """Class of each crystal of a table.

    Parameters
    ----------
    classifier
        As from `train_classifier` or `load_model`.
    table
        With the columns that it was trained on, in the same units.

    Returns
    -------
    classes
        (n,) int32, -1 where a value is missing; or str, "" there.

    Raises
    ------
    InputError
        A column is missing.
    """
    from threadpoolctl import threadpool_limits

    values = read_columns(table, classifier.columns)
    known = np.isfinite(values).all(axis=1)
    with threadpool_limits(1):
        codes = _predict(classifier.pipeline, values[known])
    if isinstance(classifier.classes[0], str):
        names = np.array(classifier.classes, dtype=np.str_)
        result = np.full(known.size, "", dtype=names.dtype)
    else:
        names = np.array(classifier.classes, dtype=np.int32)
        result = np.full(known.size, -1, dtype=np.int32)
    result[known] = names[codes]
    return result


def _check(source: str, kinds: Sequence[str], folds: int, test_share: float, n_trials: int) -> None:
    if source not in MEANING:
        raise InputError(f"source is {source!r}: expected one of {', '.join(MEANING)}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise InputError(f"kinds are {', '.join(kinds) or 'none'}: expected of {', '.join(KINDS)}")
    if folds < 2 or n_trials < 1:
        raise InputError(f"{folds} folds, {n_trials} trials: expected at least 2 folds, 1 trial")
    if not 0.0 < test_share <= 0.5:
        raise InputError(f"test_share is {test_share}: expected above 0, at most 0.5")


def _material(table: Table, columns: Sequence[str], classes: npt.ArrayLike) -> _Material:
    """Usable rows in an order that depends on their values alone, and what was left out."""
    given = np.asarray(classes)
    values = read_columns(table, columns)
    if given.shape != values.shape[:1]:
        raise InputError(
            f"classes have shape {given.shape}: expected one per crystal, {values.shape[0]}"
        )
    if given.dtype.kind in "iu":
        labelled = given >= 1
    else:
        given = given.astype(np.str_)
        labelled = given != ""
    notes = []
    if not labelled.all():
        notes.append(f"{np.count_nonzero(~labelled)} crystals without a class left out")
    complete = np.isfinite(values).all(axis=1)
    if lost := int(np.count_nonzero(labelled & ~complete)):
        notes.append(f"{lost} crystals without all values left out")
    index = np.flatnonzero(labelled & complete)
    names, counts = np.unique(given[index], return_counts=True)
    for name, count in zip(names[counts < MIN_MEMBERS], counts[counts < MIN_MEMBERS], strict=True):
        notes.append(f"class {name} left out: {count} crystals, fewer than {MIN_MEMBERS}")
    names = names[counts >= MIN_MEMBERS]
    if names.size < 2:
        raise NothingToClassifyError(
            f"nothing to classify: {names.size} classes with at least {MIN_MEMBERS} crystals among"
            f" {index.size} with a class and all values"
        )
    index = index[np.isin(given[index], names)]
    index = index[np.lexsort((given[index], *values[index].T[::-1]))]
    codes = np.searchsorted(names, given[index])
    return _Material(values[index], codes, tuple(names.tolist()), index, notes)


def _splits(
    material: _Material,
    fitted: npt.NDArray[np.int64],
    units: Mapping[str, npt.ArrayLike],
    kind: Kind,
    settings: dict[str, float | int | str],
    folds: int,
    seed: int,
) -> tuple[SplitAccuracy, ...]:
    position = fitted
    if fitted.size > CROSS_VALIDATION_ROWS:
        share, _ = stratified_sample(
            fitted[:, np.newaxis].astype(np.float64),
            material.codes[fitted],
            CROSS_VALIDATION_ROWS,
            seed=seed,
        )
        position = share[:, 0].astype(np.int64)
    chosen = {}
    for name, values in units.items():
        values = np.asarray(values)
        if values.ndim != 1 or values.size <= material.index.max():
            raise InputError(f"{name} has shape {values.shape}: expected one per crystal")
        chosen[name] = values[material.index[position]]
    return split_accuracies(
        material.rows[position],
        material.codes[position],
        kind=kind,
        settings=settings,
        units=chosen,
        folds=folds,
        seed=seed,
    )


def _predict(pipeline: Any, rows: Floats) -> Codes:
    """Codes of rows, in parts that keep memory small."""
    parts = [pipeline.predict(rows[i : i + 8192]) for i in range(0, rows.shape[0], 8192)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
