"""Simulated TEM fields of nanocrystals with known instances, shapes and groups.

Crystals of several populations are drawn, placed (apart, touching, overlapping, packed), projected
(their absorptions multiply), and recorded: support film, defocus fringes, blur, noise, overlays.

Two users: a fixed `FieldSpec` makes the micrographs of `nanoarray simulate nanocrystals`; wide
random ones (`nanocrystal_specs.random_field_spec`) train the segmentation network.

Pixel centres are at integers, y points down, angles are counter-clockwise from +x in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.simulate import nanocrystal_outlines as outlines
from nanoarray.simulate.nanocrystal_contrast import absorption_map, speckle_field
from nanoarray.simulate.nanocrystal_optics import Film, Recording, film_transmission, record_image
from nanoarray.simulate.nanocrystal_overlays import Overlay, draw_overlays
from nanoarray.simulate.nanocrystal_place import Sprite, place_sprites
from nanoarray.simulate.nanocrystal_raster import polygon_coverage

Profile = Literal["flat", "round", "edge"]

# Drawing an outline costs more than painting it: beyond this many, a population of named outlines
# repeats (turned, mirrored, scaled) those it has.
_BANK = 24


@dataclass(frozen=True)
class Population:
    """A group of crystals of one kind.

    Attributes
    ----------
    count
        Crystals whose centre is expected in the field.
    diameter_nm
        Median equivalent diameter.
    diameter_sigma
        Standard deviation of the logarithm of the diameter.
    outline
        ``"equation 1"``, or a name in `nanocrystal_outlines.OUTLINES`.
    p, d, axis_ratio
        Parameters of equation 1; for other outlines only `axis_ratio` counts (length over width).
    p_sigma, axis_ratio_sigma
        Standard deviations of the logarithms of `p` and of `axis_ratio` within the group.
    roughness
        Random smooth deviation of the outline, in radii.
    optical_depth, optical_depth_sigma
        Median absorption ``-ln(transmission)`` of a crystal where it is thickest, and the
        standard deviation of its logarithm from crystal to crystal.
    profile
        How thickness falls to the edge: a plate, a ball, or a plate with bevelled edges.
    contours, speckle
        Strength of bend contours and bands, and of speckle, relative to the absorption.
    core
        Diameter of a denser core over that of the crystal (0: none); negative: of a hollow.
    """

    count: int = 40
    diameter_nm: float = 30.0
    diameter_sigma: float = 0.1
    outline: str = "equation 1"
    p: float = 2.0
    d: int = 4
    axis_ratio: float = 1.0
    p_sigma: float = 0.0
    axis_ratio_sigma: float = 0.0
    roughness: float = 0.0
    optical_depth: float = 0.9
    optical_depth_sigma: float = 0.1
    profile: Profile = "edge"
    contours: float = 0.0
    speckle: float = 0.05
    core: float = 0.0


@dataclass(frozen=True)
class FieldSpec:
    """What to simulate.

    Attributes
    ----------
    populations
        Groups of crystals; their index is the group of the truth.
    height_px, width_px, pixel_size_nm
        Size of the field, and of a pixel.
    agglomeration
        Share of crystals put in contact with another one, 0 to 1.
    aligned
        Share of those that take the orientation of the one they touch.
    overlap
        Share of a crystal that may lie over others.
    gap_px
        Free distance kept between crystals (ligand shell).
    lattice
        Put crystals on a hexagonal lattice (a superlattice) instead of at random.
    hidden
        Who owns pixels under several crystals: ``"top"`` the last one drawn, ``"split"`` the one
        that they are deepest inside of.
    shell, shell_px
        Optical depth relative to the crystals, and reach, of faint matter around them (ligands,
        contamination) that belongs to no crystal.
    film, recording, overlays
        Support film, optics and detector, and what is burned into the panel.
    """

    populations: tuple[Population, ...] = field(default_factory=lambda: (Population(),))
    height_px: int = 512
    width_px: int = 512
    pixel_size_nm: float = 1.0
    agglomeration: float = 0.0
    aligned: float = 0.0
    overlap: float = 0.0
    gap_px: float = 1.0
    lattice: bool = False
    hidden: Literal["top", "split"] = "top"
    shell: float = 0.0
    shell_px: float = 3.0
    film: Film = field(default_factory=Film)
    recording: Recording = field(default_factory=Recording)
    overlays: tuple[Overlay, ...] = ()


class SimulatedField(NamedTuple):
    """A simulated micrograph and what is true of it.

    Attributes
    ----------
    image
        ``(height, width)`` uint8 or uint16.
    labels
        Crystal of every pixel, ``(height, width)`` int32, 0 none.
    crystals
        One array per quantity along crystal: ``label``, ``group`` (index of the population), ``p``,
        ``d``, ``axis_ratio``, ``phase`` [deg] (NaN, -1 where the outline is not equation 1),
        ``area`` [px2] of the whole outline, ``equivalent_diameter`` [px], ``center_y/x`` [px] (of
        mass), ``touches_edge``, ``visible_area`` [px] that carries its label, ``occlusion`` (share
        of its pixels inside the field that carry another label or none), ``optical_depth``.
        Crystals that lie outside the field have no row.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.int32]
    crystals: dict[str, NDArray]


