"""How well a candidate is likely to fit a crystal: boosted regression trees on its numbers.

In stages. The first sees a candidate alone. The second also sees what the first would choose: the
size, darkness and outline common in the image, and how good the alternatives are that overlap the
candidate. So a part is told from a whole by the crystals around it, as an observer does. Where the
network was asked, a third stage takes the place of the second and sees its answer too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numba as nb
import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.segment.agreement import agreement_numbers
from nanoarray.nanocrystal.segment.candidates import CANDIDATE_NUMBERS, Candidates
from nanoarray.nanocrystal.segment.select import best_gains, select_candidates

__all__ = [
    "FORMAT",
    "LEAST_QUALITY",
    "STAGES",
    "Forest",
    "NetworkResult",
    "QualityModel",
    "context_numbers",
    "load_quality_model",
    "predict_quality",
]

#: Overlap with a crystal (IoU, 0 below one half) that a candidate must promise to be taken.
LEAST_QUALITY = 0.35

#: The same for the first stage alone, whose choice is only a first impression of the image.
_FIRST_LEAST_QUALITY = 0.3

_COMMON = (
    "log_area",
    "depth_in",
    "contrast",
    "drop_mean",
    "ellipse",
    "aspect",
    "depth_out",
    "solidity",
    "depth_spread",
)
_SPREAD = ("log_area", "depth_in", "contrast")
_OF_PARENT = ("ellipse", "drop_closed", "contrast_closed")

#: Labels and probability of crystal, as the network gives them.
NetworkResult = tuple[NDArray[np.int32], NDArray[np.float32]]

#: The forests of the model.
STAGES = ("alone", "among", "informed")

#: The format of the file of weights; another one is refused.
FORMAT = "nanoarray region quality 2"


@dataclass(frozen=True)
class Forest:
    """Boosted regression trees as arrays.

    Node ``i`` goes left where its number is at most its threshold; leaves have ``feature`` -1.

    Attributes
    ----------
    root
        ``(tree,)`` first node of each tree.
    feature, threshold, left, right, value
        ``(node,)``.
    base
        ``(1,)`` added to the sum of the trees.
    """

    root: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    base: NDArray[np.float32]

    def predict(self, numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict from rows ``(candidate, number)``."""
        return _predict(
            np.ascontiguousarray(numbers, np.float32),
            self.root,
            self.feature,
            self.threshold,
            self.left,
            self.right,
            self.value,
            float(self.base[0]),
        )


@dataclass(frozen=True)
class QualityModel:
    """The stages of the quality of a candidate.

    Attributes
    ----------
    alone
        Sees a candidate alone.
    among
        Sees the rest of the image as well.
    informed
        Sees what the network found as well; used instead of ``among`` where it did.
    """

    alone: Forest
    among: Forest
    informed: Forest


@nb.njit(nogil=True, cache=True)
def _predict(numbers, root, feature, threshold, left, right, value, base):
    out = np.full(numbers.shape[0], base)
    for i in range(numbers.shape[0]):
        for t in range(root.size):
            node = root[t]
            while feature[node] >= 0:
                if numbers[i, feature[node]] <= threshold[node]:
                    node = left[node]
                else:
                    node = right[node]
            out[i] += value[node]
    return out


def context_numbers(
    candidates: Candidates, first: NDArray[np.float64], *, noise: float
) -> NDArray[np.float32]:
    """Numbers of the candidates with those of their surroundings, for the second stage.

    Parameters
    ----------
    candidates
        The candidates of one image.
    first
        ``(candidate,)`` quality by the first stage.
    noise
        Noise of the depth image.

    Returns
    -------
    ndarray
        ``(candidate, number)``.
    """
    numbers = candidates.numbers
    if first.size == 0:
        return np.zeros((0, 0), np.float32)
    gain = first - _FIRST_LEAST_QUALITY
    chosen = select_candidates(candidates.parent, candidates.alternative, gain)
    weight = first[chosen]
    columns: list[NDArray] = [first]
    for name in _COMMON:
        values = numbers[:, CANDIDATE_NUMBERS.index(name)]
        low, middle, high = _weighted_quantiles(values[chosen], weight)
        columns.append(values - middle)
        if name in _SPREAD:
            columns.append(np.full(first.size, high - low))
    inner, count, around = best_gains(candidates.parent, candidates.alternative, gain)
    each = inner / np.maximum(count, 1)
    columns += [np.full(first.size, np.log1p(chosen.size)), np.full(first.size, noise)]
    columns += [inner[:, 0], inner[:, 1], count[:, 0], count[:, 1], each[:, 0], each[:, 1], around]
    has, up = candidates.parent >= 0, candidates.parent
    columns.append(np.where(has, first[up], -1))
    for name in _OF_PARENT:
        columns.append(np.where(has, numbers[up, CANDIDATE_NUMBERS.index(name)], 0))
    best_child = np.full(first.size, -1.0)
    np.maximum.at(best_child, up[has], first[has])
    columns.append(best_child)
    return np.hstack([numbers, np.stack(columns, axis=1).astype(np.float32)])


def _weighted_quantiles(values: NDArray, weight: NDArray) -> tuple[float, float, float]:
    """The 20th, 50th and 80th percentile; zeros without values."""
    if values.size == 0:
        return 0.0, 0.0, 0.0
    order = np.argsort(values)
    share = np.cumsum(weight[order])
    at = np.searchsorted(share, np.array([0.2, 0.5, 0.8]) * share[-1])
    low, middle, high = values[order][np.minimum(at, values.size - 1)]
    return float(low), float(middle), float(high)


def predict_quality(
    candidates: Candidates,
    *,
    noise: float,
    model: QualityModel,
    network: NetworkResult | None = None,
) -> NDArray[np.float64]:
    """Expected overlap (IoU, 0 below one half) of every candidate with a crystal.

    Parameters
    ----------
    candidates
        The candidates of one image.
    noise
        Noise of the depth image.
    model
        The fitted trees.
    network
        Labels and probability of crystal by the network, if it was asked.

    Returns
    -------
    ndarray
        ``(candidate,)``.
    """
    first = model.alone.predict(candidates.numbers)
    numbers = context_numbers(candidates, first, noise=noise)
    if network is None:
        return model.among.predict(numbers)
    return model.informed.predict(np.hstack([numbers, agreement_numbers(candidates, *network)]))


@cache
def load_quality_model(path: Path) -> QualityModel:
    """Read the weights that `benchmarks/fit_segmentation.py` wrote.

    Raises
    ------
    InputError
        If the file is missing, broken or of another format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise InputError(f"{path} is not of the format '{FORMAT}': install it again")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): it is missing or damaged, install nanoarray again"
        ) from error
    stages = {}
    for stage in STAGES:
        prefix = f"{stage}."
        stages[stage] = Forest(
            **{k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        )
    return QualityModel(**stages)
