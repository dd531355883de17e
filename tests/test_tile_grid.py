"""Tile centres and how much of each tile is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.tile_grid import tile_grid, valid_fraction


def test_inside_is_the_grid_of_whole_tiles():
    centres_y, centres_x = tile_grid(884, 1024, tile_size_px=128, stride_px=10, coverage="inside")
    # The paper's 6,840 tiles; the first starts at pixel 0, the last ends inside.
    assert centres_y.size * centres_x.size == 6840
    assert centres_y[0] == centres_x[0] == 63.5
    assert centres_y[-1] + 63.5 <= 883
    assert centres_x[-1] + 63.5 <= 1023
    assert centres_x[-1] + 63.5 + 10 > 1023


def test_full_reaches_the_edges():
    centres_y, centres_x = tile_grid(100, 95, tile_size_px=32, stride_px=10)
    np.testing.assert_allclose(centres_y, 4.5 + 10 * np.arange(10))
    # The tenth centre, 94.5, is beyond the last pixel's centre by half a pixel: not a tile.
    np.testing.assert_allclose(centres_x, 4.5 + 10 * np.arange(9))


@settings(deadline=None, max_examples=50)
@given(
    small=st.integers(20, 90),
    more=st.integers(0, 60),
    stride=st.integers(1, 15),
    coverage=st.sampled_from(["full", "inside"]),
)
def test_grids_of_different_images_agree(small, more, stride, coverage):
    options = {"tile_size_px": 16, "stride_px": stride, "coverage": coverage}
    first, _ = tile_grid(small, 40, **options)
    second, _ = tile_grid(small + more, 40, **options)
    np.testing.assert_array_equal(first, second[: first.size])
    if coverage == "full":
        # No pixel is further from a centre than the remainder allows.
        assert small - 1 - first[-1] <= stride
        assert np.all(np.diff(first) == stride)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"stride_px": 0}, "stride_px"),
        ({"stride_px": 2.5}, "stride_px"),
        ({"tile_size_px": 101}, "tile_size_px is 101"),
        ({"coverage": "half"}, "coverage"),
    ],
)
def test_impossible_grids_are_refused(change, word):
    with pytest.raises(InputError, match=word):
        tile_grid(100, 120, **({"tile_size_px": 32, "stride_px": 8} | change))


def test_valid_fraction_counts_pixels():
    rng = np.random.default_rng(0)
    missing = rng.random((60, 70)) < 0.3
    centres_y, centres_x = tile_grid(60, 70, tile_size_px=16, stride_px=7)
    fraction = valid_fraction(
        centres_y, centres_x, tile_size_px=16, height_px=60, width_px=70, missing=missing
    )
    padded = np.zeros((100, 110))
    padded[20:80, 20:90] = ~missing
    # An even tile around the centre of a pixel: half pixels count at its rim.
    for j, y in enumerate(centres_y.astype(int) + 20):
        for i, x in enumerate(centres_x.astype(int) + 20):
            weight = np.ones(17)
            weight[[0, -1]] = 0.5
            box = padded[y - 8 : y + 9, x - 8 : x + 9]
            assert fraction[j, i] == pytest.approx(weight @ box @ weight / 256, abs=1e-9)


def test_valid_fraction_without_a_mask_is_the_overlap():
    fraction = valid_fraction([4.5], [4.5, 49.5], tile_size_px=30, height_px=100, width_px=100)
    # 20 of 30 pixels of the first tile are inside, along either axis.
    np.testing.assert_allclose(fraction, [[4 / 9, 2 / 3]])


def test_valid_fraction_refuses_another_shape():
    with pytest.raises(InputError, match="must agree"):
        valid_fraction(
            [5.0], [5.0], tile_size_px=4, height_px=10, width_px=12, missing=np.zeros((12, 10))
        )
