"""Re-simulation and the fit of shapes to masks."""

import numpy as np
import pytest
from skimage.draw import polygon2mask

from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.crops import cut_crops
from nanoarray.nanocrystal.shape.diagnostics import phase_error_deg
from nanoarray.nanocrystal.shape.distribution import draw_shapes
from nanoarray.nanocrystal.shape.formula import ShapeParameters, canonical
from nanoarray.nanocrystal.shape.predict import fit_shapes, predict_shapes
from nanoarray.nanocrystal.shape.refine import jaccard, place_shapes, refine_shapes
from nanoarray.nanocrystal.shape.render import drawn_jaccard, outline, render_shapes
from nanoarray.nanocrystal.shape.train import training_masks


def as_shapes(found) -> ShapeParameters:
    return ShapeParameters(found["p"], found["d"], found["axis_ratio"], found["phase"])


@pytest.fixture(scope="module")
def clean():
    """Shapes without thin tips, drawn at odd places."""
    shapes = draw_shapes(150, seed=12)
    shapes = shapes.rows((shapes.p > 0.7) & (shapes.axis_ratio < 3))
    count = shapes.p.shape[0]
    rng = np.random.default_rng(0)
    masks = (
        render_shapes(
            shapes,
            equivalent_radius_px=13.0,
            centroid_y_px=31.5 + rng.uniform(-2, 2, count),
            centroid_x_px=31.5 + rng.uniform(-2, 2, count),
        )
        >= 0.5
    )
    return shapes, masks


def test_jaccard_of_the_true_shape_is_high(clean):
    shapes, masks = clean
    found = jaccard(masks, shapes)
    assert found.mean() > 0.97
    assert found.min() > 0.9


def test_jaccard_agrees_with_a_polygon_rasterized_by_skimage(clean):
    shapes, masks = clean
    other = shapes.rows(np.roll(np.arange(shapes.p.size), 1))
    placed = place_shapes(masks, other)
    for k in range(25):
        points = outline(
            p=other.p[k], d=int(other.d[k]), axis_ratio=other.axis_ratio[k],
            phase_deg=other.phase_deg[k], equivalent_radius_px=placed["equivalent_radius_px"][k],
            centroid_y_px=placed["centroid_y_px"][k], centroid_x_px=placed["centroid_x_px"][k],
        )  # fmt: skip
        drawn = polygon2mask((64, 64), points)
        expected = (drawn & masks[k]).sum() / (drawn | masks[k]).sum()
        assert placed["jaccard"][k] == pytest.approx(expected, abs=0.03)


def test_placed_shapes_have_the_masks_centroid_and_area(clean):
    _shapes, masks = clean
    y, x = np.mgrid[:64, :64]
    area = masks.sum(axis=(1, 2))
    squares = ShapeParameters(
        np.full(area.size, 50.0), np.full(area.size, 2, np.int32), np.ones(area.size),
        np.zeros(area.size),
    )  # fmt: skip
    placed = place_shapes(masks, squares)
    # Of the few places that it tries the best is kept, which need not be the last.
    found = np.pi * placed["equivalent_radius_px"] ** 2
    assert np.mean(np.abs(found / area - 1.0) < 0.02) > 0.9
    assert np.abs(found / area - 1.0).max() < 0.1
    np.testing.assert_allclose(placed["centroid_y_px"], (masks * y).sum((1, 2)) / area, atol=0.6)
    np.testing.assert_allclose(placed["centroid_x_px"], (masks * x).sum((1, 2)) / area, atol=0.6)


