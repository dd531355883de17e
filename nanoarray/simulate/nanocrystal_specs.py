"""Random specifications of TEM fields: the distribution that the segmentation network learns from.

The ranges are wide on purpose: they must hold every micrograph the network will meet. They were
set by looking at published TEM panels, never from masks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoarray.simulate.nanocrystal_optics import Film, Recording
from nanoarray.simulate.nanocrystal_outlines import OUTLINES
from nanoarray.simulate.nanocrystal_overlays import FONTS, Overlay
from nanoarray.simulate.nanocrystals import FieldSpec, Population, Profile

_LONG = ("rod", "bent rod", "bone", "spindle", "ellipse", "blob")
_NAMES = (*OUTLINES, "equation 1")
# Round, facetted and rod-like crystals are what most micrographs show.
_COMMON = (
    "sphere",
    "sphere",
    "rod",
    "rod",
    "facets",
    "hexagon",
    "cube",
    "blob",
    "ellipse",
    "equation 1",
)
# Few crystals are plates: most are thinner at their outline.
_PROFILES: tuple[Profile, ...] = ("flat", "round", "round", "edge", "edge")


class _Mix(NamedTuple):
    """Shares of kinds of fields.

    Fields whose crystals have a medium size, and where that begins; fields that are not nearly
    empty; the smallest population relative to the typical size; superlattices.
    """

    medium: float
    medium_from_px: float
    filled: float
    smallest: float
    lattice: float


_WIDE = _Mix(medium=0.6, medium_from_px=14, filled=0.8, smallest=0.35, lattice=0.08)
_FOCUSED = _Mix(medium=0.75, medium_from_px=16, filled=0.88, smallest=0.25, lattice=0.12)


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    """Log-uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_field_spec(
    rng: np.random.Generator,
    *,
    height_px: int = 320,
    width_px: int = 320,
    focused: bool = True,
) -> FieldSpec:
    """Draw one specification.

    Parameters
    ----------
    rng
        Generator.
    height_px, width_px
        Size of the field.
    focused
        More fields of crystals of medium size, fewer nearly empty ones: what the network meets once
        the scale is right. Otherwise wider: what it meets at first.

    Returns
    -------
    FieldSpec
        With a pixel size of 1 nm, so that nanometres are pixels.
    """
    mix = _FOCUSED if focused else _WIDE
    medium = rng.random() < mix.medium
    typical = _between(mix.medium_from_px, 56, rng) if medium else _between(6, 100, rng)
    filling = _between(0.05, 0.85, rng) if rng.random() < mix.filled else _between(0.003, 0.1, rng)
    groups = int(rng.choice([1, 2, 3], p=[0.62, 0.28, 0.1]))
    shares = rng.dirichlet(np.full(groups, 1.5))
    depth = _between(0.25, 2.5, rng)
    # Where sizes differ the small ones are often the fainter: thickness is size.
    thinner = float(rng.choice([0.0, 0.5, 1.0]))
    populations = []
    for share in shares if rng.random() > 0.02 else ():
        diameter = typical * (1.0 if groups == 1 else _between(mix.smallest, 1.6, rng))
        diameter = float(np.clip(diameter, 5, 150))
        populations.append(
            _random_population(
                diameter,
                share * filling * height_px * width_px,
                depth
                * min(diameter / typical, 1.2) ** thinner
                * float(rng.choice([1.0, 1.0, 0.4])),
                rng,
            )
        )
    touching = rng.random()
    agglomeration = 0.0 if touching < 0.25 else float(rng.uniform(0.3, 1.0))
    overlap = 0.0 if rng.random() < 0.45 else _between(0.04, 0.6, rng)
    return FieldSpec(
        populations=tuple(populations),
        height_px=height_px,
        width_px=width_px,
        agglomeration=agglomeration,
        aligned=float(rng.choice([0.0, 0.5, 0.9])),
        overlap=overlap,
        gap_px=float(rng.choice([-0.5, 0.0, 0.5, 1.0, 2.0, 4.0])) * min(typical / 20, 1.5),
        lattice=bool(rng.random() < mix.lattice and filling > 0.1),
        hidden="split",
        shell=_between(0.02, 0.15, rng) if rng.random() < 0.15 else 0.0,
        shell_px=_between(1.0, max(typical / 4, 2.0), rng),
        film=_random_film(typical, rng),
        recording=_random_recording(typical, depth, rng),
        overlays=_random_overlays(rng),
    )


