"""Images, label maps and tables for other programs, read back by other readers."""

from __future__ import annotations

import importlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.cli import app
from nanoarray.errors import InputError
from nanoarray.exchange.bands import Plane, plane_of, pool
from nanoarray.exchange.images import export_images
from nanoarray.exchange.labels import as_labels, tiles_to_pixels
from nanoarray.exchange.names import MOST_BYTES, file_names
from nanoarray.exchange.ome_tiff import write_ome_tiff
from nanoarray.exchange.ome_zarr import write_ome_zarr
from nanoarray.exchange.tables import export_table
from nanoarray.superlattice.grains.cells import cell_areas
from nanoarray.superlattice.grains.measure import measure_grains
from nanoarray.superlattice.radon.tile_grid import tile_grid

runner = CliRunner()
SIZES_NM = (2.5, 0.75, np.nan)
SHAPES = ((60, 90), (80, 70), (50, 50))
NAMES = ("a/b 1", "..", "micrographé")


def write_group(url, group, values, *, constants=None, length=None, done=True):
    """Write a group as a finished stage would, with blocks of four rows."""
    dim = schema.GROUPS[group][next(iter(values))].dims[0]
    count = length or len(next(iter(values.values())))
    sizes = {dim: count}
    for name, data in values.items():
        sizes |= dict(zip(schema.GROUPS[group][name].dims[1:], data.shape[1:], strict=True))
    arrays = tuple(
        array_plan(group, n, sizes, block=4, dtype="uint16" if n == "intensity" else None)
        for n in values
    )
    known = {
        n: (schema.GROUPS[group][n].dims, v, schema.GROUPS[group][n].attrs)
        for n, v in (constants or {}).items()
    }
    plan = GroupPlan(arrays, dim, count, 4, known)
    store.create_group(url, group, plan)
    store.write_rows(url, group, slice(0, count), values)
    for block in range(plan.block_count):
        store.mark_blocks(url, group, {block: (int(done), 0)})
    record = {
        "dim": dim,
        "length": count,
        "block": 4,
        "complete": True,
        "digest": prov.digest(group),
    }
    store.set_provenance(url, group, record)


def text(values) -> np.ndarray:
    return np.array(list(values), dtype=object)


@pytest.fixture
def archive(tmp_path) -> str:
    """Three images, the last without a pixel size, and the label maps of both systems."""
    url = str(tmp_path / "archive.zarr")
    store.create_store(url)
    rng = np.random.default_rng(1)
    pixels = np.zeros((3, 80, 90), np.uint16)
    crystal = np.zeros((3, 80, 90), np.int32)
    for i, (height, width) in enumerate(SHAPES):
        pixels[i, :height, :width] = rng.integers(1, 60_000, (height, width))
        crystal[i, 5:20, 10:30] = 1
        crystal[i, 30:40, 10:50] = 70_000 if i == 1 else 2
    write_group(url, "images", {"intensity": pixels, "metadata": text(["{}"] * 3)})
    columns = {
        "image": text(NAMES),
        "height": np.array([s[0] for s in SHAPES], np.int32),
        "width": np.array([s[1] for s in SHAPES], np.int32),
        "pixel_size": np.array(SIZES_NM),
        "pixel_size_y": np.array([2.6, np.nan, np.nan]),
        "sample": text(["=S1", "S2", ""]),
        "temperature": np.array([22.0, 4.0, np.nan]),
        "ok": np.ones(3, bool),
        "problem": text(["", "", ""]),
    }
    for name, values in columns.items():
        store.put_constant(
            url, "images", name, ("image",), values, schema.known("images", name).attrs
        )
    write_group(url, "crystal_maps", {"crystal": crystal, "problem": text(["", "", "too dark"])})
    write_grain_maps(url)
    count = 9
    grains = {
        "image_index": np.repeat(np.arange(3, dtype=np.int32), 3),
        "label": np.tile(np.arange(1, 4, dtype=np.int32), 3),
        "area": np.linspace(0.1, 0.9, count),
    }
    write_group(url, "grains", grains)
    return url


