"""Stages and steps: lengths, shares of the field, images that are left out, mixed pixel sizes."""

import numpy as np
import pytest
import xarray as xr

import nanoarray as na
from nanoarray.archive import store
from nanoarray.archive.engine import run_stage
from nanoarray.archive.executor import Executor
from nanoarray.errors import InputError
from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice import one_image, one_map, stages, table_stages
from nanoarray.superlattice.grains.cells import cell_areas
from nanoarray.superlattice.grains.grain_map import GrainMap
from nanoarray.superlattice.grains.paper import paper_grains
from nanoarray.superlattice.grids import collection_grid
from nanoarray.superlattice.lengths import length_px
from nanoarray.superlattice.one_image import Field, Grid
from nanoarray.superlattice.parameters import (
    GrainMapsParameters,
    GrainsParameters,
    PreparedParameters,
    TileClustersParameters,
    TilesParameters,
)
from nanoarray.superlattice.radon.tile_grid import tile_grid
from nanoarray.superlattice.summary import image_table

TILES = {"tile_size_px": 44, "stride_px": 8, "angle_count": 60}
#: name, spacing of the rows [px], pixel size [nm]
MIXED = (("a", 11.0, 2.5), ("b", 8.0, 2.5 * 11 / 8), ("c", 11.0, 2.5))


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    """Two magnifications, one image out of focus and one that is too far from the others."""
    path = tmp_path_factory.mktemp("mixed")
    shape = {"height_px": 200, "width_px": 230, "grain_count": 4}
    for seed, (name, spacing, size) in enumerate(MIXED):
        made = simulate_polycrystal(spacing_px=spacing, pore_count=1, seed=seed, **shape)
        write_fei_tiff(path / f"{name}.tif", made.image, pixel_size_nm=size)
    made = simulate_polycrystal(blur_px=6.0, seed=8, **shape)
    write_fei_tiff(path / "blurred.tif", made.image, pixel_size_nm=2.5)
    made = simulate_polycrystal(seed=9, **shape)
    write_fei_tiff(path / "far.tif", made.image, pixel_size_nm=25.0)
    return path


@pytest.fixture(scope="module")
def mixed_store(mixed_folder, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("store") / "s.zarr")
    na.ingest(mixed_folder, url)
    na.run("superlattice", url, tile_clusters={"n_clusters": 6, "max_tiles": 400})
    return url


def merged(url, *groups):
    """Groups of a store in one Dataset, as a notebook has them."""
    tree = na.open(url)
    parts = [tree[name].to_dataset().drop_vars("problem") for name in groups]
    return xr.merge(parts, compat="equals", join="exact", combine_attrs="drop").compute()


def test_steps_equal_the_store_at_mixed_magnification(mixed_store):
    images = merged(mixed_store, "images", "prepared")
    stored = merged(mixed_store, "tiles")
    assert 2.5 < float(stored.common_pixel_size) < 3.44  # so that every image is resampled
    found = na.tile_radon(
        images,
        tile_size_px=int(stored.tile_size),
        stride_px=int(stored.stride),
        common_pixel_size_nm="auto",
    )
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name], stored[name], err_msg=str(name))
    for name in ("tile_y", "tile_x", "angle"):
        np.testing.assert_array_equal(found[name], stored[name])
    maps = na.label_grains(images.merge(stored))
    expected = merged(mixed_store, "grain_maps")
    for name in maps.data_vars:
        np.testing.assert_array_equal(maps[name], expected[name], err_msg=str(name))
    table = na.measure_grains(images.merge(stored).merge(maps))
    rows = na.table(mixed_store, "grains").compute()
    for name in ("image_index", "area", "area_px", "perimeter", "centroid_y", "orientation"):
        np.testing.assert_array_equal(table[name], rows[name], err_msg=name)
    assert set(table["image"].values) == {"a", "b", "c"}


def test_images_left_out_have_no_map_and_do_not_count(mixed_store):
    everything = merged(mixed_store, "images", "prepared", "tiles", "grain_maps")
    out = np.isin(everything.image.values, ["blurred", "far"])
    np.testing.assert_array_equal(everything.grain_count == 0, out)
    np.testing.assert_array_equal(everything.symmetry == -1, out)
    again = na.label_grains(everything.drop_vars("grain"))
    assert (again.grain[out] == 0).all()
    assert np.isnan(again.orientation[out]).all()
    assert np.isnan(again.mapped_fraction[out]).all()
    assert again.grain_count[out].values.tolist() == [0, 0]
    statistics = na.summarize_grains(
        na.measure_grains(everything), everything, by=("detector",), resamples=200
    )
    assert statistics.image_used_count.values.tolist() == [3]


