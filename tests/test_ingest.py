"""Ingest: mixed and broken files, tags, growth, and what is refused."""

import logging
import math
import os

import numpy as np
import pytest

import nanoarray as na
from nanoarray.archive import store
from nanoarray.errors import InputError
from nanoarray.images import scan
from nanoarray.simulate.fei_tiff import write_fei_tiff

RNG = np.random.default_rng(1)


def picture(height=80, width=96, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max, (height, width), dtype=dtype)


@pytest.fixture
def folder(tmp_path, write_tiff):
    path = tmp_path / "in"
    path.mkdir()
    write_fei_tiff(path / "S1_22degC.tif", picture(120, 160), pixel_size_nm=2.5)
    write_tiff(path / "S2_31degC.tif", picture(90, 100))
    return path


@pytest.fixture
def url(tmp_path):
    return str(tmp_path / "store.zarr")


def test_pixels_metadata_and_padding(folder, url):
    report = na.ingest(folder, url)
    assert report.added == ("S1_22degC", "S2_31degC")
    images = na.open(url)["images"].to_dataset()
    first = images.sel(image="S1_22degC")
    assert (int(first.height), int(first.width)) == (120, 160)  # the data bar is cut
    assert float(first.pixel_size) == pytest.approx(2.5)
    assert str(first.pixel_size_source.values).startswith("FEI")
    second = images.sel(image="S2_31degC")
    assert math.isnan(float(second.pixel_size))
    assert str(second.pixel_size_source.values) == ""
    assert report.without_pixel_size == ("S2_31degC",)
    assert images.intensity.shape == (2, 120, 160)
    assert not second.intensity[90:].any()
    assert not second.intensity[:, 100:].any()
    store.check_group(url, "images")


