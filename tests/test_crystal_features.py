"""Features of crystals against analytic shapes, scikit-image and their own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from crystal_shapes import SHAPES, digitize, random_shape, truth
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import find_contours, regionprops_table
from skimage.morphology import convex_hull_image

from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.features import (
    COMMON_FEATURES,
    LENGTHS,
    MATLAB_FEATURES,
    SCALAR_FEATURES,
    measure_crystals,
)
from nanoarray.superlattice.grains.cells import boundary_length
from nanoarray.superlattice.grains.measure import measure_grains


def measure(labels, pixels=None, *, pixel_size_nm=1.0, **options):
    pixels = np.zeros(labels.shape, np.uint8) if pixels is None else pixels
    return measure_crystals(labels, pixels, pixel_size_nm=pixel_size_nm, **options)


def shape_field(name, radius_px, *, count, seed):
    """A label image of one shape at random positions and directions, and the truth of each."""
    rng = np.random.default_rng(seed)
    cell, side = int(2 * radius_px + 10), int(np.ceil(np.sqrt(count)))
    labels = np.zeros((side * cell, side * cell), np.int32)
    true = []
    for k in range(count):
        polygon = random_shape(name, radius_px, rng) + cell * (np.array(divmod(k, side)) + 0.5)
        mask, low = digitize(polygon)
        y, x = np.nonzero(mask)
        labels[y + low[0], x + low[1]] = k + 1
        true.append(truth(polygon))
    return labels, {name: np.array([t[name] for t in true]) for name in true[0]}


def blobs(seed, *, size=220, sigma=4.0):
    """Labels of random regions, many of them concave or with holes, and a grey image."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma)
    labels, _ = ndimage.label(smooth > 0.3 * smooth.std(), np.ones((3, 3)))
    grey = (100 + 40 * smooth / smooth.std() + rng.normal(0, 5, smooth.shape)).clip(0, 255)
    return labels.astype(np.int32), grey.astype(np.uint8)


def documented_errors():
    """The table of errors in the docstring of `measure_crystals`."""
    lines = [line.split() for line in (measure_crystals.__doc__ or "").splitlines()]
    rows = [line for line in lines if len(line) == 10 and line[0] in SHAPES]
    header = next(line for line in lines if line[:2] == ["shape", "radius"])
    columns = {"diameter": "equivalent_diameter", "major": "axis_major", "minor": "axis_minor"}
    names = [columns.get(name, name) for name in header[2:]]
    return [
        (row[0], float(row[1]), dict(zip(names, map(float, row[2:]), strict=True))) for row in rows
    ]


def test_documented_errors_cover_every_shape_and_radius():
    rows = documented_errors()
    assert {(name, radius) for name, radius, _ in rows} == {
        (name, radius) for name in SHAPES for radius in (4, 10, 40, 100)
    }


@pytest.mark.parametrize(("name", "radius_px", "documented"), documented_errors())
def test_errors_against_analytic_shapes(name, radius_px, documented):
    labels, true = shape_field(name, radius_px, count=36 if radius_px < 60 else 9, seed=5)
    found = measure(labels)
    for column, limit in documented.items():
        error = found[column] - true[column]
        if not column.startswith("feret"):
            error *= 100 / true[column]
        # The table was made from other positions and directions.
        assert np.sqrt(np.mean(error**2)) <= 2 * limit + 0.15, column


@pytest.mark.parametrize("name", SHAPES)
def test_directions_and_positions_of_analytic_shapes(name):
    labels, true = shape_field(name, 30.0, count=16, seed=2)
    found = measure(labels)
    assert np.abs(found["centroid_y"] - true["centroid_y"]).max() < 0.15
    assert np.abs(found["centroid_x"] - true["centroid_x"]).max() < 0.15
    assert found["extent"] == pytest.approx(true["extent"], rel=0.08)

    def off(column, period):
        return np.abs((found[column] - true[column] + period / 2) % period - period / 2)

    if name in ("ellipse", "rectangle"):  # the others have no major axis
        assert off("orientation", 180).max() < 1.0
    if name == "ellipse":
        assert off("feret_max_angle", 180).max() < 9.0
        assert off("feret_min_angle", 180).max() < 9.0
    if name == "rectangle":
        assert off("feret_min_angle", 180).max() < 3.0
    if name == "square":
        assert off("feret_min_angle", 90).max() < 3.0


