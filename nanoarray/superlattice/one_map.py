"""Clusters, grain maps and measures of one image, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nanoarray.errors import InputError
from nanoarray.fields.windows import Pixels
from nanoarray.superlattice.cluster.fit import (
    fit_clusters,
    predict_clusters,
    profile_features,
    spatial_pairs,
)
from nanoarray.superlattice.grains.cells import cell_areas
from nanoarray.superlattice.grains.cells_in_fields import areas_in_fields
from nanoarray.superlattice.grains.labels import (
    FINE_TILE_SPACINGS,
    TILE_SPACINGS,
    GrainMap,
    describe_grains,
    label_grains,
)
from nanoarray.superlattice.grains.measure import measure_grains
from nanoarray.superlattice.grains.paper import grains_from_clusters, paper_grains
from nanoarray.superlattice.one_image import Field, Grid, Mask, aligned_variance, own_tiles
from nanoarray.superlattice.parameters import GrainMapsParameters, TileClustersParameters

#: A fit across the collection reads the tiles of at most so many images, drawn with the seed.
MAX_FIT_IMAGES = 400


def grain_map(
    field: Field,
    grid: Grid,
    angles_deg: npt.NDArray[np.float64],
    profile: npt.NDArray[np.float32],
    valid: Mask,
    parameters: GrainMapsParameters,
    *,
    band_pass: bool,
) -> dict[str, Any]:
    """Grains of one image from the orientation of its lattice.

    ``profile`` (tile_y, tile_x, angle) projection variance and ``valid`` (tile_y, tile_x) of the
    image's own tiles, which may be followed by others of the collection's grid; ``band_pass`` as
    the tiles were made.
    """
    own = own_tiles(grid, *field.image.shape)
    profile, valid = profile[own], valid[own]
    # Where boundaries run is seen in smaller tiles than those that know the orientation.
    fine_tile = max(6, round(grid.tile_size_px * FINE_TILE_SPACINGS / TILE_SPACINGS))
    fine = aligned_variance(
        field,
        grid.centres_y[own[0]],
        grid.centres_x[own[1]],
        tile_size_px=fine_tile,
        angles_deg=angles_deg,
        band_pass=band_pass,
    )
    found = label_grains(
        profile,
        angles_deg,
        fine_profile=fine,
        valid=valid,
        symmetry=None if parameters.symmetry == "auto" else parameters.symmetry,
        min_misorientation_deg=parameters.misorientation_deg,
        min_tiles=min_tiles(field.spacing_px, grid, parameters),
        tile_strides=grid.tile_size_px / grid.stride_px,
    )
    return map_variables(found, measured_px(field), _cell_areas(field, grid))


#: Variable of the group ``tiles`` that each kind of feature is made of.
FEATURE_SOURCE = {
    "profile": "projection_variance",
    "variance": "projection_variance",
    "alignment": "alignment",
}


def tile_feature_vectors(
    source: npt.NDArray[Any], valid: Mask, kind: str
) -> npt.NDArray[np.float32]:
    """What tiles are clustered by: (tile_y, tile_x, features), NaN where a tile is not valid.

    ``source`` (tile_y, tile_x, angle) is the variable of `FEATURE_SOURCE`.
    """
    vectors = profile_features(source) if kind == "profile" else source.astype(np.float32)
    return np.where(valid[..., None], vectors, np.float32(np.nan))


@dataclass(frozen=True)
class DrawnTiles:
    """Feature vectors of drawn tiles, and pairs of them beside each other and far apart."""

    rows: npt.NDArray[np.float32]
    similar: npt.NDArray[np.int64]
    different: npt.NDArray[np.int64]


class WindowedVectors(Protocol):
    """Feature vectors of an image whose tiles are not in memory at once."""

    def finite(self) -> Mask:
        """(tile_y, tile_x) True where a tile has features."""

    def __getitem__(self, places: Any, /) -> npt.NDArray[np.float32]:
        """The vectors of the tiles at rows and columns."""


Vectors = npt.NDArray[np.float32] | WindowedVectors


def draw_pairs(vectors: Vectors, count: int, rng: np.random.Generator) -> DrawnTiles:
    """Draw at most ``count`` tiles of an image, each with its right neighbour.

    Neighbours mostly share a grain; tiles more than a third of the map apart mostly do not.
    """
    valid: Mask = (
        np.asarray(np.isfinite(vectors).all(axis=-1))
        if isinstance(vectors, np.ndarray)
        else vectors.finite()
    )
    y, x = np.nonzero(valid[:, :-1] & valid[:, 1:])
    if y.size > count:
        chosen = np.sort(rng.choice(y.size, count, replace=False))
        y, x = y[chosen], x[chosen]
    n = y.size
    rows = np.concatenate([vectors[y, x], vectors[y, x + 1]])
    similar = np.stack([np.arange(n), np.arange(n) + n], axis=1)
    a, b = rng.integers(0, max(n, 1), (2, 4 * n))
    far = np.hypot(y[a] - y[b], x[a] - x[b]) >= max(valid.shape) / 3
    return DrawnTiles(rows, similar, np.stack([a[far], b[far]], axis=1)[:n])


def fit_collection(
    images: npt.NDArray[np.integer],
    vectors_of: Callable[[int], Vectors],
    parameters: TileClustersParameters,
) -> dict[str, npt.NDArray[Any]]:
    """Fit clusters to a bounded number of tiles, drawn evenly from the images.

    Parameters
    ----------
    images
        Positions of the images that have tiles, sorted by something that does not depend on the
        order of ingestion, such as their ids: the draw goes through them in this order.
    vectors_of
        Gives the feature vectors (tile_y, tile_x, features) of an image.

    Returns
    -------
    The model of `nanoarray.superlattice.cluster.fit.fit_clusters`.

    Raises
    ------
    InputError
        When no image has a tile.
    """
    rng = np.random.default_rng(parameters.seed)
    if images.size > MAX_FIT_IMAGES:
        images = images[np.sort(rng.choice(images.size, MAX_FIT_IMAGES, replace=False))]
    quota = max(8, parameters.max_tiles // (2 * max(images.size, 1)))
    drawn = [draw_pairs(vectors_of(int(i)), quota, rng) for i in images]
    if not sum(d.rows.shape[0] for d in drawn):
        raise InputError("no image has tiles to cluster: see the reasons in `nanoarray status`")
    starts = np.cumsum([0, *(d.rows.shape[0] for d in drawn)])
    pairs = tuple(
        np.concatenate([getattr(d, kind) + start for d, start in zip(drawn, starts, strict=False)])
        for kind in ("similar", "different")
    )
    _, model = fit_clusters(
        np.concatenate([d.rows for d in drawn]),
        pairs=None if _has_criterion(parameters) else (pairs[0], pairs[1]),
        **fit_options(parameters),
    )
    return model


def cluster_labels(
    vectors: npt.NDArray[np.float32],
    parameters: TileClustersParameters,
    model: dict[str, npt.NDArray[Any]],
) -> dict[str, Any]:
    """Clusters of the tiles of one image, by the model, or by itself where there is none."""
    if model:
        labels = predict_clusters(model, vectors)
    else:
        labels = cluster_image(vectors, parameters)
    return {"cluster": labels, "cluster_count": np.unique(labels[labels >= 0]).size}


def cluster_image(
    vectors: npt.NDArray[np.float32], parameters: TileClustersParameters
) -> npt.NDArray[np.int32]:
    """Clusters of the tiles of one image by itself: (tile_y, tile_x), -1 where not valid."""
    valid: Mask = np.asarray(np.isfinite(vectors).all(axis=-1))
    labels = np.full(valid.shape, -1, np.int32)
    found, _ = fit_clusters(
        vectors[valid], pairs=threshold_pairs(valid, parameters), **fit_options(parameters)
    )
    labels[valid] = found
    return labels


def fit_options(parameters: TileClustersParameters) -> dict[str, Any]:
    """The parameters as `fit_clusters` wants them."""
    threshold = parameters.distance_threshold
    return {
        "method": parameters.method,
        "n_clusters": parameters.n_clusters,
        "distance_threshold": threshold if isinstance(threshold, float) else None,
        "max_exact": parameters.max_tiles,
        "seed": parameters.seed,
    }


def threshold_pairs(valid: Mask, parameters: TileClustersParameters) -> Any:
    """Pairs of tiles to find the Ward threshold from; None where the user gives a criterion."""
    return None if _has_criterion(parameters) else spatial_pairs(valid, seed=parameters.seed)


def _has_criterion(parameters: TileClustersParameters) -> bool:
    """Whether the user says how many clusters, or where to cut."""
    return parameters.n_clusters is not None or isinstance(parameters.distance_threshold, float)


def grain_map_from_clusters(
    field: Field,
    grid: Grid,
    angles_deg: npt.NDArray[np.float64],
    profile: npt.NDArray[np.float32],
    cluster: npt.NDArray[np.int32],
    parameters: GrainMapsParameters,
) -> dict[str, Any]:
    """Grains of one image from the clusters of its tiles: a partition, or as the paper does it."""
    own = own_tiles(grid, *field.image.shape)
    profile, cluster = profile[own], cluster[own]
    area = _cell_areas(field, grid)
    open_cell = area > 0.5 * grid.stride_px**2
    published = np.zeros(0)
    if parameters.method == "paper":
        paper = paper_grains(cluster, defect=~open_cell)
        grain, published = paper.grain_tiles, paper.area_tiles
    else:
        grain = grains_from_clusters(
            cluster,
            valid=(cluster >= 0) | (open_cell & (area > 0)),
            min_tiles=min_tiles(field.spacing_px, grid, parameters),
        )
    symmetry = None if parameters.symmetry == "auto" else parameters.symmetry
    found = describe_grains(
        grain,
        profile,
        angles_deg,
        symmetry=symmetry,
        tile_strides=grid.tile_size_px / grid.stride_px,
    )
    variables = map_variables(found, measured_px(field), area)
    # As published, for comparison: its grains overlap, those of the map do not.
    variables["paper_mean_area_tiles"] = published.mean() if published.size else np.nan
    return variables


def min_tiles(spacing_px: float, grid: Grid, parameters: GrainMapsParameters) -> int:
    """The least number of tiles of a grain."""
    spacing = spacing_px if np.isfinite(spacing_px) else grid.stride_px
    area_px = np.pi / 4 * (parameters.min_diameter_spacings * spacing) ** 2
    return max(1, round(area_px / grid.stride_px**2))


def _cell_areas(field: Field, grid: Grid) -> npt.NDArray[np.float64]:
    """Area [px2] of every tile's cell inside this image and outside its defects."""
    own = own_tiles(grid, *field.image.shape)
    return cell_areas(
        grid.centres_y[own[0]],
        grid.centres_x[own[1]],
        stride_px=grid.stride_px,
        field_height_px=field.image.shape[0],
        field_width_px=field.image.shape[1],
        defect=field.missing,
        to_edge=grid.coverage == "full",
    )


