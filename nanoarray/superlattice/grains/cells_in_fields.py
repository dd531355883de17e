"""Areas of the cells of a large image, whose defects are read in windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nanoarray.fields.windows import Pixels
from nanoarray.superlattice.grains.cells import cell_edges
from nanoarray.superlattice.radon.tile_grid import box_sums

#: Cells along a side of a field.
FIELD_CELLS = 256


def areas_in_fields(
    centres_y: npt.NDArray[np.float64],
    centres_x: npt.NDArray[np.float64],
    *,
    stride_px: float,
    missing: Pixels,
    to_edge: bool,
) -> npt.NDArray[np.float64]:
    """`grains.cells.cell_areas` with a mask of defects that is read in windows."""
    sides = [
        cell_edges(centres, stride_px=stride_px, length_px=length, to_edge=to_edge)
        for centres, length in zip((centres_y, centres_x), missing.shape, strict=True)
    ]
    (low_y, high_y), (low_x, high_x) = sides
    area = np.outer(high_y - low_y, high_x - low_x)
    size = FIELD_CELLS
    for top in range(0, low_y.size, size):
        for left in range(0, low_x.size, size):
            y, x = slice(top, top + size), slice(left, left + size)
            window = tuple(
                slice(int(np.floor(low[s][0] + 0.5)), int(np.ceil(high[s][-1] + 0.5)))
                for s, (low, high) in zip((y, x), sides, strict=True)
            )
            lost = missing[window]
            if not lost.any():
                continue
            first_y, first_x = (w.start - 0.5 for w in window)
            sums = box_sums(
                lost,
                low_y[y] - first_y,
                high_y[y] - first_y,
                low_x[x] - first_x,
                high_x[x] - first_x,
            )
            rest = np.where(area[y, x] - sums < 1e-6, 0.0, area[y, x] - sums)
            area[y, x] = np.minimum(rest, area[y, x])
    return area
