"""Catalogs: records that say what stores hold, searches, and proof that a store still holds it."""

import dataclasses
import json
import os
import shutil

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from test_tables import make_store

import nanoarray as na
from nanoarray.archive.guard import check_safe
from nanoarray.catalog import Catalog
from nanoarray.catalog.contents import array_record, within_rounding
from nanoarray.catalog.describe import _packaged
from nanoarray.catalog.index import IMAGES, PRODUCTS, make_index, read_index, write_index
from nanoarray.catalog.record import read_record, to_json
from nanoarray.errors import InputError
from nanoarray.pipeline import load_pipeline


@pytest.fixture
def place(tmp_path):
    """A catalog of two products, whose stores are beside it."""
    a, _ = make_store(tmp_path / "a.zarr", dose_units="mg")
    b, _ = make_store(tmp_path / "b.zarr", seed=1, dose_units="g")
    catalog = Catalog(tmp_path / "cat")
    catalog.add(a, licence="CC-BY-4.0", title="first")
    catalog.add(b, product="B.2")
    return tmp_path


@pytest.fixture
def catalog(place):
    return Catalog(place / "cat")


def edited(path, **entries):
    """A record with other entries, dotted names for inner ones."""
    content = json.loads(path.read_text())
    for name, value in entries.items():
        inner = content
        *parents, last = name.split("__")
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        inner[last] = value
    path.write_text(json.dumps(content))


# --- records ----------------------------------------------------------------------------------


def test_a_record_says_what_the_store_holds(place, catalog):
    record = catalog.record("a")
    assert record.store == str(place / "a.zarr")
    assert record.counts == {"images": 3, "grains": 15}
    assert [(i.image, i.tags) for i in record.inputs] == [
        ("img0", {"sample": "S1", "temperature": 22.0, "dose": 1.0}),
        ("img1", {"sample": "S1", "temperature": 31.0, "dose": 2.0}),
        ("img2", {"dose": 3.0}),
    ]
    tag = record.tags["temperature"]
    assert (tag.units, tag.known, tag.least, tag.largest) == ("degC", 2, 22.0, 31.0)
    assert record.tags["sample"].values == ["S1"]
    area = na.table(place / "a.zarr", "grains")["area"].values
    kept = record.groups["grains"].arrays["area"]
    assert (kept.known, kept.least, kept.largest) == (15, area.min(), area.max())
    assert kept.mean == pytest.approx(area.mean())


def test_records_are_read_by_line(place, catalog):
    lines = (place / "cat" / "a.json").read_text().splitlines()
    assert sum('"image": "img' in line for line in lines) == 3
    assert [line for line in lines if '"area":' in line and '"sha256"' in line]
    edit = catalog.record("a").model_copy(update={"title": "other"})
    after = to_json(edit).splitlines()
    changed = [x for x in zip(lines, after, strict=True) if x[0] != x[1]]
    assert changed == [(' "title": "first",', ' "title": "other",')]


def test_adding_again_keeps_what_is_not_given(place, catalog):
    before = catalog.record("a")
    after = catalog.add(place / "a.zarr", citation="Someone, 2024")
    assert (after.added, after.licence, after.title) == (before.added, "CC-BY-4.0", "first")
    assert after.citation == "Someone, 2024"
    assert after.groups == before.groups


def test_the_pipeline_of_a_store_is_known_by_its_parameters(place, catalog):
    assert catalog.record("a").pipeline.name == "as recorded in the store"
    stages = load_pipeline("nanocrystals").stages
    some = catalog.record("a").groups["grains"]
    groups = {
        stage.name: some.model_copy(update={"parameters": parameters.model_dump(mode="json")})
        for stage, parameters in stages
    }
    assert _packaged(groups) == "nanocrystals"
    groups["crystals"] = some
    assert _packaged(groups) is None