def measured_px(field: Field) -> int:
    """Pixels of an image that are no defect."""
    return int((~field.missing).sum())


def map_variables(
    found: GrainMap, measured_px: int, area: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """What the group ``grain_maps`` holds of an image; ``area`` [px2] of every cell."""
    # Of the field and not of the cells: with coverage "inside" these leave a margin.
    total = max(float(measured_px), 1.0)
    return {
        "grain": found.grain,
        "orientation": found.orientation_deg,
        "orientation_confidence": found.confidence,
        "boundary_misorientation": _on_tiles(found),
        "symmetry": np.int32(found.symmetry),
        "grain_count": np.int32(found.grain.max(initial=0)),
        "indexed_fraction": np.float32(area[np.isfinite(found.orientation_deg)].sum() / total),
        "mapped_fraction": np.float32(area[found.grain > 0].sum() / total),
        "paper_mean_area_tiles": np.nan,
    }


def _on_tiles(found: GrainMap) -> npt.NDArray[np.float32]:
    """Largest misorientation of every tile to a neighbouring grain [deg], NaN inside grains."""
    grain = found.grain.astype(np.int64)
    largest = np.full(grain.shape, np.nan, np.float32)
    if not len(found.boundary_pairs):
        return largest
    # A table of all pairs of grains would grow with the square of their number.
    base = int(grain.max()) + 1
    code = found.boundary_pairs.astype(np.int64) @ np.array([base, 1])
    order = np.argsort(code)
    code, angles = code[order], found.boundary_misorientation_deg[order]
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[1:], np.s_[:-1]),
    ):
        low, high = np.minimum(grain[here], grain[there]), np.maximum(grain[here], grain[there])
        wanted = low * base + high
        at = np.minimum(np.searchsorted(code, wanted), code.size - 1)
        angle = np.where(code[at] == wanted, angles[at], np.nan).astype(np.float32)
        largest[here] = np.fmax(largest[here], angle)
    return largest


