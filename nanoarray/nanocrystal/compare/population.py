"""Which crystals of which condition count, for sizes and for composition.

Images without a pixel size have no sizes but do have shapes: they count in the composition. Every
object of the table is in exactly one of `FATES`, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.errors import InputError
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import (
    NO_PIXEL_SIZE,
    NOT_MEASURED,
    NOT_OK,
    NOT_USABLE,
    ResampleUnit,
    Units,
    choose_units,
    condition_label,
    image_of_row,
    image_table,
    is_missing,
    tag_codes,
)

__all__ = [
    "FATES",
    "Population",
    "build_population",
    "pair_units",
    "tag_names",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

#: What becomes of an object: exactly one of these.
FATES: Final = ("left out", "rejected", "edge", "no size", "counted")
_LEFT_OUT, _REJECTED, _EDGE, _NO_SIZE, _COUNTED = range(5)


@dataclass(frozen=True)
class Population:
    """Images and objects of one condition or of all; their order does not depend on the input's.

    Attributes
    ----------
    images
        One row per image with its tags, `image`, `sample` ("" unknown), `left_out` ("" counts) and
        `has_scale`.
    row
        (n,) row of every object's image in `images`.
    size_nm
        (n,) size, NaN where it is unknown.
    weight
        (n,) statistical weight, 0 for what is in neither sizes nor composition.
    group
        (n,) shape group from 1, 0 none.
    touches_edge
        (n,) bool.
    fate
        (n,) position in `FATES`.
    rejected
        (n,) why an object is no crystal, "" where it is one.
    features
        (n, f) other columns, as they were asked for.
    """

    images: pd.DataFrame
    row: IntArray
    size_nm: FloatArray
    weight: FloatArray
    group: npt.NDArray[np.int64]
    touches_edge: npt.NDArray[np.bool_]
    fate: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.str_]
    features: FloatArray

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Which images count."""
        return (self.images["left_out"] == "").to_numpy(bool)

    @property
    def scaled(self) -> npt.NDArray[np.bool_]:
        """Which images count for sizes."""
        return self.used & self.images["has_scale"].to_numpy(bool)

    @property
    def sized(self) -> npt.NDArray[np.bool_]:
        """Which objects count for sizes."""
        return self.fate == _COUNTED

    @property
    def shaped(self) -> npt.NDArray[np.bool_]:
        """Which objects count for shapes: also those without a size."""
        return (self.fate == _COUNTED) | (self.fate == _NO_SIZE)

    def count(self, fate: str) -> int:
        """Objects of one fate."""
        return int((self.fate == FATES.index(fate)).sum())

    def take(self, images: npt.NDArray[np.bool_]) -> Population:
        """Keep some of the images with their objects."""
        keep = images[self.row]
        return Population(
            images=self.images[images].reset_index(drop=True),
            row=(np.cumsum(images) - 1)[self.row[keep]],
            size_nm=self.size_nm[keep],
            weight=self.weight[keep],
            group=self.group[keep],
            touches_edge=self.touches_edge[keep],
            fate=self.fate[keep],
            rejected=self.rejected[keep],
            features=self.features[keep],
        )

    def conditions(self, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], Population]]:
        """Yield every condition with its tags, in the order of its tags, missing ones last."""
        if not by:
            yield {}, self
            return
        codes = tag_codes(self.images, by)
        for key in np.unique(codes, axis=0):
            images = (codes == key).all(axis=1)
            first = int(np.flatnonzero(images)[0])
            yield {name: self.images[name].iloc[first] for name in by}, self.take(images)

    def units(self, resample_unit: ResampleUnit, *, sizes: bool, fall_back: bool) -> Units:
        """What is independent among the images with a scale (`sizes`) or among all that count."""
        used = self.scaled if sizes else self.used
        return choose_units(self.images, used, resample_unit, fall_back=fall_back)

    def unit_of_object(self, units: Units, *, sizes: bool) -> IntArray:
        """Unit of every object; -1 in images that do not count."""
        of_image = np.full(len(self.images), -1, np.intp)
        of_image[self.scaled if sizes else self.used] = units.of_image
        return of_image[self.row]


