"""A simulated archive: FEI TIFF files, tags and the truth, as a lab would have them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from nanoarray.errors import InputError
from nanoarray.simulate.fei_tiff import Acquisition, write_fei_tiff
from nanoarray.simulate.superlattice import (
    NOISE_LEVELS,
    Lattice,
    SimulatedPolycrystal,
    simulate_polycrystal,
)

#: (temperature [degC], pressure [MPa], mean grain area [um2]) of the four conditions of
#: figure 7 of the superlattice paper: the simulated archive has the trend that was published.
CONDITIONS: tuple[tuple[float, float, float], ...] = (
    (22.0, 1.54, 0.2206),
    (22.0, 4.21, 0.2465),
    (22.0, 8.46, 0.1080),
    (31.0, 8.46, 0.1315),
)


@dataclass(frozen=True)
class ArchiveImage:
    """One micrograph of the archive: its file stem, its tags and how to simulate it."""

    stem: str
    sample: str
    temperature_degC: float
    pressure_MPa: float
    mean_grain_area_um2: float
    lattice: Lattice
    noise_level: str
    seed: int


def plan_archive(
    *, image_count: int, seed: int, samples_per_condition: int = 3
) -> list[ArchiveImage]:
    """What an archive holds, before anything is simulated.

    Parameters
    ----------
    image_count
        Number of micrographs, dealt to the conditions and samples in turn.
    seed
        Seed; every image has its own, so the archive grows without changing its first images.
    samples_per_condition
        Samples made at each condition.

    Returns
    -------
    list of ArchiveImage
        One entry per micrograph, with unique file stems.
    """
    if image_count < 1:
        raise InputError(f"image_count is {image_count}: at least 1 is needed")
    plan = []
    for index in range(image_count):
        condition = index % len(CONDITIONS)
        sample = (index // len(CONDITIONS)) % samples_per_condition
        repeat = index // (len(CONDITIONS) * samples_per_condition)
        temperature, pressure, area = CONDITIONS[condition]
        name = f"S{condition * samples_per_condition + sample + 1}"
        # Samples made at one condition differ: by about 10 % in their mean grain area.
        rng = np.random.default_rng([seed, condition, sample])
        area *= float(np.exp(0.1 * rng.standard_normal()))
        section, number = repeat // 20 + 1, repeat % 20 + 1
        plan.append(
            ArchiveImage(
                stem=f"{name} {temperature:g}degC {pressure:g}MPa "
                f"cross section {section}_{number:03d}",
                sample=name,
                temperature_degC=temperature,
                pressure_MPa=pressure,
                mean_grain_area_um2=area,
                lattice="square" if condition % 2 == 0 else "hexagonal",
                noise_level="low" if repeat % 2 == 0 else "high",
                seed=int(np.random.SeedSequence([seed, index]).generate_state(1)[0]),
            )
        )
    return plan


def simulate_archive_image(
    spec: ArchiveImage,
    *,
    height_px: int = 884,
    width_px: int = 1024,
    spacing_px: float = 11.0,
    pixel_size_nm: float = 2.5,
) -> SimulatedPolycrystal:
    """Simulate the micrograph of one entry of the plan."""
    area_px = spec.mean_grain_area_um2 * 1e6 / pixel_size_nm**2
    return simulate_polycrystal(
        height_px=height_px,
        width_px=width_px,
        grain_count=max(2, round(height_px * width_px / area_px)),
        lattice=spec.lattice,
        spacing_px=spacing_px,
        orientation_gradient_deg=1.0,
        pore_count=2,
        size_spread=0.3,
        # Neighbours of one orientation would be one grain, and larger than the condition's.
        min_misorientation_deg=8.0,
        margin_px=2.0 * float(np.sqrt(area_px)),
        seed=spec.seed,
        **NOISE_LEVELS[spec.noise_level],
    )


def simulate_archive(
    out: str | Path,
    *,
    image_count: int = 12,
    seed: int = 0,
    samples_per_condition: int = 3,
    height_px: int = 884,
    width_px: int = 1024,
    spacing_px: float = 11.0,
    pixel_size_nm: float = 2.5,
    threads: int = 1,
    progress: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write an archive of simulated micrographs with tags and truth.

    Writes ``<stem>.tif`` (FEI metadata, data bar), ``tags.csv`` (one row per image) and
    ``truth/<stem>.npz`` with ``grain`` (height, width) int32, ``orientation_deg``,
    ``lattice_orientation_deg``, ``symmetry`` and ``lattice_symmetry``.

    Parameters
    ----------
    out
        Folder to write, created if needed. Existing files of the same names are replaced.
    image_count, seed, samples_per_condition
        See `plan_archive`.
    height_px, width_px, spacing_px, pixel_size_nm
        Size of each micrograph, its bead spacing, and its scale.
    threads
        Images simulated at the same time.
    progress
        Called with each finished file.

    Returns
    -------
    list of Path
        The TIFF files, in the order of the plan.
    """
    folder = Path(out)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    plan = plan_archive(
        image_count=image_count, seed=seed, samples_per_condition=samples_per_condition
    )
    start = datetime(2022, 3, 14, 9, 0, 0)
    sizes = {"height_px": height_px, "width_px": width_px}

    def write(item: tuple[int, ArchiveImage]) -> Path:
        index, spec = item
        simulated = simulate_archive_image(
            spec, **sizes, spacing_px=spacing_px, pixel_size_nm=pixel_size_nm
        )
        _write_truth(folder / "truth" / f"{spec.stem}.npz", simulated)
        return write_fei_tiff(
            folder / f"{spec.stem}.tif",
            simulated.image,
            pixel_size_nm=pixel_size_nm,
            acquisition=Acquisition(tilt_deg=0.0),
            acquired=start + timedelta(minutes=2 * index),
        )

    _write_tags(folder / "tags.csv", plan)
    written = []
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for path in pool.map(write, enumerate(plan)):
            written.append(path)
            if progress is not None:
                progress(path)
    return written


def _write_truth(path: Path, simulated: SimulatedPolycrystal) -> None:
    np.savez_compressed(
        path,
        grain=simulated.grain,
        orientation_deg=simulated.orientation_deg,
        lattice_orientation_deg=simulated.lattice_orientation_deg,
        symmetry=simulated.symmetry,
        lattice_symmetry=simulated.lattice_symmetry,
    )


def _write_tags(path: Path, plan: Sequence[ArchiveImage]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "sample", "temperature_degC", "pressure_MPa", "synthesis_method"])
        for spec in plan:
            row = [spec.stem, spec.sample, spec.temperature_degC, spec.pressure_MPa, "simulation"]
            writer.writerow(row)
