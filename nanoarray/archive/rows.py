"""Rows of a table of labelled regions, measured image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from nanoarray import schema
from nanoarray.errors import DamagedError, NanoarrayError

#: How the reason of an image begins that failed, and was not left out on purpose.
FAILED = "failed: "


def failure(error: Exception) -> str:
    """What a group says of an image whose kernel raised `error`."""
    name = "" if isinstance(error, NanoarrayError) else f"{type(error).__name__}: "
    return f"{FAILED}{name}{error}"


def measure_rows(
    measure: Callable[[int], Mapping[str, np.ndarray]],
    counts: np.ndarray,
    *,
    own: xr.Dataset,
    group: str,
    rows: slice,
    measure_part: Callable[[int, slice], Mapping[str, np.ndarray] | None] | None = None,
) -> dict[str, Any]:
    """Rows `rows` of a table that holds the regions of every image, one image after another.

    An image whose measuring raises keeps its rows, unknown but for image and label, and the reason
    in `problem`; the others are not lost with it.

    Parameters
    ----------
    measure
        Gives the columns of all regions of the image at a position; those it leaves out, as
        `problem`, stay as the schema fills them.
    counts
        (images,) regions of each image.
    own
        The table's own group, for its columns and their types.
    group
        Its name in the schema.
    rows
        Which rows are wanted.
    measure_part
        Gives the columns of some regions of an image, by their places among those of the image;
        None where the image is measured at once.

    Returns
    -------
    Every column of the table; none where no row is wanted.
    """
    ends = np.cumsum(counts)
    starts = ends - counts
    parts = []
    for i in np.flatnonzero((ends > rows.start) & (starts < rows.stop) & (counts > 0)).tolist():
        kept = slice(max(rows.start - starts[i], 0), min(rows.stop, ends[i]) - starts[i])
        columns = unknown_rows(own, group, kept.stop - kept.start)
        try:
            some = measure_part(i, kept) if measure_part is not None else None
            columns |= some or {name: values[kept] for name, values in measure(i).items()}
        except (OSError, MemoryError, DamagedError):
            raise  # the place or the machine failed, not the image: the block is to be done again
        except Exception as error:  # noqa: BLE001 -- one bad image must not lose the table
            columns["image_index"][:] = i
            columns["label"][:] = np.arange(kept.start + 1, kept.stop + 1)
            columns["problem"][:] = failure(error)
        parts.append(columns)
    return {n: np.concatenate([part[n] for part in parts]) for n in parts[0]} if parts else {}


def row_identity(counts: np.ndarray, rows: slice) -> dict[str, np.ndarray]:
    """Image and label of rows of a table of regions, of which each image has so many."""
    ends = np.cumsum(counts)
    places = np.arange(rows.start, rows.stop)
    image = np.searchsorted(ends, places, side="right")
    return {"image_index": image, "label": places - (ends - counts)[image] + 1}


def unknown_rows(own: xr.Dataset, group: str, count: int) -> dict[str, np.ndarray]:
    """Columns of `count` rows of which nothing is known."""
    columns = {}
    for name, variable in own.data_vars.items():
        entry = schema.GROUPS[group][str(name)]
        dtype = object if entry.dtype == "str" else variable.dtype
        columns[str(name)] = np.full((count, *variable.shape[1:]), entry.fill_value, dtype)
    return columns
