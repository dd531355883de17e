"""Tasks in, results out as each ends: on threads or on a Dask cluster, a bounded number at once."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from nanoarray.archive.lease import check_seen
from nanoarray.errors import NanoarrayError

if TYPE_CHECKING:
    from nanoarray.archive.executor import Executor

#: Tasks that a cluster is given ahead, per thread: enough that no thread waits for this process,
#: few enough that a million tasks cost neither it nor the scheduler memory.
_AHEAD = 4
_LEAST_AHEAD = 64
#: How often the cluster is looked at while nothing ends [s].
_LOOK_S = 10.0
#: How often a result that is to come again is looked for [s].
_AGAIN_S = 0.2

_log = logging.getLogger(__name__)


class WorkerDiedError(NanoarrayError):
    """A task's process died every time it was tried."""


class StoppedError(NanoarrayError):
    """Another stage of the same run failed, or the run was interrupted."""


def run_tasks(
    executor: Executor,
    function: Callable[..., Any],
    items: Sequence[tuple],
    *,
    names: Sequence[str] = (),
    one_by_one: bool = False,
) -> Iterator[tuple[int, Any, BaseException | None]]:
    """Call ``function(*item)`` for every item; give (position, result, error) as each ends.

    An item that fails does not stop the others.

    Parameters
    ----------
    executor
        Where the calls are made.
    function, items
        What is called, with what.
    names
        What each item is called in the store's folder of runs, so that the next run knows what
        this process was doing when it died. Not needed on a cluster, which outlives its workers.
    one_by_one
        Have no two under way at once: a task that ends its process harms no other then, which Dask
        would suspect as well.

    Raises
    ------
    NanoarrayError
        When the cluster is lost, or another run has taken the store.
    """
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    if executor.client is None:
        with ThreadPoolExecutor(executor.threads) as pool:

            def call(i: int) -> Any:
                lease = executor.lease
                known = lease is not None and bool(names)
                with lease.doing(names[i]) if lease and known else contextlib.nullcontext():
                    return function(*items[i])

            try:
                yield from _in_turn(
                    len(items),
                    lambda i: pool.submit(call, i),
                    done,
                    _Threads(executor, one_by_one),
                )
            finally:
                pool.shutdown(cancel_futures=True)
        return
    client = executor.client
    cluster = _Cluster(executor, one_by_one)
    run = None if executor.lease is None else (executor.lease.url, executor.lease.name)

    def submit(i: int) -> Any:
        key = f"{function.__name__}-{uuid.uuid4()}"  # what the dashboard calls it
        return client.submit(
            _on_worker, run, function, *items[i], key=key, priority=executor.priority
        )

    try:
        yield from _in_turn(len(items), submit, done, cluster)
    finally:
        cluster.cancel_rest()


def _on_worker(run: tuple[str, str] | None, function: Callable[..., Any], *item: Any) -> Any:
    """Call ``function(*item)`` where the store of the ``run`` is the one that the driver sees."""
    if run is not None:
        check_seen(*run)
    return function(*item)


def _in_turn(
    count: int, submit: Callable[[int], Any], done: queue.SimpleQueue[int], place: _Threads
) -> Iterator[tuple[int, Any, BaseException | None]]:
    """Keep as many tasks under way as the place wants; give each as it ends."""
    following = 0
    while following < count or place.waiting:
        while following < count and len(place.waiting) < place.ahead():
            place.waiting[following] = submit(following)
            place.waiting[following].add_done_callback(partial(_put, done, following))
            following += 1
        try:
            position = done.get(timeout=1.0)
        except queue.Empty:
            place.look()
            continue
        place.look()
        outcome = place.outcome(place.waiting[position])
        if outcome is None:
            later = threading.Timer(_AGAIN_S, done.put, (position,))
            later.daemon = True
            later.start()
            continue
        del place.waiting[position]
        yield position, *outcome


def _put(done: queue.SimpleQueue[int], position: int, future: Any) -> None:
    del future
    done.put(position)


class _Threads:
    """Threads of this process, as a place for tasks."""

    def __init__(self, executor: Executor, one_by_one: bool) -> None:
        self.executor, self.one_by_one = executor, one_by_one
        self.waiting: dict[int, Any] = {}

    def ahead(self) -> int:
        """How many tasks should be under way."""
        return 1 if self.one_by_one else 2 * self.executor.threads

    def look(self) -> None:
        """See whether this run may go on."""
        if self.executor.stop.is_set():
            raise StoppedError("stopped: finished blocks are kept; run the same command again")
        if self.executor.lease is not None:
            self.executor.lease.check()

    def outcome(self, future: Any) -> tuple[Any, BaseException | None] | None:
        """Result and error of a task that ended; None where it is being done again."""
        error = future.exception()
        return None if error else future.result(), error


class _Cluster(_Threads):
    """A Dask cluster, as a place for tasks."""

    def __init__(self, executor: Executor, one_by_one: bool) -> None:
        super().__init__(executor, one_by_one)
        self._client: Any = executor.client
        self._looked = -float("inf")
        self._threads = 0
        self._alone_since: float | None = None

    def ahead(self) -> int:
        """How many tasks should be under way."""
        return 1 if self.one_by_one else max(_LEAST_AHEAD, _AHEAD * self._threads)

    def look(self) -> None:
        """See whether this run may go on, and how many threads the cluster has."""
        super().look()
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        if self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):
                self._threads = sum(self._client.nthreads().values())
                if self._threads:
                    self._alone_since = None
                elif self._alone_since is None:
                    self._alone_since = now
                    _log.warning("the cluster has no workers: waiting for one")
        elif self._client.status == "closed":
            raise self._lost()

    def outcome(self, future: Any) -> tuple[Any, BaseException | None] | None:
        """Result and error of a task that ended; None where it is being done again.

        A result stays on the worker that made it, and is gone when that dies before the result was
        fetched. Dask then has another worker do the task, which may die of it, or of its neighbour.
        """
        from distributed import KilledWorker

        if future.status == "lost":
            return None
        try:
            return future.result(timeout=_LOOK_S), None
        except CancelledError:
            raise self._lost() from None
        except KilledWorker as error:
            return None, WorkerDiedError(
                f"its process died {error.allowed_failures + 1} times: it crashes, or needs more "
                "memory than a worker has"
            )
        except Exception as error:  # noqa: BLE001 -- handed over to the caller
            # The network's, not the task's: it may be there again, or the scheduler is gone.
            fetching = isinstance(error, OSError) and future.status != "error"
            return None if fetching else (None, error)

    def cancel_rest(self) -> None:
        """Have the cluster forget what is still to do."""
        if self.waiting and self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError, CancelledError):
                self._client.cancel(list(self.waiting.values()))

    def _lost(self) -> NanoarrayError:
        return NanoarrayError(
            "the Dask scheduler is gone: finished blocks are kept; start it again and run the "
            "same command"
        )
