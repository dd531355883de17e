"""Tasks of a cluster whose workers die: what Dask says of them, without a cluster."""

import re
from concurrent.futures import CancelledError

import pytest
from distributed import KilledWorker

from nanoarray.archive.executor import Executor
from nanoarray.archive.lease import working_on
from nanoarray.archive.tasks import WorkerDiedError, run_tasks
from nanoarray.errors import InputError, NanoarrayError

KILLED = KilledWorker("task", "tcp://127.0.0.1:1", 3)


class Future:
    """A task that ended; each look at it finds the next of its states, the last for ever."""

    def __init__(self, *states):
        self.states = list(states)

    @property
    def status(self):
        return self.states[0][0]

    def add_done_callback(self, tell):
        tell(self)

    def result(self, timeout=None):
        assert self.status != "lost", "waits for a result that may never come"
        _, content = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(content, Exception):
            raise content
        return content


class Lost(Future):
    """A task whose result is lost for so many looks, and then there or not."""

    def __init__(self, looks, *states):
        super().__init__(*states)
        self.looks = looks

    @property
    def status(self):
        self.looks -= 1
        return "lost" if self.looks >= 0 else super().status


class Client:
    """Gives the futures that it was made with."""

    status = "running"

    def __init__(self, *futures):
        self.futures = list(futures)

    def submit(self, function, *arguments, **how):
        return self.futures.pop(0)

    def nthreads(self):
        return {"worker": 1}

    def cancel(self, futures):
        pass


def outcomes(*futures):
    found = run_tasks(Executor(client=Client(*futures)), str, [()] * len(futures))
    return {position: (result, error) for position, result, error in found}


def test_a_result_that_died_with_its_worker_comes_from_another():
    found = outcomes(Lost(3, ("finished", "a")), Future(("finished", "b")))
    assert found == {0: ("a", None), 1: ("b", None)}


def test_a_worker_that_dies_while_a_result_is_fetched_fails_that_task_alone():
    """Dask raises it where the result is asked for: it once ended the run."""
    killed = outcomes(
        Future(("finished", KILLED)), Future(("error", KILLED)), Future(("finished", 1))
    )
    assert killed[2] == (1, None)
    for position in (0, 1):
        result, error = killed[position]
        assert result is None
        assert isinstance(error, WorkerDiedError)
        assert "its process died 4 times" in str(error)


def test_a_broken_connection_is_no_error_of_a_task_but_a_full_disk_is():
    full = OSError(28, "No space left on device")
    found = outcomes(
        Future(("finished", OSError("broken")), ("finished", 1)), Future(("error", full))
    )
    assert found == {0: (1, None), 1: (None, full)}


def test_a_scheduler_that_is_gone_is_named():
    with pytest.raises(NanoarrayError, match="the Dask scheduler is gone"):
        outcomes(Future(("cancelled", CancelledError())))


class Elsewhere(Client):
    """Calls the function, after ``arriving`` where its worker is."""

    def __init__(self, arriving):
        super().__init__()
        self.arriving = arriving

    def submit(self, function, *arguments, **how):
        self.arriving()
        try:
            return Future(("finished", function(*arguments)))
        except InputError as error:
            return Future(("error", error))


def test_a_worker_that_does_not_see_the_store_does_nothing_there(tmp_path):
    """What it wrote was lost, and the ingest said that all had been added."""
    url, mounted = tmp_path / "s.zarr", tmp_path / "mounted"
    calls = []
    with working_on(str(url), "test") as lease:
        here = Executor(client=Elsewhere(lambda: None), lease=lease)
        assert [error for *_, error in run_tasks(here, calls.append, [(1,)])] == [None]
    with working_on(str(url), "test") as lease:
        there = Executor(client=Elsewhere(lambda: url.rename(mounted)), lease=lease)
        ((_, _, error),) = run_tasks(there, calls.append, [(2,)])
        mounted.rename(url)
    assert calls == [1]
    assert re.search("does not see this run in .*s.zarr", str(error))
