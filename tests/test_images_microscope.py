"""dm3, dm4, ser, emd and mrc: files the tests make, and real ones."""

from __future__ import annotations

import importlib.util
import math
import os
import struct

import numpy as np
import pytest
from fuzz_readers import case
from microscope_files import berkeley, dm3, mrc, ser, velox

from nanoarray.errors import ImageError
from nanoarray.images import microscope
from nanoarray.images.read import frames_of, open_source, read_frame, read_micrograph

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("ncempy", "h5py", "mrcfile")),
    reason="the extra `microscopes` is not installed",
)
PIXELS = np.random.default_rng(0).integers(0, 4000, (3, 20, 30)).astype(np.uint16)


def images(path) -> dict[str, object]:
    """Micrograph or reason of every image of a file, by its name."""
    found = {}
    for frame in frames_of(open_source(path)):
        try:
            found[frame.name] = read_frame(frame, cut_data_bar=False)
        except ImageError as error:
            found[frame.name] = str(error)
    return found


@pytest.mark.parametrize(
    ("name", "content", "size_nm"),
    [
        ("a.dm3", lambda: dm3(PIXELS[0]), 0.5),
        ("a.dm3", lambda: dm3(PIXELS[0], thumbnail=False, scale=0.25, unit="µm"), 250.0),
        ("a.ser", lambda: ser([PIXELS[0]]), 2.0),
        ("a.emd", lambda: velox([PIXELS[0][:, :, None]]), 0.1),
        ("a.emd", lambda: berkeley(PIXELS[0]), 0.25),
        ("a.mrc", lambda: mrc(PIXELS[:1]), 0.5),
        ("a.mrc", lambda: mrc(PIXELS[:1], order=">"), 0.5),
    ],
)
def test_one_image_with_its_scale(tmp_path, name, content, size_nm):
    path = tmp_path / name
    path.write_bytes(content())
    found = read_micrograph(path, cut_data_bar=False)
    np.testing.assert_array_equal(found.pixels, PIXELS[0])
    assert found.pixel_size_nm == pytest.approx(size_nm)
    assert found.pixel_size_source


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.dm3", lambda: dm3(PIXELS)),
        ("a.ser", lambda: ser(list(PIXELS))),
        ("a.emd", lambda: velox([np.moveaxis(PIXELS, 0, -1)])),
        ("a.emd", lambda: velox([p[:, :, None] for p in PIXELS])),
        ("a.emd", lambda: berkeley(PIXELS)),
        ("a.mrc", lambda: mrc(PIXELS)),
    ],
)
def test_each_image_of_a_stack_is_one(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content())
    found = images(path)
    assert list(found) == ["1", "2", "3"]
    for one, pixels in zip(found.values(), PIXELS, strict=True):
        np.testing.assert_array_equal(one.pixels, pixels)


def test_what_is_no_image_has_the_reason(tmp_path):
    path = tmp_path / "a.dm3"
    path.write_bytes(dm3(PIXELS, depth_unit="eV"))
    assert "spectrum" in images(path)[""]
    path = tmp_path / "b.emd"
    path.write_bytes(velox([PIXELS[0][:, :, None], PIXELS[0][:, :, None] * 1j]))
    found = images(path)
    assert "complex" in found["2"]
    assert found["1"].pixel_size_nm == pytest.approx(0.1)
    path = tmp_path / "c.emi"
    path.write_bytes(b"JM")
    with pytest.raises(ImageError, match=r"c_1\.ser"):
        images(path)


def test_links_out_of_the_file_are_not_followed(tmp_path, monkeypatch):
    import h5py

    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.emd").write_bytes(velox([PIXELS[0][:, :, None]]))
    with h5py.File(tmp_path / "a.emd", "w") as file:
        group = file.create_group("Data/Image/0")
        group["Data"] = h5py.ExternalLink("other.emd", f"/Data/Image/{0:032x}/Data")
        file["Data/Image/1"] = h5py.ExternalLink("other.emd", f"/Data/Image/{0:032x}")
    found = images(tmp_path / "a.emd")
    assert all(isinstance(reason, str) and "of its own" in reason for reason in found.values())


def test_a_file_that_the_library_never_ends_with_has_a_reason(tmp_path, monkeypatch):
    """The attribute's data were overwritten: HDF5 1.14 looks for its end for ever."""
    monkeypatch.setattr("nanoarray.images.microscope_probe._SECONDS", 6.0)
    path = tmp_path / "a.emd"
    path.write_bytes(case(6598)[1])
    with pytest.raises(ImageError, match="does not come to an end with it in 6 s"):
        read_micrograph(path)