def _random_population(
    diameter: float, area: float, depth: float, rng: np.random.Generator
) -> Population:
    name = str(rng.choice(_COMMON if rng.random() < 0.65 else _NAMES))
    aspect = 1.0
    if name in _LONG:
        aspect = 1 + _between(0.1, 5.0, rng)
    count = int(np.clip(area / (0.25 * np.pi * diameter**2), 1, 220))
    core = 0.0
    if rng.random() < 0.22:
        core = _between(0.1, 0.85, rng) * float(rng.choice([1, 1, -1]))
    return Population(
        count=count,
        diameter_nm=diameter,
        diameter_sigma=_between(0.03, 0.45, rng),
        outline=name,
        p=_between(0.5, 20, rng),
        d=int(rng.integers(2, 7)),
        axis_ratio=min(aspect, 9.0),
        p_sigma=0.1,
        axis_ratio_sigma=0.02 if aspect == 1 and name != "equation 1" else 0.15,
        roughness=float(rng.choice([0.0, 0.01, 0.03])),
        optical_depth=float(np.clip(depth * np.exp(0.25 * rng.standard_normal()), 0.12, 3.5)),
        optical_depth_sigma=_between(0.02, 0.5, rng),
        profile=_PROFILES[int(rng.integers(0, len(_PROFILES)))],
        contours=0.0 if rng.random() < 0.45 else _between(0.1, 0.8, rng),
        speckle=_between(0.01, 0.35, rng),
        core=core,
    )


def _random_film(typical: float, rng: np.random.Generator) -> Film:
    def sometimes(chance: float, low: float, high: float) -> float:
        return _between(low, high, rng) if rng.random() < chance else 0.0

    return Film(
        tilt=sometimes(0.4, 0.03, 0.4),
        uneven=sometimes(0.55, 0.01, 0.15),
        uneven_scale_px=_between(12, 150, rng),
        grain=sometimes(0.7, 0.005, 0.08),
        grain_scale_px=_between(0.6, min(max(typical / 4, 1.2), 6.0), rng),
        holes=sometimes(0.12, 0.1, 0.7),
        smears=int(rng.integers(1, 7)) if rng.random() < 0.35 else 0,
        streaks=sometimes(0.08, 0.01, 0.12),
    )


def _random_recording(typical: float, depth: float, rng: np.random.Generator) -> Recording:
    fringe = 0.0
    if rng.random() < 0.5:
        fringe = _between(0.05, 0.8, rng) * float(rng.choice([1, 1, 1, -0.4]))
    contrast = float(rng.uniform(0.55, 1.15))
    # Noise is bounded by the contrast: below that a person would not mark the crystal either.
    signal = contrast * (1 - np.exp(-depth))
    background = float(rng.uniform(0.42, 0.97))
    return Recording(
        blur_px=_between(0.4, min(max(typical / 12, 0.9), 4.0), rng),
        fringe=fringe,
        fringe_px=_between(1.0, max(typical / 5, 2.0), rng),
        dose=_between(20, 3000, rng) / max(signal, 0.15) ** 2,
        noise=_between(0.003, 0.2, rng) * signal,
        noise_scale_px=float(rng.choice([0.0, 0.5, 0.8, 1.2])),
        background=background,
        contrast=min(contrast, background * 1.15) if rng.random() < 0.7 else contrast,
        gamma=_between(0.7, 1.5, rng),
        jpeg_quality=int(rng.integers(30, 95)) if rng.random() < 0.4 else 0,
    )


