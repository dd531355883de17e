"""``nanoarray catalog``: records of finished stores, searched, checked and made again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarray.terminal import printable

if TYPE_CHECKING:
    from nanoarray.catalog import Catalog, Products
    from nanoarray.catalog.verify import GroupCheck

catalog = typer.Typer(
    no_args_is_help=True,
    help=(
        "Records of finished stores in a folder of JSON files: searched by tags and provenance, "
        "checked against their stores, made again from their images."
    ),
)

Folder = Annotated[Path, typer.Option("--catalog", "-c", help="Folder of the catalog.")]
Stores = Annotated[
    list[str] | None,
    typer.Option("--store", help="Store, or folder of stores, that moved or is elsewhere."),
]
ProductId = Annotated[str, typer.Argument(metavar="ID", help="Id of a product.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
HERE = Path("catalog")
_FAILED, _LISTED = 1, 20
_COUNTS = ("grains", "crystals")


def _catalog(folder: Path, stores: Sequence[str] | None = None) -> Catalog:
    from nanoarray.catalog import Catalog

    return Catalog(folder, stores=stores or ())


@catalog.command("add")
def add(
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="A finished store.")],
    folder: Folder = HERE,
    product: Annotated[
        str | None, typer.Option("--id", help="Id; by default the store's name.")
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", help="Pipeline that was run; by default from the store."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="stage.key=value, as it was run with.")
    ] = None,
    title: Annotated[str, typer.Option("--title", help="What it is, in a line.")] = "",
    description: Annotated[str, typer.Option("--description", help="What it is.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="As CC-BY-4.0.")] = "",
    citation: Annotated[str, typer.Option("--citation", help="How to cite it.")] = "",
    made_by: Annotated[
        list[str] | None,
        typer.Option("--made-by", help="Command that makes the inputs, where simulated."),
    ] = None,
) -> None:
    """Record a finished store; a second time, bring its record up to date.

    Example: `nanoarray catalog add archive.zarr --catalog catalog --licence CC-BY-4.0`
    """
    from nanoarray.pipeline import parse_settings

    with _steps() as step:
        record = _catalog(folder).add(
            store_url,
            product=product,
            pipeline=pipeline,
            settings=parse_settings(settings or []),
            title=title,
            description=description,
            licence=licence,
            citation=citation,
            commands=made_by or [],
            progress=step,
        )
    _say(f"{record.id}: {len(record.inputs)} images, {len(record.groups)} groups, in {folder}")


@catalog.command("list")
def list_products(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """List the products of a catalog.

    Example: `nanoarray catalog list --catalog catalog`
    """
    found = _catalog(folder)
    _print_products(found.all(), found.problems(), as_json)


@catalog.command("search")
def search(
    expression: Annotated[str, typer.Argument(help="A condition on tags and provenance.")],
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Find products with images that fulfil a condition.

    Names are tags (`temperature`), what is known of products (`id`, `pipeline`, `licence`,
    `counts.grains`, `software.numpy`) and parameters (`tiles.stride_px`).

    Example: `nanoarray catalog search "temperature > 20 and synthesis_method == 'LARP'"`
    """
    found = _catalog(folder)
    _print_products(found.search(expression), found.problems(), as_json)


