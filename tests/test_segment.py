"""Segmentation: kernels against independent implementations, whole images against drawn truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from nanoarray.errors import ImageError, InputError
from nanoarray.nanocrystal.segment.background import flatten_background
from nanoarray.nanocrystal.segment.flood import basins
from nanoarray.nanocrystal.segment.foreign import labels_from_foreign
from nanoarray.nanocrystal.segment.reject import DOUBTFUL
from nanoarray.nanocrystal.segment.segment import segment_image

#: What every method has to find.
METHODS = pytest.mark.parametrize("method", ["network", "classical"])

# --- drawing ---------------------------------------------------------------------------------

SIDE = 240


def grid(side=SIDE):
    return np.mgrid[:side, :side].astype(float)


def disc(y, x, radius, *, side=SIDE):
    rows, columns = grid(side)
    return np.clip(radius - np.hypot(rows - y, columns - x) + 0.5, 0, 1)


def micrograph(cover, *, seed=0, noise=4.0, background=200.0):
    """Blurred, noisy bright field: ``cover`` is the part of the light that each pixel loses."""
    blurred = ndimage.gaussian_filter(background * (1 - cover), 0.8)
    return blurred + np.random.default_rng(seed).normal(0, noise, cover.shape)


def overlap(truth, labels):
    """IoU of a mask with the object that covers most of it."""
    inside = labels[truth]
    best = np.bincount(inside[inside > 0], minlength=2).argmax()
    return (truth & (labels == best)).sum() / (truth | (labels == best)).sum()


def scattered(radii, *, contrast=0.6):
    """Discs on a loose lattice, and their masks."""
    cover, masks = np.zeros((SIDE, SIDE)), []
    places = [(y, x) for y in range(35, 220, 56) for x in range(35, 220, 56)]
    for (y, x), radius in zip(places, radii, strict=False):
        one = disc(y, x, radius)
        cover += contrast * one
        masks.append(one > 0.5)
    return cover, masks


# --- flooding --------------------------------------------------------------------------------


def test_basins_are_those_of_a_watershed():
    rng = np.random.default_rng(1)
    depth = ndimage.gaussian_filter(rng.random((80, 90)), 4).astype(np.float32)
    depth -= depth.min()
    inside = depth > np.median(depth)
    cross = ndimage.generate_binary_structure(2, 1)
    highest = ndimage.maximum_filter(depth, footprint=cross)
    peaks, count = ndimage.label((depth == highest) & inside)
    theirs = watershed(-depth, peaks, mask=inside)
    ours = basins(depth, inside, share=1.1)
    assert ours.max() == count
    np.testing.assert_array_equal(ours > 0, inside)
    # The same parts, whatever their numbers, but for pixels as near to one as to the other.
    joint = np.zeros((count + 1, count + 1))
    np.add.at(joint, (theirs, ours), 1)
    assert joint.max(axis=1).sum() >= 0.97 * inside.size


def test_necks_cut_two_discs_and_leave_one_whole():
    def parts(mask, share):
        distance = ndimage.distance_transform_edt(mask).astype(np.float32)
        return basins(distance, mask, share=share)

    two = (disc(60, 50, 22, side=120) + disc(60, 88, 22, side=120)) > 0.5
    # Half the neck is the half chord, sqrt(22^2 - 19^2) = 11.1: just above half the radius.
    assert parts(two, 0.6).max() == 2
    assert parts(two, 0.4).max() == 1
    sizes = np.bincount(parts(two, 0.6)[two])
    assert abs(sizes[1] - sizes[2]) < 0.03 * sizes.sum()
    assert parts(disc(60, 60, 30, side=120) > 0.5, 0.75).max() == 1


def test_shallow_small_and_doubtful_basins_are_dropped():
    depth = np.zeros((20, 40), np.float32)
    depth[5:15, 2:10], depth[5:15, 14:22], depth[5:15, 26:34], depth[2, 38] = 4, 1, 4, 4
    weight = np.ones(depth.shape, np.float32)
    weight[:, 26:34] = 0.4
    found = basins(
        depth, depth > 0, share=0.5, least_depth=2, least_area_px=2, weight=weight, least_weight=0.5
    )
    np.testing.assert_array_equal(found, (depth > 0) & (np.arange(40) < 12))
    assert not basins(depth, np.zeros(depth.shape, bool), share=0.5).any()


# --- whole images ----------------------------------------------------------------------------


@METHODS
def test_separate_crystals_are_found_with_their_size(method):
    radii = [9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14, 13, 9, 12, 10]
    cover, masks = scattered(radii)
    result = segment_image(micrograph(cover), method=method)
    assert result.polarity == "dark"
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.85
    area = np.bincount(result.crystal.ravel())[1:].sum()
    assert np.sqrt(area / sum(m.sum() for m in masks)) == pytest.approx(1, abs=0.05)


def test_a_crystal_that_is_hardly_seen_is_rejected_with_a_reason():
    cover, masks = scattered([9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14])
    faint = [masks[3], masks[6], masks[8]]
    cover[np.any(faint, axis=0)] *= 0.06
    result = segment_image(micrograph(cover), method="network")
    assert 9 <= result.crystal.max() < 12
    assert DOUBTFUL in result.reasons
    for number, reason in enumerate(result.reasons, start=result.crystal.max() + 1):
        assert reason == DOUBTFUL
        piece = result.rejected == number
        assert max((piece & mask).sum() / piece.sum() for mask in faint) > 0.7


@pytest.mark.parametrize("change", ["offset", "gain", "uint16", "float64", "mirror", "turn"])
def test_answer_follows_the_image(change):
    cover, masks = scattered([9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14])
    image = np.clip(micrograph(cover), 0, 255).astype(np.uint8)
    plain = segment_image(image, method="classical", polarity="dark").crystal
    moved = {
        "offset": lambda a: a.astype(float) + 1000,
        "gain": lambda a: a.astype(float) * 0.01,
        "uint16": lambda a: a.astype(np.uint16) * 200,
        "float64": lambda a: a.astype(float),
        "mirror": lambda a: a[:, ::-1],
        "turn": lambda a: np.rot90(a),
    }[change]
    other = segment_image(moved(image), method="classical", polarity="dark").crystal
    back = {"mirror": lambda a: a[:, ::-1], "turn": lambda a: np.rot90(a, -1)}.get(change)
    other = back(other) if back else other
    assert other.max() == plain.max() == len(masks)
    assert ((other > 0) == (plain > 0)).mean() > 0.995


def test_faint_crystals_beside_black_ones():
    cover, masks = np.zeros((SIDE, SIDE)), []
    for k, (y, x) in enumerate((y, x) for y in range(35, 220, 56) for x in range(35, 220, 56)):
        one = disc(y, x, 12 if k % 2 else 8)
        cover += (0.85 if k % 2 else 0.18) * one
        masks.append(one > 0.5)
    result = segment_image(micrograph(cover, noise=2.0), method="network")
    found = [overlap(m, result.crystal) > 0.6 for m in masks]
    assert sum(found) >= 15
    assert result.crystal.max() <= 17


@METHODS
def test_touching_crystals_are_told_apart(method):
    cover = np.zeros((SIDE, SIDE))
    masks = []
    for y, x in [(60, 60), (60, 94), (60, 128), (130, 70), (164, 70), (150, 160), (170, 188)]:
        one = disc(y, x, 18)
        cover = np.maximum(cover, 0.6 * one)
        masks.append(one > 0.5)
    result = segment_image(micrograph(cover), method=method)
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.8


@METHODS
def test_concave_crystals_stay_whole(method):
    rows, columns = grid()
    cover, masks = np.zeros((SIDE, SIDE)), []
    for y in (50, 120, 190):
        for x in (50, 120, 190):
            angle = np.arctan2(rows - y, columns - x)
            radius = 22 * (1 + 0.16 * np.cos(5 * angle))
            one = np.hypot(rows - y, columns - x) < radius
            cover[one] = 0.6
            masks.append(one)
    result = segment_image(micrograph(cover), method=method)
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.85


@METHODS
def test_bend_contours_do_not_cut_a_crystal(method):
    rows, columns = grid()
    cover, masks = np.zeros((SIDE, SIDE)), []
    for y in (50, 120, 190):
        for x in (50, 120, 190):
            one = np.hypot(rows - y, columns - x) < 24
            band = np.abs((rows - y) * 0.6 + (columns - x) * 0.8) < 4
            cover[one] = 0.5
            cover[one & band] = 0.75
            masks.append(one)
    result = segment_image(micrograph(cover), method=method)
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.85


@METHODS
def test_gap_in_a_ring_of_crystals_stays_a_gap(method):
    cover, masks = np.zeros((SIDE, SIDE)), []
    for k in range(6):
        one = disc(120 + 40 * np.sin(k * np.pi / 3), 120 + 40 * np.cos(k * np.pi / 3), 20.5)
        cover = np.maximum(cover, 0.6 * one)
        masks.append(one > 0.5)
    result = segment_image(micrograph(cover), method=method)
    assert result.crystal.max() == 6
    gap = disc(120, 120, 14) > 0.5
    assert (result.crystal[gap] > 0).mean() < 0.05


@METHODS
def test_hole_in_a_crystal_is_filled(method):
    cover, masks = scattered([16] * 9)
    for y in range(35, 220, 56):
        for x in range(35, 220, 56):
            cover -= 0.25 * (cover > 0.5) * (disc(y, x, 5) > 0.5)
    result = segment_image(micrograph(cover, noise=2.0), method=method)
    for mask in masks:
        assert overlap(mask, result.crystal) > 0.9


@METHODS
@pytest.mark.parametrize("bright", [False, True])
def test_polarity_is_found(bright, method):
    cover, masks = scattered([9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14])
    image = micrograph(cover)
    image = 255 - image if bright else image
    result = segment_image(image, method=method)
    assert result.polarity == ("bright" if bright else "dark")
    assert result.crystal.max() == len(masks)


@METHODS
def test_field_without_crystals_and_with_one(method):
    empty = segment_image(micrograph(np.zeros((SIDE, SIDE))), method=method)
    assert empty.crystal.max() == 0
    one = segment_image(micrograph(0.6 * disc(120, 120, 20)), method=method)
    assert one.crystal.max() == 1


@METHODS
def test_crystals_at_the_edge_are_kept(method):
    cover = 0.6 * (disc(0, 120, 22) + disc(120, 120, 22) + disc(120, 239, 22) + disc(200, 60, 22))
    result = segment_image(micrograph(cover), method=method)
    assert result.crystal.max() == 4
    assert result.crystal[0].any()
    assert result.crystal[:, -1].any()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((64, 64), 7.0), "no contrast"),
        (np.full((64, 64), np.nan), "not finite"),
        (np.zeros((64, 64, 3)), "3 dimensions"),
        (np.zeros((4, 64)), "too small"),
    ],
)
def test_unusable_images_are_refused(pixels, words):
    with pytest.raises(ImageError, match=words):
        segment_image(pixels, method="classical")


def test_unknown_method_and_polarity_are_refused():
    with pytest.raises(InputError, match="method"):
        segment_image(np.zeros((64, 64)), method="otsu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="polarity"):
        segment_image(np.zeros((64, 64)), polarity="grey")  # type: ignore[arg-type]


# --- background and foreign labels -----------------------------------------------------------


def test_background_is_flattened_only_where_it_varies():
    cover, _ = scattered([10] * 16)
    flat = micrograph(cover).astype(np.float32)
    np.testing.assert_array_equal(flatten_background(flat, polarity="dark"), flat)
    rows, columns = grid()
    tilted = flat + (0.6 * rows + 0.3 * columns).astype(np.float32)
    mended = flatten_background(tilted, polarity="dark")
    clear = ndimage.binary_erosion(cover == 0, iterations=4)
    assert np.ptp(ndimage.gaussian_filter(tilted, 10)[clear]) > 120
    assert mended[clear].std() < 2 * flat[clear].std()


def test_foreign_labels_are_numbered_in_order():
    labels = np.zeros((20, 30), np.uint16)
    labels[2:5, 2:5], labels[8:12, 8:12], labels[15:18, 20:25] = 700, 3, 12
    out = labels_from_foreign(labels, shape=(20, 30)).crystal
    assert out.dtype == np.int32
    assert out[9, 9] == 1
    assert out[16, 22] == 2
    assert out[3, 3] == 3
    np.testing.assert_array_equal(out > 0, labels > 0)
    full = labels_from_foreign(np.full((4, 5), 9), shape=(4, 5)).crystal
    assert (full == 1).all()


def test_a_foreign_label_in_several_places_is_rejected():
    labels = np.zeros((10, 10), int)
    labels[1, 1] = labels[8, 8] = 4
    labels[4:6, 4:6] = 7
    out = labels_from_foreign(labels, shape=(10, 10))
    np.testing.assert_array_equal(out.crystal, labels == 7)
    np.testing.assert_array_equal(out.rejected, 2 * (labels == 4))
    assert out.reasons == ("one id in several separate places",)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((9, 10), int), "shape"),
        (np.zeros((10, 10), bool), "mask of true and false"),
        (np.full((10, 10), 0.5), "fractional"),
        (np.full((10, 10), np.nan), "fractional or missing"),
        (np.full((10, 10), -2), "negative id -2"),
        (np.full((10, 10), "a"), "type"),
    ],
)
def test_foreign_labels_that_are_none_are_refused(labels, words):
    with pytest.raises(InputError, match=words):
        labels_from_foreign(labels, shape=(10, 10))


# --- real micrographs ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("method", "least"), [("classical", 0.83), ("auto", 0.9)])
def test_real_micrographs_with_manual_masks(method, least, real_data):
    """Guards against a broken chain; the accuracy on images that no fit has seen is in the docs."""
    from skimage.io import imread

    folder = real_data / "tem_particles"
    both = matched = 0
    for path in sorted((folder / "images").glob("*.png"))[::6]:
        pixels = imread(path)[..., :3].mean(axis=2)
        truth = imread(folder / "masks" / path.name).astype(np.int64)
        found = segment_image(pixels, method=method).crystal
        joint = np.zeros((truth.max() + 1, found.max() + 1))
        np.add.at(joint, (truth.ravel(), found.ravel()), 1)
        union = joint.sum(axis=1)[:, None] + joint.sum(axis=0)[None] - joint
        matched += int((joint / np.maximum(union, 1) > 0.5)[1:, 1:].sum())
        both += (joint.sum(axis=1)[1:] > 0).sum() + found.max()
    assert 2 * matched / both > least
