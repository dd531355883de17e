"""Angular profiles: analytic waves, and simulated lattices of known orientation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarray.errors import InputError
from nanoarray.evaluate import misorientation_deg
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice.grains.orientation import (
    angular_harmonics,
    find_symmetry,
    lattice_band,
    profile_orientation,
    rotation_between,
    symmetric_orders,
)
from nanoarray.superlattice.radon.aligned import tile_radon
from nanoarray.superlattice.radon.tile_grid import tile_grid

ANGLES = np.arange(60) * 3.0


def peaks_at(orientation: float, symmetry: int) -> np.ndarray:
    """Profile with peaks where rows along `orientation` and its equivalents project."""
    shift = np.deg2rad(ANGLES - (orientation - 90))
    return 1 + 0.6 * np.cos(symmetry * shift) + 0.2 * np.cos(2 * symmetry * shift)


@pytest.mark.parametrize("symmetry", [2, 4, 6])
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_orientation_of_an_analytic_profile(symmetry, fraction):
    expected = fraction * 360 / symmetry
    orders = symmetric_orders(symmetry)
    waves = angular_harmonics(peaks_at(expected, symmetry), ANGLES)[None, orders - 1]
    found = profile_orientation(waves, orders=orders, symmetry=symmetry)
    assert misorientation_deg(found, expected, symmetry=symmetry)[0] < 0.02
    assert 0 <= found[0] < 360 / symmetry


@given(turn=st.floats(-14, 14), start=st.floats(0, 90))
def test_rotation_between_profiles(turn, start):
    orders = symmetric_orders(4)
    a, b = (
        angular_harmonics(peaks_at(angle, 4), ANGLES)[None, orders - 1]
        for angle in (start + turn, start)
    )
    found = rotation_between(a, b, orders=orders, limit_deg=20)
    assert found[0] == pytest.approx(turn, abs=0.02)


def test_harmonics_of_a_cosine_and_of_unknown_tiles():
    profile = np.stack([2 + np.cos(2 * 3 * np.deg2rad(ANGLES)), np.full(60, np.nan), np.zeros(60)])
    waves = angular_harmonics(profile, ANGLES)
    assert waves[0, 2] == pytest.approx(0.25)
    assert np.abs(np.delete(waves[0], 2)).max() < 1e-6
    assert not waves[1:].any()
    orders = symmetric_orders(6)
    assert np.isnan(profile_orientation(waves[1:, orders - 1], orders=orders, symmetry=6)).all()


@pytest.mark.parametrize("angles", [np.arange(0, 90, 3.0), np.arange(10) * 18.0, [0.0]])
def test_harmonics_need_angles_over_180_degrees(angles):
    with pytest.raises(InputError, match="180"):
        angular_harmonics(np.ones(len(angles)), angles)


@pytest.mark.parametrize(
    ("lattice", "tilt_deg", "symmetry", "row_spacing"),
    [
        ("square", 0, 4, 11.0),
        ("hexagonal", 0, 6, 9.53),
        ("oblique", 0, 2, 12.0),
        ("square", 52, 2, 10.0),
    ],
)
def test_symmetry_and_orientation_of_simulated_lattices(lattice, tilt_deg, symmetry, row_spacing):
    truth = simulate_polycrystal(
        height_px=260, width_px=260, grain_count=1, lattice=lattice, tilt_deg=tilt_deg, seed=11
    )
    band = lattice_band(truth.image, row_spacing_px=row_spacing)
    y, x = tile_grid(260, 260, tile_size_px=44, stride_px=8)
    profile = tile_radon(band, y, x, tile_size_px=44, angles_deg=ANGLES, flatten_px=np.inf)
    waves = angular_harmonics(profile, ANGLES)
    assert find_symmetry(waves, np.ones(waves.shape[:2], bool), tile_strides=5) == symmetry
    orders = symmetric_orders(symmetry)
    mean = waves[..., orders - 1].mean(axis=(0, 1))[None]
    found = profile_orientation(mean, orders=orders, symmetry=symmetry)
    assert misorientation_deg(found, truth.orientation_deg[0], symmetry=symmetry)[0] < 0.7


def test_symmetry_of_nothing_is_unknown():
    assert find_symmetry(np.zeros((9, 9, 8), complex), np.ones((9, 9), bool), tile_strides=3) == 2
    with pytest.raises(InputError):
        symmetric_orders(5)


def test_band_keeps_the_lattice_and_removes_the_rest():
    y, x = np.mgrid[:200, :220]
    lattice = np.cos(2 * np.pi * (x * np.cos(0.3) + y * np.sin(0.3)) / 11)
    rest = 5 * np.cos(2 * np.pi * y / 150) + 3 * np.cos(2 * np.pi * x / 4) + 100
    band = lattice_band(lattice + rest, row_spacing_px=11)
    inner = (slice(40, -40), slice(40, -40))
    assert np.abs(band - lattice)[inner].max() < 0.12


def test_band_ignores_defects():
    truth = simulate_polycrystal(height_px=160, width_px=160, grain_count=1, seed=2)
    defect = np.zeros((160, 160), bool)
    defect[60:90, 60:90] = True
    burnt = np.where(defect, 255, truth.image)
    band = lattice_band(burnt, row_spacing_px=11, defect=defect)
    plain = lattice_band(truth.image, row_spacing_px=11)
    assert not band[defect].any()
    far = np.zeros_like(defect)
    far[:, :30] = True
    assert np.corrcoef(band[far], plain[far])[0, 1] > 0.98
    with pytest.raises(InputError, match="spacing"):
        lattice_band(truth.image, row_spacing_px=float("nan"))
