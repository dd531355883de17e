"""Training of the segmentation network on simulated fields."""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.net_fields import WEIGHT_STEPS, training_sample
from nanoarray.nanocrystal.segment.net_model import SegmentationNet
from nanoarray.nanocrystal.segment.net_weights import load_network, save_weights
from nanoarray.nanocrystal.segment.normalize import normalized

# Validation fields are numbered from here: no training field has such a number.
_VALIDATION_FROM = 1_000_000_000
# Moving average of the weights: shorter at first, so that early checkpoints are usable.
_AVERAGE = 0.998


@dataclass(frozen=True)
class Stage:
    """One stage of training: a rise and a fall of the learning rate.

    Attributes
    ----------
    fields, steps
        Number of simulated fields, and of batches.
    learning_rate
        Highest rate of AdamW; it rises over the first 3 % of steps and falls as a half cosine.
    focused
        Which mix of fields (see `nanocrystal_specs.random_field_spec`).
    """

    fields: int
    steps: int
    learning_rate: float
    focused: bool


#: The stages that made the weights of the package.
STAGES = (
    Stage(fields=5_000, steps=3_600, learning_rate=3e-3, focused=False),
    Stage(fields=5_600, steps=4_000, learning_rate=2e-3, focused=True),
)


@dataclass(frozen=True)
class TrainingResult:
    """What training gave.

    Attributes
    ----------
    steps, training_loss, validation_loss
        Learning curve: batches done, mean loss since the last entry, loss on held-out fields.
        Every stage has held-out fields of its own mix, so the curve may jump between stages.
    parameters
        The arguments that reproduce it.
    """

    steps: list[int] = field(default_factory=list)
    training_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    parameters: dict[str, object] = field(default_factory=dict)


def train_segmentation(
    out: Path | str,
    *,
    seed: int = 0,
    stages: tuple[Stage, ...] = STAGES,
    validation_fields: int = 96,
    batch: int = 8,
    size_px: int = 192,
    widths: tuple[int, ...] = (16, 32, 64, 96, 128),
    workers: int = 1,
    threads: int = 1,
    check_every: int = 200,
    progress: Callable[[int, int, float], None] | None = None,
) -> TrainingResult:
    """Train the segmentation network on simulated fields, and write its weights.

    The defaults made the weights of the package. A run that was stopped goes on where it was when
    called again with the same arguments. Fields are made by worker processes while the network
    learns from those that are there; which ones a batch takes depends on the seed alone.

    Parameters
    ----------
    out
        Folder for ``segment.safetensors``, ``learning_curve.json``, and a folder per stage with the
        checkpoint and the fields (1.2 GB in all with the defaults; they may be deleted afterwards).
    seed
        Seed of fields, weights, batches and augmentation; stage k has ``seed + k``.
    stages
        What is learned one after the other.
    validation_fields
        Held-out fields of every stage.
    batch
        Fields in a batch.
    size_px
        Side of a field, a multiple of 32.
    widths
        Channels of the network's levels.
    workers, threads
        Processes that simulate (0: none, between batches), and threads of the network. On a shared
        machine one thread is faster than two.
    check_every
        Steps between validation and checkpoint.
    progress
        Called with steps done, steps in all, and the last loss.

    Returns
    -------
    TrainingResult

    Raises
    ------
    InputError
        If `out` holds a run with other arguments, or `size_px` does not fit.
    """
    if size_px % (2 ** len(widths)):
        raise InputError(f"size_px is {size_px}: use a multiple of {2 ** len(widths)}")
    folder = Path(out)
    torch.set_num_threads(threads)
    total, done = sum(stage.steps for stage in stages), 0
    common: dict[str, Any] = {
        "validation_fields": validation_fields,
        "batch": batch,
        "size_px": size_px,
        "widths": list(widths),
    }
    result = TrainingResult(parameters={"seed": seed, "stages": [asdict(s) for s in stages]})
    result.parameters.update(common)
    weights: Path | None = None
    for number, stage in enumerate(stages):
        run = _Run(folder / f"stage_{number + 1}", seed + number, stage, common, weights)
        run.resume()
        with _Fields(run.folder, seed + number, stage, validation_fields, size_px, workers) as data:
            recent: list[float] = []
            while run.step < stage.steps:
                recent.append(run.learn(*data.batch(run.step, stage.steps, batch)))
                if progress is not None:
                    progress(done + run.step, total, recent[-1])
                if run.step % check_every == 0 or run.step == stage.steps:
                    run.check(data, float(np.mean(recent)), batch)
                    recent = []
        result.steps.extend(done + step for step in run.result.steps)
        result.training_loss.extend(run.result.training_loss)
        result.validation_loss.extend(run.result.validation_loss)
        weights = run.folder / "segment.safetensors"
        done += stage.steps
    if weights is not None:
        shutil.copyfile(weights, folder / "segment.safetensors")
    (folder / "learning_curve.json").write_text(json.dumps(asdict(result), indent=1))
    return result


