"""Reading micrographs: what is right is kept, what is broken has a reason."""

import contextlib
import json
import logging
import math
import os
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarray.errors import ImageError, InputError
from nanoarray.images.finding import find_micrographs, find_others, is_micrograph_path
from nanoarray.images.read import quiet_tifffile, read_micrograph, read_micrographs
from nanoarray.images.scale import settle
from nanoarray.images.source import read_bytes
from nanoarray.images.vendors.fei import parse_fei

FEI_TEXT = """[User]\r
Date=03/14/2022\r
Time=11:52:46 AM\r
[System]\r
SystemType=Helios NanoLab" 660\r
[Beam]\r
HV=5000\r
Beam=EBeam\r
Scan=EScan\r
[EBeam]\r
HV=5000\r
HFW=2.5e-07\r
BeamCurrent=8.6e-11\r
WD=0.004\r
[Scan]\r
Dwelltime=3e-06\r
PixelWidth=2.5e-09\r
PixelHeight=2.4e-09\r
[Stage]\r
StageT=0.90756\r
[Image]\r
ResolutionX=1024\r
ResolutionY=884\r
MagCanvasRealWidth=0.128\r
[Detectors]\r
Name=TLD\r
[PrivateFei]\r
DatabarHeight=59\r
TimeOfCreation=05.03.2022 11:52:46\r
""".replace("ResolutionX=1024", "ResolutionX=100").replace("ResolutionY=884", "ResolutionY=80")


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, (80, 100), dtype=np.uint8)


def write_fei(path, pixels, text=FEI_TEXT, **options):
    tifffile.imwrite(path, pixels, extratags=[(34682, 2, None, text, True)], **options)
    return path


def with_bar(pixels, rows=20):
    bar = np.zeros((rows, *pixels.shape[1:]), pixels.dtype)
    bar[5:12, 10:30:3] = np.iinfo(pixels.dtype).max
    return np.concatenate([pixels, bar])


def test_fei_metadata_and_data_bar(tmp_path, noise):
    read = read_micrograph(write_fei(tmp_path / "a.tif", with_bar(noise)))
    np.testing.assert_array_equal(read.pixels, noise)
    assert read.pixels.flags.c_contiguous
    assert (read.pixel_size_nm, read.pixel_size_y_nm) == pytest.approx((2.5, 2.4))
    assert read.pixel_size_source == "FEI tag"
    numbers = {k: v for k, v in read.metadata.items() if not isinstance(v, str)}
    assert numbers == pytest.approx(
        {
            "magnification": 512_000,
            "hfw_um": 0.25,
            "voltage_kV": 5,
            "current_pA": 86,
            "tilt_deg": 52.0,
            "working_distance_mm": 4,
            "dwell_us": 3,
            "data_bar_px": 20,
        },
        rel=1e-4,
    )
    assert read.metadata["detector"] == "TLD"
    assert read.metadata["instrument"] == "Helios NanoLab 660"
    assert read.metadata["acquired"] == "2022-03-05T11:52:46"
    assert json.loads(read.raw_metadata)["FEI"]["EBeam"]["HFW"] == "2.5e-07"


def test_keeping_the_data_bar(tmp_path, noise):
    path = write_fei(tmp_path / "a.tif", with_bar(noise))
    assert read_micrograph(path, cut_data_bar=False).pixels.shape == (100, 100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_depths_are_kept(tmp_path, noise, dtype):
    pixels = noise.astype(dtype) * dtype(200 if dtype == np.uint16 else 1)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    read = read_micrograph(tmp_path / "a.tif")
    assert read.pixels.dtype == dtype
    assert read.bit_depth == np.dtype(dtype).itemsize * 8
    np.testing.assert_array_equal(read.pixels, pixels)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float64])
def test_other_depths_become_float(tmp_path, noise, dtype):
    pixels = (noise // 2).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    read = read_micrograph(tmp_path / "a.tif")
    assert read.pixels.dtype == np.float32
    np.testing.assert_array_equal(read.pixels, pixels)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_encodings_give_the_same_pixels(tmp_path, noise, byteorder, compression):
    pixels = noise.astype(np.uint16) * 7
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder, compression=compression)
    read = read_micrograph(tmp_path / "a.tif").pixels
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_file_with_grey_content(tmp_path, noise, planar):
    axis = -1 if planar == "contig" else 0
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.stack([noise] * 3, axis=axis),
        photometric="rgb",
        planarconfig=planar,
    )
    read = read_micrograph(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.pixels, noise)
    assert read.warnings == ()


