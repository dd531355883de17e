"""The data bar is found where there is one, and nothing is cut where there is none."""

import numpy as np
import pytest
from scipy import ndimage

from nanoarray.images.data_bar import data_bar_rows, find_data_bar
from nanoarray.images.read import find_micrographs, read_micrograph
from nanoarray.simulate.superlattice import simulate_polycrystal


@pytest.fixture(scope="module")
def micrograph():
    return simulate_polycrystal(height_px=300, width_px=400, grain_count=6, seed=3).image


def bar(width, rows, background, writing, *, seed=0):
    """Blocks of strokes on a flat tone, with a ruled line at the bottom."""
    rng = np.random.default_rng(seed)
    pixels = np.full((rows, width), background, np.float64)
    for left in range(5, width - 12, 16):
        if rng.random() < 0.7:
            strokes = np.kron(rng.random((rows // 4, 3)) < 0.4, np.ones((2, 3))) > 0
            pixels[rows // 4 : rows // 4 + len(strokes), left : left + 9][strokes] = writing
    pixels[-1] = writing
    return pixels


@pytest.mark.parametrize("rows", [12, 30, 59])
@pytest.mark.parametrize(("background", "writing"), [(0, 255), (255, 0), (30, 220)])
def test_bar_is_found(micrograph, rows, background, writing):
    pixels = np.concatenate([micrograph, bar(400, rows, background, writing)]).astype(np.uint8)
    assert abs(find_data_bar(pixels) - rows) <= 2


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_bar_is_found_at_any_depth(micrograph, dtype):
    pixels = np.concatenate([micrograph, bar(400, 30, 0, 255)]).astype(dtype) * dtype(250)
    assert abs(find_data_bar(pixels) - 30) <= 2


def test_bar_with_antialiased_writing(micrograph):
    smooth = ndimage.gaussian_filter(bar(400, 40, 0, 255), 0.5)
    pixels = np.concatenate([micrograph, smooth]).astype(np.uint8)
    assert abs(find_data_bar(pixels) - 40) <= 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lattice", ["square", "hexagonal"])
def test_micrographs_without_bar_are_left_alone(seed, lattice):
    image = simulate_polycrystal(
        height_px=200, width_px=260, grain_count=4, lattice=lattice, pore_count=2, seed=seed
    ).image
    assert find_data_bar(image) == 0


@pytest.mark.parametrize("level", [0, 255])
def test_vacuum_or_saturation_at_the_bottom_is_no_bar(micrograph, level):
    pixels = micrograph.copy()
    pixels[-40:] = level
    assert find_data_bar(pixels) == 0
    for gain in (1.0, 1.4):  # and something grey within it
        piece = np.clip(micrograph[-30:-20, 50:200] * gain, 0, 255)
        pixels[-30:-20, 50:200] = piece
        assert find_data_bar(pixels) == 0


def test_odd_shapes_have_no_bar():
    for shape in ((1, 1), (3, 500), (500, 3), (20, 40)):
        assert find_data_bar(np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)) == 0
    assert find_data_bar(np.zeros((200, 200), np.uint8)) == 0


def test_metadata_decides_where_it_fits(micrograph):
    assert data_bar_rows(micrograph, image_height_px=280, image_width_px=400) == 20
    assert data_bar_rows(micrograph, image_height_px=300, image_width_px=400) == 0
    # A header of another image (resized or cropped) is not believed.
    assert data_bar_rows(micrograph, image_height_px=280, image_width_px=800) == 0
    assert data_bar_rows(micrograph, image_height_px=900, image_width_px=400) == 0
    assert data_bar_rows(micrograph, image_height_px=10, image_width_px=400) == 0


def test_real_bars_are_found_without_metadata(real_data):
    for path in find_micrographs(real_data / "sem_superlattice"):
        pixels = read_micrograph(path, cut_data_bar=False).pixels
        assert pixels.shape[0] == 943
        assert abs(find_data_bar(pixels) - 59) <= 2
        assert find_data_bar(pixels[:884]) == 0


def test_real_micrographs_without_bar(real_data):
    for path in find_micrographs(real_data / "tem_superlattice"):
        assert find_data_bar(read_micrograph(path, cut_data_bar=False).pixels) == 0


def test_rows_of_micrograph_below_the_bar_go_with_it(micrograph):
    """Zeiss draws its bar over the micrograph, between ruled lines, and leaves a row below it."""
    drawn = np.full((60, 400), 255.0)
    drawn[12:40, 20:380:9] = drawn[12:40, 21:380:9] = 0
    drawn[[0, -1]] = 0
    pixels = micrograph.astype(np.float64)
    pixels[-61:-1] = drawn
    assert find_data_bar(pixels.astype(np.uint8)) == 61
    assert find_data_bar(pixels[:-61].astype(np.uint8)) == 0


def test_bar_that_was_scaled_with_its_picture(micrograph):
    """Its writing is of no one tone, and a shaded line closes it."""
    drawn = ndimage.gaussian_filter(bar(400, 20, 255, 0, seed=4), 0.9)
    again = ndimage.gaussian_filter(bar(400, 20, 255, 0, seed=5), 0.9)
    third = ndimage.gaussian_filter(bar(400, 20, 255, 0, seed=6), 0.9)
    shade = np.linspace(250, 20, 8)[:, np.newaxis] * np.ones((8, 400))
    lines = [part[:-2] for part in (drawn, again, third)]
    top = np.full((4, 400), 255.0)
    grey = np.minimum(micrograph, 230)
    pixels = np.concatenate([grey, top, *lines, shade]).astype(np.uint8)
    assert abs(find_data_bar(pixels) - (4 + 54 + 8)) <= 2


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("test_tiff_Zeiss_SEM_1k.tif", 77),
        ("zeiss_sem_ti64.tif", 0),
        ("TVIPS_bin4.tif", 0),
        ("jeol_it800_makernote.tif", 66),
    ],
)
def test_real_bars_of_other_vendors(real_data, name, rows):
    pixels = read_micrograph(real_data / "vendor_formats" / name, cut_data_bar=False).pixels
    assert find_data_bar(pixels) == rows


def test_figure_panels_have_one_bar(real_data):
    found = {}
    for path in find_micrographs(real_data / "tem_particles" / "images"):
        found[path.stem] = int(read_micrograph(path).metadata["data_bar_px"])
    # The only one with the bar of its camera: 79 rows, as a person counts them.
    assert {name: rows for name, rows in found.items() if rows} == {"1ecd5c901c": 79}
