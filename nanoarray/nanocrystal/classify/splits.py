"""Cross-validation by crystal, by image or by sample, so that leakage shows.

Crystals of one image share its focus, contrast and scale. A model that is tested on crystals of the
images it was trained on is tested on what it has seen; on another image it may do worse.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.nanocrystal.classify.models import Kind, Settings, accuracy_of_fold
from nanoarray.statistics.image_table import is_missing

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitAccuracy:
    """Accuracy when whole units are held back.

    Attributes
    ----------
    unit
        ``"crystal"``, or the name of what was held back whole.
    accuracies
        (folds,) share classified rightly in each fold; empty where it cannot be done.
    units
        How many crystals, images, samples there are.
    notes
        Why there are fewer folds, or none.
    """

    unit: str
    accuracies: Floats
    units: int
    notes: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean over folds; NaN without any."""
        return float(self.accuracies.mean()) if self.accuracies.size else float("nan")

    @property
    def std(self) -> float:
        """Standard deviation over folds; NaN with fewer than two."""
        return float(self.accuracies.std(ddof=1)) if self.accuracies.size > 1 else float("nan")


def split_accuracies(
    rows: Floats,
    codes: Codes,
    *,
    kind: Kind,
    settings: Settings,
    units: Mapping[str, npt.ArrayLike],
    folds: int,
    seed: int,
) -> tuple[SplitAccuracy, ...]:
    """Cross-validated accuracy by crystal, and by every other unit.

    Parameters
    ----------
    rows
        (n, c) finite.
    codes
        (n,) class 0...
    kind, settings
        The classifier, the same for all splits.
    units
        By name (``"image"``, ``"sample"``), (n,) which unit each crystal is from; "", NaN and
        negative integers are unknown, and such crystals are left out of that split.
    folds
        How many; fewer where a class has fewer crystals, or there are fewer units.
    seed
        Seed of everything random.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    smallest = int(np.bincount(codes).min())
    count = max(2, min(folds, smallest))
    notes = () if count == folds else (f"{count} folds: a class has {smallest} crystals",)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    parts = list(splitter.split(rows, codes))
    result = [
        SplitAccuracy("crystal", _each(rows, codes, parts, kind, settings, seed), codes.size, notes)
    ]
    for name, values in units.items():
        known, unit = _known(np.asarray(values), name, codes.size)
        held = np.unique(unit).size
        said = []
        if known.size < codes.size:
            said.append(f"{codes.size - known.size} crystals of unknown {name} left out")
        sizes = np.bincount(codes[known], minlength=1)
        count = min(folds, held, int(sizes.max()))
        classes = np.count_nonzero(sizes)
        if count < 2 or classes < 2:
            single = " of one crystal each" if sizes.max() == 1 else ""
            said.append(f"not possible: {held} {name}, {classes} classes{single}")
            result.append(SplitAccuracy(name, np.empty(0), held, tuple(said)))
            continue
        if count < folds:
            said.append(f"{count} folds: there are {held} of {name}")
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            # Classes that are in fewer images than folds: that is what this split is to show.
            warnings.filterwarnings("ignore", message="The least populated class")
            parts = list(grouped.split(rows[known], codes[known], unit))
        parts = [(known[a], known[b]) for a, b in parts if a.size and b.size]
        missing = sum(np.setdiff1d(codes[b], codes[a]).size > 0 for a, b in parts)
        if missing:
            said.append(f"in {missing} folds a class is in the images held back only")
        accuracies = _each(rows, codes, parts, kind, settings, seed)
        result.append(SplitAccuracy(name, accuracies, held, tuple(said)))
    return tuple(result)


def _each(
    rows: Floats, codes: Codes, parts: list[Any], kind: Kind, settings: Settings, seed: int
) -> Floats:
    return np.array(
        [accuracy_of_fold(kind, settings, rows, codes, part, seed=seed) for part in parts]
    )


def _known(
    values: npt.NDArray[Any], name: str, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows whose unit is known, and the number of the unit of each."""
    if values.shape != (count,):
        raise InputError(f"{name} has shape {values.shape}: expected one per crystal, {count}")
    if values.dtype.kind in "iu":
        known = values >= 0
    elif values.dtype.kind == "f":
        known = np.isfinite(values)
    else:  # texts, or what a table mixes: numbers where a tag is known
        known = np.array([_is_known(value) for value in values.tolist()], bool)
        values = values.astype(np.str_)
    return np.flatnonzero(known), np.unique(values[known], return_inverse=True)[1]


def _is_known(value: Any) -> bool:
    return not is_missing(value) and not (isinstance(value, int | np.integer) and value < 0)
