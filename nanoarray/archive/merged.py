"""Tables of several stores as one: rows one after the other, nothing read."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from nanoarray.archive.columns import Rows, dtype_of, lazy
from nanoarray.errors import InputError
from nanoarray.unit_text import is_plain_unit

Part = xr.Dataset
_Convert = Callable[[np.ndarray], np.ndarray]


def merge(parts: Mapping[str, Part], images: Mapping[str, Part]) -> tuple[xr.Dataset, xr.Dataset]:
    """Put the rows of several stores, and their images, one after the other.

    Parameters
    ----------
    parts
        The table of each store, by the store's name.
    images
        The table ``images`` of each store; the same object where that is the table wanted.

    Returns
    -------
    rows, images
        Both with ``store``, the name of the store; ``image_index`` counts along the second.

    Raises
    ------
    InputError
        When tables have rows along different dimensions, or units that cannot be converted.
    """
    _count_twice(images)
    prefix = _prefixes(images)
    offsets = np.cumsum([0, *(ds.sizes["image"] for ds in images.values())])
    joined = _concatenate(images, "image", {name: {"image": prefix[name]} for name in images})
    if all(parts[name] is images[name] for name in parts):
        return joined, joined
    dims = {name: _row_dim(ds) for name, ds in parts.items()}
    if len(set(dims.values())) > 1:
        said = ", ".join(f"{dim} in {name}" for name, dim in dims.items())
        raise InputError(f"the tables do not fit together: their rows are {said}")
    special: dict[str, dict[str, _Convert]] = {
        name: {"image_index": partial(_shifted, by=int(offsets[i]))} for i, name in enumerate(parts)
    }
    return _concatenate(parts, next(iter(dims.values())), special), joined


def _row_dim(ds: Part) -> str:
    return str(next(iter(ds.data_vars.values())).dims[0])


def _shifted(index: np.ndarray, *, by: int) -> np.ndarray:
    return np.where(index >= 0, index + by, index)


def _prefixed(ids: np.ndarray, *, doubles: frozenset[str], name: str) -> np.ndarray:
    values = [f"{name}:{i}" if i in doubles else str(i) for i in ids.tolist()]
    return np.array(values, dtype=object)


def _prefixes(images: Mapping[str, Part]) -> dict[str, _Convert]:
    """What makes the ids of each store's images unique among all."""
    counts = Counter(str(i) for ds in images.values() for i in ds["image"].values)
    doubles = frozenset(i for i, count in counts.items() if count > 1)
    return {name: partial(_prefixed, doubles=doubles, name=name) for name in images}


def _count_twice(images: Mapping[str, Part]) -> None:
    """Warn of micrographs that several stores have: their rows would count as many times."""
    shas = Counter(s for ds in images.values() for s in ds["sha256"].values.tolist() if s)
    copies = sum(count > 1 for count in shas.values())
    if copies:
        warnings.warn(
            f"{copies} micrographs are in several of the stores {', '.join(images)} (same "
            "SHA-256): their rows count more than once",
            stacklevel=5,
        )


def _concatenate(
    parts: Mapping[str, Part], dim: str, special: Mapping[str, Mapping[str, _Convert]]
) -> xr.Dataset:
    lengths = [ds.sizes[dim] for ds in parts.values()]
    names = list(dict.fromkeys(str(n) for ds in parts.values() for n in ds.variables))
    merged: dict[str, xr.Variable] = {}
    dropped: dict[str, str] = {}
    for name in names:
        variables = [ds.variables.get(name) for ds in parts.values()]
        reason = _misfit(variables, dim)
        if reason == "other":
            continue
        if reason:
            dropped[name] = reason
            continue
        present = [v for v in variables if v is not None]
        if present[0].ndim > 1:
            merged[name] = xr.Variable.concat(present, dim)  # type: ignore[no-untyped-call]
            continue
        units = str(present[0].attrs.get("units", "1"))
        convert: list[_Convert | None] = [
            special.get(store, {}).get(name) or (None if v is None else _to(units, v, name))
            for store, v in zip(parts, variables, strict=True)
        ]
        rows = Rows(variables, lengths, dtype=dtype_of(present), convert=convert)
        merged[name] = lazy(rows, (dim,), dict(present[0].attrs))
    if dropped:
        said = "; ".join(f"{name} ({reason})" for name, reason in dropped.items())
        warnings.warn(f"left out of the table of several stores: {said}", stacklevel=6)
    coords = {n for ds in parts.values() for n in map(str, ds.coords)} & set(merged)
    attrs = {"units": "1", "long_name": "store the row is of"}
    stores = np.repeat(np.array(list(parts), dtype=object), lengths)
    return xr.Dataset(
        {name: v for name, v in merged.items() if name not in coords},
        coords={"store": (dim, stores, attrs), **{name: merged[name] for name in sorted(coords)}},
    )


def _misfit(variables: list[xr.Variable | None], dim: str) -> str:
    """Why a variable cannot be put together; "other" where it is not along the rows."""
    present = [v for v in variables if v is not None]
    if any(v.dims[:1] != (dim,) for v in present):
        return "other"
    if len({(v.dims, v.shape[1:]) for v in present}) > 1:
        return f"of shapes {', '.join(str(v.shape[1:]) for v in present)} per row"
    texts = {v.dtype.kind in "OUT" for v in present}
    if len(texts) > 1:
        return "text in some stores, numbers in others"
    if len(present) < len(variables) and (present[0].ndim > 1 or present[0].dtype.kind in "bu"):
        return "not in every store"
    return ""


def _to(units: str, variable: xr.Variable, name: str) -> _Convert | None:
    own = str(variable.attrs.get("units", "1"))
    if own == units:
        return None
    return partial(converted, name=name, unit=own, to=units)


def converted(values: np.ndarray, *, name: str, unit: str, to: str) -> np.ndarray:
    """Convert ``values`` from ``unit`` into ``to``.

    Raises
    ------
    InputError
        When they do not measure the same quantity.
    """
    import pint

    registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        if not (is_plain_unit(unit) and is_plain_unit(to)):
            raise ValueError("no unit")
        result: np.ndarray = registry.Quantity(values, unit).to(to).magnitude
    except (pint.PintError, AttributeError, ArithmeticError, TypeError, ValueError) as error:
        raise InputError(
            f"{name} is in {unit} in one store and in {to} in another, which cannot be "
            f"converted ({error}): rename the tag in one of them"
        ) from None
    return result
