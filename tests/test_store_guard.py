"""A store from a stranger: what it declares is checked before anything acts on it."""

import json
import os
import shutil
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from test_tables import make_store

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.chunk_writer import chunk_layout, write_chunks
from nanoarray.archive.guard import check_safe
from nanoarray.archive.lease import runs_on
from nanoarray.archive.verify import verify
from nanoarray.errors import InputError


@pytest.fixture
def url(tmp_path):
    return make_store(tmp_path / "s.zarr")[0]


def change(url, array, **entries):
    path = os.path.join(url, array, "zarr.json")
    with open(path) as file:
        content = json.load(file)
    with open(path, "w") as file:
        json.dump(content | entries, file)


def refused(url, match):
    for door in (
        na.open,
        na.status,
        lambda u: na.table(u, "grains"),
        lambda u: na.run("superlattice", u),
    ):
        with pytest.raises(InputError, match=match):
            door(url)


def regular(*shape):
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"shape": [10**15], "chunk_grid": regular(1)}, "chunks along a dimension"),
        ({"shape": [10**15], "chunk_grid": regular(10**15)}, "chunks of 8e"),
        ({"shape": [2**33], "chunk_grid": regular(2**20)}, "8589934592 rows"),
        ({"shape": [-1]}, "shape"),
        ({"shape": [True]}, "shape"),
        ({"shape": [15] * 40, "chunk_grid": regular(*[15] * 40)}, "shape"),
        ({"shape": "many"}, "shape"),
        ({"chunk_grid": regular(0)}, "chunks"),
        ({"chunk_grid": "none"}, "chunks"),
        ({"codecs": [{"name": "pickle"}]}, "codec 'pickle'"),
        ({"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]}, "codec 'numcodecs"),
        ({"codecs": [{"name": "bytes"}, {"name": "evil", "configuration": {}}]}, "codec 'evil'"),
        (
            {
                "codecs": [
                    {
                        "name": "sharding_indexed",
                        "configuration": {"chunk_shape": [5], "codecs": [{"name": "pickle"}]},
                    }
                ]
            },
            "codec 'pickle'",
        ),
        ({"data_type": "object"}, "values of type 'object'"),
        ({"data_type": {"name": "struct"}}, "values of type"),
        ({"dimension_names": None}, "dimensions None"),
        ({"dimension_names": "grain"}, "dimensions 'grain'"),
        ({"zarr_format": 2}, "Zarr format 2"),
    ],
)
def test_arrays_that_nanoarray_would_not_write(url, entries, match):
    change(url, "grains/area", **entries)
    refused(url, match)


def test_a_coordinate_that_would_fill_the_memory(url):
    change(url, "images/image", shape=[10**9], chunk_grid=regular(10**6))
    refused(url, "a coordinate of 1000000000 values")


def test_metadata_that_leads_out_or_is_none(url):
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    inline = {"kind": "inline", "must_understand": False, "metadata": {"../../outside": group}}
    change(url, ".", consolidated_metadata=inline)
    refused(url, "store")  # zarr itself may find that this is none
    with pytest.raises(InputError, match="leads out of the store"):
        check_safe(url)


@pytest.mark.parametrize("content", ["[1]", "[" * 100_000, "{", '"text"'])
def test_metadata_that_is_no_object(url, content):
    with open(os.path.join(url, "grains", "area", "zarr.json"), "w") as file:
        file.write(content)
    refused(url, "metadata that is")


def linked(url, key, target):
    path = os.path.join(url, key)
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)
    os.symlink(target, path)


