"""What a run outlives: crashes, hangs, memory, kills, two runs at once, damaged chunks."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
import zarr
from fault_stage import FAULTY, STAGES, TABLE, CrashingReader, Trouble, write_images
from typer.testing import CliRunner

import nanoarray as na
from nanoarray.archive import blocks, careful, running, store
from nanoarray.archive import lease as leases
from nanoarray.archive.engine import run_stage
from nanoarray.archive.executor import Executor, local_client
from nanoarray.archive.lease import runs_on, working_on
from nanoarray.archive.progress import progress_bars
from nanoarray.archive.schedule import run_stages
from nanoarray.archive.tasks import WorkerDiedError
from nanoarray.archive.verify import forget, verify
from nanoarray.cli import app
from nanoarray.errors import BusyError, DamagedError, InputError, NanoarrayError

HERE = Path(__file__).parent
THREADS = Executor(threads=2)


@pytest.fixture
def archive(tmp_path):
    folder = write_images(tmp_path / "in", 7)
    url = str(tmp_path / "s.zarr")
    na.ingest(folder, url)
    return folder, url


@pytest.fixture(scope="module")
def client():
    settings = dask.config.set({"distributed.scheduler.allowed-failures": 0})  # to be quick
    with settings, local_client(2, memory_limit="700MB") as client:
        client.upload_file(str(HERE / "fault_stage.py"))
        yield client


def run(url, executor=THREADS, *, overwrite=False, time_limit_s=60.0, **trouble):
    return run_stage(
        url,
        FAULTY,
        Trouble(**trouble),
        executor=executor,
        overwrite=overwrite,
        time_limit_s=time_limit_s,
    )


def start(url, *, workers=0, **trouble):
    """Start the stage in a process of its own."""
    given = ", ".join(f"{name}={value!r}" for name, value in trouble.items())
    code = f"import fault_stage; fault_stage.drive({url!r}, {given})"
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "FAULT_WORKERS": str(workers),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Wait for a process: its status, output and errors."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def values(url):
    ds = store.open_group(url, "mean").load()
    return {name: ds[name].values for name in ("mean", "half")}


def assert_equal_but(url, clean, names):
    """Every image but those named has the undisturbed values, and those named have none."""
    ids = store.open_group(url, "images")["image"].values.tolist()
    bad = np.isin(ids, names)
    found, expected = values(url), values(clean)
    for name in expected:
        np.testing.assert_array_equal(found[name][~bad], expected[name][~bad])
        assert np.isnan(found[name][bad]).all()


@pytest.fixture
def clean(archive, tmp_path):
    folder, _ = archive
    url = str(tmp_path / "clean.zarr")
    na.ingest(folder, url)
    run(url)
    return url


def test_an_image_that_hangs_is_given_up_and_reported(archive, clean):
    _, url = archive
    started = time.perf_counter()
    report = run(url, hang_on="im03", time_limit_s=0.5)
    assert time.perf_counter() - started < 30
    assert [name for name, _ in report.failed] == ["im03"]
    assert "took longer than 0.5 s" in report.failed[0][1]
    assert_equal_but(url, clean, ["im03"])


def test_an_image_that_failed_and_is_tried_again_is_made_good_in_what_reads_it(
    archive, monkeypatch
):
    """`overwrite` tries it again: what had left it out, or was computed without it, follows."""
    _, url = archive
    stages = [(stage, Trouble()) for stage in STAGES.values()]
    monkeypatch.setenv("FAULT_TROUBLE", json.dumps({"fail_on": "im03"}))
    run_stages(url, stages, executor=THREADS)
    before = store.open_group(url, "twice").load()
    assert str(before["problem"][3].values).startswith("left out: failed: ")
    monkeypatch.delenv("FAULT_TROUBLE")
    reports = run_stages(url, stages, executor=THREADS, overwrite=True)
    assert [report.blocks_computed for report in reports] == [1, 0, 1, 4]
    mean, area = values(url)["mean"], 30.0 * np.arange(7) + 6
    assert not np.isnan(mean).any()
    np.testing.assert_array_equal(store.open_group(url, "twice")["value"], 2 * mean)
    np.testing.assert_array_equal(store.open_group(url, "sums")["value"], mean + area)
    assert [r.status for r in run_stages(url, stages, executor=THREADS)] == ["unchanged"] * 4


@pytest.mark.slow
def test_an_image_that_crashes_its_worker_is_set_apart(archive, clean, client):
    _, url = archive
    report = run(url, Executor(client=client), crash_on="im03")
    assert [name for name, _ in report.failed] == ["im03"]
    assert "its process died" in report.failed[0][1]
    assert_equal_but(url, clean, ["im03"])
    again = run(url, Executor(client=client), crash_on="im03")
    assert again.status == "unchanged"


@pytest.mark.slow
def test_an_image_that_crashes_a_table_is_set_apart(archive, client):
    _, url = archive
    report = run_stage(url, TABLE, Trouble(crash_on="im03"), executor=Executor(client=client))
    assert [name for name, _ in report.failed] == ["im03"]
    assert "its process died" in report.failed[0][1]
    found = store.open_group(url, "grains").load()
    index, label = np.repeat(np.arange(7), 3), np.tile([1, 2, 3], 7)
    np.testing.assert_array_equal(found["image_index"], index)
    np.testing.assert_array_equal(found["label"], label)
    np.testing.assert_array_equal(found["area"], np.where(index == 3, np.nan, 10.0 * index + label))
    np.testing.assert_array_equal(found["problem"].values != "", index == 3)


def test_an_image_that_hangs_in_a_table_is_set_apart(archive, monkeypatch):
    _, url = archive
    monkeypatch.setattr(careful, "_own_processes", contextlib.nullcontext)  # to be quick
    stage, trouble = TABLE, Trouble(hang_on="im03")
    report = run_stage(url, stage, trouble, executor=THREADS, time_limit_s=1.0)
    assert [name for name, _ in report.failed] == ["im03"]
    assert "took longer than 1 s" in report.failed[0][1]
    found = store.open_group(url, "grains").load()
    np.testing.assert_array_equal(np.isnan(found["area"]), found["image_index"] == 3)


def test_a_table_that_cannot_leave_images_out_names_the_crash(archive, monkeypatch):
    _, url = archive
    stage = dataclasses.replace(TABLE, identity=None)

    def do_block(task):
        if task.block == 2:
            raise WorkerDiedError("its process died 4 times")
        return block_done(task)

    block_done = running.do_block
    monkeypatch.setattr(running, "do_block", do_block)
    with pytest.raises(NanoarrayError, match=r"grain 8 to 11.*its process died"):
        run_stage(url, stage, Trouble(), executor=THREADS)
    assert np.flatnonzero(store.block_keys(url, "grains") == 0).tolist() == [2]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["scan", "ingest_write"])
def test_a_file_that_crashes_its_reader_is_set_apart(tmp_path, client, module):
    """While its header is looked at, or while its pixels are read."""
    folder, url = write_images(tmp_path / "in", 5), str(tmp_path / "s.zarr")
    client.register_plugin(CrashingReader(f"nanoarray.images.{module}", "im03.tif"))
    try:
        with client.as_current():
            report = na.ingest(folder, url)
    finally:
        client.unregister_worker_plugin("crashing reader")
    assert [name for name, _ in report.failed] == ["im03"]
    images = store.open_group(url, "images").load()
    assert "its process died" in str(images["problem"].values[3])
    for i, name in enumerate(images["image"].values):
        pixels = tifffile.imread(folder / f"{name}.tif")
        stored = images["intensity"][i, : pixels.shape[0], : pixels.shape[1]]
        np.testing.assert_array_equal(stored, 0 if name == "im03" else pixels)
    assert verify(url).damage == ()


@pytest.mark.slow
def test_an_image_that_takes_all_memory_is_set_apart(archive, clean, client):
    _, url = archive
    report = run(url, Executor(client=client), eat_on="im05")
    assert [name for name, _ in report.failed] == ["im05"]
    assert_equal_but(url, clean, ["im05"])


@pytest.mark.slow
def test_a_crash_on_threads_is_set_apart_by_the_next_run(archive, clean):
    _, url = archive
    assert finish(start(url, crash_on="im03"))[0] == -signal.SIGSEGV
    status, out, err = finish(start(url, crash_on="im03"))
    assert status == 0, err
    assert "['im03']" in out
    assert_equal_but(url, clean, ["im03"])
    assert runs_on(url) == []


@pytest.mark.slow
def test_a_killed_driver_leaves_what_it_finished(archive, clean):
    _, url = archive
    process = start(url, slow_s=0.3)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if (store.block_keys(url, "mean") != 0).any():
                break
        time.sleep(0.05)
    process.kill()
    finish(process)
    done = int((store.block_keys(url, "mean") != 0).sum())
    assert 0 < done < 4
    _, out, err = finish(start(url, slow_s=0.3))
    assert out.split()[:2] == ["resumed", str(4 - done)], err
    for name, expected in values(clean).items():
        np.testing.assert_array_equal(values(url)[name], expected)


@pytest.mark.slow
def test_two_drivers_at_once_one_wins(archive, clean):
    _, url = archive
    outcomes = sorted(finish(p) for p in [start(url, slow_s=0.3) for _ in range(2)])
    assert [status for status, _, _ in outcomes] == [0, 1]
    assert "another run works on" in outcomes[1][2]
    for name, expected in values(clean).items():
        np.testing.assert_array_equal(values(url)[name], expected)
    assert verify(url).damage == ()


def test_the_same_block_run_twice_at_once(archive, clean):
    """As Dask does when a worker seems lost: every block runs twice, at the same time."""
    _, url = archive
    run(url)
    before = verify(url)
    record = store.provenance(url, "mean")
    tasks = [
        blocks.BlockTask(
            url,
            FAULTY,
            Trouble(),
            "again",
            (record["digest"], record["plan_digest"]),
            b,
            slice(2 * b, min(7, 2 * b + 2)),
        )
        for b in range(4)
    ]
    threads = [threading.Thread(target=blocks.do_block, args=(t,)) for t in [*tasks, *tasks]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(url) == before
    for name, expected in values(clean).items():
        np.testing.assert_array_equal(values(url)[name], expected)


def test_a_block_of_a_replaced_group_is_not_written(archive):
    """A task of a run that was superseded, as one may still be under way on a cluster."""
    _, url = archive
    run(url)
    record = store.provenance(url, "mean")
    late = blocks.BlockTask(
        url, FAULTY, Trouble(), "late", (record["digest"], record["plan_digest"]), 0, slice(0, 2)
    )
    run(url, factor=3.0, overwrite=True)
    expected = values(url)
    with pytest.raises(BusyError, match="differently"):
        blocks.do_block(late)
    np.testing.assert_array_equal(values(url)["mean"], expected["mean"])


def test_marks_that_another_driver_lost_are_made_good(archive, clean, monkeypatch):
    """Marks share a chunk: a second driver may overwrite those of the first."""
    _, url = archive

    def lose_one(task):
        result = fault_done(task)
        if task.block == 3 and store.block_keys(url, "mean")[0]:
            store.mark_blocks(url, "mean", {0: (0, 0)})
        return result

    fault_done = running.do_block
    monkeypatch.setattr(running, "do_block", lose_one)
    report = run(url, Executor(threads=1))
    assert report.blocks_computed == 4
    assert (store.block_keys(url, "mean") != 0).all()
    assert verify(url).damage == ()


class TestLease:
    def test_a_run_of_another_machine_is_waited_for(self, tmp_path, monkeypatch):
        url = str(tmp_path / "s.zarr")
        store.create_store(url)
        monkeypatch.setattr(leases, "DEAD_AFTER_S", 1.0)
        with working_on(url, "first") as first:
            first._record["host"] = "elsewhere"
            first._write()
            first._stop.set()  # its heart stands still
            with working_on(url, "second") as second:
                first._stop.clear()
                assert [run.name for run in runs_on(url)] == [second.name]

    def test_a_run_of_another_machine_that_lives_is_respected(self, tmp_path, monkeypatch):
        url = str(tmp_path / "s.zarr")
        store.create_store(url)
        monkeypatch.setattr(leases, "HEARTBEAT_S", 0.2)
        with working_on(url, "first") as first:
            first._record["host"] = "elsewhere"
            first._write()
            with pytest.raises(BusyError, match="`first` on elsewhere"), working_on(url, "second"):
                pass
        assert runs_on(url) == []

    def test_a_run_that_was_taken_for_dead_stops(self, tmp_path, monkeypatch):
        url = str(tmp_path / "s.zarr")
        store.create_store(url)
        monkeypatch.setattr(leases, "HEARTBEAT_S", 0.1)
        with working_on(url, "first") as first:
            for path in Path(url, ".runs").glob("*.json"):
                path.unlink()
            deadline = time.monotonic() + 10
            while not first._lost and time.monotonic() < deadline:
                time.sleep(0.05)
            with pytest.raises(BusyError, match="took"):
                first.check()

    def test_of_many_at_once_at_most_one_works(self, tmp_path):
        url = str(tmp_path / "s.zarr")
        store.create_store(url)
        inside, most, won = [], [0], [0]

        def claim():
            with contextlib.suppress(BusyError), working_on(url, "one of many"):
                inside.append(1)
                most[0] = max(most[0], len(inside))
                won[0] += 1
                time.sleep(0.3)
                inside.pop()

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1]
        assert won[0] >= 1
        assert not Path(url, ".runs").exists()


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << (at % 8)
    path.write_bytes(bytes(content))


def truncate(path, at):
    path.write_bytes(path.read_bytes()[: at % path.stat().st_size])


def lose(path, at):
    path.unlink()


@pytest.mark.parametrize("harm", [flip, truncate, lose])
@pytest.mark.parametrize(
    "array", ["mean/mean/c/1", "mean/half/c/3/0/0", "images/intensity/c/4/0/0"]
)
def test_a_damaged_chunk_is_named_and_made_anew(archive, clean, harm, array):
    folder, url = archive
    run(url)
    assert verify(url).damage == ()
    rng = np.random.default_rng(3)
    harm(Path(url, array), int(rng.integers(5, 10**6)))
    found = verify(url)
    assert [d.group for d in found.damage] == [array.split("/")[0]]
    if harm is not lose:
        assert found.damage[0].where == array
        with pytest.raises(DamagedError, match=f"chunk {array} of .*nanoarray verify"):
            na.open(url)[array.split("/c/")[0]].compute()
    forget(url, found.damage)
    na.ingest(folder, url)
    report = run(url)
    assert report.blocks_computed <= 1
    assert verify(url).damage == ()
    for name, expected in values(clean).items():
        np.testing.assert_array_equal(values(url)[name], expected)


def test_every_flipped_bit_of_metadata_or_columns_is_noticed(archive):
    _, url = archive
    run(url)
    rng = np.random.default_rng(0)
    targets = [
        Path(url, "images/height/c/0"),
        Path(url, "images/pixel_size/zarr.json"),
        Path(url, "mean/mean/zarr.json"),
        Path(url, "mean/block_key/c/0"),
    ]
    for target in targets:
        content = target.read_bytes()
        if target.name == "zarr.json":
            target.write_bytes(content.replace(b'"units": "', b'"units": "k'))
        else:
            flip(target, int(rng.integers(0, 10**6)))
        assert verify(url).damage, target
        target.write_bytes(content)
    assert verify(url).damage == ()


def test_a_damaged_column_of_the_images_is_read_anew(archive):
    folder, url = archive
    before = na.open(url)["images"].to_dataset().compute()
    flip(Path(url, "images/height/c/0"), 20)
    with pytest.raises(DamagedError):
        na.ingest(folder, url)
    forget(url, verify(url).damage)
    na.ingest(folder, url)
    after = na.open(url)["images"].to_dataset().compute()
    assert before.drop_attrs().identical(after.drop_attrs())
    assert verify(url).damage == ()


def test_another_version_of_a_kernel_is_refused_by_name(archive):
    _, url = archive
    run(url)
    newer = dataclasses.replace(FAULTY, version=2)
    with pytest.raises(InputError, match="kernel_version: 1 -> 2"):
        run_stage(url, newer, Trouble(), executor=THREADS)


def test_a_store_without_checksums_is_read_and_resumed(archive, clean):
    """As versions before checksums wrote it: one mark per chunk, no CRC, no checksum of blocks."""
    _, url = archive
    run(url)
    group = zarr.open_group(url, path="mean", mode="a")
    kept = {name: group[name][:] for name in ("mean", "half", "block_key")}
    attributes = {name: dict(group[name].attrs) for name in kept}
    dims = {name: group[name].metadata.dimension_names for name in kept}
    chunks = {"mean": (2,), "half": (1, 1024, 1024), "block_key": (1,)}
    del group["block_checksum"]
    for name, content in kept.items():
        del group[name]
        group.create_array(
            name,
            shape=content.shape,
            dtype=content.dtype,
            chunks=chunks[name],
            fill_value=0 if name == "block_key" else np.nan,
            attributes=attributes[name],
            dimension_names=dims[name],
            compressors=[zarr.codecs.ZstdCodec(level=1, checksum=True)],
        )[:] = content
    record = {k: v for k, v in group.attrs["nanoarray"].items() if k not in ("checksum", "seal")}
    group.attrs["nanoarray"] = record
    assert run(url).status == "unchanged"
    found = verify(url)
    assert found.damage == ()
    assert found.unsealed == ("mean",)
    store.mark_blocks(url, "mean", {1: (0, 0)})
    assert run(url).blocks_computed == 1
    for name, expected in values(clean).items():
        np.testing.assert_array_equal(values(url)[name], expected)


def test_verify_on_the_command_line(archive):
    """Named with exit status 1, forgotten with 0, and whole again after the same command."""
    folder, url = archive
    runner = CliRunner()
    assert runner.invoke(app, ["verify", url]).exit_code == 0
    flip(Path(url, "images/intensity/c/4/0/0"), 50)
    found = runner.invoke(app, ["verify", url, "--json"])
    assert isinstance(found.exception, DamagedError)
    assert json.loads(found.stdout)["damage"][0]["where"] == "images/intensity/c/4/0/0"
    with working_on(url, "another run"):
        busy = runner.invoke(app, ["verify", url])
        assert isinstance(busy.exception, BusyError)
        assert "working on it: `another run`" in runner.invoke(app, ["status", url]).stdout
    assert runner.invoke(app, ["verify", url, "--forget"]).exit_code == 0
    assert runner.invoke(app, ["ingest", str(folder), url, "--progress-json"]).exit_code == 0
    assert runner.invoke(app, ["verify", url]).exit_code == 0


def test_progress_for_machines(archive, capsys):
    _, url = archive
    with progress_bars(quiet=True, as_json=True) as progress:
        run_stage(url, FAULTY, Trouble(), executor=THREADS, progress=progress)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert events[0]["remaining_s"] is None
    assert (events[-1]["stage"], events[-1]["done"], events[-1]["total"]) == ("mean", 7, 7)
    assert events[-1]["remaining_s"] == 0
    assert events[-1]["per_second"] > 0


def test_other_versions_of_packages_in_half_a_group_are_refused_by_name(archive):
    """One run's blocks come from one set of versions; a group that is extended says so."""
    _, url = archive
    run(url)
    record = store.provenance(url, "mean")
    older = {**record["software"], "numpy": "1.0"}
    store.mark_blocks(url, "mean", {1: (0, 0)})
    store.set_provenance(url, "mean", {**record, "software": older, "complete": False})
    with pytest.raises(InputError, match=r"half made with other versions \(numpy: '1.0' -> "):
        run(url)
    assert run(url, overwrite=True).blocks_computed == 4
    assert "software_before" not in store.provenance(url, "mean")
    store.mark_blocks(url, "mean", {1: (0, 0)})
    store.set_provenance(url, "mean", {**record, "software": older})
    assert run(url).blocks_computed == 1
    record = store.provenance(url, "mean")
    assert [software["numpy"] for software in record["software_before"]] == ["1.0"]
    assert record["software"]["numpy"] == np.__version__
