"""Preparing and tiling one image, on NumPy arrays: what every block and Dataset maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.superlattice.grains.orientation import lattice_band
from nanoarray.superlattice.parameters import PreparedParameters, TilesParameters
from nanoarray.superlattice.prepare.cleaning import (
    equalize,
    find_defects,
    lattice_spacing,
    radial_spectrum,
    resample,
    resample_mask,
    sharpness,
    suppress_line_noise,
)
from nanoarray.superlattice.radon.aligned import tile_radon
from nanoarray.superlattice.radon.paper import alignment_bits, tile_radon_paper
from nanoarray.superlattice.radon.tile_grid import Coverage, valid_fraction
from nanoarray.superlattice.scale import scale_factor

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Field:
    """One cleaned image at the common pixel size.

    ``image`` (height, width) float32; ``missing`` (height, width) True in defects;
    ``factor`` common pixels per pixel of the original; ``spacing_px`` of the lattice rows.
    """

    image: npt.NDArray[np.float32]
    missing: Mask
    factor: float
    spacing_px: float


@dataclass(frozen=True)
class Grid:
    """Tile centres [px of the common pixel size] and sizes [px] of a whole collection.

    ``coverage`` as in `superlattice.radon.tile_grid.tile_grid`.
    """

    centres_y: npt.NDArray[np.float64]
    centres_x: npt.NDArray[np.float64]
    tile_size_px: int
    stride_px: int
    coverage: Coverage


def prepare_image(pixels: npt.NDArray[Any], parameters: PreparedParameters) -> dict[str, Any]:
    """Defects, sharpness and lattice spacing of one image (height, width)."""
    spectrum = radial_spectrum(pixels)
    spacing = lattice_spacing(pixels, spectrum=spectrum)
    if parameters.find_defects:
        defect = find_defects(pixels, spacing_px=spacing if np.isfinite(spacing) else None)
        # The spacing once more, without what the defects added to the spectrum.
        if defect.any():
            spectrum = radial_spectrum(pixels, defect=defect)
            spacing = lattice_spacing(pixels, defect=defect, spectrum=spectrum)
    else:
        defect = np.zeros(pixels.shape, dtype=bool)
    fraction = float(defect.mean())
    score = 0.0
    if np.isfinite(spacing):
        score = sharpness(pixels, spacing_px=spacing, defect=defect, spectrum=spectrum)
    return {
        "defect": defect,
        "defect_fraction": np.float32(fraction),
        "sharpness": np.float32(score),
        "lattice_spacing": np.float32(spacing),
        "usable": np.bool_(not unusable(fraction, score, parameters)),
    }


def unusable(defect_fraction: float, sharpness: float, parameters: PreparedParameters) -> str:
    """Why an image should not be measured; "" where it can be."""
    limit = parameters.min_sharpness
    if defect_fraction > 0.99:
        return "no field with the contrast of a lattice (a flat, binary or very small image?)"
    if defect_fraction > parameters.max_defect_fraction:
        most = parameters.max_defect_fraction
        return f"{defect_fraction:.0%} of the image is defect (limit {most:.0%})"
    if not sharpness >= limit:
        return f"out of focus or without a lattice (sharpness {sharpness:.2f}, limit {limit:.2f})"
    return ""


def clean_image(
    pixels: npt.NDArray[Any],
    defect: Mask,
    *,
    pixel_size_nm: float,
    common_pixel_size_nm: float,
    spacing_px: float,
    parameters: PreparedParameters,
) -> Field:
    """Even out lines and contrast, and bring the image to the common pixel size.

    ``spacing_px`` is the spacing of the lattice rows in ``pixels``.
    """
    image = pixels.astype(np.float32)
    if parameters.suppress_line_noise:
        image = suppress_line_noise(image, defect=defect)
    if parameters.equalize != "none":
        image = equalize(image, method=parameters.equalize)
    factor = scale_factor(pixel_size_nm, common_pixel_size_nm)
    if factor != 1.0:
        image = resample(image, factor=factor)
        defect = resample_mask(defect, factor=factor)
    return Field(np.ascontiguousarray(image, np.float32), defect, factor, spacing_px * factor)


def band_passed(field: Field) -> npt.NDArray[np.float32]:
    """The field with only what is about as coarse as its lattice."""
    if not np.isfinite(field.spacing_px):
        raise InputError("no lattice spacing was found: make the tiles with band_pass = false")
    return lattice_band(field.image, row_spacing_px=field.spacing_px, defect=field.missing)


def tile_features(
    field: Field, grid: Grid, angles_deg: npt.NDArray[np.float64], parameters: TilesParameters
) -> dict[str, Any]:
    """Projection variance, alignment bits and validity of every tile of one image."""
    height, width = field.image.shape
    if grid.tile_size_px > min(height, width):
        raise InputError(
            f"the image of {height} x {width} px is smaller than a tile of {grid.tile_size_px} px"
        )
    rows, columns = tiles_inside(grid, height, width)
    centres = grid.centres_y[rows], grid.centres_x[columns]
    return features_of_tiles(field, centres, grid.tile_size_px, angles_deg, parameters)


def features_of_tiles(
    field: Field,
    centres: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    tile_size_px: int,
    angles_deg: npt.NDArray[np.float64],
    parameters: TilesParameters,
    *,
    origin_px: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """`tile_features` of the tiles at some ``centres`` (y, x) [px of the image].

    ``origin_px`` is where ``field`` begins in the image.
    """
    height, width = field.image.shape
    y, x = (c - first for c, first in zip(centres, origin_px, strict=True))
    if parameters.window == "square":
        image = np.where(field.missing, np.float32(0), field.image)
        variance = tile_radon_paper(image, y, x, tile_size_px=tile_size_px, angles_deg=angles_deg)
    else:
        variance = aligned_variance(
            field,
            *centres,
            tile_size_px=tile_size_px,
            angles_deg=angles_deg,
            band_pass=parameters.band_pass,
            device=parameters.device,
            origin_px=origin_px,
        )
    share = valid_fraction(
        y,
        x,
        tile_size_px=tile_size_px,
        height_px=height,
        width_px=width,
        missing=field.missing,
    )
    valid = np.isfinite(variance).all(axis=-1) & (share >= parameters.min_valid_fraction)
    return {
        "projection_variance": variance,
        "alignment": alignment_of(variance, parameters),
        "valid": valid,
    }


def aligned_variance(
    field: Field,
    y: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    *,
    tile_size_px: int,
    angles_deg: npt.NDArray[np.float64],
    band_pass: bool,
    device: str = "cpu",
    origin_px: tuple[int, int] = (0, 0),
) -> npt.NDArray[np.float32]:
    """Projection variance in windows aligned with the projection, on the CPU or through torch.

    ``origin_px`` is where the field begins in the image that ``y`` and ``x`` are places of.
    """
    image = band_passed(field) if band_pass else field.image
    options: dict[str, Any] = {
        "tile_size_px": tile_size_px,
        "angles_deg": angles_deg,
        "missing": field.missing if field.missing.any() else None,
        # A band-passed image has no background left to subtract, and no mean.
        "flatten_px": 0 if band_pass else None,
        "origin_px": origin_px,
    }
    if device == "cpu":
        return tile_radon(image, y, x, **options)
    from nanoarray.superlattice.radon.on_torch import tile_radon_torch

    return tile_radon_torch(image, y, x, device=device, **options)


def tiles_inside(
    grid: Grid, height_px: float, width_px: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the collection's grid that an image of this size has."""
    # "full": the centre is a pixel of the image; "inside": so is the last pixel of the tile.
    whole = grid.coverage == "inside"
    reach = (grid.tile_size_px - 1) / 2 if whole else 0.0
    limit = 1e-6 if whole else 0.5
    rows = np.flatnonzero(grid.centres_y + reach < height_px - 1 + limit)
    columns = np.flatnonzero(grid.centres_x + reach < width_px - 1 + limit)
    return rows, columns


def own_tiles(grid: Grid, height_px: float, width_px: float) -> tuple[slice, slice]:
    """Where the tiles of an image of this size are in maps of the collection, which hold more."""
    rows, columns = tiles_inside(grid, height_px, width_px)
    return slice(0, rows.size), slice(0, columns.size)


def alignment_of(
    variance: npt.NDArray[np.float32], parameters: TilesParameters
) -> npt.NDArray[np.uint8]:
    """Alignment bits, one per angle; where the paper loses both ends they are 0."""
    paper = parameters.window == "square"
    bits = alignment_bits(variance, method=parameters.alignment, periodic=not paper)
    lost = variance.shape[-1] - bits.shape[-1]
    if lost:
        bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(lost // 2, lost - lost // 2)])
    return bits
