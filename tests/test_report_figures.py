"""Figures: what they show is checked against what was put in."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from report_material import (
    HOSTILE,
    conditions,
    map_of,
)

from nanoarray import report
from nanoarray.errors import InputError
from nanoarray.report import canvas, style
from nanoarray.report.superlattice.cells import boundaries, cells_of
from nanoarray.report.superlattice.means import unit_means
from nanoarray.report.superlattice.tiles import tile_sinogram
from nanoarray.simulate.superlattice import SimulatedPolycrystal, simulate_polycrystal
from nanoarray.superlattice.radon.tile_grid import tile_grid


@pytest.fixture(scope="module")
def polycrystal() -> SimulatedPolycrystal:
    return simulate_polycrystal(
        height_px=190, width_px=230, grain_count=6, pore_count=1, min_misorientation_deg=8, seed=5
    )


@pytest.fixture(scope="module")
def image(polycrystal: SimulatedPolycrystal) -> xr.Dataset:
    padded = np.pad(polycrystal.image, ((0, 10), (0, 20)))
    return xr.Dataset(
        {"intensity": (("y", "x"), padded), "height": 190, "width": 230, "pixel_size": 2.5}
    )


@pytest.fixture(scope="module")
def maps(polycrystal: SimulatedPolycrystal) -> xr.Dataset:
    return map_of(polycrystal)


def pixels_of(figure: Figure, width_px: int = 640) -> np.ndarray:
    content, _ = style.image_bytes(figure, width_px=width_px, quality=100)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


# --- colours ----------------------------------------------------------------------------------


def dichromat(rgb: np.ndarray, kind: str) -> np.ndarray:
    """Colours as people without one kind of cone see them (Machado et al. 2009, severity 1)."""
    matrix = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "none": np.eye(3),
    }[kind]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


def test_orientation_colours_are_a_uniform_cycle() -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    lab = rgb2lab(report.orientation_colormap()(np.arange(256))[:, :3])
    step = deltaE_ciede2000(lab, np.roll(lab, -1, axis=0))
    assert step.max() / step.min() < 1.1


@pytest.mark.parametrize("kind", ["none", "protan", "deutan"])
def test_orientation_colours_are_told_apart_by_colour_blind_readers(kind: str) -> None:
    from matplotlib.colors import to_rgb
    from skimage.color import deltaE_ciede2000, rgb2lab

    rgb = report.orientation_colormap()(np.arange(256))[:, :3]
    lab = rgb2lab(dichromat(rgb, kind))
    for turn in range(43, 128, 5):  # a sixth of the cycle apart, or more
        assert deltaE_ciede2000(lab, np.roll(lab, turn, axis=0)).min() > 17
    grey = rgb2lab(dichromat(np.array([[to_rgb(style.NOT_INDEXED)]])[0], kind))
    assert deltaE_ciede2000(lab, np.repeat(grey, 256, axis=0)).min() > 14


@pytest.mark.parametrize("symmetry", [2, 4, 6])
def test_orientation_colours_repeat_with_the_symmetry(symmetry: int) -> None:
    angle = np.arange(0.0, 180.0, 7.3)
    colours = style.orientation_colours(angle, symmetry=symmetry)
    turned = style.orientation_colours(angle - 360 / symmetry, symmetry=symmetry)
    np.testing.assert_array_equal(colours, turned)
    half = style.orientation_colours(angle + 180 / symmetry, symmetry=symmetry)
    assert np.abs(colours - half).max(axis=1).min() > 0.2
    unknown = style.orientation_colours(np.nan, symmetry=symmetry)
    assert np.ptp(unknown[:3]) == 0
    with pytest.raises(InputError, match="expected 4"):
        style.orientation_colours(angle, symmetry=3)


@given(width=st.floats(20, 20000), size=st.one_of(st.floats(1e-3, 1e5), st.just(float("nan"))))
@settings(max_examples=200, deadline=None)
def test_scale_bar_is_round_and_as_long_as_it_says(width: float, size: float) -> None:
    length, label = style.scale_bar_length(width, size)
    assert 0.1 * width <= length <= 0.2501 * width
    value, unit = label.split()
    nm = {"px": size if size > 0 else 1.0, "nm": 1.0, "µm": 1e3, "mm": 1e6}[unit]
    assert (unit == "px") == (not size > 0)
    assert float(value) * nm == pytest.approx(length * (size if size > 0 else 1.0), rel=1e-5)
    assert f"{float(value):e}"[0] in "125"
    assert float(f"{float(value):e}".split("e")[0]) in (1.0, 2.0, 5.0)


# --- maps -------------------------------------------------------------------------------------


def test_micrograph_is_without_padding_and_has_a_scale_bar(image: xr.Dataset) -> None:
    figure = report.plot_micrograph(image)
    ax = figure.axes[0]
    assert ax.get_xlim() == (-0.5, 229.5)
    assert ax.get_ylim() == (189.5, -0.5)
    assert [t.get_text() for t in ax.texts] == ["100 nm"]
    bar = next(p for p in ax.patches if tuple(p.get_facecolor()[:3]) == (1, 1, 1))
    assert bar.get_width() == pytest.approx(100 / 2.5)
    unknown = report.plot_micrograph(image["intensity"].values)
    assert unknown.axes[0].texts[0].get_text() == "50 px"


@pytest.mark.parametrize("own", ["none", "left", "right"])
def test_the_scale_bar_leaves_one_that_is_burned_in_uncovered(own: str) -> None:
    pixels = np.random.default_rng(0).normal(140, 10, (300, 400))
    if own != "none":
        left = 20 if own == "left" else 280
        pixels[270:290, left - 8 : left + 98] = 255
        pixels[278:283, left : left + 90] = 0
    ax = report.plot_micrograph(pixels).axes[0]
    ground = ax.patches[0].get_bbox()
    assert -0.5 <= ground.x0 < ground.x1 <= 399.5
    assert (ground.x0 > 200) == (own == "left")


def test_defects_are_tinted_where_they_are(
    image: xr.Dataset, polycrystal: SimulatedPolycrystal
) -> None:
    mask = polycrystal.grain == 0
    assert mask.any()
    padded = np.pad(mask, ((0, 10), (0, 20)))
    prepared = xr.Dataset({"defect": (("y", "x"), padded)})
    drawn = pixels_of(report.plot_defects(image, prepared), 230)
    colourful = np.ptp(drawn, axis=2)
    from scipy import ndimage

    inner, outer = (
        ndimage.binary_erosion(mask, iterations=3),
        ndimage.binary_dilation(mask, iterations=4),
    )
    assert np.median(colourful[inner]) > 40
    assert np.median(colourful[~outer]) < 5
    with pytest.raises(InputError, match="same image"):
        report.plot_defects(image, mask[:50])


def test_orientation_map_has_the_colours_of_the_directions(
    image: xr.Dataset, maps: xr.Dataset, polycrystal: SimulatedPolycrystal
) -> None:
    from scipy import ndimage

    drawn = pixels_of(report.plot_orientation_map(image, maps, key=False), 460)
    # Well inside each grain, away from boundaries and the scale bar.
    for label, angle in enumerate(polycrystal.orientation_deg, start=1):
        depth = ndimage.distance_transform_edt(np.pad(polycrystal.grain == label, 1))[1:-1, 1:-1]
        depth[150:, :110] = 0
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] < 15:
            continue
        expected = 255 * style.orientation_colours(angle, symmetry=4)[:3]
        np.testing.assert_allclose(drawn[2 * y, 2 * x], expected, atol=12)


def test_key_shows_each_direction_in_its_colour() -> None:
    figure = report.plot_orientation_key(4)
    ax = figure.axes[0]
    drawn = pixels_of(figure, 680)
    box = ax.get_window_extent()
    height = drawn.shape[0]
    for angle in (10.0, 33.0, 77.0, 140.0, 200.0, 301.0):
        along = 0.78 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        x, y = ax.transData.transform(along)
        assert box.x0 < x < box.x1
        expected = 255 * style.orientation_colours(angle, symmetry=4)[:3]
        np.testing.assert_allclose(drawn[int(height - y), int(x)], expected, atol=25)


def test_cells_follow_the_common_pixel_size() -> None:
    pixels = np.zeros((100, 120))
    y, x = tile_grid(50, 60, tile_size_px=20, stride_px=10)
    grid = xr.Dataset(coords={"tile_y": y, "tile_x": x}).assign(stride=10.0)
    picture = canvas.picture_of(pixels, pixel_size_nm=2.0)
    cells = cells_of(grid.assign(common_pixel_size=4.0), picture)
    np.testing.assert_allclose(cells.edges_y, np.arange(0, 101, 20) - 0.5)
    number_of = np.arange(y.size * x.size).reshape(y.size, x.size)
    painted = cells.paint(number_of, -1)
    assert painted.shape == (100, 120)
    np.testing.assert_array_equal(painted, number_of.repeat(20, axis=0).repeat(20, axis=1))
    # Nothing was resampled: the grid is in the image's own pixels and covers a quarter of it.
    quarter = cells_of(grid.assign(common_pixel_size=np.nan), picture).paint(number_of, -1)
    assert (quarter >= 0).mean() == pytest.approx(0.25)
    np.testing.assert_array_equal(
        quarter[:50, :60], number_of.repeat(10, axis=0).repeat(10, axis=1)
    )


def test_boundaries_lie_between_the_labels() -> None:
    label = np.array([[1, 1, 2], [1, 1, 2], [0, 3, 3]])
    y, x = tile_grid(30, 30, tile_size_px=10, stride_px=10)
    grid = xr.Dataset(coords={"tile_y": y, "tile_x": x})
    cells = cells_of(grid, canvas.picture_of(np.zeros((30, 30))))
    segments, first, second = boundaries(label, cells)
    length = np.abs(segments[:, 1] - segments[:, 0]).sum(axis=1)
    sides = Counter(
        tuple(sorted((int(a), int(b))))
        for a, b in zip(label.ravel()[first], label.ravel()[second], strict=True)
    )
    assert sides == {(1, 2): 2, (0, 1): 1, (1, 3): 1, (2, 3): 1, (0, 3): 1}
    np.testing.assert_allclose(length, 10.0)
    between = (label.ravel()[first] == 1) & (label.ravel()[second] == 2)
    np.testing.assert_allclose(segments[between][:, :, 0], 19.5)


def test_neighbouring_grains_differ_and_cut_grains_are_clear(
    image: xr.Dataset, maps: xr.Dataset
) -> None:
    label = np.array([[1, 1, 1, 1, 1], [1, 2, 3, 0, 1], [1, 4, 5, 5, 1], [1, 1, 1, 1, 1]])
    y, x = tile_grid(40, 50, tile_size_px=10, stride_px=10)
    ds = xr.Dataset({"grain": (("tile_y", "tile_x"), label)}, coords={"tile_y": y, "tile_x": x})
    grey = np.tile(np.linspace(90, 110, 50), (40, 1))
    figure = report.plot_grains(grey, ds, labels=True)
    tint = np.asarray(figure.axes[0].images[1].get_array())
    at = {k: tuple(tint[5 + 10 * r, 5 + 10 * c]) for k, (r, c) in
          {2: (1, 1), 3: (1, 2), 4: (2, 1), 5: (2, 2), 1: (0, 0), 0: (1, 3)}.items()}  # fmt: skip
    assert at[1][3] == 0
    assert at[2] != at[3] != at[5] != at[4] != at[2]
    assert at[0][:3] == (0, 0, 0)
    assert at[0][3] > 100
    written = {t.get_text() for t in figure.axes[0].texts}
    assert written >= {"1", "2", "3", "4", "5"}
    assert isinstance(report.plot_grains(image, maps), Figure)


def test_misorientation_is_that_of_the_grains(
    image: xr.Dataset, maps: xr.Dataset, polycrystal: SimulatedPolycrystal
) -> None:
    figure = report.plot_misorientation(image, maps)
    coloured = [c for c in figure.axes[0].collections if c.get_array() is not None]
    assert len(coloured) == 1
    values = np.asarray(coloured[0].get_array())
    angle = polycrystal.orientation_deg
    true = np.abs((angle[:, None] - angle[None, :] + 45) % 90 - 45)
    # Every value is the misorientation of some two grains.
    assert (
        np.abs(values[:, None] - true[np.triu_indices_from(true, 1)][None, :]).min(1).max() < 0.01
    )
    bars = figure.axes[1].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(100)


def test_maps_of_several_images_are_refused(image: xr.Dataset, maps: xr.Dataset) -> None:
    both = xr.concat([maps, maps], "image")
    with pytest.raises(InputError, match=r"isel\(image=0\)"):
        report.plot_grains(image, both)
    with pytest.raises(InputError, match=r"isel\(image=0\)"):
        report.plot_micrograph(xr.concat([image, image], "image"))
    with pytest.raises(InputError, match="rows and columns"):
        report.plot_micrograph(np.zeros((3, 3, 3)))


def test_maps_without_any_grain_or_orientation(image: xr.Dataset, maps: xr.Dataset) -> None:
    none = maps.assign(
        grain=maps["grain"] * 0,
        orientation=maps["orientation"] * np.nan,
        boundary_misorientation=maps["boundary_misorientation"] * np.nan,
        symmetry=-1,
    )
    drawn = pixels_of(report.plot_orientation_map(image, none, key=False))
    assert np.ptp(drawn[:200], axis=2).max() < 8  # neutral grey everywhere
    for figure in (report.plot_grains(image, none), report.plot_misorientation(image, none)):
        assert pixels_of(figure).any()


def test_clusters_have_one_colour_each(image: xr.Dataset, maps: xr.Dataset) -> None:
    few = maps[["grain"]].rename(grain="cluster") - 1
    figure = report.plot_clusters(image, few)
    painted = np.asarray(figure.axes[0].images[0].get_array())
    cells = cells_of(few, canvas.picture_of(image))
    cluster = cells.paint(few["cluster"].values, -1)
    colours = {int(c): {tuple(p) for p in painted[cluster == c]} for c in np.unique(cluster)}
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == len(colours)
    assert colours[-1] == {(255, 255, 255, 255)}
    many = few.assign(
        cluster=few["cluster"] * 0
        + np.arange(few["cluster"].size).reshape(few["cluster"].shape) % 40
    )
    assert isinstance(report.plot_clusters(image, many), Figure)


# --- tile -------------------------------------------------------------------------------------


def test_tile_marks_the_angles_at_which_its_rows_line_up() -> None:
    crystal = simulate_polycrystal(
        height_px=160, width_px=160, grain_count=1, noise=0.1, disorder=0.03, seed=3
    )
    angles = np.arange(60) * 3.0
    tile = crystal.image[40:120, 40:120]
    sinogram, offset = tile_sinogram(tile.astype(float), angles)
    assert sinogram.shape == (offset.size, 60)
    figure = report.plot_tile(
        tile, angles_deg=angles, orientation_deg=crystal.orientation_deg[0], symmetry=4
    )
    axes = {ax.get_title(): ax for ax in figure.axes}
    curve = axes["projection variance, rows of the lattice dashed"]
    line = next(li for li in curve.lines if len(li.get_xdata()) == 60)
    marks = sorted(li.get_xdata()[0] for li in curve.lines if len(li.get_xdata()) == 2)
    assert marks[1] - marks[0] == pytest.approx(90)
    peak = float(line.get_xdata()[np.argmax(line.get_ydata())])
    assert min(abs((peak - mark + 90) % 180 - 90) for mark in marks) <= 3


def test_tile_refuses_arrays_that_do_not_fit() -> None:
    tile = np.zeros((20, 20))
    with pytest.raises(InputError, match="alignment has shape"):
        report.plot_tile(tile, angles_deg=np.arange(10.0), alignment=np.zeros(9))
    with pytest.raises(InputError, match="4 x 4"):
        report.plot_tile(tile[0], angles_deg=np.arange(10.0))


def test_tile_with_bits_of_an_empty_tile() -> None:
    bits = np.arange(12) % 2
    figure = report.plot_tile(
        np.full((16, 16), 7.0), angles_deg=np.arange(12) * 15.0, alignment=bits
    )
    filled = [p for p in figure.axes[2].patches if p.get_alpha() is None and p.get_height() > 0]
    assert [p.get_x() + p.get_width() / 2 for p in filled] == [15.0 * k for k in range(1, 12, 2)]


# --- sizes ------------------------------------------------------------------------------------


def size_tables(count: int = 400, sigma: float = 0.5) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(2)
    images = conditions(8)
    frame = pd.DataFrame(
        {
            "image": np.tile(images["image"], count // 8),
            "area": np.exp(rng.normal(-2.0, sigma, count)),
            "touches_edge": np.arange(count) % 5 == 0,
        }
    )
    return frame, images


def test_distribution_shares_and_fits_are_those_of_the_sizes() -> None:
    grains, images = size_tables(4000)
    figure = report.plot_size_distributions(grains, images)
    ax = figure.axes[0]
    number_share, area_share = (s.get_data().values for s in ax.patches[:2])
    assert number_share.sum() == pytest.approx(100)
    assert area_share.sum() == pytest.approx(100)
    assert "3200 grains, 8 images, 800 cut by the edge left out" in [t.get_text() for t in ax.texts]
    assert ax.get_xscale() == "log"
    # Modes of a log-normal distribution per ln(area): mu by number, mu + sigma^2 by area.
    modes = [np.log(li.get_xdata()[np.argmax(li.get_ydata())]) for li in ax.lines]
    np.testing.assert_allclose(modes, [-2.0, -1.75], atol=0.05)
    diameter = report.plot_size_distributions(grains, images, quantity="equivalent_diameter")
    lines = diameter.axes[0].lines
    modes = [np.log(li.get_xdata()[np.argmax(li.get_ydata())]) for li in lines]
    middle = np.log(np.sqrt(4 * np.exp(-2.0) / np.pi))
    np.testing.assert_allclose(modes, [middle, middle + 2 * 0.25**2], atol=0.05)


def test_distributions_by_condition_share_their_bins() -> None:
    grains, images = size_tables()
    figure = report.plot_size_distributions(grains, images, by=["temperature", "pressure"])
    panels = [ax for ax in figure.axes if ax.patches]
    assert [ax.get_title(loc="left") for ax in panels] == [
        "temperature 22 °C, pressure 1.54 MPa",
        "temperature 22 °C, pressure 4.21 MPa",
        "temperature 22 °C, pressure 8.46 MPa",
        "temperature 31 °C, pressure 8.46 MPa",
    ]
    edges = [ax.patches[0].get_data().edges for ax in panels]
    for other in edges[1:]:
        np.testing.assert_array_equal(edges[0], other)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_distributions_of_next_to_nothing(rows: int) -> None:
    grains, images = size_tables()
    figure = report.plot_size_distributions(grains.iloc[1 : 1 + rows], images, by=["pressure"])
    assert style.svg_bytes(figure).startswith(b"<?xml")


def test_unknown_quantity_is_refused() -> None:
    grains, images = size_tables()
    with pytest.raises(InputError, match="expected 'area'"):
        report.plot_size_distributions(grains, images, quantity="volume")  # type: ignore[arg-type]


def test_means_stand_at_the_values_of_their_tags() -> None:
    frame = pd.DataFrame(
        {
            "temperature": [22.0, 22.0, 31.0, np.nan],
            "pressure": [1.54, 8.46, 8.46, 8.46],
            "mean_area": [0.22, 0.11, 0.13, 0.2],
            "mean_area_low": [0.2, 0.1, 0.12, np.nan],
            "mean_area_high": [0.25, 0.13, 0.16, np.nan],
        }
    )
    figure = report.plot_condition_means(frame, x="pressure", by=["temperature", "pressure"])
    ax = figure.axes[0]
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [
        "temperature 22 °C",
        "temperature 31 °C",
        "temperature unknown",
    ]
    first = ax.containers[0]
    np.testing.assert_allclose(first.lines[0].get_ydata(), [0.22, 0.11])
    np.testing.assert_allclose(np.diff(first.lines[0].get_xdata()), 8.46 - 1.54)
    bars = first.lines[2][0].get_segments()
    np.testing.assert_allclose([b[:, 1] for b in bars], [[0.2, 0.25], [0.1, 0.13]])
    assert ax.get_xlabel() == "pressure / MPa"
    with pytest.raises(InputError, match="no column 'humidity'"):
        report.plot_condition_means(frame, x="humidity")


def test_means_against_a_tag_of_words() -> None:
    frame = pd.DataFrame({"method": ["b", HOSTILE, "", "a"], "mean_area": [1.0, 2.0, 3.0, 4.0]})
    figure = report.plot_condition_means(frame, x="method")
    ax = figure.axes[0]
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert labels[-1] == "unknown"
    assert labels[1:3] == ["a", "b"]
    assert "\x07" not in labels[0]
    assert b"<script" not in style.svg_bytes(figure)


def test_points_are_the_means_of_the_samples() -> None:
    grains, images = size_tables(80)
    points = unit_means(grains, images, by=["pressure"], unit="image")
    kept = grains[~grains["touches_edge"]]
    expected = kept.groupby("image")["area"].mean()
    for row in points.itertuples(index=False):
        assert row.mean_area == pytest.approx(expected[row.unit])
    assert points["grain_count"].sum() == len(kept)
    assert len(unit_means(grains, images, by=["pressure"], unit="sample")) == 8


# --- text -------------------------------------------------------------------------------------


def test_svg_follows_light_and_dark() -> None:
    grains, images = size_tables()
    source = style.svg_bytes(report.plot_size_distributions(grains, images)).decode()
    assert "prefers-color-scheme:dark" in source
    assert source.count(style.INK) == 1  # in the definition of its variable
    assert "var(--c0)" in source
    again = style.svg_bytes(report.plot_size_distributions(grains, images)).decode()
    assert source == again


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = "import sys, nanoarray.report; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
    assert "write_report" in dir(report)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = report.plot_nothing
    for name in report.__all__:
        assert callable(getattr(report, name))


def test_figures_leave_matplotlib_as_it_was(image: xr.Dataset) -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    # Other tests of the same process may have left a figure of their own in pyplot.
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    pixels_of(report.plot_micrograph(image))
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == figures
