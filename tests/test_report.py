"""The page: it says what the store holds, safely and lightly, at any stage."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_material import (
    HOSTILE,
    Page,
    conditions,
    make_images,
    make_store,
    one_page,
    write_grains,
    write_statistics,
)

from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.errors import InputError
from nanoarray.report.contents import choose_images, read_contents, reason_counts
from nanoarray.report.page import write_report
from nanoarray.report.superlattice.distributions import plot_size_distributions
from nanoarray.report.superlattice.tables import condition_warnings, statistics_tables
from nanoarray.report.text_tables import interval, number
from nanoarray.simulate.superlattice import simulate_polycrystal


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixteen images of four conditions: one unreadable, one out of focus, one failed."""
    images = conditions(16)
    images["problem"] = ["not a TIFF file" if i == 5 else "" for i in range(16)]
    images["ok"] = images["problem"] == ""
    images["pixel_size"] = [np.nan if i in (5, 6) else 2.5 for i in range(16)]
    images["warning"] = ["pressure differs: file 1, table 2" if i == 0 else "" for i in range(16)]
    lost = {
        5: ("prepared", "left out: unreadable: not a TIFF file"),
        7: ("tiles", "left out: out of focus (sharpness 0.21, limit 0.50)"),
        9: ("grain_maps", "failed: ValueError: no lattice"),
        11: ("tiles", "left out: out of focus (sharpness 0.11, limit 0.50)"),
    }
    return make_store(tmp_path_factory.mktemp("archive"), images, lost=lost)


@pytest.fixture(scope="module")
def page(archive: str, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return Page(write_report(archive, path, image_count=6))


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.22061, "0.221"),
        (99.97, "100"),
        (12345, "12\u2009345"),
        (-0.5, "−0.5"),
        (float("nan"), "–"),
        (1e-7, "1e−07"),
        (3.0, "3"),
        (True, "yes"),
        ("", "–"),
    ],
)
def test_numbers_are_short_and_never_invented(value: Any, shown: str) -> None:
    assert number(value) == shown


def test_interval_only_where_there_is_one() -> None:
    assert interval(0.2, 0.1, 0.31234) == "0.2 (0.1 to 0.312)"
    assert interval(0.2, float("nan"), 0.3) == "0.2"


def test_what_limits_the_sizes_names_a_tilted_stage(archive: str) -> None:
    contents = read_contents(archive)
    level = replace(contents, images=contents.images.assign(tilt=0.0))
    assert "stage tilt" not in dict(condition_warnings(level))
    tilts = np.where(np.arange(len(contents.images)) % 2, 52.0, -7.0)
    tilted = replace(contents, images=contents.images.assign(tilt=tilts))
    (text,) = dict(condition_warnings(tilted))["stage tilt"]
    assert text.startswith(f"{int(contents.sized.sum())} images at 7° to 52°: sizes")


def test_a_condition_without_an_image_that_counts_is_not_drawn(archive: str) -> None:
    contents = read_contents(archive)
    assert contents.grains is not None
    odd = contents.images.assign(usable=contents.sized)
    odd["temperature"] = np.where(odd["usable"], odd["temperature"], -40.0)
    figure = plot_size_distributions(contents.grains, odd, by=("temperature",))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert any(titles)
    assert not any("40" in title for title in titles)


# --- contents ---------------------------------------------------------------------------------


def test_each_lost_image_has_its_first_reason(archive: str) -> None:
    contents = read_contents(archive)
    lost = contents.left_out.set_index("image")
    assert lost.loc["image 005"].tolist() == ["reading", "not a TIFF file"]
    assert lost.loc["image 007", "step"] == "tiles"
    assert lost.loc["image 009", "reason"] == "failed: ValueError: no lattice"
    assert lost.loc["image 006", "step"] == "measuring"
    assert len(lost) == 5
    counts = {(step, reason): n for step, reason, n, _ in reason_counts(contents.left_out)}
    assert counts["tiles", "out of focus"] == 2
    assert sum(counts.values()) == 5


def test_shown_images_are_spread_and_always_the_same(archive: str) -> None:
    contents = read_contents(archive)
    chosen = choose_images(contents, 8)
    pressure = contents.images["pressure"].to_numpy()[chosen]
    temperature = contents.images["temperature"].to_numpy()[chosen]
    assert set(Counter(zip(temperature, pressure, strict=True)).values()) <= {1, 2, 3}
    assert len(set(zip(temperature, pressure, strict=True))) == 4
    assert chosen == choose_images(read_contents(archive), 8)
    assert not {5, 7, 9, 11} & set(chosen)
    # With more places than mapped images, readable ones that were lost are shown too.
    assert set(choose_images(contents, 16)) == set(range(16)) - {5}


