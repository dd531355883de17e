"""Rejection: drawn-in graphics, outliers, and what must not be rejected."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from nanoarray.nanocrystal.segment.annotations import (
    ANNOTATION_REASONS,
    BAR,
    BOX,
    DATA_BAR,
    WRITING,
    find_annotations,
)
from nanoarray.nanocrystal.segment.reject import OUTLIER, TOO_SMALL, reject_objects
from nanoarray.nanocrystal.segment.result import assemble
from nanoarray.nanocrystal.segment.segment import segment_image

HEIGHT, WIDTH = 300, 400


def field(*, seed=0, radius=14, places=None):
    """A micrograph of grey discs and its label image."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    places = places or [(y, x) for y in range(80, 230, 60) for x in range(60, 380, 60)]
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    for number, (y, x) in enumerate(places, start=1):
        labels[np.hypot(rows - y, columns - x) < radius] = number
    grey = ndimage.gaussian_filter(np.where(labels > 0, 90.0, 190.0), 0.8)
    grey += np.random.default_rng(seed).normal(0, 5, grey.shape)
    return np.clip(grey, 20, 235).astype(np.uint8), labels


def draw(pixels, paint):
    image = Image.fromarray(pixels)
    paint(ImageDraw.Draw(image))
    return np.asarray(image)


def scale_bar(fill):
    def paint(canvas):
        canvas.rectangle((30, 280, 110, 285), fill=fill)
        canvas.text((48, 262), "50 nm", fill=fill, font=ImageFont.load_default(14))

    return paint


@pytest.mark.parametrize("fill", [0, 255])
def test_scale_bar_and_its_number_are_found(fill):
    pixels, labels = field()
    kind = find_annotations(draw(pixels, scale_bar(fill)))
    assert (kind[280:286, 30:111] == BAR).mean() > 0.95
    written = abs(draw(np.full_like(pixels, 128), scale_bar(fill)).astype(float) - 128) > 90
    written[278:] = False
    assert (kind[written] == WRITING).mean() > 0.7
    assert (kind[:255] == WRITING).sum() == (kind[:, 115:] == WRITING).sum() == 0
    assert not kind[labels > 0].any()


def test_panel_letter_is_found():
    pixels, _ = field()
    font = ImageFont.load_default(30)
    kind = find_annotations(draw(pixels, lambda c: c.text((12, 6), "(a)", fill=0, font=font)))
    assert set(np.unique(kind)) == {0, WRITING}
    assert not kind[60:].any()
    assert not kind[:, 90:].any()
    assert (kind == WRITING).sum() > 100


def test_label_box_with_writing_is_one_thing():
    pixels, _ = field()

    def paint(canvas):
        canvas.rectangle((20, 255, 120, 295), fill=255)
        canvas.rectangle((35, 285, 105, 289), fill=0)
        canvas.text((48, 262), "100 nm", fill=0, font=ImageFont.load_default(14))

    kind = find_annotations(draw(pixels, paint))
    assert (kind[256:295, 21:120] == BOX).all()


def test_data_bar_is_found():
    pixels, _ = field()

    def paint(canvas):
        canvas.rectangle((0, 260, WIDTH, HEIGHT), fill=0)
        canvas.text((20, 270), "HV 200 kV   50 nm   x 120,000", fill=255)

    kind = find_annotations(draw(pixels, paint))
    assert (kind[260:] == DATA_BAR).all()
    assert not (kind[:260] == DATA_BAR).any()


def test_plain_micrograph_has_no_annotations():
    for seed in range(3):
        assert not find_annotations(field(seed=seed)[0]).any()
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (HEIGHT, WIDTH)), 2)
    assert find_annotations(texture).mean() < 0.002


def test_rods_along_the_rows_are_no_scale_bars():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rods = np.zeros((HEIGHT, WIDTH), bool)
    for y in range(40, 280, 40):
        rods |= (abs(rows - y) < 6) & (abs(columns - 200) < 30)
    grey = ndimage.gaussian_filter(np.where(rods, 40.0, 200.0), 1.2)
    grey += np.random.default_rng(0).normal(0, 8, grey.shape)
    kind = find_annotations(np.clip(grey, 0, 255).astype(np.uint8))
    assert not (kind == BAR).any()


def test_objects_under_graphics_are_rejected_and_others_kept():
    pixels, labels = field()
    image = draw(pixels, scale_bar(0))
    labels = labels.copy()
    bar = labels.max() + 1
    labels[280:286, 30:111] = bar
    out, reasons = reject_objects(labels, image)
    assert reasons[bar] == ANNOTATION_REASONS[BAR]
    assert all(i >= bar for i in reasons)
    assert "letter or number" in reasons.values()
    np.testing.assert_array_equal(out[labels > 0], labels[labels > 0])


def test_segmentation_leaves_graphics_out_and_on_record():
    pixels, labels = field()
    result = segment_image(draw(pixels, scale_bar(0)), method="classical")
    assert result.crystal.max() == labels.max()
    assert "scale bar" in result.reasons
    count, more = result.crystal.max(), len(result.reasons)
    assert set(np.unique(result.rejected)) == {0, *range(count + 1, count + more + 1)}
    assert not (result.rejected.astype(bool) & result.crystal.astype(bool)).any()


def _with_sizes(diameters):
    """A label image whose objects have these equivalent diameters."""
    side = int(max(diameters)) + 3
    labels = np.zeros((side, side * len(diameters)), np.int32)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    for number, diameter in enumerate(diameters, start=1):
        mask = np.hypot(rows, columns) < diameter / 2
        labels[:, (number - 1) * side : number * side][mask] = number
    rng = np.random.default_rng(0)
    return labels, np.clip(rng.normal(120, 30, labels.shape), 20, 230)


def test_extreme_outliers_are_rejected_with_their_reason():
    labels, pixels = _with_sizes([30] * 20 + [200, 3])
    _, reasons = reject_objects(labels, pixels, add_annotations=False)
    assert reasons == {21: OUTLIER, 22: TOO_SMALL}


@pytest.mark.parametrize(
    "diameters",
    [
        [30] * 20 + [6] * 10,  # two populations
        [6] * 20 + [60] * 6,
        list(np.exp(np.random.default_rng(0).normal(3, 0.5, 60))),  # one wide population
        [30, 4, 60],  # too few to know
    ],
)
def test_real_populations_are_never_outliers(diameters):
    labels, pixels = _with_sizes(diameters)
    _, reasons = reject_objects(labels, pixels, add_annotations=False)
    assert reasons == {}


def test_assembled_ids_follow_each_other():
    labels = np.array([[5, 5, 0], [2, 0, 9]], np.int32)
    result = assemble(labels, reasons={5: "x"}, polarity="dark")
    np.testing.assert_array_equal(result.crystal, [[0, 0, 0], [1, 0, 2]])
    np.testing.assert_array_equal(result.rejected, [[3, 3, 0], [0, 0, 0]])
    assert result.reasons == ("x",)
