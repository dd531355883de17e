"""A catalog: a folder of records, one JSON file per product, and what can be done with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from nanoarray.archive import store
from nanoarray.archive.stage_parameters import nearest
from nanoarray.catalog.describe import describe, slug
from nanoarray.catalog.index import Index, make_index, read_index, write_index
from nanoarray.catalog.places import address_of, find_store
from nanoarray.catalog.record import (
    Record,
    check_id,
    read_content,
    read_record,
    write_record,
)
from nanoarray.catalog.verify import GroupCheck, verify_store
from nanoarray.errors import InputError
from nanoarray.expression import Expression, parse

if TYPE_CHECKING:
    import xarray as xr

    from nanoarray.archive.open_table import Table

Place = str | os.PathLike[str]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Catalog:
    """A folder of records.

    Parameters
    ----------
    path
        The folder.
    stores
        Stores, or folders of stores (directories or fsspec URLs), where products may be besides
        the address that their record has: after moving, and for stores on other machines, which
        are asked only where they are named here.
    """

    path: Path
    stores: tuple[str, ...] = ()

    def __init__(self, path: Place, *, stores: Place | Sequence[Place] = ()) -> None:
        places = [stores] if isinstance(stores, str | os.PathLike) else stores
        object.__setattr__(self, "path", Path(path))
        object.__setattr__(self, "stores", tuple(os.fspath(place) for place in places))

    # --- reading ------------------------------------------------------------------------------

    def files(self) -> dict[str, Path]:
        """Record files by name without suffix, sorted.

        Raises
        ------
        InputError
            When there is no such folder.
        """
        if not self.path.is_dir():
            raise InputError(
                f"no catalog at {self.path}: make one with `nanoarray catalog add STORE --catalog "
                f"{self.path}`"
            )
        names = sorted(p for p in self.path.glob("*.json") if not p.name.startswith("."))
        return {path.stem: path for path in names}

    def read(self) -> tuple[dict[str, Record], dict[str, str]]:
        """All records by id, and what is wrong with the files that are none, by file name.

        Two files with one id are both left out, and named.
        """
        records: dict[str, Record] = {}
        homes: dict[str, list[str]] = {}
        problems: dict[str, str] = {}
        for path in self.files().values():
            try:
                record = read_record(path)
            except InputError as error:
                problems[path.name] = str(error)
                continue
            homes.setdefault(record.id, []).append(path.name)
            records[record.id] = record
        for product, names in homes.items():
            if len(names) > 1:
                said = f"{' and '.join(names)} have the id {product!r}: change one of them"
                problems |= dict.fromkeys(names, said)
                del records[product]
            elif names[0] != f"{product}.json":
                problems[names[0]] = f"{names[0]} has the id {product!r}: name it {product}.json"
                del records[product]
        return records, problems

    def problems(self) -> dict[str, str]:
        """What is wrong with record files, by file name."""
        return self.read()[1]

    def ids(self) -> list[str]:
        """Ids of all products, sorted."""
        return sorted(self.read()[0])

    def record(self, product: str) -> Record:
        """The record of a product.

        Raises
        ------
        InputError
            When there is none, or when its file cannot be used.
        """
        check_id(product)
        records, problems = self.read()
        if product in records:
            return records[product]
        for name, problem in problems.items():
            if name == f"{product}.json" or f"id {product!r}" in problem:
                raise InputError(problem)
        listed = ", ".join(sorted(records)) or "none"
        hint = nearest(product, sorted(records))
        raise InputError(f"{self.path} has no product {product!r}{hint}: it has {listed}")

    def index(self) -> Index:
        """The searchable tables of all records, made again where records changed."""
        sums = {name: _checksum(path) for name, path in self.files().items()}
        key = hashlib.sha256(repr(sorted(sums.items())).encode()).hexdigest()
        index = read_index(self.path, key)
        if index is None:
            records, _ = self.read()
            index = make_index(records[product] for product in sorted(records))
            write_index(self.path, index, key)
        return index

    # --- finding ------------------------------------------------------------------------------

    def search(self, expression: str) -> Products:
        """Products with images that fulfil a condition.

        Parameters
        ----------
        expression
            Such as ``"temperature > 20 and pressure == 8.46 and synthesis_method == 'LARP'"``, over
            the tags of images, and over ``id``, ``title``, ``pipeline``, ``licence``,
            ``counts.grains``, ``software.numpy``, ``tiles.stride_px``: see
            `nanoarray.expression`. It is evaluated image by image: one image has to fulfil all of
            it.

        Raises
        ------
        InputError
            For an expression that cannot be read, or names nothing that is in the catalog.
        """
        parsed = parse(expression)
        index = self.index()
        if index.products.empty:  # and so without the names of anything
            return Products(self, {}, {})
        rows = _matching(parsed, index)
        # Images lie product by product, in the order of the records.
        ends = np.cumsum(np.bincount(index.images["product"], minlength=len(index.products)))
        of_products = zip(index.products["id"], np.split(rows, ends[:-1]), strict=True)
        matching = {str(product): chosen for product, chosen in of_products if chosen.any()}
        hits = {product: (int(m.sum()), len(m)) for product, m in matching.items()}
        return Products(self, hits, matching)

    def all(self) -> Products:
        """All products."""
        records, _ = self.read()
        return Products(self, {p: (len(r.inputs),) * 2 for p, r in sorted(records.items())})

    # --- stores -------------------------------------------------------------------------------

    def store(self, product: str) -> str:
        """Address of a product's store, after a look that it is what was recorded.

        Raises
        ------
        InputError
            When it is nowhere, or something else is there.
        """
        return find_store(self.record(product), self.path, self.stores)

    def open(self, product: str) -> xr.DataTree:
        """Open a product's store, lazily, as `nanoarray.open`."""
        return store.open_tree(self.store(product))

    def verify(
        self, product: str, *, place: Place | None = None, progress: Progress | None = None
    ) -> list[GroupCheck]:
        """Read a product's store and compare every array with the record.

        Parameters
        ----------
        product
            Id of the product.
        place
            The store; by default, where the record says.
        progress
            Called with each group, how many are done, and how many there are.
        """
        record = self.record(product)
        url = (
            find_store(record, self.path, self.stores, changed=True)
            if place is None
            else store.as_url(place)
        )
        return verify_store(record, url, progress=progress)

    # --- writing ------------------------------------------------------------------------------

    def add(
        self,
        place: Place,
        *,
        product: str | None = None,
        pipeline: str | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        **about: Any,
    ) -> Record:
        """Record a finished store; a second time, bring its record up to date.

        Parameters
        ----------
        place
            The store.
        product
            Id; by default from the store's name.
        pipeline, settings
            The pipeline that was run and what was changed of it.
        progress
            Called with each group, how many are done, and how many there are.
        **about
            ``title``, ``description``, ``licence``, ``citation``: text. ``commands``: those that
            make the inputs, where they are simulated. What is not given stays as it was.

        Raises
        ------
        InputError
            When the store is not finished, or another store has that id.
        """
        url = store.as_url(place)
        store.check_store(url)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: a catalog is a folder")
        chosen = check_id(product or slug(url))
        address = address_of(url, self.path)
        target = self.path / f"{chosen}.json"
        if target.exists() or target.is_symlink():
            before = read_record(target)
            if before.store != address:
                raise InputError(
                    f"{self.path} has a product {chosen!r} already, of the store {before.store}: "
                    f"choose another id with --id, or delete {target} first"
                )
            kept = ("added", "title", "description", "licence", "citation", "commands")
            about = {**{k: getattr(before, k) for k in kept}, **_given(about)}
        record = describe(
            url,
            product=chosen,
            address=address,
            pipeline=pipeline,
            settings=settings,
            progress=progress,
            **about,
        )
        self.path.mkdir(parents=True, exist_ok=True)
        write_record(target, record)
        self.index()
        return record


