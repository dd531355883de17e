"""OME-Zarr in: the finest level of each image of a folder, with its physical scale."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError
from nanoarray.images.formats import (
    MAX_FRAMES,
    MAX_PIXEL_BYTES,
    Format,
    Frame,
    Samples,
    refused,
)
from nanoarray.images.header import Header, number
from nanoarray.images.scale import ScaleReading, is_possible, nm_per_unit
from nanoarray.images.source import Source
from nanoarray.images.zarr_array import (
    ZarrArray,
    files_below,
    group_mentions,
    open_array,
    read_document,
)

__all__ = ["OME_ZARR_FORMAT", "read_zarr_labels"]

#: How bioformats2raw marks a folder that holds one image or more, each in a folder of its own.
_SERIES = "bioformats2raw.layout"
#: An array up to this size may be of fill values alone; of a larger one, a byte that is stored may
#: stand for so many.
HARMLESS_BYTES = 2**26
MAX_COMPRESSION_RATIO = 1100


def _recognizes(start: bytes, path: str) -> bool:
    """Whether a folder holds an OME-Zarr image; a nanoarray store, also Zarr, is none."""
    if start or not path.lower().rstrip("/").endswith(".zarr") or not os.path.isdir(path):
        return False
    return group_mentions(path, b'"multiscales"', f'"{_SERIES}"'.encode())


def _frames(source: Source) -> list[Frame]:
    files_below(source.path)
    attributes = _attributes(source.path)
    if _SERIES not in attributes:
        return _frames_of(source.path, attributes)
    frames: list[Frame] = []
    folders = _series(source.path)
    for k, folder in enumerate(folders, start=1):
        name = str(k) if len(folders) > 1 else ""
        try:
            own = _frames_of(folder, _attributes(folder))
        except ImageError as error:
            own = [refused("", str(error))]
        frames += [replace(f, name=".".join(filter(None, (name, f.name)))) for f in own]
        if len(frames) > MAX_FRAMES:
            raise ImageError(f"holds more than {MAX_FRAMES} images: split it")
    return frames


def _series(folder: str) -> list[str]:
    """The folders of the images, as ``OME`` lists them, otherwise those numbered from 0."""
    listed = _attributes(os.path.join(folder, "OME")).get("series")
    if isinstance(listed, list):
        names = [str(name) for name in listed]
    else:
        numbers = map(str, itertools.count())
        names = list(itertools.takewhile(lambda n: os.path.isdir(os.path.join(folder, n)), numbers))
    if not 0 < len(names) <= MAX_FRAMES:
        raise ImageError(f"lists {len(names)} images, expected 1 to {MAX_FRAMES}")
    return [_below(folder, name) for name in names]


def _frames_of(folder: str, attributes: dict[str, Any]) -> list[Frame]:
    entry, level, array = _finest(folder, attributes)
    named = _axes(entry.get("axes"), len(array.shape))
    names = [name for name, _ in named]
    if names[-2:] != ["y", "x"]:
        raise ImageError(f"has axes {names}, expected y and x last")
    height, width = array.shape[-2:]
    if height * width * array.dtype.itemsize > MAX_PIXEL_BYTES:
        raise ImageError(f"declares {width} x {height} px, more than one micrograph may have")
    count = math.prod(array.shape[:-2])
    if not 0 < count <= MAX_FRAMES or min(height, width) < 1:
        raise ImageError(f"holds {count} images of {width} x {height} px, at most {MAX_FRAMES}")
    array.check_credible(harmless_bytes=HARMLESS_BYTES, most_ratio=MAX_COMPRESSION_RATIO)
    header = Header(_readings(level, entry, [unit for _, unit in named]))
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


def read_zarr_labels(source: Source, *, prefer: str = "") -> NDArray[Any]:
    """The label image in an OME-Zarr: itself, or the one of those under ``labels``.

    Parameters
    ----------
    source
        The folder: an image with label images, or a label image.
    prefer
        Which of several is meant.

    Returns
    -------
    ndarray
        ``(height, width)``, the finest level as it is stored.

    Raises
    ------
    ImageError
        It holds no label image, several of which none is preferred, or one of more dimensions.
    """
    if not os.path.isdir(source.path):
        raise ImageError("is no folder, as Zarr is")
    files_below(source.path)
    place, attributes = source.path, _attributes(source.path)
    if "image-label" not in attributes:
        place = os.path.join(place, "labels")
        listed = _attributes(place).get("labels") if os.path.isdir(place) else None
        names = [n for n in listed if isinstance(n, str)] if isinstance(listed, list) else []
        chosen = [prefer] if prefer in names else names
        if len(chosen) != 1:
            raise ImageError(f"holds the label images {names}: expected one, or {prefer!r}")
        place = _below(place, chosen[0])
        attributes = _attributes(place)
    _, _, array = _finest(place, attributes)
    if any(n != 1 for n in array.shape[:-2]):
        raise ImageError(f"has the shape {array.shape}, expected one label image")
    if math.prod(array.shape) * array.dtype.itemsize > MAX_PIXEL_BYTES:
        raise ImageError(f"declares {array.shape} labels, more than one micrograph may have")
    array.check_credible(harmless_bytes=HARMLESS_BYTES, most_ratio=MAX_COMPRESSION_RATIO)
    return array.plane((0,) * (len(array.shape) - 2))


def _attributes(folder: str) -> dict[str, Any]:
    """Attributes of a group: those of OME where they stand by themselves, as from version 0.5."""
    found = read_document(os.path.join(folder, "zarr.json"))
    attributes = read_document(os.path.join(folder, ".zattrs"))
    if found is not None and attributes is not None:
        raise ImageError("has metadata of Zarr 2 and of Zarr 3: which of them holds is not known")
    if found is not None:
        attributes = found.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    own = attributes.get("ome")
    return own if isinstance(own, dict) else attributes


def _finest(
    folder: str, attributes: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], ZarrArray]:
    """The first image that a group lists, its finest level, and the array of that."""
    scales = attributes.get("multiscales")
    if not isinstance(scales, list) or not scales or not isinstance(scales[0], dict):
        raise ImageError("has no list of multiscales, which OME-Zarr demands")
    levels = scales[0].get("datasets")
    if not isinstance(levels, list) or not levels or not isinstance(levels[0], dict):
        raise ImageError("lists no resolution level")
    return scales[0], levels[0], open_array(_below(folder, str(levels[0].get("path", ""))))


def _below(folder: str, path: str) -> str:
    """A place inside of a folder."""
    if not path or "\0" in path or path.startswith("/") or ".." in path.split("/"):
        raise ImageError(f"its level {path[:80]!r} lies outside of the image")
    return os.path.join(folder, path)


def _decoder(array: ZarrArray, index: tuple[int, ...]) -> Callable[[], Samples]:
    def decode() -> Samples:
        return Samples(array.plane(index), 8 * array.dtype.itemsize)

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
    if not (is_possible(x) and is_possible(y)):
        return ()
    return (ScaleReading("OME", x, y, "OME-Zarr scale", float(factors[-1]), units[-1]),)


OME_ZARR_FORMAT = Format("OME-Zarr", (".zarr",), _recognizes, _frames, by_path=True, is_folder=True)