def test_truth_of_round_shapes_is_the_closed_form():
    disc, ellipse = truth(10 * SHAPES["disc"]), truth(10 * SHAPES["ellipse"])
    assert disc["area"] == pytest.approx(100 * np.pi, rel=1e-4)
    assert disc["perimeter"] == pytest.approx(20 * np.pi, rel=1e-4)
    assert [ellipse["axis_major"], ellipse["axis_minor"]] == pytest.approx([20, 12], rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_scikit_image(seed):
    labels, grey = blobs(seed)
    found = measure(labels, grey)
    names = {
        "label": "label",
        "area": "area",
        "equivalent_diameter": "equivalent_diameter_area",
        "centroid_y": "centroid-0",
        "centroid_x": "centroid-1",
        "extent": "extent",
        "euler_number": "euler_number",
        "intensity_mean": "intensity_mean",
        "intensity_std": "intensity_std",
        "intensity_min": "intensity_min",
        "intensity_max": "intensity_max",
    }
    properties = sorted({name.split("-")[0] for name in names.values()})
    properties += ["bbox", "axis_major_length", "axis_minor_length", "orientation"]
    properties += ["feret_diameter_max"]
    theirs = regionprops_table(labels, grey, properties=properties)
    for ours, name in names.items():
        assert found[ours] == pytest.approx(theirs[name], rel=1e-9), ours
    for side in range(4):
        assert np.array_equal(found["bbox"][:, side], theirs[f"bbox-{side}"])
    # They leave out the extent of a pixel: 1/12 in both moments, 16/12 in both squared axes.
    for ours, name in (("axis_major", "axis_major_length"), ("axis_minor", "axis_minor_length")):
        assert found[ours] ** 2 - 16 / 12 == pytest.approx(theirs[name] ** 2, abs=1e-6)
    apart = found["aspect_ratio"] > 1.001
    direction = np.rad2deg(theirs["orientation"]) + 90
    difference = (found["orientation"] - direction + 90)[apart] % 180 - 90
    assert np.abs(difference).max() < 1e-6
    # Theirs is of the hull image's outline, which bulges by up to half a pixel at either end.
    assert np.abs(found["feret_max"] - theirs["feret_diameter_max"]).max() < 1.0


@pytest.mark.parametrize("seed", [3, 4])
def test_hulls_perimeters_and_outlines_agree_with_independent_ones(seed):
    labels, _ = blobs(seed)
    found = measure(labels)
    crofton = boundary_length(labels)[found["label"]]
    solid = (found["euler_number"] == 1) & (found["area"] > 100)
    solid &= ~found["touches_edge"]
    assert solid.sum() >= 5
    assert found["perimeter"][solid] == pytest.approx(crofton[solid], rel=0.04)
    for k in np.flatnonzero(found["area"] > 5):
        mask = labels == found["label"][k]
        hull = convex_hull_image(mask, offset_coordinates=False)
        filled = ndimage.binary_fill_holes(mask)
        assert found["convex_area"][k] == hull.sum()
        assert found["filled_area"][k] == filled.sum()
        assert found["solidity"][k] == mask.sum() / hull.sum()
        contours = find_contours(np.pad(filled, 1).astype(float), 0.5, fully_connected="high")
        longest = max(contours, key=len) - 1
        steps = np.hypot(*np.diff(longest, axis=0).T)
        outline = found["outline"][k].astype(float)
        gap = np.abs(outline[:, None] - longest[None]).max(axis=2).min(axis=1)
        assert gap.max() <= 0.5
        chord = np.hypot(*(np.roll(outline, -1, axis=0) - outline).T)
        assert chord.max() <= steps.sum() / len(outline) + 1e-4  # float32
        # Counter-clockwise on the screen: clockwise with y up is a negative area with y down.
        assert _area(outline) < 0
        assert _area(found["hull"][k].astype(float)) < 0


def _area(points):
    following = np.roll(points, -1, axis=0)
    return 0.5 * (points[:, 1] * following[:, 0] - points[:, 0] * following[:, 1]).sum()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 5), (6, 13)])
