"""Parameters of the nanocrystal stages, with their defaults and limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, computed_field

from nanoarray.archive.stage_parameters import Existing, StageParameters, content_digest
from nanoarray.nanocrystal.weights import SEGMENT_WEIGHTS, SHAPE_WEIGHTS


class CrystalMapsParameters(StageParameters):
    """How crystals are found in micrographs."""

    method: Literal["auto", "network", "classical"] = "auto"
    """"network": trained on simulated micrographs; "classical": background, filter, threshold and
    watershed; "auto": the network.
    """
    polarity: Literal["auto", "dark", "bright"] = "auto"
    """Whether crystals are dark or bright on their background; "auto": found in each image."""
    labels: Existing | None = None
    """Folder of label images of another program or by hand, used in place of segmentation: one
    ``<image id>.tif``, ``.png``, ``.npy`` or ``.ome.zarr`` per image, 0 for background. An image
    without one is left out.
    """

    @computed_field
    def labels_digest(self) -> str:
        """What the folder holds, so that changed labels are noticed."""
        return content_digest(self.labels)

    @computed_field
    def weights_digest(self) -> str:
        """Which weights were used: none for labels and the classical method."""
        if self.labels is not None or self.method == "classical":
            return ""
        return content_digest(SEGMENT_WEIGHTS)


class CrystalsParameters(StageParameters):
    """How crystals are measured and cut out."""

    crop_size: int = Field(64, ge=8, le=512)
    """Side of a crop in pixels."""


class ShapesParameters(StageParameters):
    """How crystals are placed in shape space."""

    refine: bool = True
    """Improve the network's parameters by maximizing the overlap with the crystal."""
    weights: Existing | None = None
    """Weights of another training (`nanoarray train shapes`); by default those of the package."""

    @computed_field
    def weights_digest(self) -> str:
        """Which weights the network has."""
        return content_digest(self.weights or SHAPE_WEIGHTS)


class ShapeGroupsParameters(StageParameters):
    """How crystals are grouped."""

    method: Literal["auto", "k-means", "gaussian mixture", "linkage"] = "auto"
    """"auto": the one whose groups have the largest cophenetic correlation."""
    dataset: Literal["auto", "features", "shape parameters", "both"] = "auto"
    """The ten common features, the shape parameters, or both; "auto": both, or without `nested`
    where the groups stand out most from a single one.
    """
    n_groups: PositiveInt | None = None
    """Number of groups; by default found by silhouette, one group being an answer."""
    max_groups: int = Field(10, ge=2, le=50)
    """Most groups that are tried."""
    min_share: float = Field(0.02, ge=0, lt=0.5)
    """Share of the crystals below which a part is outliers, not a group."""
    linkage: Literal["ward", "average"] = "ward"
    """Linkage of the method "linkage"."""
    nested: bool = True
    """Look for more groups than the silhouette asks for, where one is itself divided; without it
    a population far from the others hides that these are several.
    """
    min_jaccard: float = Field(0.0, ge=0, le=1)
    """Crystals whose shape overlaps them less are left out of the groups."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""


class ClassesParameters(StageParameters):
    """How a classifier is trained and tested."""

    classifier: Literal[
        "svm", "linear svm", "random forest", "nearest neighbours", "logistic regression"
    ] = "svm"
    """Kind of classifier; its settings are tuned."""
    labels: Existing | None = None
    """CSV of human labels (columns `image`, `label`, `class`); by default the shape groups, whose
    accuracy is that of cluster reproducibility.
    """
    trials: int = Field(20, ge=1, le=1000)
    """Trials of the Bayesian optimization."""
    folds: int = Field(10, ge=2, le=100)
    """Folds of the cross-validation."""
    max_crystals: int = Field(5000, ge=100, le=1_000_000)
    """Most crystals that the classifier is trained and tested on, drawn at random."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""

    @computed_field
    def labels_digest(self) -> str:
        """What the CSV holds, so that changed labels are noticed."""
        return content_digest(self.labels)


class CrystalStatisticsParameters(StageParameters):
    """Grouping and resampling of the statistics."""

    by: tuple[str, ...] = ("synthesis_method",)
    """Tags whose combinations are the conditions."""
    edge: Literal["weight", "exclude", "include"] = "weight"
    """Crystals cut by the edge: "weight" corrects for them, "exclude" leaves them out, "include"
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