def build_population(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    tags: Sequence[str],
    size: str,
    edge: EdgeRule,
    sample_tag: str = "sample",
    features: FloatArray | None = None,
) -> Population:
    """Check both tables and reduce them to what comparisons need.

    Parameters
    ----------
    crystals
        One row per object: `image` or `image_index`, the column `size` [nm], where known
        `rejected` ("" a crystal), `shape_group` (from 1), `touches_edge`, `edge_weight` and
        `problem` (why the image could not be measured).
    images
        One row per image, also of those without crystals: `image` (column or index), the tags,
        and where known `ok`, `usable`, `pixel_size` [nm].
    tags
        Tags that are needed.
    size
        Column of the size.
    edge
        ``"weight"``, ``"exclude"`` or ``"include"`` crystals at the edge of the field.
    sample_tag
        Tag that says which images belong to one sample.
    features
        (n, f) other values of the crystals, kept beside them.

    Raises
    ------
    InputError
        Where a column is missing, an image occurs twice, an object belongs to no image, a size is
        not positive, or a crystal inside the field has no weight.
    """
    if edge not in ("weight", "exclude", "include"):
        raise InputError(f"edge is {edge!r}: it must be 'weight', 'exclude' or 'include'")
    if sample_tag != "sample" and "sample" in tags:
        raise InputError(f"'sample' cannot be a condition while {sample_tag!r} is the sample")
    table = image_table(images, tags, sample_tag=sample_tag)
    table["has_scale"] = table["left_out"] != NO_PIXEL_SIZE
    table.loc[table["left_out"] == NO_PIXEL_SIZE, "left_out"] = ""
    row = image_of_row(crystals, images, table, what="crystals")
    failed = np.unique(row[_texts(crystals, "problem") != ""])
    table.loc[failed[(table["left_out"].iloc[failed] == "").to_numpy()], "left_out"] = NOT_MEASURED
    _need_columns(crystals, size, edge)
    if features is None:
        features = np.zeros((len(crystals), 0))
    size_nm = _numbers(crystals, size, np.nan)
    group = np.maximum(np.nan_to_num(_numbers(crystals, "shape_group", 0.0)), 0).astype(np.int64)
    label = _numbers(crystals, "label", 0.0)
    order = np.lexsort((*features.T, group, size_nm, label, row))
    row, size_nm, group = row[order], size_nm[order], group[order]
    touches = (_numbers(crystals, "touches_edge", 0.0) > 0)[order]
    weight = _numbers(crystals, "edge_weight", 1.0)[order] if edge == "weight" else 1.0
    rejected = _texts(crystals, "rejected")[order]
    fate, inside = _fates(table, row, size_nm, rejected, cut=touches & (edge != "include"))
    size_nm = np.where(table["has_scale"].to_numpy()[row], size_nm, np.nan)
    weight = np.where(inside, weight, 0.0)
    bad = inside & ~(np.isfinite(weight) & (weight > 0))
    if bad.any():
        name = table["image"].iloc[row[bad][0]]
        raise InputError(f"a crystal of image {name!r} inside the field has no edge_weight above 0")
    return Population(
        images=table,
        row=row,
        size_nm=size_nm,
        weight=weight,
        group=group,
        touches_edge=touches,
        fate=fate,
        rejected=rejected,
        features=features[order],
    )


def _need_columns(crystals: pd.DataFrame, size: str, edge: EdgeRule) -> None:
    needed = [size, *(["edge_weight"] if edge == "weight" else [])]
    for name in [*needed, *(["touches_edge"] if edge != "include" else [])]:
        if name not in crystals:
            raise InputError(
                f"the crystals have no column {name!r}, which size={size!r}, edge={edge!r} needs; "
                f"their columns are {', '.join(map(str, crystals.columns))}"
            )


