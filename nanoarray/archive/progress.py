"""Progress of long work, with rate and remaining time: bars, lines, or lines of JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nanoarray.archive.stage import Progress


@contextmanager
def progress_bars(
    *, quiet: bool, as_json: bool = False
) -> Iterator[Callable[[Progress], None] | None]:
    """Give a listener that draws one bar per stage; None where nothing should be drawn.

    On something that is no terminal, a line is printed at most every ten seconds.

    Parameters
    ----------
    quiet
        Draw nothing.
    as_json
        Print an object per line on standard error, at most one per second and stage besides its
        first and last: ``stage``, ``done``, ``total``, ``unit`` ("image" or the dimension of a
        table), ``failed``, ``seconds``, ``per_second``, and ``remaining_s``, null where unknown.
    """
    if as_json:
        yield _JsonPrinter()
    elif quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _LinePrinter()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            console=Console(stderr=True),
            transient=True,
        )
        with bars:
            tasks: dict[str, int] = {}

            def draw(event: Progress) -> None:
                if event.stage not in tasks:
                    tasks[event.stage] = bars.add_task(
                        event.stage, total=event.total, rate="", failed=""
                    )
                bars.update(
                    tasks[event.stage],  # type: ignore[arg-type]
                    completed=event.done,
                    rate=_rate(event),
                    failed=f"{event.failed} failed" if event.failed else "",
                )

            yield draw


class _LinePrinter:
    """Prints progress as lines, rarely."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, event: Progress) -> None:
        last = self._last.setdefault(event.stage, 0.0)
        left = remaining_s(event)
        if left and event.seconds - last >= 10:
            self._last[event.stage] = event.seconds
            sys.stderr.write(
                f"{event.stage}: {event.done} of {event.total} {event.unit}s, {_rate(event)}, "
                f"{left:.0f} s left, {event.failed} failed\n"
            )
            sys.stderr.flush()


class _JsonPrinter:
    """Prints progress for machines."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, event: Progress) -> None:
        last = self._last.get(event.stage)
        if last is not None and event.seconds - last < 1 and event.done < event.total:
            return
        self._last[event.stage] = event.seconds
        left = remaining_s(event)
        content = {
            **dataclasses.asdict(event),
            "seconds": round(event.seconds, 3),
            "per_second": round(event.done / event.seconds, 3) if event.seconds > 0 else 0.0,
            "remaining_s": None if left is None else round(left, 1),
        }
        sys.stderr.write(json.dumps(content) + "\n")
        sys.stderr.flush()


def remaining_s(event: Progress) -> float | None:
    """Time that the rest takes at the rate so far [s]; None before anything is done."""
    if not event.done:
        return None
    return (event.total - event.done) * event.seconds / event.done


def _rate(event: Progress) -> str:
    if not event.done or event.seconds <= 0:
        return ""
    return f"{event.done / event.seconds:.1f} {event.unit}s/s"
