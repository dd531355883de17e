"""Grain maps: an orientation for every tile, and grains bounded by misorientation.

As in EBSD, a grain is a connected region inside which the lattice orientation changes gradually,
and which differs from its neighbours by at least a threshold along their common boundary. Two
window sizes are used: larger tiles know the orientation, smaller ones where a boundary runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.superlattice import regions
from nanoarray.superlattice.orientation import (
    angular_harmonics,
    find_symmetry,
    lattice_band,
    profile_orientation,
    rotation_between,
    symmetric_orders,
)
from nanoarray.superlattice.radon import tile_radon
from nanoarray.superlattice.tile_grid import tile_grid

#: Edge of the windows in row spacings: for orientations, and for the course of boundaries.
TILE_SPACINGS = 4.0
FINE_TILE_SPACINGS = 2.5
ANGLE_COUNT = 60

# Cost of one tile's edge of boundary, in squared relative harmonics: at least this, and more where
# tiles of one grain differ much, in multiples of the variance of tiles (`_tile_variance`).
_LEAST_COST = 0.15
_COST_PER_VARIANCE = 6.0
# Regions of nearly one orientation are joined before boundaries are refined.
_EARLY_SHARE = 0.2
# Lengths in edges of a tile. Sides of a boundary are compared over about _REACH, leaving out
# _SKIP, where tiles see both sides; the core of a region is _CORE from its border, where fine tiles
# see one region only; orientations are averaged inside grains with a standard deviation _SMOOTHING.
_REACH = 1.9
_SKIP = 0.55
_CORE = 0.37
_SMOOTHING = 0.4
_MIN_CORE_TILES = 3
# Tiles that share less modulation than this (times the root of the number of harmonics) with their
# grain have no lattice: three of four tiles of pure noise are below, lattices reach 0.1 to 0.5.
_LEAST_MODULATION = 0.03
# Regions whose mean orientations differ by more than the threshold and this are not compared along
# their boundary: no bending of the lattice explains it.
_MOST_BENDING_DEG = 10.0
# Inside a grain the orientation is followed up to this far from the grain's mean.
_LARGEST_TURN_DEG = 15.0
_ROUNDS = 3
#: Strides per tile where nothing else is said: tiles of 4 spacings every 0.75 spacings.
TILE_STRIDES = 16 / 3


@dataclass(frozen=True)
class GrainMap:
    """Grains on the tile grid.

    Attributes
    ----------
    grain
        ``(tile_y, tile_x)`` int32, ids 1..n, 0 where no lattice was found or nothing was measured.
    orientation_deg
        ``(tile_y, tile_x)`` float32, direction of the densest rows [deg, counter-clockwise from
        +x] modulo 360 / symmetry; NaN where grain is 0.
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


def map_grains(
    image: NDArray,
    *,
    row_spacing_px: float,
    stride_px: int | None = None,
    defect: NDArray[np.bool_] | None = None,
    symmetry: int | None = None,
    min_misorientation_deg: float = 4.0,
    min_diameter_spacings: float = 4.0,
) -> GrainMap:
    """Map the grains of one micrograph.

    Parameters
    ----------
    image
        ``(height, width)`` intensities.
    row_spacing_px
        Distance of the densest rows of the lattice.
    stride_px
        Distance of tiles; by default 0.75 row spacings.
    defect
        True where nothing can be measured.
    symmetry
        2, 4 or 6; found from the image by default.
    min_misorientation_deg
        Neighbouring regions less than this apart are one grain.
    min_diameter_spacings
        Grains smaller than a circle of this diameter, in row spacings, are given to a neighbour.

    Returns
    -------
    GrainMap
        On the full-coverage grid of ``stride_px``.
    """
    stride = stride_px or max(2, round(0.75 * row_spacing_px))
    min_area_px = np.pi / 4 * (min_diameter_spacings * row_spacing_px) ** 2
    band = lattice_band(image, row_spacing_px=row_spacing_px, defect=defect)
    angles = np.arange(ANGLE_COUNT) * (180.0 / ANGLE_COUNT)
    tile = max(8, round(TILE_SPACINGS * row_spacing_px))
    fine_tile = max(6, round(FINE_TILE_SPACINGS * row_spacing_px))
    centres_y, centres_x = tile_grid(*image.shape, tile_size_px=tile, stride_px=stride)
    profile, fine_profile = (
        tile_radon(
            band,
            centres_y,
            centres_x,
            tile_size_px=size,
            angles_deg=angles,
            missing=defect,
            flatten_px=np.inf,
        )
        for size in (tile, fine_tile)
    )
    return label_grains(
        profile,
        angles,
        fine_profile=fine_profile,
        symmetry=symmetry,
        min_misorientation_deg=min_misorientation_deg,
        min_tiles=max(1, round(min_area_px / stride**2)),
        tile_strides=tile / stride,
    )


