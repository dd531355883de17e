"""Parameters of the superlattice stages, with their defaults and limits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    computed_field,
    model_serializer,
    model_validator,
)

from nanoarray.archive.stage_parameters import Existing, StageParameters, content_digest


class PreparedParameters(StageParameters):
    """Defects, focus, and how images are cleaned before they are cut into tiles."""

    find_defects: bool = True
    """Mask pores, charged rims and damaged regions; false measures everything."""
    max_defect_fraction: float = Field(0.8, gt=0, le=1)
    """An image with a larger share of defects is left out."""
    min_sharpness: float = Field(0.4, ge=0)
    """An image with a lower `sharpness` is out of focus and left out."""
    equalize: Literal["none", "global", "adaptive"] = "none"
    """Contrast equalization of the image before it is cut into tiles."""
    suppress_line_noise: bool = True
    """Take out offsets between scan lines."""
    common_pixel_size_nm: Literal["auto", "none"] | PositiveFloat = "auto"
    """Pixel size that images are resampled to. "auto": the median, where sizes differ by more than
    2 %; "none": each image keeps its own.
    """


class TilesParameters(StageParameters):
    """Size and stride of tiles (in pixels, nanometres or lattice spacings) and their features."""

    tile_size_px: PositiveInt | None = Field(None, ge=4, le=4096)
    """Side of a tile in pixels. Give one of the three, or none: 4 spacings of the lattice rows."""
    tile_size_nm: PositiveFloat | None = None
    """Side of a tile in nanometres."""
    tile_size_spacings: PositiveFloat | None = None
    """Side of a tile in spacings of the lattice rows."""
    stride_px: PositiveInt | None = None
    """Distance of tile centres in pixels. Give one of the three, or none: 0.75 spacings."""
    stride_nm: PositiveFloat | None = None
    """Distance of tile centres in nanometres."""
    stride_spacings: PositiveFloat | None = None
    """Distance of tile centres in spacings of the lattice rows."""
    angle_count: int = Field(60, ge=6, le=720)
    """Number of projection angles, evenly over 180 degrees."""
    coverage: Literal["full", "inside"] = "full"
    """"full": tiles overhang the edges and their cells cover the field; "inside": whole tiles only.
    """
    window: Literal["aligned", "square"] = "aligned"
    """"aligned": the window turns with the projection direction; "square": as the paper, equal to
    `skimage.transform.radon(circle=False)`.
    """
    band_pass: bool = True
    """Keep only what is about as coarse as the lattice; for aligned windows."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where aligned windows are computed: "auto" takes a GPU where there is one."""
    alignment: Literal["variance", "second_difference"] = "variance"
    """What is thresholded at its mean into alignment bits: the variance or its absolute second
    difference over the angles.
    """
    min_valid_fraction: float = Field(0.2, ge=0, le=1)
    """A tile with less of its area inside the image and outside defects is not valid."""

    @model_validator(mode="after")
    def _one_of_each(self) -> TilesParameters:
        for what in ("tile_size", "stride"):
            given = [
                u for u in ("px", "nm", "spacings") if getattr(self, f"{what}_{u}") is not None
            ]
            if len(given) > 1:
                names = " and ".join(f"{what}_{unit}" for unit in given)
                raise ValueError(f"{names} are both given: expected one of them")
        return self


class TileClustersParameters(StageParameters):
    """How tiles are grouped by their features."""

    method: Literal["ward", "kmeans", "dtw"] = "ward"
    """Ward's agglomerative clustering, k-means, or k-means under dynamic time warping (extra
    `dtw`).
    """
    features: Literal["profile", "variance", "alignment"] = "profile"
    """"profile": logarithm of the variance about its mean; "variance": as it is; "alignment": the
    bits.
    """
    scope: Literal["collection", "image"] = "collection"
    """One fit for the whole collection, or one for each image."""
    n_clusters: PositiveInt | None = None
    """Number of clusters."""
    distance_threshold: PositiveFloat | Literal["auto"] | None = None
    """Ward distance at or above which clusters are not merged; "auto" or not set: found from pairs
    of tiles, unless `n_clusters` is given.
    """
    max_tiles: int = Field(20_000, ge=100, le=100_000)
    """Most tiles that a fit sees at once; beyond, prototypes stand for them."""
    seed: int = Field(0, ge=0)
    """Seed of everything random in the fit."""

    @model_validator(mode="after")
    def _one_criterion(self) -> TileClustersParameters:
        if self.n_clusters is not None and self.distance_threshold is not None:
            raise ValueError("n_clusters and distance_threshold are both given: expected one")
        if self.method != "ward" and self.distance_threshold is not None:
            raise ValueError(f"distance_threshold is for method 'ward', not {self.method!r}")
        if self.method != "ward" and self.n_clusters is None:
            raise ValueError(f"method {self.method!r} needs n_clusters")
        return self


class GrainMapsParameters(StageParameters):
    """How tiles become grains."""

    method: Literal["orientation", "clusters", "paper"] = "orientation"
    """"orientation": by misorientation; "clusters": a partition of the tile clusters; "paper": the
    published steps.
    """
    misorientation_deg: float = Field(4.0, gt=0, lt=45)
    """Neighbours that differ by less along their boundary are one grain."""
    min_diameter_spacings: float = Field(4.0, ge=0)
    """Regions smaller than a disc of this diameter, in spacings of the lattice rows, go to a
    neighbour.
    """
    symmetry: Literal["auto", 2, 4, 6] = "auto"
    """Rotational symmetry of the lattice; "auto": found in each image."""
    labels: Existing | None = None
    """Folder of label images of another program or by hand, whose grains are used instead: one
    ``<image id>.tif``, ``.png``, ``.npy`` or ``.zarr`` per image, 0 for background. An image
    without one fails.
    """

    @computed_field
    def labels_digest(self) -> str:
        """What the folder holds, so that changed labels are noticed."""
        return content_digest(self.labels)

    @model_validator(mode="after")
    def _labels_alone(self) -> GrainMapsParameters:
        if self.labels is not None and self.method != "orientation":
            raise ValueError(f"labels and method {self.method!r} are both given: expected one")
        return self

    @model_serializer(mode="wrap")
    def _without_labels(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without labels the record is as it was before there were any, and its digest too."""
        found: dict[str, Any] = whole(self)
        if self.labels is None:
            del found["labels"], found["labels_digest"]
        return found


class GrainsParameters(StageParameters):
    """The table of grains has no parameters yet: every grain of every map is measured."""


class GrainStatisticsParameters(StageParameters):
    """Grouping and resampling of the statistics."""

    by: tuple[str, ...] = ("temperature", "pressure")
    """Tags whose combinations are the conditions."""
    edge: Literal["weight", "exclude", "include"] = "weight"
    """Grains cut by the edge: "weight" corrects for them, "exclude" leaves them out, "include"
    takes them as whole.
    """
    resample_unit: Literal["auto", "sample", "image"] = "auto"
    """What the intervals resample; "auto": samples where known, otherwise images."""
    interval: float = Field(0.95, gt=0.5, lt=1)
    """Confidence of the intervals."""
    resamples: int = Field(2000, ge=100, le=100_000)
    """Number of resamples."""
    seed: int = Field(0, ge=0)
    """Seed of the resampling."""