def _bar_text(rng: np.random.Generator) -> str:
    """Three lines such as instruments print under an image."""
    words = (
        "HV 120kV Mag 50000x 12:24:05 TEM Mode Imaging spot 3.0 WD 10.2 mm X:-967.85 Camera".split()
    )
    lines = [" ".join(rng.permutation(words)[: int(rng.integers(2, 7))]) for _ in range(3)]
    return "\n".join(lines)


def _ink(rng: np.random.Generator) -> tuple[float, float]:
    """Grey of a mark and of the box behind it; -1 for none."""
    if rng.random() < 0.3:
        return (0.0, 1.0) if rng.random() < 0.8 else (1.0, 0.0)
    return float(rng.choice([0.0, 1.0, 1.0, rng.uniform(0.1, 0.9)])), -1.0


def _random_overlays(rng: np.random.Generator) -> tuple[Overlay, ...]:
    return (*_random_text(rng), *_random_graphics(rng))


def _random_text(rng: np.random.Generator) -> list[Overlay]:
    """Panel letters, a scale bar with its number, a data bar."""
    marks: list[Overlay] = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.4, 0.1]))):
        grey, box = _ink(rng)
        letter = str(rng.choice(list("abcdefghijklmnABCDEFGHIKLMN12345")))
        style = str(rng.choice(["{}", "({})", "{})", "{}1", "{}'"]))
        corner = rng.random(2) < 0.3
        marks.append(
            Overlay(
                "text",
                y=0.8 if corner[0] else float(rng.uniform(-0.06, 0.03)),
                x=0.8 if corner[1] else float(rng.uniform(-0.06, 0.1)),
                size=_between(0.06, 0.35, rng),
                text=style.format(letter),
                grey=grey,
                box=box,
                bold=int(rng.integers(0, 3)),
                font=str(rng.choice(FONTS)),
            )
        )
    if rng.random() < 0.5:
        grey, box = _ink(rng)
        number = str(rng.choice("1 2 5 10 20 50 100 200 500 0.2 0.5".split()))
        unit = str(rng.choice([" nm", "nm", " um", ""]))
        marks.append(
            Overlay(
                "scale bar",
                y=float(rng.uniform(0.72, 0.95)),
                x=float(rng.choice([0.05, 0.7, rng.uniform(0, 0.8)])),
                size=_between(0.03, 0.2, rng),
                text=number + unit,
                grey=grey,
                box=box,
                length=_between(0.08, 0.6, rng),
                bold=int(rng.integers(0, 3)),
                font=str(rng.choice(FONTS)),
            )
        )
    if rng.random() < 0.07:
        dark = rng.random() < 0.4
        marks.append(
            Overlay(
                "data bar",
                x=0.02,
                size=float(rng.uniform(0.08, 0.28)),
                text=_bar_text(rng),
                font=str(rng.choice(FONTS)),
                grey=1.0 if dark else 0.0,
                box=0.0 if dark else 1.0,
                length=0.15,
            )
        )
    return marks


def _random_graphics(rng: np.random.Generator) -> list[Overlay]:
    """A frame, arrows, a box."""
    marks: list[Overlay] = []
    if rng.random() < 0.06:
        marks.append(Overlay("frame", size=float(rng.uniform(0.003, 0.02)), grey=_ink(rng)[0]))
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.05 else 0):
        marks.append(
            Overlay(
                "arrow",
                y=float(rng.uniform(0.1, 0.9)),
                x=float(rng.uniform(0.1, 0.9)),
                size=_between(0.03, 0.08, rng),
                grey=_ink(rng)[0],
                length=_between(0.04, 0.15, rng),
            )
        )
    if rng.random() < 0.05:
        marks.append(
            Overlay(
                "box",
                y=float(rng.uniform(0, 0.9)),
                x=float(rng.uniform(0, 0.8)),
                size=_between(0.05, 0.25, rng),
                length=_between(0.05, 0.35, rng),
                grey=float(rng.choice([1.0, 1.0, 0.0])),
            )
        )
    return marks
