"""Opening tables: of one store or of several, lazily, with the tags of each row's image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.archive import store
from nanoarray.archive.columns import Joined, Rows, lazy
from nanoarray.archive.lineage import is_current
from nanoarray.archive.merged import merge
from nanoarray.errors import InputError
from nanoarray.expression import parse

#: Variables of ``images`` that are no tags: pixels, bookkeeping, raw headers.
NOT_TAGS = frozenset(
    "intensity metadata sha256 path problem warning ok height width bit_depth data_bar "
    "pixel_size_record".split()
)
#: Rows whose condition is evaluated at a time: some tens of MB.
_QUERY_ROWS = 1_000_000


class Table(xr.Dataset):  # type: ignore[no-untyped-call]
    """A Dataset of rows along one dimension, whose `query` also takes a plain condition."""

    __slots__ = ()

    @property
    def row_dim(self) -> str:
        """The dimension along which the rows are.

        Raises
        ------
        InputError
            When the variables share none.
        """
        dims = dict.fromkeys(v.dims[:1] for v in self.data_vars.values())
        if len(dims) != 1 or () in dims:
            raise InputError(
                f"no table: its variables are along {', '.join(map(str, self.dims))}; name the "
                'dimension: query(grain="area > 0.1")'
            )
        ((dim,),) = dims
        return str(dim)

    def query(  # type: ignore[override]
        self, queries: str | Mapping[Hashable, Any] | None = None, *args: Any, **kwargs: Any
    ) -> Table:
        """Rows that fulfil a condition on the columns and tags.

        Parameters
        ----------
        queries
            A condition, such as ``"temperature > 20 and area > 0.1"``: see
            `nanoarray.expression`. Only the columns that it names are read, a million rows at a
            time; the result is as lazy as the table. A value that is not known fulfils nothing.
        *args, **kwargs
            As for `xarray.Dataset.query`, when ``queries`` is no text.

        Raises
        ------
        InputError
            For a condition that cannot be read, or names no column.
        """
        if not isinstance(queries, str):
            found: Table = super().query(queries, *args, **kwargs)
            return found
        if args or kwargs:
            raise InputError("give one condition as text, or conditions by dimension, not both")
        dim = self.row_dim
        return self.isel({dim: np.flatnonzero(self.where_rows(queries))})

    def where_rows(self, condition: str) -> np.ndarray:
        """Whether each row fulfils a condition; see `query`."""
        expression, dim = parse(condition), self.row_dim
        columns = {str(n): v for n, v in self.variables.items() if v.dims == (dim,)}
        length = self.sizes[dim]
        chosen = np.zeros(length, bool)
        for start in range(0, max(length, 1), _QUERY_ROWS):
            rows = slice(start, min(length, start + _QUERY_ROWS))
            values = {
                name: np.asarray(v[rows].values) if name in expression.names else np.empty(0)
                for name, v in columns.items()
            }
            chosen[rows] = expression.rows(values, rows.stop - rows.start)
        return chosen


def table(stores: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], group: str) -> Table:
    """Open a table of a store, or of several, with the tags of each row's image joined on.

    Parameters
    ----------
    stores
        A store, or several whose rows are put one after the other, with the name of each row's
        store in ``store``. Ids of images that several stores have get the store's name before
        them; units that differ are converted.
    group
        ``"grains"``, ``"images"``, ``"grain_statistics"``: any group with rows. Further tables of a
        group are named behind a slash: ``"grain_statistics/pair"`` (comparisons of conditions) and
        ``"grain_statistics/trend"``.

    Returns
    -------
    Table
        An `xarray.Dataset` with rows along the group's dimension, ready for ``.query`` and
        ``.groupby``. Columns and tags are read when they are used; variables with inner
        dimensions are dask-backed. Rows with an ``image_index``, and rows that belong to the
        crystals of a store, carry ``image`` (the id) and every tag of their image as coordinates.

    Raises
    ------
    InputError
        When there is no such store or group, when the group holds no table, or when tables of
        several stores do not fit together.
    """
    if isinstance(stores, str | os.PathLike):
        return _one(store.as_url(stores), group)
    urls = [store.as_url(place) for place in stores]
    return named_tables(dict(zip(_names(urls), urls, strict=True)), group)


def named_tables(places: Mapping[str, str], group: str) -> Table:
    """As `table` of several stores, with a name for each."""
    if not places:
        raise InputError("no store was given: expected one or more")
    parts, images = {}, {}
    for name, url in places.items():
        parts[name] = _rows(url, group)
        images[name] = _rows(url, "images") if group != "images" else parts[name]
    rows, joined = merge(parts, images)
    if "image_index" in rows:
        rows = join_tags(rows, joined, str(rows["image_index"].dims[0]))
    return Table(rows.data_vars, rows.coords)


def _names(urls: Sequence[str]) -> list[str]:
    """A name for each store: the last part of its address, or all of it where two share that."""
    if len(set(urls)) < len(urls):
        double = next(url for url in urls if urls.count(url) > 1)
        raise InputError(f"{double} is given twice: its rows would count twice")
    short = [url.rsplit("/", 1)[-1].removesuffix(".zarr") for url in urls]
    return [s if short.count(s) == 1 else url for s, url in zip(short, urls, strict=True)]


def _one(url: str, group: str) -> Table:
    rows = _rows(url, group)
    if "image_index" in rows:
        dim = str(rows["image_index"].dims[0])
        rows = join_tags(rows, store.open_group(url, "images"), dim)
    return Table(rows.data_vars, rows.coords)


def _rows(url: str, group: str) -> xr.Dataset:
    """The rows of a group of one store, without tags."""
    store.check_store(url)
    group, _, other = group.partition("/")
    ds = store.open_group(url, group)
    inner = [n for n, v in ds.data_vars.items() if v.ndim > 1]
    ds = ds.assign(store.open_group(url, group, chunks={})[inner])
    record = store.provenance(url, group)
    dim = other or record.get("dim", "")
    if not is_current(url, group):
        state = "out of date: images or tags changed" if record.get("complete") else "incomplete"
        warnings.warn(f"group {group!r} of {url} is {state}: run the pipeline again", stacklevel=4)
    names = [n for n, v in ds.data_vars.items() if v.dims[:1] == (dim,) and n != "intensity"]
    if not dim or not names:
        raise InputError(
            f"group {group!r} holds no table: expected one with rows, such as 'grains'"
        )
    rows = ds[names]
    rows.attrs = {}
    for name, variable in list(rows.variables.items()):
        if variable.dtype.kind in "TO" and variable.dims == (dim,) and name != dim:
            text = Rows([variable], [variable.size], dtype=np.dtype(object))
            rows[name] = lazy(text, (dim,), variable.attrs)
        elif variable.dtype.kind == "T":
            rows[name] = (variable.dims, variable.values.astype(object), variable.attrs)
    # A store lists its arrays in no order: the schema's is the one to read them in.
    known = [*schema.GROUPS.get(group, {}), *record.get("variables", [])]
    order = {name: i for i, name in reversed(list(enumerate(known)))}
    rows = rows[sorted(rows.data_vars, key=lambda n: (order.get(str(n), len(order)), str(n)))]
    if dim == "crystal" and "image_index" not in rows:
        rows = _as_crystals(url, rows)
    return rows


def _as_crystals(url: str, rows: xr.Dataset) -> xr.Dataset:
    """Which image and crystal each row is of, for what is in the order of the crystals."""
    crystals = store.open_group(url, "crystals")
    if crystals.sizes["crystal"] != rows.sizes["crystal"]:
        return rows  # out of date: of other crystals
    return rows.assign_coords({name: crystals[name] for name in ("image_index", "label")})


def join_tags(rows: xr.Dataset, images: xr.Dataset, dim: str) -> xr.Dataset:
    """Give every row along ``dim`` the id and the tags of the image of its ``image_index``.

    Nothing is read before it is used.
    """
    index = rows["image_index"].variable
    tags = {}
    for name, variable in images.variables.items():
        if variable.dims == ("image",) and name not in NOT_TAGS and name not in rows.variables:
            tags[str(name)] = lazy(Joined(index, variable), (dim,), dict(variable.attrs))
    order = {name: i for i, name in enumerate(schema.GROUPS["images"])}
    names = sorted(tags, key=lambda n: (order.get(n, len(order)), n))
    return rows.assign_coords({name: tags[name] for name in names})
