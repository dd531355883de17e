"""What is known of a grain map: orientations, confidence, misorientation along boundaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nanoarray.superlattice.grains import regions
from nanoarray.superlattice.grains.boundary import means_near_boundary
from nanoarray.superlattice.grains.orientation import (
    angular_harmonics,
    find_symmetry,
    profile_orientation,
    rotation_between,
    symmetric_orders,
)

#: Strides per tile where nothing else is said: tiles of 4 row spacings every 0.75 spacings.
TILE_STRIDES = 16 / 3

# Lengths in edges of a tile: sides of a boundary are compared over about _REACH, leaving out _SKIP,
# where tiles see both sides; orientations are averaged with a standard deviation of _SMOOTHING.
_REACH = 1.1
_SKIP = 0.55
_SMOOTHING = 0.4
# F ratio from which on a lattice counts as bent.
_SIGNIFICANT = 3.0
# Inside a grain the orientation is followed up to this far from the grain's mean.
_LARGEST_TURN_DEG = 15.0


@dataclass(frozen=True)
class GrainMap:
    """Grains on the tile grid.

    Attributes
    ----------
    grain
        ``(tile_y, tile_x)`` int32, ids 1..n, 0 where no lattice was found or nothing was measured.
    orientation_deg
        ``(tile_y, tile_x)`` float32, direction of the densest rows [deg, counter-clockwise from
        +x] modulo 360 / symmetry; NaN where grain is 0. With symmetry 2 these are the rows of the
        strongest contrast, which in a tilted or obliquely cut lattice need not be the densest.
    confidence
        ``(tile_y, tile_x)`` float32 in [0, 1], correlation of the tile's angular profile with that
        of its grain; 0 where grain is 0.
    symmetry
        Rotational symmetry of the lattice: 4, 6, or 2 for oblique and unknown ones.
    grain_orientation_deg
        ``(n,)`` float64, orientation of grains 1..n.
    boundary_pairs
        ``(m, 2)`` int32, neighbouring grains, lower id first.
    boundary_misorientation_deg
        ``(m,)`` float64, misorientation across their common boundary.
    boundary_tiles
        ``(m,)`` int64, length of the common boundary in edges of tiles.
    """

    grain: NDArray[np.int32]
    orientation_deg: NDArray[np.float32]
    confidence: NDArray[np.float32]
    symmetry: int
    grain_orientation_deg: NDArray[np.float64]
    boundary_pairs: NDArray[np.int32]
    boundary_misorientation_deg: NDArray[np.float64]
    boundary_tiles: NDArray[np.int64]


@dataclass(frozen=True)
class Lattice:
    """What is known of the lattice: symmetry, its harmonics, and the edge of a tile in strides."""

    symmetry: int
    orders: NDArray[np.int64]
    tile_strides: float


def describe_grains(
    labels: NDArray[np.integer],
    profile: NDArray[np.floating],
    angles_deg: ArrayLike,
    *,
    symmetry: int | None = None,
    tile_strides: float = TILE_STRIDES,
) -> GrainMap:
    """Orientation, confidence and boundaries of grains that were found in another way.

    Parameters
    ----------
    labels
        ``(tile_y, tile_x)`` grain ids 1..n, 0 for none.
    profile
        ``(tile_y, tile_x, angle)`` projection variance.
    angles_deg
        Projection angles, evenly spaced over 180 degrees.
    symmetry
        2, 4 or 6; found from the profiles by default.
    tile_strides
        Edge of a tile in strides.

    Returns
    -------
    GrainMap
    """
    waves = angular_harmonics(profile, angles_deg)
    usable = np.isfinite(profile).all(axis=-1)
    lattice = find_lattice(waves, usable, symmetry=symmetry, tile_strides=tile_strides)
    return describe(regions.renumber(labels), lattice_features(waves, lattice.orders), lattice)


def find_lattice(
    waves: NDArray[np.complexfloating],
    usable: NDArray[np.bool_],
    *,
    symmetry: int | None,
    tile_strides: float,
) -> Lattice:
    """The lattice of a map of harmonics; its symmetry from the data where it is not given."""
    step = max(1, round(tile_strides))
    found = symmetry or find_symmetry(waves, usable, tile_strides=step)
    return Lattice(found, symmetric_orders(found), tile_strides)


def lattice_features(
    harmonics: NDArray[np.complexfloating], orders: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Real vector of the harmonics that the lattice has: its distances measure misorientation."""
    chosen = harmonics[..., orders - 1]
    return np.concatenate([chosen.real, chosen.imag], axis=-1).astype(np.float32)


def waves_of(features: NDArray[np.floating]) -> NDArray[np.complexfloating]:
    """The complex harmonics of real feature vectors."""
    half = features.shape[-1] // 2
    return features[..., :half] + 1j * features[..., half:]


