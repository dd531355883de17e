"""Text for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text without what could steer a terminal: file names and records come from strangers."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def file_size(size: int) -> str:
    """Bytes in the largest unit that leaves a number of at least one."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
