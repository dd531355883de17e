"""Arrays of Zarr folders read with bounds, against the zarr library; bombs and contradictions."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from nanoarray.errors import ImageError
from nanoarray.images.zarr_array import open_array

DATA = np.random.default_rng(0).integers(0, 9, (2, 23, 31))


def check(path, data):
    array = open_array(str(path))
    assert array.shape == data.shape
    for k in range(len(data)):
        np.testing.assert_array_equal(array.plane((k,)), data[k])


@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">u2", "<i4", "<f4", "|b1"])
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        numcodecs.Zstd(),
        numcodecs.Blosc(cname="lz4", shuffle=2),
        numcodecs.Zlib(),
        numcodecs.GZip(),
        numcodecs.LZ4(),
        numcodecs.BZ2(),
        numcodecs.LZMA(),
    ],
)
def test_format_2_is_read_as_zarr_wrote_it(tmp_path, dtype, compressor):
    data = DATA.astype(dtype)
    array = zarr.create_array(
        tmp_path / "a",
        shape=data.shape,
        dtype=data.dtype,
        chunks=(2, 8, 31),
        zarr_format=2,
        compressors=compressor,
        order="F" if dtype == "<u2" else "C",
        chunk_key_encoding={"name": "v2", "separator": "/" if dtype == "<f4" else "."},
    )
    array[...] = data
    check(tmp_path / "a", data)


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        (("default", "/"), {"compressors": None}),
        (("v2", "."), {"serializer": BytesCodec(endian="big"), "compressors": GzipCodec()}),
        (
            ("default", "."),
            {"compressors": [BloscCodec(cname="zstd", typesize=2), Crc32cCodec()]},
        ),
        (("v2", "/"), {"filters": TransposeCodec(order=(2, 0, 1)), "compressors": ZstdCodec()}),
        (("default", "/"), {"shards": (1, 12, 16), "compressors": [ZstdCodec(), Crc32cCodec()]}),
        (
            ("default", "/"),
            {
                "serializer": ShardingCodec(
                    chunk_shape=(1, 4, 4), codecs=[BytesCodec()], index_location="start"
                ),
                "compressors": None,
                "chunks": (1, 12, 16),
            },
        ),
    ],
)
def test_format_3_is_read_as_zarr_wrote_it(tmp_path, keys, options):
    data = DATA.astype(np.uint16)
    data[1, :12] = 7  # chunks of the fill value are not written
    array = zarr.create_array(
        tmp_path / "a",
        shape=data.shape,
        dtype=data.dtype,
        fill_value=7,
        chunk_key_encoding={"name": keys[0], "separator": keys[1]},
        **{"chunks": (1, 6, 8), **options},
    )
    array[...] = data
    check(tmp_path / "a", data)


def test_missing_values_fill_what_was_never_written(tmp_path):
    zarr.create_array(
        tmp_path / "a", shape=(1, 4, 5), dtype="f4", chunks=(1, 4, 5), fill_value=np.nan
    )
    assert np.isnan(open_array(str(tmp_path / "a")).plane((0,))).all()


# --- from strangers ---------------------------------------------------------------------------


def packed(path, compressor, content):
    """An array of one chunk of 8 x 8 bytes whose file holds other content."""
    zarr.create_array(
        path, shape=(8, 8), dtype="u1", chunks=(8, 8), zarr_format=2, compressors=compressor
    )
    (path / "0.0").write_bytes(content)


@pytest.mark.parametrize("name", ["zstd", "blosc", "zlib", "gzip", "lz4", "bz2", "lzma"])
def test_a_chunk_that_unpacks_to_more_is_refused_before_it_does(tmp_path, name):
    compressor = numcodecs.get_codec({"id": name})
    bomb = bytes(compressor.encode(bytes(2**25)))
    packed(tmp_path / "a", compressor, bomb)
    array = open_array(str(tmp_path / "a"))
    tracemalloc.start()
    with pytest.raises((ImageError, RuntimeError)):
        array.plane(())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24  # what LZMA itself needs is 8 MiB


def test_a_huge_file_is_no_chunk(tmp_path):
    packed(tmp_path / "a", numcodecs.GZip(), gzip.compress(bytes(64)))
    os.truncate(tmp_path / "a/0.0", 2**40)
    with pytest.raises(ImageError, match="has 1099511627776 bytes"):
        open_array(str(tmp_path / "a")).plane(())


def test_metadata_of_two_formats_are_a_contradiction(tmp_path):
    packed(tmp_path / "a", None, bytes(64))
    (tmp_path / "a/zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    with pytest.raises(ImageError, match="Zarr 2 and of Zarr 3"):
        open_array(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "|O"}, "expected numbers"),
        ({"dtype": [["a", "<u2"]]}, "expected numbers"),
        ({"compressor": {"id": "pickle"}}, "plain compression"),
        ({"compressor": {"id": {"a": 1}}}, "plain compression"),
        ({"filters": [{"id": "zlib"}]}, "filters"),
        ({"shape": [8]}, "two or more lengths"),
        ({"shape": [-8, 8]}, "two or more lengths"),
        ({"shape": [True, 8]}, "two or more lengths"),
        ({"shape": "88"}, "two or more lengths"),
        ({"chunks": [0, 8]}, "two or more lengths"),
        ({"chunks": [8, 8, 8]}, "for the shape"),
        ({"chunks": [2**16, 2**16]}, "more than it may have"),
        ({"shape": [2**20, 2**20], "chunks": [1, 1]}, "chunks per image"),
        ({"shape": [2**17, 2**17], "chunks": [2**14, 2**14]}, "unpacked"),
        ({"fill_value": {}}, "fill value"),
    ],
)
def test_what_no_micrograph_needs_is_refused(tmp_path, change, words):
    packed(tmp_path / "a", None, bytes(64))
    file = tmp_path / "a/.zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ImageError, match=words):
        open_array(str(tmp_path / "a"))


def test_a_shard_that_contradicts_itself_is_refused(tmp_path):
    array = zarr.create_array(
        tmp_path / "a", shape=(8, 8), dtype="u1", chunks=(4, 4), shards=(8, 8), compressors=None
    )
    array[...] = np.arange(64).reshape(8, 8)
    file = tmp_path / "a/c/0/0"
    whole = file.read_bytes()
    for content in (whole[:40], whole[:-5] + b"\1" + whole[-4:]):
        file.write_bytes(content)
        with pytest.raises(ImageError, match="shard"):
            open_array(str(tmp_path / "a")).plane(())