def test_statistics_table_holds_every_column(archive: str) -> None:
    contents = read_contents(archive)
    assert contents.statistics is not None
    tables = statistics_tables(contents)
    shown = sum(len(t.rows) for t in tables)
    names = [
        n
        for n in contents.statistics.columns
        if not n.endswith(("_low", "_high")) and n not in {*contents.by, "condition", "warnings"}
    ]
    assert shown == len(names)
    assert all(len(t.head) == 5 for t in tables)
    row = next(r for r in tables[0].rows if r[0].startswith("number-weighted mean area"))
    first = contents.statistics.iloc[0]
    assert row[1].startswith(number(float(first["mean_area"])))


# --- page -------------------------------------------------------------------------------------


def test_page_is_self_contained(page: Page) -> None:
    assert not page.all("script")
    assert not page.all("link")
    policy = next(m["content"] for m in page.all("meta") if "content" in m and "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "srcset", "poster", "data", "action"):
                assert value is not None
                assert value.startswith(("data:", "#")), (tag, name, value[:60])
    styles = re.findall(r"url\((.{0,12})", page.source)
    assert styles
    assert all(s.startswith('"data:image/') for s in styles)


def test_page_is_well_formed_and_accessible(page: Page) -> None:
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in page.all("a") if (a["href"] or "").startswith("#")]
    assert set(targets) <= set(ids)
    assert all(img.get("alt") for img in page.all("img"))
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert page.all("html")[0]["lang"] == "en"
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_pictures_of_the_page_can_be_decoded(page: Page) -> None:
    kinds = Counter()
    for img in page.all("img"):
        head, _, body = (img["src"] or "").partition(",")
        content = base64.b64decode(body, validate=True)
        kinds[head] += 1
        if "svg" in head:
            assert content.startswith(b"<?xml")
        else:
            picture = Image.open(io.BytesIO(content))
            picture.load()
            assert picture.size[0] == int(img["width"] or 0)
            assert abs(picture.size[1] - int(img["height"] or 0)) <= 1
    # Four of every image shown, and two of the one in detail.
    assert sum(n for kind, n in kinds.items() if "svg" not in kind) == 6 * 4 + 2


def test_page_says_what_was_run_on_what_and_what_was_left_out(page: Page, archive: str) -> None:
    for words in (
        "temperature 22 °C, pressure 8.46 MPa",
        "out of focus",
        "not a TIFF file",
        "failed: ValueError: no lattice",
        "no pixel size",
        "FEI tag",
        "number-weighted mean area / µm²",
        "pressure differs: file 1, table 2",
        "permutation",
        "images left out",
        store.provenance(archive, "grain_maps")["digest"],
        prov.software()["numpy"],
    ):
        assert words in page.text, words
    contents = read_contents(archive)
    assert contents.statistics is not None
    for warning in contents.statistics["warnings"]:
        for part in str(warning).split("; "):
            assert " ".join(part.split()) in page.text
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        "sizes", "images", "detail", "collection", "left-out", "run", "downloads"
    ]  # fmt: skip


def test_downloads_hold_the_tables(page: Page, archive: str) -> None:
    links = {a["download"]: a["href"] or "" for a in page.all("a") if "download" in a}
    assert set(links) == {"grains.csv", "grain_statistics.csv", "images.csv", "left_out.csv"}
    frames = {
        name: pd.read_csv(io.BytesIO(base64.b64decode(href.partition(",")[2])))
        for name, href in links.items()
    }
    contents = read_contents(archive)
    assert contents.grains is not None
    np.testing.assert_allclose(frames["grains.csv"]["area_um2"], contents.grains["area"])
    assert frames["grains.csv"]["image"].tolist() == contents.grains["image"].tolist()
    assert len(frames["images.csv"]) == 16
    assert len(frames["grain_statistics.csv"]) == 4
    assert frames["left_out.csv"]["image"].tolist() == contents.left_out["image"].tolist()