def test_broken_files_become_rows_with_reasons(folder, url, write_tiff):
    (folder / "zero.tif").write_bytes(b"")
    (folder / "text.tif").write_text("this is no image")
    whole = (folder / "S2_31degC.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    stack = RNG.integers(0, 9, (3, 40, 40), dtype=np.uint8)
    write_tiff(folder / "stack.tif", stack, photometric="minisblack")
    report = na.ingest(folder, url)
    images = na.open(url)["images"].to_dataset()
    reasons = dict(report.failed)
    assert set(reasons) == {"zero", "text", "cut"}
    assert "empty" in reasons["zero"]
    good = ["S1_22degC", "S2_31degC", "stack#1", "stack#2", "stack#3"]
    assert [name for name in images.image.values.tolist() if name not in reasons] == good
    assert images.image.values[images.ok.values].tolist() == good
    assert str(images.problem.sel(image="zero").values) == reasons["zero"]


def test_tags_from_csv_and_pattern_are_converted_and_compared(folder, url):
    tags = folder / "tags.csv"
    tags.write_text("file,temperature_K,pressure_psi,operator\nS1_22degC.tif,300.15,1000,ann\n")
    report = na.ingest(folder, url, tags=tags, pattern="{sample}_{temperature:g}degC")
    images = na.open(url)["images"].to_dataset().compute()
    assert images.temperature.values.tolist() == pytest.approx([27.0, 31.0])
    assert float(images.pressure[0]) == pytest.approx(6.894757)
    assert math.isnan(float(images.pressure[1]))
    assert images["operator"].values.tolist() == ["ann", ""]
    assert images["sample"].values.tolist() == ["S1", "S2"]
    assert images.temperature.attrs["units"] == "degC"
    assert any("S1_22degC" in d and "temperature" in d for d in report.disagreements)
    assert "temperature" in str(images.warning.values[0])
    assert report.untagged == ("S2_31degC",)


def test_pixel_size_of_the_user_wins_and_is_recorded(folder, url):
    report = na.ingest(folder, url, pixel_size_nm=3.0)
    images = na.open(url)["images"].to_dataset().compute()
    assert images.pixel_size.values.tolist() == [3.0, 3.0]
    assert images.pixel_size_source.values.tolist() == ["command line"] * 2
    assert any("2.5" in text and "3" in text for text in report.disagreements)


def test_pixel_size_is_for_every_image_of_the_call(folder, url, tmp_path, write_tiff):
    na.ingest(folder, url, pixel_size_nm=2.0)
    other = tmp_path / "other"
    other.mkdir()
    write_tiff(other / "elsewhere.tif", picture(40, 40))
    na.ingest(other, url)
    report = na.ingest(folder, url, pixel_size_nm=3.0)
    images = na.open(url)["images"].to_dataset().compute()
    assert images.image.values.tolist() == ["S1_22degC", "S2_31degC", "elsewhere"]
    assert images.pixel_size.values.tolist()[:2] == [3.0, 3.0]
    assert images.pixel_size_y.values.tolist()[:2] == [3.0, 3.0]
    assert math.isnan(images.pixel_size.values[2])
    assert images.pixel_size_source.values.tolist() == ["command line", "command line", ""]
    assert [line.split(":")[0] for line in report.retagged] == ["S1_22degC", "S2_31degC"]
    assert "pixel_size 2.0 -> 3.0" in report.retagged[0]
    na.ingest(folder, url)
    again = na.open(url)["images"].to_dataset().compute()
    assert again.drop_attrs().identical(images.drop_attrs())


def test_pixels_that_are_not_square_have_no_size(tmp_path, url, write_tiff):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, y_nm in (("even", 2.51), ("tall", 2.6)):
        scale = (1e7 / 2.5, 1e7 / y_nm)
        write_tiff(folder / f"{name}.tif", picture(64, 64), resolution=scale, resolutionunit=3)
    report = na.ingest(folder, url)
    images = na.open(url)["images"].to_dataset().compute()
    np.testing.assert_allclose(images.pixel_size, [2.5, math.nan], rtol=1e-6)
    np.testing.assert_allclose(images.pixel_size_y, [2.51, 2.6], rtol=1e-6)
    assert images.pixel_size_source.values.tolist() == ["TIFF resolution tag", ""]
    assert images.warning.values[0] == ""
    assert "not square (2.5 nm along x, 2.6 nm along y)" in images.warning.values[1]
    assert report.without_pixel_size == ("tall",)
    assert any("'tall'" in note and "not square" in note for note in report.disagreements)
    assert report.warned == ()  # what is said there is not said twice
    store.check_group(url, "images")

    tags = tmp_path / "tags.csv"
    tags.write_text("image,pixel_size_nm\ntall,2.55\n")
    for arguments, size_nm in (({"tags": tags}, 2.55), ({"pixel_size_nm": 2.7}, 2.7)):
        na.ingest(folder, url, **arguments)
        tall = na.open(url)["images"].to_dataset().compute().sel(image="tall")
        assert (float(tall.pixel_size), float(tall.pixel_size_y)) == (size_nm, size_nm)
    tags.write_text("image,pixel_size_nm,pixel_size_y_nm\ntall,2.5,3\n")
    na.ingest(folder, url, tags=tags)
    tall = na.open(url)["images"].to_dataset().compute().sel(image="tall")
    assert math.isnan(float(tall.pixel_size))


def test_broken_files_are_reported_every_time(folder, url):
    (folder / "bad.tif").write_bytes(b"")
    first = na.ingest(folder, url)
    second = na.ingest(folder, url)
    assert first.failed == second.failed == (("bad", "the file is empty (0 bytes)"),)
    assert any("unreadable (1 of them new)" in line for line in first.lines())
    assert any("unreadable (0 of them new)" in line for line in second.lines())
    (folder / "bad.tif").write_text("otherwise bad")
    third = na.ingest(folder, url)
    assert third.repaired == ()
    assert "no known format" in dict(third.failed)["bad"]
    (folder / "bad.tif").unlink()
    assert na.ingest(folder, url).failed == ()


def test_text_of_numbers_keeps_every_digit(folder, url):
    tags = folder / "t.csv"
    tags.write_text("image,run,dose\nS1_22degC,12345671,0.12345678\n")
    na.ingest(folder, url, tags=tags)
    tags.write_text("image,run,dose\nS2_31degC,R7,none\n")
    report = na.ingest(folder, url, tags=tags)
    images = na.open(url)["images"].to_dataset().compute()
    assert images["run"].values.tolist() == ["12345671", "R7"]
    assert images["dose"].values.tolist() == ["0.12345678", "none"]
    assert [line.split(":")[0] for line in report.retagged] == ["S2_31degC"]


def test_growing_adds_only_what_is_new(folder, url, write_tiff):
    na.ingest(folder, url, pattern="{sample}_{temperature:g}degC")
    before = na.open(url)["images"].to_dataset().compute()
    write_tiff(folder / "A0_40degC.tif", picture(130, 90))
    report = na.ingest(folder, url, pattern="{sample}_{temperature:g}degC")
    after = na.open(url)["images"].to_dataset().compute()
    assert report.added == ("A0_40degC",)
    assert report.unchanged == 2
    assert after.image.values.tolist() == ["S1_22degC", "S2_31degC", "A0_40degC"]
    assert after.intensity.shape == (3, 130, 160)
    np.testing.assert_array_equal(after.intensity[:2, :120], before.intensity)
    assert after.temperature.values.tolist() == [22.0, 31.0, 40.0]
    assert "1 images added, 2 were there" in report.lines()[0]


def test_deeper_images_widen_the_collection(folder, url, write_tiff):
    na.ingest(folder, url)
    deep = picture(60, 60, np.uint16)
    write_tiff(folder / "deep.tif", deep)
    na.ingest(folder, url)
    images = na.open(url)["images"].to_dataset().compute()
    assert images.intensity.dtype == np.uint16
    np.testing.assert_array_equal(images.intensity.sel(image="deep")[:60, :60], deep)
    assert images.bit_depth.values.tolist() == [8, 8, 16]
    assert int(images.intensity[0].max()) <= 255


def test_changed_file_is_an_error_that_names_it(folder, url, write_tiff):
    na.ingest(folder, url)
    write_tiff(folder / "S2_31degC.tif", picture(90, 100))
    with pytest.raises(InputError, match="S2_31degC' changed"):
        na.ingest(folder, url)
    assert na.open(url)["images"].sizes["image"] == 2


def test_repaired_file_replaces_its_row(folder, url, write_tiff):
    (folder / "late.tif").write_bytes(b"")
    na.ingest(folder, url)
    write_tiff(folder / "late.tif", picture(70, 70))
    report = na.ingest(folder, url)
    images = na.open(url)["images"].to_dataset().compute()
    assert report.repaired == ("late",)
    assert bool(images.ok.sel(image="late"))
    assert int(images.height.sel(image="late")) == 70
    assert images.intensity.sel(image="late")[:70, :70].any()


def test_same_content_is_not_added_twice(folder, url):
    (folder / "copy.tif").write_bytes((folder / "S1_22degC.tif").read_bytes())
    report = na.ingest(folder, url)
    assert report.duplicates == (("copy", "S1_22degC"),) or report.duplicates == (
        ("S1_22degC", "copy"),
    )
    assert na.open(url)["images"].sizes["image"] == 2


def test_copies_may_stand_in_the_tags_table(folder, url):
    (folder / "copy.tif").write_bytes((folder / "S2_31degC.tif").read_bytes())
    tags = folder / "t.csv"
    tags.write_text("image,sample,dose\nS1_22degC,a,1\nS2_31degC,b,2\ncopy,b,2\n")
    for _ in range(2):
        report = na.ingest(folder, url, tags=tags)
        assert report.duplicates == (("copy", "S2_31degC"),)
        assert report.disagreements == ()
    tags.write_text("image,sample,dose\nS1_22degC,a,1\nS2_31degC,b,\ncopy.tif,c,2\n")
    report = na.ingest(folder, url, tags=tags)
    assert len(report.disagreements) == 1
    assert "'copy' is not added, it equals 'S2_31degC'" in report.disagreements[0]
    assert "sample 'c', dose 2.0" in report.disagreements[0]
    tags.write_text("image,sample\ncopy,c\nnobody,d\n")
    with pytest.raises(InputError, match=r"1 rows for images that do not exist \('nobody'\)"):
        na.ingest(folder, url, tags=tags)


def test_retagging_changes_old_rows_and_says_so(folder, url):
    na.ingest(folder, url)
    tags = folder / "t.csv"
    tags.write_text("image,pixel_size_um,sample\nS2_31degC,0.004,new\n")
    report = na.ingest(folder, url, tags=tags)
    images = na.open(url)["images"].to_dataset().compute()
    assert images.pixel_size.values.tolist() == pytest.approx([2.5, 4.0])
    assert images.pixel_size_source.values[1] == "tags table"
    assert any(line.startswith("S2_31degC") for line in report.retagged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "{sample}-{nothing}-{like}-{this}"}, "matches none of 2"),
        ({"pattern": "{sample"}, "pattern"),
        ({"pixel_size_nm": -1.0}, "positive"),
        ({"pixel_size_nm": math.nan}, "positive"),
    ],
)
def test_impossible_arguments(folder, url, arguments, message):
    with pytest.raises(InputError, match=message):
        na.ingest(folder, url, **arguments)
    assert not os.path.exists(url)


