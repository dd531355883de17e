"""Export images and label maps of a store, one image at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nanoarray.archive import store
from nanoarray.archive.engine import Progress
from nanoarray.errors import ImageError, InputError
from nanoarray.exchange.contents import Archive, ExportedImage, map_names
from nanoarray.exchange.labels import as_labels
from nanoarray.exchange.names import file_names
from nanoarray.exchange.ngff import Version
from nanoarray.exchange.ome_tiff import write_ome_tiff

ImageFormat = Literal["ome-zarr", "ome-tiff"]
#: What is exported where nothing is named, of what the store has.
USUAL_MAPS = ("crystal_maps/crystal", "grain_maps/grain", "grain_maps/grain_pixels")


@dataclass
class ExportReport:
    """What was exported.

    ``written`` files or folders by image; ``failed`` and ``left_out`` (image, reason);
    ``without_scale`` images whose pixel size is unknown.
    """

    written: dict[str, list[Path]] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    without_scale: list[str] = field(default_factory=list)


def export_images(
    store_url: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    maps: Sequence[str] | None = None,
    images: Iterable[str] | None = None,
    format: ImageFormat = "ome-zarr",
    ngff: Version = "0.4",
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> ExportReport:
    """Export images with their maps, with physical scale, for napari, Fiji, QuPath and others.

    Parameters
    ----------
    store_url
        A store.
    out
        Folder to write to; made where it is not there.
    maps
        Maps that go along, such as ``"crystal_maps/crystal"`` or, where it is in one group,
        ``"crystal"``; maps of tiles are given to the pixels of their cells. By default the label
        maps of crystals and grains, where the store has them.
    images
        Ids of the images to export; all by default.
    format
        ``"ome-zarr"``: a folder ``<image>.ome.zarr`` with whole-number maps as its labels;
        ``"ome-tiff"``: a file ``<image>.ome.tif``, and ``<map>/<image>.ome.tif`` for each map. In
        both, maps of fractional values become images of their own in a folder of the map's name.
    ngff
        Version of OME-Zarr.
    overwrite
        Replace what is there.
    progress
        Called after every image.

    Returns
    -------
    ExportReport
        Images that hold nothing, and maps that an image does not have, are left out with the
        reason; those whose chunks are damaged failed.

    Raises
    ------
    InputError
        There is no such store, map or image, or something is there already.
    """
    import time

    url = store.as_url(store_url)
    store.check_store(url)
    if maps is None:
        there = map_names(url)
        maps = [name for name in USUAL_MAPS if name in there]
    archive = Archive(url, maps)
    positions = (
        range(len(archive.names))
        if images is None
        else [archive.position(image) for image in dict.fromkeys(images)]
    )
    folder = Path(out)
    bases = file_names(archive.names)
    if not overwrite:
        _check_free([_target(folder, bases[i], format=format) for i in positions])
    folder.mkdir(parents=True, exist_ok=True)
    report = ExportReport()
    start = time.perf_counter()
    for done, i in enumerate(positions, start=1):
        _export_image(archive, i, report, folder, bases[i], format=format, ngff=ngff)
        if progress is not None:
            seconds = time.perf_counter() - start
            progress(
                Progress("exporting", done, len(positions), "image", len(report.failed), seconds)
            )
    return report


def _export_image(
    archive: Archive,
    i: int,
    report: ExportReport,
    folder: Path,
    base: str,
    *,
    format: ImageFormat,
    ngff: Version,
) -> None:
    """Write an image and its maps; what came of it goes into the report."""
    name = archive.names[i]
    try:
        found = archive.read(i)
        report.written[name] = _write(found, folder, base, format=format, ngff=ngff)
    except ImageError as error:
        (report.failed if archive.is_read(i) else report.left_out).append((name, str(error)))
        return
    report.left_out += [(name, f"{m}: {why}") for m, why in found.left_out.items()]
    if not math.isfinite(found.pixel_size_nm):
        report.without_scale.append(name)


def _target(folder: Path, base: str, *, format: ImageFormat, layer: str = "") -> Path:
    """Where an image goes, or a map of it: into a folder of the map's, so that no two meet."""
    ending = {"ome-zarr": ".ome.zarr", "ome-tiff": ".ome.tif"}[format]
    return folder / layer / f"{base}{ending}"


def _check_free(targets: Iterable[Path]) -> None:
    for target in targets:
        if target.exists():
            raise InputError(f"{target} exists: choose another folder, or overwrite it")


def _write(
    found: ExportedImage, folder: Path, base: str, *, format: ImageFormat, ngff: Version
) -> list[Path]:
    """Write one image and its maps; gives what was written."""
    scale: dict[str, Any] = {
        "pixel_size_nm": found.pixel_size_nm,
        "pixel_size_y_nm": found.pixel_size_y_nm,
    }
    tags = {"image": found.image, **found.tags}
    written = []
    if format == "ome-zarr":
        from nanoarray.exchange.ome_zarr import write_ome_zarr

        for layer, values in {"": found.pixels, **found.fields}.items():
            path = _target(folder, base, format=format, layer=layer)
            path.parent.mkdir(exist_ok=True)
            labels = {} if layer else found.labels
            written.append(
                write_ome_zarr(path, values, labels=labels, version=ngff, tags=tags, **scale)
            )
        return written
    text = "; ".join(f"{name}: {value}" for name, value in tags.items())
    shape = found.pixels.shape
    layers = {"": found.pixels, **found.fields}
    layers |= {n: as_labels(v, name=n, shape=shape) for n, v in found.labels.items()}
    for layer, values in layers.items():
        own = layer in found.labels
        path = _target(folder, base, format=format, layer=layer)
        path.parent.mkdir(exist_ok=True)
        title = f"{found.image} {layer}".strip()
        written.append(
            write_ome_tiff(path, values, name=title, description=text, labels=own, **scale)
        )
    return written
