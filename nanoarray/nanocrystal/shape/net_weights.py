"""Files of trained shape networks: safetensors with what they are in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.net import ShapeNet

#: What the header of a file must say.
FORMAT = "nanoarray shape network"
FORMAT_VERSION = "1"
PARAMETRIZATION = "kinds of d and p around 2; (p - 2)/(p + 2); log2 L >= 0; 2 phi and 4 phi"
#: The weights that ship with the package.
SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "shapes.safetensors"


def save_network(net: ShapeNet, path: str | Path, *, training: dict[str, Any]) -> None:
    """Write a network; a file of that name is replaced in one step.

    Parameters
    ----------
    net
        The network.
    path
        The file.
    training
        How it was trained (seed, images, epochs, ...), kept in the header as JSON.
    """
    target = Path(path)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parametrization": PARAMETRIZATION,
        "architecture": json.dumps(net.settings, sort_keys=True),
        "training": json.dumps(training, sort_keys=True),
    }
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    half = target.with_name(target.name + ".part")
    save_file(state, half, metadata=metadata)
    os.replace(half, target)


def load_network(path: str | Path | None = None) -> ShapeNet:
    """Read a network, ready to predict on the CPU.

    Parameters
    ----------
    path
        A file of `save_network`; by default the weights that ship with the package.

    Raises
    ------
    InputError
        If the file is not there, is cut off or damaged, holds something else, or is of another
        version of the format.
    """
    source = SHIPPED if path is None else Path(path)
    if not source.is_file():
        raise InputError(
            f"no weights of the shape network at {source}: give a file that "
            "`nanoarray train shapes` wrote, or leave it out to use those of the package"
        )
    try:
        with safe_open(source, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"the weights {source} cannot be read ({error}): the file is cut off or damaged; "
            "copy or train it again"
        ) from error
    _check_header(source, metadata)
    try:
        settings = json.loads(metadata["architecture"])
        net = ShapeNet(**settings)
        net.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the weights {source} do not fit the network they name ({error}): "
            "the file is damaged or from another version; train it again"
        ) from error
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise InputError(f"the weights {source} hold values that are not finite: train them again")
    return net.eval()


def _check_header(source: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "nothing")
        raise InputError(
            f"{source} says it holds {found!r}, expected {FORMAT!r}: give weights that "
            "`nanoarray train shapes` wrote"
        )
    version = metadata.get("format_version", "none")
    if version != FORMAT_VERSION or metadata.get("parametrization") != PARAMETRIZATION:
        raise InputError(
            f"the weights {source} are of format version {version}, this program reads version "
            f"{FORMAT_VERSION}: train them again or use the program they came from"
        )
