"""Vendors' headers: files made by the published layouts, and the real ones with known sizes."""

import math
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from nanoarray.errors import ImageError
from nanoarray.images.read import frames_of, open_source, read_frame, read_micrograph
from nanoarray.images.scale import settle
from nanoarray.images.vendors.fei import parse_fei
from nanoarray.images.vendors.hitachi import parse_hitachi
from nanoarray.images.vendors.jeol import parse_jeol
from nanoarray.images.vendors.tescan import parse_tescan
from nanoarray.images.vendors.text import parse_xml, to_text
from nanoarray.images.vendors.zeiss import parse_zeiss

NOISE = np.random.default_rng(1).integers(0, 256, (80, 100), dtype=np.uint8)


def write(path, *tags, pixels=NOISE, **options):
    tifffile.imwrite(path, pixels, extratags=list(tags), metadata=None, **options)
    return path


def sizes(header):
    return [(r.kind, r.size_nm, r.y_nm) for r in header.readings]


# --- FEI and Thermo ---------------------------------------------------------------------------

PHENOM = """<?xml version="1.0" encoding="utf-16"?>
<FeiImage version="2">
  <time>2019-05-03T14:20:11.5</time>
  <instrument><type>Phenom ProX</type></instrument>
  <pixelWidth unit="nm">52.5</pixelWidth><pixelHeight unit="nm">52.5</pixelHeight>
  <acquisition><detector>BSD Full</detector></acquisition>
  <optics><highVoltage unit="kV">15</highVoltage></optics>
</FeiImage>"""
THERMO = """<?xml version="1.0"?>
<Metadata xmlns="http://schemas.fei.com/Metadata/v1/2013/07">
  <Instrument><InstrumentClass>Apreo 2</InstrumentClass></Instrument>
  <Acquisition><AcquisitionDatetime>2021-06-02T09:30:00.123+02:00</AcquisitionDatetime></Acquisition>
  <Optics><AccelerationVoltage>2000</AccelerationVoltage><BeamCurrent>5e-11</BeamCurrent>
    <WorkingDistance>0.0042</WorkingDistance>
    <ScanFieldOfView><X>2.0e-07</X><Y>1.6e-07</Y></ScanFieldOfView></Optics>
  <ScanSettings><DwellTime>1e-06</DwellTime>
    <ScanSize><Width>100</Width><Height>80</Height></ScanSize></ScanSettings>
  <StageSettings><StagePosition><Tilt><Alpha>0.1745329</Alpha></Tilt></StagePosition></StageSettings>
  <BinaryResult><PixelSize><X unit="m">2.0e-09</X><Y unit="m">2.0e-09</Y></PixelSize></BinaryResult>
</Metadata>"""


@pytest.mark.parametrize("code", [34680, 34682, 34683])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_thermo_xml(tmp_path, code, encoding):
    content = THERMO.encode(encoding)
    read = read_micrograph(write(tmp_path / "a.tif", (code, 7, len(content), content, True)))
    assert read.pixel_size_nm == pytest.approx(2.0)
    assert read.scale.agreement == "agree"
    assert read.metadata["instrument"] == "Apreo 2"
    assert read.metadata["tilt_deg"] == pytest.approx(10, abs=1e-4)
    assert read.metadata["voltage_kV"] == pytest.approx(2)
    assert read.metadata["current_pA"] == pytest.approx(50)
    assert read.metadata["acquired"] == "2021-06-02T09:30:00"


def test_phenom_xml():
    header = parse_fei(PHENOM)
    assert sizes(header) == [("vendor tag", 52.5, 52.5)]
    assert header.metadata["voltage_kV"] == 15
    assert header.metadata["acquired"] == "2019-05-03T14:20:11"


@pytest.mark.parametrize("text", ["<FeiImage", "<a><b></a>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"])
def test_damaged_xml_is_a_warning(text):
    header = parse_fei(text)
    assert header.readings == ()
    assert "cannot be read" in header.warnings[0]


