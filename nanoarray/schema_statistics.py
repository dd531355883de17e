"""Columns of the tables of statistics: dtype, units and meaning. A part of the table in `schema`.

A group of statistics holds several small tables, each along a dimension of its own. The names of
the variables begin with the dimension, except along ``condition``.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "GRAIN_STATISTICS",
    "Column",
    "count",
    "estimate",
    "flag",
    "text",
    "value",
    "variable_prefix",
]


class Column(NamedTuple):
    """A column of a table of statistics.

    Units "" differ from row to row and stand in the column ``units``. With ``interval`` there are
    also ``<name>_low`` and ``<name>_high``.
    """

    dtype: str
    units: str
    meaning: str
    interval: bool = False


def variable_prefix(dim: str) -> str:
    """How the names of the variables of the table along `dim` begin."""
    return "" if dim == "condition" else f"{dim}_"


def count(meaning: str) -> Column:
    """A number of things."""
    return Column("int64", "1", meaning)


def text(meaning: str) -> Column:
    """A text."""
    return Column("str", "1", meaning)


def flag(meaning: str) -> Column:
    """A yes or no."""
    return Column("bool", "1", meaning)


def value(units: str, meaning: str) -> Column:
    """A number without an interval."""
    return Column("float64", units, meaning)


def estimate(units: str, meaning: str) -> Column:
    """A number with the ends of its interval."""
    return Column("float64", units, meaning, interval=True)


_TEST = {
    "p_value": value("1", "p of the permutation test; NaN where no test is possible"),
    "p_value_holm": value("1", "p corrected for the number of pairs (Holm)"),
    "smallest_p_value": value("1", "smallest p that the design allows"),
    "exact": flag("every arrangement was tried, not a sample of them"),
    "notes": text("what limits the result, or why there is no p"),
}

_CONDITION = {
    "condition": text("name of the condition"),
    "grain_count": count("grains that the statistics are of"),
    "edge_grain_count": count("grains that touch the edge of the field"),
    "unmeasured_grain_count": count("grains without an area"),
    "small_grain_count": count("grains smaller than a tile"),
    "image_count": count("images of the condition"),
    "image_used_count": count("images that count"),
    "image_empty_count": count("images that count and have no grain"),
    "image_not_ok_count": count("images left out: not readable"),
    "image_not_usable_count": count("images left out: not usable, out of focus"),
    "image_no_pixel_size_count": count("images left out: no pixel size"),
    "image_not_measured_count": count("images left out: measuring their grains failed"),
    "sample_count": count("known samples among the images that count"),
    "resample_unit": text("what the intervals resample"),
    "resample_unit_count": count("number of resampled units"),
    "mean_area": estimate("um2", "number-weighted mean area"),
    "median_area": estimate("um2", "median area"),
    "std_area": value("um2", "standard deviation of the area"),
    "area_quartile_1": value("um2", "lower quartile of the area"),
    "area_quartile_3": value("um2", "upper quartile of the area"),
    "area_weighted_mean_area": estimate("um2", "mean area seen from a random point"),
    "mean_diameter": estimate("um", "number-weighted mean equivalent diameter"),
    "area_weighted_mean_diameter": estimate("um", "area-weighted mean equivalent diameter"),
    "geometric_mean_area": estimate("um2", "geometric mean area"),
    "log_mean_area": value("1", "log-normal fit: mean of ln(area / um2)"),
    "log_std_area": value("1", "log-normal fit: standard deviation of ln(area)"),
    "lognormal_distance": value(
        "1", "largest distance to the fitted distribution (Kolmogorov-Smirnov)"
    ),
    "mean_area_planimetric": estimate(
        "um2", "field area by number of grains, edge grains count half"
    ),
    "mean_intercept": estimate("um", "mean linear intercept, horizontal and vertical"),
    "grain_size_number": estimate("1", "ASTM E112-like grain size number from the mean area"),
    "grain_size_number_planimetric": estimate(
        "1", "ASTM E112-like number from the grains per area"
    ),
    "grain_size_number_intercept": estimate("1", "ASTM E112-like number from the mean intercept"),
    "grains_needed": value("1", "independent grains that a mean area within 5 % would need"),
    "warnings": text("what limits these statistics"),
}

_PAIR = {
    "condition_a": text("name of the first condition"),
    "condition_b": text("name of the second condition"),
    "statistic": text("the statistic that is compared"),
    "resample_unit": text("what the intervals resample and the test exchanges"),
    "unit_count_a": count("units of the first condition"),
    "unit_count_b": count("units of the second condition"),
    "value_a": value("um2", "the statistic of the first condition"),
    "value_b": value("um2", "the statistic of the second condition"),
    "difference": estimate("um2", "second minus first"),
    "ratio": estimate("1", "second by first"),
    **_TEST,
}

_TREND = {
    "tag": text("the tag"),
    "hold": text("tags within whose values units are compared"),
    "resample_unit": text("what the interval resamples and the test exchanges"),
    "unit_count": count("units that are compared"),
    "level_count": count("different values of the tag"),
    "stratum_count": count("different values of what is held"),
    "slope": estimate("", "change of a unit's mean ln(area / um2) per unit of the tag"),
    "units": text("units of the slope"),
    "ratio_per_unit": value("1", "exp(slope): factor of the area per unit of the tag"),
    **{name: column for name, column in _TEST.items() if name != "p_value_holm"},
    "image_left_out_count": count("images that do not count"),
    "image_without_tag_count": count("images without the tag"),
    "unit_without_grain_count": count("units without a grain"),
}

#: Tables of ``grain_statistics`` by their dimension. Tags of the conditions are further columns.
GRAIN_STATISTICS: dict[str, dict[str, Column]] = {
    "condition": _CONDITION,
    "pair": _PAIR,
    "trend": _TREND,
}
