"""Placing simulated crystals: apart, in contact with another, or on a lattice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nanoarray.simulate.nanocrystal_outlines import polygon_area, rotated
from nanoarray.simulate.nanocrystal_raster import (
    covered_pixels,
    mark,
    polygon_coverage,
    slide_in,
)

# A crystal that finds no free place in this many tries may overlap others more than asked.
_TRIES = 60


@dataclass(frozen=True)
class Sprite:
    """One crystal: its outline about the origin [px], where it is, and its parameters."""

    points: NDArray[np.float64]
    angle_deg: float
    group: int
    p: float
    d: int
    axis_ratio: float
    optical_depth: float
    y: float = 0.0
    x: float = 0.0

    def outline(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Vertices (y, x) in the field [px]."""
        turned = rotated(self.points, self.angle_deg)
        return turned[:, 0] + self.y, turned[:, 1] + self.x

    def diameter_px(self) -> float:
        """Diameter of the circle of the same area."""
        return float(np.sqrt(4 / np.pi * polygon_area(self.points)))

    def phase_deg(self) -> float:
        """Phase of equation 1 in [0, 180); NaN for other outlines."""
        if self.d < 0:
            return float("nan")
        return float((-self.d * self.angle_deg / 2) % 180.0)


def place_sprites(
    sprites: list[Sprite],
    *,
    height_px: int,
    width_px: int,
    margin_px: int,
    agglomeration: float,
    aligned: float,
    overlap: float,
    gap_px: float,
    lattice: bool,
    rng: np.random.Generator,
) -> list[Sprite]:
    """Give every crystal a place (and, in aligned agglomerates, its orientation).

    No crystal is dropped and sizes do not decide the order, so that agglomeration leaves the size
    distribution alone; a crystal that finds no place overlaps others more than `overlap`.
    """
    taken = np.zeros((height_px + 2 * margin_px, width_px + 2 * margin_px), np.uint8)
    # Outlines lie anywhere between pixels. Without it they would all begin at the centre of one,
    # and labels would be 0.07 px too small in radius.
    between = rng.spawn(1)[0]
    sites = _lattice_sites(sprites, taken.shape, gap_px, rng) if lattice else None
    placed: list[Sprite] = []
    for k, sprite in enumerate(sprites):
        turned = sprite
        neighbour = None
        if placed and rng.random() < agglomeration:
            # Recent ones are preferred: agglomerates grow as chains and islands.
            back = min(int(rng.exponential(8)) + 1, len(placed))
            neighbour = placed[-back]
            if rng.random() < aligned and neighbour.group == sprite.group:
                turned = replace(sprite, angle_deg=neighbour.angle_deg + rng.normal(0, 4))
        mask, offset = _mask(turned, gap_px, between.random(2))
        enough = int(overlap * rng.random() * mask.sum()) if overlap else 0
        if sites is not None:
            spot = sites[k] if k < len(sites) else _random_spot(taken.shape, rng)
            top, left = spot[0] - offset[0], spot[1] - offset[1]
        elif neighbour is not None:
            top, left = _contact(turned, neighbour, mask, offset, taken, margin_px, enough, rng)
        else:
            top, left = _free(mask, offset, taken, enough, rng)
        row, column = round(top), round(left)
        mark(taken, mask, row, column)
        placed.append(
            replace(turned, y=row + offset[0] - margin_px, x=column + offset[1] - margin_px)
        )
    return placed


