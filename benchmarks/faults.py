"""Fault campaign: what is broken on purpose, how often, and how often the result was still right.

Every trial takes a fresh copy of one small ingested archive and breaks something while four stages
run in processes of their own, two of them beside each other. Then it gives the same command again
until it ends by itself, and compares the store with that of an undisturbed run, value by value. A
re-run has to compute exactly the blocks that had no mark before it.

A kill counts where it struck work: a block that had begun was begun again after it. Others are
tried again. Stages write down when a block begins.

    python -m benchmarks.faults [--trials N] [--only NAME ...] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.blocks import BlockTask, do_block
from nanoarray.archive.verify import forget, verify

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from fault_stage import STAGES, Trouble, write_images  # noqa: E402

IMAGES = 12
#: Seconds that a kernel sleeps per image or block of rows, so that faults find it at work.
SLOW_S = 0.15
#: A command that has not ended by then counts as wrong [s].
LIMIT_S = 900
#: A fault that struck nothing is tried again, so many times as often as it is to count.
_AGAIN = 3
#: Of the commands that are given.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    "OMP_NUM_THREADS": "1",
    "FAULT_TIME_LIMIT": str(LIMIT_S),
}
#: Root of a namespace of its own may mount; outside nothing changes.
OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]


class NotPossibleError(Exception):
    """This machine does not allow a fault."""


@dataclass
class Trial:
    """One copy of the archive, and what happens to it."""

    url: str
    random: random.Random
    environment: dict[str, str]
    #: How long an undisturbed run is at work [s].
    work_s: float
    #: Whether the fault met what it was meant for.
    struck: bool = True
    #: Blocks without a mark before a re-run that ended by itself, and blocks that it computed.
    missing: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    #: What the last command that ended printed.
    said: str = ""

    def start(self, *, prefix: tuple[str, ...] = (), **given: object) -> subprocess.Popen:
        """Give the command."""
        given = {"slow_s": SLOW_S, **given}
        settings = "".join(f", {name}={value!r}" for name, value in given.items())
        # As the command line does it: one line that says what is wrong, and an exit status.
        code = (
            "import fault_stage, nanoarray.cli as cli\n"
            f"cli.app = lambda: fault_stage.drive({self.url!r}, *fault_stage.STAGES{settings})\n"
            "cli.main()"
        )
        return subprocess.Popen(
            [*prefix, sys.executable, "-W", "ignore", "-c", code],
            env=self.command_environment(),
            stdout=subprocess.PIPE,
            stderr=Path(f"{self.url}.err").open("a"),
            text=True,
            start_new_session=True,
        )

    def command_environment(self) -> dict[str, str]:
        """Environment of the command, and of workers of its own."""
        return {**self.environment, "FAULT_JOURNAL": f"{self.url}.journal"}

    def ends(self, process: subprocess.Popen) -> bool:
        """Whether a command ends by itself in time, and well."""
        try:
            self.said = process.communicate(timeout=LIMIT_S)[0]
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            return False
        return process.returncode == 0

    def finish(self, **given: object) -> bool:
        """Give the command until it ends by itself, at most three times; count what it does."""
        for _ in range(3):
            missing = BLOCKS - self.marked()
            if self.ends(self.start(**given)):
                self.missing.append(missing)
                self.computed.append(sum(int(line.split()[1]) for line in self.said.splitlines()))
                return True
        return False

    def until_busy(self, process: subprocess.Popen) -> None:
        """Wait until a block begins, and then for a random part of the time that a run takes."""
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline and not self.journal():
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, self.work_s))

    def journal(self) -> list[tuple[float, int, str]]:
        """Time, process and name of every block that began."""
        with suppress(FileNotFoundError):
            lines = Path(f"{self.url}.journal").read_text().splitlines()
            found = [line.split() for line in lines]
            return [(float(f[0]), int(f[1]), f"{f[2]}/{f[3]}") for f in found if len(f) == 4]
        return []

    def strikes(self, kill: Callable[[], None], pid: int | None = None) -> Callable[[], bool]:
        """Kill; gives the question, for later, whether work of a process, or any, was struck."""
        when = time.time()
        kill()

        def struck() -> bool:
            journal = self.journal()
            before = {name for t, p, name in journal if t < when and pid in (None, p)}
            return bool(before & {name for t, _, name in journal if t > when})

        return struck

    def marked(self) -> int:
        """Number of blocks that are finished and marked."""
        count = 0
        for name in STAGES:
            with suppress(Exception):
                count += int((store.block_keys(self.url, name) != 0).sum())
        return count


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


# --- kills ------------------------------------------------------------------------------------


def kill_worker(trial: Trial) -> bool:
    """SIGKILL to one of two workers; the run goes on by itself, and leaves nothing to do."""
    trial.environment["FAULT_WORKERS"] = "2"
    process = trial.start()
    trial.until_busy(process)
    workers = workers_of(process)
    if not workers:
        trial.struck = False
        return trial.ends(process)
    target = trial.random.choice(workers)

    def kill() -> None:
        with suppress(psutil.NoSuchProcess):
            target.kill()

    struck = trial.strikes(kill, target.pid)
    ended = trial.ends(process)
    trial.struck = struck()
    return ended and trial.marked() == BLOCKS


def kill_driver(trial: Trial) -> bool:
    """SIGKILL to the process that drives, on threads."""
    return kill_run(trial, lambda process: process.kill())


def kill_driver_of_workers(trial: Trial) -> bool:
    """SIGKILL to the process that drives two workers, which are left to themselves."""
    trial.environment["FAULT_WORKERS"] = "2"
    return kill_run(trial, lambda process: process.kill())


def kill_everything(trial: Trial) -> bool:
    """SIGKILL to driver and workers together."""
    trial.environment["FAULT_WORKERS"] = "2"
    return kill_run(trial, lambda process: kill_tree(process.pid))


def kill_run(trial: Trial, kill: Callable[[subprocess.Popen], None]) -> bool:
    """Kill a run; the same command finishes it."""
    process = trial.start()
    trial.until_busy(process)
    struck = trial.strikes(lambda: kill(process))
    process.wait()
    ended = trial.finish()
    trial.struck = struck()
    return ended


def kill_scheduler(trial: Trial) -> bool:
    """SIGKILL to the scheduler of a cluster of the command line; finished without it."""
    trial.environment["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = "3s"
    with cluster(trial) as (address, processes):
        trial.environment["FAULT_SCHEDULER"] = address
        process = trial.start()
        trial.until_busy(process)
        struck = trial.strikes(lambda: kill_tree(processes[0].pid))
        stopped = not trial.ends(process)
    del trial.environment["FAULT_SCHEDULER"]
    ended = trial.finish()
    trial.struck = stopped and struck()
    return ended


# --- images that harm -------------------------------------------------------------------------


def poison(trial: Trial) -> bool:
    """An image crashes its worker: set apart, and made good by `--overwrite`."""
    trial.environment |= {
        "FAULT_WORKERS": "2",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    }
    return one_fails(trial, "crash_on")


def poison_on_threads(trial: Trial) -> bool:
    """An image crashes the driver, and is set apart by the next run.

    That happens in `mean`, and once or twice in `grains`, where its rows may lie in two blocks: a
    run knows the blocks that were at work when the last one died.
    """
    trial.environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "0"
    trial.environment["FAULT_TROUBLE"] = json.dumps({"crash_on": an_image(trial)})
    crashes = 0
    while not trial.ends(trial.start()):
        crashes += 1
        if crashes > 3:
            return False
    return crashes > 0 and is_made_good(trial)


def hang(trial: Trial) -> bool:
    """An image hangs: given up after the time limit."""
    trial.environment["FAULT_TIME_LIMIT"] = "20"
    return one_fails(trial, "hang_on")


def eat(trial: Trial) -> bool:
    """An image takes all memory of its worker."""
    trial.environment["FAULT_TROUBLE"] = json.dumps({"eat_on": an_image(trial)})
    with cluster(trial, "--nanny", "--memory-limit", "600MB") as (address, _):
        trial.environment["FAULT_SCHEDULER"] = address
        ended = trial.ends(trial.start())
    del trial.environment["FAULT_SCHEDULER"]
    return ended and is_made_good(trial)


def an_image(trial: Trial) -> str:
    """The image that harms in a trial."""
    return f"im{random.Random(trial.url).randrange(IMAGES):02d}"


def one_fails(trial: Trial, how: str) -> bool:
    """A run in which one image of `mean` harms, and the command that makes it good."""
    trial.environment["FAULT_TROUBLE"] = json.dumps({how: an_image(trial)})
    return trial.ends(trial.start()) and is_made_good(trial)


def is_made_good(trial: Trial) -> bool:
    """The image was reported as failed; once it is sound, only what needs it is done again."""
    if f"['{an_image(trial)}']" not in trial.said.splitlines()[0]:
        return False
    del trial.environment["FAULT_TROUBLE"]
    redone = trial.ends(trial.start(overwrite=True))
    blocks = [int(line.split()[1]) for line in trial.said.splitlines()]
    # Its block of `mean` and of `twice`, its rows of `grains`, and `sums`, which reads all.
    return redone and blocks[0] == blocks[2] == 1 and blocks[1] <= 2 and trial.finish()


# --- places and runs --------------------------------------------------------------------------


def two_drivers(trial: Trial) -> bool:
    """Two runs begin together; one is refused, or begins when the other has ended."""
    first, second = trial.start(), trial.start()
    statuses = [first.wait(LIMIT_S), second.wait(LIMIT_S)]
    return 0 in statuses and set(statuses) <= {0, 1} and trial.finish()


def twice(trial: Trial) -> bool:
    """Every block of two stages is also run by another process, twice, while a run does them."""
    process = trial.start()
    trial.until_busy(process)
    tasks = []
    for name in ("mean", "grains"):
        record = store.provenance(trial.url, name)
        for block in range(-(-record["length"] // record["block"]) if record else 0):
            start = block * record["block"]
            rows = slice(start, min(start + record["block"], record["length"]))
            key = (record["digest"], record["plan_digest"])
            task = BlockTask(trial.url, STAGES[name], Trouble(), "beside", key, block, rows)
            tasks += [task, task]
    trial.random.shuffle(tasks)
    threads = [threading.Thread(target=do_block, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    trial.struck = bool(tasks) and process.poll() is None
    ended = trial.ends(process)
    for thread in threads:
        thread.join()
    return ended and trial.finish()


def disk_full(trial: Trial) -> bool:
    """A small disk fills up in the middle; the run goes on on a larger one."""
    files = [f for f in Path(trial.url).rglob("*") if f.is_file()]
    pages = sum(-(-f.stat().st_size // 4096) for f in files) + trial.random.randrange(30, 110)
    script = """
        mount -t tmpfs -o size=$1 none /mnt && cp -r "$0" /mnt/copy || exit 77
        mount --bind /mnt/copy "$0" || exit 77
        shift; "$@"; status=$?
        umount "$0"; cp -rT /mnt/copy "$0"; exit $status
    """
    prefix = (*OWN_MOUNTS, "bash", "-c", script, trial.url, str(4096 * pages))
    return place_fails(trial, prefix, "No space left on device")


def read_only(trial: Trial) -> bool:
    """The store is made read-only in the middle."""
    script = """
        mount --bind "$0" "$0" || exit 77
        seconds=$1; shift; "$@" & run=$!
        until [ -e "$0.journal" ]; do sleep 0.05; done
        sleep $seconds
        until mount -o remount,ro,bind "$0" 2> /dev/null; do sleep 0.01; done
        wait $run
    """
    seconds = trial.random.uniform(0, trial.work_s)
    prefix = (*OWN_MOUNTS, "bash", "-c", script, trial.url, str(seconds))
    return place_fails(trial, prefix, "Read-only file system")


def place_fails(trial: Trial, prefix: tuple[str, ...], message: str) -> bool:
    """A run ends with status 2 and a line that says why; the same command elsewhere finishes."""
    process = trial.start(prefix=prefix)
    trial.ends(process)
    if process.returncode == 77:
        raise NotPossibleError
    said = Path(f"{trial.url}.err").read_text()
    trial.struck = process.returncode != 0
    named = process.returncode == 2 and message in said and "Traceback" not in said
    return trial.finish() and (named or not trial.struck)


def other_parameters(trial: Trial) -> bool:
    """A half-made store is refused with other parameters, and with another kernel."""
    process = trial.start()
    trial.until_busy(process)
    struck = trial.strikes(process.kill)
    process.wait()
    refused = [trial.start(factor=3.0).wait(LIMIT_S)]
    trial.environment["FAULT_VERSION"] = "2"
    refused.append(trial.start().wait(LIMIT_S))
    del trial.environment["FAULT_VERSION"]
    said = Path(f"{trial.url}.err").read_text()
    named = "factor: 1.0 -> 3.0" in said and "kernel_version: 1 -> 2" in said
    ended = trial.finish()
    trial.struck = struck()
    return ended and refused == [2, 2] and named


# --- damage -----------------------------------------------------------------------------------


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
    """Damage a random chunk of a finished store, find it and repair it."""
    if not trial.finish():
        return False
    chunks = sorted(
        path
        for name in STAGES
        for path in Path(trial.url, name).rglob("c/**/*")
        if path.is_file() and not path.parts[-2].startswith("block_")
        if "block_" not in str(path.relative_to(trial.url))
    )
    target = trial.random.choice(chunks)
    content = target.read_bytes()
    harmed = harm(content, trial.random.randrange(len(content)))
    if harmed is None:
        target.unlink()
    else:
        target.write_bytes(harmed)
    found = verify(trial.url)
    if len({(d.group, d.block) for d in found.damage}) != 1:
        return False
    forget(trial.url, found.damage)
    trial.missing.clear()
    trial.computed.clear()
    return trial.finish()


#: Fault, and how often it is tried for each of ``--trials``.
FAULTS: dict[str, tuple[Callable[[Trial], bool], float]] = {
    "SIGKILL of a worker": (kill_worker, 1.0),
    "SIGKILL of the driver, threads": (kill_driver, 1.0),
    "SIGKILL of the driver of workers": (kill_driver_of_workers, 1.0),
    "SIGKILL of everything": (kill_everything, 1.0),
    "SIGKILL of the scheduler": (kill_scheduler, 0.7),
    "blocks run by others as well": (twice, 0.5),
    "two drivers at once": (two_drivers, 0.5),
    "image crashes its worker": (poison, 0.25),
    "image crashes the driver": (poison_on_threads, 0.25),
    "image takes all memory": (eat, 0.25),
    "image hangs": (hang, 0.25),
    "disk full": (disk_full, 0.5),
    "store made read-only": (read_only, 0.5),
    "other parameters or kernel": (other_parameters, 0.25),
    "a flipped bit": (flip, 0.5),
    "a truncated chunk": (truncate, 0.5),
    "a lost chunk": (lose, 0.5),
}


@contextmanager
def cluster(trial: Trial, *options: str) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """`dask scheduler` and two `dask worker` on the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", *options]
    if "--nanny" not in options:
        worker.append("--no-nanny")
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        worker,
        worker,
    ]
    environment = trial.command_environment() | {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(c, env=environment, **quiet) for c in commands]
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.1)
    try:
        yield address, processes
    finally:
        for process in processes:
            kill_tree(process.pid)
            process.wait()


