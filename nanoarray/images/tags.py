"""What is known about each micrograph's sample: from a CSV, the file name, and the file itself."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from nanoarray.errors import InputError
from nanoarray.images.header import Header
from nanoarray.images.pattern import RESERVED, Tag, parse_pattern, pattern_units
from nanoarray.images.units import (
    CANONICAL_UNITS,
    check_possible,
    convert,
    parse_quantity,
    split_unit,
    to_name,
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

KEY_COLUMNS = ("image", "file", "filename", "file_name", "name", "path", "id")
TEXT_TAGS = frozenset(("sample", "synthesis_method", "instrument", "detector", "acquired"))
# Headers round to 4 to 6 digits; a disagreement is more than that.
RELATIVE_TOLERANCE = 1e-3

#: Judged by the record of the image's scale.
SIZES = ("pixel_size", "pixel_size_y")
SOURCES = ("tags table", "file name", "file metadata")  # in order of precedence

_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(?!\d)")
_PLAIN_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][-+]?\d+)?")


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


def read_tags_csv(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read a table of tags.

    The key is the first present among the columns ``image``, ``file``, ``filename``, ``name``,
    ``path`` and ``id`` (any case): an image's id, file name, or path. Every other column is a tag.
    A unit in the column's name (``temperature_degC``, ``pressure [psi]``) is taken off the name
    and, for tags with a canonical unit, converted to it; such tags without a unit in their name
    are taken to be in the canonical unit. Commas, semicolons and tabs separate columns.

    Returns
    -------
    table : pandas.DataFrame
        One row per image, indexed by the key; numbers float64 with NaN for empty cells, text
        object with "".
    units : dict
        Unit of each tag that has one.

    Raises
    ------
    InputError
        The file is missing, empty or has no key column; a key, a column or a tag is there twice; a
        reserved name is used; a cell of a numeric tag is not a number.
    """
    header, rows = _read_rows(Path(path))
    by_name = {to_name(column): index for index, column in reversed(list(enumerate(header)))}
    key = next((name for name in KEY_COLUMNS if name in by_name), None)
    if key is None:
        raise InputError(
            f"tags table '{path}' has columns {', '.join(header)}; expected one that names the "
            f"image: {', '.join(KEY_COLUMNS)}"
        )
    keys = [row[by_name[key]].strip() for row in rows]
    _check_keys(keys, path)
    columns: dict[str, list[Tag]] = {}
    units: dict[str, str] = {}
    for index, column in enumerate(header):
        if index == by_name[key]:
            continue
        cells = [row[index].strip() for row in rows]
        # Before units: `data_bar` is no quantity `data` in bar.
        own = to_name(column)
        tag, unit = (own, "") if own in RESERVED else split_unit(column)
        if unit and tag not in CANONICAL_UNITS and not all(map(_is_plain_number, cells)):
            tag, unit = to_name(column), ""  # such as `step_h` that holds text
        if not tag:
            raise InputError(f"tags table '{path}' has a column with an empty name; name it")
        if tag in RESERVED:
            raise InputError(
                f"tags table '{path}': column '{column}': '{tag}' is a reserved name; rename the "
                f"column, for example to '{tag}_tag', or remove it"
            )
        if tag in columns:
            raise InputError(f"tags table '{path}' gives '{tag}' in two columns; keep one")
        columns[tag] = _column(cells, tag=tag, unit=unit, keys=keys, path=path)
        if unit or tag in CANONICAL_UNITS:
            units[tag] = CANONICAL_UNITS.get(tag, unit)
    return pd.DataFrame(columns, index=pd.Index(keys, name="image", dtype=object)), units


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


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"tags table '{path}': {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # what spreadsheets write on Windows
    if "\0" in text:
        raise InputError(f"tags table '{path}' is not a text file")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = csv.reader(text.splitlines(), delimiter=separator)
    try:
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"tags table '{path}' cannot be read: {error}") from error
    if not rows:
        raise InputError(f"tags table '{path}' is empty")
    header, body = [cell.strip() for cell in rows[0]], rows[1:]
    if separator == ",":
        _refuse_thousands(path, header, body)
    for number, row in enumerate(body, start=2):
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"tags table '{path}', row {number} has {len(row)} cells, expected {len(header)}"
            )
    return header, [(row + [""] * len(header))[: len(header)] for row in body]


def _refuse_thousands(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Refuse ``1,227`` in a comma-separated table: a thousand, or a decimal comma?"""
    for number, row in enumerate(rows, start=2):
        for column, cell in zip(header, row, strict=False):
            known = split_unit(column)[0] in CANONICAL_UNITS
            if known and _THOUSANDS.match(cell.strip()):
                raise InputError(
                    f"tags table '{path}', row {number}: {column} is '{cell.strip()}', which may "
                    "be a thousand or a decimal comma; write it without the comma"
                )


def _check_keys(keys: list[str], path: object) -> None:
    if "" in keys:
        raise InputError(f"tags table '{path}', row {keys.index('') + 2} names no image")
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise InputError(f"tags table '{path}' has two rows for '{key}'; keep one")
        seen.add(key)


def _column(cells: list[str], *, tag: str, unit: str, keys: list[str], path: object) -> list[Tag]:
    if tag not in CANONICAL_UNITS:
        numeric = tag not in TEXT_TAGS and any(cells) and all(map(_is_plain_number, cells))
        return [_to_float(cell) for cell in cells] if numeric else list(cells)
    values: list[Tag] = []
    for key, cell in zip(keys, cells, strict=True):
        quantity = parse_quantity(_decimal_point(cell)) if cell else (math.nan, "")
        if quantity is None:
            raise InputError(f"tags table '{path}': {tag} of '{key}' is '{cell}', not a number")
        number, own_unit = quantity
        value = convert(number, tag=tag, unit=own_unit or unit)
        check_possible(value, tag=tag, where=f"tags table '{path}', '{key}'")
        values.append(value)
    return values


def _is_plain_number(cell: str) -> bool:
    """A number or empty; ``007`` is a name."""
    text = _decimal_point(cell)
    return not text or (_PLAIN_NUMBER.fullmatch(text) is not None and text[-1] not in "+-.")


def _to_float(cell: str) -> float:
    return float(_decimal_point(cell)) if cell else math.nan


def _decimal_point(cell: str) -> str:
    """A decimal comma as a point."""
    return re.sub(r"^([-+]?\d+),(\d+)", r"\1.\2", cell)


def _is_missing(value: Tag) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


def _same(one: Tag, other: Tag) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)
    except ValueError:
        return str(one).strip().casefold() == str(other).strip().casefold()