def test_alpha_is_dropped(tmp_path, noise):
    pixels = np.stack([noise, noise, noise, np.full_like(noise, 255)], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.tif").pixels, noise)


def test_colour_is_refused_but_a_coloured_label_is_not(tmp_path, noise):
    colour = np.stack([noise, noise, 255 - noise], axis=-1)
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    with pytest.raises(ImageError, match="colour image"):
        read_micrograph(tmp_path / "colour.tif")
    label = np.stack([noise] * 3, axis=-1)
    label[:4, :10] = (255, 0, 0)
    tifffile.imwrite(tmp_path / "label.tif", label, photometric="rgb")
    read = read_micrograph(tmp_path / "label.tif")
    np.testing.assert_array_equal(read.pixels[4:], noise[4:])
    assert "coloured" in read.warnings[0]


def test_palettes_and_inverted_grey(tmp_path, noise):
    ramp = np.arange(256, dtype=np.uint16) * 256
    tifffile.imwrite(
        tmp_path / "grey.tif", noise, photometric="palette", colormap=np.stack([ramp[::-1]] * 3)
    )
    np.testing.assert_array_equal(read_micrograph(tmp_path / "grey.tif").pixels, 255 - noise)
    tifffile.imwrite(
        tmp_path / "colour.tif",
        noise,
        photometric="palette",
        colormap=np.stack([ramp, ramp[::-1], ramp]),
    )
    with pytest.raises(ImageError, match="colour"):
        read_micrograph(tmp_path / "colour.tif")
    tifffile.imwrite(tmp_path / "white0.tif", noise, photometric="miniswhite")
    np.testing.assert_array_equal(read_micrograph(tmp_path / "white0.tif").pixels, 255 - noise)


def test_white_is_zero_at_any_depth(tmp_path, noise):
    few = noise >> 4
    packed = few[:, ::2] << 4 | few[:, 1::2]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, packed, photometric="miniswhite")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags["ImageWidth"].overwrite(100)
        tif.pages[0].tags["BitsPerSample"].overwrite(4)
    np.testing.assert_array_equal(read_micrograph(path).pixels, 15 - few)
    mask = noise > 99
    tifffile.imwrite(path, mask, photometric="miniswhite")
    np.testing.assert_array_equal(read_micrograph(path).pixels, ~mask)


def test_a_file_that_does_not_say_what_0_is(tmp_path, noise):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise)
    content = path.read_bytes()
    entry = struct.pack("<HHI", 262, 3, 1)
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, struct.pack("<HHI", 263, 3, 1)))
    np.testing.assert_array_equal(read_micrograph(path).pixels, noise)


def test_colours_of_print_and_video_are_refused(tmp_path, noise):
    inks = np.stack([noise, noise, noise, np.zeros_like(noise)], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    tifffile.imwrite(tmp_path / "b.tif", inks[..., :3], photometric="ycbcr")
    for name, kind in (("a", "SEPARATED"), ("b", "YCBCR")):
        with pytest.raises(ImageError, match=f"colours as {kind}"):
            read_micrograph(tmp_path / f"{name}.tif")


def test_pages_that_are_left_out(tmp_path, noise):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.stack([noise] * 3, axis=-1), photometric="rgb")
        tif.write(noise // 2)
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.pixels, noise // 2)
    assert read.warnings == ("the only grey one of 2 pages: the others are taken for previews",)
    with tifffile.TiffWriter(path) as tif:
        tif.write(noise)
        tif.write(noise > 99, subfiletype=4)  # a mask of what is transparent
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.pixels, noise)
    assert read.warnings == ()


