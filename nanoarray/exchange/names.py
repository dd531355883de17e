"""File names from ids of images, safe on every file system and never outside the folder."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

#: File systems allow 255 bytes; what is added to a name (map, endings) has room in the rest.
MOST_BYTES = 150
# Control characters, separators and what Windows does not allow.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def file_names(identities: Sequence[str]) -> list[str]:
    """File names for ids, in their order, none alike; an id itself where it can be one.

    Otherwise what is unsafe becomes ``_`` and eight digits of the id's SHA-256 keep it unlike the
    others; so also where ids differ only by case, which some file systems ignore.
    """
    alike = Counter(identity.casefold() for identity in identities)
    return [_file_name(i, alone=alike[i.casefold()] == 1) for i in identities]


def _file_name(identity: str, *, alone: bool) -> str:
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", identity))
    name = "".join(c if c.isprintable() else "_" for c in name).strip(" ")
    name = re.sub(r"^\.+|\.+$", "_", name)
    while len(name.encode("utf-8", "replace")) > MOST_BYTES:
        name = name[:-1]
    if alone and name == identity and not _DEVICE.fullmatch(name) and name:
        return name
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name or 'image'}-{digest}"
