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
