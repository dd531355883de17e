"""Finding micrographs: in folders, by glob patterns, one by one."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from nanoarray.errors import InputError
from nanoarray.images.formats import known_formats, known_suffixes
from nanoarray.images.zarr_array import group_mentions


def is_micrograph_path(path: str | os.PathLike[str]) -> bool:
    """Whether the file name ends as that of a known format, in any case."""
    return os.fspath(path).lower().endswith(known_suffixes())


def find_micrographs(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Micrograph files of folders (recursively), of glob patterns, and named one by one.

    Hidden files and folders are left out. Linked folders are followed, each once.
    What is named itself and is no folder is returned whatever its suffix, even a pipe or a link to
    nothing: who reads it says why it is no image.

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
        for real, file in find_real(source):
            known = found.get(real)
            if known is None or len(file.parts) < len(known.parts):
                found[real] = file
    return sorted(found.values())


def find_real(source: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """The micrographs of one source, sorted, each with its path without links.

    Raises
    ------
    InputError
        As for `find_micrographs`.
    """
    place = os.fspath(source)
    if _is_folder_micrograph(place) or (os.path.lexists(place) and not os.path.isdir(place)):
        return [(os.path.realpath(place), Path(place))]
    if os.path.isdir(place):
        once: dict[str, Path] = {}
        for real, path in _walk(place):
            once.setdefault(real, path)
        if not once:
            raise InputError(f"folder '{place}' holds no micrograph ({_suffix_text()})")
        return sorted(once.items(), key=lambda entry: entry[1].parts)
    matches = glob.glob(place, recursive=True) if glob.has_magic(place) else []
    files = []
    for match in matches:
        if _is_folder_micrograph(match) or not os.path.isdir(match):
            files += [(os.path.realpath(match), Path(match))] if is_micrograph_path(match) else []
        else:
            files += _walk(match)
    if not files:
        what = (
            f"matches no micrograph ({_suffix_text()})"
            if glob.has_magic(place)
            else "does not exist"
        )
        raise InputError(f"source '{place}' {what}")
    return sorted(set(files), key=lambda entry: entry[1])


def _walk(folder: str) -> Iterator[tuple[str, Path]]:
    """Micrographs below a folder, files before links to files.

    Its path without links is found once per folder, not per file.
    """
    suffixes = known_suffixes()
    folder_suffixes = known_suffixes(folders=True)
    seen: set[str] = set()
    links: list[tuple[str, Path]] = []
    waiting, linked = [folder], list[str]()
    while waiting or linked:
        # Folders go before links to them, whose order must not be that of the disk.
        place = waiting.pop() if waiting else linked.pop(linked.index(min(linked)))
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = [entry for entry in os.scandir(place) if not entry.name.startswith(".")]
        except OSError as error:
            text = f"folder '{place}' cannot be listed ({error.strerror}): left out"
            warnings.warn(text, stacklevel=2)
            continue
        for entry in entries:
            name = entry.name.lower()
            if _is_folder(entry):
                if not name.endswith(folder_suffixes):
                    (linked if entry.is_symlink() else waiting).append(entry.path)
                    continue
                # A Zarr folder is one image or none: its insides are not searched.
                wanted = _is_folder_micrograph(entry.path)
            else:
                wanted = name.endswith(suffixes)
            if wanted and entry.is_symlink():
                links.append((os.path.realpath(entry.path), Path(entry.path)))
            elif wanted:
                yield os.path.join(real, entry.name), Path(entry.path)
    yield from sorted(links)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link onto itself
        return False


def _is_folder_micrograph(path: str) -> bool:
    """Whether a folder is an image itself, as OME-Zarr is; a store of nanoarray is none."""
    named = path.lower().rstrip("/").endswith(known_suffixes(folders=True))
    return named and any(f.is_folder and f.recognizes(b"", path) for f in known_formats())


def _suffix_text() -> str:
    return ", ".join((*known_suffixes(), *known_suffixes(folders=True)))


#: Of files that look like images; those that are read are not counted.
_OTHER_FORMATS = frozenset(
    ".bmp .gif .webp .jp2 .j2k .jpe .jfif .jxl .avif .heic .psd .pdf .svg .eps .raw .img .npy "
    ".dm2 .dm3 .dm4 .emd .ser .emi .mrc .rec .st .h5 .hdf5 .hspy .nxs .blo .bcf .spe .rpl .gwy "
    ".sxm .spm .ibw .czi .lif .nd2 .oib .oif .vsi .lsm .stk .svs .ndpi .scn .bif .btf".split()
)


def find_others(sources: Iterable[str | os.PathLike[str]]) -> Counter[str]:
    """Count the files below folders that look like images but cannot be read, by suffix.

    The emi file of an acquisition counts where the ser files with its images are not beside it.
    """
    counts: Counter[str] = Counter()
    others = _OTHER_FORMATS - set(known_suffixes())
    of_folders = known_suffixes(folders=True)
    for source in sources:
        for place, folders, names in os.walk(source):
            # What a Zarr folder holds are no files of their own.
            zarr = [name for name in folders if name.lower().endswith(of_folders)]
            folders[:] = [f for f in folders if f not in zarr and not f.startswith(".")]
            lost = [name for name in zarr if _is_no_known_zarr(os.path.join(place, name))]
            counts.update([".zarr without an OME-Zarr image"] * len(lost))
            for name in names:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() not in others:
                    continue
                if suffix.lower() == ".emi":
                    counts.update([] if _has_ser(stem, names) else [".emi without its .ser"])
                else:
                    counts.update([suffix.lower()])
    return counts


def _is_no_known_zarr(path: str) -> bool:
    """Whether a folder is neither an image nor a store of nanoarray."""
    return not _is_folder_micrograph(path) and not group_mentions(path, b'"nanoarray_format"')


def _has_ser(stem: str, names: Iterable[str]) -> bool:
    images = re.compile(re.escape(stem) + r"_\d+\.ser", re.IGNORECASE)
    return any(images.fullmatch(name) for name in names)
