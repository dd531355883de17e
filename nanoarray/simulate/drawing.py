"""Draw a simulated micrograph: beads, pores, background and noise."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

_BASE_GREY = 90.0
_BEAD_GREY = 60.0
# Full width at half height of a bead before blur, in nearest-neighbour distances.
_BEAD_WIDTH = 0.55


def draw_beads(
    beads: NDArray[np.float64],
    shape: tuple[int, int],
    spacing_px: float,
    tilt_deg: float,
    blur_px: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Blurred Gaussian beads of slightly different size and height (unblurred height 1)."""
    sigma = _BEAD_WIDTH * spacing_px / 2.355 * (1 + 0.06 * rng.standard_normal(len(beads)))
    sigma = np.maximum(sigma, 0.1 * spacing_px)
    height = np.maximum(1 + 0.15 * rng.standard_normal(len(beads)), 0.1)
    sigma_y = np.hypot(sigma * np.cos(np.deg2rad(tilt_deg)), blur_px)
    sigma_x = np.hypot(sigma, blur_px)
    # Blur spreads a bead and lowers it; the product of both keeps its volume.
    height = height * sigma**2 * np.cos(np.deg2rad(tilt_deg)) / (sigma_y * sigma_x)
    scene = np.zeros(shape, np.float32)
    _add_beads(scene, beads, sigma_y, sigma_x, height)
    return scene


@njit(cache=True, nogil=True)
def _add_beads(
    scene: NDArray[np.float32],
    beads: NDArray[np.float64],
    sigma_y: NDArray[np.float64],
    sigma_x: NDArray[np.float64],
    height: NDArray[np.float64],
) -> None:
    rows, columns = scene.shape
    for k in range(beads.shape[0]):
        y, x, sy, sx = beads[k, 0], beads[k, 1], sigma_y[k], sigma_x[k]
        for r in range(max(0, int(y - 4 * sy)), min(rows, int(y + 4 * sy) + 2)):
            along_y = height[k] * np.exp(-0.5 * ((r - y) / sy) ** 2)
            for c in range(max(0, int(x - 4 * sx)), min(columns, int(x + 4 * sx) + 2)):
                scene[r, c] += along_y * np.exp(-0.5 * ((c - x) / sx) ** 2)


def cut_pores(
    scene: NDArray[np.float32],
    grain: NDArray[np.int32],
    count: int,
    grain_radius: float,
    rng: np.random.Generator,
) -> None:
    """Dark smooth holes with bright charging rims; sets their grain to 0, in place."""
    rows, columns = scene.shape
    for _ in range(count):
        y0, x0 = rng.uniform(0, rows), rng.uniform(0, columns)
        radius = grain_radius * rng.uniform(0.15, 0.5)
        phases = rng.uniform(0, 2 * np.pi, 3)
        heights = 0.25 * rng.uniform(0, 1, 3) / np.arange(1, 4)
        reach = int(1.7 * radius + 12)
        top, left = max(0, int(y0) - reach), max(0, int(x0) - reach)
        window = (slice(top, int(y0) + reach + 1), slice(left, int(x0) + reach + 1))
        y, x = np.ogrid[
            window[0].start : min(window[0].stop, rows), left : min(window[1].stop, columns)
        ]
        theta = np.arctan2(y - y0, x - x0)
        edge = radius * (
            1
            + sum(
                h * np.cos((m + 2) * theta + p)
                for m, (h, p) in enumerate(zip(heights, phases, strict=True))
            )
        )
        depth = edge - np.hypot(y - y0, x - x0)
        inside = 1 / (1 + np.exp(-np.clip(depth, -30, 30)))
        rim = 1.2 * np.exp(-(((depth + 3.0) / 3.0) ** 2))
        view = scene[window]
        view *= 1 - inside
        view += rim - 1.0 * inside
        grain[window][depth > 0] = 0


def record(
    scene: NDArray[np.float32],
    noise: float,
    line_noise: float,
    background: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Add background, line noise and pixel noise; digitize to grey levels."""
    rows, columns = scene.shape
    image = scene.copy()
    if background > 0:
        coarse = ndimage.zoom(
            rng.standard_normal((4, 4)), 8, order=3, mode="nearest", grid_mode=True
        )
        coarse = background * (coarse - coarse.mean()) / max(coarse.std(), 1e-9)
        image += ndimage.zoom(
            coarse.astype(np.float32),
            (rows / 32, columns / 32),
            order=1,
            grid_mode=True,
            mode="nearest",
        )[:rows, :columns]
    if line_noise > 0:
        image += (line_noise * rng.standard_normal((rows, 1))).astype(np.float32)
    if noise > 0:
        image += noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(_BASE_GREY + _BEAD_GREY * image), 0, 255).astype(np.uint8)
