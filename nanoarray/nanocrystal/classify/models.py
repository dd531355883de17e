"""Kinds of classifier, what can be tuned in each, and the search for the best by Bayes' rule."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["svm", "linear svm", "random forest", "nearest neighbours", "logistic regression"]
Settings = dict[str, float | int | str]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

KINDS: Final[tuple[Kind, ...]] = (
    "svm",
    "linear svm",
    "random forest",
    "nearest neighbours",
    "logistic regression",
)
#: Tried first, so that every kind has been seen before the search turns to the best.
DEFAULTS: Final[dict[Kind, Settings]] = {
    "svm": {"C": 10.0, "gamma": 0.1},
    "linear svm": {"C": 1.0},
    "random forest": {"max_depth": 12, "min_samples_leaf": 1, "max_features": 0.4},
    "nearest neighbours": {"n_neighbors": 9, "weights": "distance"},
    "logistic regression": {"C": 10.0},
}
#: Rows that the search sees, and folds of each trial.
TUNE_ROWS: Final = 2000
TUNE_FOLDS: Final = 4
_TREES: Final = 100


@dataclass(frozen=True)
class Trial:
    """One trial of the search: accuracy is the mean over the folds of the trial."""

    kind: Kind
    settings: Settings
    accuracy: float


def build(kind: Kind, settings: Settings, *, seed: int) -> Any:
    """Untrained scikit-learn pipeline: standardization, then the classifier."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if kind == "svm":
        estimator = SVC(kernel="rbf", **settings)
    elif kind == "linear svm":
        estimator = SVC(kernel="linear", **settings)
    elif kind == "random forest":
        estimator = RandomForestClassifier(_TREES, random_state=seed, n_jobs=1, **settings)
    elif kind == "nearest neighbours":
        # A tree of neighbours would be one more thing to check when a saved model is read.
        estimator = KNeighborsClassifier(algorithm="brute", **settings)
    else:
        estimator = LogisticRegression(max_iter=2000, **settings)
    return Pipeline([("scale", StandardScaler()), ("classify", estimator)])


def train(kind: Kind, settings: Settings, rows: Floats, codes: Codes, *, seed: int) -> Any:
    """Trained pipeline; what it predicts is codes."""
    from sklearn.exceptions import ConvergenceWarning

    settings = _fitting(kind, settings, codes.size)
    with warnings.catch_warnings():
        # Weak regularization on separable classes has no optimum; where it stops does for voting.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return build(kind, settings, seed=seed).fit(rows, codes)


def accuracy_of_fold(
    kind: Kind,
    settings: Settings,
    rows: Floats,
    codes: Codes,
    fold: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    *,
    seed: int,
) -> float:
    """Share of the second rows of a fold classified rightly by a model of the first."""
    fitted, held = fold
    present = np.unique(codes[fitted])
    if present.size == 1:
        return float(np.mean(codes[held] == present[0]))
    model = train(kind, settings, rows[fitted], codes[fitted], seed=seed)
    return float(np.mean(model.predict(rows[held]) == codes[held]))


def search(
    rows: Floats, codes: Codes, *, kinds: tuple[Kind, ...], n_trials: int, seed: int
) -> tuple[Trial, ...]:
    """Tune kind and settings by Bayesian optimization (tree-structured Parzen estimators).

    Parameters
    ----------
    rows
        (n, c) finite. At most 2,000 of them, the same share of each class, are used.
    codes
        (n,) class 0...; every class at least twice.
    kinds
        Kinds of classifier to choose from.
    n_trials
        Number of trials, the defaults of every kind first.
    seed
        Seed of everything random.

    Returns
    -------
    trials
        Best first; of equals the earliest.
    """
    import optuna
    from sklearn.model_selection import StratifiedKFold

    rows, codes = stratified_sample(rows, codes, TUNE_ROWS, seed=seed)
    n_folds = max(2, min(TUNE_FOLDS, int(np.bincount(codes).min())))
    folds = list(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(rows, codes))
    done: list[Trial] = []

    def objective(trial: Any) -> float:
        kind, settings = _suggest(trial, kinds)
        accuracy = float(
            np.mean([accuracy_of_fold(kind, settings, rows, codes, f, seed=seed) for f in folds])
        )
        done.append(Trial(kind, settings, accuracy))
        return accuracy

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)
        )
        for kind in kinds:
            study.enqueue_trial(
                {"kind": kind, **{f"{kind}: {k}": v for k, v in DEFAULTS[kind].items()}}
            )
        study.optimize(objective, n_trials=max(n_trials, len(kinds)))
    finally:
        optuna.logging.set_verbosity(before)
    return tuple(sorted(done, key=lambda trial: -trial.accuracy))


def stratified_sample(rows: Floats, codes: Codes, limit: int, *, seed: int) -> tuple[Floats, Codes]:
    """At most about `limit` rows: the same share of every class, at least two of each."""
    if codes.size <= limit:
        return rows, codes
    rng = np.random.default_rng(seed)
    chosen = []
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        count = max(2, round(members.size * limit / codes.size))
        chosen.append(rng.choice(members, min(count, members.size), replace=False))
    index = np.sort(np.concatenate(chosen))
    return rows[index], codes[index]


def _suggest(trial: Any, kinds: tuple[Kind, ...]) -> tuple[Kind, Settings]:
    kind: Kind = trial.suggest_categorical("kind", list(kinds))

    def number(name: str, low: float, high: float) -> float:
        return float(trial.suggest_float(f"{kind}: {name}", low, high, log=True))

    def count(name: str, low: int, high: int) -> int:
        return int(trial.suggest_int(f"{kind}: {name}", low, high))

    if kind == "svm":
        return kind, {"C": number("C", 1e-2, 1e3), "gamma": number("gamma", 1e-4, 1e1)}
    if kind == "random forest":
        return kind, {
            "max_depth": count("max_depth", 2, 20),
            "min_samples_leaf": count("min_samples_leaf", 1, 10),
            "max_features": number("max_features", 0.1, 1.0),
        }
    if kind == "nearest neighbours":
        weights = str(trial.suggest_categorical(f"{kind}: weights", ["uniform", "distance"]))
        return kind, {"n_neighbors": count("n_neighbors", 1, 40), "weights": weights}
    return kind, {"C": number("C", 1e-3, 1e2)}


def _fitting(kind: Kind, settings: Settings, n_rows: int) -> Settings:
    """Settings that so few rows allow."""
    if kind == "nearest neighbours":
        return {**settings, "n_neighbors": min(int(settings["n_neighbors"]), n_rows)}
    return settings