def _fates(
    table: pd.DataFrame,
    row: IntArray,
    size_nm: FloatArray,
    rejected: npt.NDArray[np.str_],
    *,
    cut: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """What becomes of every object, and which are crystals inside; corrects `has_scale`."""
    used = (table["left_out"] == "").to_numpy()[row]
    accepted = used & (rejected == "")
    if (accepted & (size_nm <= 0)).any():
        raise InputError("the crystals have sizes that are not positive")
    # An image whose crystals have no size had no pixel size, whatever the table of images says.
    known = np.isfinite(size_nm)
    have = np.bincount(row[accepted], minlength=len(table)) > 0
    table["has_scale"] &= ~have | (np.bincount(row[accepted & known], minlength=len(table)) > 0)
    sized = known & table["has_scale"].to_numpy()[row]
    fate = np.select(
        [~used, rejected != "", cut, ~sized],
        [_LEFT_OUT, _REJECTED, _EDGE, _NO_SIZE],
        default=_COUNTED,
    )
    return fate.astype(np.int64), accepted & ~cut


def image_counts(part: Population, units: Units) -> dict[str, Any]:
    """How many images, samples and objects there are, and what became of them."""
    used, left_out = part.used, part.images["left_out"]
    sample = part.images["sample"].to_numpy(str)[used]
    has = np.bincount(part.row[part.rejected == ""], minlength=len(used)) > 0
    accepted = (part.rejected == "") & used[part.row]
    reasons = pd.Series(part.rejected[part.fate == _REJECTED], dtype=object).value_counts()
    return {
        "object_count": len(part.row),
        "crystal_count": int(part.sized.sum()),
        "edge_crystal_count": int((accepted & part.touches_edge).sum()),
        "rejected_count": part.count("rejected"),
        "rejected_reasons": "; ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())),
        "unsized_count": part.count("no size"),
        "left_out_object_count": part.count("left out"),
        "image_count": len(used),
        "image_used_count": int(used.sum()),
        "image_empty_count": int((used & ~has).sum()),
        "image_not_ok_count": int((left_out == NOT_OK).sum()),
        "image_not_usable_count": int((left_out == NOT_USABLE).sum()),
        "image_not_measured_count": int((left_out == NOT_MEASURED).sum()),
        "image_no_pixel_size_count": int((used & ~part.scaled).sum()),
        "sample_count": len(np.unique(sample[sample != ""])),
        "resample_unit": units.kind,
        "resample_unit_count": len(units.names),
    }


def pair_units(
    parts: tuple[Population, Population], resample_unit: ResampleUnit, *, sizes: bool
) -> tuple[list[Units], list[str]]:
    """Independent units of both conditions of a pair, of one kind, and what is to be said of them.

    ``"auto"`` takes samples wherever any is known; a single sample stays a single unit.
    """
    kind: ResampleUnit = resample_unit
    if resample_unit == "auto":
        known = any((part.images["sample"][part.used] != "").any() for part in parts)
        kind = "sample" if known else "image"
    units = [part.units(kind, sizes=sizes, fall_back=False) for part in parts]
    notes = [note for unit in units for note in unit.notes]
    shared = sorted(set(units[0].names) & set(units[1].names))
    if shared and kind == "sample":
        notes.append(f"sample {shared[0] or 'unknown'} is in both conditions, taken as two")
    if kind == "sample" and min(len(unit.names) for unit in units) < 2:
        notes.append("resample_unit='image' asks whether these samples differ, not the conditions")
    return units, list(dict.fromkeys(notes))


def tag_names(by: Sequence[str], *, reserved: Sequence[str]) -> list[str]:
    """Names of tags as a list, none of which is the name of a result's column."""
    names = [by] if isinstance(by, str) else list(by)
    clash = sorted(set(names) & set(reserved))
    if clash:
        raise InputError(f"the tag {clash[0]!r} has the name of a statistic: rename the tag")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"the tag {twice[0]!r} is named twice")
    return names


def condition_of(values: dict[str, Any]) -> dict[str, Any]:
    """First columns of every table: the tags and the name of the condition."""
    return {**values, "condition": condition_label(values)}


def _numbers(crystals: pd.DataFrame, name: str, default: float) -> FloatArray:
    if name not in crystals:
        return np.full(len(crystals), default)
    numbers = pd.to_numeric(crystals[name], errors="coerce")
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _texts(crystals: pd.DataFrame, name: str) -> npt.NDArray[np.str_]:
    if name not in crystals:
        return np.full(len(crystals), "", dtype=np.str_)
    texts = ["" if is_missing(value) else str(value) for value in crystals[name]]
    return np.array(texts, dtype=np.str_)
