"""Hostile files: a short run of the fuzz, and folders that are hostile."""

from __future__ import annotations

import importlib.util
import os
import sys

import fuzz_readers
import numpy as np
import pytest
import tifffile
from fuzz_folders import VALUES, folders, write_folder
from fuzz_readers import case, corpus, read_everything, run

from nanoarray.errors import ImageError, InputError
from nanoarray.images.read import find_micrographs, open_source, read_micrograph

needs_libraries = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("ncempy", "h5py", "mrcfile")),
    reason="the extra `microscopes` is not installed",
)


@needs_libraries
def test_a_case_is_made_from_its_number_alone():
    assert [case(n) for n in range(40)] == [case(n) for n in range(40)]
    assert case(5) != case(5, seed=1)


@needs_libraries
def test_cases_do_not_change_what_others_are_made_of():
    """Two changes may meet in one value: in case 1345 of seed 1 it was to hold itself."""
    before = repr(VALUES)
    for seed, number in [(1, 1345), *((0, n) for n in range(1, 600, 6))]:
        case(number, seed=seed)
    assert repr(VALUES) == before


@needs_libraries
@pytest.mark.parametrize("name", ["plain.tif", "ome.tif", "velox.emd", "a.dm3", "a.ser", "a.mrc"])
def test_the_corpus_is_valid(tmp_path, name):
    """Damage to files that were never readable would show nothing."""
    path = tmp_path / name
    path.write_bytes(corpus()[name])
    assert read_everything(path) == "image"


@pytest.mark.parametrize("name", ["v2.zarr", "gzip.zarr", "v3.zarr", "shards.zarr", "stack.zarr"])
def test_the_folders_are_valid(tmp_path, name):
    write_folder(tmp_path / name, folders()[name])
    assert read_everything(tmp_path / name) == "image"


def test_what_a_reader_lets_through_is_a_finding(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.eye(9, dtype=np.uint8))
    monkeypatch.setattr("nanoarray.images.read.frames_of", lambda source: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_everything(path)


on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the memory limit is Linux's"
)


@needs_libraries
@on_linux
def test_memory_that_is_asked_for_but_never_taken_is_no_finding(tmp_path, monkeypatch):
    name, content = case(5805, seed=1)  # a length of 36 petabytes, which HDF5 believes
    path = tmp_path / name
    path.write_bytes(content)
    assert read_everything(path) == "no memory"
    assert fuzz_readers.asks_in_vain(path)

    taken = iter([0, 2 * fuzz_readers.MEMORY_BYTES])
    monkeypatch.setattr(fuzz_readers, "_most_memory", lambda: next(taken))
    assert not fuzz_readers.asks_in_vain(path)


@needs_libraries
@on_linux
def test_a_short_run_finds_nothing():
    counts, findings, _ = run(150, seed=7)
    assert findings == []
    assert counts["image"] > 10
    assert counts["refused"] > 50


# --- folders ----------------------------------------------------------------------------------


def test_loops_of_links_end(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.eye(9, dtype=np.uint8))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "gone.tif").symlink_to(tmp_path / "nothing.tif")
    found = {path.name for path in find_micrographs(tmp_path)}
    assert "a.tif" in found
    assert found <= {"a.tif", "gone.tif"}
    with pytest.raises(ImageError, match="not exist"):
        read_micrograph(tmp_path / "gone.tif")
    with pytest.raises((ImageError, InputError)):
        read_micrograph(tmp_path / "self")


@pytest.mark.parametrize(
    "name", ["試料 1.tif", "صورة.tif", "🔬.tif", "a\u202eb.tif", "x" * 200 + ".tif"]
)
def test_names_in_any_script(tmp_path, name):
    tifffile.imwrite(tmp_path / name, np.eye(9, dtype=np.uint8))
    [path] = find_micrographs(tmp_path)
    assert path.name == name
    assert read_micrograph(path).pixels.shape == (9, 9)


def test_a_file_that_may_not_be_read_has_a_reason(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.eye(9, dtype=np.uint8))
    path.chmod(0)
    if os.access(path, os.R_OK):  # as root it may: then the system's answer is made up

        def denied(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(ImageError, match="Permission denied"):
        open_source(path)


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="not a file"):
        open_source(tmp_path / "a.tif")
