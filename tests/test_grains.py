"""Grain maps of simulated polycrystals, and the steps on the tile grid one by one."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.evaluate import evaluate_grain_map, misorientation_deg, tiles_to_pixels
from nanoarray.simulate.superlattice import NOISE_LEVELS, simulate_polycrystal
from nanoarray.superlattice.grains.boundary import means_near_boundary
from nanoarray.superlattice.grains.labels import describe_grains, label_grains, map_grains, regions
from nanoarray.superlattice.prepare.cleaning import (
    find_defects,
    lattice_spacing,
    suppress_line_noise,
)

STRIDE = 8
ROW_SPACING = {"square": 11.0, "hexagonal": 9.53, "oblique": 12.0}


def polycrystal(lattice="square", **changes):
    options = {
        "height_px": 360,
        "width_px": 420,
        "grain_count": 5,
        "lattice": lattice,
        "min_misorientation_deg": 8.0,
        "seed": 3,
        **NOISE_LEVELS["low"],
        **changes,
    }
    return simulate_polycrystal(**options)


def mapped(truth, **options):
    spacing = ROW_SPACING[truth.parameters["lattice"]]
    return map_grains(truth.image, row_spacing_px=spacing, stride_px=STRIDE, **options)


def scored(truth, found):
    return evaluate_grain_map(
        truth_grain=truth.grain,
        truth_orientation_deg=truth.local_orientation_deg,
        truth_symmetry=truth.symmetry,
        truth_merge_orientation_deg=truth.local_lattice_orientation_deg,
        truth_merge_symmetry=truth.lattice_symmetry,
        grain=found.grain,
        orientation_deg=found.orientation_deg,
        symmetry=found.symmetry,
        stride_px=STRIDE,
    )


@pytest.mark.parametrize("level", ["low", "high"])
@pytest.mark.parametrize("lattice", ["square", "hexagonal", "oblique"])
def test_grains_of_simulated_polycrystals(lattice, level):
    truth = polycrystal(lattice, **NOISE_LEVELS[level], seed=5)
    found = mapped(truth)
    score = scored(truth, found)
    assert found.symmetry == truth.symmetry
    assert score["adjusted_rand"] > 0.9
    assert score["recovered"] == 1
    assert score["area_ratio"] == pytest.approx(1, abs=0.03)
    assert score["orientation_error_deg"] < 0.7
    assert score["coverage"] > 0.95


def test_map_is_a_partition_with_connected_grains():
    found = mapped(polycrystal())
    count = int(found.grain.max())
    assert np.array_equal(np.unique(found.grain[found.grain > 0]), np.arange(1, count + 1))
    assert regions.split_disconnected(found.grain).max() == count
    assert found.grain.dtype == np.int32
    inside = found.grain > 0
    assert np.array_equal(np.isfinite(found.orientation_deg), inside)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert not found.confidence[~inside].any()
    assert np.median(found.confidence[inside]) > 0.9
    assert found.grain_orientation_deg.shape == (count,)


def test_boundaries_tell_the_true_misorientation():
    truth = polycrystal(seed=7)
    found = mapped(truth)
    centre = slice(STRIDE // 2, None, STRIDE)
    at_tiles = truth.grain[centre, centre]
    rows, columns = np.minimum(at_tiles.shape, found.grain.shape)
    own = [
        np.bincount(at_tiles[:rows, :columns][found.grain[:rows, :columns] == g]).argmax()
        for g in range(1, found.grain.max() + 1)
    ]
    long = found.boundary_tiles >= 8
    a, b = (
        truth.orientation_deg[np.array(own)[found.boundary_pairs[long, i] - 1] - 1] for i in (0, 1)
    )
    told = misorientation_deg(a, b, symmetry=4)
    assert np.abs(found.boundary_misorientation_deg[long] - told).max() < 1.0


def test_turning_the_image_turns_the_map():
    truth = polycrystal(height_px=400, width_px=400)
    upright = mapped(truth)
    turned = map_grains(np.rot90(truth.image), row_spacing_px=11.0, stride_px=STRIDE)
    assert turned.grain.max() == upright.grain.max()
    back = np.rot90(turned.grain, -1)
    pairs = np.unique(np.stack([back.ravel(), upright.grain.ravel()]), axis=1, return_counts=True)[
        1
    ]
    assert np.sort(pairs)[-int(upright.grain.max()) :].sum() > 0.95 * back.size
    same = misorientation_deg(
        np.rot90(turned.orientation_deg, -1), upright.orientation_deg, symmetry=4
    )
    assert np.nanmedian(same) < 0.3


def test_bent_lattice_is_one_grain():
    truth = polycrystal(grain_count=1, orientation_gradient_deg=3.0)
    found = mapped(truth)
    assert found.grain.max() == 1
    assert scored(truth, found)["orientation_error_deg"] < 0.7
    span = np.ptp(truth.local_orientation_deg % 90)
    assert np.ptp(found.orientation_deg) > 0.5 * min(span, 8)


def test_threshold_decides_what_is_one_grain():
    truth = polycrystal(grain_count=2, seed=1, min_misorientation_deg=8.0)
    apart = misorientation_deg(*truth.orientation_deg, symmetry=4)
    assert mapped(truth, min_misorientation_deg=float(apart) - 2).grain.max() == 2
    assert mapped(truth, min_misorientation_deg=float(apart) + 2).grain.max() == 1


def test_defects_belong_to_no_grain():
    truth = polycrystal()
    defect = np.zeros(truth.image.shape, bool)
    defect[100:220, 150:300] = True
    found = mapped(truth, defect=defect)
    assert not found.grain[15:25, 22:34].any()
    assert (found.grain[:10] > 0).all()


def test_areas_without_a_lattice_are_not_indexed():
    truth = polycrystal(grain_count=2)
    image = truth.image.copy()
    noise = np.random.default_rng(0).normal(image.mean(), image.std(), image[:, 200:].shape)
    image[:, 200:] = np.clip(noise, 0, 255)
    found = map_grains(image, row_spacing_px=11.0, stride_px=STRIDE)
    assert (found.grain[:, :22] > 0).mean() > 0.95
    assert (found.grain[:, 30:] > 0).mean() < 0.2
    assert np.isnan(found.orientation_deg[found.grain == 0]).all()


@pytest.mark.parametrize(("lattice", "seed"), [("square", 2), ("hexagonal", 1)])
def test_most_of_a_disordered_area_is_no_grain(lattice, seed):
    truth = polycrystal(lattice, height_px=440, grain_count=2, seed=seed, disordered_band_px=200.0)
    scores = scored(truth, mapped(truth))
    assert scores["left_out"] > 0.5
    assert scores["coverage"] > 0.97


def test_a_weak_lattice_is_a_grain():
    """Noise half as high again as the beads leaves a lattice that many tiles know together."""
    truth = polycrystal(grain_count=1, noise=1.5)
    assert scored(truth, mapped(truth))["coverage"] > 0.97


def test_label_grains_without_any_usable_tile():
    empty = label_grains(np.full((6, 7, 60), np.nan, np.float32), np.arange(60) * 3.0)
    assert not empty.grain.any()
    assert empty.boundary_pairs.shape == (0, 2)
    assert np.isnan(empty.orientation_deg).all()


def test_invalid_tiles_are_left_out_and_arguments_are_checked():
    rng = np.random.default_rng(0)
    profile = rng.random((12, 14, 60)).astype(np.float32)
    valid = np.ones((12, 14), bool)
    valid[:, :5] = False
    found = label_grains(profile, np.arange(60) * 3.0, valid=valid, min_tiles=2)
    assert not found.grain[:, :5].any()
    with pytest.raises(InputError, match="shape"):
        label_grains(profile[0], np.arange(60) * 3.0)
    with pytest.raises(InputError, match="positive"):
        label_grains(profile, np.arange(60) * 3.0, min_misorientation_deg=0)


def test_describe_grains_found_elsewhere():
    rng = np.random.default_rng(1)
    labels = np.repeat([[1, 2]], 10, axis=0).repeat(10, axis=1)
    angles = np.arange(60) * 3.0
    base = np.where(labels[..., None] == 1, 20.0, 50.0)
    profile = 2 + np.cos(np.deg2rad(4 * (angles - base + 90))) + 0.05 * rng.random((10, 20, 60))
    found = describe_grains(labels, profile, angles, tile_strides=2)
    assert found.symmetry == 4
    assert found.grain_orientation_deg == pytest.approx([20, 50], abs=0.5)
    assert found.boundary_misorientation_deg == pytest.approx([30], abs=1)
    assert found.boundary_tiles.tolist() == [10]


# --- steps on the tile grid -----------------------------------------------------------------


def two_halves(noise: float = 0.05, shape=(20, 24)) -> np.ndarray:
    rng = np.random.default_rng(2)
    half = np.where(np.arange(shape[1]) < shape[1] // 2, 0.0, 1.0)
    clean = np.stack([half, 1 - half], axis=-1)[None].repeat(shape[0], axis=0)
    return (clean + rng.normal(0, noise, clean.shape)).astype(np.float32)


def test_merging_stops_at_the_true_boundary():
    features = two_halves()
    start = np.arange(20 * 24).reshape(20, 24).astype(np.int32) + 1
    merged = regions.merge_by_cost(start, features, cost=0.2)
    assert merged.max() == 2
    assert (merged[:, :12] == merged[0, 0]).all()
    assert (merged[:, 12:] == merged[0, -1]).all()
    assert regions.merge_by_cost(start, features, cost=100.0).max() == 1


def test_refining_moves_a_misplaced_boundary_and_dissolves_slivers():
    features = two_halves()
    wrong = np.where(np.arange(24) < 8, 1, np.where(np.arange(24) < 10, 3, 2))
    wrong = np.repeat(wrong[None], 20, axis=0).astype(np.int32)
    right = regions.refine_boundaries(
        wrong, features, core_depth=1.0, min_core_tiles=3, boundary_cost=0.2
    )
    assert set(np.unique(right)) == {1, 2}
    assert (right[:, :12] == 1).all()
    assert (right[:, 12:] == 2).all()


def test_small_regions_go_to_the_most_similar_neighbour():
    features = two_halves()
    labels = np.repeat(np.where(np.arange(24) < 12, 1, 2)[None], 20, axis=0).astype(np.int32)
    labels[5:7, 11:13] = 3
    absorbed = regions.absorb_small(labels, features, min_tiles=6)
    assert absorbed.max() == 2
    lonely = np.zeros((8, 8), np.int32)
    lonely[0, 0] = 1
    assert not regions.absorb_small(lonely, features[:8, :8], min_tiles=3).any()


def test_small_helpers():
    labels = np.array([[5, 5, 0], [2, 5, 2]])
    assert regions.renumber(labels).tolist() == [[2, 2, 0], [1, 2, 1]]
    assert regions.split_disconnected(labels).max() == 3
    pairs, lengths = regions.neighbour_pairs(regions.renumber(labels))
    assert pairs.tolist() == [[1, 2]]
    assert lengths.tolist() == [3]
    joined = regions.join(regions.renumber(labels), np.array([[1, 2]]))
    assert joined.tolist() == [[1, 1, 0], [1, 1, 1]]
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = mask[2:4, 2:4] = True
    assert regions.remove_specks(mask, min_tiles=2).sum() == 4
    assert np.isinf(regions.depth_in_region(np.ones((4, 4), np.int32))).all()


# --- real micrographs -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [17, 18, 21])
def test_real_cross_sections_give_few_large_grains(real_data, number):
    path = real_data / "sem_superlattice" / f"1CJT016 4degC cross section 1_{number:03d}.tif"
    pixels = tifffile.imread(path)[:884, :, 0]
    spacing = lattice_spacing(pixels)
    defect = find_defects(pixels, spacing_px=spacing)
    clean = suppress_line_noise(pixels, defect=defect)
    found = map_grains(clean, row_spacing_px=spacing, stride_px=STRIDE, defect=defect)
    on_pixels = tiles_to_pixels(found.grain, stride_px=STRIDE, height_px=884, width_px=1024)
    # The cut is oblique and the stage was tilted: no 4- or 6-fold symmetry is left.
    assert found.symmetry == 2
    assert (on_pixels[~defect] > 0).mean() > 0.85
    assert 8 <= found.grain.max() <= 60


def test_means_near_a_boundary_follow_the_distance_transform():
    rng = np.random.default_rng(1)
    seeds = rng.random((6, 2)) * (50, 40)
    place = np.moveaxis(np.indices((50, 40)), 0, -1)
    labels = 1 + ((place[:, :, None] - seeds) ** 2).sum(axis=-1).argmin(axis=-1).astype(np.int32)
    features = rng.normal(size=(50, 40, 3)).astype(np.float32)
    pairs, _ = regions.neighbour_pairs(labels)
    # So wide a reach that the windows are the whole field.
    found = means_near_boundary(labels, features, pairs, reach=20.0, skip=2.0)
    for (one, other), sides in zip(pairs, found, strict=True):
        for own, far, mean in ((one, other, sides[0]), (other, one, sides[1])):
            distance = ndimage.distance_transform_edt(labels != far)[labels == own]
            weight = np.exp(-0.5 * (distance / 20) ** 2) * np.clip((distance - 2) / 2, 0.02, 1)
            np.testing.assert_allclose(
                mean, weight @ features[labels == own] / weight.sum(), rtol=1e-6, atol=1e-9
            )