def test_two_stores_cannot_have_one_id(place, catalog):
    with pytest.raises(InputError, match=r"has a product 'a' already, of the store .*a\.zarr"):
        catalog.add(place / "b.zarr", product="a")
    for bad in ("../x", "a/b", "", ".hidden", "a" * 101, "a\0"):
        with pytest.raises(InputError, match="cannot be the id"):
            catalog.add(place / "b.zarr", product=bad or "-")


def test_an_unfinished_store_is_no_product(place, catalog):
    url = str(place / "c.zarr")
    shutil.copytree(place / "a.zarr", url)
    group = zarr.open_group(url, path="grains")
    group.attrs["nanoarray"] = {**group.attrs["nanoarray"], "complete": False}
    with pytest.raises(InputError, match="group 'grains' is incomplete"):
        catalog.add(url)
    with pytest.raises(InputError, match="not a nanoarray store"):
        catalog.add(place / "nowhere.zarr")
    with pytest.raises(InputError, match="not what made"):
        catalog.add(place / "a.zarr", pipeline="superlattice")


def test_two_records_with_one_id_and_files_that_are_none(place, catalog):
    folder = place / "cat"
    shutil.copy(folder / "a.json", folder / "copy of a.json")
    (folder / "broken.json").write_text("{")
    (folder / "list.json").write_text("[]")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "newer.json").write_text(json.dumps({"record_version": 99}))
    os.symlink(folder / "B.2.json", folder / "link.json")
    shutil.copy(folder / "B.2.json", folder / "extra.json")
    edited(folder / "extra.json", id="extra", surprise=1)
    problems = catalog.problems()
    assert catalog.ids() == ["B.2"]
    assert "a.json and copy of a.json have the id 'a'" in problems["a.json"]
    assert "not JSON" in problems["broken.json"]
    assert "no record" in problems["list.json"]
    assert "not JSON" in problems["deep.json"]
    assert "version 99, this nanoarray reads 1: use a newer" in problems["newer.json"]
    assert "link" in problems["link.json"]
    assert "surprise" in problems["extra.json"]
    for product, said in {"a": "have the id 'a'", "newer": "version 99"}.items():
        with pytest.raises(InputError, match=said):
            catalog.record(product)
    with pytest.raises(InputError, match=r"no product 'B2' \(did you mean 'B.2'\?\)"):
        catalog.record("B2")
    assert list(catalog.search("temperature > 0")) == ["B.2"]


def test_a_record_under_another_name_is_named(place, catalog):
    os.rename(place / "cat" / "a.json", place / "cat" / "z.json")
    assert "has the id 'a': name it a.json" in catalog.problems()["z.json"]


def test_no_catalog(tmp_path):
    with pytest.raises(InputError, match="no catalog at"):
        Catalog(tmp_path / "none").ids()
    (tmp_path / "file").write_text("")
    url, _ = make_store(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="a catalog is a folder"):
        Catalog(tmp_path / "file").add(url)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("inputs__0__image", "../../outside"),
        ("inputs__0__image", "/etc/passwd"),
        ("inputs__0__image", "a\0b"),
        ("inputs__0__image", ""),
        ("inputs__0__sha256", "../x"),
        ("id", "../a"),
        ("counts__images", "many"),
        ("groups__grains__arrays__area__shape", "all"),
        ("record_version", "1"),
        ("record_version", None),
        ("record_version", 0),
        ("title", "\ud800"),
        ("counts__grains", 10**6),
        ("inputs__0__tags__temperature", "hot"),
        ("inputs__0__tags__temperature", 23.5),
        ("inputs__0__tags__surprise", 1.0),
        ("tags__temperature__units", "9**9**9"),
        ("tags__temperature__least", None),
        ("tags__temperature__largest", 99.0),
    ],
)
def test_values_that_a_record_cannot_have(place, entry, value):
    path = place / "cat" / "a.json"
    edited(path, **{entry: value})
    with pytest.raises(InputError, match=r"a\.json is "):
        read_record(path)


