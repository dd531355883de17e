"""Absorption inside one simulated crystal: thickness, core, bend contours, speckle."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TILE_PX = 128


class Material(Protocol):
    """What of a population decides its contrast (see `nanocrystals.Population`)."""

    @property
    def profile(self) -> str:
        """How thickness falls to the edge."""

    @property
    def contours(self) -> float:
        """Strength of bend contours."""

    @property
    def speckle(self) -> float:
        """Strength of speckle."""

    @property
    def core(self) -> float:
        """Relative diameter of the core."""


def speckle_field(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Unit-variance random textures of three grain sizes, ``(3, height, width)``; they repeat."""
    tile = rng.standard_normal((3, _TILE_PX, _TILE_PX), np.float32)
    out = np.empty((3, *shape), np.float32)
    repeats = (shape[0] // _TILE_PX + 1, shape[1] // _TILE_PX + 1)
    for layer, noise, sigma in zip(out, tile, (0.8, 2.0, 5.0), strict=True):
        smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap")
        layer[:] = np.tile(smooth / smooth.std(), repeats)[: shape[0], : shape[1]]
    return out


def absorption_map(
    cover: NDArray[np.float32],
    inside_px: NDArray[np.float64],
    material: Material,
    optical_depth: float,
    contact: float,
    textures: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Optical depth of one crystal on its crop.

    Parameters
    ----------
    cover
        Share of each pixel inside the outline.
    inside_px
        Distance of each pixel to the outline, 0 outside.
    material, optical_depth
        Contrast of its population, and its own absorption where it is thickest.
    contact
        Share of crystals in contact (more tilted ones among them).
    textures
        From `speckle_field`.
    rng
        Generator.
    """
    deepest = max(float(inside_px.max()), 1.0)
    relative = np.minimum(inside_px / deepest, 1.0)
    if material.profile == "round":
        # A ball that stands on a rim of its own, from none (a sphere) to a lens.
        rim = rng.uniform(0.0, 0.2)
        thickness = rim + (1 - rim) * np.sqrt(1 - (1 - relative) ** 2)
    elif material.profile == "flat":
        thickness = np.ones_like(relative)
    else:
        bevel, rim = rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.75)
        thickness = rim + (1 - rim) * np.minimum(relative / bevel, 1.0)
    if material.core:
        thickness = thickness * _core(relative, material.core, rng)
    factor = np.ones_like(thickness)
    if deepest > 3 and material.contours:
        factor += material.contours * _contours(cover.shape, rng)
        if rng.random() < 0.2 * contact + 0.1:
            # Tilted into another diffraction condition: one side darker.
            angle = rng.uniform(0, 2 * np.pi)
            y, x = np.indices(cover.shape) / max(cover.shape) - 0.5
            factor += 1.2 * material.contours * (y * np.sin(angle) + x * np.cos(angle))
    if deepest > 1.5 and material.speckle:
        layer = textures[int(rng.integers(0, 3))]
        top = rng.integers(0, max(layer.shape[0] - cover.shape[0], 0) + 1)
        left = rng.integers(0, max(layer.shape[1] - cover.shape[1], 0) + 1)
        patch = layer[top : top + cover.shape[0], left : left + cover.shape[1]]
        factor[: patch.shape[0], : patch.shape[1]] += material.speckle * patch
    return (cover * optical_depth * thickness * np.clip(factor, 0.2, 2.5)).astype(np.float32)


def _core(
    relative: NDArray[np.float64], core: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Absorption of a crystal with a core (or a hollow) relative to its densest part."""
    wall = float(np.exp(rng.uniform(np.log(0.02), np.log(0.15))))
    depth = relative - (1 - abs(core))
    if rng.random() < 0.5:
        # Round and off the centre, whatever the outline is.
        y, x = np.indices(relative.shape)
        peak = np.unravel_index(int(relative.argmax()), relative.shape)
        radius = np.sqrt((relative > 0).sum() / np.pi)
        aside = rng.normal(0, 0.12, 2) * radius
        away = np.hypot(y - peak[0] - aside[0], x - peak[1] - aside[1]) / max(radius, 1.0)
        depth = abs(core) - away
    inner = 1 / (1 + np.exp(-np.clip(depth / wall, -30, 30)))
    gain = rng.uniform(0.5, 5.0) if core > 0 else -rng.uniform(0.3, 0.85)
    return (1 + gain * inner) / max(1 + gain, 1.0)


def _contours(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Bend contours (curved fringes), twin bands or sectors, about -1 to 1."""
    y, x = np.indices(shape, dtype=np.float64)
    size = max(shape)
    y, x = y / size - rng.uniform(0.2, 0.8), x / size - rng.uniform(0.2, 0.8)
    angle = rng.uniform(0, 2 * np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kind = rng.random()
    if kind < 0.45:
        wave = (
            along * rng.uniform(1, 5) + rng.normal(0, 2) * across**2 + rng.normal(0, 2) * along**2
        )
        return np.sin(2 * np.pi * wave) * np.exp(-(across**2) * rng.uniform(0, 6))
    if kind < 0.75:
        sectors = np.sin(rng.integers(1, 6) * np.arctan2(across, along) + rng.uniform(0, 6))
        return np.clip(3 * sectors, -1, 1)
    if kind < 0.9:
        band = np.abs(along - rng.uniform(-0.2, 0.2)) < rng.uniform(0.03, 0.2)
        return np.where(band, rng.choice([-1.0, 1.0]), 0.0)
    return 1.5 * np.exp(-((along / 0.25) ** 2 + (across / rng.uniform(0.1, 0.4)) ** 2)) - 0.3
