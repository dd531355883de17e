"""One run at a time works on a store, without locks, renames or exclusive creation.

A run says that it works by an object of its own in the store's folder ``.runs``. It first writes
that it waits, then lists the others. Whoever lists after another has written sees it, so of two
that come together at least one sees the other: the one with the smaller name goes on once the other
has withdrawn. This needs no more than what every file system and object store gives: that an object
which was written is listed.

A run that died leaves its object behind. On the same machine its process is looked up; elsewhere it
is dead when its heartbeat stands still. Should this fail (a machine that slept, a store that lists
late), blocks still hold what their keys say: see `docs/explanation/surviving.md`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from nanoarray.archive import provenance as prov
from nanoarray.archive.guard import RUNS, files_at
from nanoarray.errors import BusyError, InputError

#: A run writes its heartbeat this often; one that stands still for so long is dead [s].
HEARTBEAT_S = 10.0
DEAD_AFTER_S = 60.0
_POLL_S = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OtherRun:
    """A run that another process has written down."""

    name: str
    record: dict[str, Any]

    @property
    def description(self) -> str:
        """What it is, for people."""
        r = self.record
        return f"`{r['what']}` on {r['host']} (process {r['pid']}) since {r['started']}"


class Lease:
    """The claim of this run to a store, and what it is doing there.

    Attributes
    ----------
    url, name
        The store, and what the claim is called there.
    suspects
        What dead runs were doing in their own process when they died, by name: it may have been
        the reason.
    """

    def __init__(self, url: str, what: str) -> None:
        self.name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self.suspects: set[str] = set()
        self._folder = _Folder(url)
        self._lock = threading.Lock()
        self._doing: list[str] = []
        self._stop = threading.Event()
        self._lost = ""
        self.url = url
        self._record: dict[str, Any] = {
            "what": what,
            "host": _host(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "started": prov.now(),
            "state": "waiting",
            "beat": 0,
            "doing": [],
        }

    def take(self) -> None:
        """Wait for the dead to be known as dead, and claim the store.

        Raises
        ------
        BusyError
            When another run works on it.
        """
        self._write()
        threading.Thread(target=self._beat, name="nanoarray heartbeat", daemon=True).start()
        try:
            self._wait_for_others()
            self._record["state"] = "working"
            self._write()
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Say that this run has ended."""
        self._stop.set()
        with self._lock:
            self._folder.remove(self.name)

    def check(self) -> None:
        """Raise BusyError when another run has taken the store, as from one that is dead."""
        if self._lost:
            raise BusyError(self._lost)

    @contextmanager
    def doing(self, name: str) -> Iterator[None]:
        """While in it, ``name`` is written down as what this process is doing."""
        with self._lock:
            self._doing.append(name)
            self._record["doing"] = list(self._doing)
            self._folder.write(self.name, self._record)
        try:
            yield
        finally:
            with self._lock:
                self._doing.remove(name)

    def _write(self) -> None:
        with self._lock:
            self._folder.write(self.name, self._record)

    def _wait_for_others(self) -> None:
        beats: dict[str, tuple[int, float]] = {}
        while True:
            others = [run for run in self._folder.runs() if run.name != self.name]
            living = [run for run in others if self._lives(run, beats)]
            for run in living:
                if run.record["state"] == "working" or run.name < self.name:
                    known = _is_running(run.record) or beats[run.name][0] < run.record["beat"]
                    if known:  # to live, and not merely not known to be dead
                        raise BusyError(
                            f"another run works on {self.url}: {run.description}. "
                            "Wait until it has ended, or end it, and run this again"
                        )
            self.check()
            if not living:
                return
            time.sleep(_POLL_S)

    def _lives(self, run: OtherRun, beats: dict[str, tuple[int, float]]) -> bool:
        """Whether another run may live; one that is dead is cleared away and remembered."""
        running = _is_running(run.record)
        if running is None:
            now = time.monotonic()
            if run.name not in beats:
                _log.warning("waiting to see whether %s still lives", run.description)
            beat, since = beats.setdefault(run.name, (run.record["beat"], now))
            running = beat != run.record["beat"] or now - since < DEAD_AFTER_S
        if not running:
            self.suspects.update(run.record["doing"])
            self._folder.remove(run.name)
        return running

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with self._lock:
                if self._stop.is_set():
                    return
                try:
                    if not self._folder.has(self.name):
                        self._lost = (
                            f"another run took {self.url} for itself: this one was silent for "
                            f"more than {DEAD_AFTER_S:g} s"
                        )
                        return
                    self._record["beat"] += 1
                    self._folder.write(self.name, self._record)
                except OSError as error:
                    _log.warning("cannot write to %s: %s", self.url, error)


