"""Images that are computed in fields give what the same images give whole."""

import numpy as np
import pytest

import nanoarray as na
from nanoarray.fields import packed, sizes
from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice import large_image
from nanoarray.superlattice.grains import cells_in_fields
from nanoarray.superlattice.prepare import large

SIZE = (620, 700)


@pytest.fixture(scope="module")
def small_fields():
    """Images of more than 0.1 megapixels are large, and fields are so small that seams abound."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "WHOLE_PX", 100_000)
        patch.setattr(sizes, "FIELD_PX", 256)
        patch.setattr(packed, "CHUNK", 96)
        patch.setattr(large, "FIELD_PX", 100)
        patch.setattr(large_image, "FIELD_TILES", 23)
        patch.setattr(large_image, "_BAND_PX", 50_000)
        patch.setattr(cells_in_fields, "FIELD_CELLS", 31)
        yield patch


@pytest.fixture(scope="module")
def montage(tmp_path_factory):
    """A montage with pores and a label burnt in, and a small image of another magnification."""
    folder = tmp_path_factory.mktemp("montage")
    made = simulate_polycrystal(
        height_px=SIZE[0], width_px=SIZE[1], grain_count=14, pore_count=3, seed=3
    )
    image = made.image.copy()
    image[430:470, 180:420] = 255
    image[440:455, 200:260] = 0
    write_fei_tiff(folder / "montage.tif", image, pixel_size_nm=2.5)
    small = simulate_polycrystal(height_px=200, width_px=220, grain_count=4, spacing_px=9, seed=4)
    write_fei_tiff(folder / "small.tif", small.image, pixel_size_nm=2.5 * 11 / 9)
    return folder


OPTIONS = {"tile_clusters": {"n_clusters": 5, "max_tiles": 400}}


@pytest.fixture(scope="module")
def whole(montage, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("whole") / "s.zarr")
    na.ingest(montage, url)
    na.run("superlattice", url, **OPTIONS)
    return na.open(url)


@pytest.fixture(scope="module")
def fields(montage, tmp_path_factory, whole, small_fields):
    url = str(tmp_path_factory.mktemp("fields") / "s.zarr")
    na.ingest(montage, url)
    na.run("superlattice", url, **OPTIONS)
    return na.open(url)


def test_the_images_are_computed_in_fields(fields):
    assert sizes.is_large(*SIZE)
    assert not sizes.is_large(200, 220)
    assert float(fields["tiles"]["common_pixel_size"]) > 2.5  # and are resampled


def test_pixels_and_defects_are_equal(whole, fields):
    for group in ("images", "prepared"):
        for name, values in whole[group].data_vars.items():
            if name not in ("path", "problem"):
                np.testing.assert_array_equal(fields[group][name], values, err_msg=str(name))
    assert fields["prepared"]["defect"][0].values.any()


def test_tiles_differ_by_rounding(whole, fields):
    expected, found = (tree["tiles"]["projection_variance"].values for tree in (whole, fields))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=5e-4)
    np.testing.assert_array_equal(fields["tiles"]["valid"], whole["tiles"]["valid"])


def test_grains_have_no_seams(whole, fields):
    for name in ("grain", "symmetry", "grain_count"):
        np.testing.assert_array_equal(
            fields["grain_maps"][name], whole["grain_maps"][name], err_msg=name
        )
    for name in ("orientation", "orientation_confidence", "indexed_fraction"):
        np.testing.assert_allclose(
            fields["grain_maps"][name], whole["grain_maps"][name], atol=0.02, err_msg=name
        )
    for name in ("image_index", "label", "tile_count", "touches_edge", "neighbour_count"):
        np.testing.assert_array_equal(fields["grains"][name], whole["grains"][name], err_msg=name)
    for name in ("area", "equivalent_diameter", "perimeter", "centroid_y", "centroid_x"):
        np.testing.assert_allclose(
            fields["grains"][name], whole["grains"][name], rtol=1e-9, err_msg=name
        )
    assert fields["grains"].sizes["grain"] > 8


def test_tiles_are_grouped_alike(whole, fields):
    expected, found = (tree["tile_clusters"]["cluster"].values for tree in (whole, fields))
    assert np.mean(found != expected) < 1e-3


def test_a_small_image_costs_a_small_chunk(fields):
    stored = fields["prepared"]["defect"]
    assert not stored[1, 200:].any()
    assert not stored[1, :, 220:].any()


@pytest.fixture(scope="module")
def crystals():
    """A field of crystals, some of which lie on seams."""
    from nanoarray.simulate.nanocrystal_specs import random_field_spec
    from nanoarray.simulate.nanocrystals import simulate_field

    spec = random_field_spec(np.random.default_rng(5), height_px=600, width_px=700, focused=True)
    return np.asarray(simulate_field(spec, seed=3)[0]).astype(np.uint8)


def test_crystals_have_no_seams_and_are_measured_in_windows(crystals, monkeypatch):
    from nanoarray.nanocrystal import large_image as measuring
    from nanoarray.nanocrystal.one_image import measure_one
    from nanoarray.nanocrystal.segment import large as segmenting

    for module, name, value in (
        (segmenting, "TILE_PX", 256),
        (packed, "CHUNK", 200),
        (measuring, "_FIELD_PX", 150),
        (measuring, "_WINDOW_PX", 40_000),
    ):
        monkeypatch.setattr(module, name, value)
    everything = tuple(slice(0, n) for n in crystals.shape)
    found = {}
    for tiles in (1, 100):  # fields of a tile, and one field
        monkeypatch.setattr(segmenting, "FIELD_TILES", tiles)
        found[tiles] = segmenting.segment_in_fields(crystals)
    crystal, rejected = found[1].crystal(everything), found[1].rejected(everything)
    np.testing.assert_array_equal(crystal, found[100].crystal(everything))
    np.testing.assert_array_equal(rejected, found[100].rejected(everything))
    assert crystal.max() > 8
    reasons = list(found[1].reasons)
    options = {"pixel_size_nm": 0.5, "crop_size": 32}
    expected = measure_one(crystal, rejected, reasons, crystals, image_index=0, **options)
    objects = measuring.Objects(crystal, rejected)
    count = expected["label"].size
    boxes = measuring.find_boxes(objects, count)
    parts = [
        measuring.measure_some(objects, crystals, boxes, slice(a, min(a + 7, count)), **options)
        for a in range(0, count, 7)
    ]
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        np.testing.assert_allclose(
            values.astype(float), expected[name].astype(float), rtol=1e-6, atol=1e-4, err_msg=name
        )


def test_files_are_read_in_bands_of_any_layout(tmp_path, small_fields, monkeypatch):
    import tifffile

    from nanoarray.images import banded

    rng = np.random.default_rng(0)
    made = {
        "plain": (np.uint8, {}),
        "strips": (np.uint16, {"compression": "zlib", "rowsperstrip": 37, "predictor": True}),
        "tiles": (np.uint16, {"tile": (128, 64), "compression": "lzw"}),
        "white": (np.uint8, {"photometric": "miniswhite"}),
        "swapped": (np.uint16, {"byteorder": ">"}),
        "floats": (np.float32, {}),
    }
    for name, (dtype, options) in made.items():
        pixels = rng.integers(0, 250, (401, 303)).astype(dtype)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, **options)
    monkeypatch.setattr(banded, "BAND_ROWS", 100)
    na.ingest(tmp_path, str(tmp_path / "s.zarr"))
    images = na.open(tmp_path / "s.zarr")["images"]
    assert images["ok"].all()
    for i, name in enumerate(images["image"].values):
        expected = tifffile.imread(tmp_path / f"{name}.tif")
        expected = 255 - expected if name == "white" else expected
        np.testing.assert_array_equal(images["intensity"][i], expected, err_msg=name)


def test_pictures_of_them_are_reduced(fields, monkeypatch):
    from nanoarray.report import large_images

    monkeypatch.setattr(large_images, "_OVERVIEW_PX", 200)
    monkeypatch.setattr(large_images, "_MIDDLE_PX", 100)
    image = fields["images"].to_dataset().isel(image=0)
    assert large_images.is_large(image)
    overview = large_images.overview(image)
    assert overview["intensity"].shape == (155, 175)
    assert (int(overview["height"]), int(overview["width"])) == (155, 175)
    assert float(overview["pixel_size"]) == pytest.approx(4 * 2.5)
    groups = {"prepared": fields["prepared"].to_dataset()}
    middle, parts = large_images.middle(image, groups)
    np.testing.assert_array_equal(middle["intensity"], image["intensity"][260:360, 300:400])
    assert parts["prepared"]["defect"].shape == (2, 100, 100)
