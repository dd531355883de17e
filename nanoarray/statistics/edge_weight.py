"""Correction for what the edge of the field cuts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["miles_lantuejoul"]


def miles_lantuejoul(
    height: npt.ArrayLike,
    width: npt.ArrayLike,
    *,
    field_height: float,
    field_width: float,
    touches_edge: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Weight of every region for statistics in which those at the edge of the field are left out.

    Large regions touch the edge more often, so that the regions left inside are too small on
    average. The weight is one over the probability that a region of this bounding box lies inside
    without touching the outermost rows and columns: of its H x W positions on the grid,
    (H - 1 - h)(W - 1 - w) are inside.

    Parameters
    ----------
    height, width
        (n,) sides of the bounding boxes [pixels or cells].
    field_height, field_width
        Sides of the field [pixels or cells].
    touches_edge
        (n,) which regions own a pixel or cell of the outermost rows or columns.

    Returns
    -------
    (n,) weights, above 1; 0 for the regions that touch the edge.

    References
    ----------
    Miles, *On the elimination of edge effects in planar sampling*, 1974; Lantuejoul, *Computation
    of the histograms of the number of edges and neighbours of cells in a tessellation*, 1978.
    """
    rows = field_height - 1.0 - np.asarray(height, np.float64)
    columns = field_width - 1.0 - np.asarray(width, np.float64)
    inside = np.maximum(rows * columns, 1.0)
    return np.where(touches_edge, 0.0, field_height * field_width / inside)
