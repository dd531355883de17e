"""The record of a product: a JSON file that says what a store holds and how it was made."""

from __future__ import annotations

import codecs
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from nanoarray.errors import InputError, NanoarrayError

RECORD_VERSION = 1
MAX_RECORD_BYTES = 512 * 2**20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LINE = 110
_LISTED_VALUES = 50
#: Fields whose entries stand on one line each, however long: a change is then one line.
_ONE_LINE_EACH = frozenset(("inputs", "arrays", "tags"))

Parameter = bool | int | float | str | list[Any] | dict[str, Any] | None


def check_id(product: str) -> str:
    """A product's id, which is also the name of its file.

    Raises
    ------
    InputError
        When it could not be one.
    """
    if not _ID.fullmatch(product) or product.endswith("."):
        raise InputError(
            f"{product!r} cannot be the id of a product: expected letters, digits, '.', '_', '-', "
            "at most 100, the first a letter or a digit"
        )
    return product


def _relative(image: str) -> str:
    """An image's id, which becomes a path when the product is made again."""
    parts = image.split("/")
    if not image or "\0" in image or any(p in ("", ".", "..") or len(p) > 255 for p in parts):
        raise ValueError("expected a relative path without '..'")
    return image


def _sha256(text: str) -> str:
    if text and not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("expected 64 hexadecimal digits")
    return text


ProductId = Annotated[str, AfterValidator(check_id)]
Sha256 = Annotated[str, AfterValidator(_sha256)]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ArrayRecord(_Part):
    """What one variable of a group holds."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    units: str
    sha256: Sha256
    """Of the values, in C order, little-endian, text as UTF-8; see `nanoarray.catalog.contents`."""
    known: int
    """Number of values that are not unknown."""
    least: float | None = None
    largest: float | None = None
    mean: float | None = None


class GroupRecord(_Part):
    """How one group was made, and what it holds."""

    digest: str
    """Of its parameters, its kernel's version and the digests of its inputs."""
    kernel_version: int
    parameters: dict[str, Parameter]
    resolved: dict[str, Parameter]
    inputs: dict[str, str]
    """The groups that it was made from, with their digests."""
    rows: int
    failed: int
    left_out: int
    created: str
    finished: str
    software: dict[str, str]
    sha256: Sha256
    """Of the checksums of all its arrays."""
    arrays: dict[str, ArrayRecord]


class InputRecord(_Part):
    """One micrograph."""

    image: Annotated[str, AfterValidator(_relative)]
    sha256: Sha256
    """Of the file; empty where it could not be read."""
    tags: dict[str, float | str]
    """What is known about it; what is not known is left out."""


class TagRecord(_Part):
    """The range of a tag over all images."""

    units: str
    known: int
    least: float | None = None
    largest: float | None = None
    values: list[str] | None = None
    """Of a text: the first 50 different ones, sorted."""

    @classmethod
    def of(cls, units: str, known: list[float | str]) -> TagRecord:
        """The range of the values that are known, at least one.

        Raises
        ------
        ValueError
            When there is none, or when some are text and others numbers.
        """
        texts = [v for v in known if isinstance(v, str)]
        numbers = [v for v in known if not isinstance(v, str)]
        if bool(texts) == bool(numbers):
            raise ValueError("text for some images, a number for others" if texts else "unknown")
        if texts:
            return cls(units=units, known=len(texts), values=sorted(set(texts))[:_LISTED_VALUES])
        return cls(units=units, known=len(numbers), least=min(numbers), largest=max(numbers))


class PipelineRecord(_Part):
    """The pipeline file, as it was, and what the command line changed."""

    name: str
    file: list[str]
    """Its lines."""
    settings: dict[str, dict[str, Parameter]] = Field(default_factory=dict)


