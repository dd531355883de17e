"""Columns of the tables of crystal statistics: a part of the table in `schema`."""

from __future__ import annotations

from nanoarray.schema_statistics import Column, count, estimate, flag, text, value

__all__ = ["CRYSTAL_STATISTICS", "units_and_meanings"]

_CONDITION = {
    "condition": text("name of the condition"),
    "size": text("column that the sizes are of"),
    "object_count": count("rows of the table: crystals and what was rejected"),
    "crystal_count": count("crystals that the sizes are of"),
    "edge_crystal_count": count("crystals that touch the edge of the field"),
    "rejected_count": count("objects that are no crystals"),
    "rejected_reasons": text("number of rejected objects by reason"),
    "unsized_count": count("crystals inside the field without a size"),
    "left_out_object_count": count("objects of images that are left out"),
    "ungrouped_count": count("crystals inside the field in no shape group; -1: no groups known"),
    "image_count": count("images of the condition"),
    "image_used_count": count("images that count"),
    "image_empty_count": count("images that count and have no crystal"),
    "image_not_ok_count": count("images left out: not readable"),
    "image_not_usable_count": count("images left out: not usable"),
    "image_not_measured_count": count("images left out: measuring their crystals failed"),
    "image_no_pixel_size_count": count("images that count, but not for sizes: no pixel size"),
    "sample_count": count("known samples among the images that count"),
    "resample_unit": text("what the intervals resample"),
    "resample_unit_count": count("number of resampled units"),
    "mean_size": estimate("nm", "number-weighted mean size"),
    "median_size": estimate("nm", "median size"),
    "std_size": estimate("nm", "standard deviation of the size"),
    "relative_spread": estimate("1", "size distribution: standard deviation by mean (sigma/d)"),
    "volume_weighted_mean_size": estimate("nm", "mean size weighted by volume, D[4,3]"),
    "mean_volume_size": estimate("nm", "size of the mean volume, D[3,0]"),
    "log_mean_size": value("1", "log-normal fit: mean of ln(size / nm)"),
    "log_std_size": estimate("1", "log-normal fit: standard deviation of ln(size)"),
    "lognormal_distance": value(
        "1", "largest distance to the fitted distribution (Kolmogorov-Smirnov)"
    ),
    "crystals_needed": value("1", "independent crystals that a mean size within 5 % needs"),
    "crystals_needed_volume": value(
        "1", "independent crystals that a mean volume within 5 % needs"
    ),
    "warnings": text("what limits these statistics"),
}

_PAIR = {
    "condition_a": text("name of the first condition"),
    "condition_b": text("name of the second condition"),
    "quantity": text("what is compared: a size statistic, or 'share'"),
    "shape_group": count("shape group of a share; -1: all crystals"),
    "units": text("unit of the values and their difference"),
    "resample_unit": text("what is resampled and exchanged"),
    "unit_count_a": value("1", "units of the first condition that have a value"),
    "unit_count_b": value("1", "units of the second condition that have a value"),
    "value_a": value("", "value of the first condition, as in its summary"),
    "value_b": value("", "value of the second condition, as in its summary"),
    "difference": estimate("", "second minus first"),
    "ratio": estimate("1", "second by first"),
    "p_value": value("1", "of the permutation test; NaN: no test"),
    "p_value_holm": value("1", "corrected for all pairs, for shares also for all groups"),
    "smallest_p_value": value("1", "that the design and these values allow"),
    "exact": flag("whether all arrangements were enumerated"),
    "notes": text("what limits the result, why there is no p-value"),
}

_DISTANCE = {
    "condition_a": text("name of the first condition"),
    "condition_b": text("name of the second condition"),
    "kind": text("which distance, see DISTANCES"),
    "units": text("unit of the distance"),
    "resample_unit": text("what is exchanged and counts once"),
    "unit_count_a": value("1", "units of the first condition"),
    "unit_count_b": value("1", "units of the second condition"),
    "distance": value("", "distance between the two"),
    "exchanged_high": value("", "distance that exchanged units stay below (quantile 1 - level)"),
    "p_value": value("1", "of the permutation test; NaN: no test"),
    "p_value_holm": value("1", "corrected for all pairs"),
    "smallest_p_value": value("1", "that the design and these values allow"),
    "exact": flag("whether all arrangements were enumerated"),
    "notes": text("what limits the result, why there is no p-value"),
}

_COMPOSITION = {
    "condition": text("name of the condition; 'total': all of them"),
    "size": text("column that the sizes are of"),
    "shape_group": count("shape group; -1: all crystals of the condition"),
    "crystal_count": count("crystals inside the field, with a size or without"),
    "sized_count": count("crystals that the sizes are of"),
    "share": estimate("1", "share of the group among the crystals in any group"),
    "resample_unit": text("what the intervals resample"),
    "resample_unit_count": count("number of resampled units"),
    "mean_size": estimate("nm", "number-weighted mean size"),
    "std_size": value("nm", "standard deviation of the size"),
    "relative_spread": estimate("1", "size distribution: standard deviation by mean (sigma/d)"),
    "notes": text("what limits these statistics"),
}

