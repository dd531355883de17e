"""Preparing micrographs: defects, focus, lattice spacing, contrast, line noise, scale."""

import time

import numpy as np
import pytest
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.images.read import find_micrographs, read_micrograph
from nanoarray.simulate.superlattice import NOISE_LEVELS, simulate_polycrystal
from nanoarray.superlattice.parameters import PreparedParameters
from nanoarray.superlattice.prepare.cleaning import (
    equalize,
    find_defects,
    lattice_spacing,
    resample,
    resample_mask,
    sharpness,
    suppress_line_noise,
)
from nanoarray.superlattice.prepare.near import within

MIN_SHARPNESS = PreparedParameters().min_sharpness
SIZE = {"height_px": 440, "width_px": 512, "grain_count": 8}
ROWS_PER_NEIGHBOUR = {"square": 1.0, "hexagonal": np.sqrt(3) / 2}


def polycrystal(lattice="square", noise="low", **options):
    return simulate_polycrystal(
        lattice=lattice, **{"seed": 5, **SIZE, **NOISE_LEVELS[noise], **options}
    )


@pytest.fixture(scope="module")
def micrograph():
    return polycrystal().image


def beads(shape, spacing, angle_deg):
    """A perfect square lattice, as the product of two waves."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    u, v = c * x - s * y, s * x + c * y
    k = 2 * np.pi / spacing
    return 100 + 25 * (np.cos(k * u) + np.cos(k * v))


class TestLatticeSpacing:
    @pytest.mark.parametrize("noise", ["low", "high"])
    @pytest.mark.parametrize("lattice", ["square", "hexagonal"])
    @pytest.mark.parametrize("spacing", [8.0, 11.0, 16.0])
    def test_polycrystals(self, lattice, noise, spacing):
        image = polycrystal(lattice, noise, spacing_px=spacing).image
        expected = spacing * ROWS_PER_NEIGHBOUR[lattice]
        assert lattice_spacing(image) == pytest.approx(expected, rel=0.03)

    @pytest.mark.parametrize("angle", [0, 17, 45])
    def test_perfect_lattice_at_any_angle(self, angle):
        assert lattice_spacing(beads((400, 400), 12.3, angle)) == pytest.approx(12.3, rel=0.02)

    def test_scales_with_the_image_and_ignores_gain(self, micrograph):
        spacing = lattice_spacing(micrograph)
        larger = lattice_spacing(resample(micrograph, factor=1.5))
        assert larger == pytest.approx(1.5 * spacing, rel=0.02)
        assert lattice_spacing(micrograph * 50.0 + 1000) == pytest.approx(spacing, rel=1e-3)

    @pytest.mark.parametrize("kind", ["noise", "smooth noise", "constant", "gradient"])
    def test_no_lattice(self, kind):
        values = np.random.default_rng(0).normal(100, 10, (400, 500))
        if kind == "smooth noise":
            values = ndimage.gaussian_filter(values, 4)
        elif kind == "constant":
            values[:] = 3
        elif kind == "gradient":
            values[:] = np.arange(500)
        assert np.isnan(lattice_spacing(values))

    @pytest.mark.parametrize("shape", [(1, 1), (10, 300), (63, 63)])
    def test_too_small_to_tell(self, shape):
        assert np.isnan(lattice_spacing(np.ones(shape)))

    def test_defects_are_left_out(self, micrograph):
        damaged = micrograph.copy()
        damaged[:, 200:] = 50
        damaged[:, 200:][::40] = 250
        mask = np.zeros(damaged.shape, bool)
        mask[:, 200:] = True
        assert lattice_spacing(damaged, defect=mask) == pytest.approx(11, rel=0.04)


class TestDefects:
    @pytest.mark.parametrize("noise", ["low", "high"])
    @pytest.mark.parametrize("lattice", ["square", "hexagonal", "oblique"])
    def test_nothing_is_masked_without_defects(self, lattice, noise):
        image = polycrystal(lattice, noise, height_px=884, width_px=1024, grain_count=24).image
        assert find_defects(image).mean() < 0.005

    @pytest.mark.parametrize("option", [{"blur_px": 2.5}, {"line_noise": 0.4}, {"tilt_deg": 52}])
    def test_nor_by_blur_line_noise_or_tilt(self, option):
        assert find_defects(polycrystal(**option).image).mean() < 0.005

    @pytest.mark.parametrize("spacing", [8.0, 11.0, 18.0])
    def test_pores(self, spacing):
        simulated = polycrystal(spacing_px=spacing, pore_count=3, seed=8)
        pore = simulated.grain == 0
        found = find_defects(simulated.image)
        assert found[pore].mean() > 0.9
        near = ndimage.distance_transform_edt(~pore) <= 3.5 * spacing
        assert found[~near].mean() < 0.005

    @pytest.mark.parametrize("tone", [0, 40, 90, 200])
    def test_smooth_damage_of_any_tone(self, micrograph, tone):
        rng = np.random.default_rng(2)
        image = micrograph.copy()
        image[150:300, 180:330] = np.clip(rng.normal(tone, 8, (150, 150)), 0, 255)
        found = find_defects(image)
        assert found[155:295, 185:325].mean() > 0.95
        far = np.ones(found.shape, bool)
        far[110:340, 140:370] = False
        assert found[far].mean() < 0.005

    def test_halo_over_lattice_is_kept(self, micrograph):
        y, x = np.mgrid[:440, :512]
        halo = 60 * np.exp(-((y - 220) ** 2 + (x - 256) ** 2) / (2 * 50**2))
        image = np.clip(micrograph + halo, 0, 255).astype(np.uint8)
        assert find_defects(image).mean() < 0.005

    def test_burnt_in_scale_bar(self, micrograph):
        image = micrograph.copy()
        image[390:430, 330:500] = 255
        image[400:404, 340:490] = 0
        found = find_defects(image)
        assert found[390:430, 330:500].all()
        assert found.mean() < 0.06

    def test_gain_and_depth_do_not_matter(self):
        image = polycrystal(pore_count=2, seed=8).image
        once = find_defects(image)
        np.testing.assert_array_equal(once, find_defects(image.astype(np.uint16) * 200 + 77))
        assert once.any()

    @pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 64), (33, 500)])
    def test_any_shape(self, shape):
        image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        mask = find_defects(image)
        assert mask.shape == shape
        assert mask.dtype == np.bool_

    def test_image_of_nothing_is_all_defect(self):
        assert find_defects(np.zeros((200, 300), np.uint8)).all()


class TestSharpness:
    @pytest.mark.parametrize("noise", ["low", "high"])
    @pytest.mark.parametrize("lattice", ["square", "hexagonal", "oblique"])
    def test_sharp_and_blurred_are_apart(self, lattice, noise):
        image = polycrystal(lattice, noise).image
        assert sharpness(image) > MIN_SHARPNESS + 0.15
        after = ndimage.gaussian_filter(image.astype(np.float32), 4)
        assert sharpness(after) < MIN_SHARPNESS
        assert sharpness(np.rint(after)) < MIN_SHARPNESS
        out_of_focus = polycrystal(lattice, noise, blur_px=4.5).image
        assert sharpness(out_of_focus) < MIN_SHARPNESS

    def test_falls_with_blur_and_hardly_with_noise(self):
        scores = [sharpness(polycrystal(blur_px=blur).image) for blur in (0.8, 2.0, 3.0, 4.0)]
        assert scores == sorted(scores, reverse=True)
        noisy = sharpness(polycrystal(noise="low", line_noise=0.03).image)
        assert abs(noisy - sharpness(polycrystal(noise="high", blur_px=0.8).image)) < 0.12

    def test_noise_alone_is_not_sharp(self):
        assert sharpness(np.random.default_rng(0).normal(0, 9, (400, 400)), spacing_px=11) < 0.2
        assert sharpness(np.zeros((300, 300))) == 0
        assert sharpness(np.zeros((3, 3))) == 0


class TestContrast:
    def test_global_equalization_makes_the_histogram_even(self, micrograph):
        counts, _ = np.histogram(equalize(micrograph, method="global"), bins=8, range=(0, 1))
        assert np.abs(counts / micrograph.size - 1 / 8).max() < 0.03

    def test_adaptive_equalization_evens_out_local_contrast(self, micrograph):
        fade = np.linspace(1, 0.1, 512)
        image = 128 + (micrograph - 128.0) * fade
        even = equalize(image, method="adaptive")
        before, after = (v[:, -128:].std() / v[:, :128].std() for v in (image, even))
        assert after > 1.2 * before

    @pytest.mark.parametrize("method", ["none", "global", "adaptive"])
    def test_range_type_and_constant_images(self, micrograph, method):
        result = equalize(micrograph, method=method)
        assert result.dtype == np.float32
        assert result.shape == micrograph.shape
        assert result.min() >= 0
        assert result.max() <= 1
        assert not equalize(np.full((50, 60), 9), method=method).any()

    def test_bad_arguments(self, micrograph):
        with pytest.raises(InputError, match="unknown"):
            equalize(micrograph, method="magic")
        with pytest.raises(InputError, match="window"):
            equalize(micrograph, window_px=1)


class TestLineNoise:
    @pytest.mark.parametrize("masked", [False, True])
    def test_offsets_go(self, micrograph, masked):
        offsets = np.random.default_rng(3).normal(0, 12, (440, 1))
        mask = None
        if masked:
            mask = np.zeros(micrograph.shape, bool)
            mask[100:200, 100:] = True
        clean = suppress_line_noise(micrograph, defect=mask)
        left = suppress_line_noise(micrograph + offsets, defect=mask) - clean
        kept = left[:100] if masked else left
        assert kept.std() < 0.35 * 12

    def test_image_without_line_noise_stays(self):
        image = polycrystal(line_noise=0.0).image
        assert np.abs(suppress_line_noise(image) - image).mean() < 1.0

    def test_lattice_along_the_scan_lines_stays(self):
        image = beads((440, 512), 11, 0)
        noisy = image + np.random.default_rng(1).normal(0, 4, image.shape)
        kept = suppress_line_noise(noisy).mean(axis=1)
        assert np.std(kept) > 0.85 * np.std(image.mean(axis=1))

    def test_small_images(self):
        tiny = np.arange(12.0).reshape(3, 4)
        np.testing.assert_array_equal(suppress_line_noise(tiny), tiny)


class TestResample:
    @pytest.mark.parametrize("factor", [0.37, 0.5, 1.0, 1.6])
    def test_places_and_shape(self, factor):
        y, x = np.mgrid[:120, :150].astype(float)
        result = resample(3 * x - 2 * y, factor=factor)
        assert result.shape == (round(120 * factor), round(150 * factor))
        assert result.dtype == np.float32
        yn, xn = np.mgrid[: result.shape[0], : result.shape[1]]
        expected = 3 * ((xn + 0.5) / factor - 0.5) - 2 * ((yn + 0.5) / factor - 0.5)
        inner = (slice(8, -8), slice(8, -8))
        np.testing.assert_allclose(result[inner], expected[inner], atol=0.6)

    def test_no_aliasing(self):
        fine = beads((300, 300), 3.0, 10)
        assert resample(fine, factor=0.25)[10:-10, 10:-10].std() < 0.02 * fine.std()

    def test_mask_covers_the_same_area(self):
        mask = np.zeros((100, 120), bool)
        mask[20:60, 30:90] = True
        for factor in (0.5, 1.0, 2.3):
            new = resample_mask(mask, factor=factor)
            assert new.mean() == pytest.approx(mask.mean(), rel=0.06)
            assert new.shape == resample(mask, factor=factor).shape

    @pytest.mark.parametrize("factor", [0, -1, np.nan, np.inf, 1e-4])
    def test_bad_factors(self, factor):
        with pytest.raises(InputError, match="resampling"):
            resample(np.ones((20, 20)), factor=factor)


class TestRealMicrographs:
    def test_sem(self, real_data):
        expected = {"017": (0.05, 0.10), "018": (0.0, 0.01), "021": (0.25, 0.42)}
        for path in find_micrographs(real_data / "sem_superlattice"):
            pixels = read_micrograph(path).pixels
            start = time.perf_counter()
            mask = find_defects(pixels)
            assert time.perf_counter() - start < 2
            low, high = expected[path.stem[-3:]]
            assert low <= mask.mean() <= high
            spacing = lattice_spacing(pixels, defect=mask)
            assert 10 <= spacing <= 11.5
            assert sharpness(pixels, defect=mask, spacing_px=spacing) > MIN_SHARPNESS + 0.2
            blurred = ndimage.gaussian_filter(pixels.astype(np.float32), 4)
            assert sharpness(blurred, defect=find_defects(blurred)) < MIN_SHARPNESS
        pore = read_micrograph(path.with_name(path.name.replace("_021", "_017"))).pixels
        mask = find_defects(pore)
        assert mask[560:690, 540:660].all()  # the interior
        assert mask[480:600, 640:735].mean() > 0.5  # its bright rim
        assert not mask[:400, :150].any()
        assert not mask[800:].any()

    def test_tem(self, real_data):
        for path, spacing in zip(
            find_micrographs(real_data / "tem_superlattice"), (16.0, 19.3), strict=True
        ):
            pixels = read_micrograph(path).pixels
            mask = find_defects(pixels)
            assert mask[985:1030, 1075:1370].mean() > 0.95  # the scale bar
            assert mask.mean() < 0.05
            assert lattice_spacing(pixels, defect=mask) == pytest.approx(spacing, rel=0.02)
            assert sharpness(pixels, defect=mask) > MIN_SHARPNESS + 0.2


@pytest.mark.parametrize("distance", [0.5, 1.0, 2**0.5, 3.2, 7.0, 60.0])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
def test_pixels_near_a_mask_are_those_of_the_distance_transform(distance, share):
    mask = np.random.default_rng(3).random((61, 83)) < share
    expected = np.zeros(mask.shape, bool)
    if mask.any():
        expected = ndimage.distance_transform_edt(~mask) <= distance
    np.testing.assert_array_equal(within(mask, distance), expected)
