"""Base of the parameters of every stage."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StageParameters(BaseModel):
    """Base of every stage's parameters: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
