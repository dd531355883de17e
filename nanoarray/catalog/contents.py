"""What the arrays of a store hold, as checksums and figures that a record can keep."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray.archive import store
from nanoarray.catalog.record import ArrayRecord

#: Where files were is not what they hold.
NOT_CONTENT: Mapping[str, frozenset[str]] = {"images": frozenset(("path",))}
#: Values in memory at a time.
_SLAB_BYTES = 64 * 2**20


def group_arrays(url: str, group: str) -> dict[str, ArrayRecord]:
    """Checksum and figures of every variable of a group, sorted by name.

    The checksum is the SHA-256 of the values alone, in C order and little-endian, each text as its
    length and UTF-8 (``3:abc,``): not of chunks or compression, which may change without a value
    changing. Arrays are read some 64 MB at a time.
    """
    ds = store.open_group(url, group)
    left = NOT_CONTENT.get(group, frozenset())
    names = sorted(str(n) for n in ds.variables if str(n) not in left)
    return {name: array_record(ds.variables[name]) for name in names}


def checksum(arrays: Mapping[str, ArrayRecord]) -> str:
    """One checksum for a group: of the names, dtypes, shapes and checksums of its arrays."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype} {array.shape} {array.units} {array.sha256}\n".encode())
    return sha.hexdigest()


def array_record(variable: xr.Variable) -> ArrayRecord:
    """Checksum and figures of one variable; see `group_arrays`."""
    sha = hashlib.sha256()
    text = variable.dtype.kind in "OUT"
    known, total, least, largest = 0, 0.0, math.inf, -math.inf
    for values in _slabs(variable):
        if text:
            texts = [str(v) for v in values.ravel().tolist()]
            for content in (t.encode() for t in texts):
                sha.update(b"%d:%b," % (len(content), content))
            known += sum(bool(t) for t in texts)
            continue
        plain = np.ascontiguousarray(values)
        sha.update(plain.astype(plain.dtype.newbyteorder("<"), copy=False).tobytes())
        numbers = plain[~np.isnan(plain)] if plain.dtype.kind == "f" else plain.ravel()
        if numbers.size:
            known += numbers.size
            total += float(numbers.sum(dtype=np.float64))
            least, largest = min(least, float(numbers.min())), max(largest, float(numbers.max()))
    finite = known and not text and all(map(math.isfinite, (least, largest, total)))
    return ArrayRecord(
        dims=tuple(map(str, variable.dims)),
        shape=tuple(variable.shape),
        dtype="str" if text else str(variable.dtype),
        units=str(variable.attrs.get("units", "")),
        sha256=sha.hexdigest(),
        known=known,
        least=least if finite else None,
        largest=largest if finite else None,
        mean=total / known if finite else None,
    )


def _slabs(variable: xr.Variable) -> Iterator[np.ndarray]:
    """The values in C order, some at a time: rows, or rows of rows where one is large."""
    if variable.ndim == 0 or variable.nbytes <= _SLAB_BYTES:
        yield np.asarray(variable.values)
        return
    rows = max(1, _SLAB_BYTES * variable.shape[0] // variable.nbytes)
    for start in range(0, variable.shape[0], rows):
        part = variable[start : start + rows]
        if rows == 1 and part.nbytes > _SLAB_BYTES and part.ndim > 1:
            yield from _slabs(part[0])
        else:
            yield np.asarray(part.values)


def differences(old: ArrayRecord, new: ArrayRecord) -> str:
    """How an array differs from its record; "" where it is the same to the last bit."""
    for name in ("dims", "dtype", "shape", "units"):
        a, b = getattr(old, name), getattr(new, name)
        if a != b:
            return f"{name} {_plain(b)}, recorded {_plain(a)}"
    if old.sha256 == new.sha256:
        return ""
    said = [
        f"{name} {b:.9g}, recorded {a:.9g}"
        for name in ("known", "least", "largest", "mean")
        if (a := getattr(old, name)) is not None
        and (b := getattr(new, name)) is not None
        and a != b
    ]
    return f"values differ ({', '.join(said) or 'known, least, largest and mean are the same'})"


def within_rounding(old: ArrayRecord, new: ArrayRecord, *, tolerance: float = 1e-6) -> bool:
    """Whether figures of a floating-point array agree to ``tolerance`` of the values' range."""
    if not old.dtype.startswith("float") or (old.dtype, old.shape, old.units, old.known) != (
        new.dtype,
        new.shape,
        new.units,
        new.known,
    ):
        return False
    figures = [(old.least, new.least), (old.largest, new.largest), (old.mean, new.mean)]
    if any(a is None or b is None for a, b in figures):
        return False
    scale = max(abs(float(a or 0)) for a, _ in figures) or 1.0
    return all(abs(float(a or 0) - float(b or 0)) <= tolerance * scale for a, b in figures)


def _plain(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
