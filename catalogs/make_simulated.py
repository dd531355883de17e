"""Make the records of catalogs/simulated: `python catalogs/make_simulated.py [OUT]`.

The commands are those that the records name. OUT (by default a folder that is deleted afterwards)
keeps the images and the stores.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
#: Product -> (title, command that makes the images, settings of the run).
PRODUCTS = {
    "superlattice": (
        "Simulated superlattices at two pressures",
        "nanoarray simulate superlattice micrographs/superlattice --images 2 --seed 7",
        ["tile_clusters.max_tiles=1000"],
    ),
    "nanocrystals": (
        "Simulated nanocrystals of two syntheses",
        "nanoarray simulate nanocrystals micrographs/nanocrystals --images 2 --seed 7",
        [],
    ),
}


def run(command: list[str], folder: Path) -> None:
    print("+", shlex.join(command), flush=True)
    subprocess.run([sys.executable, "-m", "nanoarray.cli", *command[1:]], cwd=folder, check=True)


def make(folder: Path) -> None:
    (HERE / "simulated").mkdir(exist_ok=True)
    for product, (title, simulate, settings) in PRODUCTS.items():
        _, _, system, images, *_ = shlex.split(simulate)
        store = f"simulated/{product}.zarr"
        changes = [part for setting in settings for part in ("--set", setting)]
        run(shlex.split(simulate), folder)
        run(["nanoarray", "ingest", images, store, "--tags", f"{images}/tags.csv"], folder)
        run(["nanoarray", "run", system, store, "--quiet", *changes], folder)
        about = ["--title", title, "--licence", "BSD-3-Clause", "--made-by", simulate]
        about += ["--citation", "The nanoarray developers: simulated, no micrographs of a sample"]
        add = ["nanoarray", "catalog", "add", store, "-c", "simulated", "--pipeline", system]
        run([*add, *changes, *about], folder)
        shutil.copy(folder / "simulated" / f"{product}.json", HERE / "simulated")


def main(arguments: list[str]) -> None:
    if arguments:
        Path(arguments[0]).mkdir(parents=True, exist_ok=True)
        make(Path(arguments[0]))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
