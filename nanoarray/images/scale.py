"""The pixel size of an image: everything that states one, which is used, and whether they agree.

A `ScaleReading` is one statement of one source. `settle` puts the readings of an image in order of
trust and gives a `ScaleRecord`: the size that is used, and a warning where sources differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Kinds of sources, the most trusted first. What a person states for this purpose is used before
#: what a machine wrote; of the machine's, the microscope's own record before what programs after it
#: wrote, and measured numbers before those read off a picture.
TRUST = (
    "command line",
    "tags table",
    "file name",
    "vendor tag",
    "OME",
    "ImageJ",
    "resolution tag",
    "field width",  # the width of the field over the pixels of a row
    "scale bar",  # burned into the pixels; a cross-check unless the user allows its use
)
BY_A_PERSON = TRUST[:3]
SCALE_BAR = TRUST[-1]
#: Statements of one size that differ by more are reported.
DISAGREEMENT = 0.02
#: Pixels whose sides differ by more are not square: one length per pixel would be wrong.
NOT_SQUARE = 0.01
NOT_SQUARE_TEXT = "pixels are not square"
#: Nanometres per unit, as the sources write their units.
NM_PER_UNIT = {
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("in", "inch"), 25.4e6),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e3),
    "ƒêm": 1e3,  # μm in Shift JIS, as JEOL writes it, taken for the Windows code page
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1.0),
    **dict.fromkeys(("å", "angstrom", "a"), 0.1),
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-3),
    **dict.fromkeys(("fm", "femtometer", "femtometre"), 1e-6),
}
# Outside these a "pixel size" is a corrupt field, not a microscope: 1 fm to 1 cm per pixel.
SMALLEST_NM, LARGEST_NM = 1e-6, 1e7


@dataclass(frozen=True)
class ScaleReading:
    """What one source says of the size of a pixel.

    Attributes
    ----------
    kind
        One of `TRUST`.
    size_nm, size_y_nm
        Length of a pixel along x and y [nm]; along y NaN where the source states one length.
    source
        Exactly who says so, such as "FEI tag" or "scale bar of 200 nm over 80 px"; it becomes
        ``pixel_size_source``.
    value, unit
        The length along x as the source writes it.
    """

    kind: str
    size_nm: float
    size_y_nm: float = math.nan
    source: str = ""
    value: float = math.nan
    unit: str = ""

    def __post_init__(self) -> None:
        if self.kind not in TRUST:
            raise ValueError(f"{self.kind!r} is no kind of source: {', '.join(TRUST)}")

    @property
    def name(self) -> str:
        """The source as people read it."""
        return self.source or self.kind

    @property
    def y_nm(self) -> float:
        """Length along y [nm], the one along x where the source states only that."""
        return self.size_y_nm if math.isfinite(self.size_y_nm) else self.size_nm


@dataclass(frozen=True)
class ScaleRecord:
    """The readings of an image in order of trust, and what follows from them.

    Attributes
    ----------
    readings
        Every statement, the most trusted first.
    used
        The one whose size is used; None where there is none to use.
    warnings
        What a person should know, such as sources that differ.
    """

    readings: tuple[ScaleReading, ...] = ()
    used: ScaleReading | None = None
    warnings: tuple[str, ...] = ()

    @property
    def size_nm(self) -> float:
        """Length of a pixel along x [nm]; NaN where unknown."""
        return self.used.size_nm if self.used else math.nan

    @property
    def size_y_nm(self) -> float:
        """Length of a pixel along y [nm]; NaN where unknown."""
        return self.used.y_nm if self.used else math.nan

    @property
    def source(self) -> str:
        """Where the used size comes from; "" where there is none."""
        return self.used.name if self.used else ""

    @property
    def agreement(self) -> str:
        """Say whether the sources agree: "agree", "differ", "one source", or "" without any."""
        if len(self.readings) < 2:
            return "one source" if self.readings else ""
        return "differ" if _differing(self.readings) else "agree"

    def to_json(self) -> str:
        """The readings as JSON, in order of trust; "" where there are none."""
        if not self.readings:
            return ""
        rows = [
            {
                "kind": r.kind,
                "source": r.name,
                "nm": r.size_nm,
                "nm_y": r.y_nm,
                "value": r.value if math.isfinite(r.value) else r.size_nm,
                "unit": r.unit or "nm",
                "used": r is self.used,
            }
            for r in self.readings
        ]
        return json.dumps(rows, ensure_ascii=False)


def readings_from_json(text: str) -> tuple[ScaleReading, ...]:
    """Readings as `ScaleRecord.to_json` wrote them; none where the text is no such record."""
    try:
        rows = json.loads(text) if text else []
        return tuple(
            ScaleReading(
                str(row["kind"]),
                float(row["nm"]),
                float(row["nm_y"]),
                str(row["source"]),
                float(row["value"]),
                str(row["unit"]),
            )
            for row in rows
        )
    except (ValueError, TypeError, KeyError):
        return ()


def reading(
    kind: str, *, value: float, unit: str, source: str, value_y: float = math.nan
) -> ScaleReading | None:
    """Make a reading from a length in a source's unit; None where it cannot be a pixel's.

    Parameters
    ----------
    kind
        One of `TRUST`.
    value, value_y
        Length of a pixel along x and y; along y NaN where the source states one length.
    unit
        Unit of both, in any spelling of `NM_PER_UNIT`.
    source
        Exactly who says so.
    """
    factor = nm_per_unit(unit)
    size_nm, size_y_nm = value * factor, value_y * factor
    if not is_possible(size_nm):
        return None
    if not is_possible(size_y_nm):
        size_y_nm = math.nan
    return ScaleReading(kind, size_nm, size_y_nm, source, value, unit)


def is_possible(size_nm: float) -> bool:
    """Whether a pixel can be so long: otherwise the number is damaged, or of another quantity."""
    return SMALLEST_NM <= size_nm <= LARGEST_NM


def nm_per_unit(unit: str) -> float:
    """Nanometres per unit of length; NaN for what is no length, such as "pixel"."""
    return NM_PER_UNIT.get(unit.strip().strip("\0").lower(), math.nan)


def settle(readings: Iterable[ScaleReading], *, use_scale_bar: bool = False) -> ScaleRecord:
    """Decide which reading is used, and say where the sources differ.

    Parameters
    ----------
    readings
        Every statement about one image, in any order.
    use_scale_bar
        Whether a burned-in scale bar may be used where nothing else is known. Otherwise it is a
        cross-check.
    """
    ordered = tuple(sorted(readings, key=lambda r: TRUST.index(r.kind)))
    usable = [r for r in ordered if r.kind != SCALE_BAR or use_scale_bar]
    used = usable[0] if usable else None
    warnings = []
    if _differing(ordered):
        texts = [
            f"{r.name} {size_text(r.size_nm, r.y_nm)}{' (used)' * (r is used)}" for r in ordered
        ]
        warnings.append(f"pixel size differs: {', '.join(texts)}")
    return ScaleRecord(ordered, used, tuple(warnings))


def _differing(readings: tuple[ScaleReading, ...]) -> bool:
    """Whether a reading is further than `DISAGREEMENT` from the most trusted one."""
    return any(
        abs(r.size_nm / readings[0].size_nm - 1) > DISAGREEMENT
        or abs(r.size_y_nm / readings[0].size_y_nm - 1) > DISAGREEMENT  # not where one is NaN
        for r in readings[1:]
    )


def size_text(x_nm: float, y_nm: float) -> str:
    """The size of a pixel for people: one length where it is square."""
    return f"{x_nm:.6g}{'' if is_square(x_nm, y_nm) else f' x {y_nm:.6g}'} nm"


def is_square(x_nm: float, y_nm: float) -> bool:
    """Whether one length says enough of a pixel."""
    return not abs(y_nm / x_nm - 1) > NOT_SQUARE


def not_square_text(x_nm: float, y_nm: float) -> str:
    """What to say of an image whose pixels are not square, and are not made so."""
    return (
        f"{NOT_SQUARE_TEXT} ({x_nm:.6g} nm along x, {y_nm:.6g} nm along y), so no "
        "pixel size is used unless one is given, or --square-pixels"
    )
