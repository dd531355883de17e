"""Saving and loading the weights of the segmentation network (safetensors: data, never code)."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.net_model import OUTPUTS, SegmentationNet

#: Changes when the meaning of the weights does.
FORMAT = "nanoarray-segment-1"


def save_weights(net: SegmentationNet, path: Path | str) -> None:
    """Write the weights with the format and the architecture in the file's metadata."""
    about = {
        "format": FORMAT,
        "widths": json.dumps(list(net.widths)),
        "outputs": json.dumps(list(OUTPUTS)),
    }
    tensors = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, path, metadata=about)
    # The writer makes a file that only its owner can read.
    Path(path).chmod(0o644)


def shipped_weights() -> Path:
    """Path of the weights that come with the package."""
    return Path(str(resources.files("nanoarray.nanocrystal") / "weights" / "segment.safetensors"))


def load_network(path: Path | str | None = None) -> SegmentationNet:
    """Network with trained weights, ready to predict.

    Parameters
    ----------
    path
        Weights file; those that come with the package by default.

    Returns
    -------
    SegmentationNet

    Raises
    ------
    InputError
        If the file is missing, truncated, no safetensors file, or of another version.
    """
    file = shipped_weights() if path is None else Path(path)
    if not file.exists():
        raise InputError(
            f"segmentation weights {file} do not exist: give the path of a weights file"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"segmentation weights {file} cannot be read ({error}): the file is damaged or is no "
            "safetensors file; install the package again, or train with "
            "`nanoarray train segmentation`"
        ) from error
    if about.get("format") != FORMAT or about.get("outputs") != json.dumps(list(OUTPUTS)):
        raise InputError(
            f"segmentation weights {file} are of format {about.get('format', 'unknown')!r}, this "
            f"version reads {FORMAT!r}: train again with `nanoarray train segmentation`"
        )
    net = SegmentationNet(tuple(json.loads(about["widths"])))
    expected = net.state_dict()
    wrong = set(expected) ^ set(tensors)
    wrong |= {n for n in set(expected) & set(tensors) if expected[n].shape != tensors[n].shape}
    if wrong:
        raise InputError(
            f"segmentation weights {file} do not fit the network ({sorted(wrong)[0]} and "
            f"{len(wrong) - 1} more): the file was changed or is of another version"
        )
    net.load_state_dict(tensors)
    return net.eval().to(memory_format=torch.channels_last)
