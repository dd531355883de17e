"""Classifiers of crystals: figures against known truths, files that are broken or hostile."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import optuna
import pytest
import skops.io

from nanoarray.errors import InputError
from nanoarray.nanocrystal.classify.ablation import ablate
from nanoarray.nanocrystal.classify.human import match_classes, read_human_classes
from nanoarray.nanocrystal.classify.models import DEFAULTS, KINDS, search, train
from nanoarray.nanocrystal.classify.saved import dump_model, load_model
from nanoarray.nanocrystal.classify.splits import split_accuracies
from nanoarray.nanocrystal.classify.train import (
    Classification,
    Classifier,
    NothingToClassifyError,
    predict_classes,
    train_classifier,
)

COLUMNS = ("circularity", "solidity", "extent")
QUICK = {"columns": COLUMNS, "kinds": ("svm",), "n_trials": 3, "source": "groups"}


def blobs(counts: tuple[int, ...], *, distance: float, seed: int) -> tuple[dict, np.ndarray]:
    """Crystals in normal classes whose centres are `distance` deviations apart."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(1, len(counts) + 1), counts))
    centers = distance / np.sqrt(2) * np.eye(3)[: len(counts)]
    rows = centers[classes - 1] + rng.standard_normal((classes.size, 3))
    return dict(zip(COLUMNS, rows.T, strict=True)), classes


@pytest.fixture(scope="module")
def apart() -> tuple[dict, np.ndarray]:
    return blobs((120, 80, 50), distance=9.0, seed=0)


@pytest.fixture(scope="module")
def trained(apart) -> Classification:
    return train_classifier(*apart, **QUICK)


def test_classes_far_apart_are_learned(apart, trained):
    table, classes = apart
    assert trained.test_accuracy == 1.0
    assert trained.n_test == 50
    assert trained.n_train == 200
    assert np.array_equal(np.diag(trained.confusion), [24, 16, 10])
    assert trained.chance == pytest.approx(24 / 50)
    assert trained.splits[0].accuracies.size == 10
    assert trained.splits[0].mean > 0.99
    assert np.mean(predict_classes(trained.classifier, table) == classes) > 0.99
    assert trained.meaning == "cluster reproducibility"
    assert "does not prove" in " ".join(trained.caution.split())


def test_accuracy_is_that_of_bayes():
    # Two classes two deviations apart: no classifier does better than 84.1 %.
    table, classes = blobs((1500, 1500), distance=2.0, seed=1)
    found = train_classifier(table, classes, **{**QUICK, "kinds": ("logistic regression",)})
    assert found.test_accuracy == pytest.approx(0.8413, abs=3 * np.sqrt(0.8413 * 0.1587 / 600))
    assert found.splits[0].mean == pytest.approx(0.8413, abs=0.025)


def test_random_classes_give_chance():
    table, classes = blobs((200, 200), distance=0.0, seed=2)
    found = train_classifier(table, classes, **{**QUICK, "folds": 5})
    assert abs(found.splits[0].mean - 0.5) < 3.5 * np.sqrt(0.25 / 320)
    assert abs(found.test_accuracy - 0.5) < 3.5 * np.sqrt(0.25 / 80)


def test_leakage_by_image_shows():
    # A class per image, and a look of the image that says nothing about the class of another.
    rng = np.random.default_rng(3)
    images = np.repeat(np.arange(24), 12)
    look = 8.0 * rng.standard_normal((24, 3))[images] + 0.3 * rng.standard_normal((288, 3))
    classes = np.where(np.arange(24) % 2, "cube", "rod")[images]
    found = train_classifier(
        dict(zip(COLUMNS, look.T, strict=True)),
        classes,
        **{**QUICK, "source": "people", "folds": 6},
        units={"image": np.char.add("image ", images.astype(str)), "sample": np.zeros(288, int)},
    )
    by_crystal, by_image, by_sample = found.splits
    assert by_crystal.mean > 0.95
    assert by_image.mean < 0.8
    assert by_image.units == 24
    assert np.isnan(by_sample.mean)
    assert by_sample.notes == ("not possible: 1 sample, 2 classes",)
    assert found.meaning == "accuracy against human labels"


