"""Support film, optics and detector of a simulated micrograph."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage


@dataclass(frozen=True)
class Film:
    """Support film; strengths are optical depths.

    Attributes
    ----------
    tilt
        Change of the thickness across the field.
    uneven, uneven_scale_px
        Standard deviation of smooth thickness variations, and their extent.
    grain, grain_scale_px
        The same of the fine texture of the film.
    holes
        Share of the field without film (lacey carbon), seen brighter with a rim.
    smears
        Number of faint soft objects (dirt, ligands, polymer) that are no crystals.
    streaks
        Standard deviation of horizontal lines.
    """

    tilt: float = 0.0
    uneven: float = 0.0
    uneven_scale_px: float = 60.0
    grain: float = 0.01
    grain_scale_px: float = 1.0
    holes: float = 0.0
    smears: int = 0
    streaks: float = 0.0


@dataclass(frozen=True)
class Recording:
    """Optics and detector.

    Attributes
    ----------
    blur_px
        Standard deviation of the point spread.
    fringe, fringe_px
        Strength and width of the defocus fringe: positive is a bright halo around dark crystals.
    dose
        Electrons per pixel in vacuum (Poisson noise); infinite for none.
    noise, noise_scale_px
        Standard deviation of Gaussian noise relative to the range, and its correlation length.
    background, contrast, gamma
        Grey level of the bare film (0 to 1), scale of the contrast, and exponent of the display.
    invert
        Bright crystals on dark ground.
    jpeg_quality
        Quality of a JPEG round trip, 0 for none.
    bits
        8 or 16.
    """

    blur_px: float = 0.7
    fringe: float = 0.0
    fringe_px: float = 3.0
    dose: float = 400.0
    noise: float = 0.01
    noise_scale_px: float = 0.0
    background: float = 0.8
    contrast: float = 1.0
    gamma: float = 1.0
    invert: bool = False
    jpeg_quality: int = 0
    bits: int = 8


def smooth_noise(
    shape: tuple[int, int], scale_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Unit-variance Gaussian noise of a correlation length; coarse scales on a coarse grid."""
    step = max(int(scale_px / 2), 1)
    small = (shape[0] // step + 4, shape[1] // step + 4)
    noise = ndimage.gaussian_filter(rng.standard_normal(small, np.float32), scale_px / step)
    if step > 1:
        noise = ndimage.zoom(noise, step, order=1)
    noise = noise[: shape[0], : shape[1]]
    return noise / max(float(noise.std()), 1e-6)


def film_transmission(
    film: Film, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Transmission of the support, ``(height, width)``, about 1."""
    depth = np.zeros(shape, np.float32)
    y, x = np.indices(shape, dtype=np.float32)
    if film.tilt:
        angle = rng.uniform(0, 2 * np.pi)
        depth += film.tilt * ((y / shape[0]) * np.sin(angle) + (x / shape[1]) * np.cos(angle))
    if film.uneven:
        depth += film.uneven * smooth_noise(shape, film.uneven_scale_px, rng)
    if film.grain:
        depth += film.grain * smooth_noise(shape, film.grain_scale_px, rng)
    if film.streaks:
        lines = ndimage.gaussian_filter1d(rng.standard_normal(shape[0]), rng.uniform(0.3, 2))
        depth += film.streaks * (lines / lines.std())[:, None].astype(np.float32)
    if film.holes:
        depth += _holes(film.holes, shape, rng)
    for _ in range(film.smears):
        depth += _smear(y, x, rng)
    return np.exp(-np.clip(depth, -0.7, 2.0)).astype(np.float32)


def _holes(share: float, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Less absorption in the holes of a lacey film, with a thicker rim."""
    relief = smooth_noise(shape, rng.uniform(0.06, 0.3) * min(shape), rng)
    above = relief - np.quantile(relief, 1 - share)
    edge = rng.uniform(0.02, 0.15)
    hole = 1 / (1 + np.exp(-np.clip(above / edge, -30, 30)))
    rim = np.exp(-((above / (2 * edge)) ** 2)) * rng.uniform(0, 0.2)
    return (rim - rng.uniform(0.08, 0.4) * hole).astype(np.float32)


def _smear(
    y: NDArray[np.float32], x: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A soft faint blob, needle or ring that is no crystal."""
    size = min(y.shape)
    cy, cx = rng.uniform(0, y.shape[0]), rng.uniform(0, y.shape[1])
    angle = rng.uniform(0, np.pi)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    strength = rng.uniform(0.03, 0.25) * rng.choice([1.0, -0.6])
    kind = rng.random()
    if kind < 0.5:
        a, b = rng.uniform(0.03, 0.3, 2) * size
        return (strength * np.exp(-((u / a) ** 2) - (v / b) ** 2)).astype(np.float32)
    if kind < 0.8:
        a, b = rng.uniform(0.02, 0.08) * size, rng.uniform(0.8, 3.0)
        return (strength * np.exp(-((u / a) ** 4) - (v / b) ** 2)).astype(np.float32)
    if kind < 0.9:
        ring = np.hypot(u, v) - rng.uniform(0.02, 0.15) * size
        return (strength * np.exp(-((ring / rng.uniform(1, 4)) ** 2))).astype(np.float32)
    # A fold or the edge of a second sheet.
    return (strength / (1 + np.exp(-np.clip(v / rng.uniform(1, 6), -30, 30)))).astype(np.float32)


def record_image(
    transmission: NDArray[np.float32], recording: Recording, rng: np.random.Generator
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The micrograph of a transmission map: fringes, blur, noise, display and format."""
    light = transmission
    if recording.fringe:
        light = light + recording.fringe * (
            light - ndimage.gaussian_filter(light, recording.fringe_px)
        )
    if recording.blur_px > 0:
        light = ndimage.gaussian_filter(light, recording.blur_px)
    light = np.clip(light, 0.0, 4.0)
    if np.isfinite(recording.dose):
        # The normal approximation of Poisson noise: exact enough above ten electrons, and fast.
        spread = np.sqrt(light / recording.dose + 1e-6)
        light = light + spread * rng.standard_normal(light.shape, np.float32)
    if recording.noise:
        light = light + recording.noise * smooth_noise(
            (light.shape[0], light.shape[1]), recording.noise_scale_px, rng
        )
    shown = recording.background + recording.contrast * (light - 1.0)
    shown = np.clip(shown, 0, 1) ** recording.gamma
    if recording.invert:
        shown = 1 - shown
    if recording.bits == 16:
        return np.rint(shown * 65535).astype(np.uint16)
    image = np.rint(shown * 255).astype(np.uint8)
    if recording.jpeg_quality:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=recording.jpeg_quality)
        image = np.asarray(Image.open(buffer)).copy()
    return image
