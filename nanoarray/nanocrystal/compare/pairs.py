"""Do two conditions differ in size, spread or composition? Whole units are exchanged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.composition import (
    group_sums,
    known_groups,
    shares_with_intervals,
)
from nanoarray.nanocrystal.compare.population import (
    Population,
    build_population,
    pair_units,
    tag_names,
)
from nanoarray.nanocrystal.compare.sizes import (
    SIZE_STATISTICS,
    SizeSums,
    size_statistics,
    size_sums,
)
from nanoarray.schema_crystal_statistics import units_and_meanings
from nanoarray.statistics.cohort import EdgeRule
from nanoarray.statistics.image_table import ResampleUnit, Units, condition_label
from nanoarray.statistics.resampling import (
    check_resampling,
    condition_rng,
    holm,
    no_test_reason,
    of_resamples,
    permutation_test,
    welch_reach,
)

__all__ = ["COMPARISON_COLUMNS", "compare_populations"]

FloatArray = npt.NDArray[np.float64]

#: Units and meaning of the columns of `compare_populations`.
COMPARISON_COLUMNS: Final = units_and_meanings("pair")


@dataclass(frozen=True)
class _Settings:
    resample_unit: ResampleUnit
    interval: float
    resamples: int
    permutations: int
    seed: int


def compare_populations(
    crystals: pd.DataFrame,
    images: pd.DataFrame,
    *,
    by: Sequence[str],
    size: str = "equivalent_diameter",
    quantities: Sequence[str] = ("mean_size", "relative_spread"),
    sample_tag: str = "sample",
    resample_unit: ResampleUnit = "auto",
    interval: float = 0.95,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
    edge: EdgeRule = "weight",
) -> pd.DataFrame:
    """Compare every two conditions in size, spread and the share of every shape group.

    Parameters
    ----------
    crystals, images, by, size, sample_tag, edge
        As in `nanoarray.nanocrystal.compare.summary.summarize_crystals`. Shares are compared where
        the crystals have `shape_group`.
    quantities
        Size statistics to compare, of `SIZE_STATISTICS`.
    resample_unit
        The independent unit. ``"auto"``: samples wherever any is known, images where none is.
        ``"image"`` with known samples asks whether these samples differ, not whether conditions do.
    interval
        Confidence of the intervals; 1 - interval is the level of the test.
    resamples, permutations, seed
        Resamples for the intervals, largest number of arrangements for the test, and the seed.

    Returns
    -------
    One row per pair and quantity, with `COMPARISON_COLUMNS`, the tags as ``<tag>_a``, ``<tag>_b``;
    none where there is a single condition. Intervals of sizes are Welch's t on bootstrap standard
    errors; of shares they join those of the two (Newcombe). The test exchanges whole units, each of
    which counts once by its own value (sizes: the logarithm), and is studentized.

    Raises
    ------
    InputError
        Where a column, tag or quantity does not exist or a parameter is out of range.

    References
    ----------
    Newcombe, Stat. Med. 17 (1998) 873; see `nanoarray.statistics.resampling.permutation_test`.
    """
    wrong = [name for name in quantities if name not in SIZE_STATISTICS]
    if wrong:
        raise InputError(f"no quantity {wrong[0]!r}: expected of {', '.join(SIZE_STATISTICS)}")
    check_resampling(interval=interval, resamples=resamples, permutations=permutations)
    tags = tag_names(by, reserved=())
    population = build_population(
        crystals, images, tags=tags, size=size, edge=edge, sample_tag=sample_tag
    )
    groups = known_groups(crystals, population) if "shape_group" in crystals else []
    settings = _Settings(resample_unit, interval, resamples, permutations, seed)
    rows: list[dict[str, Any]] = []
    for (tags_a, part_a), (tags_b, part_b) in combinations(population.conditions(tags), 2):
        names = condition_label(tags_a), condition_label(tags_b)
        head = {"condition_a": names[0], "condition_b": names[1]}
        head |= {f"{tag}_a": value for tag, value in tags_a.items()}
        head |= {f"{tag}_b": value for tag, value in tags_b.items()}
        own = _compare_sizes((part_a, part_b), names, quantities, settings)
        own += _compare_shares((part_a, part_b), names, groups, settings)
        rows += [{**head, **row} for row in own]
    columns = [f"{tag}_{side}" for side in "ab" for tag in tags]
    frame = pd.DataFrame(rows, columns=["condition_a", "condition_b", *columns, *_OWN])
    for quantity in set(frame["quantity"]):
        family = frame["quantity"] == quantity
        frame.loc[family, "p_value_holm"] = holm(frame.loc[family, "p_value"])
    return frame


_OWN = [name for name in COMPARISON_COLUMNS if name not in ("condition_a", "condition_b")]


def _compare_sizes(
    parts: tuple[Population, Population],
    names: tuple[str, str],
    quantities: Sequence[str],
    settings: _Settings,
) -> list[dict[str, Any]]:
    units, notes = pair_units(parts, settings.resample_unit, sizes=True)
    sums = [_sums(part, unit) for part, unit in zip(parts, units, strict=True)]
    rows = []
    for quantity in quantities:
        # A unit with a single crystal has a mean but no spread.
        kept = [of.keep(np.isfinite(_log(size_statistics(of.sums, of)[quantity]))) for of in sums]
        counts = [len(of.sums) for of in kept]
        # The values are those of the summary, of all units.
        values = [float(size_statistics(of.sums.sum(axis=0), of)[quantity]) for of in sums]
        drawn = []
        for name, of in zip(names, sums, strict=True):
            rng = condition_rng(settings.seed, f"{name} | {quantity}")
            drawn.append(_drawn(of, quantity, resamples=settings.resamples, rng=rng))
        sizes = [len(of.sums) for of in sums]
        reach = welch_reach(drawn, sizes, interval=settings.interval)
        logs = welch_reach([_log(d) for d in drawn], sizes, interval=settings.interval)
        difference, ratio = values[1] - values[0], _ratio(values)
        row = {
            "quantity": quantity,
            "shape_group": -1,
            "units": "nm" if quantity.endswith("_size") and "log" not in quantity else "1",
            "resample_unit": units[0].kind,
            "unit_count_a": counts[0],
            "unit_count_b": counts[1],
            "value_a": values[0],
            "value_b": values[1],
            "difference": difference,
            "difference_low": difference - reach,
            "difference_high": difference + reach,
            "ratio": ratio,
            "ratio_low": ratio * math.exp(-logs),
            "ratio_high": ratio * math.exp(logs),
        }
        responses = [_log(size_statistics(of.sums, of)[quantity]) for of in kept]
        row |= _test(responses, names, quantity, notes, settings)
        rows.append(row)
    return rows


def _compare_shares(
    parts: tuple[Population, Population],
    names: tuple[str, str],
    groups: Sequence[int],
    settings: _Settings,
) -> list[dict[str, Any]]:
    units, notes = pair_units(parts, settings.resample_unit, sizes=False)
    unit_shares, shares = [], []
    for name, part, unit in zip(names, parts, units, strict=True):
        sums = group_sums(part, unit, groups)
        has = sums.sum(axis=1) > 0
        unit_shares.append(sums[has] / sums[has].sum(axis=1, keepdims=True))
        rng = condition_rng(settings.seed, f"{name} | composition")
        shares.append(
            shares_with_intervals(
                part,
                unit,
                groups,
                interval=settings.interval,
                resamples=settings.resamples,
                rng=rng,
            )[1:]
        )
    rows = []
    for index, group in enumerate(groups):
        a, b = shares[0][index], shares[1][index]
        difference = b["share"] - a["share"]
        row = {
            "quantity": "share",
            "shape_group": group,
            "units": "1",
            "resample_unit": units[0].kind,
            "unit_count_a": len(unit_shares[0]),
            "unit_count_b": len(unit_shares[1]),
            "value_a": a["share"],
            "value_b": b["share"],
            "difference": difference,
            "difference_low": difference
            - math.hypot(b["share"] - b["share_low"], a["share_high"] - a["share"]),
            "difference_high": difference
            + math.hypot(b["share_high"] - b["share"], a["share"] - a["share_low"]),
            "ratio": _ratio([a["share"], b["share"]]),
            "ratio_low": math.nan,
            "ratio_high": math.nan,
        }
        responses = [values[:, index] for values in unit_shares]
        row |= _test(responses, names, f"share of {group}", notes, settings)
        rows.append(row)
    return rows


def _test(
    responses: list[FloatArray],
    names: tuple[str, str],
    quantity: str,
    notes: Sequence[str],
    settings: _Settings,
) -> dict[str, Any]:
    """Permutation test of one value per unit, and what is to be said of it."""
    alpha = 1 - settings.interval
    counts = [len(response) for response in responses]
    result = permutation_test(
        np.concatenate(responses),
        np.repeat([0.0, 1.0], counts),
        permutations=settings.permutations,
        rng=condition_rng(settings.seed, f"{' / '.join(names)} | {quantity}"),
        alpha=alpha,
    )
    said = [no_test_reason(result, alpha=alpha)]
    if min(counts) < 2:
        said.append(f"{min(counts)} units in a condition: no interval is possible")
    return {
        "p_value": result.p_value,
        "smallest_p_value": result.smallest_p,
        "exact": result.exact,
        "notes": "; ".join(dict.fromkeys(note for note in (*said, *notes) if note)),
    }


def _drawn(of: SizeSums, quantity: str, *, resamples: int, rng: np.random.Generator) -> FloatArray:
    """A size statistic in resamples of the units; NaN without any."""
    if not len(of.sums):
        return np.full(resamples, np.nan)
    return of_resamples(
        lambda counts: size_statistics(counts @ of.sums, of),
        len(of.sums),
        resamples=resamples,
        rng=rng,
    )[quantity]


def _sums(part: Population, units: Units) -> SizeSums:
    """Sums of the units that have a crystal with a size."""
    sized = part.sized
    unit = part.unit_of_object(units, sizes=True)[sized]
    of = size_sums(part.size_nm[sized], part.weight[sized], unit, len(units.names))
    return of.keep(of.sums[:, 0] > 0)


def _log(values: FloatArray) -> FloatArray:
    """Logarithm; NaN for 0, which a constant size has as its spread."""
    return np.log(np.where(values > 0, values, np.nan))


def _ratio(values: Sequence[float]) -> float:
    return values[1] / values[0] if values[0] > 0 else math.nan