def boundary_misorientation(
    labels: NDArray[np.int32],
    features: NDArray[np.float32],
    pairs: NDArray[np.int64],
    lattice: Lattice,
    turn: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """Misorientation of the two sides of every boundary [deg].

    Each side is an average over the tiles near the boundary. With the ``turn`` of every tile
    against its grain (`turn_in_grain`), the orientation of a grain whose lattice is bent is
    continued to the boundary with the gradient inside the grain.
    """
    if len(pairs) == 0:
        return np.zeros(0)
    place = np.moveaxis(np.indices(labels.shape, dtype=np.float32), 0, -1)
    means = means_near_boundary(
        labels,
        np.concatenate([features, place], axis=-1),
        pairs,
        reach=_REACH * lattice.tile_strides,
        skip=_SKIP * lattice.tile_strides,
    )
    sides = waves_of(means[..., :-2])
    period = 360.0 / lattice.symmetry
    apart = rotation_between(sides[:, 0], sides[:, 1], orders=lattice.orders, limit_deg=period / 2)
    if turn is not None:
        gradient = orientation_gradients(labels, turn, lattice)[pairs]
        middle = means[..., -2:].mean(axis=1, keepdims=True)
        change = (gradient * (middle - means[..., -2:])).sum(axis=-1)
        apart = apart + change[:, 0] - change[:, 1]
    return np.abs((apart + period / 2) % period - period / 2)


def orientation_gradients(
    labels: NDArray[np.int32], turn: NDArray[np.float32], lattice: Lattice
) -> NDArray[np.float64]:
    """Change of the orientation per tile along y and x inside regions 0..n, ``(n + 1, 2)`` [deg].

    The plane that fits the ``turn`` of tiles best; 0 where it is not significant, so that noise
    does not spoil what needs no correction.
    """
    gradients = np.zeros((int(labels.max(initial=0)) + 1, 2))
    # Tiles overlap and are averaged: this many of them are worth one.
    alike = (lattice.tile_strides * (1 + 2 * _SMOOTHING)) ** 2
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        y, x = np.nonzero(labels[box] == k)
        values = turn[box][y, x].astype(np.float64)
        place = np.stack([y - y.mean(), x - x.mean()], axis=1)
        scatter = place.T @ place
        free = y.size / alike - 3
        if free <= 0 or np.linalg.cond(scatter) > 1e6:
            continue
        slope = np.linalg.solve(scatter, place.T @ values)
        rest = values - values.mean() - place @ slope
        # Explained against left over, per independent tile (an F ratio of 2 and `free`).
        explained = slope @ scatter @ slope / 2 / alike
        if explained > _SIGNIFICANT * (rest @ rest) / alike / free:
            gradients[k] = slope
    return gradients


def apart_deg(
    a: NDArray[np.complexfloating], b: NDArray[np.complexfloating], lattice: Lattice
) -> NDArray[np.float64]:
    """Misorientation of pairs of profiles [deg]."""
    limit = 180.0 / lattice.symmetry
    return np.abs(rotation_between(a, b, orders=lattice.orders, limit_deg=limit))


def turn_in_grain(
    labels: NDArray[np.int32], features: NDArray[np.float32], lattice: Lattice
) -> NDArray[np.float32]:
    """Rotation of the surroundings of every tile, inside its grain, against the grain's mean [deg].

    0 where labels are 0.
    """
    smoothing = _SMOOTHING * lattice.tile_strides
    limit = min(_LARGEST_TURN_DEG, 180.0 / lattice.symmetry)
    mean = waves_of(regions.region_means(labels, features))
    turn = np.zeros(labels.shape, np.float32)
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == k
        own = np.where(inside[..., None], features[box], 0)
        weight = ndimage.gaussian_filter(inside.astype(np.float32), smoothing)
        smooth = ndimage.gaussian_filter(own, (smoothing, smoothing, 0))
        local = waves_of(smooth[inside] / np.maximum(weight[inside], 1e-6)[:, None])
        turn[box][inside] = rotation_between(local, mean[k], orders=lattice.orders, limit_deg=limit)
    return turn


def describe(
    labels: NDArray[np.int32],
    features: NDArray[np.float32],
    lattice: Lattice,
) -> GrainMap:
    """Orientation, confidence and boundaries of finished grains."""
    mean = waves_of(regions.region_means(labels, features))
    grain_orientation = profile_orientation(mean, orders=lattice.orders, symmetry=lattice.symmetry)
    turn = turn_in_grain(labels, features, lattice)
    orientation = (grain_orientation[labels] + turn) % (360.0 / lattice.symmetry)
    confidence = np.zeros(labels.shape, np.float32)
    for rows in regions.bands(features):
        tile, reference = waves_of(features[rows]), mean[labels[rows]]
        norm = np.linalg.norm(tile, axis=-1) * np.linalg.norm(reference, axis=-1)
        alike = (tile * np.conj(reference)).real.sum(axis=-1) / np.maximum(norm, 1e-9)
        confidence[rows] = np.where(labels[rows] > 0, np.clip(alike, 0, 1), 0)
    pairs, lengths = regions.neighbour_pairs(labels)
    return GrainMap(
        grain=labels,
        orientation_deg=np.where(labels > 0, orientation, np.nan).astype(np.float32),
        confidence=confidence,
        symmetry=lattice.symmetry,
        grain_orientation_deg=grain_orientation[1:],
        boundary_pairs=pairs.astype(np.int32),
        boundary_misorientation_deg=boundary_misorientation(labels, features, pairs, lattice, turn),
        boundary_tiles=lengths,
    )
