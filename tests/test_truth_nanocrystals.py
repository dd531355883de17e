"""Whole pipelines on simulated archives: a short benchmarks/truth_nanocrystals.py."""

import numpy as np
import pytest

from benchmarks.truth_nanocrystals import (
    LEVEL,
    PIXEL_SIZE_NM,
    agglomerated,
    differences,
    found_crystals,
    group_agreement,
    simulate,
)
from nanoarray.simulate.nanocrystal_archive import plan_nanocrystal_archive

FIELD = {"height_px": 640, "width_px": 640}


@pytest.fixture(scope="module")
def archive():
    plan = plan_nanocrystal_archive(image_count=4, seed=1, crystals_per_image=60)
    return simulate(plan, **FIELD)


@pytest.fixture(scope="module")
def crystals(archive):
    return found_crystals(archive)


def test_groups_of_segmented_crystals_are_the_true_populations(archive, crystals):
    score, groups, count = group_agreement(archive, crystals)
    assert count > 120
    assert groups == 4
    assert score >= 0.9


def test_sizes_of_segmented_crystals_are_the_true_ones(archive, crystals):
    rows = crystals["truth"].values
    whole = (rows >= 0) & ~crystals["touches_edge"].values
    truth = archive.truth.iloc[rows[whole]]
    kept = (truth["occlusion"] == 0).to_numpy()
    true = truth["equivalent_diameter"].to_numpy()[kept] * PIXEL_SIZE_NM
    found = crystals["equivalent_diameter"].values[whole][kept]
    assert kept.sum() > 120
    assert abs(found.mean() / true.mean() - 1) < 0.01
    assert abs(np.mean(found / true) - 1) < 0.01


def test_most_crystals_are_found_and_nothing_else(archive, crystals):
    rows = crystals["truth"].values[crystals["rejected"].values.astype(object) == ""]
    assert (rows >= 0).mean() > 0.95
    assert np.unique(rows[rows >= 0]).size > 0.9 * len(archive.truth)


@pytest.mark.parametrize("same", [True, False])
def test_a_difference_is_found_where_there_is_one(same):
    found = differences(1, same=same)
    assert (found["composition"] <= LEVEL) is not same
    if same:
        assert min(found.values()) > LEVEL


def test_agglomeration_does_not_change_the_sizes():
    rows = agglomerated((0.0, 0.7), images=2, seed=3, **FIELD)
    low, high = rows["mean_size_low"], rows["mean_size_high"]
    assert (rows["mean_size"].max() <= high).all()
    assert (rows["mean_size"].min() >= low).all()
