"""One image of an array of a store, read in windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


class StoredImage:
    """The pixels of one image, or a map of it, of which windows are read as they are asked for.

    Parameters
    ----------
    variable
        Along ``image``, ``y`` and ``x``, or tiles; with further dimensions, which are read whole.
    i
        Position of the image.
    height, width
        Its size; all of the array where not given.
    """

    def __init__(
        self, variable: xr.DataArray, i: int, height: int | None = None, width: int | None = None
    ) -> None:
        self._variable, self._i = variable, i
        self.shape: tuple[int, ...] = (
            variable.shape[1] if height is None else height,
            variable.shape[2] if width is None else width,
        )
        self.dtype: np.dtype[Any] = variable.dtype

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """The values in a window, given as two slices with a start and a stop."""
        return np.asarray(self._variable[self._i, window[0], window[1]].values)
