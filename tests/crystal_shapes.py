"""Analytic shapes: polygons with known properties, digitized by pixel centres."""

from __future__ import annotations

import numpy as np
from skimage.measure import points_in_poly

#: Vertices (y, x) of every shape in a circle of radius 1; curved ones as polygons of 400 sides.
_ROUND = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
_TIPS = np.pi / 5 * np.arange(10)
SHAPES = {
    "disc": np.stack([np.sin(_ROUND), np.cos(_ROUND)], axis=1),
    "ellipse": np.stack([0.6 * np.sin(_ROUND), np.cos(_ROUND)], axis=1),
    "square": np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / np.sqrt(2),
    "rectangle": np.array([[-1, -2], [-1, 2], [1, 2], [1, -2]]) / np.sqrt(5),
    "triangle": np.stack([np.sin(_TIPS[:6:2] * 5 / 3), np.cos(_TIPS[:6:2] * 5 / 3)], axis=1),
    "star": np.stack([np.sin(_TIPS), np.cos(_TIPS)], axis=1)
    * np.where(np.arange(10) % 2 == 0, 1.0, 0.5)[:, None],
}


def digitize(polygon: np.ndarray, *, margin: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A mask of the pixels whose centres are in a polygon, and the position of its pixel (0, 0)."""
    low = np.floor(polygon.min(axis=0)).astype(int) - margin
    size = np.ceil(polygon.max(axis=0)).astype(int) + margin + 1 - low
    points = np.moveaxis(np.indices(size), 0, -1).reshape(-1, 2) + low
    return points_in_poly(points, polygon).reshape(size), low


def random_shape(name: str, radius_px: float, rng: np.random.Generator) -> np.ndarray:
    """A shape in a random direction at a random position within a pixel."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return radius_px * SHAPES[name] @ turn + rng.uniform(-0.5, 0.5, 2)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 1] * b[:, 0] - a[:, 0] * b[:, 1]


def truth(polygon: np.ndarray) -> dict[str, float]:
    """Properties of a polygon, from its vertices alone."""
    following = np.roll(polygon, -1, axis=0)
    cross = _cross(polygon, following)
    sign = np.sign(cross.sum())
    area = sign * cross.sum() / 2
    centroid = sign * ((polygon + following) * cross[:, None]).sum(axis=0) / (6 * area)
    v, w = polygon - centroid, following - centroid
    cross = sign * _cross(v, w)
    yy, xx = ((v**2 + v * w + w**2) * cross[:, None]).sum(axis=0) / (12 * area)
    mixed = v[:, 1] * w[:, 0] + 2 * v[:, 1] * v[:, 0] + 2 * w[:, 1] * w[:, 0] + w[:, 1] * v[:, 0]
    xy = (mixed * cross).sum() / (24 * area)
    least, greatest = np.linalg.eigvalsh([[yy, xy], [xy, xx]])
    perimeter = np.hypot(*(following - polygon).T).sum()
    angle = np.deg2rad(np.arange(0, 180, 0.1))
    along = polygon @ np.stack([-np.sin(angle), np.cos(angle)])  # counter-clockwise from +x
    width = along.max(axis=0) - along.min(axis=0)
    hull = polygon[::2] if len(polygon) == 10 else polygon  # of the star its tips
    box = np.prod(polygon.max(axis=0) - polygon.min(axis=0))
    return {
        "area": area,
        "equivalent_diameter": np.sqrt(4 * area / np.pi),
        "centroid_y": centroid[0],
        "centroid_x": centroid[1],
        "axis_major": 4 * np.sqrt(greatest),
        "axis_minor": 4 * np.sqrt(least),
        "aspect_ratio": np.sqrt(greatest / least),
        "eccentricity": np.sqrt(max(1 - least / greatest, 0.0)),
        "orientation": np.rad2deg(0.5 * np.arctan2(-2 * xy, xx - yy)) % 180,
        "perimeter": perimeter,
        "circularity": 4 * np.pi * area / perimeter**2,
        "solidity": area / (abs(_cross(hull, np.roll(hull, -1, axis=0)).sum()) / 2),
        "extent": area / box,
        "feret_max": width.max(),
        "feret_min": width.min(),
        "feret_max_angle": np.rad2deg(angle[width.argmax()]),
        "feret_min_angle": np.rad2deg(angle[width.argmin()]),
    }