def _areas(cells: Mapping[str, Any], defect: Pixels) -> npt.NDArray[np.float64]:
    """Areas of ``cells`` outside defects."""
    if isinstance(defect, np.ndarray):
        return cell_areas(**cells, defect=defect)
    names = ("centres_y", "centres_x", "stride_px", "to_edge")
    return areas_in_fields(**{name: cells[name] for name in names}, missing=defect)


def measure_map(
    grain: npt.NDArray[np.int32],
    orientation: npt.NDArray[np.float32],
    confidence: npt.NDArray[np.float32],
    grid: Grid,
    *,
    symmetry: int,
    defect: Pixels,
    factor: float,
    pixel_size_nm: float,
    image_index: int,
) -> dict[str, Any]:
    """Measure the grains of one map [tile_y, tile_x] in the pixels of the original image.

    ``factor`` is the number of common pixels per pixel of the image; ``defect`` (height, width),
    which is read in windows where it is no array.
    """
    height, width = defect.shape
    # Pixel centres are at integers: scaling happens about the outer edge of the first pixel.
    centres_y = (grid.centres_y + 0.5) / factor - 0.5
    centres_x = (grid.centres_x + 0.5) / factor - 0.5
    # Only the tiles that this image has, so that the edge of the mapped field is known.
    own = own_tiles(grid, round(height * factor), round(width * factor))
    grain, confidence = grain[own], confidence[own]
    cells: dict[str, Any] = {
        "centres_y": centres_y[own[0]],
        "centres_x": centres_x[own[1]],
        "stride_px": grid.stride_px / factor,
        "field_height_px": height,
        "field_width_px": width,
        "to_edge": grid.coverage == "full",
    }
    columns = measure_grains(
        grain,
        orientation=orientation[own],
        confidence=confidence,
        cell_area_px=_areas(cells, defect),
        pixel_size_nm=pixel_size_nm,
        symmetry=symmetry,
        **cells,
    )
    count = columns["label"].size
    columns["image_index"] = np.full(count, image_index, np.int32)
    columns["symmetry"] = np.full(count, symmetry, np.int32)
    columns["problem"] = np.full(count, "", object)
    mean = (
        ndimage.mean(np.nan_to_num(confidence), grain, columns["label"]) if count else np.zeros(0)
    )
    columns["orientation_confidence"] = np.asarray(mean, np.float64)
    return columns
