"""Olympus Soft Imaging Solutions (iTEM, analySIS): private tag 33560."""

from __future__ import annotations

from datetime import datetime

import tifffile

from nanoarray.images.header import Header, known_values, positive
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_text, tag_value

TAG, MODEL = 33560, 272


def read_olympus(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Header of an iTEM file, whose first page may be a coloured preview."""
    del source
    fields = tag_value(page, TAG) or tag_value(tif.pages.first, TAG)
    if not isinstance(fields, dict):
        return None
    found = reading(
        "vendor tag",
        value=positive(fields.get("pixelsizex")),
        value_y=positive(fields.get("pixelsizey")),
        unit="m",
        source="Olympus SIS tag",
    )
    acquired = fields.get("datetime")
    camera = str(fields.get("cameraname") or "").strip()
    texts = {
        "instrument": camera or tag_text(page, MODEL),
        "acquired": acquired.isoformat() if isinstance(acquired, datetime) else "",
    }
    return Header(
        readings=(found,) if found else (),
        metadata=known_values({"magnification": positive(fields.get("magnification"))}, texts),
        raw={"Olympus SIS": fields},
    )
