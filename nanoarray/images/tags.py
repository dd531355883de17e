"""What is known about each micrograph's sample: from a CSV, the file name, and the file itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from nanoarray.errors import InputError
from nanoarray.images.header import Header
from nanoarray.images.pattern import Tag, parse_pattern, pattern_units
from nanoarray.images.tags_table import read_tags_csv
from nanoarray.images.units import (
    CANONICAL_UNITS,
    convert,
    split_unit,
)

__all__ = [
    "Disagreement",
    "MergedTags",
    "merge_tags",
    "parse_pattern",
    "pattern_units",
    "read_tags_csv",
    "settle_copies",
    "tags_of_header",
]

# Headers round to 4 to 6 digits; a disagreement is more than that.
RELATIVE_TOLERANCE = 1e-3

#: Judged by the record of the image's scale.
SIZES = ("pixel_size", "pixel_size_y")
SOURCES = ("tags table", "file name", "file metadata")  # in order of precedence


@dataclass(frozen=True)
class Disagreement:
    """Sources that give different values of one tag of one image; the first one was used."""

    image: str
    tag: str
    values: dict[str, Tag]

    def __str__(self) -> str:
        said = ", ".join(f"{source} {value!r}" for source, value in self.values.items())
        return f"image '{self.image}': {self.tag} differs: {said}; the first is used"


@dataclass(frozen=True)
class MergedTags:
    """Tags per image, in the order of the images, and what did not fit together.

    Attributes
    ----------
    tags, sources
        One dict per image: tag to value, and tag to the source it was taken from.
    said
        One dict per image: each of a person's sources that states a pixel size, and the size along
        x and y [nm], along y NaN where it states one.
    units
        Unit of every tag that has one.
    disagreements
        Tags for which sources differ.
    unknown_images
        Rows of the table that match no image.
    untagged_images
        Images without a row, when there is a table.
    pattern_misses
        Images whose name does not match the pattern, when there is one.
    """

    tags: list[dict[str, Tag]]
    sources: list[dict[str, str]]
    said: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)
    unknown_images: list[str] = field(default_factory=list)
    untagged_images: list[str] = field(default_factory=list)
    pattern_misses: list[str] = field(default_factory=list)


def tags_of_header(header: Header) -> dict[str, Tag]:
    """Tags that a file gives about itself, named as in a table of tags, in canonical units.

    The size of a pixel is not among them: see `nanoarray.images.scale`.
    """
    tags: dict[str, Tag] = {}
    for name, value in header.metadata.items():
        tag, unit = split_unit(name)
        known = isinstance(value, float) and tag in CANONICAL_UNITS
        tags[tag if known else name] = convert(float(value), tag=tag, unit=unit) if known else value
    tags.pop("data_bar_px", None)
    return tags


def merge_tags(
    images: Sequence[str],
    *,
    paths: Sequence[str | os.PathLike[str]],
    table: pd.DataFrame | None = None,
    table_units: Mapping[str, str] | None = None,
    pattern: str | None = None,
    file_tags: Sequence[Mapping[str, Tag]] | None = None,
) -> MergedTags:
    """Bring the tags of all sources together.

    The table has precedence over the file name, and the file name over the file's metadata:
    what a person wrote down for this purpose is trusted most. Every difference is reported.

    Parameters
    ----------
    images, paths
        Id and file of every image.
    table, table_units
        As `read_tags_csv` returns them.
    pattern
        As for `parse_pattern`; matched with each file's name without suffix.
    file_tags
        Per image, as `tags_of_header` returns them.

    Raises
    ------
    InputError
        A row of the table fits several images, or several rows fit one image.
    """
    names = [Path(path) for path in paths]
    rows, unknown = ({}, []) if table is None else _match_rows(list(images), names, table)
    merged = MergedTags(tags=[], sources=[], unknown_images=unknown)
    merged.units.update(pattern_units(pattern) if pattern else {})
    merged.units.update(table_units or {})
    for index, (image, path) in enumerate(zip(images, names, strict=True)):
        from_name = parse_pattern(pattern, path.stem) if pattern else {}
        if from_name is None:
            merged.pattern_misses.append(image)
        if table is not None and index not in rows:
            merged.untagged_images.append(image)
        given = (
            rows.get(index, {}),
            from_name or {},
            dict(file_tags[index]) if file_tags is not None else {},
        )
        by_source = dict(zip(SOURCES, given, strict=True))
        merged.said.append(_sizes_said(by_source))
        _merge_one(image, by_source, merged)
    for tags in merged.tags:
        merged.units.update({t: u for t, u in CANONICAL_UNITS.items() if t in tags})
    return merged


def _sizes_said(given: Mapping[str, Mapping[str, Tag]]) -> dict[str, tuple[float, float]]:
    sizes = {}
    for source in SOURCES[:2]:
        x, y = (given[source].get(name, math.nan) for name in SIZES)
        if isinstance(x, int | float) and isinstance(y, int | float) and not math.isnan(x):
            sizes[source] = (float(x), float(y))
    return sizes


def _merge_one(image: str, given: Mapping[str, Mapping[str, Tag]], merged: MergedTags) -> None:
    tags: dict[str, Tag] = {}
    sources: dict[str, str] = {}
    for tag in dict.fromkeys(name for source in given.values() for name in source):
        values = {
            source: found[tag]
            for source, found in given.items()
            if tag in found and not _is_missing(found[tag])
        }
        if not values:
            continue
        sources[tag], tags[tag] = next(iter(values.items()))
        same = tag in SIZES or all(_same(tags[tag], value) for value in values.values())
        if not same:
            merged.disagreements.append(Disagreement(image, tag, values))
    merged.tags.append(tags)
    merged.sources.append(sources)


def settle_copies(
    merged: MergedTags,
    images: Sequence[str],
    copies: Mapping[str, tuple[str, str]],
    table: pd.DataFrame | None,
) -> tuple[MergedTags, list[str]]:
    """Account for the table's rows of files that are copies of another image.

    Parameters
    ----------
    merged, images, table
        As for, and from, `merge_tags`.
    copies
        Id of each copy: its path, and the id of the image that has its content.

    Returns
    -------
    merged : MergedTags
        Without the copies among its ``unknown_images``.
    notes : list of str
        What the table says of a copy and not of the image it equals; it is not used.
    """
    if table is None or not merged.unknown_images or not copies:
        return merged, []
    names = list(copies)
    paths = [Path(copies[name][0]) for name in names]
    rows, unknown = _match_rows(names, paths, table.loc[merged.unknown_images])
    position = {image: i for i, image in enumerate(images)}
    notes = []
    for index, row in rows.items():
        copy, original = names[index], copies[names[index]][1]
        kept = merged.tags[position[original]]
        lost = [
            f"{tag} {value!r}"
            for tag, value in row.items()
            if not _is_missing(value) and not (tag in kept and _same(kept[tag], value))
        ]
        if lost:
            notes.append(
                f"image '{copy}' is not added, it equals '{original}': not used of its row in the "
                f"tags table: {', '.join(lost)}"
            )
    return replace(merged, unknown_images=unknown), notes


def _match_rows(
    images: list[str], paths: list[Path], table: pd.DataFrame
) -> tuple[dict[int, dict[str, Tag]], list[str]]:
    """Rows by position of their image, and the keys that match none."""
    exact: dict[str, set[int]] = {}
    for index, (image, path) in enumerate(zip(images, paths, strict=True)):
        parts = path.as_posix().split("/")
        endings = {"/".join(parts[start:]) for start in range(len(parts))}
        stems = {ending.removesuffix(path.suffix) for ending in endings}
        for name in {image} | endings | stems:
            exact.setdefault(name, set()).add(index)
    folded: dict[str, set[int]] = {}
    for name, found in exact.items():
        folded.setdefault(name.casefold(), set()).update(found)
    by_id = {image: index for index, image in enumerate(images)}
    values = table.to_dict("records")
    rows: dict[int, dict[str, Tag]] = {}
    owner: dict[int, str] = {}
    unknown = []
    for position, key in enumerate(table.index):
        wanted = str(key).replace("\\", "/").removeprefix("./")
        found = {by_id[key]} if key in by_id else exact.get(wanted, set())
        found = found or folded.get(wanted.casefold(), set())
        if not found:
            unknown.append(str(key))
            continue
        if len({paths[i] for i in found}) > 1:
            which = ", ".join(f"'{paths[i]}'" for i in sorted(found)[:3])
            raise InputError(
                f"tags table: row '{key}' fits {len(found)} images ({which}); write the path"
            )
        for index in found:  # several where they are the images of one file
            if index in owner:
                raise InputError(
                    f"tags table: rows '{owner[index]}' and '{key}' are both image "
                    f"'{images[index]}'"
                )
            owner[index] = str(key)
            rows[index] = {str(tag): value for tag, value in values[position].items()}
    return rows, unknown


def _is_missing(value: Tag) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


def _same(one: Tag, other: Tag) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)
    except ValueError:
        return str(one).strip().casefold() == str(other).strip().casefold()
