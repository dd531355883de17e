"""The shape network: its targets, its symmetry, training, weights and prediction."""

import json

import numpy as np
import pytest

from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.crops import cut_crops
from nanoarray.nanocrystal.shape import diagnostics
from nanoarray.nanocrystal.shape.distribution import draw_shapes
from nanoarray.nanocrystal.shape.formula import ShapeParameters, canonical, curve_jaccard
from nanoarray.nanocrystal.shape.polar import ANGLES, RADII, polar_masks
from nanoarray.nanocrystal.shape.predict import predict_candidates, predict_shapes
from nanoarray.nanocrystal.shape.render import render_shapes
from nanoarray.nanocrystal.shape.targets import decode, encode, phase_of
from nanoarray.nanocrystal.shape.train import split_rows, train_shapes, training_masks

torch = pytest.importorskip("torch")
from nanoarray.nanocrystal.shape.net import ShapeNet, losses, squared_radii  # noqa: E402
from nanoarray.nanocrystal.shape.net_weights import load_network, save_network  # noqa: E402

SMALL = {"images": 300, "epochs": 2, "device": "cpu"}


def one_shape(p, d, axis_ratio, phase_deg=0.0) -> ShapeParameters:
    return ShapeParameters(
        np.array([float(p)]), np.array([d], np.int32), np.array([float(axis_ratio)]),
        np.array([float(phase_deg)]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def held_out():
    """Crops that were never trained on: another seed than the shipped weights'."""
    shapes, masks = training_masks(400, seed=987_654)
    return shapes, masks, predict_shapes(masks)


def test_targets_return_the_shape():
    shapes = draw_shapes(500, seed=4)
    targets = encode(shapes)
    again = decode(
        targets.kind,
        targets.p_coordinate,
        targets.log2_axis_ratio,
        phase_of(
            np.exp(2j * targets.phase_rad.astype(np.float64)),
            np.exp(4j * targets.phase_rad.astype(np.float64)),
        ),
    )
    assert curve_jaccard(canonical(*shapes), again).min() > 0.999


def test_targets_do_not_know_the_traps():
    flat, steep = encode(one_shape(0.7, 3, 2.0, 100.0)), encode(one_shape(0.7, 3, 0.5, 10.0))
    for one, other in zip(flat, steep, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    straight, box = encode(one_shape(1.0, 2, 1.0, 0.0)), encode(one_shape(70.0, 2, 1.0, 45.0))
    for one, other in zip(straight, box, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    circle = encode(one_shape(2.0, 5, 1.0))
    assert circle.distinct_weight[0] == 0.0
    square = encode(one_shape(30.0, 2, 1.0))
    assert square.distinct_weight[0] == 1.0
    assert square.uneven_weight[0] == 0.0
    # p is flat where it is large: 40 and 70 are nearer than 2 and 3.
    p = encode(ShapeParameters(
        np.array([2.0, 3.0, 40.0, 70.0]), np.full(4, 2, np.int32), np.full(4, 2.0), np.zeros(4)
    )).p_coordinate  # fmt: skip
    assert p[3] - p[2] < 0.3 * (p[1] - p[0])


def test_polar_pictures_ignore_place_and_margin():
    masks = render_shapes(draw_shapes(30, seed=1), equivalent_radius_px=9.0) >= 0.5
    padded = np.pad(masks, ((0, 0), (5, 20), (11, 3)))
    np.testing.assert_array_equal(polar_masks(masks)[0], polar_masks(padded)[0])
    empty, known = polar_masks(np.zeros((1, 64, 64), bool))
    assert not known[0]
    assert empty.sum() == 0


def test_a_turn_changes_the_phase_only():
    torch.manual_seed(0)
    net = ShapeNet().eval()
    polar = torch.rand(3, RADII, ANGLES)
    steps = 10
    with torch.no_grad():
        before, after = net(polar), net(torch.roll(polar, steps, dims=2))
    for name in ("kind_logits", "p_coordinate", "log2_axis_ratio"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), atol=1e-4, rtol=0)
    order = torch.arange(12) // 2 + 1
    turn = -order * (2 * np.pi * steps / ANGLES)
    for name, multiple in (("double_phase", 1), ("quadruple_phase", 2)):
        old, new = getattr(before, name), getattr(after, name)
        expected = torch.complex(old[..., 0], old[..., 1]) * torch.polar(
            torch.ones(12), multiple * turn.float()
        )
        torch.testing.assert_close(
            torch.complex(new[..., 0], new[..., 1]), expected, atol=1e-3, rtol=0
        )


def test_overlap_loss_is_the_jaccard_of_curves():
    true, other = draw_shapes(50, seed=7), draw_shapes(50, seed=8)
    one, two = encode(true), encode(other)
    angles = torch.from_numpy((np.arange(720) + 0.5) * np.pi / 720)
    squares = [
        squared_radii(torch.from_numpy(t.p_coordinate), torch.from_numpy(t.log2_axis_ratio), angles)
        for t in (one, two)
    ]
    found = torch.minimum(*squares).sum(1) / torch.maximum(*squares).sum(1)
    none, even = np.zeros(50), np.full(50, 2, np.int32)
    expected = curve_jaccard(
        canonical(*true)._replace(phase_deg=none, d=even),
        canonical(*other)._replace(phase_deg=none, d=even),
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-3)


def test_losses_vanish_for_the_truth():
    targets = encode(draw_shapes(40, seed=2))
    truth = {name: torch.from_numpy(value) for name, value in targets._asdict().items()}
    rows, kinds = torch.arange(40), 12
    logits = torch.full((40, kinds), -50.0)
    logits[rows, truth["kind"]] = 50.0
    spread = {name: truth[name][:, None].expand(-1, kinds) for name in truth}
    phase = spread["phase_rad"]

    def direction(multiple):
        return torch.stack((torch.cos(multiple * phase), torch.sin(multiple * phase)), dim=2)

    prediction = type(ShapeNet().eval()(torch.rand(1, RADII, ANGLES)))(
        logits, spread["p_coordinate"], spread["log2_axis_ratio"], direction(2), direction(4)
    )
    found = losses(prediction, truth, torch.linspace(0.0, 3.1, 50))
    assert float(found.total) == pytest.approx(0.0, abs=1e-4)


def test_split_is_the_papers():
    train, validate, test = split_rows(65_000)
    assert [part.stop - part.start for part in (train, validate, test)] == [45_500, 6_500, 13_000]


def test_training_rows_do_not_depend_on_what_is_asked():
    _shapes, whole = training_masks(60, seed=3)
    shapes, part = training_masks(60, seed=3, rows=slice(20, 45))
    np.testing.assert_array_equal(part, whole[20:45])
    assert shapes.p.shape == (25,)


def test_training_resumes_as_if_not_stopped(tmp_path):
    said = []
    whole = train_shapes(
        tmp_path / "whole", seed=5, progress=lambda *what: said.append(what), **SMALL
    )
    first = train_shapes(tmp_path / "parts", seed=5, stop_after=1, **SMALL)
    assert len(first["epochs"]) == 1
    assert "test" not in first
    assert not (tmp_path / "parts" / "shapes.safetensors").exists()
    second = train_shapes(tmp_path / "parts", seed=5, **SMALL)
    assert len(second["epochs"]) == 2
    one, other = (load_network(tmp_path / n / "shapes.safetensors") for n in ("whole", "parts"))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], atol=1e-6, rtol=0)
    assert ("simulating", 0, 300) in said
    assert said[-1] == ("training", 2, 2)
    written = json.loads((tmp_path / "whole" / "learning_curve.json").read_text())
    assert written["epochs"][-1]["train"] == whole["epochs"][-1]["train"]
    curve = diagnostics.learning_curve(written)
    assert curve["images_seen"].tolist() == [210.0, 420.0]
    assert np.isfinite(curve["validation_p_rmse"]).all()


def test_training_refuses(tmp_path):
    train_shapes(tmp_path, seed=1, stop_after=1, **SMALL)
    with pytest.raises(InputError, match="other settings"):
        train_shapes(tmp_path, seed=2, **SMALL)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match="cannot be read"):
        train_shapes(tmp_path, seed=1, **SMALL)
    with pytest.raises(InputError, match="images is 5"):
        train_shapes(tmp_path, seed=1, images=5)
    with pytest.raises(InputError, match="device is 'tpu'"):
        train_shapes(tmp_path, seed=1, images=300, device="tpu")


