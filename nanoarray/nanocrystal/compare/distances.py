"""How far apart two populations are, and whether farther than chance would set them.

Every image or sample counts once, and whole ones are exchanged: the test asks whether the
arrangement of units in conditions matters, with no assumption on the crystals of one unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.composition import known_groups
from nanoarray.nanocrystal.compare.population import (
    Population,
    build_population,
    pair_units,
    tag_names,
)
from nanoarray.nanocrystal.compare.unit_distance import (
    Statistic,
    UnitDistance,
    composition_distance,
    feature_distance,
    size_distance,
    welch_distance,
)
from nanoarray.nanocrystal.groups.columns import read_columns
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import ResampleUnit, condition_label
from nanoarray.statistics.resampling import (
    check_resampling,
    condition_rng,
    exchange_test,
    holm,
    no_test_reason,
)

__all__ = ["DEFAULT_FEATURES", "DISTANCES", "DISTANCE_COLUMNS", "population_distances"]

FloatArray = npt.NDArray[np.float64]

#: Size once, then what does not depend on it.
DEFAULT_FEATURES: Final = (
    "equivalent_diameter",
    "aspect_ratio",
    "circularity",
    "solidity",
    "extent",
)

#: Unit and meaning of every distance.
DISTANCES: Final[dict[str, tuple[str, str]]] = {
    "size": ("nm", "Wasserstein: mean shift that turns one distribution of sizes into the other"),
    "features": ("1", "energy coefficient of standardized features: 0 the same, 1 farthest"),
    "composition": ("1", "total variation: share that would have to change its shape group"),
    "composition_js": ("1", "Jensen-Shannon distance of the shares, base 2: 0 to 1"),
}

#: Units and meaning of the columns of `population_distances`.
DISTANCE_COLUMNS: Final = units_and_meanings("distance")

#: Arrangements that are worked on at once.
_CHUNK = 1024


def population_distances(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str],
    size: str = "equivalent_diameter",
    features: Sequence[str] = DEFAULT_FEATURES,
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    level: float = 0.05,
    permutations: int = 9999,
    max_crystals: int = 4000,
    max_units: int = 500,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Distance between every two conditions, with a test that exchanges whole units.

    Parameters
    ----------
    crystals, images, by, size, sample_tag, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`.
    features
        Columns of the energy distance; lengths and ratios enter by their logarithm, all are
        standardized over all conditions. None: no such distance.
    resample_unit
        As in `nanoarray.nanocrystal.compare.pairs.compare_populations`.
    level
        Level of the test.
    permutations, seed
        Largest number of arrangements, and the seed.
    max_crystals
        Of more crystals in a pair, so many are drawn for the energy distance, evenly from its
        units; `notes` says so.
    max_units
        Of more images or samples in a condition, so many are drawn, because time and memory of the
        test grow with the square of their number; `notes` says so, and the counts are those drawn.

    Returns
    -------
    One row per pair and kind of `DISTANCES` that the table allows, with `DISTANCE_COLUMNS` and the
    tags as ``<tag>_a``, ``<tag>_b``. A distance is never below 0: compare it with
    `exchanged_high`. The test weighs the same difference by how the units of each condition scatter
    (`unit_distance.welch_distance`), so that conditions of few and of many crystals can be
    compared.

    Raises
    ------
    InputError
        Where a column or tag does not exist or a parameter is out of range.

    References
    ----------
    Szekely & Rizzo, J. Stat. Plan. Inference 143 (2013) 1249 (energy distance; the coefficient is
    H); Lin, IEEE Trans. Inf. Theory 37 (1991) 145 (Jensen-Shannon).
    """
    check_resampling(interval=1 - level, resamples=100, permutations=permutations)
    if max_crystals < 10:
        raise InputError(f"max_crystals is {max_crystals}: expected at least 10")
    if max_units < 2:
        raise InputError(f"max_units is {max_units}: expected at least 2")
    tags = tag_names(by, reserved=())
    known = {str(name): crystals[name] for name in crystals}
    values = read_columns(known, list(features)) if features else None
    population = build_population(
        crystals,
        images,
        tags=tags,
        size=size,
        edge=edge,
        sample_tag=sample_tag,
        features=values,
    )
    groups = known_groups(crystals, population) if "shape_group" in crystals else []
    population = _standardized(population)
    rows: list[dict[str, Any]] = []
    for (tags_a, part_a), (tags_b, part_b) in combinations(population.conditions(tags), 2):
        names = condition_label(tags_a), condition_label(tags_b)
        head = {"condition_a": names[0], "condition_b": names[1]}
        head |= {f"{tag}_a": value for tag, value in tags_a.items()}
        head |= {f"{tag}_b": value for tag, value in tags_b.items()}
        name = " / ".join(names)
        rng = condition_rng(seed, f"{name} | drawn")
        pair, drawn = _drawn_units((part_a, part_b), resample_unit, max_units=max_units, rng=rng)
        found = _of_pair(
            pair, groups, resample_unit, features=bool(features), max_crystals=max_crystals, rng=rng
        )
        for kind, (of, own_notes) in found.items():
            row = {**head, "kind": kind, "units": DISTANCES[kind][0]}
            rng = condition_rng(seed, f"{name} | {kind}")
            notes = [*drawn, *own_notes]
            rows.append(row | _tested(of, notes, level=level, permutations=permutations, rng=rng))
    return _as_table(rows, tags)


