"""The record of a pixel size: trust, agreement, geometry; and what an ingest makes of it."""

import json
import math

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.chunk_writer import chunk_layout, write_chunks
from nanoarray.archive.store import ArrayPlan, GroupPlan
from nanoarray.errors import InputError
from nanoarray.images.geometry import Stretch, stretched, tilt_factor
from nanoarray.images.scale import (
    TRUST,
    ScaleReading,
    nm_per_unit,
    reading,
    readings_from_json,
    settle,
)
from nanoarray.simulate.fei_tiff import write_fei_tiff

RNG = np.random.default_rng(1)


def test_order_of_trust():
    readings = [ScaleReading(kind, 2.0 + k) for k, kind in enumerate(TRUST)]
    for first in range(len(TRUST) - 1):
        record = settle(reversed(readings[first:]))
        assert record.used is readings[first]
        assert [r.kind for r in record.readings] == list(TRUST[first:])
    assert settle(readings[-1:]).used is None  # a scale bar alone is only a cross-check
    assert settle(readings[-1:], use_scale_bar=True).used is readings[-1]
    assert settle([]).agreement == settle([]).source == settle([]).to_json() == ""
    with pytest.raises(ValueError, match="no kind of source"):
        ScaleReading("hearsay", 1.0)


@pytest.mark.parametrize(
    ("other", "agreement"), [(2.54, "agree"), (2.56, "differ"), (2.4, "differ")]
)
def test_two_per_cent_apart_is_a_disagreement_that_lists_them(other, agreement):
    record = settle([ScaleReading("vendor tag", 2.5, source="A"), ScaleReading("OME", other)])
    assert record.agreement == agreement
    if agreement == "differ":
        assert record.warnings == (f"pixel size differs: A 2.5 nm (used), OME {other} nm",)
    else:
        assert record.warnings == ()


@given(
    st.lists(
        st.builds(
            ScaleReading,
            st.sampled_from(TRUST),
            st.floats(1e-6, 1e7),
            st.floats(1e-6, 1e7),
            st.text(max_size=9),
        ),
        max_size=5,
    )
)
def test_records_survive_the_store(readings):
    record = settle(readings, use_scale_bar=True)
    again = settle(readings_from_json(record.to_json()), use_scale_bar=True)
    assert again.to_json() == record.to_json()
    assert (again.source, again.agreement) == (record.source, record.agreement)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense", '[{"kind": "x"}]', "null"])
def test_records_that_are_none(text):
    assert readings_from_json(text) == ()


def test_units_and_impossible_sizes():
    for unit, nm in (
        ("m", 1e9),
        ("µm", 1e3),
        ("μm", 1e3),
        ("micron", 1e3),
        ("Å", 0.1),
        ("pm", 1e-3),
    ):
        assert nm_per_unit(unit) == nm
        assert reading("OME", value=5 / nm, unit=unit, source="").size_nm == pytest.approx(5)
    for value, unit in (
        (1, "pixel"),
        (1, "1/nm"),
        (0, "nm"),
        (-1, "nm"),
        (math.nan, "nm"),
        (1, "m"),
    ):
        assert reading("OME", value=value, unit=unit, source="") is None


# --- geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "tilt_deg", "factor"),
    [("surface", 0, 1), ("surface", 60, 2), ("surface", -60, 2), ("cross-section", 30, 2)],
)
def test_foreshortening(kind, tilt_deg, factor):
    assert tilt_factor(kind, tilt_deg=tilt_deg) == (pytest.approx(factor), "")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tilt_deg": math.nan}, "not known"),
        ({"tilt_deg": 85}, "too flatly"),
        ({"tilt_deg": 52, "by_microscope": True}, "own tilt correction"),
        ({"tilt_deg": 52, "scan_rotation_deg": 90}, "rotated by 90"),
    ],
)
def test_what_is_not_corrected(options, reason):
    factor, said = tilt_factor("surface", **options)
    assert factor == 1
    assert reason in said
    with pytest.raises(ValueError, match="not among"):
        tilt_factor("sideways", tilt_deg=1)


