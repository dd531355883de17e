"""What simulated shapes and crops are drawn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.formula import AXIS_RATIO_RANGE, D_VALUES, P_RANGE, ShapeParameters


@dataclass(frozen=True, kw_only=True)
class ShapeDistribution:
    """Distribution of the parameters of equation 1.

    The paper's Table S7 is not in its text; these are the ranges its figures and examples suggest.
    """

    log_p_mean: float = 0.58
    """Mean of ln p."""
    log_p_std: float = 1.19
    """Standard deviation of ln p."""
    p_range: tuple[float, float] = P_RANGE
    """p is clipped to this range."""
    max_log2_axis_ratio: float = 2.0
    """log2 L is uniform between 0 and this; what lies below 0 is the same shape turned."""
    rod_share: float = 0.05
    """Share of shapes that are rods, longer than the rest: d = 2, p of at least 1."""
    rod_log2_axis_ratio: tuple[float, float] = (2.0, 3.5)
    """log2 L of rods; real samples hold rods of L = 5 to 10, which equation 1 can draw."""
    compact_share: float = 0.15
    """Share of shapes that are nearly as long as wide, p at least 1: the commonest real ones, and
    rare where log2 L is uniform."""
    compact_log2_axis_ratio: tuple[float, float] = (0.0, 0.4)
    """log2 L of compact shapes."""
    d_values: tuple[int, ...] = D_VALUES
    """Numbers of major axes, all equally likely."""

    def __post_init__(self) -> None:
        low, high = self.p_range
        if not (P_RANGE[0] <= low <= high <= P_RANGE[1]):
            raise InputError(f"p_range is {self.p_range}: it must lie within {P_RANGE}")
        if not self.log_p_std >= 0 or not 0 <= self.max_log2_axis_ratio <= 2:
            raise InputError(
                f"log_p_std is {self.log_p_std} and max_log2_axis_ratio "
                f"{self.max_log2_axis_ratio}: at least 0, and between 0 and 2"
            )
        limit = np.log2(AXIS_RATIO_RANGE[1])
        for kind in ("rod", "compact"):
            share = getattr(self, f"{kind}_share")
            first, last = getattr(self, f"{kind}_log2_axis_ratio")
            if not 0 <= share <= 1 or not 0 <= first <= last <= limit:
                raise InputError(
                    f"{kind}_share is {share} and {kind}_log2_axis_ratio {first, last}: between 0 "
                    f"and 1, and between 0 and {limit:g}"
                )
        if not self.d_values or not set(self.d_values) <= set(D_VALUES):
            raise InputError(f"d_values are {self.d_values}: they must be among {D_VALUES}")


@dataclass(frozen=True, kw_only=True)
class CropConditions:
    """Ranges of what makes simulated crops imperfect; each is drawn per crop between its ends."""

    size_px: tuple[float, float] = (16.0, 96.0)
    """Longer side of the bounding box in the micrograph [px], log-uniform: the pixelation."""
    min_equivalent_diameter_px: float = 18.0
    """Shapes that fill little of their box are drawn larger, up to the largest size, to have at
    least this: smaller, their arms would not be seen."""
    contrast: tuple[float, float] = (0.15, 0.8)
    """Share of the background that the crystal takes away."""
    contrast_to_noise: tuple[float, float] = (5.0, 40.0)
    """Contrast over the standard deviation of the Poisson noise of the background, log-uniform."""
    blur_px: tuple[float, float] = (0.4, 1.2)
    """Standard deviation of the blur of the picture [px of the micrograph]."""
    tilt: tuple[float, float] = (-0.15, 0.15)
    """Change of the background across the window, along y and x."""
    texture: tuple[float, float] = (0.0, 0.25)
    """Amplitude of slow changes of the crystal's contrast (thickness, diffraction)."""
    neighbour_probability: float = 0.6
    """Probability of each of up to two neighbours."""
    neighbour_gap: tuple[float, float] = (-0.03, 0.2)
    """Gap to a neighbour over the size of the crystal; negative where the two overlap."""
    neighbour_size: tuple[float, float] = (0.6, 1.5)
    """Size of a neighbour over the size of the crystal."""
    segmentation_blur_px: tuple[float, float] = (0.5, 1.0)
    """Standard deviation of the smoothing before the segmentation [px]."""
    threshold: tuple[float, float] = (0.4, 0.6)
    """Share of the contrast at which the segmentation puts the edge."""
    bright_probability: float = 0.2
    """Probability of bright crystals on a dark background."""

    def __post_init__(self) -> None:
        low, high = self.size_px
        if not 8 <= low <= high <= 96:
            raise InputError(f"size_px is {self.size_px}: it must lie between 8 and 96 px")
        for name in ("contrast", "contrast_to_noise", "blur_px", "segmentation_blur_px"):
            first, last = getattr(self, name)
            if not 0 < first <= last:
                raise InputError(f"{name} is {(first, last)}: above 0 and in ascending order")


def draw_shapes(
    count: int, *, seed: int, distribution: ShapeDistribution | None = None
) -> ShapeParameters:
    """Draw shapes; the first n of a longer draw with the same seed are not those of a shorter one.

    Parameters
    ----------
    count
        Number of shapes.
    seed
        Of ``np.random.default_rng``.
    distribution
        By default `ShapeDistribution` as it is.

    Returns
    -------
    ShapeParameters
        L at least 1, the phase uniform over 180 degrees.
    """
    chosen = distribution or ShapeDistribution()
    rng = np.random.default_rng(seed)
    p = np.clip(rng.lognormal(chosen.log_p_mean, chosen.log_p_std, count), *chosen.p_range)
    d = rng.choice(np.asarray(chosen.d_values, np.int32), count)
    axis_ratio = 2.0 ** rng.uniform(0.0, chosen.max_log2_axis_ratio, count)
    phase = rng.uniform(0.0, 180.0, count)
    sort = rng.random(count)
    rod = (sort < chosen.rod_share) & np.any(np.equal(chosen.d_values, 2))
    compact = sort > 1.0 - chosen.compact_share
    long = 2.0 ** rng.uniform(*chosen.rod_log2_axis_ratio, count)
    short = 2.0 ** rng.uniform(*chosen.compact_log2_axis_ratio, count)
    return ShapeParameters(
        np.where(rod | compact, np.maximum(p, 1.0), p),
        np.where(rod, 2, d).astype(np.int32),
        np.where(rod, long, np.where(compact, short, axis_ratio)),
        phase,
    )


def as_plain(settings: ShapeDistribution | CropConditions) -> dict[str, Any]:
    """Settings as a dictionary that JSON can hold."""
    return asdict(settings)
