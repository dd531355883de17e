"""Steps on Datasets of crystals: lazy, independent of chunks, equal to the pipeline."""

import dask
import numpy as np
import pytest
import xarray as xr

import nanoarray as na
from nanoarray.errors import InputError
from nanoarray.nanocrystal.step_tables import empty_table
from nanoarray.simulate.nanocrystal_archive import (
    plan_nanocrystal_archive,
    simulate_nanocrystal_archive,
    simulate_nanocrystal_image,
)

SIZE = {"height_px": 300, "width_px": 320}
GROUPS = {"max_groups": 3, "nested": False}
CLASSES = {"trials": 2, "folds": 3}


@pytest.fixture(scope="module")
def images() -> xr.Dataset:
    """Three small micrographs, the last one padded."""
    plan = plan_nanocrystal_archive(image_count=3, seed=3, crystals_per_image=24)
    stack = np.zeros((3, 300, 320), np.uint16)
    for i, planned in enumerate(plan):
        stack[i] = simulate_nanocrystal_image(planned, **SIZE, scale_bar=False).image
    stack[2, 280:] = 0
    return xr.Dataset(
        {
            "intensity": (("image", "y", "x"), stack),
            "height": ("image", [300, 300, 280]),
            "width": ("image", [320, 320, 320]),
            "pixel_size": ("image", [0.4, 0.4, 0.4]),
            "synthesis_method": ("image", ["LARP", "hot", "LARP"]),
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


@pytest.fixture(scope="module")
def maps(images) -> xr.Dataset:
    return na.segment_crystals(images)


@pytest.fixture(scope="module")
def crystals(images, maps) -> xr.Dataset:
    table = na.measure_crystals(images.merge(maps))
    return table.merge(na.predict_shapes(table, refine=False))


@pytest.fixture(scope="module")
def grouped(crystals) -> xr.Dataset:
    return crystals.merge(na.group_shapes(crystals, **GROUPS)[["shape_group"]])


def test_segmentation_is_lazy_and_independent_of_chunks(images, maps):
    lazy = na.segment_crystals(images.chunk({"image": 2, "y": 128, "x": 100}))
    assert dask.is_dask_collection(lazy)
    xr.testing.assert_identical(lazy.compute(), maps)
    assert (maps["crystal_count"] > 5).all()
    assert not maps["crystal"][2, 280:].any()


def test_building_computes_nothing(images, maps, crystals, no_compute):
    found = na.segment_crystals(images.chunk({"image": 1}))
    assert found["crystal"].shape == (3, 300, 320)
    counts = maps[["crystal_count", "rejected_count"]]
    table = na.measure_crystals(images.merge(maps).chunk({"image": 1}).assign(counts))
    assert dask.is_dask_collection(table["area"].data)
    assert table.sizes["crystal"] == crystals.sizes["crystal"]
    rows = crystals[["crop_mask", "rejected", "problem"]]
    shapes = na.predict_shapes(rows.assign(crop_mask=rows["crop_mask"].chunk({"crystal": 9})))
    assert dask.is_dask_collection(shapes["p"].data)


def test_the_table_does_not_depend_on_chunks(images, maps, crystals):
    table = na.measure_crystals(images.merge(maps).chunk({"image": 2, "x": 77})).compute()
    for name in table.variables:
        xr.testing.assert_identical(table[name], crystals[name])


@pytest.mark.parametrize("rows", [7, 1000])
def test_shapes_do_not_depend_on_chunks(crystals, rows):
    found = na.predict_shapes(crystals.chunk({"crystal": rows}), refine=False).compute()
    for name in found.data_vars:
        np.testing.assert_allclose(found[name], crystals[name], rtol=1e-4, err_msg=name)


def test_groups_and_classes_are_lazy_where_the_columns_are(grouped):
    fitted = na.group_shapes(grouped, **GROUPS)
    lazy = na.group_shapes(grouped.chunk({"crystal": 11}), model=fitted)
    assert dask.is_dask_collection(lazy["shape_group"].data)
    xr.testing.assert_identical(lazy.compute(), fitted)
    # As a table of a store has them: numbers lazy, texts in memory.
    texts = [n for n in grouped if grouped[n].dtype.kind in "OUT"]
    mixed = grouped.chunk({"crystal": 11}).assign({n: grouped[n] for n in texts})
    xr.testing.assert_identical(na.group_shapes(mixed, model=fitted).compute(), fitted)
    classes = na.classify_crystals(grouped, **CLASSES)
    again = na.classify_crystals(grouped.chunk({"crystal": 11}), model=classes)
    assert dask.is_dask_collection(again["predicted_group"].data)
    np.testing.assert_array_equal(again["predicted_group"], classes["predicted_group"])
    assert (classes["predicted_group"].values[grouped["shape_group"].values < 0] == -1).all()


def test_statistics(grouped, images):
    found = na.summarize_crystals(grouped, images, by=("synthesis_method",), resamples=100)
    assert found["synthesis_method"].values.tolist() == ["LARP", "hot"]
    assert found["image_count"].values.tolist() == [2, 1]
    assert "composition_share" in found
    alone = na.summarize_crystals(grouped.drop_vars("shape_group"), images, by=(), resamples=100)
    assert "composition_share" not in alone


def test_steps_equal_the_pipeline(tmp_path):
    files = simulate_nanocrystal_archive(
        tmp_path, image_count=2, seed=4, crystals_per_image=24, **SIZE
    )
    url = str(tmp_path / "s.zarr")
    na.ingest(files, url)
    na.run(
        "nanocrystals",
        url,
        shape_groups=GROUPS,
        classes=CLASSES,
        crystal_statistics={"by": [], "resamples": 100},
    )
    tree = na.open(url)
    images = tree["images"].to_dataset().load()
    maps = na.segment_crystals(images)
    table = na.measure_crystals(images.merge(maps, compat="override"))
    table = table.merge(na.predict_shapes(table))
    table = table.merge(na.group_shapes(table, **GROUPS)[["shape_group"]])
    table = table.merge(na.classify_crystals(table, **CLASSES)[["predicted_group"]])
    for group in ("crystals", "shapes", "shape_groups", "classes"):
        stored = na.table(url, group).load()
        for name in stored.data_vars:
            np.testing.assert_array_equal(table[name], stored[name], f"{group} {name}")
    found = na.summarize_crystals(table, images, by=(), resamples=100)
    stored = tree["crystal_statistics"].to_dataset().load()
    np.testing.assert_array_equal(found["mean_size_low"], stored["mean_size_low"])


def test_an_image_that_is_not_there_has_no_crystals(images):
    broken = images.isel(image=[0]).assign(ok=("image", [False]))
    found = na.segment_crystals(broken)
    assert found["crystal_count"].values.tolist() == [0]
    assert not found["crystal"].values.any()
    table = na.measure_crystals(broken.merge(found))
    assert table.sizes["crystal"] == 0
    assert set(table.data_vars) == set(empty_table(64, np.dtype(np.uint16)).data_vars)
    assert na.predict_shapes(table).sizes["crystal"] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: na.segment_crystals(ds.drop_vars("intensity")), "no variable 'intensity'"),
        (lambda ds: na.segment_crystals(ds, metod="auto"), "metod"),
        (lambda ds: na.measure_crystals(ds), "merge it with the maps of segment_crystals"),
        (lambda ds: na.predict_shapes(ds), "merge it with the table of measure_crystals"),
        (lambda ds: na.group_shapes(ds), "merge it with the table of measure_crystals"),
    ],
)
def test_what_is_missing_is_named(images, call, message):
    with pytest.raises(InputError, match=message):
        call(images)


def test_shapes_are_asked_for(crystals):
    rows = crystals.drop_vars("p_network")
    with pytest.raises(InputError, match="merge it with what predict_shapes found"):
        na.group_shapes(rows)
    assert na.group_shapes(rows, dataset="features")["shape_group"].max() >= 1
    with pytest.raises(InputError, match="merge it with what group_shapes found"):
        na.classify_crystals(crystals)