# --- searching --------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_is(tmp_path):
    """It was said that there is no such column."""
    (tmp_path / "odd.json").write_text("{")
    assert len(Catalog(tmp_path).search("temperature > 20")) == 0


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_file_is_named_and_the_rest_is_found(place, catalog, kind):
    """A pipe was waited for, for ever."""
    path = place / "cat" / "odd.json"
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda p: os.symlink("/nowhere", p)}
    make[kind](path)
    assert len(catalog.search("temperature > 20")) == 2
    assert "odd.json is not read: expected a plain file" in catalog.problems()["odd.json"]
    assert "JSON" not in catalog.problems()["odd.json"]


def test_a_parameter_that_was_found_from_the_data_can_be_asked_for(catalog):
    def resolved(record):
        group = record.groups["grains"].model_copy(
            update={"parameters": {"stride_px": None}, "resolved": {"stride_px": 8}}
        )
        return record.model_copy(update={"groups": {**record.groups, "grains": group}})

    index = make_index([resolved(catalog.record("a"))])
    assert index.column("grains.stride_px").tolist() == [8.0, 8.0, 8.0]


def test_nothing_found_is_an_empty_frame_and_json_has_no_nan(place, catalog, cli):
    assert catalog.search("temperature > 99").frame()["id"].tolist() == []
    bare, _ = make_store(place / "bare.zarr")
    del zarr.open_group(bare)["grains"]
    catalog.add(bare)
    status, said, _ = cli("catalog", "list", "--json", "--catalog", place / "cat")
    products = json.loads(said, parse_constant=pytest.fail)["products"]
    assert status == 0
    assert [p.get("grains") for p in products] == [15, 15, None]


def test_search_is_by_image(catalog):
    found = catalog.search("temperature > 20 and sample == 'S1'")
    assert dict(found.hits) == {"B.2": (2, 3), "a": (2, 3)}
    # No image is at both: what a product's ranges allow is not enough.
    assert len(catalog.search("temperature > 30 and dose < 0.0015")) == 0
    assert list(catalog.search("id == 'a' and licence == 'CC-BY-4.0'")) == ["a"]
    assert list(catalog.search("counts.grains > 20")) == []
    assert list(catalog.search("not known(temperature)")) == ["B.2", "a"]
    with pytest.raises(InputError, match="no column 'temprature'"):
        catalog.search("temprature > 20")


def test_units_are_those_of_the_first_product(catalog):
    # B.2 comes first, in grams; a is in milligrams
    assert dict(catalog.search("dose >= 1").hits) == {"B.2": (3, 3)}
    assert dict(catalog.search("dose == 0.002").hits) == {"a": (1, 3)}


def test_what_cannot_be_compared_is_named(tmp_path):
    catalog = Catalog(tmp_path / "cat")
    for name, units in (("a", "mg"), ("b", "deg")):
        catalog.add(make_store(tmp_path / f"{name}.zarr", dose_units=units)[0])
    with pytest.raises(InputError, match="'dose' cannot be compared between products"):
        catalog.search("dose > 1")
    assert list(catalog.search("temperature > 1")) == ["a", "b"]


def test_two_write_the_index_at_once(place, catalog, monkeypatch):
    index, write = make_index([catalog.record("a")]), pq.write_table

    def interrupted(table, path):
        write(table, path)
        monkeypatch.setattr(pq, "write_table", write)
        write_index(place, index, "other")

    monkeypatch.setattr(pq, "write_table", interrupted)
    write_index(place, index, "key")
    assert pq.read_schema(place / PRODUCTS).metadata[b"key"] == b"key"
    assert not list(place.glob(".*.partial"))
    write_index(place, index, "key")
    assert read_index(place, "key").images.equals(index.images)


def test_the_index_follows_the_records(place, catalog):
    assert list(catalog.search("title == 'first'")) == ["a"]
    assert (place / "cat" / PRODUCTS).is_file()
    stamp = (place / "cat" / IMAGES).stat().st_mtime_ns
    catalog.search("title == 'first'")
    assert (place / "cat" / IMAGES).stat().st_mtime_ns == stamp
    edited(place / "cat" / "a.json", title="second")
    assert list(catalog.search("title == 'first'")) == []
    (place / "cat" / "a.json").unlink()
    assert list(catalog.search("temperature > 0")) == ["B.2"]


