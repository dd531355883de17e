"""The table of groups and variables: dims, dtype, units and meaning of everything a store holds.

It is the contract of the store, the source of every variable's attributes, and its validator.
Dims are singular. Unknown is NaN (floats), -1 (integers), "" (strings).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanoarray.errors import InputError
from nanoarray.schema_crystal_statistics import CRYSTAL_STATISTICS
from nanoarray.schema_statistics import GRAIN_STATISTICS, Column, variable_prefix

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Variable:
    """One variable of a group.

    ``dtype`` is a NumPy name, or "str" for variable-length text, or "any" where the data decide.
    ``fill`` is what an element holds before, or instead of, a value.
    """

    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    fill: Any = None
    coord: bool = False

    @property
    def fill_value(self) -> Any:
        """What stands for "unknown" in this variable."""
        if self.fill is not None:
            return self.fill
        return fill_of(self.dtype)

    @property
    def attrs(self) -> dict[str, str]:
        """Attributes every array of this variable carries."""
        return {"units": self.units, "long_name": self.long_name}


def fill_of(dtype: str) -> Any:
    """The value that stands for "unknown" in ``dtype``: NaN, -1, "" or False; 0 where unsigned."""
    if dtype == "str":
        return ""
    kind = np.dtype(dtype).kind
    return {"f": np.nan, "i": -1, "u": 0, "b": False}[kind]


def _v(dims: str, dtype: str, units: str, long_name: str, **more: Any) -> Variable:
    return Variable(tuple(dims.split()), dtype, units, long_name, **more)


_PROBLEM = _v("image", "str", "1", 'why the image has no result here; "" where it has one')
_ROW_PROBLEM = _v("crystal", "str", "1", 'why its image has no result here; "" where it has one')
_IMAGE_INDEX = _v("crystal", "int32", "1", "position of the image along image")
_LABEL = _v("crystal", "int32", "1", "crystal id within the image")
_TILE = "image tile_y tile_x"


def _crystal_lengths() -> dict[str, Variable]:
    """Lengths and areas of crystals, in nanometres and in pixels of the image."""
    meanings = {
        "area": "area of the crystal",
        "equivalent_diameter": "diameter of a circle of equal area",
        "axis_major": "major axis of the ellipse of equal moments",
        "axis_minor": "minor axis of the ellipse of equal moments",
        "perimeter": "length of the outline",
        "perimeter_old": "length of the chain of boundary pixels",
        "convex_area": "area of the convex hull",
        "filled_area": "area with holes filled",
        "feret_max": "longest distance between parallel tangents",
        "feret_min": "least distance between parallel tangents",
    }
    power = {name: "2" if name.endswith("area") else "" for name in meanings}
    nm = {n: _v("crystal", "float64", f"nm{power[n]}", text) for n, text in meanings.items()}
    px = {f"{n}_px": _v("crystal", "float64", f"px{power[n]}", t) for n, t in meanings.items()}
    return nm | px


def _statistics(tables: Mapping[str, Mapping[str, Column]]) -> dict[str, Variable]:
    """Variables of a group of statistics: the columns of its tables, and ends of intervals."""
    ends = {"_low": ", lower end of the interval", "_high": ", upper end of the interval"}
    found = {}
    for dim, columns in tables.items():
        for name, column in columns.items():
            for end, more in ({"": ""} | (ends if column.interval else {})).items():
                entry = _v(dim, column.dtype, column.units, column.meaning + more)
                found[f"{variable_prefix(dim)}{name}{end}"] = entry
    return found


#: group -> variable -> what it is.
GROUPS: dict[str, dict[str, Variable]] = {
    "images": {
        "image": _v("image", "str", "1", "unique id of the image", coord=True),
        "intensity": _v(
            "image y x", "any", "1", "detector signal, data bar cut, zero padded", fill=0
        ),
        "path": _v("image", "str", "1", "file the image was read from"),
        "frame": _v("image", "str", "1", 'which image of the file; "" where it holds one'),
        "sha256": _v("image", "str", "1", "SHA-256 of the file"),
        "height": _v("image", "int32", "px", "rows of the image without padding and data bar"),
        "width": _v("image", "int32", "px", "columns of the image without padding"),
        "bit_depth": _v("image", "int32", "bit", "bits per pixel in the file"),
        "data_bar": _v("image", "int32", "px", "rows of data bar cut off at the bottom"),
        "pixel_size": _v("image", "float64", "nm", "length of a pixel"),
        "pixel_size_y": _v("image", "float64", "nm", "length of a pixel along y"),
        "pixel_size_source": _v("image", "str", "1", "where the pixel size comes from"),
        "pixel_size_agreement": _v("image", "str", "1", "whether the sources of the scale agree"),
        "pixel_size_record": _v("image", "str", "1", "every statement of the scale as JSON"),
        "stretch_x": _v("image", "float64", "1", "columns of the image per column of the file"),
        "stretch_y": _v("image", "float64", "1", "rows of the image per row of the file"),
        "tilt_correction": _v("image", "str", "1", "face whose foreshortening was corrected"),
        "magnification": _v(
            "image", "float64", "1", "recorded magnification, never used for lengths"
        ),
        "hfw": _v("image", "float64", "um", "recorded horizontal field width"),
        "temperature": _v("image", "float64", "degC", "processing temperature of the sample"),
        "pressure": _v("image", "float64", "MPa", "processing pressure of the sample"),
        "synthesis_method": _v("image", "str", "1", "how the sample was made"),
        "sample": _v("image", "str", "1", "sample the image was taken of"),
        "instrument": _v("image", "str", "1", "microscope"),
        "detector": _v("image", "str", "1", "detector"),
        "voltage": _v("image", "float64", "kV", "accelerating voltage"),
        "current": _v("image", "float64", "pA", "beam current"),
        "tilt": _v("image", "float64", "deg", "stage tilt"),
        "tilt_corrected": _v("image", "str", "1", "the microscope corrected the tilt itself: yes"),
        "scan_rotation": _v("image", "float64", "deg", "rotation of the scan"),
        "working_distance": _v("image", "float64", "mm", "working distance"),
        "dwell": _v("image", "float64", "us", "dwell time per pixel"),
        "acquired": _v("image", "str", "1", "date and time of acquisition, ISO 8601"),
        "metadata": _v("image", "str", "1", "the file's own metadata as JSON"),
        "warning": _v(
            "image", "str", "1", "what is doubtful about the image, its scale or its tags"
        ),
        "ok": _v("image", "bool", "1", "the file could be read as a micrograph"),
        "problem": _v("image", "str", "1", 'why the file could not be read; "" where ok'),
    },
    "prepared": {
        "defect": _v("image y x", "bool", "1", "pore, charging halo or damaged region"),
        "defect_fraction": _v("image", "float32", "1", "share of the image that is defect"),
        "sharpness": _v(
            "image", "float32", "1", "lattice signal over noise, low when out of focus"
        ),
        "lattice_spacing": _v("image", "float32", "px", "spacing of the lattice rows"),
        "usable": _v("image", "bool", "1", "in focus and with a field to measure"),
        "problem": _PROBLEM,
    },
    "tiles": {
        "angle": _v(
            "angle", "float64", "deg", "projection angle (theta of skimage radon)", coord=True
        ),
        "tile_y": _v("tile_y", "float64", "px", "row of the tile centre", coord=True),
        "tile_x": _v("tile_x", "float64", "px", "column of the tile centre", coord=True),
        "projection_variance": _v(
            f"{_TILE} angle", "float32", "1", "variance of the projection at each angle"
        ),
        "alignment": _v(
            f"{_TILE} angle", "uint8", "1", "1 where the lattice aligns with the angle"
        ),
        "valid": _v(_TILE, "bool", "1", "the tile holds enough of the image outside defects"),
        "coverage": _v("", "str", "1", '"full": tiles overhang the edges; "inside": whole tiles'),
        "common_pixel_size": _v("", "float64", "nm", "pixel size the images were resampled to"),
        "tile_size": _v("", "float64", "px", "side of a tile"),
        "stride": _v("", "float64", "px", "distance of neighbouring tile centres"),
        "band_pass": _v("", "bool", "1", "only what is about as coarse as the lattice was kept"),
        "problem": _PROBLEM,
    },
    "tile_clusters": {
        "tile_y": _v("tile_y", "float64", "px", "row of the tile centre", coord=True),
        "tile_x": _v("tile_x", "float64", "px", "column of the tile centre", coord=True),
        "centers": _v("prototype feature", "float32", "1", "prototypes of the fitted model"),
        "center_cluster": _v("prototype", "int32", "1", "cluster of each prototype"),
        "cluster_size": _v("fitted_cluster", "int64", "1", "tiles per cluster in the fit"),
        "distance_threshold": _v("", "float64", "1", "Ward distance that was cut at"),
        "separation": _v("", "float64", "1", "how well the threshold separates pairs of tiles"),
        "exact": _v("", "bool", "1", "the fit saw every tile"),
        "method": _v("", "str", "1", "clustering method"),
        "cluster_count": _v("image", "int32", "1", "number of clusters in the image", fill=0),
        "cluster": _v(_TILE, "int32", "1", "cluster of the tile"),
        "problem": _PROBLEM,
    },
    "grain_maps": {
        "tile_y": _v("tile_y", "float64", "px", "row of the tile centre", coord=True),
        "tile_x": _v("tile_x", "float64", "px", "column of the tile centre", coord=True),
        "common_pixel_size": _v("", "float64", "nm", "pixel size the images were resampled to"),
        "tile_size": _v("", "float64", "px", "side of a tile"),
        "stride": _v("", "float64", "px", "distance of neighbouring tile centres"),
        "coverage": _v("", "str", "1", '"full": tiles overhang the edges; "inside": whole tiles'),
        "grain": _v(_TILE, "int32", "1", "grain id within the image, 0 none", fill=0),
        "orientation": _v(_TILE, "float32", "deg", "lattice direction, counter-clockwise from +x"),
        "orientation_confidence": _v(
            _TILE, "float32", "1", "confidence of the orientation, 0 to 1"
        ),
        "boundary_misorientation": _v(
            _TILE, "float32", "deg", "largest misorientation to a neighbouring grain"
        ),
        "symmetry": _v("image", "int32", "1", "fold of the lattice symmetry, 2, 4 or 6"),
        "grain_count": _v("image", "int32", "1", "number of grains", fill=0),
        "indexed_fraction": _v(
            "image", "float32", "1", "share of the non-defect field with an orientation"
        ),
        "mapped_fraction": _v("image", "float32", "1", "share of the non-defect field in a grain"),
        "paper_mean_area_tiles": _v(
            "image",
            "float64",
            "1",
            'method "paper": mean grain area in squares of a stride, overlaps counted every time',
        ),
        "grain_pixels": _v(
            "image y x", "int32", "1", "grain id of every pixel of a given label image", fill=0
        ),
        "source_labels": _v("image", "str", "1", "id of each grain in a given label image, JSON"),
        "rejected_labels": _v(
            "image", "str", "1", "ids of a given label image that are no grain, and why, JSON"
        ),
        "problem": _PROBLEM,
    },
    "grains": {
        "image_index": _v("grain", "int32", "1", "position of the image along image"),
        "label": _v("grain", "int32", "1", "grain id within the image"),
        "area": _v("grain", "float64", "um2", "area of the grain without defects"),
        "area_px": _v("grain", "float64", "px2", "area of the grain in pixels of the image"),
        "equivalent_diameter": _v("grain", "float64", "um", "diameter of a circle of equal area"),
        "perimeter": _v("grain", "float64", "um", "length of the outline"),
        "mean_intercept": _v("grain", "float64", "um", "mean length of test lines in the grain"),
        "orientation": _v("grain", "float64", "deg", "mean lattice direction, ccw from +x"),
        "orientation_spread": _v("grain", "float64", "deg", "circular standard deviation within"),
        "orientation_confidence": _v("grain", "float64", "1", "mean confidence of the orientation"),
        "symmetry": _v("grain", "int32", "1", "fold of the lattice symmetry"),
        "centroid_y": _v("grain", "float64", "px", "row of the centroid in the image"),
        "centroid_x": _v("grain", "float64", "px", "column of the centroid in the image"),
        "touches_edge": _v("grain", "bool", "1", "cut by the edge of the field"),
        "touches_defect": _v("grain", "bool", "1", "borders a defect"),
        "tile_count": _v("grain", "int32", "1", "number of tiles"),
        "source_label": _v("grain", "int64", "1", "id in the given label image; -1 without one"),
        "neighbour_count": _v("grain", "int32", "1", "number of adjoining grains"),
        "edge_weight": _v("grain", "float64", "1", "Miles-Lantuejoul weight, 0 at the edge"),
        "planimetric_count": _v("grain", "float64", "1", "share in a count of grains per area"),
        "intercept_length": _v("grain", "float64", "um", "length of all test lines in the grain"),
        "intercept_count": _v(
            "grain", "float64", "1", "chords of test lines, half per end not at the edge"
        ),
        "problem": _v("grain", "str", "1", 'why its image could not be measured; "" where it was'),
    },
    "grain_statistics": _statistics(GRAIN_STATISTICS),
    "crystal_maps": {
        "crystal": _v("image y x", "int32", "1", "crystal id within the image, 0 none", fill=0),
        "rejected_object": _v(
            "image y x",
            "int32",
            "1",
            "id of an object that is no crystal, after the crystals'",
            fill=0,
        ),
        "crystal_count": _v("image", "int32", "1", "number of crystals", fill=0),
        "rejected_count": _v("image", "int32", "1", "number of rejected objects", fill=0),
        "rejected_reasons": _v("image", "str", "1", "why each object was rejected, a JSON list"),
        "source_labels": _v(
            "image", "str", "1", "id of each object in the label image it comes from, a JSON list"
        ),
        "polarity": _v("image", "str", "1", "crystals are dark or bright on their background"),
        "crystal_fraction": _v("image", "float32", "1", "share of the image that is crystal"),
        "problem": _PROBLEM,
    },
    "crystals": {
        "image_index": _IMAGE_INDEX,
        "label": _LABEL,
        "source_label": _v("crystal", "int64", "1", "id in the label image it comes from"),
        "rejected": _v("crystal", "str", "1", 'why the object is no crystal; "" for a crystal'),
        "touches_edge": _v("crystal", "bool", "1", "cut by the edge of the image"),
        "edge_weight": _v("crystal", "float64", "1", "Miles-Lantuejoul weight, 0 at the edge"),
        **_crystal_lengths(),
        "aspect_ratio": _v("crystal", "float64", "1", "major over minor axis"),
        "eccentricity": _v("crystal", "float64", "1", "eccentricity of the ellipse of moments"),
        "circularity": _v("crystal", "float64", "1", "4 pi area over perimeter squared"),
        "solidity": _v("crystal", "float64", "1", "area over convex area"),
        "extent": _v("crystal", "float64", "1", "area over area of the bounding box"),
        "orientation": _v("crystal", "float64", "deg", "direction of the major axis, ccw from +x"),
        "euler_number": _v("crystal", "int32", "1", "parts minus holes"),
        "feret_max_angle": _v("crystal", "float64", "deg", "direction of the longest diameter"),
        "feret_min_angle": _v("crystal", "float64", "deg", "direction of the least diameter"),
        "intensity_mean": _v("crystal", "float64", "1", "mean grey value"),
        "intensity_std": _v("crystal", "float64", "1", "standard deviation of the grey values"),
        "intensity_min": _v("crystal", "float64", "1", "least grey value"),
        "intensity_max": _v("crystal", "float64", "1", "largest grey value"),
        "contrast": _v("crystal", "float64", "1", "to the ring around, positive where darker"),
        "centroid_y": _v("crystal", "float64", "px", "row of the centroid in the image"),
        "centroid_x": _v("crystal", "float64", "px", "column of the centroid in the image"),
        "bbox": _v("crystal corner", "int32", "px", "first row and column, row and column after"),
        "outline": _v("crystal point axis", "float32", "px", "points (y, x) along the outline"),
        "hull": _v("crystal point axis", "float32", "px", "points (y, x) along the convex hull"),
        "extrema": _v("crystal extremum axis", "float32", "px", "extreme corners (y, x)"),
        "feret_max_ends": _v("crystal end axis", "float32", "px", "ends of the longest diameter"),
        "feret_min_ends": _v("crystal end axis", "float32", "px", "ends of the least diameter"),
        "crop": _v("crystal crop_y crop_x", "any", "1", "grey values around the crystal", fill=0),
        "crop_mask": _v("crystal crop_y crop_x", "bool", "1", "the crystal in its crop"),
        "crop_scale": _v("crystal", "float64", "px", "pixels of the image per pixel of the crop"),
        "crop_origin_y": _v("crystal", "float64", "px", "image row of the first crop pixel"),
        "crop_origin_x": _v("crystal", "float64", "px", "image column of the first crop pixel"),
        "problem": _ROW_PROBLEM,
    },
    "shapes": {
        "image_index": _IMAGE_INDEX,
        "label": _LABEL,
        "p": _v("crystal", "float64", "1", "exponent of the shape (equation 1)"),
        "d": _v("crystal", "int32", "1", "number of lobes of the shape (equation 1)"),
        "axis_ratio": _v("crystal", "float64", "1", "axis ratio L of the shape, at least 1"),
        "phase": _v("crystal", "float64", "deg", "phase phi of the shape (equation 1)"),
        "d_confidence": _v("crystal", "float64", "1", "probability of d by the network"),
        "jaccard": _v("crystal", "float64", "1", "overlap of the crystal and its shape"),
        "p_network": _v("crystal", "float64", "1", "p before refinement, as groups use it"),
        "d_network": _v("crystal", "int32", "1", "d before refinement, as groups use it"),
        "axis_ratio_network": _v(
            "crystal", "float64", "1", "axis ratio before refinement, as groups use it"
        ),
        "jaccard_network": _v("crystal", "float64", "1", "overlap before refinement"),
        "problem": _ROW_PROBLEM,
    },
    "shape_groups": {
        "image_index": _IMAGE_INDEX,
        "label": _LABEL,
        "shape_group": _v("crystal", "int32", "1", "shape group, 1 the largest; -1 none"),
    },
    "classes": {
        "image_index": _IMAGE_INDEX,
        "label": _LABEL,
        "predicted_group": _v("crystal", "int32", "1", "class by the classifier; -1 none"),
        "confusion": _v("true predicted", "int64", "1", "held-out crystals by class", fill=0),
    },
    "crystal_statistics": _statistics(CRYSTAL_STATISTICS),
}


def known(group: str, name: str) -> Variable | None:
    """The table's entry of a variable, or None for one the table leaves open (a tag, a model)."""
    return GROUPS.get(group, {}).get(name)


def validate(
    group: str, variables: Iterable[tuple[str, tuple[str, ...], str, dict[str, Any]]]
) -> None:
    """Check (name, dims, dtype, attrs) of a group's variables against the table.

    Raises
    ------
    InputError
        Naming the first variable whose dims, dtype or attributes differ from the table.
    """
    if group not in GROUPS:
        raise InputError(f"unknown group {group!r}: expected one of {', '.join(GROUPS)}")
    for name, dims, dtype, attrs in variables:
        entry = known(group, name)
        if entry is not None:
            if entry.dims != tuple(dims):
                raise InputError(f"{group}/{name} has dims {dims}, expected {entry.dims}")
            if entry.dtype not in ("any", "str") and np.dtype(dtype) != np.dtype(entry.dtype):
                raise InputError(f"{group}/{name} is {dtype}, expected {entry.dtype}")
        for key in ("units", "long_name"):
            if key not in attrs:
                raise InputError(f"{group}/{name} has no {key!r} attribute")
