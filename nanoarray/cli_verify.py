"""The command `nanoarray verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from nanoarray.errors import BusyError, DamagedError

_LISTED = 20


def verify(
    store_url: Annotated[str, typer.Argument(metavar="STORE", help="The store.")],
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only this group; may be repeated.")
    ] = None,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Take what is damaged for not done: the same commands make it again."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Read everything in a store and compare it with what was written there.

    Names each chunk that is damaged, missing or replaced. Exit status 1 when there is one.

    Example: `nanoarray verify archive.zarr`, or `nanoarray verify archive.zarr --forget` and then
    `nanoarray run superlattice archive.zarr`
    """
    from nanoarray.archive.lease import runs_on, working_on
    from nanoarray.archive.store import as_url
    from nanoarray.archive.verify import forget as forget_damage
    from nanoarray.archive.verify import verify as verify_store

    found = verify_store(store_url, groups=groups)
    url = as_url(store_url)
    if found.damage and not forget and runs_on(url):
        raise BusyError(f"a run works on {url}: what is being written looks damaged; wait for it")
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
    else:
        typer.echo(f"{url}: {found.chunks} chunks, {found.bytes / 1e6:.1f} MB read")
        for damage in found.damage[:_LISTED]:
            typer.echo(f"  {damage.group}: {damage.where}: {damage.reason}")
        if len(found.damage) > _LISTED:
            typer.echo(f"  and {len(found.damage) - _LISTED} more")
        if found.unsealed:
            typer.echo(f"unfinished, or without checksums of blocks: {', '.join(found.unsealed)}")
    if not found.damage:
        return
    if not forget:
        raise DamagedError(
            f"{len(found.damage)} damaged: `nanoarray verify {url} --forget`, then the commands "
            "that made it, make it again"
        )
    with working_on(url, "verify --forget"):
        forget_damage(url, found.damage)
    typer.echo("forgotten: run the commands that made it again")
