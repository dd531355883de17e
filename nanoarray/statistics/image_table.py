"""Images of a study: which of them count, under which conditions, and what is independent.

A *condition* is one combination of tags; a missing tag is a value of its own. Images that cannot be
measured are left out with their reason, and stay in the counts.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.errors import InputError

__all__ = [
    "NOT_MEASURED",
    "NOT_OK",
    "NOT_USABLE",
    "NO_PIXEL_SIZE",
    "REASONS",
    "ResampleUnit",
    "Units",
    "choose_units",
    "condition_label",
    "image_of_row",
    "image_table",
    "is_missing",
    "place_of_image",
    "tag_codes",
]

ResampleUnit = Literal["auto", "sample", "image"]

#: Why an image is left out, in the order in which it is looked at.
NOT_OK, NOT_USABLE, NO_PIXEL_SIZE = "not readable", "not usable", "no pixel size"
NOT_MEASURED = "not measured"
REASONS = (NOT_OK, NOT_USABLE, NO_PIXEL_SIZE, NOT_MEASURED)


@dataclass(frozen=True)
class Units:
    """What is resampled or exchanged as a whole."""

    kind: str  # "sample" or "image"
    names: tuple[str, ...]
    of_image: npt.NDArray[np.intp]  # unit of every image that counts
    notes: tuple[str, ...]


def image_table(
    images: pd.DataFrame, tags: Sequence[str], *, sample_tag: str = "sample"
) -> pd.DataFrame:
    """Images in the order of their names, with what the statistics need of them.

    Parameters
    ----------
    images
        One row per image: `image` (column or index), the tags, and where known the tag of the
        sample, `ok`, `usable`, `pixel_size` [nm].
    tags
        Which tags to keep.
    sample_tag
        The tag that says which images belong together.

    Returns
    -------
    One row per image: the tags, `image`, `sample` ("" unknown) and `left_out` ("" counts, or why
    it does not, one of `REASONS`).

    Raises
    ------
    InputError
        Where a tag does not exist or an image occurs twice.
    """
    frame = images.reset_index() if "image" not in images and images.index.name else images
    if "image" not in frame:
        raise InputError("the images have no column or index named 'image': it identifies them")
    for tag in [*tags, *([sample_tag] if sample_tag != "sample" else [])]:
        if tag not in frame:
            near = difflib.get_close_matches(tag, map(str, frame.columns), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "add it to the tags"
            raise InputError(f"the images have no tag {tag!r}; {hint}")
    name = frame["image"].astype(str)
    if name.duplicated().any():
        raise InputError(f"image {name[name.duplicated()].iloc[0]!r} occurs twice: ids are unique")
    out = frame[list(dict.fromkeys(tag for tag in tags if tag not in ("image", "sample")))].copy()
    out["image"] = name
    sample = frame[sample_tag] if sample_tag in frame else pd.Series("", index=frame.index)
    out["sample"] = ["" if is_missing(value) else _short(value) for value in sample]
    left_out = np.full(len(frame), "", object)
    if "pixel_size" in frame:
        numbers = pd.to_numeric(frame["pixel_size"], errors="coerce")
        size = numbers.to_numpy(np.float64, na_value=np.nan)
        left_out[~(size > 0)] = NO_PIXEL_SIZE
    for column, reason in (("usable", NOT_USABLE), ("ok", NOT_OK)):
        if column in frame:
            good = [not is_missing(value) and bool(value) for value in frame[column]]
            left_out[~np.array(good, bool)] = reason
    out["left_out"] = left_out
    return out.sort_values("image").reset_index(drop=True)


def choose_units(
    images: pd.DataFrame,
    used: npt.NDArray[np.bool_],
    resample_unit: ResampleUnit,
    *,
    fall_back: bool,
) -> Units:
    """Choose what is independent among images: samples where they are known, or images.

    With `fall_back`, ``"auto"`` takes the images of a single sample; otherwise a single sample
    stays a single unit. Images of unknown sample count as one sample beside known ones.

    Parameters
    ----------
    images
        As from `image_table`.
    used
        (images,) which of them count.
    resample_unit
        ``"sample"``, ``"image"`` or ``"auto"``.
    """
    kept = images[used]
    sample = kept["sample"].to_numpy(str)
    known = np.unique(sample[sample != ""])
    kind: str = resample_unit
    notes: list[str] = []
    if resample_unit == "auto":
        single = len(np.unique(sample)) < 2
        kind = "image" if len(known) == 0 or (single and fall_back) else "sample"
    if kind == "image" and len(known) == 0 and len(kept):
        notes.append("samples are unknown: images are taken as independent")
    elif kind == "image" and len(known) == 1 and not (sample == "").any():
        notes.append(
            f"one sample ({known[0]}): the interval is about this sample, not the condition"
        )
    elif kind == "image" and len(kept):
        notes.append("images of one sample are taken as independent")
    if kind == "sample" and len(known) and (sample == "").any():
        notes.append(f"{int((sample == '').sum())} images of unknown sample count as one sample")
    values = sample if kind == "sample" else kept["image"].to_numpy(str)
    names, of_image = np.unique(values, return_inverse=True)
    return Units(kind, tuple(names), of_image.astype(np.intp), tuple(notes))


def image_of_row(
    rows: pd.DataFrame,
    images: pd.DataFrame,
    table: pd.DataFrame,
    *,
    what: str,
    place: npt.NDArray[np.intp] | None = None,
) -> npt.NDArray[np.intp]:
    """Row in `table` of the image of every measured thing.

    Parameters
    ----------
    rows
        With `image`, or `image_index`: the position in `images`.
    images, table
        The images as they were given, and as from `image_table`.
    what
        What the rows are, for messages: ``"grains"``, ``"crystals"``.
    place
        As from `place_of_image`, where there are several parts of rows.

    Raises
    ------
    InputError
        Where a row belongs to no image.
    """
    if "image" not in rows and "image_index" in rows:
        place = place_of_image(images, table) if place is None else place
        index = rows["image_index"].to_numpy(np.intp)
        if len(index) and (index.min() < 0 or index.max() >= len(place)):
            raise InputError(
                f"image_index reaches {index.max()}, but there are {len(place)} images: "
                "pass the whole table of images"
            )
        return place[index]
    if "image" not in rows:
        raise InputError(f"the {what} have neither a column 'image' nor 'image_index'")
    name = rows["image"].astype(str)
    row = pd.Index(table["image"]).get_indexer(pd.Index(name))
    if (row < 0).any():
        raise InputError(
            f"{what} belong to the image {name.iloc[int(np.argmin(row))]!r}, "
            "which is not in the table of images"
        )
    return row


def place_of_image(images: pd.DataFrame, table: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Row in `table` of every image, in the order in which the images were given."""
    ids = images["image"] if "image" in images else images.index.to_series()
    return pd.Index(table["image"]).get_indexer(pd.Index(ids.astype(str)))


