"""Shape groups of the crystals of a table: dataset, method and number chosen by stated rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.nanocrystal.groups.columns import (
    DATASETS,
    FEATURES,
    SHAPE_PARAMETERS,
    Dataset,
    Standardized,
    Table,
    dataset_columns,
    explained_variance,
    standardize,
)
from nanoarray.nanocrystal.groups.compare import (
    Candidate,
    Sample,
    compare_methods,
    count_nested,
    divide,
    take_sample,
)
from nanoarray.nanocrystal.groups.methods import (
    METHODS,
    Linkage,
    Method,
    Parts,
    fit_k_means,
    fit_mixture,
)
from nanoarray.nanocrystal.groups.model import Model, numbered_groups
from nanoarray.nanocrystal.groups.null import SingleGroupTest, single_group_test
from nanoarray.nanocrystal.groups.quality import group_cophenet

Floats = npt.NDArray[np.float64]

#: Below this many crystals groups are not looked for.
MIN_CRYSTALS: Final = 10


@dataclass(frozen=True)
class GroupFit:
    """Groups of the crystals of a table, and how they were found.

    Attributes
    ----------
    groups
        (n,) int32, 1.. by size, the largest first; -1 where a value is missing.
    model
        For `predict_groups`.
    n_groups
        How many.
    comparison
        Every method on every dataset that the table has the columns of.
    numbers
        (g,) numbers of groups that were tried.
    silhouettes
        By dataset, (methods, g) mean silhouettes in the order of `METHODS`.
    tests
        By dataset, whether there is more than one group at all.
    explained_variance
        (c,) share of the variance of each principal component of the chosen dataset.
    tree
        (m - 1, 4) linkage matrix of the chosen dataset, of at most 3,000 crystals.
    tree_rows
        (m,) row of the table that each leaf of the tree is.
    left_out
        Crystals without a group.
    notes
        What was dropped, left out or decided, in words.
    """

    groups: npt.NDArray[np.int32]
    model: Model
    n_groups: int
    comparison: tuple[Candidate, ...]
    numbers: npt.NDArray[np.int64]
    silhouettes: dict[Dataset, Floats]
    tests: dict[Dataset, SingleGroupTest]
    explained_variance: Floats
    tree: Floats
    tree_rows: npt.NDArray[np.int64]
    left_out: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Options:
    """What was asked of `fit_groups`."""

    dataset: str
    method: str
    n_groups: int | None
    max_groups: int
    min_share: float
    linkage: Linkage
    nested: bool
    seed: int

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        if self.n_groups is None:
            return np.arange(2, self.max_groups + 1)
        return np.array([self.n_groups])


@dataclass(frozen=True)
class _Trial:
    """One dataset, compared."""

    dataset: Dataset
    data: Standardized
    candidates: list[Candidate]
    silhouettes: Floats
    test: SingleGroupTest


def fit_groups(
    table: Table,
    *,
    dataset: Dataset | Literal["auto"] = "auto",
    method: Method | Literal["auto"] = "auto",
    n_groups: int | None = None,
    max_groups: int = 10,
    min_share: float = 0.02,
    linkage: Linkage = "ward",
    nested: bool = True,
    features: Sequence[str] = FEATURES,
    shape_parameters: Sequence[str] = SHAPE_PARAMETERS,
    seed: int = 0,
) -> GroupFit:
    """Divide crystals into shape groups.

    Parameters
    ----------
    table
        Columns of equal length, one row per crystal: a dictionary of arrays or a data frame.
    dataset
        ``"features"``, ``"shape parameters"``, ``"both"``, or ``"auto"``: with `nested`, the one
        with the most columns; otherwise, of those in which there is more than one group, the one
        whose silhouette exceeds that of one group by most (silhouettes themselves do not compare
        between datasets: they rise with fewer columns).
    method
        ``"k-means"``, ``"gaussian mixture"``, ``"linkage"``, or ``"auto"``: the one with the
        largest cophenetic correlation (`group_cophenet`) in the chosen dataset, all dividing into
        the chosen number of groups, for it rises with the number; of equals, the first.
    n_groups
        How many groups. Default: 1 if `single_group_test` finds no more; else the number of the
        largest silhouette, over all methods if none is chosen.
    max_groups
        Largest number of groups to try.
    min_share
        Share of the crystals below which a part is not a group, but outliers.
    linkage
        ``"ward"`` or ``"average"``; the latter tends to split off outliers.
    nested
        Whether to look for more groups than the silhouette asks for, where one is itself divided
        (`count_nested`): it finds populations that lie close beside a far one, which the silhouette
        alone takes for one group. Mean sizes that differ between samples by more than twice their
        spread are groups of their own, with or without it.
    features, shape_parameters
        Columns of the datasets.
    seed
        Seed of everything random. The order of the rows has no influence.

    Returns
    -------
    fit
        Groups, model and comparison. Of fewer than 10 crystals with all values, one group; of
        none, none.

    Raises
    ------
    InputError
        A column is missing, an option is unknown, or there are fewer different crystals than
        groups.

    Notes
    -----
    With more than 3,000 crystals, silhouettes, cophenetic correlations and trees are those of a
    seeded sample of 3,000, and linkage gives every crystal the group of the nearest of them;
    k-means and mixture are fitted to all in the end. Memory grows with the number of crystals
    times columns only.
    """
    from threadpoolctl import threadpool_limits

    _check(dataset, method, linkage, n_groups, max_groups, min_share)
    options = _Options(dataset, method, n_groups, max_groups, min_share, linkage, nested, seed)
    # The number of threads changes the order of sums, and with it the last digits.
    with threadpool_limits(1):
        return _fit(table, _available(table, dataset, features, shape_parameters), options)


def _check(
    dataset: str,
    method: str,
    linkage: str,
    n_groups: int | None,
    max_groups: int,
    min_share: float,
) -> None:
    for name, value, known in (
        ("dataset", dataset, ("auto", *DATASETS)),
        ("method", method, ("auto", *METHODS)),
        ("linkage", linkage, ("ward", "average")),
    ):
        if value not in known:
            raise InputError(f"{name} is {value!r}: expected one of {', '.join(known)}")
    if n_groups is not None and n_groups < 1:
        raise InputError(f"n_groups is {n_groups}: expected at least 1")
    if max_groups < 2:
        raise InputError(f"max_groups is {max_groups}: expected at least 2")
    if not 0.0 <= min_share < 0.5:
        raise InputError(f"min_share is {min_share}: expected at least 0 and below 0.5")


def _fit(table: Table, columns: dict[Dataset, tuple[str, ...]], options: _Options) -> GroupFit:
    trials = {
        name: _try(name, standardize(table, names), options) for name, names in columns.items()
    }
    chosen = trials[_choose_dataset(trials, options)]
    notes = list(chosen.data.notes)
    if missing := [name for name in DATASETS if name not in trials]:
        notes.append(f"not compared, for want of columns: {', '.join(missing)}")
    sample = None
    if chosen.data.rows.shape[0] > 1:
        sample = take_sample(chosen.data, linkage=options.linkage, seed=options.seed)
    method, count, said = _choose_number(chosen, sample, options)
    parts = _final_parts(method, chosen.data, sample, count, options.seed)
    groups, model = numbered_groups(
        chosen.data, method, parts, dataset=chosen.dataset, linkage=options.linkage
    )
    return GroupFit(
        groups=groups,
        model=model,
        n_groups=int(model["group_size"].size),
        comparison=tuple(c for trial in trials.values() for c in trial.candidates),
        numbers=options.numbers,
        silhouettes={name: trial.silhouettes for name, trial in trials.items()},
        tests={name: trial.test for name, trial in trials.items()},
        explained_variance=explained_variance(chosen.data.rows),
        tree=np.empty((0, 4)) if sample is None else sample.tree,
        tree_rows=chosen.data.kept if sample is None else chosen.data.kept[sample.index],
        left_out=int(np.count_nonzero(groups < 0)),
        notes=(*notes, *said),
    )


def _available(
    table: Table, dataset: str, features: Sequence[str], shape_parameters: Sequence[str]
) -> dict[Dataset, tuple[str, ...]]:
    """Columns of the datasets that the table has; of the one asked for in any case."""
    found = {}
    for name in DATASETS:
        columns = dataset_columns(name, features=features, shape_parameters=shape_parameters)
        if name == dataset or all(column in table for column in columns):
            found[name] = columns
    if not found:
        raise InputError(
            "the table of crystals has the columns of no dataset: expected at least"
            f" {', '.join(features)}, or {', '.join(shape_parameters)}"
        )
    return found


def _try(name: Dataset, data: Standardized, options: _Options) -> _Trial:
    if data.rows.shape[0] < MIN_CRYSTALS:
        unknown = np.full((len(METHODS), options.numbers.size), np.nan)
        return _Trial(name, data, [], unknown, SingleGroupTest(0.0, 0.0, 0.0, 1.0))
    test = single_group_test(
        data.rows,
        max_groups=options.max_groups,
        min_share=options.min_share,
        seed=options.seed,
        keep=_kept_columns(data),
    )
    candidates, silhouettes = compare_methods(
        take_sample(data, linkage=options.linkage, seed=options.seed),
        name,
        numbers=options.numbers,
        # A number that was asked for is kept to, whatever the groups.
        min_share=options.min_share if options.n_groups is None else 0.0,
        seed=options.seed,
    )
    return _Trial(name, data, candidates, silhouettes, test)


def _choose_dataset(trials: dict[Dataset, _Trial], options: _Options) -> Dataset:
    for name in trials:
        if name == options.dataset:
            return name
    if not options.nested:
        divided = [name for name in trials if trials[name].test.divided]
        if divided:
            return max(divided, key=lambda name: trials[name].test.excess)
    # What is divided again need not stand out at first: then all that is known serves best. And
    # where only the parameters of shapes are divided, a few crystals are mistaken for other shapes.
    return max(trials, key=lambda name: len(trials[name].data.columns))


def _choose_number(
    trial: _Trial, sample: Sample | None, options: _Options
) -> tuple[str, int, list[str]]:
    """Method ("single" for one group, "none" for none), number of groups, and notes."""
    usable = trial.data.rows.shape[0]
    if usable == 0:
        return "none", 0, ["no crystal has all values: no groups"]
    if options.n_groups is not None:
        return _method_asked(trial, sample, options), options.n_groups, []
    if sample is None or usable < MIN_CRYSTALS:
        return "single", 1, [f"only {usable} crystals with all values: one group"]
    if not trial.test.divided:
        return "single", 1, ["one group: no division is better than those of a single population"]
    candidates = _of_method(trial, options.method)
    if not candidates:
        share = f"{options.min_share:.1%}"
        return "single", 1, [f"one group: no division by {options.method} has groups of {share}"]
    count = max(candidates, key=lambda candidate: candidate.silhouette).n_groups
    nested = (
        1
        if not options.nested
        else count_nested(
            sample.rows,
            keep=_kept_columns(trial.data),
            max_groups=options.max_groups,
            min_rows=options.min_share * sample.rows.shape[0],
            seed=options.seed,
        )
    )
    said = []
    if nested > count:
        said = [f"{count} groups by silhouette, {nested} as some are divided in themselves"]
        count = nested
    return _best_method(sample, options.method, count, options.seed), count, said


def _kept_columns(data: Standardized) -> npt.NDArray[np.bool_]:
    return np.array(data.columns) == "d"


def _method_asked(trial: _Trial, sample: Sample | None, options: _Options) -> str:
    """Method for the number of groups that was asked for."""
    distinct = 1 if sample is None else np.unique(trial.data.rows, axis=0).shape[0]
    count = options.n_groups or 1
    if count > distinct:
        raise InputError(f"{count} groups asked of {distinct} different crystals")
    if count == 1 or sample is None:
        return "single"
    return _best_method(sample, options.method, count, options.seed)


def _best_method(sample: Sample, method: str, count: int, seed: int) -> str:
    """The method asked for, or that whose groups have the largest cophenetic correlation."""
    if method != "auto":
        return method
    distinct = np.unique(sample.rows, axis=0).shape[0]
    correlation = {}
    for name in METHODS:
        labels = divide(sample, name, min(count, distinct), seed=seed)
        found = group_cophenet(sample.rows, labels, sample.distances)
        correlation[name] = found if np.isfinite(found) else -1.0
    return max(correlation, key=lambda name: correlation[name])


def _of_method(trial: _Trial, method: str) -> list[Candidate]:
    return [c for c in trial.candidates if method in ("auto", c.method) and c.n_groups > 1]


def _final_parts(
    method: str, data: Standardized, sample: Sample | None, count: int, seed: int
) -> Parts:
    if method == "k-means":
        return fit_k_means(data.rows, count, seed=seed)
    if method == "gaussian mixture":
        return fit_mixture(data.rows, count, seed=seed)
    if method == "linkage" and sample is not None:
        group = divide(sample, "linkage", count, seed=seed)
        return {"prototypes": sample.rows, "prototype_group": group}
    return {}