def test_network_learns():
    from nanoarray.nanocrystal.shape.net_training import Trainer

    shapes = draw_shapes(512, seed=6)
    polar, _known = polar_masks(render_shapes(shapes, equivalent_radius_px=11.0) >= 0.5)
    targets = encode(shapes)
    trainer = Trainer(seed=0, epochs=12, device="cpu")
    start = trainer.check(polar, targets)["total"]
    for epoch in range(12):
        trainer.run_epoch(epoch, polar, targets)
    assert trainer.check(polar, targets)["total"] < 0.75 * start


def test_weights_that_cannot_be_used(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match="no weights of the shape network"):
        load_network(path)
    save_network(ShapeNet(), path, training={"seed": 0})
    assert load_network(path).settings == ShapeNet().settings
    whole = path.read_bytes()
    for cut in (0, 5, 500, len(whole) - 100):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"cut off or damaged"):
            load_network(path)
    path.write_bytes(whole.replace(b'"format_version":"1"', b'"format_version":"9"'))
    with pytest.raises(InputError, match="format version 9"):
        load_network(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="says it holds 'nothing'"):
        load_network(path)
    other = ShapeNet(width=32)
    other.settings["width"] = 48
    save_network(other, path, training={})
    with pytest.raises(InputError, match="do not fit"):
        load_network(path)
    broken = ShapeNet()
    with torch.no_grad():
        broken.heads.bias[0] = float("nan")
    save_network(broken, path, training={})
    with pytest.raises(InputError, match="not finite"):
        load_network(path)


