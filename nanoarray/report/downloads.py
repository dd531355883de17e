"""Tables as CSV inside the page, as far as a page should carry them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import xarray as xr

from nanoarray.archive.tables import table, write_table
from nanoarray.report.contents import Contents
from nanoarray.report.style import data_uri

#: A page that carries larger tables is slow to open; `nanoarray table` has no such limit.
MAX_BYTES = 2_000_000
#: Bytes that a cell of a table takes at least, to know without writing it that it is too large.
_CELL_BYTES = 2


@dataclass(frozen=True)
class Download:
    """A link: ``href`` holds the file itself, "" where it is too large; ``command`` makes it.

    ``size`` [bytes] is 0 where the file was not even written.
    """

    name: str
    title: str
    rows: int
    size: int
    href: str
    command: str


def downloads(contents: Contents) -> list[Download]:
    """CSV files of the tables that are there."""
    found = []
    titles = {
        "grains": "every grain with the tags of its image",
        "grain_statistics": "statistics by condition",
        "crystals": "every crystal and rejected object with the tags of its image",
        "shapes": "shape parameters, in the order of the crystals",
        "shape_groups": "shape groups, in the order of the crystals",
        "classes": "classes by the classifier, in the order of the crystals",
        "crystal_statistics": "statistics by condition",
        "images": "every image with its tags",
    }
    for group, title in titles.items():
        if contents.complete(group):
            found.append(_download(contents.url, group, title))
    if len(contents.left_out):
        text = contents.left_out.to_csv(index=False).encode("utf-8")
        found.append(
            _link("left_out.csv", "images left out, with reasons", len(contents.left_out), text, "")
        )
    return found


def _download(url: str, group: str, title: str) -> Download:
    ds = _flat(table(url, group))
    command = f"nanoarray table {url} {group} --out {group}.csv"
    rows = next(iter(ds.sizes.values()))
    if rows * len(ds.variables) * _CELL_BYTES > MAX_BYTES:
        return Download(f"{group}.csv", title, rows, 0, "", command)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{group}.csv"
        write_table(ds, path)
        content = path.read_bytes()
    return _link(f"{group}.csv", title, rows, content, command)


def _flat(ds: xr.Dataset) -> xr.Dataset:
    """The columns along the table's own dimension, without its raw headers."""
    dim = next(d for d in ("grain", "crystal", "condition", "image") if d in ds.dims)
    names = [n for n, v in ds.variables.items() if v.dims == (dim,) and n != "metadata"]
    return ds[names]


def _link(name: str, title: str, rows: int, content: bytes, command: str) -> Download:
    fits = len(content) <= MAX_BYTES
    href = data_uri(content, "text/csv;charset=utf-8") if fits else ""
    return Download(name, title, rows, len(content), href, command)


def frame_rows(frame: pd.DataFrame, limit: int) -> tuple[list[tuple[str, ...]], int]:
    """The first rows of a table as text, and how many there are beyond them."""
    rows = [tuple(map(str, row)) for row in frame.head(limit).itertuples(index=False)]
    return rows, max(0, len(frame) - limit)
