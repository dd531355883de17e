"""Bad input to the nanocrystal pipeline at the command line: clear, counted, nothing lost."""

import numpy as np
import pytest
from PIL import Image

import nanoarray as na
from nanoarray.nanocrystal.weights import SEGMENT_WEIGHTS, SHAPE_WEIGHTS

QUICK = ("crystal_statistics.by=[]", "crystal_statistics.resamples=100", "classes.trials=2")


def discs(count: int) -> np.ndarray:
    """Labels of equal discs."""
    labels, (y, x) = np.zeros((160, 160), np.int32), np.mgrid[:160, :160]
    for k in range(count):
        labels[np.hypot(y - 18 - 30 * (k // 5), x - 18 - 30 * (k % 5)) < 8] = k + 1
    return labels


@pytest.fixture
def run(tmp_path, cli):
    """Ingest images of these labels, once, and run the pipeline with settings."""
    (tmp_path / "labels").mkdir()
    store = tmp_path / "s.zarr"

    def start(images, *settings, overwrite=False):
        if not store.exists():
            rng = np.random.default_rng(0)
            for name, labels in images.items():
                pixels = 200 - 120 * (discs(20) > 0) + rng.normal(0, 4, (160, 160))
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
                if labels is not None:
                    np.save(tmp_path / "labels" / f"{name}.npy", labels)
            assert cli("ingest", tmp_path, store, "--pixel-size", "0.5")[0] == 0
        given = (f"crystal_maps.labels={tmp_path / 'labels'}", *QUICK, *settings)
        sets = [part for setting in given for part in ("--set", setting)]
        more = ["--overwrite"] if overwrite else []
        status, out, err = cli("run", "nanocrystals", store, *sets, *more)
        return status, out + err, str(store)

    return start


def test_images_without_usable_labels_are_listed_and_the_others_measured(run, cli, tmp_path):
    images = {
        "good": discs(20),
        "wrong shape": np.zeros((5, 5), int),
        "mask": discs(20) > 0,
        "missing": None,
    }
    status, said, store = run(images)
    assert status == 3
    for words in ("no label image for 'missing'", "the label image has shape", "mask of true"):
        assert words in said, words
    assert na.table(store, "crystals").sizes["crystal"] == 20
    statistics = na.open(store)["crystal_statistics"]
    assert statistics["image_not_usable_count"].values.tolist() == [3]
    page = tmp_path / "report.html"
    assert cli("report", store, "--out", page)[0] == 0
    assert "mask of true" in page.read_text()


def test_equal_crystals_few_crystals_weights_and_human_labels(run, cli, tmp_path):
    status, _, store = run({"a": discs(20)}, "classes.folds=10")
    assert status == 0
    assert na.table(store, "shape_groups")["shape_group"].values.tolist() == [1] * 20
    assert any("nothing to classify" in n for n in na.open(store)["classes"]["note"].values)
    assert cli("report", store, "--out", tmp_path / "report.html")[0] == 0  # warnings are errors

    half = tmp_path / "half.safetensors"
    half.write_bytes(SHAPE_WEIGHTS.read_bytes()[:1000])
    for weights, words in ((half, "cut off or damaged"), (SEGMENT_WEIGHTS, "says it holds")):
        status, said, _ = run({}, f"shapes.weights={weights}", overwrite=True)
        assert status == 2
        assert words in said
    assert na.table(store, "shapes").sizes["crystal"] == 20  # nothing was replaced

    people = tmp_path / "people.csv"
    people.write_text("image,label,class\na,1,x\na,2,y\na,999,x\nzz,1,y\n")
    status, _, _ = run({}, f"classes.labels={people}", overwrite=True)
    assert status == 0
    notes = na.open(store)["classes"]["note"].values.tolist()
    assert any("2 labels of no crystal" in note for note in notes), notes
    people.write_text("image,label,class\nzz,1,y\n")
    status, said, _ = run({}, f"classes.labels={people}", overwrite=True)
    assert status == 2
    assert "none of its 1 rows is a crystal" in said