def test_shipped_weights_are_small_and_say_what_they_are():
    from safetensors import safe_open

    from nanoarray.nanocrystal.shape.net_weights import SHIPPED

    assert SHIPPED.stat().st_size < 5_000_000
    with safe_open(SHIPPED, framework="np") as opened:
        training = json.loads(opened.metadata()["training"])
    assert training["images"] == 65_000
    assert SHIPPED.with_suffix(".md").is_file()


def test_predicts_held_out_shapes(held_out):
    shapes, _masks, found = held_out
    errors = diagnostics.parameter_errors(shapes, found)
    assert errors["unknown"] == 0
    # Eggs (d = 1) that an ellipse covers as well are called ellipses: right by what they draw.
    assert errors["d_accuracy"] > 0.88
    assert errors["d_or_same_shape"] > 0.92
    assert errors["p_relative_median"] < 0.12
    assert errors["axis_ratio_median"] < 0.08
    assert errors["turn_median_deg"] < 2.0
    assert found["jaccard"].mean() > 0.92
    np.testing.assert_allclose(found["d_probability"].sum(axis=1), 1.0, atol=1e-5)
    assert (found["axis_ratio"] >= 1.0).all()
    assert ((found["phase"] >= 0) & (found["phase"] < 180)).all()


def test_prediction_does_not_depend_on_batches_or_size(held_out):
    _shapes, masks, found = held_out
    small = predict_shapes(masks[:40], batch=7)
    for name in ("p", "d", "axis_ratio"):
        np.testing.assert_allclose(small[name], found[name][:40], rtol=1e-3)
    double = predict_shapes(masks[:40].repeat(2, axis=1).repeat(2, axis=2))
    assert np.mean(double["d"] == found["d"][:40]) > 0.9


