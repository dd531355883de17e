"""The demonstration: a simulated archive through the whole pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from nanoarray.archive.engine import Progress
from nanoarray.errors import InputError

IMAGE_COUNT = 12
SEED = 0


def run_demo(
    out: str | os.PathLike[str],
    *,
    workers: int = 2,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Simulate micrographs, ingest them, run the pipeline on a local Dask cluster, report.

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
    from nanoarray.images.ingest import ingest
    from nanoarray.pipeline import run
    from nanoarray.report.page import write_report
    from nanoarray.simulate.archive import simulate_archive

    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder")
    micrographs, store = folder / "micrographs", folder / "superlattice.zarr"
    say(f"simulating {IMAGE_COUNT} SEM micrographs of 4 conditions in {micrographs}")
    simulate_archive(micrographs, image_count=IMAGE_COUNT, seed=SEED, threads=2)
    report = ingest([micrographs], store, tags=micrographs / "tags.csv", progress=progress)
    for line in report.lines():
        say(line)
    say(f"running the pipeline superlattice on {workers} worker processes")
    for entry in run("superlattice", store, workers=workers, progress=progress):
        say(f"  {entry.stage:<18} {entry.rows} rows, {entry.seconds:.1f} s, {entry.status}")
    page = write_report(store, folder / "report.html")
    return {
        "images": str(micrographs),
        "store": str(store),
        "report": str(page),
        "next": f"nanoarray status {store}; nanoarray table {store} grains",
    }