def write_grain_maps(url: str) -> None:
    y, x = tile_grid(80, 90, tile_size_px=20, stride_px=8)
    grain = np.zeros((3, y.size, x.size), np.int32)
    grain[:, :4, :5] = 1
    grain[:, 4:, 2:] = 2
    orientation = np.where(grain > 0, 30.0 * grain, np.nan).astype(np.float32)
    constants = {"tile_y": y, "tile_x": x, "common_pixel_size": np.nan}
    constants |= {"tile_size": 20.0, "stride": 8.0, "coverage": "full"}
    values = {"grain": grain, "orientation": orientation, "problem": text(["", "", ""])}
    write_group(url, "grain_maps", values, constants=constants)


# --- OME-Zarr ---------------------------------------------------------------------------------


def multiscales(group: zarr.Group, version: str) -> dict:
    """The multiscales of an image, checked against what the specification demands of them."""
    attributes = group.attrs.asdict()
    if version == "0.5":
        attributes = attributes["ome"]
        assert attributes["version"] == "0.5"
    [entry] = attributes["multiscales"]
    assert version == "0.5" or entry["version"] == "0.4"
    assert [axis["name"] for axis in entry["axes"]] == ["y", "x"]
    assert all(axis["type"] == "space" for axis in entry["axes"])
    shapes = []
    for dataset in entry["datasets"]:
        shapes.append(group[dataset["path"]].shape)
        kinds = [t["type"] for t in dataset["coordinateTransformations"]]
        assert kinds in (["scale"], ["scale", "translation"])  # scale first, and once
        assert all(len(t[t["type"]]) == 2 for t in dataset["coordinateTransformations"])
    assert shapes == sorted(shapes, reverse=True)  # from the finest
    return entry


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
def test_ome_zarr_has_the_pixels_the_scale_and_the_labels(tmp_path, version, zarr_format):
    pixels = np.random.default_rng(0).integers(0, 65_535, (700, 1201)).astype(np.uint16)
    labels = np.zeros(pixels.shape, np.int32)
    labels[100:300, 500:900] = 70_000
    path = write_ome_zarr(
        tmp_path / "a.ome.zarr",
        pixels,
        labels={"crystal": labels, "defect": labels > 0},
        pixel_size_nm=2.5,
        pixel_size_y_nm=2.6,
        version=version,
        tags={"sample": "S1"},
    )
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == zarr_format
    assert group.attrs["nanoarray"] == {"sample": "S1"}
    entry = multiscales(group, version)
    assert {axis["unit"] for axis in entry["axes"]} == {"nanometer"}
    np.testing.assert_array_equal(group["0"][:], pixels)
    for level, dataset in enumerate(entry["datasets"]):
        scale = dataset["coordinateTransformations"][0]["scale"]
        np.testing.assert_allclose(scale, [2.6 * 2**level, 2.5 * 2**level])
    listed = group["labels"].attrs.asdict()
    listed = listed["ome"]["labels"] if version == "0.5" else listed["labels"]
    assert listed == ["crystal", "defect"]
    np.testing.assert_array_equal(group["labels/crystal/0"][:], labels)
    assert group["labels/defect/0"].dtype == np.uint8
    own = group["labels/crystal"]
    assert multiscales(own, version)["datasets"] == entry["datasets"]
    of_label = own.attrs.asdict()
    of_label = (of_label["ome"] if version == "0.5" else of_label)["image-label"]
    assert of_label["source"] == {"image": "../../"}
    assert set(np.unique(own["1"][:])) == {0, 70_000}  # no label is made up
    assert not list(tmp_path.glob(".*"))
    if version == "0.4":
        assert json.loads((path / "0/.zarray").read_text())["dimension_separator"] == "/"


