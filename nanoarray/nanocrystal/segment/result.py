"""What segmentation returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segmentation", "assemble"]


@dataclass(frozen=True)
class Segmentation:
    """Crystals of one image, and what was found and turned down.

    Attributes
    ----------
    crystal
        ``(height, width)`` accepted crystals 1..n, 0 elsewhere.
    rejected
        ``(height, width)`` rejected objects n+1..n+m, 0 elsewhere; they do not overlap crystals.
    reasons
        Why each of the m rejected objects was rejected, in the order of their ids.
    polarity
        ``"dark"`` or ``"bright"`` crystals.
    """

    crystal: NDArray[np.int32]
    rejected: NDArray[np.int32]
    reasons: tuple[str, ...]
    polarity: str


def assemble(labels: NDArray[np.int32], *, reasons: dict[int, str], polarity: str) -> Segmentation:
    """Number the kept objects of a label image 1..n and the rejected ones after them.

    Parameters
    ----------
    labels
        ``(height, width)`` objects by any positive ids.
    reasons
        Reason of every rejected id.
    polarity
        ``"dark"`` or ``"bright"``.

    Returns
    -------
    Segmentation
    """
    present = np.flatnonzero(np.bincount(labels.ravel()))
    present = present[present > 0]
    kept = [int(i) for i in present if int(i) not in reasons]
    gone = [int(i) for i in present if int(i) in reasons]
    accepted = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    refused = np.zeros_like(accepted)
    accepted[kept] = np.arange(1, len(kept) + 1)
    refused[gone] = np.arange(len(kept) + 1, len(kept) + len(gone) + 1)
    return Segmentation(
        accepted[labels], refused[labels], tuple(reasons[i] for i in gone), polarity
    )