def condition_label(tags: dict[str, Any]) -> str:
    """Name a condition: ``"temperature=22, pressure unknown"``; without tags, ``"all"``."""
    parts = [
        f"{name} unknown" if is_missing(value) else f"{name}={_short(value)}"
        for name, value in tags.items()
    ]
    return ", ".join(parts) or "all"


def tag_codes(images: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Rank of every image's value of each tag, (images, tags); missing values rank last."""
    codes = [_codes(images[name]) for name in names]
    return np.stack(codes, axis=1) if codes else np.zeros((len(images), 0), np.intp)


def is_missing(value: Any) -> bool:
    """Whether a tag has no value: NaN, None, NA or ""."""
    return value is None or value is pd.NA or value is pd.NaT or value == "" or value != value


def _codes(values: pd.Series) -> npt.NDArray[np.intp]:
    """Ranks of the values of a tag: numbers before text, missing last."""
    distinct = {_key(value): value for value in values}
    known = sorted((key for key in distinct if key[0] < 2), key=lambda key: key)
    rank = {key: position for position, key in enumerate(known)}
    return np.array([rank.get(_key(value), len(known)) for value in values], np.intp)


def _key(value: object) -> tuple[int, float, str]:
    if is_missing(value):
        return (2, 0.0, "")
    if isinstance(value, (int, float, np.integer, np.floating, bool, np.bool_)):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _short(value: object) -> str:
    # Digits enough for dates and numbers of batches, and not those of rounding.
    return f"{value:.12g}" if isinstance(value, (float, np.floating)) else str(value)