def _checksum(path: Path) -> str:
    """Of a record's file; "" where it is none that can be read."""
    try:
        return hashlib.sha256(read_content(path)).hexdigest()
    except InputError:
        return ""


def _given(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if value}


def _matching(expression: Expression, index: Index) -> np.ndarray:
    """Whether each image of an index fulfils an expression."""
    needed = {*expression.names} & {*index.names, *index.conflicts}
    columns = {name: np.empty(0) for name in index.names}
    columns |= {name: index.column(name) for name in needed}
    return expression.rows(columns, len(index.images))


@dataclass(frozen=True)
class Products:
    """Products of a catalog, as a search found them.

    Attributes
    ----------
    catalog
        The catalog.
    hits
        Id -> (images that fulfil the condition, images in all).
    matching
        Id -> which images do, in the order of the record; None where all were asked for.
    """

    catalog: Catalog
    hits: Mapping[str, tuple[int, int]]
    matching: Mapping[str, np.ndarray] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[str]:
        return iter(self.hits)

    @cached_property
    def records(self) -> dict[str, Record]:
        """The records by id."""
        records, _ = self.catalog.read()
        # Of one whose file has gone or changed since, the catalog says what is wrong.
        return {p: records[p] if p in records else self.catalog.record(p) for p in self.hits}

    def frame(self) -> pd.DataFrame:
        """A row per product: id, title, pipeline, images that match, images, counts, store."""
        rows = []
        for product, (found, total) in self.hits.items():
            record = self.records[product]
            rows.append(
                {
                    "id": product,
                    "title": record.title,
                    "pipeline": record.pipeline.name,
                    "matching": found,
                    "images": total,
                    **{n: c for n, c in record.counts.items() if n in ("grains", "crystals")},
                    "store": record.store,
                }
            )
        names = ["id", "title", "pipeline", "matching", "images", "store"]
        return pd.DataFrame(rows, columns=None if rows else names)

    @overload
    def open(self, group: None = None, *, all_images: bool = False) -> dict[str, xr.DataTree]: ...

    @overload
    def open(self, group: str, *, all_images: bool = False) -> Table: ...

    def open(
        self, group: str | None = None, *, all_images: bool = False
    ) -> dict[str, xr.DataTree] | Table:
        """Open the products' stores, lazily.

        Parameters
        ----------
        group
            A table, such as "grains": those of all products are put one after the other, as
            `nanoarray.table` does, with the product's id in ``store``. Without it, whole stores.
        all_images
            Keep rows of images that do not fulfil the condition; by default they are left out.

        Returns
        -------
        dict of xr.DataTree, or Table
            By id; or one table.

        Raises
        ------
        InputError
            When there are no products, a store is nowhere, or it is not what was recorded.
        """
        from nanoarray.archive.open_table import named_tables

        if not self.hits:
            raise InputError("no product was found: there is nothing to open")
        where = (self.catalog.path, self.catalog.stores)
        places = {product: find_store(r, *where) for product, r in self.records.items()}
        if group is None:
            return {product: store.open_tree(url) for product, url in places.items()}
        rows = named_tables(places, group)
        if self.matching is None or all_images:
            return rows
        for product, record in self.records.items():
            if len(record.inputs) != len(self.matching[product]):
                raise InputError(f"product {product!r} changed since it was found: search again")
        return _of_matching_images(rows, np.concatenate([self.matching[p] for p in self.records]))


def _of_matching_images(rows: Table, matching: np.ndarray) -> Table:
    """Rows of the images that fulfil a condition, of all images of the table's stores."""
    if matching.all():
        return rows
    dim = rows.row_dim
    if dim == "image":
        return rows.isel(image=np.flatnonzero(matching))
    if "image_index" not in rows.variables:
        raise InputError(
            "these rows are of several images, of which some do not fulfil the condition: open "
            "them with all_images=True"
        )
    return rows.isel({dim: np.flatnonzero(matching[rows["image_index"].values])})
