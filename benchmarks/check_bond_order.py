"""Compare orientations of the grain map with bond orientations of detected particles.

Run ``python benchmarks/check_bond_order.py [IMAGE ...]``; without images the TEM superlattices in
``$NANOARRAY_REAL_DATA/tem_superlattice`` are used. The median difference should be below 1.5 deg.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from nanoarray.evaluate import misorientation_deg
from nanoarray.superlattice.grains.bond_order import bond_orientation, find_particles
from nanoarray.superlattice.grains.labels import map_grains
from nanoarray.superlattice.prepare.cleaning import find_defects, lattice_spacing

LIMIT_DEG = 1.5
LEAST_ORDER = 0.5


def compare(image: NDArray) -> dict[str, float]:
    """Difference of the two orientations at the particles that have an ordered neighbourhood."""
    spacing = lattice_spacing(image)
    defect = find_defects(image, spacing_px=spacing)
    stride = max(2, round(0.75 * spacing))
    found = map_grains(image, row_spacing_px=spacing, stride_px=stride, defect=defect)
    if found.symmetry == 2:
        return {"symmetry": 2.0, "particles": 0.0, "compared": 0.0, "median_deg": float("nan")}
    candidates = []
    for dark in (False, True):
        points = find_particles(image, spacing_px=spacing, dark=dark, missing=defect)
        angle, order = bond_orientation(points, symmetry=found.symmetry, spacing_px=spacing)
        candidates.append((points, angle, order))
    points, angle, order = max(candidates, key=lambda c: float(np.median(c[2])))
    rows, columns = found.grain.shape
    tile_y = np.minimum(points[:, 0].round().astype(int) // stride, rows - 1)
    tile_x = np.minimum(points[:, 1].round().astype(int) // stride, columns - 1)
    mapped = found.orientation_deg[tile_y, tile_x]
    use = np.isfinite(mapped) & (order > LEAST_ORDER)
    apart = misorientation_deg(mapped[use], angle[use], symmetry=found.symmetry)
    return {
        "symmetry": float(found.symmetry),
        "particles": float(len(points)),
        "compared": float(use.sum()),
        "median_deg": float(np.median(apart)) if use.any() else float("nan"),
        "p90_deg": float(np.quantile(apart, 0.9)) if use.any() else float("nan"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="*", type=Path)
    images = parser.parse_args().image
    if not images:
        default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
        folder = Path(os.environ.get("NANOARRAY_REAL_DATA", default)) / "tem_superlattice"
        images = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".tif", ".tiff"))
    if not images:
        print("no images: give TIFF files or set NANOARRAY_REAL_DATA")
        return 2
    worst = 0.0
    for path in images:
        result = compare(tifffile.imread(path))
        worst = max(worst, result["median_deg"]) if result["compared"] else np.inf
        print(path.name, {name: round(value, 2) for name, value in result.items()})
    return 0 if worst < LIMIT_DEG else 1


if __name__ == "__main__":
    raise SystemExit(main())
