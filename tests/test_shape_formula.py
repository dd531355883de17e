"""Equation 1, its traps and the canonical parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarray.nanocrystal.shape.distribution import ShapeDistribution, draw_shapes
from nanoarray.nanocrystal.shape.formula import (
    P_RANGE,
    ShapeParameters,
    canonical,
    curve_jaccard,
    distinctness,
    p_coordinate,
    p_from_coordinate,
    radius,
)
from nanoarray.nanocrystal.shape.render import drawn_jaccard

THETA = np.linspace(0.0, 2.0 * np.pi, 3601)
EXPONENT = st.floats(0.3, 30.0)
RATIO = st.floats(0.25, 4.0)
PHASE = st.floats(-4.0, 4.0)


def shapes(p, d, axis_ratio, phase_deg=0.0) -> ShapeParameters:
    values = np.broadcast_arrays(*(np.atleast_1d(v) for v in (p, d, axis_ratio, phase_deg)))
    return ShapeParameters(
        values[0].astype(float),
        values[1].astype(np.int32),
        values[2].astype(float),
        values[3].astype(float),
    )


def superformula(theta, *, m, a, b, n):
    """Gielis 2003, with n1 = n2 = n3 = n."""
    first = np.abs(np.cos(m * theta / 4.0) / a) ** n
    second = np.abs(np.sin(m * theta / 4.0) / b) ** n
    return (first + second) ** (-1.0 / n)


@settings(max_examples=60, deadline=None)
@given(p=EXPONENT, d=st.integers(1, 6), ratio=RATIO, phase=PHASE)
def test_equals_superformula(p, d, ratio, phase):
    # The superformula has no phase: the curve is turned instead.
    turned = THETA + 2.0 * phase / d
    expected = superformula(turned, m=2 * d, a=1.0 / ratio, b=1.0, n=p)
    found = radius(THETA, p=p, d=d, axis_ratio=ratio, phase_rad=phase)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(p=EXPONENT, d=st.integers(1, 6), ratio=RATIO, phase=PHASE)
def test_closed_and_d_fold(p, d, ratio, phase):
    start = radius(THETA, p=p, d=d, axis_ratio=ratio, phase_rad=phase)
    around = radius(THETA + 2.0 * np.pi, p=p, d=d, axis_ratio=ratio, phase_rad=phase)
    fold = radius(THETA + 2.0 * np.pi / d, p=p, d=d, axis_ratio=ratio, phase_rad=phase)
    # At a cusp of small p a rounding error of the angle shows as its power p.
    np.testing.assert_allclose(around, start, atol=2e-3)
    np.testing.assert_allclose(fold, start, atol=2e-3)


@pytest.mark.parametrize("d", range(1, 7))
def test_d_maxima(d):
    theta = np.arange(3600) * (2.0 * np.pi / 3600) + 1e-4
    r = radius(theta, p=2.0, d=d, axis_ratio=1.7, phase_rad=0.3)
    maxima = (r > np.roll(r, 1)) & (r >= np.roll(r, -1))
    assert maxima.sum() == d
    np.testing.assert_allclose(r[maxima], 1.0, atol=1e-4)
    assert r.min() == pytest.approx(1.0 / 1.7, abs=1e-4)


def test_label_of_the_paper_is_a_rectangle():
    # (14.105, 2, 1.4037) in Fig. 2b.
    r = radius(THETA, p=14.105, d=2, axis_ratio=1.4037)
    x, y = r * np.cos(THETA), r * np.sin(THETA)
    assert np.ptp(y) / np.ptp(x) == pytest.approx(1.4037, rel=1e-3)
    area = 0.5 * np.abs(np.trapezoid(r**2, THETA))
    assert area / (np.ptp(x) * np.ptp(y)) > 0.98


@pytest.mark.parametrize("p", [1e-3, 70.0, 1e4, np.inf])
def test_extreme_p_is_finite(p):
    r = radius(THETA, p=p, d=2, axis_ratio=4.0)
    assert np.isfinite(r).all()
    assert (r >= 0).all()


def test_infinite_p_is_the_limit():
    limit = radius(THETA, p=np.inf, d=3, axis_ratio=1.3)
    np.testing.assert_allclose(radius(THETA, p=1e6, d=3, axis_ratio=1.3), limit, rtol=1e-5)


def test_p_coordinate_mirrors_and_returns():
    p = np.geomspace(*P_RANGE, 50)
    np.testing.assert_allclose(p_from_coordinate(p_coordinate(p)), p, rtol=1e-9)
    np.testing.assert_allclose(p_coordinate(4.0 / p), -p_coordinate(p), atol=1e-12)
    assert p_from_coordinate(5.0) == pytest.approx(P_RANGE[1])


@pytest.mark.parametrize("d", range(1, 7))
def test_reciprocal_ratio_is_one_shape(d):
    steep = canonical(0.8, d, 1.0 / 2.5, 20.0)
    flat = canonical(0.8, d, 2.5, 110.0)
    for one, other in zip(steep, flat, strict=True):
        np.testing.assert_allclose(one, other)
    assert curve_jaccard(shapes(0.8, d, 0.4, 20.0), steep)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("d", range(1, 7))
def test_straight_and_box_coincide_at_equal_axes(d):
    straight, box = canonical(1.0, d, 1.0, 10.0), canonical(70.0, d, 1.0, 55.0)
    assert straight.p[0] == box.p[0] == 70.0
    assert straight.d[0] == box.d[0] == d
    assert straight.phase_deg[0] == pytest.approx(box.phase_deg[0])
    assert curve_jaccard(shapes(1.0, d, 1.0, 10.0), straight)[0] > 0.99


def test_circle_has_no_d():
    circles = canonical(2.0, np.arange(1, 7), 1.0, np.arange(6) * 17.0)
    assert (circles.d == 2).all()
    assert (circles.phase_deg == 0.0).all()
    assert (canonical(2.03, 5, 1.01, 40.0).d == 2).all()
    assert canonical(2.0, 5, 1.2, 40.0).d[0] == 5


def test_canonical_draws_the_same_shape_and_is_stable():
    drawn = draw_shapes(1500, seed=3)
    kept = canonical(*drawn)
    # Circles change their d: compare as drawn.
    assert drawn_jaccard(drawn, kept).min() > 0.96
    again = canonical(*kept)
    assert (again.d == kept.d).all()
    assert (kept.axis_ratio >= 1.0).all()
    assert ((kept.phase_deg >= 0.0) & (kept.phase_deg < 180.0)).all()
    assert drawn_jaccard(kept, again).min() > 0.96


def test_unknown_stays_unknown():
    kept = canonical([np.nan, 3.0], [2, 4], [1.5, 1.5], [10.0, 10.0])
    assert kept.d.tolist() == [-1, 4]
    assert np.isnan(kept.p[0])
    assert np.isnan(kept.phase_deg[0])
    assert kept.axis_ratio[1] == 1.5


def test_distinctness_orders_shapes():
    circle, squircle, square, star = distinctness([2.0, 3.0, 70.0, 0.5], np.ones(4))
    assert circle == pytest.approx(0.0, abs=1e-9)
    assert circle < squircle < square < star
    # A square and the disc of its area: overlap known in closed form.
    half, r = np.sqrt(np.pi) / 2.0, 1.0
    segment = r**2 * np.arccos(half / r) - half * np.sqrt(r**2 - half**2)
    both = np.pi - 4.0 * segment
    assert distinctness(70.0, 1.0)[0] == pytest.approx(1.0 - both / (2 * np.pi - both), abs=0.01)


def test_drawn_shapes_follow_the_distribution():
    chosen = ShapeDistribution(rod_share=0.0, compact_share=0.0)
    drawn = draw_shapes(20_000, seed=1, distribution=chosen)
    inside = (drawn.p > P_RANGE[0]) & (drawn.p < P_RANGE[1])
    assert np.median(np.log(drawn.p)) == pytest.approx(0.58, abs=0.03)
    assert np.log(drawn.p[inside]).std() == pytest.approx(1.1, abs=0.1)
    assert np.log2(drawn.axis_ratio).mean() == pytest.approx(1.0, abs=0.02)
    assert np.bincount(drawn.d)[1:].min() > 3000
    rods = draw_shapes(20_000, seed=1, distribution=ShapeDistribution(rod_share=0.1))
    long = rods.axis_ratio > 4.0
    assert long.mean() == pytest.approx(0.1, abs=0.01)
    assert (rods.d[long] == 2).all()


@pytest.mark.parametrize(
    "wrong",
    [{"p_range": (5.0, 2.0)}, {"d_values": (7,)}, {"log_p_std": -1.0}, {"rod_share": 2.0}],
)
def test_distribution_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShapeDistribution(**wrong)