def test_order_of_rows_does_not_matter(apart, trained):
    table, classes = apart
    order = np.random.default_rng(5).permutation(classes.size)
    again = train_classifier(
        {name: column[order] for name, column in table.items()}, classes[order], **QUICK
    )
    assert again.trials == trained.trials
    assert np.array_equal(again.splits[0].accuracies, trained.splits[0].accuracies)
    assert np.array_equal(again.confusion, trained.confusion)


def test_search_is_repeatable_and_quiet(capfd):
    table, classes = blobs((40, 40), distance=2.0, seed=6)
    rows, codes = np.column_stack(list(table.values())), classes - 1
    before = optuna.logging.get_verbosity()
    first = search(rows, codes, kinds=KINDS, n_trials=6, seed=4)
    assert optuna.logging.get_verbosity() == before
    assert search(rows, codes, kinds=KINDS, n_trials=6, seed=4) == first
    assert len(first) == 6
    assert {trial.kind for trial in first} == set(KINDS)
    assert [t.accuracy for t in first] == sorted((t.accuracy for t in first), reverse=True)
    assert capfd.readouterr() == ("", "")


def test_ablation_shows_where_the_classes_are():
    rng = np.random.default_rng(7)
    classes = rng.integers(1, 3, 300)
    table = {name: rng.standard_normal(300) for name in COLUMNS}
    table |= {"p": np.exp(4.0 * classes + rng.standard_normal(300)), "axis_ratio": np.ones(300)}
    table["axis_ratio"][5] = np.nan
    rows = ablate(
        table,
        classes,
        source="groups",
        features=COLUMNS,
        shape_parameters=("p", "axis_ratio"),
        kinds=("logistic regression",),
        n_trials=2,
        folds=3,
    )
    accuracy = {row.name: row.mean for row in rows}
    assert set(accuracy) == {
        "features and shape parameters",
        "features only",
        "shape parameters only",
        "2 features and shape parameters",
        "1 features and shape parameters",
    }
    assert accuracy.pop("features only") < 0.65
    assert min(accuracy.values()) > 0.9
    # Every set sees the same crystals, those with all values.
    assert {row.n_test for row in rows} == {60}


def test_fewer_crystals_than_folds():
    table, classes = blobs((60, 7), distance=9.0, seed=8)
    found = train_classifier(table, classes, **QUICK)
    assert found.splits[0].accuracies.size == 6
    assert found.splits[0].notes == ("6 folds: a class has 6 crystals",)


@pytest.mark.parametrize(
    ("known", "note"),
    [
        ({0: "a", 10: "b"}, "not possible: 2 sample, 2 classes of one crystal each"),
        ({0: "a", 1: "b"}, "not possible: 2 sample, 1 classes"),
        ({}, "not possible: 0 sample, 0 classes"),
    ],
)
def test_a_split_that_is_not_possible_says_so(known, note):
    rows, codes = np.random.default_rng(0).normal(size=(20, 2)), np.repeat([0, 1], 10)
    sample = np.array([known.get(i, "") for i in range(20)])
    _, split = split_accuracies(
        rows, codes, kind="svm", settings={}, units={"sample": sample}, folds=5, seed=0
    )
    assert split.accuracies.size == 0
    assert split.notes[-1] == note
    assert split.notes[0] == f"{20 - len(known)} crystals of unknown sample left out"


@pytest.mark.parametrize(
    "unknown", [np.nan, -1, "", None], ids=["NaN", "negative", "empty", "none"]
)
def test_an_unknown_unit_is_no_unit(unknown):
    # A column of numbers beside texts is one of objects, as the tags of a table are.
    rows, codes = np.random.default_rng(0).normal(size=(20, 2)), np.tile([0, 1], 10)
    batch = np.array([20230115, 20230116, unknown, unknown], object).repeat(5)
    _, split = split_accuracies(
        rows, codes, kind="svm", settings={}, units={"batch": batch}, folds=2, seed=0
    )
    assert split.units == 2
    assert split.notes == ("10 crystals of unknown batch left out",)


