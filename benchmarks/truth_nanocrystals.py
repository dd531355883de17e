"""What the nanocrystal pipeline finds in simulated archives whose truth is known.

    python benchmarks/truth_nanocrystals.py [--quick]

One core. Groups and sizes are those of the network's own segmentation; false alarms and power,
which need many archives, come from the true label images of small fields.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Before NumPy starts its threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.metrics import adjusted_rand_score

import nanoarray as na
from nanoarray.nanocrystal.compare.distances import population_distances
from nanoarray.nanocrystal.compare.pairs import compare_populations
from nanoarray.nanocrystal.compare.summary import summarize_crystals
from nanoarray.nanocrystal.measure.features import measure_crystals
from nanoarray.simulate.nanocrystal_archive import (
    NanocrystalImage,
    plan_nanocrystal_archive,
    simulate_nanocrystal_image,
)

PIXEL_SIZE_NM = 0.4
LEVEL = 0.05
#: Columns of the table of images that the statistics need.
_TAGS = ("image", "synthesis_method", "sample", "pixel_size")


@dataclass(frozen=True)
class Archive:
    """Images of a plan as a Dataset, and the truth: labels, and a table of the crystals."""

    images: xr.Dataset
    labels: list[np.ndarray]
    truth: pd.DataFrame


def simulate(plan: list[NanocrystalImage], **options: Any) -> Archive:
    """Simulate every image of a plan."""
    fields = [simulate_nanocrystal_image(p, pixel_size_nm=PIXEL_SIZE_NM, **options) for p in plan]
    tables = []
    for i, field in enumerate(fields):
        names = ("label", "group", "equivalent_diameter", "touches_edge", "occlusion")
        tables.append(pd.DataFrame({n: field.crystals[n] for n in names}).assign(image_index=i))
    images = xr.Dataset(
        {
            "intensity": (("image", "y", "x"), np.stack([f.image for f in fields])),
            "pixel_size": ("image", np.full(len(plan), PIXEL_SIZE_NM)),
            "synthesis_method": ("image", [p.synthesis_method for p in plan]),
            "sample": ("image", [p.sample for p in plan]),
        },
        coords={"image": [p.stem for p in plan]},
    )
    return Archive(images, [f.labels for f in fields], pd.concat(tables, ignore_index=True))


def found_crystals(archive: Archive, **segmentation: Any) -> xr.Dataset:
    """The table of crystals as the pipeline finds them, with shapes and groups."""
    maps = na.segment_crystals(archive.images, **segmentation)
    table = na.measure_crystals(archive.images.merge(maps))
    table = table.merge(na.predict_shapes(table, refine=False))
    table = table.merge(na.group_shapes(table)[["shape_group"]])
    return table.assign(truth=("crystal", _true_rows(archive, table, maps)))


def _true_rows(archive: Archive, table: xr.Dataset, maps: xr.Dataset) -> np.ndarray:
    """Row of the truth that each crystal shares most pixels with; -1 where it is none's half."""
    index = archive.truth.set_index(["image_index", "label"]).assign(
        row=np.arange(len(archive.truth))
    )["row"]
    rows = np.full(table.sizes["crystal"], -1)
    pairs = zip(table["image_index"].values, table["label"].values, strict=True)
    for k, (i, label) in enumerate(pairs):
        inside = archive.labels[i][maps["crystal"][int(i)].values == label]
        if inside.size and np.bincount(inside).argmax() and inside.any():
            ids, counts = np.unique(inside, return_counts=True)
            if counts.max() > 0.5 * inside.size and ids[counts.argmax()]:
                rows[k] = index[(int(i), int(ids[counts.argmax()]))]
    return rows


def group_agreement(archive: Archive, table: xr.Dataset) -> tuple[float, int, int]:
    """Adjusted Rand index of the groups and the true populations, groups, crystals compared."""
    group, truth = table["shape_group"].values, table["truth"].values
    kept = (group > 0) & (truth >= 0)
    populations = archive.truth["group"].to_numpy()[truth[kept]]
    score = float(adjusted_rand_score(populations, group[kept]))
    return score, int(group.max(initial=0)), int(kept.sum())


def size_errors(archive: Archive, table: xr.Dataset) -> pd.DataFrame:
    """Mean size by synthesis, as found and of the true crystals, both weighted for the edge."""
    found = na.summarize_crystals(table, archive.images, by=("synthesis_method",), resamples=500)
    rows = pd.DataFrame(
        {n: found[n].values for n in ("condition", "mean_size", "mean_size_low", "mean_size_high")}
    )
    true = summarize_crystals(*true_tables(archive), by=["synthesis_method"], resamples=100)
    rows["true_size"] = true["mean_size"].to_numpy()
    rows["error"] = rows["mean_size"] / rows["true_size"] - 1
    return rows