def test_tags_of_images_that_do_not_exist(folder, url):
    tags = folder / "t.csv"
    tags.write_text("image,sample\nnobody,x\n")
    with pytest.raises(InputError, match="nobody"):
        na.ingest(folder, url, tags=tags)
    assert not os.path.exists(url)


def test_duplicate_ids(folder, url, tmp_path, write_tiff):
    other = tmp_path / "other"
    other.mkdir()
    write_tiff(other / "S2_31degC.tif", picture())
    with pytest.raises(InputError, match="two images with the id 'S2_31degC'"):
        na.ingest([folder, other], url)
    na.ingest(tmp_path, url)
    names = na.open(url)["images"]["image"].values.tolist()
    assert names == ["in/S1_22degC", "in/S2_31degC", "other/S2_31degC"]


def test_files_that_differ_in_their_suffix_alone(folder, url, tmp_path):
    from PIL import Image

    Image.fromarray(picture(90, 100)).save(folder / "S2_31degC.png")
    for added in (3, 0):
        assert len(na.ingest(folder, url).added) == added
        images = na.open(url)["images"].to_dataset().compute()
        names = ["S1_22degC", "S2_31degC.png", "S2_31degC.tif"]
        assert sorted(images.image.values.tolist()) == names
        for name in names[1:]:
            assert "may be the same image" in str(images.warning.sel(image=name).values)


