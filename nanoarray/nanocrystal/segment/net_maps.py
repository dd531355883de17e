"""What the segmentation network answers for an image of any size."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nanoarray.nanocrystal.segment.net_model import STRIDE, folded
from nanoarray.nanocrystal.segment.net_weights import load_network

if TYPE_CHECKING:
    from nanoarray.nanocrystal.segment.net_model import SegmentationNet

__all__ = ["Maps", "predict_maps"]

Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

#: Larger images are seen in tiles, so that memory stays below a gigabyte: sides of a tile, and how
#: far it looks beyond them. Crystals of the sizes that the network is given are smaller than that.
#: Both are multiples of the network's stride, so that tiles see what the whole would show.
_TILE_PX, _MARGIN_PX = 1152, 96


@lru_cache(maxsize=2)
def _network(path: str | None) -> SegmentationNet:
    return folded(load_network(path))


def predict_maps(
    pixels: NDArray[np.float32], *, scale: float = 1.0, weights: Path | str | None = None
) -> Maps:
    """Run the network on an image resized by `scale`.

    Parameters
    ----------
    pixels
        Normalized image ``(height, width)``, crystals dark.
    scale
        The image is resized by this factor first.
    weights
        Another weights file.

    Returns
    -------
    tuple
        Probability of crystal, depth, probability of contact line, at the size of the resized
        image; float32.
    """
    if threading.current_thread() is not threading.main_thread():
        # Workers compute beside each other: more threads of each would only wait for one another.
        torch.set_num_threads(1)
    net = _network(None if weights is None else str(weights))
    size = (max(round(pixels.shape[0] * scale), 8), max(round(pixels.shape[1] * scale), 8))
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
        if size != pixels.shape:
            image = functional.interpolate(
                image, size=size, mode="bilinear", antialias=True, align_corners=False
            )
        maps = torch.empty((3, *size))
        for rows in _spans(size[0]):
            for columns in _spans(size[1]):
                seen_rows, seen_columns = _widened(rows, size[0]), _widened(columns, size[1])
                answer = _answer(net, image[:, :, seen_rows, seen_columns])
                top, left = rows.start - seen_rows.start, columns.start - seen_columns.start
                maps[:, rows, columns] = answer[
                    :,
                    top : top + rows.stop - rows.start,
                    left : left + columns.stop - columns.start,
                ]
        maps[0].sigmoid_()
        maps[2].sigmoid_()
    foreground, depth, contact = maps.numpy()
    return foreground, depth, contact


def _spans(length: int) -> list[slice]:
    """Parts of a side, of the size of a tile but for the last, which takes a small rest along."""
    starts = range(0, max(length - _TILE_PX // 4, 1), _TILE_PX)
    stops = [*starts[1:], length]
    return [slice(a, b) for a, b in zip(starts, stops, strict=True)]


def _widened(span: slice, length: int) -> slice:
    return slice(max(span.start - _MARGIN_PX, 0), min(span.stop + _MARGIN_PX, length))


def _answer(net: SegmentationNet, image: torch.Tensor) -> torch.Tensor:
    """Maps ``(3, height, width)`` of an image of any size."""
    height, width = image.shape[-2:]
    below, right = -height % STRIDE, -width % STRIDE
    # Reflection needs more image than it adds: tiny images are repeated at the edge instead.
    mode = "reflect" if below < height and right < width else "replicate"
    image = functional.pad(image, (0, right, 0, below), mode=mode)
    answer: torch.Tensor = net(image.to(memory_format=torch.channels_last))
    return answer[0, :, :height, :width]
