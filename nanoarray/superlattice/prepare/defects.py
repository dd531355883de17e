"""Regions of a micrograph that hold no lattice: pores, charged rims, damage, burnt-in labels.

Three local properties are compared with their surroundings, so that gain, bit depth and slow
changes of contrast do not matter:

- *lattice*: power at the scale of the lattice against the geometric mean of the powers half and
  twice as coarse. A lattice is a bump in the spectrum; shading, edges, damage and noise are not.
- *texture*: amplitude at the scale of the lattice, missing where the surface is smooth, and at
  twice that scale, too strong at the edges of pores.
- *tone*: the local mean; pores are dark, charged rims (and voids in transmission) bright.

A defect has to have lost the lattice, more so the less unusual its texture and tone are: lattice
seen through a bright halo or a thin film of contamination is still lattice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.superlattice.prepare.near import within
from nanoarray.superlattice.prepare.spectrum import lattice_spacing

FALLBACK_SPACING_PX = 11.0
# The detection runs on an image reduced until one lattice spacing is about this many pixels:
# enough to see texture, four times fewer pixels at the usual 11 px.
REDUCED_SPACING_PX = 4.6

# Pairs of Gaussian widths in lattice spacings; their difference passes 0.5, 1 and 2 cycles per
# spacing best.
_BANDS = ((0.34, 0.56), (0.17, 0.28), (0.085, 0.14))
# Width of the window over which power is averaged, in lattice spacings.
_WINDOW = 1.2
# How far that window carries the power of an edge, in lattice spacings; measured on pores.
_BLEED = 0.7
# Lattice enclosed by defects is given up when smaller than this many of the smallest defect: it
# would be narrower than a tile.
ISLAND = 10
#: Gaps between defects that are closed, half as wide in lattice spacings.
GAP_SPACINGS = 1.5
# Side of the largest matrix that stands for a filter; that of an image computed whole is smaller.
_MOST_MATRIX = 1024
#: How far `local_maps` and `grow_and_seed` see, in lattice spacings, and some pixels more.
REACH_SPACINGS, REACH_PX = 7.0, 8


@dataclass(frozen=True)
class DefectLimits:
    """Where normal lattice ends; lattice and texture as fractions of the surroundings'.

    Each pair is (grow, seed): a defect reaches the second somewhere and extends to the first.

    Attributes
    ----------
    lost
        Lattice below which a region is a defect whatever it looks like.
    weak
        Lattice below which it is one if also smooth or of unusual tone.
    smooth
        Texture below which it is smooth.
    rough
        Coarse texture above which a region is a defect whatever its lattice.
    tone
        Departure of the local mean in lattice amplitudes beyond which the tone is unusual.
    min_area
        Smallest defect, in squared lattice spacings.
    margin
        Width by which a defect is widened, in lattice spacings: tiles near its edge see it.
    """

    lost: tuple[float, float] = (0.55, 0.45)
    weak: tuple[float, float] = (0.80, 0.70)
    smooth: float = 0.60
    rough: tuple[float, float] = (1.8, 2.3)
    tone: float = 2.0
    min_area: float = 18.0
    margin: float = 0.25


def find_defects(
    image: NDArray[np.generic],
    *,
    spacing_px: float | None = None,
    limits: DefectLimits | None = None,
) -> NDArray[np.bool_]:
    """Mask of what is not lattice.

    Parameters
    ----------
    image
        Micrograph without data bar, shape ``(height, width)``.
    spacing_px
        Spacing of the lattice rows; measured from the image when not given.
    limits
        Thresholds.

    Returns
    -------
    ndarray
        Shape ``(height, width)``, True inside a defect.
    """
    limits = limits or DefectLimits()
    values = np.asarray(image, dtype=np.float32)
    spacing = lattice_spacing(values) if spacing_px is None else float(spacing_px)
    if not np.isfinite(spacing) or spacing <= 0:
        spacing = FALLBACK_SPACING_PX
    step = max(1, int(spacing / REDUCED_SPACING_PX))
    reduced = block_means(values, step)
    label = block_any(_burnt_in(image, spacing), step)
    if label.all():
        return np.ones(values.shape, dtype=bool)
    if label.any():
        # The edge of a white box would make lattice next to it look rough.
        reduced = np.where(label, usual_level(*sampled(spacing / step, reduced, label)), reduced)
    found = _detect(reduced, spacing / step, limits) | label
    found = _tidy(found, spacing / step, limits)
    mask = found.repeat(step, axis=0).repeat(step, axis=1)
    return np.ascontiguousarray(mask[: values.shape[0], : values.shape[1]])


def sampled(spacing: float, *maps: NDArray[Any]) -> list[NDArray[Any]]:
    """A value per lattice spacing: enough for a median, also of an image that is read in fields."""
    every = max(1, round(spacing))
    return [values[::every, ::every] for values in maps]


def usual_level(reduced: NDArray[np.float32], label: NDArray[np.bool_]) -> float:
    """Median of an image outside its burnt-in labels."""
    return float(np.median(reduced if label.all() else reduced[~label]))


@dataclass(frozen=True)
class _Maps:
    """Local properties of an image: its mean, and logarithms of amplitudes."""

    tone: NDArray[np.float32]
    texture: NDArray[np.float32]
    lattice: NDArray[np.float32]
    edges: NDArray[np.float32]
    #: Amplitude of a lattice over the texture that it makes.
    to_amplitude: float

    def all(self) -> tuple[NDArray[np.float32], ...]:
        """The maps whose usual values are those of the surroundings."""
        return self.tone, self.texture, self.lattice, self.edges


def local_maps(image: NDArray[np.float32], spacing: float) -> _Maps:
    """What is compared with the surroundings; it sees `REACH_SPACINGS` far."""
    tone = _average(image, 0.75 * spacing)
    powers = [_average(band * band, _WINDOW * spacing) for band in _bands(image, spacing)]
    gains = [float(np.sum(band * band)) for band in _bands(_point(spacing), spacing)]
    coarse, middle, fine = (
        np.maximum(power / gain, 1e-6) for power, gain in zip(powers, gains, strict=True)
    )
    lattice = np.log(middle / np.sqrt(coarse * fine))
    texture, edges = 0.5 * np.log(middle), 0.5 * np.log(coarse)
    return _Maps(tone, texture, lattice, edges, float(np.sqrt(2 * gains[1])))


def first_guess(
    maps: _Maps, limits: DefectLimits, usual_edges: float, usual_lattice: float
) -> NDArray[np.bool_]:
    """What is a defect by the medians of the whole image."""
    return (maps.edges - usual_edges > np.log(limits.rough[0])) | (
        maps.lattice - usual_lattice < np.log(limits.lost[1])
    )


def grow_and_seed(
    maps: _Maps, usual: list[NDArray[np.float32]], spacing: float, limits: DefectLimits
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """How far defects may extend, and where they certainly are."""
    relative_lattice, relative_edges = maps.lattice - usual[2], maps.edges - usual[3]
    # The power of an edge is seen as far as the window reaches; the edge itself is not there.
    rough = [_shrink(relative_edges > np.log(r), _BLEED * spacing) for r in limits.rough]
    odd = np.abs(maps.tone - usual[0]) > limits.tone * maps.to_amplitude * np.exp(usual[1])
    odd |= maps.texture - usual[1] < np.log(limits.smooth)
    grow, seed = (
        (relative_lattice < np.log(lost)) | (odd & (relative_lattice < np.log(weak))) | edge
        for lost, weak, edge in zip(limits.lost, limits.weak, rough, strict=True)
    )
    return grow, seed


def _detect(image: NDArray[np.float32], spacing: float, limits: DefectLimits) -> NDArray[np.bool_]:
    maps = local_maps(image, spacing)
    # The surroundings must not contain the defects that are measured against them: start from
    # medians, where only the textures are safe, and repeat without what was found.
    middle = (float(np.median(m)) for m in sampled(spacing, maps.edges, maps.lattice))
    defect = first_guess(maps, limits, *middle)
    for _ in range(2):
        usual = _surroundings(maps.all(), ~defect, spacing)
        grow, seed = grow_and_seed(maps, usual, spacing, limits)
        defect = ndimage.binary_propagation(seed, mask=grow)
    return np.asarray(defect)


def _bands(image: NDArray[np.float32], spacing: float) -> list[NDArray[np.float32]]:
    """Details of about twice, once and half the lattice spacing."""
    return [_blur(image, a * spacing) - _blur(image, b * spacing) for a, b in _BANDS]


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0))


def _average(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Smooth as with a Gaussian, by two running means: the cost does not depend on the width."""
    size = max(1, round(np.sqrt(6 * sigma**2 + 1)))
    once = ndimage.uniform_filter(image, size, mode="nearest")
    # An even window is half a pixel off centre; the second pass is off the other way.
    return np.asarray(
        ndimage.uniform_filter(once, size, mode="nearest", origin=-1 if size % 2 == 0 else 0)
    )


