"""Draw docs/images from the simulated demonstration archive: `python docs/make_figures.py [DEMO]`.

DEMO is the folder that `make demo` filled; without it, the demonstration runs in a temporary one.
Everything is simulated, and drawn by the functions of `nanoarray.report`.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import nanoarray as na
from nanoarray import report
from nanoarray.demo import run_demo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES = Path(__file__).parent / "images"
PANEL_WIDTH_PX = 480
GAP_PX = 8
COLOURS = 144


def rendered(figure: Figure, *, dpi: float = 100) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return Image.open(buffer).convert("RGB")


def in_a_row(panels: list[Image.Image]) -> Image.Image:
    """The panels beside each other, each as wide as the others."""
    small = [
        panel.resize(
            (PANEL_WIDTH_PX, round(panel.height * PANEL_WIDTH_PX / panel.width)),
            Image.Resampling.LANCZOS,
        )
        for panel in panels
    ]
    width = len(small) * (PANEL_WIDTH_PX + GAP_PX) - GAP_PX
    row = Image.new("RGB", (width, max(panel.height for panel in small)), "white")
    for i, panel in enumerate(small):
        row.paste(panel, (i * (PANEL_WIDTH_PX + GAP_PX), 0))
    return row


def save(picture: Image.Image, name: str) -> None:
    path = IMAGES / name
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main(folder: Path) -> None:
    places = run_demo(folder, say=print)
    tree = na.open(places["store"])
    IMAGES.mkdir(exist_ok=True)
    maps = tree["grain_maps"].to_dataset()
    # The image with the most grains shows most.
    at = int(maps["grain_count"].values.argmax())
    image, one_map = tree["images"].to_dataset().isel(image=at), maps.isel(image=at)
    overview = [
        report.plot_micrograph(image),
        report.plot_orientation_map(image, one_map, key=False),
        report.plot_grains(image, one_map),
    ]
    save(in_a_row([rendered(figure) for figure in overview]), "overview.png")
    statistics = na.table(places["store"], "grain_statistics").to_dataframe().reset_index()
    means = report.plot_condition_means(statistics, x="pressure", by=["temperature"])
    save(rendered(means, dpi=110), "means.png")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