def test_a_level_lies_over_the_one_before(tmp_path):
    """A ramp in nanometres: its value at a level's position is the position itself."""
    size = 0.5
    ramp = np.broadcast_to(np.arange(1024) * size, (8, 1024)).astype(np.float32)
    path = write_ome_zarr(tmp_path / "r.ome.zarr", ramp, pixel_size_nm=size)
    group = zarr.open_group(path, mode="r")
    entry = multiscales(group, "0.4")
    assert len(entry["datasets"]) == 2
    steps = {t["type"]: t[t["type"]] for t in entry["datasets"][1]["coordinateTransformations"]}
    level = group["1"][0]
    positions = np.arange(level.size) * steps["scale"][1] + steps["translation"][1]
    np.testing.assert_allclose(level, positions, atol=1e-3)


def test_without_a_pixel_size_there_is_no_unit(tmp_path):
    path = write_ome_zarr(tmp_path / "a.ome.zarr", np.ones((4, 5), np.uint8))
    entry = multiscales(zarr.open_group(path, mode="r"), "0.4")
    assert all("unit" not in axis for axis in entry["axes"])
    tiff = write_ome_tiff(tmp_path / "a.ome.tif", np.ones((4, 5), np.uint8))
    with tifffile.TiffFile(tiff) as file:
        assert "PhysicalSize" not in file.ome_metadata
        assert file.pages[0].tags["ResolutionUnit"].value == 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_pooling_keeps_a_constant_and_the_range(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width)).astype(np.uint8)
    small = pool(pixels)
    assert small.shape == (-(-height // 2), -(-width // 2))
    assert small.dtype == np.uint8
    assert pixels.min() <= small.min() <= small.max() <= pixels.max()
    assert (pool(np.full_like(pixels, 255)) == 255).all()


# --- OME-TIFF ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_ome_tiff_is_read_back_by_others(tmp_path, dtype):
    ome_types = importlib.import_module("ome_types")
    pixels = (np.random.default_rng(0).random((600, 700)) * 200).astype(dtype)
    path = write_ome_tiff(
        tmp_path / "x.ome.tif",
        pixels,
        pixel_size_nm=0.02,
        pixel_size_y_nm=0.03,
        name="micrographé & <x>",
        description="sample: S1",
    )
    np.testing.assert_array_equal(tifffile.imread(path), pixels)
    image = ome_types.from_tiff(str(path)).images[0]
    assert image.name == "micrographé & <x>"
    assert image.description == "sample: S1"
    sizes = (image.pixels.physical_size_x_quantity, image.pixels.physical_size_y_quantity)
    assert [round(s.to("nm").magnitude, 9) for s in sizes] == [0.02, 0.03]
    assert image.pixels.type.value == dtype.replace("float32", "float")
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        numerator, denominator = tags["XResolution"].value
        assert 1e7 / (numerator / denominator) == pytest.approx(0.02)
        assert tags["ResolutionUnit"].value == 3


def test_the_ome_xml_is_valid(tmp_path):
    """By the schema of OME, which ome-types has beside it."""
    etree = importlib.import_module("lxml.etree")
    schema_file = Path(importlib.import_module("ome_types").__file__).parent / "ome-2016-06.xsd"
    valid = etree.XMLSchema(etree.parse(schema_file))
    for size, pixels in ((2.5, np.eye(9, dtype=np.uint8)), (np.nan, np.eye(5, dtype=np.float32))):
        path = write_ome_tiff(tmp_path / "a.ome.tif", pixels, pixel_size_nm=size, name="é & <x>")
        with tifffile.TiffFile(path) as file:
            valid.assertValid(etree.fromstring(file.ome_metadata.encode()))


@pytest.mark.parametrize("labels", [False, True])
def test_a_large_image_has_a_pyramid(tmp_path, labels):
    pixels = np.random.default_rng(0).integers(0, 9, (700, 2100)).astype(np.uint16)
    path = write_ome_tiff(tmp_path / "a.ome.tif", pixels, pixel_size_nm=2.0, labels=labels)
    ome = importlib.import_module("ome_types").from_tiff(str(path))
    assert len(ome.images) == 1
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1  # the levels are no images of their own
        levels = file.series[0].levels
        shapes = [(700, 2100), (350, 1050), (175, 525), (88, 263)]
        assert [level.shape for level in levels] == shapes
        small = pixels[::2, ::2] if labels else pool(pixels)
        np.testing.assert_array_equal(levels[0].asarray(), pixels)
        np.testing.assert_array_equal(levels[1].asarray(), small)
        for k, level in enumerate(levels):
            numerator, denominator = level.pages[0].tags["XResolution"].value
            assert 1e7 / (numerator / denominator) == pytest.approx(2.0 * 2**k)


def test_an_image_is_written_the_same_twice(tmp_path):
    files = [write_ome_tiff(tmp_path / n, np.eye(9, dtype=np.uint8), name="x") for n in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


# --- archives ---------------------------------------------------------------------------------


def test_an_archive_as_ome_zarr(archive, tmp_path):
    report = export_images(archive, tmp_path / "out", maps=["crystal", "grain", "orientation"])
    assert list(report.written) == list(NAMES)
    assert report.without_scale == [NAMES[2]]
    assert report.left_out == [(NAMES[2], "crystal_maps/crystal: too dark")]
    assert not report.failed
    inside = (tmp_path / "out").resolve()
    data = store.open_group(archive, "images")["intensity"].values
    for i, name in enumerate(NAMES):
        main, field = report.written[name]
        assert main.resolve().parent == inside
        assert field.parent.name == "orientation"
        group = zarr.open_group(main, mode="r")
        height, width = SHAPES[i]
        np.testing.assert_array_equal(group["0"][:], data[i, :height, :width])
        assert group["labels/grain/0"].shape == (height, width)
        assert ("crystal" in group["labels"]) == (i < 2)
        assert group.attrs["nanoarray"]["image"] == name
    scale = multiscales(zarr.open_group(report.written[NAMES[0]][0], mode="r"), "0.4")
    assert scale["datasets"][0]["coordinateTransformations"][0]["scale"] == [2.6, 2.5]
    with pytest.raises(InputError, match="exists"):
        export_images(archive, tmp_path / "out")
    export_images(archive, tmp_path / "out", overwrite=True)


def test_an_archive_as_ome_tiff(archive, tmp_path):
    report = export_images(archive, tmp_path / "out", format="ome-tiff", images=[NAMES[1]])
    main, crystal, grain = report.written[NAMES[1]]
    assert [p.parent.name for p in (crystal, grain)] == ["crystal", "grain"]
    values = tifffile.imread(crystal)
    assert values.dtype == np.int32  # its label does not fit into 16 bits
    assert set(np.unique(values)) == {0, 1, 70_000}
    assert tifffile.imread(grain).dtype == np.uint16
    with tifffile.TiffFile(main) as file:
        assert (
            'PhysicalSizeX="0.75" PhysicalSizeXUnit="nm" PhysicalSizeY="0.75"' in file.ome_metadata
        )
        assert "temperature_degC: 4.0" in file.ome_metadata


def test_a_damaged_chunk_fails_its_image_alone(archive, tmp_path):
    chunk = next(p for p in (Path(archive) / "images/intensity/c/1").rglob("*") if p.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(content)
    out = tmp_path / "out"
    result = runner.invoke(app, ["export", archive, str(out), "--map", "grain", "-q"])
    assert result.exit_code == 3
    assert "2 images" in result.output
    assert "damaged" in result.output


def test_maps_that_are_not_computed_are_left_out(archive, tmp_path):
    store.forget_blocks(archive, "crystal_maps")
    report = export_images(archive, tmp_path / "out", maps=["crystal"])
    assert [image for image, _ in report.left_out] == list(NAMES)
    assert all("not computed" in reason for _, reason in report.left_out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"maps": ["chrystal"]}, "no map 'chrystal'"),
        ({"images": ["nowhere"]}, "no image 'nowhere'"),
    ],
)
def test_what_is_not_there_is_refused(archive, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        export_images(archive, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_memory_is_that_of_one_image(tmp_path):
    """Four times the images take no more memory at the highest point."""
    peaks = []
    for count in (4, 16):
        url = str(tmp_path / f"{count}.zarr")
        store.create_store(url)
        pixels = np.random.default_rng(0).integers(0, 255, (count, 512, 512)).astype(np.uint16)
        write_group(url, "images", {"intensity": pixels})
        columns = {
            "image": text(f"i{i}" for i in range(count)),
            "height": np.full(count, 512, np.int32),
            "width": np.full(count, 512, np.int32),
            "pixel_size": np.ones(count),
            "pixel_size_y": np.ones(count),
            "ok": np.ones(count, bool),
            "problem": text([""] * count),
        }
        for name, values in columns.items():
            attrs = schema.known("images", name).attrs
            store.put_constant(url, "images", name, ("image",), values, attrs)
        del pixels
        tracemalloc.start()
        export_images(url, tmp_path / f"out{count}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("kind", ["zarr", "tiff"])
def test_memory_does_not_grow_with_the_image(tmp_path, kind):
    """Only some rows of an image are held: four times as many take no more."""
    peaks = []
    for height in (3000, 12_000):
        line = np.arange(1100, dtype=np.uint8)
        plane = Plane((height, 1100), line.dtype, lambda a, b, x=line: np.tile(x, (b - a, 1)))
        tracemalloc.start()
        if kind == "zarr":
            write_ome_zarr(tmp_path / f"{height}.zarr", plane, labels={"grain": plane})
        else:
            write_ome_tiff(tmp_path / f"{height}.tif", plane)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


# --- tiles to pixels --------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", ["full", "inside"])
@pytest.mark.parametrize("factor", [1.0, 1.7])
def test_labels_of_pixels_have_the_areas_of_the_table(coverage, factor):
    rng = np.random.default_rng(3)
    height, width, stride = 203, 181, 9
    y, x = tile_grid(
        round(height * factor),
        round(width * factor),
        tile_size_px=24,
        stride_px=stride,
        coverage=coverage,
    )
    grain = rng.integers(0, 5, (y.size, x.size)).astype(np.int32)
    painted = tiles_to_pixels(
        grain,
        centres_y=y,
        centres_x=x,
        stride_px=stride,
        shape=(height, width),
        factor=factor,
        to_edge=coverage == "full",
    )
    painted = np.concatenate([band for _, band in painted.bands(50)])
    cells = {
        "centres_y": (y + 0.5) / factor - 0.5,
        "centres_x": (x + 0.5) / factor - 0.5,
        "stride_px": stride / factor,
        "field_height_px": height,
        "field_width_px": width,
        "to_edge": coverage == "full",
    }
    rows = measure_grains(
        grain,
        orientation=None,
        confidence=None,
        cell_area_px=cell_areas(**cells),
        pixel_size_nm=1.0,
        symmetry=6,
        **cells,
    )
    counted = np.bincount(painted.ravel(), minlength=5)[rows["label"]]
    # Pixels are whole: with cells of fractions of a pixel they agree on average.
    tolerance = 0 if factor == 1.0 else 0.04
    np.testing.assert_allclose(counted, rows["area_px"], rtol=tolerance)


def test_label_images_have_the_least_type():
    labels = np.array([[0, 70_000]])

    def typed(values, shape=(1, 2)):
        found = as_labels(plane_of(values), name="x", shape=shape)
        np.testing.assert_array_equal(found.rows(0, 1), values)
        assert found.rows(0, 1).dtype == found.dtype
        return found.dtype

    assert typed(labels) == np.int32
    assert typed(labels % 7) == np.uint16
    assert typed(labels - 1) == np.int32
    for wrong in (labels * 1.0, labels * 10**6):
        with pytest.raises(InputError):
            typed(wrong)
    with pytest.raises(InputError, match="shape"):
        typed(labels, (2, 2))


# --- names ------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_file_names_are_safe_and_unlike(tmp_path_factory, identities):
    folder = tmp_path_factory.mktemp("names")
    names = file_names(identities)
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert len(name.encode()) <= MOST_BYTES + 9
        target = folder / f"{name}.ome.tif"
        assert target.parent == folder
        target.write_bytes(b"")
        assert target.resolve().parent == folder.resolve()


def test_usual_names_stay():
    usual = ["S1 22degC_001", "試料 1", "a.b"]
    assert file_names(usual) == usual


# --- tables -----------------------------------------------------------------------------------


def test_tables_keep_units_and_tags(archive, tmp_path):
    assert export_table(archive, "grains", tmp_path / "grains.parquet") == 9
    content = pq.read_table(tmp_path / "grains.parquet")
    assert content.schema.field("area").metadata[b"units"] == b"um2"
    assert content.schema.field("temperature").metadata[b"units"] == b"degC"
    assert (
        content.schema.field("area").metadata[b"long_name"] == b"area of the grain without defects"
    )
    frame = content.to_pandas()
    assert frame["sample"].tolist() == ["=S1"] * 3 + ["S2"] * 3 + [""] * 3
    np.testing.assert_allclose(frame["area"], np.linspace(0.1, 0.9, 9))
    export_table(archive, "grains", tmp_path / "grains.csv")
    plain = pd.read_csv(tmp_path / "grains.csv", keep_default_na=False)
    assert {"area_um2", "pixel_size_nm", "temperature_degC", "image"} <= set(plain)
    assert plain["sample"][0] == "'=S1"  # no spreadsheet runs it
    assert plain["image_index"].tolist() == frame["image_index"].tolist()


def test_a_table_written_in_parts_is_the_table(archive, tmp_path, monkeypatch):
    export_table(archive, "grains", tmp_path / "whole.parquet")
    export_table(archive, "grains", tmp_path / "whole.csv")
    monkeypatch.setattr("nanoarray.archive.table_files._ROWS", 2)
    export_table(archive, "grains", tmp_path / "parts.parquet")
    export_table(archive, "grains", tmp_path / "parts.csv")
    assert pq.read_metadata(tmp_path / "parts.parquet").num_row_groups == 5
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "parts.parquet"), whole)
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_tables_that_are_none_are_refused(archive, tmp_path):
    for group, path, words in (
        ("grains", "grains.txt", "csv"),
        ("nothing", "x.csv", "no group"),
        ("grains", "not/there.csv", "folder"),
    ):
        with pytest.raises(InputError, match=words):
            export_table(archive, group, tmp_path / path)
    assert not list(tmp_path.glob(".*partial"))


# --- command line -----------------------------------------------------------------------------


def test_command_line(archive, tmp_path):
    out = str(tmp_path / "out")
    assert runner.invoke(app, ["export", archive, out, "--table", "grains"]).exit_code == 0
    assert len(pd.read_parquet(tmp_path / "out/grains.parquet")) == 9
    result = runner.invoke(app, ["export", archive, out, "--ngff", "0.5", "-q"])
    assert result.exit_code == 0, result.output
    assert "3 images" in result.output
    assert "pixel size is unknown" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "csv"],
        ["--format", "ome-tiff", "--table", "grains"],
        ["--map", "crystal", "--table", "grains"],
    ],
)
def test_command_line_refuses_what_does_not_go_together(archive, tmp_path, arguments):
    result = runner.invoke(app, ["export", archive, str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, InputError)
