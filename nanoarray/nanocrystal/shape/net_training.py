"""One epoch of training of the shape network, one of checking, and its checkpoints (torch)."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.formula import D_VALUES
from nanoarray.nanocrystal.shape.net import Losses, ShapeNet, losses
from nanoarray.nanocrystal.shape.targets import Targets

BATCH = 256
_PEAK_RATE = 3e-3
_WEIGHT_DECAY = 1e-3
#: Angles at which overlaps are computed, over one period of the curve.
_OVERLAP_ANGLES = 64


class Trainer:
    """A network, its optimizer and its data on one device.

    The order of the crops, the mirrored half and the angles of epoch e depend on the seed and e
    alone, so a resumed training goes on as if it had not been stopped.
    """

    def __init__(self, *, seed: int, epochs: int, device: str) -> None:
        torch.manual_seed(seed)
        self.seed, self.epochs = seed, epochs
        self.device = torch.device(device)
        self.net = ShapeNet().to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY
        )

    def run_epoch(self, epoch: int, polar: NDArray[np.uint8], targets: Targets) -> dict[str, float]:
        """Train once over all crops; means of the losses."""
        rng = np.random.default_rng((self.seed, 1, epoch))
        order = rng.permutation(polar.shape[0])
        batches = max(len(order) // BATCH, 1)
        sums = np.zeros(len(Losses._fields))
        self.net.train()
        for number in range(batches):
            rows = np.sort(order[number * BATCH : (number + 1) * BATCH])
            rate = _rate((epoch + (number + 1) / batches) / self.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            picture, truth = self._batch(polar, targets, rows)
            if rng.random() < 0.5:
                picture, truth = _mirrored(picture, truth)
            start = float(rng.random())
            found = losses(self.net(picture), truth, self._angles(start))
            self.optimizer.zero_grad(set_to_none=True)
            found.total.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimizer.step()
            sums += [float(value.detach()) for value in found]
        return dict(zip(Losses._fields, (sums / batches).tolist(), strict=True))

    def check(self, polar: NDArray[np.uint8], targets: Targets) -> dict[str, float]:
        """Means of the losses without training, and how often d is right."""
        sums, right, counted = np.zeros(len(Losses._fields)), 0.0, 0.0
        self.net.eval()
        with torch.no_grad():
            for first in range(0, polar.shape[0], 1024):
                rows = np.arange(first, min(first + 1024, polar.shape[0]))
                picture, truth = self._batch(polar, targets, rows)
                prediction = self.net(picture)
                found = losses(prediction, truth, self._angles(0.5))
                sums += [float(value) * len(rows) for value in found]
                probability = torch.softmax(prediction.kind_logits, 1)
                d = probability.view(-1, len(D_VALUES), 2).sum(2).argmax(1)
                defined = (truth["distinct_weight"] >= 1.0) & (truth["shown_weight"] > 0)
                right += float(((d == truth["kind"] // 2) & defined).sum())
                counted += float(defined.sum())
        result = dict(zip(Losses._fields, (sums / polar.shape[0]).tolist(), strict=True))
        return result | {"d_accuracy": right / max(counted, 1.0)}

    def save(self, path: Path, *, history: list[dict[str, Any]], settings: str) -> None:
        """Write a checkpoint in one step."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        half = path.with_name(path.name + ".part")
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
            half,
            metadata={"settings": settings, "history": json.dumps(history)},
        )
        os.replace(half, path)

    def resume(self, path: Path, *, settings: str) -> list[dict[str, Any]]:
        """Take up a checkpoint; returns its history.

        Raises
        ------
        InputError
            If it cannot be read or was made with other settings.
        """
        try:
            with safe_open(path, framework="pt", device=str(self.device)) as opened:
                metadata = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"the checkpoint {path} cannot be read ({error}): remove it to start again"
            ) from error
        if metadata.get("settings") != settings:
            raise InputError(
                f"the checkpoint {path} was made with other settings: it has "
                f"{metadata.get('settings')}, asked for is {settings}; use another folder, "
                "or do not resume"
            )
        net: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _dot, rest = name.partition(".")
            if part == "net":
                net[rest] = value
            else:
                number, _dot, what = rest.partition(".")
                moments.setdefault(int(number), {})[what] = value
        self.net.load_state_dict(net)
        state = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
        history: list[dict[str, Any]] = json.loads(metadata["history"])
        return history

    def _batch(
        self, polar: NDArray[np.uint8], targets: Targets, rows: NDArray[np.integer]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        picture = torch.from_numpy(polar[rows]).to(self.device).float() / 255.0
        truth = {
            name: torch.from_numpy(values[rows]).to(self.device)
            for name, values in targets._asdict().items()
        }
        return picture, truth

    def _angles(self, start: float) -> Tensor:
        steps = torch.arange(_OVERLAP_ANGLES, device=self.device)
        return (steps + start) * (math.pi / _OVERLAP_ANGLES)


def _rate(done: float) -> float:
    """Learning rate after a share of the training: a warm-up of 15 %, then half a cosine."""
    if done < 0.15:
        return _PEAK_RATE * (0.1 + 0.9 * done / 0.15)
    return _PEAK_RATE * (0.002 + 0.998 * 0.5 * (1.0 + math.cos(math.pi * (done - 0.15) / 0.85)))


def _mirrored(picture: Tensor, truth: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Crystals mirrored at the x axis: angle k becomes -k, phi becomes -phi."""
    flipped = torch.roll(torch.flip(picture, (2,)), 1, 2)
    return flipped, truth | {"phase_rad": -truth["phase_rad"]}
