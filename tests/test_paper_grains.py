"""Grains from cluster maps: the published steps, and the partition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarray.errors import InputError
from nanoarray.superlattice.grains.paper import grains_from_clusters, paper_grains


def squares(side: int, count: int = 3) -> np.ndarray:
    """Square grains, each of a cluster of its own."""
    y, x = np.indices((side * count, side * count)) // side
    return (count * y + x).astype(np.int32)


@pytest.mark.parametrize(
    ("side", "low", "high"), [(4, 0.2, 0.7), (10, 1.04, 1.15), (40, 1.02, 1.1)]
)
def test_published_steps_do_not_keep_areas(side, low, high):
    # One square grain in the middle of another: small ones shrink, the others grow.
    cluster = np.zeros((side * 3, side * 3), np.int32)
    cluster[side : 2 * side, side : 2 * side] = 1
    found = paper_grains(cluster)
    area = found.area_tiles[found.cluster == 1].sum()
    assert low * side**2 <= area <= high * side**2


def test_published_grains_overlap_and_lose_defects():
    cluster = squares(20)
    found = paper_grains(cluster)
    assert found.area_tiles.sum() > 1.01 * cluster.size
    assert found.grain.shape == (120, 120)
    assert found.grain_tiles.shape == cluster.shape
    defect = np.zeros(cluster.shape, bool)
    defect[10:30, 10:30] = True
    cut = paper_grains(cluster, defect=defect)
    assert not cut.grain_tiles[defect].any()
    assert cut.area_tiles.sum() < found.area_tiles.sum()


def test_published_steps_on_nothing():
    found = paper_grains(np.full((6, 6), -1))
    assert found.area_tiles.size == 0
    assert not found.grain.any()


def test_clusters_become_a_partition_without_noise():
    truth = squares(14)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(truth.shape) < 0.1, rng.integers(0, 9, truth.shape), truth)
    grain = grains_from_clusters(noisy, min_tiles=16)
    assert grain.max() == 9
    assert (grain > 0).all()
    for label in range(1, 10):
        assert np.bincount(grain.ravel())[label] == pytest.approx(14 * 14, rel=0.1)


@given(st.integers(0, 500), st.integers(1, 20))
def test_partition_of_anything(seed, min_tiles):
    rng = np.random.default_rng(seed)
    cluster = rng.integers(-1, 4, (12, 15))
    valid = rng.random((12, 15)) < 0.9
    grain = grains_from_clusters(cluster, valid=valid, min_tiles=min_tiles)
    if (valid & (cluster >= 0)).any():
        assert np.array_equal(grain > 0, valid)
    labels = np.unique(grain[grain > 0])
    assert np.array_equal(labels, np.arange(1, labels.size + 1))


def test_tiles_without_a_cluster_get_the_nearest():
    cluster = np.repeat(np.where(np.arange(20) < 10, 0, 1)[None], 20, axis=0)
    cluster[:, 8:12] = -1
    grain = grains_from_clusters(cluster, valid=np.ones((20, 20), bool), min_tiles=4)
    assert (grain[:, :10] == grain[0, 0]).all()
    assert (grain[:, 10:] == grain[0, -1]).all()
    assert not grains_from_clusters(cluster)[:, 8:12].any()
    assert not grains_from_clusters(np.full((4, 4), -1)).any()


def test_arguments_are_checked():
    cluster = squares(4)
    with pytest.raises(InputError, match="shape"):
        grains_from_clusters(cluster, valid=np.ones((2, 2), bool))
    with pytest.raises(InputError, match="min_tiles"):
        grains_from_clusters(cluster, min_tiles=0)
