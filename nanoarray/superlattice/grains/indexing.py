"""Which tiles show a lattice at all, whatever grain they were given to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.superlattice.grains import regions

# What noise reaches: white noise in the band of the lattice, tiles of 4 row spacings, has at the
# median 0.033 to 0.037 of relative harmonics after the averaging below, at 90 % 0.047 to 0.058
# (symmetries 2, 4 and 6); disordered beads have 0.01 more. Simulated lattices reach 0.1 to 0.5.
_NOISE_MEDIAN = 0.036
_NOISE_MOST = 0.050
# Standard deviation of the averaging, in edges of a tile. Wider than for orientations: a lattice
# goes on, the modulation of noise averages out.
_AVERAGING = 0.8


def lattice_strength(
    labels: NDArray[np.int32], features: NDArray[np.float32], *, tile_strides: float
) -> NDArray[np.float32]:
    """Modulation that a tile and its surroundings inside the same region have in common.

    Unlike a comparison with the mean of the region, this sees a lattice of any orientation, and
    none where a region was drawn over disorder.

    Parameters
    ----------
    labels
        ``(tile_y, tile_x)`` regions 1..n, 0 for none.
    features
        ``(tile_y, tile_x, 2 * order)`` real and imaginary parts of the relative harmonics that the
        lattice has.
    tile_strides
        Edge of a tile in strides.

    Returns
    -------
    ndarray
        ``(tile_y, tile_x)`` root mean square of the averaged harmonics; 0 where labels are 0.
    """
    sigma = _AVERAGING * tile_strides
    strength = np.zeros(labels.shape, np.float32)
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == k
        own = np.where(inside[..., None], features[box], 0)
        total = ndimage.gaussian_filter(own, (sigma, sigma, 0))[inside]
        weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)[inside]
        strength[box][inside] = np.linalg.norm(total, axis=-1) / np.maximum(weight, 1e-6)
    return strength / np.float32(np.sqrt(features.shape[-1] / 2))


def without_lattice(
    labels: NDArray[np.int32],
    features: NDArray[np.float32],
    *,
    tile_strides: float,
    min_tiles: int,
) -> NDArray[np.bool_]:
    """Tiles of areas whose profiles vary with the angle no more than those of noise.

    With hysteresis: such an area is somewhere below what half of all noise reaches, and extends to
    what a tenth of it exceeds. A weak lattice stays, and disorder goes up to its border.

    Parameters
    ----------
    labels, features, tile_strides
        As in `lattice_strength`.
    min_tiles
        Smaller areas are not taken out.

    Returns
    -------
    ndarray
        ``(tile_y, tile_x)``, True where no lattice was found inside a region.
    """
    strength = lattice_strength(labels, features, tile_strides=tile_strides)
    covered = labels > 0
    seed = covered & (strength < _NOISE_MEDIAN)
    if not seed.any():
        return seed
    found = ndimage.binary_propagation(seed, mask=covered & (strength < _NOISE_MOST))
    return regions.remove_specks(np.asarray(found), min_tiles=min_tiles)
