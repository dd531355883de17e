"""Base of the parameters of every stage, and how they are checked."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

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
        if first["type"] in ("tuple_type", "list_type"):
            message = f"expected a list, such as {[first['input']]}"
        raise InputError(f"{where} = {first['input']!r}: {message}") from None


def nearest(name: str, valid: list[str]) -> str:
    """The valid name that was probably meant, as a question; "" where none is near."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def existing_path(path: str) -> str:
    """The path, for a parameter that names a file or folder.

    Raises
    ------
    ValueError
        When nothing is there.
    """
    if not os.path.exists(path):
        raise ValueError(f"there is no file or folder at {path}")
    return path


#: A file or folder that has to be there.
Existing = Annotated[str, AfterValidator(existing_path)]


def content_digest(path: str | os.PathLike[str] | None) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files, as 16 digits.

    A parameter that names a file stands for its content: a stage whose result depends on it has
    this among its parameters. "" for no path.
    """
    if path is None:
        return ""
    root = Path(path)
    sha = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]:
        sha.update(file.relative_to(root).as_posix().encode() + b"\0")
        with file.open("rb") as content:
            sha.update(hashlib.file_digest(content, "sha256").digest())
    return sha.hexdigest()[:16]
