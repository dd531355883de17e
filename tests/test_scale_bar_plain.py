"""Plain scale bars of any tone: drawn into simulated fields, and what is none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from nanoarray.images.scale_bar import find_scale_bars
from nanoarray.images.scale_bar_plain import find_plain_bars

LENGTH, LEFT, TOP, HIGH = 120, 60, 330, 6


def field(*, ground: float = 150.0, noise: float = 12.0, crystals: float = -80.0) -> np.ndarray:
    """Noise with discs of another tone, none where the bar will be."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(ground, noise, (400, 600))
    y, x = np.mgrid[:400, :600]
    for _ in range(30):
        cy, cx = rng.uniform(0, 260), rng.uniform(0, 600)
        pixels[(y - cy) ** 2 + (x - cx) ** 2 < 15**2] += crystals
    return np.clip(pixels, 0, 255)


def with_bar(pixels: np.ndarray, tone: int, *, text: str = "100 nm") -> np.ndarray:
    image = Image.fromarray(np.rint(pixels).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((LEFT, TOP, LEFT + LENGTH - 1, TOP + HIGH - 1), fill=tone)
    draw.text((LEFT + 15, TOP + HIGH + 6), text, fill=tone, font=ImageFont.load_default(24))
    return np.asarray(image).astype(np.float64)


def compressed(pixels: np.ndarray, *, blur: float, quality: int) -> np.ndarray:
    """As in a figure: resampled, and saved as JPEG."""
    grey = np.clip(ndimage.gaussian_filter(pixels, blur), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file)).astype(np.float64)


def assert_found(pixels: np.ndarray, *, length: float = LENGTH, abs_px: float = 0.6) -> None:
    [bar] = find_scale_bars(pixels)
    assert bar.length_px == pytest.approx(length, abs=abs_px)
    assert bar.left_px == pytest.approx(LEFT - 0.5 + (LENGTH - length) / 2, abs=abs_px)
    assert bar.y_px == pytest.approx(TOP + (HIGH - 1) / 2, abs=1)


FIELDS = [
    (150, 12, -80, 80),  # grey, among crystals of its tone
    (150, 12, -80, 215),
    (60, 8, 60, 150),  # dark field
    (215, 5, -150, 140),
    (140, 40, -60, 250),  # noisy
]


@pytest.mark.parametrize(
    ("ground", "noise", "crystals", "tone", "figure"),
    [(*known, figure) for known in FIELDS for figure in (False, True)]
    + [(140, 40, -60, 30, False)],
)
def test_bars_of_any_tone(ground, noise, crystals, tone, figure):
    pixels = with_bar(field(ground=ground, noise=noise, crystals=crystals), tone)
    assert_found(compressed(pixels, blur=0.8, quality=80) if figure else pixels)


@pytest.mark.parametrize("tone", [0, 70])
def test_crystals_of_the_same_tone_may_touch_it(tone):
    pixels = with_bar(field(), tone)
    y, x = np.mgrid[:400, :600]
    for cy, cx in ((TOP - 14, LEFT + 50), (TOP - 14, LEFT + 85)):
        pixels[(y - cy) ** 2 + (x - cx) ** 2 < 15**2] = tone
    assert_found(pixels)


def test_a_crystal_of_another_tone_may_lie_under_an_end():
    pixels = field(noise=4.0)
    y, x = np.mgrid[:400, :600]
    pixels[(y - TOP) ** 2 + (x - LEFT - LENGTH) ** 2 < 25**2] = 60.0
    assert_found(with_bar(pixels, 250))


def test_letters_may_touch_it():
    pixels = with_bar(field(), 40)
    for column in (LEFT + 20, LEFT + 60):
        pixels[TOP + HIGH : TOP + HIGH + 12, column : column + 3] = 40.0
    assert_found(pixels)


def test_letters_of_its_tone_may_follow_it_closely():
    pixels = with_bar(field(), 80)
    pixels[TOP - 8 : TOP + 12, LEFT + LENGTH + 3 : LEFT + LENGTH + 9] = 80.0
    assert_found(pixels)


def test_in_a_label_box_that_the_image_cuts():
    pixels = field()
    pixels[310:, :230] = 255.0
    assert_found(with_bar(pixels, 0))


@pytest.mark.parametrize(("width", "length"), [(2, LENGTH - 2), (6, LENGTH)])
def test_thin_ticks_count_from_their_middle_and_thick_ones_from_outside(width, length):
    pixels = with_bar(field(), 60)
    for left in (LEFT, LEFT + LENGTH - width):
        pixels[TOP - 6 : TOP + HIGH + 6, left : left + width] = 60.0
    assert_found(pixels, length=length)


def test_an_integer_image_and_one_of_floats_give_the_same():
    pixels = with_bar(field(), 80)
    [one], [other] = find_plain_bars(pixels.astype(np.uint16) * 7), find_plain_bars(pixels)
    assert one.left_px == pytest.approx(other.left_px, abs=1e-3)
    assert one.writing == other.writing


def test_black_ones_need_no_number_where_their_corners_are_square():
    assert_found(with_bar(field(ground=180), 0, text=""))
    rod = field(ground=180)
    y, x = np.mgrid[:400, :600]
    along = np.clip(x - 120, -50, 50)
    rod[np.hypot(x - 120 - along, y - TOP) < 5] = 0.0
    assert find_plain_bars(rod) == []


# --- what is none -----------------------------------------------------------------------------


def test_a_grey_rectangle_without_a_number():
    assert find_scale_bars(with_bar(field(), 80, text="")) == []


def test_what_the_image_cuts():
    pixels = with_bar(field(), 80)[:, LEFT + 10 :]
    assert find_scale_bars(pixels) == []


def test_the_frame_of_a_box():
    pixels = with_bar(field(), 150, text="")
    pixels[TOP - 40 : TOP + 2, LEFT : LEFT + 150] = 80.0
    pixels[TOP - 38 : TOP, LEFT + 2 : LEFT + 148] = 150.0
    image = Image.fromarray(pixels.astype(np.uint8))
    ImageDraw.Draw(image).text((LEFT + 20, TOP - 30), "A 12 x", 80, ImageFont.load_default(24))
    assert find_scale_bars(np.asarray(image)) == []


def test_halves_and_outlines_whose_length_is_not_clear():
    halves = with_bar(field(), 80)
    halves[TOP : TOP + HIGH, LEFT + LENGTH // 2 - 15 : LEFT + LENGTH // 2 + 15] = 150.0
    outlined = with_bar(field(), 80)
    outlined[TOP + 2 : TOP + HIGH - 2, LEFT + 2 : LEFT + LENGTH - 2] = 200.0
    assert find_scale_bars(halves) == find_scale_bars(outlined) == []


@pytest.mark.parametrize("angle", [0.0, 1.0, 3.0])
def test_level_rods_beside_others(angle):
    """Rounded, flat and black, in rows as close as letters."""
    pixels = field(crystals=0.0, noise=5.0, ground=200.0)
    y, x = np.mgrid[:400, :600].astype(float)
    slope = np.tan(np.radians(angle))
    for cy in (200, 230, 260):
        for cx in (150, 240, 330):
            along = np.clip(x - cx, -30, 30)
            pixels[np.hypot(x - cx - along, y - cy - slope * along) < 7] = 30.0
    assert find_scale_bars(pixels) == []
