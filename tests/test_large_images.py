"""Images that are computed in fields give what the same images give whole."""

import numpy as np
import pytest

import nanoarray as na
from nanoarray.errors import ImageError
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
def fields_url(montage, tmp_path_factory, whole, small_fields):
    url = str(tmp_path_factory.mktemp("fields") / "s.zarr")
    na.ingest(montage, url)
    na.run("superlattice", url, **OPTIONS)
    return url


@pytest.fixture(scope="module")
def fields(fields_url):
    return na.open(fields_url)


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


SMALL = (280, 300)


@pytest.fixture(scope="module")
def crystal_url(crystals, small_fields, tmp_path_factory):
    """A store of crystals: a montage and a small image beside it, up to the table of crystals."""
    from nanoarray.archive import layout
    from nanoarray.archive.engine import run_stage
    from nanoarray.archive.executor import Executor
    from nanoarray.nanocrystal import large_image as measuring
    from nanoarray.nanocrystal import stages
    from nanoarray.nanocrystal.segment import large as segmenting

    for module, name, value in (
        (segmenting, "TILE_PX", 256),
        (segmenting, "_SAMPLE_PX", 220),
        (measuring, "_FIELD_PX", 150),
        (measuring, "_WINDOW_PX", 40_000),
        (stages, "ROW_BLOCK", 7),
        (layout, "_LEAST_PX", 256),
        (layout, "_MOST_PX", 256),
    ):
        small_fields.setattr(module, name, value)
    folder = tmp_path_factory.mktemp("crystals")
    write_fei_tiff(folder / "montage.tif", crystals, pixel_size_nm=0.5)
    small = crystals[: SMALL[0], : SMALL[1]]
    write_fei_tiff(folder / "small.tif", small, pixel_size_nm=0.5)
    url = str(folder / "s.zarr")
    na.ingest(folder, url)
    for stage in stages.STAGES[:2]:
        run_stage(url, stage, stage.parameters(), executor=Executor(threads=1))
    return url


def test_crystals_have_no_seams_and_are_measured_in_windows(crystals, crystal_url, monkeypatch):
    from nanoarray.nanocrystal.one_image import measure_one
    from nanoarray.nanocrystal.segment import large as segmenting

    everything = tuple(slice(0, n) for n in crystals.shape)
    monkeypatch.setattr(segmenting, "FIELD_TILES", 100)  # a single field
    whole = segmenting.segment_in_fields(crystals)
    crystal, rejected = whole.crystal(everything), whole.rejected(everything)
    maps = na.open(crystal_url)["crystal_maps"]
    np.testing.assert_array_equal(maps["crystal"][0], crystal)
    np.testing.assert_array_equal(maps["rejected_object"][0], rejected)
    assert crystal.max() > 8
    reasons = list(whole.reasons)
    options = {"pixel_size_nm": 0.5, "crop_size": 64, "image_index": 0}
    expected = measure_one(crystal, rejected, reasons, crystals, **options)
    found = na.open(crystal_url)["crystals"].to_dataset()
    found = found.isel(crystal=found["image_index"].values == 0)
    assert found.sizes["crystal"] == expected["label"].size
    np.testing.assert_array_equal(found["rejected"], expected.pop("rejected"))
    for name, values in expected.items():
        np.testing.assert_allclose(
            found[name].astype(float), values.astype(float), rtol=1e-6, atol=1e-4, err_msg=name
        )


def test_a_small_image_beside_a_montage_is_as_it_would_be_alone(crystals, crystal_url):
    from pathlib import Path

    from nanoarray.nanocrystal.one_image import segment_one
    from nanoarray.nanocrystal.parameters import CrystalMapsParameters

    alone = segment_one(crystals[: SMALL[0], : SMALL[1]], CrystalMapsParameters(), image="small")
    maps = na.open(crystal_url)["crystal_maps"].isel(image=1)
    np.testing.assert_array_equal(maps["crystal"][: SMALL[0], : SMALL[1]], alone["crystal"])
    assert not maps["crystal"][SMALL[0] :].any()
    assert int(maps["crystal_count"]) == alone["crystal_count"] > 1
    chunks = Path(crystal_url, "images", "intensity", "c")
    stored = [sum(p.is_file() for p in (chunks / i).rglob("*")) for i in "01"]
    assert stored == [3 * 3, 2 * 2]


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


