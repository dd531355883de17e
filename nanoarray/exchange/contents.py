"""What a store holds that can be exported, and one image of it at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from nanoarray import schema
from nanoarray.archive import store
from nanoarray.archive.lineage import is_current
from nanoarray.errors import ImageError, InputError
from nanoarray.exchange.bands import Plane, plane_of
from nanoarray.exchange.labels import tiles_to_pixels
from nanoarray.superlattice.grids import GRID_NAMES, grid_of
from nanoarray.superlattice.one_image import tiles_inside
from nanoarray.superlattice.scale import scale_factor

PIXELS = "images/intensity"
_PIXEL_DIMS = ("image", "y", "x")
_TILE_DIMS = ("image", "tile_y", "tile_x")
#: Images up to this size are read once; larger ones in bands, once for each thing that is made.
_AT_ONCE_BYTES = 2**26
#: Tags that go along with an image.
_NOT_TAGS = frozenset(
    "metadata sha256 path problem ok height width pixel_size pixel_size_y".split()
)


@dataclass(frozen=True)
class ExportedImage:
    """One image as it is exported.

    ``pixels`` (height, width); ``labels`` label images and ``fields`` other maps, both (height,
    width) by name, all read when they are written; ``left_out`` the reasons of maps that this image
    does not have.
    """

    image: str
    pixels: Plane
    pixel_size_nm: float
    pixel_size_y_nm: float
    tags: dict[str, Any]
    labels: dict[str, Plane] = field(default_factory=dict)
    fields: dict[str, Plane] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def map_names(url: str) -> list[str]:
    """Every map of a store with a value per pixel or per tile of each image, as group/variable."""
    names = []
    for group in store.group_names(url):
        ds = store.open_group(url, group)
        for name, variable in ds.data_vars.items():
            if variable.dims in (_PIXEL_DIMS, _TILE_DIMS) and f"{group}/{name}" != PIXELS:
                names.append(f"{group}/{name}")
    return names


class Archive:
    """The images of a store and the chosen maps, read one image at a time.

    Parameters
    ----------
    url
        The store.
    maps
        Names as `map_names` gives them, or the variable alone where it is in one group.

    Raises
    ------
    InputError
        There is no such store or map.
    """

    def __init__(self, url: str, maps: Sequence[str]) -> None:
        store.check_store(url)
        self.images = store.open_group(url, "images")
        available = map_names(url) if maps else []
        self.maps = list(dict.fromkeys(_found(name, available) for name in maps))
        variables = [name.split("/")[1] for name in self.maps]
        self._short = [
            variable if variables.count(variable) == 1 else name.replace("/", "_")
            for name, variable in zip(self.maps, variables, strict=True)
        ]
        groups = {name.split("/")[0] for name in self.maps}
        self._url = url
        self._groups = {group: store.open_group(url, group) for group in groups}
        self._done = {group: _done(url, group) for group in groups}
        self.names = [str(name) for name in self.images["image"].values]
        columns = store.read_columns(url, "images", "image", _columns(self.images))
        self._ok = columns.pop("ok")
        self._problem = columns.pop("problem")
        self._columns = columns

    def position(self, image: str) -> int:
        """Where an image is.

        Raises
        ------
        InputError
            There is none of this name.
        """
        if image not in self.names:
            raise InputError(
                f"the store has no image {image!r}: see `nanoarray table STORE images`"
            )
        return self.names.index(image)

    def is_read(self, i: int) -> bool:
        """Whether ingest could read image ``i``."""
        return bool(self._ok[i])

    def read(self, i: int) -> ExportedImage:
        """Image ``i`` and its maps; reading their rows raises ImageError where they are damaged.

        Raises
        ------
        ImageError
            The image was never read, or what the store holds of it is damaged.
        """
        if not self._ok[i]:
            raise ImageError(str(self._problem[i]) or "the image could not be read")
        height, width = int(self.images["height"][i]), int(self.images["width"][i])
        size, size_y = (float(self._columns[n][i]) for n in ("pixel_size", "pixel_size_y"))
        found = ExportedImage(
            image=self.names[i],
            pixels=_plane(self.images["intensity"][i], (height, width)),
            pixel_size_nm=size,
            pixel_size_y_nm=size_y if math.isfinite(size_y) else size,
            tags=self._tags(i),
        )
        for name, short in zip(self.maps, self._short, strict=True):
            group, variable = name.split("/")
            ds = self._groups[group]
            if reason := self._missing(group, i):
                found.left_out[name] = reason
                continue
            if ds[variable].dims == _TILE_DIMS:
                values = self._painted(name, i, (height, width), size)
            else:
                values = _plane(ds[variable][i], (height, width))
            (found.labels if values.dtype.kind in "iub" else found.fields)[short] = values
        return found

    def _missing(self, group: str, i: int) -> str:
        """Why a group has nothing for image ``i``; "" where it has."""
        ds, done = self._groups[group], self._done[group]
        if i >= done.size or not done[i]:
            return f"{group} is not computed for it yet: run the pipeline"
        return str(ds["problem"][i].values) if "problem" in ds else ""

    def _painted(self, name: str, i: int, shape: tuple[int, int], pixel_size_nm: float) -> Plane:
        """A map of tiles on the pixels of image ``i``."""
        group, variable = name.split("/")
        ds = self._groups[group]
        of_grid = ds if all(n in ds for n in GRID_NAMES) else store.open_group(self._url, "tiles")
        grid = grid_of(of_grid)
        factor = scale_factor(pixel_size_nm, float(of_grid["common_pixel_size"]))
        rows, columns = tiles_inside(grid, round(shape[0] * factor), round(shape[1] * factor))
        values = _values(ds[variable][i])[np.ix_(rows, columns)]
        entry = schema.known(group, variable)
        return tiles_to_pixels(
            values,
            centres_y=grid.centres_y[rows],
            centres_x=grid.centres_x[columns],
            stride_px=grid.stride_px,
            shape=shape,
            factor=factor,
            to_edge=grid.coverage == "full",
            fill=entry.fill_value if entry else schema.fill_of(str(values.dtype)),
        )

    def _tags(self, i: int) -> dict[str, Any]:
        tags: dict[str, Any] = {}
        for name, values in self._columns.items():
            value = values[i]
            if name in _NOT_TAGS or name == "image":
                continue
            if isinstance(value, str):
                tags |= {name: value} if value else {}
            elif math.isfinite(value):
                units = str(self.images[name].attrs.get("units", "1"))
                tags[name if units == "1" else f"{name}_{units}"] = value.item()
        return tags


def _columns(images: xr.Dataset) -> list[str]:
    names = [str(n) for n, v in images.variables.items() if v.dims == ("image",)]
    return [n for n in names if n not in ("metadata", "sha256", "path")]


def _done(url: str, group: str) -> npt.NDArray[np.bool_]:
    """For which images the group is computed."""
    if not is_current(url, group):
        warnings.warn(
            f"group {group!r} of {url} is incomplete or out of date: run the pipeline again",
            stacklevel=4,
        )
    record = store.provenance(url, group)
    done = store.block_keys(url, group) != 0
    return np.repeat(done, int(record.get("block", 1)))[: int(record.get("length", 0))]


def _found(name: str, available: list[str]) -> str:
    matches = [a for a in available if name in (a, a.split("/")[1])]
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(matches or available) or "none"
    if matches:
        raise InputError(f"{name!r} is in several groups: name one of {listed}")
    raise InputError(f"the store has no map {name!r}: it has {listed}")


def _plane(array: xr.DataArray, shape: tuple[int, int]) -> Plane:
    """An image of a store without its padding; read at once where it is small."""
    if math.prod(shape) * array.dtype.itemsize <= _AT_ONCE_BYTES:
        return plane_of(_values(array[: shape[0], : shape[1]]))
    return Plane(shape, array.dtype, lambda start, stop: _values(array[start:stop, : shape[1]]))


def _values(array: xr.DataArray) -> npt.NDArray[Any]:
    """Values of a stored array; damage is the image's, a place that fails is not."""
    try:
        return np.asarray(array.values)
    except (RuntimeError, ValueError) as error:
        raise ImageError(f"its chunk of {array.name!r} is damaged: {error}") from error