@pytest.mark.parametrize("harm", ["text", "link", "other", "none", "order", "kind"])
def test_a_strangers_index_is_not_trusted(place, catalog, harm):
    condition = "temperature > 20 and title == 'first'"
    expected = dict(catalog.search(condition).hits)
    assert list(expected) == ["a"]
    for name in (PRODUCTS, IMAGES):
        path = place / "cat" / name
        if harm == "text":
            path.write_text("nonsense")
        elif harm == "link":
            shutil.move(path, place / name)
            os.symlink(place / name, path)
        elif harm == "other":
            other = Catalog(place / "other")
            other.add(place / "a.zarr")
            shutil.copy(place / "other" / name, path)
        elif harm in ("order", "kind"):
            table = pq.read_table(path)
            rows = table.to_pandas()
            if harm == "order" and name == IMAGES:
                rows = rows.iloc[::-1]
            if harm == "kind" and name == IMAGES:
                rows = rows.astype({"product": str})
            about = table.schema.metadata
            pq.write_table(
                pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(about),
                path,
            )
        else:
            path.unlink()
    assert dict(catalog.search(condition).hits) == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_catalog_that_cannot_be_written_is_searched(place, catalog):
    (place / "cat").chmod(0o500)
    assert len(catalog.search("temperature > 20")) == 2


# --- opening ----------------------------------------------------------------------------------


def test_opening_what_was_found(place, catalog):
    found = catalog.search("temperature > 20 and id == 'a'")
    trees = found.open()
    assert list(trees) == ["a"]
    assert isinstance(trees["a"], xr.DataTree)
    grains = found.open("grains")
    assert set(grains["image"].values) == {"img0", "img1"}  # img2 is of no known temperature
    assert found.open("grains", all_images=True).sizes["grain"] == 15
    assert found.open("images")["image"].values.tolist() == ["img0", "img1"]
    both = catalog.search("temperature > 30").open("grains")
    assert both["store"].values.tolist() == ["B.2"] * 5 + ["a"] * 5
    assert set(both["temperature"].values) == {31.0}
    with pytest.raises(InputError, match="nothing to open"):
        catalog.search("temperature > 99").open()


@pytest.mark.parametrize(
    "condition", ["dose == 0.002", "dose == 0.002 or (id == 'B.2' and known(nothing.here))"]
)
def test_opening_chooses_the_images_that_were_found(place, catalog, condition):
    # The condition is in the units of B.2, and may name what only others have.
    edited(place / "cat" / "B.2.json", groups__grains__parameters={"bogus": 1})
    found = catalog.search(condition.replace("nothing.here", "grains.bogus") + " and id == 'a'")
    assert dict(found.hits) == {"a": (1, 3)}
    assert set(found.open("grains")["image"].values) == {"img1"}
    with pytest.raises(InputError, match="'a' changed since it was found: search again"):
        dataclasses.replace(found, matching={"a": np.ones(2, bool)}).open("grains")


def test_moved_stores(place, catalog):
    shutil.move(place / "a.zarr", place / "moved")
    with pytest.raises(InputError, match=r"its store is not at .*a\.zarr. If it moved"):
        catalog.open("a")
    assert Catalog(place / "cat", stores=place / "moved").store("a") == str(place / "moved")
    (place / "all").mkdir()
    shutil.move(place / "moved", place / "all" / "a.zarr")
    found = Catalog(place / "cat", stores=[place / "all"])
    assert found.open("a")["grains"].sizes["grain"] == 15
    with pytest.raises(InputError, match="not what was recorded"):
        Catalog(place / "cat", stores=place / "b.zarr").store("a")


