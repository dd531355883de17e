"""Lattice orientation from the positions of particles: an independent check of the tile profiles.

Nothing here uses projections or spectra: particles are found as bright or dark spots, and the
directions to their nearest neighbours give the local orientation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from nanoarray.errors import InputError


def find_particles(
    image: NDArray, *, spacing_px: float, dark: bool = False, missing: NDArray | None = None
) -> NDArray[np.float64]:
    """Centres of the spots of a lattice.

    Parameters
    ----------
    image
        ``(height, width)`` intensities.
    spacing_px
        Distance of the densest rows; spots closer than 0.6 of it are one.
    dark
        Whether the particles are darker than what is between them.
    missing
        True where no particle is wanted.

    Returns
    -------
    ndarray
        ``(n, 2)`` centres (y, x) [px], refined below a pixel with a parabola along each axis.
    """
    values = np.asarray(image, np.float32) * (-1 if dark else 1)
    smooth = ndimage.gaussian_filter(values, 0.2 * spacing_px)
    smooth -= ndimage.gaussian_filter(values, spacing_px)
    size = max(3, 2 * round(0.6 * spacing_px / 2 + 0.5) + 1)
    peak = (smooth == ndimage.maximum_filter(smooth, size)) & (smooth > 0.3 * smooth.std())
    peak[[0, -1], :] = False
    peak[:, [0, -1]] = False
    if missing is not None:
        peak &= ~missing
    y, x = np.nonzero(peak)
    centre = smooth[y, x]
    refined = []
    for low, high, at in (
        (smooth[y - 1, x], smooth[y + 1, x], y),
        (smooth[y, x - 1], smooth[y, x + 1], x),
    ):
        curvature = low - 2 * centre + high
        safe = np.where(curvature < 0, curvature, -np.inf)
        refined.append(at + np.clip(0.5 * (low - high) / safe, -0.5, 0.5))
    return np.stack(refined, axis=1).astype(np.float64)


def bond_orientation(
    points: NDArray[np.floating], *, symmetry: int, spacing_px: float, radius_spacings: float = 2.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Local orientation and order of the neighbourhood of every particle.

    The bond order parameter psi of a particle is the mean of exp(i n phi) over the directions phi
    to its n nearest neighbours (Nelson and Halperin, Phys. Rev. B 19, 1979); it is averaged over
    the particles within a radius.

    Parameters
    ----------
    points
        ``(n, 2)`` centres (y, x) [px].
    symmetry
        4 or 6.
    spacing_px
        Distance of the densest rows.
    radius_spacings
        Particles within this distance are averaged.

    Returns
    -------
    orientation_deg
        ``(n,)`` direction to the nearest neighbours [deg, counter-clockwise from +x] modulo
        360 / symmetry.
    order
        ``(n,)`` modulus of the averaged parameter, 1 in a perfect lattice.

    Raises
    ------
    InputError
        If the symmetry is not 4 or 6 or there are too few points.
    """
    if symmetry not in (4, 6):
        raise InputError(f"symmetry is {symmetry}: bond order needs 4 or 6")
    if len(points) <= symmetry:
        raise InputError(f"{len(points)} particles: more than {symmetry} are needed")
    tree = cKDTree(points)
    _, near = tree.query(points, symmetry + 1)
    offset = points[near[:, 1:]] - points[:, None, :]
    phi = np.arctan2(-offset[..., 0], offset[..., 1])
    psi = np.exp(1j * symmetry * phi).mean(axis=1)
    around = tree.query_ball_point(points, radius_spacings * spacing_px)
    mean = np.array([psi[index].mean() for index in around])
    orientation = np.rad2deg(np.angle(mean)) / symmetry % (360.0 / symmetry)
    return orientation, np.abs(mean)
