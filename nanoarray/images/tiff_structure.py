"""The chain of directories of a TIFF file, walked with bounds before a library reads it.

A file of a few kilobytes can declare a chain without end, millions of tags, or values larger than
itself. Here such a file is refused after reading a few bytes of each directory.
"""

from __future__ import annotations

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


def check_structure(content: bytes) -> int:
    """Walk the directories of a TIFF file.

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
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    offset_format = f"{order}Q" if big else f"{order}I"
    count_format = f"{order}Q" if big else f"{order}H"
    entry_format = f"{order}HHQ" if big else f"{order}HHI"
    entry_bytes = 20 if big else 12
    offset = _number(content, 8 if big else 4, offset_format)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ImageError("damaged: its directories point at each other in a circle")
        seen.add(offset)
        if len(seen) > MAX_PAGES:
            raise ImageError(f"declares more than {MAX_PAGES} pages")
        tags = _number(content, offset, count_format)
        if tags > MAX_TAGS:
            raise ImageError(f"damaged: a directory declares {tags} tags")
        first = offset + struct.calcsize(count_format)
        end = first + tags * entry_bytes
        if end > len(content):
            raise ImageError(
                f"truncated: a directory ends at byte {end}, the file at {len(content)}"
            )
        for at in range(first, end, entry_bytes):
            code, kind, count = struct.unpack_from(entry_format, content, at)
            if count * _TYPE_BYTES.get(kind, 1) > len(content):
                raise ImageError(
                    f"damaged: tag {code} declares {count} values, more than the file can hold"
                )
        # Some writers leave out the offset after the last directory.
        at_end = end + struct.calcsize(offset_format) > len(content)
        offset = 0 if at_end else _number(content, end, offset_format)
    return len(seen)


def _number(content: bytes, at: int, layout: str) -> int:
    try:
        return int(struct.unpack_from(layout, content, at)[0])
    except struct.error:
        raise ImageError(
            f"truncated: a directory begins at byte {at}, the file ends at {len(content)}"
        ) from None
