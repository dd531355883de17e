"""Products made again from their records, on images found by checksum, and by the command line."""

import json
import shutil

import numpy as np
import pytest
from conftest import ROOT

import nanoarray as na
from nanoarray.archive.lease import runs_on
from nanoarray.catalog import Catalog
from nanoarray.catalog.describe import to_toml
from nanoarray.catalog.rebuild import rebuild
from nanoarray.catalog.record import Record
from nanoarray.errors import InputError
from nanoarray.pipeline import load_pipeline
from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.simulate.superlattice import simulate_polycrystal

QUICK = {"tile_clusters": {"max_tiles": 500}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two images ingested one after the other, last name first, with tags that files lack."""
    place = tmp_path_factory.mktemp("made")
    for k, name in enumerate(("b/second", "a first")):
        image = simulate_polycrystal(height_px=260, width_px=280, grain_count=4, seed=k).image
        path = place / "images" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_fei_tiff(path, image, pixel_size_nm=2.5)
        (place / "tags.csv").write_text(
            "image,sample,temperature_degC,pixel_size_nm,note,thickness_nm\n"
            "b/second,007,22.5,2.6,=1+2,3\n" + ("a first,S2,31,,,\n" if k else "")
        )
        na.ingest(place / "images", place / "s.zarr", tags=place / "tags.csv")
    na.run("superlattice", place / "s.zarr", **QUICK)
    Catalog(place / "cat").add(place / "s.zarr", pipeline="superlattice", settings=QUICK)
    return place


@pytest.fixture
def scattered(made, tmp_path):
    """The images under other names, among others."""
    folder = tmp_path / "elsewhere" / "deep"
    folder.mkdir(parents=True)
    shutil.copy(made / "images" / "a first.tif", folder / "Z.tif")
    shutil.copy(made / "images" / "b" / "second.tif", folder / "A.tif")
    write_fei_tiff(folder / "M.tif", np.zeros((64, 64), np.uint8), pixel_size_nm=1.0)
    return folder.parent


def test_a_product_is_made_again_wherever_its_images_are(made, scattered, tmp_path):
    record = Catalog(made / "cat").record("s")
    assert [i.image for i in record.inputs] == ["b/second", "a first"]  # as they were ingested
    again = rebuild(record, [scattered], tmp_path / "again.zarr")
    assert {c.group: (c.state, c.details) for c in again.checks if c.group != "images"} == {
        group: ("identical", ()) for group in record.groups if group != "images"
    }
    assert again.good
    assert again.notes == ()
    images = na.table(again.store, "images")
    assert images["path"].values.tolist() == [
        str(scattered / "deep" / name) for name in ("A.tif", "Z.tif")
    ]
    assert images["sample"].values.tolist() == ["007", "S2"]
    assert images["thickness"].attrs["units"] == "nm"
    assert not (tmp_path / "again.zarr.inputs").exists()
    assert rebuild(record, [scattered], tmp_path / "again.zarr").good  # a second time, too


def test_images_of_one_file_and_stretched_ones(tmp_path):
    """Several images of a file, and one that was enlarged to square pixels."""
    import tifffile

    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "a.tif", rng.integers(0, 255, (96, 96), np.uint8), metadata=None)
    with tifffile.TiffWriter(folder / "pages.tif") as file:
        for _ in range(2):
            file.write(rng.integers(0, 255, (96, 96), np.uint8), metadata=None)
    store = tmp_path / "s.zarr"
    na.ingest(folder, store, pixel_size_nm=2.0)
    (tmp_path / "more").mkdir()
    page = rng.integers(0, 255, (96, 96), np.uint8)
    scale = {"resolution": (1e7, 2e7), "resolutionunit": "CENTIMETER", "metadata": None}
    tifffile.imwrite(tmp_path / "more" / "z.tif", page, **scale)
    na.ingest(tmp_path / "more", store, square_pixels=True)
    record = Catalog(tmp_path / "cat").add(store)
    assert len(record.inputs) == 4
    (again,) = rebuild(record, [tmp_path], tmp_path / "again.zarr").checks
    assert again.state == "identical", again.details
    assert na.table(tmp_path / "again.zarr", "images")["pixel_size"].values[0] == 2.0


def test_a_rebuild_claims_its_store_and_removes_nothing_of_others(
    made, scattered, tmp_path, monkeypatch
):
    record = Catalog(made / "cat").record("s")
    beside = tmp_path / "again.zarr.inputs"
    (beside / "0000000").mkdir(parents=True)
    (beside / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"again\.zarr\.inputs is in the way"):
        rebuild(record, [scattered], tmp_path / "again.zarr")
    assert (beside / "mine.txt").read_text() == "kept"
    with pytest.raises(InputError, match="is no directory"):
        rebuild(record, [scattered], "memory://again.zarr")
    (beside / "mine.txt").unlink()  # what is left of a rebuild that was interrupted goes on
    seen = []

    def stages(url, *_, executor, **__):
        seen.append([run.record["what"] for run in runs_on(url)])
        assert executor.lease is not None

    monkeypatch.setattr("nanoarray.catalog.rebuild.run_stages", stages)
    assert not rebuild(record, [scattered], tmp_path / "again.zarr").good
    assert seen == [["rebuild s"]]
    assert not beside.exists()


def test_missing_images_are_named(made, scattered, tmp_path):
    record = Catalog(made / "cat").record("s")
    (scattered / "deep" / "Z.tif").write_bytes(b"changed")
    with pytest.raises(InputError, match=r"1 of 2 images of 's' are in none of .*: 'a first'"):
        rebuild(record, [scattered], tmp_path / "again.zarr")
    assert not (tmp_path / "again.zarr").exists()


def test_a_store_of_other_images_is_left_alone(made, scattered, tmp_path):
    """The images of the product were added to it."""
    record = Catalog(made / "cat").record("s")
    write_fei_tiff(tmp_path / "own.tif", np.zeros((64, 64), np.uint8), pixel_size_nm=1.0)
    na.ingest(tmp_path / "own.tif", tmp_path / "mine.zarr")
    with pytest.raises(InputError, match=r"mine\.zarr is a store of other images, such as 'own'"):
        rebuild(record, [scattered], tmp_path / "mine.zarr")
    assert na.table(tmp_path / "mine.zarr", "images")["image"].values.tolist() == ["own"]


def changed(record: Record, group: str, **entries) -> Record:
    groups = dict(record.groups)
    groups[group] = groups[group].model_copy(update=entries)
    return record.model_copy(update={"groups": groups})


def test_what_cannot_be_made_as_it_was_is_refused(made, scattered, tmp_path):
    record = Catalog(made / "cat").record("s")
    tiles = record.groups["tiles"].parameters
    for parameters, said in (
        ({**tiles, "angel_count": 3}, "no parameter 'angel_count'"),
        ({**tiles, "angle_count": -1}, "angle_count"),
        ({k: v for k, v in tiles.items() if k != "band_pass"}, "cannot be made as it was"),
    ):
        other = changed(record, "tiles", parameters=parameters)
        with pytest.raises(InputError, match=said):
            rebuild(other, [scattered], tmp_path / "x.zarr")
    groups = {**record.groups, "rm -rf": record.groups["tiles"]}
    with pytest.raises(InputError, match="made by a stage that this version does not have"):
        rebuild(record.model_copy(update={"groups": groups}), [scattered], tmp_path / "x.zarr")
    with pytest.raises(InputError, match="only files can be named"):
        rebuild(record, [scattered], tmp_path / "x.zarr", settings={"tiles": {"angle_count": 30}})
    assert not (tmp_path / "x.zarr").exists()


def test_a_file_that_a_record_names_is_never_opened_where_it_says(made, scattered, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    parameters = load_pipeline("nanocrystals", {"crystal_maps": {"labels": str(labels)}})
    recorded = parameters.stages[0][1].model_dump(mode="json")
    record = Catalog(made / "cat").record("s")
    group = record.groups["tiles"].model_copy(update={"parameters": recorded, "inputs": {}})
    images = record.groups["images"]
    record = record.model_copy(update={"groups": {"images": images, "crystal_maps": group}})
    with pytest.raises(InputError, match=r"say where that file is now with --set crystal_maps.lab"):
        rebuild(record, [scattered], tmp_path / "x.zarr")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.npy").write_bytes(b"other")
    with pytest.raises(InputError, match="labels_digest"):
        rebuild(
            record,
            [scattered],
            tmp_path / "x.zarr",
            settings={"crystal_maps": {"labels": str(tmp_path / "other")}},
        )


def test_a_result_that_differs_is_said(made, scattered, tmp_path):
    record = Catalog(made / "cat").record("s")
    area = record.groups["grains"].arrays["area"]
    arrays = {**record.groups["grains"].arrays}
    arrays["area"] = area.model_copy(update={"sha256": "0" * 64, "mean": area.mean + 1})
    record = changed(record, "grains", arrays=arrays, kernel_version=99)
    again = rebuild(record, [scattered], tmp_path / "again.zarr")
    assert not again.good
    assert [c.group for c in again.checks if not c.good] == ["grains"]
    assert any("grains is computed by version" in note for note in again.notes)


def test_pipeline_written_from_a_store_is_the_pipeline(tmp_path):
    plan = load_pipeline("superlattice")
    stages = {s.name: p.model_dump(mode="json") for s, p in plan.stages}
    (tmp_path / "p.toml").write_text(to_toml(stages))
    again = load_pipeline(str(tmp_path / "p.toml"))
    assert [(s.name, p) for s, p in again.stages] == [(s.name, p) for s, p in plan.stages]
    tricky = {"x": {"text": 'a"b\\c\nd\x7f', "list": [1, 2.5, "y"], "flag": True, "none": None}}
    import tomllib

    assert tomllib.loads(to_toml(tricky)) == {
        "x": {"text": 'a"b\\c\nd\x7f', "list": [1, 2.5, "y"], "flag": True}
    }


@pytest.mark.slow
def test_command_line(made, scattered, tmp_path, cli):
    folder = tmp_path / "cat"
    quick = ("--set", "tile_clusters.max_tiles=500")
    store = tmp_path / "s.zarr"
    shutil.copytree(made / "s.zarr", store)
    status, out, _ = cli("run", "superlattice", store, *quick, "--catalog", folder)
    assert status == 0
    assert "recorded as 's'" in out
    status, out, err = cli("catalog", "search", "temperature > 25", "--catalog", folder)
    assert (status, out.split()[:5]) == (0, ["s", "superlattice:", "1", "of", "2"]), err
    status, out, _ = cli("catalog", "list", "-c", folder, "--json")
    assert json.loads(out)["products"][0]["id"] == "s"
    status, out, _ = cli("catalog", "show", "s", "-c", folder)
    assert "temperature        22.5 to 31 degC (2 of 2 images)" in out
    status, out, _ = cli("catalog", "show", "s", "-c", folder, "--json")
    assert json.loads(out)["record_version"] == 1
    status, out, _ = cli("catalog", "verify", "-c", folder)
    assert (status, out.count("identical")) == (0, 7)
    again = tmp_path / "again.zarr"
    arguments = ("--images", scattered, "--out", again, "-q")
    status, out, err = cli("catalog", "rebuild", "s", "-c", folder, *arguments)
    assert (status, out.count("identical")) == (0, 7), (out, err)
    status, out, _ = cli("catalog", "verify", "s", "-c", folder, "--store", again)
    assert status == 0
    chunk = next((store / "grains" / "area" / "c").iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    status, out, _ = cli("catalog", "verify", "s", "-c", folder)
    assert status == 1
    assert "grains             unreadable" in out
    (folder / "broken.json").write_text("{")
    status, out, err = cli("catalog", "list", "-c", folder)
    assert (status, out[:1]) == (1, "s")
    assert "broken.json is not JSON" in err
    for wrong in (("show", "t"), ("search", "1 +"), ("verify", "../s"), ("show", "-c", "no", "s")):
        status, _, err = cli("catalog", *wrong, *(() if "-c" in wrong else ("-c", folder)))
        assert (status, err.count("\n")) == (2, 1), wrong


@pytest.mark.slow
def test_the_shipped_product_is_made_again(tmp_path, cli, monkeypatch):
    """By the commands that its record names, and nothing else."""
    monkeypatch.chdir(tmp_path)
    folder = ROOT / "catalogs" / "simulated"
    catalog = Catalog(folder)
    assert catalog.ids() == ["nanocrystals", "superlattice"]
    assert catalog.problems() == {}
    for command in catalog.record("superlattice").commands:
        assert command.split()[0] == "nanoarray"
        assert cli(*command.split()[1:])[0] == 0
    arguments = ("--images", "micrographs", "--out", "again.zarr", "-q")
    status, out, err = cli("catalog", "rebuild", "superlattice", "-c", folder, *arguments)
    assert status == 0, f"{out}{err}if a kernel changed: make catalogs"
    place = ("--store", "again.zarr")
    assert cli("catalog", "verify", "superlattice", "-c", folder, *place)[0] == 0
    assert na.Catalog(folder, stores="again.zarr").verify("superlattice")[0].good
