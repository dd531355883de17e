"""Grain maps: an orientation for every tile, and grains bounded by misorientation.

As in EBSD, a grain is a connected region inside which the lattice orientation changes gradually,
and which differs from its neighbours by at least a threshold along their common boundary. Two
window sizes are used: larger tiles know the orientation, smaller ones where a boundary runs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarray.errors import InputError
from nanoarray.superlattice.grains import regions
from nanoarray.superlattice.grains.grain_map import (
    TILE_STRIDES,
    GrainMap,
    Lattice,
    apart_deg,
    boundary_misorientation,
    describe,
    describe_grains,
    find_lattice,
    lattice_features,
    turn_in_grain,
    waves_of,
)
from nanoarray.superlattice.grains.indexing import without_lattice
from nanoarray.superlattice.grains.orientation import angular_harmonics, lattice_band
from nanoarray.superlattice.radon.aligned import tile_radon
from nanoarray.superlattice.radon.tile_grid import tile_grid

__all__ = [
    "ANGLE_COUNT",
    "FINE_TILE_SPACINGS",
    "TILE_SPACINGS",
    "GrainMap",
    "describe_grains",
    "label_grains",
    "map_grains",
    "orient_grains",
]

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
# The core of a region begins this far from its border, in edges of a tile: there fine tiles see
# one region only.
_CORE = 0.37
# A region without at least this area of core, in areas of a tile, is not one.
_CORE_AREA = 0.05
# Regions whose mean orientations differ by more than the threshold and this are not compared along
# their boundary: no bending of the lattice explains it.
_MOST_BENDING_DEG = 10.0
_ROUNDS = 3


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
            flatten_px=0,
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
    lattice = find_lattice(coarse_waves, usable, symmetry=symmetry, tile_strides=tile_strides)
    return grains_of_features(
        lattice_features(coarse_waves, lattice.orders),
        lattice_features(angular_harmonics(fine, angles_deg), lattice.orders),
        usable,
        lattice,
        min_misorientation_deg=min_misorientation_deg,
        min_tiles=min_tiles,
    )


def grains_of_features(
    coarse: NDArray[np.float32],
    detail: NDArray[np.float32],
    usable: NDArray[np.bool_],
    lattice: Lattice,
    *,
    min_misorientation_deg: float,
    min_tiles: int,
) -> GrainMap:
    """`label_grains` from the `lattice_features` of the tiles and of the smaller ones."""
    tile_strides = lattice.tile_strides
    cost = max(_LEAST_COST, _COST_PER_VARIANCE * _tile_variance(coarse, usable, tile_strides))
    labels = regions.merge_by_cost(regions.initial_regions(coarse, usable), coarse, cost=cost)
    for _ in range(_ROUNDS):
        labels = regions.refine_boundaries(
            labels,
            detail,
            core_depth=_CORE * tile_strides,
            min_core_tiles=max(1, round(_CORE_AREA * tile_strides**2)),
            boundary_cost=cost,
        )
        labels = regions.split_disconnected(labels)
        labels = regions.absorb_small(labels, coarse, min_tiles=min_tiles)
        early = _EARLY_SHARE * min_misorientation_deg
        labels = _join_similar(labels, coarse, lattice, early, bent=False)
    labels = regions.absorb_small(labels, coarse, min_tiles=min_tiles)
    labels = _join_similar(labels, coarse, lattice, min_misorientation_deg, bent=True)
    labels = _leave_out(labels, coarse, lattice, min_tiles)
    return describe(labels, coarse, lattice)


def orient_grains(
    labels: NDArray[np.integer],
    profile: NDArray[np.floating],
    angles_deg: ArrayLike,
    *,
    valid: NDArray[np.bool_],
    symmetry: int | None = None,
    min_tiles: int = 16,
    tile_strides: float = TILE_STRIDES,
) -> GrainMap:
    """Orientation of grains that were found by other means than this lattice.

    Parameters
    ----------
    labels
        ``(tile_y, tile_x)`` grain ids, 0 for none.
    profile, angles_deg, valid, symmetry, tile_strides
        As for `label_grains`.
    min_tiles
        Smaller grains get no orientation.

    Returns
    -------
    GrainMap
        ``grain`` holds only the tiles that take part, numbered anew; the orientation is NaN, and
        the confidence 0, where tiles show no lattice.
    """
    usable = valid & np.isfinite(profile).all(axis=-1)
    waves = angular_harmonics(profile, angles_deg)
    lattice = find_lattice(waves, usable, symmetry=symmetry, tile_strides=tile_strides)
    features = lattice_features(waves, lattice.orders)
    inside = np.where(usable, labels, 0)
    size = np.bincount(inside.ravel())
    inside = regions.renumber(np.where(size[inside] >= min_tiles, inside, 0))
    found = describe(inside, features, lattice)
    dark = without_lattice(inside, features, tile_strides=tile_strides, min_tiles=min_tiles)
    return replace(
        found,
        orientation_deg=np.where(dark, np.float32(np.nan), found.orientation_deg),
        confidence=np.where(dark, np.float32(0), found.confidence),
    )


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
        for rows in regions.bands(a[step:]):
            apart = a[rows.start + step : rows.stop + step] - a[rows]
            squares.append((apart[both[rows]] ** 2).sum(axis=-1) / 2)
    every = np.concatenate(squares)
    return float(np.quantile(every, 0.25)) if every.size else 0.0


def _join_similar(
    labels: NDArray[np.int32],
    features: NDArray[np.float32],
    lattice: Lattice,
    threshold_deg: float,
    *,
    bent: bool,
) -> NDArray[np.int32]:
    """Join neighbours that differ by less than the threshold along their common boundary."""
    pairs, _ = regions.neighbour_pairs(labels)
    mean = waves_of(regions.region_means(labels, features))
    far = apart_deg(mean[pairs[:, 0]], mean[pairs[:, 1]], lattice)
    pairs = pairs[far < threshold_deg + _MOST_BENDING_DEG]
    turn = turn_in_grain(labels, features, lattice) if bent else None
    apart = boundary_misorientation(labels, features, pairs, lattice, turn)
    return regions.join(labels, pairs[apart < threshold_deg])


def _leave_out(
    labels: NDArray[np.int32], features: NDArray[np.float32], lattice: Lattice, min_tiles: int
) -> NDArray[np.int32]:
    """Take away areas without a lattice; what they leave of a grain, if small, joins a neighbour.

    A small rest without a neighbour goes, too.
    """
    empty = without_lattice(
        labels, features, tile_strides=lattice.tile_strides, min_tiles=min_tiles
    )
    if not empty.any():
        return labels
    parts = regions.split_disconnected(np.where(empty, 0, labels))
    return regions.absorb_small(parts, features, min_tiles=min_tiles)
