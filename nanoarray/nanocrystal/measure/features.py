"""Features of segmented crystals: the 30 of MATLAB's regionprops, Feret diameters, grey values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarray.errors import InputError
from nanoarray.nanocrystal.measure.border import edge_columns
from nanoarray.nanocrystal.measure.kernels import RAW, grey_values, measure_all
from nanoarray.nanocrystal.measure.regions import find_regions

__all__ = [
    "COMMON_FEATURES",
    "LENGTHS",
    "MATLAB_FEATURES",
    "OUTLINE_POINTS",
    "RING_PX",
    "SCALAR_FEATURES",
    "measure_crystals",
]

#: The ten features that the paper calls common.
COMMON_FEATURES = (
    "area",
    "equivalent_diameter",
    "axis_major",
    "axis_minor",
    "aspect_ratio",
    "eccentricity",
    "circularity",
    "solidity",
    "extent",
    "perimeter",
)
#: The columns of every feature of ``regionprops(BW, 'all')``, by its name there. A list of a
#: crystal's pixels is where the label image has its label; ``crop_mask`` is cut by `cut_crops`, and
#: `filled_masks` fills its holes.
MATLAB_FEATURES: dict[str, tuple[str, ...]] = {
    "Area": ("area",),
    "Centroid": ("centroid_y", "centroid_x"),
    "BoundingBox": ("bbox",),
    "SubarrayIdx": ("bbox",),
    "MajorAxisLength": ("axis_major",),
    "MinorAxisLength": ("axis_minor",),
    "Eccentricity": ("eccentricity",),
    "Orientation": ("orientation",),
    "ConvexHull": ("hull",),
    "ConvexImage": ("hull",),
    "ConvexArea": ("convex_area",),
    "Circularity": ("circularity",),
    "Image": ("crop_mask",),
    "FilledImage": ("crop_mask",),
    "FilledArea": ("filled_area",),
    "EulerNumber": ("euler_number",),
    "Extrema": ("extrema",),
    "EquivDiameter": ("equivalent_diameter",),
    "Solidity": ("solidity",),
    "Extent": ("extent",),
    "PixelIdxList": ("label",),
    "PixelList": ("label",),
    "Perimeter": ("perimeter",),
    "PerimeterOld": ("perimeter_old",),
    "MaxFeretDiameter": ("feret_max",),
    "MaxFeretAngle": ("feret_max_angle",),
    "MaxFeretCoordinates": ("feret_max_ends",),
    "MinFeretDiameter": ("feret_min",),
    "MinFeretAngle": ("feret_min_angle",),
    "MinFeretCoordinates": ("feret_min_ends",),
}
#: The 18 of them that are one number.
SCALAR_FEATURES = (
    "area",
    "equivalent_diameter",
    "axis_major",
    "axis_minor",
    "eccentricity",
    "orientation",
    "convex_area",
    "circularity",
    "filled_area",
    "euler_number",
    "solidity",
    "extent",
    "perimeter",
    "perimeter_old",
    "feret_max",
    "feret_max_angle",
    "feret_min",
    "feret_min_angle",
)
#: Power of the pixel size in the columns that have one in nm and one, ``<name>_px``, in pixels.
LENGTHS = {
    "area": 2,
    "convex_area": 2,
    "filled_area": 2,
    "equivalent_diameter": 1,
    "axis_major": 1,
    "axis_minor": 1,
    "perimeter": 1,
    "perimeter_old": 1,
    "feret_max": 1,
    "feret_min": 1,
}
#: Points of an outline and of a hull.
OUTLINE_POINTS = 64
#: Width of the ring that a crystal is compared with [px].
RING_PX = 4


def measure_crystals(
    labels: NDArray[np.integer[Any]],
    pixels: NDArray[Any],
    *,
    pixel_size_nm: float,
    outline_points: int = OUTLINE_POINTS,
    ring_px: int = RING_PX,
) -> dict[str, NDArray[Any]]:
    """Measure every labelled region of one image.

    Parameters
    ----------
    labels
        (height, width) label image, 0 for background. Regions are 8-connected; one in several
        parts is measured as a whole.
    pixels
        (height, width) the micrograph.
    pixel_size_nm
        Size of a pixel [nm]; NaN when unknown, and then every column in nm is NaN.
    outline_points
        Points per outline and hull.
    ring_px
        Width of the ring around a crystal that its grey value is compared with [px].

    Returns
    -------
    One array per column with a row for every label, in ascending order. A column of `LENGTHS` is
    in nm (areas in nm2), and again in px (px2) as ``<name>_px``. Angles are in [0, 180) degrees,
    counter-clockwise from +x on the screen; positions are (y, x) in px of the image.

    - ``label``; ``bbox`` (n, 4): first row, first column, row and column after the last;
      ``touches_edge``; ``edge_weight``, see `edge_columns`;
    - ``area``: number of pixels. ``filled_area``: with its holes. ``convex_area``: number of pixels
      whose centres are in the convex hull of the centres of the filled crystal, so that a convex
      outline keeps the solidity 1 after digitization;
    - ``equivalent_diameter``: sqrt(4 area / pi);
    - ``centroid_y``, ``centroid_x`` [px]: mean of the pixel centres;
    - ``axis_major``, ``axis_minor``: axes of the ellipse of the same second moments, with 1/12 px2
      added to both for the extent of a pixel, as in MATLAB and unlike scikit-image.
      ``aspect_ratio``: major / minor. ``eccentricity``: sqrt(1 - (minor / major)**2).
      ``orientation``: direction of the major axis, NaN where both are equal;
    - ``perimeter``: length of the outer boundary, without holes, by the corner count of Vossepoel
      and Smeulders on the chain of pixel edges (`outline`); MATLAB follows pixel centres instead,
      which loses about pi px. ``perimeter_old``: MATLAB's PerimeterOld, the chain of 8-connected
      boundary pixels in steps of 1 and sqrt(2);
    - ``circularity``: 4 pi area / perimeter**2, not cut off at 1;
    - ``solidity``: area / convex_area. ``extent``: area / area of the bounding box.
      ``euler_number``: parts - holes;
    - ``feret_max``, ``feret_min``, ``feret_max_angle``, ``feret_min_angle``: longest and least
      distance between parallel lines around the hull, and its direction (`feret`);
      ``feret_max_ends``, ``feret_min_ends`` (n, 2, 2): the points that have that distance;
    - ``outline``, ``hull`` (n, outline_points, 2): points at equal distances along the outline (of
      the largest part) and the hull, counter-clockwise on the screen from the middle of the upper
      edge of the first pixel of the first row. ``extrema`` (n, 8, 2): MATLAB's extreme corners;
    - ``intensity_mean``, ``intensity_std`` (of the population), ``intensity_min``,
      ``intensity_max``: of the crystal's pixels;
    - ``contrast``: (ring - mean) / (ring + mean), positive where the crystal is darker, with the
      mean of the ring of ``ring_px`` around the crystal, one pixel off any label and without other
      labels. NaN where that has no pixel or the sum is not above 0.

    Nothing is infinite; what is not said to be NaN is finite where the grey values are.

    Notes
    -----
    Root mean square errors against analytic shapes at random positions and directions. ``radius``
    is that of the circumscribed circle [px]; the ellipse has the axis ratio 0.6, the rectangle 0.5,
    the star five tips at twice the radius of its notches. In per cent, the Feret diameters in px.
    What is smaller than two pixels (tips and notches at radius 4) is not resolved.
    A test keeps them below twice these.

    ========= ====== ======== ===== ===== ========= =========== ======== ========= =========
    shape     radius diameter major minor perimeter circularity solidity feret_max feret_min
    ========= ====== ======== ===== ===== ========= =========== ======== ========= =========
    disc           4      1.2   3.3   2.3       1.0         2.3      0.0      0.56      0.28
    disc          10      0.3   0.7   0.7       0.4         0.8      0.0      0.70      0.23
    disc          40      0.0   0.1   0.1       0.1         0.2      0.0      0.86      0.16
    disc         100      0.0   0.0   0.0       0.0         0.1      0.0      0.92      0.31
    ellipse        4      2.1   3.5   5.0       2.7         4.6      0.0      0.30      0.31
    ellipse       10      0.5   1.0   1.0       0.8         1.2      0.0      0.39      0.33
    ellipse       40      0.1   0.1   0.1       0.2         0.3      0.0      0.55      0.53
    ellipse      100      0.0   0.0   0.0       0.1         0.1      0.0      0.63      0.61
    square         4      2.2   5.4   3.9       7.0        15.5      0.0      0.44      0.44
    square        10      0.4   1.6   1.3       2.5         5.4      0.0      0.34      0.67
    square        40      0.0   0.2   0.2       1.0         2.0      0.0      0.51      0.79
    square       100      0.0   0.0   0.0       0.6         1.2      0.0      0.49      0.82
    rectangle      4      2.3   2.5   5.1       7.1        15.6      0.0      0.26      0.57
    rectangle     10      0.4   0.6   0.8       2.9         6.3      0.0      0.29      0.71
    rectangle     40      0.0   0.1   0.1       1.1         2.2      0.0      0.37      0.83
    rectangle    100      0.0   0.0   0.0       0.5         1.1      0.0      0.33      0.82
    triangle       4      3.0   9.6   6.1      11.0        27.0      0.0      0.47      0.65
    triangle      10      0.8   2.0   1.9       4.8        10.3      0.0      0.49      0.61
    triangle      40      0.1   0.2   0.2       1.2         2.5      0.0      0.47      0.49
    triangle     100      0.0   0.1   0.1       0.7         1.3      0.0      0.46      0.50
    star           4      2.4   7.8   7.2      19.3        54.1     42.3      0.55      1.49
    star          10      0.6   2.2   1.5       7.6        17.2     18.6      0.58      1.35
    star          40      0.1   0.2   0.2       1.9         3.9      4.8      0.57      1.33
    star         100      0.0   0.0   0.1       0.7         1.5      1.9      0.54      1.32
    ========= ====== ======== ===== ===== ========= =========== ======== ========= =========

    Raises
    ------
    InputError
        Where labels and pixels differ in shape or the pixel size is not above 0.
    """
    grey = np.asarray(pixels)
    regions = find_regions(labels)
    if grey.shape != regions.index.shape:
        raise InputError(
            f"the labels have the shape {regions.index.shape}, the pixels {grey.shape}: "
            "both must be of one image"
        )
    if pixel_size_nm <= 0 or np.isinf(pixel_size_nm):
        raise InputError(
            f"pixel_size_nm is {pixel_size_nm}: it must be above 0, or NaN when unknown"
        )
    if outline_points < 3 or ring_px < 1:
        raise InputError(
            f"outline_points is {outline_points} and ring_px {ring_px}: at least 3 and 1 are needed"
        )
    count = regions.label.size
    raw = np.zeros(count, RAW)
    places = {
        "outline": np.zeros((count, outline_points, 2), np.float32),
        "hull": np.zeros((count, outline_points, 2), np.float32),
        "extrema": np.zeros((count, 8, 2), np.float32),
        "feret_max_ends": np.zeros((count, 2, 2), np.float32),
        "feret_min_ends": np.zeros((count, 2, 2), np.float32),
    }
    if count:
        measure_all(regions.index, grey_values(grey), regions.box, ring_px, raw, *places.values())
    columns: dict[str, NDArray[Any]] = {"label": regions.label, "bbox": regions.box}
    columns |= edge_columns(regions.box, regions.index.shape)
    columns |= _shape_columns(raw, regions.box)
    columns |= places
    for name, power in LENGTHS.items():
        columns[name] = columns[f"{name}_px"] * pixel_size_nm**power
    return columns


def _shape_columns(raw: NDArray[Any], box: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """Columns without a unit and those in pixels."""
    area, mean, ring = raw["area"], raw["intensity_mean"], raw["intensity_ring"]
    # A pixel is a square of side 1, whose own second moments are 1/12.
    yy, xx, xy = raw["moment_yy"] + 1 / 12, raw["moment_xx"] + 1 / 12, raw["moment_xy"]
    difference = np.hypot(xx - yy, 2.0 * xy)
    major = np.sqrt(8.0 * (xx + yy + difference))
    # The smaller eigenvalue as determinant over the larger one: never below 0 by rounding.
    minor = np.sqrt(64.0 * (4.0 * (xx * yy - xy * xy))) / major
    minor = np.minimum(minor, major)
    direction = np.mod(np.rad2deg(0.5 * np.arctan2(-2.0 * xy, xx - yy)), 180.0)
    direction = np.where(direction >= 180.0, 0.0, direction)
    box_area = (box[:, 2] - box[:, 0]).astype(np.float64) * (box[:, 3] - box[:, 1])
    total = ring + mean
    known = total > 0  # False for NaN
    return {
        "area_px": area.copy(),
        "convex_area_px": raw["convex_area"].copy(),
        "filled_area_px": raw["filled_area"].copy(),
        "equivalent_diameter_px": np.sqrt(4.0 * area / np.pi),
        "axis_major_px": major,
        "axis_minor_px": minor,
        "perimeter_px": raw["perimeter"].copy(),
        "perimeter_old_px": raw["perimeter_old"].copy(),
        "feret_max_px": raw["feret_max"].copy(),
        "feret_min_px": raw["feret_min"].copy(),
        "feret_max_angle": raw["feret_max_angle"].copy(),
        "feret_min_angle": raw["feret_min_angle"].copy(),
        "centroid_y": raw["centroid_y"].copy(),
        "centroid_x": raw["centroid_x"].copy(),
        "aspect_ratio": major / minor,
        "eccentricity": np.sqrt(np.maximum(1.0 - (minor / major) ** 2, 0.0)),
        "orientation": np.where(difference > 1e-9 * (xx + yy), direction, np.nan),
        "circularity": 4.0 * np.pi * area / raw["perimeter"] ** 2,
        "solidity": area / raw["convex_area"],
        "extent": area / box_area,
        "euler_number": (raw["parts"] - raw["holes"]).astype(np.int32),
        "intensity_mean": mean.copy(),
        "intensity_std": raw["intensity_std"].copy(),
        "intensity_min": raw["intensity_min"].copy(),
        "intensity_max": raw["intensity_max"].copy(),
        "contrast": np.where(known, (ring - mean) / np.where(known, total, 1.0), np.nan),
    }
