"""Digests and keys: what a result depends on, in a form that can be compared and named."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
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


#: Packages that shape results, numerically or by how files are read.
_SHAPING = (
    "numpy scipy pandas xarray zarr dask numba scikit-image scikit-learn tifffile imagecodecs "
    "pillow torch optuna"
).split()


@lru_cache(maxsize=1)
def software() -> dict[str, str]:
    """Versions of Python, of nanoarray and its source, and of the packages that shape results.

    ``revision`` is the commit of the source that runs, with "+changes" where it was edited; "" for
    an installed release.
    """
    from importlib.metadata import PackageNotFoundError, version

    found = {"nanoarray": nanoarray.__version__, "revision": code_revision()}
    for name in _SHAPING:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**found, "python": platform.python_version(), "machine": platform.machine()}


def other_versions(before: Mapping[str, str]) -> list[str]:
    """Name the packages that shape results and had another version in a record of `software`."""
    present = software()
    names = [n for n in ("nanoarray", *_SHAPING) if n in before and n in present]
    return differences({n: before[n] for n in names}, {n: present[n] for n in names})


def code_revision() -> str:
    """Commit of the source of this package; "" where that is not known."""
    package = Path(nanoarray.__file__).parent
    if (package.parent / ".git").exists():
        git = ("git", "-C", str(package.parent))
        try:
            head = subprocess.run(
                [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20, check=True
            )
            edited = subprocess.run(
                [*git, "status", "--porcelain", "--", "nanoarray", "pipelines"],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return head.stdout.strip() + ("+changes" if edited.stdout.strip() else "")
    return _installed_commit()


def _installed_commit() -> str:
    """The commit that pip installed from (PEP 610)."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        text = distribution("nanoarray").read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    found = json.loads(text) if text else {}
    return str(found.get("vcs_info", {}).get("commit_id", ""))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
