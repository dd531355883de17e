"""Figures and the page: what they show is checked against what was put in."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from nanoarray import report, schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.errors import InputError
from nanoarray.report import canvas, style
from nanoarray.report.contents import choose_images, read_contents, reason_counts
from nanoarray.report.means import unit_means
from nanoarray.report.page import write_report
from nanoarray.report.text_tables import interval, number, statistics_tables
from nanoarray.report.tiles import tile_sinogram
from nanoarray.simulate.superlattice import SimulatedPolycrystal, simulate_polycrystal
from nanoarray.superlattice.parameters import GrainStatisticsParameters
from nanoarray.superlattice.steps import summarize
from nanoarray.superlattice.tile_grid import tile_grid

HOSTILE = "<script>alert('x')</script> $\\frac{ \"quoted\" & _\u202e\x07"
STRIDE = 10
MAP_STAGES = ("prepared", "tiles", "tile_clusters", "grain_maps")


# --- material ---------------------------------------------------------------------------------


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


def map_of(simulated: SimulatedPolycrystal) -> xr.Dataset:
    """The true grain map of a simulated image on the grid of its tiles."""
    height, width = simulated.grain.shape
    y, x = tile_grid(height, width, tile_size_px=40, stride_px=STRIDE)
    rows = np.rint(y).astype(int).clip(0, height - 1)
    columns = np.rint(x).astype(int).clip(0, width - 1)
    grain = simulated.grain[np.ix_(rows, columns)]
    orientation = np.append(np.nan, simulated.orientation_deg)[grain]
    period = 360 / simulated.symmetry
    apart = np.full(grain.shape, np.nan)
    for axis in (0, 1):
        for step in (1, -1):
            other = np.roll(orientation, step, axis)
            difference = np.abs((orientation - other + period / 2) % period - period / 2)
            apart = np.where(np.roll(grain, step, axis) != grain, np.fmax(apart, difference), apart)
    tile = ("tile_y", "tile_x")
    return xr.Dataset(
        {
            "grain": (tile, grain.astype(np.int32)),
            "orientation": (tile, orientation.astype(np.float32)),
            "orientation_confidence": (tile, np.where(grain > 0, 0.9, np.nan).astype(np.float32)),
            "boundary_misorientation": (tile, apart.astype(np.float32)),
            "symmetry": simulated.symmetry,
            "stride": float(STRIDE),
            "tile_size": 40.0,
            "common_pixel_size": np.nan,
        },
        coords={"tile_y": y, "tile_x": x},
    )


def pixels_of(figure: Figure, width_px: int = 640) -> np.ndarray:
    content, _ = style.image_bytes(figure, width_px=width_px, quality=100)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def write_group(
    url: str,
    group: str,
    values: dict[str, Any],
    *,
    constants: dict[str, Any] | None = None,
    sizes: dict[str, int],
    complete: bool = True,
    parameters: dict[str, Any] | None = None,
) -> None:
    """Write a group as a finished stage would."""
    dim = next(iter(sizes))
    known = {
        name: (schema.GROUPS[group][name].dims, data, schema.GROUPS[group][name].attrs)
        for name, data in (constants or {}).items()
    }
    arrays = tuple(
        array_plan(
            group, name, sizes, block=4, dtype=str(data.dtype) if name == "intensity" else None
        )
        for name, data in values.items()
    )
    store.create_group(url, group, GroupPlan(arrays, dim, sizes[dim], 4, known))
    rows = len(next(iter(values.values()))) if values else 0
    if rows:
        store.write_rows(url, group, slice(0, rows), values)
    record = {
        "stage": group,
        "axis": "image",
        "digest": prov.digest(group),
        "basis": {"parameters": parameters or {}, "kernel_version": 1, "inputs": {}},
        "input_groups": [],
        "plan_digest": "0",
        "resolved": {},
        "dim": dim,
        "length": sizes[dim],
        "block": 4,
        "complete": complete,
        "software": prov.software(),
        "finished": prov.now(),
        "seconds": 1.5,
    }
    store.set_provenance(url, group, record)


def text(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=object)


def make_images(url: str, images: pd.DataFrame, pixels: list[np.ndarray]) -> None:
    """The group ``images``; columns of ``images`` that the schema does not know are tags."""
    count = len(images)
    sizes = {"image": count, "y": 190, "x": 230}
    padded = np.zeros((count, 190, 230), np.uint8)
    for i, data in enumerate(pixels):
        padded[i, : data.shape[0], : data.shape[1]] = data
    columns: dict[str, Any] = {
        "height": [p.shape[0] for p in pixels],
        "width": [p.shape[1] for p in pixels],
        "ok": True,
        "problem": "",
        "warning": "",
        "pixel_size": 2.5,
        "pixel_size_source": "FEI tag",
        "sample": "",
        "instrument": "Helios",
    }
    frame = images.assign(**{k: v for k, v in columns.items() if k not in images})
    store.create_store(url)
    values = {"intensity": padded}
    known: dict[str, Any] = {}
    for name in frame:
        entry = schema.known("images", str(name))
        data = frame[name].to_numpy()
        if entry is not None and entry.dtype == "str":
            data = text([str(v) for v in data])
        elif entry is not None:
            data = data.astype(entry.dtype)
        known[str(name)] = data
    write_group(url, "images", values, sizes=sizes)
    for name, data in known.items():
        entry = schema.known("images", name)
        attrs = entry.attrs if entry else {"units": "1", "long_name": f"tag {name}"}
        data = text([str(v) for v in data]) if data.dtype.kind not in "fib" else data
        store.put_constant(url, "images", name, ("image",), data, attrs)


def make_store(
    folder: Path,
    images: pd.DataFrame,
    *,
    groups: int = 6,
    grains_per_image: int = 8,
    by: tuple[str, ...] = ("temperature", "pressure"),
    lost: dict[int, tuple[str, str]] | None = None,
) -> str:
    """A store of simulated images, with the first ``groups`` groups after ``images``.

    ``lost`` is position -> (group, reason) of images that a stage has no result for.
    """
    url = str(folder / "archive.zarr")
    lost = lost or {}
    crystals = [
        simulate_polycrystal(height_px=190, width_px=230, grain_count=5, seed=i) for i in range(2)
    ]
    count = len(images)
    both = [map_of(c) for c in crystals]
    chosen, each = [crystals[i % 2] for i in range(count)], [both[i % 2] for i in range(count)]
    make_images(url, images, [c.image for c in chosen])
    tile = {n: each[0].sizes[n] for n in ("tile_y", "tile_x")}
    grid = {n: each[0][n].values for n in ("tile_y", "tile_x")}
    grid |= {n: each[0][n].values for n in ("common_pixel_size", "tile_size", "stride")}
    angle = np.arange(30) * 6.0
    rng = np.random.default_rng(0)

    def problem(group: str) -> np.ndarray:
        order = MAP_STAGES.index(group)
        return text(
            [
                lost[i][1] if i in lost and MAP_STAGES.index(lost[i][0]) <= order else ""
                for i in range(count)
            ]
        )

    def stack(name: str) -> np.ndarray:
        return np.stack([m[name].values for m in each])

    sizes = {"image": count, "y": 190, "x": 230, **tile}
    shape = (count, tile["tile_y"], tile["tile_x"])
    content: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "prepared": (
            {
                "defect": np.stack([np.pad(c.grain == 0, 0) for c in chosen]),
                "defect_fraction": np.full(count, 0.02, np.float32),
                "sharpness": np.full(count, 0.9, np.float32),
                "lattice_spacing": np.full(count, 11.0, np.float32),
                "usable": problem("prepared") == "",
            },
            {},
        ),
        "tiles": (
            {
                "projection_variance": rng.random((*shape, 30)).astype(np.float32),
                "alignment": rng.integers(0, 2, (*shape, 30)).astype(np.uint8),
                "valid": np.ones(shape, bool),
            },
            {**grid, "angle": angle},
        ),
        "tile_clusters": (
            {
                "cluster": stack("grain") - 1,
                "cluster_count": np.full(count, 5, np.int32),
            },
            {n: grid[n] for n in ("tile_y", "tile_x")},
        ),
        "grain_maps": (
            {
                **{
                    n: stack(n)
                    for n in (
                        "grain",
                        "orientation",
                        "orientation_confidence",
                        "boundary_misorientation",
                    )
                },
                "symmetry": np.array([-1 if i in lost else 4 for i in range(count)], np.int32),
                "grain_count": np.array([0 if i in lost else 5 for i in range(count)], np.int32),
                "indexed_fraction": np.full(count, 0.98, np.float32),
                "mapped_fraction": np.full(count, 0.97, np.float32),
            },
            grid,
        ),
    }
    for group in MAP_STAGES[:groups]:
        values, constants = content[group]
        values["problem"] = problem(group)
        write_group(
            url, group, values, constants=constants, sizes={**sizes, "angle": 30}, parameters={}
        )
    if groups > 4:
        write_grains(url, images, grains_per_image, set(lost))
    if groups > 5:
        write_statistics(url, by)
    return url


def write_grains(url: str, images: pd.DataFrame, per_image: int, lost: set[int]) -> None:
    rng = np.random.default_rng(1)
    size = images.get("pixel_size", pd.Series(2.5, index=images.index)).to_numpy(float)
    kept = [i for i in range(len(images)) if i not in lost]
    index = np.repeat(kept, per_image).astype(np.int32) if per_image else np.zeros(0, np.int32)
    count = len(index)
    area = np.exp(rng.normal(-2.0, 0.6, count)) * size[index] / 2.5
    edge = rng.random(count) < 0.3
    values: dict[str, Any] = {}
    for name, entry in schema.GROUPS["grains"].items():
        values[name] = np.ones(count, entry.dtype)
    values |= {
        "image_index": index,
        "area": area,
        "equivalent_diameter": 2 * np.sqrt(area / np.pi),
        "touches_edge": edge,
        "edge_weight": np.where(edge, 0.0, 1.3),
    }
    write_group(url, "grains", values, sizes={"grain": count})


def write_statistics(url: str, by: tuple[str, ...]) -> None:
    contents = read_contents(url)
    parameters = GrainStatisticsParameters(by=by, resamples=200)
    images = contents.images.assign(usable=contents.sized)
    assert contents.grains is not None
    ds = summarize(contents.grains, images, parameters, tile_size_um=0.1)
    constants = {
        str(n): (tuple(map(str, v.dims)), v.values, v.attrs) for n, v in ds.variables.items()
    }
    rows = ds.sizes["condition"]
    store.create_group(url, "grain_statistics", GroupPlan((), "condition", rows, rows, constants))
    record = store.provenance(url, "grains") | {
        "stage": "grain_statistics",
        "dim": "condition",
        "length": rows,
        "basis": {"parameters": parameters.model_dump(mode="json"), "kernel_version": 1},
    }
    store.set_provenance(url, "grain_statistics", record)


def conditions(count: int) -> pd.DataFrame:
    """Images of four conditions and two samples each."""
    temperature = [(22.0, 22.0, 22.0, 31.0)[i % 4] for i in range(count)]
    pressure = [(1.54, 4.21, 8.46, 8.46)[i % 4] for i in range(count)]
    return pd.DataFrame(
        {
            "image": [f"image {i:03d}" for i in range(count)],
            "temperature": temperature,
            "pressure": pressure,
            "sample": [f"S{i % 8}" for i in range(count)],
        }
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixteen images of four conditions: one unreadable, one out of focus, one failed."""
    images = conditions(16)
    images["problem"] = ["not a TIFF file" if i == 5 else "" for i in range(16)]
    images["ok"] = images["problem"] == ""
    images["pixel_size"] = [np.nan if i in (5, 6) else 2.5 for i in range(16)]
    images["warning"] = ["pressure differs: file 1, table 2" if i == 0 else "" for i in range(16)]
    lost = {
        5: ("prepared", "left out: unreadable: not a TIFF file"),
        7: ("tiles", "left out: out of focus (sharpness 0.21, limit 0.50)"),
        9: ("grain_maps", "failed: ValueError: no lattice"),
        11: ("tiles", "left out: out of focus (sharpness 0.11, limit 0.50)"),
    }
    return make_store(tmp_path_factory.mktemp("archive"), images, lost=lost)


