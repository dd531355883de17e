"""Label images of other programs: read with bounds, taken as grains, measured on their pixels."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import nanoarray as na
from nanoarray.errors import ImageError, InputError
from nanoarray.exchange.ome_tiff import write_ome_tiff
from nanoarray.exchange.ome_zarr import write_ome_zarr
from nanoarray.images.label_images import check_labels, read_labels, sort_labels
from nanoarray.simulate.fei_tiff import write_fei_tiff
from nanoarray.simulate.superlattice import simulate_polycrystal
from nanoarray.superlattice.grains.foreign import cell_owners, foreign_grains, majority_of_cells

LABELS = np.zeros((40, 50), np.int32)
LABELS[:20, :25], LABELS[:20, 25:], LABELS[25:, 5:45] = 7, 300, 12


def write(path, labels):
    """A label image in the format that its name asks for."""
    name = path.name
    if name.endswith(".npy"):
        np.save(path, labels)
    elif name.endswith(".png"):
        Image.fromarray(labels.astype(np.uint16)).save(path)
    elif name.endswith(".ome.tif"):
        write_ome_tiff(path, labels.astype(np.uint16))
    elif name.endswith(".ome.zarr"):
        write_ome_zarr(path, np.zeros(labels.shape, np.uint8), labels={"grain": labels})
    else:
        tifffile.imwrite(path, labels)


@pytest.mark.parametrize("ending", [".npy", ".png", ".tif", ".tiff", ".ome.tif", ".ome.zarr"])
def test_every_format_gives_the_labels_back(tmp_path, ending):
    write(tmp_path / f"a{ending}", LABELS)
    np.testing.assert_array_equal(read_labels(tmp_path, "a"), LABELS)


def test_a_palette_is_how_labels_are_shown_not_what_they_are(tmp_path):
    colours = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    small = np.where(LABELS == 300, 3, LABELS).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", small, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(read_labels(tmp_path, "a"), small)


def test_of_several_label_images_of_a_zarr_one_has_to_be_meant(tmp_path):
    layers = {"grain": LABELS, "other": LABELS // 2}
    write_ome_zarr(tmp_path / "a.ome.zarr", LABELS.astype(np.uint16), labels=layers)
    np.testing.assert_array_equal(read_labels(tmp_path, "a", prefer="grain"), LABELS)
    with pytest.raises(ImageError, match=r"\['grain', 'other'\]"):
        read_labels(tmp_path, "a", prefer="crystal")
    write_ome_zarr(tmp_path / "b.zarr", LABELS.astype(np.uint16))  # an image: grey levels
    with pytest.raises(ImageError, match="label images"):
        read_labels(tmp_path, "b")


def bad_file(kind, path):
    if kind == "empty.tif":
        path.write_bytes(b"")
    elif kind == "huge.npy":
        with path.open("wb") as file:
            header = {"descr": "<i4", "fortran_order": False, "shape": (10**6, 10**6)}
            np.lib.format.write_array_header_1_0(file, header)
    elif kind == "pickle.npy":
        np.save(path, np.array([{}], object), allow_pickle=True)
    elif kind == "pages.tif":
        tifffile.imwrite(path, np.stack([LABELS] * 2), photometric="minisblack")
    elif kind == "zip.npy":
        np.savez(path.with_suffix(".npz"), LABELS)
        path.with_suffix(".npz").rename(path)
    elif kind == "text.png":
        path.write_text("no picture")
    elif kind == "folder.tif" or kind == "no.zarr":
        path.mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        *("empty.tif", "huge.npy", "pickle.npy", "pages.tif", "zip.npy", "text.png"),
        *("folder.tif", "no.zarr"),
    ],
)
def test_what_is_no_label_image_has_a_reason(tmp_path, kind):
    bad_file(kind, tmp_path / kind)
    with pytest.raises(ImageError, match=kind.rsplit(".")[0]):
        read_labels(tmp_path, kind.rsplit(".")[0])


def test_files_are_looked_for_in_the_folder_only(tmp_path):
    (tmp_path / "labels").mkdir()
    write(tmp_path / "secret.npy", LABELS)
    (tmp_path / "labels/link.npy").symlink_to(tmp_path / "secret.npy")
    for image in ("../secret", "link", "nothing", "x" * 250):
        with pytest.raises(ImageError, match="no label image"):
            read_labels(tmp_path / "labels", image)
    write(tmp_path / "labels/a.npy", LABELS)
    write(tmp_path / "labels/a.png", LABELS)
    with pytest.raises(ImageError, match=r"a\.png and a\.npy"):
        read_labels(tmp_path / "labels", "a")


def test_labels_of_no_image_are_named(tmp_path):
    (tmp_path / "s1").mkdir()
    for name in ("s1/a.npy", "b.tif", "typo.png"):
        write(tmp_path / name, LABELS)
    write_ome_zarr(tmp_path / "c.ome.zarr", LABELS.astype(np.uint16))
    (tmp_path / "notes.txt").write_text("")
    assert sort_labels(tmp_path, ["s1/a", "b", "d"]) == (
        ["b.tif", "s1/a.npy"],
        ["c.ome.zarr", "typo.png"],
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((40, 51), int), "shape"),
        (np.zeros((40, 50, 3), int), "colour channels"),
        (np.zeros((40, 50), bool), "mask"),
        (np.full((40, 50), 0.5), "fractional"),
        (np.full((40, 50), 1e300), "beyond"),
        (np.full((40, 50), -1), "negative"),
        (np.full((40, 50), 2**63, np.uint64), "64 bits"),
        (np.full((40, 50), 1j), "type"),
    ],
)
def test_what_is_no_label_image_is_refused(labels, words):
    with pytest.raises(InputError, match=words):
        check_labels(labels, shape=(40, 50))


# --- grains -----------------------------------------------------------------------------------


def test_grains_are_numbered_and_classes_rejected():
    labels = LABELS.copy()
    labels[30, 49] = 300  # a speck of less than 1 %
    labels[38:, :2] = labels[23, 10:14] = 5
    found = foreign_grains(labels)
    assert found.source_labels.tolist() == [7, 12, 300]
    assert found.rejected == {5: "in 2 separate places"}
    np.testing.assert_array_equal(found.pixels[found.pixels == 3], 3)
    np.testing.assert_array_equal(found.pixels == 3, labels == 300)
    assert (found.pixels[labels == 5] == 0).all()
    with pytest.raises(InputError, match="every pixel is 0"):
        foreign_grains(np.zeros((4, 4), int))
    classes = np.zeros((9, 9), int)
    classes[::2, ::2] = 1
    with pytest.raises(InputError, match="classes, not grains"):
        foreign_grains(classes)
    assert foreign_grains(np.full((4, 4), 2**40)).source_labels.tolist() == [2**40]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_cell_has_the_label_of_most_of_its_pixels(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    height, width, step = data.draw(st.tuples(*(st.integers(1, n) for n in (20, 25, 6))))
    pixels = rng.integers(0, 4, (height, width)).astype(np.int32)
    low_y, low_x = (np.arange(0, n, step) - 0.5 for n in (height, width))
    rows = cell_owners(low_y, low_y + step, height)
    columns = cell_owners(low_x, low_x + step, width)
    found = majority_of_cells(pixels, rows, columns, (low_y.size, low_x.size))
    for y in range(low_y.size):
        for x in range(low_x.size):
            part = pixels[y * step : (y + 1) * step, x * step : (x + 1) * step]
            assert found[y, x] == np.bincount(part.ravel()).argmax()


@pytest.fixture(scope="module")
def given_store(tmp_path_factory):
    """Images with true grains as label images, with gaps in the numbers; one at half the scale."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "labels").mkdir()
    truth = {}
    for seed, (name, spacing, size) in enumerate((("a", 11.0, 2.5), ("b", 8.0, 2.5 * 11 / 8))):
        made = simulate_polycrystal(
            spacing_px=spacing, height_px=180, width_px=210, grain_count=3, seed=seed
        )
        write_fei_tiff(folder / f"{name}.tif", made.image, pixel_size_nm=size)
        truth[name] = (made, size)
        write(folder / f"labels/{name}.npy", made.grain * 10)
    for start, name in enumerate(("classes", "wrong")):
        pixels = truth["a"][0].image[start : start + 170]
        write_fei_tiff(folder / f"{name}.tif", pixels, pixel_size_nm=2.5)
    stripes = np.zeros((170, 210), int)
    stripes[::9] = 1
    write(folder / "labels/classes.npy", stripes)
    write(folder / "labels/wrong.npy", stripes[:-1])
    write(folder / "labels/mistyped.npy", stripes)
    url = str(folder / "s.zarr")
    na.ingest(folder, url)
    maps = {"labels": str(folder / "labels")}
    with pytest.warns(UserWarning, match="mistyped"):
        na.run("superlattice", url, grain_maps=maps, tile_clusters={"n_clusters": 3})
    return url, truth


