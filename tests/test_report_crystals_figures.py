"""Figures of crystals: what they show is checked against what was put in."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from report_crystals_material import crop_sample, crystals, field, fitted, image_table
from scipy.cluster.hierarchy import dendrogram, linkage

from nanoarray import report
from nanoarray.errors import InputError
from nanoarray.nanocrystal.compare.composition import group_composition
from nanoarray.report import style
from nanoarray.report.nanocrystals import groups as own
from nanoarray.report.nanocrystals.montage import CropSample, plot_group_montage
from nanoarray.report.nanocrystals.overlay import UNGROUPED, outline_segments
from nanoarray.report.nanocrystals.shape_space import ShapePoints

FEATURES = ("equivalent_diameter", "circularity")


def words(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def drawn(figure: Figure) -> np.ndarray:
    """RGB of a figure as the page would hold it; drawing must not warn."""
    content, _ = style.image_bytes(figure, width_px=500, quality=100)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


# --- groups -----------------------------------------------------------------------------------


def test_group_ids_take_any_mark_of_none() -> None:
    ids, count = own.group_ids([1.0, np.nan, -1, 0, 3])
    assert ids.tolist() == [1, 0, 0, 0, 3]
    assert count == 3
    with pytest.raises(InputError, match="one per crystal"):
        own.group_ids(np.ones((2, 2)))


@pytest.mark.parametrize("count", [1, 7, 8, 30])
def test_every_group_has_a_colour_of_its_own(count: int) -> None:
    assert len(set(own.group_colours(count))) == count


def test_a_balanced_sample_keeps_small_groups_whole() -> None:
    ids = np.repeat([1, 2, 3], [1000, 500, 7])
    rows = own.balanced_sample(ids, 107, seed=0)
    assert np.bincount(ids[rows]).tolist() == [0, 50, 50, 7]
    assert np.array_equal(rows, own.balanced_sample(ids, 107, seed=0))
    assert own.balanced_sample(ids[:0], 10, seed=0).size == 0


# --- features ---------------------------------------------------------------------------------


def test_feature_means_stand_where_they_are() -> None:
    frame = crystals()
    figure = report.plot_group_features(frame, frame["shape_group"], features=FEATURES)
    ax = figure.axes[0]
    for k, (bars, mean) in enumerate(
        zip(
            ax.containers,
            frame[frame["shape_group"] > 0].groupby("shape_group")["equivalent_diameter"],
            strict=True,
        )
    ):
        x, y = bars.lines[0].get_data()
        assert x[0] == k + 1
        assert y[0] == pytest.approx(mean[1].mean())
        ends = bars.lines[2][0].get_segments()[0][:, 1]
        assert ends[1] - ends[0] == pytest.approx(2 * mean[1].std())


def test_histograms_count_every_crystal_of_a_group() -> None:
    frame = crystals()
    figure = report.plot_feature_histograms(frame, frame["shape_group"], features=FEATURES)
    counts = [patch.get_data().values.sum() for patch in figure.axes[0].patches]
    known = frame[frame["shape_group"] > 0]
    assert sum(counts) >= len(known) - 2  # 0.2 % beyond either end
    # A normal curve has the area of its histogram.
    patch, line = figure.axes[0].patches[0], figure.axes[0].lines[0]
    edges = patch.get_data().edges
    area = np.trapezoid(line.get_ydata(), line.get_xdata())
    assert area == pytest.approx(counts[0] * (edges[1] - edges[0]), rel=0.15)


def test_parallel_coordinates_are_standardized_medians() -> None:
    frame = crystals()
    chosen = frame["shape_group"] > 0
    figure = report.plot_parallel_coordinates(frame, frame["shape_group"], columns=FEATURES)
    logs = np.log(frame["equivalent_diameter"].where(chosen))
    score = (logs - logs.mean()) / logs.std()
    medians = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    expected = [score[frame["shape_group"] == k].median() for k in (1, 2, 3)]
    np.testing.assert_allclose(medians, expected)


@pytest.mark.parametrize("case", ["none", "one", "single group", "nan", "no groups"])
def test_feature_figures_of_hardly_anything(case: str) -> None:
    frame = crystals()[["equivalent_diameter", "circularity", "shape_group"]].copy()
    frame = frame[frame["shape_group"] > 0].reset_index(drop=True)
    if case == "none":
        frame = frame.iloc[:0]
    elif case == "one":
        frame = frame.iloc[:1]
    elif case == "single group":
        frame["shape_group"] = 1
    elif case == "nan":
        frame["equivalent_diameter"] = np.nan
    else:
        frame["shape_group"] = -1
    for plot in (report.plot_group_features, report.plot_feature_histograms):
        drawn(plot(frame, frame["shape_group"], features=FEATURES))
    drawn(report.plot_parallel_coordinates(frame, frame["shape_group"], columns=FEATURES))


def test_a_missing_feature_is_named() -> None:
    frame = crystals()
    with pytest.raises(InputError, match="no column 'sparkle'"):
        report.plot_group_features(frame, frame["shape_group"], features=("sparkle",))
    with pytest.raises(InputError, match="different length"):
        report.plot_group_features(frame, [1, 2], features=FEATURES)


# --- how groups were found --------------------------------------------------------------------


def test_dendrogram_is_that_of_scipy() -> None:
    fit = fitted()
    figure = report.plot_dendrogram(fit.tree, leaf_group=fit.groups[fit.tree_rows], max_branches=9)
    (lines,) = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    heights = sorted({round(float(s[1, 1]), 9) for s in lines.get_segments()})
    truth = dendrogram(fit.tree, p=9, truncate_mode="lastp", no_plot=True)
    assert heights == sorted({round(float(d[1]), 9) for d in truth["dcoord"]})
    strip = [patch for patch in figure.axes[1].patches if patch.get_height() > 0]
    assert sum(p.get_height() for p in strip) == pytest.approx(9)


def test_dendrogram_of_a_tree_as_deep_as_it_has_leaves() -> None:
    points = np.cumsum(1.0 + np.arange(2500.0))[:, np.newaxis]
    drawn(report.plot_dendrogram(linkage(points, "single"), max_branches=2500))


def test_dendrogram_refuses_what_is_no_tree() -> None:
    drawn(report.plot_dendrogram(np.empty((0, 4))))
    drawn(report.plot_dendrogram([[0, 1, 2.0, 2]], leaf_group=[1, 1]))
    with pytest.raises(InputError, match="linkage matrix"):
        report.plot_dendrogram(np.zeros((3, 3)))
    with pytest.raises(InputError, match="one per leaf"):
        report.plot_dendrogram([[0, 1, 2.0, 2]], leaf_group=[1, 1, 2])


def test_pareto_bars_and_their_sum() -> None:
    figure = report.plot_explained_variance([0.6, 0.3, 0.1])
    assert [p.get_height() for p in figure.axes[0].patches] == pytest.approx([60, 30, 10])
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([60, 90, 100])
    assert "95 % with 3" in words(figure)
    drawn(report.plot_explained_variance([]))


def test_silhouettes_mark_what_was_chosen() -> None:
    values = np.array([[[0.3, 0.5], [0.2, np.nan]], [[np.nan, np.nan], [np.nan, np.nan]]])
    figure = report.plot_silhouettes(
        [2, 3], values, datasets=["both", "features"], methods=["k-means", "linkage"],
        expected=[0.25, np.nan], chosen=("both", "k-means", 3),
    )  # fmt: skip
    assert len(figure.axes) == 1  # a dataset without any is not shown
    ring = figure.axes[0].lines[-1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (3, 0.5)
    drawn(report.plot_silhouettes([2], np.full((1, 1, 1), np.nan), datasets=["a"], methods=["b"]))
    with pytest.raises(InputError, match="silhouettes have shape"):
        report.plot_silhouettes([2, 3], values[:1], datasets=["a", "b"], methods=["c"])


# --- shape space ------------------------------------------------------------------------------


def points() -> ShapePoints:
    frame = crystals()
    part = frame[frame["shape_group"] > 0]
    return report.shape_points(part["p"], part["axis_ratio"], part["d"], part["shape_group"])


def test_shape_points_lie_at_their_ticks() -> None:
    exponent, ratio = np.array([1.0, 2.0, 10.0]), np.array([1.0, 1.5, 3.0])
    found = report.shape_points(exponent, ratio, [2, 4, 6], [1, 2, -1])
    for axis, values in ((0, exponent), (1, ratio)):
        ticks = {float(label): place for place, label in found.ticks[axis][1]}
        for value, place in zip(values, found.place[:, axis], strict=True):
            assert place == pytest.approx(ticks[value])
    assert (np.abs(6 * found.place[:, 2] + 0.5 - [2, 4, 6]) <= 0.23).all()
    assert found.group.tolist() == [1, 2, 0]
    assert found.shown == [1, 2, 0]


def test_encoded_points_come_back() -> None:
    import base64

    found = points()
    words_ = np.frombuffer(base64.b64decode(found.encoded), "<u2").reshape(-1, 4)
    np.testing.assert_allclose(words_[:, :3] / 65535, found.place, atol=1e-4)
    np.testing.assert_array_equal(words_[:, 3], found.group)


def test_shape_space_thins_and_says_so() -> None:
    rng = np.random.default_rng(0)
    many = report.shape_points(
        np.exp(rng.normal(0.5, 1, 9000)), 1 + rng.random(9000), rng.integers(1, 7, 9000),
        np.where(np.arange(9000) < 20, 2, 1),
    )  # fmt: skip
    assert len(many.place) == 3000
    assert (many.group == 2).sum() == 20
    assert any("3\u2009000 of 9\u2009000" in w for w in words(report.plot_shape_space(many)))


def test_unknown_shapes_are_left_out() -> None:
    found = report.shape_points([np.nan, 2.0, 2.0, 0.0], [1.2] * 4, [2, -1, 3, 3], [1, 1, 1, 1])
    assert found.total == 1
    drawn(report.plot_shape_space(found))
    drawn(report.plot_shape_space(report.shape_points([], [], [], [])))


# --- pictures ---------------------------------------------------------------------------------


def test_outlines_enclose_their_crystals() -> None:
    one = field(0)
    chosen = np.zeros(int(one.crystal.max()) + 1, bool)
    chosen[3] = True
    lines = outline_segments(one.crystal, chosen)
    y, x = np.nonzero(one.crystal == 3)
    assert lines[..., 0].min() == x.min() - 0.5
    assert lines[..., 0].max() == x.max() + 0.5
    assert lines[..., 1].min() == y.min() - 0.5
    assert lines[..., 1].max() == y.max() + 0.5
    # The sides of the pixels that face anything else.
    inside = np.pad(one.crystal == 3, 1)
    sides = sum((inside != np.roll(inside, 1, axis)).sum() for axis in (0, 1))
    assert np.abs(lines[:, 1] - lines[:, 0]).sum() == sides


def test_overlay_colours_groups_and_marks_the_rest() -> None:
    one = field(0)
    labels = one.rows["label"]
    group = crystals()["shape_group"][crystals()["image_index"] == 0].tolist()
    cut = labels[one.rows["touches_edge"]]
    reasons = dict(zip(labels[-2:].tolist(), one.reasons, strict=True))
    figure = report.plot_crystals(
        one.pixels, one.crystal, groups=dict(zip(labels.tolist(), group, strict=True)), cut=cut,
        rejected=one.rejected, reasons=reasons, pixel_size_nm=0.5,
    )  # fmt: skip
    shown = {
        style.CATEGORIES[0], style.CATEGORIES[1], style.CATEGORIES[2], UNGROUPED,
    }  # fmt: skip
    from matplotlib.colors import to_hex

    found = {
        to_hex(c.get_colors()[0])
        for c in figure.axes[0].collections
        if isinstance(c, LineCollection)
    }
    assert shown <= found
    assert set(one.reasons) <= set(words(figure))
    assert "20 nm" in words(figure)
    assert "50 px" in words(report.plot_crystals(one.pixels, one.crystal))
    drawn(figure)


def test_overlay_of_an_empty_field_and_of_another_image() -> None:
    drawn(report.plot_crystals(np.zeros((40, 50)), np.zeros((40, 50), int)))
    with pytest.raises(InputError, match="same image"):
        report.plot_crystals(np.zeros((40, 50)), np.zeros((30, 50), int))


def test_montage_has_one_physical_scale_per_group() -> None:
    sample = crop_sample()
    figure = plot_group_montage(sample, per_group=4)
    texts = words(figure)
    assert [w for w in texts if w.startswith("group")] == ["group 1", "group 2", "group 3"]
    assert sum(w.endswith(" nm") for w in texts) == 3
    # In a row, a crop pixel of twice the size takes twice the place.
    one = sample.take([0, 0])
    doubled = CropSample(
        one.pixels, one.mask, one.scale_px * [1.0, 2.0], one.pixel_size_nm, one.group
    )
    row = np.asarray(plot_group_montage(doubled, per_group=2).axes[0].images[0].get_array())
    opaque = [(part[..., 3] > 0).any(axis=0).sum() for part in np.split(row, 2, axis=1)]
    assert opaque[1] == pytest.approx(2 * opaque[0], abs=2)


@pytest.mark.parametrize("plot", [report.plot_group_montage, report.plot_population_montage])
def test_montages_without_pixel_size_are_in_pixels(plot) -> None:
    sample = crop_sample()
    unknown = CropSample(
        sample.pixels, sample.mask, sample.scale_px, np.full(len(sample.group), np.nan),
        sample.group,
    )  # fmt: skip
    texts = words(plot(unknown))
    assert any(w.endswith(" px") for w in texts)
    assert not any(w.endswith(" nm") for w in texts)
    drawn(plot(sample.take(np.zeros(0, int))))
    drawn(plot(sample.take([0])))


def test_population_areas_are_to_scale() -> None:
    sample = crop_sample()
    figure = report.plot_population_montage(sample, typical_px=40)
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    area = sample.mask.sum(axis=(1, 2)) * sample.unit_per_crop_px**2
    unit = 2 * math.sqrt(np.median(area) / math.pi) / 40
    assert canvas[..., 3].sum() * unit**2 == pytest.approx(area.sum(), rel=0.03)
    assert {"group 1: 30", "group 2: 17"} & set(words(figure)) or any(
        w == f"group 1: {(sample.group == 1).sum()}" for w in words(figure)
    )


def test_samples_of_unequal_length_are_refused() -> None:
    sample = crop_sample()
    with pytest.raises(InputError, match="one of each per crystal"):
        CropSample(
            sample.pixels[:3], sample.mask, sample.scale_px, sample.pixel_size_nm, sample.group
        )


# --- classifier -------------------------------------------------------------------------------


def test_confusion_says_what_its_accuracy_is() -> None:
    figure = report.plot_confusion([[8, 2], [1, 9]])
    text = " ".join(words(figure))
    assert "cluster reproducibility: 85.0 %" in text
    assert "3 of 20" in text
    human = report.plot_confusion(
        [[8, 2], [1, 9]], ["cube", "long $rod"], kind="accuracy against human labels"
    )
    assert "long $rod" in words(human)
    assert "true class" in words(human)
    drawn(human)
    drawn(report.plot_confusion(np.zeros((0, 0))))
    drawn(report.plot_confusion(np.diag(np.arange(1, 15))))
    with pytest.raises(InputError, match="square"):
        report.plot_confusion(np.zeros((2, 3)))
    with pytest.raises(InputError, match="names of 2 classes"):
        report.plot_confusion([[8, 2], [1, 9]], ["one"])


def test_impossible_splits_are_named() -> None:
    figure = report.plot_accuracies(["by crystal", "by sample"], [0.97, np.nan], chance=0.4)
    assert "97.0" in words(figure)
    assert "not possible" in words(figure)
    drawn(figure)
    drawn(report.plot_accuracies(["by crystal"], [np.nan]))


# --- shapes -----------------------------------------------------------------------------------


def test_true_shapes_lie_on_their_crystals() -> None:
    frame = crystals()
    part = frame[frame["shape_group"] > 0]
    sample = crop_sample().take(np.arange(6))
    shapes = {n: part[n].to_numpy(float)[:6] for n in ("p", "d", "axis_ratio", "phase")}
    figure = report.plot_shape_examples(sample, shapes)
    assert len(figure.axes) == 6
    from matplotlib.path import Path as Outline

    for k, ax in enumerate(figure.axes):
        x, y = ax.lines[0].get_data()
        grid = np.indices(sample.mask[k].shape)[::-1].reshape(2, -1).T
        inside = Outline(np.column_stack([x, y])).contains_points(grid).reshape(64, 64)
        both, either = inside & sample.mask[k], inside | sample.mask[k]
        assert both.sum() / either.sum() > 0.85
    unknown = {n: np.where(np.arange(6) == 0, np.nan, v) for n, v in shapes.items()}
    assert len(report.plot_shape_examples(sample, unknown).axes) == 5
    nothing = {n: np.full(6, np.nan) for n in shapes}
    drawn(report.plot_shape_examples(sample, nothing))


def test_overlap_histogram_leaves_unknown_out() -> None:
    figure = report.plot_overlaps([0.9, 0.95, np.nan], before=[0.85, 0.9, np.nan])
    legend = " ".join(words(figure))
    assert "refined: mean 0.925" in legend
    assert "network alone: mean 0.875" in legend
    drawn(report.plot_overlaps([np.nan]))
    drawn(report.plot_overlaps([1.0]))


def test_learning_curve_of_a_training_file() -> None:
    epochs = [
        {"images_seen": 1000 * k, "train": {"total": 1 / k}, "validation": {"total": 1.1 / k}}
        for k in (1, 2, 3)
    ]
    figure = report.plot_learning_curve(epochs)
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [1.1, 0.55, 1.1 / 3])
    drawn(figure)
    drawn(report.plot_learning_curve([]))
    drawn(report.plot_learning_curve([{"epoch": 1, "train": {}, "validation": {"total": -1.0}}]))


def test_parameter_errors_are_those_put_in() -> None:
    rng = np.random.default_rng(3)
    true = {
        "p": np.exp(rng.normal(0.6, 1, 3000)),
        "axis_ratio": 1 + 2 * rng.random(3000),
        "d": rng.integers(1, 7, 3000),
    }
    predicted = true | {
        "p": true["p"] * np.exp(rng.choice([-0.1, 0.1], 3000)),
        "d": np.where(true["d"] == 6, 5, true["d"]),
    }
    figure = report.plot_parameter_errors(true, predicted)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 10.0)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), 0.0)
    assert [p.get_height() for p in figure.axes[2].patches] == [0, 0, 0, 0, 0, 100]
    drawn(figure)
    quantiles = report.plot_axes_quantiles(true["d"], predicted["d"])
    at = np.asarray(quantiles.axes[0].collections[0].get_offsets())
    assert at[:, 1].max() == 5
    assert at[:, 0].max() == 6
    with pytest.raises(InputError, match="no 'd'"):
        report.plot_parameter_errors({"p": [1], "axis_ratio": [1]}, predicted)
    empty = {n: [] for n in true}
    drawn(report.plot_parameter_errors(empty, empty))
    drawn(report.plot_axes_quantiles([], []))


# --- conditions -------------------------------------------------------------------------------


def test_sizes_by_condition_say_how_many() -> None:
    frame, images = crystals(), image_table()
    figure = report.plot_crystal_sizes(frame, images, by=["synthesis_method"])
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["synthesis_method LARP", "synthesis_method hot injection"]
    inside = (frame["rejected"] == "") & ~frame["touches_edge"].astype(bool)
    larp = inside & (frame["image_index"] == 1)
    assert any(w.startswith(f"{larp.sum()} crystals, 1 images") for w in words(figure))
    shares = figure.axes[0].patches[0].get_data().values
    assert shares.sum() == pytest.approx(100, abs=100 / larp.sum() + 0.1)


def test_sizes_without_pixel_size_or_crystals() -> None:
    frame, images = crystals(), image_table()
    unknown = frame.assign(equivalent_diameter=np.nan)
    figure = report.plot_crystal_sizes(unknown, images.assign(pixel_size=np.nan))
    assert "no crystal with a size" in words(figure)
    drawn(report.plot_crystal_sizes(frame.iloc[:0], images, by=["synthesis_method"]))
    inside = frame[(frame["shape_group"] > 0)].iloc[:1]
    drawn(report.plot_crystal_sizes(inside, images, by=["synthesis_method"]))


def test_composition_shows_shares_with_intervals() -> None:
    by = ["synthesis_method"]
    frame = group_composition(crystals(), image_table(), by=by, resamples=100)
    figure = report.plot_composition(frame, by=by)
    chosen = frame[frame["shape_group"] == 1]
    at = figure.axes[0].containers[0].lines[0].get_xdata()
    np.testing.assert_allclose(at, 100 * chosen["share"])
    drawn(figure)
    drawn(report.plot_composition(frame[frame["shape_group"] < 0], by=by))
    with pytest.raises(InputError, match="no column 'share'"):
        report.plot_composition(frame.drop(columns="share"))


def test_intervals_and_subsampling_of_little() -> None:
    frame = pd.DataFrame({"mean_size": [12.0], "mean_size_low": [np.nan], "relative_spread": [0.2]})
    drawn(report.plot_condition_intervals(frame))
    drawn(report.plot_condition_intervals(frame.iloc[:0]))
    with pytest.raises(InputError, match="no column 'mode'"):
        report.plot_condition_intervals(frame, values=("mode",))
    curve = pd.DataFrame(
        {
            "condition": "",
            "drawn": ["crystal", "image", "image"],
            "crystal_count": [100, 50, 200],
            "relative_half_width": [0.02, 0.11, np.nan],
        }
    )
    figure = report.plot_subsampling(curve)
    assert figure.axes[0].lines[1].get_ydata().tolist() == pytest.approx([11.0])
    drawn(figure)
    drawn(report.plot_subsampling(curve.iloc[2:]))
