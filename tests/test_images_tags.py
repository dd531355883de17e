"""Tags from tables, file names and files: matched, converted, and compared."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarray import schema
from nanoarray.errors import InputError
from nanoarray.images.header import Header
from nanoarray.images.pattern import RESERVED, TAGS_OF_SCHEMA
from nanoarray.images.tags import (
    merge_tags,
    parse_pattern,
    pattern_units,
    read_tags_csv,
    tags_of_header,
)
from nanoarray.images.units import convert, split_unit


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "tags.csv"
        path.write_bytes(text.encode(encoding))
        return read_tags_csv(path)

    return write


class TestUnits:
    @pytest.mark.parametrize(
        ("column", "tag", "unit"),
        [
            ("temperature_degC", "temperature", "degC"),
            ("Temperature [K]", "temperature", "K"),
            ("temperature (°C)", "temperature", "degC"),
            ("temperature", "temperature", ""),
            ("pressure_psi", "pressure", "psi"),
            ("pixel_size_nm", "pixel_size", "nm"),
            ("working_distance_mm", "working_distance", "mm"),
            ("anneal_h", "anneal", "h"),
            ("section_a", "section_a", ""),
            ("sample_id", "sample_id", ""),
            ("temperature_program", "temperature_program", ""),
            ("Ligand type", "ligand_type", ""),
        ],
    )
    def test_column_names(self, column, tag, unit):
        assert split_unit(column) == (tag, unit)

    @pytest.mark.parametrize("column", ["temperature_MPa", "pressure_nm", "pixel_size [K]"])
    def test_wrong_quantity(self, column):
        with pytest.raises(InputError, match="is not a unit of"):
            split_unit(column)

    @pytest.mark.parametrize(
        ("value", "tag", "unit", "expected"),
        [
            (300, "temperature", "K", 26.85),
            (212, "temperature", "F", 100),
            (22, "temperature", "C", 22),
            (1000, "pressure", "psi", 6.894757293168),
            (10, "pressure", "bar", 1),
            (0.0025, "pixel_size", "um", 2.5),
            (5000, "voltage", "V", 5),
            (7, "unknown", "furlong", 7),
        ],
    )
    def test_conversion(self, value, tag, unit, expected):
        assert convert(value, tag=tag, unit=unit) == pytest.approx(expected, rel=1e-11)

    @given(st.floats(-270, 5000))
    def test_celsius_survives_kelvin(self, celsius):
        assert convert(celsius + 273.15, tag="temperature", unit="K") == pytest.approx(
            celsius, abs=1e-7
        )


class TestCsv:
    def test_values_units_and_types(self, table):
        frame, units = table(
            "File,temperature_K,pressure_psi,anneal_h,batch,ligand,Sample\n"
            "a.tif,300,1000,2,007,OA,17\n"
            "b.tif,,  ,,008,,18\n"
        )
        assert list(frame.index) == ["a.tif", "b.tif"]
        assert frame.loc["a.tif", "temperature"] == pytest.approx(26.85)
        assert frame.loc["a.tif", "pressure"] == pytest.approx(6.8947573)
        assert math.isnan(frame.loc["b.tif", "pressure"])
        assert list(frame["batch"]) == ["007", "008"]
        assert list(frame["sample"]) == ["17", "18"]
        assert list(frame["ligand"]) == ["OA", ""]
        assert frame["anneal"].dtype == np.float64
        assert units == {"temperature": "degC", "pressure": "MPa", "anneal": "h"}

    @pytest.mark.parametrize("key", ["image", "IMAGE", "filename", "File name", "Path", "id"])
    def test_key_columns(self, table, key):
        assert list(table(f"v,{key}\n1,a\n2,b\n")[0].index) == ["a", "b"]

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
    def test_what_spreadsheets_write(self, table, separator, encoding):
        text = "image,temperature [°C],note\r\na,22,größer\r\n\r\n".replace(",", separator)
        frame, _ = table(text, encoding)
        assert frame.loc["a", "temperature"] == 22
        assert frame.loc["a", "note"] == "größer"

    def test_decimal_commas_and_quoted_cells(self, table):
        frame, _ = table('image;temperature;note\na;21,5;"x; y"\n')
        assert frame.loc["a", "temperature"] == 21.5
        assert frame.loc["a", "note"] == "x; y"

    def test_unit_in_the_cell(self, table):
        frame, _ = table("image,temperature\na,295.15 K\nb,22\n")
        assert list(frame["temperature"]) == pytest.approx([22, 22])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            ("temperature\n22\n", "expected one that names the image"),
            ("image,v\na,1\na,2\n", "two rows for 'a'"),
            ("image,v\n,1\n", "names no image"),
            ("image,sha256\na,1\n", "reserved"),
            ("image,ok\na,1\n", "reserved"),
            ("image,height\na,1\n", "reserved"),
            ("image,\na,1\n", "empty"),
            ("image,temperature\na,warm\n", "'warm', not a number"),
            ("image,temperature_K,temperature_degC\na,1,2\n", "in two columns"),
            ("image,v,V\na,1,2\n", "in two columns"),
            ("image,pressure_degC\na,1\n", "is not a unit of pressure"),
            ("image,v\na,1,2\n", "row 2 has 3 cells"),
            ("image,v\na,\0\n", "not a text file"),
        ],
    )
    def test_bad_tables(self, table, text, message):
        with pytest.raises(InputError, match=message) as caught:
            table(text)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "column",
        "area|area_um2|label|Orientation [deg]|data_bar|warning|metadata|bit_depth|block_key|"
        "image_index|x|grain|tile_y|usable|sharpness".split("|"),
    )
    def test_names_with_another_meaning_must_be_renamed(self, table, column):
        with pytest.raises(InputError, match="is a reserved name; rename the column"):
            table(f"image,{column}\na,1\n")

    def test_reserved_names_are_those_of_the_schema(self):
        may_be_given = {
            name
            for group in ("images", "grains")
            for name in schema.GROUPS[group]
            if name not in RESERVED
        }
        assert may_be_given == TAGS_OF_SCHEMA

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match="No such file"):
            read_tags_csv(tmp_path / "none.csv")


class TestPattern:
    def test_the_documented_one(self):
        pattern = "{sample} {temperature:g}degC cross section {section}_{n}"
        assert parse_pattern(pattern, "1CJT016 4degC cross section 1_017") == {
            "sample": "1CJT016",
            "temperature": 4.0,
            "section": "1",
            "n": "017",
        }
        assert parse_pattern(pattern, "something else") is None

    @pytest.mark.parametrize(
        ("pattern", "stem", "tags"),
        [
            ("{s}_{temperature:g}K", "a_300K", {"s": "a", "temperature": 26.85}),
            ("{temperature:g}_{n:d}", "-4.5_007", {"temperature": -4.5, "n": 7}),
            ("{temperature:d}C_{s}", "22C_x", {"temperature": 22.0, "s": "x"}),
            ("{pressure:g} bar", "15 bar", {"pressure": 1.5}),
            ("{time:g}h", "1e2h", {"time": 100.0}),
            ("{s}.(x)+[{n:d}]", "a.(x)+[3]", {"s": "a", "n": 3}),
            ("{{{s}}}", "{a}", {"s": "a"}),
        ],
    )
    def test_values(self, pattern, stem, tags):
        assert parse_pattern(pattern, stem) == pytest.approx(tags)

    def test_literals_are_not_regular_expressions(self):
        assert parse_pattern("a.c_{n}", "abc_1") is None
        assert parse_pattern("(a|b)*_{n}", "a_1") is None

    def test_units(self):
        assert pattern_units("{temperature:g}K_{time:g}h_{v}nm_{pressure:g}") == {
            "temperature": "degC",
            "time": "h",
            "pressure": "MPa",
        }

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("", "no field"),
            ("plain", "no field"),
            ("{a}{b}", "nothing separates"),
            ("{a}_{a}", "twice"),
            ("{}", "is not a name"),
            ("{0}", "is not a name"),
            ("{a.b}", "is not a name"),
            ("{a:x}", "format 'x'"),
            ("{a!r}", "format 'r'"),
            ("{a", "expected '}'"),
            ("{sha256}", "reserved"),
            ("{label}_{n}", "'label' is a reserved name; rename"),
        ],
    )
    def test_bad_patterns(self, pattern, message):
        with pytest.raises(InputError, match=message):
            parse_pattern(pattern, "stem")

    def test_known_quantity_as_text(self):
        with pytest.raises(InputError, match=r"write it \{temperature:g\}"):
            parse_pattern("{temperature}", "warm")

    @given(
        st.text("abc123-", min_size=1, max_size=8),
        st.floats(-273, 500).map(lambda value: round(value, 3)),
        st.integers(0, 999),
    )
    def test_round_trip(self, sample, temperature, number):
        stem = f"{sample} {temperature}degC_{number:03d}"
        assert parse_pattern("{sample} {temperature:g}degC_{n:d}", stem) == {
            "sample": sample,
            "temperature": temperature,
            "n": number,
        }


class TestMerge:
    def test_precedence_and_disagreements(self, table):
        frame, units = table("file,sample,temperature_K\na.tif,A,295.15\n")
        merged = merge_tags(
            ["a", "b"],
            paths=["/data/a.tif", "/data/b.tif"],
            table=frame,
            table_units=units,
            pattern="{sample}",
            file_tags=[{"temperature": 30.0, "pixel_size": 2.5}, {"sample": "b"}],
        )
        assert merged.tags == [
            {"sample": "A", "temperature": pytest.approx(22), "pixel_size": 2.5},
            {"sample": "b"},
        ]
        assert merged.sources[0] == {
            "sample": "tags table",
            "temperature": "tags table",
            "pixel_size": "file metadata",
        }
        assert merged.untagged_images == ["b"]
        assert merged.units == {"temperature": "degC", "pixel_size": "nm"}
        # "A" in the table and "a" in the file name are one sample; 22 and 30 degC are not.
        assert [(d.image, d.tag) for d in merged.disagreements] == [("a", "temperature")]
        assert "the first is used" in str(merged.disagreements[0])

    def test_empty_cells_do_not_hide_other_sources(self, table):
        frame, _ = table("file,sample,v\na,,\n")
        merged = merge_tags(["a"], paths=["a.tif"], table=frame, file_tags=[{"sample": "S"}])
        assert merged.tags == [{"sample": "S"}]

    @pytest.mark.parametrize(
        "key", ["S1/a", "a.tif", "a", "A.TIF", "x/a.tif", "./x/a.tif", "x\\a.tif"]
    )
    def test_rows_are_matched_by_id_name_and_path(self, table, key):
        frame, _ = table(f"image,sample\n{key},S\n")
        merged = merge_tags(["S1/a", "S1/b"], paths=["/d/x/a.tif", "/d/x/b.tif"], table=frame)
        assert merged.tags[0] == {"sample": "S"}
        assert merged.unknown_images == []

    def test_matching_does_not_compare_every_row_with_every_image(self):
        compared = []

        class Counting(str):
            __hash__ = str.__hash__

            def __eq__(self, other):
                compared.append(other)
                return str.__eq__(self, other)

        names = [f"image {i}" for i in range(300)]
        keys = pd.Index([Counting(name) for name in names], dtype=object)
        frame = pd.DataFrame({"v": np.arange(300.0)}, index=keys)
        merged = merge_tags(names, paths=[f"/d/{name}.tif" for name in names], table=frame)
        assert [tags["v"] for tags in merged.tags] == list(range(300))
        assert len(compared) < 10 * len(names)

    def test_unknown_rows_and_names_that_do_not_match(self, table):
        frame, _ = table("image,sample\nghost,S\n")
        merged = merge_tags(["a"], paths=["a.tif"], table=frame, pattern="{s}_{n:d}")
        assert merged.unknown_images == ["ghost"]
        assert merged.untagged_images == ["a"]
        assert merged.pattern_misses == ["a"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [("image,v\na.tif,1\n", "fits 2 images"), ("image,v\nx/a,1\nx/a.tif,1\n", "both image")],
    )
    def test_ambiguous_rows(self, table, text, message):
        frame, _ = table(text)
        with pytest.raises(InputError, match=message):
            merge_tags(["1", "2"], paths=["x/a.tif", "y/a.tif"], table=frame)

    def test_tags_of_a_file(self):
        known = {
            "voltage_kV": 5.0,
            "tilt_deg": 52.0,
            "detector": "TLD",
            "data_bar_px": 59.0,
            "magnification": 5e4,
        }
        assert tags_of_header(Header(metadata=known)) == {
            "voltage": 5.0,
            "tilt": 52.0,
            "detector": "TLD",
            "magnification": 5e4,
        }
        assert tags_of_header(Header()) == {}

    def test_a_row_that_names_a_file_is_for_all_its_images(self, table):
        frame, _ = table("image,sample\nx/stack.tif,S\n")
        merged = merge_tags(
            ["stack#1", "stack#2", "other"],
            paths=["x/stack.tif", "x/stack.tif", "x/other.tif"],
            table=frame,
        )
        assert [tags.get("sample") for tags in merged.tags] == ["S", "S", None]
        assert merged.unknown_images == []

    def test_sizes_that_a_person_states_are_kept_apart(self, table):
        frame, _ = table("image,pixel_size_um,pixel_size_y_nm\na,0.002,2.5\n")
        merged = merge_tags(
            ["a", "b"],
            paths=["a_3nm.tif", "b_4nm.tif"],
            table=frame,
            pattern="{s}_{pixel_size:g}nm",
        )
        assert merged.said[0]["tags table"] == pytest.approx((2.0, 2.5))
        assert merged.said[0]["file name"][0] == pytest.approx(3.0)
        assert list(merged.said[1]) == ["file name"]
        assert merged.disagreements == []


def test_a_thousand_or_a_decimal_comma_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('image,pressure_psi\na,"1,227"\n')
    with pytest.raises(InputError, match=r"row 2: pressure_psi is '1,227', which may be"):
        read_tags_csv(path)
    path.write_text('image;pressure_MPa\na;"1,54"\n')
    table, _ = read_tags_csv(path)
    assert table["pressure"].tolist() == [1.54]


def test_pattern_with_a_unit_of_something_else_is_refused():
    with pytest.raises(InputError, match="gives pressure in 'degC'"):
        parse_pattern("{sample} {pressure:g}degC", "S1 22degC")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image,temperature_K\na,-5\n", r"'a': temperature is -278.15 degC, expected -273.15 to"),
        ("image,pixel_size_nm\na,1e300\n", "pixel_size is 1e"),
        ("image,pressure_MPa\na,-1\n", "pressure is -1 MPa"),
        ("image,temperature_degc\na,22\n", "'degc' is not a unit: did you mean 'degC'"),
        ("image,pressure_mpa\na,22\n", "did you mean 'MPa'"),
    ],
)
def test_impossible_values_and_units(tmp_path, content, reason):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=reason):
        read_tags_csv(path)


def test_impossible_value_of_a_pattern():
    with pytest.raises(InputError, match="temperature is -300 degC"):
        parse_pattern("{sample} {temperature:g}degC", "S1 -300degC")
    assert parse_pattern("{sample} {temperature:g}degC", "S1 -196degC") == {
        "sample": "S1",
        "temperature": -196.0,
    }
