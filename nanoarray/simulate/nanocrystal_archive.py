"""A simulated archive of two syntheses of nanocrystals: TEM micrographs, tags and the truth."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from nanoarray.errors import InputError
from nanoarray.simulate.fei_tiff import Acquisition, write_fei_tiff
from nanoarray.simulate.nanocrystal_optics import Film, Recording
from nanoarray.simulate.nanocrystal_overlays import Overlay
from nanoarray.simulate.nanocrystals import FieldSpec, Population, SimulatedField, simulate_field

_SIGMA = 0.07
#: Shape groups of the archive by name, with shapes of equation 1; counts come from the syntheses.
#: They are apart enough for the true groups to be what an ideal clustering finds (silhouette of
#: the ten common features of the true labels: 0.71 at four clusters, at most 0.67 at others).
GROUPS: dict[str, Population] = {
    "cube": Population(
        diameter_nm=16.0, diameter_sigma=_SIGMA, p=9.0, d=2, p_sigma=0.1, axis_ratio_sigma=0.02
    ),
    "rod": Population(
        diameter_nm=16.0,
        diameter_sigma=_SIGMA,
        p=6.0,
        d=2,
        axis_ratio=3.0,
        axis_ratio_sigma=0.06,
        optical_depth=0.7,
    ),
    "sphere": Population(
        diameter_nm=8.0,
        diameter_sigma=_SIGMA,
        p=2.0,
        d=2,
        axis_ratio_sigma=0.02,
        profile="round",
    ),
    "star": Population(
        diameter_nm=24.0, diameter_sigma=_SIGMA, p=0.65, d=2, p_sigma=0.05, axis_ratio_sigma=0.02
    ),
}
#: Standard deviation of the logarithm of the mean diameter from batch to batch.
BATCH_SIZE_SIGMA = 0.02
#: Concentration of the Dirichlet distribution of a batch's composition around its synthesis'.
BATCH_CONCENTRATION = 300.0

_TEM = Acquisition(
    voltage_kV=200.0, tilt_deg=0.0, detector="BM-Ceta", instrument="Talos F200X", mode="BF"
)


@dataclass(frozen=True)
class Synthesis:
    """One way of making the crystals.

    Attributes
    ----------
    method, temperature_degC
        Tags of its images.
    shares
        Share of each of `GROUPS` in the number of crystals.
    size_factor
        Mean diameter relative to that in `GROUPS`.
    """

    method: str
    temperature_degC: float
    shares: tuple[float, ...]
    size_factor: float = 1.0


#: Ligand-assisted reprecipitation and hot injection: what the paper compares, with made-up numbers.
SYNTHESES: tuple[Synthesis, ...] = (
    Synthesis("LARP", 25.0, (0.20, 0.40, 0.30, 0.10)),
    Synthesis("hot injection", 180.0, (0.55, 0.15, 0.20, 0.10), size_factor=0.92),
)


@dataclass(frozen=True)
class NanocrystalImage:
    """One micrograph of the archive: its file stem, its tags, its crystals and its seed."""

    stem: str
    sample: str
    batch: int
    synthesis_method: str
    temperature_degC: float
    populations: tuple[Population, ...]
    seed: int


def plan_nanocrystal_archive(
    *,
    image_count: int,
    seed: int,
    batches_per_synthesis: int = 3,
    crystals_per_image: int = 120,
    syntheses: tuple[Synthesis, ...] = SYNTHESES,
    same_population: bool = False,
) -> list[NanocrystalImage]:
    """What an archive holds, before anything is simulated.

    Parameters
    ----------
    image_count
        Number of micrographs, dealt to the syntheses and their batches in turn.
    seed
        Seed; every image has its own, so the archive grows without changing its first images.
    batches_per_synthesis
        Batches, one sample of each. Batches of a synthesis differ a little: see
        `BATCH_SIZE_SIGMA` and `BATCH_CONCENTRATION`.
    crystals_per_image
        Crystals expected in a field.
    syntheses
        What to make.
    same_population
        Give every synthesis the crystals of the first one: there is nothing to find between them
        but the scatter from batch to batch.

    Returns
    -------
    list of NanocrystalImage
        One entry per micrograph, with unique file stems.

    Raises
    ------
    InputError
        If a number is below 1, or a synthesis has not one share for every group.
    """
    if min(image_count, batches_per_synthesis, crystals_per_image) < 1 or not syntheses:
        raise InputError(
            f"{image_count} images, {batches_per_synthesis} batches, {crystals_per_image} crystals "
            f"per image, {len(syntheses)} syntheses: at least 1 of each is needed"
        )
    if len({(s.method, s.temperature_degC) for s in syntheses}) < len(syntheses):
        raise InputError(
            "two syntheses have the same method and temperature: "
            + ", ".join(f"{s.method} {s.temperature_degC:g} degC" for s in syntheses)
        )
    for synthesis in syntheses:
        shares = synthesis.shares
        if len(shares) != len(GROUPS) or min(shares) < 0 or sum(shares) <= 0:
            raise InputError(
                f"synthesis {synthesis.method!r} has the shares {synthesis.shares}: one number of "
                f"at least 0 is needed for each of {', '.join(GROUPS)}, not all of them 0"
            )
    plan = []
    for index in range(image_count):
        which = index % len(syntheses)
        batch = (index // len(syntheses)) % batches_per_synthesis
        repeat = index // (len(syntheses) * batches_per_synthesis)
        tagged = syntheses[which]
        sample = f"{tagged.method.replace(' ', '-')}-B{batch + 1}"
        plan.append(
            NanocrystalImage(
                stem=f"{sample} {tagged.temperature_degC:g}degC_{repeat + 1:03d}",
                sample=sample,
                batch=batch + 1,
                synthesis_method=tagged.method,
                temperature_degC=tagged.temperature_degC,
                populations=_batch_populations(
                    syntheses[0] if same_population else tagged,
                    crystals_per_image,
                    np.random.default_rng([seed, which, batch]),
                ),
                seed=int(np.random.SeedSequence([seed, index]).generate_state(1)[0]),
            )
        )
    return plan


def _batch_populations(
    synthesis: Synthesis, crystals: int, rng: np.random.Generator
) -> tuple[Population, ...]:
    """The groups in one batch: all of `GROUPS` in their order, some perhaps without crystals."""
    shares = np.asarray(synthesis.shares, np.float64)
    present = shares > 0
    composition = np.zeros(shares.size)
    composition[present] = rng.dirichlet(BATCH_CONCENTRATION * shares[present] / shares.sum())
    factor = synthesis.size_factor * float(np.exp(BATCH_SIZE_SIGMA * rng.standard_normal()))
    return tuple(
        replace(group, count=round(crystals * share), diameter_nm=factor * group.diameter_nm)
        for group, share in zip(GROUPS.values(), composition, strict=True)
    )


def simulate_nanocrystal_image(
    planned: NanocrystalImage,
    *,
    height_px: int = 1024,
    width_px: int = 1024,
    pixel_size_nm: float = 0.4,
    agglomeration: float = 0.1,
    overlap: float = 0.0,
    scale_bar: bool = True,
) -> SimulatedField:
    """Simulate the micrograph of one entry of the plan.

    Parameters
    ----------
    planned
        The entry.
    height_px, width_px, pixel_size_nm
        Size of the field and its scale.
    agglomeration
        Share of the crystals that touch another one, 0 to 1.
    overlap
        Share of a crystal that may lie over others, 0 to 1.
    scale_bar
        Burn in a scale bar, as exported micrographs have.

    Returns
    -------
    SimulatedField
        The group of a crystal is its index in `GROUPS`.
    """
    film = Film(tilt=0.08, uneven=0.03, uneven_scale_px=0.12 * width_px, grain=0.015)
    bar = (_scale_bar(width_px, pixel_size_nm),) if scale_bar else ()
    spec = FieldSpec(
        populations=planned.populations,
        height_px=height_px,
        width_px=width_px,
        pixel_size_nm=pixel_size_nm,
        agglomeration=agglomeration,
        overlap=overlap,
        gap_px=2.0,
        film=film,
        recording=Recording(blur_px=0.8, fringe=0.1, dose=300.0),
        overlays=bar,
    )
    return simulate_field(spec, seed=planned.seed)


def _scale_bar(width_px: int, pixel_size_nm: float) -> Overlay:
    """A bar of the longest of 1, 2, 5 x 10^n nm that fills at most a fifth of the width."""
    room_nm = 0.2 * width_px * pixel_size_nm
    decade = 10.0 ** np.floor(np.log10(room_nm))
    length_nm = max(m * decade for m in (1, 2, 5) if m * decade <= room_nm)
    share = float(length_nm / (width_px * pixel_size_nm))
    return Overlay(
        "scale bar", y=0.9, x=0.03, size=0.035, text=f"{length_nm:g} nm", box=1.0, length=share
    )


#: Columns of ``truth/crystals.csv`` beside the image and the name of the group, with the column of
#: `SimulatedField.crystals` and the power of the pixel size that turns it into the unit named.
_TRUTH = {
    "label": ("label", 0),
    "group": ("group", 0),
    "p": ("p", 0),
    "d": ("d", 0),
    "axis_ratio": ("axis_ratio", 0),
    "phase_deg": ("phase", 0),
    "area_nm2": ("area", 2),
    "equivalent_diameter_nm": ("equivalent_diameter", 1),
    "center_y_px": ("center_y", 0),
    "center_x_px": ("center_x", 0),
    "touches_edge": ("touches_edge", 0),
    "visible_area_px": ("visible_area", 0),
    "occlusion": ("occlusion", 0),
}


def simulate_nanocrystal_archive(
    out: str | Path,
    *,
    image_count: int = 12,
    seed: int = 0,
    batches_per_synthesis: int = 3,
    crystals_per_image: int = 120,
    syntheses: tuple[Synthesis, ...] = SYNTHESES,
    same_population: bool = False,
    height_px: int = 1024,
    width_px: int = 1024,
    pixel_size_nm: float = 0.4,
    agglomeration: float = 0.1,
    overlap: float = 0.0,
    scale_bar: bool = True,
    data_bar: bool = False,
    threads: int = 1,
    progress: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write an archive of simulated TEM micrographs with tags and truth.

    Writes ``<stem>.tif`` (FEI metadata with the pixel size, 200 kV), ``tags.csv`` (one row per
    image: sample, batch, synthesis method, temperature), ``truth/<stem>.npz`` with ``crystal``
    (height, width) int32 labels, and ``truth/crystals.csv``: a row per crystal of every image with
    its group, its parameters of equation 1 and its true size. The same seed writes the same files,
    whatever the number of threads; no more images than threads are in memory.

    Parameters
    ----------
    out
        Folder to write, created if needed. Existing files of the same names are replaced.
    image_count, seed, batches_per_synthesis, crystals_per_image, syntheses, same_population
        See `plan_nanocrystal_archive`.
    height_px, width_px, pixel_size_nm, agglomeration, overlap, scale_bar
        See `simulate_nanocrystal_image`.
    data_bar
        Append the microscope's data bar below the micrograph.
    threads
        Images simulated at the same time.
    progress
        Called with each finished file.

    Returns
    -------
    list of Path
        The TIFF files, in the order of the plan.
    """
    plan = plan_nanocrystal_archive(
        image_count=image_count,
        seed=seed,
        batches_per_synthesis=batches_per_synthesis,
        crystals_per_image=crystals_per_image,
        syntheses=syntheses,
        same_population=same_population,
    )
    folder = Path(out)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    _write_tags(folder / "tags.csv", plan)
    start = datetime(2023, 5, 9, 10, 0, 0)

    def write(item: tuple[int, NanocrystalImage]) -> tuple[Path, list[list[Any]]]:
        index, planned = item
        simulated = simulate_nanocrystal_image(
            planned,
            height_px=height_px,
            width_px=width_px,
            pixel_size_nm=pixel_size_nm,
            agglomeration=agglomeration,
            overlap=overlap,
            scale_bar=scale_bar,
        )
        np.savez_compressed(folder / "truth" / f"{planned.stem}.npz", crystal=simulated.labels)
        path = write_fei_tiff(
            folder / f"{planned.stem}.tif",
            simulated.image,
            pixel_size_nm=pixel_size_nm,
            acquisition=_TEM,
            acquired=start + timedelta(minutes=2 * index),
            data_bar=data_bar,
        )
        return path, _truth_rows(planned.stem, simulated.crystals, pixel_size_nm)

    written = []
    with (
        (folder / "truth" / "crystals.csv").open("w", newline="", encoding="utf-8") as handle,
        ThreadPoolExecutor(max_workers=max(1, threads)) as pool,
    ):
        writer = csv.writer(handle)
        writer.writerow(["image", "group_name", *_TRUTH])
        results: Iterator[tuple[Path, list[list[Any]]]] = pool.map(write, enumerate(plan))
        for path, rows in results:
            writer.writerows(rows)
            written.append(path)
            if progress is not None:
                progress(path)
    return written


def _write_tags(path: Path, plan: list[NanocrystalImage]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "sample", "batch", "synthesis_method", "temperature_degC"])
        for planned in plan:
            writer.writerow(
                [
                    planned.stem,
                    planned.sample,
                    planned.batch,
                    planned.synthesis_method,
                    planned.temperature_degC,
                ]
            )


def _truth_rows(
    stem: str, crystals: dict[str, np.ndarray], pixel_size_nm: float
) -> list[list[Any]]:
    """Rows of ``truth/crystals.csv`` of one image."""
    names = list(GROUPS)
    columns = [
        (crystals[column] * pixel_size_nm**power if power else crystals[column]).tolist()
        for column, power in _TRUTH.values()
    ]
    return [
        [stem, names[group], *row]
        for group, row in zip(crystals["group"].tolist(), zip(*columns, strict=True), strict=True)
    ]