class Record(_Part):
    """A product: one store, finished, with everything that is needed to make it again."""

    record_version: int
    id: ProductId
    title: str
    description: str = ""
    store: str
    """Where it is: relative to the catalog where it lies inside, otherwise an absolute address."""
    store_format: int
    added: str
    changed: str
    licence: str = ""
    citation: str = ""
    commands: list[str] = Field(default_factory=list)
    """Commands that make the inputs, where they are simulated."""
    pipeline: PipelineRecord
    software: dict[str, str]
    """Versions of all groups; where groups differ, all versions, comma separated."""
    code_revision: str
    counts: dict[str, int]
    tags: dict[str, TagRecord]
    groups: dict[str, GroupRecord]
    inputs: list[InputRecord]

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> Record:
        """What is said of the whole must follow from its parts: those are what is verified."""
        if self.counts != {name: group.rows for name, group in self.groups.items()}:
            raise ValueError("counts are not the rows of the groups")
        known: dict[str, list[float | str]] = {name: [] for name in self.tags}
        for image in self.inputs:
            for name, value in image.tags.items():
                known.setdefault(name, []).append(value)
        arrays = self.groups["images"].arrays if "images" in self.groups else {}
        for name, values in known.items():
            said = self.tags.get(name)
            units = arrays[name].units or "1" if name in arrays else said.units if said else "1"
            try:
                found = TagRecord.of(units, values)
            except ValueError as error:
                raise ValueError(f"tag {name!r}: {error}") from None
            if said != found:
                raise ValueError(f"tag {name!r} is not what the inputs and the group images say")
        return self


def read_record(path: Path) -> Record:
    """Read a record; nothing in it is run or followed.

    Raises
    ------
    InputError
        For a file that is no record, is a link, is too large, or is of a newer version.
    """
    text = read_content(path).removeprefix(codecs.BOM_UTF8)
    try:
        # Python's own reader takes halves of characters, which cannot be written again.
        content = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or "record_version" not in content:
        raise InputError(f"{path} is no record of a product: it has no record_version")
    version = content["record_version"]
    if type(version) is not int or not 1 <= version <= RECORD_VERSION:
        raise InputError(
            f"{path} is a record of version {version!r}, this nanoarray reads {RECORD_VERSION}: "
            "use a newer nanoarray"
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        said = f"{where}: {message}" if where else message
        raise InputError(f"{path} is no valid record: {said}") from None


def read_content(path: Path) -> bytes:
    """The bytes of a record's file.

    Raises
    ------
    InputError
        For a link, what is no file, one that is too large, or that may not be read.
    """
    if path.is_symlink() or not path.is_file():
        raise InputError(
            f"{path} is not read: expected a plain file, found a link or something else"
        )
    try:
        size = path.stat().st_size
        if size <= MAX_RECORD_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not read: {error.strerror or error}") from None
    raise InputError(f"{path} is not read: {size} bytes, expected at most {MAX_RECORD_BYTES}")


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all.

    Raises
    ------
    NanoarrayError
        When what was written does not read back as the same record.
    """
    text = to_json(record)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        if read_record(partial) != record:
            raise NanoarrayError(f"{path} could not be written as it should read")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def to_json(record: Record) -> str:
    """JSON that can be read, compared and merged by lines: one line per input and per array."""
    return _render(record.model_dump(mode="json"), 0, one_line=False) + "\n"


def _render(value: Any, depth: int, *, one_line: bool) -> str:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if one_line or not isinstance(value, dict | list) or not value:
        return flat
    if isinstance(value, list) and not isinstance(value[0], dict) and len(flat) < _LINE:
        return flat
    pad = " " * (depth + 1)
    if isinstance(value, list):
        entries = [pad + _render(v, depth + 1, one_line=isinstance(v, dict)) for v in value]
    else:
        entries = []
        for key, entry in value.items():
            inner = _entries(entry, depth + 1) if key in _ONE_LINE_EACH else None
            text = inner or _render(entry, depth + 1, one_line=False)
            entries.append(f"{pad}{json.dumps(key, ensure_ascii=False)}: {text}")
    start, end = "[]" if isinstance(value, list) else "{}"
    return f"{start}\n" + ",\n".join(entries) + f"\n{' ' * depth}{end}"


def _entries(value: Any, depth: int) -> str | None:
    """A mapping with each of its entries on one line, without what they have not."""
    if not isinstance(value, dict) or not value:
        return None
    pad, rows = " " * (depth + 1), []
    for key, entry in value.items():
        plain = entry
        if isinstance(entry, dict):
            plain = {k: v for k, v in entry.items() if v is not None}
        rows.append(f"{pad}{json.dumps(key)}: {json.dumps(plain, ensure_ascii=False)}")
    return "{\n" + ",\n".join(rows) + f"\n{' ' * depth}}}"
