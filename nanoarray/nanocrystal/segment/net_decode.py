"""From the maps of the segmentation network to crystals: flooding from the deepest points.

The depth map is flooded from its maxima downwards. Where two basins meet, they become one crystal
if the pass between them is deep enough relative to the shallower of the two; a contact line lowers
it. Pieces of one crystal that are left are joined. Nothing here is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nanoarray.nanocrystal.segment.flood import basins
from nanoarray.nanocrystal.segment.net_join import join_pieces

__all__ = ["Decoded", "Decoding", "decode"]

#: The network's depth of 1 is the deepest point; what it gives beyond this says no more.
_DEEPEST = 1.2


@dataclass(frozen=True)
class Decoding:
    """Settings of the decoding, chosen once for all images.

    Attributes
    ----------
    foreground
        Probability from which a pixel is crystal.
    saddle
        Two basins are joined when the deepest pass between them is at least this share of the
        shallower basin's depth.
    line_weight
        How much a contact line lowers the ground.
    seed
        Least depth of a crystal.
    smooth_px
        Standard deviation of the smoothing of the depth map.
    least_area_px
        Smaller pieces are dropped.
    least_probability
        Pieces whose mean probability is lower are no crystals.
    doubtful_probability
        From this mean on they are doubtful; below they are ground.
    """

    foreground: float = 0.35
    saddle: float = 0.5
    line_weight: float = 0.4
    seed: float = 0.25
    smooth_px: float = 1.5
    least_area_px: int = 9
    least_probability: float = 0.8
    doubtful_probability: float = 0.6


class Decoded(NamedTuple):
    """What was found in the maps: two label images, which do not overlap.

    Attributes
    ----------
    labels
        Crystals 1..n in order of their first pixel, 0 background, int32.
    doubtful
        Pieces 1..m that the network is not sure of, 0 elsewhere, int32.
    """

    labels: NDArray[np.int32]
    doubtful: NDArray[np.int32]


def decode(
    foreground: NDArray[np.float32],
    depth: NDArray[np.float32],
    contact: NDArray[np.float32],
    *,
    settings: Decoding | None = None,
    whole_range: bool = False,
) -> Decoded:
    """Crystals from the three maps of the network.

    Parameters
    ----------
    foreground, contact
        Probabilities of crystal and of contact line, ``(height, width)``.
    depth
        Depth inside a crystal, 0 at its outline to 1.
    settings
        Thresholds.
    whole_range
        Resolve depths in steps that do not depend on the deepest crystal: so that the parts of a
        large image are flooded alike.

    Returns
    -------
    Decoded
    """
    use = settings or Decoding()
    ground = np.clip(depth, 0, _DEEPEST) * (1 - use.line_weight * contact)
    ground = ndimage.gaussian_filter(ground, use.smooth_px)
    found = basins(
        ground,
        foreground >= use.foreground,
        share=use.saddle,
        least_depth=use.seed,
        least_area_px=use.least_area_px,
        weight=foreground,
        least_weight=use.least_probability,
        doubtful_weight=use.doubtful_probability,
        highest=_DEEPEST if whole_range else None,
    )
    return Decoded(join_pieces(np.maximum(found, 0), contact), np.maximum(-found, 0))
