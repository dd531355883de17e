"""Steps on Datasets: lazy, independent of chunks, equal to the pipeline."""

import dask
import numpy as np
import pytest
import xarray as xr

import nanoarray as na
from nanoarray.errors import InputError
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice.steps import GRAIN_MAP_NAMES


@pytest.fixture(scope="module")
def images() -> xr.Dataset:
    """Three small polycrystals of two sizes, padded."""
    shapes = [(200, 240), (170, 220), (200, 240)]
    stack = np.zeros((3, 200, 240), np.uint8)
    for i, (height, width) in enumerate(shapes):
        made = simulate_polycrystal(
            height_px=height, width_px=width, grain_count=4, pore_count=i % 2, seed=i
        )
        stack[i, :height, :width] = made.image
    return xr.Dataset(
        {
            "intensity": (("image", "y", "x"), stack),
            "height": ("image", [s[0] for s in shapes]),
            "width": ("image", [s[1] for s in shapes]),
            "pixel_size": ("image", [2.5, 2.5, 2.5]),
            "temperature": ("image", [20.0, 20.0, 30.0]),
        },
        coords={"image": ["a", "b", "c"]},
    )


@pytest.fixture
def no_compute():
    """Fail as soon as anything is computed."""

    def refuse(*args, **kwargs):
        raise AssertionError("building the graph computed something")

    with dask.config.set(scheduler=refuse):
        yield


TILES = {"tile_size_px": 44, "stride_px": 12, "angle_count": 30}


def test_tile_radon_is_lazy(images, no_compute):
    lazy = images.chunk({"image": 1, "y": 50, "x": 100})
    found = na.tile_radon(lazy, **TILES)
    assert dask.is_dask_collection(found)
    assert found.projection_variance.shape == (3, 17, 20, 30)


def test_prepare_images_is_lazy(images, no_compute):
    found = na.prepare_images(images.chunk({"image": 2}))
    assert dask.is_dask_collection(found)


@pytest.mark.parametrize(
    "chunks", [{"image": 1}, {"image": 2, "y": 64, "x": 77}, {"image": -1, "y": 199}]
)
def test_tile_radon_does_not_depend_on_chunks(images, chunks):
    eager = na.tile_radon(images, **TILES)
    lazy = na.tile_radon(images.chunk(chunks), **TILES).compute()
    xr.testing.assert_identical(eager, lazy)


def test_padding_is_not_measured(images):
    found = na.tile_radon(images, **TILES)
    alone = na.tile_radon(
        images.isel(image=[1], y=slice(0, 170), x=slice(0, 220)).drop_vars(["height", "width"]),
        **TILES,
    )
    rows, columns = alone.sizes["tile_y"], alone.sizes["tile_x"]
    np.testing.assert_array_equal(
        found.projection_variance[1, :rows, :columns], alone.projection_variance[0]
    )
    assert not found.valid[1, rows:].any()
    assert np.isnan(found.projection_variance[1, rows:]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tile_size_px": 400}, "larger than the image"),
        ({"stride_px": 0}, "stride_px"),
        ({"angle_count": 2}, "angle_count"),
    ],
)
def test_impossible_parameters(images, wrong, message):
    with pytest.raises(ValueError, match=message):
        na.tile_radon(images, **{**TILES, **wrong})


def test_missing_variable_is_named(images):
    with pytest.raises(InputError, match="no variable 'intensity'"):
        na.tile_radon(images.drop_vars("intensity"), **TILES)


@pytest.fixture(scope="module")
def mapped(images) -> xr.Dataset:
    prepared = na.prepare_images(images)
    merged = images.merge(prepared)
    tiles = na.tile_radon(merged, tile_size_px=44, stride_px=8, angle_count=60)
    merged = merged.merge(tiles)
    return merged.merge(na.label_grains(merged))


def test_from_images_to_statistics(mapped):
    grains = na.measure_grains(mapped)
    counts = np.bincount(grains.image_index, minlength=3)
    np.testing.assert_array_equal(counts, mapped.grain_count)
    assert grains.temperature.values.tolist() == [
        float(mapped.temperature[i]) for i in grains.image_index.values
    ]
    # The grains and what is in none share the field out among them.
    area = xr.DataArray(grains.area_px.values, dims="g").groupby(
        xr.DataArray(grains.image_index.values, dims="g", name="i")
    )
    field = mapped.height * mapped.width - mapped.defect.sum(["y", "x"])
    share = area.sum().values / field.values
    np.testing.assert_allclose(share, mapped.mapped_fraction.values, rtol=1e-3)
    assert (mapped.mapped_fraction > 0.95).all()
    statistics = na.summarize_grains(grains, mapped, by=("temperature",), resamples=200)
    assert statistics.sizes["condition"] == 2
    assert statistics.image_used_count.values.tolist() == [2, 1]


def test_lengths_scale_with_the_pixel_size(mapped):
    grains = na.measure_grains(mapped)
    double = na.measure_grains(mapped.assign(pixel_size=2 * mapped.pixel_size))
    np.testing.assert_allclose(double.area, 4 * grains.area)
    np.testing.assert_allclose(double.perimeter, 2 * grains.perimeter)
    unknown = na.measure_grains(mapped.drop_vars("pixel_size"))
    assert np.isnan(unknown.area).all()
    np.testing.assert_array_equal(unknown.area_px, grains.area_px)


def test_label_grains_is_lazy_and_equal(mapped):
    inputs = mapped.drop_vars(list(GRAIN_MAP_NAMES))
    lazy = na.label_grains(inputs.chunk({"image": 1, "y": 100, "tile_x": 7}))
    assert dask.is_dask_collection(lazy["grain"])
    np.testing.assert_array_equal(lazy["grain"].compute(), mapped["grain"])


def test_clusters_and_their_model(mapped):
    first = na.cluster_tiles(mapped, n_clusters=4, seed=1)
    again = na.cluster_tiles(mapped, n_clusters=4, seed=1)
    xr.testing.assert_identical(first, again)
    assert int(first.cluster.max()) == 3
    assert ((first.cluster >= 0) == mapped.valid).all()
    labelled = na.cluster_tiles(mapped.isel(image=[2]), model=first)
    np.testing.assert_array_equal(labelled.cluster[0], first.cluster[2])
    alone = na.cluster_tiles(mapped, scope="image")
    assert "centers" not in alone
    assert (alone.cluster_count > 1).all()


def test_dimensions_go_by_name(images):
    turned = images.transpose("x", "image", "y")
    xr.testing.assert_identical(na.prepare_images(images), na.prepare_images(turned))
    a, b = na.tile_radon(images, **TILES), na.tile_radon(turned, **TILES)
    np.testing.assert_array_equal(a.projection_variance, b.projection_variance)


def test_wrong_parameters_are_input_errors(images):
    with pytest.raises(InputError, match="stride_px"):
        na.tile_radon(images, tile_size_px=44, stride_px=0)
    with pytest.raises(InputError, match="did you mean 'coverage'"):
        na.tile_radon(images, coverag="full", **TILES)