def label_grains(
    profile: NDArray[np.floating],
    angles_deg: ArrayLike,
    *,
    fine_profile: NDArray[np.floating] | None = None,
    valid: NDArray[np.bool_] | None = None,
    symmetry: int | None = None,
    min_misorientation_deg: float = 4.0,
    min_tiles: int = 16,
    tile_strides: float = TILE_STRIDES,
) -> GrainMap:
    """Partition a tile grid into grains by misorientation.

    Parameters
    ----------
    profile
        ``(tile_y, tile_x, angle)`` projection variance of tiles of about 4 row spacings of the
        band-passed image (`lattice_band`).
    angles_deg
        Projection angles, evenly spaced over 180 degrees.
    fine_profile
        The same from tiles of about 2.5 row spacings, for the course of boundaries; by default
        ``profile``.
    valid
        True where a tile takes part; by default where its profiles are finite.
    symmetry
        2, 4 or 6; found from the profiles by default.
    min_misorientation_deg
        Neighbouring regions less than this apart along their boundary are one grain.
    min_tiles
        Smaller grains are given to the most similar neighbour.
    tile_strides
        Edge of the tiles of ``profile`` in strides.

    Returns
    -------
    GrainMap

    Raises
    ------
    InputError
        If shapes disagree or a parameter is impossible.
    """
    fine = profile if fine_profile is None else fine_profile
    if profile.ndim != 3 or fine.shape != profile.shape:
        raise InputError(
            f"the profiles have shapes {profile.shape} and {fine.shape}: "
            "both must be (tile_y, tile_x, angle)"
        )
    if min_misorientation_deg <= 0 or min_tiles < 1:
        raise InputError("min_misorientation_deg must be positive and min_tiles at least 1")
    usable = np.isfinite(profile).all(axis=-1) & np.isfinite(fine).all(axis=-1)
    if valid is not None:
        usable &= valid
    coarse_waves = angular_harmonics(profile, angles_deg)
    found = symmetry or _symmetry_of(coarse_waves, usable, tile_strides)
    lattice = _Lattice(found, symmetric_orders(found), tile_strides)
    coarse = _features(coarse_waves, lattice.orders)
    detail = _features(angular_harmonics(fine, angles_deg), lattice.orders)
    cost = max(_LEAST_COST, _COST_PER_VARIANCE * _tile_variance(coarse, usable, tile_strides))
    labels = regions.merge_by_cost(regions.initial_regions(coarse, usable), coarse, cost=cost)
    for _ in range(_ROUNDS):
        labels = regions.refine_boundaries(
            labels,
            detail,
            core_depth=_CORE * tile_strides,
            min_core_tiles=_MIN_CORE_TILES,
            boundary_cost=cost,
        )
        labels = regions.split_disconnected(labels)
        labels = regions.absorb_small(labels, coarse, min_tiles=min_tiles)
        labels = _join_similar(labels, coarse, lattice, _EARLY_SHARE * min_misorientation_deg)
    labels = regions.absorb_small(labels, coarse, min_tiles=min_tiles)
    labels = _join_similar(labels, coarse, lattice, min_misorientation_deg)
    labels = _leave_out(labels, coarse, lattice, min_tiles)
    return _describe(labels, coarse, lattice)


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
    found = symmetry or _symmetry_of(waves, np.isfinite(profile).all(axis=-1), tile_strides)
    lattice = _Lattice(found, symmetric_orders(found), tile_strides)
    return _describe(regions.renumber(labels), _features(waves, lattice.orders), lattice)


@dataclass(frozen=True)
class _Lattice:
    """What is known of the lattice: symmetry, its harmonics, and the edge of a tile in strides."""

    symmetry: int
    orders: NDArray[np.int64]
    tile_strides: float


def _symmetry_of(
    waves: NDArray[np.complexfloating], usable: NDArray[np.bool_], tile_strides: float
) -> int:
    return find_symmetry(waves, usable, tile_strides=max(1, round(tile_strides)))


