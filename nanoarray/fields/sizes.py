"""From which size on images are computed in fields, and how large fields are."""

from __future__ import annotations

#: Images of more pixels are computed in fields. What a camera gives at once, up to 5760 x 4092, is
#: computed whole.
WHOLE_PX = 5120 * 5120
#: Side of a field without its margin [px]. Chunks of pixels in a store have it too.
FIELD_PX = 2048


def is_large(height_px: int, width_px: int) -> bool:
    """Whether an image is computed in fields."""
    return height_px * width_px > WHOLE_PX
