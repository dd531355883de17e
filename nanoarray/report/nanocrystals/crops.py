"""Which crystals a report shows as pictures, and their crops: few chunks are read, never all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from nanoarray.archive import store
from nanoarray.report.nanocrystals.contents import CrystalContents
from nanoarray.report.nanocrystals.groups import IntArray, spread_rows
from nanoarray.report.nanocrystals.montage import CropSample

#: Crops that a report reads at most, as whole chunks: 1,024 take 4 MB.
MAX_READ = 6144
#: Parts of the table that they come from, at least where there are so many chunks.
MIN_CHUNKS = 3
#: Crystals of the montage of the population.
POPULATION = 420
PER_GROUP = 12
EXAMPLES = 24


@dataclass(frozen=True)
class ChosenCrops:
    """Rows of the table and their crops.

    ``rows`` (n,) are in ascending order; ``exemplary``, ``population`` and ``examples`` are
    positions in them. ``searched`` is the number of whole crystals they were chosen among.
    """

    rows: IntArray
    sample: CropSample
    exemplary: IntArray
    population: IntArray
    examples: IntArray
    searched: int


def choose_crops(crystals: CrystalContents, images: pd.DataFrame, *, seed: int = 0) -> ChosenCrops:
    """Choose crystals of a few chunks that are spread over the table, and read their crops."""
    return _choose(crystals, images, store.open_group(crystals.url, "crystals"), seed)


def _choose(
    crystals: CrystalContents, images: pd.DataFrame, ds: xr.Dataset, seed: int
) -> ChosenCrops:
    count = len(crystals.rows)
    chunk = int(ds["crop"].encoding.get("chunks", (count or 1,))[0]) if "crop" in ds else 1
    number = max(MIN_CHUNKS, MAX_READ // chunk)
    chunks = spread_rows(np.arange(-(-count // chunk), dtype=np.int64), number)
    near = np.isin(np.arange(count) // chunk, chunks)
    candidates = np.flatnonzero(near & crystals.whole.to_numpy(bool)).astype(np.int64)
    rng = np.random.default_rng(seed)
    population = candidates
    if population.size > POPULATION:
        population = rng.choice(population, POPULATION, replace=False)
    exemplary = _exemplary(crystals, candidates)
    shaped = candidates
    if "jaccard" in crystals.rows:
        overlap = crystals.rows["jaccard"].to_numpy(np.float64)[candidates]
        shaped = candidates[np.isfinite(overlap)]
        shaped = shaped[np.argsort(overlap[np.isfinite(overlap)], kind="stable")]
    examples = spread_rows(shaped, EXAMPLES)
    rows = np.unique(np.concatenate([population, exemplary, examples]))
    place = {int(row): k for k, row in enumerate(rows)}

    def positions(wanted: npt.NDArray[np.int64]) -> IntArray:
        return np.array([place[int(row)] for row in wanted], dtype=np.int64)

    return ChosenCrops(
        rows=rows,
        sample=_read(crystals, images, ds, rows, chunk),
        exemplary=positions(exemplary),
        population=positions(population),
        examples=positions(examples),
        searched=candidates.size,
    )


def _exemplary(crystals: CrystalContents, candidates: IntArray) -> IntArray:
    """Of every group, the crystals nearest to its median in the common features."""
    names = [n for n in crystals.common_features if n != "d"]
    values = crystals.rows.loc[candidates, names].to_numpy(np.float64)
    group = crystals.group[candidates]
    with np.errstate(invalid="ignore"):
        scale = np.nanstd(values, axis=0) if len(values) else np.ones(len(names))
    scale = np.where(scale > 0, scale, 1.0)
    chosen = []
    for k in range(1, crystals.group_count + 1):
        part = np.flatnonzero(group == k)
        if part.size == 0:
            continue
        known = np.nan_to_num(values[part] / scale)
        distance = np.abs(known - np.median(known, axis=0)).mean(axis=1)
        chosen.append(candidates[part[np.argsort(distance, kind="stable")[:PER_GROUP]]])
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def _read(
    crystals: CrystalContents, images: pd.DataFrame, ds: xr.Dataset, rows: IntArray, chunk: int
) -> CropSample:
    """Crops of rows, chunk by chunk."""
    size = ds.sizes.get("crop_y", 1)
    pixels, masks = [np.zeros((0, size, size))], [np.zeros((0, size, size), bool)]
    for number in np.unique(rows // chunk):
        inside = rows[rows // chunk == number] - number * chunk
        block = ds[["crop", "crop_mask"]].isel(
            crystal=slice(int(number * chunk), int((number + 1) * chunk))
        )
        pixels.append(block["crop"].values[inside])
        masks.append(block["crop_mask"].values[inside].astype(bool))
    frame = crystals.rows.iloc[rows]
    nm = images["pixel_size"].to_numpy(np.float64)[frame["image_index"].to_numpy(np.int64)]
    return CropSample(
        np.concatenate(pixels),
        np.concatenate(masks),
        frame["crop_scale"].to_numpy(np.float64),
        np.where(nm > 0, nm, np.nan),
        crystals.group[rows],
    )
