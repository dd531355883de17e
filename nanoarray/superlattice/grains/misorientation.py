"""Misorientation of grains on a label image, and grains that count as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nanoarray.errors import InputError

Labels = NDArray[np.integer]


def misorientation_deg(a: ArrayLike, b: ArrayLike, *, symmetry: int) -> NDArray[np.float64]:
    """Smallest angle between two orientations of a lattice of the given symmetry.

    Parameters
    ----------
    a, b
        Orientations [deg], broadcast against each other.
    symmetry
        Rotational symmetry: orientations repeat every 360 / symmetry degrees.

    Returns
    -------
    ndarray
        Angles [deg] in [0, 180 / symmetry]; NaN where an orientation is NaN.
    """
    period = 360.0 / symmetry
    difference = np.asarray(a, float) - np.asarray(b, float)
    return np.abs((difference + period / 2) % period - period / 2)


def merge_small_misorientation(
    grain: Labels, orientation_deg: ArrayLike, *, symmetry: int, threshold_deg: float = 4.0
) -> NDArray[np.int32]:
    """Count neighbouring grains of nearly one orientation as one.

    Parameters
    ----------
    grain
        Labels ``(height, width)``, 1..n; 0 is no grain.
    orientation_deg
        Orientation of grains 1..n, or of every pixel ``(height, width)``: then neighbours differ by
        the mean of their difference along the common boundary.
    symmetry
        Symmetry of the lattice.
    threshold_deg
        Neighbours (sharing an edge of a pixel) less than this apart are merged, transitively.

    Returns
    -------
    ndarray
        Merged labels, 1..m without gaps; 0 stays 0.

    Raises
    ------
    InputError
        If a label has no orientation.
    """
    angle = np.asarray(orientation_deg, float)
    count = int(grain.max(initial=0))
    if angle.ndim == 2:
        if angle.shape != grain.shape:
            raise InputError(f"the maps differ in shape: {grain.shape} and {angle.shape}")
        pairs, close = _boundary_misorientation(grain, angle, symmetry)
    else:
        if count > angle.size:
            raise InputError(f"the labels reach {count} but there are {angle.size} orientations")
        pairs = neighbour_pairs(grain)
        a, b = angle[pairs[:, 0] - 1], angle[pairs[:, 1] - 1]
        close = misorientation_deg(a, b, symmetry=symmetry)
    pairs = pairs[close < threshold_deg] - 1
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    merged = np.concatenate([[0], component + 1])[grain]
    present = np.unique(merged[merged > 0])
    compact = np.zeros(count + 1, np.int32)
    compact[present] = np.arange(1, present.size + 1)
    return compact[merged]


def _boundary_misorientation(
    grain: Labels, angle: NDArray[np.floating], symmetry: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of neighbours and how much they differ on average along their boundary."""
    names, turns = [], []
    for here, there in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        a, b = grain[here], grain[there]
        touch = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a, b)[touch], np.maximum(a, b)[touch]
        sign = np.where(a[touch] == low, 1, -1)
        names.append(np.stack([low, high], axis=1).astype(np.int64))
        turns.append(sign * (angle[here][touch] - angle[there][touch]))
    pairs, index = np.unique(np.concatenate(names), axis=0, return_inverse=True)
    # Differences are known modulo the period: average them on the circle.
    wave = np.exp(1j * np.deg2rad(np.concatenate(turns)) * symmetry)
    total = np.bincount(index.ravel(), wave.real, len(pairs)) + 1j * np.bincount(
        index.ravel(), wave.imag, len(pairs)
    )
    return pairs, np.abs(np.rad2deg(np.angle(total))) / symmetry


def neighbour_pairs(grain: Labels) -> NDArray[np.int64]:
    """Pairs of labels that share an edge of a pixel: ``(n, 2)``, lower label first, no 0."""
    pairs = []
    for a, b in ((grain[:, :-1], grain[:, 1:]), (grain[:-1], grain[1:])):
        touch = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.stack([a[touch], b[touch]], axis=1))
    both = np.concatenate(pairs).astype(np.int64)
    both.sort(axis=1)
    return np.unique(both, axis=0)
