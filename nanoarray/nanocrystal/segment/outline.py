"""Draw the outlines of chosen crystals where the network sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import expand_labels

__all__ = ["grow_outlines"]

#: Where the network finds crystal more likely than not.
_CRYSTAL = 0.5
#: An object that the network does not see by this part is left as it is.
_SEEN = 0.7


def grow_outlines(
    labels: NDArray[np.int32], probability: NDArray[np.float32], *, reach_px: float
) -> NDArray[np.int32]:
    """Let objects grow into what the network takes for crystal.

    The steepest outline of a crystal that is thin at its rim, or touches a bright fringe, lies
    inside it. Objects that touch keep their common line.

    Parameters
    ----------
    labels
        ``(height, width)`` objects 1..n, 0 background.
    probability
        ``(height, width)`` probability of crystal.
    reach_px
        No outline moves farther than this.

    Returns
    -------
    ndarray
        ``(height, width)`` int32; no object loses pixels.
    """
    crystal = probability >= _CRYSTAL
    area = np.bincount(labels.ravel())
    inside = np.bincount(labels.ravel(), crystal.ravel())
    seen = inside >= _SEEN * area
    grown = expand_labels(labels, reach_px)
    return np.where((labels == 0) & crystal & seen[grown], grown, labels).astype(np.int32)
