"""The page of a store of crystals: it says what is there, safely and lightly, at any stage."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_crystals_material import SIZE, crystals, image_table, make_crystal_store
from report_material import HOSTILE, Page, text, write_group

from nanoarray.archive import store
from nanoarray.errors import InputError
from nanoarray.nanocrystal.weights import SHAPE_TRAINING
from nanoarray.report.contents import read_contents
from nanoarray.report.nanocrystals import crops
from nanoarray.report.nanocrystals.tables import feature_table, object_table
from nanoarray.report.page import render, write_report


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_crystal_store(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def page(archive: str, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("page")
    epochs = [{"images_seen": 100, "train": {"total": 1.0}, "validation": {"total": 1.2}}]
    true = {"p": [1.0, 2.0, 4.0], "axis_ratio": [1.0, 1.5, 2.0], "d": [2, 3, 4]}
    training = folder / "curve.json"
    training.write_text(
        json.dumps({"epochs": epochs, "diagnostics": {"true": true, "predicted": true}})
    )
    return Page(write_report(archive, folder / "report.html", image_count=1, training=training))


def test_page_says_what_there_is(page: Page) -> None:
    whole = int((crystals()["shape_group"] > 0).sum())
    for words in (
        "Nanocrystals in electron micrographs",
        "crystals cut by the edge",
        "scale bar or letter",
        "What became of the",
        "Methods and datasets compared",
        "Mean ± standard deviation of every feature by shape group",
        "Shape groups by condition",
        "cluster reproducibility",
        "not accuracy against a truth",
        "Every two conditions compared",
        "in the manner of ISO 13322-1",
        "All " + str(whole) + " whole crystals",
        "Groups were looked for in 5 ways.",
    ):
        assert words in page.text, words
    assert "superlattice" not in page.text.lower()
    assert "Grain" not in page.text
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        "crystal-sizes", "crystal-groups", "crystal-shapes", "images", "collection", "left-out",
        "run", "downloads",
    ]  # fmt: skip


def test_page_has_every_figure(page: Page) -> None:
    shown = " ".join(str(img["alt"]) for img in page.all("img"))
    for what in (
        "Mean and standard deviation of every feature",
        "Histograms of features",
        "Dendrogram",
        "Parallel coordinates",
        "Pareto",
        "space of p, axis ratio and d",
        "Crystals of image",
        "Exemplary crystals",
        "population at one scale",
        "Distribution of the sizes",
        "Distributions of the crystal sizes",
        "Confusion matrix",
        "Share of every shape group",
        "Silhouette",
        "overlap of crystals and their shapes",
        "re-simulated shapes",
        "Learning curve",
        "Quantiles",
        "Errors of the shape parameters",
        "against the number of crystals",
    ):
        assert what in shown, what


def test_page_is_well_formed_and_asks_for_nothing(page: Page) -> None:
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in page.all("a") if (a["href"] or "").startswith("#")]
    assert set(targets) <= set(ids)
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "srcset", "poster", "action"):
                assert (value or "").startswith(("data:", "#")), (tag, name)


def test_the_only_script_is_the_one_its_policy_names(page: Page) -> None:
    (script,) = page.all("script")
    assert script == {}
    source = page.source.split("<script>", 1)[1].split("</script>", 1)[0]
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    policy = next(str(m["content"]) for m in page.all("meta") if "http-equiv" in m)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"https?://|eval|import\(|fetch|XMLHttp", source)


def test_points_of_the_rotating_figure_are_the_crystals(page: Page) -> None:
    (canvas,) = page.all("canvas")
    words = np.frombuffer(base64.b64decode(str(canvas["data-points"])), "<u2").reshape(-1, 4)
    groups = crystals()["shape_group"]
    assert np.bincount(words[:, 3])[1:].tolist() == [int((groups == k).sum()) for k in (1, 2, 3)]
    axes = json.loads(str(canvas["data-axes"]))
    assert [axis["name"] for axis in axes] == ["p", "axis ratio", "d"]
    assert len(json.loads(str(canvas["data-colours"]))) == 4


def test_feature_table_holds_means_and_deviations(archive: str) -> None:
    contents = read_contents(archive)
    assert contents.crystals is not None
    table = feature_table(contents.crystals)
    assert table is not None
    rows = {row[0]: row[1:] for row in table.rows}
    frame = crystals()
    assert rows["crystals"][:3] == tuple(str((frame["shape_group"] == k).sum()) for k in (1, 2, 3))
    part = frame.loc[frame["shape_group"] == 2, "area"]
    assert rows["area / nm²"][1] == f"{part.mean():.3g} ± {part.std():.2g}"


def test_every_object_is_accounted_for(archive: str) -> None:
    contents = read_contents(archive)
    assert contents.crystals is not None
    table = object_table(contents.crystals, contents.images)
    counted = [int(row[1].replace("\u2009", "")) for row in table.rows]
    names = [row[0] for row in table.rows]
    parts = [n for n, name in zip(counted, names, strict=True) if not name.startswith("of the")]
    assert sum(parts) == len(crystals())


def test_few_chunks_are_read_and_their_crops_are_right(
    archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = read_contents(archive)
    assert contents.crystals is not None
    monkeypatch.setattr(crops, "MAX_READ", 64)
    monkeypatch.setattr(crops, "MIN_CHUNKS", 1)
    chosen = crops.choose_crops(contents.crystals, contents.images)
    assert set((chosen.rows // 64).tolist()) == {0}
    ds = store.open_group(archive, "crystals")
    expected = ds["crop_mask"].values[chosen.rows]
    np.testing.assert_array_equal(chosen.sample.mask, expected)
    monkeypatch.setattr(crops, "MAX_READ", 6144)
    everything = crops.choose_crops(contents.crystals, contents.images)
    assert everything.searched == contents.crystals.whole.sum()
    np.testing.assert_array_equal(everything.sample.pixels, ds["crop"].values[everything.rows])
    # Exemplary crystals are of their group, each once.
    group = contents.crystals.group[everything.rows[everything.exemplary]]
    assert group.tolist() == sorted(group.tolist())
    assert len(set(everything.exemplary.tolist())) == len(everything.exemplary)


def test_downloads_hold_the_crystals(page: Page) -> None:
    links = {a["download"]: a["href"] or "" for a in page.all("a") if "download" in a}
    assert {"crystals.csv", "shapes.csv", "shape_groups.csv", "classes.csv"} <= set(links)
    body = base64.b64decode(links["crystals.csv"].partition(",")[2])
    frame = pd.read_csv(io.BytesIO(body))
    assert len(frame) == len(crystals())
    assert "synthesis_method" in frame


@pytest.mark.parametrize("groups", [0, 1, 3])
def test_page_of_a_store_at_any_stage(tmp_path: Path, groups: int) -> None:
    url = make_crystal_store(tmp_path, images=1, groups=groups)
    found = Page(write_report(url, tmp_path / "report.html", image_count=1))
    if groups == 0:
        assert "No pipeline has been run yet" in found.text
        return
    assert "crystal_statistics has not been run." in found.text
    assert "prepared has not been run" not in found.text
    assert ("There is no table of crystals yet" in found.text) == (groups == 1)
    assert ("There are no shape groups" in found.text) == (groups == 3)
    assert bool(found.all("canvas")) == (groups == 3)
    assert any("Crystals of image" in str(img["alt"]) for img in found.all("img"))


def test_page_without_pixel_size(tmp_path: Path) -> None:
    url = make_crystal_store(tmp_path, images=3, groups=4, pixel_size=np.nan)
    found = Page(write_report(url, tmp_path / "report.html", image_count=0))
    assert "no pixel size" in found.text
    assert "area / px²" in found.text
    assert "crystal of an image without a pixel size" in found.text
    assert " nm²" not in found.text


def test_page_without_any_crystal(tmp_path: Path) -> None:
    url = make_crystal_store(tmp_path, images=1, groups=5, empty=True)
    found = Page(write_report(url, tmp_path / "report.html", image_count=1))
    assert "What became of the 0 objects found" in found.text
    assert "There are no shape groups" in found.text
    assert not found.all("canvas")


def test_page_of_both_systems(tmp_path: Path) -> None:
    url = make_crystal_store(tmp_path, images=3, groups=2)
    values = {
        "defect": np.zeros((3, SIZE, SIZE), bool),
        "defect_fraction": np.zeros(3, np.float32),
        "sharpness": np.full(3, 0.9, np.float32),
        "lattice_spacing": np.full(3, 11.0, np.float32),
        "usable": np.array([True, True, False]),
        "problem": text(["", "", "left out: out of focus"]),
    }
    write_group(url, "prepared", values, sizes={"image": 3, "y": SIZE, "x": SIZE})
    found = Page(write_report(url, tmp_path / "report.html", image_count=1))
    sections = [a["id"] for a in found.all("section")]
    assert {"sizes", "detail", "crystal-sizes", "crystal-groups"} <= set(sections)
    assert "tiles has not been run." in found.text
    assert "shapes has not been run." in found.text
    # What one system leaves out is not lost to the other.
    contents = read_contents(url)
    assert contents.sized.tolist() == [True, True, False]
    assert contents.crystal_images["usable"].tolist() == [True, True, True]


def test_hostile_text_is_text(tmp_path: Path) -> None:
    table = image_table(3).assign(synthesis_method=HOSTILE, sample=HOSTILE)
    url = make_crystal_store(tmp_path, images=3, table=table)
    found = Page(write_report(url, tmp_path / "report.html", image_count=0))
    assert len(found.all("script")) == 1
    assert found.open == []
    assert all(not name.startswith("on") for _, attrs in found.tags for name in attrs)
    assert "<script>alert('x')</script>" in found.text


def test_a_folder_of_a_training_and_that_of_the_package(archive: str, tmp_path: Path) -> None:
    (tmp_path / "learning_curve.json").write_text(SHAPE_TRAINING.read_text())
    given = Page(write_report(archive, tmp_path / "r.html", image_count=0, training=tmp_path))
    for words in ("learning curve", "Q-Q plot of d", "error against parameter"):
        assert words in given.text, words
    # The store does not say that its shapes were found with the weights of the package.
    assert "Q-Q plot" not in Page(write_report(archive, tmp_path / "p.html", image_count=0)).text
    contents = read_contents(archive)
    shapes = {**contents.records["shapes"], "basis": {"parameters": {"weights": None}}}
    told = replace(contents, records={**contents.records, "shapes": shapes})
    assert "Q-Q plot" in render(told, image_count=0)


def test_a_broken_training_file_is_refused(archive: str, tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"epochs": [')
    (tmp_path / "other.json").write_text("[1]")
    for name, why in (("half.json", "cannot be read"), ("other.json", "no file of a training")):
        with pytest.raises(InputError, match=why):
            write_report(archive, tmp_path / "r.html", training=tmp_path / name)
