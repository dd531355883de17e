"""The demonstration: a simulated archive through the whole pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanoarray.archive.engine import Progress
from nanoarray.errors import InputError

SEED = 0
#: Pipeline -> number of images, what they are, the table to look at.
SYSTEMS = {
    "superlattice": (12, "SEM micrographs of superlattices of 4 conditions", "grains"),
    "nanocrystals": (8, "TEM micrographs of nanocrystals of 2 syntheses", "crystals"),
}


def run_demo(
    out: str | os.PathLike[str],
    *,
    workers: int = 2,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Simulate micrographs, run both pipelines on a local Dask cluster, record them, report.

    Parameters
    ----------
    out
        Folder for everything; made if needed. Running twice does only what is missing.
    workers
        Worker processes of the cluster.
    progress, say
        Called with every step forward, and with a line per step.

    Returns
    -------
    dict
        What was made -> where it is.

    Raises
    ------
    InputError
        When ``out`` is a file.
    """
    from nanoarray.catalog import Catalog
    from nanoarray.images.ingest import ingest
    from nanoarray.pipeline import run
    from nanoarray.report.page import write_report
    from nanoarray.simulate.archive import simulate_archive
    from nanoarray.simulate.nanocrystal_archive import simulate_nanocrystal_archive

    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder")
    simulate: dict[str, Callable[..., Any]] = {
        "superlattice": simulate_archive,
        "nanocrystals": simulate_nanocrystal_archive,
    }
    places: dict[str, str] = {}
    catalog = Catalog(folder / "catalog")
    for pipeline, (count, what, table) in SYSTEMS.items():
        micrographs, store = folder / pipeline / "micrographs", folder / f"{pipeline}.zarr"
        say(f"simulating {count} {what} in {micrographs}")
        simulate[pipeline](micrographs, image_count=count, seed=SEED, threads=2)
        report = ingest([micrographs], store, tags=micrographs / "tags.csv", progress=progress)
        for line in report.lines():
            say(line)
        say(f"running the pipeline {pipeline} on {workers} worker processes")
        for entry in run(pipeline, store, workers=workers, progress=progress):
            say(f"  {entry.stage:<18} {entry.rows} rows, {entry.seconds:.1f} s, {entry.status}")
        catalog.add(
            store,
            pipeline=pipeline,
            title=what,
            commands=[
                f"nanoarray simulate {pipeline} {micrographs} --images {count} --seed {SEED}"
            ],
        )
        page = write_report(store, folder / f"{pipeline}.html")
        places |= {
            f"{pipeline} images": str(micrographs),
            f"{pipeline} store": str(store),
            f"{pipeline} report": str(page),
            f"{pipeline} next": f"nanoarray status {store}; nanoarray table {store} {table}",
        }
    places |= {
        "catalog": str(catalog.path),
        "catalog next": f"nanoarray catalog search 'temperature > 25' -c {catalog.path}",
    }
    return places
