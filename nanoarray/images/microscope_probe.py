"""Look into an HDF5 file from a process of its own: `python -m nanoarray.images.microscope_probe`.

In damaged files the HDF5 library can run in circles for ever, where nothing of Python gets to act;
a process can be ended from outside.
"""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys

from nanoarray.errors import ImageError

__all__ = ["check_ends"]

#: Processor time to start and look into the smallest file, and the rate at which a large one is
#: read.
_SECONDS, _BYTES_PER_SECOND = 15.0, 20e6
#: By the clock it may take so many times as long: a busy machine is no fault of the file.
_PATIENCE = 40.0
#: The signal that ends a process whose processor time is used up.
_OUT_OF_TIME = getattr(signal, "SIGXCPU", None)


def check_ends(path: str, *, size_bytes: int) -> None:
    """Raise ImageError unless listing a file's images, and reading the first, comes to an end."""
    limit = _SECONDS + size_bytes / _BYTES_PER_SECOND
    program = "nanoarray.images.microscope_probe"
    command = [sys.executable, "-m", program, path, str(math.ceil(limit))]
    try:
        found = subprocess.run(command, timeout=_PATIENCE * limit, capture_output=True, check=False)
        endless = found.returncode < 0 and -found.returncode == _OUT_OF_TIME
    except subprocess.TimeoutExpired:
        endless = True
    if endless:
        raise ImageError(
            f"damaged: the HDF5 library does not come to an end with it in {limit:.0f} s"
        )
    if found.returncode < 0:
        raise ImageError(f"damaged: the HDF5 library crashes on it (signal {-found.returncode})")


def _main(path: str, limit_s: int) -> None:
    from nanoarray.images.microscope import list_emd
    from nanoarray.images.source import Source

    _limit_processor_time(limit_s)
    try:
        frames = list_emd(Source(path))
        if frames:
            frames[0].decode()
    except (ImageError, OSError, ValueError, KeyError, RuntimeError, TypeError):
        return  # it ended: the reader will meet the same and say what it is


def _limit_processor_time(seconds: int) -> None:
    """Have the system end this process after so long on a processor; where it can, not Windows."""
    with contextlib.suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        if most == resource.RLIM_INFINITY or seconds < most:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
