"""Grain size numbers in the manner of ASTM E112, and how many grains a mean needs.

The constants are those of E112 (G = log2 of grains per square inch at 100x, plus 1) written for
micrometres. No compliance is claimed: the standard also sets how fields are chosen and magnified.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "grain_size_number_from_area",
    "grain_size_number_from_count",
    "grain_size_number_from_intercept",
    "grains_needed",
]

FloatArray = npt.NDArray[np.float64]

_AREA_CONSTANT = 16.977  # 3.3219 log10(1e6) - 2.954: E112's planimetric constant, um2 for mm2
_INTERCEPT_CONSTANT = 16.644  # 6.6439 log10(1e3) - 3.288: E112's intercept constant, um for mm


def grain_size_number_from_area(mean_area_um2: npt.ArrayLike) -> FloatArray:
    """Grain size number of a mean grain area, G = 16.977 - 3.3219 log10(area / um2).

    Parameters
    ----------
    mean_area_um2
        Number-weighted mean area of the grains in a section [um2]; NaN stays NaN.

    Returns
    -------
    G of the same shape; finer grains have a larger number. Grains of 0.1 um2 have G = 20.3.

    References
    ----------
    ASTM E112, *Standard Test Methods for Determining Average Grain Size*, planimetric procedure.
    """
    return _AREA_CONSTANT - 3.3219 * np.log10(_positive(mean_area_um2))


def grain_size_number_from_count(count_per_um2: npt.ArrayLike) -> FloatArray:
    """Grain size number of a number of grains per area, G = 16.977 + 3.3219 log10(N_A um2).

    Parameters
    ----------
    count_per_um2
        Grains per area [1/um2], where grains at an edge count half and at a corner a quarter.

    Returns
    -------
    G of the same shape.

    References
    ----------
    ASTM E112, planimetric (Jeffries) procedure.
    """
    return _AREA_CONSTANT + 3.3219 * np.log10(_positive(count_per_um2))


def grain_size_number_from_intercept(mean_intercept_um: npt.ArrayLike) -> FloatArray:
    """Grain size number of a mean linear intercept, G = 16.644 - 6.6439 log10(intercept / um).

    Parameters
    ----------
    mean_intercept_um
        Length of test lines by the number of grains that they cross [um].

    Returns
    -------
    G of the same shape.

    References
    ----------
    ASTM E112, lineal (Heyn) intercept procedure.
    """
    return _INTERCEPT_CONSTANT - 6.6439 * np.log10(_positive(mean_intercept_um))


def grains_needed(log_std_area: npt.ArrayLike, *, relative_error: float = 0.05) -> FloatArray:
    """Count the grains that a mean area needs, were they independent and log-normal.

    Parameters
    ----------
    log_std_area
        Standard deviation of the natural logarithm of the area.
    relative_error
        Error of the mean area that is to be kept with a probability of 95 %.

    Returns
    -------
    Number of grains (rounded up) of the same shape. Grains of one image are not independent: this
    is a lower bound.

    References
    ----------
    Masuda & Iinoya, J. Chem. Eng. Japan 4 (1971) 60, as in ISO 13322-1: (u / error)^2 a^2 s^2
    (2 c^2 s^2 + 1), for the mean area a = 2, c = 1 and s half of `log_std_area`. For the mean
    volume (a = 3, c = 3/2) at a geometric standard deviation of 1.6 it gives ISO's "over 6,000".
    """
    variance = np.asarray(log_std_area, np.float64) ** 2
    needed: FloatArray = np.ceil((1.96 / relative_error) ** 2 * variance * (variance / 2.0 + 1.0))
    return needed


def _positive(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Replace what has no logarithm by NaN."""
    array = np.asarray(values, np.float64)
    return np.where(array > 0, array, np.nan)
