"""Where tasks run: threads of this process, a local cluster, or any Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanoarray.archive.turns import Turns
from nanoarray.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

    from nanoarray.archive.lease import Lease

#: Dask has glibc return freed memory to the system at once. For arrays of a few MB that means a
#: page fault per 4 kB whenever one is made: a quarter to three quarters more CPU time.
#: The allocator reads its settings when a process starts.
_KEEP_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 128 * 2**20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
}
#: What Dask does for its dashboard and for itself while nothing happens: a statistical profile of
#: each worker 100 times a second, ticks of every event loop 50 times. Its defaults take a tenth of
#: a processor on a cluster of two workers that is idle; this, a quarter of that.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.worker.memory.monitor-interval": "200ms",
}


@dataclass(frozen=True)
class Executor:
    """Runs tasks on ``client`` where there is one, otherwise on ``threads`` threads.

    ``lease`` is the run's claim to the store that it works on, where it has one. For stages that
    run at the same time: a cluster does tasks of higher ``priority`` first, ``stop`` ends all, and
    ``turns`` says which may run beside others.
    """

    client: Client | None = None
    threads: int = 1
    lease: Lease | None = None
    priority: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    turns: Turns = field(default_factory=Turns)

    @property
    def suspects(self) -> set[str]:
        """What earlier runs, now dead, did in their own process when they died."""
        return self.lease.suspects if self.lease is not None else set()

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
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    lease: Lease | None = None,
) -> Iterator[Executor]:
    """Give an executor, and close what it opened.

    Parameters
    ----------
    workers
        Number of worker processes of a new local cluster.
    scheduler
        Address of a running Dask scheduler, such as ``tcp://host:8786``.
    lease
        The claim to the store that the work is for.

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
            yield Executor(client=client, lease=lease)
    elif scheduler is not None:
        yield from _remote_cluster(scheduler, lease)
    else:
        client = _current_client()
        with _one_blas_thread():
            yield Executor(client=client, threads=_available_cores(), lease=lease)


@contextmanager
def local_client(workers: int, *, memory_limit: str = "auto") -> Iterator[Client]:
    """A Dask client of a new local cluster of worker processes with one thread each.

    Parameters
    ----------
    workers
        How many.
    memory_limit
        Of each; by default they share the machine's memory. A worker that needs more is ended, and
        started again.
    """
    import dask
    from distributed import Client, LocalCluster

    settings = {
        **_KEEP_MEMORY,
        **_QUIET,
        "distributed.worker.preload": ["nanoarray.archive.worker_process"],
        # A worker that dies twice within this time would not be started again.
        "distributed.deploy.lost-worker-timeout": "1 day",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        with _deaf_to_interrupts():
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=memory_limit,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
            )
        client = stack.enter_context(Client(cluster))
        client.forward_logging("nanoarray")
        yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started in it ignore Ctrl-C, which reaches all of a terminal: one process answers.

    An interrupt that comes meanwhile is lost for this process too; it lasts for a second.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not this thread's
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _remote_cluster(address: str, lease: Lease | None) -> Iterator[Executor]:
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
        yield Executor(client=client, lease=lease)


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
