"""The command line: thin commands over the Python functions, imported only when they run."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarray.cli_catalog import catalog, record_run
from nanoarray.cli_export import export
from nanoarray.cli_inspect import inspect
from nanoarray.cli_status import status
from nanoarray.cli_train import train
from nanoarray.cli_verify import verify
from nanoarray.errors import InputError, NanoarrayError, is_about_place
from nanoarray.terminal import file_size, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanoarray.archive.engine import StageReport

app = typer.Typer(
    name="nanoarray",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Archives of electron micrographs as labelled xarray datasets.\n\n"
        "Start with `nanoarray demo`, or with `nanoarray ingest FOLDER STORE`, "
        "`nanoarray run superlattice STORE`, `nanoarray report STORE`.\n\n"
        "Exit status: 0 done, 1 failed, 2 bad usage or input, 3 done but some images failed."
    ),
)

DONE, FAILED, BAD_INPUT, SOME_IMAGES_FAILED = 0, 1, 2, 3
#: How typer ends a command that was interrupted.
_INTERRUPTED = 130
_LISTED = 10
_FEW_ROWS = 6


class System(StrEnum):
    """What `simulate` can make."""

    superlattice = "superlattice"
    nanocrystals = "nanocrystals"


def main() -> None:
    """Run the command line; bad input ends in one line, never in a traceback."""
    warnings.showwarning = _warn
    try:
        app()
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            _interrupted()
        raise
    except NanoarrayError as error:
        _fail(str(error), BAD_INPUT if isinstance(error, InputError) else FAILED)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}", BAD_INPUT if is_about_place(error) else FAILED)
    except Exception as error:  # noqa: BLE001 -- the last door: one line instead of a traceback
        if os.environ.get("NANOARRAY_TRACEBACK"):
            traceback.print_exc()
        _fail(
            f"unexpected {type(error).__name__}: {error} "
            "(set NANOARRAY_TRACEBACK=1 to see where, and report it)",
            FAILED,
        )


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Warnings as one line, without the place in the code."""
    del category, filename, lineno, file, line
    print(f"nanoarray: warning: {printable(str(message))}", file=sys.stderr)  # noqa: T201


def _interrupted() -> None:
    _fail("interrupted: finished blocks are kept; run the same command again", FAILED)


def _fail(message: str, status: int) -> None:
    print("nanoarray: " + printable(" ".join(message.split())), file=sys.stderr)  # noqa: T201
    raise SystemExit(status)


def _version(value: bool) -> None:
    if value:
        from nanoarray import __version__

        typer.echo(f"nanoarray {__version__}")
        raise typer.Exit


app.add_typer(catalog, name="catalog")
app.add_typer(train, name="train")
app.command()(export)
app.command()(inspect)
app.command()(status)
app.command()(verify)


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version


Workers = Annotated[
    int | None, typer.Option("--workers", help="Worker processes of a local Dask cluster.")
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Address of a running Dask scheduler.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the summary.")]
ProgressJson = Annotated[
    bool, typer.Option("--progress-json", help="Progress as lines of JSON on standard error.")
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything it makes.")] = Path(
        "demo"
    ),
    workers: Workers = 2,
) -> None:
    """Simulate an archive, run the pipeline on a local Dask cluster, write the report.

    Example: `nanoarray demo --out demo`
    """
    from nanoarray.demo import run_demo

    with _progress(quiet=False) as progress:
        places = run_demo(out, workers=workers or 2, progress=progress, say=_say)
    for what, where in places.items():
        _say(f"{what:<20} {where}")


@app.command()
def simulate(
    system: Annotated[System, typer.Argument(help="What to simulate.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Number of images.")] = 12,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed; same seed, same images.")] = 0,
) -> None:
    """Write micrographs with known truth as TIFF files with FEI metadata.

    Example: `nanoarray simulate superlattice sim --images 12 --seed 1`
    """
    from nanoarray.simulate.archive import simulate_archive
    from nanoarray.simulate.nanocrystal_archive import simulate_nanocrystal_archive

    if out.is_dir() and any(out.iterdir()):
        # Tags and truth of two archives in one folder would fit neither.
        raise InputError(f"{out} is not empty: expected a new or empty folder")
    make = simulate_archive if system is System.superlattice else simulate_nanocrystal_archive
    files = make(out, image_count=images, seed=seed)
    _say(f"{len(files)} images, their tags (tags.csv) and truth (truth/) in {out}")


