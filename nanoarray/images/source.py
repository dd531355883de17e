"""A file as a reader gets it: where it is, what it holds, and what lies beside it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property

from nanoarray.errors import ImageError

#: A file that is read whole holds one image; the largest pixels, and room for headers and previews.
MAX_FILE_BYTES = 2**31 + 2**28
SIGNATURE_BYTES = 64
#: A text file beside an image that says more than this says something else.
MAX_SIDECAR_BYTES = 2**20
#: Of the start and of the end of a file for its fingerprint.
_FINGERPRINT_BYTES = 4096
#: The tags of an image are near each other: one read serves for most of them.
_BUFFER_BYTES = 2**16


@dataclass(frozen=True)
class Source:
    """A file as a reader gets it.

    Attributes
    ----------
    path
        Where it is; "" for content that is in memory alone.
    content
        All its bytes; empty where the format reads parts of the file as it needs them.
    """

    path: str
    content: bytes = field(default=b"", repr=False)

    @cached_property
    def start(self) -> bytes:
        """The first bytes of the file, by which its format is known; empty for a folder."""
        if self.content or not os.path.isfile(self.path):
            return self.content[:SIGNATURE_BYTES]
        return self.read(0, SIGNATURE_BYTES)

    @cached_property
    def size_bytes(self) -> int:
        """Length of the file."""
        return len(self.content) if self._in_memory else os.stat(self.path).st_size

    @property
    def _in_memory(self) -> bool:
        return bool(self.content) or not self.path

    def open(self) -> io.BufferedIOBase:
        """The file, to be read and closed by the caller."""
        if self._in_memory:
            return io.BytesIO(self.content)
        return io.BufferedReader(io.FileIO(self.path), _BUFFER_BYTES)

    def read(self, offset: int, count: int) -> bytes:
        """The bytes from ``offset`` on, fewer than ``count`` where the file ends before."""
        if self._in_memory:
            return self.content[offset : offset + count]
        with open(self.path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(count)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content: of the file, or of all files of a folder and their names."""
        if self._in_memory:
            return hashlib.sha256(self.content).hexdigest()
        if not os.path.isdir(self.path):
            return _file_sha256(self.path)
        whole = hashlib.sha256()
        for name in sorted(_files_below(self.path)):
            of_file = _file_sha256(os.path.join(self.path, name))
            whole.update(f"{name}\0{of_file}\n".encode())
        return whole.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """What files of equal content have in common, known without reading all of a file.

        Files with different fingerprints differ; those with one may.
        """
        if self._in_memory or os.path.isdir(self.path):
            return self.sha256
        size = self.size_bytes
        with open(self.path, "rb", buffering=0) as file:
            start = file.read(_FINGERPRINT_BYTES)
            file.seek(max(0, size - _FINGERPRINT_BYTES))
            return f"{size}-{hashlib.sha256(start + file.read(_FINGERPRINT_BYTES)).hexdigest()}"

    def sidecar(self, *suffixes: str) -> bytes | None:
        """Content of the file beside this one with its stem and one of ``suffixes``, if any."""
        for suffix in suffixes:
            if suffix not in self._beside:
                self._beside[suffix] = self._read_beside(suffix)
        return next((found for s in suffixes if (found := self._beside[s]) is not None), None)

    @cached_property
    def _beside(self) -> dict[str, bytes | None]:
        """The files beside this one that were asked for, by suffix: several readers ask."""
        return {}

    def _read_beside(self, suffix: str) -> bytes | None:
        stem, own = os.path.splitext(self.path)
        if not self.path or suffix == own:
            return None
        for name in (stem + suffix, stem + suffix.upper(), self.path + suffix):
            if os.path.isfile(name):
                # One that cannot be read is none: the image does not depend on it.
                with contextlib.suppress(OSError), open(name, "rb") as file:
                    return file.read(MAX_SIDECAR_BYTES)
        return None


def read_ahead(path: str, *, most_bytes: int) -> None:
    """Have the system read the first and the last ``most_bytes`` of a file meanwhile.

    Where it cannot, the file is read when it is asked for. What is wrong with it, its reader says.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError):
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            return
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, most_bytes, os.POSIX_FADV_WILLNEED)
            if state.st_size > most_bytes:
                end = max(most_bytes, state.st_size - most_bytes)
                os.posix_fadvise(file, end, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)


def first_bytes(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a file that can be a micrograph; raises as `read_bytes` does."""
    return _read(path, SIGNATURE_BYTES, most=math.inf)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Content of a file that can be a micrograph.

    Raises
    ------
    ImageError
        The file is missing, not a regular file (opening a pipe would wait forever), larger than
        `MAX_FILE_BYTES`, or cannot be read.
    """
    return _read(path, -1, most=MAX_FILE_BYTES)


def _read(path: str | os.PathLike[str], count: int, *, most: float) -> bytes:
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise ImageError("is not a file (a folder, pipe or device)")
        if state.st_size > most:
            raise ImageError(
                f"has {state.st_size / 2**30:.1f} GiB, more than the {most / 2**30:.2g} GiB that "
                "one micrograph may have"
            )
        if state.st_size == 0:  # as files of /proc say, which may have no end or wait for ever
            return b""
        with open(path, "rb", buffering=0) as file:
            return file.read(count)
    except FileNotFoundError as error:
        raise ImageError("does not exist") from error
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror or error}") from error
    except MemoryError as error:
        raise ImageError("not enough memory to read the file") from error


def _file_sha256(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(folder: str) -> list[str]:
    return [
        os.path.relpath(os.path.join(root, name), folder)
        for root, _, names in os.walk(folder)
        for name in names
    ]