def _mask(
    sprite: Sprite, gap_px: float, shift_px: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Pixels of a crystal with half the gap around it, and where its origin is in them."""
    turned = rotated(sprite.points, sprite.angle_deg)
    radius = np.sqrt(polygon_area(turned) / np.pi)
    turned = turned * max(1 + gap_px / 2 / radius, 0.5)
    offset_y, offset_x = (1 + shift_px - turned.min(axis=0)).tolist()
    offset = (offset_y, offset_x)
    size = np.ceil(turned.max(axis=0) - turned.min(axis=0)).astype(int) + 4
    cover = polygon_coverage(
        turned[:, 0] + offset[0], turned[:, 1] + offset[1], int(size[0]), int(size[1])
    )
    return (cover >= 0.5).astype(np.uint8), offset


def _random_spot(shape: tuple[int, int], rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(0, shape[0] - 1)), float(rng.uniform(0, shape[1] - 1))


def _free(
    mask: NDArray[np.uint8],
    offset: tuple[float, float],
    taken: NDArray[np.uint8],
    enough: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """A random place that covers at most `enough` taken pixels, or the best of the tries."""
    best, best_count = (0.0, 0.0), None
    for _ in range(_TRIES):
        y, x = _random_spot((taken.shape[0], taken.shape[1]), rng)
        top, left = y - offset[0], x - offset[1]
        limit = enough if best_count is None else max(best_count, enough)
        if best_count is None:
            limit = int(mask.size)
        count = covered_pixels(taken, mask, round(top), round(left), limit)
        if best_count is None or count < best_count:
            best, best_count = (top, left), count
        if count <= enough:
            break
    return best


def _contact(
    sprite: Sprite,
    neighbour: Sprite,
    mask: NDArray[np.uint8],
    offset: tuple[float, float],
    taken: NDArray[np.uint8],
    margin_px: int,
    enough: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Slide toward a placed crystal until contact; of several directions the closest."""
    reach = np.hypot(*sprite.points.T).max() + np.hypot(*neighbour.points.T).max() + 2
    step = max(reach / 40, 1.0)
    target_y = neighbour.y + margin_px - offset[0]
    target_x = neighbour.x + margin_px - offset[1]
    best, best_distance = (target_y, target_x), np.inf
    for direction in rng.uniform(0, 2 * np.pi, 3):
        dy, dx = -np.sin(direction), np.cos(direction)
        start = covered_pixels(
            taken,
            mask,
            round(target_y + reach * 1.5 * dy),
            round(target_x + reach * 1.5 * dx),
            enough,
        )
        steps = int(1.5 * reach / step)
        y, x = slide_in(taken, mask, target_y, target_x, dy * step, dx * step, steps, enough)
        if step > 1:
            # Finer from the last free place on.
            y, x = slide_in(taken, mask, y - dy * step, x - dx * step, dy, dx, int(step), enough)
        distance = np.hypot(y - target_y, x - target_x) + (1e3 if start > enough else 0)
        if distance < best_distance:
            best, best_distance = (y, x), distance
    if best_distance >= 1e3:
        return _free(mask, offset, taken, enough, rng)
    return best


def _lattice_sites(
    sprites: list[Sprite], shape: tuple[int, ...], gap_px: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Sites of a hexagonal patch in order of distance from its centre, slightly disordered."""
    if not sprites:
        return []
    widths = np.array([2 * np.hypot(*s.points.T).max() for s in sprites])
    pitch = float(np.percentile(widths, 70)) * 0.97 + gap_px
    n = int(max(shape) / pitch) + 2
    i, j = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1))
    turn = np.exp(1j * rng.uniform(0, np.pi))
    sites = pitch * (i + j * np.exp(1j * np.pi / 3)).ravel() * turn
    middle = complex(*_random_spot((shape[0], shape[1]), rng))
    # An uneven rim: the patch is not a disc.
    order = np.argsort(np.abs(sites) * (1 + 0.3 * rng.standard_normal(sites.size)))
    sites = sites[order] + 0.03 * pitch * (
        rng.standard_normal(sites.size) + 1j * rng.standard_normal(sites.size)
    )
    sites = sites + middle
    inside = (sites.real > 0) & (sites.real < shape[0]) & (sites.imag > 0)
    inside &= sites.imag < shape[1]
    return [(float(s.real), float(s.imag)) for s in sites[inside]]
