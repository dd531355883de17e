"""Shape groups: numbers and quality from known populations and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

from nanoarray.errors import InputError
from nanoarray.nanocrystal.groups import compare
from nanoarray.nanocrystal.groups.columns import (
    FEATURES,
    SHAPE_PARAMETERS,
    dataset_columns,
    explained_variance,
    read_columns,
    standardize,
)
from nanoarray.nanocrystal.groups.fit import GroupFit, fit_groups
from nanoarray.nanocrystal.groups.methods import METHODS, assign, fit_mixture
from nanoarray.nanocrystal.groups.model import predict_groups
from nanoarray.nanocrystal.groups.null import single_group_test
from nanoarray.nanocrystal.groups.quality import group_cophenet, silhouette, tree_cophenet

#: Diameter [nm], aspect ratio, p and d of the middle of a population.
CUBES, RODS, STARS, LARGE = (
    (10.0, 1.05, 8.0, 2),
    (14.0, 2.5, 6.0, 2),
    (25.0, 1.1, 0.8, 5),
    (17.0, 1.05, 8.0, 2),
)


def population(
    kind: tuple[float, float, float, int], count: int, seed: int
) -> dict[str, np.ndarray]:
    """Measured crystals of one population: shape, size and error of measurement vary."""
    rng = np.random.default_rng(seed)
    diameter, ratio, p, d = kind
    size = diameter * np.exp(0.08 * rng.standard_normal(count))
    elongation = 1 + (ratio - 1) * np.exp(0.15 * rng.standard_normal(count))
    power = p * np.exp(0.15 * rng.standard_normal(count))
    noise = 0.01 * rng.standard_normal((3, count))
    area = np.pi / 4 * size**2
    circularity = 0.92 - 0.1 * (elongation - 1) - 0.35 * (power < 1.5) + noise[0]
    return {
        "area": area,
        "equivalent_diameter": size,
        "axis_major": size * np.sqrt(elongation),
        "axis_minor": size / np.sqrt(elongation),
        "aspect_ratio": elongation,
        "eccentricity": np.sqrt(1 - 1 / elongation**2),
        "circularity": circularity,
        "solidity": 0.97 - 0.2 * (power < 1.5) + noise[1],
        "extent": 0.75 - 0.1 * (power < 1.5) + 3 * noise[2],
        "perimeter": np.sqrt(4 * np.pi * area / circularity),
        "p": power,
        "d": np.full(count, float(d)),
        "axis_ratio": 1 + (elongation - 1) * np.exp(0.05 * rng.standard_normal(count)),
    }


def mixed(*parts: tuple[tuple[float, float, float, int], int]) -> tuple[dict, np.ndarray]:
    tables = [population(kind, count, i) for i, (kind, count) in enumerate(parts)]
    table = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    return table, np.repeat(np.arange(len(parts)), [count for _, count in parts])


@pytest.fixture(scope="module")
def three() -> tuple[dict, np.ndarray]:
    table, truth = mixed((RODS, 90), (CUBES, 160), (STARS, 50))
    order = np.random.default_rng(9).permutation(truth.size)
    return {name: column[order] for name, column in table.items()}, truth[order]


@pytest.fixture(scope="module")
def features(three) -> dict:
    return {name: three[0][name] for name in FEATURES}


@pytest.fixture(scope="module")
def fitted(three) -> GroupFit:
    return fit_groups(three[0], max_groups=5)


def test_populations_are_found_and_numbered_by_size(three, fitted):
    _, truth = three
    assert fitted.n_groups == 3
    assert adjusted_rand_score(truth, fitted.groups) > 0.97
    sizes = np.bincount(fitted.groups)[1:]
    assert np.all(np.diff(sizes) <= 0)
    assert np.array_equal(sizes, fitted.model["group_size"])
    # The largest population, the cubes, is group 1; the stars are group 3.
    assert np.median(fitted.groups[truth == 1]) == 1
    assert np.median(fitted.groups[truth == 2]) == 3
    assert fitted.left_out == 0


def test_comparison_holds_every_dataset_and_method(fitted):
    found = {(c.dataset, c.method) for c in fitted.comparison}
    assert len(fitted.comparison) == len(found) == 9
    chosen = str(fitted.model["dataset"])
    assert fitted.tests[chosen].excess == max(t.excess for t in fitted.tests.values() if t.divided)
    of_dataset = [c for c in fitted.comparison if c.dataset == chosen]
    assert fitted.n_groups == max(of_dataset, key=lambda c: c.silhouette).n_groups
    same_number = [c for c in of_dataset if c.n_groups == fitted.n_groups]
    best = max(same_number, key=lambda c: c.cophenet_groups)
    assert len(same_number) == 3
    assert str(fitted.model["method"]) == best.method
    for candidate in fitted.comparison:
        row = fitted.silhouettes[candidate.dataset][METHODS.index(candidate.method)]
        assert candidate.silhouette == row[list(fitted.numbers).index(candidate.n_groups)]
        assert -1 <= candidate.cophenet <= 1


def test_order_of_rows_does_not_matter(three, fitted):
    table, _ = three
    order = np.random.default_rng(1).permutation(fitted.groups.size)
    again = fit_groups({name: column[order] for name, column in table.items()}, max_groups=5)
    assert np.array_equal(again.groups, fitted.groups[order])
    for key, value in fitted.model.items():
        assert np.array_equal(again.model[key], value), key


def test_units_of_length_do_not_matter(features):
    table = dict(features)
    for name in ("equivalent_diameter", "axis_major", "axis_minor", "perimeter"):
        table[name] = table[name] * 1000.0
    table["area"] = table["area"] * 1e6
    expected = fit_groups(features, max_groups=3).groups
    assert np.array_equal(fit_groups(table, max_groups=3).groups, expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_predicts_what_it_fitted(three, method):
    table, truth = three
    fit = fit_groups(table, dataset="both", method=method, n_groups=3, max_groups=2)
    assert str(fit.model["method"]) == method
    assert adjusted_rand_score(truth, fit.groups) > 0.95
    assert np.array_equal(predict_groups(fit.model, table), fit.groups)
    # One crystal alone gets the same group as among others.
    one = {name: column[7:8] for name, column in table.items()}
    assert predict_groups(fit.model, one) == fit.groups[7]


def test_new_crystals_are_labelled(fitted, three):
    _, truth = three
    for kind, which in ((CUBES, 1), (RODS, 0), (STARS, 2)):
        new = predict_groups(fitted.model, population(kind, 50, 77))
        assert np.mean(new == np.median(fitted.groups[truth == which])) > 0.95


def test_model_survives_as_plain_arrays(fitted, three, tmp_path):
    np.savez(tmp_path / "model.npz", **fitted.model)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        model = dict(file)
    assert np.array_equal(predict_groups(model, three[0]), fitted.groups)


@pytest.mark.parametrize("kind", [CUBES, RODS])
def test_one_population_is_one_group(kind):
    fit = fit_groups(population(kind, 250, 3), max_groups=4)
    assert fit.n_groups == 1
    assert set(fit.groups) == {1}
    assert any("one group" in note for note in fit.notes)
    assert not any(test.divided for test in fit.tests.values())


def test_single_group_test_holds_its_level_and_sees_groups():
    rng = np.random.default_rng(0)
    none = np.zeros(3, dtype=bool)
    options = {"max_groups": 3, "min_share": 0.02}
    for seed in range(4):
        skewed = np.exp(0.7 * rng.standard_normal((150, 3)))
        skewed[:, 1] += skewed[:, 0]
        rows = (skewed - skewed.mean(axis=0)) / skewed.std(axis=0)
        assert not single_group_test(rows, seed=seed, keep=none, **options).divided
        rows[:75] += 4.0
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        test = single_group_test(rows, seed=seed, keep=none, **options)
        assert test.divided
        assert test.p_value == 0.05


def test_mistaken_numbers_of_axes_are_no_group():
    table = population(RODS, 300, 5)
    table["d"][np.random.default_rng(0).choice(300, 9, replace=False)] = 5.0
    table = {name: table[name] for name in SHAPE_PARAMETERS}
    fit = fit_groups(table, max_groups=4)
    assert fit.n_groups == 1


def test_a_far_population_does_not_hide_that_the_rest_is_two():
    table, truth = mixed((CUBES, 150), (LARGE, 120), ((90.0, 1.5, 0.7, 5), 40))
    table = {name: table[name] for name in FEATURES}
    alone = fit_groups(table, method="k-means", max_groups=4, nested=False)
    assert alone.n_groups == 2
    fit = fit_groups(table, method="k-means", max_groups=4)
    by_silhouette = next(c for c in fit.comparison if c.method == "k-means")
    assert by_silhouette.n_groups == 2
    assert fit.n_groups == 3
    assert adjusted_rand_score(truth, fit.groups) > 0.95
    assert any("divided in themselves" in note for note in fit.notes)


def test_large_tables_are_compared_on_a_sample(features, three, monkeypatch):
    monkeypatch.setattr(compare, "SAMPLE_ROWS", 150)
    truth = three[1]
    fit = fit_groups(features, method="linkage", max_groups=3)
    assert fit.tree.shape == (149, 4)
    assert fit.tree_rows.size == np.unique(fit.tree_rows).size == 150
    assert adjusted_rand_score(truth, fit.groups) > 0.95
    # The crystals that the tree was built from keep the group that the tree gives them.
    assert np.array_equal(
        fit.groups[fit.tree_rows], 1 + fit.model["prototype_group"].astype(np.int32)
    )


def test_circles_have_no_number_of_axes():
    circle, square = np.full(6, 2.0), np.full(6, 10.0)
    axes, ratio = np.arange(1.0, 7.0), np.ones(6)
    columns = list(SHAPE_PARAMETERS)
    of_circles = read_columns({"p": circle, "d": axes, "axis_ratio": ratio}, columns)[:, 1]
    of_squares = read_columns({"p": square, "d": axes, "axis_ratio": ratio}, columns)[:, 1]
    long = read_columns({"p": circle, "d": axes, "axis_ratio": 2 * ratio}, columns)[:, 1]
    assert np.ptp(of_circles) < 1e-6
    assert np.array_equal(of_squares, axes)
    assert np.array_equal(long, axes)


def test_silhouette_agrees_with_scikit_learn():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((60, 4))
    labels = np.r_[rng.integers(0, 4, 59), 9]
    found = silhouette(squareform(pdist(rows)), labels)
    assert found == pytest.approx(silhouette_score(rows, labels), abs=1e-12)
    assert np.isnan(silhouette(squareform(pdist(rows)), np.zeros(60, dtype=int)))


def test_cophenetic_correlations():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((30, 2))
    distances = pdist(rows)
    tree = linkage(rows, "average")
    heights = squareform(tree_heights(tree))
    assert tree_cophenet(tree, distances) == pytest.approx(np.corrcoef(heights, distances)[0, 1])
    # Three tight groups at 0, 1 and 10: means join at 1, then at the mean of 9 and 10.
    line = np.array([[0.0], [0.0], [1.0], [10.0], [10.0]])
    own = np.array([4, 4, 7, 2, 2])
    expected = [0, 1, 9.5, 9.5, 1, 9.5, 9.5, 9.5, 9.5, 0]
    found = group_cophenet(line, own, pdist(line))
    assert found == pytest.approx(np.corrcoef(expected, pdist(line))[0, 1])
    assert np.isnan(group_cophenet(line, np.zeros(5, dtype=int), pdist(line)))


def tree_heights(tree: np.ndarray) -> np.ndarray:
    """Height at which each two leaves meet, by sets."""
    count = tree.shape[0] + 1
    members = [{i} for i in range(count)]
    heights = np.zeros((count, count))
    for a, b, height, _ in tree:
        for i in members[int(a)]:
            for j in members[int(b)]:
                heights[i, j] = heights[j, i] = height
        members.append(members[int(a)] | members[int(b)])
    return heights


def test_mixture_gives_the_group_that_scikit_learn_gives():
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(4)
    rows = np.concatenate([rng.standard_normal((80, 3)), 0.3 * rng.standard_normal((40, 3)) + 2])
    parts = fit_mixture(rows, 2, seed=0)
    theirs = GaussianMixture(2)
    theirs.weights_, theirs.means_ = parts["shares"], parts["centers"]
    theirs.covariances_ = parts["covariances"]
    theirs.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(parts["covariances"]))
    assert np.array_equal(assign("gaussian mixture", parts, rows), theirs.predict(rows))


def test_explained_variance_agrees_with_scikit_learn(three):
    from sklearn.decomposition import PCA

    rows = standardize(three[0], dataset_columns("both")).rows
    expected = PCA().fit(rows).explained_variance_ratio_
    assert np.allclose(explained_variance(rows), expected, atol=1e-12)


def test_missing_values_are_counted_and_keep_their_row(features):
    table = {name: column.copy() for name, column in features.items()}
    table["circularity"][[3, 10]] = np.nan
    table["area"][20] = np.inf
    table["perimeter"][21] = 0.0
    fit = fit_groups(table, max_groups=3)
    assert set(np.flatnonzero(fit.groups < 0)) == {3, 10, 20, 21}
    assert fit.left_out == 4
    assert "4 of 300 crystals without all values left out" in fit.notes
    assert np.array_equal(predict_groups(fit.model, table), fit.groups)


def test_constant_and_empty_columns_are_dropped_by_name(features):
    table = dict(features)
    table["extent"] = np.full(300, 0.7)
    table["solidity"] = np.full(300, np.nan)
    fit = fit_groups(table, max_groups=4)
    assert "constant columns dropped: extent" in fit.notes
    assert "columns without any value dropped: solidity" in fit.notes
    assert fit.left_out == 0
    assert len(fit.model["columns"]) == 8
    assert fit.n_groups == 3


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_few_crystals(count):
    table = population(CUBES, count, 0)
    fit = fit_groups(table)
    assert fit.groups.shape == (count,)
    assert fit.n_groups == min(count, 1)
    assert np.all(fit.groups == 1)
    assert fit.notes
    assert np.array_equal(predict_groups(fit.model, table), fit.groups)


def test_equal_crystals_are_one_group():
    table = {name: np.repeat(column, 30) for name, column in population(CUBES, 1, 0).items()}
    fit = fit_groups(table)
    assert fit.n_groups == 1
    assert np.all(fit.groups == 1)
    assert "all columns are constant" in fit.notes
    with pytest.raises(InputError, match="2 groups asked of 1 different"):
        fit_groups(table, n_groups=2)


def test_no_crystal_with_all_values():
    table = population(CUBES, 12, 0)
    table["area"] = np.full(12, np.nan)
    table["circularity"][:6] = np.nan
    table["solidity"][6:] = np.nan
    fit = fit_groups(table)
    assert fit.n_groups == 0
    assert np.all(fit.groups == -1)
    assert fit.left_out == 12
    assert np.all(predict_groups(fit.model, population(CUBES, 3, 1)) == -1)


def test_a_table_of_features_only(features):
    fit = fit_groups(features, max_groups=2)
    assert {c.dataset for c in fit.comparison} == {"features"}
    assert any("shape parameters, both" in note for note in fit.notes)


def test_what_cannot_be_done_is_said(three, fitted):
    table = three[0]
    with pytest.raises(InputError, match="no column p"):
        fit_groups({k: v for k, v in table.items() if k != "p"}, dataset="both")
    with pytest.raises(InputError, match="columns of no dataset"):
        fit_groups({"area": table["area"]})
    with pytest.raises(InputError, match="301 groups asked of 300"):
        fit_groups(table, n_groups=301, max_groups=2)
    with pytest.raises(InputError, match="method is 'dbscan'"):
        fit_groups(table, method="dbscan")
    with pytest.raises(InputError, match="does not hold numbers"):
        fit_groups({**table, "area": np.full(300, "x")})
    with pytest.raises(InputError, match="no column"):
        predict_groups(fitted.model, {"area": table["area"]})
    with pytest.raises(InputError, match="version 9"):
        predict_groups({**fitted.model, "version": np.array(9)}, table)
    with pytest.raises(InputError, match="'mean'"):
        predict_groups({k: v for k, v in fitted.model.items() if k != "mean"}, table)