def test_small_classes_and_missing_values_are_counted():
    table, classes = blobs((60, 30, 3), distance=9.0, seed=9)
    classes[np.flatnonzero(classes == 1)[:4]] = -1
    table["extent"][np.flatnonzero(classes == 2)[:5]] = np.nan
    found = train_classifier(table, classes, **QUICK)
    assert found.notes == (
        "4 crystals without a class left out",
        "5 crystals without all values left out",
        "class 3 left out: 3 crystals, fewer than 4",
    )
    assert found.left_out == 12
    assert found.n_train + found.n_test == 81
    assert found.classifier.classes == (1, 2)
    predicted = predict_classes(found.classifier, table)
    assert predicted.size == 93
    assert np.array_equal(predicted == -1, np.isnan(table["extent"]))


@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_single_group_is_nothing_to_classify(count):
    table, classes = blobs((count,), distance=0.0, seed=0)
    with pytest.raises(NothingToClassifyError, match="nothing to classify"):
        train_classifier(table, classes, **QUICK)


def test_constant_columns_do_no_harm():
    table, classes = blobs((40, 40), distance=9.0, seed=10)
    table["extent"] = np.full(80, 0.5)
    assert train_classifier(table, classes, **QUICK).test_accuracy > 0.9


def test_options_that_cannot_be(apart):
    table, classes = apart
    for change, message in (
        ({"source": "guess"}, "source is 'guess'"),
        ({"kinds": ("oracle",)}, "kinds are oracle"),
        ({"folds": 1}, "1 folds"),
        ({"test_share": 0.9}, "test_share is 0.9"),
        ({"columns": ("area",)}, "no column area"),
        ({"units": {"image": np.zeros(3)}}, "image has shape"),
    ):
        with pytest.raises(InputError, match=message):
            train_classifier(table, classes, **{**QUICK, **change})
    with pytest.raises(InputError, match="expected one per crystal"):
        train_classifier(table, classes[:-1], **QUICK)


def of_kind(kind: str, apart: tuple[dict, np.ndarray]) -> Classifier:
    table, classes = apart
    rows = np.column_stack([table[name] for name in COLUMNS])
    pipeline = train(kind, DEFAULTS[kind], rows, classes - 1, seed=0)
    return Classifier(pipeline, COLUMNS, ("cube", "rod", "star"), kind, "people")


@pytest.mark.parametrize("kind", KINDS)
def test_saved_classifiers_say_the_same(kind, apart):
    classifier = of_kind(kind, apart)
    loaded = load_model(dump_model(classifier))
    assert loaded.columns == COLUMNS
    assert loaded.classes == ("cube", "rod", "star")
    assert (loaded.kind, loaded.source) == (kind, "people")
    expected = predict_classes(classifier, apart[0])
    assert np.array_equal(predict_classes(loaded, apart[0]), expected)
    assert set(expected) == {"cube", "rod", "star"}


def sealed(body: bytes) -> bytes:
    """As `dump_model` seals an archive, so that only what is inside can be at fault."""
    return b"nanoarray classifier 1\n" + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def state_of(classifier: Classifier) -> dict:
    body = dump_model(classifier).split(b"\n", 2)[2]
    return skops.io.loads(body, trusted=["sklearn.tree._tree.Tree"])