@catalog.command("show")
def show(product: ProductId, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Show a product's record.

    Example: `nanoarray catalog show archive --catalog catalog`
    """
    from nanoarray.catalog.record import to_json

    record = _catalog(folder).record(product)
    if as_json:
        typer.echo(to_json(record), nl=False)
        return
    rows = {
        "id": record.id,
        "title": record.title,
        "description": record.description,
        "store": record.store,
        "pipeline": record.pipeline.name,
        "added": record.added,
        "changed": record.changed,
        "licence": record.licence or "not said",
        "citation": record.citation or "not said",
        "code": record.code_revision or "a release",
        "software": ", ".join(f"{n} {v}" for n, v in record.software.items()),
        "images made by": " && ".join(record.commands),
    }
    for name, text in rows.items():
        if text:
            _say(f"{name:<16} {text}")
    _say("groups")
    for name, group in record.groups.items():
        extra = f", {group.failed} failed" if group.failed else ""
        extra += f", {group.left_out} left out" if group.left_out else ""
        _say(f"  {name:<18} {group.rows} rows{extra}, digest {group.digest}, {group.finished[:10]}")
    _say("tags")
    for name, tag in record.tags.items():
        said = _range(tag.least, tag.largest) if tag.values is None else _several(tag.values)
        units = "" if tag.units in ("", "1") else f" {tag.units}"
        _say(f"  {name:<18} {said}{units} ({tag.known} of {len(record.inputs)} images)")


@catalog.command("verify")
def verify(
    products: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Products; by default all.")
    ] = None,
    folder: Folder = HERE,
    stores: Stores = None,
    as_json: AsJson = False,
) -> None:
    """Prove that stores hold what their records say: every array is read; names what differs.

    Exit status 1 when anything differs.

    Example: `nanoarray catalog verify archive --catalog catalog`
    """
    from nanoarray.errors import NanoarrayError

    found = _catalog(folder, stores)
    problems = {} if products else found.problems()
    results: dict[str, list[GroupCheck]] = {}
    for product in products or found.ids():
        try:
            with _steps() as step:
                results[product] = found.verify(product, progress=step)
        except NanoarrayError as error:
            if products and len(products) == 1:
                raise
            problems[product] = str(error)
    if as_json:
        typer.echo(json.dumps({p: _plain_checks(c) for p, c in results.items()}, indent=1))
    else:
        for product, checks in results.items():
            _say(product)
            _print_checks(checks)
    _print_problems(problems)
    if problems or not all(check.good for checks in results.values() for check in checks):
        raise typer.Exit(_FAILED)


@catalog.command("rebuild")
def rebuild(
    product: ProductId,
    images: Annotated[
        list[str], typer.Option("--images", help="Folder with its images, under any names.")
    ],
    folder: Folder = HERE,
    out: Annotated[
        Path | None, typer.Option("--out", help="Store to make; by default ID.zarr here.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="stage.key=PATH, for parameters that name a file."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Worker processes of a local Dask cluster.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a running Dask scheduler.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
) -> None:
    """Make a product again from its record and its images, and compare it with the record.

    Images are found by their checksums, wherever and whatever they are called now. Exit status 1
    when the result is not what the record says.

    Example: `nanoarray catalog rebuild archive --images micrographs --out again.zarr`
    """
    from nanoarray.archive.progress import progress_bars
    from nanoarray.catalog.rebuild import rebuild as run
    from nanoarray.pipeline import parse_settings

    record = _catalog(folder).record(product)
    with progress_bars(quiet=quiet) as progress:
        made = run(
            record,
            images,
            out or Path(f"{record.id}.zarr"),
            settings=parse_settings(settings or []),
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    for note in made.notes:
        _say(f"note: {note}")
    _say(f"{record.id} made again in {made.store}")
    _print_checks(made.checks)
    if not made.good:
        raise typer.Exit(_FAILED)


@catalog.command("export")
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Intake catalog to write (.yaml).")],
    folder: Folder = HERE,
    products: Annotated[list[str] | None, typer.Option("--id", help="Only this product.")] = None,
    stores: Stores = None,
) -> None:
    """Write an Intake catalog, with an entry ID.GROUP per group, that opens in xarray.

    Example: `nanoarray catalog export catalog.yaml --catalog catalog`
    """
    from nanoarray.catalog.intake_file import export_intake

    found = _catalog(folder, stores)
    records = {p: found.record(p) for p in products or found.ids()}
    count = export_intake(records, {p: found.store(p) for p in records}, out)
    _say(f"{count} entries of {len(records)} products in {out}: intake.open_catalog({str(out)!r})")


def record_run(
    store_url: str, folder: Path, *, pipeline: str, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    """Record the store that a run has finished."""
    record = _catalog(folder).add(store_url, pipeline=pipeline, settings=settings)
    _say(f"recorded as {record.id!r} in {folder}")


# --- printing ---------------------------------------------------------------------------------


def _say(text: str) -> None:
    typer.echo(printable(text))


def _range(least: float | None, largest: float | None) -> str:
    return f"{least:g}" if least == largest else f"{least:g} to {largest:g}"


def _several(values: list[str]) -> str:
    more = f", ... ({len(values)})" if len(values) > 5 else ""
    return ", ".join(values[:5]) + more


def _print_products(products: Products, problems: Mapping[str, str], as_json: bool) -> None:
    frame = products.frame()
    if as_json:
        # What a product has no count of is NaN in a table, which is no JSON.
        rows = [
            {n: int(v) if n in _COUNTS else v for n, v in row.items() if v == v}
            for row in frame.to_dict("records")
        ]
        typer.echo(json.dumps({"products": rows, "problems": dict(problems)}))
    elif frame.empty:
        _say("no product" + (" fulfils the condition" if products.matching is not None else ""))
    else:
        for row in frame.to_dict("records"):
            counts = "".join(f", {int(row[n])} {n}" for n in _COUNTS if row.get(n, 0) > 0)
            some = row["images"]
            if products.matching is not None:
                some = f"{row['matching']} of {some}"
            title = "" if row["title"] == row["id"] else f"  {row['title']}"
            _say(f"{row['id']:<24} {row['pipeline']}: {some} images{counts}{title}")
    _print_problems(problems)
    if problems:
        raise typer.Exit(_FAILED)


def _print_problems(problems: Mapping[str, str]) -> None:
    for problem in dict.fromkeys(problems.values()):
        print("nanoarray: " + printable(problem), file=sys.stderr)  # noqa: T201


def _plain_checks(checks: Sequence[GroupCheck]) -> list[dict[str, Any]]:
    return [{"group": c.group, "state": c.state, "details": list(c.details)} for c in checks]


def _print_checks(checks: Sequence[GroupCheck]) -> None:
    for check in checks:
        _say(f"  {check.group:<18} {check.state}")
        for detail in check.details[:_LISTED]:
            _say(f"    {detail}")
        if len(check.details) > _LISTED:
            _say(f"    and {len(check.details) - _LISTED} more")


@contextmanager
def _steps() -> Iterator[Callable[[str, int, int], None]]:
    """One line on a terminal that says which group is being read."""
    from rich.console import Console
    from rich.status import Status

    with Status("reading", console=Console(stderr=True)) as status:

        def step(group: str, done: int, total: int) -> None:
            status.update(f"reading {group} ({done + 1} of {total} groups)")

        yield step
