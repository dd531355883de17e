"""Simulated micrographs: the truth must describe the picture."""

from __future__ import annotations

import csv
from datetime import datetime

import numpy as np
import pytest
import tifffile
from scipy.spatial import cKDTree

from nanoarray.errors import InputError
from nanoarray.evaluate import misorientation_deg, neighbour_pairs
from nanoarray.simulate.archive import CONDITIONS, plan_archive, simulate_archive
from nanoarray.simulate.disorder import disordered_beads
from nanoarray.simulate.fei_tiff import DATA_BAR_ROWS, Acquisition, write_fei_tiff
from nanoarray.simulate.superlattice import (
    LATTICE_SYMMETRY,
    NOISE_LEVELS,
    simulate_polycrystal,
)

CLEAN = {"disorder": 0.0, "noise": 0.0, "line_noise": 0.0, "background": 0.0}


def brightest_frequencies(image: np.ndarray, count: int) -> np.ndarray:
    """Directions [deg, counter-clockwise] of the strongest peaks of the power spectrum."""
    height, width = image.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None, :]
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    power[np.hypot(fy, fx) < 0.03] = 0
    found = []
    while len(found) < count:
        y, x = np.unravel_index(power.argmax(), power.shape)
        found.append((fx[y, x], -fy[y, x]))
        power[np.hypot(fy - fy[y, x], fx - fx[y, x]) < 0.02] = 0
    return np.rad2deg(np.arctan2([v for _, v in found], [u for u, _ in found]))


@pytest.mark.parametrize("lattice", ["square", "hexagonal"])
def test_orientation_of_one_grain_is_the_direction_of_its_rows(lattice):
    truth = simulate_polycrystal(
        height_px=300, width_px=320, grain_count=1, lattice=lattice, seed=5, **CLEAN
    )
    symmetry = LATTICE_SYMMETRY[lattice]
    waves = brightest_frequencies(truth.image.astype(float), symmetry)
    # Rows run at right angles to their wave vector.
    assert misorientation_deg(waves + 90, truth.orientation_deg[0], symmetry=symmetry).max() < 1.0
    assert truth.symmetry == symmetry
    assert np.allclose(truth.local_orientation_deg, truth.orientation_deg[0], atol=1e-3)


def test_spacing_is_the_nearest_neighbour_distance():
    truth = simulate_polycrystal(
        height_px=256, width_px=256, grain_count=1, spacing_px=12.0, seed=1, **CLEAN
    )
    power = np.abs(np.fft.fft2(truth.image - truth.image.mean())) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
    radius = np.hypot(fy, fx)
    first = (radius > 0.04) & (radius < 0.1)
    frequency = (radius * power)[first].sum() / power[first].sum()
    assert 1 / frequency == pytest.approx(12.0, rel=0.03)


def test_bent_lattice_turns_by_the_gradient():
    truth = simulate_polycrystal(
        height_px=200, width_px=400, grain_count=1, orientation_gradient_deg=3.0, seed=2, **CLEAN
    )
    local = np.deg2rad(truth.local_orientation_deg.astype(float) * 4)
    along_y, along_x = (np.unwrap(local.take(50, axis=1 - axis)) / 4 for axis in (0, 1))
    slope = np.hypot(along_y[-1] - along_y[0], 199 / 399 * (along_x[-1] - along_x[0])) / 1.99
    assert np.rad2deg(slope) == pytest.approx(3.0, rel=0.02)
    # What the picture shows on the left and on the right differs as the truth says.
    sides = [(slice(None), slice(0, 200)), (slice(None), slice(200, 400))]
    seen = [brightest_frequencies(truth.image[s].astype(float), 1)[0] for s in sides]
    told = [truth.local_orientation_deg[s][100, 100] for s in sides]
    turn_seen = (seen[1] - seen[0] + 45) % 90 - 45
    turn_told = (told[1] - told[0] + 45) % 90 - 45
    assert turn_seen == pytest.approx(turn_told, abs=1.0)


