"""Where it runs: a Dask cluster of the command line, Ctrl-C, an object store, batch scripts."""

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fault_stage import drive, write_images

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.executor import open_executor
from nanoarray.archive.lease import working_on
from nanoarray.archive.tasks import run_tasks
from nanoarray.archive.verify import forget, verify
from nanoarray.errors import BusyError, DamagedError

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", **more}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def spawn(*words, **more):
    return subprocess.Popen(
        [*map(str, words)],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell starts its background jobs deaf to Ctrl-C, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stop(*processes):
    """End processes and all they started."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def start_cluster(port):
    """`dask scheduler` and two `dask worker` on the loopback interface."""
    address = f"tcp://127.0.0.1:{port}"
    scheduler = spawn(
        BIN / "dask", "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"
    )
    workers = [
        spawn(BIN / "dask", "worker", address, "--nthreads", 1, "--no-dashboard") for _ in range(2)
    ]
    return address, [scheduler, *workers]


@pytest.fixture(scope="module")
def cluster():
    from distributed import Client

    address, processes = start_cluster(free_port())
    with Client(address, timeout="60s", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield address
    stop(*processes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("in"), 9)


@pytest.fixture(scope="module")
def clean(folder, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("clean") / "s.zarr")
    na.ingest(folder, url)
    drive(url)
    return values(url)


def values(url):
    ds = store.open_group(url, "mean").load()
    return {name: ds[name].values for name in ("mean", "half")}


def assert_same(url, expected):
    found = values(url)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    assert verify(url).damage == ()


def test_a_cluster_of_the_command_line(cluster, folder, clean, tmp_path, monkeypatch, capsys):
    url = str(tmp_path / "s.zarr")
    monkeypatch.chdir(tmp_path)  # which is not where the workers were started
    na.ingest(folder, "s.zarr", scheduler=cluster)
    monkeypatch.setenv("FAULT_SCHEDULER", cluster)
    drive(url)
    assert "done 5 []" in capsys.readouterr().out
    assert_same(url, clean)


def test_what_workers_log_reaches_the_user(cluster, caplog):
    def say():
        logging.getLogger("nanoarray.archive").warning("a line of process %d", os.getpid())
        return os.getpid()

    with open_executor(scheduler=cluster) as executor:
        ((_, process, _),) = run_tasks(executor, say, [()])
        line, deadline = f"a line of process {process}", time.monotonic() + 30
        while line not in caplog.messages and time.monotonic() < deadline:
            time.sleep(0.05)
    assert process != os.getpid()
    assert line in caplog.messages


def test_a_notebook_with_a_client_of_its_own(cluster, folder, clean, tmp_path):
    from distributed import Client

    url = str(tmp_path / "s.zarr")
    with Client(cluster) as client:
        with open_executor() as executor:
            assert executor.client is client
        na.ingest(folder, url)
        drive(url)
    assert_same(url, clean)


def test_a_scheduler_that_is_killed(folder, clean, tmp_path):
    """The run ends with one sentence; with a new cluster the same command finishes it."""
    url = str(tmp_path / "s.zarr")
    na.ingest(folder, url)
    port = free_port()
    address, processes = start_cluster(port)
    code = f"import fault_stage; fault_stage.drive({url!r}, slow_s=0.4)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    settings = {
        "FAULT_SCHEDULER": address,
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
    }
    run = spawn(*command, **settings)
    wait_for_a_block(url)
    os.killpg(processes[0].pid, signal.SIGKILL)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "the Dask scheduler is gone" in out
    stop(*processes)
    done = int((store.block_keys(url, "mean") != 0).sum())
    address, processes = start_cluster(port)
    again = spawn(*command, **settings)
    out, _ = again.communicate(timeout=120)
    stop(*processes)
    assert f"resumed {5 - done} []" in out
    assert_same(url, clean)


def wait_for_a_block(url):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if "mean" in store.group_names(url) and (store.block_keys(url, "mean") != 0).any():
            return
        time.sleep(0.05)
    raise AssertionError("no block was done")


def test_ctrl_c_ends_in_one_line(folder, tmp_path):
    """Ctrl-C reaches every process of a terminal: none of them may answer with a traceback."""
    from nanoarray.simulate.archive import simulate_archive

    simulate_archive(tmp_path / "in", image_count=6, seed=0, height_px=300, width_px=300)
    url = str(tmp_path / "s.zarr")
    na.ingest(tmp_path / "in", url)
    run = spawn(
        *(sys.executable, "-m", "nanoarray.cli", "run", "superlattice", url),
        *("--workers", "2", "--progress-json"),
    )
    for line in run.stdout:
        if line.startswith("{"):
            break
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)
    rest = run.stdout.read()
    assert run.wait(60) == 1, rest
    assert "Traceback" not in rest
    said = [line for line in rest.splitlines() if not line.startswith("{")]
    assert said == ["nanoarray: interrupted: finished blocks are kept; run the same command again"]
    run.stdout.close()


def test_slurm_script():
    """What the how-to recommends gives a batch script with the settings that it names."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    import asyncio

    text = (HERE.parent / "docs/how-to/run-on-slurm.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    call = re.search(r"SLURMCluster\((.*?)\n\)", code, re.DOTALL)[1]
    options = eval(f"dict({call})")  # noqa: S307 -- our own documentation

    async def script():
        here = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
        async with jobqueue.SLURMCluster(
            **options, scheduler_options=here, asynchronous=True
        ) as cluster:
            return cluster.job_script()

    found = asyncio.run(script())
    for line in ("#SBATCH -p cpu", "#SBATCH -t 04:00:00", "#SBATCH -A materials"):
        assert line in found
    assert "MALLOC_TRIM_THRESHOLD_=134217728" in found
    assert "OMP_NUM_THREADS=1" in found
    assert re.search(r"--nthreads 1 .*--nworkers 16|--nworkers 16 .*--nthreads 1", found)


@pytest.fixture(scope="module")
def bucket():
    """A local S3 server, a process of its own, with an empty bucket."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import botocore.session
    from botocore.exceptions import BotoCoreError

    port = free_port()
    quiet = "import logging; logging.getLogger('werkzeug').disabled = True"
    serve = f"{quiet}; from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    server = spawn(sys.executable, "-c", serve)
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        client = botocore.session.get_session().create_client("s3")
        for _ in range(200):
            with contextlib.suppress(BotoCoreError):
                client.create_bucket(Bucket="group")
                break
            time.sleep(0.1)
        yield client
        client.close()
    stop(server)


def test_an_object_store_from_ingest_to_verify(bucket, folder, clean, capsys, monkeypatch):
    """No rename, no lock: the whole way on S3, from several processes, with a damaged object."""
    url = "s3://group/s.zarr"
    na.ingest(folder, url)
    monkeypatch.setenv("FAULT_WORKERS", "2")
    assert store.group_names(url) == ["images"]
    drive(url)
    assert "mean" in store.group_names(url)  # which other processes wrote
    assert "done 5 []" in capsys.readouterr().out
    assert_same(url, clean)
    rows = {row["group"]: row for row in na.status(url)}
    assert rows["mean"]["blocks_done"] == rows["mean"]["blocks"] == 5
    assert rows["mean"]["bytes"] > 0
    key = "s.zarr/mean/half/c/4/0/0"
    content = bytearray(bucket.get_object(Bucket="group", Key=key)["Body"].read())
    content[len(content) // 2] ^= 4
    bucket.put_object(Bucket="group", Key=key, Body=bytes(content))
    found = verify(url)
    assert [d.where for d in found.damage] == ["mean/half/c/4/0/0"]
    with pytest.raises(DamagedError, match="mean/half/c/4/0/0 of s3://group"):
        na.open(url)["mean"]["half"].compute()
    forget(url, found.damage)
    monkeypatch.delenv("FAULT_WORKERS")
    drive(url)
    assert "resumed 1 []" in capsys.readouterr().out
    assert_same(url, clean)
    left = bucket.list_objects_v2(Bucket="group", Prefix="s.zarr/.runs/")
    assert left["KeyCount"] == 0


def test_what_another_process_writes_into_a_bucket_is_seen_and_deleted(bucket):
    url = "s3://group/listed.zarr"
    store.create_store(url)
    values = {"x": (("image",), np.arange(3.0), {"units": "1", "long_name": "x"})}
    store.create_group(url, "grains", store.GroupPlan((), "image", 3, 1, values))
    assert list(na.open(url).children) == store.group_names(url) == ["grains"]
    store.delete_group(url, "grains")
    store.create_group(url, "grains", store.GroupPlan((), "image", 3, 1, values))
    found = bucket.list_objects_v2(Bucket="group", Prefix="listed.zarr/grains/")["Contents"]
    for entry in found:  # as if another process made them: a group, and chunks of this one
        source = {"Bucket": "group", "Key": entry["Key"]}
        other = entry["Key"].replace("grains/", "crystals/")
        bucket.copy_object(Bucket="group", Key=other, CopySource=source)
        if "/c/" in entry["Key"]:
            bucket.copy_object(Bucket="group", Key=entry["Key"] + "7", CopySource=source)
    assert {*na.open(url).children} == {*store.group_names(url)} == {"grains", "crystals"}
    store.delete_group(url, "grains")
    store.delete_group(url, "crystals")
    left = bucket.list_objects_v2(Bucket="group", Prefix="listed.zarr/")["Contents"]
    assert [entry["Key"] for entry in left] == ["listed.zarr/zarr.json"]


def test_one_run_at_a_time_on_an_object_store(bucket):
    url = "s3://group/lease.zarr"
    store.create_store(url)
    with (
        working_on(url, "first"),
        pytest.raises(BusyError, match="another run works on s3://group"),
        working_on(url, "second"),
    ):
        pass
    with working_on(url, "third"):
        pass
