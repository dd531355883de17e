"""Rows of the group ``images``: what was there, what is new, and their tags as columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nanoarray import schema
from nanoarray.archive import store
from nanoarray.errors import InputError
from nanoarray.images.scan import ScannedImage, as_text
from nanoarray.images.tags import SOURCES, MergedTags

#: Two statements of a pixel size that differ by more are reported.
PIXEL_SIZE_TOLERANCE = 0.02


#: Pixels whose sides differ by more are not square: one length per pixel would be wrong.
SQUARE_TOLERANCE = 0.01
#: Sources of tags that a person wrote, and what the command line is called among sources.
BY_A_PERSON = SOURCES[:2]
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class GivenSize:
    """The pixel size [nm] that the caller gave, None for none, and the images it is for."""

    nm: float | None
    images: frozenset[str]


@dataclass(frozen=True)
class News:
    """What a scan found that the store does not have."""

    added: list[ScannedImage]
    reread: list[ScannedImage]  # unreadable before; readable now, or unreadable otherwise
    duplicates: list[tuple[str, str]]


def existing_rows(url: str) -> dict[str, np.ndarray]:
    """Columns of the finished rows of a store; empty when there is none."""
    if not store.is_store(url):
        store.check_place(url)
        return {}
    store.check_store(url)
    record = store.provenance(url, "images")
    count = int(record.get("rows_complete", 0))
    if not count:
        return {}
    columns = store.read_columns(url, "images", "image")
    return {name: values[:count] for name, values in columns.items()}


def known_content(before: Mapping[str, np.ndarray]) -> dict[str, str]:
    """SHA-256 by id of the images that the store holds readable."""
    if not before:
        return {}
    columns = (before["image"], before["sha256"], before["ok"])
    return {str(image): str(sha) for image, sha, ok in zip(*columns, strict=True) if ok}


def sort_out(
    before: Mapping[str, np.ndarray], scanned: Sequence[ScannedImage]
) -> tuple[list[ScannedImage], News]:
    """All rows the store will have, old ones first, and what is new about them."""
    rows = [_row_of(before, i) for i in range(len(before.get("image", ())))]
    position = {row.image: i for i, row in enumerate(rows)}
    content = {row.sha256: row.image for row in rows if not row.problem}
    news = News([], [], [])
    for row in scanned:
        if row.image in position:
            old = rows[position[row.image]]
            if (old.sha256, old.problem) == (row.sha256, row.problem):
                rows[position[row.image]] = replace(old, path=row.path)
            elif old.problem:
                rows[position[row.image]] = row
                news.reread.append(row)
            elif not row.sha256:
                raise InputError(
                    f"image '{row.image}' could be read when it was ingested, but now {row.path} "
                    f"{row.problem}: restore the file, or leave it out of the sources"
                )
            else:
                raise InputError(
                    f"image '{row.image}' changed since it was ingested ({row.path} has another "
                    "SHA-256): restore the file, give the new one another name, or ingest into "
                    "another store"
                )
        elif not row.problem and row.sha256 in content:
            news.duplicates.append((row.image, content[row.sha256]))
        else:
            if not row.problem:
                content[row.sha256] = row.image
            news.added.append(row)
    return [*rows, *news.added], news


def _row_of(columns: Mapping[str, np.ndarray], i: int) -> ScannedImage:
    return ScannedImage(
        image=str(columns["image"][i]),
        path=str(columns["path"][i]),
        sha256=str(columns["sha256"][i]),
        height=int(columns["height"][i]),
        width=int(columns["width"][i]),
        dtype="",
        bit_depth=int(columns["bit_depth"][i]),
        data_bar=int(columns["data_bar"][i]),
        pixel_size_source=str(columns["pixel_size_source"][i]),
        warnings=tuple(str(columns["warning"][i]).split("; ") if columns["warning"][i] else ()),
        problem=str(columns["problem"][i]),
    )


def check_tags(merged: MergedTags, pattern: str | None, count: int) -> None:
    """Refuse tags of images that do not exist, and a pattern that matches no name."""
    if merged.unknown_images:
        names = ", ".join(f"'{name}'" for name in merged.unknown_images[:3])
        raise InputError(
            f"the tags table has {len(merged.unknown_images)} rows for images that do not exist "
            f"({names}): correct or remove them"
        )
    if pattern is not None and len(merged.pattern_misses) == count:
        raise InputError(
            f"pattern '{pattern}' matches none of {count} image names, such as "
            f"'{merged.pattern_misses[0]}'"
        )


def tag_columns(
    rows: Sequence[ScannedImage],
    merged: MergedTags,
    before: Mapping[str, np.ndarray],
    news: News,
    given: GivenSize,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every one-dimensional variable of the group, and notes on doubtful pixel sizes."""
    old = len(before.get("image", ()))
    fresh = {row.image for row in [*news.added, *news.reread]}
    columns: dict[str, np.ndarray] = {
        "image": np.array([r.image for r in rows], dtype=object),
        "path": np.array([as_text(r.path) for r in rows], dtype=object),
        "sha256": np.array([r.sha256 for r in rows], dtype=object),
        "height": np.array([r.height for r in rows], dtype=np.int32),
        "width": np.array([r.width for r in rows], dtype=np.int32),
        "bit_depth": np.array([r.bit_depth for r in rows], dtype=np.int32),
        "data_bar": np.array([r.data_bar for r in rows], dtype=np.int32),
        "ok": np.array([not r.problem for r in rows], dtype=bool),
        "problem": np.array([r.problem for r in rows], dtype=object),
    }
    names = {
        n for n, v in schema.GROUPS["images"].items() if v.dims == ("image",) and n not in columns
    }
    names -= {"pixel_size_source", "metadata", "warning"}
    names |= {name for tags in merged.tags for name in tags}
    names |= set(before) - set(columns) - {"pixel_size_source", "metadata", "warning"}
    for name in sorted(names):
        values: list[Any] = [tags.get(name) for tags in merged.tags]
        for i in range(old):
            if values[i] is None and rows[i].image not in fresh and name in before:
                values[i] = before[name][i]
        columns[name] = _column(name, values)
    notes: list[str] = []
    warnings: list[list[str]] = [[] for _ in rows]
    for row, texts in zip(rows, warnings, strict=True):
        for text in row.warnings:
            _warn(texts, text)
    sources = _pixel_sizes(rows, merged, given, columns, warnings, notes)
    columns["pixel_size_source"] = np.array(sources, dtype=object)
    position = {row.image: i for i, row in enumerate(rows)}
    for disagreement in merged.disagreements:
        i = position[disagreement.image]
        said = ", ".join(f"{source} {value!r}" for source, value in disagreement.values.items())
        _warn(warnings[i], f"{disagreement.tag} differs: {said}")
    columns["warning"] = np.array(["; ".join(texts) for texts in warnings], dtype=object)
    return columns, notes


