"""Regions that may be crystals: of the component tree, and their parts between necks."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from nanoarray.nanocrystal.segment.branches import pick_nodes
from nanoarray.nanocrystal.segment.component_tree import ComponentTree
from nanoarray.nanocrystal.segment.describe import (
    DEPTH_IN,
    DEPTH_OUT,
    INRADIUS,
    LOG_AREA,
    REGION_NUMBERS,
    SOLIDITY,
    describe_mask,
)
from nanoarray.nanocrystal.segment.regions import crop_region, distance_inside, find_holes
from nanoarray.nanocrystal.segment.split import split_at_necks

__all__ = ["CANDIDATE_NUMBERS", "Candidates", "find_candidates", "no_candidates"]

#: A part with more of the area of what it is a part of is the same region again.
_SAME_AREA = 0.95
#: Parts whose neck is narrower than this part of the narrower one are never one crystal.
_NARROWEST = 0.3
#: More parts than this are texture; joining them takes the square of their number in memory.
_MOST_PARTS = 1500
#: Necks do not cut one crystal into more parts than this; more joined parts are a clump.
_MOST_JOINED = 5

#: What is known of every candidate, in the order of the columns of `Candidates.numbers`.
CANDIDATE_NUMBERS = (
    *REGION_NUMBERS,
    "sharpness",
    "stability",
    "branches",
    "branch_share",
    "saddle",
    "share_of_parent",
    "parent_solidity",
    "is_part",
    "neck",
    "part_count",
)


@dataclass(frozen=True)
class Candidates:
    """Nested candidates: a parent contains its children, and comes before them.

    Attributes
    ----------
    parent
        ``(candidate,)`` the smallest candidate that contains it; -1 for none.
    alternative
        ``(candidate,)`` which family of children it belongs to: 0 regions at higher levels, 1
        parts between necks. Children of different families of one parent overlap.
    numbers
        ``(candidate, number)``, see `CANDIDATE_NUMBERS`.
    pixel, start, size
        Flat pixel indices of each candidate: ``pixel[start:start + size]``, small holes filled.
    """

    parent: NDArray[np.int32]
    alternative: NDArray[np.int8]
    numbers: NDArray[np.float32]
    pixel: NDArray[np.int32]
    start: NDArray[np.int64]
    size: NDArray[np.int64]


@nb.njit(nogil=True, cache=True)
def _fill(mask, hole, holes, y0, x0, depth, out_level, in_level):
    """Fill holes that do not look like background: small ones, or not as bright."""
    if holes == 0:
        return
    size = np.zeros(holes + 1, np.int64)
    total = np.zeros(holes + 1, np.float64)
    area = 0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            area += mask[y, x]
            h = hole[y, x]
            if h > 0:
                size[h] += 1
                total[h] += depth[y + y0, x + x0]
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            h = hole[y, x]
            if h == 0:
                continue
            dark = total[h] / size[h] - out_level > 0.35 * (in_level - out_level)
            if dark or size[h] < 0.02 * area or size[h] < 6:
                mask[y, x] = True
                hole[y, x] = 0


@nb.njit(nogil=True, cache=True)
def _by_part(part, n, total):
    """Flat pixels of each part, and empty places for the joined ones."""
    counts = np.zeros(n + 1, np.int64)
    for p in range(part.size):
        if part[p] >= 0:
            counts[part[p] + 1] += 1
    for a in range(n):
        counts[a + 1] += counts[a]
    cursor = counts.copy()
    pixel = np.empty(counts[n], np.int64)
    for p in range(part.size):
        if part[p] >= 0:
            pixel[cursor[part[p]]] = p
            cursor[part[p]] += 1
    members = [pixel[counts[a] : counts[a + 1]] for a in range(n)]
    for _ in range(n, total):
        members.append(pixel[:0])
    return members


@nb.njit(nogil=True, cache=True)
def _step_px(area_px):
    """How far from the outline to look: an eighth of the diameter, past the blur of the edge."""
    return min(max(0.12 * np.sqrt(area_px), 2.0), 4.0)


@nb.njit(nogil=True, cache=True)
def _in_image(flat, crop_width, y0, x0, width):
    return ((flat // crop_width + y0) * width + flat % crop_width + x0).astype(np.int32)


@nb.njit(nogil=True, cache=True)
def _join_parts(members, up, n):
    """Flat pixels of joined parts, from those of what they join; how many parts each has."""
    joined = np.zeros(up.size, np.int64)
    joined[:n] = 1
    for a in range(up.size):
        if up[a] >= 0:
            joined[up[a]] += joined[a]
            if joined[up[a]] <= _MOST_JOINED:
                members[up[a]] = np.concatenate((members[up[a]], members[a]))
    return joined


@nb.njit(nogil=True, cache=True)
def _scan(node, above, tree_pixel, tree_start, tree_area, depth, neck_px, least, split_below):
    """Describe picked nodes, fill their holes and cut them at their necks.

    Returns lists with one entry per candidate: parent, family, numbers, pixels, (is a part, neck,
    number of parts); and the candidate of every picked node.
    """
    height, width = depth.shape
    parents, kinds = [np.int32(0) for _ in range(0)], [np.int8(0) for _ in range(0)]
    rows = [np.zeros(1, np.float32) for _ in range(0)]
    pixels = [np.zeros(1, np.int32) for _ in range(0)]
    extra = [np.zeros(3, np.float32) for _ in range(0)]
    place = np.full(node.size, -1, np.int32)
    for k in range(node.size):
        start = tree_start[node[k]]
        region = tree_pixel[start : start + tree_area[node[k]]]
        mask, y0, x0 = crop_region(region, width, height, 1)
        hole, holes = find_holes(mask)
        row = describe_mask(mask, hole, y0, x0, depth, _step_px(region.size))
        _fill(mask, hole, holes, y0, x0, depth, row[DEPTH_OUT], row[DEPTH_IN])
        distance = distance_inside(mask)
        row[INRADIUS] = distance.max() / np.sqrt(np.exp(row[LOG_AREA]) / np.pi)
        flat = np.flatnonzero(mask.ravel())
        w = mask.shape[1]
        place[k] = len(parents)
        parents.append(place[above[k]] if above[k] >= 0 else np.int32(-1))
        kinds.append(np.int8(0))
        pixels.append(_in_image(flat, w, y0, x0, width))
        rows.append(row)
        extra.append(np.zeros(3, np.float32))
        if row[SOLIDITY] > split_below or flat.size < 4 * least:
            continue
        part, n, up, ratio = split_at_necks(distance, neck_px, _NARROWEST)
        if n < 2 or n > _MOST_PARTS:
            continue
        members = _by_part(part, n, up.size)
        joined = _join_parts(members, up, n)
        spot = np.empty(up.size, np.int32)
        for a in range(up.size - 1, -1, -1):  # the widest joined parts first
            own = members[a]
            spot[a] = spot[up[a]] if up[a] >= 0 else place[k]
            if joined[a] > _MOST_JOINED or own.size < least:
                continue
            if own.size > _SAME_AREA * pixels[spot[a]].size:
                continue
            where = _in_image(own, w, y0, x0, width)
            mask_a, ya, xa = crop_region(where, width, height, 1)
            # What is not filled by now is a gap between crystals: its rim is outline.
            no_hole = np.zeros(mask_a.shape, np.int32)
            row_a = describe_mask(mask_a, no_hole, ya, xa, depth, _step_px(own.size))
            row_a[INRADIUS] = distance.ravel()[own].max() / np.sqrt(own.size / np.pi)
            neck = ratio[up[a]] if up[a] >= 0 else np.float32(0)
            parents.append(spot[a])
            spot[a] = len(parents) - 1
            kinds.append(np.int8(1))
            pixels.append(where)
            rows.append(row_a)
            extra.append(np.array([1.0, neck, n], np.float32))
    return parents, kinds, rows, pixels, extra, place


def find_candidates(
    tree: ComponentTree,
    depth: NDArray[np.float32],
    *,
    least_px: int,
    most_px: int,
    height_levels: int,
    neck_px: float,
    split_below: float,
) -> Candidates:
    """Find regions that may be crystals.

    Parameters
    ----------
    tree
        Component tree of the depth image.
    depth
        ``(height, width)`` image with crystals high, range about 0 to 1.
    least_px, most_px
        Smallest and largest area of a candidate.
    height_levels
        Least height of a branch of the tree above the level where it joins another: lower ones
        are noise.
    neck_px
        How much wider than the neck both sides must be for a cut to be tried.
    split_below
        Solidity above which no cut is tried.

    Returns
    -------
    Candidates
    """
    node, above, stability, leaves, share, fork = pick_nodes(
        tree.parent,
        tree.level,
        tree.peak,
        tree.area_px,
        tree.outline_px,
        tree.outline_weight,
        least_px,
        most_px,
        height_levels,
    )
    if node.size == 0:
        return no_candidates()
    parents, kinds, rows, pixels, extra, place = _scan(
        node, above, tree.pixel, tree.start, tree.area_px, depth, neck_px, least_px, split_below
    )
    parent = np.array(parents, np.int32)
    size = np.array([p.size for p in pixels], np.int64)
    region, family = len(REGION_NUMBERS), 7
    numbers = np.zeros((parent.size, len(CANDIDATE_NUMBERS)), np.float32)
    numbers[:, :region] = np.stack(rows)
    numbers[:, region + family :] = np.stack(extra)
    rise = np.maximum(tree.peak[node] - tree.level[node], 1)
    numbers[place, region : region + 5] = np.stack(
        [
            tree.outline_weight[node] / np.maximum(tree.outline_px[node], 1),
            stability,
            np.log(np.maximum(leaves, 1)),
            share,
            (fork - tree.level[node]) / rise,
        ],
        axis=1,
    )
    has = parent >= 0
    numbers[:, region + 5] = 1
    numbers[has, region + 5] = size[has] / size[parent[has]]
    numbers[has, region + 6] = numbers[parent[has], SOLIDITY]
    return Candidates(
        parent,
        np.array(kinds, np.int8),
        numbers,
        np.concatenate(pixels),
        np.cumsum(size) - size,
        size,
    )


def no_candidates() -> Candidates:
    """Of an image without any."""
    none = np.zeros(0, np.int64)
    return Candidates(
        none.astype(np.int32),
        none.astype(np.int8),
        np.zeros((0, len(CANDIDATE_NUMBERS)), np.float32),
        none.astype(np.int32),
        none,
        none,
    )