def test_upright_rectangles(height, width):
    labels = np.zeros((30, 40), np.int32)
    labels[10 : 10 + height, 20 : 20 + width] = 4
    found = {name: values[0] for name, values in measure(labels).items()}
    assert found["area"] == found["convex_area"] == found["filled_area"] == height * width
    assert found["extent"] == found["solidity"] == found["euler_number"] == 1
    assert found["axis_major"] == pytest.approx(4 * width / np.sqrt(12))
    assert found["axis_minor"] == pytest.approx(4 * height / np.sqrt(12))
    assert found["perimeter_old"] == 2 * (width - 1) + 2 * (height - 1)
    assert found["bbox"].tolist() == [10, 20, 10 + height, 20 + width]
    assert [found["centroid_y"], found["centroid_x"]] == [9.5 + height / 2, 19.5 + width / 2]
    if height == width:
        assert np.isnan(found["orientation"])
    else:
        assert found["orientation"] == 0
        assert found["feret_min"] == height
        assert found["feret_min_angle"] == 90
    y0, x0, y1, x1 = 9.5, 19.5, 9.5 + height, 19.5 + width
    corners = [[y0, x0], [y0, x1], [y0, x1], [y1, x1], [y1, x1], [y1, x0], [y1, x0], [y0, x0]]
    assert found["extrema"].tolist() == corners


def test_regions_as_large_as_an_image_lose_nothing():
    labels = np.ones((2400, 3600), np.int32)
    labels[:, 3500:] = 0
    found = {name: values[0] for name, values in measure(labels).items()}
    assert found["area"] == found["convex_area"] == 2400 * 3500
    assert found["axis_major"] == pytest.approx(4 * 3500 / np.sqrt(12), rel=1e-12)
    assert found["axis_minor"] == pytest.approx(4 * 2400 / np.sqrt(12), rel=1e-12)
    assert (found["centroid_y"], found["centroid_x"]) == (1199.5, 1749.5)
    assert found["feret_min"] == 2400


def test_chain_of_a_diamond():
    y, x = np.indices((21, 21)) - 10
    found = measure((np.abs(y) + np.abs(x) <= 6).astype(np.int32))
    assert found["perimeter_old"][0] == pytest.approx(4 * 6 * np.sqrt(2))
    # 4 x 6 diagonal steps between edges, one straight step across no tip: corners cancel the rest.
    assert found["perimeter"][0] == pytest.approx(4 * 6.5 * np.sqrt(2), rel=0.01)
    assert found["feret_min"][0] == pytest.approx(13 / np.sqrt(2))
    assert found["feret_max"][0] == 13
    assert found["extrema"][0].tolist() == [
        [3.5, 9.5],
        [3.5, 10.5],
        [9.5, 16.5],
        [10.5, 16.5],
        [16.5, 10.5],
        [16.5, 9.5],
        [10.5, 3.5],
        [9.5, 3.5],
    ]


def test_feret_ends_are_that_far_apart_in_that_direction():
    found = measure(blobs(6)[0])
    for name in ("feret_max", "feret_min"):
        first, second = np.moveaxis(found[f"{name}_ends"].astype(float), 1, 0)
        step = second - first
        assert np.hypot(*step.T) == pytest.approx(found[name], abs=1e-4)
        angle = np.rad2deg(np.arctan2(-step[:, 0], step[:, 1]))
        assert np.abs((angle - found[f"{name}_angle"] + 90) % 180 - 90).max() < 0.01


