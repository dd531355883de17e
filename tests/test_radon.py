"""The fast tile transform against slow transforms, analytic gratings and its own symmetries."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import radon

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.aligned import flatten, padding, tile_radon
from nanoarray.superlattice.radon.kernels import SEGMENT, _segment_starts
from nanoarray.superlattice.radon.tile_grid import tile_grid

ANGLES = np.arange(0, 180, 3.0)


def grating(shape, *, period, direction_deg, phase=0.0):
    """Cosine whose crests run along a direction counter-clockwise from +x as seen on screen."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    normal = np.deg2rad(direction_deg + 90)
    return np.cos(2 * np.pi * (x * np.cos(normal) - y * np.sin(normal)) / period + phase)


def lattice(shape, *, direction_deg, period=11.0, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    image = sum(grating(shape, period=period, direction_deg=direction_deg + a) for a in (0, 90))
    return (image + noise * rng.standard_normal(shape)).astype(np.float32)


def brute_force(flat, known, centres_y, centres_x, tile, angles):
    """Sample the turned square on a fine float64 grid, and weigh the bins by their valid length."""
    result = np.empty((len(centres_y), len(centres_x), len(angles)))
    offset = np.arange(tile) - (tile - 1) / 2
    across, along = np.meshgrid(offset, offset, indexing="ij")
    for k, angle in enumerate(np.deg2rad(angles)):
        cosine, sine = np.cos(angle), np.sin(angle)
        for j, y in enumerate(centres_y):
            for i, x in enumerate(centres_x):
                at = [y - across * sine + along * cosine, x + across * cosine + along * sine]
                p = ndimage.map_coordinates(flat, at, order=3, mode="constant").sum(axis=1)
                n = ndimage.map_coordinates(known, at, order=1, mode="constant").sum(axis=1)
                weight = (n**2).sum()
                result[j, i, k] = tile**2 * ((p**2).sum() - (n * p).sum() ** 2 / weight) / weight
    return result


@pytest.mark.parametrize("tile", [24, 48, 75])
def test_equals_brute_force(tile):
    image = lattice((170, 190), direction_deg=17)
    centres_y, centres_x = np.array([62.0, 88.5]), np.array([70.0, 93.5, 120.0])
    found = tile_radon(image, centres_y, centres_x, tile_size_px=tile, angles_deg=ANGLES)
    flat = flatten(image, np.ones(image.shape, bool), box_px=tile).astype(np.float64)
    expected = brute_force(flat, np.ones(image.shape), centres_y, centres_x, tile, ANGLES)
    for a, b in zip(found.reshape(-1, ANGLES.size), expected.reshape(-1, ANGLES.size), strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.995
        assert abs(np.median(a / b) - 1) < 0.08
        assert b[np.argmax(a)] > 0.98 * b.max()


def test_equals_brute_force_with_missing_pixels_and_at_the_edges():
    image = lattice((150, 150), direction_deg=-23)
    missing = np.zeros(image.shape, bool)
    missing[60:95, 50:80] = True
    centres = np.array([8.5, 45.5, 90.5, 140.5])
    image[missing] = 1e4
    found = tile_radon(image, centres, centres, tile_size_px=40, angles_deg=ANGLES, missing=missing)
    flat = flatten(image, ~missing, box_px=40).astype(np.float64)
    expected = brute_force(flat, (~missing).astype(float), centres, centres, 40, ANGLES)
    assert np.isfinite(found).all()
    for a, b in zip(found.reshape(-1, ANGLES.size), expected.reshape(-1, ANGLES.size), strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.98
        assert abs(np.median(a / b) - 1) < 0.15


@pytest.mark.parametrize("direction", [0, 20, 45, 71, 90, 110, 135, 163])
def test_rows_peak_at_their_direction_less_90(direction):
    image = grating((128, 128), period=9, direction_deg=direction)
    angles = np.arange(180.0)
    (profile,) = tile_radon(image, [63.5], [63.5], tile_size_px=64, angles_deg=angles)[0]
    peak = angles[np.argmax(profile)]
    assert abs((peak - (direction - 90) + 90) % 180 - 90) <= 1
    # Lines along the crests integrate the full amplitude: variance (T**2 / 2) in their units.
    assert profile.max() == pytest.approx(64**2 / 2, rel=0.05)


def test_agrees_with_scikit_image_on_simulated_tiles():
    image = lattice((200, 220), direction_deg=33)
    centres_y, centres_x = tile_grid(200, 220, tile_size_px=64, stride_px=40, coverage="inside")
    angles = np.linspace(0, 180, 42, endpoint=False)
    found = tile_radon(image, centres_y, centres_x, tile_size_px=64, angles_deg=angles)
    flat = flatten(image, np.ones(image.shape, bool), box_px=64)
    for j, y in enumerate(centres_y.astype(int) - 31):
        for i, x in enumerate(centres_x.astype(int) - 31):
            square = radon(flat[y : y + 64, x : x + 64], angles, circle=False).var(axis=0)
            # Not the same window: theirs is a square that does not turn.
            assert np.corrcoef(found[j, i], square)[0, 1] > 0.98


def test_equals_brute_force_on_real_micrographs(real_data):
    from nanoarray.images.read import read_micrograph

    angles = np.arange(0, 180, 9.0)
    for path in sorted((real_data / "sem_superlattice").glob("*.tif")):
        image = read_micrograph(path).pixels[100:400, 100:440].astype(np.float32)
        everything = np.ones(image.shape)
        flat = flatten(image, everything > 0, box_px=64).astype(np.float64)
        centres_y, centres_x = np.array([83.5, 183.5]), np.array([63.5, 243.5])
        found = tile_radon(image, centres_y, centres_x, tile_size_px=64, angles_deg=angles)
        expected = brute_force(flat, everything, centres_y, centres_x, 64, angles)
        for a, b in zip(found.reshape(4, -1), expected.reshape(4, -1), strict=True):
            assert np.corrcoef(a, b)[0, 1] > 0.99


def test_noise_alone_is_nearly_even_over_the_angles():
    noise = np.random.default_rng(0).standard_normal((400, 400))
    image = ndimage.gaussian_filter(noise, 0.8)
    centres = np.arange(60.0, 340.0, 8)
    found = tile_radon(image, centres, centres, tile_size_px=40, angles_deg=np.arange(0, 180, 5.0))
    mean = found.mean(axis=(0, 1))
    np.testing.assert_allclose(mean, mean.mean(), rtol=0.12)


def test_a_quarter_turn_turns_the_answer():
    image = lattice((120, 120), direction_deg=12)
    # Odd tiles at pixels: turning is exact, so both halves of the angles run on the same numbers.
    centres = np.arange(40.0, 81.0, 8)
    angles = np.arange(0, 180, 7.5)
    options = {"tile_size_px": 33, "angles_deg": angles}
    straight = tile_radon(image, centres, centres, **options)
    turned = tile_radon(np.rot90(image).copy(), 119 - centres[::-1], centres, **options)
    # rot90 turns counter-clockwise: projection angles grow by 90.
    expected = np.roll(np.rot90(straight), angles.size // 2, axis=2)
    # Places are rounded to pixels, halves towards the same side in both images.
    np.testing.assert_allclose(turned, expected, rtol=0.05, atol=0.03 * straight.max())


def test_angles_have_period_180():
    image = lattice((90, 90), direction_deg=50)
    options = {"tile_size_px": 30}
    first = tile_radon(image, [40.0], [45.0], angles_deg=[10.0, 100.0, 170.0], **options)
    second = tile_radon(image, [40.0], [45.0], angles_deg=[190.0, -80.0, -10.0], **options)
    np.testing.assert_allclose(first, second, rtol=1e-3)


def test_a_flat_image_has_no_signature():
    image = np.full((100, 100), 2000.0, dtype=np.float32)
    found = tile_radon(image, [10.5, 50.5], [50.5], tile_size_px=40, angles_deg=ANGLES)
    assert np.all(found < 1e-3)


def test_scaling_and_offset_of_intensity():
    image = lattice((100, 100), direction_deg=5)
    options = {"tile_size_px": 32, "angles_deg": ANGLES}
    plain = tile_radon(image, [40.0, 60.0], [50.0], **options)
    scaled = tile_radon(3 * image.astype(np.float64) + 5000, [40.0, 60.0], [50.0], **options)
    np.testing.assert_allclose(scaled, 9 * plain, rtol=5e-3)


def test_long_running_sums_do_not_lose_digits():
    # Rows along the projection: running sums grow to 3,000 times the amplitude.
    image = grating((3000, 100), period=10, direction_deg=90).astype(np.float32)
    centres = np.array([40.0, 2950.0])
    found = tile_radon(image, centres, [50.0], tile_size_px=40, angles_deg=[0.0, 90.0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-3)


def test_missing_pixels_and_nan_are_the_same():
    image = lattice((90, 90), direction_deg=40)
    missing = np.zeros(image.shape, bool)
    missing[30:50, 20:60] = True
    options = {"tile_size_px": 32, "angles_deg": ANGLES}
    masked = tile_radon(image, [40.0, 70.0], [45.0], missing=missing, **options)
    image[missing] = np.nan
    np.testing.assert_array_equal(tile_radon(image, [40.0, 70.0], [45.0], **options), masked)


def test_partly_missing_tiles_stay_on_scale():
    image = lattice((120, 120), direction_deg=30, noise=0.1)
    missing = np.zeros(image.shape, bool)
    missing[:, 60:] = True
    options = {"tile_size_px": 48, "angles_deg": ANGLES}
    whole = tile_radon(image, [60.0], [50.0], **options)[0, 0]
    part = tile_radon(image, [60.0], [50.0], missing=missing, **options)[0, 0]
    assert np.argmax(part) == np.argmax(whole)
    assert part.max() == pytest.approx(whole.max(), rel=0.1)


def test_unknown_tiles_are_nan():
    image = lattice((100, 130), direction_deg=30)
    missing = np.zeros(image.shape, bool)
    missing[:, :60] = True
    found = tile_radon(
        image,
        [50.0, 120.0],
        [20.0, 95.0, 140.0],
        tile_size_px=30,
        angles_deg=ANGLES,
        missing=missing,
    )
    known = np.isfinite(found).all(axis=2)
    # In the defect, outside below and outside to the right nothing is known.
    np.testing.assert_array_equal(known, [[False, True, False], [False, False, False]])
    assert np.isnan(found[~known]).all()


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(5, 80),
    width=st.integers(5, 80),
    tile=st.integers(4, 120),
    stride=st.integers(1, 30),
    seed=st.integers(0, 9),
)
def test_a_tile_does_not_depend_on_the_others(height, width, tile, stride, seed):
    image = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    centres_y, centres_x = (
        np.arange(0, extent, stride) + 0.25 * seed % 0.5 for extent in (height, width)
    )
    options = {"tile_size_px": tile, "angles_deg": [0.0, 31.0, 45.0, 90.0, 134.9]}
    everything = tile_radon(image, centres_y, centres_x, **options)
    one = tile_radon(image, centres_y[-1:], centres_x[:1], **options)
    np.testing.assert_allclose(everything[-1, 0], one[0, 0], rtol=1e-4, atol=1e-3)


@settings(deadline=None, max_examples=300)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    tile=st.integers(4, 300),
    angle=st.floats(-45, 45),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    row0=st.integers(0, 50_000),
)
def test_the_unchecked_reads_stay_inside_the_sums(size, tile, angle, place, row0):
    height, width = size
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    count, chord = round(tile / cosine), round(tile * cosine)
    pad = padding(tile)
    # A ring as large as the image: rows are then plain rows.
    ring = 2 ** int(np.ceil(np.log2(height + 1)))
    starts = np.empty((-(-count // SEGMENT), 2), dtype=np.int64)
    y, x = place[0] * height - 0.5, place[1] * width - 0.5
    q, whole_width = sine / cosine, width + 2 * pad
    _segment_starts(
        *(row0 + y, q, sine * cosine, count, chord, height, whole_width, pad, ring, starts, row0)
    )
    first = round(x - q * (row0 + y) - 0.5 * (count - 1)) + math.floor(q * row0)
    row, column = np.divmod(starts + first, width + 2 * pad)
    assert row.min() >= 0
    assert row.max() <= height
    # Both rims of three columns hold no sums.
    assert column.min() >= 3
    assert column.max() + SEGMENT <= width + 2 * pad - 3
    # What is read has been computed: not further than the reach of the kernel.
    used = starts[:, 0] != starts[:, 1]
    assert np.all(row[used] <= y + tile * np.sqrt(0.5) + SEGMENT + 1)
    assert np.all(row[used] >= y - tile * np.sqrt(0.5) - SEGMENT)


def test_a_field_of_an_image_has_the_tiles_of_the_image():
    image = lattice((420, 460), direction_deg=17, seed=5)
    missing = np.zeros(image.shape, bool)
    missing[180:230, 200:260] = True
    centres_y, centres_x = tile_grid(420, 460, tile_size_px=40, stride_px=9)
    options = {"tile_size_px": 40, "angles_deg": ANGLES, "flatten_px": 0}
    whole = tile_radon(image, centres_y, centres_x, missing=missing, **options)
    y, x = slice(97, 351), slice(130, 460)
    rows = (centres_y >= y.start + 45) & (centres_y < y.stop - 45)
    columns = centres_x >= x.start + 45
    field = tile_radon(
        image[y, x],
        centres_y[rows],
        centres_x[columns],
        missing=missing[y, x],
        origin_px=(y.start, x.start),
        **options,
    )
    # The sums of another origin would be rounded to other pixels: several per cent.
    np.testing.assert_allclose(field, whole[np.ix_(rows, columns)], rtol=2e-5)


def test_same_result_in_threads():
    images = [lattice((150, 160), direction_deg=10 * i, seed=i) for i in range(4)]
    centres_y, centres_x = tile_grid(150, 160, tile_size_px=40, stride_px=9)
    options = {"tile_size_px": 40, "angles_deg": ANGLES}
    alone = [tile_radon(image, centres_y, centres_x, **options) for image in images]
    together: list = [None] * len(images)

    def work(i):
        together[i] = tile_radon(images[i], centres_y, centres_x, **options)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_dtypes_agree(dtype):
    image = np.rint(100 + 40 * lattice((80, 80), direction_deg=25)).clip(0, 255)
    options = {"tile_size_px": 24, "angles_deg": ANGLES}
    np.testing.assert_array_equal(
        tile_radon(image.astype(dtype), [40.0], [40.0], **options),
        tile_radon(image.astype(np.float32), [40.0], [40.0], **options),
    )


def test_flatten_removes_shading_and_keeps_the_lattice():
    y, x = np.mgrid[:300, :300]
    rows = lattice((300, 300), direction_deg=30, noise=0)
    shade = 8 * np.exp(-((y - 150) ** 2 + (x - 100) ** 2) / (2 * 150**2))
    valid = np.ones(rows.shape, bool)
    valid[100:120, 100:140] = False
    flat = flatten((rows + shade).astype(np.float32), valid, box_px=48)
    assert np.all(flat[~valid] == 0)
    inner = np.zeros_like(valid)
    inner[50:-50, 50:-50] = True
    assert np.std((flat - rows)[inner & valid]) < 0.15 * np.std(shade[inner & valid])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tile_size_px": 3}, "tile_size_px"),
        ({"angles_deg": [0.0, np.nan]}, "finite"),
        ({"missing": np.zeros((3, 3), bool)}, "must agree"),
        ({"centres_y": [9.0, 5.0]}, "ascending"),
        ({"image": np.zeros(20)}, "height, width"),
    ],
)
def test_bad_input_is_named(change, word):
    good = {
        "image": np.zeros((20, 20)),
        "centres_y": [9.0],
        "centres_x": [9.0],
        "tile_size_px": 8,
        "angles_deg": [0.0],
    }
    arguments = good | change
    with pytest.raises(InputError, match=word):
        tile_radon(
            arguments.pop("image"),
            arguments.pop("centres_y"),
            arguments.pop("centres_x"),
            **arguments,
        )
