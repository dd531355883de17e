"""``nanoarray inspect``: what it says is what an ingest makes of the same files."""

import json
import math
import os
from functools import partial

import numpy as np
import pytest
import tifffile

import nanoarray as na
from nanoarray.simulate.fei_tiff import write_fei_tiff

RNG = np.random.default_rng(1)


@pytest.fixture
def run(cli):
    return partial(cli, "inspect")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    pixels = RNG.integers(0, 255, (60, 80), np.uint8)
    write_fei_tiff(place / "S1_22degC.tif", pixels, pixel_size_nm=2.5)
    stack = RNG.integers(0, 9, (2, 30, 40), np.uint16)
    tifffile.imwrite(place / "stack.tif", stack, photometric="minisblack", metadata=None)
    (place / "bad.tif").write_bytes(b"junk")
    return place


def test_json_says_what_an_ingest_makes(run, folder, tmp_path):
    status, out, _ = run(folder, "--json", "--pattern", "{sample}_{temperature:g}degC")
    assert status == 3
    found = {f"{e['path'].rsplit('/')[-1]}#{e['frame']}": e for e in json.loads(out)}
    assert list(found) == ["S1_22degC.tif#", "bad.tif#", "stack.tif#1", "stack.tif#2"]
    na.ingest(folder, tmp_path / "s.zarr", pattern="{sample}_{temperature:g}degC")
    images = na.open(tmp_path / "s.zarr")["images"].to_dataset().compute()
    for name, entry in found.items():
        stem, frame = name.split(".tif#")
        row = images.sel(image=f"{stem}#{frame}" if frame else stem)
        assert entry["ok"] == bool(row.ok)
        assert entry["problem"] == str(row.problem.values)
        assert (entry["height_px"], entry["width_px"]) == (int(row.height), int(row.width))
        known = entry["pixel_size_nm"]
        assert (math.nan if known is None else known) == pytest.approx(
            float(row.pixel_size), nan_ok=True
        )
        assert entry["pixel_size_source"] == str(row.pixel_size_source.values)
        assert entry["pixel_size_agreement"] == str(row.pixel_size_agreement.values)
    first = found["S1_22degC.tif#"]
    assert first["tags"]["temperature"] == 22
    assert first["tags"]["sample"] == "S1"
    assert first["pixel_size_readings"][0]["used"] is True
    assert "does not match the pattern" in found["stack.tif#1"]["warnings"][-1]
    assert "one of 2 images" in found["stack.tif#1"]["warnings"][0]


def test_pixels_that_are_not_square_are_told(run, tmp_path):
    pixels = RNG.integers(0, 255, (60, 80), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, resolution=(1e7, 5e6), resolutionunit=3)
    _, out, _ = run(tmp_path / "a.tif")
    assert "1 x 2 nm" in out
    assert "pixels are not square (1 nm along x, 2 nm along y)" in " ".join(out.split())


def test_files_of_one_name_are_told_apart(run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    status, out, _ = run(tmp_path)
    assert status == 3
    for name in ("a", "b"):
        assert f"{name}/x.png: cannot be read: truncated or damaged" in out


def test_json_of_what_cannot_be_inspected_is_nothing(run, folder, tmp_path):
    (tmp_path / "t.csv").write_text("image,pixel_size_nm\nbad,x\n")
    status, out, _ = run(folder, "--json", "--tags", tmp_path / "t.csv")
    assert (status, out) == (2, "")


def test_table_and_tags(run, folder):
    (folder / "bad.tif").unlink()
    tags = folder / "t.csv"
    tags.write_text("image,pixel_size_nm,operator\nS1_22degC.tif,5,ann\n")
    status, out, _ = run(folder, "--tags", tags)
    assert status == 0
    assert "operator ann" in " ".join(out.split())
    assert "tags table 5 nm (used)" in out
    assert "stack.tif#2" in out


def test_names_that_steer_a_terminal_and_what_is_not_there(run, tmp_path):
    (tmp_path / "a\x1b[31mb.tif").write_bytes(b"junk")
    status, out, _ = run(tmp_path)
    assert status == 3
    assert "\x1b[31m" not in out
    status, _, err = run(tmp_path / "none")
    assert status == 2
    assert "does not exist" in err
    status, _, err = run(tmp_path, "--scale-bar", "long")
    assert status == 2
    assert "no length of a scale bar" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_named_and_is_no_file_is_a_row_with_the_reason(run, folder):
    os.mkfifo(folder / "pipe")
    (folder / "gone.tif").symlink_to(folder / "nothing.tif")
    (folder / "self.tif").symlink_to(folder / "self.tif")
    (folder / "empty.tif").touch()
    reasons = {
        "pipe": "is not a file",
        "gone.tif": "does not exist",
        "self.tif": "cannot be opened",
        "empty.tif": "is empty",
        "/dev/zero": "is not a file",
        "/proc/kmsg": "is empty",  # reading it would wait for the kernel
    }
    names = [str(folder / name) for name in (*reasons, "S1_22degC.tif")]
    names = [name for name in names if os.path.lexists(name)]
    status, out, _ = run(*names, "--json")
    assert status == 3
    found = {entry["path"]: entry["problem"] for entry in json.loads(out)}
    assert sorted(found) == sorted(names)
    for name in names[:-1]:
        assert reasons[name if name in reasons else os.path.basename(name)] in found[name]
    assert found[names[-1]] == ""
    status, out, _ = run(*names)
    assert status == 3
    assert "pipe: cannot be read: is not a file" in out


def test_names_are_shown_as_they_are(run, folder):
    """No markup, no emoji codes, no pattern; what is not to be printed is written out."""
    names = ["[bold]x.tif", ":smile:.tif", "a\\[b.tif", "漢字 שם.tif", "two\nlines.tif"]
    for name in [*names, os.fsdecode(b"\xff.tif")]:
        try:
            (folder / name).write_bytes(b"junk")
        except OSError:
            pytest.skip("not every name can be a file's here")
    status, out, _ = run(*(folder / name for name in names), folder / os.fsdecode(b"\xff.tif"))
    assert status == 3
    shown = [*names[:-1], r"two\nlines.tif", r"\udcff.tif"]
    assert all(f"{name}: cannot be read: of no known format" in out for name in shown)
    status, out, _ = run(folder, "--json")
    assert {*names, "\udcff.tif"} < {os.path.basename(entry["path"]) for entry in json.loads(out)}


def test_metadata_of_a_file_whose_pixels_are_damaged(run, real_data):
    status, out, _ = run(real_data / "vendor_formats" / "fei_quanta_text_at_end.tif", "--json")
    assert status == 3
    (entry,) = json.loads(out)
    assert entry["pixel_size_nm"] == pytest.approx(441.942)
    assert entry["tags"]["voltage"] == pytest.approx(30)
    assert entry["tags"]["acquired"] == "2017-12-18T13:04:14"
    assert "truncated" in entry["problem"]
    assert entry["metadata"]["FEI"]["Scan"]["PixelWidth"] == "4.41942e-007"
