"""The index of a catalog: what its records say, as two tables that are searched quickly.

It is derived: whenever a record's checksum is not the one that the index was made from, the index
is made again. It is written into the catalog's folder where that can be written.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nanoarray.archive.merged import converted
from nanoarray.catalog.record import Record
from nanoarray.errors import InputError

INDEX_VERSION = 2
PRODUCTS, IMAGES = "index.products.parquet", "index.images.parquet"
#: More than a stranger's index may claim to hold.
_MAX_ROWS, _MAX_BYTES = 200_000_000, 8 * 2**30
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """What all records say.

    Attributes
    ----------
    products
        A row per product: ``id``, ``title``, ``pipeline``, ``counts.grains``,
        ``software.numpy``, ``tiles.stride_px``.
    images
        A row per image: ``product`` (position in ``products``), ``image``, ``sha256`` and tags
        (``tags.title`` for a tag that is called as a column of ``products``).
    units
        Of the tags.
    conflicts
        Names that cannot be compared between products, with the reason.
    """

    products: pd.DataFrame
    images: pd.DataFrame
    units: Mapping[str, str] = field(default_factory=dict)
    conflicts: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What expressions may name."""
        return [*self.products.columns, *(n for n in self.images.columns if n != "product")]

    def column(self, name: str) -> np.ndarray:
        """A column along images.

        Raises
        ------
        InputError
            When products disagree on what it is.
        """
        if name in self.conflicts:
            raise InputError(
                f"{name!r} cannot be compared between products: {self.conflicts[name]}"
            )
        if name in self.products:
            values = self.products[name].to_numpy()[self.images["product"].to_numpy()]
        else:
            values = self.images[name].to_numpy()
        return np.asarray(values)


def make_index(records: Iterable[Record]) -> Index:
    """The index of these records."""
    records = list(records)
    conflicts: dict[str, str] = {}
    products = _frame([_product_row(r) for r in records], conflicts)
    units: dict[str, str] = {}
    tags: dict[str, list[np.ndarray]] = {}
    texts: dict[str, set[bool]] = {}
    for record in records:
        for name, tag in record.tags.items():
            texts.setdefault(name, set()).add(tag.values is not None)
    for name, kinds in texts.items():
        if len(kinds) > 1:
            conflicts[name] = "text in some products, a number in others"
    for record in records:
        for name in texts:
            if name not in conflicts:
                tags.setdefault(name, []).append(_tag(record, name, texts[name], units, conflicts))
    lengths = [len(r.inputs) for r in records]
    columns: dict[str, Any] = {
        "product": np.repeat(np.arange(len(records)), lengths),
        "image": _texts(i.image for r in records for i in r.inputs),
        "sha256": _texts(i.sha256 for r in records for i in r.inputs),
    }
    for name, parts in tags.items():
        if name not in conflicts:
            # A tag may be called as what is said of products.
            taken = name in products or name in ("product", "image", "sha256")
            columns[f"tags.{name}" if taken else name] = np.concatenate(parts)
    images = pd.DataFrame({n: pd.Series(v, dtype=v.dtype) for n, v in columns.items()})
    return Index(products, images, units, conflicts)


def _texts(values: Iterable[str]) -> np.ndarray:
    return np.array([*values, ""], dtype=object)[:-1]


def _product_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": record.id,
        "title": record.title,
        "description": record.description,
        "pipeline": record.pipeline.name,
        "store": record.store,
        "licence": record.licence,
        "citation": record.citation,
        "added": record.added,
        "changed": record.changed,
        "code_revision": record.code_revision,
    }
    row |= {f"counts.{name}": float(count) for name, count in record.counts.items()}
    row |= {f"software.{name}": version for name, version in record.software.items()}
    for name, group in record.groups.items():
        given = {key: value for key, value in group.parameters.items() if value is not None}
        for key, value in {**group.resolved, **given}.items():
            if isinstance(value, bool | int | float | str):
                row[f"{name}.{key}"] = value if isinstance(value, str) else float(value)
        row[f"{name}.digest"] = group.digest
        row[f"{name}.failed"], row[f"{name}.left_out"] = float(group.failed), float(group.left_out)
    return row


