"""OME-TIFF: OME-XML in the description of the first page."""

from __future__ import annotations

from xml.etree import ElementTree

import tifffile

from nanoarray.images.header import Header, known_values, positive
from nanoarray.images.scale import reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_text
from nanoarray.images.vendors.text import find_all, find_text, flat, iso_date, parse_xml

DESCRIPTION = 270
#: The unit of physical sizes where the XML names none (OME data model, 2016-06).
DEFAULT_UNIT = "µm"


def read_ome(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Physical size of the pixels of the OME image that ``page`` belongs to."""
    del source
    description = tag_text(tif.pages.first, DESCRIPTION)
    if "<OME" not in description[:4096]:
        return None
    root = parse_xml(description)
    if root is None:
        return Header(warnings=("the OME description holds XML that cannot be read",))
    return parse_ome(root, page_index=int(page.index))


def parse_ome(root: ElementTree.Element, *, page_index: int = 0) -> Header:
    """Quantities of OME-XML.

    Parameters
    ----------
    root
        The element ``OME``.
    page_index
        Which page of the file the image is; where the XML has several images it chooses among them.
    """
    images = list(find_all(root, "OME", "Image"))
    image = _image_of_page(images, page_index)
    pixels = next(find_all(image, "Pixels"), None) if image is not None else None
    if image is None or pixels is None:
        return Header(raw={"OME": flat(root)})
    unit = pixels.get("PhysicalSizeXUnit", DEFAULT_UNIT)
    same_unit = pixels.get("PhysicalSizeYUnit", DEFAULT_UNIT) == unit
    found = reading(
        "OME",
        value=positive(pixels.get("PhysicalSizeX")),
        value_y=positive(pixels.get("PhysicalSizeY") if same_unit else None),
        unit=unit,
        source="OME-XML",
    )
    microscope = next(find_all(root, "Microscope"), None)
    objective = next(find_all(root, "Objective"), None)
    detector = next(find_all(root, "Detector"), None)
    texts = {
        "instrument": microscope.get("Model", "") if microscope is not None else "",
        "detector": detector.get("Model", "") if detector is not None else "",
        "acquired": iso_date(find_text(image, "AcquisitionDate")[:19], ("%Y-%m-%dT%H:%M:%S",)),
    }
    magnification = positive(
        objective.get("NominalMagnification") if objective is not None else None
    )
    return Header(
        readings=(found,) if found else (),
        metadata=known_values({"magnification": magnification}, texts),
        raw={"OME": {**flat(root), **{f"Pixels/{k}": v for k, v in pixels.attrib.items()}}},
    )


def _image_of_page(
    images: list[ElementTree.Element], page_index: int
) -> ElementTree.Element | None:
    """The image with a ``TiffData`` block that begins at or before the page, and nearest to it."""
    best, best_start = (images[0] if images else None), -1
    for image in images if len(images) > 1 else []:
        for block in find_all(image, "TiffData"):
            text = block.get("IFD", "0")
            start = int(text) if text.isdigit() and len(text) < 10 else 0
            if best_start < start <= page_index:
                best, best_start = image, start
    return best
