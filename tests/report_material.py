"""Stores and pages that the tests of the report are about."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.store import GroupPlan, array_plan
from nanoarray.archive.tables import tag_attrs
from nanoarray.report.contents import read_contents
from nanoarray.report.page import write_report
from nanoarray.simulate.superlattice import SimulatedPolycrystal, simulate_polycrystal
from nanoarray.superlattice.parameters import GrainStatisticsParameters
from nanoarray.superlattice.radon.tile_grid import tile_grid
from nanoarray.superlattice.summary import summarize

HOSTILE = "<script>alert('x')</script> $\\frac{ \"quoted\" & _\u202e\x07"
STRIDE = 10
MAP_STAGES = ("prepared", "tiles", "tile_clusters", "grain_maps")


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
    block = {"grain": 4096, "crystal": 64}.get(dim, 4)
    known = {
        name: (schema.GROUPS[group][name].dims, data, schema.GROUPS[group][name].attrs)
        for name, data in (constants or {}).items()
    }
    own = {"intensity", "crop"}  # the data decide
    arrays = tuple(
        array_plan(group, n, sizes, block=block, dtype=str(data.dtype) if n in own else None)
        for n, data in values.items()
    )
    if dim == "crystal":  # one chunk per block of rows, as the stages have it
        arrays = tuple(replace(a, chunks=(block, *a.chunks[1:])) for a in arrays)
    store.create_group(url, group, GroupPlan(arrays, dim, sizes[dim], block, known))
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


def make_images(
    url: str,
    images: pd.DataFrame,
    pixels: list[np.ndarray],
    *,
    shape: tuple[int, int] = (190, 230),
) -> None:
    """The group ``images``; columns of ``images`` that the schema does not know are tags."""
    count = len(images)
    sizes = {"image": count, "y": shape[0], "x": shape[1]}
    padded = np.zeros((count, *shape), np.uint8)
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
        "problem": np.full(count, "", object),
    }
    write_group(url, "grains", values, sizes={"grain": count})


def write_statistics(url: str, by: tuple[str, ...]) -> None:
    contents = read_contents(url)
    parameters = GrainStatisticsParameters(by=by, resamples=200)
    images = contents.images.assign(usable=contents.sized)
    assert contents.grains is not None
    tags = tag_attrs(store.open_group(url, "images"))
    ds = summarize(contents.grains, images, parameters, tags=tags, tile_size_um=0.1)
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


def one_page(url: str, folder: Path, *, image_count: int = 1) -> Page:
    return Page(write_report(url, folder / "report.html", image_count=image_count))
