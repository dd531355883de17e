"""Scale bars: drawn ones with known ends, and real ones whose header has the pixel size."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

import nanoarray as na
from nanoarray.errors import InputError
from nanoarray.images import scale_bar_ocr
from nanoarray.images.burned_in import check_option
from nanoarray.images.scale_bar import find_scale_bars, parse_length_nm
from nanoarray.images.scale_bar_ocr import can_read_labels, read_scale_bar

needs_engine = pytest.mark.skipif(not can_read_labels(), reason="the extra `ocr` is not installed")


def field(height=400, width=600, seed=0) -> np.ndarray:
    """Grey noise with dark discs, as crystals on a film."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(150, 12, (height, width))
    y, x = np.mgrid[:height, :width]
    for _ in range(25):
        cy, cx = rng.uniform(0, 0.75 * height), rng.uniform(0, width)
        pixels[(y - cy) ** 2 + (x - cx) ** 2 < 15**2] -= 80
    return np.clip(pixels, 5, 250)


def write(pixels: np.ndarray, text: str, y: int, x: int, tone: int, size: int = 24) -> np.ndarray:
    image = Image.fromarray(np.rint(pixels).astype(np.uint8))
    ImageDraw.Draw(image).text((x, y), text, fill=tone, font=ImageFont.load_default(size))
    return np.asarray(image).astype(np.float64)


def draw_line(pixels, y0, y1, left, right, tone) -> None:
    """A line whose ends lie at any fraction of a pixel; pixel i covers i - 0.5 to i + 0.5."""
    at = np.arange(pixels.shape[1])
    cover = np.clip(np.minimum(at + 0.5, right) - np.maximum(at - 0.5, left), 0, 1)
    pixels[y0:y1] = pixels[y0:y1] * (1 - cover) + tone * cover


@settings(max_examples=25)
@given(
    st.floats(45.0, 200.0),
    st.floats(20.0, 60.0),
    st.integers(3, 12),
    st.sampled_from([0.0, 255.0]),
)
def test_the_length_is_known_in_fractions_of_a_pixel(length, left, thickness, tone):
    pixels = np.full((160, 400), 140.0)
    pixels[:60] += np.random.default_rng(0).normal(0, 12, (60, 400))
    draw_line(pixels, 120, 120 + thickness, left, left + length, tone)
    [bar] = find_scale_bars(pixels)
    assert bar.length_px == pytest.approx(length, abs=0.02)
    assert bar.left_px == pytest.approx(left, abs=0.02)
    assert bar.where == "image"


def test_a_bar_among_crystals():
    pixels = field()
    draw_line(pixels, 360, 368, 39.5, 139.5, 0.0)
    pixels = write(pixels, "100 nm", 370, 50, 0)
    [bar] = find_scale_bars(pixels)
    assert bar.length_px == pytest.approx(100.0, abs=0.2)


@pytest.mark.parametrize("when", ["at once", "later"])
def test_an_ingest_with_the_length_of_the_bar(tmp_path, when):
    pixels = field()
    draw_line(pixels, 360, 368, 39.5, 139.5, 0.0)
    for name, kept in (("bar", pixels), ("none", field(seed=1))):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.rint(kept).astype(np.uint8))
    if when == "later":
        na.ingest(tmp_path, tmp_path / "a.zarr")
    report = na.ingest(tmp_path, tmp_path / "a.zarr", scale_bar="200 nm")
    assert report.without_pixel_size == ("none",)
    images = na.open(tmp_path / "a.zarr")["images"].to_dataset().compute()
    np.testing.assert_allclose(images.pixel_size, [2, np.nan], rtol=2e-3)
    assert images.pixel_size_source.values[0].startswith("scale bar of 200 nm over 100")
    assert "no scale bar was found" in images.warning.values[1]
    again = na.ingest(tmp_path, tmp_path / "a.zarr")
    assert again.without_pixel_size == ("none",)  # what was measured stays


def boxed(kind: str) -> tuple[np.ndarray, float]:
    """A white label box with a bar of a kind; its length."""
    pixels = field()
    pixels[340:390, 380:590] = 255.0
    if kind == "chequered":
        pixels[348:353, 400:560] = 0.0
        for segment in (1, 3):
            pixels[349:352, 400 + 32 * segment : 432 + 32 * segment] = 255.0
        length = 160.0
    elif kind == "hollow":
        pixels[346:353, 400:560] = 0.0
        pixels[347:352, 401:559] = 255.0
        length = 160.0
    else:  # ticks 2 px wide at both ends: from the middle of one to that of the other
        pixels[350:352, 400:560] = 0.0
        pixels[343:359, 400:402] = 0.0
        pixels[343:359, 558:560] = 0.0
        length = 158.0
    return write(pixels, "200 nm", 358, 440, 0), length


@pytest.mark.parametrize("kind", ["chequered", "hollow", "ticks"])
def test_bars_in_label_boxes(kind):
    pixels, length = boxed(kind)
    [bar] = find_scale_bars(pixels)
    assert bar.where == "label box"
    assert bar.length_px == pytest.approx(length, abs=0.1)