def test_not_finite_pixels_are_replaced_and_reported(tmp_path, noise):
    pixels = noise.astype(np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    read = read_micrograph(tmp_path / "a.tif")
    assert np.isfinite(read.pixels).all()
    assert "not finite" in read.warnings[0]
    tifffile.imwrite(tmp_path / "b.tif", np.full((80, 100), np.nan, np.float32))
    with pytest.raises(ImageError, match="no finite"):
        read_micrograph(tmp_path / "b.tif")


def test_every_image_of_a_stack_is_one_and_previews_are_none(tmp_path, noise):
    planes = np.stack([noise, noise // 2, 255 - noise])
    tifffile.imwrite(tmp_path / "stack.tif", planes, photometric="minisblack")
    tifffile.imwrite(tmp_path / "imagej.tif", planes, imagej=True)
    for name in ("stack.tif", "imagej.tif"):
        with pytest.raises(ImageError, match="holds 3 images"):
            read_micrograph(tmp_path / name)
        with pytest.raises(ImageError, match="none of them is '4'"):
            read_micrograph(tmp_path / name, frame="4")
        read = list(read_micrographs(tmp_path / name))
        assert [r.frame for r in read] == ["1", "2", "3"]
        for one, plane in zip(read, planes, strict=True):
            np.testing.assert_array_equal(one.pixels, plane)
        np.testing.assert_array_equal(read_micrograph(tmp_path / name, frame="3").pixels, planes[2])
    with tifffile.TiffWriter(tmp_path / "preview.tif") as tif:
        tif.write(np.zeros((80, 100, 3), np.uint8), photometric="rgb")
        tif.write(noise.astype(np.uint16) * 9)
    read = read_micrograph(tmp_path / "preview.tif")
    np.testing.assert_array_equal(read.pixels, noise.astype(np.uint16) * 9)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"I", "no known format"),
        (b"this is a text file\n" * 50, "no known format"),
        (b"II*\0", "truncated"),
        (b"II*\0\x08\0\0\0", "truncated"),
        (b"MM\0*\xff\xff\xff\xff" + b"\0" * 40, "truncated"),
    ],
)
def test_files_that_are_no_images(tmp_path, content, reason):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        read_micrograph(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_micrograph(tmp_path / "none.tif")
    with pytest.raises(ImageError, match="not a file"):
        read_micrograph(tmp_path)
    with pytest.raises(ImageError, match="does not exist"):
        read_bytes(tmp_path / "none.tif")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_sparse_giants_are_refused_without_reading(tmp_path):
    pipe = tmp_path / "pipe.tif"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="not a file"):
        read_micrograph(pipe)  # opening it would wait for a writer
    assert find_micrographs(pipe) == [pipe]
    for name, start, reason in (
        ("giant.png", b"\x89PNG", r"has 1024\.0 GiB, more than"),
        ("giant.tif", b"II*\0", "holds no image"),
    ):
        giant = tmp_path / name
        with giant.open("wb") as file:
            file.write(start)
            file.truncate(2**40)
        with pytest.raises(ImageError, match=reason):
            read_micrograph(giant)


