"""What the page shows of the crystals of single images."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from nanoarray.report.nanocrystals.contents import CrystalContents
from nanoarray.report.nanocrystals.overlay import plot_crystals
from nanoarray.report.panels import Panel, image_panel
from nanoarray.report.text_tables import number

#: Micrographs of crystals are shown wider: their outlines are thin.
_WIDTH_PX = 1000


def crystal_panels(
    crystals: CrystalContents | None,
    groups: Mapping[str, xr.Dataset],
    image: xr.Dataset,
    i: int,
) -> list[Panel]:
    """Crystals of image ``i`` over its micrograph; none where it has no map of crystals."""
    ds = groups.get("crystal_maps")
    if ds is None or i >= ds.sizes.get("image", 0):
        return []
    maps = ds.isel(image=i)
    # An image that was not reached holds the fill values: no polarity.
    if str(maps["problem"].values) or not str(maps["polarity"].values):
        return []
    count, left_out = int(maps["crystal_count"]), int(maps["rejected_count"])
    reasons = json.loads(str(maps["rejected_reasons"].values) or "[]")
    group_of: dict[int, int] = {}
    cut: list[int] = []
    if crystals is not None:
        chosen = crystals.rows["image_index"].to_numpy(np.int64) == i
        rows = crystals.rows[chosen]
        labels = [int(label) for label in rows["label"]]
        group_of = dict(zip(labels, crystals.group[chosen].tolist(), strict=True))
        touches = rows["touches_edge"].to_numpy(bool)
        cut = [label for label, edge in zip(labels, touches, strict=True) if edge]
    figure = plot_crystals(
        image,
        maps["crystal"].values,
        groups=group_of,
        cut=cut,
        rejected=maps["rejected_object"].values,
        reasons={count + 1 + k: str(reason) for k, reason in enumerate(reasons)},
        count=crystals.group_count if crystals is not None else None,
    )
    edge = sum(label <= count for label in cut)
    caption = f"{number(count)} crystals"
    caption += f", {number(edge)} of them cut by the edge (dashed)" if edge else ""
    caption += f"; {number(left_out)} rejected objects (striped)" if left_out else ""
    name = image["image"].values
    alt = f"Crystals of image {name}: outlines over the micrograph, by shape group. {caption}"
    return [image_panel(figure, alt, caption, width_px=_WIDTH_PX, quality=78)]
