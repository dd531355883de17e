"""``nanoarray train``: the networks that ship with the package, trained again from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

train = typer.Typer(
    no_args_is_help=True,
    help="Train a network on simulated crystals; stopped, the same command goes on.",
)

Out = Annotated[Path, typer.Argument(help="Folder for weights, learning curve and checkpoint.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed; same seed, same weights.")]


@train.command("shapes")
def train_shapes(
    out: Out,
    seed: Seed = 0,
    images: Annotated[
        int, typer.Option("--images", min=100, help="Simulated crops, split 70/10/20.")
    ] = 65_000,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Times each is seen.")] = 10,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to train.")
    ] = "auto",
) -> None:
    """Train the network that places crystals in shape space.

    Example: `nanoarray train shapes weights/ --seed 0`
    """
    from nanoarray.nanocrystal.shape.train import train_shapes as run

    with _bar() as step:
        run(out, seed=seed, images=images, epochs=epochs, device=device, progress=step)
    typer.echo(f"weights in {out / 'shapes.safetensors'}, use: --set shapes.weights=PATH")
    typer.echo(f"learning curve and errors: nanoarray report STORE --training {out}")


@train.command("segmentation")
def train_segmentation(
    out: Out,
    seed: Seed = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the network.")] = 1,
) -> None:
    """Train the network that finds crystals in micrographs.

    Example: `nanoarray train segmentation weights/ --seed 0`
    """
    from nanoarray.nanocrystal.segment.net_train import train_segmentation as run

    with _bar() as step:
        run(
            out,
            seed=seed,
            threads=threads,
            progress=lambda done, total, loss: step(f"loss {loss:.3f}", done, total),
        )
    typer.echo(f"weights in {out / 'segment.safetensors'}")


@contextmanager
def _bar() -> Iterator[Any]:
    """A bar with rate and remaining time, as a function of (what, done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def step(what: str, done: int, total: int) -> None:
            key = what.split()[0]
            if key not in tasks:
                tasks[key] = bar.add_task(what, total=total)
            bar.update(tasks[key], completed=done, total=total, description=what)

        yield step