def test_tilt_foreshortens_y():
    flat, tilted = (
        simulate_polycrystal(
            height_px=240, width_px=240, grain_count=1, tilt_deg=tilt, seed=3, **CLEAN
        )
        for tilt in (0.0, 60.0)
    )
    assert flat.symmetry == 4
    assert tilted.symmetry == 2
    vector = 11.0 * np.exp(1j * np.deg2rad(flat.orientation_deg[0] + np.array([0.0, 90.0])))
    seen = vector.real + 0.5j * vector.imag
    expected = np.rad2deg(np.angle(seen[np.abs(seen).argmin()]))
    # The shortest vector may also be a diagonal: it is never longer than the shortest edge.
    if np.abs(seen.sum()) > np.abs(seen).min() < np.abs(np.diff(seen)).min():
        assert misorientation_deg(tilted.orientation_deg[0], expected, symmetry=2) < 0.1
    assert tilted.lattice_orientation_deg[0] == flat.lattice_orientation_deg[0]


def test_grains_tessellate_and_pores_belong_to_none():
    truth = simulate_polycrystal(height_px=220, width_px=260, grain_count=7, pore_count=3, seed=4)
    labels = np.unique(truth.grain)
    assert labels[0] == 0
    assert np.array_equal(labels[1:], np.arange(1, truth.orientation_deg.size + 1))
    assert truth.image[truth.grain == 0].mean() < truth.image[truth.grain > 0].mean() - 20
    assert np.isnan(truth.local_orientation_deg[truth.grain == 0]).all()


def test_disordered_beads_keep_distances_and_have_no_rows():
    beads = disordered_beads(300, 400, 10.0, np.random.default_rng(4))
    assert len(beads) == pytest.approx(300 * 400 / (np.sqrt(0.75) * 100), rel=0.01)
    nearest = cKDTree(beads).query(beads, k=2)[0][:, 1]
    assert np.quantile(nearest, 0.05) > 6.0
    # A lattice scatters all in one direction: |sum exp(i q r)| / n is 1 at its reciprocal vectors.
    angle, length = np.meshgrid(np.deg2rad(np.arange(0, 180, 0.5)), np.linspace(0.5, 0.9, 80))
    waves = np.stack([length * np.sin(angle), length * np.cos(angle)], axis=-1).reshape(-1, 2)
    scattered = np.abs(np.exp(1j * beads @ waves.T).mean(axis=0))
    assert scattered.max() < 0.25


def test_disordered_band_belongs_to_no_grain_and_leaves_the_rest():
    options = {"height_px": 300, "width_px": 200, "grain_count": 3, "seed": 5}
    plain, banded = (
        simulate_polycrystal(**options, disordered_band_px=width) for width in (0.0, 90.0)
    )
    band = banded.grain == 0
    assert (band.sum(axis=0) == 90).all()
    assert (banded.grain[~band] == plain.grain[~band]).all()
    assert (plain.grain > 0).all()


def test_minimum_misorientation_is_kept():
    truth = simulate_polycrystal(
        height_px=200, width_px=200, grain_count=8, min_misorientation_deg=8.0, seed=0
    )
    pairs = neighbour_pairs(truth.grain) - 1
    angle = truth.orientation_deg
    assert misorientation_deg(angle[pairs[:, 0]], angle[pairs[:, 1]], symmetry=4).min() >= 8


def test_same_seed_same_image_and_noise_levels_differ():
    low, again, high = (
        simulate_polycrystal(height_px=96, width_px=96, grain_count=2, seed=9, **NOISE_LEVELS[n])
        for n in ("low", "low", "high")
    )
    assert np.array_equal(low.image, again.image)
    assert np.array_equal(low.grain, high.grain)
    assert (
        np.abs(np.diff(high.image.astype(float))).mean()
        > np.abs(np.diff(low.image.astype(float))).mean()
    )


