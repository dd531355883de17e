"""A catalog as an Intake catalog: one entry per product and group, opened by xarray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nanoarray.archive import store
from nanoarray.catalog.record import Record
from nanoarray.errors import InputError


def export_intake(
    records: Mapping[str, Record], stores: Mapping[str, str], out: str | os.PathLike[str]
) -> int:
    """Write an Intake catalog; gives the number of entries.

    Parameters
    ----------
    records
        Products by id.
    stores
        Address of each product's store.
    out
        YAML file to write. ``intake.open_catalog(out)["ID.GROUP"].read()`` is then an
        `xarray.Dataset`, lazy and dask-backed.

    Raises
    ------
    InputError
        When Intake 2 is not installed, the name does not end in .yaml, or the folder is not there.
    """
    try:
        from intake.readers.datatypes import Zarr
        from intake.readers.entry import Catalog
        from intake.readers.readers import XArrayDatasetReader
    except ImportError:
        raise InputError(
            "exporting needs Intake 2, which is not installed: pip install 'nanoarray[intake]'"
        ) from None
    target = Path(out)
    if target.suffix not in (".yaml", ".yml"):
        raise InputError(f"{target}: expected a name ending in .yaml")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.absolute().parent} does not exist")
    catalog = Catalog(metadata={"description": "Written by nanoarray catalog export"})
    count = 0
    for product, record in records.items():
        url = stores[product]
        address = url if "://" in url else os.path.abspath(url)
        for group in store.group_names(url):
            about = {"title": record.title, "licence": record.licence, "group": group}
            reader = XArrayDatasetReader(
                Zarr(url=address, root=group),
                consolidated=False,
                chunks={},
                metadata={**about, "citation": record.citation},
            )
            name = f"{product}.{group}"
            catalog[name] = reader
            catalog.aliases[name] = name  # what has none is not listed
            count += 1
    catalog.to_yaml_file(str(target))
    return count
