"""Comparisons of crystal populations against known populations, brute force and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.composition import (
    COMPOSITION_COLUMNS,
    group_composition,
    share_interval,
)
from nanoarray.nanocrystal.compare.distances import (
    DEFAULT_FEATURES,
    DISTANCES,
    population_distances,
)
from nanoarray.nanocrystal.compare.methods import METHOD_COLUMNS, compare_methods
from nanoarray.nanocrystal.compare.needed import crystals_needed
from nanoarray.nanocrystal.compare.pairs import COMPARISON_COLUMNS, compare_populations
from nanoarray.nanocrystal.compare.precision import (
    CURVE_COLUMNS,
    PRECISION_COLUMNS,
    precision_by_condition,
    subsampling_curve,
)
from nanoarray.nanocrystal.compare.reproducibility import (
    REPRODUCIBILITY_COLUMNS,
    batch_reproducibility,
    variance_components,
)
from nanoarray.nanocrystal.compare.summary import (
    SUMMARY_COLUMNS,
    count_rejections,
    summarize_crystals,
)
from nanoarray.nanocrystal.compare.trend import size_trend
from nanoarray.nanocrystal.compare.unit_distance import welch_distance
from nanoarray.nanocrystal.parameters import CrystalStatisticsParameters
from nanoarray.nanocrystal.summary import summarize
from nanoarray.statistics.edge_weight import miles_lantuejoul

GROUP_SIZES_NM = np.array([8.0, 12.0, 20.0])
#: Spread of ln(size): within a group, between images, between batches.
CRYSTAL_STD, IMAGE_STD, BATCH_STD = 0.15, 0.04, 0.06
SHARES = (0.5, 0.35, 0.15)


def population(
    methods=("hot injection", "LARP"),
    *,
    batches=0,
    images=6,
    crystals=60,
    shares=None,
    size_shift=None,
    batch_std=BATCH_STD,
    seed=0,
):
    """Crystals of three shape groups; images (and batches) differ in size and in composition.

    Without batches all images of a method are of unknown batch. `crystals`, `images` may be given
    by method.
    """
    rng = np.random.default_rng(seed)
    tables, rows = [], []
    for m, method in enumerate(methods):
        share = np.asarray(SHARES if shares is None else shares[m])
        count_images = images[m] if np.ndim(images) else images
        mean_count = crystals[m] if np.ndim(crystals) else crystals
        for b in range(max(batches, 1)):
            batch_effect = rng.normal(0, batch_std) if batches else 0.0
            batch_share = rng.dirichlet(share * 200) if batches else share
            for i in range(count_images):
                name = f"{method}_{b}_{i}"
                rows.append((name, method, f"{method}_{b}" if batches else ""))
                effect = batch_effect + rng.normal(0, IMAGE_STD)
                effect += 0.0 if size_shift is None else size_shift[m]
                own = rng.dirichlet(np.maximum(batch_share, 1e-6) * 80)
                group = rng.choice(len(own), rng.poisson(mean_count), p=own)
                size = GROUP_SIZES_NM[group] * np.exp(
                    effect + rng.normal(0, CRYSTAL_STD, len(group))
                )
                aspect = 1 + 0.2 * group + rng.gamma(2, 0.05, len(group))
                table = {"image": name, "equivalent_diameter": size, "shape_group": group + 1}
                table["label"] = np.arange(1, len(group) + 1)
                table["aspect_ratio"] = aspect
                tables.append(pd.DataFrame(table))
    frame = pd.concat(tables, ignore_index=True)
    frame["axis_major"] = frame["equivalent_diameter"] * np.sqrt(frame["aspect_ratio"])
    frame["rejected"] = ""
    frame["touches_edge"] = False
    frame["edge_weight"] = 1.0
    images_frame = pd.DataFrame(rows, columns=["image", "synthesis_method", "batch"])
    images_frame["pixel_size"] = 0.2
    images_frame["usable"] = True
    return frame, images_frame


def true_mean(share=SHARES, *, batches=False):
    """Mean size of the population, images and batches averaged over."""
    spread = CRYSTAL_STD**2 + IMAGE_STD**2 + (BATCH_STD**2 if batches else 0)
    return float(np.asarray(share) @ GROUP_SIZES_NM * np.exp(spread / 2))


METHOD = {"by": "synthesis_method"}
FAST = {"resamples": 200}


# ------------------------------------------------------------------ numbers of a condition


def test_simple_numbers_agree_with_numpy_and_scipy():
    crystals, images = population(["one"])
    row = summarize_crystals(crystals, images, **FAST).iloc[0]
    d = crystals["equivalent_diameter"].to_numpy()
    assert row["crystal_count"] == row["object_count"] == len(d)
    assert row["mean_size"] == pytest.approx(d.mean())
    assert row["median_size"] == pytest.approx(np.median(d))
    assert row["std_size"] == pytest.approx(d.std(ddof=1))
    assert row["relative_spread"] == pytest.approx(stats.variation(d, ddof=1))
    assert row["volume_weighted_mean_size"] == pytest.approx(np.average(d, weights=d**3))
    assert row["mean_volume_size"] == pytest.approx(np.mean(d**3) ** (1 / 3))
    assert row["log_mean_size"] == pytest.approx(np.log(stats.gmean(d)))
    assert row["log_std_size"] == pytest.approx(np.log(d).std(ddof=1))
    fitted = stats.norm(row["log_mean_size"], row["log_std_size"])
    distance = stats.kstest(np.log(d), fitted.cdf).statistic
    assert row["lognormal_distance"] == pytest.approx(distance)
    assert row["crystals_needed"] == crystals_needed(row["log_std_size"])
    ends = {f"{name}_{end}" for name in SUMMARY_COLUMNS for end in ("low", "high")}
    assert set(SUMMARY_COLUMNS) <= set(row.index) <= set(SUMMARY_COLUMNS) | ends
    major = summarize_crystals(crystals, images, size="axis_major", **FAST).iloc[0]
    assert major["mean_size"] == pytest.approx(crystals["axis_major"].mean())


def test_edge_rules_and_what_became_of_every_object():
    crystals, images = population(["one"])
    rng = np.random.default_rng(1)
    n = len(crystals)
    crystals["touches_edge"] = rng.random(n) < 0.3
    crystals["edge_weight"] = np.where(crystals["touches_edge"], 0, rng.uniform(1, 3, n))
    crystals["rejected"] = rng.choice(["", "", "", "scale bar or letter", "too small"], n)
    crystals.loc[rng.random(n) < 0.1, "equivalent_diameter"] = np.nan
    images.loc[0, "usable"] = False
    kept = crystals[(crystals["rejected"] == "") & (crystals["image"] != images["image"][0])]
    sized = kept[kept["equivalent_diameter"].notna()]
    inside = sized[~sized["touches_edge"]]
    expected = {
        "weight": np.average(inside["equivalent_diameter"], weights=inside["edge_weight"]),
        "exclude": inside["equivalent_diameter"].mean(),
        "include": sized["equivalent_diameter"].mean(),
    }
    for edge, mean in expected.items():
        row = summarize_crystals(crystals, images, edge=edge, **FAST).iloc[0]
        assert row["mean_size"] == pytest.approx(mean)
        assert row["edge_crystal_count"] == kept["touches_edge"].sum()
        assert row["left_out_object_count"] == (crystals["image"] == images["image"][0]).sum()
        cut = 0 if edge == "include" else row["edge_crystal_count"]
        names = ("crystal_count", "rejected_count", "unsized_count", "left_out_object_count")
        assert sum(row[list(names)]) + cut == len(crystals)
        assert "1 not usable" in row["warnings"]
    assert row["rejected_reasons"].count("scale bar or letter") == 1
    counted = count_rejections(crystals, images)
    assert counted["object_count"].sum() == row["rejected_count"]
    assert counted["rejected"].tolist() == ["scale bar or letter", "too small"]


def test_miles_lantuejoul_removes_the_bias_of_the_edge():
    rng = np.random.default_rng(0)
    side, tables = 256, []
    for image in range(60):
        radius = 14 * np.exp(rng.normal(0, 0.5, 400))
        y, x = rng.uniform(-100, side + 100, (2, 400))  # beyond the field, so that some are cut
        top, bottom = np.ceil(y - radius), np.floor(y + radius)
        left, right = np.ceil(x - radius), np.floor(x + radius)
        seen = (bottom >= 0) & (top < side) & (right >= 0) & (left < side) & (radius < 95)
        cut = (top <= 0) | (left <= 0) | (bottom >= side - 1) | (right >= side - 1)
        weight = miles_lantuejoul(
            bottom - top + 1,
            right - left + 1,
            field_height=side,
            field_width=side,
            touches_edge=cut,
        )
        columns = {"equivalent_diameter": 2 * radius, "touches_edge": cut, "edge_weight": weight}
        tables.append(pd.DataFrame(columns)[seen].assign(image=f"i{image:02d}"))
    crystals = pd.concat(tables)
    images = pd.DataFrame({"image": [f"i{k:02d}" for k in range(60)]})
    truth = 28 * np.exp(0.125)
    # Of those thrown, radii of 95 px and more are left out: the truth is a little less.
    z = (np.log(95 / 14)) / 0.5
    truth *= stats.norm.cdf(z - 0.5) / stats.norm.cdf(z)
    found = {
        edge: summarize_crystals(crystals, images, edge=edge, **FAST).iloc[0]
        for edge in ("weight", "exclude")
    }
    assert found["exclude"]["mean_size"] < 0.93 * truth
    assert found["weight"]["mean_size"] == pytest.approx(truth, rel=0.02)
    assert found["weight"]["mean_size_low"] < truth < found["weight"]["mean_size_high"]
    assert "biased low" in found["exclude"]["warnings"]


def test_images_without_pixel_size_have_shapes_but_no_sizes():
    crystals, images = population()
    blind = images["image"][0]
    images.loc[0, "pixel_size"] = np.nan
    row = summarize_crystals(crystals, images, **METHOD, **FAST).iloc[0]
    own = crystals["image"].str.startswith("LARP")  # conditions are sorted: LARP comes first
    assert row["image_no_pixel_size_count"] == 0
    second = summarize_crystals(crystals, images, **METHOD, **FAST).iloc[1]
    without = crystals["image"] == blind
    assert second["image_no_pixel_size_count"] == 1
    assert second["unsized_count"] == without.sum()
    assert second["crystal_count"] == (~own & ~without).sum()
    assert second["resample_unit_count"] == 5
    assert "1 no pixel size" in second["warnings"]
    shares = group_composition(crystals, images, **METHOD, **FAST)
    all_of = shares[shares["condition"] == second["condition"]].iloc[0]
    assert (all_of["crystal_count"], all_of["sized_count"]) == (
        (~own).sum(),
        second["crystal_count"],
    )
    assert all_of["resample_unit_count"] == 6
    # The same where nothing but the missing sizes says so.
    crystals.loc[without, "equivalent_diameter"] = np.nan
    again = summarize_crystals(crystals, images.drop(columns="pixel_size"), **METHOD, **FAST)
    assert again["image_no_pixel_size_count"].tolist() == [0, 1]


@pytest.mark.parametrize("case", ["none", "one", "one image", "one group", "no size", "constant"])
def test_little_to_compare(case):
    crystals, images = population()
    first = images["image"][0]
    crystals = {
        "none": crystals.iloc[:0],
        "one": crystals[crystals["image"] == first].iloc[:1],
        "one image": crystals[crystals["image"] == first],
        "one group": crystals[crystals["shape_group"] == 1],
        "no size": crystals.assign(equivalent_diameter=np.nan),
        "constant": crystals.assign(equivalent_diameter=10.0),
    }[case]
    if case == "one image":
        images = images.iloc[:1]
    summary = summarize_crystals(crystals, images, **METHOD, **FAST)
    assert summary["crystal_count"].sum() == (0 if case == "no size" else len(crystals))
    if case != "one group":
        assert summary["warnings"].str.len().gt(0).all() or case == "constant"
    shares = group_composition(crystals, images, **METHOD, total=True, **FAST)
    last = shares[(shares["condition"] == "total") & (shares["shape_group"] == -1)].iloc[0]
    assert last["crystal_count"] == len(crystals)
    pairs = compare_populations(crystals, images, **METHOD, permutations=99, **FAST)
    features = ("equivalent_diameter", "aspect_ratio")
    apart = population_distances(crystals, images, **METHOD, features=features, permutations=99)
    assert len(pairs) == (0 if case == "one image" else 2 + crystals["shape_group"].nunique())
    if case in ("none", "one"):
        assert pairs["p_value"].isna().all()
        assert pairs["notes"].str.contains("no test").all()
        assert apart["notes"].str.contains("no test").all()
    if case == "constant":
        assert summary["mean_size_high"].tolist() == [pytest.approx(10.0)] * 2
        assert apart["distance"].iloc[0] == 0
        assert apart["p_value"].iloc[0] == 1
    precision_by_condition(crystals, images, **METHOD, **FAST)
    curve = subsampling_curve(crystals, images, **METHOD, **FAST)
    assert list(curve.columns) == ["synthesis_method", *CURVE_COLUMNS]
    batch_reproducibility(crystals, images, **METHOD, permutations=99)
    compare_methods(crystals, images, **METHOD, **FAST)


def test_what_is_wrong_is_said():
    crystals, images = population()
    with pytest.raises(InputError, match="did you mean 'batch'"):
        summarize_crystals(crystals, images, by="batsh")
    with pytest.raises(InputError, match="no column 'feret'"):
        summarize_crystals(crystals, images, size="feret")
    with pytest.raises(InputError, match="no edge_weight above 0"):
        summarize_crystals(crystals.assign(edge_weight=np.nan), images)
    with pytest.raises(InputError, match="not positive"):
        summarize_crystals(crystals.assign(equivalent_diameter=0.0), images)
    with pytest.raises(InputError, match="shape_group"):
        group_composition(crystals.drop(columns="shape_group"), images)
    with pytest.raises(InputError, match="no quantity 'colour'"):
        compare_populations(crystals, images, **METHOD, quantities=["colour"])
    with pytest.raises(InputError, match="run_time_s names"):
        compare_methods(crystals, images, **METHOD, run_time_s={"LARP": 1.0})
    with pytest.raises(InputError, match="name of a statistic"):
        summarize_crystals(crystals, images.assign(size=1), by="size")


# ------------------------------------------------------------------ repeatable


def test_neither_row_order_nor_other_conditions_change_anything():
    crystals, images = population(["a", "b", "c"], batches=2, images=3, crystals=20)
    mixed = crystals.sample(frac=1, random_state=3), images.sample(frac=1, random_state=4)
    features = ("equivalent_diameter", "aspect_ratio")
    for function in (
        lambda c, i: summarize_crystals(c, i, **METHOD, sample_tag="batch", **FAST),
        lambda c, i: group_composition(c, i, **METHOD, sample_tag="batch", **FAST),
        lambda c, i: compare_populations(c, i, **METHOD, permutations=99, **FAST),
        lambda c, i: population_distances(
            c, i, **METHOD, features=features, permutations=99, max_crystals=100
        ),
        lambda c, i: batch_reproducibility(c, i, **METHOD, permutations=99),
        lambda c, i: precision_by_condition(c, i, **METHOD, **FAST),
        lambda c, i: subsampling_curve(c, i, **METHOD, **FAST),
    ):
        found = function(crystals, images)
        pd.testing.assert_frame_equal(found, function(*mixed), check_exact=True)
    first = summarize_crystals(crystals, images, **METHOD, **FAST)
    own = images[images["synthesis_method"] == "b"]
    alone = summarize_crystals(
        crystals[crystals["image"].isin(own["image"])], own, **METHOD, **FAST
    )
    pd.testing.assert_frame_equal(first.iloc[[1]].reset_index(drop=True), alone, check_exact=True)


# ------------------------------------------------------------------ intervals


def test_intervals_hold_the_truth():
    mean, share, difference = [], [], []
    for seed in range(20):
        crystals, images = population(images=6, crystals=40, seed=seed)
        row = summarize_crystals(crystals, images, **METHOD, **FAST).iloc[0]
        mean.append(row["mean_size_low"] <= true_mean() <= row["mean_size_high"])
        found = group_composition(crystals, images, **METHOD, **FAST).iloc[1:4]
        truth = np.array(SHARES)
        share += ((found["share_low"] <= truth) & (truth <= found["share_high"])).tolist()
        pairs = compare_populations(crystals, images, **METHOD, permutations=99, **FAST)
        difference += ((pairs["difference_low"] <= 0) & (pairs["difference_high"] >= 0)).tolist()
    # Of 95 %; 300 repeats give 94 to 98 %
    assert np.mean(mean) >= 0.8
    assert np.mean(share) >= 0.88
    assert np.mean(difference) >= 0.88


def test_share_intervals_of_independent_crystals_are_the_exact_ones():
    for hits in (0, 7, 50):
        exact = stats.binomtest(hits, 50).proportion_ci(0.95, method="exact")
        found = share_interval(hits / 50, crystals=50, design=1.0, units=10**6, interval=0.95)
        assert found == pytest.approx((exact.low, exact.high), abs=2e-3)
    plain = share_interval(0.3, crystals=500, design=1.0, units=10, interval=0.95)
    clustered = share_interval(0.3, crystals=500, design=4.0, units=10, interval=0.95)
    assert np.diff(clustered)[0] == pytest.approx(2 * np.diff(plain)[0], rel=0.05)


def test_a_group_that_a_condition_lacks_has_a_share_of_zero_with_an_interval():
    crystals, images = population(shares=((0.5, 0.5, 0.0), SHARES))
    crystals = crystals[(crystals["shape_group"] < 3) | crystals["image"].str.startswith("LARP")]
    found = group_composition(crystals, images, **METHOD, **FAST)
    lacks = found[(found["shape_group"] == 3) & (found["synthesis_method"] != "LARP")].iloc[0]
    assert (lacks["crystal_count"], lacks["share"], lacks["share_low"]) == (0, 0, 0)
    assert 3 / found["crystal_count"].iloc[4] < lacks["share_high"] < 0.1
    groups = found[found["shape_group"] > 0].groupby("condition")
    assert groups["share"].sum().tolist() == pytest.approx([1, 1])


# ------------------------------------------------------------------ pairs


def test_pairs_agree_with_the_summaries():
    crystals, images = population(size_shift=(0.0, 0.1))
    summary = summarize_crystals(crystals, images, **METHOD, **FAST)
    shares = group_composition(crystals, images, **METHOD, **FAST)
    pairs = compare_populations(crystals, images, **METHOD, **FAST)
    assert set(COMPARISON_COLUMNS) < set(pairs.columns)
    for quantity in ("mean_size", "relative_spread"):
        row = pairs[pairs["quantity"] == quantity].iloc[0]
        a, b = summary[quantity]
        assert (row["value_a"], row["value_b"]) == pytest.approx((a, b))
        assert (row["difference"], row["ratio"]) == pytest.approx((b - a, b / a))
        assert row["difference_low"] < b - a < row["difference_high"]
    own = pairs[pairs["quantity"] == "share"]
    np.testing.assert_allclose(own["value_a"], shares["share"].iloc[1:4])
    np.testing.assert_allclose(own["difference"].sum(), 0, atol=1e-12)


def test_few_units_leave_no_test():
    crystals, images = population(images=3)
    pairs = compare_populations(crystals, images, **METHOD, **FAST)
    assert pairs["p_value"].isna().all()
    # 20 arrangements of 3 and 3; the mirror image of each is as extreme
    assert pairs["smallest_p_value"].tolist() == pytest.approx([0.1] * len(pairs))
    assert pairs["notes"].str.contains("no test is possible at the level 0.05").all()
    crystals, images = population(images=6, batches=1)
    pairs = compare_populations(crystals, images, **METHOD, sample_tag="batch", **FAST)
    assert pairs["p_value"].isna().all()
    assert pairs["difference_low"].isna().all()
    assert pairs["notes"].str.contains("resample_unit='image' asks").all()
    asked = compare_populations(
        crystals, images, **METHOD, sample_tag="batch", resample_unit="image", **FAST
    )
    assert asked["p_value"].notna().all()


def test_holm_over_pairs():
    crystals, images = population(["a", "b", "c"], images=5, size_shift=(0, 0, 0.15))
    pairs = compare_populations(crystals, images, **METHOD, permutations=999, **FAST)
    p = pairs[pairs["quantity"] == "mean_size"]
    assert len(p) == 3
    assert p["p_value_holm"].min() == pytest.approx(3 * p["p_value"].min())
    assert (p["p_value_holm"] >= p["p_value"]).all()
    shares = pairs[pairs["quantity"] == "share"]
    smallest = shares["p_value"].min()
    assert shares["p_value_holm"].min() == pytest.approx(min(9 * smallest, 1))


def test_differences_are_found_where_they_are_and_not_where_they_are_not():
    features = ("equivalent_diameter", "aspect_ratio")
    kwargs = {**METHOD, "features": features, "permutations": 199}
    same, other = [], []
    for seed in range(25):
        found = population_distances(*population(seed=seed, crystals=30), **kwargs)
        same.append(found["p_value"].to_numpy() <= 0.05)
    for seed in range(6):
        shares = (SHARES, (0.25, 0.35, 0.4))
        found = population_distances(*population(seed=seed, shares=shares), **kwargs)
        other.append(found["p_value"].to_numpy() <= 0.05)
    assert found["kind"].tolist() == list(DISTANCES)
    # Binomial: 6 or more of 25 at a true level of 5 % in 0.1 % of cases
    assert (np.sum(same, axis=0) <= 5).all()
    assert (np.sum(other, axis=0) >= 5).all()


def test_of_many_units_some_are_drawn():
    crystals, images = population(images=(40, 7), crystals=12)
    options = {"features": ("equivalent_diameter",), "permutations": 99}
    whole = population_distances(crystals, images, **METHOD, **options, max_units=40)
    drawn = population_distances(crystals, images, **METHOD, **options, max_units=10)
    # Drawing stays out of the way where there are no more.
    pd.testing.assert_frame_equal(
        whole, population_distances(crystals, images, **METHOD, **options, max_units=500)
    )
    assert sorted({*drawn["unit_count_a"], *drawn["unit_count_b"]}) == [7, 10]
    assert drawn["notes"].str.contains("10 of 40 images drawn").all()
    assert not whole["notes"].str.contains("drawn").any()
    far = {"size": 0.5, "features": 0.1, "composition": 0.1, "composition_js": 0.1}
    change = (drawn.set_index("kind")["distance"] - whole.set_index("kind")["distance"]).abs()
    assert (change < pd.Series(far)).all()
    with pytest.raises(InputError, match="max_units"):
        population_distances(crystals, images, **METHOD, **options, max_units=1)


def test_distances_agree_with_scipy():
    crystals, images = population(images=4, shares=(SHARES, (0.3, 0.4, 0.3)), crystals=20)
    apart = population_distances(
        crystals, images, **METHOD, features=["equivalent_diameter"], permutations=99
    ).set_index("kind")
    method = crystals["image"].map(images.set_index("image")["synthesis_method"])
    weight = 1 / crystals.groupby("image")["image"].transform("size")
    sides = [(crystals[m], weight[m]) for m in (method == "LARP", method != "LARP")]
    (a, wa), (b, wb) = sides
    d = "equivalent_diameter"
    expected = stats.wasserstein_distance(a[d], b[d], wa, wb)
    assert apart["distance"]["size"] == pytest.approx(expected)
    log = np.log(crystals[d])
    za, zb = ((np.log(side[d]) - log.mean()) / log.std(ddof=0) for side, _ in sides)
    squared = stats.energy_distance(za, zb, wa, wb) ** 2  # scipy: the root of 2 E|X - Y| - ...
    between = np.average(
        np.abs(za.to_numpy()[:, None] - zb.to_numpy()) @ (wb / wb.sum()), weights=wa
    )
    assert apart["distance"]["features"] == pytest.approx(squared / (2 * between))
    p, q = (
        np.array([w[side["shape_group"] == g].sum() for g in (1, 2, 3)]) / w.sum()
        for side, w in sides
    )
    assert apart["distance"]["composition"] == pytest.approx(np.abs(p - q).sum() / 2)
    assert apart["distance"]["composition_js"] == pytest.approx(jensenshannon(p, q, base=2))
    assert (apart["unit_count_a"] == 4).all()


def test_welch_distance_on_a_line_is_the_square_of_welchs_t():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 5), rng.normal(1, 3, 9)])
    labels = np.repeat([0.0, 1.0], [5, 9])
    found = welch_distance((x[:, None] - x) ** 2)(labels[None])[0]
    t = stats.ttest_ind(x[:5], x[5:], equal_var=False).statistic
    assert found == pytest.approx(t**2)
    assert welch_distance(np.zeros((14, 14)))(labels[None])[0] == 0


def test_few_images_of_few_crystals_against_many_of_many_raise_no_alarm():
    alarms = []
    for seed in range(20):
        crystals, images = population(images=(4, 12), crystals=(15, 120), seed=seed)
        found = population_distances(crystals, images, **METHOD, features=(), permutations=199)
        alarms.append(found["p_value"].to_numpy() <= 0.05)
    # 200 repeats: 6 %; without the division by the scatter, 19 to 23 %
    assert (np.sum(alarms, axis=0) <= 4).all()


def test_three_degrees_of_agglomeration_give_the_same_sizes():
    crystals, images = population(["a", "b", "c"], crystals=(20, 60, 150), images=8, seed=3)
    summary = summarize_crystals(crystals, images, **METHOD, **FAST)
    assert summary["mean_size_low"].max() < true_mean() < summary["mean_size_high"].min()
    pairs = compare_populations(crystals, images, **METHOD, permutations=999, **FAST)
    assert (pairs["p_value_holm"] > 0.05).all()


# ------------------------------------------------------------------ batches and methods


def test_variance_components_are_recovered():
    rng = np.random.default_rng(0)
    batch = np.repeat(np.arange(6), (3, 4, 5, 6, 7, 8))
    found = []
    for _ in range(300):
        values = rng.normal(0, 2.0, 6)[batch] + rng.normal(10, 1.0, len(batch))
        found.append(variance_components(values, batch))
    table = pd.DataFrame(found)
    assert np.mean(table["std_between_batches"] ** 2) == pytest.approx(4, rel=0.15)
    assert np.mean(table["std_between_images"] ** 2) == pytest.approx(1, rel=0.05)
    truth = 4 / 5
    inside = (table["batch_fraction_low"] <= truth) & (truth <= table["batch_fraction_high"])
    assert inside.mean() == pytest.approx(0.95, abs=0.04)
    assert np.isnan(variance_components(values[:3], batch[:3])["std_between_batches"])
    assert np.isnan(variance_components(np.arange(3.0), np.arange(3))["std_between_images"])


def test_batches_that_differ_and_that_do_not():
    for spread, different in ((0.0, False), (0.3, True)):
        crystals, images = population(["m"], batches=4, batch_std=spread, seed=5)
        images.loc[0, "batch"] = ""
        found = batch_reproducibility(crystals, images, permutations=999).set_index("quantity")
        row = found.loc["mean_size"]
        assert set(REPRODUCIBILITY_COLUMNS) == {*found.columns, "quantity"}
        assert (row["batch_count"], row["image_count"]) == (4, 23)
        assert row["image_without_batch_count"] == 1
        assert (row["p_value"] < 0.01) == different
        assert (row["batch_fraction"] > 0.5) == different
        assert row["std_of_crystals"] == pytest.approx(4.4, abs=0.8)
        means = crystals.groupby("image")["equivalent_diameter"].mean()
        means = means[means.index != images["image"][0]]
        of_batch = means.groupby(images.set_index("image")["batch"]).mean()
        assert row["batch_std"] == pytest.approx(of_batch.std(ddof=1))


def test_samples_that_differ_are_no_difference_between_batches():
    crystals, images = population(["m"], batches=8, batch_std=0.3, images=4, seed=1)
    images["sample"] = images["batch"]
    images["batch"] = "b" + (images["sample"].str[-1].astype(int) % 2).astype(str)

    def row(**options):
        found = batch_reproducibility(crystals, images, permutations=999, **options)
        return found.set_index("quantity").loc["mean_size"]

    wrong, right = row(resample_unit="image"), row()
    assert (wrong["resample_unit"], wrong["resample_unit_count"]) == ("image", 32)
    assert (right["resample_unit"], right["resample_unit_count"]) == ("sample", 8)
    assert wrong["p_value"] < 0.05 < right["p_value"]
    assert (right["batch_count"], right["image_count"]) == (2, 32)
    assert "images of one batch are taken as independent" in wrong["notes"]
    of_image = crystals.groupby("image")["equivalent_diameter"].mean()
    of_sample = of_image.groupby(images.set_index("image")["sample"]).mean()
    of_batch = of_sample.groupby(images.groupby("sample")["batch"].first()).mean()
    assert right["mean_of_batches"] == pytest.approx(of_batch.mean())
    images["batch"] = images["sample"]
    single = row()
    assert single["resample_unit"] == "image"
    assert "each batch has one sample" in single["notes"]


def test_batches_side_by_side_and_in_total():
    crystals, images = population(["hot injection"], batches=2, images=5)
    table = group_composition(
        crystals, images, by="batch", size="axis_major", total=True, sample_tag="batch", **FAST
    )
    assert list(table.columns) == ["batch", *COMPOSITION_COLUMNS]
    assert table["condition"].unique().tolist()[-1] == "total"
    all_groups = table[table["shape_group"] == -1]
    assert all_groups["crystal_count"].iloc[:2].sum() == all_groups["crystal_count"].iloc[2]
    last = table[table["condition"] == "total"].iloc[1]
    own = crystals.loc[crystals["shape_group"] == 1, "axis_major"]
    assert last["mean_size"] == pytest.approx(own.mean())
    assert last["relative_spread"] == pytest.approx(own.std() / own.mean())
    assert last["share"] == pytest.approx(len(own) / len(crystals))
    assert (last["resample_unit"], last["resample_unit_count"]) == ("sample", 2)
    assert table["resample_unit"].iloc[0] == "image"  # a single batch


def test_methods_side_by_side():
    crystals, images = population(shares=((0.5, 0.5, 0.0), SHARES))
    crystals = crystals[(crystals["shape_group"] < 3) | crystals["image"].str.startswith("LARP")]
    by_hand = pd.DataFrame({"image": "notebook", "axis_major": [9.0, 10.0, 12.0]})
    by_hand[["touches_edge", "edge_weight", "rejected"]] = False, 1.0, ""
    page = pd.DataFrame({"image": ["notebook"], "synthesis_method": ["by hand"]})
    page = page.assign(usable=True, pixel_size=1.0)
    found = compare_methods(
        pd.concat([crystals, by_hand]),
        pd.concat([images, page]),
        **METHOD,
        run_time_s={"synthesis_method=LARP": 30.0},
        **FAST,
    ).set_index("synthesis_method")
    assert set(found.columns) == set(METHOD_COLUMNS)
    assert found["shape_group_count"].to_dict() == {"LARP": 3, "by hand": 0, "hot injection": 2}
    assert found["mean_size"]["by hand"] == pytest.approx(31 / 3)
    larp = found.loc["LARP"]
    assert larp["crystals_per_minute"] == pytest.approx(2 * larp["crystal_count"])
    assert np.isnan(found["run_time"]["hot injection"])


# ------------------------------------------------------------------ how many are enough


def test_number_of_the_standard():
    # ISO 13322-1, scope: over 6,000 for a volume mean at a standard deviation of 1.6
    assert 6000 < crystals_needed(np.log(1.6), power=3) < 6200
    # Without a fit it is exp(9 s^2) - 1 instead of its first two terms.
    directly = crystals_needed(np.log(1.6), power=3, estimator="mean")
    assert directly == pytest.approx(1536.6 * np.expm1(9 * np.log(1.6) ** 2), rel=1e-3)
    assert crystals_needed(0.02, power=3, estimator="mean") == crystals_needed(0.02, power=3)
    assert np.isnan(crystals_needed(np.nan))
    with pytest.raises(InputError, match="confidence"):
        crystals_needed(0.3, confidence=95)
    with pytest.raises(InputError, match="relative_error"):
        crystals_needed(0.3, relative_error=5)


@pytest.mark.parametrize("estimator", ["log-normal", "mean"])
@pytest.mark.parametrize(("power", "weight_power"), [(1, 0), (3, 0), (1, 3)])
def test_as_many_crystals_as_needed_keep_the_error(estimator, power, weight_power):
    sigma, error, confidence = 0.25, 0.05, 0.9
    wanted = {"power": power, "weight_power": weight_power, "relative_error": error}
    n = int(crystals_needed(sigma, **wanted, confidence=confidence, estimator=estimator))
    log = np.random.default_rng(0).normal(0, sigma, (1500, n))
    order = weight_power + power
    truth = np.exp((order**2 - weight_power**2) * sigma**2 / 2)
    if estimator == "mean":
        found = np.exp(order * log).mean(axis=1) / np.exp(weight_power * log).mean(axis=1)
    else:
        c = weight_power + power / 2
        found = np.exp(power * log.mean(axis=1) + power * c * log.var(axis=1, ddof=1))
    kept = np.mean(np.abs(found / truth - 1) < error)
    assert kept == pytest.approx(confidence, abs=0.03)


def test_precision_counts_what_crystals_are_worth():
    crystals, images = population(["m"], images=40, crystals=50, seed=1)
    found = precision_by_condition(crystals, images, relative_error=0.03)
    assert set(found.columns) == set(PRECISION_COLUMNS)
    row = found.iloc[0]
    assert row["needed"] == crystals_needed(row["log_std_size"], relative_error=0.03)
    assert bool(row["enough"]) == (len(crystals) >= row["needed"])
    d = crystals["equivalent_diameter"]
    alone = 1.96 * d.std() / d.mean() / np.sqrt(len(d))
    assert row["error_if_independent"] == pytest.approx(alone, rel=1e-3)
    assert row["effective_count"] < 0.8 * len(d)  # images differ
    as_good = precision_by_condition(crystals, images, relative_error=row["error_reached"]).iloc[0]
    assert as_good["needed_here"] == pytest.approx(len(d), abs=1)  # of images as few as these
    rng = np.random.default_rng(2)  # the same sizes, dealt to images by chance
    mixed = crystals.assign(equivalent_diameter=rng.permutation(d))
    again = precision_by_condition(mixed, images).iloc[0]
    assert again["effective_count"] == pytest.approx(len(d), rel=0.5)
    assert again["effective_count"] > row["effective_count"]
    summary = summarize_crystals(crystals, images).iloc[0]
    half = np.log(summary["mean_size_high"] / summary["mean_size_low"]) / 2
    assert row["error_reached"] == pytest.approx(half, rel=0.1)


def test_subsampling_curve_falls_as_the_root_of_the_number():
    crystals, images = population(["m"], images=30, crystals=50, seed=1)
    curve = subsampling_curve(crystals, images, counts=[8, 32, 128])
    whole = curve[curve["drawn"] == "image"].reset_index()
    single = curve[curve["drawn"] == "crystal"].reset_index()
    assert (whole["half_width"] > single["half_width"]).all()
    t = stats.t.ppf(0.975, whole["count"] - 1)
    scaled = whole["half_width"] / t * np.sqrt(whole["count"])
    assert np.ptp(scaled) < 0.1 * scaled.mean()
    d = crystals["equivalent_diameter"]
    expected = stats.t.ppf(0.975, single["count"] - 1) * d.std() / np.sqrt(single["count"])
    np.testing.assert_allclose(single["half_width"], expected)
    # New images of the population hold the truth as often as the curve says.
    means = []
    for seed in range(40):
        more, _ = population(["m"], images=8, crystals=50, seed=100 + seed)
        means.append(more["equivalent_diameter"].mean())
    assert t[0] * np.std(means, ddof=1) == pytest.approx(whole["half_width"][0], rel=0.3)
    assert subsampling_curve(crystals, images)["count"].max() > len(crystals)


# ------------------------------------------------------------- trends, ways of measuring, types


def with_temperature(shift, *, seed=0):
    """Four samples at each of three temperatures; sizes grow by `shift` in ln per step."""
    temperatures = ("20", "40", "60")
    crystals, images = population(
        temperatures, batches=4, images=2, size_shift=[0.0, shift, 2 * shift], seed=seed
    )
    images = images.rename(columns={"synthesis_method": "temperature", "batch": "sample"})
    images["temperature"] = images["temperature"].astype(float)
    return crystals, images


def test_a_trend_with_a_numeric_tag_is_found_where_it_is():
    row = size_trend(*with_temperature(0.2), tag="temperature", **FAST).iloc[0]
    assert row["unit_count"] == 12
    assert row["slope_low"] < 0.01 < row["slope_high"]
    assert row["p_value"] < 0.01
    assert row["ratio_per_unit"] == pytest.approx(np.exp(row["slope"]))
    alarms = [
        size_trend(
            *with_temperature(0.0, seed=s), tag="temperature", resamples=100, permutations=199
        )["p_value"].iloc[0]
        < 0.05
        for s in range(40)
    ]
    assert np.mean(alarms) <= 0.15  # 2 expected; 6 has a probability of 0.014


def statistics_of(crystals, images, **parameters):
    chosen = CrystalStatisticsParameters(resamples=100, **parameters)
    crystals = crystals.assign(problem="", image_index=0)
    for name in DEFAULT_FEATURES:
        if name not in crystals:
            crystals[name] = 1.0 + 0.01 * np.random.default_rng(1).random(len(crystals))
    return summarize(crystals.drop(columns="image_index"), images, chosen)


def test_every_variable_is_in_the_schema_with_its_type():
    crystals, images = with_temperature(0.1)
    images["batch"] = images["sample"]
    ds = statistics_of(crystals, images, by=("temperature",))
    dims = {"condition", "pair", "distance", "trend", "method", "composition", "batch"}
    assert set(ds.dims) == dims | {"precision", "subsample", "rejection"}
    tags = {"temperature", "temperature_a", "temperature_b"}
    for name, variable in ds.variables.items():
        entry = schema.known("crystal_statistics", name)
        if entry is None:
            base = name.split("_", 1)[1] if variable.dims[0] != "condition" else name
            assert base in tags, name
            continue
        assert variable.dims == entry.dims, name
        assert variable.attrs == entry.attrs, name
        assert variable.dtype == (object if entry.dtype == "str" else entry.dtype), name
    assert ds["trend_units"].values.tolist() == ["1"]
    assert ds["distance_exchanged_high"].notnull().any()
    assert set(schema.GROUPS["crystal_statistics"]) <= set(map(str, ds.variables))


def test_ways_of_measuring_are_compared_where_a_tag_names_them():
    crystals, images = population(["one"], images=6)
    assert "method" not in statistics_of(crystals, images, by=("synthesis_method",)).dims
    images["analysis"] = ["by hand"] * 3 + ["network"] * 3
    images["analysis_time"] = [60.0] * 3 + [2.0, 2.0, np.nan]
    ds = statistics_of(crystals, images, by=("synthesis_method",))
    assert ds["method_analysis"].values.tolist() == ["by hand", "network"]
    assert ds["method_run_time"].values[0] == 180
    assert np.isnan(ds["method_run_time"].values[1])  # of one image the time is not known
    count = ds["method_crystal_count"].values[0]
    assert ds["method_crystals_per_minute"].values[0] == pytest.approx(count / 3)
    assert ds["method_shape_group_count"].values.tolist() == [3, 3]
