"""Lattice orientation from the angular profiles of tiles.

A profile is the variance of a tile's projections as a function of the projection angle
(`superlattice.radon.aligned.tile_radon`). Rows of the lattice along direction phi (degrees
counter-clockwise from +x) give a peak at the projection angle phi - 90 modulo 180. Profiles are
handled as harmonics: coefficient k belongs to exp(2 i k angle), so a lattice of n-fold symmetry has
only those k that are multiples of n / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from nanoarray.errors import InputError

#: Highest harmonic used. A tile of 4 spacings resolves about 14 degrees: k = 8 has period 22.5.
HARMONIC_COUNT = 8

# Share of the power of harmonics 1 to 6 that a lattice must have in multiples of 2 or 3 to count as
# 4- or 6-fold: simulated lattices have 0.9 to 1, oblique and strongly tilted ones up to 0.61, the
# real TEM images 0.90 and 0.94, the real SEM cross-sections 0.26.
_SYMMETRIC_SHARE = 0.75

#: How far the band pass sees, in row spacings: what lies beyond changes the result by less than
#: 2e-5 of what it is itself, all together.
BAND_REACH_SPACINGS = 20.0


def lattice_band(
    image: NDArray,
    *,
    row_spacing_px: float,
    defect: NDArray[np.bool_] | None = None,
    low: float = 0.6,
    high: float = 1.3,
) -> NDArray[np.float32]:
    """Keep the spatial frequencies around the first order of the lattice.

    Removes background, scan-line offsets, most of the pixel noise, and the second order of a square
    lattice (at 1.41), whose rows would compete with the densest ones.

    Parameters
    ----------
    image
        ``(height, width)`` intensities.
    row_spacing_px
        Distance of the densest rows.
    defect
        True where the image is to be ignored; filled with the local mean first.
    low, high
        Edges of the band in units of the lattice frequency ``1 / row_spacing_px``.

    Returns
    -------
    ndarray
        ``(height, width)`` float32, zero mean; 0 inside defects.

    Raises
    ------
    InputError
        If the spacing is not positive and finite or is too small to be sampled.
    """
    if not (np.isfinite(row_spacing_px) and row_spacing_px > 2):
        raise InputError(
            f"row_spacing_px is {row_spacing_px}: a lattice needs rows more than 2 px apart"
        )
    flat = np.asarray(image, dtype=np.float32)
    window = max(3, round(3 * row_spacing_px))
    if defect is None or not defect.any():
        flat = flat - ndimage.uniform_filter(flat, window, mode="reflect")
    else:
        valid = (~defect).astype(np.float32)
        total = ndimage.uniform_filter(flat * valid, window, mode="reflect")
        weight = ndimage.uniform_filter(valid, window, mode="reflect")
        local = total / np.maximum(weight, 1e-3)
        flat = np.where(defect, np.float32(0), flat - local)
    # Mirrored margins keep the step between opposite edges out of the band.
    margin = int(np.ceil(2 * row_spacing_px))
    margin = min(margin, min(flat.shape) - 1)
    padded = np.pad(flat, margin, mode="reflect")
    # Zeros between opposite edges, so that neither sees the other: a field of a large image, which
    # has other edges, gets what the image gets.
    gap = int(np.ceil(BAND_REACH_SPACINGS * row_spacing_px))
    size = tuple(fft.next_fast_len(n + gap, True) for n in padded.shape)
    spectrum = fft.rfft2(padded, size)
    down, across = (
        (row_spacing_px * frequency).astype(np.float32) ** 2
        for frequency in (fft.fftfreq(size[0]), fft.rfftfreq(size[1]))
    )
    relative = np.sqrt(down[:, None] + across[None, :])
    # Soft edges (about 0.1 wide) against ringing.
    steep = np.float32(17.0)
    spectrum *= np.tanh(steep * (relative - low)) - np.tanh(steep * (relative - high))
    band = np.float32(0.5) * fft.irfft2(spectrum, size, overwrite_x=True)
    band = band[margin : margin + flat.shape[0], margin : margin + flat.shape[1]]
    band = np.ascontiguousarray(band, dtype=np.float32)
    if defect is not None:
        band[defect] = 0
    return band


def angular_harmonics(
    profile: NDArray[np.floating], angles_deg: ArrayLike, *, count: int = HARMONIC_COUNT
) -> NDArray[np.complex64]:
    """Harmonics of angular profiles, relative to their mean.

    Parameters
    ----------
    profile
        ``(..., angle)`` projection variance.
    angles_deg
        Projection angles, evenly spaced over 180 degrees.
    count
        Number of harmonics.

    Returns
    -------
    ndarray
        ``(..., count)`` complex64; entry k - 1 is the mean of profile * exp(-2 i k angle) over the
        mean of the profile: at most 1 in modulus. 0 where the profile is not finite or zero.

    Raises
    ------
    InputError
        If the angles are not evenly spaced over 180 degrees or too few for the harmonics.
    """
    angles = np.asarray(angles_deg, float)
    step = 180.0 / max(angles.size, 1)
    even = angles.size > 1 and np.allclose(np.diff(angles), step, atol=1e-6)
    if not even or angles.size < 2 * count + 1:
        raise InputError(
            f"{angles.size} projection angles: at least {2 * count + 1} are needed, "
            "evenly spaced over 180 degrees"
        )
    order = np.arange(count + 1)
    wave = np.exp(-2j * np.deg2rad(angles)[:, None] * order[None, :]) / angles.size
    usable = np.isfinite(profile).all(axis=-1)
    safe = np.where(usable[..., None], profile, 0).astype(np.float32)
    # Two real products: a complex one would first make the profiles complex.
    coefficient = np.empty((*safe.shape[:-1], count + 1), np.complex64)
    coefficient.real = safe @ wave.real.astype(np.float32)
    coefficient.imag = safe @ wave.imag.astype(np.float32)
    mean = coefficient[..., :1].real
    relative = np.divide(
        coefficient[..., 1:], mean, out=np.zeros_like(coefficient[..., 1:]), where=mean > 0
    )
    return relative


def find_symmetry(
    harmonics: NDArray[np.complexfloating], valid: NDArray[np.bool_], *, tile_strides: int
) -> int:
    """Rotational symmetry of the lattice, from the harmonics of all tiles.

    The power of each harmonic is taken from products of tiles that are a tile apart: they share
    no pixel, so noise does not add to it, but mostly the grain.

    Parameters
    ----------
    harmonics
        ``(tile_y, tile_x, harmonic)`` from `angular_harmonics`.
    valid
        ``(tile_y, tile_x)``, True where a tile counts.
    tile_strides
        Edge of a tile in strides.

    Returns
    -------
    int
        4 (square), 6 (hexagonal), or 2 (anything else, such as oblique or tilted lattices).
    """
    return symmetry_of(symmetry_power(harmonics, valid, tile_strides=tile_strides))


def symmetry_power(
    harmonics: NDArray[np.complexfloating],
    valid: NDArray[np.bool_],
    *,
    tile_strides: int,
    first: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """Power of harmonics 1 to 6 that tiles a tile apart have in common, as `find_symmetry` sums it.

    With ``first`` only of the pairs whose first tile is in so many rows and columns: the sums of
    parts of a map, each a tile wider, add up to that of the map.
    """
    waves = np.where(valid[..., None], harmonics[..., :6], 0)
    counted = tuple(slice(None, n) for n in first or waves.shape[:2])
    power = np.zeros(6)
    for axis in (0, 1):
        near = [slice(None)] * 2
        far = [slice(None)] * 2
        near[axis], far[axis] = slice(None, -tile_strides), slice(tile_strides, None)
        product = waves[tuple(near)][counted] * np.conj(waves[tuple(far)][counted])
        power += product.real.sum(axis=(0, 1))
    return power


def symmetry_of(power: NDArray[np.float64]) -> int:
    """The symmetry that a lattice with these powers of harmonics 1 to 6 has."""
    power = np.maximum(power, 0)
    total = power.sum()
    if total <= 0:
        return 2
    if power[[1, 3, 5]].sum() > _SYMMETRIC_SHARE * total:
        return 4
    if power[[2, 5]].sum() > _SYMMETRIC_SHARE * total:
        return 6
    return 2


def symmetric_orders(symmetry: int, *, count: int = HARMONIC_COUNT) -> NDArray[np.int64]:
    """Orders k of the harmonics that a lattice of the given symmetry has."""
    if symmetry not in (2, 4, 6):
        raise InputError(f"symmetry is {symmetry}: it must be 2, 4 or 6")
    return np.arange(symmetry // 2, count + 1, symmetry // 2)


def profile_orientation(
    harmonics: NDArray[np.complexfloating], *, orders: NDArray[np.integer], symmetry: int
) -> NDArray[np.float64]:
    """Direction of the densest rows: the highest peak of the profile that harmonics describe.

    Parameters
    ----------
    harmonics
        ``(n, order)`` coefficients.
    orders
        Order k of each coefficient.
    symmetry
        Symmetry of the lattice; the orientation is given modulo 360 / symmetry.

    Returns
    -------
    ndarray
        ``(n,)`` orientation [deg, counter-clockwise from +x]; NaN where all harmonics are 0.
    """
    period = 360.0 / symmetry
    step = 0.25
    angle = np.arange(0, period, step)
    wave = np.exp(2j * np.deg2rad(angle)[None, :] * orders[:, None])
    height = (harmonics @ wave).real
    best = height.argmax(axis=-1)
    row = np.arange(len(best))
    left, right = height[row, best - 1], height[row, (best + 1) % angle.size]
    top = height[row, best]
    curvature = left - 2 * top + right
    offset = np.divide(
        0.5 * (left - right), curvature, out=np.zeros_like(curvature), where=curvature < 0
    )
    found = (angle[best] + step * offset + 90.0) % period
    return np.where(np.abs(harmonics).sum(axis=-1) > 0, found, np.nan)


def rotation_between(
    harmonics: NDArray[np.complexfloating],
    reference: NDArray[np.complexfloating],
    *,
    orders: NDArray[np.integer],
    limit_deg: float,
) -> NDArray[np.float64]:
    """Rotation that brings a reference profile onto each of many profiles.

    Parameters
    ----------
    harmonics
        ``(n, order)`` coefficients of the profiles.
    reference
        ``(order,)`` or ``(n, order)`` coefficients of the reference.
    orders
        Order k of each coefficient.
    limit_deg
        Rotations are sought within plus or minus this much.

    Returns
    -------
    ndarray
        ``(n,)`` rotation [deg, counter-clockwise].
    """
    step = 0.5
    count = max(2, int(np.ceil(limit_deg / step)))
    angle = step * np.arange(-count, count + 1)
    phase = 2 * np.deg2rad(angle)[None, :] * orders[:, None]
    product = harmonics * np.conj(reference)
    match = product.real @ np.cos(phase) - product.imag @ np.sin(phase)
    best = np.clip(match.argmax(axis=-1), 1, angle.size - 2)
    row = np.arange(len(best))
    left, top, right = match[row, best - 1], match[row, best], match[row, best + 1]
    curvature = left - 2 * top + right
    offset = np.divide(
        0.5 * (left - right), curvature, out=np.zeros_like(curvature), where=curvature < 0
    )
    return angle[best] + step * np.clip(offset, -1, 1)
