"""Export a table of a store as Parquet or CSV, some rows at a time."""

from __future__ import annotations

import os

from nanoarray.archive.tables import table, write_table


def export_table(
    store_url: str | os.PathLike[str], group: str, path: str | os.PathLike[str]
) -> int:
    """Write a table with the tags of each row's image; memory does not grow with the table.

    Parameters
    ----------
    store_url
        A store.
    group
        A group with rows, as `nanoarray.table` takes it.
    path
        A file ending in ``.parquet``, with ``units`` and ``long_name`` in the metadata of each
        column, or in ``.csv``, with the unit in the column's name (``area_um2``) and an apostrophe
        before a text that a spreadsheet would run as a formula.

    Returns
    -------
    int
        The number of rows.

    Raises
    ------
    InputError
        No such store or table, another ending, or a folder that is not there.
    """
    return write_table(table(store_url, group), path)