def test_a_large_table_is_left_to_the_command_line(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoarray.report.downloads.MAX_BYTES", 6000)
    found = one_page(archive, tmp_path, image_count=0)
    assert "grains.csv" not in {a.get("download") for a in found.all("a")}
    assert f"nanoarray table {archive} grains --out grains.csv" in found.text


def test_hostile_tags_are_text(tmp_path: Path) -> None:
    images = conditions(4).assign(
        synthesis_method=HOSTILE, sample=HOSTILE, instrument=HOSTILE, note=HOSTILE,
        warning=HOSTILE,
    )  # fmt: skip
    images["image"] = [f"{HOSTILE} {i}" for i in range(4)]
    images["note"] = [HOSTILE, "_plain", "", "\u7d50\u6676"]
    url = make_store(tmp_path, images, by=("note", "synthesis_method"))
    found = one_page(url, tmp_path)
    assert not found.all("script")
    assert found.open == []
    assert "<script>alert('x')</script>" in found.text
    assert all(not name.startswith("on") for _, attrs in found.tags for name in attrs)
    for img in found.all("img"):
        if (img["src"] or "").startswith("data:image/svg"):
            content = base64.b64decode((img["src"] or "").partition(",")[2])
            assert b"<script" not in content


@pytest.mark.parametrize("groups", [0, 3, 5])
def test_page_of_a_store_at_any_stage(tmp_path: Path, groups: int) -> None:
    url = make_store(tmp_path, conditions(2), groups=groups)
    found = Page(write_report(url, tmp_path / "report.html", image_count=1))
    assert len(found.all("article")) == 1
    if groups == 0:
        assert "No pipeline has been run yet" in found.text
        return
    assert "grain_statistics has not been run." in found.text
    assert "prepared has not been run." not in found.text
    assert "There are no statistics yet" in found.text


def test_page_without_pixel_sizes(tmp_path: Path) -> None:
    images = conditions(4).assign(pixel_size=np.nan, pixel_size_source="")
    found = one_page(make_store(tmp_path, images), tmp_path)
    assert "no pixel size: counted and mapped" in found.text
    assert "pixel size unknown" in found.text
    assert "no grain to measure" in found.text


def test_page_without_any_grain(tmp_path: Path) -> None:
    found = one_page(make_store(tmp_path, conditions(4), grains_per_image=0), tmp_path)
    assert "0 grains found" in found.text
    assert "no grain to measure" in found.text


def test_page_of_one_image_without_tags(tmp_path: Path) -> None:
    images = pd.DataFrame({"image": ["only"], "temperature": [np.nan], "pressure": [np.nan]})
    found = one_page(make_store(tmp_path, images), tmp_path)
    assert "temperature unknown, pressure unknown" in found.text
    assert len(found.all("article")) == 1
    assert "against" not in found.text


def test_page_of_unreadable_images_only(tmp_path: Path) -> None:
    images = conditions(2).assign(ok=False, problem="empty file", pixel_size=np.nan)
    found = one_page(make_store(tmp_path, images, groups=0), tmp_path)
    assert "No image can be shown." in found.text
    assert "empty file" in found.text


def test_page_says_what_is_unfinished_or_out_of_date(tmp_path: Path) -> None:
    url = make_store(tmp_path, conditions(4))
    record = store.provenance(url, "grain_maps")
    store.set_provenance(url, "grain_maps", {**record, "complete": False})
    images = conditions(6)
    crystal = simulate_polycrystal(height_px=190, width_px=230, grain_count=5, seed=0)
    make_images(url, images, [crystal.image] * 6)
    found = one_page(url, tmp_path, image_count=0)
    assert "grain_maps is not finished" in found.text
    assert "2 images were added after prepared was made" in found.text
    assert "added after this step was run" in found.text


def test_page_stays_light_for_many_images(tmp_path: Path) -> None:
    sizes = {}
    for count in (8, 80):
        folder = tmp_path / str(count)
        folder.mkdir()
        images = conditions(count)
        url = make_store(folder, images, groups=0)
        write_grains(url, images, 2, set())
        write_statistics(url, ("temperature", "pressure"))
        path = write_report(url, folder / "report.html", image_count=1)
        assert len(Page(path).all("article")) == 1
        sizes[count] = path.stat().st_size
    # What grows is the tables: about 1 kB an image, with two grains each.
    assert sizes[80] - sizes[8] < 72 * 1500


def test_the_report_is_whole_or_not_there(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("the one before")
    monkeypatch.setattr(Path, "replace", _no_space)
    with pytest.raises(OSError, match="No space"):
        write_report(archive, target, image_count=0)
    assert target.read_text() == "the one before"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def _no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_impossible_requests_are_refused(archive: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a nanoarray store"):
        write_report(tmp_path, tmp_path / "report.html")
    with pytest.raises(InputError, match="does not exist"):
        write_report(archive, tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match="is a folder"):
        write_report(archive, tmp_path)
    with pytest.raises(InputError, match="0 or more"):
        write_report(archive, tmp_path / "report.html", image_count=-1)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to render the page with")
def test_chromium_renders_the_page(page: Page, tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars",
        "--window-size=1200,2400", f"--screenshot={shot}", page.path.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    drawn = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert drawn.shape == (2400, 1200, 3)
    # Text and figures: dark ink on light paper, and the blue of the distributions.
    assert (drawn.sum(axis=2) < 150).mean() > 0.002
    assert ((drawn[..., 2] - drawn[..., 0]) > 60).mean() > 0.002