def _features(
    harmonics: NDArray[np.complexfloating], orders: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Real vector of the harmonics that the lattice has: its distances measure misorientation."""
    chosen = harmonics[..., orders - 1]
    return np.concatenate([chosen.real, chosen.imag], axis=-1).astype(np.float32)


def _tile_variance(
    features: NDArray[np.float32], usable: NDArray[np.bool_], tile_strides: float
) -> float:
    """Variance of the features of tiles of one grain: noise, disorder and bending.

    Half the squared difference of tiles a tile apart, which share no pixel; the lower quartile,
    because many of these pairs are not of one grain.
    """
    step = max(1, round(tile_strides))
    squares = []
    for axis in (0, 1):
        a = np.moveaxis(features, axis, 0)
        both = np.moveaxis(usable, axis, 0)
        both = both[step:] & both[:-step]
        squares.append(((a[step:] - a[:-step])[both] ** 2).sum(axis=-1) / 2)
    every = np.concatenate(squares)
    return float(np.quantile(every, 0.25)) if every.size else 0.0


def _waves(features: NDArray[np.floating]) -> NDArray[np.complexfloating]:
    half = features.shape[-1] // 2
    return features[..., :half] + 1j * features[..., half:]


def _boundary_misorientation(
    labels: NDArray[np.int32],
    features: NDArray[np.float32],
    pairs: NDArray[np.int64],
    lattice: _Lattice,
) -> NDArray[np.float64]:
    """Misorientation of the two sides of every boundary [deg]."""
    if len(pairs) == 0:
        return np.zeros(0)
    sides = _waves(
        regions.means_near_boundary(
            labels,
            features,
            pairs,
            reach=_REACH * lattice.tile_strides,
            skip=_SKIP * lattice.tile_strides,
        )
    )
    return _apart(sides[:, 0], sides[:, 1], lattice)


def _apart(
    a: NDArray[np.complexfloating], b: NDArray[np.complexfloating], lattice: _Lattice
) -> NDArray[np.float64]:
    limit = 180.0 / lattice.symmetry
    return np.abs(rotation_between(a, b, orders=lattice.orders, limit_deg=limit))


def _join_similar(
    labels: NDArray[np.int32],
    features: NDArray[np.float32],
    lattice: _Lattice,
    threshold_deg: float,
) -> NDArray[np.int32]:
    """Join neighbours that differ by less than the threshold along their common boundary."""
    pairs, _ = regions.neighbour_pairs(labels)
    mean = _waves(regions.region_means(labels, features))
    far = _apart(mean[pairs[:, 0]], mean[pairs[:, 1]], lattice)
    pairs = pairs[far < threshold_deg + _MOST_BENDING_DEG]
    apart = _boundary_misorientation(labels, features, pairs, lattice)
    return regions.join(labels, pairs[apart < threshold_deg])


def _leave_out(
    labels: NDArray[np.int32], features: NDArray[np.float32], lattice: _Lattice, min_tiles: int
) -> NDArray[np.int32]:
    """Take away areas without a lattice, and what is then left of a grain if it is small."""
    _, modulation = _match(labels, features, lattice)
    least = _LEAST_MODULATION * np.sqrt(lattice.orders.size)
    empty = regions.remove_specks((modulation < least) & (labels > 0), min_tiles=min_tiles)
    parts = regions.split_disconnected(np.where(empty, 0, labels))
    size = np.bincount(parts.ravel())
    return regions.renumber(np.where(size[parts] >= min_tiles, parts, 0))


def _match(
    labels: NDArray[np.int32], features: NDArray[np.float32], lattice: _Lattice
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compare the surroundings of every tile inside its grain with the mean of the grain.

    Returns the rotation against the mean [deg] and how much of the mean's profile is there
    (the amplitude after that rotation), both 0 where labels are 0.
    """
    smoothing = _SMOOTHING * lattice.tile_strides
    limit = min(_LARGEST_TURN_DEG, 180.0 / lattice.symmetry)
    mean = _waves(regions.region_means(labels, features))
    turn = np.zeros(labels.shape, np.float32)
    modulation = np.zeros(labels.shape, np.float32)
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == k
        own = np.where(inside[..., None], features[box], 0)
        weight = ndimage.gaussian_filter(inside.astype(np.float32), smoothing)
        smooth = ndimage.gaussian_filter(own, (smoothing, smoothing, 0))
        local = _waves(smooth[inside] / np.maximum(weight[inside], 1e-6)[:, None])
        angle = rotation_between(local, mean[k], orders=lattice.orders, limit_deg=limit)
        back = local * np.exp(2j * np.deg2rad(angle)[:, None] * lattice.orders)
        norm = max(float(np.linalg.norm(mean[k])), 1e-9)
        turn[box][inside] = angle
        modulation[box][inside] = (back * np.conj(mean[k])).real.sum(axis=-1) / norm
    return turn, modulation


def _describe(
    labels: NDArray[np.int32], features: NDArray[np.float32], lattice: _Lattice
) -> GrainMap:
    """Orientation, confidence and boundaries of finished grains."""
    mean = _waves(regions.region_means(labels, features))
    grain_orientation = profile_orientation(mean, orders=lattice.orders, symmetry=lattice.symmetry)
    turn, _ = _match(labels, features, lattice)
    orientation = (grain_orientation[labels] + turn) % (360.0 / lattice.symmetry)
    tile, reference = _waves(features), mean[labels]
    norm = np.linalg.norm(tile, axis=-1) * np.linalg.norm(reference, axis=-1)
    alike = (tile * np.conj(reference)).real.sum(axis=-1) / np.maximum(norm, 1e-9)
    pairs, lengths = regions.neighbour_pairs(labels)
    return GrainMap(
        grain=labels,
        orientation_deg=np.where(labels > 0, orientation, np.nan).astype(np.float32),
        confidence=np.where(labels > 0, np.clip(alike, 0, 1), 0).astype(np.float32),
        symmetry=lattice.symmetry,
        grain_orientation_deg=grain_orientation[1:],
        boundary_pairs=pairs.astype(np.int32),
        boundary_misorientation_deg=_boundary_misorientation(labels, features, pairs, lattice),
        boundary_tiles=lengths,
    )
