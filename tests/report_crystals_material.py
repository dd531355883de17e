"""Simulated crystals with known groups, as the tests of their figures and pages use them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report_material import make_images, text, write_group

from nanoarray import schema
from nanoarray.archive import store
from nanoarray.archive.store import GroupPlan
from nanoarray.nanocrystal.groups.fit import GroupFit, fit_groups
from nanoarray.nanocrystal.groups.methods import METHODS
from nanoarray.nanocrystal.measure.crops import Crops, cut_crops
from nanoarray.nanocrystal.measure.features import measure_crystals
from nanoarray.nanocrystal.parameters import CrystalStatisticsParameters
from nanoarray.nanocrystal.summary import known_rows, summarize
from nanoarray.report.contents import read_contents
from nanoarray.report.nanocrystals.montage import CropSample
from nanoarray.simulate.nanocrystals import FieldSpec, Population, simulate_field

PIXEL_SIZE = 0.5
SIZE = 224
POPULATIONS = (
    Population(count=16, diameter_nm=9.0, p=8.0, d=4, p_sigma=0.1),
    Population(count=10, diameter_nm=13.0, p=6.0, d=2, axis_ratio=1.9, p_sigma=0.1),
    Population(count=6, diameter_nm=16.0, p=2.0, d=2, axis_ratio=1.0),
)
REASONS = ("scale bar or letter", "smaller than the others")


@dataclass(frozen=True)
class Field:
    """One micrograph, its two label images, and its rows of the table of objects."""

    pixels: np.ndarray
    crystal: np.ndarray
    rejected: np.ndarray
    reasons: tuple[str, ...]
    rows: dict[str, np.ndarray]
    crops: Crops


@cache
def field(seed: int) -> Field:
    """A simulated field in which the two last crystals inside are said to be something else."""
    spec = FieldSpec(
        populations=POPULATIONS, height_px=SIZE, width_px=SIZE, pixel_size_nm=PIXEL_SIZE, gap_px=3
    )
    simulated = simulate_field(spec, seed=seed)
    measured = measure_crystals(simulated.labels, simulated.image, pixel_size_nm=PIXEL_SIZE)
    inside = measured["label"][~measured["touches_edge"]]
    last = inside[-2:].tolist()
    kept = [label for label in measured["label"].tolist() if label not in last]
    number = np.zeros(int(measured["label"].max()) + 1, np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    number[last] = np.arange(len(kept) + 1, len(kept) + 1 + len(last))
    labels = number[simulated.labels]
    rejected = np.where(labels > len(kept), labels, 0).astype(np.int32)
    rows = measure_crystals(labels, simulated.image, pixel_size_nm=PIXEL_SIZE)
    truth = pd.DataFrame(
        {n: simulated.crystals[n] for n in ("label", "group", "p", "d", "axis_ratio", "phase")}
    )
    truth["label"] = number[truth["label"].to_numpy()]
    truth = truth.set_index("label").reindex(rows["label"])
    rows |= {n: truth[n].to_numpy(np.float64) for n in ("p", "d", "axis_ratio", "phase")}
    rows["population"] = truth["group"].to_numpy(np.float64) + 1
    rows["rejected"] = np.array([""] * len(kept) + list(REASONS[: len(last)]), dtype=object)
    return Field(
        simulated.image,
        np.where(labels <= len(kept), labels, 0).astype(np.int32),
        rejected,
        REASONS[: len(last)],
        rows,
        cut_crops(labels, simulated.image),
    )


SCALARS = (
    *("label", "rejected", "touches_edge", "edge_weight", "population"),
    *("area", "equivalent_diameter", "axis_major", "axis_minor", "perimeter"),
    *("aspect_ratio", "eccentricity", "circularity", "solidity", "extent"),
    *("p", "d", "axis_ratio", "phase"),
)


@cache
def crystals(images: int = 3) -> pd.DataFrame:
    """The objects of some fields with the group that they were drawn from; -1 where left out."""
    parts = []
    for i in range(images):
        rows = field(i).rows
        parts.append(pd.DataFrame({n: rows[n] for n in SCALARS}).assign(image_index=i))
    frame = pd.concat(parts, ignore_index=True)
    frame["image"] = [f"image {i:03d}" for i in frame["image_index"]]
    whole = (frame["rejected"] == "") & ~frame["touches_edge"].astype(bool)
    frame["shape_group"] = np.where(whole, frame["population"].fillna(-1), -1).astype(np.int32)
    frame["jaccard"] = np.where(whole, 0.95, np.nan)
    return frame


@cache
def fitted(images: int = 3) -> GroupFit:
    """Groups of those crystals that have one."""
    frame = crystals(images)
    kept = frame[frame["shape_group"] > 0].select_dtypes("number")
    return fit_groups(kept, max_groups=5)


def crop_sample(images: int = 3) -> CropSample:
    """Crops of the crystals that have a group."""
    frame = crystals(images)
    crops = [field(i).crops for i in range(images)]
    whole = np.flatnonzero(frame["shape_group"] > 0)
    sample = CropSample(
        np.concatenate([c.pixels for c in crops]),
        np.concatenate([c.mask for c in crops]),
        np.concatenate([c.scale for c in crops]),
        np.full(len(frame), PIXEL_SIZE),
        frame["shape_group"].to_numpy(np.int64),
    )
    return sample.take(whole)


def image_table(images: int = 3) -> pd.DataFrame:
    """Images of two syntheses."""
    return pd.DataFrame(
        {
            "image": [f"image {i:03d}" for i in range(images)],
            "synthesis_method": [("hot injection", "LARP")[i % 2] for i in range(images)],
            "sample": [f"S{i}" for i in range(images)],
            "pixel_size": PIXEL_SIZE,
            "ok": True,
        }
    )


# --- stores -----------------------------------------------------------------------------------


def crystal_rows(images: int) -> dict[str, np.ndarray]:
    """Columns of the group ``crystals`` of some fields."""
    parts: dict[str, list[np.ndarray]] = {}
    for i in range(images):
        one = field(i)
        count = len(one.rows["label"])
        columns = one.rows | {
            "image_index": np.full(count, i, np.int32),
            "source_label": np.full(count, -1),
            "problem": text([""] * count),
            "crop": one.crops.pixels,
            "crop_mask": one.crops.mask,
            "crop_scale": one.crops.scale,
            "crop_origin_y": one.crops.origin[:, 0],
            "crop_origin_x": one.crops.origin[:, 1],
        }
        for name in schema.GROUPS["crystals"]:
            parts.setdefault(name, []).append(columns[name])
    return {name: np.concatenate(values) for name, values in parts.items()}


def make_crystal_store(
    folder: Path,
    *,
    images: int = 3,
    groups: int = 6,
    pixel_size: float = PIXEL_SIZE,
    table: pd.DataFrame | None = None,
    empty: bool = False,
) -> str:
    """A store of simulated crystals, with the first ``groups`` groups after ``images``.

    ``empty`` is a store in which nothing was found.
    """
    url = str(folder / "crystals.zarr")
    frame = (image_table(images) if table is None else table).assign(pixel_size=pixel_size)
    make_images(url, frame, [field(i).pixels for i in range(images)], shape=(SIZE, SIZE))
    maps = [
        np.stack([getattr(field(i), n) for i in range(images)]) for n in ("crystal", "rejected")
    ]
    maps = [0 * m if empty else m for m in maps]
    highest = [m.reshape(images, -1).max(axis=1) for m in maps]
    rejected = np.array([0 if empty else len(field(i).reasons) for i in range(images)], np.int32)
    reasons = [json.dumps([] if empty else list(field(i).reasons)) for i in range(images)]
    values = {
        "crystal": maps[0],
        "rejected_object": maps[1],
        "crystal_count": highest[0].astype(np.int32),
        "rejected_count": rejected,
        "rejected_reasons": text(reasons),
        "polarity": text(["dark"] * images),
        "source_labels": text([""] * images),
        "crystal_fraction": (maps[0] > 0).mean(axis=(1, 2)).astype(np.float32),
        "problem": text([""] * images),
    }
    if groups > 0:
        write_group(url, "crystal_maps", values, sizes={"image": images, "y": SIZE, "x": SIZE})
    if groups > 1:
        _write_tables(url, frame, groups, empty=empty)
    return url


def _write_tables(url: str, images: pd.DataFrame, groups: int, *, empty: bool) -> None:
    rows = crystal_rows(len(images))
    objects = crystals(len(images))
    if empty:
        rows = {name: values[:0] for name, values in rows.items()}
        objects = objects.iloc[:0]
    unknown = ~np.isfinite(images["pixel_size"].to_numpy(np.float64)).any()
    if unknown:
        for name, entry in schema.GROUPS["crystals"].items():
            if entry.units in ("nm", "nm2"):
                rows[name] = np.full(len(rows[name]), np.nan)
    count = len(objects)
    inner = {n: s for v in ("bbox", "outline", "extrema", "feret_max_ends") for n, s in zip(
        schema.GROUPS["crystals"][v].dims, rows[v].shape, strict=True)}  # fmt: skip
    inner |= dict(zip(("crystal", "crop_y", "crop_x"), rows["crop"].shape, strict=True))
    sizes = {"crystal": count, **{n: s for n, s in inner.items() if n != "crystal"}}
    write_group(url, "crystals", rows, sizes=sizes)
    if groups > 2:
        whole = objects["shape_group"].to_numpy() > 0
        shapes = {
            n: np.where(whole, objects[n].to_numpy(np.float64), np.nan)
            for n in ("p", "axis_ratio", "phase", "jaccard")
        }
        shapes["d"] = np.where(whole, objects["d"].fillna(-1), -1).astype(np.int32)
        shapes["d_confidence"] = shapes["jaccard"]
        shapes["jaccard_network"] = shapes["jaccard"] - 0.04
        write_group(url, "shapes", shapes, sizes={"crystal": count})
    if groups > 3:
        group = objects["shape_group"].to_numpy(np.int32)
        write_group(url, "shape_groups", {"shape_group": group}, sizes={"crystal": count})
        _put(url, "shape_groups", {} if empty else _group_constants(objects))
    if groups > 4:
        group = objects["shape_group"].to_numpy(np.int32)
        write_group(url, "classes", {"predicted_group": group}, sizes={"crystal": count})
        _put(url, "classes", _class_constants())
    if groups > 5:
        _write_crystal_statistics(url)


def _put(url: str, group: str, constants: dict[str, Any]) -> None:
    for name, (dims, values) in constants.items():
        attrs = {"units": "1", "long_name": name}
        store.put_constant(url, group, name, tuple(dims.split()), values, attrs)


def _group_constants(objects: pd.DataFrame) -> dict[str, Any]:
    fit = fitted(int(objects["image_index"].max()) + 1)
    kept = np.flatnonzero(objects["shape_group"] > 0)
    found: dict[str, Any] = {
        "dataset": ("dataset", text(list(fit.silhouettes))),
        "method": ("method", text(list(METHODS))),
        "number": ("number", fit.numbers),
        "silhouette": ("dataset method number", np.stack(list(fit.silhouettes.values()))),
        "explained_variance": ("component", fit.explained_variance),
        "tree": ("merge tree_column", fit.tree),
        "tree_row": ("leaf", kept[fit.tree_rows]),
        "group_count": ("", np.int32(fit.n_groups)),
        "left_out_count": ("", np.int64(len(objects) - len(kept))),
        "note": ("note", text(["groups were looked for in 5 ways"])),
        "model_dataset": ("", text([str(fit.model["dataset"])])[0]),
        "model_method": ("", text([str(fit.model["method"])])[0]),
    }
    tests = list(fit.tests.values())
    for name in ("silhouette", "expected", "p_value"):
        found[f"test_{name}"] = ("dataset", np.array([getattr(t, name) for t in tests]))
    for name in ("dataset", "method", "n_groups", "silhouette", "cophenet", "cophenet_groups"):
        values = [getattr(c, name) for c in fit.comparison]
        words = isinstance(values[0], str)
        found[f"candidate_{name}"] = ("candidate", text(values) if words else np.array(values))
    return found


def _class_constants() -> dict[str, Any]:
    return {
        "confusion": ("true predicted", np.array([[40, 1, 0], [2, 30, 0], [0, 0, 11]])),
        "class_name": ("true", text(["1", "2", "3"])),
        "kind": ("", "cluster reproducibility"),
        "evaluation_name": (
            "evaluation",
            text(["held out", "by crystal", "by image"]),
        ),
        "evaluation_accuracy": ("evaluation", np.array([0.96, 0.97, 0.93])),
        "evaluation_accuracy_std": ("evaluation", np.array([np.nan, 0.01, 0.03])),
        "ablation_features": ("ablation", text(["features only", "features and shape parameters"])),
        "ablation_accuracy": ("ablation", np.array([0.8, 0.96])),
        "note": ("note", text(["classes below 5 crystals were left out"])),
    }


def _write_crystal_statistics(url: str) -> None:
    contents = read_contents(url)
    assert contents.crystals is not None
    rows, images = contents.crystals.rows, contents.crystal_images
    by = ("synthesis_method",)
    ds = summarize(rows, images, CrystalStatisticsParameters(by=by, resamples=100))
    constants = known_rows(ds)
    count = ds.sizes["condition"]
    store.create_group(
        url, "crystal_statistics", GroupPlan((), "condition", count, max(count, 1), constants)
    )
    record = store.provenance(url, "crystals") | {
        "stage": "crystal_statistics",
        "dim": "condition",
        "length": count,
        "basis": {
            "parameters": {"by": list(by), "edge": "weight", "interval": 0.95},
            "kernel_version": 1,
        },
    }
    store.set_provenance(url, "crystal_statistics", record)