def _frame(rows: list[dict[str, Any]], conflicts: dict[str, str]) -> pd.DataFrame:
    columns: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        kinds = {isinstance(v, str) for v in values if v is not None}
        if len(kinds) > 1:
            conflicts[name] = "text in some products, a number in others"
        elif kinds == {True}:
            columns[name] = _texts(v or "" for v in values)
        else:
            columns[name] = np.array([np.nan if v is None else v for v in values], np.float64)
    return pd.DataFrame({n: pd.Series(v, dtype=v.dtype) for n, v in columns.items()})


def _tag(
    record: Record, name: str, kinds: set[bool], units: dict[str, str], conflicts: dict[str, str]
) -> np.ndarray:
    """A tag of a product's images, in the units of the first product that has it."""
    values = [i.tags.get(name) for i in record.inputs]
    if kinds == {True}:
        return _texts("" if v is None else str(v) for v in values)
    numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if name not in record.tags:
        return numbers
    own = record.tags[name].units
    base = units.setdefault(name, own)
    if own != base:
        try:
            return converted(numbers, name=name, unit=own, to=base)
        except InputError as error:
            conflicts[name] = str(error)
    return numbers


# --- files ------------------------------------------------------------------------------------


def write_index(folder: Path, index: Index, key: str) -> None:
    """Write an index beside its records; where that is not possible, there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {
        "nanoarray_index": str(INDEX_VERSION),
        "key": key,
        "units": json.dumps(dict(index.units)),
        "conflicts": json.dumps(dict(index.conflicts)),
    }
    for name, frame in ((PRODUCTS, index.products), (IMAGES, index.images)):
        partial = folder / f".{name}.{uuid.uuid4().hex}.partial"  # others may write theirs now
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            pq.write_table(table.replace_schema_metadata(about), partial)
            partial.replace(folder / name)
        except OSError as error:
            _LOG.debug("no index in %s: %s", folder, error)
        finally:
            partial.unlink(missing_ok=True)


def read_index(folder: Path, key: str) -> Index | None:
    """The index that was made from the records whose checksums give ``key``; None without it."""
    import pyarrow as pa

    try:
        products, about = _read(folder / PRODUCTS, key)
        images, _ = _read(folder / IMAGES, key)
        units, conflicts = json.loads(about["units"]), json.loads(about["conflicts"])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        _LOG.debug("the index of %s is made again: %s", folder, error)
        return None
    positions = images.get("product", pd.Series(dtype=int))
    if positions.dtype.kind != "i" or not positions.is_monotonic_increasing:
        return None
    if len(images) and not positions.between(0, len(products) - 1).all():
        return None
    return Index(products, images, units, conflicts)


def _read(path: Path, key: str) -> tuple[pd.DataFrame, dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_symlink():
        raise ValueError(f"{path} is a link")
    file = pq.ParquetFile(path)
    meta = file.metadata
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    about = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}
    if about.get("nanoarray_index") != str(INDEX_VERSION) or about.get("key") != key:
        raise ValueError("made from other records")
    if meta.num_rows > _MAX_ROWS or size > _MAX_BYTES:
        raise ValueError(f"{meta.num_rows} rows of {size} bytes")
    types = file.schema_arrow.types
    if not all(
        pa.types.is_floating(t)
        or pa.types.is_integer(t)
        or pa.types.is_string(t)
        or pa.types.is_large_string(t)
        for t in types
    ):
        raise ValueError("columns that an index has not")
    columns = file.read()
    arrays = {name: columns[name].to_numpy() for name in columns.column_names}
    return pd.DataFrame({n: pd.Series(v, dtype=v.dtype) for n, v in arrays.items()}), about
