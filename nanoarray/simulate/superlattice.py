"""Simulated micrographs of superlattice polycrystals with known grains.

The truth of every accuracy figure in this project. A field is tessellated into grains; each grain
is a two-dimensional lattice of bright beads of one orientation (which may vary smoothly inside the
grain); blur, pixel noise, scan-line noise, a varying background and pores are added.

Angles are counter-clockwise from +x as seen on screen, in degrees; y points down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from nanoarray.errors import InputError
from nanoarray.simulate.disorder import disorder_band
from nanoarray.simulate.drawing import cut_pores, draw_beads, record

Lattice = Literal["square", "hexagonal", "oblique"]

#: Symmetry of the lattice seen from above: its orientation is known modulo 360 / symmetry degrees.
LATTICE_SYMMETRY: dict[str, int] = {"square": 4, "hexagonal": 6, "oblique": 2}

#: Second lattice vector in units of the nearest-neighbour distance; the first is 1 along +x.
_SECOND_VECTOR: dict[str, complex] = {
    "square": 1j,
    "hexagonal": complex(0.5, np.sqrt(3) / 2),
    "oblique": 1.15 * np.exp(1j * np.deg2rad(78.0)),
}

#: Two noise levels that accuracy is reported for. Noise is in units of the height of a bead.
NOISE_LEVELS: dict[str, dict[str, float]] = {
    "low": {"disorder": 0.05, "blur_px": 0.8, "noise": 0.15, "line_noise": 0.03, "background": 0.3},
    "high": {"disorder": 0.08, "blur_px": 1.2, "noise": 0.35, "line_noise": 0.1, "background": 0.5},
}

# Beads of different grains closer than this (in nearest-neighbour distances) cannot both exist.
_CLOSEST = 0.65


@dataclass(frozen=True)
class SimulatedPolycrystal:
    """A simulated micrograph and what is true of it.

    Attributes
    ----------
    image
        Micrograph, ``(height, width)`` uint8.
    grain
        Grain of every pixel, ``(height, width)`` int32: 1..n, 0 inside pores.
    orientation_deg
        Direction of the shortest lattice vector at the centroid of each grain as seen in the
        image, ``(n,)`` [deg, counter-clockwise from +x], in [0, 360 / symmetry).
    lattice_orientation_deg
        The same in the plane of the sample (differs when the sample is tilted), in
        [0, 360 / lattice_symmetry).
    local_orientation_deg, local_lattice_orientation_deg
        The two orientations at every pixel, ``(height, width)`` float32; NaN inside pores. They
        differ from those of the grain where its lattice is bent.
    symmetry
        Symmetry of what is seen: 4, 6, or 2 for an oblique or tilted lattice.
    lattice_symmetry
        Symmetry of the lattice in its own plane.
    parameters
        The arguments that made it.
    """

    image: NDArray[np.uint8]
    grain: NDArray[np.int32]
    orientation_deg: NDArray[np.float64]
    lattice_orientation_deg: NDArray[np.float64]
    local_orientation_deg: NDArray[np.float32]
    local_lattice_orientation_deg: NDArray[np.float32]
    symmetry: int
    lattice_symmetry: int
    parameters: dict[str, object]


def simulate_polycrystal(
    *,
    height_px: int = 884,
    width_px: int = 1024,
    grain_count: int = 24,
    lattice: Lattice = "square",
    spacing_px: float = 11.0,
    disorder: float = 0.05,
    orientation_gradient_deg: float = 0.0,
    blur_px: float = 0.8,
    noise: float = 0.15,
    line_noise: float = 0.03,
    background: float = 0.3,
    tilt_deg: float = 0.0,
    pore_count: int = 0,
    disordered_band_px: float = 0.0,
    min_misorientation_deg: float = 0.0,
    size_spread: float = 0.0,
    margin_px: float = 0.0,
    seed: int = 0,
) -> SimulatedPolycrystal:
    """Simulate one micrograph of a superlattice polycrystal.

    Parameters
    ----------
    height_px, width_px
        Size of the field.
    grain_count
        Number of grains (seeds of a Voronoi tessellation).
    lattice
        Arrangement of the beads.
    spacing_px
        Distance of nearest neighbours in the plane of the sample.
    disorder
        Standard deviation of a bead about its site, per axis, in spacings.
    orientation_gradient_deg
        Change of the orientation across 100 px inside a grain; the direction of the gradient is
        random per grain. The lattice is bent conformally, so it stays locally regular.
    blur_px
        Standard deviation of the Gaussian blur of the microscope.
    noise, line_noise, background
        Standard deviation of the pixel noise, of the offset of a scan line, and of the smooth
        background, in heights of an unblurred bead.
    tilt_deg
        Tilt of the sample about the x axis: foreshortens y by its cosine.
    pore_count
        Number of dark pores with bright rims; their pixels belong to no grain.
    disordered_band_px
        Width of a band across the field whose beads keep their distances but have no order; its
        pixels belong to no grain.
    min_misorientation_deg
        Orientations are drawn again until neighbouring grains differ by at least this much
        (as far as 200 attempts per grain reach).
    size_spread
        Standard deviation of the weights of the tessellation in mean grain radii; larger values
        spread the grain sizes.
    margin_px
        The tessellation reaches this far beyond the field, at the same number of seeds per area:
        the edge then cuts grains as it does in a micrograph of a larger sample, and the number of
        grains seen varies. With 0 all `grain_count` seeds are in the field.
    seed
        Seed of everything random.

    Returns
    -------
    SimulatedPolycrystal

    Raises
    ------
    InputError
        If a parameter is impossible.
    """
    parameters: dict[str, object] = dict(locals())
    _check(height_px, width_px, grain_count, lattice, spacing_px, tilt_deg)
    rng = np.random.default_rng(seed)
    radius = np.sqrt(height_px * width_px / (np.pi * grain_count))
    grain = _draw_grains(
        (height_px, width_px), grain_count, margin_px, spread_px2=size_spread * radius**2, rng=rng
    )
    centroids = np.array(
        ndimage.center_of_mass(grain > 0, grain, np.arange(1, grain.max() + 1)), dtype=np.float64
    )
    symmetry = LATTICE_SYMMETRY[lattice]
    angle = _draw_orientations(grain, 360.0 / symmetry, min_misorientation_deg, rng)
    towards = np.exp(2j * np.pi * rng.random(len(angle)))
    bend = np.deg2rad(orientation_gradient_deg) / 100.0 * towards
    beads = _place_beads(grain, centroids, angle, bend, lattice, spacing_px, tilt_deg, rng)
    beads += rng.normal(0.0, disorder * spacing_px, beads.shape) * [np.cos(np.deg2rad(tilt_deg)), 1]
    if disordered_band_px:
        shrink = float(np.cos(np.deg2rad(tilt_deg)))
        beads = disorder_band(beads, grain, disordered_band_px, foreshortening=shrink, rng=rng)
    scene = draw_beads(beads, (height_px, width_px), spacing_px, tilt_deg, blur_px, rng)
    if pore_count:
        cut_pores(scene, grain, pore_count, radius, rng)
    image = record(scene, noise, line_noise, background, rng)
    seen, seen_symmetry = _seen_orientation(angle, lattice, tilt_deg)
    local = _local_orientation(grain, centroids, angle, bend, tilt_deg)
    return SimulatedPolycrystal(
        image=image,
        grain=grain,
        orientation_deg=seen,
        lattice_orientation_deg=angle,
        local_orientation_deg=_seen_locally(local, lattice, tilt_deg),
        local_lattice_orientation_deg=(local % (360.0 / symmetry)).astype(np.float32),
        symmetry=seen_symmetry,
        lattice_symmetry=symmetry,
        parameters=parameters,
    )


def _draw_grains(
    shape: tuple[int, int],
    count: int,
    margin_px: float,
    *,
    spread_px2: float,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Weighted Voronoi tessellation of the field by `count` seeds, and as many per area around."""
    height, width = shape
    around = (height + 2 * margin_px) * (width + 2 * margin_px) / (height * width)
    seeds = round(count * around)
    centre_y = rng.uniform(-margin_px, height + margin_px, seeds)
    centre_x = rng.uniform(-margin_px, width + margin_px, seeds)
    weight = spread_px2 * rng.standard_normal(seeds)
    return _renumber(_tessellate(height, width, centre_y, centre_x, weight))


