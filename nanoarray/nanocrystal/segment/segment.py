"""The public entry to segmentation: pixels in, crystals and rejected objects out."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError, InputError
from nanoarray.nanocrystal.segment.annotations import HIDING, blank_boxes, find_annotations
from nanoarray.nanocrystal.segment.classical import segment_classical
from nanoarray.nanocrystal.segment.reject import reject_objects
from nanoarray.nanocrystal.segment.result import Segmentation, assemble

__all__ = ["Method", "Polarity", "segment_image"]

Method = Literal["auto", "network", "classical"]
Polarity = Literal["auto", "dark", "bright"]


def segment_image(
    pixels: NDArray, *, method: Method = "auto", polarity: Polarity = "auto"
) -> Segmentation:
    """Find the crystals of a micrograph.

    Parameters
    ----------
    pixels
        ``(height, width)`` grey values, any scale. No pixel size is needed.
    method
        ``"network"``: a network trained on simulated micrographs; ``"classical"``: background,
        filter, threshold and watershed; ``"auto"``: the network, which finds more on real
        micrographs with manual masks.
    polarity
        Whether crystals are darker or brighter than what is around them; ``"auto"`` finds out.

    Returns
    -------
    Segmentation
        Crystals cut by the edge of the field are kept.

    Raises
    ------
    ImageError
        If the image is not two-dimensional, has values that are not finite, or no contrast.
    InputError
        If method or polarity are unknown, or the weights cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:96, :96]
    >>> field = np.where(np.hypot(y - 48, x - 30) < 14, 60.0, 200.0)
    >>> segment_image(field, polarity="dark").crystal.max()
    np.int32(1)
    """
    if method not in ("auto", "network", "classical"):
        raise InputError(f"unknown method '{method}': use auto, network or classical")
    if polarity not in ("auto", "dark", "bright"):
        raise InputError(f"unknown polarity '{polarity}': use auto, dark or bright")
    _check_pixels(pixels)
    annotations = find_annotations(pixels)
    clear = blank_boxes(pixels, annotations)
    first_doubtful = None
    if method == "classical":
        labels, sign = segment_classical(clear, polarity=polarity)
    else:
        from nanoarray.nanocrystal.segment.net import segment_with_network

        labels, _, sign, doubtful = segment_with_network(clear, polarity=polarity)
        first_doubtful = int(labels.max(initial=0)) + 1
        labels = np.where(doubtful > 0, doubtful + np.int32(first_doubtful - 1), labels)
    # What lies under a box or a bar is not seen: crystals end at its rim.
    labels[np.isin(annotations, HIDING)] = 0
    labels, reasons = reject_objects(
        labels, pixels, annotations=annotations, first_doubtful=first_doubtful
    )
    return assemble(labels, reasons=reasons, polarity=sign)


def _check_pixels(pixels: NDArray) -> None:
    if pixels.ndim != 2:
        raise ImageError(f"the image has {pixels.ndim} dimensions: one grey value per pixel needed")
    if min(pixels.shape) < 8:
        raise ImageError(f"the image is {pixels.shape[0]} x {pixels.shape[1]} px: too small")
    if not np.isfinite(pixels).all():
        raise ImageError("the image has values that are not finite: mend it before segmentation")
