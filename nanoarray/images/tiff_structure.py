"""The chain of directories of a TIFF file, walked with bounds before a library reads it.

A file of a few kilobytes can declare a chain without end, millions of tags, or values larger than
itself. Here such a file is refused after reading a few bytes of each directory.
"""

from __future__ import annotations

import io
import struct

from nanoarray.errors import ImageError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 4096
MAX_TAGS = 4096  # of a directory; microscopes write below 100
#: Bytes per value by the code of its type (TIFF 6.0, and 16 to 18 of BigTIFF).
_TYPE_BYTES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}


def check_structure(content: bytes | io.BufferedIOBase) -> int:
    """Walk the directories of a TIFF file.

    Parameters
    ----------
    content
        The file, open, or all its bytes.

    Returns
    -------
    int
        Number of directories.

    Raises
    ------
    ImageError
        The chain is broken, closes on itself, or is beyond the bounds; a directory lies outside
        the file or declares values larger than the file.
    """
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    size = file.seek(0, io.SEEK_END)
    start = _part(file, 0, 4, size)
    order = "<" if start[:2] == b"II" else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    offset_format = f"{order}Q" if big else f"{order}I"
    count_format = f"{order}Q" if big else f"{order}H"
    entry = struct.Struct(f"{order}HHQ8x" if big else f"{order}HHI4x")
    offset = _number(file, 8 if big else 4, offset_format, size)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ImageError("damaged: its directories point at each other in a circle")
        seen.add(offset)
        if len(seen) > MAX_PAGES:
            raise ImageError(f"declares more than {MAX_PAGES} pages")
        tags = _number(file, offset, count_format, size)
        if tags > MAX_TAGS:
            raise ImageError(f"damaged: a directory declares {tags} tags")
        first = offset + struct.calcsize(count_format)
        end = first + tags * entry.size
        if end > size:
            raise ImageError(f"truncated: a directory ends at byte {end}, the file at {size}")
        for code, kind, count in entry.iter_unpack(_part(file, first, end - first, size)):
            if count * _TYPE_BYTES.get(kind, 1) > size:
                raise ImageError(
                    f"damaged: tag {code} declares {count} values, more than the file can hold"
                )
        # Some writers leave out the offset after the last directory.
        at_end = end + struct.calcsize(offset_format) > size
        offset = 0 if at_end else _number(file, end, offset_format, size)
    return len(seen)


def _number(file: io.BufferedIOBase, at: int, layout: str, size: int) -> int:
    return int(struct.unpack(layout, _part(file, at, struct.calcsize(layout), size))[0])


def _part(file: io.BufferedIOBase, at: int, count: int, size: int) -> bytes:
    """So many bytes of a file, or the reason why they are not there."""
    found = b""
    if at + count <= size:
        file.seek(at)
        found = file.read(count)
    if len(found) < count:
        raise ImageError(f"truncated: a directory begins at byte {at}, the file ends at {size}")
    return found