def test_a_turned_image_turns_the_directions_and_nothing_else():
    labels, grey = blobs(7)
    before = measure(labels, grey)
    after = measure(np.rot90(labels).copy(), np.rot90(grey).copy())
    turned = ("orientation", "feret_max_angle", "feret_min_angle")
    scalars = [*SCALAR_FEATURES, "aspect_ratio", "contrast", "intensity_std", "edge_weight"]
    for name in set(scalars) - set(turned):
        assert after[name] == pytest.approx(before[name], rel=1e-9, nan_ok=True), name
    difference = (after["orientation"] - before["orientation"] - 90 + 90) % 180 - 90
    assert np.nanmax(np.abs(difference)) < 1e-6


def test_holes_and_parts():
    labels = np.zeros((60, 60), np.int32)
    labels[5:25, 5:25] = 1
    labels[10:14, 10:15] = 0
    labels[16:18, 16:20] = 0
    labels[40:50, 5:15] = 2
    labels[40:44, 30:34] = 2  # a second part
    labels[30, 50], labels[31, 51] = 3, 3  # joined at a corner
    found = measure(labels)
    assert found["euler_number"].tolist() == [-1, 2, 1]
    assert found["area"].tolist() == [372, 116, 2]
    assert found["filled_area"].tolist() == [400, 116, 2]
    assert found["solidity"][0] == pytest.approx(372 / 400)
    apart = np.where(labels == 2, ndimage.label(labels == 2)[0], 0)
    assert found["perimeter"][1] == pytest.approx(measure(apart)["perimeter"].sum())
    assert found["outline"][1].max() <= 49.5  # of the larger part
    assert found["outline"][1][:, 1].max() <= 14.5


def test_contrast_is_against_a_ring_without_other_crystals():
    labels = np.zeros((40, 60), np.int32)
    labels[15:25, 10:20] = 1
    labels[15:25, 23:33] = 2
    grey = np.full(labels.shape, 200, np.uint8)
    grey[labels == 1], grey[labels == 2] = 50, 0
    # The blurred edge, one pixel wide, is in no ring.
    grey[ndimage.binary_dilation(labels > 0, np.ones((3, 3))) & (labels == 0)] = 120
    grey[:, 40:] = 7
    found = measure(labels, grey)
    assert found["contrast"] == pytest.approx([150 / 250, 1.0])
    # Bright on dark is negative.
    assert measure(labels, 255 - grey)["contrast"][0] == pytest.approx((55 - 205) / 260)
    assert np.isnan(measure(np.ones((9, 9), np.int32))["contrast"]).all()
    assert np.isnan(measure(labels, np.zeros(labels.shape))["contrast"]).all()


def test_edge_weights_undo_the_edge():
    rng = np.random.default_rng(8)
    y, x = np.indices((17, 17)) - 8
    stamps = {radius: y**2 + x**2 <= radius**2 for radius in (1, 8)}
    sums = np.zeros((2, 2))  # by radius: plain, weighted
    for _ in range(400):
        field = np.zeros((96, 96), np.int32)
        for k, radius in enumerate((1, 8)):
            one = np.zeros((96, 96), np.int32)
            one[20:37, 20:37] = stamps[radius]
            shift = rng.integers(0, 96, 2) - 28
            # Only what is inside the field is seen.
            padded = np.pad(one, 96)
            one = padded[96 - shift[0] : 192 - shift[0], 96 - shift[1] : 192 - shift[1]]
            found = measure(one)
            if found["label"].size and not found["touches_edge"][0]:
                sums[k] += 1, found["edge_weight"][0]
            field += one
    assert sums[1, 0] / sums[0, 0] < 0.80  # too few large ones inside
    assert sums[1, 1] / sums[0, 1] == pytest.approx(1.0, abs=0.08)
    assert sums[0, 1] == pytest.approx(400, rel=0.05)


def test_touching_the_edge():
    labels = np.zeros((20, 30), np.int32)
    labels[0:3, 5:8], labels[9:12, 27:30], labels[1:19, 12:16] = 1, 2, 3
    found = measure(labels)
    assert found["touches_edge"].tolist() == [True, True, False]
    assert found["edge_weight"].tolist() == [0, 0, pytest.approx(20 * 30 / (1 * 25))]


