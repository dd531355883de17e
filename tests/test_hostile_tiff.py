"""TIFF files made to hurt: always a reason, soon, and without memory."""

import contextlib
import resource
import struct
import time

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarray.errors import ImageError
from nanoarray.images.inspection import inspect_files
from nanoarray.images.read import read_micrograph, read_micrographs
from nanoarray.images.tiff import jpeg_size
from nanoarray.images.tiff_structure import MAX_PAGES, check_structure

NOISE = np.random.default_rng(1).integers(0, 256, (40, 50), dtype=np.uint8)
#: No case may take longer, or make the process grow by more.
MOST_SECONDS, MOST_MB = 5.0, 64


def directory(entries, following, *, at=8, order="<"):
    body = struct.pack(f"{order}H", len(entries))
    for code, kind, count, value in entries:
        body += struct.pack(f"{order}HHII", code, kind, count, value)
    return body + struct.pack(f"{order}I", following)


def head(offset=8, order="<"):
    return struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, offset)


def entries(width=50, height=40, compression=1, at=500, count=2000, extra=()):
    said = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: at}
    said |= {277: 1, 278: height, 279: count, **dict(extra)}
    return [(code, 4, 1, value) for code, value in sorted(said.items())]


def chain(pages):
    """Directories of a few bytes each, each pointing at the next."""
    one = len(directory([(256, 4, 1, 1)], 0))
    return head() + b"".join(
        directory([(256, 4, 1, 1)], 8 + one * (k + 1) if k + 1 < pages else 0) for k in range(pages)
    )


def jpeg_bomb():
    frame = b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 65000, 65000) + b"\x01\x01\x11\0"
    body = directory(entries(compression=7, count=len(frame) + 50), 0)
    return (head() + body).ljust(500, b"\0") + frame + b"\0" * 50


def tile_bomb():
    tiles = [(322, 1 << 20), (323, 1 << 20), (324, 500), (325, 100)]
    said = [e for e in entries(compression=8, extra=tiles) if e[0] not in (273, 278, 279)]
    return (head() + directory(said, 0)).ljust(500, b"\0") + b"\0" * 100


CASES = {
    "a circle of two directories": (
        head() + directory([(256, 4, 1, 1)], 26) + directory([(256, 4, 1, 1)], 8),
        "circle",
    ),
    "a directory that follows itself": (head() + directory([(256, 4, 1, 1)], 8), "circle"),
    "a long chain": (chain(MAX_PAGES + 2), f"more than {MAX_PAGES} pages"),
    "many small pages": (chain(3000), "holds 3000 images|cannot be read|no image"),
    "65,535 tags": (head() + struct.pack("<H", 65535) + b"\0" * 99, "65535 tags"),
    "values beyond the file": (
        head() + directory([(270, 2, 2**31, 8)], 0) + b"\0" * 99,
        "more than the file can hold",
    ),
    "a huge number of strips": (
        head() + directory([*entries()[:5], (273, 4, 2**28, 8)], 0) + b"\0" * 99,
        "more than the file can hold",
    ),
    "huge pixels": (
        head() + directory(entries(2**31 - 1, 2**31 - 1), 0),
        "declares|cannot be read",
    ),
    "a compressed bomb": (
        (head() + directory(entries(40000, 40000, 8, count=100), 0)).ljust(700, b"\0"),
        "not credible",
    ),
    "a JPEG that declares 65,000 px": (jpeg_bomb(), "larger than the image"),
    "huge tiles": (tile_bomb(), "tiles of 1048576|cannot be read"),
    "JPEG 2000": (
        (head() + directory(entries(compression=34712), 0)).ljust(2600, b"\0"),
        "which is not read",
    ),
    "a directory outside": (head(2**31), "truncated"),
    "big endian, cut": (head(8, ">") + b"\0", "truncated"),
}


@pytest.mark.parametrize("case", CASES)
def test_reason_without_time_or_memory(tmp_path, case):
    content, reason = CASES[case]
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(ImageError, match=reason):
        read_micrograph(path)
    assert time.process_time() - start < MOST_SECONDS
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < MOST_MB
    (found,) = inspect_files([path])
    assert found.problem


def test_real_compressions_are_read(tmp_path):
    for compression in ("lzw", "zlib", "zstd", "packbits", "lzma", "jpeg"):
        tifffile.imwrite(tmp_path / "a.tif", NOISE, compression=compression, metadata=None)
        read = read_micrograph(tmp_path / "a.tif")
        assert read.pixels.shape == NOISE.shape
        if compression != "jpeg":
            np.testing.assert_array_equal(read.pixels, NOISE)


def test_tiles_and_bigtiff_are_read(tmp_path):
    image = np.random.default_rng(2).integers(0, 255, (300, 200), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, tile=(128, 128), compression="zlib", bigtiff=True)
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.tif").pixels, image)
    assert check_structure((tmp_path / "a.tif").read_bytes()) == 1


def test_sizes_in_jpeg_streams(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", NOISE, compression="jpeg", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages.first
        tif.filehandle.seek(page.dataoffsets[0])
        assert jpeg_size(tif.filehandle.read(page.databytecounts[0])) == (50, 40)
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\2", b"\xff" * 40):
        assert jpeg_size(content) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_stacks_give_images_or_reasons(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("stack") / "a.tif"
    kind = data.draw(st.sampled_from(["imagej", "ome", "plain"]))
    options = {"imagej": {"imagej": True}, "ome": {"ome": True}, "plain": {"metadata": None}}[kind]
    planes = np.stack([NOISE[:20, :20]] * 3)
    tifffile.imwrite(path, planes, photometric="minisblack", **options)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with contextlib.suppress(ImageError):
        for image in read_micrographs(path):
            assert image.pixels.ndim == 2