def test_the_table_of_grains_does_not_depend_on_its_blocks(mixed_store, monkeypatch):
    executor = Executor(threads=1)
    before = store.open_group(mixed_store, "grains").load()
    monkeypatch.setattr(table_stages, "GRAIN_BLOCK", 3)
    stage = next(s for s in stages.STAGES if s.name == "grains")
    store.delete_group(mixed_store, "grains")
    run_stage(mixed_store, stage, GrainsParameters(), executor=executor)
    assert before.identical(
        store.open_group(mixed_store, "grains").load().assign_attrs(before.attrs)
    )


def test_an_image_that_cannot_be_measured_keeps_its_rows_and_the_reason(mixed_store, monkeypatch):
    stage = next(s for s in stages.STAGES if s.name == "grains")
    executor = Executor(threads=1)
    whole = store.open_group(mixed_store, "grains").load()
    assert (whole["problem"] == "").all()
    bad = int(whole["image_index"][0])
    measure = stages.one_map.measure_map

    def failing(*arguments, image_index, **options):
        if image_index == bad:
            raise ZeroDivisionError("made to fail")
        return measure(*arguments, image_index=image_index, **options)

    monkeypatch.setattr(stages.one_map, "measure_map", failing)
    store.delete_group(mixed_store, "grains")
    report = run_stage(mixed_store, stage, GrainsParameters(), executor=executor)
    name = str(store.open_group(mixed_store, "images")["image"][bad].values)
    assert report.failed == ((name, "ZeroDivisionError: made to fail"),)
    rows = store.open_group(mixed_store, "grains").load()
    own = whole["image_index"].values == bad
    np.testing.assert_array_equal(rows["image_index"], whole["image_index"])
    np.testing.assert_array_equal(rows["label"], whole["label"])
    assert np.isnan(rows["area"][own]).all()
    assert (rows["problem"][own] == "failed: ZeroDivisionError: made to fail").all()
    np.testing.assert_array_equal(rows["area"][~own], whole["area"][~own])
    counted = na.summarize_grains(rows, store.open_group(mixed_store, "images"), resamples=200)
    assert counted["image_not_measured_count"].item() == 1
    assert "1 not measured" in counted["warnings"].item()

    # The failure stays in what a later run reports, until `overwrite` tries the image again.
    monkeypatch.setattr(stages.one_map, "measure_map", measure)
    again = run_stage(mixed_store, stage, GrainsParameters(), executor=executor)
    assert again.status == "unchanged"
    assert again.failed == report.failed
    mended = run_stage(mixed_store, stage, GrainsParameters(), executor=executor, overwrite=True)
    assert mended.failed == ()
    rows = store.open_group(mixed_store, "grains").load()
    assert whole.identical(rows.assign_attrs(whole.attrs))


def test_measure_grains_without_any_map(mixed_store):
    everything = merged(mixed_store, "images", "prepared", "tiles", "grain_maps")
    empty = na.measure_grains(everything.assign(symmetry=everything.symmetry * 0 - 1))
    assert empty.sizes["grain"] == 0


def test_a_common_pixel_size_needs_pixel_sizes(mixed_store):
    images = merged(mixed_store, "images", "prepared").drop_vars("pixel_size")
    with pytest.raises(InputError, match="no 'pixel_size'"):
        na.tile_radon(images, common_pixel_size_nm=2.5, **TILES)
    everything = images.merge(merged(mixed_store, "tiles", "grain_maps"))
    with pytest.raises(InputError, match="no 'pixel_size'"):
        na.label_grains(everything.drop_vars("grain"))
    with pytest.raises(InputError, match="no 'pixel_size'"):
        na.measure_grains(everything)


def test_lengths_in_nm_need_one_pixel_size(mixed_folder, tmp_path):
    url = str(tmp_path / "s.zarr")
    na.ingest(mixed_folder, url)
    settings = {"prepared": {"common_pixel_size_nm": "none"}, "tiles": {"tile_size_nm": 110.0}}
    with pytest.raises(InputError, match=r"tile_size_nm.*set prepared\.common_pixel_size_nm"):
        na.run("superlattice", url, **settings)
    parameters = TilesParameters(stride_nm=20.0)
    assert length_px(parameters, "stride", 11.0, np.array([2.5, 2.52, np.nan]), 1.0) == 8
    with pytest.raises(InputError, match=r"2\.5 to 3 nm"):
        length_px(parameters, "stride", 11.0, np.array([2.5, 3.0]), 1.0)


