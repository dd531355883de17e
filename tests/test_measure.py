"""Grain measurements against shapes of known size and against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import regionprops_table

from nanoarray.errors import InputError
from nanoarray.superlattice.grains.cells import boundary_length, cell_areas, grain_adjacency
from nanoarray.superlattice.grains.measure import measure_grains

STRIDE_PX = 8.0


def measure(grain, *, stride_px=STRIDE_PX, pixel_size_nm=2.5, symmetry=4, defect=None, **kwargs):
    """Measure a map that covers its field completely."""
    ny, nx = grain.shape
    height, width = kwargs.pop("height", ny * stride_px), kwargs.pop("width", nx * stride_px)
    centres_y = (stride_px - 1) / 2 + stride_px * np.arange(ny)
    centres_x = (stride_px - 1) / 2 + stride_px * np.arange(nx)
    grid = {"stride_px": stride_px, "field_height_px": height, "field_width_px": width}
    area = cell_areas(centres_y, centres_x, defect=defect, **grid)
    return measure_grains(
        grain,
        orientation=kwargs.pop("orientation", None),
        confidence=kwargs.pop("confidence", None),
        cell_area_px=kwargs.pop("cell_area_px", area),
        centres_y=centres_y,
        centres_x=centres_x,
        pixel_size_nm=pixel_size_nm,
        symmetry=symmetry,
        **grid,
    )


def voronoi(shape, *, seeds_per_cell, rng):
    """Poisson-Voronoi labels, with seeds beyond the edge so that the map is a window on a plane."""
    margin = 40
    size = np.array(shape) + 2 * margin
    points = rng.uniform(-margin, size - margin, (rng.poisson(seeds_per_cell * size.prod()), 2))
    _, nearest = cKDTree(points).query(np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 2))
    return np.unique(nearest, return_inverse=True)[1].reshape(shape).astype(np.int32) + 1


def disc(radius, centre, shape=(120, 120)):
    y, x = np.indices(shape)
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).astype(np.int32)


def test_perimeter_of_discs():
    rng = np.random.default_rng(0)
    for radius, tolerance in ((3, 0.05), (6, 0.01), (12, 0.005), (40, 0.002)):
        lengths = [
            boundary_length(disc(radius, 60 + rng.uniform(-0.5, 0.5, 2)))[1] for _ in range(20)
        ]
        assert np.mean(lengths) == pytest.approx(2 * np.pi * radius, rel=tolerance)


@pytest.mark.parametrize("angle_deg", [0.0, 11.0, 22.5, 33.0, 45.0])
def test_perimeter_of_rectangles(angle_deg):
    y, x = np.indices((120, 120)) - 60.3
    turn = np.deg2rad(angle_deg)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    rectangle = ((abs(along) < 30) & (abs(across) < 15)).astype(np.int32)
    assert -0.03 < boundary_length(rectangle)[1] / 180 - 1 < 0.01


def test_perimeter_of_neighbours_counts_the_common_side_for_both():
    grain = np.ones((20, 40), np.int32)
    grain[:, 20:] = 2
    alone = np.where(grain == 1, 1, 0)
    lengths = boundary_length(grain)
    assert lengths[1] == pytest.approx(lengths[2])
    assert lengths[1] == pytest.approx(boundary_length(alone)[1])


def test_areas_and_counts_agree_with_skimage():
    grain = voronoi((60, 70), seeds_per_cell=0.01, rng=np.random.default_rng(1))
    found = measure(grain)
    expected = regionprops_table(grain, properties=("label", "area", "centroid", "bbox"))
    np.testing.assert_array_equal(found["label"], expected["label"])
    np.testing.assert_array_equal(found["tile_count"], expected["area"])
    np.testing.assert_allclose(found["area_px"], expected["area"] * STRIDE_PX**2)
    np.testing.assert_allclose(found["area"], expected["area"] * (STRIDE_PX * 0.0025) ** 2)
    offset = (STRIDE_PX - 1) / 2
    for axis, name in enumerate(("centroid_y", "centroid_x")):
        np.testing.assert_allclose(found[name], expected[f"centroid-{axis}"] * STRIDE_PX + offset)
    edge = (expected["bbox-0"] == 0) | (expected["bbox-1"] == 0)
    edge |= (expected["bbox-2"] == 60) | (expected["bbox-3"] == 70)
    np.testing.assert_array_equal(found["touches_edge"], edge)
    tall = expected["bbox-2"] - expected["bbox-0"]
    wide = expected["bbox-3"] - expected["bbox-1"]
    weight = 60 * 70 / ((59.0 - tall) * (69.0 - wide))
    np.testing.assert_allclose(found["edge_weight"], np.where(edge, 0, weight))
    np.testing.assert_allclose(found["equivalent_diameter"] ** 2 * np.pi / 4, found["area"])


def test_areas_sum_to_the_field_without_its_defects():
    rng = np.random.default_rng(2)
    defect = ndimage.gaussian_filter(rng.normal(size=(237, 301)), 12) > 0.03
    grain = voronoi((30, 38), seeds_per_cell=0.02, rng=rng)
    found = measure(grain, defect=defect, height=237, width=301)
    assert found["area_px"].sum() == pytest.approx(237 * 301 - defect.sum())
    assert found["intercept_length"].sum() == pytest.approx(
        2 * 0.0025 * (~defect).sum() / STRIDE_PX, rel=0.05
    )


def test_cell_areas_against_a_loop_with_fractional_cells():
    rng = np.random.default_rng(3)
    defect = rng.random((23, 31)) < 0.3
    centres_y, centres_x = 3.0 + 5 * np.arange(6), 2.25 + 5 * np.arange(8)
    areas = cell_areas(
        centres_y, centres_x, stride_px=5, field_height_px=23, field_width_px=31, defect=defect
    )
    fine = np.kron(~defect, np.ones((20, 20))) / 400  # pixels of a twentieth
    for j, y in enumerate(centres_y):
        for i, x in enumerate(centres_x):
            rows = slice(max(0, round((y - 2) * 20)), max(0, round((y + 3) * 20)))
            columns = slice(max(0, round((x - 2) * 20)), max(0, round((x + 3) * 20)))
            assert areas[j, i] == pytest.approx(fine[rows, columns].sum(), abs=1e-9)


def test_last_cells_are_cut_at_the_image():
    grain = np.ones((5, 5), np.int32)
    grain[4] = 2
    found = measure(grain, height=36, width=40)
    np.testing.assert_allclose(found["area_px"], [32 * 40, 4 * 40])
    assert found["centroid_y"][1] == pytest.approx(33.5)


def test_surplus_tiles_of_a_larger_grid_do_not_hide_the_edge():
    grain = np.zeros((8, 9), np.int32)
    grain[:5, :6] = 1
    grain[1:3, 1:3] = 2
    area = np.where(np.indices((8, 9))[0] < 5, STRIDE_PX**2, 0) * (np.indices((8, 9))[1] < 6)
    found = measure(grain, cell_area_px=area, height=40, width=48)
    np.testing.assert_array_equal(found["touches_edge"], [True, False])
    assert found["edge_weight"][1] == pytest.approx(30 / ((4 - 2) * (5 - 2)))


@pytest.mark.parametrize("symmetry", [2, 4, 6])
def test_orientation_is_a_circular_mean(symmetry):
    period = 360 / symmetry
    rng = np.random.default_rng(4)
    grain = np.ones((20, 20), np.int32)
    spread = 0.02 * period
    orientation = np.mod(rng.normal(0.0, spread, grain.shape), period)
    orientation[3, 4] = np.nan
    found = measure(grain, orientation=orientation, symmetry=symmetry)
    off = min(found["orientation"][0], period - found["orientation"][0])
    assert off < 4 * spread / 20
    assert found["orientation_spread"][0] == pytest.approx(spread, rel=0.15)
    assert 0 <= found["orientation"][0] < period


def test_rotating_all_orientations_rotates_the_answer():
    rng = np.random.default_rng(5)
    grain = voronoi((20, 20), seeds_per_cell=0.03, rng=rng)
    orientation = rng.uniform(0, 10, grain.shape)
    confidence = rng.random(grain.shape)
    first = measure(grain, orientation=orientation, confidence=confidence)
    turned = measure(grain, orientation=np.mod(orientation + 85, 90), confidence=confidence)
    difference = np.mod(turned["orientation"] - first["orientation"], 90)
    np.testing.assert_allclose(difference, 85, atol=1e-9)
    np.testing.assert_allclose(turned["orientation_spread"], first["orientation_spread"])


def test_confidence_weighs_the_orientation():
    grain = np.ones((1, 2), np.int32)
    orientation = np.array([[10.0, 20.0]])
    found = measure(grain, orientation=orientation, confidence=np.array([[1.0, 0.0]]))
    assert found["orientation"][0] == pytest.approx(10)
    nothing = measure(grain, orientation=orientation, confidence=np.zeros((1, 2)))
    assert np.isnan(nothing["orientation"][0])
    assert np.isnan(nothing["orientation_spread"][0])


def test_mean_intercept_of_a_disc_and_a_rectangle():
    found = measure(disc(30, (60.2, 59.7)), pixel_size_nm=1000.0)
    assert found["mean_intercept"][0] == pytest.approx(np.pi * 30 / 2 * STRIDE_PX, rel=0.02)
    grain = np.zeros((30, 50), np.int32)
    grain[5:15, 10:30] = 7
    found = measure(grain, pixel_size_nm=1000.0)
    assert found["label"][0] == 7
    # 10 rows of 20 cells and 20 columns of 10 cells
    assert found["mean_intercept"][0] == pytest.approx(400 / 30 * STRIDE_PX)
    assert found["intercept_count"][0] == 30


def test_field_counts_are_unbiased_on_a_window_of_a_plane():
    """Poisson-Voronoi: mean area 1 / intensity, mean chord pi / (4 sqrt(intensity))."""
    intensity = 0.004
    rng = np.random.default_rng(6)
    planimetric, area, length, crossings, plain = 0.0, 0.0, 0.0, 0.0, []
    for _ in range(40):
        found = measure(
            voronoi((60, 60), seeds_per_cell=intensity, rng=rng), pixel_size_nm=1000 / STRIDE_PX
        )
        planimetric += found["planimetric_count"].sum()
        area += found["area"].sum()
        length += found["intercept_length"].sum()
        crossings += found["intercept_count"].sum()
        plain.append(found["area"][~found["touches_edge"]])
    assert area / planimetric == pytest.approx(1 / intensity, rel=0.06)
    assert length / crossings == pytest.approx(np.pi / 4 / np.sqrt(intensity), rel=0.06)
    # what the two avoid: grains that lie inside the field are the smaller ones
    assert np.concatenate(plain).mean() < 0.85 / intensity


def test_planimetric_count_of_a_rectangle():
    grain = np.arange(1, 10).reshape(3, 3).repeat(4, axis=0).repeat(4, axis=1)
    found = measure(grain.astype(np.int32))
    expected = [0.25, 0.5, 0.25, 0.5, 1, 0.5, 0.25, 0.5, 0.25]
    np.testing.assert_allclose(found["planimetric_count"], expected)
    bands = np.arange(1, 4).repeat(4)[:, None].repeat(9, axis=1).astype(np.int32)
    np.testing.assert_allclose(measure(bands)["planimetric_count"], [0, 0, 0])


def test_edge_weights_correct_the_mean_area():
    """Squares of 2 and 6 cells at every place of the plane that meets the field, once each."""
    weight, product, inside = 0.0, 0.0, []
    for side in (2, 6):
        for y, x in np.ndindex(15 + side, 15 + side):
            grain = np.zeros((16, 16), np.int32)
            grain[max(0, y - side + 1) : y + 1, max(0, x - side + 1) : x + 1] = 1
            found = measure(grain, pixel_size_nm=1000 / STRIDE_PX)
            weight += found["edge_weight"].sum()
            product += (found["edge_weight"] * found["area"]).sum()
            inside.extend(found["area"][~found["touches_edge"]])
    assert product / weight == pytest.approx((4 + 36) / 2)
    assert np.mean(inside) < 0.8 * 20


def test_neighbours_of_a_mosaic():
    grain = np.array([[1, 1, 2], [3, 0, 2], [3, 4, 4]], np.int32)
    pairs, sides = grain_adjacency(grain)
    np.testing.assert_array_equal(pairs, [[1, 2], [1, 3], [2, 4], [3, 4]])
    np.testing.assert_array_equal(sides, [1, 1, 1, 1])
    np.testing.assert_array_equal(measure(grain)["neighbour_count"], [2, 2, 2, 2])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (slice(16, 24), [True, False, False]),  # a cell inside grain 1
        (slice(24, 32), [True, True, False]),  # its last cell: grain 2 borders on it
        (slice(32, 35), [False, False, False]),  # less than half of a cell
    ],
)
def test_touches_defect(columns, expected):
    grain = np.repeat(np.array([[1, 2, 3]], np.int32), 8, axis=0).repeat(4, axis=1)
    defect = np.zeros((64, 96), bool)
    defect[16:32, columns] = True
    np.testing.assert_array_equal(measure(grain, defect=defect)["touches_defect"], expected)


def test_unknown_pixel_size_leaves_lengths_unknown():
    found = measure(disc(10, (60, 60)), pixel_size_nm=np.nan)
    for name in ("area", "equivalent_diameter", "perimeter", "mean_intercept", "intercept_length"):
        assert np.isnan(found[name]).all()
    assert found["area_px"][0] == disc(10, (60, 60)).sum() * 64


def test_an_empty_map_has_columns_of_no_rows():
    empty = measure(np.zeros((6, 7), np.int32))
    full = measure(np.ones((6, 7), np.int32))
    assert empty.keys() == full.keys()
    for name, values in empty.items():
        assert values.shape == (0,)
        assert values.dtype == full[name].dtype


def test_every_label_has_a_row_even_without_area():
    grain = np.ones((6, 7), np.int32)
    grain[:, 5:] = 4
    area = np.full(grain.shape, STRIDE_PX**2)
    area[:, 5:] = 0
    found = measure(grain, cell_area_px=area)
    np.testing.assert_array_equal(found["label"], [1, 4])
    np.testing.assert_allclose(found["area_px"], [30 * 64, 0])
    assert np.isnan(found["mean_intercept"][1])
    nothing = measure(grain, cell_area_px=np.zeros_like(area))
    np.testing.assert_array_equal(nothing["area_px"], [0, 0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.sampled_from([0.5, 2.0, 4.0]))
def test_scaling_and_relabelling(seed, factor):
    rng = np.random.default_rng(seed)
    grain = voronoi((12, 17), seeds_per_cell=0.04, rng=rng)
    first, scaled = measure(grain), measure(grain, pixel_size_nm=2.5 * factor)
    for name, power in (("area", 2), ("perimeter", 1), ("mean_intercept", 1), ("area_px", 0)):
        np.testing.assert_allclose(scaled[name], first[name] * factor**power)
    new = rng.permutation(np.arange(grain.max())) * 3 + 5
    renamed = measure(new[grain - 1].astype(np.int32))
    order = np.argsort(renamed["label"])
    back = np.argsort(new)
    for name in set(first) - {"label"}:
        np.testing.assert_allclose(renamed[name][order], first[name][back])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride_px": 0.0}, "stride_px is 0"),
        ({"pixel_size_nm": -1.0}, "pixel_size_nm is -1"),
        ({"symmetry": 0}, "symmetry is 0"),
        ({"orientation": np.zeros((2, 3))}, "one value per tile"),
        ({"cell_area_px": np.zeros((2, 3))}, "one value per tile"),
        ({"defect": np.zeros((2, 3), bool)}, "defect mask"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError, match=message):
        measure(np.ones((4, 4), np.int32), **change)
