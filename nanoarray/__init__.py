"""Archives of electron micrographs as labelled xarray datasets.

    import nanoarray as na

    na.ingest("micrographs/", "archive.zarr", tags="samples.csv")
    na.run("superlattice", "archive.zarr")
    na.table("archive.zarr", "grains").groupby("temperature").mean()

Importing is light: what a name needs is loaded when the name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nanoarray.archive.status import store_status as status
    from nanoarray.archive.store import open_tree as open
    from nanoarray.archive.tables import table
    from nanoarray.catalog.catalog import Catalog
    from nanoarray.exchange.images import export_images
    from nanoarray.exchange.tables import export_table
    from nanoarray.images.ingest import ingest
    from nanoarray.nanocrystal.steps import (
        classify_crystals,
        group_shapes,
        measure_crystals,
        predict_shapes,
        segment_crystals,
    )
    from nanoarray.nanocrystal.summary import summarize_crystals
    from nanoarray.pipeline import run
    from nanoarray.superlattice.steps import (
        cluster_tiles,
        label_grains,
        measure_grains,
        prepare_images,
        tile_radon,
    )
    from nanoarray.superlattice.summary import summarize_grains

_HOMES = {
    "Catalog": "nanoarray.catalog.catalog:Catalog",
    "classify_crystals": "nanoarray.nanocrystal.steps:classify_crystals",
    "cluster_tiles": "nanoarray.superlattice.steps:cluster_tiles",
    "export_images": "nanoarray.exchange.images:export_images",
    "export_table": "nanoarray.exchange.tables:export_table",
    "group_shapes": "nanoarray.nanocrystal.steps:group_shapes",
    "ingest": "nanoarray.images.ingest:ingest",
    "label_grains": "nanoarray.superlattice.steps:label_grains",
    "measure_crystals": "nanoarray.nanocrystal.steps:measure_crystals",
    "measure_grains": "nanoarray.superlattice.steps:measure_grains",
    "open": "nanoarray.archive.store:open_tree",
    "predict_shapes": "nanoarray.nanocrystal.steps:predict_shapes",
    "prepare_images": "nanoarray.superlattice.steps:prepare_images",
    "run": "nanoarray.pipeline:run",
    "segment_crystals": "nanoarray.nanocrystal.steps:segment_crystals",
    "status": "nanoarray.archive.status:store_status",
    "summarize_crystals": "nanoarray.nanocrystal.summary:summarize_crystals",
    "summarize_grains": "nanoarray.superlattice.summary:summarize_grains",
    "table": "nanoarray.archive.tables:table",
    "tile_radon": "nanoarray.superlattice.steps:tile_radon",
}

__all__ = [
    "Catalog",
    "__version__",
    "classify_crystals",
    "cluster_tiles",
    "export_images",
    "export_table",
    "group_shapes",
    "ingest",
    "label_grains",
    "measure_crystals",
    "measure_grains",
    "open",
    "predict_shapes",
    "prepare_images",
    "run",
    "segment_crystals",
    "status",
    "summarize_crystals",
    "summarize_grains",
    "table",
    "tile_radon",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        value = getattr(importlib.import_module(module), attribute)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nanoarray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
