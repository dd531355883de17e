"""Images that are read in bands of rows because they are larger than a task may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import ImageError
from nanoarray.fields.windows import spans
from nanoarray.images.data_bar import data_bar_rows
from nanoarray.images.grey import supported_dtype

#: Rows of a band: those of a chunk of pixels, so that each is written once.
BAND_ROWS = 2048
#: A data bar is looked for in so many rows at the bottom.
_BOTTOM_ROWS = 4096
#: Rows that the level of pixels without a value is taken from.
_SAMPLED_ROWS = 200


@dataclass(frozen=True)
class Banded:
    """Grey levels as a file stores them, to be read in bands.

    Attributes
    ----------
    shape
        Height and width.
    dtype
        NumPy's name of the type of a value.
    bit_depth
        Bits per value of the file.
    read
        Gives the rows from one to another.
    """

    shape: tuple[int, int]
    dtype: str
    bit_depth: int
    read: Callable[[int, int], NDArray[Any]]


class BandedPixels:
    """The pixels of a large micrograph, without its data bar: as `Micrograph.pixels`, in bands.

    Parameters
    ----------
    source
        The image.
    bar_px
        Rows of the data bar.
    """

    ndim = 2

    def __init__(self, source: Banded, bar_px: int) -> None:
        self._source = source
        self.shape = (source.shape[0] - bar_px, source.shape[1])
        self.dtype = np.dtype(supported_dtype(source.dtype))
        self._level = 0.0
        #: What a user should know before trusting the image.
        self.warnings: tuple[str, ...] = ()
        if np.dtype(source.dtype).kind == "f":
            lost = sum(
                int(np.count_nonzero(~np.isfinite(source.read(rows.start, rows.stop))))
                for rows in spans(self.shape[0], BAND_ROWS)
            )
            if lost:
                self._level = self._median()
                share = lost / (self.shape[0] * self.shape[1])
                self.warnings = (f"{share:.2%} of the pixels are not finite; set to the median",)

    def _median(self) -> float:
        """Median of the known pixels of some rows."""
        step = max(1, self.shape[0] // _SAMPLED_ROWS)
        rows = [self._source.read(y, y + 1) for y in range(0, self.shape[0], step)]
        known = np.concatenate([row[np.isfinite(row)] for row in rows])
        if not known.size:
            raise ImageError("holds no finite grey level")
        return float(np.median(known))

    def bands(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """First row and rows of every band."""
        for rows in spans(self.shape[0], BAND_ROWS):
            values = self._source.read(rows.start, rows.stop).astype(self.dtype, copy=False)
            if self.dtype.kind == "f":
                finite = np.isfinite(values)
                values = np.where(finite, values, self.dtype.type(self._level))
            yield rows.start, np.ascontiguousarray(values)


def banded_pixels(
    source: Banded, *, image_height_px: int, image_width_px: int, cut_data_bar: bool
) -> tuple[BandedPixels, int]:
    """The pixels of a large image, and the rows of its data bar.

    A bar that the file does not tell of is looked for in the last rows only.
    """
    height, width = source.shape
    start = max(0, height - _BOTTOM_ROWS)
    said = image_width_px in (0, width) and height / 2 < image_height_px <= height
    bar = (
        height - image_height_px
        if said
        else data_bar_rows(source.read(start, height))
        if start < height
        else 0
    )
    return BandedPixels(source, bar if cut_data_bar else 0), bar
