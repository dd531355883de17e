"""Progress of long work on a terminal, with rate and remaining time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nanoarray.archive.engine import Progress


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Give a listener that draws one bar per stage; None where nothing should be drawn.

    On something that is no terminal, a line is printed at most every ten seconds.
    """
    if quiet:
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
        if event.done and event.seconds - last >= 10 and event.done < event.total:
            self._last[event.stage] = event.seconds
            left = (event.total - event.done) * event.seconds / event.done
            sys.stderr.write(
                f"{event.stage}: {event.done} of {event.total} {event.unit}s, {_rate(event)}, "
                f"{left:.0f} s left, {event.failed} failed\n"
            )
            sys.stderr.flush()


def _rate(event: Progress) -> str:
    if not event.done or event.seconds <= 0:
        return ""
    return f"{event.done / event.seconds:.1f} {event.unit}s/s"
