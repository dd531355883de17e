"""The engine on a small stage: blocks, resuming, growing, refusing, isolating."""

import contextlib
import errno
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from nanoarray.archive import store
from nanoarray.archive.engine import LeftOut, Stage, is_current, problems, run_stage
from nanoarray.archive.executor import Executor, open_executor
from nanoarray.archive.place import CheckedStore
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.archive.store import ArrayPlan, GroupPlan
from nanoarray.errors import InputError, NanoarrayError
from nanoarray.images.ingest import ingest


class Scale(StageParameters):
    factor: float = 1.0
    fail_on: str = ""


CALLS: list[int] = []


def plan_mean(inputs, parameters):
    count = inputs["images"].sizes["image"]
    attrs = {"units": "1", "long_name": "mean intensity"}
    mean = ArrayPlan("mean", ("image",), (count,), "float64", (2,), attrs, np.nan)
    problem = ArrayPlan("problem", ("image",), (count,), "str", (2,), attrs, "")
    return GroupPlan((mean, problem), "image", count, 2)


def compute_mean(inputs, parameters, own, i):
    CALLS.append(i)
    images = inputs["images"]
    name = str(images["image"][i].values)
    if parameters.fail_on and parameters.fail_on in name:
        raise ZeroDivisionError("made to fail")
    height, width = int(images["height"][i]), int(images["width"][i])
    if height < 40:
        raise LeftOut("too small")
    return {"mean": parameters.factor * images["intensity"][i, :height, :width].values.mean()}


MEAN = Stage("mean", ("images",), Scale, 1, "image", plan_mean, compute_mean)


@pytest.fixture
def archive(tmp_path, write_tiff):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        shape = (30, 50) if k == 3 else (48 + k, 64)
        write_tiff(folder / f"im{k}.tif", rng.integers(0, 255, shape, dtype=np.uint8))
    ingest(folder, tmp_path / "s.zarr")
    CALLS.clear()
    return folder, str(tmp_path / "s.zarr")


THREADS = Executor(threads=2)


def run(url, executor=THREADS, *, overwrite=False, **parameters):
    return run_stage(url, MEAN, Scale(**parameters), executor=executor, overwrite=overwrite)


def test_values_and_left_out(archive):
    _, url = archive
    report = run(url)
    ds, images = store.open_group(url, "mean"), store.open_group(url, "images")
    for i in (0, 1, 2, 4):
        h, w = int(images.height[i]), int(images.width[i])
        assert float(ds["mean"][i]) == images.intensity[i, :h, :w].values.mean()
    assert np.isnan(ds["mean"][3])
    assert report.left_out == (("im3", "left out: too small"),)
    assert report.failed == ()
    assert report.status == "done"


def test_second_run_does_nothing(archive):
    _, url = archive
    run(url)
    CALLS.clear()
    assert run(url).status == "unchanged"
    assert CALLS == []


def test_resume_does_only_missing_blocks(archive):
    _, url = archive
    run(url)
    whole = store.open_group(url, "mean").load()
    # As an interrupted run leaves it: one block unmarked with garbage in it, not complete.
    zarr.open_group(url, path="mean")["mean"][2:4] = -7.0
    store.mark_blocks(url, "mean", {1: (0, 0)})
    store.set_provenance(url, "mean", {**store.provenance(url, "mean"), "complete": False})
    CALLS.clear()
    report = run(url)
    assert report.status == "resumed"
    assert set(CALLS) == {2, 3}
    assert whole.identical(store.open_group(url, "mean").load().assign_attrs(whole.attrs))
    assert store.provenance(url, "mean")["complete"]


def test_other_parameters_are_refused_and_named(archive):
    _, url = archive
    run(url)
    with pytest.raises(InputError, match=r"factor: 1\.0 -> 3\.0.*--overwrite"):
        run(url, factor=3.0)
    before = store.open_group(url, "mean")["mean"].values
    run(url, factor=3.0, overwrite=True)
    np.testing.assert_allclose(store.open_group(url, "mean")["mean"].values, 3 * before)


def test_one_failing_image_keeps_its_reason(archive):
    _, url = archive
    report = run(url, fail_on="im1")
    assert report.failed == (("im1", "ZeroDivisionError: made to fail"),)
    assert np.isfinite(store.open_group(url, "mean")["mean"].values[[0, 2, 4]]).all()


def test_grown_collection_computes_only_new_blocks(archive, write_tiff):
    folder, url = archive
    run(url)
    write_tiff(folder / "zz.tif", np.full((60, 64), 9, np.uint8))
    ingest(folder, url)
    CALLS.clear()
    report = run(url)
    assert set(CALLS) == {4, 5}  # the block that was half full, and nothing else
    assert report.rows == 6
    assert float(store.open_group(url, "mean")["mean"][5]) == 9.0


def test_missing_input_is_named(tmp_path, archive):
    _, url = archive
    other = Stage("later", ("tiles",), Scale, 1, "image", plan_mean, compute_mean)
    with pytest.raises(InputError, match="needs group 'tiles', which is not there"):
        run_stage(url, other, Scale(), executor=Executor(threads=1))


def broken_block(inputs, parameters, own, rows):
    if rows.start == 2:
        raise RuntimeError("broken block")
    return {"mean": np.zeros(rows.stop - rows.start)}


def test_failed_blocks_end_in_an_error_and_the_others_are_kept(archive):
    _, url = archive
    stage = Stage("mean", ("images",), Scale, 1, "row", plan_mean, broken_block)
    with pytest.raises(NanoarrayError, match=r"1 of 3 blocks failed.*image 2 to 3.*broken block"):
        run_stage(url, stage, Scale(), executor=Executor(threads=2))
    assert (store.block_keys(url, "mean") != 0).tolist() == [True, False, True]
    assert not store.provenance(url, "mean")["complete"]