@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n", "\r\r\n"])
def test_fei_text_at_the_end_of_the_file(tmp_path, ends):
    lines = ["[User]", "Date=01/02/2020", "[Scan]", "PixelWidth=4.5e-007", "PixelHeight=bad"]
    lines += ["[EBeam]", "HFW=4.5e-005", "[Image]", "ResolutionX=100", "ResolutionY=80"]
    path = write(tmp_path / "a.tif")
    with path.open("ab") as file:
        file.write(b"\0\0" + ends.join(lines).encode() + b"\0")
    read = read_micrograph(path)
    assert read.scale.source == "FEI text at the end of the file"
    assert read.pixel_size_nm == pytest.approx(450)
    assert read.scale.agreement == "agree"


# --- Zeiss ------------------------------------------------------------------------------------


def zeiss(unnamed="2.465245e-08", image="Image Pixel Size = 12.33 nm", extra=()):
    lines = ["0", "0", "0", unnamed, "4528.961", "AP_MAG", "Mag = 4.53 K X"]
    lines += ["AP_PIXEL_SIZE", "Pixel Size = 24.65 nm"]
    lines += ["AP_IMAGE_PIXEL_SIZE", image] if image else []
    lines += ["AP_WIDTH", "Width = 25.24 µm", "DP_IMAGE_STORE", "Store resolution = 2048 * 1536"]
    lines += ["AP_ACTUALKV", "EHT = 1.80 kV", "AP_WD", "WD =  4.5 mm", "AP_TIME", "Time :22:42:02"]
    lines += ["AP_DATE", "Date :18 Apr 2016", "AP_STAGE_AT_T", "Stage at T =  52.6 °", *extra]
    return "\r\n".join(lines).encode("cp1252")


def test_zeiss_pixel_is_of_the_image_and_not_of_the_monitor():
    header = parse_zeiss(zeiss(), width_px=2048)
    assert header.readings[0].size_nm == pytest.approx(12.326225, rel=1e-7)
    assert header.readings[1].kind == "field width"
    assert settle(header.readings).agreement == "agree"
    assert header.metadata["magnification"] == pytest.approx(4530)
    assert header.metadata["tilt_deg"] == pytest.approx(52.6)
    assert header.metadata["acquired"] == "2016-04-18T22:42:02"


def test_zeiss_without_what_is_exact():
    other = parse_zeiss(zeiss(unnamed="9e-07"), width_px=2048)
    assert other.readings[0].size_nm == pytest.approx(12.33)
    only_width = parse_zeiss(zeiss(image=""), width_px=2048)
    assert [r.kind for r in only_width.readings] == ["field width"]
    assert parse_zeiss(b"nothing here", width_px=10).readings == ()


def test_zeiss_in_a_file_that_was_resized_afterwards(tmp_path):
    content = zeiss()
    path = write(tmp_path / "a.tif", (34118, 7, len(content), content, True))
    read = read_micrograph(path)  # 100 px wide, where the header says 2048
    assert math.isnan(read.pixel_size_nm)
    assert any("resized or cropped" in warning for warning in read.warnings)


# --- JEOL -------------------------------------------------------------------------------------

JEOL = (
    "$CM_FORMAT=JEOL/FE\t$CM_IMAGE_SIZE=100 80\t$CM_MAG=50000\t$CM_ACCEL_VOLT=10\t"
    "$CM_FIELD_OF_VIEW=0.2 0.16μm\t$CM_PIXEL_SIZE=2.00nm/pixel\t$SM_WD=8.4\t$SM_PNU_HEIGHT=12\t"
    "$SM_NICKNAME=JSM-IT800\t$FE_DETECTOR_NAME=SED\t$SM_DWELL_TIME=14.1μs\t"
)


def jeol_tiff(path, pages):
    """Pages in one file, the first with an EXIF MakerNote, as bytes laid out by hand."""
    note = b"UNICODE\0" + JEOL.encode("utf-16-le")
    content = bytearray(struct.pack("<2sHI", b"II", 42, 0))
    after = []  # places of the offset of the next directory
    for k, pixels in enumerate(pages):
        at = len(content)
        content += pixels.tobytes()
        exif = 0
        if k == 0:
            where = len(content)
            content += note
            exif = len(content)
            content += struct.pack("<HHHIII", 1, 37500, 7, len(note), where, 0)
        entries = [(256, pixels.shape[1]), (257, pixels.shape[0]), (258, 8), (259, 1), (262, 1)]
        entries += [(273, at), (277, 1), (278, pixels.shape[0]), (279, pixels.size)]
        entries += [(34665, exif)] if exif else []
        start = len(content)
        content += struct.pack("<H", len(entries))
        for code, value in entries:
            content += struct.pack("<HHII", code, 4, 1, value)
        struct.pack_into("<I", content, after[-1] if after else 4, start)
        after.append(len(content))
        content += struct.pack("<I", 0)
    path.write_bytes(bytes(content))
    return path


