"""Texts in vendors' headers: bytes of unknown encoding, ``Key=Value`` lines, XML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from xml.etree import ElementTree

from nanoarray.images.header import number

#: Headers are kilobytes. More than this is something else, and is not parsed.
MAX_TEXT_BYTES = 2**22
MAX_XML_NODES = 50_000

Sections = dict[str, dict[str, str]]

# All digits, points and commas in a row are of the number: the 2 of `2,5` is none.
_QUANTITY = re.compile(r"\s*([-+]?[\d.,]+(?:[eE][-+]?\d+)?)\s*([^\W\d]*)")


def to_text(content: bytes) -> str:
    """Text of a header in UTF-16 (with or without a mark), UTF-8, or the Windows code page."""
    content = content[:MAX_TEXT_BYTES]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace").strip("\0")
    if content[1:16:2].count(0) >= 6:
        return content.decode("utf-16-le", errors="replace").strip("\0")
    try:
        return content.decode("utf-8-sig").strip("\0")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace").strip("\0")


def parse_sections(text: str) -> Sections:
    """``[Section]`` and ``Key=Value`` lines; lines before any section are the section ""."""
    sections: Sections = {}
    current: dict[str, str] | None = None
    for line in re.split(r"[\r\n\0]+", text):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1].strip(), {})
        elif "=" in line:
            if current is None:
                current = sections.setdefault("", {})
            key, value = line.split("=", 1)
            current[key.strip()] = value.strip()
    return sections


def quantity(text: str) -> tuple[float, str]:
    """Number and unit of a text such as ``12.33 nm`` or ``2.00nm/pixel``; NaN where none."""
    match = _QUANTITY.match(text)
    return (number(match[1]), match[2]) if match else (math.nan, "")


def iso_date(text: str, formats: tuple[str, ...]) -> str:
    """A date in ISO 8601 by the first of ``formats`` that fits; "" when none does."""
    for pattern in formats:
        try:
            return datetime.strptime(text.strip(), pattern).isoformat()
        except ValueError:
            continue
    return ""


def parse_xml(text: str) -> ElementTree.Element | None:
    """Root of an XML text; None where it is damaged, declares entities, or is beyond bounds."""
    start = text.find("<")
    if start < 0 or len(text) > MAX_TEXT_BYTES or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None  # headers have no use for entities; those that grow without bound are attacks
    if text.count("<") > 2 * MAX_XML_NODES:
        return None
    # The declaration may name the encoding that the text had before it was decoded.
    body = re.sub(r"^\s*<\?xml[^>]*\?>", "", text[start:])
    try:
        return ElementTree.fromstring(body[: body.rfind(">") + 1])
    except (ElementTree.ParseError, ValueError, RecursionError):
        return None


def local_name(element: ElementTree.Element) -> str:
    """Tag of an element without its namespace."""
    return str(element.tag).rsplit("}", 1)[-1]


def find_all(root: ElementTree.Element, *path: str) -> Iterator[ElementTree.Element]:
    """Elements whose chain of local names ends with ``path``, in the order of the document."""
    stack: list[tuple[ElementTree.Element, tuple[str, ...]]] = [(root, ())]
    while stack:
        element, above = stack.pop()
        names = (*above, local_name(element))[-len(path) :]
        if names == path:
            yield element
        stack.extend((child, names) for child in reversed(element))


def find_text(root: ElementTree.Element, *path: str) -> str:
    """Text of the first element at the end of ``path``; "" where there is none."""
    found = next(find_all(root, *path), None)
    return (found.text or "").strip() if found is not None else ""


def flat(root: ElementTree.Element) -> dict[str, str]:
    """Texts of the leaves by their path of local names; of equal paths the first."""
    leaves: dict[str, str] = {}
    stack = [(root, local_name(root))]
    while stack:
        element, path = stack.pop()
        if len(element) == 0 and element.text and element.text.strip():
            leaves.setdefault(path, element.text.strip())
        stack.extend((child, f"{path}/{local_name(child)}") for child in reversed(element))
    return leaves
