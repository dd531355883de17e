"""What is made once of a large image, for all blocks of its rows that a process computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import xarray as xr

T = TypeVar("T")


class Once(Generic[T]):
    """The results of the last images, by the opened group and the image's position.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        # With the group itself, so that its identity is not another's later.
        self._made: dict[tuple[int, int], tuple[xr.Dataset, T]] = {}
        self._lock = threading.Lock()

    def get(self, group: xr.Dataset, i: int, make: Callable[[], T]) -> T:
        """What was made of image ``i``, or is now."""
        with self._lock:
            if (id(group), i) not in self._made:
                made = make()
                while len(self._made) >= self._most:
                    del self._made[next(iter(self._made))]
                self._made[id(group), i] = group, made
            return self._made[id(group), i][1]
