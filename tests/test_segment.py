"""Segmentation: kernels against independent implementations, whole images against drawn truth."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from nanoarray.errors import ImageError, InputError
from nanoarray.nanocrystal.segment import classical
from nanoarray.nanocrystal.segment.agreement import agreement_numbers
from nanoarray.nanocrystal.segment.background import flatten_background
from nanoarray.nanocrystal.segment.candidates import Candidates
from nanoarray.nanocrystal.segment.component_tree import build_component_tree
from nanoarray.nanocrystal.segment.describe import digital_hull_px
from nanoarray.nanocrystal.segment.foreign import labels_from_foreign
from nanoarray.nanocrystal.segment.quality import Forest, load_quality_model
from nanoarray.nanocrystal.segment.regions import distance_inside, find_holes
from nanoarray.nanocrystal.segment.segment import find_polarity, segment_image
from nanoarray.nanocrystal.segment.select import select_candidates
from nanoarray.nanocrystal.segment.split import split_at_necks

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


# --- kernels ---------------------------------------------------------------------------------


def test_tree_nodes_are_the_components_of_their_level():
    rng = np.random.default_rng(1)
    image = (ndimage.gaussian_filter(rng.random((40, 50)), 2) * 400).astype(np.uint8)
    tree = build_component_tree(image, edge_weight=np.ones(image.shape, np.float32))
    total = sum(ndimage.label(image >= t)[1] for t in np.unique(image))
    levels_of_parent = np.where(tree.parent >= 0, tree.level[tree.parent], -1)
    steps = np.searchsorted(np.unique(image), tree.level) - np.searchsorted(
        np.unique(image), levels_of_parent
    )
    # A component that stays the same over several levels is one node.
    steps[0] = np.searchsorted(np.unique(image), tree.level[0]) + 1
    assert steps.sum() == total
    for i in rng.integers(0, tree.parent.size, 40):
        region = tree.pixel[tree.start[i] : tree.start[i] + tree.area_px[i]]
        labels, _ = ndimage.label(image >= tree.level[i])
        mask = labels == labels.ravel()[region[0]]
        assert set(region) == set(np.flatnonzero(mask))
        edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
        assert tree.outline_px[i] == edges == round(tree.outline_weight[i])


def test_hull_and_holes_and_distance_agree_with_other_programs():
    rng = np.random.default_rng(2)
    for _ in range(30):
        mask = ndimage.gaussian_filter(rng.random((30, 36)), 2) > 0.5
        assert digital_hull_px(mask) == convex_hull_image(mask, offset_coordinates=False).sum()
        padded = np.pad(mask, 1)
        holes, count = find_holes(padded)
        filled = ndimage.binary_fill_holes(
            padded, structure=ndimage.generate_binary_structure(2, 1)
        )
        # Holes are 8-connected: one that opens at a corner is no hole.
        assert not (holes > 0)[~filled | padded].any()
        assert count == ndimage.label(holes > 0, np.ones((3, 3)))[1]
        expected = ndimage.distance_transform_edt(padded)
        np.testing.assert_allclose(distance_inside(padded), expected, atol=1e-5)


def test_distance_ignores_the_edge_of_the_field():
    mask = np.ones((20, 30), bool)
    mask[:, 25:] = False
    distance = distance_inside(mask)
    np.testing.assert_allclose(distance[:, :25], np.tile(25 - np.arange(25.0), (20, 1)))


def test_necks_cut_two_discs_and_leave_one_whole():
    two = (disc(60, 50, 22, side=120) + disc(60, 88, 22, side=120)) > 0.5
    part, n, up, ratio = split_at_necks(distance_inside(two), 0.75, 0.3)
    assert n == 2
    sizes = np.bincount(part[part >= 0])
    assert abs(sizes[0] - sizes[1]) < 0.03 * sizes.sum()
    # Half the neck is the half chord: sqrt(22^2 - 19^2).
    assert ratio[up[0]] * 22 == pytest.approx(np.sqrt(22**2 - 19**2), abs=1.0)
    assert split_at_necks(distance_inside(disc(60, 60, 30, side=120) > 0.5), 0.75, 0.3)[1] == 1


def test_selection_is_the_best_of_all():
    rng = np.random.default_rng(3)
    for _ in range(40):
        n = 9
        parent = np.array([-1, *[rng.integers(-1, i) for i in range(1, n)]], np.int32)
        family = rng.integers(0, 2, n).astype(np.int8)
        gain = rng.normal(0, 1, n)

        def line(i, parent=parent):
            out = [i]
            while parent[out[-1]] >= 0:
                out.append(parent[out[-1]])
            return out

        def apart(a, b, family=family, line=line):
            up_a, up_b = line(a), line(b)
            if a in up_b or b in up_a:
                return False
            common = [i for i in up_a if i in up_b]
            if not common:
                return True
            side_a = up_a[up_a.index(common[0]) - 1]
            side_b = up_b[up_b.index(common[0]) - 1]
            return family[side_a] == family[side_b]

        sets = chain.from_iterable(combinations(range(n), k) for k in range(n + 1))
        best = max(
            gain[list(s)].sum() if s else 0.0
            for s in sets
            if all(apart(a, b) for a, b in combinations(s, 2))
        )
        chosen = select_candidates(parent, family, gain)
        assert all(apart(a, b) for a, b in combinations(chosen, 2))
        assert gain[chosen].sum() == pytest.approx(best)


def test_forest_adds_its_trees():
    forest = Forest(
        root=np.array([0, 3], np.int32),
        feature=np.array([1, -1, -1, -1], np.int32),
        threshold=np.array([0.5, 0, 0, 0], np.float32),
        left=np.array([1, 0, 0, 0], np.int32),
        right=np.array([2, 0, 0, 0], np.int32),
        value=np.array([0, 10, 20, 3], np.float32),
        base=np.array([100], np.float32),
    )
    rows = np.array([[9, 0.5], [9, 0.6]], np.float32)
    np.testing.assert_allclose(forest.predict(rows), [113, 123])


def test_damaged_or_foreign_weights_are_refused(tmp_path):
    from safetensors.numpy import save_file

    whole = classical.QUALITY_WEIGHTS.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors", metadata={"format": "x 7"})
    for name, words in (("cut", "damaged"), ("other", "format"), ("none", "missing")):
        with pytest.raises(InputError, match=words):
            load_quality_model(tmp_path / f"{name}.safetensors")


# --- whole images ----------------------------------------------------------------------------


def test_separate_crystals_are_found_with_their_size():
    radii = [9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14, 13, 9, 12, 10]
    cover, masks = scattered(radii)
    result = segment_image(micrograph(cover), method="classical")
    assert result.polarity == "dark"
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.85
    area = np.bincount(result.crystal.ravel())[1:].sum()
    assert np.sqrt(area / sum(m.sum() for m in masks)) == pytest.approx(1, abs=0.03)


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
    result = segment_image(micrograph(cover, noise=2.0), method="classical")
    found = [overlap(m, result.crystal) > 0.6 for m in masks]
    assert sum(found) >= 15
    assert result.crystal.max() <= 17


def test_touching_crystals_are_told_apart():
    cover = np.zeros((SIDE, SIDE))
    masks = []
    for y, x in [(60, 60), (60, 94), (60, 128), (130, 70), (164, 70), (150, 160), (170, 188)]:
        one = disc(y, x, 18)
        cover = np.maximum(cover, 0.6 * one)
        masks.append(one > 0.5)
    result = segment_image(micrograph(cover), method="classical")
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.8


def test_concave_crystals_stay_whole():
    rows, columns = grid()
    cover, masks = np.zeros((SIDE, SIDE)), []
    for y in (50, 120, 190):
        for x in (50, 120, 190):
            angle = np.arctan2(rows - y, columns - x)
            radius = 22 * (1 + 0.16 * np.cos(5 * angle))
            one = np.hypot(rows - y, columns - x) < radius
            cover[one] = 0.6
            masks.append(one)
    result = segment_image(micrograph(cover), method="classical")
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.85


def test_bend_contours_do_not_cut_a_crystal():
    rows, columns = grid()
    cover, masks = np.zeros((SIDE, SIDE)), []
    for y in (50, 120, 190):
        for x in (50, 120, 190):
            one = np.hypot(rows - y, columns - x) < 24
            band = np.abs((rows - y) * 0.6 + (columns - x) * 0.8) < 4
            cover[one] = 0.5
            cover[one & band] = 0.75
            masks.append(one)
    result = segment_image(micrograph(cover), method="classical")
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.85


def test_gap_in_a_ring_of_crystals_stays_a_gap():
    cover, masks = np.zeros((SIDE, SIDE)), []
    for k in range(6):
        one = disc(120 + 40 * np.sin(k * np.pi / 3), 120 + 40 * np.cos(k * np.pi / 3), 20.5)
        cover = np.maximum(cover, 0.6 * one)
        masks.append(one > 0.5)
    result = segment_image(micrograph(cover), method="classical")
    assert result.crystal.max() == 6
    gap = disc(120, 120, 14) > 0.5
    assert (result.crystal[gap] > 0).mean() < 0.05


def test_hole_in_a_crystal_is_filled():
    cover, masks = scattered([16] * 9)
    for y in range(35, 220, 56):
        for x in range(35, 220, 56):
            cover -= 0.25 * (cover > 0.5) * (disc(y, x, 5) > 0.5)
    result = segment_image(micrograph(cover, noise=2.0), method="classical")
    for mask in masks:
        assert overlap(mask, result.crystal) > 0.9


@pytest.mark.parametrize("bright", [False, True])
def test_polarity_is_found(bright):
    cover, masks = scattered([9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14])
    image = micrograph(cover)
    image = 255 - image if bright else image
    assert find_polarity(image) == ("bright" if bright else "dark")
    result = segment_image(image, method="classical")
    assert result.crystal.max() == len(masks)


def test_field_without_crystals_and_with_one():
    empty = segment_image(micrograph(np.zeros((SIDE, SIDE))), method="classical")
    assert empty.crystal.max() == 0
    one = segment_image(micrograph(0.6 * disc(120, 120, 20)), method="classical")
    assert one.crystal.max() == 1


def test_crystals_at_the_edge_are_kept():
    cover = 0.6 * (disc(0, 120, 22) + disc(120, 120, 22) + disc(120, 239, 22) + disc(200, 60, 22))
    result = segment_image(micrograph(cover), method="classical")
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


# --- with the network ------------------------------------------------------------------------


def test_agreement_counts_pixels():
    labels = np.zeros((10, 10), np.int32)
    labels[0:4, 0:4], labels[6:10, 6:10] = 1, 2
    probability = np.where(labels > 0, 0.9, 0.1).astype(np.float32)

    def flat(rows, columns):
        mask = np.zeros((10, 10), bool)
        mask[rows, columns] = True
        return np.flatnonzero(mask).astype(np.int32)

    regions = [
        flat(slice(0, 4), slice(0, 4)),
        flat(slice(0, 4), slice(0, 8)),
        flat(slice(0, 10), slice(0, 10)),
        flat(slice(4, 6), slice(0, 3)),
    ]
    size = np.array([r.size for r in regions], np.int64)
    found = Candidates(
        np.full(4, -1, np.int32),
        np.zeros(4, np.int8),
        np.zeros((4, 1), np.float32),
        np.concatenate(regions),
        np.cumsum(size) - size,
        size,
    )
    expected = [
        [1, 1, 1, 1, 0.9, 0],
        [0.5, 1, 0.5, 1, 0.5, 0.5],
        [0.16, 1, 0.32, 2, 0.356, 0.68],
        [0, 0, 0, 0, 0.1, 1],
    ]
    np.testing.assert_allclose(agreement_numbers(found, labels, probability), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["auto", "combined"])
def test_methods_with_the_network_find_separate_crystals(method):
    pytest.importorskip("torch")
    cover, masks = scattered([9, 12, 10, 14, 11, 13, 9, 15, 12, 10, 11, 14])
    result = segment_image(micrograph(cover), method=method)
    assert result.crystal.max() == len(masks)
    assert min(overlap(m, result.crystal) for m in masks) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("method", "least"), [("classical", 0.85), ("auto", 0.88)])
def test_real_micrographs_with_manual_masks(method, least, real_data):
    """Guards against a broken chain; the accuracy on images that no fit has seen is in the docs."""
    from skimage.io import imread

    folder = real_data / "tem_particles"
    if method == "auto":
        pytest.importorskip("torch")
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