@contextmanager
def working_on(url: str, what: str) -> Iterator[Lease]:
    """Claim a store for the time of a run.

    Raises
    ------
    BusyError
        When another run works on it.
    InputError
        When the store cannot be written.
    """
    lease = Lease(url, what)
    try:
        lease.take()
    except OSError as error:
        raise InputError(f"cannot write to {url}: {error.strerror or error}") from None
    try:
        yield lease
    finally:
        with contextlib.suppress(OSError):  # a full or vanished disk: the claim dies with us
            lease.give_back()


@functools.lru_cache(maxsize=8)
def check_seen(url: str, name: str) -> None:
    """On a worker, before its first task of a run: see that it reaches the run's store.

    Raises
    ------
    InputError
        When it does not: what it wrote would be lost, and what it reads may be something else.
    """
    if not _Folder(url).has(name):
        raise InputError(
            f"the worker on {socket.gethostname()} does not see this run in {url}: workers must "
            "reach the same store, under the same path or URL"
        )


def runs_on(url: str) -> list[OtherRun]:
    """The runs that work on a store now."""
    return [run for run in _Folder(url).runs() if _is_running(run.record) is not False]


class _Folder:
    """The objects in which runs write down that they work."""

    def __init__(self, url: str) -> None:
        self._local = "://" not in url
        self._fs, root = files_at(url)
        self._path = f"{root.rstrip('/')}/{RUNS}"
        self._new = self._local and not Path(url).exists()

    def runs(self) -> list[OtherRun]:
        """Every run that is written down and can be read."""
        try:
            paths = self._fs.ls(self._path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = []
        for path in paths:
            if not path.endswith(".json"):
                continue
            # One that is being written or removed now is seen the next time.
            with contextlib.suppress(FileNotFoundError, ValueError):
                record = json.loads(self._fs.cat_file(path))
                if _is_run(record):
                    found.append(OtherRun(path.rsplit("/", 1)[-1].removesuffix(".json"), record))
        return found

    def has(self, name: str) -> bool:
        """Whether a run is still written down."""
        return bool(self._fs.exists(f"{self._path}/{name}.json"))

    def write(self, name: str, record: dict[str, Any]) -> None:
        """Write a run down, at once: an object store does that by itself."""
        content = json.dumps(record).encode()
        if self._local:
            folder = Path(self._path)
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{name}.partial"
            partial.write_bytes(content)
            partial.replace(folder / f"{name}.json")
        else:
            self._fs.pipe_file(f"{self._path}/{name}.json", content)

    def remove(self, name: str) -> None:
        """Strike a run out, and the folder with the last of them."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._path}/{name}.json")
        if self._local:
            with contextlib.suppress(OSError):  # others are in it
                os.rmdir(self._path)
                if self._new:
                    os.rmdir(os.path.dirname(self._path))


def _is_run(record: Any) -> bool:
    """Whether a record is one that a run writes: a store may come from a stranger."""
    texts, numbers = ("what", "host", "started", "state"), ("pid", "beat", "process_started")
    return (
        isinstance(record, dict)
        and all(isinstance(record.get(n), str) and record[n].isprintable() for n in texts)
        and all(isinstance(record.get(n), int | float) for n in numbers)
        and isinstance(record.get("doing"), list)
        and all(isinstance(name, str) for name in record["doing"])
    )


def _host() -> str:
    """Name of the machine, and of the container where processes have numbers of their own."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += f"/{os.stat('/proc/self/ns/pid').st_ino}"
    return name


def _is_running(record: dict[str, Any]) -> bool | None:
    """Whether the process of a run lives; None where it cannot be seen from here."""
    if record["host"] != _host():
        return None
    try:
        process = psutil.Process(int(record["pid"]))
        same = abs(process.create_time() - float(record["process_started"])) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