def test_places_that_are_no_store(folder, tmp_path):
    with pytest.raises(InputError, match="not a nanoarray store"):
        na.ingest(folder, folder)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="not a nanoarray store"):
        na.ingest(folder, file)
    with pytest.raises(InputError, match="not a nanoarray store"):
        na.open(tmp_path / "absent")
    with pytest.raises(InputError):
        na.ingest(tmp_path / "absent", tmp_path / "s.zarr")


def test_interrupted_ingest_is_finished_by_the_next(folder, url, monkeypatch, write_tiff):
    from nanoarray.images import ingest_write as module

    for k in range(6):
        write_tiff(folder / f"more{k}.tif", picture(50, 50))
    write = module.write_blocks

    def stop(layouts, blocks):
        if blocks[0].number == 1:
            raise OSError(28, "No space left on device")
        return write(layouts, blocks)

    monkeypatch.setattr(module, "write_blocks", stop)
    monkeypatch.setattr(module, "MOST_BLOCKS", 1)
    with pytest.raises(OSError, match=r"No space left.*store\.zarr"):
        na.ingest(folder, url)
    with pytest.raises(InputError, match="is incomplete"):
        na.run("superlattice", url)
    monkeypatch.undo()
    na.ingest(folder, url)
    other = f"{url}.clean"
    na.ingest(folder, other)
    a, b = (na.open(u)["images"].to_dataset().compute() for u in (url, other))
    assert a.drop_attrs().identical(b.drop_attrs())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_and_an_unexpected_error_become_reasons(folder, url, monkeypatch):
    os.mkfifo(folder / "pipe.tif")
    read = scan.read_frame

    def stumble(frame, **options):
        if frame.shape[0] == 90:
            raise ZeroDivisionError("nobody expected this")
        return read(frame, **options)

    monkeypatch.setattr(scan, "read_frame", stumble)
    report = na.ingest(folder, url)
    reasons = dict(report.failed)
    assert set(reasons) == {"pipe", "S2_31degC"}
    assert "not a file" in reasons["pipe"]
    assert "ZeroDivisionError: nobody expected this" in reasons["S2_31degC"]
    assert report.added == ("S1_22degC", "S2_31degC", "pipe")


