"""Do batches of one synthesis agree? How much of the spread is between them, how much within.

The observations are samples where a batch has several, otherwise images: the value of each, in
batches. Images of one sample share what made that sample, so that as observations they would make
a difference between samples one between batches. A batch of which only one observation is known
says nothing of its own spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from nanoarray.nanocrystal.compare.composition import group_sums, known_groups
from nanoarray.nanocrystal.compare.population import (
    Population,
    build_population,
    condition_of,
    tag_names,
)
from nanoarray.nanocrystal.compare.sizes import size_statistics, size_sums
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import ResampleUnit, image_table
from nanoarray.statistics.resampling import (
    check_resampling,
    condition_rng,
    exchange_test,
    holm,
    no_test_reason,
)

__all__ = ["REPRODUCIBILITY_COLUMNS", "batch_reproducibility", "variance_components"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

#: Units and meaning of the columns of `batch_reproducibility`.
REPRODUCIBILITY_COLUMNS: Final = units_and_meanings("batch")


def batch_reproducibility(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    batch: str = "batch",
    by: Sequence[str] = (),
    size: str = "equivalent_diameter",
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    permutations: int = 9999,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Spread between the batches of every condition against that within them.

    The values of single batches, the paper's Table 1, are those of `group_composition` with
    ``by=[*by, batch]``.

    Parameters
    ----------
    crystals, images, size, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`.
    batch
        Tag of the batch: images where it is missing are left out and counted.
    by
        Tags whose combinations are the conditions, such as ``synthesis_method``.
    resample_unit
        What the observations are. ``"auto"`` and ``"sample"``: samples where the tag ``sample``
        says that a batch has several, otherwise images; ``"image"``: images.
    interval
        Confidence of the interval; 1 - interval is the level of the test.
    permutations, seed
        Largest number of arrangements, and the seed.

    Returns
    -------
    One row per condition and quantity: the tags and `REPRODUCIBILITY_COLUMNS`. Every observation
    counts once, a sample by the mean of its images. The test exchanges whole observations between
    batches: it asks whether batches differ at all. Where a batch has one sample, batches differ if
    their samples do, and `notes` says so.

    Raises
    ------
    InputError
        Where a column or tag does not exist or a parameter is out of range.
    """
    check_resampling(interval=interval, resamples=100, permutations=permutations)
    tags = tag_names(by, reserved=tuple(REPRODUCIBILITY_COLUMNS))
    population = build_population(
        crystals, images, tags=[*tags, batch], size=size, edge=edge, sample_tag=batch
    )
    groups = known_groups(crystals, population) if "shape_group" in crystals else []
    sample_of = image_table(images, []).set_index("image")["sample"]
    rows: list[dict[str, Any]] = []
    for tag_values, part in population.conditions(tags):
        unknown = part.used & (part.images["sample"] == "").to_numpy()
        known = part.take(part.used & ~unknown)
        code = np.unique(known.images["sample"].to_numpy(str), return_inverse=True)[1]
        samples = sample_of[known.images["image"]].to_numpy(str)
        observed, note = _observations(code, samples, resample_unit)
        for quantity, group, values, noise in _image_values(known, groups):
            row = condition_of(tag_values)
            row |= {"quantity": quantity, "shape_group": group}
            row["units"] = "nm" if quantity == "mean_size" else "1"
            row["image_without_batch_count"] = int(unknown.sum())
            rng = condition_rng(seed, f"{row['condition']} | {quantity} {group}")
            row["image_count"] = int(np.isfinite(values).sum())
            row["resample_unit"] = "image" if observed is None else "sample"
            values, batches = (values, code) if observed is None else _means(values, code, observed)
            row |= _spread(
                values, batches, noise, interval=interval, permutations=permutations, rng=rng
            )
            row["notes"] = "; ".join(text for text in (row["notes"], note) if text)
            rows.append(row)
    frame = pd.DataFrame(rows, columns=[*tags, *REPRODUCIBILITY_COLUMNS])
    for quantity in set(frame["quantity"]):
        family = frame["quantity"] == quantity
        frame.loc[family, "p_value_holm"] = holm(frame.loc[family, "p_value"])
    return frame


def _observations(
    batch: IntArray, sample: npt.NDArray[np.str_], resample_unit: ResampleUnit
) -> tuple[IntArray | None, str]:
    """Sample of every image, from 0, or None where images are compared; and what is to be said."""
    if resample_unit == "image" or not (sample != "").any():
        return None, "images of one batch are taken as independent"
    names = np.unique(sample, return_inverse=True)[1]
    pairs, unit = np.unique(np.stack([batch, names], axis=1), axis=0, return_inverse=True)
    if len(pairs) == len(np.unique(batch)):
        return None, "each batch has one sample: differences may be of samples"
    return unit.ravel(), ""


def _means(values: FloatArray, batch: IntArray, unit: IntArray) -> tuple[FloatArray, IntArray]:
    """Mean value and batch of every sample; NaN where none of its images has a value."""
    known = np.isfinite(values)
    count = np.bincount(unit[known], minlength=unit.max() + 1)
    with np.errstate(invalid="ignore"):
        means = np.bincount(unit[known], values[known], minlength=len(count)) / count
    return means, batch[np.unique(unit, return_index=True)[1]]


