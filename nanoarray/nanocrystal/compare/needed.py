"""How many crystals a mean asks for, in the manner of ISO 13322-1 (no compliance is claimed)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from nanoarray.errors import InputError

__all__ = ["Estimator", "crystals_needed"]

FloatArray = npt.NDArray[np.float64]
Estimator = Literal["log-normal", "mean"]


def crystals_needed(
    log_std: npt.ArrayLike,
    *,
    power: float = 1.0,
    weight_power: float = 0.0,
    relative_error: float = 0.05,
    confidence: float = 0.95,
    estimator: Estimator = "log-normal",
) -> FloatArray:
    """Count the independent crystals that a mean needs where sizes d are log-normal.

    The mean is that of d^power among crystals weighted by d^weight_power: power 1 and weight 0 is
    the mean size, power 3 and weight 0 the mean volume (ISO's "volume mean"), power 1 and weight 3
    the volume-weighted mean size.

    Parameters
    ----------
    log_std
        Standard deviation s of ln(d); ln(1.6) for a geometric standard deviation of 1.6.
    power, weight_power
        Which mean.
    relative_error
        Error that is to be kept, such as 0.05.
    confidence
        Probability of keeping it.
    estimator
        ``"log-normal"``: the mean is computed from the fitted log-normal distribution, ISO's
        formula n = (u / error)^2 power^2 s^2 (1 + 2 c^2 s^2), c = weight_power + power / 2.
        ``"mean"``: it is computed from the crystals directly, n = (u / error)^2 times the variance
        of that; equal for a narrow spread and many more for a wide one.

    Returns
    -------
    Number of crystals (rounded up) of the same shape as `log_std`; NaN stays NaN. Crystals of one
    image are not independent: this is a lower bound.

    Raises
    ------
    InputError
        Where error or confidence is not between 0 and 1.

    References
    ----------
    Masuda & Iinoya, J. Chem. Eng. Japan 4 (1971) 60, as in ISO 13322-1, annex A: over 6,000 for a
    volume mean within 5 % at a geometric standard deviation of 1.6.
    """
    u = _normal_quantile(confidence)
    if not 0 < relative_error < 1:
        raise InputError(f"relative_error is {relative_error}: it must be between 0 and 1")
    variance = _variance_of_one(log_std, power, weight_power, estimator)
    # 6000.0000001 is not 6001
    return np.ceil((u / relative_error) ** 2 * variance * (1 - 1e-12))


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: it must be between 0 and 1, such as 0.95")
    return float(stats.norm.ppf((1 + confidence) / 2))


def _variance_of_one(
    log_std: npt.ArrayLike, power: float, weight_power: float, estimator: Estimator
) -> FloatArray:
    """Relative variance of the mean, times the number of crystals."""
    s2 = np.asarray(log_std, np.float64) ** 2
    if estimator == "log-normal":
        # The variance of ln M = power mu + power c s^2 with var(mu) = s^2 / n, var(s^2) = 2 s^4 / n
        c = weight_power + power / 2
        return power**2 * s2 * (1 + 2 * c**2 * s2)
    if estimator != "mean":
        raise InputError(f"estimator is {estimator!r}: it must be 'log-normal' or 'mean'")
    # A ratio of sums of d^(weight + power) and d^weight: E[d^k] = exp(k^2 s^2 / 2) for median 1
    a, b = power, weight_power

    def moment(k: float) -> FloatArray:
        return np.exp(k**2 * s2 / 2)

    mean = moment(a + b) / moment(b)
    spread = moment(2 * (a + b)) - 2 * mean * moment(a + 2 * b) + mean**2 * moment(2 * b)
    return spread / (moment(b) * mean) ** 2
