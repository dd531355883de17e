"""Tasks of several parts, of which one may end the process that works on it, or never end."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nanoarray.archive.executor import Executor, local_client
from nanoarray.archive.tasks import WorkerDiedError, run_tasks
from nanoarray.archive.time_limit import TimeLimitError

#: What one part of an item can do to all of it.
_HARM = (WorkerDiedError, MemoryError, TimeLimitError)

_log = logging.getLogger(__name__)


def run_careful(
    executor: Executor,
    function: Callable[..., Any],
    items: Sequence[tuple],
    *,
    names: Sequence[str],
    probe: Callable[..., Any],
    parts: Callable[[tuple], Sequence[tuple]],
    without: Callable[[tuple, Mapping[int, str]], tuple],
) -> Iterator[tuple[int, Any, BaseException | None]]:
    """As `run_tasks`; of an item that no process outlives, each part is tried alone.

    A crash, or more memory than there is, ends a worker, which a cluster survives; on threads it
    ends this process, and the next run knows from ``names`` what it was doing. Either way the parts
    that end a process of their own are left out, and the rest of the item is done.

    Parameters
    ----------
    executor, function, items, names
        As for `run_tasks`.
    probe, parts
        ``probe(*part)`` for each of ``parts(item)`` tries a part and changes nothing.
    without
        ``without(item, {number of part: reason})`` is the item with parts left out.
    """
    doubtful = [i for i, name in enumerate(names) if name in executor.suspects]
    sound = sorted(set(range(len(items))) - set(doubtful))
    with executor.turns.together():
        for position, result, error in run_tasks(
            executor, function, [items[i] for i in sound], names=[names[i] for i in sound]
        ):
            i = sound[position]
            if isinstance(error, _HARM) and parts(items[i]):
                doubtful.append(i)
            else:
                yield i, result, error
    if not doubtful:
        return
    _log.warning(
        "%d tasks ended their process, may have, or took too long: trying their parts one by one",
        len(doubtful),
    )
    with executor.turns.alone(), _own_processes(executor) as safe:
        tries = [(i, k, part) for i in doubtful for k, part in enumerate(parts(items[i]))]
        bad: dict[int, dict[int, str]] = {i: {} for i in doubtful}
        for position, _, error in run_tasks(
            safe, probe, [part for _, _, part in tries], one_by_one=True
        ):
            i, k, _ = tries[position]
            if isinstance(error, MemoryError):
                bad[i][k] = "it needs more memory than there is"
            elif isinstance(error, _HARM):
                bad[i][k] = str(error)
        again = [without(items[i], bad[i]) for i in doubtful]
        for position, result, error in run_tasks(safe, function, again):
            yield doubtful[position], result, error


@contextmanager
def _own_processes(executor: Executor) -> Iterator[Executor]:
    """An executor whose tasks may end their process without ending this one."""
    if executor.client is not None:
        yield executor
        return
    with local_client(1) as client:
        yield dataclasses.replace(executor, client=client)
