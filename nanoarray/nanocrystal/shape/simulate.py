"""Simulated crops with known shapes: what the shape network is trained and tested on.

A crop is made the way a real one is: the crystal is drawn into a micrograph at its own size, with
contrast, uneven background, neighbours, blur and Poisson noise; it is segmented by a smoothed
threshold, so that noise, neighbours and the threshold move its edge; and it is cut out and scaled
by `nanoarray.nanocrystal.measure.crops.cut_crops`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nanoarray.nanocrystal.measure.crops import cut_crops
from nanoarray.nanocrystal.shape.crop_kernels import relative_diameters, simulate_mosaic
from nanoarray.nanocrystal.shape.distribution import (
    CropConditions,
    ShapeDistribution,
    draw_shapes,
)
from nanoarray.nanocrystal.shape.formula import ShapeParameters
from nanoarray.nanocrystal.shape.render import render_shapes

#: Side of one crystal's cell in the mosaic [px], and cells per mosaic. The window of a crystal of
#: 96 px fits; 256 cells are 5 MB.
_CELL_PX = 136
_CELLS = 256
_NEIGHBOURS = 2
#: Equivalent diameter over the side of the box, above which a shape has no thin parts.
_COMPACT = 0.8


@dataclass(frozen=True)
class SimulatedCrops:
    """Crops with their truth."""

    #: (n, 64, 64) uint8 grey values.
    crop: NDArray[np.uint8]
    #: (n, 64, 64) the segmented crystal, with the errors of a segmentation.
    crop_mask: NDArray[np.bool_]
    #: The true parameters, as drawn.
    parameters: ShapeParameters
    #: (n,) the true centroid and equivalent radius in the crop [crop px].
    centroid_y_px: NDArray[np.float64]
    centroid_x_px: NDArray[np.float64]
    equivalent_radius_px: NDArray[np.float64]

    def true_mask(self) -> NDArray[np.bool_]:
        """The true shapes in the crops: pixels covered by at least a half."""
        coverage = render_shapes(
            self.parameters,
            size_px=self.crop.shape[1],
            equivalent_radius_px=self.equivalent_radius_px,
            centroid_y_px=self.centroid_y_px,
            centroid_x_px=self.centroid_x_px,
        )
        return np.asarray(coverage >= 0.5)


def simulate_crops(
    parameters: ShapeParameters,
    *,
    seed: int,
    conditions: CropConditions | None = None,
    distribution: ShapeDistribution | None = None,
    size_px: int = 64,
) -> SimulatedCrops:
    """Draw, segment and cut out one crop per shape.

    Parameters
    ----------
    parameters
        n shapes.
    seed
        Of everything but the shapes: the same seed and shapes give the same crops.
    conditions
        Ranges of noise, blur, neighbours and so on; by default `CropConditions` as it is.
    distribution
        What the neighbours' shapes are drawn from.
    size_px
        Side of the crops [px].

    Returns
    -------
    SimulatedCrops
    """
    chosen = conditions or CropConditions()
    rng = np.random.default_rng(seed)
    count = parameters.p.shape[0]
    shapes = _columns(parameters)
    near = draw_shapes(
        count * _NEIGHBOURS, seed=int(rng.integers(2**62)), distribution=distribution
    )
    neighbours = np.empty((count, _NEIGHBOURS, 7))
    neighbours[:, :, :4] = _columns(near).reshape(count, _NEIGHBOURS, 4)
    neighbours[:, :, 4] = rng.uniform(0.0, 2.0 * np.pi, (count, _NEIGHBOURS))
    neighbours[:, :, 5] = rng.uniform(*chosen.neighbour_gap, (count, _NEIGHBOURS))
    present = rng.random((count, _NEIGHBOURS)) < chosen.neighbour_probability
    sizes = rng.uniform(*chosen.neighbour_size, (count, _NEIGHBOURS))
    neighbours[:, :, 6] = np.where(present, sizes, 0.0)
    settings = _draw_conditions(shapes, chosen, rng)

    crop = np.empty((count, size_px, size_px), np.uint8)
    mask = np.empty((count, size_px, size_px), np.bool_)
    places = np.empty((count, 3))
    side = int(np.sqrt(_CELLS))
    for first in range(0, count, _CELLS):
        part = slice(first, min(first + _CELLS, count))
        grey = np.zeros((side * _CELL_PX, side * _CELL_PX), np.uint8)
        labels = np.zeros(grey.shape, np.int32)
        simulate_mosaic(
            rng,
            shapes[part],
            neighbours[part],
            settings[part],
            _CELL_PX,
            grey,
            labels,
            places[part],
        )
        cut = cut_crops(labels, grey, size=size_px, fill=0.0)
        crop[part], mask[part] = cut.pixels, cut.mask
        places[part, :2] = (places[part, :2] - cut.origin) / cut.scale[:, None]
        places[part, 2] /= cut.scale
    return SimulatedCrops(crop, mask, parameters, places[:, 0], places[:, 1], places[:, 2])


def _columns(parameters: ShapeParameters) -> NDArray[np.float64]:
    return np.column_stack(
        (parameters.p, parameters.d, parameters.axis_ratio, np.deg2rad(parameters.phase_deg))
    )


def _draw_conditions(
    shapes: NDArray[np.float64], chosen: CropConditions, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Settings of every crop, in the order that `simulate_window` reads them."""
    count = shapes.shape[0]

    def log_uniform(low_high: tuple[float, float]) -> NDArray[np.float64]:
        low, high = (float(value) for value in np.log(low_high))
        return np.asarray(np.exp(rng.uniform(low, high, count)))

    size = log_uniform(chosen.size_px)
    share = relative_diameters(shapes)
    needed = np.where(share < _COMPACT, chosen.min_equivalent_diameter_px / share, 0.0)
    size = np.minimum(np.maximum(size, needed), chosen.size_px[1])
    columns = (
        size,
        rng.uniform(*chosen.contrast, count),
        log_uniform(chosen.contrast_to_noise),
        rng.uniform(*chosen.blur_px, count),
        rng.uniform(*chosen.tilt, count),
        rng.uniform(*chosen.tilt, count),
        rng.uniform(*chosen.texture, count),
        rng.uniform(*chosen.segmentation_blur_px, count),
        rng.uniform(*chosen.threshold, count),
        rng.uniform(-0.5, 0.5, count),
        rng.uniform(-0.5, 0.5, count),
        np.where(rng.random(count) < chosen.bright_probability, 1.0, 0.0),
    )
    return np.column_stack(columns)