def test_clusters_do_not_depend_on_the_order_of_images(mixed_folder, mixed_store, tmp_path):
    url = str(tmp_path / "s.zarr")
    files = sorted(mixed_folder.glob("*.tif"), reverse=True)
    for part in (files[:2], files):
        na.ingest(part, url)
    na.run("superlattice", url, tile_clusters={"n_clusters": 6, "max_tiles": 400})
    a, b = (na.open(u)["tile_clusters"].to_dataset().compute() for u in (mixed_store, url))
    names = [na.open(u)["images"]["image"].values.tolist() for u in (mixed_store, url)]
    assert names[0] != names[1]
    np.testing.assert_array_equal(a.centers, b.centers)
    np.testing.assert_array_equal(a.cluster, b.cluster[[names[1].index(n) for n in names[0]]])


def test_clusters_on_datasets_do_not_depend_on_the_order_of_images(mixed_store):
    tiles = merged(mixed_store, "images", "prepared", "tiles")
    options = {"n_clusters": 6, "max_tiles": 400}
    first = na.cluster_tiles(tiles, **options)
    turned = na.cluster_tiles(tiles.isel(image=[3, 1, 0, 4, 2]), **options)
    np.testing.assert_array_equal(first.centers, turned.centers)
    stored = merged(mixed_store, "tile_clusters")
    np.testing.assert_array_equal(first.cluster, stored.cluster)


