"""OME-TIFF: OME-XML in the description of the first page."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import tifffile

from nanoarray.images.header import Header, known_values, number, positive
from nanoarray.images.scale import nm_per_unit, reading
from nanoarray.images.source import Source
from nanoarray.images.vendors.tags import tag_text
from nanoarray.images.vendors.text import find_all, find_text, flat, iso_date, parse_xml

DESCRIPTION = 270
#: The unit of physical sizes where the XML names none (OME data model, 2016-06).
DEFAULT_UNIT = "µm"


def read_ome(source: Source, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Header | None:
    """Physical size of the pixels of the OME image that ``page`` belongs to."""
    description = tag_text(tif.pages.first, DESCRIPTION)
    if "<OME" not in description[:4096]:
        return None
    root = parse_xml(description)
    if root is None:
        return Header(warnings=("the OME description holds XML that cannot be read",))
    return parse_ome(
        root,
        page_index=int(page.index),
        file_name=os.path.basename(source.path),
        width_px=int(page.imagewidth),
    )


def parse_ome(
    root: ElementTree.Element, *, page_index: int = 0, file_name: str = "", width_px: int = 0
) -> Header:
    """Quantities of OME-XML.

    Parameters
    ----------
    root
        The element ``OME``.
    page_index
        Which page of the file the image is; where the XML has several images it chooses among them.
    file_name
        Of the file, without folder: the XML may describe images of other files, too.
    width_px
        Of the page. A size of the pixels of an image of another width is not used. 0 where unknown.
    """
    elsewhere = next((e.get("MetadataFile", "") for e in find_all(root, "BinaryOnly")), "")
    if elsewhere:
        return Header(warnings=(f"its OME-XML is in another file, '{elsewhere}', and not read",))
    image = _image_of_page(root, page_index, file_name)
    pixels = next(find_all(image, "Pixels"), None) if image is not None else None
    if image is None or pixels is None:
        return Header(raw={"OME": flat(root)})
    unit = pixels.get("PhysicalSizeXUnit", DEFAULT_UNIT)
    per_unit = nm_per_unit(pixels.get("PhysicalSizeYUnit", DEFAULT_UNIT)) / nm_per_unit(unit)
    found = reading(
        "OME",
        value=positive(pixels.get("PhysicalSizeX")),
        value_y=positive(pixels.get("PhysicalSizeY")) * per_unit,
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
    header = Header(
        readings=(found,) if found else (),
        metadata=known_values({"magnification": magnification}, texts),
        raw={"OME": {**flat(root), **{f"Pixels/{k}": v for k, v in pixels.attrib.items()}}},
    )
    described_px = number(pixels.get("SizeX"))
    if found is None or not width_px or described_px in (0, width_px):
        return header
    text = (
        f"the OME-XML describes an image {described_px:g} px wide, this one has {width_px} px: its "
        f"pixel size ({found.size_nm:.6g} nm) is not used"
    )
    return replace(header, readings=(), warnings=(text,))


@dataclass(frozen=True)
class _Block:
    """Where pixels of an image are: the first page, and the file by its UUID and its name."""

    image: ElementTree.Element
    start: int
    uuid: str
    file_name: str


def _image_of_page(
    root: ElementTree.Element, page_index: int, file_name: str
) -> ElementTree.Element | None:
    """The image with a block in this file that begins at or before the page, and nearest to it.

    None where the XML describes several files of which none is this one, with different images.
    """
    images = list(find_all(root, "OME", "Image"))
    blocks = [_block(image, e) for image in images for e in find_all(image, "TiffData")]
    if len({block.file_name for block in blocks}) > 1:
        own = {root.get("UUID", ""), ""}
        here = [b for b in blocks if b.uuid in own] or [
            b for b in blocks if b.file_name == file_name
        ]
        if not here and len({_sizes(image) for image in images}) > 1:
            return None  # renamed
        blocks = here
    fits = [block for block in blocks if block.start <= page_index]
    if fits:
        return max(fits, key=lambda block: block.start).image
    return images[0] if images else None


def _block(image: ElementTree.Element, element: ElementTree.Element) -> _Block:
    text = element.get("IFD", "0")
    start = int(text) if text.isdigit() and len(text) < 10 else 0
    uuid = next(find_all(element, "UUID"), None)
    if uuid is None:
        return _Block(image, start, "", "")
    name = uuid.get("FileName", "").replace("\\", "/").rsplit("/", 1)[-1]
    return _Block(image, start, (uuid.text or "").strip(), name)


def _sizes(image: ElementTree.Element) -> tuple[str | None, ...]:
    pixels = next(find_all(image, "Pixels"), None)
    names = ("X", "XUnit", "Y", "YUnit")
    return tuple(pixels.get(f"PhysicalSize{n}") for n in names) if pixels is not None else ()
