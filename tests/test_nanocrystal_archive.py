"""The simulated archive of two syntheses: tags, truth, and what differs between them."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter

import numpy as np
import pytest

from nanoarray.errors import InputError
from nanoarray.images.read import read_micrograph
from nanoarray.simulate.nanocrystal_archive import (
    GROUPS,
    SYNTHESES,
    Synthesis,
    plan_nanocrystal_archive,
    simulate_nanocrystal_archive,
    simulate_nanocrystal_image,
)

SMALL = {"height_px": 320, "width_px": 352, "crystals_per_image": 24}


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def composition(plan, method):
    counts = np.sum(
        [[q.count for q in p.populations] for p in plan if p.synthesis_method == method], axis=0
    )
    return counts / counts.sum()


def mean_sizes(plan, method):
    """Mean diameter of every batch relative to that of the groups [1]."""
    first = next(iter(GROUPS.values())).diameter_nm
    sizes = {
        p.batch: p.populations[0].diameter_nm / first for p in plan if p.synthesis_method == method
    }
    return np.array(list(sizes.values()))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return simulate_nanocrystal_archive(folder, image_count=5, seed=3, **SMALL), folder


def test_files_tags_and_metadata(archive):
    files, folder = archive
    tags = read_csv(folder / "tags.csv")
    assert [row["image"] for row in tags] == [path.stem for path in files]
    assert {row["synthesis_method"] for row in tags} == {"LARP", "hot injection"}
    assert {row["temperature_degC"] for row in tags} == {"25.0", "180.0"}
    assert [row["batch"] for row in tags] == ["1", "1", "2", "2", "3"]
    assert len({row["sample"] for row in tags}) == 5
    for path in files:
        found = read_micrograph(path)
        assert found.pixels.shape == (320, 352)
        assert (found.pixel_size_nm, found.pixel_size_source) == (0.4, "FEI tag")
        assert found.metadata["voltage_kV"] == 200
        assert found.metadata["instrument"] == "Talos F200X"
        assert not found.warnings


def test_truth_is_that_of_the_images(archive):
    files, folder = archive
    rows = read_csv(folder / "truth" / "crystals.csv")
    names = list(GROUPS)
    for path in files:
        labels = np.load(folder / "truth" / f"{path.stem}.npz")["crystal"]
        pixels = read_micrograph(path).pixels.astype(float)
        own = [row for row in rows if row["image"] == path.stem]
        assert labels.dtype == np.int32
        assert [int(row["label"]) for row in own] == list(range(1, len(own) + 1))
        area = np.bincount(labels.ravel(), minlength=len(own) + 1)[1:]
        assert [int(row["visible_area_px"]) for row in own] == area.tolist()
        for row in own:
            assert row["group_name"] == names[int(row["group"])]
            true_px = float(row["area_nm2"]) / 0.4**2
            whole = row["touches_edge"] == "False" and float(row["occlusion"]) == 0
            if whole:
                assert int(row["visible_area_px"]) == pytest.approx(true_px, rel=0.06)
            diameter = np.sqrt(4 * float(row["area_nm2"]) / np.pi)
            assert float(row["equivalent_diameter_nm"]) == pytest.approx(diameter)
        # Dark crystals on a bright film.
        assert pixels[labels > 0].mean() < pixels[labels == 0].mean() - 40


def test_shapes_of_the_groups(archive):
    rows = read_csv(archive[1] / "truth" / "crystals.csv")
    assert {row["group_name"] for row in rows} == set(GROUPS)
    for row in rows:
        kind = GROUPS[row["group_name"]]
        assert float(row["p"]) == pytest.approx(kind.p, rel=0.5)
        assert int(row["d"]) == kind.d
        assert float(row["axis_ratio"]) == pytest.approx(kind.axis_ratio, rel=0.4)
        assert float(row["axis_ratio"]) >= 1


def test_same_seed_same_files_whatever_the_threads(archive, tmp_path):
    files, folder = archive
    again = simulate_nanocrystal_archive(tmp_path, image_count=5, seed=3, threads=3, **SMALL)

    def digests(paths):
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    assert digests(again) == digests(files)
    for name in ("tags.csv", "truth/crystals.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    other = simulate_nanocrystal_archive(tmp_path / "other", image_count=1, seed=4, **SMALL)
    assert digests(other) != digests(files[:1])


def test_an_archive_grows_without_changing_its_first_images():
    few = plan_nanocrystal_archive(image_count=5, seed=1)
    many = plan_nanocrystal_archive(image_count=40, seed=1)
    assert many[:5] == few
    assert len({p.stem for p in many}) == 40
    assert len({p.seed for p in many}) == 40


def test_syntheses_differ_unless_they_are_the_same_population():
    options = {"image_count": 80, "batches_per_synthesis": 40, "crystals_per_image": 1000}
    different = plan_nanocrystal_archive(seed=0, **options)
    same = plan_nanocrystal_archive(seed=0, same_population=True, **options)
    for synthesis in SYNTHESES:
        found = composition(different, synthesis.method)
        assert np.abs(found - synthesis.shares).max() < 0.02
        assert mean_sizes(different, synthesis.method).mean() == pytest.approx(
            synthesis.size_factor, rel=0.015
        )
        assert np.abs(composition(same, synthesis.method) - SYNTHESES[0].shares).max() < 0.02
        sizes = mean_sizes(same, synthesis.method)
        assert sizes.mean() == pytest.approx(1.0, rel=0.015)
        assert 0.01 < sizes.std() < 0.03  # batches scatter all the same
    assert [p.stem for p in same] == [p.stem for p in different]
    assert same[0] == different[0]
    assert same[1] != different[1]


def test_images_of_a_batch_share_its_population():
    plan = plan_nanocrystal_archive(image_count=24, seed=2)
    by_sample = {}
    for planned in plan:
        by_sample.setdefault(planned.sample, set()).add(planned.populations)
    assert Counter(map(len, by_sample.values())) == {1: 6}
    assert len({p for populations in by_sample.values() for p in populations}) == 6


def test_agglomeration_brings_crystals_together():
    planned = plan_nanocrystal_archive(image_count=1, seed=5, crystals_per_image=40)[0]
    shares = []
    for agglomeration in (0.0, 0.9):
        labels = simulate_nanocrystal_image(
            planned,
            height_px=512,
            width_px=512,
            agglomeration=agglomeration,
            scale_bar=False,
        ).labels
        near = np.zeros(labels.max() + 1, bool)
        for shift in (1, 2, 3, 4):  # the gap is 2 px wide
            for a, b in (
                (labels[:-shift], labels[shift:]),
                (labels[:, :-shift], labels[:, shift:]),
            ):
                touch = (a != b) & (a > 0) & (b > 0)
                near[a[touch]] = near[b[touch]] = True
        shares.append(near[1:].mean())
    assert shares[0] < 0.1
    assert shares[1] > 0.6


def test_scale_bar_has_the_length_it_states(tmp_path):
    files = simulate_nanocrystal_archive(tmp_path, image_count=1, seed=0, **SMALL)
    pixels = read_micrograph(files[0]).pixels
    corner = pixels[int(0.88 * 320) :, : int(0.5 * 352)]
    longest = 0
    for row in corner == 0:
        edges = np.flatnonzero(np.diff(np.pad(row, 1).astype(int)))
        longest = max([longest, *np.diff(edges)[::2]])
    assert longest == pytest.approx(20 / 0.4, abs=2)  # "20 nm"
    plain = simulate_nanocrystal_archive(
        tmp_path / "plain", image_count=1, seed=0, scale_bar=False, data_bar=True, **SMALL
    )
    found = read_micrograph(plain[0])
    assert found.metadata["data_bar_px"] == 59
    assert found.pixels.shape == (320, 352)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_count": 0}, "at least 1 of each"),
        ({"syntheses": ()}, "at least 1 of each"),
        ({"syntheses": (Synthesis("a", 20.0, (1.0,)),)}, "for each of cube"),
        ({"syntheses": (Synthesis("a", 20.0, (0.0,) * 4),)}, "not all of them 0"),
        ({"syntheses": (SYNTHESES[0], SYNTHESES[0])}, "same method and temperature"),
    ],
)
def test_bad_plans_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        plan_nanocrystal_archive(**{"image_count": 2, "seed": 0, **options})


def test_a_synthesis_may_lack_a_group():
    only = (Synthesis("pure", 20.0, (1.0, 0.0, 0.0, 0.0)),)
    plan = plan_nanocrystal_archive(image_count=1, seed=0, syntheses=only, crystals_per_image=50)
    assert [q.count for q in plan[0].populations] == [50, 0, 0, 0]