def test_edge_weights_are_those_of_grains():
    labels, _ = blobs(13)
    height, width = labels.shape
    grains = measure_grains(
        labels,
        orientation=None,
        confidence=None,
        cell_area_px=np.ones(labels.shape),
        stride_px=1.0,
        centres_y=np.arange(height),
        centres_x=np.arange(width),
        field_height_px=height,
        field_width_px=width,
        pixel_size_nm=1.0,
        symmetry=4,
    )
    found = measure(labels)
    for name in ("label", "touches_edge", "edge_weight"):
        assert np.array_equal(found[name], grains[name]), name


def test_pixel_size_scales_lengths_and_nothing_else():
    labels, grey = blobs(9)
    one, two = measure(labels, grey), measure(labels, grey, pixel_size_nm=0.25)
    unknown = measure(labels, grey, pixel_size_nm=np.nan)
    for name in one:
        power = LENGTHS.get(name, 0)
        assert np.allclose(two[name], one[name] * 0.25**power, equal_nan=True), name
        if power:
            assert np.isnan(unknown[name]).all()
            assert np.array_equal(one[name], one[f"{name}_px"])
        else:
            assert np.array_equal(unknown[name], one[name], equal_nan=True), name


def test_labels_with_gaps_and_of_other_programs():
    labels, grey = blobs(10)
    plain = measure(labels, grey)
    order = np.random.default_rng(0).permutation(plain["label"].size)
    for numbers in (3 * np.arange(order.size) + 7, 1_000_003 * (np.arange(order.size) + 1)):
        lookup = np.zeros(labels.max() + 1, np.int64)
        lookup[plain["label"][order]] = numbers
        found = measure(lookup[labels], grey)
        assert found["label"].tolist() == numbers.tolist()
        for name in set(plain) - {"label"}:
            assert np.array_equal(found[name], plain[name][order], equal_nan=True), name


def test_no_crystals_give_empty_columns_of_the_same_types():
    labels, grey = blobs(11)
    some, none = measure(labels, grey), measure(np.zeros_like(labels), grey)
    assert list(some) == list(none)
    for name, values in none.items():
        assert values.dtype == some[name].dtype, name
        assert values.shape == (0, *some[name].shape[1:]), name


@settings(max_examples=60)
@given(
    arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
)
def test_anything_is_finite_where_it_is_not_said_to_be_nan(labels, dtype):
    grey = (np.arange(labels.size).reshape(labels.shape) % 200).astype(dtype)
    found = measure(labels, grey)
    for name, values in found.items():
        if name in ("orientation", "contrast"):
            assert not np.isinf(values).any()
        else:
            assert np.isfinite(values).all(), name
    assert (found["area"] <= found["filled_area"]).all()
    assert (found["filled_area"] <= found["convex_area"]).all()
    assert (found["feret_min"] <= found["feret_max"]).all()
    assert (found["axis_minor"] <= found["axis_major"]).all()
    assert (found["aspect_ratio"] >= 1).all()


def test_names_of_features():
    found = measure(blobs(12)[0])
    assert len(COMMON_FEATURES) == 10
    assert len(MATLAB_FEATURES) == 30
    assert len(SCALAR_FEATURES) == 18
    assert set(COMMON_FEATURES) | set(SCALAR_FEATURES) <= set(found)
    assert {c for columns in MATLAB_FEATURES.values() for c in columns} - set(found) == {
        "crop_mask"
    }
    for name in (*COMMON_FEATURES, *SCALAR_FEATURES):
        assert found[name].shape == found["label"].shape


def test_bad_input_is_refused():
    labels = np.ones((4, 5), np.int32)
    with pytest.raises(InputError, match="both must be of one image"):
        measure(labels, np.zeros((5, 4)))
    with pytest.raises(InputError, match="above 0, or NaN"):
        measure(labels, pixel_size_nm=0.0)
    with pytest.raises(InputError, match="integers"):
        measure(labels.astype(float))
    with pytest.raises(InputError, match="from -1"):
        measure(-labels)
    with pytest.raises(InputError, match="at least 3"):
        measure(labels, outline_points=2)
