"""Maps of what the tiles were grouped into: grains, clusters, and the boundaries between grains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from nanoarray.report.canvas import (
    Image,
    bytes_of,
    draw_micrograph,
    draw_scale_bar,
    extent_of,
    field_figure,
    picture_of,
)
from nanoarray.report.style import CATEGORIES, FAINT, figure_style
from nanoarray.report.superlattice.cells import boundaries, cells_of, one_map
from nanoarray.report.superlattice.maps import symmetry_of
from nanoarray.superlattice.grains.cells import grain_adjacency

_BOUNDARY = "#ffd21f"
_CUT_TINT = 0.0
_TINT = 0.30
# Without viridis' yellow: thin lines have to stand out from a light ground.
_ANGLES = ListedColormap(colormaps["viridis"](np.linspace(0.82, 0.0, 256)))
_NO_GRAIN = (0.0, 0.0, 0.0, 0.5)


def plot_grains(
    image: Image,
    maps: xr.Dataset,
    *,
    pixel_size_nm: float | None = None,
    labels: bool = False,
    fill: bool = True,
) -> Figure:
    """Grains over the micrograph: boundaries, tints, optional labels, a scale bar.

    Neighbouring grains have different tints. A grain that the edge of the mapped field cuts is
    drawn without a tint: its size is not known. What belongs to no grain is darkened.

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    maps
        One row of the group ``grain_maps`` with ``grain``.
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    labels
        Write each grain's label at the tile that is deepest inside it.
    fill
        Tint the grains.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    cells = cells_of(maps, picture)
    grain = _labels(maps, "grain")
    with figure_style():
        figure, ax = field_figure(picture)
        draw_micrograph(ax, picture)
        if fill:
            tint = cells.paint(bytes_of(_tints(grain)), bytes_of(_NO_GRAIN))
            ax.imshow(tint, extent=extent_of(picture), aspect="auto", interpolation="nearest")
        segments, _, _ = boundaries(grain, cells)
        # A dark rim keeps the light line readable on bright rims of pores.
        ax.add_collection(
            LineCollection(list(segments), colors="black", linewidths=2.6, alpha=0.55)
        )
        ax.add_collection(LineCollection(list(segments), colors=_BOUNDARY, linewidths=1.3))
        if labels:
            _write_labels(ax, grain, cells.edges_y, cells.edges_x)
        draw_scale_bar(ax, picture)
    return figure


