"""The parts of the page about crystals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nanoarray.report.nanocrystals import tables
from nanoarray.report.nanocrystals.classifier import plot_accuracies, plot_confusion
from nanoarray.report.nanocrystals.conditions import (
    plot_composition,
    plot_condition_intervals,
    plot_crystal_sizes,
    plot_subsampling,
)
from nanoarray.report.nanocrystals.contents import (
    CrystalContents,
    numbers_of,
    text_of,
    texts_of,
)
from nanoarray.report.nanocrystals.crops import ChosenCrops, choose_crops
from nanoarray.report.nanocrystals.features import (
    plot_feature_histograms,
    plot_group_features,
    plot_parallel_coordinates,
)
from nanoarray.report.nanocrystals.montage import plot_group_montage, plot_population_montage
from nanoarray.report.nanocrystals.shape_quality import (
    plot_axes_quantiles,
    plot_learning_curve,
    plot_overlaps,
    plot_parameter_errors,
    plot_shape_examples,
)
from nanoarray.report.nanocrystals.shape_space import ShapePoints, plot_shape_space, shape_points
from nanoarray.report.nanocrystals.trees import (
    plot_dendrogram,
    plot_explained_variance,
    plot_silhouettes,
)
from nanoarray.report.panels import Panel, image_panel, svg_panel
from nanoarray.report.text_tables import TextTable, number

#: Conditions that a figure of distributions has panels for; the tables have all of them.
MAX_PANELS = 24


@dataclass(frozen=True)
class Part:
    """A part of a section: pictures with a heading and a line of text before them."""

    title: str
    text: str
    panels: tuple[Panel, ...] = ()
    tables: tuple[TextTable, ...] = ()


@dataclass(frozen=True)
class CrystalSections:
    """What the page says about crystals, section by section; ``space`` is the rotating figure."""

    sizes: list[Part] = field(default_factory=list)
    groups: list[Part] = field(default_factory=list)
    shapes: list[Part] = field(default_factory=list)
    classes: list[Part] = field(default_factory=list)
    warnings: list[tuple[str, list[str]]] = field(default_factory=list)
    objects: TextTable | None = None
    notes: tuple[str, ...] = ()
    space: ShapePoints | None = None


def crystal_sections(
    crystals: CrystalContents,
    images: pd.DataFrame,
    *,
    training: Mapping[str, Any] | None = None,
) -> CrystalSections:
    """Everything about the crystals of a store.

    Parameters
    ----------
    crystals
        Its tables.
    images
        One row per image with its tags, ``ok`` and ``usable``.
    training
        What the file of a training of the shape network says, if its diagnostics are to be shown.
    """
    crops = choose_crops(crystals, images)
    space = None
    if {"p", "axis_ratio", "d"} <= set(crystals.rows):
        part = crystals.rows[crystals.whole]
        group = crystals.group[crystals.whole.to_numpy(bool)]
        space = shape_points(part["p"], part["axis_ratio"], part["d"], group)
    return CrystalSections(
        sizes=_sizes(crystals, images),
        groups=_groups(crystals, crops),
        shapes=_shapes(crystals, crops, space, training or {}),
        classes=_classes(crystals),
        warnings=tables.size_warnings(crystals),
        objects=tables.object_table(crystals, images),
        notes=crystals.notes,
        space=space if space is not None and len(space.place) else None,
    )


def crystal_facts(crystals: CrystalContents) -> list[tuple[str, str]]:
    """The numbers at the top: value and what it counts."""
    accepted, whole = int(crystals.accepted.sum()), int(crystals.whole.sum())
    facts = [(number(accepted), "crystals found")]
    rejected = len(crystals.rows) - accepted
    facts.append((number(rejected), "objects rejected"))
    facts.append((number(accepted - whole), "crystals cut by the edge"))
    frame = crystals.statistics
    if frame is not None and "mean_size" in frame:
        means = frame["mean_size"].dropna()
        if len(means):
            low, high = number(float(means.min())), number(float(means.max()))
            what = f"mean {crystals.size.replace('_', ' ')} by condition"
            facts.append((f"{low if low == high else f'{low} to {high}'} nm", what))
    if crystals.group_count:
        facts.append((number(crystals.group_count), "shape groups"))
    return facts


def _sizes(crystals: CrystalContents, images: pd.DataFrame) -> list[Part]:
    parts = []
    edge = crystals.parameters.get("edge", "weight")
    by, frame = list(crystals.by), crystals.statistics
    panels = []
    if frame is not None and crystals.measured:
        common: dict[str, Any] = {"size": crystals.size, "edge": edge}
        if by and len(frame) > 1:
            figure = plot_crystal_sizes(crystals.rows, images, **common)
            panels.append(svg_panel(figure, "Distribution of the sizes of all crystals", "all"))
        if len(frame) <= MAX_PANELS:
            figure = plot_crystal_sizes(crystals.rows, images, by=by, statistics=frame, **common)
            alt = "Distributions of the crystal sizes of each condition"
            panels.append(svg_panel(figure, alt, "by condition" if by else "all images"))
            alt = "Mean size and relative spread of each condition, with intervals"
            figure = plot_condition_intervals(frame, by=by)
            panels.append(svg_panel(figure, alt, "means and relative spreads with intervals"))
    text = (
        "Share of the crystals (filled) and of their volume (outline) by size; dashed: the "
        "log-normal distribution with the same mean and standard deviation of the logarithm. "
        "Crystals that the edge of the field cuts are not measured: their size is not known. "
        "Intervals come from resampling whole samples or images."
    )
    summary = tables.summary_tables(crystals)
    if panels or summary:
        parts.append(Part("Size of the ensemble", text, tuple(panels), tuple(summary)))
    panels = []
    composition = crystals.tables.get("composition")
    if composition is not None and {"shape_group", "share", "condition"} <= set(composition):
        figure = plot_composition(composition, by=by)
        alt = "Share of every shape group by condition, with intervals"
        panels.append(svg_panel(figure, alt, "shares of the shape groups with intervals"))
    compositions = tables.composition_tables(crystals)
    if panels or compositions:
        parts.append(Part("Shape groups by condition", "", tuple(panels), tuple(compositions)))
    panels = []
    curve = crystals.tables.get("subsample")
    if curve is not None and {"drawn", "relative_half_width"} <= set(curve):
        figure = plot_subsampling(curve, by=by, precision=crystals.tables.get("precision"))
        alt = "Half width of the interval of the mean size against the number of crystals"
        caption = "solid: as the crystals come, in images or samples; dashed: if independent"
        panels.append(svg_panel(figure, alt, caption))
    further = tables.further_tables(crystals)
    if panels or further:
        parts.append(Part("Comparisons and precision", "", tuple(panels), tuple(further)))
    return parts


def _groups(crystals: CrystalContents, crops: ChosenCrops) -> list[Part]:
    if crystals.group_count == 0:
        return []
    whole = crystals.whole.to_numpy(bool)
    rows, group = crystals.rows[whole], crystals.group[whole]
    searched = number(crops.searched)
    examples = image_panel(
        plot_group_montage(crops.sample.take(crops.exemplary)),
        "Exemplary crystals of every shape group, one row each, with a scale bar",
        "the crystals nearest to the median of their group",
        width_px=1100,
    )
    population = image_panel(
        plot_population_montage(crops.sample.take(crops.population)),
        "Crystals of the population at one scale, ordered by shape group and size",
        f"{number(crops.population.size)} crystals drawn at random, at one scale",
        width_px=1000,
    )
    pictures = Part(
        "The shape groups",
        f"Chosen among {searched} whole crystals of a few parts of the table. Groups are numbered "
        "by size, the largest first; outlines and tints have the colour of the group.",
        (examples, population),
    )
    found = [f for f in (tables.feature_table(crystals),) if f is not None]
    features = Part(
        "Features",
        "Points: means, bars: standard deviations; histograms with the normal curve of each group.",
        (
            svg_panel(
                plot_group_features(rows, group, features=crystals.features),
                "Mean and standard deviation of every feature in every shape group",
                "mean and standard deviation of every feature",
            ),
            svg_panel(
                plot_feature_histograms(rows, group, features=crystals.common_features),
                "Histograms of features by shape group, with normal curves",
                "histograms with normal curves; 0.2 % beyond either end are not shown",
            ),
            svg_panel(
                plot_parallel_coordinates(rows, group, columns=crystals.common_features),
                "Parallel coordinates of the shape groups",
                "parallel coordinates: medians (thick), quartiles (band), single crystals (thin)",
            ),
        ),
        tuple(found),
    )
    return [pictures, features, _found_how(crystals)]


def _found_how(crystals: CrystalContents) -> Part:
    """Silhouettes, dendrogram and principal components, and the comparison of methods."""
    model = crystals.model
    panels = []
    names, methods = texts_of(model, "dataset"), texts_of(model, "method")
    if "silhouette" in model and names and methods:
        dataset, method = text_of(model, "model_dataset"), text_of(model, "model_method")
        expected = numbers_of(model, "test_expected")
        figure = plot_silhouettes(
            numbers_of(model, "number"),
            numbers_of(model, "silhouette"),
            datasets=names,
            methods=methods,
            expected=expected if expected.size == len(names) else None,
            chosen=(dataset, method, crystals.group_count),
        )
        caption = "mean silhouette by number of groups; ring: chosen"
        panels.append(svg_panel(figure, "Silhouette by number of groups", caption))
    tree, leaves = numbers_of(model, "tree"), numbers_of(model, "tree_row").astype(np.int64)
    if tree.ndim == 2 and len(tree) and leaves.size == len(tree) + 1:
        known = np.clip(leaves, 0, len(crystals.rows) - 1)
        figure = plot_dendrogram(tree, leaf_group=crystals.group[known])
        caption = f"dendrogram of {number(leaves.size)} crystals, by shape group"
        panels.append(svg_panel(figure, "Dendrogram of the crystals", caption))
    if "explained_variance" in model:
        figure = plot_explained_variance(numbers_of(model, "explained_variance"))
        caption = "principal components of the chosen dataset"
        panels.append(svg_panel(figure, "Pareto chart of principal components", caption))
    found = [tables.method_table(crystals), tables.division_tests(crystals)]
    notes = texts_of(model, "note")
    left_out = int(model["left_out_count"]) if "left_out_count" in model else 0
    text = " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes if note)
    if left_out:
        text += f" {number(left_out)} rows are in no group: rejected, cut by the edge, or unknown."
    return Part(
        "How the groups were found", text, tuple(panels), tuple(t for t in found if t is not None)
    )


def _shapes(
    crystals: CrystalContents,
    crops: ChosenCrops,
    space: ShapePoints | None,
    training: Mapping[str, Any],
) -> list[Part]:
    parts = []
    if space is not None and len(space.place):
        picture = svg_panel(
            plot_shape_space(space),
            "Crystals in the space of p, axis ratio and d, by shape group",
            "p and axis ratio on logarithmic axes; d, a whole number, is spread a little",
        )
        parts.append(Part("Shape space", "", (picture,)))
    rows = crystals.rows
    if "jaccard" in rows:
        part = rows[crystals.whole]
        before = part.get("jaccard_network")
        overlaps = svg_panel(
            plot_overlaps(part["jaccard"], before=before),
            "Histogram of the overlap of crystals and their shapes",
            "overlap of every whole crystal with the shape of its parameters",
        )
        sample = crops.sample.take(crops.examples)
        chosen = rows.iloc[crops.rows[crops.examples]]
        names = [n for n in ("p", "d", "axis_ratio", "phase", "jaccard") if n in chosen]
        figure = plot_shape_examples(sample, {n: chosen[n].to_numpy(np.float64) for n in names})
        examples = image_panel(
            figure,
            "Crystals with the outlines of their re-simulated shapes",
            "from the smallest to the largest overlap J; L is the axis ratio",
            width_px=round(112 * figure.get_figwidth()),
        )
        text = "Each crystal is drawn again from its parameters (equation 1); the Jaccard index is "
        text += "the overlap of the two."
        parts.append(Part("Do the shapes fit?", text, (overlaps, examples)))
    panels = []
    epochs = training.get("epochs", [])
    if epochs:
        figure = plot_learning_curve(epochs)
        panels.append(svg_panel(figure, "Learning curve of the shape network", "learning curve"))
    panels += _diagnostics(training.get("diagnostics", {}))
    if panels:
        text = "Of the network that gives the parameters, on simulated crystals."
        parts.append(Part("Training of the shape network", text, tuple(panels)))
    return parts


def _diagnostics(values: Mapping[str, Any]) -> list[Panel]:
    """Q-Q plot and errors from ``true`` and ``predicted`` parameters of held-out shapes."""
    true, predicted = values.get("true", {}), values.get("predicted", {})
    if not {"p", "axis_ratio", "d"} <= set(true) & set(predicted):
        return []
    panels = [
        svg_panel(
            plot_axes_quantiles(true["d"], predicted["d"]),
            "Quantiles of the predicted against those of the true number of axes",
            "Q-Q plot of d",
        ),
        svg_panel(
            plot_parameter_errors(true, predicted, jaccard=values.get("jaccard")),
            "Errors of the shape parameters against their true values",
            "error against parameter",
        ),
    ]
    return panels


def _classes(crystals: CrystalContents) -> list[Part]:
    ds = crystals.classes
    if "confusion" not in ds:
        return []
    kind = text_of(ds, "kind") or "cluster reproducibility"
    names = texts_of(ds, "class_name") or None
    confusion = numbers_of(ds, "confusion")
    panels = [
        svg_panel(
            plot_confusion(confusion, names, kind=kind),
            "Confusion matrix of the held-out crystals",
            f"held-out crystals: {kind}",
        )
    ]
    chance = float(ds["chance"]) if "chance" in ds else math.nan
    for prefix, name, caption in (
        ("evaluation", "evaluation_name", "accuracy by what was held out"),
        ("ablation", "ablation_features", "accuracy by what the classifier sees"),
    ):
        values, labels = numbers_of(ds, f"{prefix}_accuracy"), texts_of(ds, name)
        if values.size and values.size == len(labels):
            std = numbers_of(ds, f"{prefix}_accuracy_std")
            figure = plot_accuracies(
                labels, values, std=std if std.size == values.size else None, chance=chance
            )
            panels.append(svg_panel(figure, f"Classifier: {caption}", caption))
    notes = _sentences(texts_of(ds, "note"))
    if "human" not in kind:
        notes = (
            "This is the reproducibility of clusters that were made from the same columns, not "
            "accuracy against a truth. " + notes
        )
    return [Part(f"Classifier: {kind}", notes, tuple(panels))]


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(f"{t[:1].upper()}{t[1:].rstrip('.')}." for t in texts if t)
