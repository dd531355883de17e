"""Parameters of the superlattice stages, with their defaults and limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from nanoarray.archive.engine import StageParameters


class PreparedParameters(StageParameters):
    """Defects, focus, and how images are cleaned before they are cut into tiles."""

    find_defects: bool = True
    max_defect_fraction: float = Field(0.8, gt=0, le=1)
    min_sharpness: float | None = Field(None, ge=0)
    equalize: Literal["none", "global", "adaptive"] = "none"
    suppress_line_noise: bool = True
    common_pixel_size_nm: Literal["auto", "none"] | PositiveFloat = "auto"


class TilesParameters(StageParameters):
    """Size and stride of tiles (in pixels, nanometres or lattice spacings) and their features."""

    tile_size_px: PositiveInt | None = Field(None, ge=4, le=4096)
    tile_size_nm: PositiveFloat | None = None
    tile_size_spacings: PositiveFloat | None = None
    stride_px: PositiveInt | None = None
    stride_nm: PositiveFloat | None = None
    stride_spacings: PositiveFloat | None = None
    angle_count: int = Field(60, ge=6, le=720)
    coverage: Literal["full", "inside"] = "full"
    window: Literal["aligned", "square"] = "aligned"
    band_pass: bool = True
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    alignment: Literal["variance", "second_difference"] = "variance"
    min_valid_fraction: float = Field(0.2, ge=0, le=1)

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
    features: Literal["profile", "variance", "alignment"] = "profile"
    scope: Literal["collection", "image"] = "collection"
    n_clusters: PositiveInt | None = None
    distance_threshold: PositiveFloat | Literal["auto"] | None = None
    max_tiles: int = Field(20_000, ge=100, le=100_000)
    seed: int = 0

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
    misorientation_deg: float = Field(4.0, gt=0, lt=45)
    min_diameter_spacings: float = Field(4.0, ge=0)
    symmetry: Literal["auto", 2, 4, 6] = "auto"


class GrainsParameters(StageParameters):
    """The table of grains has no parameters yet: every grain of every map is measured."""


class GrainStatisticsParameters(StageParameters):
    """Grouping and resampling of the statistics."""

    by: tuple[str, ...] = ("temperature", "pressure")
    edge: Literal["weight", "exclude", "include"] = "weight"
    resample_unit: Literal["auto", "sample", "image"] = "auto"
    interval: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2000, ge=100, le=100_000)
    seed: int = 0
