"""Pictures of the crystals of single images."""

from typing import Any


def crystal_panels(*args: Any) -> list[Any]:
    """Crystals of an image."""
    del args
    return []
