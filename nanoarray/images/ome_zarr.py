"""OME-Zarr in: the finest level of each image of a folder, with its physical scale."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from nanoarray.errors import ImageError
from nanoarray.images.formats import MAX_FRAMES, MAX_PIXEL_BYTES, Format, Frame, Samples
from nanoarray.images.header import Header, number
from nanoarray.images.scale import ScaleReading, nm_per_unit
from nanoarray.images.source import Source

__all__ = ["OME_ZARR_FORMAT"]

#: Files that say that a folder is a group of Zarr, of versions 2 and 3.
_GROUP_FILES = (".zattrs", "zarr.json")
_LARGEST_ATTRIBUTES = 2**22
_PLAIN_CODECS = frozenset(
    "blosc bytes bz2 crc32c delta gzip lz4 lzma".split()
    + "shuffle sharding_indexed transpose zlib zstd".split()
)


def _recognizes(start: bytes, path: str) -> bool:
    """Whether a folder holds an OME-Zarr image; a nanoarray store, also Zarr, is none."""
    if start or not path.lower().rstrip("/").endswith(".zarr") or not os.path.isdir(path):
        return False
    for name in _GROUP_FILES:
        try:
            with open(os.path.join(path, name), "rb") as file:
                if b'"multiscales"' in file.read(_LARGEST_ATTRIBUTES):
                    return True
        except OSError:
            continue
    return False


def _frames(source: Source) -> list[Frame]:
    import zarr

    if _leaves(source.path):
        raise ImageError("holds links that lead out of its folder, which are not followed")
    group = zarr.open_group(source.path, mode="r")
    attributes = group.attrs.asdict()
    attributes = attributes.get("ome", attributes)
    scales = attributes.get("multiscales") if isinstance(attributes, dict) else None
    if not isinstance(scales, list) or not scales or not isinstance(scales[0], dict):
        raise ImageError("has no list of multiscales, which OME-Zarr demands")
    entry = scales[0]
    axes, levels = entry.get("axes"), entry.get("datasets")
    if not isinstance(levels, list) or not levels or not isinstance(levels[0], dict):
        raise ImageError("lists no resolution level")
    path = str(levels[0].get("path", ""))
    if path.startswith("/") or ".." in path.split("/"):
        raise ImageError(f"its level {path!r} lies outside of the image")
    _check_plain(os.path.join(source.path, path))
    array = group.get(path)
    if not isinstance(array, zarr.Array):
        raise ImageError(f"its level {path!r} is not there")
    named = _axes(axes, array.ndim)
    names = [name for name, _ in named]
    if names[-2:] != ["y", "x"]:
        raise ImageError(f"has axes {names}, expected y and x last")
    height, width = array.shape[-2:]
    if height * width * array.dtype.itemsize > MAX_PIXEL_BYTES:
        raise ImageError(f"declares {width} x {height} px, more than one micrograph may have")
    count = math.prod(array.shape[:-2])
    if not 0 < count <= MAX_FRAMES or min(height, width) < 1:
        raise ImageError(f"holds {count} images of {width} x {height} px, at most {MAX_FRAMES}")
    header = Header(_readings(levels[0], entry, [unit for _, unit in named]))
    return [
        Frame(
            _name(names, index, array.shape),
            header,
            _decoder(array, index),
            (height, width),
            array.dtype.name,
        )
        for index in itertools.product(*(range(n) for n in array.shape[:-2]))
    ]


def _check_plain(folder: str) -> None:
    """Refuse an array whose codecs do more than compress, or whose chunks fill the memory.

    Zarr knows codecs that unpickle, which runs what a stranger wrote.
    """
    found = None
    for name in (".zarray", "zarr.json"):
        file = os.path.join(folder, name)
        if os.path.isfile(file):
            with open(file, "rb") as content:
                found = json.loads(content.read(_LARGEST_ATTRIBUTES))
            break
    if not isinstance(found, dict):
        raise ImageError("its finest level is no array of Zarr")
    codecs = [found.get("compressor"), *(found.get("filters") or []), *(found.get("codecs") or [])]
    while codecs:
        codec = codecs.pop()
        if codec is None:
            continue
        kind = codec.get("id", codec.get("name")) if isinstance(codec, dict) else codec
        if kind not in _PLAIN_CODECS:
            raise ImageError(f"has the codec {kind!r}, which is not one of plain compression")
        inner = codec.get("configuration", {}) if isinstance(codec, dict) else {}
        codecs += [*(inner.get("codecs") or []), *(inner.get("index_codecs") or [])]
    grid = found.get("chunks")
    if grid is None:
        grid = found.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
    sides = [n for n in grid if isinstance(n, int) and n > 0] if isinstance(grid, list) else []
    if not sides or len(sides) != len(grid) or math.prod(sides) > MAX_PIXEL_BYTES // 8:
        raise ImageError(f"declares chunks of {grid}, more than one micrograph may have")


def _decoder(array: Any, index: tuple[int, ...]) -> Callable[[], Samples]:
    def decode() -> Samples:
        values = np.asarray(array[index])
        return Samples(values, 8 * values.dtype.itemsize)

    return decode


def _axes(axes: Any, ndim: int) -> list[tuple[str, str]]:
    """Name and unit of every axis; before version 0.4 they are always t, c, z, y, x."""
    if not isinstance(axes, list) or len(axes) != ndim:
        return [(name, "") for name in "tczyx"[-ndim:]] if 2 <= ndim <= 5 else []
    return [
        (str(a.get("name", "")), str(a.get("unit", ""))) if isinstance(a, dict) else (str(a), "")
        for a in axes
    ]


def _name(names: list[str], index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Such as "z3.c1": the axes that have more than one position, counted from 1."""
    return ".".join(
        f"{name}{k + 1}" for name, k, n in zip(names, index, shape, strict=False) if n > 1
    )


def _readings(
    level: dict[str, Any], entry: dict[str, Any], units: list[str]
) -> tuple[ScaleReading, ...]:
    """The scale along x and y; what holds for all levels multiplies that of the level."""
    factors = np.ones(len(units))
    for holder in (level, entry):
        transforms = holder.get("coordinateTransformations")
        for transform in transforms if isinstance(transforms, list) else []:
            scale = transform.get("scale") if isinstance(transform, dict) else None
            if isinstance(scale, list) and len(scale) == len(units):
                factors = factors * [number(value) for value in scale]
    nm = [nm_per_unit(unit) for unit in units]
    y, x = (float(abs(factors[k]) * nm[k]) for k in (-2, -1))
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        return ()
    return (ScaleReading("OME", x, y, "OME-Zarr scale", float(factors[-1]), units[-1]),)


def _leaves(folder: str) -> bool:
    """Whether a link in a folder leads out of it."""
    inside = os.path.realpath(folder) + os.sep
    return any(
        not os.path.realpath(os.path.join(root, name)).startswith(inside)
        for root, folders, names in os.walk(folder)
        for name in [*folders, *names]
        if os.path.islink(os.path.join(root, name))
    )


OME_ZARR_FORMAT = Format("OME-Zarr", (".zarr",), _recognizes, _frames, by_path=True, is_folder=True)
