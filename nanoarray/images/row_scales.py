"""The pixel size of every row of ``images``, settled from all that was said about it.

Statements stay: what a person said in an earlier ingest holds until the same kind of source says
something else, and so does a correction that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nanoarray.errors import InputError
from nanoarray.images.geometry import Stretch, tilt_factor
from nanoarray.images.scale import (
    BY_A_PERSON,
    NOT_SQUARE_TEXT,
    SCALE_BAR,
    TRUST,
    ScaleReading,
    ScaleRecord,
    is_square,
    not_square_text,
    readings_from_json,
    settle,
)
from nanoarray.images.scan import ScannedImage
from nanoarray.images.tags import MergedTags

COMMAND_LINE = TRUST[0]
#: Warnings about a scale begin so; those of an earlier ingest give way to those of this one.
ABOUT_SCALE = ("pixel size differs", NOT_SQUARE_TEXT, "tilt not corrected")
#: Columns that this module settles.
COLUMNS = (
    *("pixel_size", "pixel_size_y", "pixel_size_source", "pixel_size_agreement"),
    *("pixel_size_record", "stretch_x", "stretch_y", "tilt_correction", "height", "width"),
)


@dataclass(frozen=True)
class ScaleOptions:
    """What the caller of an ingest says about scales.

    Attributes
    ----------
    pixel_size_nm
        A size for every image of the call; None for none.
    tilt_correction
        "surface", "cross-section" or "none"; None keeps what was asked for before.
    square_pixels
        Whether pixels that are not square are resampled; None keeps what was asked for before.
    use_scale_bar
        Whether a burned-in scale bar may be used where nothing else is known.
    images
        The images of the call.
    """

    pixel_size_nm: float | None = None
    tilt_correction: str | None = None
    square_pixels: bool | None = None
    use_scale_bar: bool = False
    images: frozenset[str] = frozenset()


def settle_scales(
    rows: Sequence[ScannedImage],
    merged: MergedTags,
    before: Mapping[str, np.ndarray],
    columns: dict[str, np.ndarray],
    options: ScaleOptions,
    warnings: Sequence[list[str]],
    fresh: set[str],
) -> list[str]:
    """Fill the columns of the scale of every row.

    Parameters
    ----------
    rows, merged, before
        What was scanned, the tags of each row, and the columns that the store has.
    columns
        Gets the columns named in `COLUMNS`; ``tilt``, ``scan_rotation`` and ``tilt_corrected`` are
        read.
    options
        Of this call.
    warnings
        Per row; gets what is doubtful.
    fresh
        Ids of the rows that were not in the store, or not readable.

    Returns
    -------
    list of str
        Notes for the report: what is doubtful and was not reported before.

    Raises
    ------
    InputError
        A person's size is not a positive number.
    """
    notes: list[str] = []
    settled: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for i, row in enumerate(rows):
        old = _before(before, i) if row.image not in fresh else {}
        mine = row.image in options.images
        record = _record(row, merged.said[i], old, options if mine else ScaleOptions())
        asked = _asked(old, options if mine else ScaleOptions())
        stretch, size_nm, said = _geometry(record, row, columns, i, asked)
        texts = [*record.warnings, *said]
        changed = record.to_json() != old.get("pixel_size_record", "")
        notes += [f"image '{row.image}': {text}" for text in texts if changed]
        warnings[i][:] = [t for t in warnings[i] if not t.startswith(ABOUT_SCALE)] + texts
        rows_px, columns_px = _file_size(row, old)
        y_nm = size_nm if stretch != Stretch() else record.size_y_nm
        values = {
            "pixel_size": size_nm,
            "pixel_size_y": y_nm,
            "pixel_size_source": record.source if math.isfinite(size_nm) else "",
            "pixel_size_agreement": record.agreement,
            "pixel_size_record": record.to_json(),
            "stretch_x": stretch.x,
            "stretch_y": stretch.y,
            "tilt_correction": asked[0],
            "height": stretch.rows(rows_px),
            "width": stretch.columns(columns_px),
        }
        for name, value in values.items():
            settled[name].append(value)
    kinds = {"height": np.int32, "width": np.int32}
    for name, column in settled.items():
        text = isinstance(column[0], str) if column else False
        columns[name] = np.array(column, dtype=object if text else kinds.get(name, np.float64))
    return notes


def _before(before: Mapping[str, np.ndarray], i: int) -> dict[str, object]:
    """What the store says of row ``i``; of stores that were made before there were records too."""
    if i >= len(before.get("image", ())):
        return {}
    return {name: before[name][i] for name in (*COLUMNS, "image") if name in before}


def _record(
    row: ScannedImage,
    said: Mapping[str, tuple[float, float]],
    old: Mapping[str, object],
    options: ScaleOptions,
) -> ScaleRecord:
    stored = readings_from_json(str(old.get("pixel_size_record", "")))
    source, old_nm = str(old.get("pixel_size_source", "")), float(str(old.get("pixel_size", "nan")))
    if not stored and source and math.isfinite(old_nm):
        kind = source if source in BY_A_PERSON else "vendor tag"
        stored = (ScaleReading(kind, old_nm, source=source),)
    new = [*row.readings, *_of_a_person(row.image, said)]
    if options.pixel_size_nm is not None:
        new.append(ScaleReading(COMMAND_LINE, options.pixel_size_nm))
    replaced = {reading.kind for reading in new}
    if replaced.intersection(BY_A_PERSON):
        replaced.update(BY_A_PERSON)  # a person's last word replaces the earlier ones
    kept = [reading for reading in stored if reading.kind not in replaced]
    # A bar that was allowed once stays allowed.
    bar = options.use_scale_bar or any(r.kind == SCALE_BAR and r.name == source for r in kept)
    return settle([*kept, *new], use_scale_bar=bar)


def _of_a_person(image: str, said: Mapping[str, tuple[float, float]]) -> list[ScaleReading]:
    readings = []
    for kind, (size_nm, size_y_nm) in said.items():
        for name, value in (("pixel_size", size_nm), ("pixel_size_y", size_y_nm)):
            if value <= 0:
                raise InputError(
                    f"image '{image}': {name} {value:g} nm from {kind}: expected a positive number"
                )
        if math.isfinite(size_nm):
            readings.append(ScaleReading(kind, size_nm, size_y_nm))
    return readings


def _asked(old: Mapping[str, object], options: ScaleOptions) -> tuple[str, bool]:
    """The correction of tilt, and whether pixels are made square, now or in an earlier ingest."""
    tilt = options.tilt_correction
    if tilt is None:
        tilt = str(old.get("tilt_correction", ""))
    square = options.square_pixels
    if square is None:
        stretches = (float(str(old.get(name, 1.0))) for name in ("stretch_x", "stretch_y"))
        square = any(stretch != 1 for stretch in stretches)
    return ("" if tilt == "none" else tilt), square


def _geometry(
    record: ScaleRecord,
    row: ScannedImage,
    columns: Mapping[str, np.ndarray],
    i: int,
    asked: tuple[str, bool],
) -> tuple[Stretch, float, list[str]]:
    """How the pixels are stretched, the length of one afterwards [nm], and what is doubtful."""
    kind, square = asked
    x_nm, y_nm = record.size_nm, record.size_y_nm
    said: list[str] = []
    factor = 1.0
    if kind and not row.problem:
        factor, reason = tilt_factor(
            kind,
            tilt_deg=float(columns["tilt"][i]),
            scan_rotation_deg=float(columns["scan_rotation"][i]),
            by_microscope=str(columns["tilt_corrected"][i]) == "yes",
        )
        said += [f"tilt not corrected: {reason}"] if reason else []
    ratio = (y_nm / x_nm if math.isfinite(y_nm / x_nm) else 1.0) * factor
    if is_square(1, ratio):
        return Stretch(), x_nm, said
    if square or factor != 1:
        stretch = Stretch(y=ratio) if ratio > 1 else Stretch(x=1 / ratio)
        return stretch, x_nm / stretch.x, said
    said.append(not_square_text(x_nm, y_nm))
    return Stretch(), math.nan, said


def _file_size(row: ScannedImage, old: Mapping[str, object]) -> tuple[int, int]:
    """Rows and columns of the image in its file, without the data bar."""
    if row.dtype or not old:
        return row.height, row.width
    x, y = (float(str(old.get(name, 1.0))) for name in ("stretch_x", "stretch_y"))
    return round(row.height / y), round(row.width / x)
