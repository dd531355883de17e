"""Places that cannot be used: a full disk in the middle of a run, a store made read-only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fault_stage import drive, write_images

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.verify import verify

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
#: Root of a namespace of its own may mount; outside nothing changes.
OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture(scope="module")
def _may_mount():
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    done = subprocess.run([*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"])
    if done.returncode:
        pytest.skip("mounting is not allowed here")


@pytest.fixture
def archive(tmp_path):
    folder = write_images(tmp_path / "in", 8, 300)
    url = str(tmp_path / "s.zarr")
    na.ingest(folder, url)
    return url


def shell(script, *arguments):
    """Run a script where mounts are its own: status and all it says."""
    done = subprocess.run(
        [*OWN_MOUNTS, "bash", "-c", script, "bash", sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.usefixtures("_may_mount")
def test_a_disk_that_fills_up_in_the_middle(archive, tmp_path):
    """The stage fills a small disk; what it finished is resumed on a larger one."""
    clean = str(tmp_path / "clean.zarr")
    shutil.copytree(archive, clean)
    drive(clean, slow_s=0.05)
    disk, out = tmp_path / "disk", tmp_path / "out.zarr"
    disk.mkdir()
    used = sum(f.stat().st_size for f in Path(archive).rglob("*") if f.is_file())
    code = (
        "import sys, fault_stage, nanoarray.cli as cli\n"
        "cli.app = lambda: fault_stage.drive(sys.argv[1], slow_s=0.05)\n"
        "cli.main()"
    )
    script = f"""
        mount -t tmpfs -o size={used + 1_200_000} none {disk} && cp -r {archive} {disk}/s.zarr
        "$1" -W ignore -c '{code}' {disk}/s.zarr; status=$?
        cp -r {disk}/s.zarr {out}; exit $status
    """
    status, said = shell(script)
    assert status == 2, said
    assert "No space left on device" in said
    assert "Traceback" not in said
    done = int((store.block_keys(str(out), "mean") != 0).sum())
    assert 0 < done < 4
    drive(str(out), slow_s=0.05)
    found, expected = (store.open_group(u, "mean").load() for u in (str(out), clean))
    for name in ("mean", "half"):
        np.testing.assert_array_equal(found[name].values, expected[name].values)
    assert verify(str(out)).damage == ()


@pytest.mark.usefixtures("_may_mount")
def test_a_store_made_read_only(archive):
    """Reading and verifying work; a run says in one line that it cannot write."""
    drive(archive)
    script = f"""
        mount --bind {archive} {archive} && mount -o remount,ro,bind {archive} || exit 77
        "$1" -W ignore -m nanoarray.cli status {archive} || exit 10
        "$1" -W ignore -m nanoarray.cli verify {archive} || exit 11
        "$1" -W ignore -m nanoarray.cli table {archive} images > /dev/null || exit 12
        "$1" -W ignore -m nanoarray.cli run superlattice {archive}
    """
    status, said = shell(script)
    if status == 77:
        pytest.skip("mounting read-only is not allowed here")
    assert status == 2, said
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"nanoarray: cannot write to {archive}")
    assert "Read-only file system" in last
