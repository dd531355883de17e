"""The table of tags: a CSV with a row per image, units in the names of its columns."""

from __future__ import annotations

import csv
import math
import os
import re
from pathlib import Path

import pandas as pd

from nanoarray.errors import InputError
from nanoarray.images.pattern import RESERVED, Tag
from nanoarray.images.units import (
    CANONICAL_UNITS,
    check_possible,
    convert,
    parse_quantity,
    split_unit,
    to_name,
)

KEY_COLUMNS = ("image", "file", "filename", "file_name", "name", "path", "id")
TEXT_TAGS = frozenset(("sample", "synthesis_method", "instrument", "detector", "acquired"))

_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(?!\d)")
_PLAIN_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][-+]?\d+)?")


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
