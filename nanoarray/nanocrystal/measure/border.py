"""Crystals that the edge of the image cuts, and the weights of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarray.statistics.edge_weight import miles_lantuejoul


def edge_columns(box: NDArray[np.int32], shape: tuple[int, int]) -> dict[str, NDArray]:
    """Whether crystals touch the edge of the image, and their Miles-Lantuejoul weights.

    Parameters
    ----------
    box
        (n, 4) bounding boxes [px]: first row, first column, row and column after the last.
    shape
        (height, width) of the image [px].

    Returns
    -------
    ``touches_edge`` (n,) bool, true for a crystal with a pixel in the outermost rows or columns;
    ``edge_weight`` (n,), see `nanoarray.statistics.edge_weight.miles_lantuejoul`.
    """
    height, width = shape
    touches = (box[:, 0] == 0) | (box[:, 1] == 0) | (box[:, 2] == height) | (box[:, 3] == width)
    weight = miles_lantuejoul(
        box[:, 2] - box[:, 0],
        box[:, 3] - box[:, 1],
        field_height=height,
        field_width=width,
        touches_edge=touches,
    )
    return {"touches_edge": touches, "edge_weight": weight}