def _as_table(rows: list[dict[str, Any]], tags: Sequence[str]) -> pd.DataFrame:
    """Rows of pairs in the order of the columns, p corrected for all pairs of a kind."""
    columns = [f"{tag}_{side}" for side in "ab" for tag in tags]
    own = [name for name in DISTANCE_COLUMNS if name not in ("condition_a", "condition_b")]
    frame = pd.DataFrame(rows, columns=["condition_a", "condition_b", *columns, *own])
    for kind in set(frame["kind"]):
        family = frame["kind"] == kind
        frame.loc[family, "p_value_holm"] = holm(frame.loc[family, "p_value"])
    return frame


def _drawn_units(
    pair: tuple[Population, Population],
    resample_unit: ResampleUnit,
    *,
    max_units: int,
    rng: np.random.Generator,
) -> tuple[tuple[Population, Population], list[str]]:
    """At most `max_units` whole units of either condition, and what is to be said of it."""
    units, _ = pair_units(pair, resample_unit, sizes=False)
    kept, notes = [], []
    for part, unit in zip(pair, units, strict=True):
        count = len(unit.names)
        if count <= max_units:
            kept.append(part)
            continue
        images = np.zeros(len(part.images), bool)
        images[part.used] = np.isin(unit.of_image, rng.permutation(count)[:max_units])
        kept.append(part.take(images))
        notes.append(f"{max_units} of {count} {unit.kind}s drawn")
    return (kept[0], kept[1]), notes


def _of_pair(
    pair: tuple[Population, Population],
    groups: Sequence[int],
    resample_unit: ResampleUnit,
    *,
    features: bool,
    max_crystals: int,
    rng: np.random.Generator,
) -> dict[str, tuple[UnitDistance, list[str]]]:
    """Distances by kind, with what is to be said of their units."""
    shapes, notes = pair_units(pair, resample_unit, sizes=False)
    sizes, size_notes = pair_units(pair, resample_unit, sizes=True)
    found = {"size": (size_distance(pair, sizes), size_notes)}
    if features:
        of = feature_distance(pair, shapes, max_crystals=max_crystals, rng=rng)
        found["features"] = (of, notes)
    if groups:
        of = composition_distance(pair, shapes, groups, kind="total variation")
        found["composition"] = (of, notes)
        of = composition_distance(pair, shapes, groups, kind="Jensen-Shannon")
        found["composition_js"] = (of, notes)
    return found


def _standardized(population: Population) -> Population:
    """Give features mean 0 and standard deviation 1 over the crystals that count."""
    values = population.features
    complete = np.isfinite(values).all(axis=1) & population.shaped
    scaled = np.full_like(values, np.nan)
    if complete.any():
        mean, scale = values[complete].mean(axis=0), values[complete].std(axis=0)
        # A constant column says nothing.
        scale = np.where(scale > 1e-9 * (1 + np.abs(mean)), scale, np.inf)
        scaled[complete] = (values[complete] - mean) / scale
    return replace(population, features=scaled)


def _tested(
    of: UnitDistance,
    notes: Sequence[str],
    *,
    level: float,
    permutations: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Distance, what it is among exchanged units, and the test."""
    counts = [int((of.labels == side).sum()) for side in (0, 1)]
    row: dict[str, Any] = {"resample_unit": of.units[0].kind}
    row |= {"unit_count_a": counts[0], "unit_count_b": counts[1]}
    if min(counts) == 0:
        empty = dict.fromkeys(("distance", "exchanged_high", "p_value", "smallest_p_value"), np.nan)
        reason = "no test is possible: a condition has no crystal"
        return {**row, **empty, "exact": False, "notes": "; ".join([reason, *of.notes, *notes])}
    distance, test = _chunked(of.distance), _chunked(welch_distance(of.squared))
    wanted: dict[str, Any] = {"permutations": permutations, "alpha": level}
    spread_rng, test_rng = rng.spawn(2)
    exchanged = exchange_test(distance, of.labels, rng=spread_rng, **wanted)
    result = exchange_test(test, of.labels, rng=test_rng, **wanted)
    said = (no_test_reason(result, alpha=level), *of.notes, *notes)
    return {
        **row,
        "distance": float(distance(of.labels[None])[0]),
        "exchanged_high": exchanged.exchanged_high,
        "p_value": result.p_value,
        "smallest_p_value": result.smallest_p,
        "exact": result.exact,
        "notes": "; ".join(dict.fromkeys(note for note in said if note)),
    }


def _chunked(statistic: Statistic) -> Statistic:
    """Take a bounded number of arrangements at once."""

    def chunked(labels: FloatArray) -> FloatArray:
        starts = range(0, len(labels), _CHUNK)
        return np.concatenate([statistic(labels[i : i + _CHUNK]) for i in starts])

    return chunked