def plot_clusters(
    image: Image, clusters: xr.Dataset, *, pixel_size_nm: float | None = None, labels: bool = True
) -> Figure:
    """Cluster of every tile, before anything makes grains of them; white where a tile has none.

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    clusters
        One row of the group ``tile_clusters`` with ``cluster`` (tile_y, tile_x), -1 for none, and
        the coordinates of the tiles.
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    labels
        Write the number of the cluster into its larger regions: more colours than a handful
        cannot be told apart.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    cells = cells_of(clusters, picture)
    cluster = np.maximum(_labels(clusters, "cluster"), -1)
    found = np.unique(cluster[cluster >= 0])
    colours = _many_colours(len(found))
    rank = np.searchsorted(found, np.maximum(cluster, 0)).clip(max=max(len(found) - 1, 0))
    painted = np.where(
        (cluster >= 0)[..., np.newaxis], colours[rank], np.array([1.0, 1.0, 1.0, 1.0])
    )
    with figure_style():
        figure, ax = field_figure(picture)
        ax.imshow(
            cells.paint(bytes_of(painted), 255),
            extent=extent_of(picture),
            aspect="auto",
            interpolation="nearest",
        )
        if labels:
            regions = _regions(cluster + 1)
            smallest = max(12, cluster.size // 150)
            names = {int(r): str(cluster[regions == r][0]) for r in np.unique(regions[regions > 0])}
            _write_labels(ax, regions, cells.edges_y, cells.edges_x, names=names, smallest=smallest)
        draw_scale_bar(ax, picture)
    return figure


def plot_misorientation(
    image: Image,
    maps: xr.Dataset,
    *,
    symmetry: int | None = None,
    pixel_size_nm: float | None = None,
) -> Figure:
    """Misorientation along the grain boundaries, and how much boundary there is of each.

    Parameters
    ----------
    image
        One row of the group ``images``, or pixels (height, width).
    maps
        One row of the group ``grain_maps`` with ``grain`` and ``boundary_misorientation`` [deg].
    symmetry
        Fold of the lattice symmetry, if the Dataset does not say it: the largest misorientation is
        180 / symmetry degrees.
    pixel_size_nm
        Goes before the pixel size of the Dataset.
    """
    picture = picture_of(image, pixel_size_nm=pixel_size_nm)
    largest = 180.0 / symmetry_of(maps, symmetry)
    cells = cells_of(maps, picture)
    grain = _labels(maps, "grain")
    value = one_map(maps, "boundary_misorientation").ravel().astype(np.float64)
    segments, first, second = boundaries(grain, cells)
    inner = (grain.ravel()[first] > 0) & (grain.ravel()[second] > 0)
    # Each tile knows its largest misorientation; at a junction of three grains the smaller of the
    # two tiles' values is the one that both sides of this boundary share.
    degrees = np.fmin(value[first], value[second])
    length = np.abs(segments[:, 1] - segments[:, 0]).sum(axis=1)
    known = inner & np.isfinite(degrees)
    with figure_style():
        figure, ax = field_figure(picture, side=True)
        draw_micrograph(ax, picture)
        ax.imshow(
            np.array([[[1.0, 1.0, 1.0, 0.62]]]), extent=extent_of(picture), aspect="auto", zorder=1
        )
        outer = LineCollection(list(segments[~known]), colors=FAINT, linewidths=0.8, zorder=2)
        ax.add_collection(outer)
        lines = LineCollection(
            list(segments[known]), cmap=_ANGLES, linewidths=3.0, zorder=3, capstyle="projecting"
        )
        lines.set_array(degrees[known])
        lines.set_clim(0.0, largest)
        ax.add_collection(lines)
        draw_scale_bar(ax, picture)
        left = ax.get_position().x1
        side = figure.add_axes((left + 0.07, 0.12, 0.97 - left - 0.07, 0.82))
        bins = np.linspace(0.0, largest, 16)
        share, _ = np.histogram(degrees[known], bins=bins, weights=length[known])
        share = 100.0 * share / max(share.sum(), 1e-12)
        colours = _ANGLES((bins[:-1] + bins[1:]) / 2 / largest)
        side.barh(bins[:-1], share, height=np.diff(bins), align="edge", color=colours)
        side.set_ylim(0.0, largest)
        side.set_ylabel("misorientation / °")
        side.set_xlabel("boundary / %")
    return figure


# --- shared --------------------------------------------------------------------------------------


def _labels(ds: xr.Dataset, name: str) -> npt.NDArray[np.int64]:
    return one_map(ds, name).astype(np.int64)


def _tints(grain: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """RGBA (ny, nx, 4) of every cell: neighbours differ, cut grains are clear, none is dark."""
    labels, index = np.unique(np.append(grain.ravel(), 0), return_inverse=True)
    index = index[:-1].reshape(grain.shape)
    pairs, _ = grain_adjacency(index)
    neighbours: dict[int, set[int]] = {k: set() for k in range(len(labels))}
    for a, b in pairs.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    chosen: dict[int, int] = {}
    for k in sorted(neighbours, key=lambda n: (-len(neighbours[n]), n)):
        taken = {chosen[n] for n in neighbours[k] if n in chosen}
        chosen[k] = next((c for c in range(len(CATEGORIES)) if c not in taken), k % len(CATEGORIES))
    table = np.array([[*to_rgb(CATEGORIES[chosen[k]]), _TINT] for k in range(len(labels))])
    mapped = np.argwhere(grain > 0)
    if mapped.size:
        (top, left), (bottom, right) = mapped.min(axis=0), mapped.max(axis=0)
        edge = [index[top], index[bottom], index[:, left], index[:, right]]
        table[np.unique(np.concatenate(edge)), 3] = _CUT_TINT
    table[0] = _NO_GRAIN
    return np.asarray(table[index], dtype=np.float64)


def _write_labels(
    ax: Axes,
    label: npt.NDArray[np.int64],
    edges_y: npt.NDArray[np.float64],
    edges_x: npt.NDArray[np.float64],
    *,
    names: dict[int, str] | None = None,
    smallest: int = 1,
) -> None:
    """Write each label at its cell that is farthest from all others."""
    from matplotlib.patheffects import withStroke
    from scipy import ndimage

    for value, box in enumerate(ndimage.find_objects(label), start=1):
        if box is None:
            continue
        inside = np.pad(label[box] == value, 1)
        if inside.sum() < smallest:
            continue
        depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        row, column = box[0].start + y, box[1].start + x
        ax.text(
            (edges_x[column] + edges_x[column + 1]) / 2,
            (edges_y[row] + edges_y[row + 1]) / 2,
            (names or {}).get(value, str(value)),
            color="white",
            fontsize=8,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )


def _regions(label: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Connected regions of equal positive labels, numbered from 1."""
    from skimage.measure import label as connected

    return np.asarray(connected(label, background=0, connectivity=1), dtype=np.int64)


def _many_colours(count: int) -> npt.NDArray[np.float64]:
    """``count`` colours: the categories as far as they go, then shuffled steps of viridis."""
    if count <= len(CATEGORIES):
        return np.array([[*to_rgb(c), 1.0] for c in CATEGORIES])
    # The golden ratio sends successive numbers far apart.
    return np.asarray(colormaps["viridis"](np.mod(np.arange(count) * 0.618034, 1.0)))
