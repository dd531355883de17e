"""Defects of an image that is read in fields: the steps of `defects`, each a pass over the image.

Masks are kept packed; what is compared with its surroundings is computed anew in every pass. The
result is that for the whole image, but for the rounding of running means (1e-7 of a value).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.fields.components import Components
from nanoarray.fields.packed import PackedArray
from nanoarray.fields.windows import Pixels, Window, cores, inner, sampled_in, scaled, widened
from nanoarray.superlattice.prepare import defects
from nanoarray.superlattice.prepare.defects import DefectLimits
from nanoarray.superlattice.prepare.near import within

#: Side of a field of the reduced image, without its margin [px].
FIELD_PX = 1024
#: How far a closing by two steps sees.
_CLOSING = 8


class Repeated:
    """A packed mask of which every value stands for a square of pixels.

    Parameters
    ----------
    packed
        The mask.
    step
        Side of a square.
    shape
        Height and width in pixels; the last value stands for the rest as well.
    """

    dtype: np.dtype[Any] = np.dtype(np.bool_)

    def __init__(self, packed: PackedArray, step: int, shape: tuple[int, ...]) -> None:
        self._packed, self._step = packed, step
        self.shape = (int(shape[0]), int(shape[1]))

    def __getitem__(self, window: Window) -> NDArray[np.bool_]:
        """The mask in a window of pixels."""
        index = [
            np.minimum(np.arange(s.start, s.stop) // self._step, n - 1)
            for s, n in zip(window, self._packed.shape, strict=True)
        ]
        if not all(i.size for i in index):
            return np.zeros([i.size for i in index], np.bool_)
        part = self._packed[tuple(slice(int(i[0]), int(i[-1]) + 1) for i in index)]  # type: ignore[index]
        return np.asarray(part[np.ix_(index[0] - index[0][0], index[1] - index[1][0])])

    def mean(self) -> float:
        """Part of the pixels that are in the mask."""
        total = 0
        for core in self._packed.cores():
            sides = [
                np.bincount(np.minimum(np.arange(n) // self._step, m - 1), minlength=m)[s]
                for n, m, s in zip(self.shape, self._packed.shape, core, strict=True)
            ]
            total += int(sides[0] @ self._packed[core].astype(np.int64) @ sides[1])
        return total / (self.shape[0] * self.shape[1])


def find_defects_in_fields(
    pixels: Pixels, *, spacing_px: float | None, limits: DefectLimits | None = None
) -> Repeated:
    """As `nanoarray.superlattice.prepare.defects.find_defects`, of an image read in windows.

    Parameters
    ----------
    pixels
        The image.
    spacing_px
        Spacing of the lattice rows; None where no lattice was found.
    limits
        Thresholds.
    """
    limits = limits or DefectLimits()
    spacing = spacing_px or defects.FALLBACK_SPACING_PX
    step = max(1, int(spacing / defects.REDUCED_SPACING_PX))
    image = _Reduced(pixels, step, spacing)
    if image.label.sum() == image.label.shape[0] * image.label.shape[1]:
        return Repeated(image.label, step, pixels.shape)
    found = _detected(image, spacing / step, limits)
    found.filled(np.logical_or, found, image.label)
    return Repeated(_tidied(found, spacing / step, limits), step, pixels.shape)


class _Reduced:
    """The reduced image, in windows, with its labels filled."""

    def __init__(self, pixels: Pixels, step: int, spacing: float) -> None:
        self.shape = (-(-pixels.shape[0] // step), -(-pixels.shape[1] // step))
        self._pixels, self._step = pixels, step
        burnt = _burnt_in(pixels, spacing)
        self.label = PackedArray(self.shape, np.bool_)
        for core in self.label.cores():
            window = scaled(core, step, pixels.shape)
            self.label[core] = defects.block_any(burnt[window], step)
        self._labelled = self.label.nbytes > 0
        self._level = 0.0
        if self._labelled:
            values, marked = [], []
            for core in self.label.cores():
                chosen = sampled_in(core, max(1, round(spacing / step)))
                values.append(self._plain(core)[chosen].ravel())
                marked.append(self.label[core][chosen].ravel())
            self._level = defects.usual_level(np.concatenate(values), np.concatenate(marked))

    def __getitem__(self, window: Window) -> NDArray[np.float32]:
        values = self._plain(window)
        if not self._labelled:
            return values
        return np.where(self.label[window], np.float32(self._level), values)

    def _plain(self, window: Window) -> NDArray[np.float32]:
        pixels = self._pixels[scaled(window, self._step, self._pixels.shape)]
        return defects.block_means(pixels.astype(np.float32), self._step)


def _burnt_in(pixels: Pixels, spacing: float) -> Repeated:
    size = defects.flat_block(spacing)
    flat = PackedArray([n // size for n in pixels.shape], np.bool_)  # type: ignore[arg-type]
    if min(flat.shape) == 0:
        return Repeated(PackedArray((1, 1), np.bool_), max(pixels.shape), pixels.shape)
    for core in flat.cores():
        window = scaled(core, size, (flat.shape[0] * size, flat.shape[1] * size))
        flat[core] = defects.flat_blocks(pixels[window], size)
    flat = PackedArray(flat.shape, np.bool_).filled(defects.closed, flat, margin=_CLOSING)
    parts = Components(flat)
    flat = parts.chosen(parts.area >= defects.flat_area(spacing))
    flat = PackedArray(flat.shape, np.bool_).filled(defects.widen, flat, margin=2)
    return Repeated(flat, size, pixels.shape)


def _maps_of(image: _Reduced, spacing: float) -> Iterator[tuple[Window, Window, Any]]:
    """Fields, their windows and the maps of these."""
    step = defects.surroundings_step(spacing)
    size = max(1, FIELD_PX // step) * step
    margin = int(defects.REACH_SPACINGS * spacing) + defects.REACH_PX
    for core in cores(image.shape, size):
        window = widened(core, margin, image.shape)
        yield core, window, defects.local_maps(image[window], spacing)


def _detected(image: _Reduced, spacing: float, limits: DefectLimits) -> PackedArray:
    edges, lattice = [], []
    for core, window, maps in _maps_of(image, spacing):
        chosen = sampled_in(core, max(1, round(spacing)))
        edges.append(maps.edges[inner(core, window)][chosen].ravel())
        lattice.append(maps.lattice[inner(core, window)][chosen].ravel())
    middle = [float(np.median(np.concatenate(parts))) for parts in (edges, lattice)]
    found: PackedArray | None = None
    for _ in range(2):
        usual = _surroundings(image, found, spacing, limits, middle)
        grow, seed = (PackedArray(image.shape, np.bool_) for _ in range(2))
        step = defects.surroundings_step(spacing)
        for core, window, maps in _maps_of(image, spacing):
            local = [defects.enlarge(blocks, step, image.shape, window) for blocks in usual]
            masks = defects.grow_and_seed(maps, local, spacing, limits)
            grow[core], seed[core] = (mask[inner(core, window)] for mask in masks)
        parts = Components(grow)
        found = parts.chosen(parts.count_in(seed) > 0)
    assert found is not None
    return found


def _surroundings(
    image: _Reduced,
    found: PackedArray | None,
    spacing: float,
    limits: DefectLimits,
    middle: list[float],
) -> list[NDArray[np.float32]]:
    """Usual values around every block, by what was found before or by the medians."""
    step = defects.surroundings_step(spacing)
    shape = (-(-image.shape[0] // step), -(-image.shape[1] // step))
    totals = [np.empty(shape, np.float32) for _ in range(4)]
    weight = np.empty(shape, np.float32)
    for core, window, maps in _maps_of(image, spacing):
        here = inner(core, window)
        if found is None:
            bad = defects.first_guess(maps, limits, *middle)[here]
        else:
            bad = found[core]
        own = tuple(m[here] for m in maps.all())
        blocks = tuple(slice(s.start // step, -(-s.stop // step)) for s in core)
        sums, weight[blocks] = defects.block_totals(own, ~bad, step)
        for total, part in zip(totals, sums, strict=True):
            total[blocks] = part
    return defects.smooth_surroundings(totals, weight, spacing)


def _tidied(found: PackedArray, spacing: float, limits: DefectLimits) -> PackedArray:
    smallest = limits.min_area * spacing**2
    found = _without_small(found, smallest / 4)
    radius = defects.GAP_SPACINGS * spacing
    open_ = PackedArray(found.shape, np.bool_).filled(
        lambda mask: ~defects.close(mask, radius), found, margin=2 * int(radius) + 6
    )
    kept = _without_small(open_, defects.ISLAND * smallest)
    found = PackedArray(found.shape, np.bool_).filled(np.logical_not, kept)
    found = _without_small(found, smallest)
    widening = limits.margin * spacing
    return PackedArray(found.shape, np.bool_).filled(
        lambda mask: within(mask, widening), found, margin=int(widening) + 2
    )


def _without_small(mask: PackedArray, area: float) -> PackedArray:
    parts = Components(mask)
    return parts.chosen(parts.area >= area)