def _check(
    height_px: int,
    width_px: int,
    grain_count: int,
    lattice: str,
    spacing_px: float,
    tilt_deg: float,
) -> None:
    if lattice not in get_args(Lattice):
        raise InputError(f"lattice is {lattice!r}: use one of {', '.join(get_args(Lattice))}")
    if min(height_px, width_px) < 16 or grain_count < 1 or spacing_px < 3:
        raise InputError(
            f"cannot simulate {height_px} x {width_px} px with {grain_count} grains at a spacing "
            f"of {spacing_px} px: at least 16 x 16 px, 1 grain and 3 px are needed"
        )
    if not 0 <= tilt_deg <= 75:
        raise InputError(f"tilt_deg is {tilt_deg}: it must be between 0 and 75")


@njit(cache=True, nogil=True)
def _tessellate(
    height: int,
    width: int,
    centre_y: NDArray[np.float64],
    centre_x: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Power diagram of weighted centres: labels 1..n per pixel."""
    out = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            best = np.inf
            for k in range(centre_y.size):
                d = (y - centre_y[k]) ** 2 + (x - centre_x[k]) ** 2 - weight[k]
                if d < best:
                    best = d
                    out[y, x] = k + 1
    return out


def _renumber(grain: NDArray[np.int32]) -> NDArray[np.int32]:
    """Labels 1..n without gaps (a heavy neighbour can swallow a grain)."""
    _, compact = np.unique(grain, return_inverse=True)
    return (compact.reshape(grain.shape) + 1).astype(np.int32)


def _draw_orientations(
    grain: NDArray[np.int32], period: float, minimum: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Uniform orientations, drawn again where neighbours are less than `minimum` apart."""
    count = int(grain.max())
    angle = rng.uniform(0, period, count)
    if minimum <= 0:
        return angle
    neighbours = np.zeros((count + 1, count + 1), bool)
    for a, b in ((grain[:, :-1], grain[:, 1:]), (grain[:-1], grain[1:])):
        neighbours[a, b] = True
        neighbours[b, a] = True
    for k in range(count):
        near = [j for j in range(k) if neighbours[k + 1, j + 1]]
        for _ in range(200):
            apart = np.abs((angle[k] - angle[near] + period / 2) % period - period / 2)
            if apart.size == 0 or apart.min() >= minimum:
                break
            angle[k] = rng.uniform(0, period)
    return angle


def _place_beads(
    grain: NDArray[np.int32],
    centroids: NDArray[np.float64],
    angle: NDArray[np.float64],
    bend: NDArray[np.complex128],
    lattice: str,
    spacing_px: float,
    tilt_deg: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Sites of the beads of all grains, ``(n, 2)`` as (y, x), pruned where grains meet."""
    shrink = np.cos(np.deg2rad(tilt_deg))
    boxes = ndimage.find_objects(grain)
    parts = []
    for k, box in enumerate(boxes):
        half_y = (box[0].stop - box[0].start) / shrink
        reach = 1.1 * np.hypot(half_y, box[1].stop - box[1].start) + 2 * spacing_px
        # Conformal bending stretches the lattice by exp(|bend| r): lay it out far enough.
        reach *= np.exp(min(abs(bend[k]) * reach, 1.0))
        n = int(np.ceil(reach / (spacing_px * 0.8)))
        i, j = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1))
        offset = rng.random(2)
        site = (i + offset[0]) + (j + offset[1]) * _SECOND_VECTOR[lattice]
        site = spacing_px * site.ravel() * np.exp(1j * np.deg2rad(angle[k]))
        if abs(bend[k]) > 0:
            # z -> (exp(c z) - 1) / c rotates by Im(c z): its inverse bends a straight lattice.
            site = site[np.abs(bend[k] * site) < 0.95]
            site = np.log1p(-bend[k] * site) / -bend[k]
        y = centroids[k, 0] - site.imag * shrink
        x = centroids[k, 1] + site.real
        margin = 0.5 * spacing_px
        inside = (y > -margin) & (y < grain.shape[0] - 1 + margin)
        inside &= (x > -margin) & (x < grain.shape[1] - 1 + margin)
        y, x = y[inside], x[inside]
        owner = grain[
            np.clip(np.rint(y), 0, grain.shape[0] - 1).astype(int),
            np.clip(np.rint(x), 0, grain.shape[1] - 1).astype(int),
        ]
        own = owner == k + 1
        parts.append(np.stack([y[own], x[own]], axis=1))
    beads = np.concatenate(parts)
    tree = cKDTree(beads / [shrink, 1.0])
    pairs = tree.query_pairs(_CLOSEST * spacing_px, output_type="ndarray")
    keep = np.ones(len(beads), bool)
    keep[pairs[:, 1]] = False
    return beads[keep]


def _local_orientation(
    grain: NDArray[np.int32],
    centroids: NDArray[np.float64],
    angle: NDArray[np.float64],
    bend: NDArray[np.complex128],
    tilt_deg: float,
) -> NDArray[np.float64]:
    """Orientation in the plane of the sample at every pixel [deg]; NaN where grain is 0."""
    rows, columns = grain.shape
    index = np.maximum(grain - 1, 0)
    up = (centroids[:, 0][index] - np.arange(rows)[:, None]) / np.cos(np.deg2rad(tilt_deg))
    right = np.arange(columns)[None, :] - centroids[:, 1][index]
    turn = bend.imag[index] * right + bend.real[index] * up
    return np.where(grain > 0, angle[index] + np.rad2deg(turn), np.nan)


def _seen_locally(local: NDArray[np.float64], lattice: str, tilt_deg: float) -> NDArray[np.float32]:
    """Orientation as seen at every pixel, from that in the plane of the sample; NaN stays."""
    period = 360.0 / LATTICE_SYMMETRY[lattice]
    if tilt_deg == 0:
        return (local % period).astype(np.float32)
    # Through a table, because finding the shortest vector at every pixel is slow.
    table, _ = _seen_orientation(np.linspace(0, period, 3601), lattice, tilt_deg)
    nearest = np.rint(np.nan_to_num(local % period) * (3600 / period)).astype(np.int64)
    return np.where(np.isfinite(local), table[nearest], np.nan).astype(np.float32)


def _seen_orientation(
    angle: NDArray[np.float64], lattice: str, tilt_deg: float
) -> tuple[NDArray[np.float64], int]:
    """Direction of the shortest lattice vector as seen in the (tilted) image, and its symmetry."""
    symmetry = LATTICE_SYMMETRY[lattice]
    if tilt_deg == 0:
        return angle % (360.0 / symmetry), symmetry
    i, j = np.meshgrid(np.arange(-2, 3), np.arange(-2, 3))
    vector = (i + j * _SECOND_VECTOR[lattice]).ravel()
    vector = vector[np.abs(vector) > 0.1]
    turned = vector[None, :] * np.exp(1j * np.deg2rad(angle))[:, None]
    seen = turned.real + 1j * turned.imag * np.cos(np.deg2rad(tilt_deg))
    shortest = np.take_along_axis(seen, np.abs(seen).argmin(axis=1)[:, None], axis=1)[:, 0]
    return np.rad2deg(np.angle(shortest)) % 180.0, 2
