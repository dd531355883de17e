"""Beads without a lattice: they keep their distance from each other, and that is all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

#: Steps of repulsion: beads no longer overlap, and have not yet found rows.
_STEPS = 15
# Beads nearer than this, in their mean distance, are not laid side by side at the band's border.
_CLOSEST = 0.65


def disordered_beads(
    height: float, width: float, distance: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random points at the density of a hexagonal lattice, pushed apart.

    Parameters
    ----------
    height, width
        Size of the field; it repeats, so that beads are as dense at its edges.
    distance
        Of nearest neighbours in a hexagonal lattice of the same density.
    rng
        Source of everything random.

    Returns
    -------
    ndarray
        ``(n, 2)`` places as (y, x).
    """
    field = np.array([height, width])
    count = max(1, round(height * width / (np.sqrt(0.75) * distance**2)))
    beads: NDArray[np.float64] = rng.random((count, 2)) * field
    for _ in range(_STEPS):
        pairs = cKDTree(beads, boxsize=field).query_pairs(distance, output_type="ndarray")
        apart = beads[pairs[:, 0]] - beads[pairs[:, 1]]
        apart -= np.round(apart / field) * field
        length = np.maximum(np.linalg.norm(apart, axis=1), 1e-6 * distance)
        push = (0.25 * (distance - length) / length)[:, None] * apart
        np.add.at(beads, pairs[:, 0], push)
        np.add.at(beads, pairs[:, 1], -push)
        beads %= field
    return beads


def disorder_band(
    beads: NDArray[np.float64],
    grain: NDArray[np.int32],
    width_px: float,
    *,
    foreshortening: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Replace the beads of a wavy band across the field by disordered ones; its grain becomes 0.

    Parameters
    ----------
    beads
        ``(n, 2)`` places (y, x) [px].
    grain
        ``(height, width)`` labels, changed in place.
    width_px
        Width of the band, in y.
    foreshortening
        Of y, by a tilt about the x axis.
    rng
        Source of everything random.

    Returns
    -------
    ndarray
        ``(m, 2)`` places of all beads.
    """
    height, width = grain.shape
    wave = np.arange(width) / width * 2 * np.pi * rng.uniform(0.5, 2) + rng.uniform(0, 2 * np.pi)
    middle = height * (rng.uniform(0.35, 0.65) + 0.07 * np.sin(wave))
    band = np.abs(np.arange(height)[:, None] - middle) < width_px / 2
    plane = np.array([foreshortening, 1.0])
    density = len(beads) * foreshortening / (height * width)
    distance = float(np.sqrt(1 / (np.sqrt(0.75) * density)))
    fresh = disordered_beads(height / foreshortening, width, distance, rng) * plane
    place = [
        np.clip(np.rint(b), 0, np.array(grain.shape) - 1).astype(np.intp) for b in (beads, fresh)
    ]
    kept, new = (band[p[:, 0], p[:, 1]] for p in place)
    every = np.concatenate([beads[~kept], fresh[new]])
    near = cKDTree(every / plane).query_pairs(_CLOSEST * distance, output_type="ndarray")
    alone = np.ones(len(every), bool)
    alone[near[:, 1]] = False
    grain[band] = 0
    return np.asarray(every[alone])