def _pixel_sizes(
    rows: Sequence[ScannedImage],
    merged: MergedTags,
    given: GivenSize,
    columns: dict[str, np.ndarray],
    warnings: list[list[str]],
    notes: list[str],
) -> list[str]:
    """Settle every image's pixel size (in ``columns``) and say where it comes from."""
    along_x, along_y = columns["pixel_size"], columns["pixel_size_y"]
    sources = []
    for i, row in enumerate(rows):
        source = row.pixel_size_source
        if merged.sources[i].get("pixel_size") in BY_A_PERSON:
            source = merged.sources[i]["pixel_size"]
            if merged.sources[i].get("pixel_size_y") not in BY_A_PERSON:
                along_y[i] = along_x[i]  # one size is said for both
        x_nm, y_nm = float(along_x[i]), float(along_y[i])
        for name, size_nm in (("pixel_size", x_nm), ("pixel_size_y", y_nm)):
            if size_nm <= 0:
                origin = merged.sources[i].get(name) or source
                raise InputError(
                    f"image '{row.image}': {name} {size_nm:g} nm from {origin}: expected a "
                    "positive number"
                )
        uneven = abs(x_nm / y_nm - 1) > SQUARE_TOLERANCE  # False where one is NaN
        if uneven:
            text = (
                f"pixels are not square ({x_nm:.6g} nm along x, {y_nm:.6g} nm along y), so no "
                "pixel size is used unless one is given"
            )
            _warn(warnings[i], text)
            notes.append(f"image '{row.image}': {text}")
        if given.nm is not None and row.image in given.images:
            corrected = source == COMMAND_LINE
            if abs(x_nm / given.nm - 1) > PIXEL_SIZE_TOLERANCE and not corrected:
                text = f"pixel size {given.nm:.6g} nm given, but {source} says {x_nm:.6g} nm"
                _warn(warnings[i], text)
                notes.append(f"image '{row.image}': {text}; the given one is used")
            along_x[i] = along_y[i] = given.nm
            source = COMMAND_LINE
        elif uneven:
            along_x[i] = math.nan
        sources.append("" if math.isnan(along_x[i]) else source)
    return sources


def _warn(warnings: list[str], text: str) -> None:
    """Add a warning once; "; " separates warnings in the store."""
    text = text.replace("; ", ", ")
    if text not in warnings:
        warnings.append(text)


def _column(name: str, values: list[Any]) -> np.ndarray:
    entry = schema.known("images", name)
    numeric = all(v is None or isinstance(v, int | float | np.number) for v in values)
    if entry is not None and entry.dtype != "str":
        if not numeric:
            bad = next(v for v in values if v is not None and isinstance(v, str))
            raise InputError(f"tag {name} is {bad!r}: expected a number [{entry.units}]")
        return np.array([entry.fill_value if v is None else v for v in values], dtype=entry.dtype)
    if numeric and entry is None:
        return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
    return np.array(["" if v is None else _text(v) for v in values], dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        whole = value.is_integer() and abs(value) < 2**53
        return str(int(value)) if whole else repr(float(value))
    return str(value)


def retagged(before: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> list[str]:
    """Name the images whose tags changed, with the old and the new values."""
    changed: dict[str, list[str]] = {}
    for name, old in before.items():
        if name in ("path", "warning", "metadata", "problem", "ok", "sha256", "height", "width"):
            continue
        for i, value in enumerate(old):
            new = columns[name][i] if name in columns else value
            # NaN equals NaN here, and a number equals its text: a column may become text.
            if value != new and _text(value) != _text(new):
                changed.setdefault(str(columns["image"][i]), []).append(f"{name} {value} -> {new}")
    return [f"{image}: {', '.join(parts)}" for image, parts in changed.items()]
