"""Classes that a person gave to crystals, from a CSV file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError

#: Header of the file: id of the image, number of the crystal in it, name of the class.
COLUMNS: Final = ("image", "label", "class")


@dataclass(frozen=True)
class HumanClasses:
    """Rows of a file of classes.

    Attributes
    ----------
    image
        Id of the image of each row.
    label
        Number of the crystal in its label image.
    name
        Class.
    """

    image: tuple[str, ...]
    label: tuple[int, ...]
    name: tuple[str, ...]


@dataclass(frozen=True)
class MatchedClasses:
    """Classes by crystal of a table.

    Attributes
    ----------
    classes
        (n,) str, "" where nobody gave one.
    matched
        How many crystals have one.
    unknown
        Image and label of the rows of the file that are no crystal of the table.
    """

    classes: npt.NDArray[np.str_]
    matched: int
    unknown: tuple[tuple[str, int], ...]


def read_human_classes(path: str | Path) -> HumanClasses:
    """Read a CSV file with the columns ``image``, ``label`` and ``class``; others are ignored.

    Parameters
    ----------
    path
        UTF-8 text with a header.

    Returns
    -------
    classes
        One row per crystal; a row given twice alike counts once, one without class (empty, or the
        ``nan`` that programs write for it) not at all.

    Raises
    ------
    InputError
        The file cannot be read, a column is missing, a label is not a whole number, or a crystal
        has two classes.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path} has no column {', '.join(missing)}: expected {', '.join(COLUMNS)}"
                )
            rows = [(reader.line_num, [row[name] for name in COLUMNS]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"classes cannot be read from {path}: {error}") from error
    given: dict[tuple[str, int], str] = {}
    for line, values in rows:
        image, text, name = ((value or "").strip() for value in values)
        if not name or name.lower() == "nan":
            continue
        try:
            crystal = image, int(text)
        except ValueError:
            raise InputError(
                f"{path}, line {line}: label {text!r} is not the number of a crystal"
            ) from None
        if given.setdefault(crystal, name) != name:
            raise InputError(
                f"{path}, line {line}: crystal {crystal[1]} of image {image!r} is {name!r}, and"
                f" {given[crystal]!r} before"
            )
    return HumanClasses(
        image=tuple(image for image, _ in given),
        label=tuple(label for _, label in given),
        name=tuple(given.values()),
    )


def match_classes(
    human: HumanClasses, images: npt.ArrayLike, labels: npt.ArrayLike
) -> MatchedClasses:
    """Give the classes of a file to the crystals of a table.

    Parameters
    ----------
    human
        As from `read_human_classes`.
    images
        (n,) id of the image of each crystal.
    labels
        (n,) number of the crystal in it.
    """
    ids, numbers = np.asarray(images).astype(np.str_), np.asarray(labels)
    if ids.ndim != 1 or ids.shape != numbers.shape:
        raise InputError(
            f"images have shape {ids.shape}, labels {numbers.shape}: expected one per crystal"
        )
    row_of = {key: i for i, key in enumerate(zip(ids.tolist(), numbers.tolist(), strict=True))}
    classes = np.full(ids.size, "", dtype=f"<U{max(map(len, human.name), default=1)}")
    unknown = []
    for image, label, name in zip(human.image, human.label, human.name, strict=True):
        row = row_of.get((image, label))
        if row is None:
            unknown.append((image, label))
        else:
            classes[row] = name
    return MatchedClasses(classes, int(np.count_nonzero(classes != "")), tuple(unknown))