def test_image_without_a_lattice_is_left_out_with_a_plain_reason(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shape = {"height_px": 200, "width_px": 230}
    made = simulate_polycrystal(grain_count=3, seed=1, **shape)
    write_fei_tiff(folder / "a.tif", made.image, pixel_size_nm=2.5)
    write_fei_tiff(folder / "flat.tif", np.full((200, 230), 90, np.uint8), pixel_size_nm=2.5)
    prepared = {"find_defects": False, "min_sharpness": 0.0}
    tiles = {"tile_size_px": 44, "stride_px": 8}
    url = str(tmp_path / "s.zarr")
    na.ingest(folder, url)
    clusters = {"n_clusters": 3}
    reports = na.run("superlattice", url, prepared=prepared, tiles=tiles, tile_clusters=clusters)
    left = {r.stage: dict(r.left_out) for r in reports}
    assert "no lattice was found" in left["tiles"]["flat"]
    # Without a band pass there is nothing to need it for, in the maps as well.
    other = str(tmp_path / "t.zarr")
    na.ingest(folder, other)
    tiles = {**tiles, "band_pass": False}
    reports = na.run("superlattice", other, prepared=prepared, tiles=tiles, tile_clusters=clusters)
    assert not [r.failed + r.left_out for r in reports if r.failed or r.left_out]


# --- one image --------------------------------------------------------------------------------


def mapped(coverage, *, height=205, width=231, stride=9, band_pass=True):
    """A simulated image with a defect and what the default method makes of it."""
    made = simulate_polycrystal(height_px=height, width_px=width, grain_count=3, seed=2)
    missing = np.zeros((height, width), bool)
    missing[:37, :41] = True
    field = Field(made.image.astype(np.float32), missing, 1.0, 11.0)
    parameters = TilesParameters(
        tile_size_px=44, stride_px=stride, coverage=coverage, band_pass=band_pass
    )
    grid = collection_grid(height, width, 44, stride, parameters)
    angles = np.arange(60) * 3.0
    tiles = one_image.tile_features(field, grid, angles, parameters)
    profile, valid = tiles["projection_variance"], tiles["valid"]
    found = one_map.grain_map(
        field, grid, angles, profile, valid, GrainMapsParameters(), band_pass=band_pass
    )
    return field, grid, found


@pytest.mark.parametrize("coverage", ["full", "inside"])
def test_mapped_fraction_is_of_the_field(coverage):
    field, grid, found = mapped(coverage)
    columns = one_map.measure_map(
        found["grain"],
        found["orientation"],
        found["orientation_confidence"],
        grid,
        symmetry=int(found["symmetry"]),
        defect=field.missing,
        factor=1.0,
        pixel_size_nm=np.nan,
        image_index=0,
    )
    share = columns["area_px"].sum() / (~field.missing).sum()
    assert float(found["mapped_fraction"]) == pytest.approx(share, rel=1e-5)
    # Tiles inside leave a margin of half a tile less half a stride all around.
    margin = (205 - 35) * (231 - 35) / (205 * 231)
    expected = {"full": (0.97, 1.0 + 1e-6), "inside": (margin - 0.1, margin + 0.02)}[coverage]
    assert expected[0] < share < expected[1]


def test_grain_map_without_band_pass_needs_no_lattice_spacing():
    field, grid, found = mapped("full", band_pass=False)
    assert int(found["grain_count"]) >= 2
    assert np.isfinite(field.spacing_px)
    blind = Field(field.image, field.missing, 1.0, np.nan)
    profile = np.full((grid.centres_y.size, grid.centres_x.size, 60), np.nan, np.float32)
    valid = np.zeros(profile.shape[:2], bool)
    options = (grid, np.arange(60) * 3.0, profile, valid, GrainMapsParameters())
    assert one_map.grain_map(blind, *options, band_pass=False)["grain_count"] == 0
    with pytest.raises(InputError, match="band_pass = false"):
        one_map.grain_map(blind, *options, band_pass=True)


@pytest.mark.parametrize("stride_px", [32, 40])
def test_whole_tiles_stay_whole_at_a_large_stride(stride_px):
    centres = tile_grid(200, 200, tile_size_px=32, stride_px=stride_px, coverage="inside")
    grid = Grid(*centres, 32, stride_px, "inside")
    rows, columns = one_image.tiles_inside(grid, 150, 111)
    alone = tile_grid(150, 111, tile_size_px=32, stride_px=stride_px, coverage="inside")
    assert (rows.size, columns.size) == (alone[0].size, alone[1].size)


def test_coverage_goes_from_step_to_step(mixed_store):
    images = merged(mixed_store, "images", "prepared")
    tiles = na.tile_radon(images, coverage="inside", **TILES)
    assert str(tiles.coverage.values) == "inside"
    for group in ("tiles", "grain_maps"):
        assert str(merged(mixed_store, group).coverage.values) == "full"


@pytest.mark.parametrize("stride_px", [1, 3, 8, 9, 10, 17, 32])
def test_cells_partition_the_field(stride_px):
    for height in (32, 33, 47, 100, 101, 119):
        for width in (32, 40, 57, 131):
            centres = tile_grid(height, width, tile_size_px=32, stride_px=stride_px)
            sizes = {"field_height_px": height, "field_width_px": width}
            area = cell_areas(*centres, stride_px=stride_px, to_edge=True, **sizes)
            assert area.sum() == pytest.approx(height * width, rel=1e-12)
            assert (area > 0).all()


def test_published_areas_are_kept():
    cluster = np.repeat(np.repeat(np.arange(6, dtype=np.int32).reshape(2, 3), 9, 0), 9, 1)
    parameters = TilesParameters(tile_size_px=44, stride_px=8)
    grid = collection_grid(144, 216, 44, 8, parameters)
    rng = np.random.default_rng(0)
    field = Field(np.zeros((144, 216), np.float32), np.zeros((144, 216), bool), 1.0, 11.0)
    profile = rng.random((18, 27, 60)).astype(np.float32)
    angles = np.arange(60) * 3.0

    def mean_area(method):
        chosen = GrainMapsParameters(method=method)
        found = one_map.grain_map_from_clusters(field, grid, angles, profile, cluster, chosen)
        return float(found["paper_mean_area_tiles"])

    assert mean_area("paper") == pytest.approx(paper_grains(cluster).area_tiles.mean())
    assert mean_area("paper") > 81  # what they are, without overlaps
    assert np.isnan(mean_area("clusters"))


def test_boundary_misorientation_is_looked_up_in_memory_linear_in_grains():
    """90,000 grains: a table of all pairs would hold 8e9 values, 32 GB."""
    side = 300
    grain = np.arange(1, side * side + 1, dtype=np.int32).reshape(side, side)
    right = np.stack([grain[:, :-1].ravel(), grain[:, 1:].ravel()], axis=1)
    rng = np.random.default_rng(0)
    angle = rng.uniform(1, 45, len(right))
    empty = np.zeros(0)
    flat = np.zeros(grain.shape, np.float32)
    order = rng.permutation(len(right))
    found = GrainMap(grain, flat, flat, 4, empty, right[order], angle[order], empty)
    per_side = angle.reshape(side, side - 1).astype(np.float32)
    expected = np.full(grain.shape, np.nan, np.float32)
    expected[:, :-1] = per_side
    expected[:, 1:] = np.fmax(expected[:, 1:], per_side)
    np.testing.assert_array_equal(one_map._on_tiles(found), expected)


def test_the_limit_of_sharpness_is_part_of_the_parameters():
    assert PreparedParameters().model_dump()["min_sharpness"] == 0.4


def test_drawn_images_of_a_large_collection_keep_their_order():
    """More images than a fit reads: the draw is of the sorted ids, whatever their positions."""
    rng = np.random.default_rng(1)
    content = rng.normal(size=(450, 3, 3, 4)).astype(np.float32)
    parameters = TileClustersParameters(n_clusters=2, max_tiles=100)
    turn = rng.permutation(450)
    plain = one_map.fit_collection(np.arange(450), lambda i: content[i], parameters)
    turned = one_map.fit_collection(
        np.argsort(turn), lambda position: content[turn[position]], parameters
    )
    np.testing.assert_array_equal(plain["centers"], turned["centers"])


def test_images_that_are_given_as_not_usable_do_not_count():
    images = xr.Dataset({"ok": ("image", [True, True, False]), "usable": ("image", [1, 0, 1])})
    assert image_table(images)["usable"].tolist() == [True, False, False]