def test_a_catalog_with_its_stores_can_be_moved(tmp_path):
    catalog = Catalog(tmp_path / "cat")
    url, _ = make_store(tmp_path / "cat" / "stores" / "a.zarr")
    assert catalog.add(url).store == "stores/a.zarr"
    shutil.move(tmp_path / "cat", tmp_path / "elsewhere")
    assert Catalog(tmp_path / "elsewhere").open("a")["grains"].sizes["grain"] == 15


def test_a_changed_store_is_not_opened_as_the_product(place, catalog):
    zarr.open_group(str(place / "a.zarr"))["images/temperature"][0] = 25.0
    with pytest.raises(InputError, match="tags of 1 images changed, such as 'img0'"):
        catalog.open("a")
    with pytest.raises(InputError, match="not what was recorded"):
        catalog.search("id == 'a'").open("grains")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("../a.zarr", "must not leave"),
        ("x/../../a.zarr", "must not leave"),
        ("..\\a.zarr", "must not leave"),
        ("link", "must not leave"),
        ("link/a.zarr", "must not leave"),
        (".", "must not leave"),
        ("", "no address"),
        ("a\0b", "no address"),
        ("/", "is not at"),
        ("/etc", "is not at"),
        ("{place}/b.zarr", "not what was recorded"),
        ("/" + "a" * 5000, "nothing can be read at"),
        ("http://169.254.169.254/latest", "asked only if you name it"),
        ("s3://bucket/a.zarr", "asked only if you name it"),
        ("file:///etc", "asked only if you name it"),
        ("simplecache::http://x/a.zarr", "asked only if you name it"),
        ("//host/share/a.zarr", "asked only if you name it"),
        ("\\\\host\\share", "asked only if you name it"),
    ],
)
def test_a_record_leads_nowhere_else(place, catalog, address, said):
    os.symlink(place, place / "cat" / "link")
    edited(place / "cat" / "a.json", store=address.format(place=place))
    with pytest.raises(InputError, match=said):
        catalog.open("a")
    with pytest.raises(InputError, match=said):
        catalog.verify("a")


def test_a_store_elsewhere_is_opened_only_where_it_is_named(place, catalog):
    memory = fsspec.filesystem("memory")
    memory.put(str(place / "a.zarr"), "/far/a.zarr", recursive=True)
    try:
        assert catalog.add("memory://far/a.zarr", product="far").store == "memory://far/a.zarr"
        with pytest.raises(InputError, match="asked only if you name it"):
            catalog.open("far")
        with pytest.raises(InputError, match="is not at"):
            Catalog(place / "cat", stores="memory://fa").open("far")
        named = Catalog(place / "cat", stores="memory://far")
        assert named.open("far")["grains"].sizes["grain"] == 15
        assert all(check.good for check in named.verify("far"))
    finally:
        memory.rm("/far", recursive=True)


def test_an_unsafe_store_is_not_opened(place, catalog):
    os.symlink("/etc/hostname", place / "a.zarr" / "grains" / "link")
    check_safe.cache_clear()  # in this process it was written, and looked at before
    with pytest.raises(InputError, match="is a link"):
        catalog.open("a")


# --- verifying --------------------------------------------------------------------------------


def states(checks):
    return {check.group: check.state for check in checks}


def details(checks):
    return " | ".join(text for check in checks for text in check.details)


def test_verify_names_what_differs(place, catalog):
    assert states(catalog.verify("a")) == {"images": "identical", "grains": "identical"}
    root = zarr.open_group(str(place / "a.zarr"))
    root["grains/area"][3] += 1e-12
    checks = catalog.verify("a")
    assert states(checks) == {"images": "identical", "grains": "within rounding"}
    root["grains/area"][3] += 1.0
    root["images/temperature"][1] = 30.0
    checks = catalog.verify("a")
    assert states(checks) == {"images": "differs", "grains": "differs"}
    assert "area: values differ (" in details(checks)
    assert "image 'img1': temperature 30.0, recorded 31.0" in details(checks)
    root["grains/area"].attrs["units"] = "nm"
    root["grains"].create_array("extra", shape=(15,), dtype="f8", dimension_names=["grain"])
    root["grains/crop"].resize((15, 3))
    said = details(catalog.verify("a"))
    assert "area: units nm, recorded 1" in said
    assert "extra: not recorded" in said
    assert "crop: shape [15, 3], recorded [15, 2]" in said


