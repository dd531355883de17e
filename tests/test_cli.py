"""The command line: exit status, one-line errors, nothing half-written."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.simulate.superlattice import simulate_polycrystal


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    for k in range(2):
        made = simulate_polycrystal(height_px=260, width_px=280, grain_count=4, seed=k)
        write_fei_tiff(path / f"S{k} 2{k}degC.tif", made.image, pixel_size_nm=2.5)
    return path


def test_whole_way(cli, folder, tmp_path):
    store = tmp_path / "s.zarr"
    status, out, _ = cli("ingest", folder, store, "--pattern", "{sample} {temperature:g}degC")
    assert status == 0
    assert "2 images added" in out
    status, out, _ = cli("run", "superlattice", store, "--set", "tile_clusters.max_tiles=500")
    assert status == 0, out
    assert "grain_statistics" in out
    status, out, _ = cli("run", "superlattice", store, "--set", "tile_clusters.max_tiles=500")
    assert out.count("already done") == 6
    status, out, _ = cli("status", store)
    assert status == 0
    assert "complete" in out
    status, out, _ = cli("table", store, "grains", "--out", tmp_path / "g.csv")
    assert status == 0
    assert "temperature_degC" in (tmp_path / "g.csv").read_text().splitlines()[0]
    status, out, _ = cli("report", store, "--out", tmp_path / "r.html")
    assert status == 0
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_some_images_failed(cli, folder, tmp_path):
    (folder / "broken.tif").write_bytes(b"nonsense")
    status, out, _ = cli("ingest", folder, tmp_path / "s.zarr")
    assert status == 3
    assert "broken: of no known format" in out


def test_an_image_whose_grains_cannot_be_measured(cli, folder, tmp_path, monkeypatch):
    def failing(*arguments, **options):
        raise ArithmeticError("made to fail")

    monkeypatch.setattr("nanoarray.superlattice.one_map.measure_map", failing)
    store = tmp_path / "s.zarr"
    cli("ingest", folder, store)
    status, out, _ = cli("run", "superlattice", store, "--set", "tile_clusters.max_tiles=500")
    assert status == 3, out
    assert "2 FAILED" in out
    assert "failed: S0 20degC: ArithmeticError: made to fail" in out
    rows = json.loads(cli("status", store, "--json")[1])
    assert {row["group"]: row["failed"] for row in rows}["grains"] == 2
    assert cli("report", store, "--out", tmp_path / "r.html")[0] == 0
    assert "ArithmeticError: made to fail" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "IN/nothing*.tif", "STORE"], "matches no micrograph"),
        (["ingest", "absent", "STORE"], "does not exist"),
        (["ingest", "IN"], "SOURCE... and STORE"),
        (["ingest", "IN", "STORE", "--pattern", "{a}_{b}_{c}"], "matches none of 2"),
        (["ingest", "IN", "STORE", "--pixel-size", "0"], "positive"),
        (["ingest", "IN", "STORE", "--tags", "absent.csv"], "absent.csv"),
        (["ingest", "IN", "IN/S0 20degC.tif"], "not a nanoarray store"),
        (["ingest", "IN", "/proc/x.zarr"], "/proc/x.zarr"),
        (["run", "superlattice", "absent.zarr"], "not a nanoarray store"),
        (["run", "superlatice", "absent.zarr"], "did you mean 'superlattice'"),
        (["run", "superlattice", "IN", "--set", "tiles.stride=1"], "did you mean 'stride_"),
        (["run", "superlattice", "IN", "--set", "tile.stride=1"], "did you mean 'tiles'"),
        (["run", "superlattice", "IN", "--set", "tiles.stride_px=0"], "stride_px = 0"),
        (["run", "superlattice", "IN"], "not a nanoarray store"),
        (["status", "IN"], "not a nanoarray store"),
        (["table", "IN", "grains"], "not a nanoarray store"),
        (["report", "IN"], "not a nanoarray store"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cli, folder, tmp_path, arguments, message):
    places = {"IN": str(folder), "STORE": str(tmp_path / "s.zarr")}
    words = [a.replace("IN", places["IN"], 1) if a.startswith("IN") else a for a in arguments]
    words = [places.get(a, a) for a in words]
    before = sorted(os.listdir(tmp_path))
    status, out, err = cli(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("nanoarray: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == before


def test_bad_usage_is_exit_2(cli):
    assert cli("runn")[0] == 2
    assert cli("run")[0] == 2
    assert cli("simulate", "perovskite", "x")[0] == 2
    assert cli("simulate", "superlattice", "x", "--images", "0")[0] == 2


def test_tiles_larger_than_the_images(cli, folder, tmp_path):
    store = tmp_path / "s.zarr"
    cli("ingest", folder, store)
    status, _, err = cli("run", "superlattice", store, "-q", "--set", "tiles.tile_size_px=300")
    assert status == 2
    assert "larger than the image" in err
    assert not (store / "tiles").exists()
    status, out, _ = cli("run", "superlattice", store, "--set", "tile_clusters.max_tiles=500")
    assert status == 0, out


def test_full_disk(folder, tmp_path):
    """A limit on file sizes fails a write in the middle, as a full disk does."""
    store = tmp_path / "s.zarr"
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from nanoarray.cli import main\n"
        f"sys.argv = ['nanoarray', 'ingest', {str(folder)!r}, {str(store)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "nanoarray.cli", "ingest", str(folder), str(store)],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    import nanoarray as na

    images = na.open(store)["images"].to_dataset().compute()
    assert images.ok.all()
    assert (images.intensity.max(["y", "x"]) > np.uint8(0)).all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_place(cli, folder, tmp_path):
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    status, _, err = cli("ingest", folder, place / "s.zarr")
    assert status == 2
    assert "not a writable folder" in err


def test_simulate(cli, tmp_path):
    status, out, _ = cli("simulate", "superlattice", tmp_path / "sim", "--images", 1, "--seed", 4)
    assert status == 0
    assert len(list((tmp_path / "sim").glob("*.tif"))) == 1
    assert (tmp_path / "sim" / "tags.csv").is_file()
    assert "1 images" in out


def test_a_device_that_is_not_there_leaves_the_store_alone(cli, folder, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    store = tmp_path / "s.zarr"
    cli("ingest", folder, store)
    cli("run", "superlattice", store, "--set", "tile_clusters.max_tiles=500")
    _, before, _ = cli("status", store, "--json")
    status, _, err = cli("run", "superlattice", store, "--overwrite", "--set", "tiles.device=cuda")
    assert status == 2
    assert "cuda" in err
    assert cli("status", store, "--json")[1] == before


def test_nothing_readable_and_names_that_steer_a_terminal(cli, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[31mb.tif").write_bytes(b"junk")
    status, out, _ = cli("ingest", tmp_path / "in", tmp_path / "s.zarr")
    assert status == 3
    assert "\x1b" not in out
    assert "a\\x1b[31mb: of no known format" in out
    status, _, err = cli("run", "superlattice", tmp_path / "s.zarr")
    assert status == 2
    assert "none of the 1 images" in err
    assert "no known format" in err
    assert "\x1b" not in err


def test_a_formula_in_a_tag_is_defused_in_csv(cli, folder, tmp_path):
    tags = tmp_path / "tags.csv"
    tags.write_text("image,sample\nS0 20degC,=1+2\nS1 21degC,plain\n")
    assert cli("ingest", folder, tmp_path / "s.zarr", "--tags", tags)[0] == 0
    assert cli("table", tmp_path / "s.zarr", "images", "--out", tmp_path / "i.csv")[0] == 0
    assert "'=1+2" in (tmp_path / "i.csv").read_text()
    assert ",plain" in (tmp_path / "i.csv").read_text()
