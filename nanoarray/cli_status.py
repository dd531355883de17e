"""The command `nanoarray status`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from nanoarray.terminal import file_size, printable

_WHEN = "when (UTC)"


def status(
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="The store.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show what a store holds: per group, what is done, what failed, size and digest.

    Example: `nanoarray status archive.zarr`
    """
    from nanoarray.archive.lease import runs_on
    from nanoarray.archive.status import store_status
    from nanoarray.archive.store import as_url

    rows = store_status(store_url)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    columns = ("group", "state", "blocks", "rows", "failed", "left out", "size", "digest", _WHEN)
    view = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        left = column in ("group", "state", "digest", _WHEN)
        view.add_column(column, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        view.add_row(
            row["group"],
            "partial" if not row["complete"] else "complete" if row["current"] else "stale",
            f"{row['blocks_done']}/{row['blocks']}",
            str(row["rows"]),
            str(row["failed"]),
            str(row["left_out"]),
            file_size(row["bytes"]),
            row["digest"][:7],
            row["finished"][:16].replace("T", " "),
        )
    typer.echo(printable(store_url))
    for run in runs_on(as_url(store_url)):
        typer.echo(f"working on it: {printable(run.description)}")
    # A table that is cut says less than one that wraps in a narrow window.
    Console(width=max(Console().width, 140)).print(view)
