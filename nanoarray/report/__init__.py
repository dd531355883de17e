"""Figures and the HTML report. The only door to matplotlib.

Every figure is a function that takes Datasets, DataFrames or arrays and returns a
`matplotlib.figure.Figure`; nothing touches pyplot or its global state. What a name needs is loaded
when the name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        plot_micrograph,
        plot_orientation_key,
        plot_orientation_map,
    )
    from nanoarray.report.superlattice.means import plot_condition_means
    from nanoarray.report.superlattice.tiles import plot_tile

_HOMES = {
    "orientation_colormap": "style",
    "plot_clusters": "superlattice.grain_maps",
    "plot_condition_means": "superlattice.means",
    "plot_defects": "superlattice.maps",
    "plot_grains": "superlattice.grain_maps",
    "plot_micrograph": "canvas",
    "plot_misorientation": "superlattice.grain_maps",
    "plot_orientation_key": "superlattice.maps",
    "plot_orientation_map": "superlattice.maps",
    "plot_size_distributions": "superlattice.distributions",
    "plot_tile": "superlattice.tiles",
    "write_report": "page",
}

__all__ = [
    "orientation_colormap",
    "plot_clusters",
    "plot_condition_means",
    "plot_defects",
    "plot_grains",
    "plot_micrograph",
    "plot_misorientation",
    "plot_orientation_key",
    "plot_orientation_map",
    "plot_size_distributions",
    "plot_tile",
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