def test_inspect_does_not_read_a_large_image_whole(tmp_path, small_fields, monkeypatch):
    import tifffile

    from nanoarray.images import tiff
    from nanoarray.images.inspection import inspect_files

    def too_large():
        raise ImageError("declares more than one micrograph may have")

    tifffile.imwrite(
        tmp_path / "a.tif", np.random.default_rng(0).integers(0, 250, (401, 303), "u1")
    )
    monkeypatch.setattr(tiff, "_decoder", lambda *_: too_large)
    [plain] = inspect_files([tmp_path])
    assert (plain.problem, plain.height_px, plain.width_px, plain.warnings) == ("", 401, 303, ())
    [looked] = inspect_files([tmp_path], scale_bar="200 nm")
    assert looked.problem == ""
    assert looked.warnings[0].startswith("no scale bar is looked for: declares more")
    report = na.ingest(tmp_path, str(tmp_path / "s.zarr"), scale_bar="200 nm")
    assert report.failed == ()
    assert report.warned[0][1].startswith("no scale bar is looked for")


def test_what_all_blocks_of_rows_need_is_made_once():
    import xarray as xr

    from nanoarray.archive.once import Once

    once, made = Once[int](most=2), []

    def get(group, i):
        return once.get(group, i, lambda: made.append(i) or len(made))

    one, other = xr.Dataset(), xr.Dataset()
    assert [get(one, 0), get(one, 0), get(other, 0), get(one, 0)] == [1, 1, 2, 1]
    assert [get(one, 1), get(other, 0), get(one, 0)] == [3, 2, 4]  # the oldest is forgotten
    assert made == [0, 0, 1, 0]


def test_tiles_of_larger_images_change_nothing():
    """The grid of a collection has the size of its largest image."""
    from nanoarray.superlattice import one_image, one_map
    from nanoarray.superlattice.grids import collection_grid
    from nanoarray.superlattice.parameters import GrainMapsParameters, TilesParameters

    made = simulate_polycrystal(height_px=205, width_px=231, grain_count=3, seed=2)
    field = one_image.Field(made.image.astype(np.float32), np.zeros((205, 231), bool), 1.0, 11.0)
    parameters = TilesParameters(tile_size_px=44, stride_px=9)
    angles = np.arange(60) * 3.0
    found = []
    for size in ((205, 231), (400, 500)):
        grid = collection_grid(*size, 44, 9, parameters)
        tiles = one_image.tile_features(field, grid, angles, parameters)
        profile = np.full((grid.centres_y.size, grid.centres_x.size, 60), np.nan, np.float32)
        valid = np.zeros(profile.shape[:2], bool)
        here = tuple(slice(0, n) for n in tiles["valid"].shape)
        profile[here], valid[here] = tiles["projection_variance"], tiles["valid"]
        options = (profile, valid, GrainMapsParameters())
        found.append(one_map.grain_map(field, grid, angles, *options, band_pass=True))
    assert found[0]["grain_count"] > 1
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values, err_msg=name)


def test_the_page_shows_no_image_in_detail_that_is_large(fields_url):
    from nanoarray.report import large_images
    from nanoarray.report.cards import open_groups
    from nanoarray.report.contents import read_contents
    from nanoarray.report.superlattice.sections import detail

    contents = read_contents(fields_url)
    groups = open_groups(contents)
    assert detail(contents, groups, [0]) == ("", [])
    shown, panels = detail(contents, groups, [0, 1])
    assert (shown, len(panels)) == ("small", 3)
    own = large_images.without_padding(groups["images"].isel(image=1), groups)
    assert own["prepared"]["defect"].shape == (2, 200, 220)
    grain = own["grain_maps"]["grain"]
    valid = own["tiles"]["valid"][1].values
    assert grain.shape[1:] == valid.shape < groups["tiles"]["valid"].shape[1:]
    assert valid[0].any()
    assert valid[:, -1].any()


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
