"""Units of tags: which unit each known tag is kept in, and conversion to it with pint."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from nanoarray.errors import InputError
from nanoarray.unit_text import is_plain_unit

CANONICAL_UNITS = {
    "temperature": "degC",
    "pressure": "MPa",
    "pixel_size": "nm",
    "pixel_size_y": "nm",
    "voltage": "kV",
    "current": "pA",
    "tilt": "deg",
    "scan_rotation": "deg",
    "working_distance": "mm",
    "hfw": "um",
    "dwell": "us",
    "magnification": "1",
}

#: Least and largest possible value of each known tag, in its canonical unit. The upper ends are
#: far beyond any instrument or furnace; they catch a number in another unit or column.
POSSIBLE = {
    "temperature": (-273.15, 1e4),
    "pressure": (0.0, 1e6),
    "pixel_size": (1e-6, 1e7),
    "pixel_size_y": (1e-6, 1e7),
    "voltage": (0.0, 1e4),
    "current": (0.0, 1e12),
    "tilt": (-360.0, 360.0),
    "scan_rotation": (-360.0, 360.0),
    "working_distance": (-1e3, 1e4),
    "hfw": (0.0, 1e7),
    "dwell": (0.0, 1e9),
    "magnification": (0.0, 1e9),
}

# A column such as `section_a` or `run_id` must not become "are" or a unit at all, so for tags
# that are not known above only these spellings, on numeric columns, are taken for a unit.
COMMON_UNITS = frozenset(
    {"pm", "nm", "um", "µm", "mm", "cm", "m", "nm2", "um2", "mm2", "K", "degC", "degF"}
    | {"Pa", "kPa", "MPa", "GPa", "bar", "mbar", "atm", "torr", "psi"}
    | {"V", "mV", "kV", "eV", "keV", "pA", "nA", "uA", "mA", "A", "Hz", "kHz", "MHz", "rpm"}
    | {"s", "ms", "us", "ns", "min", "h", "day", "deg", "rad", "mrad", "percent"}
    | {"g", "mg", "ug", "kg", "L", "mL", "uL", "M", "mM", "uM", "nM", "mg_per_mL"}
)
_SPELLINGS = {"°C": "degC", "℃": "degC", "°F": "degF", "°": "deg", "%": "percent", "µm": "um"}
_OTHER_CASE = {unit.lower(): unit for unit in sorted(COMMON_UNITS)}
_TEMPERATURES = {"C": "degC", "F": "degF"}  # to pint C is the coulomb and F the farad

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


def split_unit(column: str) -> tuple[str, str]:
    """Tag name and unit of a column name; the unit is "" when there is none.

    ``temperature_degC``, ``temperature [degC]`` and ``temperature (degC)`` all give
    ``("temperature", "degC")``.

    Raises
    ------
    InputError
        A known tag is followed by something that is not a unit of its quantity.
    """
    text = column.strip()
    bracket = re.fullmatch(r"(.*\S)\s*[\[(]\s*([^\])]+?)\s*[\])]", text)
    if bracket:
        name, unit = to_name(bracket[1]), _spell(bracket[2])
        if name in CANONICAL_UNITS or unit in COMMON_UNITS:
            _check_unit(name, unit, column)
            return name, unit
        return to_name(text), ""
    for known in sorted(CANONICAL_UNITS, key=len, reverse=True):
        if to_name(text) == known:
            return known, ""
        prefix = f"{known}_"
        if text.lower().replace(" ", "_").startswith(prefix):
            unit = _spell(text[len(prefix) :])
            meant = _OTHER_CASE.get(unit.lower(), "")
            if meant and not fits(known, unit) and fits(known, meant):
                raise InputError(f"'{column}': '{unit}' is not a unit: did you mean '{meant}'?")
            if known == "magnification" or not is_unit(unit):
                break  # such as `temperature_program` or `voltage_source`
            _check_unit(known, unit, column)
            return known, unit
    for unit in sorted(COMMON_UNITS, key=len, reverse=True):
        if text.endswith(f"_{unit}") and len(text) > len(unit) + 1:
            return to_name(text[: -len(unit) - 1]), unit
    return to_name(text), ""


def to_name(text: str) -> str:
    """Lower case with underscores: the form in which a tag becomes a variable of the store."""
    return re.sub(r"\W+", "_", text.strip().lower()).strip("_")


def is_unit(text: str) -> bool:
    """Whether pint knows the unit."""
    if not re.fullmatch(r"[A-Za-zµΩ°][\w°µ/*^ -]*", text) or not is_plain_unit(text):
        return False
    try:
        _registry().Unit(_pint_name(text))
    except _pint_errors():
        return False
    return True


def convert(value: float, *, tag: str, unit: str) -> float:
    """Convert ``value`` [``unit``] to the canonical unit of a known tag; other tags keep theirs.

    Raises
    ------
    InputError
        The unit is not one of the tag's quantity.
    """
    canonical = CANONICAL_UNITS.get(tag)
    if canonical is None or not unit or unit == canonical or not math.isfinite(value):
        return float(value)
    _check_unit(tag, unit, tag)
    if tag == "temperature":
        unit = _TEMPERATURES.get(unit, unit)
    converted = float(_registry().Quantity(value, _pint_name(unit)).to(canonical).magnitude)
    # 300 K must be the same condition as 26.85 degC, not 26.850000000000023.
    return float(f"{converted:.12g}")


def check_possible(value: float, *, tag: str, where: str) -> None:
    """Refuse a value that a known tag cannot have.

    Raises
    ------
    InputError
        Naming the value, the limit and ``where`` it stands.
    """
    if tag not in POSSIBLE or math.isnan(value):
        return
    low, high = POSSIBLE[tag]
    if not low <= value <= high:
        unit = CANONICAL_UNITS[tag].removesuffix("1")
        raise InputError(
            f"{where}: {tag} is {value:g} {unit}".rstrip()
            + f", expected {low:g} to {high:g}: check the number and its unit"
        )


def fits(tag: str, unit: str) -> bool:
    """Whether ``unit`` measures the quantity of a known tag."""
    canonical = CANONICAL_UNITS.get(tag)
    if tag == "temperature":
        unit = _TEMPERATURES.get(unit, unit)
    if canonical is None or not is_unit(unit):
        return False
    registry = _registry()
    same = (
        registry.Unit(_pint_name(unit)).dimensionality
        == registry.Unit("dimensionless" if canonical == "1" else canonical).dimensionality
    )
    return bool(same)


def parse_quantity(text: str) -> tuple[float, str] | None:
    """Number and unit of a cell such as ``22``, ``22 degC`` or ``1.5e3psi``; None if neither."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    return float(match[1]), _spell(match[2])


def _check_unit(tag: str, unit: str, column: str) -> None:
    if tag in CANONICAL_UNITS and not fits(tag, unit):
        raise InputError(
            f"'{column}': '{unit}' is not a unit of {tag}, expected one that converts to "
            f"{CANONICAL_UNITS[tag]}"
        )


def _spell(unit: str) -> str:
    unit = unit.strip()
    return _SPELLINGS.get(unit, unit)


def _pint_name(unit: str) -> str:
    return unit.replace("_per_", "/")


@functools.cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


@functools.cache
def _pint_errors() -> tuple[type[BaseException], ...]:
    import tokenize

    import pint

    # Besides its own errors pint lets through those of parsing what is not an expression.
    return (pint.PintError, AttributeError, ValueError, TypeError, tokenize.TokenError)
