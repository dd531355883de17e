"""Fault campaign: what is broken on purpose, how often, and how often the result was still right.

Every trial takes a fresh copy of one small ingested archive, breaks something at a random moment
while a stage runs in processes of its own, then gives the same command again until it ends by
itself, and compares the store with that of an undisturbed run, value by value. A re-run has to
compute exactly the blocks that had no mark before it.

    python -m benchmarks.faults [--trials N] [--quick] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.verify import forget, verify

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from fault_stage import BLOCK, drive, write_images  # noqa: E402

IMAGES = 24
#: Seconds that the kernel sleeps per image, so that faults find it at work.
SLOW_S = 0.15
#: Longest wait between the first mark and the fault [s]: most of them meet a run at work.
WAIT_S = 2.0
#: A command that has not ended by then counts as wrong [s].
LIMIT_S = 900
#: Of the commands that are given.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Trial:
    """One copy of the archive, and what happens to it."""

    url: str
    random: random.Random
    environment: dict[str, str]
    #: Blocks without a mark before a re-run that ended by itself, and blocks that it computed.
    missing: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)

    def start(self, **trouble: object) -> subprocess.Popen:
        """Give the command."""
        given = ", ".join(f"{k}={v!r}" for k, v in {"slow_s": SLOW_S, **trouble}.items())
        code = f"import fault_stage; fault_stage.drive({self.url!r}, {given})"
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=Path(f"{self.url}.err").open("a"),
            text=True,
            start_new_session=True,
        )

    def until_busy(self, process: subprocess.Popen) -> None:
        """Wait until blocks are being done, and then for a random time."""
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline and not self.marked():
            time.sleep(0.02)
        time.sleep(self.random.uniform(0, WAIT_S))

    def marked(self) -> set[int]:
        """Blocks that are finished and marked."""
        with suppress(Exception):
            return set(np.flatnonzero(store.block_keys(self.url, "mean")).tolist())
        return set()

    def finish(self) -> bool:
        """Give the command until it ends by itself, at most three times; count what it does."""
        for _ in range(3):
            missing = IMAGES // BLOCK - len(self.marked())
            process = self.start()
            if self.ends(process):
                self.missing.append(missing)
                self.computed.append(self.blocks_of(process))
                return True
        return False

    def ends(self, process: subprocess.Popen) -> bool:
        """Whether a command ends by itself in time, and well."""
        try:
            return process.wait(LIMIT_S) == 0
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            return False

    def blocks_of(self, process: subprocess.Popen) -> int:
        """How many blocks a command says that it computed."""
        words = process.stdout.read().split() if process.stdout else []
        return int(words[1]) if len(words) > 1 else -1


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all below it."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Worker processes below a driver."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [c for c in children if "spawn_main" in " ".join(c.cmdline())]
    return []


# --- faults -----------------------------------------------------------------------------------


def kill_worker(trial: Trial) -> bool:
    """SIGKILL to one of two workers; the run goes on by itself, and leaves nothing to do."""
    trial.environment["FAULT_WORKERS"] = "2"
    process = trial.start()
    trial.until_busy(process)
    workers = workers_of(process)
    if workers:
        with suppress(psutil.NoSuchProcess):
            trial.random.choice(workers).kill()
    ended = trial.ends(process)
    del trial.environment["FAULT_WORKERS"]
    return ended and trial.finish()


def kill_driver(trial: Trial) -> bool:
    """SIGKILL to the process that drives, on threads."""
    process = trial.start()
    trial.until_busy(process)
    process.kill()
    process.wait()
    return trial.finish()


def kill_driver_of_workers(trial: Trial) -> bool:
    """SIGKILL to the process that drives two workers, which are left to themselves."""
    trial.environment["FAULT_WORKERS"] = "2"
    process = trial.start()
    trial.until_busy(process)
    process.kill()
    process.wait()
    return trial.finish()


def kill_everything(trial: Trial) -> bool:
    """SIGKILL to driver and workers together."""
    trial.environment["FAULT_WORKERS"] = "2"
    process = trial.start()
    trial.until_busy(process)
    kill_tree(process.pid)
    process.wait()
    return trial.finish()


def kill_scheduler(trial: Trial) -> bool:
    """SIGKILL to the scheduler of a cluster of the command line, then a new cluster."""
    with cluster() as (address, processes):
        trial.environment["FAULT_SCHEDULER"] = address
        trial.environment["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = "3s"
        process = trial.start()
        trial.until_busy(process)
        kill_tree(processes[0].pid)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LIMIT_S)
    with cluster() as (address, _):
        trial.environment["FAULT_SCHEDULER"] = address
        return trial.finish()


def two_drivers(trial: Trial) -> bool:
    """Two runs begin together; one is refused, or begins when the other has ended."""
    first, second = trial.start(), trial.start()
    statuses = [first.wait(LIMIT_S), second.wait(LIMIT_S)]
    return 0 in statuses and set(statuses) <= {0, 1}


def flip(trial: Trial) -> bool:
    """A bit of a finished chunk flips; verify names it, the same command repairs it."""
    return damage(trial, change)


def truncate(trial: Trial) -> bool:
    """A finished chunk is cut short."""
    return damage(trial, lambda content, at: content[:at])


def lose(trial: Trial) -> bool:
    """A finished chunk vanishes."""
    return damage(trial, nothing)


def change(content: bytes, at: int) -> bytes:
    """The content with one bit flipped."""
    return content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]


def nothing(content: bytes, at: int) -> None:
    """What is left of a chunk that vanished."""
    del content, at


def damage(trial: Trial, harm: Callable[[bytes, int], bytes | None]) -> bool:
    """Damage a random chunk of a finished group, find it and repair it."""
    if not trial.finish():
        return False
    chunks = sorted(
        p
        for n in ("mean", "half")
        for p in Path(trial.url, "mean", n, "c").rglob("*")
        if p.is_file()
    )
    target = trial.random.choice(chunks)
    content = target.read_bytes()
    harmed = harm(content, trial.random.randrange(len(content)))
    if harmed is None:
        target.unlink()
    else:
        target.write_bytes(harmed)
    found = verify(trial.url)
    if len({d.block for d in found.damage}) != 1:
        return False
    forget(trial.url, found.damage)
    trial.missing.clear()
    trial.computed.clear()
    return trial.finish()


FAULTS: dict[str, tuple[Callable[[Trial], bool], float]] = {
    "SIGKILL of a worker": (kill_worker, 1.0),
    "SIGKILL of the driver, threads": (kill_driver, 1.0),
    "SIGKILL of the driver of workers": (kill_driver_of_workers, 1.0),
    "SIGKILL of everything": (kill_everything, 1.0),
    "SIGKILL of the scheduler": (kill_scheduler, 0.75),
    "two drivers at once": (two_drivers, 0.5),
    "a flipped bit": (flip, 0.5),
    "a truncated chunk": (truncate, 0.5),
    "a lost chunk": (lose, 0.5),
}


@contextmanager
def cluster() -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """`dask scheduler` and two `dask worker` on the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = str(Path(sys.executable).parent / "dask")
    worker = [dask, "worker", address, "--nthreads", "1", "--no-dashboard"]
    commands = [
        [dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        worker,
        worker,
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(c, env=ENVIRONMENT, **quiet) for c in commands]
    try:
        yield address, processes
    finally:
        for process in processes:
            kill_tree(process.pid)
            process.wait()


def content(url: str) -> dict[str, np.ndarray]:
    """Every value of the group."""
    ds = store.open_group(url, "mean").load()
    return {str(n): ds[n].values for n in ds.variables}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two groups hold the same values."""
    return one.keys() == other.keys() and all(
        one[n].tolist() == other[n].tolist()
        if one[n].dtype.kind in "UOT"
        else np.array_equal(one[n], other[n], equal_nan=True)
        for n in one
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12, help="of each fault of full weight")
    parser.add_argument("--quick", action="store_true", help="one trial each")
    parser.add_argument("--only", nargs="*", help="words of the faults to try")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_images(root / "in", IMAGES)
        na.ingest(root / "in", root / "base.zarr")
        shutil.copytree(root / "base.zarr", root / "clean.zarr")
        drive(str(root / "clean.zarr"), slow_s=SLOW_S)
        expected = content(str(root / "clean.zarr"))
        head = f"{'fault':<34} {'tried':>6} {'equal':>6} {'interrupted':>12}"
        print(f"{head} {'missing':>8} {'computed':>9} {'s each':>7}", flush=True)
        for name, (fault, weight) in FAULTS.items():
            if options.only and not any(word in name for word in options.only):
                continue
            count = 1 if options.quick else max(1, round(options.trials * weight))
            try_fault(root, name, fault, count, chance, expected)


def try_fault(
    root: Path,
    name: str,
    fault: Callable[[Trial], bool],
    count: int,
    chance: random.Random,
    expected: dict[str, np.ndarray],
) -> None:
    """Try one fault and print its row: a trial is right when values and amount of work are."""
    right = interrupted = missing = computed = 0
    start = time.perf_counter()
    for k in range(count):
        url = str(root / f"trial{k}.zarr")
        shutil.copytree(root / "base.zarr", url)
        trial = Trial(url, chance, dict(ENVIRONMENT))
        ended = fault(trial)
        checks = {
            "it ended well": ended,
            "it computed what was missing": trial.computed == trial.missing,
            "equal values": same(content(url), expected),
            "sound": not verify(url).damage,
        }
        right += all(checks.values())
        if not all(checks.values()):
            said = Path(f"{url}.err").read_text()[-2000:]
            print(f"{name}, trial {k}: {checks}, {trial.missing}, {trial.computed}\n{said}")
        interrupted += any(trial.missing)
        missing += sum(trial.missing)
        computed += sum(trial.computed)
        shutil.rmtree(url, ignore_errors=True)
    each = (time.perf_counter() - start) / count
    print(
        f"{name:<34} {count:>6} {right:>6} {interrupted:>12} {missing:>8} {computed:>9} "
        f"{each:>7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
