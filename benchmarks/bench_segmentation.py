"""Score a segmentation method on images with instance masks.

    python -m benchmarks.bench_segmentation --data FOLDER [--method auto|network|classical] [--each]

FOLDER holds `images/` and `masks/` with equal names (PNG or TIFF; masks: 0 background, one id per
particle). Prints F1 at IoU 0.5 pooled over all particles and as the mean over images, the error of
the count, the ratio of the mean equivalent diameters and seconds of processor time per megapixel.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.io import imread

GREY = np.array([0.299, 0.587, 0.114])  # luma of Rec. 601, as Pillow's "L"


@dataclass(frozen=True)
class Pair:
    name: str
    pixels: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class ImageScore:
    name: str
    true_count: int
    found_count: int
    matched: int
    true_diameters_px: np.ndarray
    found_diameters_px: np.ndarray

    @property
    def f1(self) -> float:
        both = self.true_count + self.found_count
        return 2 * self.matched / both if both else 1.0


def read_pairs(folder: Path) -> list[Pair]:
    pairs = []
    for path in sorted((folder / "images").iterdir()):
        pixels = imread(path)
        if pixels.ndim == 3:
            pixels = np.rint(pixels[..., :3] @ GREY).astype(np.uint8)
        pairs.append(Pair(path.stem, pixels, imread(folder / "masks" / path.name).astype(np.int32)))
    return pairs


def score_image(name: str, truth: np.ndarray, found: np.ndarray) -> ImageScore:
    columns = int(found.max()) + 1
    joint = np.bincount(
        truth.ravel().astype(np.int64) * columns + found.ravel(),
        minlength=(int(truth.max()) + 1) * columns,
    ).reshape(-1, columns)
    area, found_area = joint.sum(axis=1), joint.sum(axis=0)
    union = area[:, None] + found_area[None] - joint
    iou = (joint / np.maximum(union, 1))[1:, 1:]
    true_areas, found_areas = area[1:][area[1:] > 0], found_area[1:][found_area[1:] > 0]
    return ImageScore(
        name,
        true_areas.size,
        found_areas.size,
        int((iou > 0.5).sum()),  # above one half a particle has at most one partner
        2 * np.sqrt(true_areas / np.pi),
        2 * np.sqrt(found_areas / np.pi),
    )


def describe_scores(rows: list[ImageScore], *, each: bool = False) -> str:
    true, found = sum(r.true_count for r in rows), sum(r.found_count for r in rows)
    matched = sum(r.matched for r in rows)
    diameter = np.concatenate([r.found_diameters_px for r in rows]).mean()
    diameter /= np.concatenate([r.true_diameters_px for r in rows]).mean()
    counts = [abs(r.found_count - r.true_count) / max(r.true_count, 1) for r in rows]
    ratios = [
        r.found_diameters_px.mean() / r.true_diameters_px.mean()
        for r in rows
        if r.true_count and r.found_count
    ]
    lines = [
        f"{r.name}  F1 {r.f1:.3f}  true {r.true_count}  found {r.found_count}  both {r.matched}"
        for r in sorted(rows, key=lambda r: r.f1)
        if each
    ]
    lines += [
        f"images {len(rows)}, particles {true}",
        f"F1 at IoU 0.5: pooled {2 * matched / max(true + found, 1):.3f}, "
        f"mean over images {np.mean([r.f1 for r in rows]):.3f}",
        f"count error: pooled {found / true - 1:+.3f}, mean over images {np.mean(counts):.3f}",
        f"mean equivalent diameter, found over true: pooled {diameter:.3f}, "
        f"mean over images {np.mean(ratios):.3f}",
    ]
    return "\n".join(lines)


def main() -> None:
    from nanoarray.nanocrystal.segment.segment import segment_image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", default="auto", choices=["auto", "network", "classical"])
    parser.add_argument("--polarity", default="auto", choices=["auto", "dark", "bright"])
    parser.add_argument("--each", action="store_true", help="one line per image as well")
    options = parser.parse_args()
    pairs = read_pairs(options.data)
    segment_image(pairs[0].pixels, method=options.method)  # compile before the clock starts
    rows, seconds, wrong = [], 0.0, 0
    for pair in pairs:
        start = time.process_time()
        result = segment_image(pair.pixels, method=options.method, polarity=options.polarity)
        seconds += time.process_time() - start
        wrong += result.polarity != "dark"
        rows.append(score_image(pair.name, pair.truth, result.crystal))
    print(describe_scores(rows, each=options.each))
    megapixels = sum(p.pixels.size for p in pairs) / 2**20
    print(
        f"polarity taken for bright: {wrong}; "
        f"{seconds / megapixels:.2f} s of one core per 1024 x 1024"
    )


if __name__ == "__main__":
    main()