def environment_at_start():
    """What this process was started with: the allocator does not see later changes."""
    text = Path("/proc/self/environ").read_text()
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def test_same_result_on_processes(archive):
    _, url = archive
    run(url)
    threads = store.open_group(url, "mean")["mean"].values
    store.delete_group(url, "mean")
    CALLS.clear()
    with open_executor(workers=2) as executor:
        assert run(url, executor).status == "done"
        if sys.platform == "linux":
            for environment in executor.client.run(environment_at_start).values():
                # Dask's own 64 kB there make arrays of a few MB cost five times as much.
                assert int(environment["MALLOC_TRIM_THRESHOLD_"]) >= 2**20
                assert environment["OMP_NUM_THREADS"] == "1"
    assert CALLS == []  # nothing was computed in this process
    np.testing.assert_array_equal(store.open_group(url, "mean")["mean"].values, threads)


def test_out_of_date_input_is_refused(archive, tmp_path):
    """A stage must not build on a group that its own inputs have left behind."""
    folder, url = archive
    run(url)
    tags = tmp_path / "t.csv"
    tags.write_text("image,pixel_size\nim0,3.5\n")
    ingest(folder, url, tags=tags)
    assert not is_current(url, "mean")
    later = Stage("later", ("images", "mean"), Scale, 1, "image", plan_mean, compute_mean)
    with pytest.raises(InputError, match="needs group 'mean', which is out of date"):
        run_stage(url, later, Scale(), executor=Executor(threads=1))
    run(url)
    assert is_current(url, "mean")
    run_stage(url, later, Scale(), executor=Executor(threads=1))


def place_fails(inputs, parameters, own, i):
    if i == 2 and parameters.fail_on == "":
        raise OSError(errno.ENOSPC, "No space left on device")
    return compute_mean(inputs, parameters, own, i)


def test_a_full_disk_is_no_property_of_an_image(archive):
    _, url = archive
    stage = Stage("mean", ("images",), Scale, 1, "image", plan_mean, place_fails)
    with pytest.raises(InputError, match="No space left"):
        run_stage(url, stage, Scale(), executor=Executor(threads=1))
    report = run(url)
    assert report.status == "resumed"
    assert report.failed == ()


def test_overwrite_tries_failed_images_again(archive):
    _, url = archive
    run(url, fail_on="im1")
    CALLS.clear()
    assert run(url, fail_on="im1").status == "unchanged"
    report = run(url, fail_on="im1", overwrite=True)
    assert set(CALLS) == {0, 1}
    assert [name for name, _ in report.failed] == ["im1"]


@pytest.mark.parametrize(
    ("grow", "nth"),
    [(False, n) for n in (1, 4, 8, 13)] + [(True, n) for n in (1, 8, 25, 45, 53, 59)],
)
def test_a_write_that_fails_anywhere_is_made_good(archive, write_tiff, monkeypatch, grow, nth):
    """The writing of an object fails once; the same commands then end as undisturbed ones."""
    folder, url = archive
    if grow:
        run(url)
        write_tiff(folder / "zz.tif", np.full((60, 64), 9, np.uint16))
    count, real = 0, CheckedStore.set

    async def failing(self, key, value):
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        await real(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(CheckedStore, "set", failing)
        with contextlib.suppress(OSError, InputError, NanoarrayError):
            ingest(folder, url)
            run(url)
    assert count >= nth
    ingest(folder, url)
    run(url)
    clean = f"{url}.clean"
    ingest(folder, clean)
    run(clean)
    for group in ("images", "mean"):
        a, b = (store.open_group(u, group).load().drop_attrs() for u in (url, clean))
        assert a.identical(b)
        assert is_current(url, group)


def test_workers_and_scheduler_exclude_each_other():
    with (
        pytest.raises(InputError, match="either --workers or --scheduler"),
        open_executor(workers=1, scheduler="tcp://127.0.0.1:1"),
    ):
        pass


def test_current_client_is_used_and_a_scheduler_can_be_named(archive):
    from distributed import Client

    _, url = archive
    with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
        with open_executor() as executor:
            assert executor.client is client
            assert run(url, executor).status == "done"
        with open_executor(scheduler=client.scheduler.address) as executor:
            assert run(url, executor).status == "unchanged"


def test_scheduler_that_does_not_answer():
    with (
        pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"),
        open_executor(scheduler="tcp://127.0.0.1:1"),
    ):
        pass


def test_problems_of_a_table_are_found_some_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_ROWS", 2)
    url = str(tmp_path / "s.zarr")
    store.create_store(url)
    text, number = {"units": "1", "long_name": "text"}, {"units": "1", "long_name": "number"}
    ids = np.array(["a", "b", "c"], dtype=object)
    store.create_group(
        url, "images", GroupPlan((), "image", 3, 1, {"image": (("image",), ids, text)})
    )
    said = np.array(["", "failed: x", "failed: x", "", "left out: y"], dtype=object)
    columns = {
        "problem": (("grain",), said, text),
        "image_index": (("grain",), np.array([0, 2, 2, 0, 1]), number),
    }
    store.create_group(url, "grains", GroupPlan((), "grain", 5, 1, columns))
    store.set_provenance(url, "grains", {"dim": "grain"})
    rows = [(1, "failed: x"), (2, "failed: x"), (4, "left out: y")]
    assert list(store.problem_rows(url, "grains")) == rows
    assert problems(url, "grains") == ([("c", "x")], [("b", "left out: y")])
