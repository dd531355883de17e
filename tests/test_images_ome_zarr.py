"""OME-Zarr in: what this package and others write, and what strangers may."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import zarr

from nanoarray.errors import ImageError
from nanoarray.exchange.ome_zarr import write_ome_zarr
from nanoarray.images.ingest import ingest
from nanoarray.images.read import find_micrographs, frames_of, open_source, read_micrograph

PIXELS = np.random.default_rng(0).integers(0, 4000, (600, 700)).astype(np.uint16)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_exported_comes_back(tmp_path, version):
    path = tmp_path / "a.ome.zarr"
    write_ome_zarr(path, PIXELS, pixel_size_nm=2.5, pixel_size_y_nm=2.6, version=version)
    found = read_micrograph(path, cut_data_bar=False)
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert (found.pixel_size_nm, found.pixel_size_y_nm) == (2.5, 2.6)
    assert found.pixel_size_source == "OME-Zarr scale"


def other_writer(path, shape, axes, unit="micrometer") -> np.ndarray:
    """An image of more dimensions, as other programs write it: a scale for all levels too."""
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("s0", data=data, chunk_key_encoding={"name": "v2", "separator": "/"})
    scale = {"type": "scale", "scale": [0.001] * len(axes)}
    entry = {
        "version": "0.4",
        "axes": [
            {"name": a, "type": "space", "unit": unit} if a in "zyx" else {"name": a} for a in axes
        ],
        "datasets": [{"path": "s0", "coordinateTransformations": [scale]}],
        "coordinateTransformations": [{"type": "scale", "scale": [2.0] * len(axes)}],
    }
    group.attrs["multiscales"] = [entry]
    return data


def test_each_image_of_a_stack_is_one(tmp_path):
    path = tmp_path / "b.zarr"
    data = other_writer(path, (1, 2, 3, 8, 9), "tczyx")
    frames = frames_of(open_source(path))
    assert [f.name for f in frames] == [f"c{c}.z{z}" for c in (1, 2) for z in (1, 2, 3)]
    np.testing.assert_array_equal(frames[4].decode().values, data[0, 1, 1])
    found = read_micrograph(path, frame="c2.z3")
    assert found.pixel_size_nm == pytest.approx(2.0)  # 0.001 um, twice


def test_an_impossible_scale_is_none(tmp_path):
    path = tmp_path / "a.ome.zarr"
    write_ome_zarr(path, PIXELS, pixel_size_nm=1e9)
    assert np.isnan(read_micrograph(path).pixel_size_nm)


@pytest.mark.parametrize("listed", [True, False])
def test_images_in_folders_of_bioformats2raw(tmp_path, listed):
    """Its layout: a folder per image, numbered from 0 unless the group OME lists others."""
    path = tmp_path / "a.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    names = ("first", "gone", "other") if listed else ("0", "1")
    for k, name in enumerate(name for name in names if name != "gone"):
        write_ome_zarr(path / name, PIXELS[: 80 + k, :90], pixel_size_nm=2.0 + k)
    if listed:
        root.create_group("OME").attrs["series"] = list(names)
    assert find_micrographs(tmp_path) == [path]
    frames = frames_of(open_source(path))
    good = [f for f in frames if f.shape != (0, 0)]
    assert [f.shape for f in good] == [(80, 90), (81, 90)]
    assert [f.header.readings[0].size_nm for f in good] == [2, 3]
    np.testing.assert_array_equal(good[1].decode().values, PIXELS[:81, :90])
    assert [f.name for f in frames] == [str(k + 1) for k in range(len(names))]
    if listed:
        with pytest.raises(ImageError, match="multiscales"):
            frames[1].decode()


def test_a_folder_of_them_is_ingested(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_ome_zarr(folder / "a.ome.zarr", PIXELS, pixel_size_nm=2.5)
    write_ome_zarr(folder / "b.ome.zarr", PIXELS[:300], pixel_size_nm=1.0)
    assert [p.name for p in find_micrographs(folder)] == ["a.ome.zarr", "b.ome.zarr"]
    report = ingest([folder], tmp_path / "store.zarr")
    assert not report.failed
    assert len(report.added) == 2


def test_a_store_is_no_image(tmp_path):
    write_ome_zarr(tmp_path / "a.ome.zarr", PIXELS, pixel_size_nm=2.5)
    ingest([tmp_path / "a.ome.zarr"], tmp_path / "store.zarr")
    assert find_micrographs(tmp_path) == [tmp_path / "a.ome.zarr"]


# --- from strangers ---------------------------------------------------------------------------


def change(path, name, **values) -> None:
    file = path / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def hostile(kind, path) -> None:
    other_writer(path, (8, 9), "yx")
    attributes = json.loads((path / ".zattrs").read_text())
    if kind == "pickle":
        change(path, "s0/.zarray", filters=[{"id": "pickle"}])
    elif kind == "huge":
        change(path, "s0/.zarray", shape=[10**9, 10**9])
    elif kind == "chunks":
        change(path, "s0/.zarray", chunks=[10**9, 10**9])
    elif kind == "outside":
        attributes["multiscales"][0]["datasets"][0]["path"] = "../other.zarr/s0"
        (path / ".zattrs").write_text(json.dumps(attributes))
    elif kind == "link":
        shutil.move(path / "s0", path.parent / "s0")
        (path / "s0").symlink_to(path.parent / "s0", target_is_directory=True)
    elif kind == "gone":
        shutil.rmtree(path / "s0")
    elif kind == "empty":
        (path / ".zattrs").write_text('{"multiscales": []}')
    elif kind == "two formats":
        (path / "s0/zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    elif kind == "pipe":
        (path / "s0/0/0").unlink()
        os.mkfifo(path / "s0/0/0")
    elif kind == "nothing stored":
        shutil.rmtree(path / "s0/0")
        change(path, "s0/.zarray", shape=[20_000, 20_000], chunks=[2000, 2000])
    elif kind == "no json":
        (path / ".zattrs").write_text('{"multiscales": [')


@pytest.mark.parametrize(
    "kind",
    [
        *("pickle", "huge", "chunks", "outside", "link", "gone", "empty", "no json"),
        *("two formats", "pipe", "nothing stored"),
    ],
)
def test_what_strangers_may_write_has_a_reason(tmp_path, kind):
    path = tmp_path / "a.zarr"
    hostile(kind, path)
    with pytest.raises(ImageError):
        read_micrograph(path)


def test_consolidated_metadata_are_not_believed(tmp_path):
    """They could name a codec that runs what it unpacks, where the array's own do not."""
    path = tmp_path / "a.zarr"
    data = other_writer(path, (8, 9), "yx")
    own = json.loads((path / "s0/.zarray").read_text())
    said = {".zgroup": {"zarr_format": 2}, "s0/.zarray": own | {"filters": [{"id": "pickle"}]}}
    (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": said}))
    np.testing.assert_array_equal(read_micrograph(path, cut_data_bar=False).pixels, data)


def test_without_a_unit_there_is_no_scale(tmp_path):
    path = tmp_path / "a.zarr"
    other_writer(path, (8, 9), "yx", unit="")
    assert np.isnan(read_micrograph(path).pixel_size_nm)