def test_the_logger_of_tifffile_is_silent_only_within_the_block():
    logger = logging.getLogger("tifffile")
    first, second = quiet_tifffile(), quiet_tifffile()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # blocks of two threads overlap
    assert not logger.isEnabledFor(logging.CRITICAL)
    second.__exit__(None, None, None)
    assert logger.isEnabledFor(logging.CRITICAL)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_truncated_anywhere(tmp_path, noise, compression):
    """Every shorter file is refused with a reason, or still holds every pixel."""
    whole = tmp_path / "whole.tif"
    write_fei(whole, noise, rowsperstrip=7, compression=compression)
    data = whole.read_bytes()
    refused = 0
    lengths = [*range(0, 600, 13), *range(600, len(data), 401), len(data) - 1]
    for length in lengths:
        short = tmp_path / "short.tif"
        short.write_bytes(data[:length])
        try:
            read = read_micrograph(short)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(read.pixels, noise)
    assert refused >= len(lengths) - 2


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 450), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_corrupt_headers_never_raise_anything_else(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("corrupt") / "a.tif"
    tifffile.imwrite(path, np.arange(400, dtype=np.uint8).reshape(20, 20), rowsperstrip=5)
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[min(position, len(data) - 1)] = value
    path.write_bytes(bytes(data))
    with contextlib.suppress(ImageError):
        assert read_micrograph(path).pixels.ndim == 2


def _with_size(path, width, height):
    """Overwrite ImageWidth and ImageLength of a little-endian file."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HII", data, entry + 2, 4, 1, width if tag == 256 else height)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (30_000, 30_000), (0, 50)])
def test_absurd_sizes_are_refused_before_allocation(tmp_path, noise, compression, size):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise, compression=compression)
    _with_size(path, *size)
    with pytest.raises(ImageError, match=r"declares|cannot be read"):
        read_micrograph(path)


def test_printer_resolution_is_not_a_scale_and_a_camera_s_is(tmp_path, noise):
    for dpi in (72, 96, 300, 1200):
        tifffile.imwrite(tmp_path / "a.tif", noise, resolution=(dpi, dpi), resolutionunit="INCH")
        read = read_micrograph(tmp_path / "a.tif")
        assert math.isnan(read.pixel_size_nm)
        assert read.pixel_size_source == ""
    per_cm = 1e7 / 2.5
    tifffile.imwrite(
        tmp_path / "b.tif", noise, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
    )
    read = read_micrograph(tmp_path / "b.tif")
    assert read.pixel_size_nm == pytest.approx(2.5)
    assert read.pixel_size_source == "TIFF resolution tag"


def test_pixel_size_of_a_resized_image_is_not_trusted(tmp_path, noise):
    read = read_micrograph(write_fei(tmp_path / "a.tif", noise[:, :50]))
    assert math.isnan(read.pixel_size_nm)
    assert "resized or cropped" in read.warnings[0]


def test_image_that_shows_nothing_is_read_with_a_warning(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((80, 100), 7, np.uint8))
    assert "shows nothing" in read_micrograph(tmp_path / "a.tif").warnings[0]


class TestFei:
    def test_dict_and_text_agree(self):
        text = parse_fei(FEI_TEXT)
        assert parse_fei(FEI_TEXT.replace("\r\n", "\r")).metadata == text.metadata
        assert parse_fei(text.raw["FEI"]).metadata == text.metadata
        # Their texts, because NaN equals nothing: from Python 3.13 on in data classes, too.
        assert repr(parse_fei(FEI_TEXT.encode())) == repr(text)
        assert repr(parse_fei(FEI_TEXT.encode("utf-16"))) == repr(text)

    @pytest.mark.parametrize(
        "header", ["", "no sections", {}, {"EBeam": "text"}, b"\xff\xfe\x00", "[Scan]\nPixelWidth"]
    )
    def test_nothing_known(self, header):
        fields = parse_fei(header)
        assert fields.readings == ()
        assert fields.metadata == {}

    @pytest.mark.parametrize("value", ["", "abc", "0", "-1e-9", "inf", "nan", "1e5", "1e999"])
    def test_bad_pixel_width_falls_back_to_the_field_of_view(self, value):
        text = FEI_TEXT.replace("PixelWidth=2.5e-09", f"PixelWidth={value}")
        (only,) = parse_fei(text).readings
        assert (only.kind, only.size_nm) == ("field width", pytest.approx(2.5))
        assert parse_fei(text.replace("HFW=2.5e-07", "HFW=")).readings == ()

    def test_other_beam_and_no_scan(self):
        text = (
            "[Beam]\nBeam=IRBeam\nScan=\n[IRBeam]\nHFW=0.2\nVFW=0.1\n"
            "[EBeam]\nHFW=1e-6\n[Image]\nResolutionX=1000\nResolutionY=500\n"
        )
        (found,) = parse_fei(text).readings
        assert (found.size_nm, found.y_nm) == pytest.approx((200_000, 200_000))
        # Without its own section, no other column's field of view is taken for it.
        assert parse_fei(text.replace("[IRBeam]", "[Other]")).readings == ()

    def test_contradiction_is_reported(self):
        record = settle(
            parse_fei(FEI_TEXT.replace("PixelWidth=2.5e-09", "PixelWidth=5e-09")).readings
        )
        assert record.size_nm == pytest.approx(5)
        assert record.agreement == "differ"
        assert "FEI tag 5 x 2.4 nm (used)" in record.warnings[0]

    @pytest.mark.parametrize(
        ("date", "time", "iso"),
        [
            ("03/14/2022", "11:52:46 PM", "2022-03-14T23:52:46"),
            ("14/03/2022", "11:52:46", "2022-03-14T11:52:46"),
            ("nonsense", "", ""),
        ],
    )
    def test_dates(self, date, time, iso):
        fields = parse_fei(f"[User]\nDate={date}\nTime={time}\n")
        assert fields.metadata.get("acquired", "") == iso

    @given(
        st.dictionaries(
            st.text(max_size=8),
            st.dictionaries(
                st.sampled_from(
                    ["HFW", "PixelWidth", "ResolutionX", "StageT", "Name", "TimeOfCreation"]
                ),
                st.one_of(
                    st.text(max_size=6), st.floats(), st.integers(), st.none(), st.booleans()
                ),
            ),
            max_size=3,
        )
    )
    def test_anything_parses(self, header):
        assert parse_fei(header).image_width_px >= 0


class TestFinding:
    def test_folders_files_and_patterns(self, tmp_path):
        for name in ("b/2.TIF", "b/1.tiff", "a.tif", ".hidden.tif", ".git/x.tif", "c.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
        found = find_micrographs(tmp_path)
        assert [path.relative_to(tmp_path).as_posix() for path in found] == [
            "a.tif",
            "b/1.tiff",
            "b/2.TIF",
        ]
        assert find_micrographs([tmp_path / "b", tmp_path]) == found
        assert find_micrographs([tmp_path / "c.txt"]) == [tmp_path / "c.txt"]
        assert find_micrographs(str(tmp_path / "b" / "*")) != []
        assert is_micrograph_path("x.Tif")
        assert not is_micrograph_path("x.tif.txt")

    def test_files_go_before_links_to_them(self, tmp_path):
        for name in ("in/z/b.tif", "in/z/d.tif", "other/c.tif"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        links = {"in/a.tif": "in/z/b.tif", "in/c.tif": "other/c.tif", "in/a": "in/z"}
        for name, target in links.items():
            (tmp_path / name).symlink_to(tmp_path / target)
        found = [
            path.relative_to(tmp_path / "in").as_posix()
            for path in find_micrographs(tmp_path / "in")
        ]
        assert found == ["c.tif", "z/b.tif", "z/d.tif"]

    def test_what_is_left_aside_is_counted(self, tmp_path):
        for name in ("a.webp", "b.JP2", "b.txt", "none.zarr/zarr.json", "x.zarr/0.bmp"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("{}")
        (tmp_path / "store.zarr").mkdir()
        (tmp_path / "store.zarr" / "zarr.json").write_text('{"nanoarray_format": 1}')
        counted = {".webp": 1, ".jp2": 1, ".zarr without an OME-Zarr image": 2}
        assert find_others([tmp_path]) == counted

    @pytest.mark.parametrize(
        ("source", "message"),
        [("none", "does not exist"), ("*.tif", "matches no"), ("empty", "holds no")],
    )
    def test_nothing_found(self, tmp_path, source, message):
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=message):
            find_micrographs(tmp_path / source)


class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "size_nm"),
        [
            ("FEI-Helios-Ebeam-8bits.tif", 3372),
            ("FEI-Helios-Ebeam-16bits.tif", 3372),
            ("FEI-Helios-navcam.tif", 263974),
            ("olympus_SIS.tif", 0.023928),
            ("TVIPS_bin4.tif", 1.420803666),
        ],
    )
    def test_pixel_size(self, real_data, name, size_nm):
        read = read_micrograph(real_data / "vendor_formats" / name)
        assert read.pixel_size_nm == pytest.approx(size_nm, rel=2e-4)

    @pytest.mark.parametrize(
        "name",
        [
            "FEI-Helios-navcam-with-no-IRBeam.tif",
            "test_loading_image_saved_with_imageJ_no_scale.tif",
        ],
    )
    def test_no_pixel_size_is_invented(self, real_data, name):
        assert math.isnan(read_micrograph(real_data / "vendor_formats" / name).pixel_size_nm)

    def test_no_file_crashes(self, real_data):
        for path in (real_data / "vendor_formats").iterdir():
            with contextlib.suppress(ImageError):
                assert read_micrograph(path).pixels.ndim == 2

    def test_superlattice_micrographs(self, real_data):
        paths = find_micrographs(real_data / "sem_superlattice")
        for path in paths:
            read = read_micrograph(path)
            assert read.pixels.shape == (884, 1024)
            assert read.pixel_size_nm == pytest.approx(2.5, rel=2e-3)
            assert read.metadata["magnification"] == pytest.approx(50_000, rel=2e-3)
            assert read.metadata["tilt_deg"] == pytest.approx(52, abs=0.01)
            assert read.warnings == ()