_BATCH = {
    "condition": text("name of the condition"),
    "quantity": text("mean_size, relative_spread, or 'share' of a shape group"),
    "shape_group": count("shape group of a share; -1: all crystals"),
    "units": text("unit of the values"),
    "batch_count": count("batches with a value"),
    "image_count": count("images with a value, in a known batch"),
    "image_without_batch_count": count("images that count but whose batch is not known"),
    "resample_unit": text("what is compared: 'sample' where a batch has several, or 'image'"),
    "resample_unit_count": count("number of those that have a value"),
    "mean_of_batches": value("", "mean of the batches' values"),
    "batch_min": value("", "smallest value of a batch"),
    "batch_max": value("", "largest value of a batch"),
    "batch_std": value("", "standard deviation of the batches' values"),
    "batch_relative_std": value("1", "that by the mean of the batches"),
    "std_between_batches": value("", "component of variance: batches, beyond what units explain"),
    "std_between_images": value(
        "", "component of variance: images (or samples) of one batch, counting noise too"
    ),
    "std_of_crystals": value("", "standard deviation of the crystals of one image; NaN for spread"),
    "batch_fraction": estimate("1", "of the variance of a unit, how much is of its batch"),
    "p_value": value("1", "that units are exchanged between batches; NaN: no test"),
    "p_value_holm": value("1", "corrected for all conditions, for shares also for all groups"),
    "smallest_p_value": value("1", "that the design and these values allow"),
    "notes": text("what limits the result, why there is no p-value"),
}

_PRECISION = {
    "condition": text("name of the condition"),
    "quantity": text("mean_size, mean_volume or volume_weighted_mean_size"),
    "crystal_count": count("crystals that were measured"),
    "log_std_size": value("1", "standard deviation of ln(size)"),
    "relative_error": value("1", "relative error that is asked for"),
    "confidence": value("1", "probability of keeping it"),
    "needed": value("1", "independent crystals needed, after ISO 13322-1"),
    "needed_directly": value("1", "independent crystals needed without a log-normal fit"),
    "enough": flag("whether there are as many as needed, were they independent"),
    "error_if_independent": value("1", "relative error, were the crystals independent"),
    "error_reached": value("1", "relative error from resampled images or samples"),
    "effective_count": value("1", "independent crystals that would be as precise"),
    "needed_here": value("1", "crystals needed as they come here, in images or samples"),
    "resample_unit": text("what was resampled"),
    "resample_unit_count": count("number of resampled units"),
    "notes": text("what limits these numbers"),
}

_SUBSAMPLE = {
    "condition": text("name of the condition"),
    "drawn": text("what is drawn: 'crystal' as if independent, or whole 'image', 'sample'"),
    "count": count("how many are drawn"),
    "crystal_count": value("1", "crystals in the draw, on average"),
    "mean_size": value("nm", "mean over the draws"),
    "half_width": value("nm", "half width of the interval of the mean size"),
    "relative_half_width": value("1", "that by the mean size"),
}

_METHOD = {
    "condition": text("name of the condition"),
    "size": text("column that the sizes are of"),
    "shape_group_count": count("shape groups with at least the smallest share; -1: no groups"),
    "mean_size": estimate("nm", "mean size"),
    "std_size": value("nm", "standard deviation of the size"),
    "relative_spread": estimate("1", "size distribution: standard deviation by mean (sigma/d)"),
    "crystal_count": count("crystals that the sizes are of"),
    "image_count": count("images of the condition"),
    "run_time": value("s", "time the analysis took; NaN unknown"),
    "crystals_per_minute": value("1/min", "crystals by that time"),
    "warnings": text("what limits these statistics"),
}

_TREND = {
    "tag": text("the tag"),
    "hold": text("tags within whose values units are compared"),
    "size": text("column that the sizes are of"),
    "resample_unit": text("what the interval resamples and the test exchanges"),
    "unit_count": count("units that are compared"),
    "level_count": count("different values of the tag"),
    "stratum_count": count("different values of what is held"),
    "slope": estimate("", "change of a unit's mean ln(size / nm) per unit of the tag"),
    "units": text("units of the slope"),
    "ratio_per_unit": value("1", "exp(slope): factor of the size per unit of the tag"),
    "p_value": value("1", "of the permutation test; NaN: no test"),
    "smallest_p_value": value("1", "that the design and these values allow"),
    "exact": flag("whether all arrangements were enumerated"),
    "notes": text("what limits the result, why there is no p-value"),
    "image_left_out_count": count("images that do not count"),
    "image_without_tag_count": count("images without the tag"),
    "unit_without_size_count": count("units without a crystal that has a size"),
}

_REJECTION = {
    "condition": text("name of the condition"),
    "rejected": text("why objects are no crystals"),
    "object_count": count("objects that were rejected so"),
    "image_count": count("images with such an object"),
    "share": value("1", "of all objects of the condition's images that count"),
}

#: Tables of ``crystal_statistics`` by their dimension. Tags of the conditions are further columns.
CRYSTAL_STATISTICS: dict[str, dict[str, Column]] = {
    "condition": _CONDITION,
    "pair": _PAIR,
    "distance": _DISTANCE,
    "trend": _TREND,
    "method": _METHOD,
    "composition": _COMPOSITION,
    "batch": _BATCH,
    "precision": _PRECISION,
    "subsample": _SUBSAMPLE,
    "rejection": _REJECTION,
}


def units_and_meanings(table: str) -> dict[str, tuple[str, str]]:
    """Units and meaning of every column of a table, ends of intervals included, in their order."""
    found: dict[str, tuple[str, str]] = {}
    for name, column in CRYSTAL_STATISTICS[table].items():
        found[name] = (column.units, column.meaning)
        if column.interval:
            found[f"{name}_low"] = (column.units, f"{column.meaning}, lower end of the interval")
            found[f"{name}_high"] = (column.units, f"{column.meaning}, upper end of the interval")
    return found
