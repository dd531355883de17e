"""What each set of columns is worth: the same classes learned from more and from fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.nanocrystal.classify.models import KINDS, Kind
from nanoarray.nanocrystal.classify.train import Source, train_classifier
from nanoarray.nanocrystal.groups.columns import FEATURES, SHAPE_PARAMETERS, Table, read_columns


@dataclass(frozen=True)
class AblationRow:
    """Figures of one set of columns.

    Attributes
    ----------
    name
        What it holds.
    columns
        Their names.
    kind
        Which kind of classifier the search chose.
    test_accuracy
        Share of the held-back crystals classified rightly.
    mean, std
        Of the accuracy over the folds of the cross-validation by crystal.
    n_test
        Crystals held back.
    """

    name: str
    columns: tuple[str, ...]
    kind: Kind
    test_accuracy: float
    mean: float
    std: float
    n_test: int


def ablate(
    table: Table,
    classes: npt.ArrayLike,
    *,
    source: Source,
    features: Sequence[str] = FEATURES,
    shape_parameters: Sequence[str] = SHAPE_PARAMETERS,
    kinds: Sequence[Kind] = KINDS,
    n_trials: int = 15,
    folds: int = 10,
    seed: int = 0,
) -> tuple[AblationRow, ...]:
    """Train on features and shape parameters, on one of the two, and on fewer features.

    Parameters
    ----------
    table, classes, source, kinds, n_trials, folds, seed
        As of `train_classifier`. Every set is tuned anew, and sees the same crystals: those with
        all values.
    features, shape_parameters
        Columns. The sets with fewer features keep 7 and 4 in 10 of them, drawn by `seed`, and all
        shape parameters, as in the paper.

    Returns
    -------
    rows
        One per set.

    Raises
    ------
    InputError
        As of `train_classifier`.

    Notes
    -----
    Where the classes are groups that were found in some of these columns, taking those columns
    away must lower the figure: it measures where the groups came from, not what is true.
    """
    complete = np.isfinite(read_columns(table, (*features, *shape_parameters))).all(axis=1)
    rows: Mapping[str, Any] = {
        name: np.asarray(table[name])[complete]
        for name in dict.fromkeys((*features, *shape_parameters))
    }
    known = np.asarray(classes)[complete]
    drawn = np.random.default_rng(seed).permutation(len(features))
    sets: list[tuple[str, tuple[str, ...]]] = [
        ("features and shape parameters", (*features, *shape_parameters)),
        ("features only", tuple(features)),
        ("shape parameters only", tuple(shape_parameters)),
    ]
    for share in (0.7, 0.4):
        count = max(1, round(share * len(features)))
        fewer = tuple(features[i] for i in np.sort(drawn[:count]))
        sets.append((f"{count} features and shape parameters", (*fewer, *shape_parameters)))
    result = []
    for name, columns in sets:
        found = train_classifier(
            rows,
            known,
            source=source,
            columns=columns,
            kinds=kinds,
            n_trials=n_trials,
            folds=folds,
            seed=seed,
        )
        by_crystal = found.splits[0]
        result.append(
            AblationRow(
                name,
                columns,
                found.classifier.kind,
                found.test_accuracy,
                by_crystal.mean,
                by_crystal.std,
                found.n_test,
            )
        )
    return tuple(result)
