"""Rendering and simulated crops."""

import numpy as np
import pytest

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.distribution import CropConditions, draw_shapes
from nanoarray.nanocrystal.shape.formula import ShapeParameters, radius
from nanoarray.nanocrystal.shape.render import outline, render_shapes, shape_parameters
from nanoarray.nanocrystal.shape.simulate import simulate_crops

CIRCLE = {"p": [2.0], "d": [2], "axis_ratio": [1.0], "phase": [0.0]}


def one(p, d, axis_ratio, phase=0.0):
    return {"p": [p], "d": [d], "axis_ratio": [axis_ratio], "phase": [phase]}


def test_area_and_centroid_are_exact():
    shapes = draw_shapes(300, seed=2)
    coverage = render_shapes(
        shapes,
        size_px=200,
        equivalent_radius_px=9.0,
        centroid_y_px=98.3,
        centroid_x_px=101.6,
    ).astype(np.float64)
    y, x = np.mgrid[:200, :200]
    area = coverage.sum(axis=(1, 2))
    rim = np.concatenate((coverage[:, [0, -1]], coverage[:, :, [0, -1]].swapaxes(1, 2)), axis=1)
    inside = rim.max(axis=(1, 2)) < 1e-9
    assert inside.sum() > 250
    np.testing.assert_allclose(area[inside], np.pi * 81.0, rtol=1e-4)
    np.testing.assert_allclose((coverage * y).sum((1, 2))[inside] / area[inside], 98.3, atol=0.01)
    np.testing.assert_allclose((coverage * x).sum((1, 2))[inside] / area[inside], 101.6, atol=0.01)


@pytest.mark.parametrize(
    ("p", "d", "ratio", "phase"),
    [(2.0, 2, 1.0, 0.0), (14.0, 2, 1.4, 25.0), (0.7, 3, 2.0, 40.0), (3.0, 1, 3.0, 70.0)],
)
def test_coverage_agrees_with_the_formula(p, d, ratio, phase):
    size, scale = 96, 30.0
    theta = (np.arange(200_000) + 0.5) * (2.0 * np.pi / 200_000)
    r = radius(theta, p=p, d=d, axis_ratio=ratio, phase_rad=np.deg2rad(phase))
    area = np.mean(r**2) * np.pi
    centre_x = np.mean(r**3 * np.cos(theta)) / 3.0 * 2.0 * np.pi / area
    centre_y = np.mean(r**3 * np.sin(theta)) / 3.0 * 2.0 * np.pi / area
    unit = scale / np.sqrt(area / np.pi)
    # 16 x 16 samples per pixel, straight from equation 1.
    fine = (np.arange(size * 16) + 0.5) / 16.0 - 0.5
    x = (fine[None, :] - (size - 1) / 2.0) / unit + centre_x
    y = -(fine[:, None] - (size - 1) / 2.0) / unit + centre_y
    limit = radius(np.arctan2(y, x), p=p, d=d, axis_ratio=ratio, phase_rad=np.deg2rad(phase))
    inside = (np.hypot(x, y) <= limit).reshape(size, 16, size, 16).mean(axis=(1, 3))
    found = render_shapes(one(p, d, ratio, phase), size_px=size, equivalent_radius_px=scale)[0]
    # A cusp is thinner than the samples.
    assert np.abs(found - inside).max() < (0.05 if p > 1 else 0.3)
    assert np.abs(found - inside).mean() < 5e-4


def test_phase_turns_counter_clockwise():
    # d = 2, L = 3: the long axis lies where cos(theta + phi) = 0; phi = 90 degrees along x.
    flat = render_shapes(one(2.0, 2, 3.0, 90.0), size_px=65, equivalent_radius_px=12.0)[0]
    assert flat[32].sum() > 2.5 * flat[:, 32].sum()
    # phi less by 30: turned by +30 degrees, so the upper right is covered.
    turned = render_shapes(one(2.0, 2, 3.0, 60.0), size_px=65, equivalent_radius_px=12.0)[0]
    assert turned[32 - 8, 32 + 14] > 0.9
    assert turned[32 + 8, 32 + 14] < 0.1


def test_outline_bounds_the_picture():
    points = outline(
        p=0.6, d=5, axis_ratio=1.5, phase_deg=33.0, equivalent_radius_px=10.0,
        centroid_y_px=40.0, centroid_x_px=30.0,
    )  # fmt: skip
    assert len(points) > 384
    np.testing.assert_array_equal(points[0], points[-1])
    y, x = points[:, 0], points[:, 1]
    area = 0.5 * abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
    assert area == pytest.approx(np.pi * 100.0, rel=1e-9)