def content(url: str) -> dict[str, np.ndarray]:
    """Every value of every stage."""
    groups = {name: store.open_group(url, name).load() for name in STAGES}
    return {f"{g}/{n}": ds[n].values for g, ds in groups.items() for n in ds.variables}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two stores hold the same values."""
    return one.keys() == other.keys() and all(
        one[n].tolist() == other[n].tolist()
        if one[n].dtype.kind in "UOT"
        else np.array_equal(one[n], other[n], equal_nan=True)
        for n in one
    )


@dataclass
class Campaign:
    """The archive that trials start from, and what an undisturbed run makes of it."""

    root: Path
    chance: random.Random
    expected: dict[str, np.ndarray] = field(default_factory=dict)
    work_s: float = 0.0
    count: int = 0

    def trial(self) -> Trial:
        """A fresh copy."""
        self.count += 1
        url = str(self.root / f"trial{self.count}.zarr")
        shutil.copytree(self.root / "base.zarr", url)
        return Trial(url, self.chance, dict(ENVIRONMENT), self.work_s)

    def try_fault(self, name: str, fault: Callable[[Trial], bool], count: int) -> None:
        """Try one fault and print its row: a trial is right when values and work are."""
        struck = right = missed = missing = computed = 0
        start = time.perf_counter()
        while struck < count and struck + missed < _AGAIN * count:
            trial = self.trial()
            try:
                ended = fault(trial)
            except NotPossibleError:
                print(f"{name:<34} not possible on this machine", flush=True)
                return
            checks = {
                "it ended well": ended,
                "it computed what was missing": trial.computed == trial.missing,
                "equal values": ended and same(content(trial.url), self.expected),
                "sound": ended and not verify(trial.url).damage,
            }
            if not all(checks.values()):
                errors = Path(f"{trial.url}.err")
                said = errors.read_text()[-3000:] if errors.exists() else ""
                print(
                    f"{name}, {trial.url}: {checks}, struck {trial.struck}, missing "
                    f"{trial.missing}, computed {trial.computed}\n{trial.said}\n{said}",
                    flush=True,
                )
            if trial.struck or not all(checks.values()):  # a wrong result counts in any case
                struck += 1
                right += all(checks.values())
                missing += sum(trial.missing)
                computed += sum(trial.computed)
            else:
                missed += 1
            shutil.rmtree(trial.url, ignore_errors=True)
        each = (time.perf_counter() - start) / max(1, struck + missed)
        row = f"{name:<34} {struck:>6} {right:>6} {missed:>15} {missing:>8} {computed:>9}"
        print(f"{row} {each:>7.1f}", flush=True)


def main() -> None:
    """Print the table."""
    global BLOCKS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12, help="of each fault of full weight")
    parser.add_argument("--only", nargs="*", help="words of the faults to try")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_images(root / "in", IMAGES)
        na.ingest(root / "in", root / "base.zarr")
        campaign = Campaign(root, random.Random(options.seed))
        clean = campaign.trial()
        if not clean.ends(clean.start()):
            sys.exit(Path(f"{clean.url}.err").read_text())
        times = [t for t, _, _ in clean.journal()]
        BLOCKS = clean.marked()
        campaign.expected, campaign.work_s = content(clean.url), max(times) - min(times)
        print(f"{BLOCKS} blocks, at work for {campaign.work_s:.1f} s")
        head = f"{'fault':<34} {'tried':>6} {'right':>6} {'struck nothing':>15}"
        print(f"{head} {'missing':>8} {'computed':>9} {'s each':>7}", flush=True)
        for name, (fault, weight) in FAULTS.items():
            if options.only and not any(word in name for word in options.only):
                continue
            campaign.try_fault(name, fault, max(1, round(options.trials * weight)))


#: Of all stages, as the undisturbed run makes them.
BLOCKS = 0

if __name__ == "__main__":
    main()
