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
from nanoarray.images.row_scales import COLUMNS as SCALE_COLUMNS
from nanoarray.images.row_scales import ScaleOptions, settle_scales
from nanoarray.images.scan import KnownFile, ScannedImage, as_text
from nanoarray.images.tags import MergedTags


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


def has_pixels(url: str) -> bool:
    """Whether pixels are in the store already, as an interrupted ingest leaves them too."""
    if not store.is_store(url) or not store.provenance(url, "images"):
        return False
    return bool(store.block_keys(url, "images").any())


def known_content(before: Mapping[str, np.ndarray]) -> dict[str, KnownFile]:
    """The files whose images the store holds readable, by the id of the file."""
    if not before:
        return {}
    frames = before.get("frame", np.full(len(before["image"]), "", dtype=object))
    known: dict[str, KnownFile] = {}
    bad: set[str] = set()
    columns = (before["image"], before["sha256"], before["ok"], frames)
    for image, sha, ok, frame in zip(*columns, strict=True):
        file_id = str(image).removesuffix(f"#{frame}") if frame else str(image)
        others = known[file_id].frames if file_id in known else ()
        known[file_id] = KnownFile(str(sha), (*others, str(frame)))
        bad.update([] if ok else [file_id])
    return {file_id: file for file_id, file in known.items() if file_id not in bad}


def sort_out(
    before: Mapping[str, np.ndarray], scanned: Sequence[ScannedImage]
) -> tuple[list[ScannedImage], News]:
    """All rows the store will have, old ones first, and what is new about them."""
    rows = [_row_of(before, i) for i in range(len(before.get("image", ())))]
    position = {row.image: i for i, row in enumerate(rows)}
    content = {row.content: row.image for row in rows if not row.problem}
    news = News([], [], [])
    for row in scanned:
        if row.image in position:
            old = rows[position[row.image]]
            if (old.sha256, old.problem) == (row.sha256, row.problem):
                # Readings and warnings are of scale bars, where those were asked for.
                warnings = (*old.warnings, *row.warnings)
                rows[position[row.image]] = replace(
                    old, path=row.path, readings=row.readings, warnings=warnings
                )
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
        elif not row.problem and row.content in content:
            news.duplicates.append((row.image, content[row.content]))
        else:
            if not row.problem:
                content[row.content] = row.image
            news.added.append(row)
    return [*rows, *news.added], news


def settled_news(
    rows: Sequence[ScannedImage], news: News, before: Mapping[str, np.ndarray]
) -> News:
    """The news as it turned out when the images were decoded.

    An image that is unreadable for the same reason as before is none.
    """
    final = {row.image: row for row in rows}
    old = dict(zip(before.get("image", ()), before.get("problem", ()), strict=True))
    reread = [final[row.image] for row in news.reread]
    return News(
        [final[row.image] for row in news.added],
        [row for row in reread if row.problem != old[row.image]],
        news.duplicates,
    )


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
        frame=str(columns["frame"][i]) if "frame" in columns else "",
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
    options: ScaleOptions,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every one-dimensional variable of the group, and notes on doubtful pixel sizes."""
    old = len(before.get("image", ()))
    fresh = {row.image for row in [*news.added, *news.reread]}
    columns: dict[str, np.ndarray] = {
        "image": np.array([r.image for r in rows], dtype=object),
        "path": np.array([as_text(r.path) for r in rows], dtype=object),
        "sha256": np.array([r.sha256 for r in rows], dtype=object),
        "frame": np.array([r.frame for r in rows], dtype=object),
        "bit_depth": np.array([r.bit_depth for r in rows], dtype=np.int32),
        "data_bar": np.array([r.data_bar for r in rows], dtype=np.int32),
        "ok": np.array([not r.problem for r in rows], dtype=bool),
        "problem": np.array([r.problem for r in rows], dtype=object),
    }
    names = {
        n for n, v in schema.GROUPS["images"].items() if v.dims == ("image",) and n not in columns
    }
    names |= {name for tags in merged.tags for name in tags} | (set(before) - set(columns))
    names -= {*SCALE_COLUMNS, "metadata", "warning"}
    for name in sorted(names):
        values: list[Any] = [tags.get(name) for tags in merged.tags]
        for i in range(old):
            if values[i] is None and rows[i].image not in fresh and name in before:
                values[i] = before[name][i]
        columns[name] = _column(name, values)
    warnings: list[list[str]] = [[] for _ in rows]
    for row, texts in zip(rows, warnings, strict=True):
        for text in row.warnings:
            _warn(texts, text)
    notes = settle_scales(rows, merged, before, columns, options, warnings, fresh)
    position = {row.image: i for i, row in enumerate(rows)}
    for disagreement in merged.disagreements:
        i = position[disagreement.image]
        said = ", ".join(f"{source} {value!r}" for source, value in disagreement.values.items())
        _warn(warnings[i], f"{disagreement.tag} differs: {said}")
    columns["warning"] = np.array(["; ".join(texts) for texts in warnings], dtype=object)
    return columns, notes


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
        fill = entry.fill_value
        return np.array([fill if v is None else v for v in values], dtype=entry.dtype)
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


_NOT_TAGS = frozenset(
    "path warning metadata problem ok sha256 frame height width pixel_size_record "
    "pixel_size_agreement stretch_x stretch_y".split()
)


def retagged(before: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> list[str]:
    """Name the images whose tags changed, with the old and the new values."""
    changed: dict[str, list[str]] = {}
    for name, old in before.items():
        if name in _NOT_TAGS:
            continue
        for i, value in enumerate(old):
            new = columns[name][i] if name in columns else value
            # NaN equals NaN here, and a number equals its text: a column may become text.
            if value != new and _text(value) != _text(new):
                changed.setdefault(str(columns["image"][i]), []).append(f"{name} {value} -> {new}")
    return [f"{image}: {', '.join(parts)}" for image, parts in changed.items()]
