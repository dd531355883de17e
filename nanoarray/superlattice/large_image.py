"""Preparing and tiling an image that is read in windows: as `one_image`, field by field.

What is global (spacing, sharpness, offsets of lines) is found in passes over the image; what is
local is computed in fields with a margin as wide as the filters see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.fields.windows import Pixels, Window, cores, spans
from nanoarray.superlattice.grains.orientation import BAND_REACH_SPACINGS
from nanoarray.superlattice.one_image import (
    Field,
    Grid,
    aligned_variance,
    features_of_tiles,
    own_tiles,
    unusable,
)
from nanoarray.superlattice.parameters import PreparedParameters, TilesParameters
from nanoarray.superlattice.prepare.cleaning import (
    lattice_spacing,
    line_means,
    line_offsets,
    radial_spectrum,
    resample_window,
    resampled_shape,
    sharpness,
)
from nanoarray.superlattice.prepare.large import Repeated, find_defects_in_fields
from nanoarray.superlattice.radon.aligned import DECIMATION, padding
from nanoarray.superlattice.scale import scale_factor

#: Tiles along a side of a field, as of a chunk of the map.
FIELD_TILES = 256
#: Pixels of a band of whole lines.
_BAND_PX = 4_000_000


def prepare_large_image(
    pixels: Pixels, parameters: PreparedParameters
) -> tuple[dict[str, Any], Repeated | None]:
    """`one_image.prepare_image` of an image that is read in windows.

    Returns
    -------
    tuple
        What has one value, and the defects, to be read in windows; None where there are none.
    """
    spectrum = radial_spectrum(pixels)
    spacing = lattice_spacing(pixels, spectrum=spectrum)
    defect, fraction = None, 0.0
    if parameters.find_defects:
        found = find_defects_in_fields(pixels, spacing_px=spacing if np.isfinite(spacing) else None)
        fraction = found.mean()
        if fraction > 0:
            defect = found
            spectrum = radial_spectrum(pixels, defect=defect)
            spacing = lattice_spacing(pixels, defect=defect, spectrum=spectrum)
    score = 0.0
    if np.isfinite(spacing):
        score = sharpness(pixels, spacing_px=spacing, defect=defect, spectrum=spectrum)
    values = {
        "defect_fraction": np.float32(fraction),
        "sharpness": np.float32(score),
        "lattice_spacing": np.float32(spacing),
        "usable": np.bool_(not unusable(fraction, score, parameters)),
    }
    return values, defect


class CleanedPixels:
    """A large image as `one_image.clean_image` makes it, in windows.

    Parameters
    ----------
    pixels, defect
        The image and what is defect in it.
    pixel_size_nm, common_pixel_size_nm, spacing_px, parameters
        As for `one_image.clean_image`.

    Raises
    ------
    InputError
        The contrast is to be equalized, which needs the whole image.
    """

    def __init__(
        self,
        pixels: Pixels,
        defect: Pixels,
        *,
        pixel_size_nm: float,
        common_pixel_size_nm: float,
        spacing_px: float,
        parameters: PreparedParameters,
    ) -> None:
        if parameters.equalize != "none":
            raise InputError(
                f"the image of {pixels.shape[0]} x {pixels.shape[1]} px is computed in fields, and "
                f'contrast is not equalized there: set prepared.equalize = "none"'
            )
        self._pixels, self._defect = pixels, defect
        self.factor = scale_factor(pixel_size_nm, common_pixel_size_nm)
        self.spacing_px = spacing_px * self.factor
        self.shape = resampled_shape(pixels.shape, self.factor)
        self._offset = np.zeros(pixels.shape[0], np.float32)
        if parameters.suppress_line_noise:
            bands = [
                line_means(np.asarray(pixels[b], np.float32), defect[b])
                for b in _bands(pixels.shape)
            ]
            means, known = (np.concatenate(parts, axis=1) for parts in zip(*bands, strict=True))
            self._offset = line_offsets(means, known)

    def field(self, window: Window) -> Field:
        """The image in a window of common pixels."""
        if self.factor == 1.0:
            image = self._levelled(window)
            missing = self._defect[window]
        else:
            image = resample_window(
                _Levelled(self), window, factor=self.factor, shape=self._pixels.shape
            )
            missing = self._resampled_defect(window)
        return Field(np.ascontiguousarray(image, np.float32), missing, self.factor, self.spacing_px)

    def missing_pixels(self) -> Iterator[tuple[Window, npt.NDArray[np.bool_]]]:
        """The defects in common pixels, in bands over the whole width."""
        for band in _bands(self.shape):
            yield band, self.missing(band)

    def missing(self, window: Window) -> npt.NDArray[np.bool_]:
        """The defects in a window of common pixels."""
        return self._defect[window] if self.factor == 1.0 else self._resampled_defect(window)

    def _levelled(self, window: Window) -> npt.NDArray[np.float32]:
        values = np.asarray(self._pixels[window], np.float32)
        return np.asarray(values - self._offset[window[0], None])

    def _resampled_defect(self, window: Window) -> npt.NDArray[np.bool_]:
        index = [
            np.clip(
                np.floor((np.arange(s.start, s.stop) + 0.5) / self.factor).astype(np.int64),
                0,
                n - 1,
            )
            for s, n in zip(window, self._pixels.shape, strict=True)
        ]
        rows, columns = (slice(int(i[0]), int(i[-1]) + 1) for i in index)
        part = self._defect[rows, columns]
        return np.asarray(part[np.ix_(index[0] - rows.start, index[1] - columns.start)])


class _Levelled:
    """The image without the offsets of its lines, before it is resampled."""

    dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, cleaned: CleanedPixels) -> None:
        self._cleaned = cleaned
        self.shape = cleaned._pixels.shape

    def __getitem__(self, window: Window) -> npt.NDArray[np.float32]:
        return self._cleaned._levelled(window)


def _bands(shape: tuple[int, ...]) -> Iterator[Window]:
    """Bands of whole lines."""
    for rows in spans(shape[0], max(16, _BAND_PX // shape[1])):
        yield rows, slice(0, shape[1])


def fields_of_tiles(grid: Grid, shape: tuple[int, ...]) -> Iterator[Window]:
    """Rows and columns of the tiles of every field of an image."""
    rows, columns = own_tiles(grid, shape[0], shape[1])
    yield from cores((rows.stop, columns.stop), FIELD_TILES)


def large_tile_features(
    cleaned: CleanedPixels,
    grid: Grid,
    tiles: Window,
    angles_deg: npt.NDArray[np.float64],
    parameters: TilesParameters,
) -> dict[str, Any]:
    """`one_image.tile_features` of the tiles of a field."""
    band_pass = parameters.band_pass and parameters.window == "aligned"
    window, centres = _field_of(cleaned, grid, tiles, grid.tile_size_px, band_pass)
    return features_of_tiles(
        cleaned.field(window),
        centres,
        grid.tile_size_px,
        angles_deg,
        parameters,
        origin_px=(window[0].start, window[1].start),
    )


def large_variance(
    cleaned: CleanedPixels,
    grid: Grid,
    tiles: Window,
    angles_deg: npt.NDArray[np.float64],
    *,
    tile_size_px: int,
    band_pass: bool,
) -> npt.NDArray[np.float32]:
    """`one_image.aligned_variance` of tiles of another size at the places of those of a field."""
    window, centres = _field_of(cleaned, grid, tiles, tile_size_px, band_pass)
    return aligned_variance(
        cleaned.field(window),
        *centres,
        tile_size_px=tile_size_px,
        angles_deg=angles_deg,
        band_pass=band_pass,
        origin_px=(window[0].start, window[1].start),
    )


def _field_of(
    cleaned: CleanedPixels, grid: Grid, tiles: Window, tile_size_px: int, band_pass: bool
) -> tuple[Window, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """The pixels that the tiles of a field depend on, and where the tiles are."""
    centres = grid.centres_y[tiles[0]], grid.centres_x[tiles[1]]
    see = (BAND_REACH_SPACINGS + 4) * cleaned.spacing_px if band_pass else 2 * tile_size_px + 8
    margin = padding(tile_size_px) + 1 + math.ceil(see)
    rows, columns = (
        slice(_aligned(max(math.floor(c[0]) - margin, 0)), min(math.ceil(c[-1]) + margin, n))
        for c, n in zip(centres, cleaned.shape, strict=True)
    )
    return (rows, columns), centres


def _aligned(start: int) -> int:
    """A start that the blocks of the local mean have too."""
    return start // DECIMATION * DECIMATION