def test_given_grains_are_measured_on_their_pixels(given_store):
    url, truth = given_store
    rows = na.table(url, "grains").load()
    for name, (made, size) in truth.items():
        own = rows.isel(grain=rows["image"].values == name)
        ids = np.unique(made.grain[made.grain > 0])
        assert own["source_label"].values.tolist() == (10 * ids).tolist()
        areas = np.bincount(made.grain.ravel())[ids]
        np.testing.assert_array_equal(own["area_px"], areas)
        np.testing.assert_allclose(own["area"], areas * (size / 1000) ** 2)
        places = [np.argwhere(made.grain == i).mean(axis=0) for i in ids]
        found = np.stack([own["centroid_y"], own["centroid_x"]], axis=1)
        np.testing.assert_allclose(found, places, atol=1e-6)
        big = areas > 3000
        apart = own["orientation"].values[big] - made.orientation_deg[ids[big] - 1]
        period = 360 / own["symmetry"].values[big]
        assert big.sum() >= 2
        assert (np.abs((apart + period / 2) % period - period / 2) < 1.5).all()
        edge = np.unique([*made.grain[[0, -1]].ravel(), *made.grain[:, [0, -1]].ravel()])
        np.testing.assert_array_equal(own["touches_edge"], np.isin(ids, edge))