def data_bar() -> np.ndarray:
    """A black data bar with a frame, cells, and a bar cut in two by its number."""
    pixels = field(400, 600)
    strip = np.zeros((40, 600))
    strip[0] = strip[-1] = 255.0
    strip[:, 0] = strip[:, 300] = strip[:, -1] = 255.0
    strip[:, 1:300][20] = 0.0
    strip = write(strip, "HV 5.00 kV", 8, 20, 255, 18)
    for left, right, tick in ((350, 420, 350), (500, 570, 570)):
        strip[19:21, left : right + 1] = 255.0
        strip[14:26, tick - 1 : tick + 2] = 255.0
    strip = write(strip, "500 nm", 8, 430, 255, 18)
    return np.vstack([pixels, strip])


def test_halves_with_the_number_between_them_are_one_bar():
    [bar] = find_scale_bars(data_bar(), data_bar_px=40)
    assert bar.where == "data bar"
    assert bar.length_px == pytest.approx(220.0, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_micrograph_without_a_bar_has_none(seed):
    assert find_scale_bars(field(seed=seed)) == []


def test_a_flat_image_has_none():
    assert find_scale_bars(np.zeros((50, 60))) == []


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length_nm"),
    [
        ("200 nm", 200.0),
        ("0.5 µm", 500.0),
        ("0,5μm", 500.0),
        ("5 um", 5000.0),
        ("1 mm", 1e6),
        ("50nm", 50.0),
        ("2 Å", 0.2),
        ("scale 100 NM", 100.0),
    ],
)
def test_lengths(text, length_nm):
    assert parse_length_nm(text) == pytest.approx(length_nm)


@pytest.mark.parametrize(
    "text",
    ["", "200", "nm", "0 nm", "200 kV", "3 nmol", "5 nm 7 nm", "15Mm", "1,000nm", "2.5.5 nm"],
)
def test_texts_that_are_no_length_are_refused(text):
    with pytest.raises(InputError, match="no length"):
        parse_length_nm(text)


@pytest.mark.parametrize("option", ["1e3 nm", "-2 nm", "1,000 nm", "200", "about 200 nm", "0 nm"])
def test_the_users_word_is_a_length_and_no_more(option):
    with pytest.raises(InputError, match="scale"):
        check_option(option)


def test_the_users_word_uses_the_measured_length():
    pixels, length = boxed("hollow")
    bar = read_scale_bar(pixels, length_nm=200.0)
    assert bar.pixel_size_nm == pytest.approx(200.0 / length, rel=1e-3)
    assert read_scale_bar(field(), length_nm=200.0) is None


def test_several_lines_are_no_scale():
    pixels = np.full((200, 400), 140.0)
    pixels[:90] += np.random.default_rng(0).normal(0, 12, (90, 400))
    draw_line(pixels, 120, 126, 19.5, 119.5, 0.0)
    draw_line(pixels, 160, 166, 219.5, 379.5, 0.0)
    assert len(find_scale_bars(pixels)) == 2
    with pytest.raises(InputError, match="2 lines could be"):
        read_scale_bar(pixels, length_nm=100.0)


def test_without_an_engine_the_reason_says_what_to_do(monkeypatch):
    monkeypatch.setattr(scale_bar_ocr, "can_read_labels", lambda: False)
    with pytest.raises(InputError, match=r"nanoarray\[ocr\]"):
        read_scale_bar(field())


@needs_engine
def test_numbers_are_read():
    pixels, length = boxed("chequered")
    bar = read_scale_bar(pixels)
    assert (bar.label, bar.length_nm) == ("200 nm", 200.0)
    assert bar.pixel_size_nm == pytest.approx(200.0 / length, rel=1e-3)
    assert read_scale_bar(data_bar(), data_bar_px=40).length_nm == 500.0
    assert read_scale_bar(field()) is None


# --- real micrographs -------------------------------------------------------------------------

REAL = [  # file, rows of data bar, what the bar says [nm], pixel size of the header [nm]
    ("tem_superlattice/hexagonal_example.Tif", 0, 200.0, 0.7015600464472038),
    ("tem_superlattice/square_example.Tif", 0, 100.0, 0.3475795750590828),
    ("vendor_formats/TVIPS_bin4.tif", 0, 200.0, 1.420803666),
    ("sem_superlattice/1CJT016 4degC cross section 1_017.tif", 59, 500.0, 2.5),
    ("sem_superlattice/1CJT016 4degC cross section 1_018.tif", 59, 500.0, 2.5),
    ("sem_superlattice/1CJT016 4degC cross section 1_021.tif", 59, 500.0, 2.5),
    ("vendor_formats/test_tiff_Zeiss_SEM_1k.tif", 76, 200e3, 2615.0),
    ("vendor_formats/FEI-Helios-Ebeam-8bits.tif", 29, 500e3, 3372.0),
]


@pytest.mark.parametrize(("name", "data_bar_px", "length_nm", "size_nm"), REAL)
def test_real_bars_agree_with_the_header_within_a_percent(
    real_data, name, data_bar_px, length_nm, size_nm
):
    pixels = tifffile.imread(real_data / name)
    pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
    bar = read_scale_bar(pixels, length_nm=length_nm, data_bar_px=data_bar_px)
    assert bar.pixel_size_nm == pytest.approx(size_nm, rel=0.01)


@needs_engine
@pytest.mark.parametrize(("name", "data_bar_px", "length_nm", "size_nm"), REAL)
def test_real_numbers_are_read(real_data, name, data_bar_px, length_nm, size_nm):
    pixels = tifffile.imread(real_data / name)
    pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
    bar = read_scale_bar(pixels, data_bar_px=data_bar_px)
    assert bar.length_nm == length_nm
