"""Clusters of tiles: known groups are found, models label new tiles, thresholds are found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from nanoarray.errors import InputError
from nanoarray.superlattice.cluster.fit import (
    find_threshold,
    fit_clusters,
    predict_clusters,
    profile_features,
    spatial_pairs,
)
from nanoarray.superlattice.cluster.ward import cut_tree, ward_tree


def stripes(*, images=1, noise=0.5, seed=0):
    """Features of 24 x 36 tiles in four grains of different size, and the grain of each tile."""
    rng = np.random.default_rng(seed)
    grain = np.zeros((images, 24, 36), dtype=int)
    grain[:, :, 12:] = 1
    grain[:, 16:, 12:] = 2
    grain[:, :, 30:] = 3
    centres = np.random.default_rng(99).standard_normal((4, 20))
    return centres[grain] + noise * rng.standard_normal((*grain.shape, 20)), grain


@pytest.mark.parametrize("method", ["ward", "kmeans"])
def test_known_groups_are_found_and_numbered_by_size(method):
    features, grain = stripes()
    rows = features.reshape(-1, 20)
    labels, model = fit_clusters(rows, method=method, n_clusters=4, seed=1)
    assert adjusted_rand_score(labels, grain.ravel()) > 0.98
    size = np.bincount(labels)
    np.testing.assert_array_equal(model["cluster_size"], size)
    assert np.all(np.diff(size) <= 0)
    again, _ = fit_clusters(rows, method=method, n_clusters=4, seed=1)
    np.testing.assert_array_equal(labels, again)


@pytest.mark.slow
def test_dtw_finds_shifted_shapes():
    pytest.importorskip("tslearn")
    angle = np.arange(24)
    one = np.exp(-((angle - 6) ** 2) / 4)
    two = one + np.exp(-((angle - 16) ** 2) / 4)
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 60)
    # Shifts by a few angles: near under time warping, far in the Euclidean sense.
    rows = np.array([np.roll((one, two)[k], rng.integers(-3, 4)) for k in kind])
    labels, model = fit_clusters(rows, method="dtw", n_clusters=2)
    assert adjusted_rand_score(labels, kind) == 1
    np.testing.assert_array_equal(predict_clusters(model, rows), labels)


@pytest.mark.parametrize("method", ["ward", "kmeans"])
def test_a_model_labels_new_tiles(method):
    features, grain = stripes()
    _, model = fit_clusters(features.reshape(-1, 20), method=method, n_clusters=4)
    new, _ = stripes(seed=7)
    labels = predict_clusters(model, new)
    assert labels.shape == grain.shape
    assert adjusted_rand_score(labels.ravel(), grain.ravel()) > 0.98
    # The label of a tile does not depend on what else is labelled with it.
    np.testing.assert_array_equal(predict_clusters(model, new[:, 5, 7:9]), labels[:, 5, 7:9])


def test_a_model_survives_storing_as_arrays(tmp_path):
    features, _ = stripes()
    rows = features.reshape(-1, 20)
    labels, model = fit_clusters(rows, distance_threshold=30.0)
    np.savez(tmp_path / "model.npz", **model)
    with np.load(tmp_path / "model.npz") as stored:
        np.testing.assert_array_equal(predict_clusters(dict(stored), rows), labels)


def test_tiles_without_features_get_no_label():
    features, _ = stripes()
    rows = features.reshape(-1, 20).copy()
    rows[::7, 3] = np.nan
    labels, model = fit_clusters(rows, n_clusters=4)
    np.testing.assert_array_equal(labels < 0, np.isnan(rows[:, 3]))
    np.testing.assert_array_equal(predict_clusters(model, rows) < 0, labels < 0)
    with pytest.raises(InputError, match="all rows hold NaN"):
        fit_clusters(np.full((4, 3), np.nan), n_clusters=2)


def test_order_of_tiles_does_not_matter():
    features, _ = stripes(noise=1.0)
    rows = features.reshape(-1, 20)
    order = np.random.default_rng(3).permutation(len(rows))
    labels, _ = fit_clusters(rows, n_clusters=4)
    shuffled, _ = fit_clusters(rows[order], n_clusters=4)
    np.testing.assert_array_equal(shuffled, labels[order])


def test_prototypes_agree_with_all_rows():
    features, grain = stripes(images=5, noise=0.8)
    rows = features.reshape(-1, 20)
    exact, exact_model = fit_clusters(rows, n_clusters=4)
    sampled, model = fit_clusters(rows, n_clusters=4, max_exact=2500, seed=4)
    assert exact_model["exact"]
    assert not model["exact"]
    assert adjusted_rand_score(exact, sampled) > 0.94
    assert (
        abs(adjusted_rand_score(sampled, grain.ravel()) - adjusted_rand_score(exact, grain.ravel()))
        < 0.03
    )
    np.testing.assert_array_equal(predict_clusters(model, rows), sampled)


def test_mini_batches_agree_with_k_means():
    features, _ = stripes(images=3)
    rows = features.reshape(-1, 20)
    exact, _ = fit_clusters(rows, method="kmeans", n_clusters=4)
    batches, model = fit_clusters(rows, method="kmeans", n_clusters=4, max_exact=1000)
    assert not model["exact"]
    assert adjusted_rand_score(exact, batches) > 0.98


@pytest.mark.parametrize("noise", [0.3, 0.8])
def test_threshold_is_found_from_pairs(noise):
    features, grain = stripes(images=2, noise=noise)
    rows = features.reshape(-1, 20)
    pairs = spatial_pairs(np.ones(grain.shape, bool))
    labels, model = fit_clusters(rows, pairs=pairs)
    assert labels.max() + 1 == 4
    assert adjusted_rand_score(labels, grain.ravel()) > 0.95
    assert model["separation"] > 0.5
    # The threshold alone gives the same clusters.
    given, _ = fit_clusters(rows, distance_threshold=float(model["distance_threshold"]))
    np.testing.assert_array_equal(given, labels)


def test_pairs_with_dropped_tiles_are_left_out():
    features, grain = stripes()
    rows = features.reshape(-1, 20).copy()
    rows[5::11] = np.nan
    labels, _ = fit_clusters(rows, pairs=spatial_pairs(np.ones(grain.shape, bool)))
    assert adjusted_rand_score(labels[labels >= 0], grain.ravel()[labels >= 0]) > 0.98


def test_threshold_separates_the_pairs_given():
    tree = ward_tree([[0.0], [1.0], [10.0], [11.0]])
    threshold, separation = find_threshold(tree, [[0, 1], [2, 3]], [[0, 2], [1, 3]])
    assert separation == 1
    np.testing.assert_array_equal(cut_tree(tree, distance_threshold=threshold), [0, 0, 1, 1])
    # The other way round nothing is gained by merging at all.
    with pytest.raises(InputError, match="no pairs"):
        find_threshold(tree, [], [[0, 2]])


def test_pairs_are_of_valid_tiles_at_the_stated_distances():
    valid = np.random.default_rng(0).random((3, 15, 20)) < 0.7
    similar, different = spatial_pairs(valid, near_tiles=2, far_tiles=8, count=500, seed=2)
    image, y, x = np.nonzero(valid)
    assert 0 < len(similar) <= 500
    assert 0 < len(different) <= 500
    a, b = similar.T
    assert np.all(image[a] == image[b])
    assert np.all(np.abs(y[a] - y[b]) + np.abs(x[a] - x[b]) == 2)
    assert np.all((y[a] == y[b]) | (x[a] == x[b]))
    a, b = different.T
    assert np.all(image[a] == image[b])
    assert np.all(np.hypot(y[a] - y[b], x[a] - x[b]) >= 8)
    again = spatial_pairs(valid, near_tiles=2, far_tiles=8, count=500, seed=2)
    np.testing.assert_array_equal(similar, again[0])
    np.testing.assert_array_equal(different, again[1])


def test_profile_ignores_contrast():
    variance = np.random.default_rng(0).random((4, 30)) + 0.1
    np.testing.assert_allclose(
        profile_features(1000 * variance), profile_features(variance), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(profile_features(variance).mean(axis=1), 0, atol=1e-6)
    variance[1, 3] = np.nan
    variance[2] = 0
    np.testing.assert_array_equal(
        np.isnan(profile_features(variance)).all(axis=1), [False, True, True, False]
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "exactly one"),
        ({"n_clusters": 2, "distance_threshold": 3.0}, "exactly one"),
        ({"method": "kmeans"}, "needs n_clusters"),
        ({"method": "kmeans", "distance_threshold": 1.0}, "needs n_clusters"),
        ({"n_clusters": 0}, "at least 1"),
        ({"method": "birch", "n_clusters": 2}, "birch"),
    ],
)
def test_criteria_that_do_not_fit_are_named(options, word):
    with pytest.raises(InputError, match=word):
        fit_clusters(np.eye(5), **options)


def test_other_features_than_the_models_are_refused():
    _, model = fit_clusters(np.eye(5), n_clusters=2)
    with pytest.raises(InputError, match="6 features, the model 5"):
        predict_clusters(model, np.zeros((3, 6)))


def test_more_clusters_than_different_tiles():
    rows = np.repeat(np.eye(3), 4, axis=0)
    for method in ("ward", "kmeans"):
        labels, _ = fit_clusters(rows, method=method, n_clusters=9)
        assert labels.max() + 1 == 3