def test_the_map_of_tiles_agrees_with_the_pixels(given_store):
    url, _ = given_store
    tree = na.open(url)
    maps = tree["grain_maps"].to_dataset().load()
    for i, name in enumerate(tree["images"]["image"].values):
        if str(maps["problem"][i].values):
            continue
        count = int(maps["grain_count"][i])
        tiles = np.bincount(maps["grain"][i].values.ravel(), minlength=count + 1)[1:]
        pixels = np.bincount(maps["grain_pixels"][i].values.ravel(), minlength=count + 1)[1:]
        assert np.abs(tiles / tiles.sum() - pixels / pixels.sum()).max() < 0.03, name
        assert float(maps["mapped_fraction"][i]) == pytest.approx(1.0, abs=0.01)


def test_images_whose_labels_are_none_fail_with_the_reason(given_store):
    url, _ = given_store
    tree = na.open(url)
    names, problems = tree["images"]["image"].values, tree["grain_maps"]["problem"].values
    reasons = dict(zip(names, problems, strict=True))
    assert "(169, 210), the micrograph (170, 210)" in reasons["wrong"]
    assert "classes, not grains" in reasons["classes"]
    assert reasons["a"] == reasons["b"] == ""
    statistics = na.open(url)["grain_statistics"]
    assert int(statistics["image_used_count"].sum()) == 2
    assert int(statistics["image_not_usable_count"].sum()) == 2


def test_the_steps_give_the_same(given_store):
    url, _ = given_store
    tree = na.open(url)
    one = {"image": [0]}
    ds = tree["images"].to_dataset().isel(one).load()
    for group in ("prepared", "tiles"):
        more = tree[group].to_dataset().isel(one).load()
        ds = ds.assign({n: v for n, v in more.variables.items() if n not in ds})
    folder = tree["grain_maps"].attrs["nanoarray"]["basis"]["parameters"]["labels"]
    maps = na.label_grains(ds, labels=folder)
    whole = tree["grain_maps"].to_dataset().isel(one)
    for name in maps.data_vars:
        np.testing.assert_array_equal(maps[name], whole[name], name)
    rows = na.measure_grains(ds.merge(maps))
    stored = na.table(url, "grains").load()
    stored = stored.isel(grain=stored["image_index"].values == 0)
    for name in ("area_px", "perimeter", "orientation", "source_label", "tile_count"):
        np.testing.assert_array_equal(rows[name], stored[name], name)


def test_a_label_image_of_the_whole_file_loses_its_data_bar():
    from nanoarray.images.label_images import given_labels

    whole = np.vstack([LABELS, np.full((9, 50), 1)])
    np.testing.assert_array_equal(given_labels(whole, shape=(40, 50), data_bar_px=9), LABELS)
    with pytest.raises(InputError, match="shape"):
        given_labels(whole, shape=(40, 50), data_bar_px=8)


def test_a_folder_of_other_images_is_refused_before_anything_is_replaced(given_store, tmp_path):
    url, _ = given_store
    write(tmp_path / "elsewhere.npy", LABELS)
    before = na.table(url, "grains")["area_px"].values
    with pytest.raises(InputError, match=r"none of the 4 images: it holds elsewhere\.npy"):
        na.run("superlattice", url, grain_maps={"labels": str(tmp_path)}, overwrite=True)
    np.testing.assert_array_equal(na.table(url, "grains")["area_px"].values, before)


def test_without_labels_the_record_of_parameters_is_what_it_was():
    """Stores and catalogs made before there were label images stay current."""
    from nanoarray.superlattice.parameters import GrainMapsParameters

    assert "label" not in json.dumps(GrainMapsParameters().model_dump(mode="json"))
    with warnings.catch_warnings(), pytest.raises(ValueError, match="expected one"):
        GrainMapsParameters(labels="/", method="paper")
