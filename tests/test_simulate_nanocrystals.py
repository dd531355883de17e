"""Simulated TEM fields: what the truth says is what is in the image."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.simulate.nanocrystal_optics import Film, Recording
from nanoarray.simulate.nanocrystal_outlines import (
    OUTLINES,
    equation1,
    polygon_area,
    polygon_centroid,
    rod,
    rotated,
)
from nanoarray.simulate.nanocrystal_overlays import Overlay
from nanoarray.simulate.nanocrystal_raster import polygon_coverage
from nanoarray.simulate.nanocrystal_specs import random_field_spec
from nanoarray.simulate.nanocrystals import FieldSpec, Population, simulate_field

CLEAN = Recording(blur_px=0.0, dose=np.inf, noise=0.0, background=0.9)
PLAIN = Film(grain=0.0)


def spec(**changes):
    return replace(
        FieldSpec(
            populations=(Population(count=25, diameter_nm=34.0, diameter_sigma=0.1),),
            height_px=360,
            width_px=400,
        ),
        **changes,
    )


def test_same_seed_same_field():
    first, second = simulate_field(spec(), seed=3), simulate_field(spec(), seed=3)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)
    for name, column in first.crystals.items():
        assert np.array_equal(column, second.crystals[name], equal_nan=True), name
    assert not np.array_equal(first.image, simulate_field(spec(), seed=4).image)


def test_outline_of_equation_1_is_the_superformula():
    # Gielis: m = 2 d, a = 1 / L, b = 1, n1 = n2 = n3 = p, in the angle d theta / 2.
    p, d, axis_ratio = 3.3, 5, 1.4
    points = equation1(p=p, d=d, axis_ratio=axis_ratio, phase_rad=0.0)
    theta = np.arctan2(-points[:, 0], points[:, 1])
    m = 2 * d
    gielis = (
        np.abs(np.cos(m * theta / 4) / (1 / axis_ratio)) ** p + np.abs(np.sin(m * theta / 4)) ** p
    ) ** (-1 / p)
    ratio = np.hypot(*points.T) / gielis
    assert np.ptp(ratio) < 1e-9 * ratio.mean()


@pytest.mark.parametrize("name", sorted(OUTLINES))
def test_outlines_have_the_area_of_their_diameter(name):
    rng = np.random.default_rng(0)
    for _ in range(5):
        points = OUTLINES[name](2.5, rng)
        assert polygon_area(points) == pytest.approx(np.pi / 4, rel=1e-6)
        # No crossing: the area of the pixels is that of the formula.
        inside = polygon_coverage(points[:, 0] * 80 + 200, points[:, 1] * 80 + 200, 400, 400)
        assert inside.sum() == pytest.approx(np.pi / 4 * 80**2, rel=0.02)


def test_rod_is_as_long_as_asked():
    points = rod(4.0, end=0.3, waist=1.0, bend=0.0)
    height, width = np.ptp(points, axis=0)
    assert width / height == pytest.approx(4.0, rel=0.01)


def test_coverage_of_a_shifted_rectangle_is_exact():
    y = np.array([2.3, 2.3, 6.7, 6.7])
    x = np.array([1.25, 8.5, 8.5, 1.25])
    cover = polygon_coverage(y, x, 10, 12)
    assert cover.sum() == pytest.approx(4.4 * 7.25, rel=1e-6)
    assert cover[4, 5] == pytest.approx(1.0)
    assert cover[4, 1] == pytest.approx(0.25)
    assert polygon_area(np.stack([y, x], 1)) == pytest.approx(4.4 * 7.25)
    assert polygon_centroid(np.stack([y, x], 1)) == pytest.approx((4.5, 4.875))


def test_truth_of_separate_crystals_is_in_the_labels():
    field = simulate_field(spec(), seed=1)
    crystals = field.crystals
    whole = ~crystals["touches_edge"]
    assert whole.sum() > 10
    assert np.all(crystals["occlusion"] == 0)
    area = np.bincount(field.labels.ravel(), minlength=len(whole) + 1)[1:]
    assert np.array_equal(area, crystals["visible_area"])
    assert np.abs(area[whole] / crystals["area"][whole] - 1).max() < 0.03
    assert np.abs(area[whole].sum() / crystals["area"][whole].sum() - 1) < 0.005
    centers = np.array(ndimage.center_of_mass(field.labels > 0, field.labels, crystals["label"]))
    assert np.abs(centers[whole, 0] - crystals["center_y"][whole]).max() < 0.15
    assert np.abs(centers[whole, 1] - crystals["center_x"][whole]).max() < 0.15
    rim = field.labels.copy()
    rim[1:-1, 1:-1] = 0
    cut = np.isin(crystals["label"], np.unique(rim))
    assert np.all(crystals["touches_edge"][cut])


def test_parameters_and_phase_draw_the_same_crystal_again():
    # Odd d is off-centre: only a phase of the right sign and size lands on the labels.
    population = Population(
        count=12, diameter_nm=60.0, diameter_sigma=0.05, p=1.3, d=3, axis_ratio=1.5, p_sigma=0.1
    )
    field = simulate_field(spec(populations=(population,)), seed=5)
    crystals = field.crystals
    checked = 0
    for k in np.flatnonzero(~crystals["touches_edge"]):
        points = equation1(
            p=crystals["p"][k],
            d=int(crystals["d"][k]),
            axis_ratio=crystals["axis_ratio"][k],
            phase_rad=np.deg2rad(crystals["phase"][k]),
        )
        points = points * crystals["equivalent_diameter"][k]
        shift = np.array([crystals["center_y"][k], crystals["center_x"][k]])
        points = points + shift - np.array(polygon_centroid(points))
        again = polygon_coverage(points[:, 0], points[:, 1], *field.labels.shape) >= 0.5
        own = field.labels == crystals["label"][k]
        # The phase is known up to the symmetry of the curve: one of the d turns fits.
        assert (again & own).sum() / (again | own).sum() > 0.97
        checked += 1
    assert checked >= 3


def test_sizes_are_lognormal_and_agglomeration_leaves_them_alone():
    means = {}
    for degree in (0.0, 0.5, 1.0):
        sizes = []
        for seed in range(6):
            population = Population(count=60, diameter_nm=40.0, diameter_sigma=0.2, d=2)
            field = simulate_field(
                spec(populations=(population,), agglomeration=degree, pixel_size_nm=2.0), seed=seed
            )
            sizes.append(field.crystals["equivalent_diameter"])
        logs = np.log(np.concatenate(sizes))
        # Large crystals reach into the field from farther away, so the mean is a little higher.
        assert np.exp(logs.mean()) == pytest.approx(20.0, rel=0.05)
        assert logs.std() == pytest.approx(0.2, rel=0.15)
        means[degree] = (logs.mean(), logs.std() / np.sqrt(len(logs)))
    for degree in (0.5, 1.0):
        gap = means[degree][0] - means[0.0][0]
        assert abs(gap) < 4 * np.hypot(means[degree][1], means[0.0][1])


def touching(labels, reach=2):
    """Share of crystals with another one within a few pixels."""
    grown = ndimage.grey_dilation(labels, size=2 * reach + 1)
    masked = np.where(labels > 0, labels, np.iinfo(np.int32).max)
    shrunk = ndimage.grey_erosion(masked, size=2 * reach + 1)
    near = (labels > 0) & ((grown != labels) | (shrunk != labels))
    return len(np.unique(labels[near])) / labels.max()


def test_agglomeration_brings_crystals_into_contact():
    shares = [
        np.mean([touching(simulate_field(spec(agglomeration=a), seed=s).labels) for s in range(3)])
        for a in (0.0, 0.5, 1.0)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.75


def test_overlapping_crystals_absorb_together():
    two = spec(
        populations=(
            Population(
                count=90, diameter_nm=40, optical_depth=0.4, optical_depth_sigma=0,
                profile="flat", speckle=0.0,
            ),
        ),
        overlap=0.5, agglomeration=0.8, film=PLAIN, recording=CLEAN,
    )  # fmt: skip
    for hidden in ("top", "split"):
        field = simulate_field(replace(two, hidden=hidden), seed=2)
        light = field.image / 255 + 1 - 0.9
        assert field.crystals["occlusion"].max() > 0.1
        assert light[field.labels == 0].max() == pytest.approx(1.0, abs=0.005)
        depths = -np.log(light)
        assert np.median(depths[field.labels > 0]) == pytest.approx(0.4, abs=0.01)
        assert np.mean(np.abs(depths - 0.8) < 0.01) > 0.01


def test_the_split_of_an_overlap_does_not_favour_the_last():
    population = Population(count=150, diameter_nm=34.0, diameter_sigma=0.0)
    crowded = spec(overlap=0.6, agglomeration=1.0, populations=(population,))
    touched = {}
    for hidden in ("top", "split"):
        crystals = simulate_field(replace(crowded, hidden=hidden), seed=4).crystals
        touched[hidden] = crystals["occlusion"] > 0.01
    # On top, nothing lies over the last one; split, both of every overlapping pair lose a part.
    assert not touched["top"][-1]
    assert touched["split"].mean() > touched["top"].mean() + 0.05


def test_bright_crystals_and_16_bit():
    dark = simulate_field(spec(), seed=6)
    bright = simulate_field(spec(recording=Recording(invert=True, bits=16)), seed=6)
    assert bright.image.dtype == np.uint16
    assert np.array_equal(dark.labels, bright.labels)
    inside = dark.labels > 0
    assert dark.image[inside].mean() < dark.image[~inside].mean()
    assert bright.image[inside].mean() > bright.image[~inside].mean()


def test_boxes_hide_crystals_and_letters_do_not():
    plain = simulate_field(spec(), seed=7)
    letter = Overlay("text", y=0.3, x=0.3, size=0.3, text="(b)", grey=1.0)
    written = simulate_field(spec(overlays=(letter,)), seed=7)
    assert np.array_equal(plain.labels, written.labels)
    assert np.mean(plain.image != written.image) > 0.005
    boxed = simulate_field(spec(overlays=(replace(letter, box=1.0, grey=0.0),)), seed=7)
    lost = (plain.labels > 0) & (boxed.labels == 0)
    assert lost.sum() > 500
    assert np.array_equal(boxed.labels[~lost], plain.labels[~lost])
    assert boxed.crystals["visible_area"].sum() == (boxed.labels > 0).sum()
    bar = Overlay("data bar", size=0.2, text="HV", grey=1.0, box=0.0)
    assert not simulate_field(spec(overlays=(bar,)), seed=7).labels[-60:].any()


def test_two_populations_keep_their_group_and_size():
    groups = (
        Population(count=20, diameter_nm=20.0, diameter_sigma=0.05, d=2),
        Population(count=8, diameter_nm=50.0, diameter_sigma=0.05, d=4, p=8.0),
    )
    crystals = simulate_field(spec(populations=groups, agglomeration=0.3), seed=8).crystals
    for group, diameter in ((0, 20.0), (1, 50.0)):
        own = crystals["group"] == group
        assert own.sum() >= 4
        assert crystals["equivalent_diameter"][own].mean() == pytest.approx(diameter, rel=0.05)
        assert set(crystals["d"][own]) == {groups[group].d}


@pytest.mark.parametrize("count", [0, 1])
def test_fields_with_hardly_any_crystal(count):
    field = simulate_field(spec(populations=(Population(count=count),)), seed=0)
    assert field.labels.max() == len(field.crystals["label"])
    if count == 0:
        assert field.labels.max() == 0


def test_random_specifications_can_be_simulated():
    rng = np.random.default_rng(11)
    sizes = []
    for seed in range(25):
        drawn = random_field_spec(rng, height_px=128, width_px=160)
        field = simulate_field(drawn, seed=seed)
        assert field.image.shape == field.labels.shape == (128, 160)
        assert field.image.dtype == np.uint8
        present = np.unique(field.labels)
        assert set(present[present > 0]) <= set(field.crystals["label"])
        sizes.extend(field.crystals["equivalent_diameter"])
    # Broad: the network has to know crystals of any size.
    assert np.percentile(sizes, 95) > 3 * np.percentile(sizes, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height_px": 8}, "at least 32"),
        ({"pixel_size_nm": 0.0}, "above 0"),
        ({"agglomeration": 1.5}, "between 0 and 1"),
        ({"populations": (Population(outline="heart"),)}, "not one of"),
        ({"populations": (Population(diameter_nm=1.0),)}, "at least 0 crystals of 2 px"),
        ({"populations": (Population(axis_ratio=0.5),)}, "axis ratio >= 1"),
    ],
)
def test_impossible_specifications_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        simulate_field(spec(**changes), seed=0)


def test_turning_an_outline_is_counter_clockwise_on_screen():
    turned = rotated(np.array([[0.0, 1.0]]), 90.0)
    assert turned[0] == pytest.approx([-1.0, 0.0])
