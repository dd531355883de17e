"""The segmentation network: targets, decoding, weights, training, and what it finds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.net_decode import decode
from nanoarray.nanocrystal.segment.net_fields import targets, training_sample, unseen
from nanoarray.nanocrystal.segment.normalize import normalized
from nanoarray.simulate.nanocrystal_optics import Film, Recording
from nanoarray.simulate.nanocrystals import FieldSpec, Population, simulate_field

torch = pytest.importorskip("torch")

from nanoarray.nanocrystal.segment.net import segment_with_network  # noqa: E402
from nanoarray.nanocrystal.segment.net_labels import typical_diameter  # noqa: E402
from nanoarray.nanocrystal.segment.net_maps import predict_maps  # noqa: E402
from nanoarray.nanocrystal.segment.net_model import SegmentationNet, folded  # noqa: E402
from nanoarray.nanocrystal.segment.net_train import Stage, train_segmentation  # noqa: E402
from nanoarray.nanocrystal.segment.net_weights import (  # noqa: E402
    load_network,
    save_weights,
    shipped_weights,
)

SPEC = FieldSpec(
    populations=(Population(count=30, diameter_nm=34.0, diameter_sigma=0.12, d=4, p=3.0),),
    height_px=320,
    width_px=360,
    agglomeration=0.6,
    film=Film(tilt=0.1, grain=0.02),
    recording=Recording(blur_px=1.0, dose=300.0),
)


def f1(truth, found, iou=0.5):
    """Independent of the project: every pair by brute force."""
    hits = 0
    for t in np.unique(truth[truth > 0]):
        own = truth == t
        for f in np.unique(found[own]):
            if f and (own & (found == f)).sum() > iou * (own | (found == f)).sum():
                hits += 1
    return 2 * hits / (len(np.unique(truth[truth > 0])) + len(np.unique(found[found > 0])))


def two_discs(gap=0):
    y, x = np.indices((60, 90))
    labels = np.zeros((60, 90), np.int32)
    labels[np.hypot(y - 30, x - 28) <= 15] = 1
    labels[np.hypot(y - 30, x - 28 - 31 - gap) <= 15] = 2
    return labels


def test_targets_of_two_touching_discs():
    labels = two_discs()
    depth, contact, weight = targets(labels)
    assert depth[labels == 0].max() == 0
    assert depth[30, 28] == pytest.approx(1.0)
    assert depth.max() == pytest.approx(1.0)
    # The line lies between the two, nowhere else.
    assert contact[30, 42:46].any()
    assert not contact[:, :35].any()
    assert not contact[:, 55:].any()
    assert not targets(two_discs(gap=12))[1].any()
    assert weight[labels > 0].min() > weight[0, 0] * 0.7


def test_the_edge_of_the_field_is_no_outline():
    labels = np.zeros((40, 40), np.int32)
    y, x = np.indices(labels.shape)
    labels[np.hypot(y - 20, x) <= 12] = 1
    depth, _, _ = targets(labels)
    assert depth[20, 0] == pytest.approx(1.0)


def test_crystals_that_nobody_sees_are_known():
    labels = two_discs(gap=8)
    rng = np.random.default_rng(0)
    image = 180 + 4 * rng.standard_normal(labels.shape)
    image[labels == 1] -= 60
    hidden = unseen(np.rint(image).astype(np.uint8), labels)
    assert hidden[labels == 2].all()
    assert not hidden[labels != 2].any()


def test_training_samples_depend_on_seed_and_number_only():
    first = training_sample(1, 5, 64)
    assert first.shape == (3, 64, 64)
    assert np.array_equal(first, training_sample(1, 5, 64))
    assert not np.array_equal(first, training_sample(1, 6, 64))
    assert not np.array_equal(first, training_sample(2, 5, 64))


def test_decoding_ideal_maps_gives_the_crystals_back():
    spec = replace(SPEC, agglomeration=1.0, overlap=0.3, hidden="split")
    labels = simulate_field(spec, seed=3).labels
    depth, contact, _ = targets(labels)
    soft = [
        ndimage.gaussian_filter(m.astype(np.float32), 0.7) for m in (labels > 0, depth, contact)
    ]
    found = decode(*soft).labels
    assert f1(labels, found, iou=0.7) > 0.95
    assert found.dtype == np.int32
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1))


def test_decoding_tells_doubtful_pieces_from_crystals_and_ground():
    labels = np.zeros((40, 120), np.int32)
    for number, x in enumerate((20, 60, 100), start=1):
        labels[np.hypot(*(np.indices(labels.shape) - np.array([20, x])[:, None, None])) < 12] = (
            number
        )
    depth, contact, _ = targets(labels)
    sure = np.array([0, 0.95, 0.7, 0.5], np.float32)[labels]
    found = decode(sure, depth.astype(np.float32), contact.astype(np.float32))
    np.testing.assert_array_equal(found.labels, labels == 1)
    np.testing.assert_array_equal(found.doubtful, labels == 2)


def test_decoding_nothing_gives_nothing():
    empty = np.zeros((32, 32), np.float32)
    assert not np.any(decode(empty, empty, empty))
    # Foreground without depth has no seed.
    assert not np.any(decode(empty + 1, empty, empty))


def test_normalizing_takes_scale_and_offset_out():
    pixels = np.random.default_rng(0).normal(size=(50, 60))
    assert np.allclose(normalized(pixels), normalized(1000 * pixels + 7), atol=1e-4)
    assert not normalized(np.full((9, 9), 3)).any()
    assert not normalized(np.array([[1.0]])).any()


def test_typical_diameter_is_that_of_the_crystals_not_of_specks():
    labels = two_discs(gap=4)
    assert typical_diameter(labels) == pytest.approx(30, abs=1)
    labels[0, 0:40:4] = np.arange(3, 13)
    assert typical_diameter(labels) == pytest.approx(30, abs=1)
    assert np.isnan(typical_diameter(np.zeros((5, 5), np.int32)))


def test_weights_round_trip(tmp_path):
    torch.manual_seed(0)
    net = SegmentationNet((8, 16)).eval()
    save_weights(net, tmp_path / "w.safetensors")
    again = load_network(tmp_path / "w.safetensors")
    image = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(net(image), again(image), atol=1e-5)


def test_damaged_or_foreign_weights_are_refused(tmp_path):
    good = tmp_path / "w.safetensors"
    save_weights(SegmentationNet((8, 16)), good)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        load_network(cut)
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"not weights at all")
    with pytest.raises(InputError, match="cannot be read"):
        load_network(noise)
    with pytest.raises(InputError, match="do not exist"):
        load_network(tmp_path / "none.safetensors")
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other, metadata={"format": "nanoarray-segment-0"})
    with pytest.raises(InputError, match="nanoarray-segment-0"):
        load_network(other)
    from nanoarray.nanocrystal.segment import net_weights

    about = {
        "format": net_weights.FORMAT,
        "widths": "[8, 16]",
        "outputs": json.dumps(list(net_weights.OUTPUTS)),
    }
    save_file({"a": torch.zeros(2)}, other, metadata=about)
    with pytest.raises(InputError, match="do not fit"):
        load_network(other)


def test_training_is_repeatable_and_goes_on_after_a_stop(tmp_path):
    arguments = {
        "seed": 4, "validation_fields": 4, "batch": 2, "size_px": 64, "widths": (8, 16),
        "stages": (Stage(6, 4, 3e-3, False), Stage(6, 6, 1e-3, True)),
        "workers": 0, "check_every": 3,
    }  # fmt: skip
    first = train_segmentation(tmp_path / "a", **arguments)
    assert first.steps == [3, 4, 7, 10]
    assert np.isfinite(first.validation_loss).all()

    class Stop(Exception):
        pass

    def stop(step, steps, loss):
        if step == 9:
            raise Stop

    with pytest.raises(Stop):
        train_segmentation(tmp_path / "b", progress=stop, **arguments)
    second = train_segmentation(tmp_path / "b", **arguments)
    assert second.validation_loss == pytest.approx(first.validation_loss, rel=1e-6)
    assert second.training_loss[:3] == pytest.approx(first.training_loss[:3], rel=1e-6)
    a, b = (load_network(tmp_path / k / "segment.safetensors").state_dict() for k in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(InputError, match="other arguments"):
        train_segmentation(tmp_path / "b", **{**arguments, "seed": 5})


def test_training_refuses_fields_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="multiple of 32"):
        train_segmentation(tmp_path, size_px=100)


def test_shipped_weights_are_small_and_have_a_card():
    path = shipped_weights()
    assert path.stat().st_size < 10e6
    card = path.with_suffix(".md").read_text()
    assert "nanoarray train segmentation" in card


@pytest.fixture(scope="module")
def found():
    field = simulate_field(SPEC, seed=101)
    result = segment_with_network(field.image)
    assert result.polarity == "dark"
    return field, result.labels, result.probability


def test_touching_crystals_are_found_and_separated(found):
    field, labels, probability = found
    assert labels.shape == field.image.shape == probability.shape
    assert labels.dtype == np.int32
    assert probability.dtype == np.float32
    assert f1(field.labels, labels) > 0.93
    # Sizes: of whole crystals, against the one found at their centre.
    crystals = field.crystals
    whole = ~crystals["touches_edge"] & (crystals["occlusion"] == 0)
    y, x = (np.rint(crystals[f"center_{axis}"][whole]).astype(int) for axis in "yx")
    area = np.bincount(labels.ravel())[labels[y, x]]
    ratio = np.sqrt(area / crystals["area"][whole])
    assert np.median(ratio) == pytest.approx(1, abs=0.04)


def test_bright_crystals_16_bit_and_floats_are_the_same(found):
    field, labels, _ = found
    bright, _, sign, _ = segment_with_network(255 - field.image)
    deep, *_ = segment_with_network(field.image.astype(np.uint16) * 200 + 50)
    assert sign == "bright"
    assert f1(labels, bright, iou=0.8) > 0.97
    assert f1(labels, deep, iou=0.8) > 0.97


def test_a_turned_image_gives_the_same_crystals(found):
    field, labels, _ = found
    turned, *_ = segment_with_network(np.rot90(field.image), polarity="dark")
    assert f1(labels, np.rot90(turned, -1), iou=0.7) > 0.95


def test_large_and_small_crystals_are_brought_to_scale():
    for diameter, count in ((9.0, 60), (95.0, 8)):
        population = Population(count=count, diameter_nm=diameter, diameter_sigma=0.05)
        field = simulate_field(replace(SPEC, populations=(population,), agglomeration=0.2), seed=7)
        labels, *_ = segment_with_network(field.image, polarity="dark")
        assert f1(field.labels, labels) > 0.85, diameter


@pytest.mark.parametrize(
    ("diameter", "blur", "most"), [(12.0, 1.2, 0.06), (25.0, 2.0, 0.04), (50.0, 1.2, 0.01)]
)
def test_blur_does_not_make_crystals_larger(diameter, blur, most):
    spec = replace(
        SPEC,
        populations=(Population(count=40, diameter_nm=diameter, diameter_sigma=0.1, d=4, p=3.0),),
        agglomeration=0.0,
        recording=Recording(blur_px=blur, dose=300.0),
    )
    field = simulate_field(spec, seed=5)
    labels, *_ = segment_with_network(field.image)
    ratios = []
    for one in range(1, field.labels.max() + 1):
        own = field.labels == one
        partner = np.bincount(labels[own], minlength=1).argmax()
        found = labels == partner
        if partner and (own & found).sum() > 0.5 * (own | found).sum():
            ratios.append(np.sqrt(found.sum() / own.sum()))
    assert len(ratios) > 15
    assert np.mean(ratios) == pytest.approx(1, abs=most)


def test_empty_constant_and_single_crystal_images():
    flat, probability, *_ = segment_with_network(np.full((90, 70), 128, np.uint8))
    assert not flat.any()
    assert probability.shape == (90, 70)
    film = simulate_field(replace(SPEC, populations=()), seed=0).image
    assert segment_with_network(film, polarity="dark")[0].max() <= 1
    y, x = np.indices((128, 128))
    one = np.where(np.hypot(y - 60, x - 64) < 18, 60, 190) + np.random.default_rng(0).normal(
        0, 5, (128, 128)
    )
    labels, *_ = segment_with_network(one)
    assert labels.max() == 1
    assert (labels == 1).sum() == pytest.approx(np.pi * 18**2, rel=0.06)


def test_tiles_see_what_the_whole_shows(monkeypatch):
    field = simulate_field(replace(SPEC, height_px=400, width_px=700), seed=4)
    grey = normalized(field.image)
    whole = decode(*predict_maps(grey)).labels
    monkeypatch.setattr("nanoarray.nanocrystal.segment.net_maps._TILE_PX", 192)
    foreground, depth, contact = predict_maps(grey)
    assert foreground.shape == depth.shape == contact.shape == grey.shape
    assert f1(whole, decode(foreground, depth, contact).labels, iou=0.9) > 0.97


def test_folded_network_answers_as_the_trained_one():
    net = load_network()
    image = torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(folded(net)(image), net(image), atol=1e-4, rtol=1e-4)


def test_images_that_cannot_be_segmented_are_refused():
    with pytest.raises(InputError, match="cannot be segmented"):
        segment_with_network(np.zeros((4, 100)))
    with pytest.raises(InputError, match="cannot be segmented"):
        segment_with_network(np.zeros((20, 20, 3)))
    with pytest.raises(InputError, match="no finite"):
        segment_with_network(np.full((20, 20), np.nan))


def test_missing_pixels_do_not_spread(found):
    field, labels, _ = found
    holed = field.image.astype(np.float32)
    holed[3, 5] = np.nan
    again, *_ = segment_with_network(holed, polarity="dark")
    assert f1(labels, again, iou=0.8) > 0.97