def true_tables(archive: Archive) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Crystals and images as tables, sizes [nm] as the outlines were drawn, groups as they are."""
    truth = archive.truth
    weight = np.zeros(len(truth))
    for i, labels in enumerate(archive.labels):
        measured = measure_crystals(
            labels, np.zeros(labels.shape, np.uint8), pixel_size_nm=PIXEL_SIZE_NM
        )
        own = np.flatnonzero(truth["image_index"] == i)
        place = pd.Series(own, index=truth["label"].iloc[own])
        weight[place[measured["label"]]] = measured["edge_weight"]
    crystals = truth.assign(
        equivalent_diameter=truth["equivalent_diameter"] * PIXEL_SIZE_NM,
        shape_group=truth["group"] + 1,
        touches_edge=weight == 0,
        edge_weight=weight,
    )
    images = archive.images.drop_vars("intensity").to_dataframe().reset_index()
    return crystals, images[list(_TAGS)]


def differences(seed: int, *, same: bool, batches: int = 5, side_px: int = 384) -> dict[str, float]:
    """p-values between two syntheses in one small archive of true labels, an image per batch."""
    plan = plan_nanocrystal_archive(
        image_count=2 * batches,
        seed=seed,
        batches_per_synthesis=batches,
        crystals_per_image=30,
        same_population=same,
    )
    archive = simulate(plan, height_px=side_px, width_px=side_px, scale_bar=False)
    crystals, images = true_tables(archive)
    common: dict[str, Any] = {"by": ["synthesis_method"], "seed": seed}
    pairs = compare_populations(
        crystals, images, quantities=["mean_size"], resamples=100, permutations=999, **common
    )
    sizes = pairs["quantity"] == "mean_size"
    distance = population_distances(crystals, images, features=(), permutations=999, **common)
    return {
        "mean size": float(pairs.loc[sizes, "p_value"].iloc[0]),
        "composition": float(pairs.loc[~sizes, "p_value_holm"].min()),
        "distance of sizes": float(distance["p_value_holm"].min()),
    }


def alarm_rates(seeds: Iterable[int], *, same: bool) -> pd.Series:
    """Share of archives in which a test finds a difference at `LEVEL`."""
    return (pd.DataFrame([differences(s, same=same) for s in seeds]) <= LEVEL).mean()


def agglomerated(
    degrees: Iterable[float], *, images: int, seed: int, **options: Any
) -> pd.DataFrame:
    """Mean size with its interval of one population, segmented, by degree of agglomeration."""
    plan = plan_nanocrystal_archive(image_count=2 * images, seed=seed)[::2]
    rows = []
    for degree in degrees:
        archive = simulate(plan, agglomeration=degree, scale_bar=False, **options)
        table = na.measure_crystals(archive.images.merge(na.segment_crystals(archive.images)))
        found = na.summarize_crystals(
            table, archive.images, by=(), resamples=500, resample_unit="image"
        )
        names = ("crystal_count", "mean_size", "mean_size_low", "mean_size_high")
        rows.append({"agglomeration": degree} | {n: float(found[n].values[0]) for n in names})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and archives")
    quick = parser.parse_args().quick
    import torch

    torch.set_num_threads(1)
    for seed in (1,) if quick else (1, 2, 3, 4):
        archive = simulate(plan_nanocrystal_archive(image_count=6 if quick else 12, seed=seed))
        table = found_crystals(archive)
        score, groups, count = group_agreement(archive, table)
        print(
            f"\nseed {seed}: adjusted Rand index {score:.3f} of {count} crystals, {groups} groups"
        )
        print(size_errors(archive, table).round(4).to_string(index=False), flush=True)
    print("\nmean size [nm] of one population, by degree of agglomeration")
    found = agglomerated((0.0, 0.4, 0.8), images=2 if quick else 4, seed=3)
    print(found.round(3).to_string(index=False), flush=True)
    seeds = range(10 if quick else 60)
    for same in (True, False):
        rates = alarm_rates(seeds, same=same)
        what = "one population in both: false alarms" if same else "two syntheses: found"
        print(f"\n{what} at {LEVEL:.0%}, {len(seeds)} archives")
        print(rates.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
