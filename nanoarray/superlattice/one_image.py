"""The steps of the pipeline for one image, on NumPy arrays: what every block and Dataset maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.superlattice.cells import cell_areas
from nanoarray.superlattice.measure import measure_grains
from nanoarray.superlattice.parameters import PreparedParameters, TilesParameters
from nanoarray.superlattice.prepare import (
    DEFAULT_MIN_SHARPNESS,
    equalize,
    find_defects,
    lattice_spacing,
    resample,
    sharpness,
    suppress_line_noise,
)
from nanoarray.superlattice.radon import tile_radon
from nanoarray.superlattice.radon_paper import alignment_bits, tile_radon_paper
from nanoarray.superlattice.tile_grid import valid_fraction

Mask = npt.NDArray[np.bool_]

#: Resampling by less than this changes nothing that can be measured.
_SAME_SCALE = 1e-3


@dataclass(frozen=True)
class Field:
    """One cleaned image at the common pixel size.

    ``image`` (height, width) float32; ``missing`` (height, width) True in defects;
    ``factor`` common pixels per pixel of the original.
    """

    image: npt.NDArray[np.float32]
    missing: Mask
    factor: float


@dataclass(frozen=True)
class Grid:
    """Tile centres [px of the common pixel size] and sizes [px] of a whole collection."""

    centres_y: npt.NDArray[np.float64]
    centres_x: npt.NDArray[np.float64]
    tile_size_px: int
    stride_px: int


def prepare_image(
    pixels: npt.NDArray[Any], parameters: PreparedParameters
) -> dict[str, npt.NDArray[Any]]:
    """Defects, sharpness and lattice spacing of one image (height, width)."""
    spacing = lattice_spacing(pixels)
    if parameters.find_defects:
        defect = find_defects(pixels, spacing_px=spacing if np.isfinite(spacing) else None)
        # The spacing once more, without what the defects added to the spectrum.
        if defect.any():
            spacing = lattice_spacing(pixels, defect=defect)
    else:
        defect = np.zeros(pixels.shape, dtype=bool)
    fraction = float(defect.mean())
    score = sharpness(pixels, defect=defect)
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
    limit = DEFAULT_MIN_SHARPNESS if limit is None else limit
    if defect_fraction > parameters.max_defect_fraction:
        return f"{defect_fraction:.0%} of the image is defect (limit {parameters.max_defect_fraction:.0%})"
    if not sharpness >= limit:
        return f"out of focus or without a lattice (sharpness {sharpness:.2f}, limit {limit:.2f})"
    return ""


def clean_image(
    pixels: npt.NDArray[Any],
    defect: Mask,
    *,
    pixel_size_nm: float,
    common_pixel_size_nm: float,
    parameters: PreparedParameters,
) -> Field:
    """Even out lines and contrast, and bring the image to the common pixel size."""
    image = pixels.astype(np.float32)
    if parameters.suppress_line_noise:
        image = suppress_line_noise(image, defect=defect)
    if parameters.equalize != "none":
        image = equalize(image, method=parameters.equalize)
    factor = scale_factor(pixel_size_nm, common_pixel_size_nm)
    if factor != 1.0:
        image = resample(image, factor=factor)
        part = resample(defect.astype(np.float32), factor=factor)
        defect = part > 0.5
    return Field(np.ascontiguousarray(image, dtype=np.float32), defect, factor)


def scale_factor(pixel_size_nm: float, common_pixel_size_nm: float) -> float:
    """Common pixels per pixel of an image; 1 where nothing is resampled."""
    if not np.isfinite(common_pixel_size_nm):
        return 1.0
    if not np.isfinite(pixel_size_nm):
        raise InputError("no pixel size: pass --pixel-size NM or add a pixel_size column to the tags")
    factor = pixel_size_nm / common_pixel_size_nm
    return 1.0 if abs(factor - 1.0) < _SAME_SCALE else float(factor)


def tile_features(
    field: Field, grid: Grid, angles_deg: npt.NDArray[np.float64], parameters: TilesParameters
) -> dict[str, npt.NDArray[Any]]:
    """Projection variance, alignment bits and validity of every tile of one image."""
    height, width = field.image.shape
    if grid.tile_size_px > min(height, width):
        raise InputError(
            f"the image of {height} x {width} px is smaller than a tile of {grid.tile_size_px} px"
        )
    square = parameters.window == "square"
    half = (grid.tile_size_px - 1) / 2 if parameters.coverage == "inside" else 0.0
    rows = np.flatnonzero(grid.centres_y + half <= height - 0.5)
    columns = np.flatnonzero(grid.centres_x + half <= width - 0.5)
    y, x = grid.centres_y[rows], grid.centres_x[columns]
    if square:
        image = np.where(field.missing, np.float32(0), field.image)
        variance = tile_radon_paper(
            image, y, x, tile_size_px=grid.tile_size_px, angles_deg=angles_deg
        )
    else:
        variance = tile_radon(
            field.image,
            y,
            x,
            tile_size_px=grid.tile_size_px,
            angles_deg=angles_deg,
            missing=field.missing if field.missing.any() else None,
        )
    share = valid_fraction(
        y, x, tile_size_px=grid.tile_size_px, height_px=height, width_px=width, missing=field.missing
    )
    valid = np.isfinite(variance).all(axis=-1) & (share >= parameters.min_valid_fraction)
    return {
        "projection_variance": variance,
        "alignment": _bits(variance, parameters),
        "valid": valid,
    }


def _bits(variance: npt.NDArray[np.float32], parameters: TilesParameters) -> npt.NDArray[np.uint8]:
    """Alignment bits, one per angle; where the paper loses both ends they are 0."""
    paper = parameters.window == "square"
    bits = alignment_bits(variance, method=parameters.alignment, periodic=not paper)
    lost = variance.shape[-1] - bits.shape[-1]
    if lost:
        bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(lost // 2, lost - lost // 2)])
    return bits



def measure_map(
    grain: npt.NDArray[np.int32],
    orientation: npt.NDArray[np.float32],
    confidence: npt.NDArray[np.float32],
    grid: Grid,
    *,
    symmetry: int,
    defect: Mask,
    factor: float,
    pixel_size_nm: float,
    image_index: int,
) -> dict[str, npt.NDArray[Any]]:
    """Measure the grains of one map [tile_y, tile_x] in the pixels of the original image.

    ``factor`` is the number of common pixels per pixel of the image; ``defect`` (height, width).
    """
    height, width = defect.shape
    # Pixel centres are at integers: scaling happens about the outer edge of the first pixel.
    centres_y = (grid.centres_y + 0.5) / factor - 0.5
    centres_x = (grid.centres_x + 0.5) / factor - 0.5
    stride = grid.stride_px / factor
    area = cell_areas(
        centres_y,
        centres_x,
        stride_px=stride,
        field_height_px=height,
        field_width_px=width,
        defect=defect,
    )
    columns = measure_grains(
        grain,
        orientation=orientation,
        confidence=confidence,
        cell_area_px=area,
        stride_px=stride,
        centres_y=centres_y,
        centres_x=centres_x,
        field_height_px=height,
        field_width_px=width,
        pixel_size_nm=pixel_size_nm,
        symmetry=symmetry,
    )
    count = columns["label"].size
    columns["image_index"] = np.full(count, image_index, np.int32)
    columns["symmetry"] = np.full(count, symmetry, np.int32)
    mean = ndimage.mean(np.nan_to_num(confidence), grain, columns["label"]) if count else np.zeros(0)
    columns["orientation_confidence"] = np.asarray(mean, np.float64)
    return columns
