"""Label images of other programs, or drawn by hand: found by the image's id, read with bounds.

They come from strangers like micrographs do: sizes are checked before anything is allocated, and
nothing that a file holds is run.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import ImageError, InputError
from nanoarray.images.source import Source, read_bytes
from nanoarray.images.tiff import check_declared_size
from nanoarray.images.tiff_structure import check_structure

__all__ = [
    "LABEL_SUFFIXES",
    "check_label_folder",
    "check_labels",
    "given_labels",
    "read_labels",
    "sort_labels",
]


def read_labels(
    folder: str | os.PathLike[str], image: str, *, prefer: str = ""
) -> npt.NDArray[Any]:
    """The label image of an image, as it is stored.

    Parameters
    ----------
    folder
        Holds one label image per micrograph, named by the image's id and ending in one of
        `LABEL_SUFFIXES`.
    image
        Id of the image; subfolders in it are subfolders of ``folder``.
    prefer
        Which label image of an OME-Zarr that holds several.

    Raises
    ------
    ImageError
        The folder has none for this image, or more than one, or it cannot be read.
    """
    place = Path(folder)
    there = [s for s in LABEL_SUFFIXES if os.path.exists(place / f"{image}{s}")]
    inside = place.resolve()
    there = [s for s in there if inside in (place / f"{image}{s}").resolve().parents]
    if not there:
        raise ImageError(
            f"no label image for {image!r} in {folder}: expected {image}.tif, .png, .npy or .zarr"
        )
    if len(there) > 1:
        names = " and ".join(f"{image}{s}" for s in there)
        raise ImageError(f"{folder} holds {names}: expected one label image, remove the others")
    path = place / f"{image}{there[0]}"
    try:
        return _READERS[there[0]](path, prefer)
    except ImageError as error:
        raise ImageError(f"the label image {path.name} {error}") from error
    except (ValueError, RuntimeError, OSError, EOFError, LookupError, TypeError) as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"the label image {path.name} cannot be read: {text}") from error


def check_labels(
    labels: npt.ArrayLike, *, shape: tuple[int, int], what: str = "objects"
) -> npt.NDArray[np.integer[Any]]:
    """Refuse what is no label image of a micrograph.

    Parameters
    ----------
    labels
        ``(height, width)`` whole numbers: 0 background, one positive id per object.
    shape
        Height and width of the micrograph.
    what
        What the labels stand for, for messages.

    Returns
    -------
    ndarray
        The labels as integers.

    Raises
    ------
    InputError
        The shape differs, or there are fractional, missing or negative ids, or only true and false.
    """
    array = np.asarray(labels)
    if array.shape != tuple(shape):
        raise InputError(
            f"the label image has shape {array.shape}, the micrograph {tuple(shape)} "
            "(height, width): give one integer per pixel, without colour channels or borders"
        )
    if array.dtype == bool:
        raise InputError(
            f"the label image is a mask of true and false: number the {what} 1..n "
            "(for example with skimage.measure.label)"
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            raise InputError("the label image has fractional or missing ids: use whole numbers")
        if array.size and abs(array).max() >= 2**53:
            raise InputError("the label image has ids beyond 2**53 as floats: use whole numbers")
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iu":
        raise InputError(f"the label image has type {array.dtype}: use whole numbers")
    if array.size and array.min() < 0:
        raise InputError(
            f"the label image has the negative id {array.min():g}: 0 is background, {what} are "
            "positive"
        )
    if array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"the label image has the id {array.max()}, beyond 64 bits with a sign")
    return array


def given_labels(
    labels: npt.ArrayLike, *, shape: tuple[int, int], data_bar_px: int = 0, what: str = "objects"
) -> npt.NDArray[np.integer[Any]]:
    """A label image for an image of this shape; one of the whole file loses its data bar.

    Raises
    ------
    InputError
        It is no label image, or of another shape; see `check_labels`.
    """
    array = np.asarray(labels)
    if data_bar_px > 0 and array.shape == (shape[0] + data_bar_px, shape[1]):
        array = array[: shape[0]]
    return check_labels(array, shape=shape, what=what)


def check_label_folder(folder: str | os.PathLike[str], images: Sequence[str]) -> dict[str, Any]:
    """Look whose the label images of a folder are, before any result is replaced.

    Parameters
    ----------
    folder
        See `read_labels`.
    images
        Ids of the images of a store.

    Returns
    -------
    dict
        ``unused_labels``: label images of no image of the store, which are also warned about.

    Raises
    ------
    InputError
        None of them is of an image of the store.
    """
    used, unused = sort_labels(folder, images)
    named = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
    if not used:
        found = f"it holds {named}" if unused else "it holds none"
        raise InputError(
            f"{folder} has a label image for none of the {len(images)} images: {found}; name each "
            f"by the id of its image, such as {images[0] if images else 'image'}.tif"
        )
    if unused:
        warnings.warn(
            f"{len(unused)} label images in {folder} are of no image of the store: {named}",
            stacklevel=2,
        )
    return {"unused_labels": unused}


def sort_labels(
    folder: str | os.PathLike[str], images: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Label images of a folder, by their names below it: those of the images, and the others."""
    root, known = Path(folder), set(images)
    used: list[str] = []
    unused: list[str] = []
    for base, folders, names in os.walk(root):
        # A folder that is a label image itself is not searched.
        whole = [name for name in folders if name.lower().endswith(".zarr")]
        folders[:] = [name for name in folders if name not in whole]
        for name in (*names, *whole):
            at = Path(base, name).relative_to(root).as_posix()
            endings = [s for s in LABEL_SUFFIXES if at.endswith(s)]
            if endings:
                own = any(at.removesuffix(s) in known for s in endings)
                (used if own else unused).append(at)
    return sorted(used), sorted(unused)


def _read_tiff(path: Path, prefer: str) -> npt.NDArray[Any]:
    import io

    import tifffile

    del prefer
    content = read_bytes(path)
    check_structure(content)
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        pages = [page for page in tif.pages if not page.is_reduced]
        if len(pages) != 1:
            raise ImageError(f"holds {len(pages)} images, expected one")
        check_declared_size(tif, pages[0])
        # As stored: a palette is how labels are shown, its indices are the labels.
        return np.asarray(pages[0].asarray(maxworkers=1))


def _read_png(path: Path, prefer: str) -> npt.NDArray[Any]:
    from nanoarray.images.picture import PNG, decode_picture

    del prefer
    content = read_bytes(path)
    if not content.startswith(PNG):
        raise ImageError("is no PNG")
    return decode_picture(content)[0]


def _read_npy(path: Path, prefer: str) -> npt.NDArray[Any]:
    del prefer
    if not path.is_file():
        raise ImageError("is not a file (a folder, pipe or device)")
    # Mapped, so that a declared size is compared with the file's; never unpickled.
    return np.lib.format.open_memmap(path, mode="r")


def _read_zarr(path: Path, prefer: str) -> npt.NDArray[Any]:
    from nanoarray.images.ome_zarr import read_zarr_labels

    return read_zarr_labels(Source(str(path)), prefer=prefer)


_READERS: dict[str, Callable[[Path, str], npt.NDArray[Any]]] = {
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".ome.tif": _read_tiff,
    ".ome.tiff": _read_tiff,
    ".png": _read_png,
    ".npy": _read_npy,
    ".zarr": _read_zarr,
    ".ome.zarr": _read_zarr,
}
#: Endings of label images.
LABEL_SUFFIXES = tuple(_READERS)
