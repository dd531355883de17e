"""The nanocrystal pipeline end to end, on simulated micrographs with their true label images."""

import importlib
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import adjusted_rand_score

import nanoarray as na
from nanoarray.archive import store
from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.crops import place_crop
from nanoarray.simulate.nanocrystal_archive import simulate_nanocrystal_archive

QUICK = {"classes": {"trials": 3, "folds": 3}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six micrographs of two syntheses, with their true labels as another program's images."""
    path = tmp_path_factory.mktemp("archive")
    simulate_nanocrystal_archive(path, image_count=6, seed=5, crystals_per_image=60)
    (path / "labels").mkdir()
    for file in (path / "truth").glob("*.npz"):
        np.save(path / "labels" / f"{file.stem}.npy", np.load(file)["crystal"])
    return path


@pytest.fixture(scope="module")
def url(folder, tmp_path_factory):
    """The store after the whole pipeline."""
    url = str(tmp_path_factory.mktemp("store") / "s.zarr")
    na.ingest(sorted(folder.glob("*.tif")), url, tags=folder / "tags.csv")
    run(url, folder)
    return url


def run(url, folder, **options):
    """Run the pipeline on the true labels."""
    maps = {"labels": str(folder / "labels")}
    return na.run("nanocrystals", url, crystal_maps=maps, **{**QUICK, **options})


def truth_of(folder, url):
    """The true crystals in the order of the table, found by the pixels that they share."""
    truth = pd.read_csv(folder / "truth" / "crystals.csv")
    rows, maps = na.table(url, "crystals"), na.open(url)["crystal_maps"].to_dataset()
    found = []
    for index, image in enumerate(na.open(url)["images"]["image"].values.tolist()):
        labels = np.load(folder / "labels" / f"{image}.npy")
        of = np.zeros(labels.max() + 1000, int)
        for name in ("crystal", "rejected_object"):
            ids = maps[name][index].values[: labels.shape[0], : labels.shape[1]]
            of[ids[ids > 0]] = labels[ids > 0]
        own = rows["label"].values[rows["image_index"].values == index]
        found.append(pd.DataFrame({"image": image, "label": of[own], "row_label": own}))
    table = pd.concat(found, ignore_index=True)
    return table.merge(truth, on=["image", "label"], how="left", validate="one_to_one")


def test_groups_are_valid_and_complete(url):
    tree = na.open(url)
    for group in ("crystal_maps", "crystals", "shapes", "shape_groups", "classes"):
        store.check_group(url, group)
        for name, variable in tree[group].to_dataset().variables.items():
            assert {"units", "long_name"} <= set(variable.attrs), name
    maps = tree["crystal_maps"]
    count = maps["crystal_count"].values.sum() + maps["rejected_count"].values.sum()
    assert count == tree["crystals"].sizes["crystal"]


def test_sizes_are_those_of_the_truth(url, folder):
    rows, truth = na.table(url, "crystals"), truth_of(folder, url)
    inside = ~rows["touches_edge"].values & (truth["occlusion"].to_numpy() == 0)
    inside &= rows["rejected"].values.astype(object) == ""
    assert inside.sum() > 200
    ratio = rows["equivalent_diameter"].values[inside] / truth["equivalent_diameter_nm"][inside]
    assert abs(ratio.mean() - 1) < 0.01


def test_shape_groups_are_the_true_groups(url, folder):
    groups = na.table(url, "shape_groups")["shape_group"].values
    truth = truth_of(folder, url)
    kept = groups > 0
    assert kept.sum() > 200
    assert adjusted_rand_score(truth["group"][kept], groups[kept]) >= 0.9
    crystals = na.table(url, "crystals")
    assert not kept[crystals["touches_edge"].values].any()


def test_shapes_cover_the_crystals(url):
    shapes = na.table(url, "shapes")
    assert np.nanmean(shapes["jaccard"]) >= 0.9
    placed = shapes.isel(crystal=np.isfinite(shapes["jaccard"].values))
    assert placed.sizes["crystal"] > 300
    assert (placed["jaccard"] >= placed["jaccard_network"] - 1e-9).all()
    assert ((placed["axis_ratio"] >= 1) & (placed["p"] > 0)).all()


def test_crops_place_back(url):
    tree = na.open(url)
    crystals, maps = tree["crystals"].to_dataset(), tree["crystal_maps"].to_dataset()
    for k in range(0, crystals.sizes["crystal"], 37):
        row = crystals.isel(crystal=k).load()
        truth = maps["crystal"][int(row["image_index"])].values == int(row["label"])
        back = place_crop(
            row["crop_mask"].values,
            scale=float(row["crop_scale"]),
            origin=(float(row["crop_origin_y"]), float(row["crop_origin_x"])),
            shape=truth.shape,
        )
        assert (back & truth).sum() / (back | truth).sum() > 0.9


def test_classes_and_statistics(url):
    tree = na.open(url)
    classes = tree["classes"].to_dataset().load()
    assert str(classes["kind"].values) == "cluster reproducibility"
    names = classes["evaluation_name"].values.tolist()
    assert names[:3] == ["held back 20 %", "folds by crystal", "folds by image"]
    assert classes["evaluation_accuracy"][0] > 0.9
    assert classes["confusion"].values.sum() == classes["evaluation_count"].values[0]
    groups = tree["shape_groups"]["shape_group"].values
    predicted = classes["predicted_group"].values
    assert (predicted[groups > 0] == groups[groups > 0]).mean() > 0.95
    statistics = tree["crystal_statistics"].to_dataset().load()
    assert set(statistics["synthesis_method"].values) == {"LARP", "hot injection"}
    assert statistics["mean_size"].attrs["units"] == "nm"
    assert "composition_share" in statistics


def test_second_run_does_nothing_and_more_workers_change_nothing(url, folder, small, tmp_path):
    assert {r.status for r in run(url, folder)} == {"unchanged"}
    path, files, alone = small
    other = str(tmp_path / "other.zarr")
    na.ingest(files, other)
    run(other, path, **SMALL, workers=2)
    for group in ("crystal_maps", "crystals", "shapes", "shape_groups", "classes"):
        one, two = (na.open(u)[group].to_dataset().load() for u in (alone, other))
        xr.testing.assert_equal(one, two)


def test_changed_labels_are_noticed(url, folder, tmp_path):
    copy = tmp_path / "labels"
    shutil.copytree(folder / "labels", copy)
    first = sorted(copy.glob("*.npy"))[0]
    np.save(first, np.zeros_like(np.load(first)))
    with pytest.raises(InputError, match="labels"):
        na.run("nanocrystals", url, crystal_maps={"labels": str(copy)}, **QUICK)


def test_human_labels(url, folder, tmp_path):
    truth = truth_of(folder, url)
    rows = pd.DataFrame(
        {"image": truth["image"], "label": truth["row_label"], "class": truth["group_name"]}
    )
    rows.loc[len(rows)] = ["no such image", 1, "cube"]
    rows.to_csv(tmp_path / "classes.csv", index=False)
    with pytest.warns(UserWarning, match="1 labels of no crystal of this store: no such image 1"):
        run(
            url,
            folder,
            classes={**QUICK["classes"], "labels": str(tmp_path / "classes.csv")},
            overwrite=True,
        )
    classes = na.open(url)["classes"].to_dataset().load()
    assert str(classes["kind"].values) == "accuracy against human labels"
    assert any("1 labels of no crystal" in note for note in classes["note"].values)
    names = np.array(["", *classes["class_name"].values])
    predicted = names[np.maximum(classes["predicted_group"].values, 0)]
    known = predicted != ""
    assert (predicted[known] == truth["group_name"].to_numpy()[known]).mean() > 0.9


def test_empty_fields_single_crystals_and_no_pixel_size(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "labels").mkdir()
    from PIL import Image

    for name, count in (("empty", 0), ("one", 1)):
        labels = np.zeros((80, 90), np.int32)
        if count:
            labels[30:44, 40:60] = 1
        pixels = (200 - 120 * (labels > 0) + rng.normal(0, 4, labels.shape)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        np.save(tmp_path / "labels" / f"{name}.npy", labels)
    url = str(tmp_path / "s.zarr")
    report = na.ingest(tmp_path, url)
    assert len(report.without_pixel_size) == 2
    reports = na.run(
        "nanocrystals",
        url,
        crystal_maps={"labels": str(tmp_path / "labels")},
        crystal_statistics={"by": []},
        **QUICK,
    )
    assert not any(r.failed for r in reports)
    rows = na.table(url, "crystals")
    assert rows["area_px"].values.tolist() == [280.0]
    assert np.isnan(rows["area"].values).all()
    assert na.table(url, "shape_groups")["shape_group"].values.tolist() == [1]
    classes = na.open(url)["classes"]
    assert any("nothing to classify" in note for note in classes["note"].values)
    assert na.open(url)["crystal_maps"]["rejected_reasons"].values.tolist() == ["[]", "[]"]


def test_an_image_without_labels_is_left_out(folder, tmp_path):
    url = str(tmp_path / "s.zarr")
    na.ingest(sorted(folder.glob("*.tif"))[:2], url)
    labels = tmp_path / "labels"
    labels.mkdir()
    first = sorted((folder / "labels").glob("*.npy"))[0]
    shutil.copy(first, labels)
    reports = na.run(
        "nanocrystals",
        url,
        crystal_maps={"labels": str(labels)},
        **QUICK,
        crystal_statistics={"by": []},
    )
    assert len(reports[0].failed) == 1
    assert "no label image" in reports[0].failed[0][1]


SMALL = {
    "shapes": {"refine": False},
    "shape_groups": {"max_groups": 3, "nested": False},
    "crystal_statistics": {"by": [], "resamples": 100},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three small micrographs with true labels, and the store after the whole pipeline."""
    path = tmp_path_factory.mktemp("small")
    options = {"height_px": 400, "width_px": 400, "crystals_per_image": 25}
    files = simulate_nanocrystal_archive(path, image_count=3, seed=2, **options)
    (path / "labels").mkdir()
    for file in (path / "truth").glob("*.npz"):
        np.save(path / "labels" / f"{file.stem}.npy", np.load(file)["crystal"])
    url = str(path / "s.zarr")
    na.ingest(files, url)
    run(url, path, **SMALL)
    return path, files, url


@pytest.mark.parametrize(
    ("stage", "kernel"),
    [
        ("crystal_maps", "nanoarray.nanocrystal.stages.segment_one"),
        ("crystals", "nanoarray.nanocrystal.stages.measure_one"),
        ("shapes", "nanoarray.nanocrystal.models.place_in_shape_space"),
    ],
)
def test_one_bad_image_does_not_end_a_stage(small, tmp_path, monkeypatch, stage, kernel):
    """The kernel raises for one image: its rows keep the reason, the others are as they were."""
    path, files, whole = small
    url = str(tmp_path / "bad.zarr")
    na.ingest(files, url)
    bad = str(na.open(url)["images"]["image"].values[1])
    crystals = na.open(whole)["crystals"].to_dataset()
    mask = crystals["crop_mask"].values[np.flatnonzero(crystals["image_index"].values == 1)[0]]
    module, _, name = kernel.rpartition(".")
    real = getattr(importlib.import_module(module), name)

    def fails(*args, **options):
        if stage == "shapes":
            stop = (args[0][args[1]] == mask).all(axis=(1, 2)).any()
        else:
            stop = options.get("image") == bad or options.get("image_index") == 1
        if stop:
            raise ZeroDivisionError("broken on purpose")
        return real(*args, **options)

    monkeypatch.setattr(kernel, fails)
    reports = {r.stage: r for r in run(url, path, **SMALL)}
    assert reports[stage].failed == ((bad, "ZeroDivisionError: broken on purpose"),)
    assert all(not r.failed for name, r in reports.items() if name != stage)
    if stage == "crystal_maps":
        assert na.open(url)[stage]["crystal_count"].values[1] == 0
        return
    rows, same = (na.table(u, stage).load() for u in (url, whole))
    own = rows["image_index"].values == 1
    assert own.any()
    assert (rows["problem"].values[own] == "failed: ZeroDivisionError: broken on purpose").all()
    assert (rows["problem"].values[~own] == "").all()
    np.testing.assert_array_equal(rows["label"], same["label"])
    assert np.isnan(rows["area" if stage == "crystals" else "p"].values[own]).all()
    for name in rows.data_vars:
        np.testing.assert_array_equal(rows[name].values[~own], same[name].values[~own], name)
    if stage == "crystals":
        assert (na.table(url, "shape_groups")["shape_group"].values[own] == -1).all()
    statistics = na.open(url)["crystal_statistics"]
    assert int(statistics["image_not_measured_count"].values[0]) == (stage == "crystals")


def test_foreign_ids_are_kept(tmp_path):
    from PIL import Image

    (tmp_path / "labels").mkdir()
    labels = np.zeros((90, 120), np.int32)
    labels[10:30, 10:30], labels[40:60, 40:60], labels[10:30, 60:80] = 7, 4000, 12
    labels[70:80, 70:80] = 12  # in two places: rejected
    pixels = np.where(labels > 0, 60, 200).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "labels" / "a.npy", labels)
    url = str(tmp_path / "s.zarr")
    na.ingest(tmp_path, url, pixel_size_nm=0.5)
    maps = {"labels": str(tmp_path / "labels")}
    na.run("nanocrystals", url, crystal_maps=maps, crystal_statistics={"by": []}, **QUICK)
    rows = na.table(url, "crystals")
    assert rows["label"].values.tolist() == [1, 2, 3]
    assert rows["source_label"].values.tolist() == [7, 4000, 12]
    assert rows["rejected"].values.tolist() == ["", "", "one id in several separate places"]
