"""Figures and the HTML report. The only door to matplotlib.

Every figure is a function that takes Datasets, DataFrames or arrays and returns a
`matplotlib.figure.Figure`; nothing touches pyplot or its global state. What a name needs is loaded
when the name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoarray.report.canvas import plot_micrograph
    from nanoarray.report.nanocrystals.classifier import plot_accuracies, plot_confusion
    from nanoarray.report.nanocrystals.conditions import (
        plot_composition,
        plot_condition_intervals,
        plot_crystal_sizes,
        plot_subsampling,
    )
    from nanoarray.report.nanocrystals.features import (
        plot_feature_histograms,
        plot_group_features,
        plot_parallel_coordinates,
    )
    from nanoarray.report.nanocrystals.montage import (
        CropSample,
        plot_group_montage,
        plot_population_montage,
    )
    from nanoarray.report.nanocrystals.overlay import plot_crystals
    from nanoarray.report.nanocrystals.shape_quality import (
        plot_axes_quantiles,
        plot_learning_curve,
        plot_overlaps,
        plot_parameter_errors,
        plot_shape_examples,
    )
    from nanoarray.report.nanocrystals.shape_space import plot_shape_space, shape_points
    from nanoarray.report.nanocrystals.trees import (
        plot_dendrogram,
        plot_explained_variance,
        plot_silhouettes,
    )
    from nanoarray.report.page import write_report
    from nanoarray.report.style import orientation_colormap
    from nanoarray.report.superlattice.distributions import plot_size_distributions
    from nanoarray.report.superlattice.grain_maps import (
        plot_clusters,
        plot_grains,
        plot_misorientation,
    )
    from nanoarray.report.superlattice.maps import (
        plot_defects,
        plot_orientation_key,
        plot_orientation_map,
    )
    from nanoarray.report.superlattice.means import plot_condition_means
    from nanoarray.report.superlattice.tiles import plot_tile

_HOMES = {
    "CropSample": "nanocrystals.montage",
    "orientation_colormap": "style",
    "plot_accuracies": "nanocrystals.classifier",
    "plot_axes_quantiles": "nanocrystals.shape_quality",
    "plot_clusters": "superlattice.grain_maps",
    "plot_composition": "nanocrystals.conditions",
    "plot_condition_intervals": "nanocrystals.conditions",
    "plot_condition_means": "superlattice.means",
    "plot_confusion": "nanocrystals.classifier",
    "plot_crystal_sizes": "nanocrystals.conditions",
    "plot_crystals": "nanocrystals.overlay",
    "plot_defects": "superlattice.maps",
    "plot_dendrogram": "nanocrystals.trees",
    "plot_explained_variance": "nanocrystals.trees",
    "plot_feature_histograms": "nanocrystals.features",
    "plot_grains": "superlattice.grain_maps",
    "plot_group_features": "nanocrystals.features",
    "plot_group_montage": "nanocrystals.montage",
    "plot_learning_curve": "nanocrystals.shape_quality",
    "plot_micrograph": "canvas",
    "plot_misorientation": "superlattice.grain_maps",
    "plot_orientation_key": "superlattice.maps",
    "plot_orientation_map": "superlattice.maps",
    "plot_overlaps": "nanocrystals.shape_quality",
    "plot_parallel_coordinates": "nanocrystals.features",
    "plot_parameter_errors": "nanocrystals.shape_quality",
    "plot_population_montage": "nanocrystals.montage",
    "plot_shape_examples": "nanocrystals.shape_quality",
    "plot_shape_space": "nanocrystals.shape_space",
    "plot_silhouettes": "nanocrystals.trees",
    "plot_size_distributions": "superlattice.distributions",
    "plot_subsampling": "nanocrystals.conditions",
    "plot_tile": "superlattice.tiles",
    "shape_points": "nanocrystals.shape_space",
    "write_report": "page",
}

__all__ = [
    "CropSample",
    "orientation_colormap",
    "plot_accuracies",
    "plot_axes_quantiles",
    "plot_clusters",
    "plot_composition",
    "plot_condition_intervals",
    "plot_condition_means",
    "plot_confusion",
    "plot_crystal_sizes",
    "plot_crystals",
    "plot_defects",
    "plot_dendrogram",
    "plot_explained_variance",
    "plot_feature_histograms",
    "plot_grains",
    "plot_group_features",
    "plot_group_montage",
    "plot_learning_curve",
    "plot_micrograph",
    "plot_misorientation",
    "plot_orientation_key",
    "plot_orientation_map",
    "plot_overlaps",
    "plot_parallel_coordinates",
    "plot_parameter_errors",
    "plot_population_montage",
    "plot_shape_examples",
    "plot_shape_space",
    "plot_silhouettes",
    "plot_size_distributions",
    "plot_subsampling",
    "plot_tile",
    "shape_points",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"nanoarray.report.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nanoarray.report' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
