"""The public entry to segmentation: pixels in, crystals and rejected objects out."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError, InputError
from nanoarray.nanocrystal.segment.annotations import blank_boxes, find_annotations
from nanoarray.nanocrystal.segment.classical import segment_classical
from nanoarray.nanocrystal.segment.reject import reject_objects
from nanoarray.nanocrystal.segment.result import Segmentation, assemble

__all__ = ["Method", "Polarity", "segment_image"]

Method = Literal["auto", "network", "combined", "classical"]
Polarity = Literal["auto", "dark", "bright"]

#: Pixels of the reduced image on which the polarity is found.
_POLARITY_PX = 200_000
#: How many times better bright crystals must fit than dark ones: most micrographs of crystals are
#: bright-field, and gaps between dark crystals can pass for bright ones.
_BRIGHT_FACTOR = 3.0


def segment_image(
    pixels: NDArray, *, method: Method = "auto", polarity: Polarity = "auto"
) -> Segmentation:
    """Find the crystals of a micrograph.

    Parameters
    ----------
    pixels
        ``(height, width)`` grey values, any scale. No pixel size is needed.
    method
        ``"classical"``: regions of all grey levels, cut at necks, judged by outline and shape;
        ``"network"``: a network trained on simulated micrographs; ``"combined"``: regions of the
        classical method, chosen with the network's answer; ``"auto"``: the network, which does as
        well as both on real micrographs with manual masks, and is faster.
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
    if method not in ("auto", "network", "combined", "classical"):
        raise InputError(f"unknown method '{method}': use auto, network, combined or classical")
    if polarity not in ("auto", "dark", "bright"):
        raise InputError(f"unknown polarity '{polarity}': use auto, dark or bright")
    _check_pixels(pixels)
    annotations = find_annotations(pixels)
    clear = blank_boxes(pixels, annotations)
    sign = find_polarity(clear) if polarity == "auto" else polarity
    network = None
    if method != "classical":
        from nanoarray.nanocrystal.segment.net import segment_with_network

        network = segment_with_network(clear, polarity=sign)
    if method in ("auto", "network") and network is not None:
        labels, _ = network
    else:
        labels, _ = segment_classical(clear, polarity=sign, network=network)
    labels, reasons = reject_objects(labels, pixels, annotations=annotations)
    return assemble(labels, reasons=reasons, polarity=sign)


def find_polarity(pixels: NDArray) -> Literal["dark", "bright"]:
    """Whether dark or bright regions look more like crystals.

    Both are segmented on a reduced image; the one whose objects fit better in sum wins.
    """
    step = max(int(np.ceil(np.sqrt(pixels.size / _POLARITY_PX))), 1)
    height, width = (n // step * step for n in pixels.shape)
    if min(height, width) < 8:
        return "dark"
    small = pixels[:height, :width].astype(np.float32)
    small = small.reshape(height // step, step, width // step, step).mean(axis=(1, 3))
    fit = {}
    for sign in ("dark", "bright"):
        labels, quality = segment_classical(small, polarity=sign)
        area = np.bincount(labels.ravel(), minlength=quality.size + 1)[1:]
        # The square root: neither many specks nor one large gap decides alone.
        fit[sign] = float((quality * np.sqrt(area)).sum())
    return "bright" if fit["bright"] > _BRIGHT_FACTOR * fit["dark"] else "dark"


def _check_pixels(pixels: NDArray) -> None:
    if pixels.ndim != 2:
        raise ImageError(f"the image has {pixels.ndim} dimensions: one grey value per pixel needed")
    if min(pixels.shape) < 8:
        raise ImageError(f"the image is {pixels.shape[0]} x {pixels.shape[1]} px: too small")
    if not np.isfinite(pixels).all():
        raise ImageError("the image has values that are not finite: mend it before segmentation")
