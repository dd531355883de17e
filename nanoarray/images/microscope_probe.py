"""Look into an HDF5 file from a process of its own: `python -m nanoarray.images.microscope_probe`.

In damaged files the HDF5 library can run in circles for ever, where nothing of Python gets to act;
a process can be ended from outside.
"""

from __future__ import annotations

import subprocess
import sys

from nanoarray.errors import ImageError

__all__ = ["check_ends"]

#: Time to start and look into the smallest file, and the rate at which a large one is read.
_SECONDS, _BYTES_PER_SECOND = 60.0, 20e6


def check_ends(path: str, *, size_bytes: int) -> None:
    """Raise ImageError unless listing a file's images, and reading the first, comes to an end."""
    limit = _SECONDS + size_bytes / _BYTES_PER_SECOND
    command = [sys.executable, "-m", "nanoarray.images.microscope_probe", path]
    try:
        found = subprocess.run(command, timeout=limit, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise ImageError(
            f"damaged: the HDF5 library does not come to an end with it in {limit:.0f} s"
        ) from None
    if found.returncode < 0:
        raise ImageError(f"damaged: the HDF5 library crashes on it (signal {-found.returncode})")


def _main() -> None:
    from nanoarray.images.microscope import list_emd
    from nanoarray.images.source import Source

    try:
        frames = list_emd(Source(sys.argv[1]))
        if frames:
            frames[0].decode()
    except (ImageError, OSError, ValueError, KeyError, RuntimeError, TypeError):
        return  # it ended: the reader will meet the same and say what it is


if __name__ == "__main__":
    _main()
