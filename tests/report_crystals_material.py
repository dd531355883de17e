"""Simulated crystals with known groups, as the tests of their figures and pages use them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from nanoarray.nanocrystal.groups.fit import GroupFit, fit_groups
from nanoarray.nanocrystal.measure.crops import Crops, cut_crops
from nanoarray.nanocrystal.measure.features import measure_crystals
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