@given(st.floats(1, 4), st.floats(1, 4), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_stretching_keeps_a_ramp(x, y, dtype):
    """A linear ramp stays the same ramp over the same lengths."""
    rows, columns = np.mgrid[0:20, 0:30]
    image = (100 + 2 * rows + 3 * columns).astype(dtype)
    made = stretched(image, Stretch(x, y))
    assert made.dtype == dtype
    assert made.shape == (round(20 * y), round(30 * x))
    at_y = (np.arange(made.shape[0]) + 0.5) * 20 / made.shape[0] - 0.5
    at_x = (np.arange(made.shape[1]) + 0.5) * 30 / made.shape[1] - 0.5
    expected = 100 + 2 * np.clip(at_y, 0, 19)[:, None] + 3 * np.clip(at_x, 0, 29)
    np.testing.assert_allclose(made, expected, atol=1.5 if dtype != np.float32 else 1e-3)


# --- in a store -------------------------------------------------------------------------------


def images_of(url):
    return na.open(url)["images"].to_dataset().compute()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    return place


@pytest.fixture
def url(tmp_path):
    return str(tmp_path / "s.zarr")


def test_the_record_of_an_image_is_stored(folder, url):
    write_fei_tiff(
        folder / "a_5nm.tif", RNG.integers(0, 255, (60, 80), np.uint8), pixel_size_nm=2.5
    )
    report = na.ingest(folder, url, pattern="{s}_{pixel_size:g}nm", pixel_size_nm=3.0)
    image = images_of(url).isel(image=0)
    record = json.loads(str(image.pixel_size_record.values))
    assert [r["kind"] for r in record][:3] == ["command line", "file name", "vendor tag"]
    assert [r["nm"] for r in record][:3] == pytest.approx([3, 5, 2.5])
    assert [r["used"] for r in record][:2] == [True, False]
    assert (record[2]["unit"], record[2]["value"]) == ("m", pytest.approx(2.5e-9))
    assert str(image.pixel_size_agreement.values) == "differ"
    assert "command line 3 nm (used), file name 5 nm" in str(image.warning.values)
    assert any("command line 3 nm (used)" in line for line in report.disagreements)
    # The person's word stays; a new one replaces it, and the file's are there all the time.
    na.ingest(folder, url)
    assert float(images_of(url).pixel_size[0]) == 3
    tags = folder / "t.csv"
    tags.write_text("image,pixel_size_nm\na_5nm,2.51\n")
    na.ingest(folder, url, tags=tags)
    image = images_of(url).isel(image=0)
    assert float(image.pixel_size) == 2.51
    assert str(image.pixel_size_source.values) == "tags table"
    assert str(image.pixel_size_agreement.values) == "agree"
    assert "differs" not in str(image.warning.values)
    store.check_group(url, "images")


def test_uneven_pixels_are_made_square_on_request(folder, url):
    pixels = RNG.integers(0, 255, (60, 80), np.uint8)
    for name, y_nm in (("tall", 4.0), ("flat", 1.6)):
        scale = (1e7 / 2.0, 1e7 / y_nm)
        tifffile.imwrite(
            folder / f"{name}.tif", pixels, resolution=scale, resolutionunit=3, metadata=None
        )
    assert set(na.ingest(folder, url).without_pixel_size) == {"flat", "tall"}
    na.ingest(folder, url, square_pixels=True)
    for _ in range(2):  # and it stays so
        made = images_of(url)
        tall, flat = made.sel(image="tall"), made.sel(image="flat")
        assert (int(tall.height), int(tall.width)) == (120, 80)
        assert (int(flat.height), int(flat.width)) == (60, 100)
        assert float(tall.pixel_size) == float(tall.pixel_size_y) == pytest.approx(2.0)
        assert float(flat.pixel_size) == float(flat.pixel_size_y) == pytest.approx(1.6)
        expected = stretched(pixels, Stretch(y=2.0))
        np.testing.assert_array_equal(tall.intensity[:120, :80], expected)
        na.ingest(folder, url)
    na.ingest(folder, url, square_pixels=False)
    again = images_of(url).sel(image="tall")
    np.testing.assert_array_equal(again.intensity[:60, :80], pixels)
    assert not again.intensity[60:].any()
    assert math.isnan(float(again.pixel_size))


def test_tilt_is_corrected_on_request(folder, url):
    pixels = RNG.integers(0, 255, (60, 80), np.uint8)
    for name in ("a", "b"):
        write_fei_tiff(folder / f"{name}.tif", pixels + (name == "b"), pixel_size_nm=2.5)
    tags = folder / "t.csv"
    tags.write_text("image,tilt_deg\na,60\nb,\n")
    report = na.ingest(folder, url, tags=tags, tilt_correction="surface")
    made = images_of(url)
    assert made.height.sel(image="a") == 120
    assert float(made.stretch_y.sel(image="a")) == pytest.approx(2)
    assert made.tilt_correction.values.tolist() == ["surface", "surface"]
    assert float(made.pixel_size.sel(image="a")) == pytest.approx(2.5)
    untilted = made.sel(image="b")
    known = math.isfinite(float(untilted.tilt))
    assert known or "tilt not corrected" in str(untilted.warning.values)
    assert known or any("'b': tilt not corrected" in line for line in report.disagreements)
    with pytest.raises(InputError, match="surface or cross-section"):
        na.ingest(folder, url, tilt_correction="both")


def test_images_of_one_file(folder, url):
    planes = RNG.integers(0, 255, (3, 40, 50), np.uint8)
    tifffile.imwrite(folder / "stack.tif", planes, photometric="minisblack", metadata=None)
    tags = folder / "t.csv"
    tags.write_text("image,sample\nstack.tif,S\n")
    for added in (3, 0):
        report = na.ingest(folder, url, tags=tags)
        made = images_of(url)
        assert len(report.added) == added
        assert made.image.values.tolist() == ["stack#1", "stack#2", "stack#3"]
        assert made.frame.values.tolist() == ["1", "2", "3"]
        assert made["sample"].values.tolist() == ["S"] * 3
        np.testing.assert_array_equal(made.intensity, planes)
    assert "3 images of a file" in str(made.warning.values[0])
    (folder / "copy.tif").write_bytes((folder / "stack.tif").read_bytes())
    report = na.ingest(folder, url)
    assert sorted(report.duplicates) == [(f"copy#{k}", f"stack#{k}") for k in (1, 2, 3)]


# --- chunks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "uint64", "str"])
def test_chunks_are_as_zarr_writes_them(tmp_path, dtype):
    url = str(tmp_path / "s.zarr")
    store.create_store(url)
    text = dtype == "str"
    shape, chunks = ((5,), (2,)) if text else ((5, 70, 90), (1, 32, 64))
    attrs = {"units": "1", "long_name": "x"}
    dims = ("image",) if text else ("image", "y", "x")
    array = ArrayPlan("a", dims, shape, dtype, chunks, attrs, "" if text else 0)
    for group in ("images", "prepared"):
        store.create_group(url, group, GroupPlan((array,), "image", 5, 2))
    layout = chunk_layout(url, "images", "a")
    assert layout.folder
    if text:
        rows = np.array(["plain", "µm Å \N{GREEK SMALL LETTER MU}"], dtype=object)
    else:
        rows = (RNG.random((2, 50, 90)) * 200).astype(dtype)
    write_chunks(layout, 2, rows)
    store.write_rows(url, "prepared", slice(2, 4), {"a": rows})
    first, second = (store.open_group(url, g)["a"].values for g in ("images", "prepared"))
    np.testing.assert_array_equal(first, second)
    left = [path.name for path in (tmp_path / "s.zarr").rglob("*.partial")]
    assert left == []


def test_arrays_laid_out_otherwise_are_written_by_zarr(tmp_path):
    import zarr

    group = zarr.open_group(str(tmp_path / "s.zarr"), path="images", mode="w")
    group.create_array("a", shape=(4, 9), chunks=(1, 9), dtype="i4", compressors=None)
    layout = chunk_layout(str(tmp_path / "s.zarr"), "images", "a")
    assert layout.folder == ""
    write_chunks(layout, 1, np.arange(9, dtype="i4")[np.newaxis])
    np.testing.assert_array_equal(group["a"][1], np.arange(9))
