"""The shape network: circular convolutions over the angle, and its losses (torch)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nanoarray.nanocrystal.shape.formula import (
    AXIS_RATIO_RANGE,
    D_VALUES,
    P_RANGE,
    p_coordinate,
)
from nanoarray.nanocrystal.shape.polar import ANGLES, RADII
from nanoarray.nanocrystal.shape.targets import KINDS

#: Harmonics whose amplitudes describe a shape: d and 2d for every d.
HARMONICS = 2 * max(D_VALUES)
#: How far predictions may pass the circle (p = 2) into the other kind's range, and L = 1.
_OVERLAP = 0.05


class Prediction(NamedTuple):
    """What the network says of n shapes, for each of the kinds."""

    #: (n, kinds) before the softmax.
    kind_logits: Tensor
    #: (n, kinds) `formula.p_coordinate`.
    p_coordinate: Tensor
    #: (n, kinds) log2 L.
    log2_axis_ratio: Tensor
    #: (n, kinds, 2) direction of 2 phi and of 4 phi as cosine and sine, of length 1.
    double_phase: Tensor
    quadruple_phase: Tensor


class _Circular(nn.Module):  # type: ignore[misc]
    """Convolution around the circle of angles, on (n, channels, 1, angles)."""

    def __init__(self, inputs: int, outputs: int, *, reach: int, step: int = 1) -> None:
        super().__init__()
        self.reach = reach
        dilation = max(reach // 2, 1) if step > 1 else reach
        kernel = 5 if step > 1 else 3
        self.convolution = nn.Conv2d(
            inputs, outputs, (1, kernel), stride=(1, step), dilation=(1, dilation)
        )

    def forward(self, x: Tensor) -> Tensor:
        ends = (x[..., -self.reach :], x, x[..., : self.reach])
        return self.convolution(torch.cat(ends, dim=3))


class _Block(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = _Circular(width, width, reach=dilation)

    def forward(self, x: Tensor) -> Tensor:
        scaled = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + functional.relu(self.convolution(scaled))


class ShapeNet(nn.Module):  # type: ignore[misc]
    """Kind, p, L and phase of shapes from their polar pictures.

    Radii are channels, convolutions run around the circle of angles. A turn of the crystal moves
    the features along the circle: their mean and the amplitudes of their harmonics do not change
    and give kind, p and L; the phases of harmonics d and 2d turn by 2 phi and 4 phi and give phi.
    """

    def __init__(self, width: int = 64, probes: int = 24, hidden: int = 160) -> None:
        super().__init__()
        self.settings = {"width": width, "probes": probes, "hidden": hidden}
        self.entry = _Circular(RADII, width, reach=2, step=2)
        self.blocks = nn.Sequential(*(_Block(width, dilation) for dilation in (1, 2, 4, 1)))
        self.norm = nn.LayerNorm(width)
        self.probe = nn.Linear(width, probes)
        described = width + probes * HARMONICS
        self.describe = nn.Sequential(
            nn.LayerNorm(described),
            nn.Linear(described, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.heads = nn.Linear(hidden, 3 * KINDS)
        self.gates = nn.Linear(hidden, probes)
        self.mix = nn.Parameter(torch.randn(2, KINDS, probes, 2) / math.sqrt(probes))
        steps = ANGLES // 2
        angles = torch.arange(steps) * (2.0 * math.pi / steps)
        waves = torch.outer(angles, torch.arange(1, HARMONICS + 1))
        self.register_buffer("cosines", torch.cos(waves) / steps, persistent=False)
        self.register_buffer("sines", torch.sin(waves) / steps, persistent=False)
        order = torch.arange(KINDS) // 2
        self.register_buffer("single", order, persistent=False)
        self.register_buffer("twice", 2 * order + 1, persistent=False)
        low, high = (float(value) for value in p_coordinate(P_RANGE))
        above = torch.arange(KINDS) % 2 == 1
        start = torch.where(above, torch.tensor(-_OVERLAP), torch.tensor(low))
        end = torch.where(above, torch.tensor(high), torch.tensor(_OVERLAP))
        self.register_buffer("p_low", start, persistent=False)
        self.register_buffer("p_span", end - start, persistent=False)

    def forward(self, polar: Tensor) -> Prediction:
        """Predict from (n, radii, angles) coverage between 0 and 1."""
        picture = (polar - 0.5)[:, :, None, :].contiguous(memory_format=torch.channels_last)
        x = self.blocks(functional.relu(self.entry(picture)))
        x = self.norm(x[:, :, 0, :].transpose(1, 2))
        probes = self.probe(x).transpose(1, 2)
        real, imaginary = probes @ self.cosines, -(probes @ self.sines)
        amplitude = torch.sqrt(real * real + imaginary * imaginary + 1e-8)
        described = self.describe(torch.cat((x.mean(dim=1), amplitude.flatten(1)), dim=1))
        heads = self.heads(described).view(-1, 3, KINDS)
        span = math.log2(AXIS_RATIO_RANGE[1]) + _OVERLAP
        gates = self.gates(described)[:, None, :]

        def direction(which: int, harmonic: Tensor) -> Tensor:
            scale = amplitude[:, :, harmonic].mean(dim=1, keepdim=True)
            re = (real[:, :, harmonic] / scale).transpose(1, 2)
            im = (imaginary[:, :, harmonic] / scale).transpose(1, 2)
            a, b = self.mix[which, :, :, 0] * gates, self.mix[which, :, :, 1] * gates
            vector = torch.stack(((re * a - im * b).sum(2), (re * b + im * a).sum(2)), dim=2)
            return functional.normalize(vector, dim=2, eps=1e-4)

        return Prediction(
            heads[:, 0],
            self.p_low + self.p_span * torch.sigmoid(heads[:, 1]),
            -_OVERLAP + span * torch.sigmoid(heads[:, 2]),
            direction(0, self.single),
            direction(1, self.twice),
        )


def squared_radii(p_of: Tensor, log2_axis_ratio: Tensor, half_angle: Tensor) -> Tensor:
    """Squared radius of equation 1, scaled to mean 1, at (n, m) angles d theta / 2 + phi."""
    coordinate = p_of.clamp(-0.9, 0.97)[:, None]
    p = 2.0 * (1.0 + coordinate) / (1.0 - coordinate)
    major = torch.abs(torch.cos(half_angle)) * torch.exp2(log2_axis_ratio)[:, None]
    minor = torch.abs(torch.sin(half_angle))
    larger = torch.maximum(major, minor)
    ratio = (torch.minimum(major, minor) / larger).clamp(min=1e-5)
    log_radius = -torch.log1p(torch.exp(p * torch.log(ratio))) / p - torch.log(larger)
    square = torch.exp(2.0 * log_radius)
    return square / square.mean(dim=1, keepdim=True)


class Losses(NamedTuple):
    """Means over the images of a batch whose masks show their shapes."""

    total: Tensor
    kind: Tensor
    #: 1 - Jaccard index of the predicted and the true curve at the true d and phase.
    overlap: Tensor
    phase: Tensor
    #: Root mean squares of the errors of `formula.p_coordinate` and of log2 L.
    p_rmse: Tensor
    axis_ratio_rmse: Tensor


def losses(prediction: Prediction, truth: dict[str, Tensor], half_angle: Tensor) -> Losses:
    """What training minimizes.

    The cross-entropy of the kind, the overlap of the drawn shapes, which weighs errors of p and L
    by what they change, a little squared error of both, and the phase; each in the head of the true
    kind only.

    Parameters
    ----------
    prediction
        Of n shapes.
    truth
        The fields of `targets.Targets` as tensors.
    half_angle
        (m,) sampled values of d theta / 2 + phi over one period.
    """
    rows = torch.arange(truth["kind"].shape[0], device=half_angle.device)
    kind = truth["kind"]
    p_of, ratio = prediction.p_coordinate[rows, kind], prediction.log2_axis_ratio[rows, kind]
    angles = half_angle[None, :]
    drawn = squared_radii(p_of, ratio, angles)
    with torch.no_grad():
        true = squared_radii(truth["p_coordinate"], truth["log2_axis_ratio"], angles)
    overlap = 1.0 - torch.minimum(drawn, true).sum(1) / torch.maximum(drawn, true).sum(1)
    p_error = (p_of - truth["p_coordinate"]) ** 2
    ratio_error = (ratio - truth["log2_axis_ratio"]) ** 2
    phases = torch.zeros_like(p_error)
    for multiple, found, weight in (
        (2.0, prediction.double_phase, truth["uneven_weight"]),
        (4.0, prediction.quadruple_phase, truth["distinct_weight"]),
    ):
        angle = multiple * truth["phase_rad"]
        chosen = found[rows, kind]
        agreement = chosen[:, 0] * torch.cos(angle) + chosen[:, 1] * torch.sin(angle)
        phases = phases + weight * (1.0 - agreement)
    cross = functional.cross_entropy(prediction.kind_logits, kind, reduction="none")
    weight = truth["shown_weight"] / truth["shown_weight"].sum().clamp(min=1.0)

    def mean(values: Tensor) -> Tensor:
        return (values * weight).sum()

    kinds, overlaps, turned = mean(cross * truth["distinct_weight"]), mean(overlap), mean(phases)
    small = 0.5 * mean(p_error) + 0.2 * mean(ratio_error)
    return Losses(
        kinds + 3.0 * overlaps + small + turned,
        kinds,
        overlaps,
        turned,
        torch.sqrt(mean(p_error)),
        torch.sqrt(mean(ratio_error)),
    )