def test_broken_files_are_refused(trained):
    data = dump_model(trained.classifier)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    for bad, message in (
        (b"", "not a classifier"),
        (b"PK\x03\x04" + data, "not a classifier"),
        (data[:-10], "cut off or was changed"),
        (data[:40], "cut off or was changed"),
        (bytes(changed), "cut off or was changed"),
        (data.replace(b"classifier 1\n", b"classifier 2\n", 1), "format 2, expected 1"),
        (sealed(b"no archive"), "cannot be read"),
        (sealed(skops.io.dumps([1, 2])), "not one that is made here"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(bad)


def test_another_scikit_learn_is_refused(trained):
    state = state_of(trained.classifier) | {"sklearn": "0.24.2"}
    with pytest.raises(InputError, match=r"saved with scikit-learn 0\.24"):
        load_model(sealed(skops.io.dumps(state)))


def test_code_in_a_file_is_not_run(trained, tmp_path):
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    mark = tmp_path / "ran"
    state = state_of(trained.classifier)
    hostile = FunctionTransformer(Path.touch, kw_args={"self": mark})
    for pipeline in (
        Pipeline([("scale", hostile), state["pipeline"].steps[1]]),
        Pipeline([("scale", StandardScaler()), ("classify", FunctionTransformer())]),
    ):
        with pytest.raises(InputError, match=r"cannot be read|two steps"):
            load_model(sealed(skops.io.dumps(state | {"pipeline": pipeline})))
    assert not mark.exists()


def test_indices_that_lead_nowhere_are_refused(apart):
    forest = state_of(of_kind("random forest", apart))
    nodes = forest["pipeline"].steps[1][1].estimators_[3].tree_.__getstate__()["nodes"]
    assert nodes["left_child"][0] > 0
    forest["pipeline"].steps[1][1].estimators_[3].tree_.children_left[0] = 10**6
    vectors = state_of(of_kind("svm", apart))
    vectors["pipeline"].steps[1][1]._n_support[0] += 1000
    neighbours = state_of(of_kind("nearest neighbours", apart))
    neighbours["pipeline"].steps[1][1]._y[0] = 70
    for state in (forest, vectors, neighbours):
        with pytest.raises(InputError, match="do not fit each other"):
            load_model(sealed(skops.io.dumps(state)))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_human_classes_find_their_crystals(tmp_path):
    path = write(
        tmp_path / "classes.csv",
        "image,label,class,who\nS1_01,2,cube,a\nS1_01, 1,rod,a\nS1_02,2,star ball,b\n"
        "S9_99,1,cube,b\nS1_01,77,rod,b\nS1_02,1,,b\nS1_01,2,cube,c\n",
        "utf-8-sig",
    )
    images, labels = np.array(["S1_01", "S1_01", "S1_02", "S1_02"]), np.array([1, 2, 1, 2])
    found = match_classes(read_human_classes(path), images, labels)
    assert found.classes.tolist() == ["rod", "cube", "", "star ball"]
    assert found.matched == 3
    assert found.unknown == (("S9_99", 1), ("S1_01", 77))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na,1\n", "no column class"),
        ("", "no column image, label, class"),
        ("image,label,class\na,one,cube\n", "line 2: label 'one'"),
        ("image,label,class\na,1,cube\na,1,rod\n", "line 3: crystal 1 of image 'a' is 'rod'"),
    ],
)
def test_human_classes_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_human_classes(write(tmp_path / "classes.csv", text))


def test_human_classes_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_human_classes(tmp_path / "nowhere.csv")
    path = tmp_path / "latin.csv"
    path.write_bytes("image,label,class\na,1,Würfel\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        read_human_classes(path)


def test_human_classes_of_no_crystal(tmp_path):
    human = read_human_classes(write(tmp_path / "c.csv", "image,label,class\na,1,cube\n"))
    found = match_classes(human, np.array([], dtype=str), np.array([], dtype=int))
    assert found.matched == 0
    assert found.unknown == (("a", 1),)


def test_the_same_classifier_has_the_same_bytes():
    rng = np.random.default_rng(3)
    codes = rng.integers(1, 4, 120)
    table = {"a": codes + rng.normal(0, 0.2, 120), "b": rng.normal(0, 1, 120)}
    made = []
    for count in (0, 500):
        _elsewhere = [object() for _ in range(count)]  # other addresses in memory
        found = train_classifier(
            table, codes, source="groups", columns=("a", "b"), kinds=("svm",), n_trials=1, folds=2
        )
        made.append(dump_model(found.classifier))
    assert made[0] == made[1]


def test_a_class_that_is_not_a_number_is_none(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("image,label,class\na,1,cube\na,2,NaN\na,3,\n", encoding="utf-8")
    assert read_human_classes(path).name == ("cube",)
