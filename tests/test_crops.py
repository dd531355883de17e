"""Crops: what is in them, and that they go back where they came from."""

from __future__ import annotations

import numpy as np
import pytest
from crystal_shapes import SHAPES, digitize, random_shape
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.crops import CROP_MARGIN, cut_crops, filled_masks, place_crop


def jaccard(a, b):
    return (a & b).sum() / (a | b).sum()


@settings(max_examples=60)
@given(
    arrays(np.int32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 2)),
    st.sampled_from([8, 50, 64]),
)
def test_masks_of_at_most_the_crop_come_back_exactly(labels, size):
    crops = cut_crops(labels, labels.astype(np.uint8), size=size)
    for k, label in enumerate(crops.label):
        if crops.scale[k] <= 1:
            placed = place_crop(
                crops.mask[k], scale=crops.scale[k], origin=crops.origin[k], shape=labels.shape
            )
            assert np.array_equal(placed, labels == label)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("radius_px", [35.0, 60.0, 200.0])
def test_larger_masks_come_back_nearly(name, radius_px):
    rng = np.random.default_rng(0)
    mask, _ = digitize(random_shape(name, radius_px, rng), margin=20)
    labels = 9 * mask.astype(np.int32)
    crops = cut_crops(labels, labels.astype(np.float32))
    assert crops.scale[0] > 1
    placed = place_crop(
        crops.mask[0], scale=crops.scale[0], origin=crops.origin[0], shape=mask.shape
    )
    assert jaccard(placed, mask) > 0.955
    shift = np.argwhere(placed).mean(axis=0) - np.argwhere(mask).mean(axis=0)
    assert np.abs(shift).max() < 0.25 * crops.scale[0]


def test_window_scale_and_origin():
    labels = np.zeros((100, 120), np.int32)
    labels[30:50, 60:70] = 5
    crops = cut_crops(labels, labels.astype(np.uint8), size=50)
    assert crops.label.tolist() == [5]
    assert crops.scale[0] == CROP_MARGIN * 20 / 50
    # The middle of the crop is the middle of the bounding box.
    assert (crops.origin[0] + 24.5 * crops.scale[0]).tolist() == [39.5, 64.5]
    assert crops.mask[0].sum() == pytest.approx(200 / crops.scale[0] ** 2, rel=0.02)
    rows, columns = (
        np.flatnonzero(crops.mask[0].any(axis=1)),
        np.flatnonzero(crops.mask[0].any(axis=0)),
    )
    assert (rows[0] + rows[-1], columns[0] + columns[-1]) == (49, 49)


@pytest.mark.parametrize("half", [4, 8, 20, 64, 150])
def test_a_plane_of_grey_keeps_its_place_at_every_scale(half):
    """A tilted background tells the position of every crop pixel."""
    size = 2 * half + 41
    y, x = np.indices((size, size)).astype(np.float32)
    labels = np.zeros((size, size), np.int32)
    labels[20:-20, 20:-20] = 1
    plane = 3 * y + 7 * x
    crops = cut_crops(labels, plane, size=32, margin=1.0)
    position = crops.scale[0] * np.arange(32)
    expected = 3 * (crops.origin[0, 0] + position[:, None])
    expected = expected + 7 * (crops.origin[0, 1] + position)
    # Coarser crops are means of pixels that are constant inside: off by an eighth of one at most.
    allowed = 1e-3 if crops.scale[0] <= 1 else (3 + 7) / 8
    assert np.abs(crops.pixels[0] - expected).max() < allowed
    back = place_crop(
        crops.pixels[0], scale=crops.scale[0], origin=crops.origin[0], shape=labels.shape
    )
    assert np.isnan(back[0, 0])
    inner = np.s_[20 + half // 2 : -20 - half // 2, 20 + half // 2 : -20 - half // 2]
    assert np.abs(back[inner] - plane[inner]).max() < 10 * max(1.0, crops.scale[0]) / 2
    assert abs(np.mean(back[inner] - plane[inner])) < 0.1


def test_coarse_crops_do_not_alias():
    """A chequered crystal becomes grey, not a pattern of larger checks."""
    y, x = np.indices((300, 300))
    labels = np.zeros((300, 300), np.int32)
    labels[20:280, 20:280] = 1
    crops = cut_crops(labels, (255 * ((y + x) % 2)).astype(np.uint8))
    assert crops.pixels.dtype == np.uint8
    inner = crops.pixels[0][crops.mask[0]].astype(float)
    assert inner.mean() == pytest.approx(127.5, abs=1)
    assert inner.std() < 8


def test_types_of_pixels():
    labels = np.zeros((30, 30), np.int32)
    labels[10:20, 10:20] = 1
    for dtype, expected in (
        (np.uint8, np.uint8),
        (np.uint16, np.uint16),
        (np.float32, np.float32),
        (np.float64, np.float32),
    ):
        crops = cut_crops(labels, np.full(labels.shape, 200, dtype))
        assert crops.pixels.dtype == expected
        assert (crops.pixels == 200).all()


def test_beyond_the_edge_is_the_background_of_the_window():
    labels = np.zeros((80, 80), np.int32)
    labels[0:20, 30:50] = 1
    grey = np.full(labels.shape, 90, np.uint8)
    grey[60:] = 250  # elsewhere in the image
    grey[labels == 1] = 10
    crops = cut_crops(labels, grey)
    assert set(np.unique(crops.pixels[0][0])) == {90}
    assert not crops.mask[0][0].any()
    assert set(np.unique(cut_crops(labels, grey, fill=33.0).pixels[0][0])) == {33}
    # Where all is labelled there is no background but the mean of the image.
    full = cut_crops(np.ones_like(labels), np.full(labels.shape, 7, np.uint8))
    assert (full.pixels == 7).all()


def test_thin_crystals_keep_a_mask():
    labels = np.zeros((400, 20), np.int32)
    labels[20:380, 10] = 1
    crops = cut_crops(labels, labels.astype(np.uint8))
    assert crops.mask[0].any(axis=1).sum() >= 50
    assert crops.mask[0].any(axis=0).sum() <= 2


def test_holes_of_masks_are_filled():
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:35] = 1
    labels[15:25, 15:25] = 0
    mask = cut_crops(labels, labels.astype(np.uint8)).mask
    filled = filled_masks(mask)
    assert not mask[0, 32, 32]
    assert filled[0, 32, 32]
    labels[15:25, 15:25] = 1
    assert np.array_equal(filled, cut_crops(labels, labels.astype(np.uint8)).mask)


def test_no_crystals():
    crops = cut_crops(np.zeros((20, 30), np.int32), np.zeros((20, 30), np.uint8), size=16)
    assert crops.pixels.shape == crops.mask.shape == (0, 16, 16)
    assert (crops.pixels.dtype, crops.mask.dtype) == (np.uint8, np.bool_)
    assert crops.origin.shape == (0, 2)
    assert crops.scale.shape == crops.label.shape == (0,)
    assert filled_masks(crops.mask).shape == (0, 16, 16)


def test_bad_input_is_refused():
    labels = np.ones((20, 30), np.int32)
    with pytest.raises(InputError, match="of one image"):
        cut_crops(labels, np.zeros((30, 20), np.uint8))
    with pytest.raises(InputError, match="at least 1"):
        cut_crops(labels, labels, margin=0.5)
    with pytest.raises(InputError, match="at least 1"):
        cut_crops(labels, labels, size=0)
    with pytest.raises(InputError, match="scale above 0"):
        place_crop(np.ones((4, 4)), scale=0.0, origin=(0, 0), shape=(9, 9))