def test_pictures_cut_by_the_edge():
    whole = render_shapes(CIRCLE, size_px=64, equivalent_radius_px=12.0)[0]
    cut = render_shapes(
        CIRCLE, size_px=64, equivalent_radius_px=12.0, centroid_x_px=0.0, centroid_y_px=63.0
    )[0]
    moved = np.zeros_like(whole)
    moved[32:, :32] = render_shapes(
        CIRCLE, size_px=64, equivalent_radius_px=12.0, centroid_x_px=32.0, centroid_y_px=31.0
    )[0][:32, 32:]
    np.testing.assert_allclose(cut, moved, atol=5e-4)


def test_unknown_is_empty_and_lengths_are_checked():
    unknown = render_shapes(one(np.nan, -1, np.nan, np.nan), equivalent_radius_px=10.0)
    assert unknown.sum() == 0.0
    with pytest.raises(InputError, match="without phase"):
        shape_parameters({"p": [1.0], "d": [2], "axis_ratio": [1.0]})
    with pytest.raises(InputError, match="different lengths"):
        shape_parameters({**CIRCLE, "p": [1.0, 2.0]})


def test_simulated_crops_follow_the_seed():
    shapes = draw_shapes(40, seed=0)
    first, again = simulate_crops(shapes, seed=5), simulate_crops(shapes, seed=5)
    np.testing.assert_array_equal(first.crop, again.crop)
    np.testing.assert_array_equal(first.crop_mask, again.crop_mask)
    other = simulate_crops(shapes, seed=6)
    assert not np.array_equal(first.crop, other.crop)
    assert first.crop.shape == (40, 64, 64)
    assert first.crop.dtype == np.uint8


def test_clean_crops_match_their_truth():
    shapes = draw_shapes(60, seed=1)
    clean = CropConditions(
        size_px=(90.0, 96.0), contrast_to_noise=(200.0, 200.0), blur_px=(0.3, 0.3),
        segmentation_blur_px=(0.3, 0.3), threshold=(0.5, 0.5), texture=(0.0, 0.0),
        neighbour_probability=0.0,
    )  # fmt: skip
    crops = simulate_crops(shapes, seed=2, conditions=clean)
    true = crops.true_mask()
    overlap = (true & crops.crop_mask).sum((1, 2)) / (true | crops.crop_mask).sum((1, 2))
    plain = shapes.p > 1.0
    assert overlap[plain].mean() > 0.96
    # The crystal fills its share of the crop.
    spans = [np.ptp(np.nonzero(mask), axis=1).max() + 1 for mask in crops.crop_mask]
    assert 49 <= np.median(spans) <= 53


def test_noise_and_neighbours_show():
    shapes = ShapeParameters(
        np.full(80, 3.0), np.full(80, 2, np.int32), np.full(80, 1.2), np.zeros(80)
    )

    def make(**settings):
        return simulate_crops(shapes, seed=3, conditions=CropConditions(**settings))

    quiet = make(contrast_to_noise=(40.0, 40.0), neighbour_probability=0.0, bright_probability=0.0)
    noisy = make(contrast_to_noise=(4.0, 4.0), neighbour_probability=0.0, bright_probability=0.0)
    corner = (slice(None), slice(0, 6), slice(0, 6))
    assert noisy.crop[corner].std(axis=(1, 2)).mean() > 3 * quiet.crop[corner].std((1, 2)).mean()
    crowded = make(
        contrast_to_noise=(40.0, 40.0), neighbour_probability=1.0, bright_probability=0.0
    )
    dark, bare = (
        [
            (c[~m] < 0.5 * (c[m].mean() + np.quantile(c[~m], 0.8))).mean()
            for c, m in zip(crops.crop, crops.crop_mask, strict=True)
        ]
        for crops in (crowded, quiet)
    )
    assert np.mean(dark) > np.mean(bare) + 0.03
    bright = make(contrast_to_noise=(40.0, 40.0), bright_probability=1.0)
    inside = [c[m].mean() for c, m in zip(bright.crop, bright.crop_mask, strict=True)]
    outside = [np.median(c[~m]) for c, m in zip(bright.crop, bright.crop_mask, strict=True)]
    assert np.mean(np.array(inside) > np.array(outside)) > 0.95


def test_conditions_refuse():
    with pytest.raises(InputError, match="size_px"):
        CropConditions(size_px=(4.0, 20.0))
    with pytest.raises(InputError, match="contrast"):
        CropConditions(contrast=(0.0, 0.5))