@pytest.mark.parametrize(
    "wrong",
    [{"lattice": "kagome"}, {"grain_count": 0}, {"spacing_px": 1.0}, {"tilt_deg": 80.0}],
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(InputError):
        simulate_polycrystal(**{"height_px": 64, "width_px": 64, **wrong})


@pytest.mark.parametrize("rgb", [False, True])
def test_fei_metadata_reads_back(tmp_path, rgb):
    image = np.random.default_rng(0).integers(0, 255, (120, 640), dtype=np.uint8)
    path = write_fei_tiff(
        tmp_path / "a.tif",
        image,
        pixel_size_nm=2.5,
        acquisition=Acquisition(voltage_kV=2.0),
        acquired=datetime(2024, 5, 6, 13, 7, 8),
        rgb=rgb,
    )
    with tifffile.TiffFile(path) as file:
        pixels, metadata = file.asarray(), file.fei_metadata
    assert pixels.shape == (120 + DATA_BAR_ROWS, 640) + ((3,) if rgb else ())
    grey = pixels[..., 0] if rgb else pixels
    assert np.array_equal(grey[:120], image)
    assert metadata["Scan"]["PixelWidth"] == pytest.approx(2.5e-9)
    assert metadata["EBeam"]["HFW"] == pytest.approx(640 * 2.5e-9)
    assert metadata["EBeam"]["HV"] == 2000
    assert metadata["User"]["Date"] == "05/06/2024"
    assert metadata["User"]["Time"] == "01:07:08 PM"
    assert metadata["EBeam"]["BeamCurrent"] == pytest.approx(8.6e-11)
    assert metadata["Image"]["ResolutionY"] == 120
    assert metadata["PrivateFei"]["DatabarHeight"] == DATA_BAR_ROWS
    assert grey[120:].max() == 255


def test_fei_16_bit_without_bar(tmp_path):
    image = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48) * 40
    path = write_fei_tiff(tmp_path / "b.tif", image, pixel_size_nm=10.0, data_bar=False)
    assert np.array_equal(tifffile.imread(path), image)


@pytest.mark.parametrize(
    ("image", "pixel_size_nm"),
    [(np.zeros((4, 4), np.float32), 1.0), (np.zeros((4, 4, 3), np.uint8), 1.0)]
    + [(np.zeros((4, 4), np.uint8), size) for size in (0.0, -1.0, float("nan"))],
)
def test_fei_refuses_what_it_cannot_write(tmp_path, image, pixel_size_nm):
    with pytest.raises(InputError):
        write_fei_tiff(tmp_path / "c.tif", image, pixel_size_nm=pixel_size_nm)


def test_archive_has_tags_truth_and_stays_when_it_grows(tmp_path):
    size = {"height_px": 160, "width_px": 200, "seed": 3}
    paths = simulate_archive(tmp_path / "few", image_count=4, **size)
    more = simulate_archive(tmp_path / "more", image_count=5, threads=2, **size)
    assert [p.name for p in more[:4]] == [p.name for p in paths]
    assert np.array_equal(tifffile.imread(paths[2]), tifffile.imread(more[2]))
    with (tmp_path / "few" / "tags.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [r["image"] for r in rows] == [p.stem for p in paths]
    assert len({(r["temperature_degC"], r["pressure_MPa"]) for r in rows}) == len(CONDITIONS)
    truth = np.load(tmp_path / "few" / "truth" / f"{paths[0].stem}.npz")
    assert truth["grain"].shape == (160, 200)
    assert truth["orientation_deg"].size == truth["grain"].max()


def test_archive_plan_has_several_samples_per_condition_and_unique_names():
    plan = plan_archive(image_count=48, seed=0)
    assert len({p.stem for p in plan}) == 48
    samples = {(p.temperature_degC, p.pressure_MPa): set() for p in plan}
    for p in plan:
        samples[p.temperature_degC, p.pressure_MPa].add(p.sample)
    assert all(len(s) == 3 for s in samples.values())
    with pytest.raises(InputError):
        plan_archive(image_count=0, seed=0)
