"""Scores against values that can be worked out by hand or by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from nanoarray.errors import InputError
from nanoarray.evaluate import (
    adjusted_rand,
    boundary_distance,
    evaluate_grain_map,
    match_grains,
    merge_small_misorientation,
    misorientation_deg,
    neighbour_pairs,
    orientation_error_deg,
    tiles_to_pixels,
)


def stripes(*widths: int, height: int = 40) -> np.ndarray:
    row = np.repeat(np.arange(1, len(widths) + 1), widths)
    return np.tile(row, (height, 1)).astype(np.int32)


@given(st.integers(0, 10_000))
def test_adjusted_rand_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(1, 5, (2, 12, 15))
    expected = adjusted_rand_score(truth.ravel(), found.ravel())
    assert adjusted_rand(truth, found) == pytest.approx(expected, abs=1e-12)


def test_adjusted_rand_leaves_out_pores_but_not_gaps_of_the_map():
    truth, found = stripes(20, 20), stripes(20, 20)
    assert adjusted_rand(truth, found) == 1
    with_pore = truth.copy()
    with_pore[:10] = 0
    scrambled = found.copy()
    scrambled[:10] = 7
    assert adjusted_rand(with_pore, scrambled) == 1
    gap = found.copy()
    gap[:10] = 0
    assert adjusted_rand(truth, gap) < 0.9
    assert adjusted_rand(truth, gap, mask=gap > 0) == 1


def test_misorientation_is_modulo_the_symmetry():
    assert misorientation_deg(89, 1, symmetry=4) == pytest.approx(2)
    assert misorientation_deg(59, 1, symmetry=6) == pytest.approx(2)
    assert misorientation_deg(179, 1, symmetry=2) == pytest.approx(2)
    assert misorientation_deg(30, 0, symmetry=6) == pytest.approx(30)
    assert np.isnan(misorientation_deg(np.nan, 1, symmetry=4))


def test_neighbours_of_small_misorientation_merge_in_chains():
    truth = stripes(10, 10, 10, 10)
    merged = merge_small_misorientation(truth, [88, 1, 4, 40], symmetry=4)
    assert np.array_equal(merged[0], np.repeat([1, 1, 1, 2], 10))
    merged = merge_small_misorientation(truth, [0, 20, 0.5, 40], symmetry=4)
    assert merged.max() == 4  # alike but not neighbours
    with pytest.raises(InputError):
        merge_small_misorientation(truth, [1, 2], symmetry=4)


def test_bent_grains_merge_by_what_meets_at_their_boundary():
    truth = stripes(50, 50)
    angle = np.tile(np.linspace(0, 20, 100), (40, 1))
    assert merge_small_misorientation(truth, angle, symmetry=4).max() == 1
    angle[:, 50:] += 10
    assert merge_small_misorientation(truth, angle, symmetry=4).max() == 2


def test_match_grains_counts_recovered_ones():
    truth, found = stripes(40, 40, 4), stripes(50, 34)
    match = match_grains(truth, found, min_area_px=1000)
    assert match["truth_label"].tolist() == [1, 2]
    assert match["found_label"].tolist() == [1, 2]
    assert match["iou"] == pytest.approx([40 / 50, 30 / 44])
    assert match["found_area_px"].tolist() == [50 * 40, 34 * 40]
    strict = match_grains(truth, found, min_area_px=1000, iou=0.75)
    assert strict["found_label"].tolist() == [1, 0]
    assert strict["found_area_px"].tolist() == [2000, 0]
    nothing = match_grains(truth, np.zeros_like(truth), min_area_px=1000)
    assert not nothing["found_label"].any()
    with pytest.raises(InputError):
        match_grains(truth, found, iou=0.3)
    with pytest.raises(InputError):
        match_grains(truth, found[:3])


def test_boundary_distance_of_shifted_boundary():
    assert boundary_distance(stripes(20, 20), stripes(23, 17)) == pytest.approx(3)
    assert boundary_distance(stripes(20, 20), stripes(20, 20)) == 0
    assert np.isnan(boundary_distance(stripes(20, 20), stripes(40)))


def test_orientation_error_skips_the_unknown():
    truth = np.array([[10.0, np.nan, 80.0]])
    found = np.array([[12.0, 5.0, -9.0]])
    assert orientation_error_deg(truth, found, symmetry=4) == pytest.approx([2, 1])


def test_tiles_to_pixels_covers_and_takes_the_remainder():
    tiles = np.arange(6).reshape(2, 3)
    pixels = tiles_to_pixels(tiles, stride_px=4, height_px=9, width_px=11)
    assert pixels.shape == (9, 11)
    assert pixels[3, 4] == 1
    assert pixels[4, 3] == 3
    assert pixels[8, 10] == 5
    with pytest.raises(InputError):
        tiles_to_pixels(tiles, stride_px=4, height_px=20, width_px=11)


def test_neighbour_pairs_ignores_zero():
    labels = np.array([[1, 0, 2], [3, 3, 2]])
    assert neighbour_pairs(labels).tolist() == [[1, 3], [2, 3]]


def test_evaluate_a_perfect_and_a_shifted_map():
    truth = np.kron(np.array([[1, 2], [3, 4]]), np.ones((48, 48), int)).astype(np.int32)
    angles = np.array([5.0, 25.0, 45.0, 85.0])
    tiles = truth[4::8, 4::8]
    common = {
        "truth_grain": truth,
        "truth_orientation_deg": angles,
        "truth_symmetry": 4,
        "stride_px": 8,
        "symmetry": 4,
    }
    perfect = evaluate_grain_map(grain=tiles, orientation_deg=angles[tiles - 1], **common)
    assert perfect["adjusted_rand"] == 1
    assert perfect["recovered"] == 1
    assert perfect["area_ratio"] == 1
    assert perfect["coverage"] == 1
    assert perfect["orientation_error_deg"] == 0
    assert perfect["boundary_distance_px"] == 0
    shifted = evaluate_grain_map(
        grain=np.roll(tiles, 1, axis=1), orientation_deg=angles[tiles - 1] + 1.5, **common
    )
    assert 0.4 < shifted["adjusted_rand"] < 1
    assert shifted["orientation_error_deg"] == pytest.approx(1.5)
    empty = evaluate_grain_map(
        grain=np.zeros_like(tiles), orientation_deg=np.full(tiles.shape, np.nan), **common
    )
    assert empty["recovered"] == 0
    assert empty["coverage"] == 0
    assert np.isnan(empty["orientation_error_deg"])
