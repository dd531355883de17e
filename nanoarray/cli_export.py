"""``nanoarray export``: images, label maps and tables for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_LISTED = 10
_SOME_IMAGES_FAILED = 3


class ExportFormat(StrEnum):
    """What images, or tables, are written as."""

    ome_zarr = "ome-zarr"
    ome_tiff = "ome-tiff"
    parquet = "parquet"
    csv = "csv"


class Ngff(StrEnum):
    """Versions of OME-Zarr."""

    v04 = "0.4"
    v05 = "0.5"


def export(
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="The store.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="A map to export with its images: crystal, grain, defect, ..."),
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option("--image", help="Only this image; may be repeated.")
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option("--table", help="Export this table in place of images; may be repeated."),
    ] = None,
    format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="By default OME-Zarr for images and Parquet for tables."),
    ] = None,
    ngff: Annotated[
        Ngff, typer.Option("--ngff", help="Version of OME-Zarr; 0.4 is read nearly everywhere.")
    ] = Ngff.v04,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the summary.")] = False,
) -> None:
    """Export images with their label maps, or tables, at the right scale for other programs.

    Example: `nanoarray export archive.zarr out/ --map crystal --format ome-tiff`

    Example: `nanoarray export archive.zarr out/ --table grains --table images --format csv`
    """
    from nanoarray.errors import InputError

    of_tables = format in (ExportFormat.parquet, ExportFormat.csv)
    if of_tables and not tables:
        raise InputError(f"--format {format} is of tables: say which, such as --table grains")
    if tables and format and not of_tables:
        raise InputError(f"--format {format} is of images, --table of tables: export one by one")
    if tables and (maps or images):
        raise InputError("--table goes without --map and --image: export one by one")
    if tables:
        _export_tables(store_url, out, tables, format or ExportFormat.parquet, overwrite=overwrite)
        return
    _export_images(store_url, out, maps, images, format, ngff, overwrite=overwrite, quiet=quiet)


def _export_tables(
    store_url: str, out: Path, tables: list[str], format: ExportFormat, *, overwrite: bool
) -> None:
    from nanoarray.errors import InputError
    from nanoarray.exchange.tables import export_table

    targets = {name: out / f"{name.replace('/', '_')}.{format.value}" for name in tables}
    for target in targets.values():
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists: choose another folder, or pass --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    for name, target in targets.items():
        rows = export_table(store_url, name, target)
        _say(f"{rows} rows of {name} in {target}")


def _export_images(
    store_url: str,
    out: Path,
    maps: list[str] | None,
    images: list[str] | None,
    format: ExportFormat | None,
    ngff: Ngff,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    from nanoarray.archive.progress import progress_bars
    from nanoarray.exchange.images import export_images

    with progress_bars(quiet=quiet) as progress:
        report = export_images(
            store_url,
            out,
            maps=maps,
            images=images,
            format="ome-tiff" if format is ExportFormat.ome_tiff else "ome-zarr",
            ngff="0.5" if ngff is Ngff.v05 else "0.4",
            overwrite=overwrite,
            progress=progress,
        )
    _say(f"{len(report.written)} images in {out}")
    _list("failed", report.failed)
    _list("left out", report.left_out)
    _list(
        "without a scale", [(image, "its pixel size is unknown") for image in report.without_scale]
    )
    if report.failed:
        raise typer.Exit(_SOME_IMAGES_FAILED)


def _list(what: str, rows: list[tuple[str, str]]) -> None:
    for image, reason in rows[:_LISTED]:
        _say(f"  {what}: {image}: {reason}")
    if len(rows) > _LISTED:
        _say(f"  and {len(rows) - _LISTED} more {what}")


def _say(text: Any) -> None:
    """Print without what could steer a terminal: names come from strangers."""
    from nanoarray.terminal import printable

    typer.echo(printable(str(text)))
