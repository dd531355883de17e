"""Which grains and images of which condition count: the step before every statistic.

A *condition* is one combination of tags; a missing tag is a value of its own. Images that cannot be
measured are left out with their reason, and stay in the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.errors import InputError
from nanoarray.statistics.image_table import (
    NO_PIXEL_SIZE,
    NOT_MEASURED,
    NOT_OK,
    NOT_USABLE,
    REASONS,
    ResampleUnit,
    Units,
    choose_units,
    condition_label,
    image_of_row,
    image_table,
    place_of_image,
    tag_codes,
)

__all__ = [
    "NOT_MEASURED",
    "NOT_OK",
    "NOT_USABLE",
    "NO_PIXEL_SIZE",
    "Cohort",
    "EdgeRule",
    "ResampleUnit",
    "Units",
    "build_cohort",
    "condition_label",
    "mean_sizes",
]

FloatArray = npt.NDArray[np.float64]
EdgeRule = Literal["weight", "exclude", "include"]

#: Columns of the sums of an image; w is the weight of a grain, A its area, d its diameter.
SUMS = ("w", "wA", "wAA", "wd", "wdA", "wL", "count", "field", "chord", "chords")


@dataclass(frozen=True)
class Cohort:
    """Images and grains of one condition or of all; their order does not depend on the input's.

    Attributes
    ----------
    images
        One row per image with its tags, `image`, `sample` ("" unknown) and `left_out` ("" counts).
    sums
        (images, len(SUMS)) sums over the grains of each image.
    area_um2, weight, grain_image
        The grains that count, with the row of their image in `images`.
    edge_grains, unmeasured_grains, small_grains
        (images,) numbers of grains at an edge, without an area, smaller than a tile.
    """

    images: pd.DataFrame
    sums: FloatArray
    area_um2: FloatArray
    weight: FloatArray
    grain_image: npt.NDArray[np.int32]
    edge_grains: npt.NDArray[np.int64]
    unmeasured_grains: npt.NDArray[np.int64]
    small_grains: npt.NDArray[np.int64]

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Which images count."""
        return (self.images["left_out"] == "").to_numpy(bool)

    def left_out(self) -> dict[str, int]:
        """Number of images left out, by reason."""
        counts = self.images["left_out"].value_counts()
        return {reason: int(counts.get(reason, 0)) for reason in REASONS}

    def without_grains(self) -> Cohort:
        """The images with their sums: all that comparisons need."""
        none = np.zeros(0)
        return replace(self, area_um2=none, weight=none, grain_image=none.astype(np.int32))

    def take(self, rows: npt.NDArray[np.bool_]) -> Cohort:
        """Keep some of the images."""
        if rows.all():
            return self
        new = np.cumsum(rows, dtype=np.int32) - 1
        grains = rows[self.grain_image]
        return Cohort(
            images=self.images[rows].reset_index(drop=True),
            sums=self.sums[rows],
            area_um2=self.area_um2[grains],
            weight=self.weight[grains],
            grain_image=new[self.grain_image[grains]],
            edge_grains=self.edge_grains[rows],
            unmeasured_grains=self.unmeasured_grains[rows],
            small_grains=self.small_grains[rows],
        )

    def conditions(self, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], Cohort]]:
        """Yield every condition with its tags, in the order of its tags, missing ones last."""
        if not by:
            yield {}, self
            return
        codes = self.tag_codes(by)
        for key in np.unique(codes, axis=0):
            rows = (codes == key).all(axis=1)
            first = int(np.flatnonzero(rows)[0])
            yield {name: self.images[name].iloc[first] for name in by}, self.take(rows)

    def tag_codes(self, names: Sequence[str]) -> npt.NDArray[np.intp]:
        """Rank of every image's value of each tag, (images, tags); missing values rank last."""
        return tag_codes(self.images, names)

    def units(self, resample_unit: ResampleUnit, *, fall_back: bool) -> Units:
        """Choose what is independent in this cohort, see `image_table.choose_units`."""
        return choose_units(self.images, self.used, resample_unit, fall_back=fall_back)

    def unit_sums(self, units: Units) -> FloatArray:
        """Sums over the grains of every unit, (units, len(SUMS))."""
        out = np.zeros((len(units.names), self.sums.shape[1]))
        np.add.at(out, units.of_image, self.sums[self.used])
        return out

    def grain_unit(self, units: Units) -> npt.NDArray[np.int32]:
        """Unit of every grain that counts."""
        of_row = np.zeros(len(self.images), np.int32)
        of_row[self.used] = units.of_image
        return of_row[self.grain_image]


def build_cohort(
    grains: pd.DataFrame | Iterable[pd.DataFrame],
    images: pd.DataFrame,
    *,
    tags: Sequence[str],
    edge: EdgeRule,
    tile_size_um: float | None = None,
) -> Cohort:
    """Check both tables and reduce them to what the statistics need.

    The grains may come in parts, so that not all of their columns are in memory at once; the grains
    of an image are in one part.

    Raises
    ------
    InputError
        Where a column is missing, an image occurs twice, or a grain belongs to no image.
    """
    if edge not in ("weight", "exclude", "include"):
        raise InputError(f"edge is {edge!r}: it must be 'weight', 'exclude' or 'include'")
    table = image_table(images, tags)
    place = place_of_image(images, table)
    sums = np.zeros((len(table), len(SUMS)))
    counts = np.zeros((3, len(table)), np.int64)
    kept: list[npt.NDArray[Any]] = [np.empty(0), np.empty(0), np.empty(0, np.int32)]
    for part in [grains] if isinstance(grains, pd.DataFrame) else grains:
        row = image_of_row(part, images, table, what="grains", place=place)
        part_sums, part_counts, columns = _reduced(part, row, table, edge, tile_size_um)
        sums += part_sums
        counts += part_counts
        for whole, column in zip(kept, columns, strict=True):
            whole.resize(whole.size + column.size, refcheck=False)  # in place: not twice in memory
            whole[whole.size - column.size :] = column
    area, weight, image = kept
    if (image[1:] < image[:-1]).any():  # images were given in another order than that of names
        order = np.argsort(image, kind="stable")
        area, weight, image = area[order], weight[order], image[order]
    return Cohort(table, sums, area, weight, image, *counts)