class Page(HTMLParser):
    """What a reader's browser would find in a page."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(archive: str, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return Page(write_report(archive, path, image_count=6))


def one_page(url: str, folder: Path) -> Page:
    return Page(write_report(url, folder / "report.html", image_count=1))


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
    cells = canvas.cells_of(grid.assign(common_pixel_size=4.0), picture)
    np.testing.assert_allclose(cells.edges_y, np.arange(0, 101, 20) - 0.5)
    number_of = np.arange(y.size * x.size).reshape(y.size, x.size)
    painted = cells.paint(number_of, -1)
    assert painted.shape == (100, 120)
    np.testing.assert_array_equal(painted, number_of.repeat(20, axis=0).repeat(20, axis=1))
    # Nothing was resampled: the grid is in the image's own pixels and covers a quarter of it.
    quarter = canvas.cells_of(grid.assign(common_pixel_size=np.nan), picture).paint(number_of, -1)
    assert (quarter >= 0).mean() == pytest.approx(0.25)
    np.testing.assert_array_equal(
        quarter[:50, :60], number_of.repeat(10, axis=0).repeat(10, axis=1)
    )


def test_boundaries_lie_between_the_labels() -> None:
    label = np.array([[1, 1, 2], [1, 1, 2], [0, 3, 3]])
    y, x = tile_grid(30, 30, tile_size_px=10, stride_px=10)
    grid = xr.Dataset(coords={"tile_y": y, "tile_x": x})
    cells = canvas.cells_of(grid, canvas.picture_of(np.zeros((30, 30))))
    segments, first, second = canvas.boundaries(label, cells)
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
    cells = canvas.cells_of(few, canvas.picture_of(image))
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


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.22061, "0.221"),
        (99.97, "100"),
        (12345, "12\u2009345"),
        (-0.5, "−0.5"),
        (float("nan"), "–"),
        (1e-7, "1e−07"),
        (3.0, "3"),
        (True, "yes"),
        ("", "–"),
    ],
)
def test_numbers_are_short_and_never_invented(value: Any, shown: str) -> None:
    assert number(value) == shown


def test_interval_only_where_there_is_one() -> None:
    assert interval(0.2, 0.1, 0.31234) == "0.2 (0.1 to 0.312)"
    assert interval(0.2, float("nan"), 0.3) == "0.2"


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

    before = dict(mpl.rcParams)
    pixels_of(report.plot_micrograph(image))
    assert dict(mpl.rcParams) == before
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


# --- contents ---------------------------------------------------------------------------------


def test_each_lost_image_has_its_first_reason(archive: str) -> None:
    contents = read_contents(archive)
    lost = contents.left_out.set_index("image")
    assert lost.loc["image 005"].tolist() == ["reading", "not a TIFF file"]
    assert lost.loc["image 007", "step"] == "tiles"
    assert lost.loc["image 009", "reason"] == "failed: ValueError: no lattice"
    assert lost.loc["image 006", "step"] == "measuring"
    assert len(lost) == 5
    counts = {(step, reason): n for step, reason, n, _ in reason_counts(contents.left_out)}
    assert counts["tiles", "out of focus"] == 2
    assert sum(counts.values()) == 5


def test_shown_images_are_spread_and_always_the_same(archive: str) -> None:
    contents = read_contents(archive)
    chosen = choose_images(contents, 8)
    pressure = contents.images["pressure"].to_numpy()[chosen]
    temperature = contents.images["temperature"].to_numpy()[chosen]
    assert set(Counter(zip(temperature, pressure, strict=True)).values()) <= {1, 2, 3}
    assert len(set(zip(temperature, pressure, strict=True))) == 4
    assert chosen == choose_images(read_contents(archive), 8)
    assert not {5, 7, 9, 11} & set(chosen)
    # With more places than mapped images, readable ones that were lost are shown too.
    assert set(choose_images(contents, 16)) == set(range(16)) - {5}


def test_statistics_table_holds_every_column(archive: str) -> None:
    contents = read_contents(archive)
    assert contents.statistics is not None
    tables = statistics_tables(contents)
    shown = sum(len(t.rows) for t in tables)
    names = [
        n
        for n in contents.statistics.columns
        if not n.endswith(("_low", "_high")) and n not in {*contents.by, "condition", "warnings"}
    ]
    assert shown == len(names)
    assert all(len(t.head) == 5 for t in tables)
    row = next(r for r in tables[0].rows if r[0].startswith("number-weighted mean area"))
    first = contents.statistics.iloc[0]
    assert row[1].startswith(number(float(first["mean_area"])))


# --- page -------------------------------------------------------------------------------------


def test_page_is_self_contained(page: Page) -> None:
    assert not page.all("script")
    assert not page.all("link")
    policy = next(m["content"] for m in page.all("meta") if "content" in m and "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "srcset", "poster", "data", "action"):
                assert value is not None
                assert value.startswith(("data:", "#")), (tag, name, value[:60])
    styles = re.findall(r"url\((.{0,12})", page.source)
    assert styles
    assert all(s.startswith('"data:image/') for s in styles)


def test_page_is_well_formed_and_accessible(page: Page) -> None:
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in page.all("a") if (a["href"] or "").startswith("#")]
    assert set(targets) <= set(ids)
    assert all(img.get("alt") for img in page.all("img"))
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert page.all("html")[0]["lang"] == "en"
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_pictures_of_the_page_can_be_decoded(page: Page) -> None:
    kinds = Counter()
    for img in page.all("img"):
        head, _, body = (img["src"] or "").partition(",")
        content = base64.b64decode(body, validate=True)
        kinds[head] += 1
        if "svg" in head:
            assert content.startswith(b"<?xml")
        else:
            picture = Image.open(io.BytesIO(content))
            picture.load()
            assert picture.size[0] == int(img["width"] or 0)
            assert abs(picture.size[1] - int(img["height"] or 0)) <= 1
    # Four of every image shown, and two of the one in detail.
    assert sum(n for kind, n in kinds.items() if "svg" not in kind) == 6 * 4 + 2


def test_page_says_what_was_run_on_what_and_what_was_left_out(page: Page, archive: str) -> None:
    for words in (
        "temperature 22 °C, pressure 8.46 MPa",
        "out of focus",
        "not a TIFF file",
        "failed: ValueError: no lattice",
        "no pixel size",
        "FEI tag",
        "number-weighted mean area / µm²",
        "pressure differs: file 1, table 2",
        "permutation",
        "images left out",
        store.provenance(archive, "grain_maps")["digest"],
        prov.software()["numpy"],
    ):
        assert words in page.text, words
    contents = read_contents(archive)
    assert contents.statistics is not None
    for warning in contents.statistics["warnings"]:
        for part in str(warning).split("; "):
            assert " ".join(part.split()) in page.text
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        "sizes", "images", "detail", "collection", "left-out", "run", "downloads"
    ]  # fmt: skip


def test_downloads_hold_the_tables(page: Page, archive: str) -> None:
    links = {a["download"]: a["href"] or "" for a in page.all("a") if "download" in a}
    assert set(links) == {"grains.csv", "grain_statistics.csv", "images.csv", "left_out.csv"}
    frames = {
        name: pd.read_csv(io.BytesIO(base64.b64decode(href.partition(",")[2])))
        for name, href in links.items()
    }
    contents = read_contents(archive)
    assert contents.grains is not None
    np.testing.assert_allclose(frames["grains.csv"]["area_um2"], contents.grains["area"])
    assert frames["grains.csv"]["image"].tolist() == contents.grains["image"].tolist()
    assert len(frames["images.csv"]) == 16
    assert len(frames["grain_statistics.csv"]) == 4
    assert frames["left_out.csv"]["image"].tolist() == contents.left_out["image"].tolist()


def test_a_large_table_is_left_to_the_command_line(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoarray.report.downloads.MAX_BYTES", 6000)
    found = one_page(archive, tmp_path)
    assert "grains.csv" not in {a.get("download") for a in found.all("a")}
    assert f"nanoarray table {archive} grains --out grains.csv" in found.text


def test_hostile_tags_are_text(tmp_path: Path) -> None:
    images = conditions(4).assign(
        synthesis_method=HOSTILE, sample=HOSTILE, instrument=HOSTILE, note=HOSTILE,
        warning=HOSTILE,
    )  # fmt: skip
    images["image"] = [f"{HOSTILE} {i}" for i in range(4)]
    images["note"] = [HOSTILE, "_plain", "", "\u7d50\u6676"]
    url = make_store(tmp_path, images, by=("note", "synthesis_method"))
    found = one_page(url, tmp_path)
    assert not found.all("script")
    assert found.open == []
    assert "<script>alert('x')</script>" in found.text
    assert all(not name.startswith("on") for _, attrs in found.tags for name in attrs)
    for img in found.all("img"):
        if (img["src"] or "").startswith("data:image/svg"):
            content = base64.b64decode((img["src"] or "").partition(",")[2])
            assert b"<script" not in content


@pytest.mark.parametrize("groups", [0, 2, 4, 5])
def test_page_of_a_store_at_any_stage(tmp_path: Path, groups: int) -> None:
    url = make_store(tmp_path, conditions(2), groups=groups)
    found = Page(write_report(url, tmp_path / "report.html", image_count=1))
    assert "grain_statistics has not been run." in found.text
    assert ("prepared has not been run." in found.text) == (groups == 0)
    assert "There are no statistics yet" in found.text
    assert len(found.all("article")) == 1


def test_page_without_pixel_sizes(tmp_path: Path) -> None:
    images = conditions(4).assign(pixel_size=np.nan, pixel_size_source="")
    found = one_page(make_store(tmp_path, images), tmp_path)
    assert "no pixel size: counted and mapped" in found.text
    assert "pixel size unknown" in found.text
    assert "no grain to measure" in found.text


def test_page_without_any_grain(tmp_path: Path) -> None:
    found = one_page(make_store(tmp_path, conditions(4), grains_per_image=0), tmp_path)
    assert "0 grains found" in found.text
    assert "no grain to measure" in found.text


def test_page_of_one_image_without_tags(tmp_path: Path) -> None:
    images = pd.DataFrame({"image": ["only"], "temperature": [np.nan], "pressure": [np.nan]})
    found = one_page(make_store(tmp_path, images), tmp_path)
    assert "temperature unknown, pressure unknown" in found.text
    assert len(found.all("article")) == 1
    assert "against" not in found.text


def test_page_of_unreadable_images_only(tmp_path: Path) -> None:
    images = conditions(2).assign(ok=False, problem="empty file", pixel_size=np.nan)
    found = one_page(make_store(tmp_path, images, groups=0), tmp_path)
    assert "No image can be shown." in found.text
    assert "empty file" in found.text


def test_page_says_what_is_unfinished_or_out_of_date(tmp_path: Path) -> None:
    url = make_store(tmp_path, conditions(4))
    record = store.provenance(url, "grain_maps")
    store.set_provenance(url, "grain_maps", {**record, "complete": False})
    images = conditions(6)
    crystal = simulate_polycrystal(height_px=190, width_px=230, grain_count=5, seed=0)
    make_images(url, images, [crystal.image] * 6)
    found = one_page(url, tmp_path)
    assert "grain_maps is not finished" in found.text
    assert "2 images were added after prepared was made" in found.text
    assert "added after this step was run" in found.text


def test_page_stays_light_for_many_images(tmp_path: Path) -> None:
    sizes = {}
    for count in (8, 80):
        folder = tmp_path / str(count)
        folder.mkdir()
        images = conditions(count)
        url = make_store(folder, images, groups=0)
        write_grains(url, images, 2, set())
        write_statistics(url, ("temperature", "pressure"))
        path = write_report(url, folder / "report.html", image_count=3)
        assert len(Page(path).all("article")) == 3
        sizes[count] = path.stat().st_size
    # What grows is the tables: about 1 kB an image, with two grains each.
    assert sizes[80] - sizes[8] < 72 * 1500


def test_the_report_is_whole_or_not_there(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("the one before")
    monkeypatch.setattr(Path, "replace", _no_space)
    with pytest.raises(OSError, match="No space"):
        write_report(archive, target, image_count=0)
    assert target.read_text() == "the one before"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def _no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_impossible_requests_are_refused(archive: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a nanoarray store"):
        write_report(tmp_path, tmp_path / "report.html")
    with pytest.raises(InputError, match="does not exist"):
        write_report(archive, tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match="is a folder"):
        write_report(archive, tmp_path)
    with pytest.raises(InputError, match="0 or more"):
        write_report(archive, tmp_path / "report.html", image_count=-1)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to render the page with")
def test_chromium_renders_the_page(page: Page, tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars",
        "--window-size=1200,2400", f"--screenshot={shot}", page.path.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    drawn = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert drawn.shape == (2400, 1200, 3)
    # Text and figures: dark ink on light paper, and the blue of the distributions.
    assert (drawn.sum(axis=2) < 150).mean() > 0.002
    assert ((drawn[..., 2] - drawn[..., 0]) > 60).mean() > 0.002
