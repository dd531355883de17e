"""Ingest hashes a file where its pixels are read: what then tells files apart."""

import hashlib

import numpy as np
import pytest

import nanoarray as na
from nanoarray.errors import ImageError
from nanoarray.images import read
from nanoarray.images.source import Source

PIXELS = np.random.default_rng(2).integers(0, 255, (128, 160), np.uint8)


@pytest.fixture
def folder(tmp_path, write_tiff):
    """Two files that differ in their middle alone, a copy of one of them, and another file."""
    place = tmp_path / "in"
    place.mkdir()
    middle = PIXELS.copy()
    middle[64] ^= 255
    write_tiff(place / "a.tif", PIXELS)
    write_tiff(place / "b.tif", middle)
    write_tiff(place / "d.tif", PIXELS[:100])
    (place / "c.tif").write_bytes((place / "b.tif").read_bytes())
    prints = [Source(str(place / f"{name}.tif")).fingerprint for name in "abcd"]
    assert prints[0] == prints[1] == prints[2] != prints[3]
    return place


def test_files_of_one_fingerprint_are_told_apart_and_copies_are_not_added(folder, tmp_path):
    report = na.ingest(folder, tmp_path / "s.zarr")
    assert report.added == ("a", "b", "d")
    assert report.duplicates == (("c", "b"),)
    images = na.open(tmp_path / "s.zarr")["images"].to_dataset().compute()
    for name in "abd":
        whole = hashlib.sha256((folder / f"{name}.tif").read_bytes()).hexdigest()
        assert str(images.sha256.sel(image=name).values) == whole
    assert (images.intensity.sel(image="a")[64] != images.intensity.sel(image="b")[64]).any()
    # What came later is compared with what the store knows.
    (folder / "e.tif").write_bytes((folder / "d.tif").read_bytes())
    again = na.ingest(folder, tmp_path / "s.zarr")
    assert again.added == ()
    assert set(again.duplicates) == {("c", "b"), ("e", "d")}


def test_a_file_whose_body_cannot_be_read_is_a_row_with_the_reason(folder, tmp_path, monkeypatch):
    """As on a disk that fails: the header is read, the rest is not."""
    read_bytes = read.read_bytes

    def failing(path):
        if path.endswith("d.tif"):
            raise ImageError("cannot be opened: Input/output error")
        return read_bytes(path)

    monkeypatch.setattr(read, "read_bytes", failing)
    report = na.ingest(folder, tmp_path / "s.zarr")
    assert report.failed == (("d", "cannot be opened: Input/output error"),)
    images = na.open(tmp_path / "s.zarr")["images"].to_dataset().compute()
    assert images.ok.values.tolist() == [True, True, False]
    assert not images.intensity.sel(image="d").any()
    monkeypatch.undo()
    assert na.ingest(folder, tmp_path / "s.zarr").repaired == ("d",)
    row = na.open(tmp_path / "s.zarr")["images"].to_dataset().compute().sel(image="d")
    np.testing.assert_array_equal(row.intensity[:100], PIXELS[:100])