class _Run:
    """Network, its moving average, optimizer and learning curve; saved together."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        stage: Stage,
        common: dict[str, Any],
        start: Path | None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.result = TrainingResult(parameters={"seed": seed, **asdict(stage), **common})
        self.step = 0
        torch.manual_seed(seed)
        widths = tuple(common["widths"])
        net = SegmentationNet(widths) if start is None else load_network(start)
        self.net = net.to(memory_format=torch.channels_last)
        self.average = SegmentationNet(net.widths).to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.AdamW(self.net.parameters(), weight_decay=1e-3)
        self.rate = stage.learning_rate
        self.steps = stage.steps

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        saved = torch.load(path, weights_only=True)
        if saved["parameters"] != self.result.parameters:
            raise InputError(
                f"{self.folder} holds a run with other arguments ({saved['parameters']}): use "
                "another folder, or the same arguments to go on"
            )
        self.step = saved["step"]
        self.net.load_state_dict(saved["net"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.result = TrainingResult(**saved["result"])

    def learn(self, images: torch.Tensor, coded: torch.Tensor) -> float:
        """One batch; returns its loss."""
        rising = min(1.0, (self.step + 1) / (0.03 * self.steps + 1))
        falling = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rising * max(falling, 0.005)
        self.net.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = self.net(images.contiguous(memory_format=torch.channels_last))
        value = loss(maps.float(), coded)
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimizer.step()
        self.step += 1
        keep = min(_AVERAGE, self.step / (self.step + 20))
        with torch.no_grad():
            for mean, new in zip(
                self.average.state_dict().values(), self.net.state_dict().values(), strict=True
            ):
                if mean.dtype.is_floating_point:
                    mean.lerp_(new, 1 - keep)
                else:
                    mean.copy_(new)
        return float(value.detach())

    def check(self, data: _Fields, training_loss: float, batch: int) -> None:
        """Validate, and save everything."""
        self.average.eval()
        values = []
        with torch.inference_mode():
            for images, coded in data.validation(batch):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    maps = self.average(images.contiguous(memory_format=torch.channels_last))
                values.append(float(loss(maps.float(), coded)))
        self.result.steps.append(self.step)
        self.result.training_loss.append(training_loss)
        self.result.validation_loss.append(float(np.mean(values)))
        state = {
            "parameters": self.result.parameters,
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "result": asdict(self.result),
        }
        # Written beside and renamed: a stop in between leaves the checkpoint before it.
        fresh = self.folder / "checkpoint.new"
        torch.save(state, fresh)
        fresh.replace(self.folder / "checkpoint.pt")
        save_weights(self.average, self.folder / "segment.safetensors")


def loss(maps: torch.Tensor, coded: torch.Tensor) -> torch.Tensor:
    """Loss of maps ``(n, 3, y, x)`` against coded targets ``(n, 2, y, x)`` uint8."""
    inside = (coded[:, 0] > 0).float()
    depth = (coded[:, 0].float() - 1).clamp(min=0) / 254
    line = (coded[:, 1] >= 128).float()
    weight = (coded[:, 1] % 128).float() / WEIGHT_STEPS
    total = weight.sum()
    foreground = functional.binary_cross_entropy_with_logits(
        maps[:, 0], inside, weight, reduction="sum"
    )
    deep = (functional.smooth_l1_loss(maps[:, 1], depth, beta=0.1, reduction="none") * weight).sum()
    # Lines are a few percent of the pixels: without more weight they are never predicted.
    contact = functional.binary_cross_entropy_with_logits(
        maps[:, 2], line, weight * (1 + 3 * line), reduction="sum"
    )
    return (foreground + 3 * deep + 0.5 * contact) / total


class _Fields:
    """Simulated fields in a file, made by workers in the order of their numbers."""

    def __init__(
        self, folder: Path, seed: int, stage: Stage, held_out: int, size_px: int, workers: int
    ) -> None:
        self.path = folder / "fields.npy"
        self.seed, self.held_out, self.size = seed, held_out, size_px
        self.count, self.focused = stage.fields, stage.focused
        self.ready = self._there(folder)
        self.workers = workers
        self.waiting: list[Future[NDArray[np.uint8]]] = []
        self.sent = self.ready
        self.pool: ProcessPoolExecutor | None = None

    def _there(self, folder: Path) -> int:
        shape = (self.held_out + self.count, 3, self.size, self.size)
        self.done = folder / "fields.txt"
        if self.path.exists() and self.done.exists():
            self.data = np.lib.format.open_memmap(self.path, mode="r+")
            if self.data.shape == shape:
                return int(self.done.read_text())
        self.data = np.lib.format.open_memmap(self.path, mode="w+", dtype=np.uint8, shape=shape)
        return 0

    def __enter__(self) -> _Fields:
        if self.ready < len(self.data) and self.workers:
            # Spawned, because forking a process with running torch threads can hang.
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(self.workers, mp_context=context)
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
        self.done.write_text(str(self.ready))

    def _number(self, place: int) -> int:
        """Validation fields come first in the file, and have numbers of their own."""
        return place + _VALIDATION_FROM if place < self.held_out else place - self.held_out

    def _collect(self, least: int) -> None:
        """Keep the workers busy, and wait until `least` fields are there."""
        while self.pool is None and self.ready < least:
            number = self._number(self.ready)
            self.data[self.ready] = training_sample(self.seed, number, self.size, self.focused)
            self.ready += 1
        while self.pool is not None and self.ready < len(self.data):
            while self.sent < len(self.data) and len(self.waiting) < 64 * self.workers:
                number = self._number(self.sent)
                self.waiting.append(
                    self.pool.submit(training_sample, self.seed, number, self.size, self.focused)
                )
                self.sent += 1
            if self.ready >= least and not self.waiting[0].done():
                break
            self.data[self.ready] = self.waiting.pop(0).result()
            self.ready += 1
            if self.ready % 100 == 0:
                self.done.write_text(str(self.ready))

    def batch(self, step: int, steps: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and targets of one step, augmented; the same whenever it is asked for."""
        rng = np.random.default_rng([self.seed, 2, step])
        # The fields that may be used grow with the steps, so that simulating keeps ahead.
        usable = min(self.count, int(self.count * (0.03 + 1.25 * step / steps)) + 2 * size)
        self._collect(self.held_out + usable)
        # Half of a batch is from the latest fields: each is seen before the next are there.
        recent = rng.integers(max(0, usable - usable // 10 - size), usable, size // 2)
        chosen = np.concatenate([recent, rng.integers(0, usable, size - size // 2)])
        samples = [_augmented(np.asarray(self.data[self.held_out + k]), rng) for k in chosen]
        return _tensors(samples)

    def validation(self, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """All validation fields in batches, as they are."""
        self._collect(self.held_out)
        stacks = (self.data[k : k + size] for k in range(0, self.held_out, size))
        return [
            _tensors([(normalized(sample[0]), sample[1:]) for sample in stack]) for stack in stacks
        ]


def _augmented(
    sample: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Turned or mirrored, with another stretch and a little more noise."""
    sample = np.rot90(sample, int(rng.integers(0, 4)), axes=(1, 2))
    if rng.random() < 0.5:
        sample = sample[:, ::-1]
    image = normalized(sample[0])
    image = image * np.float32(np.exp(0.15 * rng.standard_normal()))
    image = image + np.float32(0.15 * rng.standard_normal())
    if rng.random() < 0.3:
        spread = np.float32(0.15 * rng.random())
        image = image + spread * rng.standard_normal(image.shape, np.float32)
    return np.clip(image, -2, 2), sample[1:]


def _tensors(
    samples: list[tuple[NDArray[np.float32], NDArray[np.uint8]]],
) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.ascontiguousarray(np.stack([image for image, _ in samples])))
    coded = torch.from_numpy(np.ascontiguousarray(np.stack([target for _, target in samples])))
    return images[:, None], coded