def simulate_field(spec: FieldSpec, *, seed: int) -> SimulatedField:
    """Simulate one TEM field.

    Parameters
    ----------
    spec
        What to simulate.
    seed
        Seed of everything random.

    Returns
    -------
    SimulatedField
        Unpacks as ``(image, labels, crystals)``.

    Raises
    ------
    InputError
        If the specification is impossible.
    """
    _check(spec)
    rng = np.random.default_rng(seed)
    shape = (spec.height_px, spec.width_px)
    margin = _margin_px(spec)
    sprites = _draw_sprites(spec, margin, rng)
    sprites = place_sprites(
        sprites,
        height_px=spec.height_px,
        width_px=spec.width_px,
        margin_px=margin,
        agglomeration=spec.agglomeration,
        aligned=spec.aligned,
        overlap=spec.overlap,
        gap_px=spec.gap_px,
        lattice=spec.lattice,
        rng=rng,
    )
    depth, labels, crystals = _paint(sprites, spec, rng)
    if spec.shell:
        depth = depth + spec.shell * ndimage.gaussian_filter(depth, spec.shell_px)
    film = film_transmission(spec.film, shape, rng)
    image = record_image(film * np.exp(-depth), spec.recording, rng)
    image, blocked = draw_overlays(image, spec.overlays, rng)
    labels[blocked] = 0
    crystals["visible_area"] = np.bincount(labels.ravel(), minlength=len(crystals["label"]) + 1)[1:]
    inside = np.maximum(crystals.pop("inside"), 1)
    crystals["occlusion"] = np.clip(1 - crystals["visible_area"] / inside, 0, 1)
    return SimulatedField(image, labels, crystals)


def _check(spec: FieldSpec) -> None:
    if min(spec.height_px, spec.width_px) < 32:
        raise InputError(
            f"cannot simulate a field of {spec.height_px} x {spec.width_px} px: use at least 32"
        )
    if not spec.pixel_size_nm > 0:
        raise InputError(f"pixel_size_nm is {spec.pixel_size_nm}: it must be above 0")
    for name in ("agglomeration", "aligned", "overlap"):
        if not 0 <= getattr(spec, name) <= 1:
            raise InputError(f"{name} is {getattr(spec, name)}: it must be between 0 and 1")
    for group, population in enumerate(spec.populations):
        known = {"equation 1", *outlines.OUTLINES}
        if population.outline not in known:
            raise InputError(
                f"population {group}: outline {population.outline!r} is not one of {sorted(known)}"
            )
        if population.count < 0 or population.diameter_nm / spec.pixel_size_nm < 2:
            raise InputError(
                f"population {group}: {population.count} crystals of {population.diameter_nm} nm "
                f"at {spec.pixel_size_nm} nm per pixel: at least 0 crystals of 2 px are needed"
            )
        if population.p <= 0 or population.d < 1 or population.axis_ratio < 1:
            raise InputError(
                f"population {group}: p = {population.p}, d = {population.d}, axis ratio = "
                f"{population.axis_ratio}: p > 0, d >= 1 and an axis ratio >= 1 are needed"
            )


def _margin_px(spec: FieldSpec) -> int:
    """Crystals are also placed this far outside, so that the edge cuts some of them."""
    largest = max(
        (
            q.diameter_nm / spec.pixel_size_nm * np.exp(q.diameter_sigma) * np.sqrt(q.axis_ratio)
            for q in spec.populations
        ),
        default=0.0,
    )
    return round(min(largest, 0.3 * min(spec.height_px, spec.width_px)))


def _draw_sprites(spec: FieldSpec, margin: int, rng: np.random.Generator) -> list[Sprite]:
    """All crystals in random order, not yet placed."""
    wide = (spec.height_px + 2 * margin) * (spec.width_px + 2 * margin)
    around = wide / (spec.height_px * spec.width_px)
    sprites = []
    for group, population in enumerate(spec.populations):
        bank: list[outlines.Points] = []
        for _ in range(int(rng.poisson(population.count * around) if margin else population.count)):
            sprites.append(_draw_sprite(population, group, spec.pixel_size_nm, bank, rng))
    return [sprites[k] for k in rng.permutation(len(sprites))]


