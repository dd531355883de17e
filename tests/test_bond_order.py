"""Bond order: an orientation that owes nothing to projections."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nanoarray.errors import InputError
from nanoarray.evaluate import misorientation_deg
from nanoarray.simulate.superlattice import NOISE_LEVELS, simulate_polycrystal
from nanoarray.superlattice.grains.bond_order import bond_orientation, find_particles
from nanoarray.superlattice.grains.labels import map_grains
from nanoarray.superlattice.prepare.cleaning import find_defects, lattice_spacing


@pytest.mark.parametrize(("lattice", "symmetry"), [("square", 4), ("hexagonal", 6)])
@pytest.mark.parametrize("dark", [False, True])
def test_bond_orientation_of_one_grain(lattice, symmetry, dark):
    truth = simulate_polycrystal(
        height_px=240, width_px=240, grain_count=1, lattice=lattice, seed=6, **NOISE_LEVELS["low"]
    )
    image = 255 - truth.image if dark else truth.image
    points = find_particles(image, spacing_px=10, dark=dark)
    cell = 121.0 * (1 if lattice == "square" else np.sqrt(3) / 2)
    assert len(points) == pytest.approx(240 * 240 / cell, rel=0.12)
    angle, order = bond_orientation(points, symmetry=symmetry, spacing_px=10)
    inner = ((points > 30) & (points < 210)).all(axis=1)
    apart = misorientation_deg(angle, truth.orientation_deg[0], symmetry=symmetry)
    assert np.median(apart[inner]) < 1.0
    assert np.median(order[inner]) > 0.6


def test_bond_order_refuses_what_it_cannot_do():
    with pytest.raises(InputError, match="symmetry"):
        bond_orientation(np.random.default_rng(0).random((30, 2)), symmetry=2, spacing_px=1)
    with pytest.raises(InputError, match="particles"):
        bond_orientation(np.zeros((3, 2)), symmetry=4, spacing_px=1)


@pytest.mark.parametrize(("name", "symmetry"), [("hexagonal", 6), ("square", 4)])
def test_grain_map_agrees_with_particles_of_real_micrographs(real_data, name, symmetry):
    image = tifffile.imread(real_data / "tem_superlattice" / f"{name}_example.Tif")
    spacing = lattice_spacing(image)
    defect = find_defects(image, spacing_px=spacing)
    stride = round(0.75 * spacing)
    found = map_grains(image, row_spacing_px=spacing, stride_px=stride, defect=defect)
    assert found.symmetry == symmetry
    points = find_particles(image, spacing_px=spacing, dark=name == "hexagonal", missing=defect)
    angle, order = bond_orientation(points, symmetry=symmetry, spacing_px=spacing)
    rows, columns = found.grain.shape
    y = np.minimum(points[:, 0].round().astype(int) // stride, rows - 1)
    x = np.minimum(points[:, 1].round().astype(int) // stride, columns - 1)
    mapped = found.orientation_deg[y, x]
    use = np.isfinite(mapped) & (order > 0.5)
    assert use.sum() > 2000
    assert np.median(misorientation_deg(mapped[use], angle[use], symmetry=symmetry)) < 1.5
