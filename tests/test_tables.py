"""Tables of one store and of several: lazy, with tags, queried, exported in blocks."""

import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st

import nanoarray as na
from nanoarray.archive import columns, store, table_files
from nanoarray.archive.columns import Rows, lazy
from nanoarray.archive.store import ArrayPlan, GroupPlan
from nanoarray.archive.tables import Table, write_table
from nanoarray.errors import InputError


def make_store(place, *, seed=0, dose_units="1", prefix="img", extra=(), rows_per_image=5):
    """A store of three images with tags and a table of grains, written without a pipeline."""
    url, images = str(place), 3
    rng = np.random.default_rng(seed)
    text = {"units": "1", "long_name": "text"}
    length = images * rows_per_image

    def numbers(units):
        return {"units": units, "long_name": "numbers"}

    tags = {
        "image": (("image",), [f"{prefix}{i}" for i in range(images)], text),
        "sha256": (("image",), [f"{seed * 100 + i:064x}" for i in range(images)], text),
        "sample": (("image",), ["S1", "S1", ""], text),
        "temperature": (("image",), [22.0, 31.0, np.nan], numbers("degC")),
        "dose": (("image",), [1.0, 2.0, 3.0], numbers(dose_units)),
    }
    grains = {
        "image_index": np.repeat(np.arange(images, dtype=np.int32), rows_per_image),
        "area": rng.random(length),
        "touches_edge": rng.random(length) > 0.5,
        **{name: np.arange(length, dtype=np.int32) for name in extra},
    }
    store.create_store(url)
    for group, dim, count, constants in [
        ("images", "image", images, tags),
        ("grains", "grain", length, {n: (("grain",), v, numbers("1")) for n, v in grains.items()}),
    ]:
        crop = ArrayPlan("crop", (dim, "crop_y"), (count, 2), "uint8", (1, 2), numbers("1"), 0)
        arrays = (crop,) if group == "grains" else ()
        store.create_group(url, group, GroupPlan(arrays, dim, count, 4, constants=constants))
        record = {"dim": dim, "complete": True, "digest": group, "variables": list(constants)}
        record["length"] = count
        store.set_provenance(url, group, record)
    return url, grains


@pytest.fixture
def one(tmp_path):
    return make_store(tmp_path / "a.zarr")


@pytest.fixture
def two(tmp_path):
    a, _ = make_store(tmp_path / "a.zarr", dose_units="mg", extra=("only_a",))
    b, _ = make_store(tmp_path / "b.zarr", seed=1, dose_units="g")
    return a, b


def test_tags_are_joined(one):
    url, grains = one
    rows = na.table(url, "grains")
    assert isinstance(rows, Table)
    assert isinstance(rows, xr.Dataset)
    expected = np.array([22.0, 31.0, np.nan])[grains["image_index"]]
    np.testing.assert_array_equal(rows["temperature"].values, expected)
    assert rows["image"].values.tolist()[::5] == ["img0", "img1", "img2"]
    assert rows["temperature"].attrs["units"] == "degC"


def test_opening_reads_no_column(one, monkeypatch):
    url, _ = one

    def read(*arguments):
        raise AssertionError("a column was read")

    monkeypatch.setattr(columns.Joined, "_read", read)
    monkeypatch.setattr(columns.Rows, "_read", read)
    rows = na.table(url, "grains")
    assert rows.sizes["grain"] == 15
    assert rows.query("area > 0.5").sizes["grain"] < 15  # reads area alone, and no tag
    with pytest.raises(AssertionError, match="a column was read"):
        rows.query("temperature > 20")


def test_query_equals_pandas(one):
    rows = na.table(one[0], "grains")
    frame = rows.drop_vars("crop").to_dataframe()
    for text in ("temperature > 20 and area > 0.1", "not touches_edge", "sample == 'S1'"):
        found = rows.query(text)
        expected = frame.query(text)
        assert isinstance(found, Table)
        np.testing.assert_array_equal(found["area"].values, expected["area"].values)
    by_sample = rows.query("known(temperature)").area.groupby("temperature").mean()
    expected = frame.groupby("temperature")["area"].mean()
    np.testing.assert_allclose(by_sample.values, expected.values)
    assert rows.query("area > 2").sizes["grain"] == 0


def test_query_in_blocks_equals_whole(one, monkeypatch):
    rows = na.table(one[0], "grains")
    expected = rows.query("area > 0.3").area.values
    monkeypatch.setattr("nanoarray.archive.open_table._QUERY_ROWS", 4)
    np.testing.assert_array_equal(na.table(one[0], "grains").query("area > 0.3").area, expected)


def test_query_takes_what_xarray_takes(one):
    rows = na.table(one[0], "grains")
    assert (rows.query(grain="area > 0.3").area.values > 0.3).all()
    with pytest.raises(InputError, match="not both"):
        rows.query("area > 1", grain="area > 1")
    with pytest.raises(InputError, match=r"no column 'aera'.*'area'"):
        rows.query("aera > 1")
    with pytest.raises(InputError, match="cannot stand in an expression"):
        rows.query("__import__('os').getcwd() == ''")


