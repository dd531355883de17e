"""What an ingest would make of files: looked at one by one, nothing is written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nanoarray.errors import ImageError
from nanoarray.images.finding import find_micrographs
from nanoarray.images.formats import Frame, format_of
from nanoarray.images.pattern import Tag, parse_pattern
from nanoarray.images.read import (
    Micrograph,
    frames_of,
    open_source,
    quiet_tifffile,
    read_frame,
    scale_of,
    shared_file_doubts,
)
from nanoarray.images.scale import ScaleReading, ScaleRecord, is_square, not_square_text, settle
from nanoarray.images.tags import merge_tags, read_tags_csv, tags_of_header


@dataclass(frozen=True)
class Inspection:
    """One image as an ingest would take it.

    Attributes
    ----------
    path, frame
        The file, and which of its images; "" where it holds one.
    format
        Name of the format, "" where it is not known.
    height_px, width_px
        Size without the data bar; 0 where the pixels cannot be read.
    data_bar_px
        Rows cut off at the bottom.
    dtype, bit_depth
        Type of the grey levels in the store, bits per sample in the file.
    scale
        The size of a pixel, and everything that was said of it.
    tags
        What the file, its name and the table say, in canonical units.
    by_a_person
        Names of those tags that the table or the name gave.
    metadata
        Everything the file says, by who wrote it.
    warnings
        What is doubtful.
    problem
        Why the image cannot be read; "" where it can.
    """

    path: str
    frame: str = ""
    format: str = ""
    height_px: int = 0
    width_px: int = 0
    data_bar_px: int = -1
    dtype: str = ""
    bit_depth: int = -1
    scale: ScaleRecord = field(default_factory=ScaleRecord)
    tags: Mapping[str, Tag] = field(default_factory=dict)
    by_a_person: frozenset[str] = frozenset()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; unknown numbers are None."""
        size = self.scale
        readings = [
            {
                "kind": r.kind,
                "source": r.name,
                "pixel_size_nm": r.size_nm,
                "pixel_size_y_nm": r.y_nm,
                "value": _known(r.value),
                "unit": r.unit,
                "used": r is size.used,
            }
            for r in size.readings
        ]
        return {
            "path": self.path,
            "frame": self.frame,
            "format": self.format,
            "ok": not self.problem,
            "problem": self.problem,
            "height_px": self.height_px,
            "width_px": self.width_px,
            "data_bar_px": self.data_bar_px,
            "dtype": self.dtype,
            "bit_depth": self.bit_depth,
            "pixel_size_nm": _known(size.size_nm),
            "pixel_size_y_nm": _known(size.size_y_nm),
            "pixel_size_source": size.source,
            "pixel_size_agreement": size.agreement,
            "pixel_size_readings": readings,
            "tags": dict(self.tags),
            "warnings": list(self.warnings),
            "metadata": dict(self.metadata),
        }


def inspect_files(
    sources: Sequence[str | os.PathLike[str]],
    *,
    tags: str | os.PathLike[str] | None = None,
    pattern: str | None = None,
    scale_bar: str = "",
) -> Iterator[Inspection]:
    """Look at every image of files, folders or glob patterns.

    Parameters
    ----------
    sources
        As for `nanoarray.ingest`.
    tags, pattern
        As for `nanoarray.ingest`.
    scale_bar
        "" leaves scale bars alone; otherwise as for `nanoarray.ingest`.

    Yields
    ------
    Inspection
        In the order of the files.

    Raises
    ------
    InputError
        A source does not exist or holds no micrograph, or the table or the pattern is not valid.
    """
    table, units = read_tags_csv(tags) if tags is not None else (None, {})
    for path in find_micrographs(sources):
        merged = merge_tags([path.stem], paths=[path], table=table, table_units=units)
        named = parse_pattern(pattern, path.stem) if pattern else {}
        said = {"tags table": merged.tags[0], "file name": named or {}}
        notes = () if named is not None else ("the name does not match the pattern",)
        for found in _images(path, scale_bar):
            yield _with_tags(found, said, notes)


def _images(path: Path, scale_bar: str) -> Iterator[Inspection]:
    name = os.fspath(path)
    try:
        with quiet_tifffile():
            source = open_source(path)
            kind = format_of(source.start, name).name
            frames = frames_of(source)
    except ImageError as error:
        yield Inspection(name, problem=str(error))
        return
    doubts = tuple(shared_file_doubts(len(frames)))
    for frame in frames:
        found = _look(name, kind, frame, scale_bar)
        yield found if found.problem else replace(found, warnings=(*found.warnings, *doubts))


def _look(path: str, kind: str, frame: Frame, scale_bar: str) -> Inspection:
    header = frame.header
    try:
        with quiet_tifffile():
            image = read_frame(frame, in_bands=True)
            readings, doubts = _burned_in(frame, image, scale_bar)
    except ImageError as error:
        scale, notes = scale_of(header, width_px=frame.shape[1] or header.image_width_px)
        return Inspection(
            path,
            frame.name,
            kind,
            scale=scale,
            tags=tags_of_header(header),
            metadata=header.raw,
            warnings=(*header.warnings, *notes),
            problem=str(error),
        )
    height, width = image.pixels.shape
    return Inspection(
        path,
        frame.name,
        kind,
        height,
        width,
        int(image.metadata["data_bar_px"]),
        str(image.pixels.dtype),
        image.bit_depth,
        settle([*image.scale.readings, *readings], use_scale_bar=scale_bar not in ("", "check")),
        tags_of_header(header),
        metadata=header.raw,
        warnings=(*(w for w in image.warnings if w not in image.scale.warnings), *doubts),
    )


def _burned_in(
    frame: Frame, image: Micrograph, scale_bar: str
) -> tuple[list[ScaleReading], list[str]]:
    if not scale_bar:
        return [], []
    from nanoarray.images.burned_in import burned_in_frame

    return burned_in_frame(frame, int(image.metadata["data_bar_px"]), scale_bar)


def _with_tags(
    found: Inspection, said: Mapping[str, Mapping[str, Tag]], notes: tuple[str, ...]
) -> Inspection:
    tags = dict(found.tags)
    for given in reversed(list(said.values())):
        tags.update({k: v for k, v in given.items() if k not in ("pixel_size", "pixel_size_y")})
    sizes = [
        ScaleReading(kind, size, _number(given.get("pixel_size_y")))
        for kind, given in said.items()
        if math.isfinite(size := _number(given.get("pixel_size")))
    ]
    scale = settle([*sizes, *found.scale.readings], use_scale_bar=_uses_bar(found.scale))
    names = frozenset(name for given in said.values() for name in given)
    values = {**vars(found), "tags": tags, "scale": scale, "by_a_person": names & set(tags)}
    x_nm, y_nm = scale.size_nm, scale.size_y_nm
    uneven = () if is_square(x_nm, y_nm) else (not_square_text(x_nm, y_nm),)
    values["warnings"] = (*found.warnings, *scale.warnings, *uneven, *notes)
    return Inspection(**values)


def _uses_bar(scale: ScaleRecord) -> bool:
    return scale.used is not None and scale.used.kind == "scale bar"


def _number(value: Tag | None) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
