"""PNG and JPEG micrographs: exact pixels, no scale, reasons for what is broken."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nanoarray.errors import ImageError
from nanoarray.images.read import decode_micrograph


@pytest.fixture
def noise(rng=None):
    return np.random.default_rng(3).integers(20, 230, (60, 80))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_png_is_exact(noise, dtype):
    pixels = (noise * (np.iinfo(dtype).max // 255)).astype(dtype)
    found = decode_micrograph(saved(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.pixels.dtype == dtype
    assert found.bit_depth == 8 * np.dtype(dtype).itemsize


def test_rgb_saved_grey_and_palette(noise):
    grey = noise.astype(np.uint8)
    for image in (
        Image.fromarray(grey).convert("RGB"),
        Image.fromarray(grey).convert("RGBA"),
        Image.fromarray(grey).convert("P"),
    ):
        np.testing.assert_array_equal(decode_micrograph(saved(image, "PNG")).pixels, grey)


def test_resolution_of_a_picture_is_no_scale(noise):
    image = Image.fromarray(noise.astype(np.uint8))
    for kind in ("PNG", "JPEG"):
        found = decode_micrograph(
            saved(image, kind, dpi=(25_400_000, 25_400_000)[:2] if kind == "PNG" else (300, 300))
        )
        assert np.isnan(found.pixel_size_nm)
        assert found.pixel_size_source == ""


def test_jpeg_is_close(noise):
    smooth = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)
    found = decode_micrograph(saved(Image.fromarray(smooth), "JPEG", quality=95))
    assert np.abs(found.pixels.astype(int) - smooth).max() <= 3


def test_coloured_picture_is_refused():
    colours = np.zeros((40, 40, 3), np.uint8)
    colours[..., 0] = 200
    with pytest.raises(ImageError, match="colour"):
        decode_micrograph(saved(Image.fromarray(colours), "PNG"))


def test_inks_are_refused(noise):
    inks = Image.fromarray(noise.astype(np.uint8)).convert("CMYK")
    with pytest.raises(ImageError, match="CMYK"):
        decode_micrograph(saved(inks, "JPEG"))


def test_animation_is_refused(noise):
    frames = [Image.fromarray(((noise + k) % 256).astype(np.uint8)) for k in range(3)]
    content = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="3 frames"):
        decode_micrograph(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_truncation_is_refused(noise, kind):
    content = saved(Image.fromarray(noise.astype(np.uint8)), kind)
    for size in range(1, len(content) - 20, max(1, len(content) // 60)):
        with pytest.raises(ImageError):
            decode_micrograph(content[:size])


def test_declared_size_is_not_believed():
    header = struct.pack(">IIBBBBB", 60_000, 30_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    content = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    with pytest.raises(ImageError, match="60000 x 30000"):
        decode_micrograph(content)
