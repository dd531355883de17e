"""``nanoarray inspect``: what an ingest would make of files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nanoarray.images.inspection import Inspection

_SOME_IMAGES_FAILED = 3
#: Tags that have a column of their own, with the unit they are shown in.
_SHOWN = {"magnification": "", "voltage": " kV", "instrument": "", "acquired": ""}


def inspect(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders or glob patterns.")
    ],
    tags: Annotated[
        Path | None, typer.Option("--tags", help="CSV with a row per image, as for ingest.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help='"{sample}_{temperature:g}degC", as for ingest.')
    ] = None,
    scale_bar: Annotated[
        str, typer.Option("--scale-bar", help='"check" or "use" burned-in bars, or their length.')
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="For machines, with all metadata.")
    ] = False,
) -> None:
    """Show what would be ingested: size, pixel size and its source, tags, warnings.

    Example: `nanoarray inspect micrographs/ --pattern "{sample}_{temperature:g}degC"`

    Example: `nanoarray inspect image.tif --json`
    """
    from nanoarray.images.inspection import inspect_files

    if scale_bar:
        from nanoarray.images.burned_in import check_option

        check_option(scale_bar)
    found = inspect_files(files, tags=tags, pattern=pattern, scale_bar=scale_bar)
    if as_json:
        failed = _print_json(found)
    else:
        images = list(found)
        _print_table(images)
        failed = any(image.problem for image in images)
    if failed:
        raise typer.Exit(_SOME_IMAGES_FAILED)


def _print_json(found: Any) -> bool:
    """One JSON list, written as it comes."""
    failed, before = False, "["
    for image in found:
        failed |= bool(image.problem)
        text = json.dumps(image.to_dict(), indent=1, default=str, allow_nan=False)
        typer.echo(before + text)
        before = ","
    typer.echo("]" if before == "," else "[]")
    return failed


def _print_table(images: list[Inspection]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nanoarray.terminal import printable

    view = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (
        *(("image", "left"), ("shape", "right"), ("dtype", "left"), ("pixel size", "right")),
        *(("source", "left"), ("mag", "right"), ("voltage", "right"), ("instrument", "left")),
        *(("acquired", "left"), ("tags", "left")),
    ):
        view.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    names = _names(images)
    for name, image in zip(names, images, strict=True):
        view.add_row(*(Text(printable(cell)) for cell in (name, *_cells(image))))
    console = Console(width=max(Console().width, 140), highlight=False)
    console.print(view)
    for name, image in zip(names, images, strict=True):
        for text in [*([image.problem] if image.problem else []), *image.warnings]:
            kind = "cannot be read" if text == image.problem else "warning"
            line = printable(f"{name}: {kind}: {text}")
            console.print(Text(line), soft_wrap=True)


def _cells(image: Inspection) -> list[str]:
    from nanoarray.images.scale import size_text

    size = image.scale
    rest = {k: image.tags[k] for k in sorted(image.by_a_person) if k not in _SHOWN}
    shown = [_text(image.tags.get(name), unit) for name, unit in _SHOWN.items()]
    bar = f" + {image.data_bar_px} bar" if image.data_bar_px > 0 else ""
    return [
        f"{image.height_px} x {image.width_px}{bar}" if image.height_px else "-",
        image.dtype or "-",
        size_text(size.size_nm, size.size_y_nm) if math.isfinite(size.size_nm) else "unknown",
        size.source + (f" ({size.agreement})" if len(size.readings) > 1 else ""),
        *shown,
        ", ".join(f"{name} {_text(value)}" for name, value in rest.items()),
    ]


def _names(images: list[Inspection]) -> list[str]:
    """Paths from the folder that holds all files, and which image of its file each is."""
    paths = [os.path.abspath(image.path) for image in images]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [
        os.path.relpath(path, folder) + (f"#{image.frame}" if image.frame else "")
        for path, image in zip(paths, images, strict=True)
    ]


def _text(value: Any, unit: str = "") -> str:
    if value is None or value == "":
        return ""
    return (f"{value:.6g}" if isinstance(value, float) else str(value)) + unit
