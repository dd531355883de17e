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
from nanoarray.images.scan import ScannedImage
from nanoarray.images.tags import MergedTags

#: Two statements of a pixel size that differ by more are reported.
PIXEL_SIZE_TOLERANCE = 0.02


@dataclass(frozen=True)
class News:
    """What a scan found that the store does not have."""

    added: list[ScannedImage]
    repaired: list[ScannedImage]
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
            if old.sha256 == row.sha256:
                rows[position[row.image]] = replace(old, path=row.path)
            elif old.problem:
                rows[position[row.image]] = row
                news.repaired.append(row)
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
    pixel_size_nm: float | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every one-dimensional variable of the group, and notes on doubtful pixel sizes."""
    old = len(before.get("image", ()))
    fresh = {row.image for row in [*news.added, *news.repaired]}
    columns: dict[str, np.ndarray] = {
        "image": np.array([r.image for r in rows], dtype=object),
        "path": np.array([r.path for r in rows], dtype=object),
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
    warnings = [list(row.warnings) for row in rows]
    sources = _pixel_sizes(rows, merged, fresh, pixel_size_nm, columns, warnings, notes)
    columns["pixel_size_source"] = np.array(sources, dtype=object)
    position = {row.image: i for i, row in enumerate(rows)}
    for disagreement in merged.disagreements:
        i = position[disagreement.image]
        said = ", ".join(f"{source} {value!r}" for source, value in disagreement.values.items())
        text = f"{disagreement.tag} differs: {said}"
        if text not in warnings[i]:
            warnings[i].append(text)
    columns["warning"] = np.array(
        ["; ".join(w.replace("; ", ", ") for w in ws) for ws in warnings], dtype=object
    )
    return columns, notes


def _pixel_sizes(
    rows: Sequence[ScannedImage],
    merged: MergedTags,
    fresh: set[str],
    pixel_size_nm: float | None,
    columns: dict[str, np.ndarray],
    warnings: list[list[str]],
    notes: list[str],
) -> list[str]:
    """Settle every image's pixel size (in ``columns``) and say where it comes from."""
    sizes = columns["pixel_size"]
    sources = []
    for i, row in enumerate(rows):
        given = merged.sources[i].get("pixel_size", "")
        source = row.pixel_size_source if given in ("", "file metadata") else given
        if pixel_size_nm is not None and (row.image in fresh or math.isnan(sizes[i])):
            if abs(sizes[i] / pixel_size_nm - 1) > PIXEL_SIZE_TOLERANCE:
                text = f"pixel size {pixel_size_nm:g} nm given, but {source} says {sizes[i]:g} nm"
                warnings[i].append(text)
                notes.append(f"image '{row.image}': {text}; the given one is used")
            sizes[i], source = pixel_size_nm, "command line"
        elif not math.isnan(sizes[i]) and sizes[i] <= 0:
            raise InputError(
                f"image '{row.image}': pixel size {sizes[i]:g} nm from {source}: expected a "
                "positive number"
            )
        sources.append("" if row.problem and math.isnan(sizes[i]) else source)
    return sources


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
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)


def retagged(before: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> list[str]:
    """Name the images whose tags changed, with the old and the new values."""
    changed: dict[str, list[str]] = {}
    for name, old in before.items():
        if name in ("path", "warning", "metadata", "problem", "ok", "sha256", "height", "width"):
            continue
        for i, value in enumerate(old):
            new = columns[name][i] if name in columns else value
            if not (value == new or (value != value and new != new)):  # NaN equals NaN here
                changed.setdefault(str(columns["image"][i]), []).append(f"{name} {value} -> {new}")
    return [f"{image}: {', '.join(parts)}" for image, parts in changed.items()]