def test_a_table_stays_lazy_when_rows_are_chosen_and_can_be_chunked(one):
    rows = na.table(one[0], "grains").query("area > 0.3")
    assert not rows["image"].variable._in_memory
    chunked = na.table(one[0], "grains").chunk(grain=4)
    assert chunked["temperature"].chunks == ((4, 4, 4, 3),)
    np.testing.assert_array_equal(chunked.query("area > 0.3").area.values, rows.area.values)
    again = pickle.loads(pickle.dumps(rows))  # noqa: S301 -- its own
    np.testing.assert_array_equal(again["temperature"].values, rows["temperature"].values)


def test_several_stores(two):
    rows, images = na.table(two, "grains"), na.table(two, "images")
    assert "only_a" in rows  # whole numbers that one store has not are -1
    assert rows["only_a"].values.tolist() == [*range(15), *[-1] * 15]
    assert rows["store"].values.tolist() == ["a"] * 15 + ["b"] * 15
    # ids that both have are told apart, and positions go on
    assert images["image"].values.tolist() == [f"{s}:img{i}" for s in "ab" for i in range(3)]
    np.testing.assert_array_equal(rows["image"], images["image"].values[rows["image_index"]])
    # the second store's grams are the first one's milligrams
    assert images["dose"].values.tolist() == [1.0, 2.0, 3.0, 1000.0, 2000.0, 3000.0]
    assert rows["dose"].attrs["units"] == "mg"
    np.testing.assert_array_equal(rows["dose"], images["dose"].values[rows["image_index"]])
    each = [na.table(url, "grains").area.values for url in two]
    np.testing.assert_array_equal(rows["area"].values, np.concatenate(each))
    assert rows["crop"].chunks is not None


def test_stores_that_do_not_fit(tmp_path):
    a, _ = make_store(tmp_path / "a.zarr", dose_units="mg")
    b, _ = make_store(tmp_path / "b.zarr", seed=1, dose_units="deg")
    with pytest.raises(InputError, match="dose is in deg in one store and in mg in another"):
        na.table([a, b], "images")["dose"].values  # noqa: B018
    with pytest.raises(InputError, match="given twice"):
        na.table([a, a], "grains")
    with pytest.raises(InputError, match="no store was given"):
        na.table([], "grains")
    c, _ = make_store(tmp_path / "c.zarr", prefix="other")  # same hashes as a
    with pytest.warns(UserWarning, match="3 micrographs are in several of the stores a, c"):
        rows = na.table([a, c], "grains")
    assert rows["image"].values[-1] == "other2"


def test_stores_of_one_name_are_told_apart_by_their_place(tmp_path):
    places = [make_store(tmp_path / n / "s.zarr", seed=i)[0] for i, n in enumerate("xy")]
    assert set(na.table(places, "grains")["store"].values) == set(places)


@given(st.data())
def test_rows_of_parts_equal_numpy(data):
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    total = sum(lengths)
    whole = np.arange(total)
    starts = np.cumsum([0, *lengths])
    parts = [xr.Variable("r", whole[a:b]) for a, b in pairwise(starts)]
    variable = lazy(Rows(parts, lengths, dtype=np.dtype(int)), ("r",))
    bound = st.none() | st.integers(-6, 20)
    step = st.integers(-4, 4).filter(bool)
    key = data.draw(
        st.builds(slice, bound, bound, step)
        | st.lists(st.integers(0, max(total - 1, 0)), max_size=5 if total else 0).map(
            lambda v: np.array(v, int)
        )
    )
    assume(whole[key].size or not isinstance(key, slice) or (key.step > 0))  # fails in xarray
    assert variable[key].values.tolist() == whole[key].tolist()
    for i in range(total):
        assert variable[i].item() == i


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_written_in_blocks_equal_the_frame(one, tmp_path, monkeypatch, suffix):
    rows, path = na.table(one[0], "grains"), tmp_path / f"g.{suffix}"
    monkeypatch.setattr(table_files, "_ROWS", 4)
    assert write_table(rows, path) == 15
    if suffix == "parquet":
        found = pd.read_parquet(path)
        assert pq.read_schema(path).field("temperature").metadata[b"units"] == b"degC"
        assert pq.ParquetFile(path).num_row_groups == 4
    else:
        found = pd.read_csv(path, keep_default_na=False, na_values={"temperature_degC": [""]})
        found = found.rename(columns={"temperature_degC": "temperature"})
    expected = rows.drop_vars("crop").to_dataframe().reset_index()
    assert set(found) == set(expected)
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_dtype=False)


def test_csv_names_say_a_unit_once(tmp_path):
    columns = {"area": "nm2", "area_px": "px2", "width_px": "px", "circularity": "1"}
    data = {name: ("crystal", [1.0], {"units": units}) for name, units in columns.items()}
    write_table(Table(data), tmp_path / "c.csv")
    names = (tmp_path / "c.csv").read_text().splitlines()[0].split(",")
    assert names[-4:] == ["area_nm2", "area_px2", "width_px", "circularity"]


def test_an_empty_table_has_its_header(one, tmp_path):
    nothing = na.table(one[0], "grains").query("area > 9")
    assert write_table(nothing, tmp_path / "n.csv") == 0
    assert "temperature_degC" in (tmp_path / "n.csv").read_text()
    assert write_table(nothing, tmp_path / "n.parquet") == 0
    assert "temperature" in pd.read_parquet(tmp_path / "n.parquet")