def test_names_that_are_not_utf8(folder, url):
    odd = os.fsencode(folder) + b"/\xff.tif"
    try:
        with open(odd, "wb") as file:
            file.write((folder / "S2_31degC.tif").read_bytes()[:-1] + b"\x07")
    except OSError:
        pytest.skip("names are UTF-8 here")
    for _ in range(2):
        report = na.ingest(folder, url)
    assert (report.added, report.unchanged) == ((), 3)
    images = na.open(url)["images"].to_dataset().compute()
    assert r"\xff" in images.image.values.tolist()
    assert images.ok.values.all()


def test_known_files_are_not_decoded_again(folder, url, monkeypatch, write_tiff):
    (folder / "broken.tif").write_bytes(b"")
    write_fei_tiff(folder / "S3_40degC.tif", picture(64, 64), pixel_size_nm=2.5)
    na.ingest(folder, url)
    before = na.open(url)["images"].to_dataset().compute()
    decode, decoded = scan.read_frame, []

    def counted(frame, **options):
        decoded.append(frame.shape)
        return decode(frame, **options)

    monkeypatch.setattr(scan, "read_frame", counted)
    report = na.ingest(folder, url)
    assert (report.added, report.unchanged) == ((), 4)
    assert decoded == []
    after = na.open(url)["images"].to_dataset().compute()
    assert after.drop_attrs().identical(before.drop_attrs())
    write_tiff(folder / "S4_50degC.tif", picture(50, 50))
    na.ingest(folder, url)
    assert (50, 50) in decoded
    assert len(decoded) <= 2  # the new one, and the one that shares its block


def test_logging_of_tifffile_is_as_before(folder, url):
    logger = logging.getLogger("tifffile")
    level = logger.level
    na.ingest(folder, url)
    assert logger.level == level


def test_paths_can_be_found_from_anywhere(folder, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tags = folder / "t.csv"
    tags.write_text("path,sample\nin/S1_22degC.tif,one\n")
    na.ingest("in", url, tags=tags)
    images = na.open(url)["images"].to_dataset().compute()
    assert images.path.values.tolist() == [
        str(folder / "S1_22degC.tif"),
        str(folder / "S2_31degC.tif"),
    ]
    assert images["sample"].values.tolist() == ["one", ""]


def test_real_files(real_data, url):
    report = na.ingest(
        real_data / "sem_superlattice",
        url,
        pattern="{sample} {temperature:g}degC cross section {section}_{n}",
    )
    images = na.open(url)["images"].to_dataset().compute()
    assert not report.failed
    assert images.sizes == {"image": 3, "y": 884, "x": 1024}
    assert images.temperature.values.tolist() == [4.0, 4.0, 4.0]
    np.testing.assert_allclose(images.pixel_size, [2.5, 2.5, 2.50296], rtol=1e-5)
    np.testing.assert_allclose(images.magnification, 50_000, rtol=2e-3)
    np.testing.assert_allclose(images.voltage, 5.0)
    np.testing.assert_allclose(images.tilt, 52.0, atol=0.01)
    assert set(images.detector.values) == {"TLD"}
