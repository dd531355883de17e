"""Outlines of simulated nanocrystals: polygons about the origin, of equivalent diameter 1.

Every function returns the vertices as ``(n, 2)`` (y, x) with y down; angles are counter-clockwise
from +x as seen on screen. Equation 1 is that of the nanocrystal shape model; the other outlines are
what electron micrographs show besides it: rods, projected polyhedra, bones, irregular blobs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull

from nanoarray.nanocrystal.shape.formula import radius

Points = NDArray[np.float64]

_VERTICES = 192


def polygon_area(points: Points) -> float:
    """Area inside a closed polygon (shoelace formula), in the square of its units."""
    y, x = points[:, 0], points[:, 1]
    twice = np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]) + x[-1] * y[0] - y[-1] * x[0]
    return float(abs(twice) / 2)


def polygon_centroid(points: Points) -> tuple[float, float]:
    """Centre of mass (y, x) of the area inside a closed polygon."""
    here, after = points, np.concatenate([points[1:], points[:1]])
    cross = here[:, 1] * after[:, 0] - after[:, 1] * here[:, 0]
    center = ((here + after) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
    return float(center[0]), float(center[1])


def thinned(points: Points, diameter_px: float) -> Points:
    """Fewer vertices where they lie much closer than pixels."""
    wanted = max(12.0 * diameter_px, 64.0)
    return points[:: max(int(len(points) / wanted), 1)]


def unit_diameter(points: Points) -> Points:
    """The same outline scaled to the area of a circle of diameter 1."""
    return points * np.sqrt(np.pi / 4 / polygon_area(points))


def rotated(points: Points, angle_deg: float) -> Points:
    """The outline turned counter-clockwise as seen on screen."""
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    y, x = points[:, 0], points[:, 1]
    return np.stack([y * cos - x * sin, y * sin + x * cos], axis=1)


def equation1(*, p: float, d: int, axis_ratio: float, phase_rad: float) -> Points:
    """Outline ``R = (|L cos(d t/2 + phi)|^p + |sin(d t/2 + phi)|^p)^(-1/p)``.

    Parameters
    ----------
    p
        Exponent, above 0: 2 is round, large is facetted, small is concave.
    d
        Number of radial maxima, at least 1.
    axis_ratio
        L, at least 1.
    phase_rad
        phi; a crystal turned by ``a`` has ``phi - d a / 2``.
    """
    theta = np.linspace(0, 2 * np.pi, 4 * _VERTICES, endpoint=False)
    curve = radius(theta, p=p, d=d, axis_ratio=axis_ratio, phase_rad=phase_rad)
    return unit_diameter(np.stack([-curve * np.sin(theta), curve * np.cos(theta)], axis=1))


def resampled(points: Points, count: int = _VERTICES) -> Points:
    """The outline with `count` vertices at equal distances."""
    closed = np.concatenate([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, length[-1], count, endpoint=False)
    return np.stack([np.interp(at, length, closed[:, 0]), np.interp(at, length, closed[:, 1])], 1)


def rounded(points: Points, amount: float) -> Points:
    """The outline with its corners rounded; `amount` is a share of the perimeter."""
    even = resampled(points)
    if amount <= 0:
        return even
    return unit_diameter(gaussian_filter1d(even, amount * len(even), axis=0, mode="wrap"))


def rod(aspect: float, *, end: float, waist: float, bend: float) -> Points:
    """A rod along x.

    Parameters
    ----------
    aspect
        Length over width.
    end
        Shape of the ends: 0 flat, 1 half circles.
    waist
        Width in the middle over width near the ends: below 1 a bone, above 1 a spindle.
    bend
        Sagitta over length.
    """
    along = np.sin(np.linspace(-np.pi / 2, np.pi / 2, _VERTICES // 2))
    cap = max(end, 0.02) / aspect
    outside = np.clip((np.abs(along) - (1 - cap)) / cap, 0, 1)
    half = np.sqrt(np.clip(1 - outside**2, 0, None)) / aspect
    half *= waist + (1 - waist) * np.clip(np.abs(along) * 1.25, 0, 1) ** 2
    shift = 2 * bend * along**2
    upper = np.stack([half + shift, along], axis=1)
    lower = np.stack([-half + shift, along], axis=1)[::-1]
    # The two half outlines share their end points where the ends close.
    return unit_diameter(np.concatenate([upper, lower[1:-1]]))


def regular_polygon(corners: int, *, jitter: float, rng: np.random.Generator) -> Points:
    """A polygon of equal corners, moved at random by `jitter` radii."""
    turn = 2 * np.pi * np.arange(corners) / corners
    points = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    points = points + jitter * rng.standard_normal(points.shape)
    return unit_diameter(points[ConvexHull(points).vertices])


_POLYHEDRA: dict[str, NDArray[np.float64]] = {
    "cube": np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float),
    "octahedron": np.array(
        [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float
    ),
    "tetrahedron": np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float),
    "plate": np.array(
        [[np.cos(a), np.sin(a), z] for a in np.arange(6) * np.pi / 3 for z in (-0.2, 0.2)]
    ),
    "bipyramid": np.array(
        [[np.cos(a), np.sin(a), 0] for a in np.arange(5) * 2 * np.pi / 5]
        + [[0, 0, 1.6], [0, 0, -1.6]]
    ),
}


def projected_polyhedron(name: str, *, tilt: float, rng: np.random.Generator) -> Points:
    """Shadow of a polyhedron; `tilt` 0 seen along its axis, 1 from anywhere."""
    solid = _POLYHEDRA[name]
    axes, _ = np.linalg.qr(np.eye(3) + tilt * rng.standard_normal((3, 3)))
    shadow = (solid @ axes)[:, :2]
    return unit_diameter(shadow[ConvexHull(shadow).vertices])


def blob(*, roughness: float, aspect: float, rng: np.random.Generator) -> Points:
    """A smooth irregular outline: an ellipse with random harmonics of falling amplitude."""
    theta = np.linspace(0, 2 * np.pi, _VERTICES, endpoint=False)
    order = np.arange(2, 9)
    amplitude = roughness * rng.standard_normal((2, len(order))) / order
    reach = 1 + amplitude[0] @ np.cos(order[:, None] * theta)
    reach = np.clip(reach + amplitude[1] @ np.sin(order[:, None] * theta), 0.3, None)
    points = np.stack([reach * np.sin(theta) / np.sqrt(aspect), reach * np.cos(theta)], axis=1)
    points[:, 1] *= np.sqrt(aspect)
    return unit_diameter(points)


def star(arms: int, *, depth: float, sharpness: float) -> Points:
    """Arms around a core; `depth` is the valley over the tip, larger `sharpness` thinner arms."""
    theta = np.linspace(0, 2 * np.pi, _VERTICES, endpoint=False)
    reach = depth + (1 - depth) * (0.5 + 0.5 * np.cos(arms * theta)) ** sharpness
    return unit_diameter(np.stack([reach * np.sin(theta), reach * np.cos(theta)], axis=1))


#: Outlines by name that a population can have besides equation 1; each draws one crystal.
OUTLINES: dict[str, Callable[[float, np.random.Generator], Points]] = {
    "rod": lambda aspect, rng: rod(aspect, end=rng.uniform(0.2, 1), waist=1.0, bend=0.0),
    "bent rod": lambda aspect, rng: rod(
        aspect, end=rng.uniform(0.3, 1), waist=1.0, bend=rng.normal(0, 0.12)
    ),
    "bone": lambda aspect, rng: rod(
        aspect, end=rng.uniform(0.4, 1), waist=rng.uniform(0.45, 0.85), bend=0.0
    ),
    "spindle": lambda aspect, rng: rod(
        aspect, end=rng.uniform(0.6, 1), waist=rng.uniform(1.2, 1.9), bend=0.0
    ),
    "triangle": lambda _, rng: rounded(
        regular_polygon(3, jitter=rng.uniform(0, 0.08), rng=rng), rng.uniform(0, 0.03)
    ),
    "square": lambda _, rng: rounded(
        regular_polygon(4, jitter=rng.uniform(0, 0.06), rng=rng), rng.uniform(0, 0.03)
    ),
    "pentagon": lambda _, rng: rounded(
        regular_polygon(5, jitter=rng.uniform(0, 0.08), rng=rng), rng.uniform(0, 0.03)
    ),
    "hexagon": lambda _, rng: rounded(
        regular_polygon(6, jitter=rng.uniform(0, 0.08), rng=rng), rng.uniform(0, 0.03)
    ),
    "facets": lambda _, rng: rounded(
        regular_polygon(int(rng.integers(5, 11)), jitter=0.15, rng=rng), rng.uniform(0, 0.02)
    ),
    "cube": lambda _, rng: rounded(
        projected_polyhedron("cube", tilt=rng.uniform(0, 0.4), rng=rng), rng.uniform(0, 0.025)
    ),
    "octahedron": lambda _, rng: rounded(
        projected_polyhedron("octahedron", tilt=1.0, rng=rng), rng.uniform(0, 0.02)
    ),
    "tetrahedron": lambda _, rng: rounded(
        projected_polyhedron("tetrahedron", tilt=1.0, rng=rng), rng.uniform(0, 0.02)
    ),
    "plate": lambda _, rng: rounded(
        projected_polyhedron("plate", tilt=rng.uniform(0, 0.6), rng=rng), rng.uniform(0, 0.02)
    ),
    "bipyramid": lambda _, rng: rounded(
        projected_polyhedron("bipyramid", tilt=1.0, rng=rng), rng.uniform(0, 0.02)
    ),
    "blob": lambda aspect, rng: blob(roughness=rng.uniform(0.05, 0.3), aspect=aspect, rng=rng),
    "sphere": lambda _, rng: blob(
        roughness=rng.uniform(0, 0.04), aspect=float(np.exp(abs(rng.normal(0, 0.06)))), rng=rng
    ),
    "ellipse": lambda aspect, rng: blob(roughness=0.02, aspect=aspect, rng=rng),
    "star": lambda _, rng: rounded(
        star(int(rng.integers(3, 8)), depth=rng.uniform(0.4, 0.8), sharpness=rng.uniform(0.7, 3)),
        rng.uniform(0, 0.015),
    ),
}