def test_fit_finds_the_shape_again(clean):
    shapes, masks = clean
    rng = np.random.default_rng(1)
    count = shapes.p.shape[0]
    start = ShapeParameters(
        np.clip(shapes.p * np.exp(rng.normal(0, 0.3, count)), 0.3, 60.0),
        shapes.d,
        np.clip(shapes.axis_ratio * np.exp(rng.normal(0, 0.2, count)), 1.0, 4.0),
        shapes.phase_deg + rng.normal(0, 8.0, count),
    )
    before = jaccard(masks, start)
    found = refine_shapes(masks, start)
    assert found["jaccard"].mean() > 0.98
    assert found["jaccard"].mean() > before.mean() + 0.05
    true, fitted = canonical(*shapes), as_shapes(found)
    turn = phase_error_deg(true, fitted)
    assert np.nanmedian(turn) < 0.5
    assert np.median(np.abs(fitted.axis_ratio / true.axis_ratio - 1.0)) < 0.03
    assert drawn_jaccard(true, fitted).mean() > 0.97


def test_fit_is_never_worse_than_its_start(clean):
    shapes, masks = clean
    start = shapes.rows(np.roll(np.arange(shapes.p.size), 3))
    before = jaccard(masks, start)
    assert (refine_shapes(masks, start)["jaccard"] >= before - 1e-12).all()
    assert (refine_shapes(masks, start, iterations=1)["jaccard"] >= before - 1e-12).all()


def test_alternatives_help_where_d_is_wrong(clean):
    shapes, masks = clean
    wrong = shapes._replace(d=(shapes.d % 6 + 1).astype(np.int32))
    alone = refine_shapes(masks, wrong)["jaccard"]
    both = refine_shapes(masks, wrong, alternatives=[shapes])
    assert (both["jaccard"] >= alone).all()
    assert both["jaccard"].mean() > 0.98
    distinct = alone < 0.9
    assert distinct.sum() > 20
    assert (both["d"][distinct] == canonical(*shapes).d[distinct]).mean() > 0.95


def test_rods_longer_than_the_paper_draws():
    rods = ShapeParameters(
        np.full(6, 8.0), np.full(6, 2, np.int32), np.linspace(3.0, 9.0, 6), np.arange(6) * 29.0
    )
    masks = render_shapes(rods, equivalent_radius_px=8.5) >= 0.5
    predicted, refined = fit_shapes(masks)
    assert (refined["d"] == 2).all()
    np.testing.assert_allclose(refined["axis_ratio"], rods.axis_ratio, rtol=0.12)
    assert refined["jaccard"].min() > 0.9
    assert (refined["jaccard"] >= predicted["jaccard"] - 1e-12).all()


def test_unknown_stays_unknown(clean):
    shapes, masks = clean
    some = masks[:3].copy()
    some[1] = False
    start = shapes.rows(np.arange(3))
    start.p[2] = np.nan
    found = refine_shapes(some, start)
    assert found["d"].tolist()[1:] == [-1, -1]
    for name in ("p", "axis_ratio", "phase", "jaccard", "equivalent_radius_px"):
        assert np.isfinite(found[name]).tolist() == [True, False, False]
    assert np.isnan(jaccard(some, start)[1:]).all()
    with pytest.raises(InputError, match="3 crop masks"):
        jaccard(some, shapes)
    nothing = refine_shapes(
        np.zeros((0, 64, 64), bool), predict_shapes(np.zeros((0, 64, 64), bool))
    )
    assert nothing["p"].shape == (0,)


def test_resimulation_of_held_out_noisy_crops():
    _shapes, masks = training_masks(300, seed=555_001)
    predicted, refined = fit_shapes(masks)
    assert predicted["jaccard"].mean() > 0.92
    assert refined["jaccard"].mean() >= 0.95


def test_resimulation_of_real_crystals(real_data):
    from skimage.io import imread

    masks = []
    for path in sorted((real_data / "tem_particles" / "masks").glob("*.png"))[::6]:
        labels = imread(path).astype(np.int32)
        masks.append(cut_crops(labels, np.zeros(labels.shape, np.uint8)).mask)
    _predicted, refined = fit_shapes(np.concatenate(masks))
    assert refined["jaccard"].mean() >= 0.90
