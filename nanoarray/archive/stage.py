"""What a stage is, and what is told of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from nanoarray.archive.image_writer import Result
from nanoarray.archive.layout import GroupPlan
from nanoarray.archive.stage_parameters import StageParameters
from nanoarray.errors import InputError

Inputs = Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class Stage:
    """How one group is made from others.

    Parameters
    ----------
    name
        The group it writes.
    inputs
        The groups it reads; a function of the parameters where they decide.
    parameters
        Model of its parameters.
    version
        Raised whenever the same input and parameters would give another result.
    axis
        "image": ``compute(inputs, parameters, own, i)`` gives the variables of image ``i``, or
        yields parts of them where they are too large to be in memory at once;
        "row": ``compute(inputs, parameters, own, rows)`` gives those rows of a table;
        "whole": ``compute(inputs, parameters, own, rows)`` is called once.
        ``own`` is the stage's own group: coordinates, resolved parameters, fitted model.
    plan
        ``plan(inputs, parameters)`` gives shapes and whatever has to be known, or fitted, before.
    identity
        Of a table with a column `problem`: ``identity(inputs, rows)`` gives `image_index` and
        `label` of rows, by which those of an image that no process outlives are set apart.
    """

    name: str
    inputs: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    parameters: type[StageParameters]
    version: int
    axis: Literal["image", "row", "whole"]
    plan: Callable[[Inputs, Any], GroupPlan]
    compute: Callable[..., Result]
    description: str = ""
    identity: Callable[[Inputs, slice], Mapping[str, np.ndarray]] | None = None


def inputs_of(stage: Stage, parameters: StageParameters) -> tuple[str, ...]:
    """The groups that a stage reads with these parameters."""
    return stage.inputs(parameters) if callable(stage.inputs) else stage.inputs


@dataclass(frozen=True)
class Progress:
    """How far a stage is: ``done`` of ``total`` units (images or rows) after ``seconds``."""

    stage: str
    done: int
    total: int
    unit: str
    failed: int
    seconds: float


@dataclass(frozen=True)
class StageReport:
    """What a run of a stage did."""

    stage: str
    status: Literal["done", "resumed", "unchanged"]
    blocks: int
    blocks_computed: int
    rows: int
    seconds: float
    failed: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


class LeftOut(InputError):
    """An image that a stage leaves out on purpose, with the reason; not a failure."""
