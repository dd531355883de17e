"""Tags from file names, by a pattern such as ``{sample} {temperature:g}degC_{n}``."""

from __future__ import annotations

import functools
import re
import string
from dataclasses import dataclass

from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.images.units import CANONICAL_UNITS, COMMON_UNITS, check_possible, convert, fits

Tag = float | int | str

_SPECS = {
    "": r".+?",
    "s": r".+?",
    "d": r"[-+]?\d+",
    "g": r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?",
}
_SPECS["f"] = _SPECS["g"]
# Variables of the group `images` that a person may state about an image.
TAGS_OF_SCHEMA = frozenset(
    {"temperature", "pressure", "synthesis_method", "sample", "instrument", "detector", "voltage"}
    | {"current", "tilt", "tilt_corrected", "scan_rotation", "working_distance", "dwell", "hfw"}
    | {"magnification", "acquired", "pixel_size", "pixel_size_y"}
)


def _reserved_names() -> frozenset[str]:
    """Names that mean something else where tags are kept, or where tables carry them.

    A tag over a variable of `images` could disown an image; one named as a column of `grains`, or
    as what `prepared` says of an image, would take that column's place in tables.
    """
    names = {"block_key", "image_index"}
    for group, variables in schema.GROUPS.items():
        if group.endswith("_statistics"):
            continue  # their dimensions are named after tags, such as the batch
        for name, variable in variables.items():
            names.update(variable.dims)
            if group in ("images", "grains") or (group, variable.dims) == ("prepared", ("image",)):
                names.add(name)
    return frozenset(names - TAGS_OF_SCHEMA)


RESERVED = _reserved_names()


@dataclass(frozen=True)
class NamePattern:
    """A compiled pattern: its regular expression, and the kind and unit of each field."""

    regex: re.Pattern[str]
    kinds: dict[str, str]
    units: dict[str, str]


def parse_pattern(pattern: str, stem: str) -> dict[str, Tag] | None:
    """Tags in a file's name.

    Parameters
    ----------
    pattern
        Text with fields: ``{name}`` is text, ``{name:g}`` a number, ``{name:d}`` an integer.
        A unit that follows a number directly (``{temperature:g}K``) converts it to the tag's
        canonical unit. Everything else is matched literally; the whole name must match.
    stem
        File name without its suffix.

    Returns
    -------
    dict or None
        Values by tag; None when the name does not match.

    Raises
    ------
    InputError
        The pattern is malformed; the message names the problem.
    """
    compiled = compile_pattern(pattern)
    match = compiled.regex.fullmatch(stem)
    if match is None:
        return None
    tags: dict[str, Tag] = {}
    for tag, kind in compiled.kinds.items():
        text = match[tag]
        if kind == "d" and tag not in CANONICAL_UNITS:
            tags[tag] = int(text)
        elif kind in ("g", "f", "d"):
            value = convert(float(text), tag=tag, unit=compiled.units.get(tag, ""))
            check_possible(value, tag=tag, where=f"pattern '{pattern}', file '{stem}'")
            tags[tag] = value
        elif tag in CANONICAL_UNITS:
            raise InputError(f"pattern '{pattern}': '{tag}' is a number; write it {{{tag}:g}}")
        else:
            tags[tag] = text
    return tags


def pattern_units(pattern: str) -> dict[str, str]:
    """Units of the tags that a pattern gives, after conversion."""
    compiled = compile_pattern(pattern)
    units = {tag: CANONICAL_UNITS.get(tag, unit) for tag, unit in compiled.units.items()}
    units.update({tag: CANONICAL_UNITS[tag] for tag in compiled.kinds if tag in CANONICAL_UNITS})
    return units


@functools.lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> NamePattern:
    """Compile a pattern; see `parse_pattern`."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise InputError(f"pattern '{pattern}': {error}") from error
    expression = ""
    kinds: dict[str, str] = {}
    units: dict[str, str] = {}
    for index, (literal, name, spec, conversion) in enumerate(parts):
        expression += re.escape(literal)
        if name is None:
            continue
        _check_field(pattern, name, spec or "", conversion, kinds)
        adjacent = index + 1 < len(parts) and parts[index + 1][0] == ""
        if adjacent and parts[index + 1][1] is not None:
            raise InputError(
                f"pattern '{pattern}': nothing separates '{{{name}}}' from the field after it"
            )
        kinds[name] = spec or ""
        if kinds[name] in ("g", "f", "d") and index + 1 < len(parts):
            unit = _leading_unit(name, parts[index + 1][0])
            if unit:
                units[name] = unit
        expression += f"(?P<{name}>{_SPECS[kinds[name]]})"
    if not kinds:
        raise InputError(f"pattern '{pattern}' has no field such as {{sample}}")
    return NamePattern(re.compile(expression), kinds, units)


def _check_field(
    pattern: str, name: str, spec: str, conversion: str | None, kinds: dict[str, str]
) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(
            f"pattern '{pattern}': '{name}' is not a name; use letters, digits and underscores"
        )
    if name in kinds:
        raise InputError(f"pattern '{pattern}' has the field '{name}' twice")
    if name in RESERVED:
        raise InputError(
            f"pattern '{pattern}': '{name}' is a reserved name; rename the field, for example to "
            f"'{name}_tag'"
        )
    if spec not in _SPECS or conversion:
        raise InputError(
            f"pattern '{pattern}': field '{name}' has format '{spec or conversion}', expected "
            "nothing (text), :g (number) or :d (integer)"
        )


def _leading_unit(tag: str, literal: str) -> str:
    """The unit that a literal begins with, "" when it is only text."""
    token = re.match(r"\s?(°?[A-Za-zµ]+|%|°)", literal)
    if token is None:
        return ""
    unit = {"°C": "degC", "°F": "degF", "°": "deg", "%": "percent"}.get(token[1], token[1])
    if tag in CANONICAL_UNITS:
        if unit in COMMON_UNITS and not fits(tag, unit):
            raise InputError(
                f"the pattern gives {tag} in '{unit}', which is no unit of {tag}: expected one "
                f"that converts to {CANONICAL_UNITS[tag]}"
            )
        return unit if fits(tag, unit) else ""
    return unit if unit in COMMON_UNITS else ""