def test_jeol_maker_note_and_data_bar(tmp_path):
    with_bar = np.concatenate([NOISE, np.zeros((12, 100), np.uint8)])
    read = read_micrograph(jeol_tiff(tmp_path / "a.tif", [with_bar]))
    assert read.pixel_size_nm == pytest.approx(2)
    assert read.scale.agreement == "agree"
    assert read.scale.source == "JEOL MakerNote"
    np.testing.assert_array_equal(read.pixels, NOISE)
    assert read.metadata["detector"] == "SED"
    assert read.metadata["dwell_us"] == pytest.approx(14.1)


def test_jeol_second_page_holds_the_data(tmp_path):
    with_bar = np.concatenate([NOISE // 2, np.zeros((12, 100), np.uint8)])
    read = read_micrograph(jeol_tiff(tmp_path / "a.tif", [with_bar, NOISE]))
    np.testing.assert_array_equal(read.pixels, NOISE)
    assert read.pixel_size_nm == pytest.approx(2)


def test_jeol_text_beside_the_file(tmp_path):
    path = write(tmp_path / "a.tif")
    text = JEOL.replace("\t", "\r\n").replace("=", " ").replace("nm/pixel", "nm")
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    read = read_micrograph(path)
    assert read.scale.source == "JEOL text file"
    assert read.pixel_size_nm == pytest.approx(2)


# --- Hitachi, TESCAN --------------------------------------------------------------------------

HITACHI = """[SemImageFile]
InstructName=SU8000
Date=07/15/2014
Time=14:11:30
DataSize=100x80
PixelSize=4.961
SignalName=SE(UL)
AcceleratingVoltage=5000 Volt
Magnification=20000
WorkingDistance=8700 um
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("name", ["a.txt", "a.TXT"])
def test_hitachi_text_beside_the_file(tmp_path, encoding, name):
    path = write(tmp_path / "a.tif")
    (tmp_path / name).write_bytes(HITACHI.replace("\n", "\r\n").encode(encoding))
    read = read_micrograph(path)
    assert read.scale.source == "Hitachi text file"
    assert read.pixel_size_nm == pytest.approx(4.961)
    assert read.metadata["voltage_kV"] == pytest.approx(5)
    assert read.metadata["working_distance_mm"] == pytest.approx(8.7)
    assert read.metadata["acquired"] == "2014-07-15T14:11:30"


def test_text_beside_the_file_that_is_something_else(tmp_path):
    path = write(tmp_path / "a.tif")
    (tmp_path / "a.txt").write_text("notes: PixelSize=3\n")
    assert math.isnan(read_micrograph(path).pixel_size_nm)
    assert parse_hitachi(b"[Other]\nPixelSize=3\n") is None


TESCAN = """[MAIN]
Date=2017-07-11
Device=TIMA3 X GMU
Magnification=75.0
PixelSizeX=2.5e-009
PixelSizeY=2.5e-009
Time=12:00:01
[SEM]
Detector=SE
HV=20000.0
PredictedBeamCurrent=1.1e-010
StageTilt=30
WD=0.0151
"""


def test_tescan_tag_behind_its_preview(tmp_path):
    content = b"\x2f\0\0\0\xff\xd8preview\xff\xd9" + TESCAN.replace("\n", "\r\n").encode() + b"\0"
    read = read_micrograph(write(tmp_path / "a.tif", (50431, 7, len(content), content, True)))
    assert read.scale.source == "TESCAN tag"
    assert read.pixel_size_nm == pytest.approx(2.5)
    assert read.metadata["tilt_deg"] == 30
    assert read.metadata["current_pA"] == pytest.approx(110)


def test_tescan_strip_is_the_data_bar(tmp_path):
    content = TESCAN.replace("Time=", "ImageStripSize=16\nTime=").encode()
    read = read_micrograph(write(tmp_path / "a.tif", (50431, 7, len(content), content, True)))
    np.testing.assert_array_equal(read.pixels, NOISE[:-16])
    assert read.pixel_size_nm == pytest.approx(2.5)


@pytest.mark.parametrize("name", ["a.hdr", "a-tif.hdr"])
def test_tescan_text_beside_the_file(tmp_path, name):
    path = write(tmp_path / "a.tif")
    (tmp_path / name).write_text(TESCAN)
    read = read_micrograph(path)
    assert read.scale.source == "TESCAN hdr file"
    assert read.pixel_size_nm == pytest.approx(2.5)


# --- Gatan, ImageJ, OME, resolution -----------------------------------------------------------


def gatan_tags(scale, unit):
    text = unit.encode("latin-1")
    return [
        (65003, 2, len(text) + 1, text, True),
        (65004, 2, len(text) + 1, text, True),
        (65009, 12, 1, scale, True),
        (65010, 12, 1, scale, True),
    ]


@pytest.mark.parametrize(
    ("scale", "unit", "size_nm"), [(0.5, "nm", 0.5), (0.25, "\xb5m", 250), (0.02, "1/nm", math.nan)]
)
def test_gatan_calibration(tmp_path, scale, unit, size_nm):
    read = read_micrograph(write(tmp_path / "a.tif", *gatan_tags(scale, unit)))
    assert read.pixel_size_nm == pytest.approx(size_nm, nan_ok=True)


@pytest.mark.parametrize(
    ("unit", "per_unit", "size_nm"),
    [
        ("nm", 0.4, 2.5),
        ("\\u00B5m", 400.0, 2.5),
        ("micron", 400.0, 2.5),
        ("inch", 72.0, math.nan),
        ("cm", 4e6, 2.5),
        ("pixel", 1.0, math.nan),
    ],
)
def test_imagej_scale(tmp_path, unit, per_unit, size_nm):
    tifffile.imwrite(
        tmp_path / "a.tif",
        NOISE,
        description=f"ImageJ=1.53k\nunit={unit}\n",
        resolution=(per_unit, per_unit),
        resolutionunit="NONE",
        metadata=None,
    )
    read = read_micrograph(tmp_path / "a.tif")
    assert read.pixel_size_nm == pytest.approx(size_nm, rel=1e-6, nan_ok=True)
    assert read.scale.source == ("" if math.isnan(size_nm) else "ImageJ")


@pytest.mark.parametrize(
    ("unit", "value"), [("µm", 0.0025), ("nm", 2.5), ("Å", 25.0), ("", 0.0025)]
)
def test_ome_physical_size(tmp_path, unit, value):
    told = {"PhysicalSizeX": value, "PhysicalSizeY": value}
    if unit:
        told |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", NOISE, metadata={"axes": "YX", **told}, ome=True)
    read = read_micrograph(tmp_path / "a.ome.tif")
    assert read.pixel_size_nm == pytest.approx(2.5)
    assert read.scale.source == "OME-XML"


def test_ome_with_a_unit_for_each_side(tmp_path):
    told = {"PhysicalSizeX": 5.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.01}
    tifffile.imwrite(tmp_path / "a.ome.tif", NOISE, metadata={"axes": "YX", **told}, ome=True)
    read = read_micrograph(tmp_path / "a.ome.tif")
    assert (read.pixel_size_nm, read.pixel_size_y_nm) == pytest.approx((5, 10))


def test_ome_of_several_images(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for size in (0.001, 0.003):
            told = {"PhysicalSizeX": size, "PhysicalSizeXUnit": "µm"}
            tif.write(NOISE, metadata={"axes": "YX", **told})
    found = [read_frame(frame).pixel_size_nm for frame in frames_of(open_source(path))]
    assert found == pytest.approx([1, 3])


def test_sources_of_one_file_are_compared(tmp_path):
    tags = gatan_tags(2.5, "nm")
    for per_cm, agreement in ((1e7 / 2.52, "agree"), (1e7 / 2.7, "differ")):
        path = write(
            tmp_path / "a.tif", *tags, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
        )
        read = read_micrograph(path)
        assert read.pixel_size_nm == pytest.approx(2.5)
        assert read.scale.agreement == agreement
        assert any("2.7 nm" in warning for warning in read.warnings) == (agreement == "differ")


# --- what a number, an escape and a description may look like ---------------------------------


@pytest.mark.parametrize(
    ("written", "size_nm"), [("2,5", 2.5), ("0,005", 0.005), ("1,024", math.nan)]
)
@pytest.mark.parametrize(
    "parse",
    [
        lambda n: parse_hitachi(f"[SemImageFile]\nPixelSize={n}\n".encode()),
        lambda n: parse_jeol(f"$CM_PIXEL_SIZE={n}nm/pixel"),
        lambda n: parse_zeiss(
            f"AP_IMAGE_PIXEL_SIZE\nImage Pixel Size = {n} nm\n".encode(), width_px=9
        ),
        lambda n: parse_tescan(f"[MAIN]\nPixelSizeX={n}e-009\n".encode(), source="test"),
        lambda n: parse_fei(f"[Scan]\nPixelWidth={n}e-009\n"),
    ],
    ids=["hitachi", "jeol", "zeiss", "tescan", "fei"],
)
def test_a_decimal_comma_is_read_and_a_thousand_is_not(parse, written, size_nm):
    found = [r.size_nm for r in parse(written).readings]
    if math.isnan(size_nm) and found:
        assert found == pytest.approx([1.024])  # with an exponent it is no thousand
    else:
        assert found == pytest.approx([] if math.isnan(size_nm) else [size_nm])


@pytest.mark.parametrize("unit", ["\\u00C5", "\\u00c5", "\\u212B"])
def test_imagej_escapes_any_letter(tmp_path, unit):
    text = f"ImageJ=1.53k\nunit={unit}\n"
    path = write(tmp_path / "a.tif", description=text, resolution=(0.5, 0.5), resolutionunit="NONE")
    assert read_micrograph(path).pixel_size_nm == pytest.approx(0.2)


def ome_image(size_nm, uuid="", name="", width=100):
    block = f'<UUID FileName="{name}">urn:uuid:{uuid}</UUID>' if name else ""
    return (
        f'<Image><Pixels SizeX="{width}" SizeY="80" PhysicalSizeX="{size_nm}" '
        f'PhysicalSizeXUnit="nm"><TiffData IFD="0">{block}</TiffData></Pixels></Image>'
    )


@pytest.mark.parametrize(
    ("own", "name", "size_nm"),
    [
        ("2", "renamed.tif", 7),  # the file says which it is
        ("", "b.tif", 7),
        ("", "a.tif", 5),
        ("", "renamed.tif", math.nan),  # of images of two sizes either may be in it
    ],
)
def test_ome_of_images_in_several_files(tmp_path, own, name, size_nm):
    images = ome_image(5, "1", "a.tif") + ome_image(7, "2", "b.tif")
    uuid = f' UUID="urn:uuid:{own}"' if own else ""
    path = write(tmp_path / name, description=f"<OME{uuid}>{images}</OME>")
    assert read_micrograph(path).pixel_size_nm == pytest.approx(size_nm, nan_ok=True)


def test_ome_of_another_image_or_in_another_file(tmp_path):
    path = write(tmp_path / "a.tif", description=f"<OME>{ome_image(5, width=200)}</OME>")
    resized = read_micrograph(path)
    assert math.isnan(resized.pixel_size_nm)
    assert "200 px wide, this one has 100 px" in resized.warnings[0]
    elsewhere = '<OME><BinaryOnly MetadataFile="b.companion.ome" UUID="urn:uuid:1"/></OME>'
    read = read_micrograph(write(tmp_path / "a.tif", description=elsewhere))
    assert "b.companion.ome" in read.warnings[0]


def test_jeol_text_of_a_japanese_system(tmp_path):
    path = write(tmp_path / "a.tif")
    (tmp_path / "a.txt").write_bytes("$CM_PIXEL_SIZE 0.002μm\r\n".encode("shift_jis"))
    assert read_micrograph(path).pixel_size_nm == pytest.approx(2)


def test_jeol_text_of_an_image_of_another_width(tmp_path):
    path = write(tmp_path / "a.tif")
    text = "$CM_PIXEL_SIZE 2.00nm\r\n$CM_FULL_SIZE {} 80\r\n"
    (tmp_path / "a.txt").write_text(text.format(100))
    assert read_micrograph(path).pixel_size_nm == pytest.approx(2)
    (tmp_path / "a.txt").write_text(text.format(200))
    read = read_micrograph(path)
    assert math.isnan(read.pixel_size_nm)
    assert "resized or cropped" in read.warnings[0]


def test_sources_that_differ_along_y_alone_differ():
    text = "[Scan]\nPixelWidth=2e-9\nPixelHeight={}e-9\n[EBeam]\nHFW=2e-7\nVFW=1.6e-7\n[Image]\n"
    text += "ResolutionX=100\nResolutionY=80\n"
    assert settle(parse_fei(text.format(2)).readings).agreement == "agree"
    record = settle(parse_fei(text.format(3)).readings)
    assert record.agreement == "differ"
    assert "FEI tag 2 x 3 nm (used)" in record.warnings[0]


# --- damage -----------------------------------------------------------------------------------

PARSERS = {
    "fei": parse_fei,
    "zeiss": lambda content: parse_zeiss(content, width_px=100),
    "jeol": lambda content: parse_jeol(to_text(content)),
    "hitachi": parse_hitachi,
    "tescan": lambda content: parse_tescan(content, source="test"),
    "xml": lambda content: parse_xml(to_text(content)),
}
WHOLE = {
    "fei": THERMO.encode(),
    "zeiss": zeiss(),
    "jeol": JEOL.encode("utf-16"),
    "hitachi": HITACHI.encode(),
    "tescan": TESCAN.encode(),
    "xml": PHENOM.encode(),
}


@pytest.mark.parametrize("vendor", PARSERS)
@given(data=st.data())
def test_no_damage_raises(vendor, data):
    content = bytearray(WHOLE[vendor])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    PARSERS[vendor](bytes(content[:cut]))


@pytest.mark.parametrize("vendor", [name for name in PARSERS if name != "xml"])
@given(st.binary(max_size=200))
def test_anything_parses(vendor, content):
    header = PARSERS[vendor](content)
    assert header is None or all(r.size_nm > 0 for r in header.readings)


# --- real files -------------------------------------------------------------------------------

REAL = {
    "FEI-Helios-Ebeam-8bits.tif": 3372,
    "FEI-Helios-Ebeam-16bits.tif": 3372,
    "FEI-Helios-navcam.tif": 263974,
    "FEI-Helios-navcam-with-no-IRBeam.tif": math.nan,
    "fei_quanta_text_at_end.tif": 441.942,
    "test_tiff_Zeiss_SEM_1k.tif": 2615,
    "ZEISS_SEM_multipage.tif": 12.326225,
    "zeiss_sem_ti64.tif": 111.65,
    "JEOL-SightX-TEM-mag-dummy.tif": 1.82078853,
    # The file says 2.00 nm four times over: its pixel size, its field of 2.56 um over 1280 px, its
    # field over its magnification, and the bar of 100 nm over 49 px.
    "jeol_it800_makernote.tif": 2.00,
    "olympus_SIS.tif": 0.023928,
    "TVIPS_bin4.tif": 1.420803666,
    "test_loading_image_saved_with_DM.tif": 168.674693,
    "test_loading_image_saved_with_imageJ.tif": 168.674711,
    "test_loading_image_saved_with_imageJ_no_scale.tif": math.nan,
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_give_their_pixel_size(real_data, name):
    for frame in frames_of(open_source(real_data / "vendor_formats" / name)):
        record = settle(frame.header.readings)
        assert record.size_nm == pytest.approx(REAL[name], rel=2e-4, nan_ok=True)
        assert record.warnings == ()
        if name == "fei_quanta_text_at_end.tif":
            with pytest.raises(ImageError, match="truncated: pixels reach to byte"):
                read_frame(frame)
        else:
            assert read_frame(frame).pixel_size_nm == pytest.approx(record.size_nm, nan_ok=True)


def test_every_real_tiff_is_in_the_table(real_data):
    names = {path.name for path in (real_data / "vendor_formats").glob("*.tif")}
    assert names == set(REAL)
