"""What a stage knows when it is planned, in the form that a store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: A variable of a group that is known when it is planned: dimensions, values, attributes.
Constant = tuple[tuple[str, ...], Any, Mapping[str, Any]]


def constant(dims: str, values: Any, text: str, *, units: str = "1") -> Constant:
    """Values along ``dims`` with their meaning."""
    return tuple(dims.split()), values, {"units": units, "long_name": text}


def texts(dim: str, values: Sequence[str], text: str) -> Constant:
    """A list of texts."""
    return constant(dim, np.array(list(values), dtype=object), text)
