"""Digests and keys: what a result depends on, in a form that can be compared and named."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import nanoarray


def digest(*parts: Any) -> str:
    """SHA-256 of anything that JSON can hold, as 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def block_key(*parts: Any) -> int:
    """A digest as a non-zero 64-bit number, as ``block_key`` arrays hold it."""
    return int(digest(*parts), 16) or 1


def array_digest(arrays: Mapping[str, Any]) -> str:
    """Digest of named arrays: their shapes, dtypes and bytes."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        data = np.asarray(arrays[name])
        if data.dtype.kind in "UOT":
            data = np.array([s.encode() for s in data.ravel().tolist()], dtype=bytes)
        sha.update(f"{name}{data.shape}{data.dtype}".encode())
        sha.update(np.ascontiguousarray(data).tobytes())
    return sha.hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name what differs between two nested parameter records, as ``stage.key: 1 -> 2``."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return found


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def software(
    names: Iterable[str] = ("numpy", "scipy", "scikit-image", "xarray", "zarr", "dask"),
) -> dict[str, str]:
    """Versions of nanoarray and of the packages that shape its results."""
    from importlib.metadata import version

    return {"nanoarray": nanoarray.__version__, **{name: version(name) for name in names}}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