def test_a_diffraction_pattern_has_no_length(tmp_path):
    path = tmp_path / "a.dm3"
    path.write_bytes(dm3(PIXELS[0], unit="1/nm"))
    found = read_micrograph(path)
    assert np.isnan(found.pixel_size_nm)
    assert "diffraction" in found.warnings[0]


def test_a_number_that_is_no_length_of_a_pixel_is_none(tmp_path):
    """TIA gives diffraction patterns in 1/m, without saying so."""
    path = tmp_path / "a.ser"
    path.write_bytes(ser([PIXELS[0]], step_m=2e8))
    assert math.isnan(read_micrograph(path).pixel_size_nm)


def test_one_angstrom_is_doubted(tmp_path):
    path = tmp_path / "a.mrc"
    for voxel, doubts in ((1.0, 1), (1.5, 0)):
        path.write_bytes(mrc(PIXELS[:1], voxel_angstrom=voxel))
        assert len(read_micrograph(path).warnings) == doubts


def test_a_stack_cut_short_keeps_what_is_there(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(PIXELS)[:-100])
    found = images(path)
    np.testing.assert_array_equal(found["2"].pixels, PIXELS[1])
    assert "truncated" in found["3"]


def test_a_stack_of_any_size_is_read_image_by_image(tmp_path):
    path = tmp_path / "movie.mrc"
    depth, height, width = 800, 1024, 2048
    bright = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    head = bytearray(mrc(PIXELS[:1])[:1024])
    struct.pack_into("<3i", head, 0, width, height, depth)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(1024 + depth * bright.nbytes)  # 3.1 GiB, of which nothing is stored
        file.seek(1024 + 750 * bright.nbytes)
        file.write(bright.tobytes())
    frames = frames_of(open_source(path))
    assert len(frames) == depth
    np.testing.assert_array_equal(read_frame(frames[750]).pixels, bright)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.dm3", lambda: dm3(PIXELS[0])),
        ("a.ser", lambda: ser([PIXELS[0]])),
        ("a.emd", lambda: velox([PIXELS[0][:, :, None]])),
    ],
)
def test_a_file_may_be_larger_than_one_image_may_be(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content())
    os.truncate(path, 3 * 2**30)
    found = read_micrograph(path, cut_data_bar=False)
    np.testing.assert_array_equal(found.pixels, PIXELS[0])


def test_an_emi_file_says_where_its_images_are(tmp_path):
    emi = tmp_path / "search.emi"
    emi.write_bytes(b"JM" + bytes(100))
    with pytest.raises(ImageError, match=r"not beside it: expected search_1\.ser"):
        frames_of(open_source(emi))
    for number in (2, 10, 1):
        (tmp_path / f"search_{number}.ser").write_bytes(ser([PIXELS[0]]))
    (tmp_path / "search_1b.ser").touch()
    with pytest.raises(ImageError, match=r"read search_1\.ser, search_2\.ser, search_10\.ser"):
        frames_of(open_source(emi))


def test_without_the_library_the_reason_says_what_to_do(tmp_path, monkeypatch):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(PIXELS))
    monkeypatch.setattr(microscope.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"nanoarray\[microscopes\]"):
        read_micrograph(path)


REAL = {
    "FEI_HAADF_UK.dm3": 5.506073,
    "test_STEM_image.dm3": 0.248538017,
    "gatan_MoS2_haadf.dm3": 0.012695312,
    "jeol_haadf.dm4": 1.249014,
    "test-1.dm3": None,
    "test-1.dm4": None,
    "fei_example_tem_stack.emd": 0.008172883,
    "fei_example_dpc_titles.emd": 0.099619916,
    "HAADFscan.mrc": 5.679131317,
    "128x128-TEM_search_1.ser": 5.261214205,
}


@pytest.mark.parametrize(("name", "size_nm"), REAL.items())
def test_real_files(real_data, name, size_nm):
    found = images(real_data / "vendor_formats" / name).values()
    sizes = [f.pixel_size_nm for f in found if not isinstance(f, str)]
    assert sizes
    if size_nm is None:
        assert np.isnan(sizes).all()
    else:
        np.testing.assert_allclose(sizes, size_nm, rtol=1e-6)
