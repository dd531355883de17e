"""Pipelines: from a folder to tables; parameters checked; the same on any executor."""

import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.tables import write_table
from nanoarray.errors import InputError
from nanoarray.pipeline import load_pipeline, parse_settings, pipeline_names
from nanoarray.simulate.archive import simulate_archive
from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice.stages import STAGES

SMALL = {"height_px": 300, "width_px": 320}


def run(url, **options):
    """Run the default pipeline with a smaller sample for the clusters."""
    return na.run("superlattice", url, tile_clusters={"max_tiles": 1000}, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five small micrographs of four conditions; one out of focus, one unreadable, one unscaled."""
    path = tmp_path_factory.mktemp("archive")
    simulate_archive(path, image_count=5, seed=3, **SMALL)
    blurred = simulate_polycrystal(grain_count=4, blur_px=6.0, seed=9, **SMALL)
    write_fei_tiff(path / "blurred.tif", blurred.image, pixel_size_nm=2.5)
    (path / "broken.tif").write_bytes(b"II*\0 and no more")
    return path


@pytest.fixture(scope="module")
def ran(folder, tmp_path_factory):
    """The store and what each stage reported."""
    url = str(tmp_path_factory.mktemp("store") / "s.zarr")
    na.ingest(folder, url, tags=folder / "tags.csv")
    return url, {report.stage: report for report in run(url)}


@pytest.fixture(scope="module")
def url(ran):
    return ran[0]


def groups(url):
    tree = na.open(url)
    return {name: tree[name].to_dataset().drop_attrs().compute() for name in tree.children}


def test_every_group_is_as_the_schema_says(url):
    names = store.group_names(url)
    assert names == [
        "images",
        "prepared",
        "tiles",
        "tile_clusters",
        "grain_maps",
        "grains",
        "grain_statistics",
    ]
    for name in names:
        store.check_group(url, name)
        assert store.provenance(url, name)["complete"]


def test_rows_of_grains_are_known_without_measuring_them(url):
    """As they have to be when an image crashes the process that measures it."""
    found = store.open_group(url, "grains").load()
    (stage,) = [stage for stage in STAGES if stage.identity]
    inputs = {group: store.open_group(url, group) for group in stage.inputs}
    rows = slice(1, found.sizes["grain"] - 1)
    for name, values in stage.identity(inputs, rows).items():
        np.testing.assert_array_equal(values, found[name][rows])


def test_left_out_images_are_listed_and_the_rest_is_measured(ran):
    url, reports = ran
    left = dict(reports["tiles"].left_out)
    assert set(left) == {"blurred", "broken"}
    assert "out of focus" in left["blurred"]
    assert "unreadable" in left["broken"]
    counts = na.open(url)["grain_maps"]["grain_count"].values
    names = na.open(url)["images"]["image"].values.tolist()
    assert {n for n, c in zip(names, counts, strict=True) if c == 0} == {"blurred", "broken"}


def test_result_does_not_depend_on_workers(folder, url, tmp_path):
    other = str(tmp_path / "s.zarr")
    na.ingest(folder, other, tags=folder / "tags.csv", workers=2)
    run(other, workers=2)
    for name, ds in groups(other).items():
        xr.testing.assert_identical(ds, groups(url)[name])


def test_result_does_not_depend_on_the_order_of_images(folder, url, tmp_path):
    other = str(tmp_path / "s.zarr")
    files = sorted(folder.glob("*.tif"))
    na.ingest(files[4:], other)
    na.ingest(files, other, tags=folder / "tags.csv")
    run(other)
    a, b = groups(url), groups(other)
    by_name = [b["images"].image.values.tolist().index(n) for n in a["images"].image.values]
    assert by_name != sorted(by_name)
    np.testing.assert_array_equal(a["grain_maps"].grain, b["grain_maps"].grain[by_name])
    for frame in (a["grain_statistics"], b["grain_statistics"]):
        assert frame.sizes["condition"] > 1
    np.testing.assert_allclose(
        a["grain_statistics"].mean_area, b["grain_statistics"].mean_area, rtol=1e-12
    )


def test_grown_folder_measures_what_is_new(folder, url, tmp_path):
    grown = str(tmp_path / "s.zarr")
    first, tags = sorted(folder.glob("S*.tif"))[:4], pd.read_csv(folder / "tags.csv")  # a block
    own = tags[tags["image"].isin([path.stem for path in first])]
    own.to_csv(tmp_path / "tags.csv", index=False)
    na.ingest(first, grown, tags=tmp_path / "tags.csv")
    run(grown)
    na.ingest(folder, grown, tags=folder / "tags.csv")
    reports = {r.stage: r for r in run(grown)}
    assert reports["prepared"].status == "resumed"
    assert reports["prepared"].blocks_computed == 1
    for name, ds in groups(url).items():
        xr.testing.assert_identical(ds, groups(grown)[name])


def test_tables_carry_tags_and_can_be_queried(url):
    grains = na.table(url, "grains")
    warm = grains.query(grain="temperature > 30 and area > 0.001").compute()
    assert 0 < warm.sizes["grain"] < grains.sizes["grain"]
    assert (warm.temperature == 31.0).all()
    assert set(warm["synthesis_method"].values) == {"simulation"}
    means = grains.area.groupby(grains["sample"]).mean().compute()
    assert means.sizes["sample"] > 2
    assert na.table(url, "images").sizes["image"] == 7
    assert na.table(url, "grain_statistics").sizes["condition"] >= 4
    assert na.table(url, "grain_statistics/pair").sizes["pair"] >= 6
    assert na.table(url, "grain_statistics/trend")["trend_tag"].size == 2
    with pytest.raises(InputError, match="no group 'grain'"):
        na.table(url, "grain")


def test_tables_can_be_written(url, tmp_path):
    grains = na.table(url, "grains").compute()
    assert write_table(grains, tmp_path / "g.csv") == grains.sizes["grain"]
    assert write_table(grains, tmp_path / "g.parquet") == grains.sizes["grain"]
    csv = pd.read_csv(tmp_path / "g.csv")
    np.testing.assert_allclose(csv["area_um2"], grains.area)
    assert csv["sample"].tolist() == grains["sample"].values.tolist()
    import pyarrow.parquet as pq

    content = pq.read_table(tmp_path / "g.parquet")
    assert content.schema.field("area").metadata[b"units"] == b"um2"
    np.testing.assert_allclose(content["perimeter"].to_numpy(), grains.perimeter)
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        write_table(grains, tmp_path / "g.xlsx")
    with pytest.raises(InputError, match="does not exist"):
        write_table(grains, tmp_path / "no" / "g.csv")


def test_image_without_pixel_size_is_kept_but_has_no_lengths(folder, tmp_path, write_tiff):
    path = tmp_path / "in"
    path.mkdir()
    made = simulate_polycrystal(grain_count=4, seed=5, **SMALL)
    write_tiff(path / "plain.tif", made.image)
    write_fei_tiff(path / "scaled.tif", made.image, pixel_size_nm=2.5)
    url = str(tmp_path / "s.zarr")
    na.ingest(path, url)
    run(url)
    grains = na.table(url, "grains").to_dataframe()
    plain, scaled = (grains[grains.image == name] for name in ("plain", "scaled"))
    assert plain.area.isna().all()
    np.testing.assert_allclose(plain.area_px, scaled.area_px)
    statistics = na.open(url)["grain_statistics"].to_dataset().compute()
    assert statistics.image_no_pixel_size_count.values.tolist() == [1]
    assert "no pixel size" in str(statistics.warnings.values[0])


def test_images_are_resampled_to_a_common_pixel_size(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    images = (("a", 11.0, 2.5, 5), ("b", 8.0, 2.5 * 11 / 8, 6), ("c", 11.0, 2.5, 7))
    for name, spacing, size, seed in images:
        made = simulate_polycrystal(grain_count=4, spacing_px=spacing, seed=seed, **SMALL)
        write_fei_tiff(path / f"{name}.tif", made.image, pixel_size_nm=size)
    url = str(tmp_path / "s.zarr")
    na.ingest(path, url)
    run(url)
    maps = na.open(url)["grain_maps"].to_dataset().compute()
    assert float(maps.common_pixel_size) == 2.5
    grains = na.table(url, "grains").to_dataframe()
    field = grains.groupby("image").area.sum()
    height, width = 300, 320
    expected = height * width * (2.5e-3) ** 2
    assert field["a"] == pytest.approx(expected, rel=0.03)
    assert field["b"] == pytest.approx(expected * (11 / 8) ** 2, rel=0.03)
    assert grains.centroid_y.max() < height
    assert grains.centroid_x.max() < width


def test_paper_preset_runs_beside_the_default(folder, tmp_path):
    url = str(tmp_path / "s.zarr")
    na.ingest(folder, url, tags=folder / "tags.csv")
    na.run("superlattice_paper", url)
    tiles = na.open(url)["tiles"].to_dataset()
    assert tiles.angle.size == 42
    assert float(tiles.tile_size) == 128
    assert tiles.alignment.isel(angle=[0, -1]).sum().compute() == 0
    assert na.table(url, "grains").sizes["grain"] > 0


def test_corrected_tags_make_the_statistics_again(folder, url, tmp_path):
    """Statistics depend on tags, maps do not."""
    url = shutil.copytree(url, tmp_path / "s.zarr").as_posix()
    corrected = pd.read_csv(folder / "tags.csv").assign(temperature_degC=40.0)
    corrected.to_csv(tmp_path / "corrected.csv", index=False)
    na.ingest(folder, url, tags=tmp_path / "corrected.csv")
    states = {row["group"]: row["current"] for row in na.status(url)}
    assert states["grains"]
    assert not states["grain_statistics"]
    with pytest.warns(UserWarning, match="'grain_statistics' .* out of date"):
        na.table(url, "grain_statistics")
    reports = {r.stage: r.status for r in run(url)}
    assert reports["grains"] == "unchanged"
    assert reports["grain_statistics"] == "done"
    names = na.table(url, "grain_statistics")["condition"].values.tolist()
    assert any("temperature=40" in n for n in names)
    assert not any("temperature=22" in n for n in names)


# --- pipeline files ---------------------------------------------------------------------------


def test_packaged_pipelines_are_valid():
    assert {"superlattice", "superlattice_paper"} <= set(pipeline_names())
    for name in pipeline_names():
        assert load_pipeline(name).stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[prepard]", "unknown stage 'prepard' .did you mean 'prepared'"),
        ("[tiles]\nstride = 3", "no parameter 'stride' .did you mean 'stride_"),
        ("[tiles]\nstride_px = 0", r"tiles.stride_px = 0: .*greater than 0"),
        ("[tiles]\nstride_px = 4\nstride_nm = 9", "stride_px and stride_nm are both given"),
        ("[tiles]\ncoverage = 'all'", r"tiles.coverage = 'all': .*'full' or 'inside'"),
        ("[tile_clusters]\nmethod = 'kmeans'", "needs n_clusters"),
        ("tiles = 3", "outside a stage"),
        ("[tiles", "not valid TOML"),
        ("", "names no stage"),
    ],
)
def test_wrong_pipeline_files(tmp_path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_pipeline(str(path))


def test_wrong_names_and_settings():
    with pytest.raises(InputError, match="did you mean 'superlattice'"):
        load_pipeline("superlatice")
    with pytest.raises(InputError, match="no pipeline file"):
        load_pipeline("absent.toml")
    with pytest.raises(InputError, match="did you mean 'tiles'"):
        load_pipeline("superlattice", {"tile": {"stride_px": 3}})
    with pytest.raises(InputError, match=r"stage\.key=value"):
        parse_settings(["stride=3"])
    assert parse_settings(["a.b=1", "a.c=x y", 'a.d=["t"]']) == {
        "a": {"b": 1, "c": "x y", "d": ["t"]}
    }


def test_changed_parameters_are_refused_and_named(folder, url):
    with pytest.raises(InputError, match=r"misorientation_deg: 4.0 -> 6.0.*--overwrite"):
        na.run(
            "superlattice",
            url,
            tile_clusters={"max_tiles": 1000},
            grain_maps={"misorientation_deg": 6.0},
        )


def test_too_large_tiles_are_refused(folder, tmp_path):
    url = str(tmp_path / "s.zarr")
    na.ingest(folder, url)
    with pytest.raises(InputError, match="tile_size_px is 900, larger than the image"):
        na.run("superlattice", url, tiles={"tile_size_px": 900})
    assert "tiles" not in store.group_names(url)


def test_unknown_tag_in_statistics(url):
    with pytest.raises(InputError, match="the tag 'colour', which no image has"):
        na.run("superlattice", url, overwrite=True, grain_statistics={"by": ["colour"]})