def _point(spacing: float) -> NDArray[np.float32]:
    size = 2 * int(4 * spacing) + 1
    point = np.zeros((size, size), dtype=np.float32)
    point[size // 2, size // 2] = 1
    return point


def _surroundings(
    maps: tuple[NDArray[np.float32], ...], good: NDArray[np.bool_], spacing: float
) -> list[NDArray[np.float32]]:
    """Mean of the good pixels within several spacings, also inside large bad regions."""
    step = surroundings_step(spacing)
    blocks = smooth_surroundings(*block_totals(maps, good, step), spacing)
    return [enlarge(local, step, good.shape) for local in blocks]


def surroundings_step(spacing: float) -> int:
    """Side of the blocks in which surroundings are averaged first."""
    return max(1, round(spacing))


def block_totals(
    maps: tuple[NDArray[np.float32], ...], good: NDArray[np.bool_], step: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Means over blocks of the maps where they are good, and the good part of each block."""
    weight = block_means(good.astype(np.float32), step)
    totals = [block_means(np.where(good, m, 0).astype(np.float32), step) for m in maps]
    return totals, weight


def smooth_surroundings(
    totals: list[NDArray[np.float32]], weight: NDArray[np.float32], spacing: float
) -> list[NDArray[np.float32]]:
    """Mean of the good pixels around every block."""
    step = surroundings_step(spacing)
    near, far = (_smoother(weight.shape, s * spacing / step) for s in (8.0, 30.0))
    near_weight, far_weight = near(weight), far(weight)
    result = []
    for total in totals:
        everywhere = float(total.sum() / max(float(weight.sum()), 1e-6))
        wide = (far(total) + 1e-3 * everywhere) / (far_weight + 1e-3)
        local = (near(total) + 0.05 * wide) / (near_weight + 0.05)
        result.append(local.astype(np.float32))
    return result


def _smoother(
    shape: tuple[int, ...], sigma: float
) -> Callable[[NDArray[np.float32]], NDArray[np.floating]]:
    """A wide Gaussian filter for several small arrays of one shape: two matrix products each."""
    if max(shape) > _MOST_MATRIX:  # matrices would be larger than the arrays
        return lambda values: ndimage.gaussian_filter(
            values, sigma, output=np.float64, mode="nearest"
        )
    down, across = (
        ndimage.gaussian_filter1d(np.eye(length), sigma, axis=0, mode="nearest") for length in shape
    )
    return lambda values: down @ values @ across.T


def enlarge(
    blocks: NDArray[np.float32],
    step: int,
    shape: tuple[int, ...],
    window: tuple[slice, slice] | None = None,
) -> NDArray[np.float32]:
    """Interpolate block means linearly back to the pixels of an image, or of a window of it."""
    weights, used = [], []
    for axis, (length, count) in enumerate(zip(shape, blocks.shape, strict=True)):
        pixel = np.arange(length)[slice(None) if window is None else window[axis]]
        position = np.clip((pixel + 0.5) / step - 0.5, 0, count - 1)
        below = np.minimum(position.astype(np.int64), max(count - 2, 0))
        above = np.minimum(below + 1, count - 1)
        first = int(below[0])
        matrix = np.zeros((pixel.size, int(above[-1]) + 1 - first), dtype=np.float32)
        rows = np.arange(pixel.size)
        matrix[rows, below - first] = 1 - (position - below)
        matrix[rows, above - first] += position - below
        weights.append(matrix)
        used.append(slice(first, int(above[-1]) + 1))
    return np.asarray(weights[0] @ blocks[used[0], used[1]] @ weights[1].T, dtype=np.float32)


def _burnt_in(image: NDArray[np.generic], spacing: float) -> NDArray[np.bool_]:
    """Labels and scale bars: areas of exactly one value, and what is written on them."""
    size = flat_block(spacing)
    height, width = (length // size * size for length in image.shape)
    if min(height, width) == 0:
        return np.zeros(image.shape, dtype=bool)
    flat = closed(flat_blocks(image[:height, :width], size))
    flat = _without_small(flat, flat_area(spacing))
    flat = widen(flat)
    found = flat.repeat(size, axis=0).repeat(size, axis=1)
    rest = ((0, image.shape[0] - height), (0, image.shape[1] - width))
    return np.asarray(np.pad(found, rest, mode="edge"))


def flat_block(spacing: float) -> int:
    """Side of the blocks that are looked at for areas of one value."""
    return max(4, int(spacing / 3))


def flat_area(spacing: float) -> float:
    """Least number of blocks of a burnt-in label."""
    return 4 * spacing**2 / flat_block(spacing) ** 2


def flat_blocks(image: NDArray[np.generic], size: int) -> NDArray[np.bool_]:
    """Blocks of exactly one value; the sides of the image are multiples of theirs."""
    height, width = image.shape
    blocks = image.reshape(height // size, size, width // size, size)
    return np.asarray(blocks.max(axis=(1, 3)) == blocks.min(axis=(1, 3)))


def closed(flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Writing interrupts a flat area, and its last block may be cut by the edge of the image."""
    return np.asarray(
        ndimage.binary_closing(np.pad(flat, 2, mode="edge"), iterations=2)[2:-2, 2:-2]
    )


def widen(flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flat blocks and those beside them."""
    return np.asarray(ndimage.binary_dilation(flat, np.ones((3, 3))))


def _tidy(found: NDArray[np.bool_], spacing: float, limits: DefectLimits) -> NDArray[np.bool_]:
    """Drop specks, close gaps too narrow to show a lattice, widen."""
    smallest = limits.min_area * spacing**2
    found = ~_without_small(
        ~close(_without_small(found, smallest / 4), GAP_SPACINGS * spacing), ISLAND * smallest
    )
    found = _without_small(found, smallest)
    return within(found, limits.margin * spacing)


def _without_small(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= area
    large[0] = False
    return np.asarray(large[labels])


def _shrink(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    return ~within(~mask, distance)


def close(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Fill gaps of a mask that are narrower than twice the radius."""
    pad = int(radius) + 1
    grown = within(np.pad(mask, pad, mode="edge"), radius)
    return _shrink(grown, radius)[pad:-pad, pad:-pad] | mask


def block_means(image: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Means of step x step blocks; blocks that overhang take the edge's values."""
    if step == 1:
        return image
    height, width = image.shape
    padded = np.pad(image, ((0, -height % step), (0, -width % step)), mode="edge")
    # Rows first: sums along whole rows are many times as fast as those of small blocks.
    rows = padded.reshape(padded.shape[0] // step, step, -1).sum(axis=1, dtype=np.float32)
    return np.asarray(rows.reshape(rows.shape[0], -1, step).sum(axis=2) / np.float32(step**2))


def block_any(mask: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Blocks that are mostly in a mask."""
    return block_means(mask.astype(np.float32), step) > 0.5
