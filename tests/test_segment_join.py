"""Pieces of one crystal that the flood cut, and crystals that only touch."""

import numpy as np
import pytest

from nanoarray.nanocrystal.segment.net_decode import decode
from nanoarray.nanocrystal.segment.net_join import join_pieces


def rod(pieces, *, height=60, width=120, top=20, bottom=42):
    """A rod along the rows, cut at the given columns."""
    labels = np.zeros((height, width), np.int32)
    for number, (left, right) in enumerate(pieces, start=1):
        labels[top:bottom, left:right] = number
    return labels


def nowhere(labels):
    return np.zeros(labels.shape, np.float32)


@pytest.mark.parametrize("turn", range(4))
def test_a_rod_cut_in_three_is_one(turn):
    labels = np.rot90(rod([(10, 40), (40, 66), (66, 110)]), turn)
    joined = join_pieces(np.ascontiguousarray(labels), nowhere(labels))
    assert np.array_equal(joined, (labels > 0).astype(np.int32))


def test_a_line_of_contact_keeps_two_crystals_apart():
    labels = rod([(10, 60), (60, 110)])
    contact = nowhere(labels)
    contact[:, 59:61] = 0.8
    assert np.array_equal(join_pieces(labels, contact), labels)


def test_two_discs_are_not_convex_together():
    y, x = np.indices((50, 80))
    labels = np.zeros((50, 80), np.int32)
    labels[np.hypot(y - 25, x - 25) <= 15] = 1
    labels[np.hypot(y - 25, x - 54) <= 15] = 2
    assert np.array_equal(join_pieces(labels, nowhere(labels)), labels)


def test_a_third_crystal_beside_a_mended_one_keeps_its_label():
    labels = rod([(10, 40), (40, 70)])
    labels[42:58, 10:30] = 3  # below, touching: the three make an L
    labels[2:6, 2:6] = 4
    joined = join_pieces(labels, nowhere(labels))
    assert np.array_equal(np.unique(joined), [0, 1, 2, 3])
    assert np.array_equal(joined == 1, (labels == 1) | (labels == 2))
    assert np.array_equal(joined == 2, labels == 3)
    assert np.array_equal(joined == 3, labels == 4)


def test_nothing_and_one_crystal_stay():
    for labels in (rod([]), rod([(10, 90)])):
        assert np.array_equal(join_pieces(labels, nowhere(labels)), labels)


def test_a_depth_that_is_shallow_in_the_middle_makes_one_crystal():
    labels = rod([(10, 110)])
    column = np.arange(labels.shape[1])
    depth = np.where(labels > 0, 0.2 + 0.6 * np.abs(column - 60) / 50, 0).astype(np.float32)
    sure = (labels > 0).astype(np.float32)
    assert decode(sure, depth, nowhere(labels)).labels.max() == 1
    line = nowhere(labels)
    line[:, 59:62] = 0.9
    assert decode(sure, depth, line).labels.max() == 2
