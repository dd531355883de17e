"""Base of the parameters of every stage, and how they are checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nanoarray.errors import InputError


class StageParameters(BaseModel):
    """Base of every stage's parameters: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Parameters = TypeVar("Parameters", bound=StageParameters)


def checked(model: type[Parameters], values: Mapping[str, Any], *, name: str) -> Parameters:
    """Parameters from their values.

    Raises
    ------
    InputError
        Naming the first wrong key (with the nearest valid one) or value of ``name``.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            valid = list(model.model_fields)
            listed = ", ".join(valid) or "none"
            raise InputError(
                f"{name!r} has no parameter {key!r}{nearest(key, valid)}: it has {listed}"
            ) from None
        where = f"{name}.{key}" if key else name
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where} = {first['input']!r}: {message}") from None


def nearest(name: str, valid: list[str]) -> str:
    """The valid name that was probably meant, as a question; "" where none is near."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