@app.command()
def ingest(
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE... STORE", help="Folders or files, then store.")
    ],
    tags: Annotated[
        Path | None, typer.Option("--tags", help="CSV with a row per image; units in the names.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", help='Tags in file names: "{sample}_{temperature:g}degC".'),
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option("--pixel-size", help="Pixel size [nm] of the images in SOURCE.")
    ] = None,
    scale_bar: Annotated[
        str, typer.Option("--scale-bar", help='"check" or "use" burned-in bars, or their length.')
    ] = "",
    tilt_correction: Annotated[
        str | None,
        typer.Option("--tilt-correction", help="Of a tilted surface or cross-section; none."),
    ] = None,
    square_pixels: Annotated[
        bool | None,
        typer.Option("--square-pixels/--pixels-as-stored", help="Resample uneven pixels."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    progress_json: ProgressJson = False,
) -> None:
    """Read micrographs and their tags into a store; a second time, only what is new.

    Example: `nanoarray ingest micrographs/ archive.zarr --tags samples.csv`
    """
    from nanoarray.images.ingest import ingest as run_ingest

    if len(paths) < 2:
        raise InputError("ingest needs SOURCE... and STORE: nanoarray ingest micrographs/ a.zarr")
    *sources, store_url = paths
    with _progress(quiet=quiet, as_json=progress_json) as progress:
        report = run_ingest(
            sources,
            store_url,
            tags=tags,
            pattern=pattern,
            pixel_size_nm=pixel_size,
            scale_bar=scale_bar,
            tilt_correction=tilt_correction,
            square_pixels=square_pixels,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    for line in report.lines():
        _say(line)
    if report.failed:
        raise typer.Exit(SOME_IMAGES_FAILED)


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="Name of a pipeline, or a TOML file.")],
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="The store.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="stage.key=value, replacing the file's.")
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace groups made with other parameters.")
    ] = False,
    catalog_folder: Annotated[
        Path | None, typer.Option("--catalog", help="Catalog to record the finished store in.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=0, help="Longest time for one image [s]; 0: any.")
    ] = 3600.0,
    quiet: Quiet = False,
    progress_json: ProgressJson = False,
) -> None:
    """Run a pipeline on a store, doing only what is missing.

    Example: `nanoarray run superlattice archive.zarr --workers 2 --set tiles.stride_px=8`
    """
    from nanoarray import pipeline as pipelines

    changes = pipelines.parse_settings(settings or [])

    def on_start(plan: Any, executor: Any) -> None:
        if not quiet:
            names = ", ".join(stage.name for stage, _ in plan.stages)
            _say(f"pipeline {plan.name} ({names}) on {executor.description}")

    with _progress(quiet=quiet, as_json=progress_json) as progress:
        reports = pipelines.run(
            pipeline,
            store_url,
            workers=workers,
            scheduler=scheduler,
            overwrite=overwrite,
            progress=progress,
            on_start=on_start,
            time_limit_s=time_limit or None,
            **changes,
        )
    _print_stage_reports(reports)
    if catalog_folder is not None:
        record_run(store_url, catalog_folder, pipeline=pipeline, settings=changes)
    if any(report.failed for report in reports):
        raise typer.Exit(SOME_IMAGES_FAILED)


@app.command()
def table(
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="The store.")],
    group: Annotated[str, typer.Argument(help="A table: images, grains, grain_statistics.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="FILE.csv or FILE.parquet; otherwise printed.")
    ] = None,
) -> None:
    """Print or export a table with the tags of each row's image.

    Example: `nanoarray table archive.zarr grains --out grains.csv`
    """
    from nanoarray.archive.tables import table as read_table
    from nanoarray.archive.tables import write_table

    ds = read_table(store_url, group)
    if out is not None:
        rows = write_table(ds, out)
        _say(f"{rows} rows of {group} in {out}")
        return
    frame = ds[[n for n, v in ds.data_vars.items() if v.ndim == 1]].to_dataframe()
    frame = frame.drop(columns=["metadata", "sha256"], errors="ignore")
    # A few rows of many columns read better as columns of many rows.
    few = len(frame) <= _FEW_ROWS
    options: dict[str, Any] = {"float_format": "{:.4g}".format, "max_colwidth": 40}
    typer.echo((frame.T if few else frame).to_string(max_rows=None if few else 40, **options))


@app.command()
def report(
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="The store.")],
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file to write.")] = None,
    images: Annotated[int, typer.Option("--images", min=0, help="Images to show.")] = 12,
    training: Annotated[
        Path | None,
        typer.Option(
            "--training", help="Folder of `nanoarray train shapes`: show how it was trained."
        ),
    ] = None,
) -> None:
    """Write a self-contained HTML report of a store.

    Example: `nanoarray report archive.zarr --out report.html`
    """
    from nanoarray.report.page import write_report

    target = out or Path(store_url.rstrip("/").split("/")[-1]).with_suffix(".html")
    path = write_report(store_url, target, image_count=images, training=training)
    _say(f"report in {path} ({file_size(path.stat().st_size)})")


# --- printing ---------------------------------------------------------------------------------


def _say(text: str) -> None:
    typer.echo(printable(text))


def _print_stage_reports(reports: Sequence[StageReport]) -> None:
    said: set[str] = set()
    for entry in reports:
        words = {
            "done": f"{entry.rows} rows in {entry.seconds:.1f} s",
            "resumed": f"{entry.blocks_computed} of {entry.blocks} blocks in {entry.seconds:.1f} s",
            "unchanged": "already done",
        }[entry.status]
        extra = f", {len(entry.left_out)} left out" if entry.left_out else ""
        extra += f", {len(entry.failed)} FAILED" if entry.failed else ""
        _say(f"{entry.stage:<18} {words}{extra}")
        if entry.status != "unchanged":
            _list("failed", entry.failed)
            # The first stage that leaves an image out says why; the later ones follow.
            _list("left out", [row for row in entry.left_out if row[0] not in said])
            said.update(image for image, _ in entry.left_out)


def _list(what: str, rows: Sequence[tuple[str, str]]) -> None:
    for image, reason in rows[:_LISTED]:
        _say(f"  {what}: {image}: {reason.removeprefix('left out: ')}")
    if len(rows) > _LISTED:
        _say(f"  and {len(rows) - _LISTED} more {what}")


def _progress(*, quiet: bool, as_json: bool = False) -> Any:
    from nanoarray.archive.progress import progress_bars

    return progress_bars(quiet=quiet, as_json=as_json)


if __name__ == "__main__":
    main()
