"""The sparse projector against `skimage.transform.radon`, and the alignment bits."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import radon

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.paper import alignment_bits, paper_projector, tile_radon_paper
from nanoarray.superlattice.radon.tile_grid import tile_grid

ANGLES = np.linspace(0, 180, 42, endpoint=False)


def reference(image, y, x, size, angles=ANGLES):
    """Variance by scikit-image of the tile centred at (y, x)."""
    top, left = round(y - (size - 1) / 2), round(x - (size - 1) / 2)
    tile = image[top : top + size, left : left + size].astype(np.float64)
    return radon(tile, angles, circle=False, preserve_range=True).var(axis=0)


def micrograph(shape, *, dtype, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    rows = np.cos(2 * np.pi * (0.9 * x + 0.44 * y) / 11) + np.cos(
        2 * np.pi * (0.9 * y - 0.44 * x) / 11
    )
    image = 120 + 30 * rows + 12 * rng.standard_normal(shape) + 0.05 * x
    return image.clip(0, 255).astype(dtype)


@pytest.mark.parametrize(
    ("size", "stride", "dtype"), [(32, 10, np.uint8), (33, 7, np.float32), (48, 16, np.uint16)]
)
def test_equals_scikit_image_on_every_tile(size, stride, dtype):
    image = micrograph((90, 110), dtype=dtype, seed=size)
    centres_y, centres_x = tile_grid(
        90, 110, tile_size_px=size, stride_px=stride, coverage="inside"
    )
    found = tile_radon_paper(image, centres_y, centres_x, tile_size_px=size, angles_deg=ANGLES)
    expected = np.array([[reference(image, y, x, size) for x in centres_x] for y in centres_y])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for method in ("variance", "second_difference"):
        same = alignment_bits(found, method=method) == alignment_bits(expected, method=method)
        assert same.mean() > 0.9995


def test_equals_scikit_image_on_real_micrographs(real_data):
    from nanoarray.images.read import read_micrograph

    for path in sorted((real_data / "sem_superlattice").glob("*.tif")):
        image = read_micrograph(path).pixels
        centres_y, centres_x = tile_grid(
            *image.shape, tile_size_px=128, stride_px=10, coverage="inside"
        )
        rng = np.random.default_rng(0)
        some_y = np.sort(rng.choice(centres_y, 4, replace=False))
        found = tile_radon_paper(image, some_y, centres_x, tile_size_px=128, angles_deg=ANGLES)
        columns = rng.choice(centres_x.size, 5, replace=False)
        expected = np.array(
            [[reference(image, y, centres_x[i], 128) for i in columns] for y in some_y]
        )
        np.testing.assert_allclose(found[:, columns], expected, rtol=1e-5)
        for method in ("variance", "second_difference"):
            a, b = (
                alignment_bits(v, method=method, periodic=False)
                for v in (found[:, columns], expected)
            )
            assert np.mean(a == b) >= 0.995


def test_unit_projection_is_the_chord_length():
    projector = paper_projector(20, (0.0, 45.0))
    straight, diagonal = projector.unit.reshape(2, -1)
    # At 0 degrees every one of 20 columns holds 20 pixels; nothing is lost at 45 degrees.
    assert sorted(straight)[-20:] == pytest.approx([20.0] * 20)
    assert straight.sum() == pytest.approx(400)
    assert diagonal.sum() == pytest.approx(400, rel=0.01)
    assert diagonal.max() == pytest.approx(20 * np.sqrt(2), rel=0.05)


def test_tiles_across_the_edge_are_nan():
    image = micrograph((40, 40), dtype=np.uint8, seed=0)
    found = tile_radon_paper(
        image, [15.5, 25.5], [5.5, 15.5, 25.5], tile_size_px=32, angles_deg=ANGLES
    )
    known = np.isfinite(found).all(axis=2)
    np.testing.assert_array_equal(known, [[False, True, False], [False, False, False]])


@pytest.mark.parametrize(
    ("centres_x", "image", "word"),
    [
        ([15.0], np.zeros((40, 60)), "whole pixels"),
        ([15.5, 16.5, 19.5], np.zeros((40, 60)), "equally spaced"),
        ([15.5], np.full((40, 60), np.nan), "NaN"),
        ([15.5], np.zeros(40), "height, width"),
    ],
)
def test_bad_input_is_named(centres_x, image, word):
    with pytest.raises(InputError, match=word):
        tile_radon_paper(image, [15.5], centres_x, tile_size_px=32, angles_deg=ANGLES)


def test_bits_by_hand():
    variance = np.array([1.0, 1.0, 5.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(alignment_bits(variance), [0, 0, 1, 0, 0, 0])
    # Second differences of the four inner angles: 4, -8, 4, 0; mean of their sizes 4.
    np.testing.assert_array_equal(
        alignment_bits(variance, method="second_difference", periodic=False), [0, 1, 0, 0]
    )
    # Round the circle there are six: 0, 4, 8, 4, 0, 0 in size, mean 8 / 3.
    np.testing.assert_array_equal(
        alignment_bits(variance, method="second_difference"), [0, 1, 1, 1, 0, 0]
    )


@pytest.mark.parametrize("method", ["variance", "second_difference"])
def test_periodic_bits_turn_with_the_angles(method):
    variance = np.random.default_rng(0).random((5, 30))
    np.testing.assert_array_equal(
        alignment_bits(np.roll(variance, 7, axis=1), method=method),
        np.roll(alignment_bits(variance, method=method), 7, axis=1),
    )


def test_bits_of_unknown_tiles_are_zero():
    variance = np.random.default_rng(0).random((2, 30))
    variance[1] = np.nan
    bits = alignment_bits(variance)
    assert bits[0].any()
    assert not bits[1].any()


def test_unknown_method_is_named():
    with pytest.raises(InputError, match="third"):
        alignment_bits(np.ones(5), method="third")
    with pytest.raises(InputError, match="3 angles"):
        alignment_bits(np.ones(2))
