"""Ward's tree against scipy, and weights against repeated points."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, fcluster, linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from nanoarray.errors import InputError
from nanoarray.superlattice.cluster.ward import cut_tree, merge_heights, ward_tree


def blobs(count, features=12, groups=7, seed=0):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((groups, features))
    return centres[rng.integers(0, groups, count)] + rng.standard_normal((count, features))


@settings(deadline=None, max_examples=25)
@given(count=st.integers(2, 120), features=st.integers(1, 9), seed=st.integers(0, 99))
def test_heights_equal_scipy(count, features, seed):
    points = np.random.default_rng(seed).standard_normal((count, features))
    found, expected = ward_tree(points), linkage(points, "ward")
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-4, atol=1e-5)
    assert np.all(np.diff(found[:, 2]) >= 0)
    assert found[-1, 3] == count


def test_labels_equal_scipy_and_scikit_learn():
    points = blobs(1500)
    tree = ward_tree(points)
    scipy_tree = linkage(points, "ward")
    for count in (2, 7, 40):
        labels = cut_tree(tree, n_clusters=count)
        assert labels.max() + 1 == count
        assert adjusted_rand_score(labels, fcluster(scipy_tree, count, "maxclust")) > 0.999
    model = AgglomerativeClustering(n_clusters=None, distance_threshold=25.0).fit(points)
    assert adjusted_rand_score(cut_tree(tree, distance_threshold=25.0), model.labels_) > 0.999


@pytest.mark.parametrize("scale", [1e15, 1.0, 1e-20])
def test_neither_scale_nor_order_nor_direction_matter(scale):
    rng = np.random.default_rng(5)
    points = blobs(700)
    turn = np.linalg.qr(rng.normal(size=(points.shape[1], points.shape[1])))[0]
    order = rng.permutation(700)
    expected = ward_tree(points)[:, 2]
    found = ward_tree((points @ turn)[order] * scale)[:, 2]
    np.testing.assert_allclose(found / scale, expected, rtol=1e-4, atol=1e-4)


def test_merge_heights_equal_cophenetic_distances():
    points = blobs(90)
    pairs = np.stack(np.triu_indices(90, 1), axis=1)
    expected = cophenet(linkage(points, "ward"))
    np.testing.assert_allclose(merge_heights(ward_tree(points), pairs), expected, rtol=1e-5)
    assert merge_heights(ward_tree(points), [[3, 3]])[0] == 0


def test_weight_counts_like_repetition():
    points = blobs(60)
    weights = np.random.default_rng(1).integers(1, 6, 60)
    weighted = ward_tree(points, weights=weights)
    repeated = ward_tree(np.repeat(points, weights, axis=0))
    np.testing.assert_allclose(weighted[:, 2], repeated[-59:, 2], rtol=1e-4)
    labels = cut_tree(weighted, n_clusters=6)
    assert adjusted_rand_score(np.repeat(labels, weights), cut_tree(repeated, n_clusters=6)) == 1


def test_bit_vectors_with_ties_still_make_a_tree():
    bits = np.random.default_rng(0).integers(0, 2, (300, 6)).astype(np.float32)
    tree = ward_tree(bits)
    assert sorted(tree[:, :2].ravel().astype(int)) == list(range(2 * 300 - 2))
    distinct = len(np.unique(bits, axis=0))
    assert cut_tree(tree, distance_threshold=1e-3).max() + 1 == distinct


def test_memory_is_linear():
    points = blobs(4000, features=40)
    ward_tree(points[:50])
    tracemalloc.start()
    ward_tree(points)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All pairs would be 64 MB.
    assert peak < 10e6


def test_one_point():
    tree = ward_tree([[1.0, 2.0]])
    assert tree.shape == (0, 4)
    np.testing.assert_array_equal(cut_tree(tree, n_clusters=3), [0])


def test_bad_input_is_named():
    with pytest.raises(InputError, match="finite"):
        ward_tree([[np.nan, 1.0]])
    with pytest.raises(InputError, match="positive"):
        ward_tree([[0.0], [1.0]], weights=[1, 0])
    tree = ward_tree([[0.0], [1.0]])
    with pytest.raises(InputError, match="either"):
        cut_tree(tree)
    with pytest.raises(InputError, match="at least 1"):
        cut_tree(tree, n_clusters=0)
    with pytest.raises(InputError, match="0 to 1"):
        merge_heights(tree, [[0, 2]])
