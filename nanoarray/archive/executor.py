"""Where tasks run: threads of this process, a local cluster, or any Dask cluster."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanoarray.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

#: Dask has glibc return freed memory to the system at once. For arrays of a few MB that means a
#: page fault per 4 kB whenever one is made: a quarter to three quarters more CPU time.
#: The allocator reads its settings when a process starts.
_KEEP_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 128 * 2**20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
}


@dataclass(frozen=True)
class Executor:
    """Runs tasks on ``client`` where there is one, otherwise on ``threads`` threads."""

    client: Client | None = None
    threads: int = 1

    @property
    def description(self) -> str:
        """Where the work runs, for people."""
        if self.client is None:
            return f"{self.threads} threads of this process"
        return (
            f"Dask cluster {self.client.scheduler.address}, dashboard {self.client.dashboard_link}"
        )


@contextmanager
def open_executor(
    *, workers: int | None = None, scheduler: str | None = None
) -> Iterator[Executor]:
    """Give an executor, and close what it opened.

    Parameters
    ----------
    workers
        Number of worker processes of a new local cluster.
    scheduler
        Address of a running Dask scheduler, such as ``tcp://host:8786``.

    With neither, the current Dask client is used if the caller made one, otherwise threads.

    Raises
    ------
    InputError
        For both at once, a number of workers below 1, or a scheduler that does not answer.
    """
    if workers is not None and scheduler is not None:
        raise InputError("give either --workers or --scheduler, not both")
    if workers is not None:
        if workers < 1:
            raise InputError(f"--workers is {workers}: expected 1 or more")
        with local_client(workers) as client:
            yield Executor(client=client)
    elif scheduler is not None:
        yield from _remote_cluster(scheduler)
    else:
        client = _current_client()
        with _one_blas_thread():
            yield Executor(client=client, threads=_available_cores())


def run_tasks(
    executor: Executor, function: Callable[..., Any], items: Sequence[tuple]
) -> Iterator[tuple[int, Any, BaseException | None]]:
    """Call ``function(*item)`` for every item; give (position, result, error) as each ends.

    An item that fails does not stop the others.
    """
    if executor.client is None:
        with ThreadPoolExecutor(executor.threads) as pool:
            waiting = {pool.submit(function, *item): i for i, item in enumerate(items)}
            try:
                for future in as_completed(waiting):
                    error = future.exception()
                    yield waiting[future], None if error else future.result(), error
            finally:
                pool.shutdown(cancel_futures=True)
        return
    from distributed import as_completed as dask_as_completed

    futures = [executor.client.submit(function, *item, pure=False) for item in items]
    position = {future.key: i for i, future in enumerate(futures)}
    for future in dask_as_completed(futures):
        error = future.exception()
        yield position[future.key], None if error else future.result(), error


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """A Dask client of a new local cluster of worker processes with one thread each."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set(_KEEP_MEMORY),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.forward_logging("nanoarray")
        yield client


def _remote_cluster(address: str) -> Iterator[Executor]:
    if not re.fullmatch(r"(\w+://)?[\w.\-\[\]:]+:\d+/?", address) and "://" not in address:
        raise InputError(f"{address!r} is no scheduler's address: expected tcp://HOST:PORT")
    from distributed import Client

    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler` ({error})"
        ) from None
    with client:
        client.forward_logging("nanoarray")
        yield Executor(client=client)


def _current_client() -> Client | None:
    """The Dask client that the caller made, if any; never imports distributed for it."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Tasks are the parallelism; linear algebra inside them keeps to one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