def test_links_lead_nowhere(url, tmp_path):
    """A linked chunk is refused when it is read, by whatever reads it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    linked(url, "grains/area/c/0", secret)
    for read in (
        lambda: na.open(url)["grains"]["area"].values,
        lambda: na.table(url, "grains")["area"].values,
        lambda: verify(url),
        lambda: store.write_rows(url, "grains", slice(0, 5), {"area": np.zeros(5)}),
    ):
        with pytest.raises(InputError, match="'grains/area/c/0' in it is a link"):
            read()
    assert secret.read_bytes() == b"secret"


def test_linked_folders_of_chunks_lead_nowhere(url, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(os.path.join(url, "grains", "area", "c"), outside)
    before = {p: p.read_bytes() for p in outside.iterdir()}
    linked(url, "grains/area/c", outside)
    refused(url, "'grains/area/c' in it is a link")
    layout = chunk_layout(url, "grains", "area")
    assert layout.folder
    with pytest.raises(InputError, match="'grains/area/c' in it is a link"):
        write_chunks(layout, 0, np.zeros(5, layout.dtype))
    assert {p: p.read_bytes() for p in outside.iterdir()} == before


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"\xe0" + (3 << 30).to_bytes(8, "little"), r"unpacks to 3\.22e\+09 bytes"),
        (b"\xc1\x00\x07" + (3 << 30).to_bytes(8, "little"), r"unpacks to 3\.22e\+09 bytes"),
        (b"\x00\x58", "does not say what it unpacks to"),
    ],
)
def test_a_chunk_that_unpacks_to_gigabytes_is_not_unpacked(url, header, match):
    content = b"\x28\xb5\x2f\xfd" + header + bytes(20)
    content += google_crc32c.value(content).to_bytes(4, "little")
    (Path(url) / "grains" / "area" / "c" / "0").write_bytes(content)
    with pytest.raises(InputError, match=f"grains/area/c/0 has a chunk that {match}"):
        na.open(url)["grains"]["area"].load()


def test_a_pipe_in_place_of_a_chunk_is_not_read(url):
    os.remove(os.path.join(url, "grains", "area", "c", "0"))
    os.mkfifo(os.path.join(url, "grains", "area", "c", "0"))
    with pytest.raises(InputError, match="neither a file nor a folder"):
        na.table(url, "grains")["area"].load()


def test_opening_does_not_depend_on_the_number_of_chunks(url, monkeypatch):
    """Folders of chunks are not walked: what is looked at is counted."""
    seen = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(str(path)) or real(path))
    check_safe(url)
    assert seen
    assert not [path for path in seen if "/c/" in path or path.endswith("/c")]


def test_linked_folders_are_not_written_through(url, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(os.path.join(url, "grains"), outside)
    os.symlink(outside, os.path.join(url, "grains"))
    before = sorted(p.name for p in outside.rglob("*"))
    refused(url, "'grains' in it is a link")
    assert sorted(p.name for p in outside.rglob("*")) == before


def test_a_pipe_would_be_read_for_ever(url):
    os.mkfifo(os.path.join(url, "grains", "pipe"))
    refused(url, "neither a file nor a folder")


def test_zarr_2_can_unpickle_and_is_refused(tmp_path, url):
    """An array of objects in Zarr 2 is unpickled when it is read."""
    old = str(tmp_path / "old.zarr")
    root = zarr.open_group(old, mode="w", zarr_format=2)
    root.attrs["nanoarray_format"] = 1
    with pytest.raises(InputError, match="not a nanoarray store"):
        na.open(old)
    inside = zarr.open_group(os.path.join(url, "grains", "inside"), mode="w", zarr_format=2)
    inside.create_array("x", shape=(2,), dtype="f8")
    refused(url, "metadata of Zarr format 2")


def test_what_nanoarray_writes_is_opened(url):
    assert na.open(url)["grains"]["area"].shape == (15,)
    assert np.isfinite(na.table(url, "grains")["area"]).all()
    os.symlink(url, url + ".link")
    assert na.table(url + ".link", "grains").sizes["grain"] == 15  # the store itself may be linked


@pytest.mark.parametrize(
    ("record", "match"),
    [
        ("hello", "the record 'hello'"),
        ([1], "the record"),
        ({"length": 10**15, "block": 4}, "1000000000000000 rows"),
        ({"length": 10**9, "block": 1}, "rows in blocks of 1"),
        ({"length": -1}, "-1 rows"),
        ({"length": 4, "block": 0}, "blocks of 0"),
        ({"length": "x", "block": 1}, "'x' rows"),
    ],
)
def test_records_of_groups_that_nanoarray_would_not_write(url, record, match):
    """`status` went through the blocks of 10**15 rows."""
    change(url, "grains", attributes={"nanoarray": record})
    refused(url, match)


def test_a_claim_that_no_run_wrote_is_none(url):
    """Its text went to the terminal as it was, and for a minute it was waited for."""
    runs = os.path.join(url, ".runs")
    os.mkdir(runs)
    claim = {"what": "run", "host": "h", "pid": 1, "process_started": 0.0, "started": "2026"}
    claim |= {"state": "working", "beat": 0, "doing": []}
    for k, change_ in enumerate(
        ({}, {"what": "a\x1b[2J"}, {"host": 1}, {"beat": "x"}, {"doing": 5}, {"doing": [5]})
    ):
        with open(f"{runs}/{k}.json", "w") as file:
            json.dump(claim | change_, file)
    assert [run.name for run in runs_on(url)] == ["0"]
