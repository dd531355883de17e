"""Grain statistics against known populations, brute force and other implementations."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import nanoarray as na
from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.schema_statistics import GRAIN_STATISTICS
from nanoarray.statistics import resampling
from nanoarray.statistics.cohort import build_cohort
from nanoarray.statistics.distribution import (
    ResampledQuantile,
    ascending,
    normal_distance,
    weighted_quantile,
    weighted_std,
)
from nanoarray.statistics.resampling import (
    _in_order_of,
    bootstrap_interval,
    exchange_test,
    holm,
    of_resamples,
    permutation_test,
    without_each_unit,
)
from nanoarray.superlattice import table_stages
from nanoarray.superlattice.statistics.grain_size import (
    grain_size_number_from_area,
    grain_size_number_from_count,
    grain_size_number_from_intercept,
    grains_needed,
)
from nanoarray.superlattice.statistics.sizes import (
    compare_conditions,
    sizes_by_condition,
    summarize_grains,
    trend_test,
)

SAMPLE_STD, IMAGE_STD, GRAIN_STD = 0.3, 0.1, 0.6
MEDIAN_AREA = 0.1


def population(
    conditions, *, samples, images=3, grains=25, seed=0, slope=0.0, sample_std=SAMPLE_STD
):
    """Log-normal grains whose samples and images differ, at temperatures `conditions`.

    A field of constant size holds more grains where they are small, as in a micrograph.
    """
    rng = np.random.default_rng(seed)
    rows, areas = [], []
    for temperature in conditions:
        for s in range(samples):
            sample_effect = rng.normal(0, sample_std) + slope * temperature
            for i in range(images):
                effect = sample_effect + rng.normal(0, IMAGE_STD)
                rows.append(
                    (f"T{temperature}_S{s}_{i}", f"T{temperature}_S{s}", float(temperature))
                )
                count = rng.poisson(grains * np.exp(-effect))
                areas.append(MEDIAN_AREA * np.exp(effect + rng.normal(0, GRAIN_STD, count)))
    table = pd.DataFrame(rows, columns=["image", "sample", "temperature"])
    table["pixel_size"] = 2.5
    table["usable"] = True
    counts = [len(area) for area in areas]
    columns = {
        "image": np.repeat(table["image"].to_numpy(), counts),
        "label": np.concatenate([np.arange(1, count + 1) for count in counts]),
        "area": np.concatenate(areas),
        "touches_edge": np.zeros(sum(counts), bool),
        "edge_weight": np.ones(sum(counts)),
    }
    return pd.DataFrame(columns), table


# ------------------------------------------------------------------ numbers of a condition


def test_simple_numbers_agree_with_numpy_and_scipy():
    grains, images = population([20], samples=3, grains=60)
    row = summarize_grains(grains, images, by=["temperature"]).iloc[0]
    area = grains["area"].to_numpy()
    diameter = np.sqrt(4 * area / np.pi)
    assert row["grain_count"] == len(area)
    assert row["mean_area"] == pytest.approx(area.mean())
    assert row["median_area"] == pytest.approx(np.median(area))
    assert row["std_area"] == pytest.approx(area.std(ddof=1))
    assert row["area_weighted_mean_area"] == pytest.approx(np.average(area, weights=area))
    assert row["mean_diameter"] == pytest.approx(diameter.mean())
    assert row["area_weighted_mean_diameter"] == pytest.approx(np.average(diameter, weights=area))
    assert row["geometric_mean_area"] == pytest.approx(stats.gmean(area))
    shape, _, scale = stats.lognorm.fit(area, floc=0)
    assert row["log_mean_area"] == pytest.approx(np.log(scale))
    assert row["log_std_area"] == pytest.approx(shape, rel=0.01)  # ddof 1 instead of 0
    fitted = stats.norm(row["log_mean_area"], row["log_std_area"])
    distance = stats.kstest(np.log(area), fitted.cdf).statistic
    assert row["lognormal_distance"] == pytest.approx(distance)
    assert row["grain_size_number"] == pytest.approx(16.977 - 3.3219 * np.log10(area.mean()))
    assert set(GRAIN_STATISTICS["condition"]) <= set(row.index)


def test_tables_as_variables_have_the_units_and_dtypes_of_the_schema():
    grains, images = population([20, 40], samples=3)
    images["time"] = np.where(images["temperature"] == 20, 2.0, 5.0)
    ds = images.rename_axis("row").to_xarray().rename(row="image_row").set_coords("image")
    ds = ds.swap_dims(image_row="image").drop_vars("image_row")
    ds["time"].attrs = {"units": "h", "long_name": "time of annealing"}
    ds["temperature"].attrs = {"units": "degC", "long_name": "temperature"}
    rows = grains.rename_axis("grain").to_xarray()
    found = na.summarize_grains(rows, ds, by=("temperature", "time"), resamples=200)
    known = [(n, v.dims, str(v.dtype), v.attrs) for n, v in found.variables.items()]
    schema.validate("grain_statistics", known)
    units = {name: variable.attrs["units"] for name, variable in found.variables.items()}
    assert units["pair_difference_low"] == units["pair_value_a"] == "um2"
    assert units["time"] == units["pair_time_b"] == "h"
    assert units["pair_temperature_a"] == "degC"
    assert found["trend_units"].values.tolist() == ["1/degC", "1/h"]
    left_open = {n for n in found.variables if schema.known("grain_statistics", n) is None}
    assert left_open == {
        f"{start}{tag}{end}"
        for tag in ("temperature", "time")
        for start, end in (("", ""), ("pair_", "_a"), ("pair_", "_b"))
    }
    assert set(schema.GROUPS["grain_statistics"]) <= set(found.variables)


def test_edge_rules():
    grains, images = population([20], samples=2)
    rng = np.random.default_rng(1)
    grains["touches_edge"] = rng.random(len(grains)) < 0.4
    grains["edge_weight"] = np.where(grains["touches_edge"], 0, rng.uniform(1, 3, len(grains)))
    area, inside = grains["area"], ~grains["touches_edge"]
    weight = grains["edge_weight"]
    expected = {
        "weight": np.average(area, weights=weight),
        "exclude": area[inside].mean(),
        "include": area.mean(),
    }
    for edge, mean in expected.items():
        row = summarize_grains(grains, images, edge=edge).iloc[0]
        assert row["mean_area"] == pytest.approx(mean)
        assert row["edge_grain_count"] == grains["touches_edge"].sum()
        assert row["grain_count"] == (len(area) if edge == "include" else inside.sum())
    assert "cut by the edge" in summarize_grains(grains, images, edge="exclude")["warnings"].iloc[0]
    weighted = summarize_grains(grains, images).iloc[0]
    repeated = np.repeat(area, (weight * 1000).round().astype(int))
    assert weighted["median_area"] == pytest.approx(np.median(repeated), rel=1e-3)


def test_planimetric_and_intercept_use_all_grains():
    grains, images = population([20], samples=2)
    grains["touches_edge"] = np.arange(len(grains)) % 3 == 0
    grains["planimetric_count"] = np.where(grains["touches_edge"], 0.5, 1.0)
    grains["intercept_length"] = 8 * grains["area"]
    grains["intercept_count"] = 5.0
    row = summarize_grains(grains, images, edge="exclude").iloc[0]
    planimetric = grains["area"].sum() / grains["planimetric_count"].sum()
    intercept = grains["intercept_length"].sum() / grains["intercept_count"].sum()
    assert row["mean_area_planimetric"] == pytest.approx(planimetric)
    assert row["mean_intercept"] == pytest.approx(intercept)
    number = grain_size_number_from_count(1 / planimetric)
    assert row["grain_size_number_planimetric"] == pytest.approx(number)
    number = grain_size_number_from_intercept(intercept)
    assert row["grain_size_number_intercept"] == pytest.approx(number)
    assert row["mean_area_planimetric_low"] < planimetric < row["mean_area_planimetric_high"]
    # Without the column, a grain at the edge counts half.
    simple = summarize_grains(grains.drop(columns="planimetric_count"), images).iloc[0]
    assert simple["mean_area_planimetric"] == pytest.approx(planimetric)
    per_grain = grains.drop(columns=["intercept_length", "intercept_count"])
    per_grain["mean_intercept"] = 0.3
    assert summarize_grains(per_grain, images)["mean_intercept"].iloc[0] == pytest.approx(0.3)


def test_grain_size_numbers_of_the_standard():
    # ASTM E112, table of G: number 8 has 1979 grains per mm2, mean area 504 um2, intercept 20 um
    assert grain_size_number_from_area(504.0) == pytest.approx(8, abs=0.02)
    assert grain_size_number_from_count(1.984e-3) == pytest.approx(8, abs=0.02)
    assert grain_size_number_from_intercept(20.0) == pytest.approx(8, abs=0.02)
    assert np.isnan(grain_size_number_from_area([0.0, np.nan])).all()
    # Twice as many grains per area is one number more, in whatever way it is measured.
    assert grain_size_number_from_area(0.05) - grain_size_number_from_area(0.1) == pytest.approx(
        1, abs=1e-4
    )


def test_grains_needed_against_the_spread_of_means():
    sigma = 0.8
    needed = int(grains_needed(sigma))
    means = np.random.default_rng(0).lognormal(0, sigma, (2000, needed)).mean(axis=1)
    within = np.mean(np.abs(means / np.exp(sigma**2 / 2) - 1) < 0.05)
    assert within == pytest.approx(0.95, abs=0.02)


def test_weighted_helpers_reduce_to_the_usual_ones():
    values = np.random.default_rng(2).normal(size=37)
    ones = np.ones(37)
    assert weighted_std(values, ones) == pytest.approx(values.std(ddof=1))
    assert normal_distance(values, ones) == pytest.approx(stats.kstest(values, "norm").statistic)
    for q in (0.0, 0.25, 0.5, 0.75, 1.0):
        expected = np.quantile(values, q, method="averaged_inverted_cdf")
        assert weighted_quantile(values, q, weight=ones)[0] == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_resampled_quantiles_equal_repeated_values(data):
    values = np.array(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=12)), float)
    unit = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values)))
    )
    counts = np.array([data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3))], float)
    median = ResampledQuantile(values, 0.5, weight=np.ones(len(values)), unit=unit, units=3)
    found = median(counts)[0]
    repeated = np.repeat(values, counts[0][unit].astype(int))
    if repeated.size:
        assert found == pytest.approx(np.median(repeated))
    else:
        assert np.isnan(found)


@pytest.mark.parametrize("near", [8.0, 0.1])
def test_a_resampled_quantile_that_looks_near_the_quantile_is_that_of_all_values(near, monkeypatch):
    monkeypatch.setattr("nanoarray.statistics.distribution._NEAR", near)
    rng = np.random.default_rng(3)
    values, weight = rng.lognormal(size=4000).round(2), rng.choice([0.0, 1.0, 1.3], 4000)
    unit = rng.integers(0, 500, 4000)
    counts = rng.multinomial(500, np.full(500, 1 / 500), size=20).astype(float)
    median = ResampledQuantile(values, 0.5, weight=weight, unit=unit, units=500)
    # So few of the values are looked at, unless a resample has its median elsewhere.
    assert len(median._near[0]) < (2500 if near > 1 else 100)
    expected = [weighted_quantile(values, 0.5, weight=weight * c[unit])[0] for c in counts]
    np.testing.assert_array_equal(median(counts), expected)
    assert np.isnan(median(np.zeros((1, 500)))[0])


def test_many_values_are_sorted_and_summed_in_pieces(monkeypatch):
    rng = np.random.default_rng(4)
    values, weight = rng.normal(size=9001).round(2), rng.choice([0.0, 1.0, 1.3], 9001)
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)

    def results():
        return [
            *weighted_quantile(values, shares, weight=weight),
            weighted_std(values, weight),
            normal_distance(values, weight),
        ]

    whole = results()
    monkeypatch.setattr("nanoarray.statistics.distribution._PIECE", 1000)
    assert len(list(ascending(values))) == 10
    np.testing.assert_array_equal(
        np.concatenate(list(ascending(values))), np.argsort(values, kind="stable")
    )
    assert results() == whole
    # A quantile halfway between two pieces.
    two = np.repeat([1.0, 2.0], 1000)
    assert weighted_quantile(two, 0.5, weight=np.ones(2000)) == [1.5]


@pytest.mark.parametrize(("units", "strata"), [(1, 1), (7, 3), (1000, 1), (5000, 40)])
def test_levels_are_exchanged_as_by_sorting_random_keys(units, strata):
    rng = np.random.default_rng(units)
    stratum = np.unique(np.sort(rng.integers(0, strata, units)), return_inverse=True)[1]
    level, keys = rng.normal(size=units), rng.random((3, units)) + stratum
    found = _in_order_of(level, keys, stratum)
    np.testing.assert_array_equal(found, level[np.argsort(keys, axis=1)])


def test_of_very_many_units_fewer_arrangements_are_drawn(monkeypatch):
    monkeypatch.setattr("nanoarray.statistics.resampling._DRAWN_VALUES", 300 * 50)
    rng = np.random.default_rng(0)
    options = {"permutations": 999, "rng": rng, "alpha": 0.05}
    few = permutation_test(rng.normal(size=50), np.repeat([0.0, 1.0], 25), **options)
    assert few.smallest_p == 1 / 301
    many = permutation_test(rng.normal(size=5000), np.repeat([0.0, 1.0], 2500), **options)
    assert many.smallest_p == 1 / 100


# ------------------------------------------------------------------ what counts, and what is said


def test_images_that_cannot_be_measured_are_counted_and_not_dropped():
    grains, images = population([20, 30], samples=2)
    images["ok"] = True
    names = images["image"].tolist()
    images.loc[0, "pixel_size"] = np.nan
    grains.loc[grains["image"] == names[0], "area"] = np.nan
    images.loc[1, "usable"] = False
    images.loc[2, ["ok", "usable"]] = False
    grains = grains[~grains["image"].isin(names[1:4])]  # 1 and 2 left out, 3 has no grain
    first, second = summarize_grains(grains, images, by="temperature").iloc
    assert first["image_count"] == 6
    assert first["image_used_count"] == 3
    assert first["image_no_pixel_size_count"] == 1
    assert first["image_not_usable_count"] == 1
    assert first["image_not_ok_count"] == 1
    assert first["image_empty_count"] == 1
    assert first["grain_count"] == grains["image"].isin(names[4:6]).sum()
    assert first["unmeasured_grain_count"] == (grains["image"] == names[0]).sum()
    for text in ("1 no pixel size", "1 not usable", "1 not readable", "grains have no area"):
        assert text in first["warnings"]
    assert second["image_count"] == second["image_used_count"] == 6


def test_grains_without_area_reveal_an_image_without_scale():
    grains, images = population([20], samples=2)
    grains.loc[grains["image"] == images["image"][0], "area"] = np.nan
    row = summarize_grains(grains, images.drop(columns="pixel_size")).iloc[0]
    assert row["image_no_pixel_size_count"] == 1


def test_a_condition_without_anything_to_measure_keeps_its_row():
    grains, images = population([20, 30], samples=2)
    images.loc[images["temperature"] == 20, "pixel_size"] = np.nan
    grains = grains[grains["image"].str.startswith("T30")]
    first, second = summarize_grains(grains, images, by="temperature").iloc
    assert first["grain_count"] == 0
    assert np.isnan(first["mean_area"])
    assert np.isnan(first["mean_area_low"])
    assert "6 no pixel size" in first["warnings"]
    assert "no grain" in first["warnings"]
    assert second["grain_count"] == len(grains)


def test_missing_tags_are_a_condition_of_their_own_and_last():
    grains, images = population([30, 5, 20], samples=2)
    images.loc[images["temperature"] == 5, "temperature"] = np.nan
    images["method"] = np.where(np.arange(len(images)) % 2, "spin", "")
    found = summarize_grains(grains, images, by=["temperature", "method"])
    np.testing.assert_array_equal(found["temperature"], [20, 20, 30, 30, np.nan, np.nan])
    assert found["method"].tolist() == ["spin", ""] * 3
    assert found["condition"].iloc[-1] == "temperature unknown, method unknown"
    assert found["grain_count"].sum() == len(grains)


@pytest.mark.parametrize(
    ("samples", "images", "expected", "warning"),
    [
        (4, 2, ("sample", 4), None),
        (2, 2, ("sample", 2), "from 2 samples only"),
        (1, 4, ("image", 4), "about this sample, not the condition"),
        (1, 1, ("image", 1), "no interval is possible"),
    ],
)
def test_resample_unit(samples, images, expected, warning):
    grains, table = population([20], samples=samples, images=images, grains=200)
    row = summarize_grains(grains, table).iloc[0]
    assert (row["resample_unit"], row["resample_unit_count"]) == expected
    assert warning is None or warning in row["warnings"]
    assert np.isnan(row["mean_area_low"]) == (expected[1] == 1)


def test_samples_named_by_numbers_stay_apart():
    # A column of dates is read as floats where one is missing.
    grains, images = population([20, 30], samples=2, images=2)
    images["sample"] = np.repeat([20230115.0, 20230116.0, 20230117.0, np.nan], 2)
    row = summarize_grains(grains, images, resample_unit="sample", resamples=100).iloc[0]
    assert row["sample_count"] == 3
    assert row["resample_unit_count"] == 4
    names = summarize_grains(grains, images, by="sample", resamples=100)["condition"]
    assert names.is_unique
    assert names.iloc[0] == "sample=20230115"


def test_unknown_samples():
    grains, images = population([20], samples=4)
    row = summarize_grains(grains, images.drop(columns="sample")).iloc[0]
    assert (row["resample_unit"], row["sample_count"]) == ("image", 0)
    assert "samples are unknown" in row["warnings"]
    images.loc[images["sample"].isin(["T20_S0", "T20_S1"]), "sample"] = ""
    row = summarize_grains(grains, images).iloc[0]
    assert (row["resample_unit"], row["resample_unit_count"]) == ("sample", 3)
    assert "6 images of unknown sample count as one" in row["warnings"]


def test_small_grains_and_few_grains_are_warned_about():
    grains, images = population([20], samples=4, images=1, grains=10)
    row = summarize_grains(grains, images, tile_size_um=0.3, min_grains=100).iloc[0]
    assert row["small_grain_count"] == (grains["area"] < 0.09).sum()
    assert "smaller than a tile" in row["warnings"]
    assert "fewer than 100" in row["warnings"]
    row = summarize_grains(grains, images, min_grains=10).iloc[0]
    assert row["small_grain_count"] == -1
    assert "independent ones" in row["warnings"]


def test_sizes_by_condition_hold_every_grain_once():
    grains, images = population([30, 20], samples=2)
    sizes = sizes_by_condition(grains, images, by="temperature")
    assert [part.condition for part in sizes] == ["temperature=20", "temperature=30"]
    for part in sizes:
        own = grains[grains["image"].str.startswith(f"T{part.tags['temperature']:g}_")]
        np.testing.assert_allclose(np.sort(part.area_um2), np.sort(own["area"]))
        by_image = pd.Series(part.area_um2).groupby(part.image).sum()
        np.testing.assert_allclose(by_image, own.groupby("image")["area"].sum())


# ------------------------------------------------------------------ repeatable


def test_neither_row_order_nor_other_conditions_change_anything():
    grains, images = population([20, 30], samples=4)
    shuffled = grains.sample(frac=1, random_state=3), images.sample(frac=1, random_state=4)
    kwargs = {"by": ["temperature"], "resamples": 200}
    first = summarize_grains(grains, images, **kwargs)
    pd.testing.assert_frame_equal(first, summarize_grains(*shuffled, **kwargs), check_exact=True)
    assert not first.equals(summarize_grains(grains, images, seed=1, **kwargs))
    alone = summarize_grains(
        grains[grains["image"].str.startswith("T30")],
        images[images["temperature"] == 30],
        **kwargs,
    )
    pd.testing.assert_frame_equal(first.iloc[[1]].reset_index(drop=True), alone, check_exact=True)
    for test in (
        lambda g, i: compare_conditions(g, i, by="temperature", permutations=99, resamples=200),
        lambda g, i: trend_test(g, i, tag="temperature", permutations=99, resamples=200),
    ):
        pd.testing.assert_frame_equal(test(grains, images), test(*shuffled), check_exact=True)


def test_grains_may_come_in_parts_and_images_in_any_order():
    grains, images = population([20, 30], samples=3)
    images = images.sample(frac=1, random_state=1)
    by_image = [part for _, part in grains.groupby("image", sort=False)]
    whole = build_cohort(grains, images, tags=["temperature"], edge="weight")
    parts = build_cohort(iter(by_image[::-1]), images, tags=["temperature"], edge="weight")
    pd.testing.assert_frame_equal(parts.images, whole.images)
    for name in ("sums", "area_um2", "weight", "grain_image", "edge_grains", "small_grains"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_the_statistics_read_few_columns_of_some_images_at_a_time(monkeypatch):
    counts = np.array([0, 3, 0, 5, 2, 0, 9, 1, 0])
    columns = ("image_index", "area", "problem", "orientation")
    values = np.repeat(np.arange(len(counts)), counts)
    grains = xr.Dataset(dict.fromkeys(columns, ("grain", values)))
    monkeypatch.setattr(table_stages, "_PART", 6)
    parts = [part["image_index"].tolist() for part in table_stages._grain_parts(grains, counts)]
    assert [set(part) for part in parts] == [{1}, {3, 4}, {6, 7}]
    assert np.concatenate(parts).tolist() == values.tolist()
    (part,) = table_stages._grain_parts(grains.isel(grain=slice(0)), 0 * counts)
    assert list(part) == ["image_index", "area", "problem"]


def test_image_index_stands_for_the_image():
    grains, images = population([20, 30], samples=2)
    by_name = summarize_grains(grains, images, by="temperature", resamples=200)
    code = images["image"].tolist().index
    by_index = grains.assign(image_index=grains["image"].map(code)).drop(columns="image")
    again = summarize_grains(by_index, images.set_index("image"), by="temperature", resamples=200)
    pd.testing.assert_frame_equal(by_name, again)


def test_another_unit_of_length_scales_everything():
    grains, images = population([20], samples=4)
    first = summarize_grains(grains, images, resamples=200).iloc[0]
    scaled = summarize_grains(grains.assign(area=grains["area"] * 9), images, resamples=200).iloc[0]
    for name in ("mean_area", "median_area_low", "area_weighted_mean_area_high", "std_area"):
        assert scaled[name] == pytest.approx(9 * first[name])
    assert scaled["mean_diameter_high"] == pytest.approx(3 * first["mean_diameter_high"])
    assert scaled["log_std_area"] == pytest.approx(first["log_std_area"])


# ------------------------------------------------------------------ honest by simulation

# Grains per field fall with their size, so the mean over grains is that of the fields' totals:
# E[n A] / E[n] with n ~ exp(-effect) gives exp(-variance / 2) of the between-image effect.
TRUE_MEAN = MEDIAN_AREA * np.exp((GRAIN_STD**2 - SAMPLE_STD**2 - IMAGE_STD**2) / 2)


def test_intervals_hold_the_truth_at_their_rate():
    repeats, held, naive = 100, 0, 0
    for seed in range(repeats):
        data = population([20], samples=5, seed=seed)
        row = summarize_grains(*data, resamples=300, seed=seed).iloc[0]
        held += row["mean_area_low"] <= TRUE_MEAN <= row["mean_area_high"]
        row = summarize_grains(*data, resamples=300, resample_unit="image").iloc[0]
        naive += row["mean_area_low"] <= TRUE_MEAN <= row["mean_area_high"]
    assert 0.90 <= held / repeats <= 0.99
    assert naive / repeats < 0.85  # images of a sample are not independent


def test_median_intervals_hold_the_truth_at_their_rate():
    # Without differences between images the median grain is known exactly.
    repeats, held = 100, 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        area = MEDIAN_AREA * np.exp(rng.normal(0, GRAIN_STD, 160))
        grains = pd.DataFrame({"image": np.arange(160) % 8, "area": area})
        images = pd.DataFrame({"image": np.arange(8)})
        row = summarize_grains(grains, images, resamples=300, edge="include").iloc[0]
        held += row["median_area_low"] <= MEDIAN_AREA <= row["median_area_high"]
    assert 0.90 <= held / repeats <= 0.99


def test_comparison_keeps_its_level_and_naive_units_do_not():
    repeats, alarms, naive, held = 80, 0, 0, 0
    kwargs = {"by": "temperature", "resamples": 200, "permutations": 299}
    for seed in range(repeats):
        data = population([20, 30], samples=5, images=6, grains=12, seed=seed)
        row = compare_conditions(*data, **kwargs).iloc[0]
        alarms += row["p_value"] <= 0.05
        held += row["ratio_low"] <= 1 <= row["ratio_high"]
        naive += (
            compare_conditions(*data, resample_unit="image", **kwargs)["p_value"].iloc[0] <= 0.05
        )
    assert row["resample_unit"] == "sample"
    # 5 % of 80 is 4; 10 or more has a probability of 0.6 %
    assert 0 < alarms <= 9
    assert naive > 16
    assert 0.90 <= held / repeats <= 0.99


def test_trend_keeps_its_level_and_its_interval_holds_the_slope():
    repeats, alarms, held, held_few, naive, slope = 80, 0, 0, 0, 0, 0.03
    kwargs = {"tag": "temperature", "resamples": 200, "permutations": 299}
    for seed in range(repeats):
        row = trend_test(*population([4, 22, 31], samples=3, seed=seed), **kwargs).iloc[0]
        alarms += row["p_value"] <= 0.05
        data = population([4, 22, 31], samples=3, seed=seed, slope=slope)
        row = trend_test(*data, **kwargs).iloc[0]
        held += row["slope_low"] <= slope <= row["slope_high"]
        data = population([4, 22, 31], samples=1, images=5, seed=seed)
        naive += trend_test(*data, resample_unit="image", **kwargs)["p_value"].iloc[0] <= 0.05
        row = trend_test(*data, **kwargs).iloc[0]
        held_few += row["slope_low"] <= 0 <= row["slope_high"]
    assert 0 < alarms <= 9
    assert 0.90 <= held / repeats < 1
    assert held_few / repeats >= 0.90  # from three units
    assert naive > 27


def test_a_real_effect_is_found():
    data = population([4, 22, 31], samples=4, slope=0.06, seed=1)
    row = trend_test(*data, tag="temperature").iloc[0]
    assert row["p_value"] < 0.01
    assert row["slope_low"] > 0
    assert row["ratio_per_unit"] == pytest.approx(np.exp(row["slope"]))
    pairs = compare_conditions(*data, by="temperature")
    far = pairs[(pairs["temperature_a"] == 4) & (pairs["temperature_b"] == 31)].iloc[0]
    assert far["p_value"] < 0.05
    assert far["ratio_low"] > 1
    assert far["difference_low"] > 0


# ------------------------------------------------------------------ tests of differences


def test_permutation_p_agrees_with_scipy():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, 5), rng.normal(1, 2, 6)
    response, level = np.concatenate([a, b]), np.repeat([0.0, 1.0], [5, 6])
    found = permutation_test(response, level, permutations=9999, rng=rng, alpha=0.05)

    def welch(x, y, axis):
        variance = x.var(axis=axis) / x.shape[axis] + y.var(axis=axis) / y.shape[axis]
        return np.abs(x.mean(axis=axis) - y.mean(axis=axis)) / np.sqrt(variance)

    expected = stats.permutation_test(
        (a, b), welch, vectorized=True, n_resamples=np.inf, alternative="greater"
    )
    assert found.exact
    assert found.arrangements == 462
    assert found.p_value == pytest.approx(expected.pvalue)
    drawn = permutation_test(response, level, permutations=400, rng=rng, alpha=0.05)
    assert not drawn.exact
    assert drawn.p_value == pytest.approx(expected.pvalue, abs=0.1)


def test_thousands_of_units_have_more_arrangements_than_a_float_holds():
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 1.0], 700)
    found = permutation_test(
        rng.normal(size=level.size), level, permutations=50, rng=rng, alpha=0.05
    )
    assert 0 < found.p_value <= 1
    assert np.isfinite(found.arrangements)
    assert not found.exact


def test_one_unit_against_thousands_is_an_exact_test_in_bounded_memory():
    values = np.random.default_rng(0).normal(size=3000)
    level = (values == np.sort(values)[-30]).astype(float)  # 30 of 3,000 are as large
    seen = []

    def statistic(levels):
        seen.append(levels.size)
        return levels @ (values - values.min())

    found = exchange_test(
        statistic, level, permutations=9999, rng=np.random.default_rng(0), alpha=0.05
    )
    assert found.exact
    assert found.arrangements == 3000
    assert found.p_value == pytest.approx(30 / 3000)
    assert max(seen) <= 2_000_000 < sum(seen)


@pytest.mark.parametrize("method", [of_resamples, without_each_unit])
def test_resamples_are_the_same_in_parts_and_hold_a_part_only(monkeypatch, method):
    sums, seen = np.random.default_rng(0).normal(size=(40, 3)), []

    def statistics(counts):
        seen.append(counts.size)
        return {"sums": counts @ sums}

    def values():
        rng = np.random.default_rng(1)
        options = {"resamples": 100, "rng": rng} if method is of_resamples else {}
        return method(statistics, 40, **options)["sums"]

    whole = values()
    monkeypatch.setattr(resampling, "_CHUNK_VALUES", 7 * 40)
    seen.clear()
    np.testing.assert_allclose(values(), whole, rtol=1e-12)
    assert max(seen) == 7 * 40
    if method is without_each_unit:
        np.testing.assert_allclose(whole, sums.sum(axis=0) - sums)


def test_permutations_stay_within_strata():
    # The level differs between strata only: nothing can be exchanged.
    response, level = np.arange(6.0), np.repeat([0.0, 1.0], 3)
    result = permutation_test(
        response,
        level,
        stratum=level,
        permutations=999,
        rng=np.random.default_rng(0),
        alpha=0.05,
    )
    assert np.isnan(result.p_value)
    assert result.arrangements == 1
    # Two strata of 3 with one unit of another level each: 9 arrangements.
    stratum, level = np.repeat([0, 1], 3), np.array([0.0, 0, 1, 0, 0, 1])
    result = permutation_test(
        response, level, stratum=stratum, permutations=999, rng=np.random.default_rng(0), alpha=0.2
    )
    assert result.arrangements == 9
    assert result.exact


def test_drawn_permutations_stay_within_strata_and_never_give_zero():
    # Ten pairs of which seven rise and three fall by the same: a sign test.
    stratum, level = np.repeat(np.arange(10), 2), np.tile([0.0, 1.0], 10)
    response = 3.0 * stratum + level * np.repeat([1.0, -1.0], [14, 6])
    kwargs = {"stratum": stratum, "rng": np.random.default_rng(1), "alpha": 0.05}
    exact = permutation_test(response, level, permutations=1024, **kwargs)
    assert exact.exact
    assert exact.p_value == pytest.approx(stats.binomtest(7, 10).pvalue)
    drawn = permutation_test(response, level, permutations=1000, **kwargs)
    assert not drawn.exact
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.04)
    rng, level = np.random.default_rng(1), np.repeat([0.0, 1.0], 15)
    response = 9 * level + rng.normal(size=30)
    clear = permutation_test(response, level, permutations=999, rng=rng, alpha=0.05)
    assert clear.p_value == pytest.approx(1 / 1000)


def test_intervals_of_few_units_are_those_of_student_and_welch():
    """One grain per image: the mean of few independent values, where the theory is exact."""
    rng = np.random.default_rng(3)
    area = rng.lognormal(0, 0.05, 9)
    grains = pd.DataFrame({"image": np.arange(9), "area": area, "touches_edge": False})
    images = pd.DataFrame({"image": np.arange(9), "temperature": np.repeat([4, 22], [4, 5])})
    kwargs = {"by": "temperature", "edge": "exclude", "resamples": 20_000}
    row = summarize_grains(grains, images, **kwargs).iloc[0]
    log = np.log(area[:4])
    low, high = stats.t.interval(0.95, 3, log.mean(), stats.sem(log))
    tolerance = 0.01 * (high - low)
    assert np.log(row["geometric_mean_area_low"]) == pytest.approx(low, abs=tolerance)
    assert np.log(row["geometric_mean_area_high"]) == pytest.approx(high, abs=tolerance)
    pair = compare_conditions(grains, images, **kwargs).iloc[0]
    welch = stats.ttest_ind(area[4:], area[:4], equal_var=False).confidence_interval()
    assert pair["difference_low"] == pytest.approx(welch.low, abs=0.02 * (welch.high - welch.low))
    assert pair["difference_high"] == pytest.approx(welch.high, abs=0.02 * (welch.high - welch.low))


def test_holm_against_the_textbook():
    np.testing.assert_allclose(
        holm([0.01, 0.04, np.nan, 0.03, 0.005]), [0.03, 0.06, np.nan, 0.06, 0.02]
    )
    assert np.isnan(holm([np.nan, np.nan])).all()


def test_too_few_samples_are_no_test():
    pairs = compare_conditions(*population([20, 30], samples=3), by="temperature")
    row = pairs.iloc[0]
    assert np.isnan(row["p_value"])
    assert row["smallest_p_value"] == pytest.approx(0.1)
    assert "20 arrangements" in row["notes"]
    assert np.isfinite(row["ratio_low"])
    # One sample per condition, however many images, says nothing about the conditions.
    data = population([20, 30], samples=1, images=12)
    row = compare_conditions(*data, by="temperature").iloc[0]
    assert np.isnan(row["p_value"])
    assert np.isnan(row["ratio_low"])
    assert "no interval is possible" in row["notes"]
    asked = compare_conditions(*data, by="temperature", resample_unit="image").iloc[0]
    assert np.isfinite(asked["p_value"])
    assert "one sample" in asked["notes"]
    trend = trend_test(*population([4, 22, 31], samples=1, images=9), tag="temperature").iloc[0]
    assert np.isnan(trend["p_value"])
    assert trend["unit_count"] == 3
    assert "no test is possible" in trend["notes"]
    single = trend_test(*population([4], samples=6), tag="temperature").iloc[0]
    assert np.isnan(single["slope"])
    assert "no two units" in single["notes"]


def test_one_condition_has_no_pairs():
    one = compare_conditions(*population([20], samples=3), by="temperature")
    assert len(one) == 0
    two = compare_conditions(*population([20, 30], samples=3), by="temperature")
    assert list(one.columns) == list(two.columns)


def test_numbers_kept_as_text_are_numbers():
    grains, images = population([4, 22, 31], samples=3)
    expected = trend_test(grains, images, tag="temperature")
    text = images["temperature"].map(str).astype("string")
    found = trend_test(grains, images.assign(temperature=text), tag="temperature")
    pd.testing.assert_frame_equal(found, expected)
    text[0] = ""
    found = trend_test(grains, images.assign(temperature=text), tag="temperature")
    assert found["image_without_tag_count"].iloc[0] == 1


def test_trend_with_a_tag_held_fixed():
    # Pressure makes large grains and goes with temperature; temperature itself does nothing.
    grains, images = population([10, 20, 30, 40], samples=5, sample_std=0.1)
    images["pressure"] = np.where(images["temperature"] >= 25, 8.0, 1.0)
    high = images.loc[images["pressure"] == 8, "image"]
    grains.loc[grains["image"].isin(high), "area"] *= 3
    free = trend_test(grains, images, tag="temperature").iloc[0]
    held = trend_test(grains, images, tag="temperature", hold="pressure").iloc[0]
    assert free["p_value"] < 0.001
    assert held["p_value"] > 0.05
    assert held["stratum_count"] == 2
    assert held["slope_low"] < 0 < held["slope_high"]


def test_trend_within_samples():
    grains, images = population([4, 22], samples=4)
    images["sample"] = images["sample"].str[-2:]  # every sample was seen at both temperatures
    mixed = trend_test(grains, images, tag="temperature").iloc[0]
    assert np.isnan(mixed["p_value"])
    assert "several values of temperature" in mixed["notes"]
    within = trend_test(
        grains, images, tag="temperature", hold=["sample"], resample_unit="image"
    ).iloc[0]
    assert np.isfinite(within["p_value"])
    assert within["stratum_count"] == 4
    one = images["sample"] == "S0"
    lone = trend_test(
        grains[grains["image"].isin(images.loc[one, "image"])], images[one], tag="temperature"
    ).iloc[0]
    assert np.isnan(lone["p_value"])
    assert "several values of temperature" in lone["notes"]
    pair = compare_conditions(grains, images, by="temperature").iloc[0]
    assert "in both conditions" in pair["notes"]


def test_trend_counts_what_it_leaves_out():
    grains, images = population([4, 22, 31], samples=4)
    images.loc[0, "temperature"] = np.nan
    images.loc[5, "pixel_size"] = np.nan
    row = trend_test(grains, images, tag="temperature").iloc[0]
    assert row["image_without_tag_count"] == 1
    assert row["image_left_out_count"] == 1
    assert "1 images have no temperature" in row["notes"]


def test_bootstrap_interval_methods():
    rng = np.random.default_rng(8)
    values = rng.lognormal(0, 0.5, 40)
    drawn = values[rng.integers(0, 40, (4000, 40))].mean(axis=1)
    left_out = (values.sum() - values) / 39
    kwargs = {"units": 40, "interval": 0.95}
    t = bootstrap_interval(values.mean(), drawn, method="t", **kwargs)
    percentile = bootstrap_interval(values.mean(), drawn, method="percentile", **kwargs)
    bca = bootstrap_interval(values.mean(), drawn, method="bca", left_out=left_out, **kwargs)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(bca, expected, rtol=0.02)
    np.testing.assert_allclose(percentile, np.quantile(drawn, [0.025, 0.975]))
    assert t[0] < values.mean() < t[1]
    assert t[1] - t[0] == pytest.approx(percentile[1] - percentile[0], rel=0.1)
    assert np.isnan(bootstrap_interval(1.0, np.ones(10), units=1, interval=0.95)).all()


# ------------------------------------------------------------------ bad input and speed


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        (summarize_grains, {"by": ["temprature"]}, "did you mean 'temperature'"),
        (summarize_grains, {"by": ["mean_area"]}, "name of a statistic"),
        (summarize_grains, {"interval": 95}, "interval is 95"),
        (summarize_grains, {"resamples": 3}, "resamples is 3"),
        (summarize_grains, {"edge": "drop"}, "edge is 'drop'"),
        (compare_conditions, {"by": "temperature", "statistic": "mode"}, "statistic is 'mode'"),
        (compare_conditions, {"by": "temperature", "permutations": 5}, "permutations is 5"),
        (trend_test, {"tag": "sample"}, "needs numbers"),
    ],
)
def test_bad_parameters(function, change, message):
    with pytest.raises(InputError, match=message):
        function(*population([20, 30], samples=1), **change)


def test_bad_tables():
    grains, images = population([20], samples=2)
    with pytest.raises(InputError, match="no column 'edge_weight'"):
        summarize_grains(grains.drop(columns="edge_weight"), images)
    with pytest.raises(InputError, match="occurs twice"):
        summarize_grains(grains, pd.concat([images, images]))
    with pytest.raises(InputError, match="not in the table of images"):
        summarize_grains(grains, images.iloc[1:])
    with pytest.raises(InputError, match="neither a column"):
        summarize_grains(grains.drop(columns="image"), images)
    with pytest.raises(InputError, match="no column or index named 'image'"):
        summarize_grains(grains, images.drop(columns="image"))
    with pytest.raises(InputError, match="image_index reaches 99"):
        summarize_grains(grains.drop(columns="image").assign(image_index=99), images)


def test_no_grains_at_all():
    grains, images = population([20, 30], samples=2)
    found = summarize_grains(grains.iloc[:0], images, by="temperature")
    assert found["grain_count"].tolist() == [0, 0]
    assert found["image_empty_count"].tolist() == [6, 6]
    assert compare_conditions(grains.iloc[:0], images, by="temperature")["p_value"].isna().all()
    assert trend_test(grains.iloc[:0], images, tag="temperature")["p_value"].isna().all()


def test_speed():
    grains, images = population(range(12), samples=4, images=5, grains=420)
    assert len(grains) > 95_000
    summarize_grains(grains.iloc[:100], images, by="temperature")  # compile
    start = time.perf_counter()
    summarize_grains(grains, images, by="temperature", resamples=2000)
    assert time.perf_counter() - start < 10
