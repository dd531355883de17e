"""Tables of crystals as the kernels take them: which rows count, and their columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from nanoarray.nanocrystal.groups.columns import FEATURES, SHAPE_PARAMETERS

#: Common features that do not depend on the pixel size.
SCALE_FREE = ("aspect_ratio", "eccentricity", "circularity", "solidity", "extent")


def measured_crystals(crystals: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Rows that are crystals, not rejected objects, of images that could be measured."""
    return np.asarray(
        (crystals["rejected"].values.astype(object) == "")
        & (crystals["problem"].values.astype(object) == "")
    )


def whole_crystals(crystals: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Measured crystals that the edge does not cut."""
    return measured_crystals(crystals) & ~crystals["touches_edge"].values.astype(bool)


def feature_names(crystals: xr.Dataset) -> tuple[str, ...]:
    """The ten common features; without any pixel size those that need none.

    A collection in which some images have a pixel size keeps all ten: crystals of the others have
    no lengths and are left out, rather than compared by pixels.
    """
    known = np.isfinite(crystals["equivalent_diameter"].values)
    return FEATURES if known.any() else SCALE_FREE


def group_table(
    crystals: xr.Dataset, shapes: xr.Dataset | None
) -> dict[str, npt.NDArray[np.float64]]:
    """Features and shape parameters of every row; NaN where the row is not a whole crystal.

    Shape parameters are the network's: the refinement follows the outline of each crystal, which
    overlaps better but scatters more about the shape.
    """
    whole = whole_crystals(crystals)
    columns = {n: np.where(whole, crystals[n].values, np.nan) for n in FEATURES}
    if shapes is not None:
        for name in (*SHAPE_PARAMETERS, "jaccard"):
            stored = name if name == "jaccard" else f"{name}_network"
            values = shapes[stored].values.astype(np.float64)
            values = np.where(values < 0, np.nan, values)
            columns[name] = np.where(whole, values, np.nan)
    return columns