def _reduced(
    grains: pd.DataFrame,
    row: npt.NDArray[np.intp],
    table: pd.DataFrame,
    edge: EdgeRule,
    tile_size_um: float | None,
) -> tuple[FloatArray, npt.NDArray[np.int64], list[npt.NDArray[Any]]]:
    """Sums and counts of every image, and the grains that count; says in `table` what is left out.

    The counts are the last three attributes of `Cohort`.
    """
    needed = ["area", *(["edge_weight"] if edge == "weight" else [])]
    needed += ["touches_edge"] if edge != "include" else []
    for name in needed:
        if name not in grains:
            raise InputError(
                f"the grains have no column {name!r}, which edge={edge!r} needs; "
                f"their columns are {', '.join(map(str, grains.columns))}"
            )
    order = np.lexsort((grains["area"].to_numpy(np.float64), _label(grains), row))
    grains, row = grains.iloc[order], row[order]
    area = grains["area"].to_numpy(np.float64)
    measured = np.isfinite(area) & (area > 0)

    if "problem" in grains:
        failed = _count(row[(grains["problem"] != "").to_numpy()], len(table)) > 0
        table.loc[failed & (table["left_out"] == ""), "left_out"] = NOT_MEASURED
    # An image whose grains have no area had no pixel size, whatever the table of images says.
    has, has_measured = _count(row, len(table)), _count(row[measured], len(table))
    unknown = (table["left_out"] == "") & (has > 0) & (has_measured == 0)
    table.loc[unknown, "left_out"] = NO_PIXEL_SIZE
    used = (table["left_out"] == "").to_numpy()[row] & measured
    touches = _column(grains, "touches_edge", 0.0) > 0
    if edge == "weight":
        weight = grains["edge_weight"].to_numpy(np.float64)
    else:
        weight = np.where(touches & (edge == "exclude"), 0.0, 1.0)
    weight = np.where(used, np.nan_to_num(weight), 0.0)
    counts = weight > 0
    diameter = np.sqrt(4.0 * np.where(measured, area, 0.0) / np.pi)
    small = counts & (area < (0.0 if tile_size_um is None else tile_size_um) ** 2)
    return (
        _image_sums(grains, row, len(table), area, diameter, weight, used=used),
        np.stack(
            [_count(row[chosen], len(table)) for chosen in (touches & used, ~measured, small)]
        ),
        [area[counts], weight[counts], row[counts].astype(np.int32)],
    )


def mean_sizes(sums: FloatArray) -> dict[str, FloatArray]:
    """Means [um, um2] as ratios of sums; (..., len(SUMS)) sums give (...) values of each."""
    s = dict(zip(SUMS, np.moveaxis(sums, -1, 0), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "mean_area": s["wA"] / s["w"],
            "area_weighted_mean_area": s["wAA"] / s["wA"],
            "mean_diameter": s["wd"] / s["w"],
            "area_weighted_mean_diameter": s["wdA"] / s["wA"],
            "geometric_mean_area": np.exp(s["wL"] / s["w"]),
            "mean_area_planimetric": np.where(s["count"] > 0, s["field"] / s["count"], np.nan),
            "mean_intercept": np.where(s["chords"] > 0, s["chord"] / s["chords"], np.nan),
        }


def _image_sums(
    grains: pd.DataFrame,
    row: npt.NDArray[np.intp],
    count: int,
    area: FloatArray,
    diameter: FloatArray,
    weight: FloatArray,
    *,
    used: npt.NDArray[np.bool_],
) -> FloatArray:
    """Sums over the grains of each image, in the order of SUMS."""
    size = np.where(used, area, 1.0)
    half_at_edge = np.where(_column(grains, "touches_edge", 0.0) > 0, 0.5, 1.0)
    terms = {
        "w": weight,
        "wA": weight * size,
        "wAA": weight * size**2,
        "wd": weight * diameter,
        "wdA": weight * size * diameter,
        "wL": weight * np.log(size),
        # Over all grains, those at the edge too: ratios of these sums have no edge bias.
        "count": _column(grains, "planimetric_count", half_at_edge),
        "field": size,
    }
    if "intercept_length" in grains and "intercept_count" in grains:
        terms["chord"] = _column(grains, "intercept_length", np.nan)
        terms["chords"] = _column(grains, "intercept_count", np.nan)
    else:  # test lines of equal density cross a grain (area by mean intercept) times
        terms["chord"] = weight * size
        terms["chords"] = weight * size / _column(grains, "mean_intercept", np.nan)
    sums = [np.bincount(row, np.where(used, terms[name], 0.0), minlength=count) for name in SUMS]
    return np.stack(sums, axis=1).astype(np.float64)


def _column(grains: pd.DataFrame, name: str, default: float | FloatArray) -> FloatArray:
    if name in grains:
        return grains[name].to_numpy(np.float64)
    return np.broadcast_to(np.asarray(default, np.float64), len(grains))


def _label(grains: pd.DataFrame) -> npt.NDArray[Any]:
    return grains["label"].to_numpy() if "label" in grains else np.zeros(len(grains), np.int64)


def _count(row: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.int64]:
    return np.bincount(row, minlength=count).astype(np.int64)
