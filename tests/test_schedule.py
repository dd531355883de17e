"""Stages of a pipeline as a graph: each begins when those it reads are done."""

import threading
import time

import numpy as np
import pytest

from nanoarray.archive.engine import Stage, StageReport
from nanoarray.archive.executor import Executor
from nanoarray.archive.schedule import _run_together
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.archive.tasks import StoppedError, run_tasks
from nanoarray.archive.turns import Turns
from nanoarray.errors import InputError

#: What the superlattice stages read of each other.
READS = {
    "prepared": (),
    "tiles": ("prepared",),
    "tile_clusters": ("tiles",),
    "grain_maps": ("prepared", "tiles"),
    "grains": ("grain_maps",),
    "grain_statistics": ("grains",),
}


def stages(reads):
    def make(name, inputs):
        stage = Stage(name, inputs, StageParameters, 1, "image", lambda *_: None, lambda *_: {})
        return stage, StageParameters()

    return [make(name, ("images", *inputs)) for name, inputs in reads.items()]


class Recorder:
    """Stands for `run_stage`: notes when stages begin and end; some wait for others to begin."""

    def __init__(self, reads, beside=None):
        self.reads, self.beside = reads, beside or {}
        self.begun = {name: threading.Event() for name in reads}
        self.ended, self.priority = [], {}

    def __call__(self, stage, parameters, *, executor):
        assert set(self.reads[stage.name]) <= set(self.ended)
        self.priority[stage.name] = executor.priority
        self.begun[stage.name].set()
        other = self.beside.get(stage.name)
        assert other is None or self.begun[other].wait(30)
        self.ended.append(stage.name)
        return StageReport(stage.name, "done", 1, 1, 1, 0.0)


def test_stages_that_do_not_read_each_other_run_at_the_same_time():
    run = Recorder(READS, {"tile_clusters": "grain_statistics"})  # ends after that has begun
    reports = _run_together(run, stages(READS), Executor())
    assert [report.stage for report in reports] == list(READS)
    assert run.ended.index("tile_clusters") > run.ended.index("grains")


def test_what_others_wait_for_goes_first():
    run = Recorder(READS)
    _run_together(run, stages(READS), Executor())
    assert run.priority == {
        "prepared": 5,
        "tiles": 4,
        "tile_clusters": 0,
        "grain_maps": 2,
        "grains": 1,
        "grain_statistics": 0,
    }


def test_a_random_graph_runs_every_stage_once_after_what_it_reads():
    rng = np.random.default_rng(0)
    for _ in range(20):
        names = [f"s{k}" for k in range(8)]
        reads = {n: tuple(m for m in names[:k] if rng.random() < 0.3) for k, n in enumerate(names)}
        run = Recorder(reads)
        reports = _run_together(run, stages(reads), Executor())
        assert [report.stage for report in reports] == names
        assert sorted(run.ended) == names


def test_a_stage_that_fails_stops_the_others_and_is_the_one_that_is_named():
    executor, beside = Executor(threads=1), threading.Event()

    def run(stage, parameters, *, executor):
        if stage.name == "a":
            assert beside.wait(30)
            raise InputError("a is wrong")
        assert stage.name == "b"  # c reads a, and never begins
        for _ in run_tasks(executor, lambda: (beside.set(), time.sleep(0.01)), [()] * 100_000):
            pass

    with pytest.raises(InputError, match="a is wrong"):
        _run_together(run, stages({"a": (), "b": (), "c": ("a",)}), executor)
    with pytest.raises(StoppedError):
        list(run_tasks(executor, str, [()]))


def test_a_phase_alone_is_alone():
    turns, inside, most = Turns(), [], []

    def phase(alone):
        with turns.alone() if alone else turns.together():
            inside.append(alone)
            most.append(list(inside))
            time.sleep(0.002)
            inside.remove(alone)

    threads = [threading.Thread(target=phase, args=(k % 3 == 0,)) for k in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 24
    assert all(seen == [True] or not any(seen) for seen in most)