def _draw_sprite(
    population: Population,
    group: int,
    pixel_size_nm: float,
    bank: list[outlines.Points],
    rng: np.random.Generator,
) -> Sprite:
    diameter = population.diameter_nm / pixel_size_nm
    diameter = max(diameter * np.exp(population.diameter_sigma * rng.standard_normal()), 2.0)
    aspect = population.axis_ratio * np.exp(population.axis_ratio_sigma * rng.standard_normal())
    aspect = max(aspect, 1 / aspect)
    p, d = float("nan"), -1
    if population.outline == "equation 1":
        p = float(population.p * np.exp(population.p_sigma * rng.standard_normal()))
        d = population.d
        points = outlines.equation1(p=p, d=d, axis_ratio=aspect, phase_rad=0.0)
    elif len(bank) < _BANK:
        points = outlines.OUTLINES[population.outline](aspect, rng)
        bank.append(points)
    else:
        points = bank[int(rng.integers(0, _BANK))]
        if rng.random() < 0.5:
            points = points * [1.0, -1.0]
    points = outlines.thinned(points, diameter)
    if population.roughness:
        points = _roughen(points, population.roughness, rng)
    return Sprite(
        points=outlines.unit_diameter(points) * diameter,
        angle_deg=float(rng.uniform(0, 360)),
        group=group,
        p=p,
        d=d,
        axis_ratio=float(aspect),
        optical_depth=float(
            population.optical_depth
            * np.exp(population.optical_depth_sigma * rng.standard_normal())
        ),
    )


def _roughen(points: outlines.Points, amount: float, rng: np.random.Generator) -> outlines.Points:
    theta = np.arctan2(points[:, 0], points[:, 1])
    order = np.arange(2, 10)[:, None]
    wave = (rng.standard_normal((8, 1)) * np.cos(order * theta + rng.uniform(0, 6.3, (8, 1)))).sum(
        0
    )
    return outlines.unit_diameter(points * (1 + amount * wave / 2.8)[:, None])


def _paint(
    sprites: list[Sprite], spec: FieldSpec, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32], dict[str, NDArray]]:
    """Optical depth of all crystals together, their labels, and the table of them."""
    shape = (spec.height_px, spec.width_px)
    depth = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.int32)
    deepest = np.zeros(shape, np.float32)
    textures = speckle_field(shape, rng)
    rows: list[dict[str, float]] = []
    for sprite in sprites:
        y, x = sprite.outline()
        top, left = int(np.floor(y.min())) - 1, int(np.floor(x.min())) - 1
        height, width = int(y.max()) + 3 - top, int(x.max()) + 3 - left
        rows_in = slice(max(top, 0), min(top + height, shape[0]))
        columns_in = slice(max(left, 0), min(left + width, shape[1]))
        if rows_in.stop <= rows_in.start or columns_in.stop <= columns_in.start:
            continue
        cover = polygon_coverage(y - top, x - left, height, width)
        inside = ndimage.distance_transform_edt(cover >= 0.5)
        crop = (
            slice(rows_in.start - top, rows_in.stop - top),
            slice(columns_in.start - left, columns_in.stop - left),
        )
        own = cover[crop] >= 0.5
        if not own.any():
            continue
        population = spec.populations[sprite.group]
        added = absorption_map(
            cover, inside, population, sprite.optical_depth, spec.agglomeration, textures, rng
        )
        depth[rows_in, columns_in] += added[crop]
        relative = (inside / max(float(inside.max()), 1.0))[crop]
        # The smaller of two stays whole: it is what stands out.
        relative = (relative / sprite.diameter_px()).astype(np.float32)
        wins = own if spec.hidden == "top" else own & (relative > deepest[rows_in, columns_in])
        label = len(rows) + 1
        labels[rows_in, columns_in][wins] = label
        np.maximum(
            deepest[rows_in, columns_in],
            np.where(own, relative, 0),
            out=deepest[rows_in, columns_in],
        )
        points = np.stack([y, x], axis=1)
        center_y, center_x = outlines.polygon_centroid(points)
        rows.append(
            {
                "label": label,
                "group": sprite.group,
                "p": sprite.p,
                "d": sprite.d,
                "axis_ratio": sprite.axis_ratio,
                "phase": sprite.phase_deg(),
                "area": outlines.polygon_area(points),
                "center_y": center_y,
                "center_x": center_x,
                "touches_edge": bool(
                    y.min() < 0.5
                    or x.min() < 0.5
                    or y.max() > shape[0] - 1.5
                    or x.max() > shape[1] - 1.5
                ),
                "inside": int(own.sum()),
                "optical_depth": sprite.optical_depth,
            }
        )
    return depth, labels, _columns(rows)


def _columns(rows: list[dict[str, float]]) -> dict[str, NDArray]:
    kinds: dict[str, type] = {
        "label": np.int32,
        "group": np.int32,
        "p": np.float64,
        "d": np.int32,
        "axis_ratio": np.float64,
        "phase": np.float64,
        "area": np.float64,
        "center_y": np.float64,
        "center_x": np.float64,
        "touches_edge": np.bool_,
        "inside": np.int64,
        "optical_depth": np.float64,
    }
    columns: dict[str, NDArray] = {
        name: np.array([r[name] for r in rows], kind) for name, kind in kinds.items()
    }
    columns["equivalent_diameter"] = np.sqrt(4 / np.pi * columns["area"])
    return columns
