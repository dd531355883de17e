"""Finding micrographs: in folders, by glob patterns, one by one."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from nanoarray.errors import InputError
from nanoarray.images.formats import known_formats, known_suffixes


def is_micrograph_path(path: str | os.PathLike[str]) -> bool:
    """Whether the file name ends as that of a known format, in any case."""
    return os.fspath(path).lower().endswith(known_suffixes())


def find_micrographs(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Micrograph files of folders (recursively), of glob patterns, and named one by one.

    Hidden files and folders are left out. Linked folders are followed, each once.
    A file that is named itself is returned whatever its suffix.

    Returns
    -------
    list of Path
        Sorted, each file once.

    Raises
    ------
    InputError
        A source does not exist, or holds no micrograph.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[str, Path] = {}
    for source in sources:
        files = _files_of(os.fspath(source))
        for file in files:
            real = os.path.realpath(file)
            known = found.get(real)
            if known is None or len(file.parts) < len(known.parts):
                found[real] = file
    return sorted(found.values())


def _files_of(source: str) -> list[Path]:
    if os.path.isfile(source):
        return [Path(source)]
    if _is_image_folder(source):
        return [Path(source)]
    if os.path.isdir(source):
        files = _walk(source)
        if not files:
            raise InputError(f"folder '{source}' holds no micrograph ({_suffix_text()})")
        return files
    matches = glob.glob(source, recursive=True) if glob.has_magic(source) else []
    files = [
        file
        for match in matches
        for file in (_walk(match) if os.path.isdir(match) else [Path(match)])
        if is_micrograph_path(file)
    ]
    if not files and os.path.exists(source):
        raise InputError(f"source '{source}' is neither a file nor a folder")
    if not files:
        what = (
            f"matches no micrograph ({_suffix_text()})"
            if glob.has_magic(source)
            else "does not exist"
        )
        raise InputError(f"source '{source}' {what}")
    return files


def _walk(folder: str) -> list[Path]:
    files = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = [name for name in folders if _is_image_folder(os.path.join(root, name))]
        files += [Path(root, name) for name in images]
        folders[:] = [name for name in folders if name not in images]
        files += [
            Path(root, name)
            for name in names
            if not name.startswith(".") and is_micrograph_path(name)
        ]
    return files


def _is_image_folder(path: str) -> bool:
    """Whether a folder is an image itself, as OME-Zarr is."""
    named = path.lower().rstrip("/").endswith(known_suffixes(folders=True))
    return named and any(f.is_folder and f.recognizes(b"", path) for f in known_formats())


def _suffix_text() -> str:
    return ", ".join(known_suffixes())