def test_empty_masks_are_unknown(held_out):
    _shapes, masks, found = held_out
    mixed = masks[:4].copy()
    mixed[2] = False
    answer = predict_shapes(mixed)
    assert answer["d"].tolist()[2] == -1
    for name in ("p", "axis_ratio", "phase", "jaccard"):
        assert np.isnan(answer[name][2])
        np.testing.assert_allclose(answer[name][[0, 1, 3]], found[name][[0, 1, 3]], rtol=1e-3)
    assert np.isnan(answer["d_probability"][2]).all()
    nothing = predict_shapes(np.zeros((0, 64, 64), bool))
    assert nothing["p"].shape == (0,)
    with pytest.raises(InputError, match="crop masks of shape"):
        predict_shapes(np.zeros((64, 64), bool))
    with pytest.raises(InputError, match="batch is 0"):
        predict_shapes(masks[:2], batch=0)


def test_paper_examples():
    """Clean shapes of Fig. 2b."""
    drawn = ShapeParameters(
        np.array([14.105, 0.78345, 1.0633, 5.966, 1.7716]),
        np.array([2, 3, 2, 3, 6], np.int32),
        np.array([1.4037, 2.2263, 1.4139, 1.4137, 1.0 / 0.45894]),
        np.array([20.0, 50.0, 100.0, 10.0, 70.0]),
    )
    found = predict_shapes(render_shapes(drawn, equivalent_radius_px=14.0) >= 0.5)
    assert found["d"].tolist() == drawn.d.tolist()
    np.testing.assert_allclose(found["axis_ratio"], drawn.axis_ratio, rtol=0.15)
    assert diagnostics.phase_error_deg(drawn, ShapeParameters(
        found["p"], found["d"], found["axis_ratio"], found["phase"]
    )).max() < 4.0  # fmt: skip


def test_diagnostics(held_out):
    shapes, _masks, found = held_out
    true, predicted = diagnostics.quantiles_of_d(
        shapes.d, diagnostics.expected_d(found["d_probability"])
    )
    assert true[0] == 1
    assert true[-1] == 6
    assert np.abs(true - predicted).mean() < 0.3
    table = diagnostics.d_confusion(shapes, found)
    assert np.trace(table) / table.sum() > 0.9
    bins = diagnostics.error_by_parameter(
        [0.5, 0.6, 1.5, 1.6, 5.0], [1.0, -1.0, 3.0, np.nan, 2.0], edges=[0.0, 1.0, 2.0, 3.0]
    )
    assert bins["count"].tolist() == [2.0, 1.0, 0.0]
    assert bins["rmse"][:2].tolist() == [1.0, 3.0]
    assert np.isnan(bins["rmse"][2])
    same = diagnostics.parameter_errors(shapes, shapes)
    assert same["d_accuracy"] == 1.0
    assert same["shape_jaccard"] == pytest.approx(1.0)
    assert same["turn_median_deg"] == 0.0


@pytest.mark.parametrize("axis_ratio", [1.0, 1.25])
def test_small_discs_and_ellipses_have_two_axes(axis_ratio):
    """A population of ellipses of 20 px, as segmented: none is an egg or a rounded hexagon."""
    rng = np.random.default_rng(3)
    labels = np.zeros((60 * 8, 60 * 8), np.int32)
    y, x = np.mgrid[:60, :60]
    for k in range(64):
        cy, cx, turn = *(29.5 + rng.uniform(-0.5, 0.5, 2)), rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        inside = np.hypot(u / axis_ratio**0.5, v * axis_ratio**0.5) < 10 + rng.normal(
            0, 0.25, u.shape
        )
        labels[60 * (k // 8) :, 60 * (k % 8) :][:60, :60][inside] = k + 1
    masks = cut_crops(labels, labels.astype(np.uint8), size=64).mask
    found = predict_shapes(masks)
    assert (found["d"] == 2).mean() > 0.9
    assert np.abs(np.median(found["axis_ratio"]) - axis_ratio) < 0.04
    assert found["jaccard"].mean() > 0.93


def test_candidates_are_ordered(held_out):
    _shapes, masks, _found = held_out
    found = predict_candidates(masks[:20], count=4)
    assert len(found.shapes) == 4
    assert (np.diff(found.probability, axis=1) <= 0).all()
