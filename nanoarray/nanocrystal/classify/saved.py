"""Classifiers as bytes, and back, without running anything that the bytes say.

A pickle runs code when it is read. These bytes are a line that says what they are, a checksum, and
an archive of skops, which holds names of types, numbers and arrays. Only types on a list are made.
Then the model is checked to be one that `train_classifier` makes: compiled code of scikit-learn
follows the indices in trees and support vectors without looking whether they exist.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from typing import Any, Final

import numpy as np

from nanoarray.errors import InputError
from nanoarray.nanocrystal.classify.models import KINDS
from nanoarray.nanocrystal.classify.train import MEANING, Classifier

VERSION: Final = 1
_MAGIC: Final = b"nanoarray classifier "
#: Beyond the arrays, numbers and scikit-learn estimators that skops knows to be harmless: checked
#: here by `_check_tree`.
_TRUSTED: Final = ["sklearn.tree._tree.Tree"]
#: How skops writes the address of an object: as ``"__id__"``, or as the name of a file.
_ADDRESS: Final = re.compile(r'(?<="__id__": )\d+|\b\d+(?=\.npy|\.npz)')
#: What reading an archive that is not as skops wrote it has been seen to raise.
_BROKEN: Final = (
    zipfile.BadZipFile,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
)


def dump_model(classifier: Classifier) -> bytes:
    """Classifier as bytes.

    Parameters
    ----------
    classifier
        As from `train_classifier`.
    """
    import sklearn
    import skops.io

    body = skops.io.dumps(
        {
            "pipeline": classifier.pipeline,
            "columns": list(classifier.columns),
            "classes": list(classifier.classes),
            "kind": classifier.kind,
            "source": classifier.source,
            "sklearn": sklearn.__version__,
        },
    )
    body = _reproducible(body)
    return _head(body) + body


def load_model(data: bytes) -> Classifier:
    """Classifier from bytes.

    Parameters
    ----------
    data
        As from `dump_model`.

    Raises
    ------
    InputError
        The bytes are not a classifier, are cut off or changed, hold a type that a classifier has
        no use for, or are of another version of the format or of scikit-learn (which does not read
        its older models reliably).
    """
    import skops.io

    body = _body(data)
    try:
        state = skops.io.loads(body, trusted=_TRUSTED)
    except _BROKEN as error:
        raise InputError(f"the classifier cannot be read: {error}") from error
    try:
        return _checked(state)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"the classifier is not one that is made here: {error}") from error


def _reproducible(body: bytes) -> bytes:
    """The same archive without what differs between runs: times, and addresses in memory.

    skops names objects and their arrays by their address; here they are numbered in the order in
    which they come, so that the same classifier has the same bytes.
    """
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    text = content.pop("schema.json").decode()
    addresses = dict.fromkeys(_ADDRESS.findall(text))
    number = {address: str(k) for k, address in enumerate(addresses, 1)}
    text = _ADDRESS.sub(lambda found: number[found[0]], text)
    renamed = {_ADDRESS.sub(lambda f: number.get(f[0], f[0]), n): c for n, c in content.items()}
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted({**renamed, "schema.json": text.encode()}.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return result.getvalue()


def _head(body: bytes) -> bytes:
    return b"%s%d\n%s\n" % (_MAGIC, VERSION, hashlib.sha256(body).hexdigest().encode())


def _body(data: bytes) -> bytes:
    if not data.startswith(_MAGIC):
        raise InputError("the bytes are not a classifier of nanoarray")
    first, _, rest = data[len(_MAGIC) :].partition(b"\n")
    if first != str(VERSION).encode():
        raise InputError(
            f"the classifier has format {first[:20].decode('ascii', 'replace')}, expected"
            f" {VERSION}: train it again"
        )
    checksum, _, body = rest.partition(b"\n")
    if checksum != hashlib.sha256(body).hexdigest().encode():
        raise InputError("the classifier is cut off or was changed: its checksum differs")
    return body


def _checked(state: Any) -> Classifier:
    import sklearn

    saved = ".".join(str(state["sklearn"]).split(".")[:2])
    here = ".".join(sklearn.__version__.split(".")[:2])
    if saved != here:
        raise InputError(
            f"the classifier was saved with scikit-learn {saved}, this is {here}: train it again"
        )
    kind, source = state["kind"], state["source"]
    columns, classes = tuple(state["columns"]), tuple(state["classes"])
    if kind not in KINDS or source not in MEANING:
        raise InputError(f"the classifier is {kind!r} of {source!r}: neither is known")
    if not (
        all(isinstance(name, str) for name in columns)
        and len({type(name) for name in classes}) == 1
        and isinstance(classes[0], (int, str))
    ):
        raise InputError("the classifier has columns or classes that are no names")
    _check_pipeline(state["pipeline"], kind, len(columns), len(classes))
    return Classifier(state["pipeline"], columns, classes, kind, source)


def _check_pipeline(pipeline: Any, kind: str, n_columns: int, n_classes: int) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    expected = {
        "svm": SVC,
        "linear svm": SVC,
        "random forest": RandomForestClassifier,
        "nearest neighbours": KNeighborsClassifier,
        "logistic regression": LogisticRegression,
    }[kind]
    made = type(pipeline) is Pipeline and [type(step) for _, step in pipeline.steps]
    if made != [StandardScaler, expected]:
        raise InputError(f"the classifier does not hold the two steps of kind {kind!r}")
    scale, model = (step for _, step in pipeline.steps)
    codes = np.asarray(model.classes_)
    fits = [
        scale.mean_.shape == scale.scale_.shape == (n_columns,),
        model.n_features_in_ == n_columns,
        np.array_equal(codes, np.arange(n_classes)),
    ]
    if kind in ("svm", "linear svm"):
        fits += _check_support(model, n_columns, n_classes)
    elif kind == "random forest":
        fits += [_check_tree(tree.tree_, n_columns, n_classes) for tree in model.estimators_]
    elif kind == "nearest neighbours":
        targets = np.asarray(model._y)
        fits += [
            model._fit_method == "brute",
            model._fit_X.ndim == 2 and model._fit_X.shape == (targets.size, n_columns),
            targets.ndim == 1 and targets.min() >= 0 and targets.max() < n_classes,
        ]
    else:
        fits.append(model.coef_.shape == (1 if n_classes == 2 else n_classes, n_columns))
    if not all(fits):
        raise InputError("the classifier's arrays do not fit each other")


def _check_support(model: Any, n_columns: int, n_classes: int) -> list[bool]:
    vectors = model.support_vectors_.shape[0]
    counts = np.asarray(model._n_support)
    return [
        model.kernel in ("rbf", "linear"),
        model.support_vectors_.shape == (vectors, n_columns),
        model.support_.shape == (vectors,),
        counts.shape == (n_classes,) and counts.min() >= 0 and counts.sum() == vectors,
        model._dual_coef_.shape == (n_classes - 1, vectors),
        model._intercept_.shape == (n_classes * (n_classes - 1) // 2,),
    ]


def _check_tree(tree: Any, n_columns: int, n_classes: int) -> bool:
    """Whether every path from the root ends, in columns and classes that exist."""
    count = tree.node_count
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    node = np.arange(count)
    # A child has a larger number than its parent, so that no path returns.
    return bool(
        tree.n_features == n_columns
        and tree.value.shape == (count, 1, n_classes)
        and count > 0
        and np.array_equal(inner, right != -1)
        and np.all((left[inner] > node[inner]) & (left[inner] < count))
        and np.all((right[inner] > node[inner]) & (right[inner] < count))
        and np.all((feature[inner] >= 0) & (feature[inner] < n_columns))
    )