def test_verify_names_what_was_made_otherwise(place, catalog):
    """A record that lies about parameters has the digest of the store, and the same arrays."""
    edited(
        place / "cat" / "a.json", groups__grains__parameters={"min": 3}, groups__grains__failed=1
    )
    checks = catalog.verify("a")
    assert states(checks) == {"images": "identical", "grains": "differs"}
    assert "failed: 1 -> 0" in details(checks)
    assert "parameters.min: 3 -> None" in details(checks)


def test_verify_names_what_is_missing_or_new(place, catalog):
    url = str(place / "a.zarr")
    root = zarr.open_group(url)
    del root["grains/area"]
    assert "area: missing" in details(catalog.verify("a"))
    del root["grains"]
    assert states(catalog.verify("a"))["grains"] == "missing"
    root.create_group("more").attrs["nanoarray"] = {"complete": True}
    assert states(catalog.verify("a"))["more"] == "differs"


def test_verify_names_what_cannot_be_read(place, catalog):
    chunk = place / "a.zarr" / "grains" / "area" / "c" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    checks = catalog.verify("a")
    assert states(checks) == {"images": "identical", "grains": "unreadable"}
    assert details(checks).startswith("area: ")


def test_checksums_are_of_values_not_of_chunks():
    values = np.arange(24, dtype="float32").reshape(4, 3, 2)
    whole = array_record(xr.Variable(("a", "b", "c"), values, {"units": "1"}))
    swapped = array_record(xr.Variable(("a", "b", "c"), values.astype(">f4"), {"units": "1"}))
    assert whole.sha256 == swapped.sha256
    text = [array_record(xr.Variable("a", np.array(v, object))) for v in (["ab", "c"], ["a", "bc"])]
    assert text[0].sha256 != text[1].sha256


@pytest.mark.parametrize("slab", [1, 7, 30, 10**6])
def test_checksums_do_not_depend_on_how_much_is_read_at_a_time(monkeypatch, slab):
    values = np.random.default_rng(0).random((5, 3, 4))
    variable = xr.Variable(("a", "b", "c"), values)
    expected = array_record(variable)
    monkeypatch.setattr("nanoarray.catalog.contents._SLAB_BYTES", slab)
    found = array_record(variable)
    assert found.sha256 == expected.sha256
    assert found.mean == pytest.approx(expected.mean, rel=1e-12)


def test_rounding_is_a_millionth_and_of_numbers_with_a_fraction():
    def record(*values, dtype="float64"):
        return array_record(xr.Variable("a", np.array(values, dtype)))

    assert within_rounding(record(1, 2), record(1, 2 + 1e-7))
    assert not within_rounding(record(1, 2), record(1, 2.001))
    assert not within_rounding(record(1, np.nan), record(1, 2))
    assert not within_rounding(record(1, 2, dtype="int64"), record(1, 2, dtype="float64"))


def test_intake_opens_what_is_exported(place, catalog):
    intake = pytest.importorskip("intake")
    from nanoarray.catalog.intake_file import export_intake

    records = {p: catalog.record(p) for p in catalog.ids()}
    stores = {p: catalog.store(p) for p in records}
    assert export_intake(records, stores, place / "i.yaml") == 4
    opened = intake.open_catalog(str(place / "i.yaml"))
    assert sorted(opened) == ["B.2.grains", "B.2.images", "a.grains", "a.images"]
    grains = opened["a.grains"].read()
    assert grains["area"].chunks is not None
    expected = na.table(place / "a.zarr", "grains")["area"].values
    np.testing.assert_array_equal(grains["area"].values, expected)
    with pytest.raises(InputError, match="yaml"):
        export_intake(records, stores, place / "i.csv")