def variance_components(
    values: FloatArray, batch: npt.NDArray[np.intp], *, interval: float = 0.95
) -> dict[str, float]:
    """Split the variance of images into that of batches and that within (one-way, random).

    Parameters
    ----------
    values
        (images,) a value of each; or of each sample, for what samples say.
    batch
        (images,) its batch, from 0.
    interval
        Confidence of the interval.

    Returns
    -------
    ``std_between_batches`` (0 where batches differ less than images let expect),
    ``std_between_images``, ``batch_fraction`` (intraclass correlation) with ``_low``, ``_high``
    from the F distribution (exact for normal values and as many images in each batch); NaN where
    there is one batch only, or one image in each.

    References
    ----------
    Searle, Casella & McCulloch, *Variance Components*, 1992, 3.5 and 3.6.
    """
    names = ("std_between_batches", "std_between_images", "batch_fraction")
    out = dict.fromkeys((*names, "batch_fraction_low", "batch_fraction_high"), math.nan)
    size = np.bincount(batch)
    size = size[size > 0]
    images, batches = len(values), len(size)
    if images - batches < 1:
        return out
    total = float(np.sum((values - values.mean()) ** 2))
    within = float(np.sum((values - _batch_means(values, batch)) ** 2)) / (images - batches)
    out["std_between_images"] = math.sqrt(within)
    if batches < 2:
        return out
    between = max(0.0, total - within * (images - batches)) / (batches - 1)
    per_batch = (images - np.sum(size**2) / images) / (batches - 1)
    component = max(0.0, (between - within) / per_batch)
    out["std_between_batches"] = math.sqrt(component)
    if total <= 0:
        return out
    out["batch_fraction"] = component / (component + within)
    tail = (1 - interval) / 2
    for name, q in (("batch_fraction_low", 1 - tail), ("batch_fraction_high", tail)):
        quantile = float(stats.f.ppf(q, batches - 1, images - batches))
        ratio = (between / within / quantile - 1) / per_batch if within > 0 else math.inf
        out[name] = 1.0 if math.isinf(ratio) else max(0.0, ratio / (1 + ratio))
    return out


def _batch_means(values: FloatArray, batch: npt.NDArray[np.intp]) -> FloatArray:
    size = np.maximum(np.bincount(batch), 1)
    means: FloatArray = (np.bincount(batch, values) / size)[batch]
    return means


def _image_values(
    part: Population, groups: Sequence[int]
) -> list[tuple[str, int, FloatArray, float]]:
    """Quantity, group, value of every image (NaN none), standard deviation of its crystals."""
    sized, count = part.sized, len(part.images)
    of = size_sums(part.size_nm[sized], part.weight[sized], part.row[sized], count)
    found = size_statistics(of.sums, of)
    w, ww, wx, wxx = of.sums[:, :4].T
    with np.errstate(invalid="ignore", divide="ignore"):
        # Sums of squares about the mean of each image, by their degrees of freedom.
        freedom = np.nansum(w - ww / w)
        inside = np.nansum(wxx - wx**2 / w)
        std = math.sqrt(max(inside, 0.0) / freedom) if freedom > 1e-9 else math.nan
    rows = [
        ("mean_size", -1, found["mean_size"], std),
        ("relative_spread", -1, found["relative_spread"], math.nan),
    ]
    units = part.units("image", sizes=False, fall_back=True)
    sums = group_sums(part, units, groups)
    total = sums.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums / total[:, None]
    for index, group in enumerate(groups):
        share = shares[:, index]
        spread = total * share * (1 - share)
        noise = math.sqrt(np.nansum(spread) / total.sum()) if total.sum() > 0 else math.nan
        rows.append(("share", group, share, noise))
    return rows


def _spread(
    values: FloatArray,
    batch: npt.NDArray[np.intp],
    noise: float,
    *,
    interval: float,
    permutations: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All that is said of one quantity of one condition."""
    finite = np.isfinite(values)
    values = values[finite]
    batch = np.unique(batch[finite], return_inverse=True)[1]
    order = np.lexsort((values, batch))
    values, batch = values[order], batch[order]
    size = np.bincount(batch) if len(batch) else np.zeros(0, np.intp)
    means = np.bincount(batch, values) / size if len(batch) else np.zeros(0)
    row: dict[str, Any] = {"batch_count": len(size), "resample_unit_count": len(values)}
    row |= {
        "mean_of_batches": float(means.mean()) if len(means) else math.nan,
        "batch_min": float(means.min()) if len(means) else math.nan,
        "batch_max": float(means.max()) if len(means) else math.nan,
        "batch_std": float(means.std(ddof=1)) if len(means) > 1 else math.nan,
        "std_of_crystals": noise,
        "p_value": math.nan,
        "smallest_p_value": math.nan,
    }
    mean = row["mean_of_batches"]
    row["batch_relative_std"] = row["batch_std"] / mean if mean else math.nan
    row |= variance_components(values, batch, interval=interval)
    if len(size) < 2:
        row["notes"] = f"no test is possible: {len(size)} batches"
        return row
    centred = values - values.mean()

    def between(arrangements: FloatArray) -> FloatArray:
        """Sum of squares between batches: the F statistic rises with it."""
        total = np.zeros(len(arrangements))
        for code, n in enumerate(size):
            total += ((arrangements == code) @ centred) ** 2 / n
        return total

    alpha = 1 - interval
    result = exchange_test(
        between, batch.astype(np.float64), permutations=permutations, rng=rng, alpha=alpha
    )
    row |= {"p_value": result.p_value, "smallest_p_value": result.smallest_p}
    notes = [no_test_reason(result, alpha=alpha)]
    if (size < 2).any():
        notes.append(f"{int((size < 2).sum())} batches of one observation")
    if len(size) < 5:
        notes.append(f"the spread between batches comes from {len(size)} only")
    row["notes"] = "; ".join(note for note in notes if note)
    return row
