"""Speed of measuring crystals and cutting their crops, beside scikit-image's regionprops_table.

    python benchmarks/bench_crystals.py [--quick] [--segment]

Simulated fields of 1024 x 1024 px with known labels. ``--segment`` also segments the fields, and
an image of the simulated archive, with the default method, for the rate from the image to features
and crops: by the clock of two threads, and of two cores by processor time, which other work on the
machine hardly changes. Images take the same time however many crystals they hold, so the rate
depends on their density.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# Before NumPy starts its threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from skimage.measure import regionprops_table

from nanoarray.nanocrystal.measure.crops import cut_crops
from nanoarray.nanocrystal.measure.features import measure_crystals
from nanoarray.simulate.nanocrystal_archive import (
    plan_nanocrystal_archive,
    simulate_nanocrystal_image,
)
from nanoarray.simulate.nanocrystals import FieldSpec, Population, SimulatedField, simulate_field

#: Equivalent diameters [px] and crystals of the fields of 1024 x 1024 px.
FIELDS = ((12.0, 1500), (25.0, 1000), (50.0, 180), (120.0, 40))
#: The features that both have.
PROPERTIES = (
    "label",
    "area",
    "area_convex",
    "area_filled",
    "axis_major_length",
    "axis_minor_length",
    "bbox",
    "centroid",
    "eccentricity",
    "equivalent_diameter_area",
    "euler_number",
    "extent",
    "feret_diameter_max",
    "intensity_max",
    "intensity_mean",
    "intensity_min",
    "intensity_std",
    "orientation",
    "perimeter",
    "perimeter_crofton",
    "solidity",
)


def simulate(diameter_px: float, count: int) -> SimulatedField:
    """A field of crystals of equation 1, of two groups."""
    groups = tuple(
        Population(count=count // 2, diameter_nm=diameter_px, p=p, d=d, axis_ratio=ratio)
        for p, d, ratio in ((4.0, 4, 1.0), (1.2, 2, 1.6))
    )
    spec = FieldSpec(populations=groups, height_px=1024, width_px=1024)
    return simulate_field(spec, seed=0)


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs [s], the first (compiling) left out."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def two_threads(work: Callable[[], object], repeats: int) -> float:
    """Seconds of one of two runs that go on at the same time, halved: per run of both cores."""
    with ThreadPoolExecutor(2) as pool:

        def both() -> None:
            for done in [pool.submit(work) for _ in range(2)]:
                done.result()

        return fastest(both, repeats) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats and fields")
    parser.add_argument("--segment", action="store_true", help="segment the fields as well")
    options = parser.parse_args()
    repeats = 2 if options.quick else 7
    print("per crystal, one core: features, crops, regionprops_table; both cores: features + crops")
    head = ("diameter", "crystals", "features", "crops", "skimage", "both cores", "rate")
    print(" ".join(f"{name:>12}" for name in head))
    for diameter, wanted in FIELDS[1:2] if options.quick else FIELDS:
        image, labels, _ = simulate(diameter, wanted)
        count = int(np.unique(labels).size - 1)

        def features(labels: np.ndarray = labels, image: np.ndarray = image) -> object:
            return measure_crystals(labels, image, pixel_size_nm=1.0)

        def crops(labels: np.ndarray = labels, image: np.ndarray = image) -> object:
            return cut_crops(labels, image)

        def theirs(labels: np.ndarray = labels, image: np.ndarray = image) -> object:
            return regionprops_table(labels, image, properties=PROPERTIES)

        def ours(features: Callable = features, crops: Callable = crops) -> None:
            features()
            crops()

        one = [fastest(work, repeats) / count for work in (features, crops)]
        other = fastest(theirs, 1) / count
        both = two_threads(ours, repeats) / count
        cells = [f"{1e6 * seconds:9.0f} us" for seconds in (*one, other, both)]
        print(f"{diameter:9.0f} px {count:12} {' '.join(cells)} {60 / both:8.0f}/min", flush=True)
        if options.segment:
            from_the_image(image, repeats=min(repeats, 3))
    if options.segment:
        planned = plan_nanocrystal_archive(image_count=1, seed=0)[0]
        print("simulated archive")
        from_the_image(simulate_nanocrystal_image(planned).image, repeats=min(repeats, 3))


def from_the_image(image: np.ndarray, *, repeats: int) -> None:
    """Print the time from an image to features and crops of its crystals."""
    import torch

    from nanoarray.nanocrystal.segment.segment import segment_image

    torch.set_num_threads(1)

    def whole() -> None:
        found = segment_image(image).crystal
        measure_crystals(found, image, pixel_size_nm=1.0)
        cut_crops(found, image)

    count = int(segment_image(image).crystal.max())
    wall = two_threads(whole, repeats)
    used = time.process_time()
    for _ in range(repeats):
        whole()
    core = (time.process_time() - used) / repeats
    print(
        f"{'from the image':>25} {count:6} crystals, {core:.2f} s of one core; on two cores "
        f"{120 * count / core:.0f}/min by processor time, {60 * count / wall:.0f}/min by the clock",
        flush=True,
    )


if __name__ == "__main__":
    main()
