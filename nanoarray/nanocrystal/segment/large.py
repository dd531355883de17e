"""Crystals of an image that is read in windows: one scale for all of it, flooded field by field.

Polarity, scale and outline are found on a sample of windows. The network sees tiles of a grid that
belongs to the image, so that its maps do not depend on fields. A field is flooded with a margin;
objects that lie on the same pixels in the overlap of fields are one, however large.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError
from nanoarray.fields import sizes
from nanoarray.fields.components import joined
from nanoarray.fields.packed import PackedArray
from nanoarray.fields.windows import Pixels, Window, cores, inner, sampled_in, spans, widened
from nanoarray.nanocrystal.segment.net import Look, Polarity, look_at
from nanoarray.nanocrystal.segment.net_decode import Decoding, decode
from nanoarray.nanocrystal.segment.net_labels import draw_window
from nanoarray.nanocrystal.segment.net_maps import predict_maps
from nanoarray.nanocrystal.segment.reject import DOUBTFUL, size_outliers
from nanoarray.nanocrystal.segment.resized import resized_window

#: Side of the tiles that the network sees, and how far it looks beyond them; multiples of its
#: stride.
TILE_PX, CONTEXT_PX = 1152, 96
#: Tiles along a side of a field, how far it is flooded beyond them, and fields side by side.
FIELD_TILES, MARGIN_PX, STRIP_FIELDS = 1, 192, 6
#: Windows of the sample per side, and their side [px].
_SAMPLES, _SAMPLE_PX = 3, 640
#: Pixels that the percentiles of the grey levels are taken of.
_LEVELS_PX = 4_000_000


@dataclass(frozen=True)
class LargeSegmentation:
    """Crystals of a large image, as `Segmentation` has them, to be read in windows.

    Attributes
    ----------
    objects
        Provisional numbers of objects, 0 elsewhere.
    accepted, refused
        By provisional number, the id of a crystal, or of a rejected object.
    reasons
        Why each rejected object was rejected.
    polarity
        ``"dark"`` or ``"bright"`` crystals.
    areas_px
        By provisional number.
    """

    objects: PackedArray
    accepted: NDArray[np.int32]
    refused: NDArray[np.int32]
    reasons: tuple[str, ...]
    polarity: str
    areas_px: NDArray[np.int64]

    def crystal(self, window: Window) -> NDArray[np.int32]:
        """Ids of crystals in a window."""
        return np.asarray(self.accepted[self.objects[window]])

    def rejected(self, window: Window) -> NDArray[np.int32]:
        """Ids of rejected objects in a window."""
        return np.asarray(self.refused[self.objects[window]])

    @property
    def crystal_px(self) -> int:
        """Pixels of all crystals."""
        return int(self.areas_px[self.accepted > 0].sum())


def segment_in_fields(pixels: Pixels, *, polarity: Polarity = "auto") -> LargeSegmentation:
    """Find the crystals of an image that is read in windows.

    Parameters
    ----------
    pixels
        The image.
    polarity
        Whether crystals are darker or brighter than what is around them, or found out.

    Raises
    ------
    ImageError
        The image has no contrast, or values that are not finite.
    """
    low, high = _levels(pixels)
    look = look_at(_sample(pixels, low, high), polarity=polarity)
    maps = _Maps(pixels, low, high, look)
    found = _Found(maps.shape, (int(pixels.shape[0]), int(pixels.shape[1])))
    for core in _fields(maps.shape):
        _flood(maps, core, look, found)
    return _assembled(found, look)


def _levels(pixels: Pixels) -> tuple[float, float]:
    """1st and 99th percentile of every so many pixels of the image."""
    height, width = pixels.shape
    every = max(1, int(np.sqrt(height * width / _LEVELS_PX)))
    parts = [
        pixels[core][sampled_in(core, every)].ravel()
        for core in cores((height, width), sizes.FIELD_PX)
    ]
    values = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("the image has values that are not finite: mend it before segmentation")
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        raise ImageError("the image has no contrast: all its pixels have the same value")
    return float(low), float(high)


def _normalized(values: NDArray, low: float, high: float) -> NDArray[np.float32]:
    grey = np.asarray(values, np.float32)
    return np.clip((grey - np.float32(low)) * np.float32(2 / (high - low)) - 1, -2, 2)


def _sample(pixels: Pixels, low: float, high: float) -> NDArray[np.float32]:
    """Windows evenly over the image, side by side in one picture."""
    rows, columns = (
        [
            slice(int(a), int(a) + min(_SAMPLE_PX, n))
            for a in np.linspace(0, max(n - _SAMPLE_PX, 0), _SAMPLES)
        ]
        for n in pixels.shape
    )
    return np.block([[_normalized(pixels[r, c], low, high) for c in columns] for r in rows])


class _Maps:
    """What the network answers for the image at the scale of the look, tile by tile."""

    def __init__(self, pixels: Pixels, low: float, high: float, look: Look) -> None:
        height, width = (max(round(n * look.scale), 8) for n in pixels.shape)
        self.shape = (height, width)
        self._pixels, self._levels, self._sign = pixels, (low, high), look.sign
        self._tiles: OrderedDict[tuple[int, int], NDArray[np.float32]] = OrderedDict()
        self._most = 3 * (STRIP_FIELDS * FIELD_TILES + 2)

    def __getitem__(self, window: Window) -> NDArray[np.float32]:
        """(3, height, width) probability of crystal, depth, probability of contact."""
        out = np.empty((3, *(s.stop - s.start for s in window)), np.float32)
        ranges = [range(s.start // TILE_PX, -(-s.stop // TILE_PX)) for s in window]
        for i in ranges[0]:
            for j in ranges[1]:
                here, there = [], []
                for k, s in zip((i, j), window, strict=True):
                    low, high = max(s.start, k * TILE_PX), min(s.stop, (k + 1) * TILE_PX)
                    here.append(slice(low - k * TILE_PX, high - k * TILE_PX))
                    there.append(slice(low - s.start, high - s.start))
                out[:, there[0], there[1]] = self._tile(i, j)[:, here[0], here[1]]
        return out

    def _tile(self, i: int, j: int) -> NDArray[np.float32]:
        if (i, j) not in self._tiles:
            core = tuple(
                slice(k * TILE_PX, min((k + 1) * TILE_PX, n))
                for k, n in zip((i, j), self.shape, strict=True)
            )
            window = widened((core[0], core[1]), CONTEXT_PX, self.shape)
            grey = resized_window(
                lambda part: _normalized(self._pixels[part], *self._levels),
                window,
                before=self._pixels.shape,
                after=self.shape,
            )
            answer = np.stack(predict_maps(grey if self._sign > 0 else -grey))
            place = inner((core[0], core[1]), window)
            self._tiles[i, j] = answer[:, place[0], place[1]].copy()
            while len(self._tiles) > self._most:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end((i, j))
        return self._tiles[i, j]


def _fields(shape: tuple[int, int]) -> Iterator[Window]:
    """Fields in strips down the image, so that few tiles have to be kept."""
    size = FIELD_TILES * TILE_PX
    columns = spans(shape[1], size)
    for first in range(0, len(columns), STRIP_FIELDS):
        for rows in spans(shape[0], size):
            for column in columns[first : first + STRIP_FIELDS]:
                yield rows, column


@dataclass
class _Found:
    """Objects of the fields that are done: provisional numbers from 1 on."""

    shape: tuple[int, int]
    full: tuple[int, int]
    count: int = 0
    pairs: list[NDArray[np.int64]] = field(default_factory=list)
    first: list[NDArray[np.int64]] = field(default_factory=list)
    doubtful: list[NDArray[np.bool_]] = field(default_factory=list)
    done: list[Window] = field(default_factory=list)
    labels: PackedArray = field(init=False)
    drawn: PackedArray = field(init=False)
    kept: PackedArray = field(init=False)

    def __post_init__(self) -> None:
        self.labels = PackedArray(self.shape, np.int32)
        self.drawn = PackedArray(self.full, np.int32)
        self.kept = PackedArray(self.full, np.bool_)


def _flood(maps: _Maps, core: Window, look: Look, found: _Found) -> None:
    """Label a field, join its objects with those of its neighbours, and draw them."""
    window = widened(core, MARGIN_PX, maps.shape)
    foreground, depth, contact = maps[window]
    sure, doubtful = decode(foreground, depth, contact, whole_range=True)
    first_doubtful = int(sure.max(initial=0)) + 1
    labels = np.where(doubtful > 0, doubtful + np.int32(first_doubtful - 1), sure)
    here = inner(core, window)
    own = np.unique(labels[here])
    number = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    found.doubtful.append(own[own > 0] >= first_doubtful)
    number[own[own > 0]] = found.count + 1 + np.arange(np.count_nonzero(own))
    numbered = number[labels]
    found.pairs.append(_overlaps(numbered, found, window))
    found.labels[core] = numbered[here]
    found.done.append(core)
    present, at = np.unique(numbered[here], return_index=True)
    y, x = np.divmod(at[present > 0], here[1].stop - here[1].start)
    found.first.append((core[0].start + y).astype(np.int64) * maps.shape[1] + core[1].start + x)
    found.count += int(np.count_nonzero(own))
    full = _full_window(core, maps.shape, found.full)

    def draw(objects: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        return draw_window(
            objects,
            foreground,
            origin=(window[0].start, window[1].start),
            before=maps.shape,
            window=full,
            after=found.full,
            threshold=Decoding().foreground,
        )

    drawn, probability = draw(np.where(doubtful > 0, np.int32(0), numbered))
    kept = (probability >= look.outline) & (drawn > 0)
    if doubtful.any():  # crystals first: what is doubtful takes no pixel of theirs
        unsure = np.where(drawn > 0, np.int32(0), draw(np.where(doubtful > 0, numbered, 0))[0])
        drawn, kept = drawn + unsure, kept | (unsure > 0)
    found.drawn[full] = drawn
    found.kept[full] = kept


def _overlaps(numbered: NDArray[np.int32], found: _Found, window: Window) -> NDArray[np.int64]:
    """Pairs of objects of this field and of those done that lie on the same pixels."""
    before = found.labels[window]
    seen = np.zeros(before.shape, bool)
    for other in found.done:
        part = tuple(
            slice(max(a.start, w.start) - w.start, max(min(a.stop, w.stop) - w.start, 0))
            for a, w in zip(other, window, strict=True)
        )
        seen[part] = True
    ours, theirs = np.where(seen, numbered, 0).astype(np.int64), before.astype(np.int64)
    both = (ours > 0) & (theirs > 0)
    if not both.any():
        return np.zeros((0, 2), np.int64)
    base = int(max(ours.max(), theirs.max())) + 1
    code, common = np.unique(ours[both] * base + theirs[both], return_counts=True)
    one, other_one = code // base, code % base
    first_new = found.count + 1
    ours_px = np.bincount(np.where(ours > 0, ours - first_new + 1, 0).ravel())
    present, their_px = np.unique(theirs, return_counts=True)
    least = np.minimum(ours_px[one - first_new + 1], their_px[np.searchsorted(present, other_one)])
    # Where fields agree these are all pixels of both; a single one may be of two that touch.
    return np.stack([one, other_one], axis=1)[2 * common >= least]


def _full_window(core: Window, shape: tuple[int, int], full: tuple[int, int]) -> Window:
    """The pixels of the image whose centres are in a field of the resized image."""
    rows, columns = (
        slice(*(n if at == m else -(-(2 * at * n - m) // (2 * m)) for at in (s.start, s.stop)))
        for s, m, n in zip(core, shape, full, strict=True)
    )
    return slice(max(rows.start, 0), rows.stop), slice(max(columns.start, 0), columns.stop)


def _assembled(found: _Found, look: Look) -> LargeSegmentation:
    root = joined(np.concatenate([np.zeros((0, 2), np.int64), *found.pairs]), found.count)
    count = int(root.max(initial=0))
    first = np.full(count + 1, np.iinfo(np.int64).max)
    if found.count:
        np.minimum.at(first, root[1:], np.concatenate(found.first))
    # Objects are numbered in the order of their first pixel, as in an image that is flooded whole.
    rank = np.zeros(count + 1, np.int64)
    rank[1 + np.argsort(first[1:], kind="stable")] = np.arange(1, count + 1)
    number = rank[root].astype(np.int32)
    total, kept = (np.zeros(count + 1, np.int64) for _ in range(2))
    for core in found.drawn.cores():
        objects = number[found.drawn[core]]
        total += np.bincount(objects.ravel(), minlength=count + 1)
        kept += np.bincount(objects[found.kept[core]], minlength=count + 1)
    gone = kept == 0
    objects = PackedArray(found.full, np.int32)
    for core in objects.cores():
        here = number[found.drawn[core]]
        objects[core] = np.where(found.kept[core] | gone[here], here, 0)
    area = np.where(gone, total, kept)
    area[0] = 0
    present = np.flatnonzero(area)
    # An object is doubtful where no field is sure of it.
    unsure = np.ones(count + 1, bool)
    if found.count:
        np.logical_and.at(unsure, number[1:], np.concatenate(found.doubtful))
    sure = present[~unsure[present]]
    reasons = {int(i): DOUBTFUL for i in present[unsure[present]]}
    reasons |= size_outliers(sure, 2 * np.sqrt(area[sure] / np.pi))
    rejected = np.isin(present, list(reasons))
    accepted, refused = (np.zeros(count + 1, np.int32) for _ in range(2))
    accepted[present[~rejected]] = np.arange(1, np.count_nonzero(~rejected) + 1)
    refused[present[rejected]] = np.count_nonzero(~rejected) + np.arange(1, rejected.sum() + 1)
    texts = tuple(reasons[int(i)] for i in present[rejected])
    return LargeSegmentation(objects, accepted, refused, texts, look.polarity, area)
