"""The segmentation network: a small U-Net that works at half resolution and answers at full."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

#: Output channels: crystal or not (logit), depth inside the crystal (0 at its outline, 1 where it
#: is deepest), contact line between two crystals (logit).
OUTPUTS = ("foreground", "depth", "contact")

#: Sides of an input must be multiples of this.
STRIDE = 32


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


class SegmentationNet(nn.Module):
    """U-Net with the first level at half resolution (four sub-pixels as channels).

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4, 1/8, ... of the resolution.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.fold = nn.PixelUnshuffle(2)
        self.down = nn.ModuleList()
        before = 4
        for width in widths:
            self.down.append(nn.Sequential(_convolution(before, width), _convolution(width, width)))
            before = width
        self.pool = nn.MaxPool2d(2)
        self.narrow = nn.ModuleList()
        self.up = nn.ModuleList()
        for deep, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.narrow.append(nn.Conv2d(deep, width, 1))
            self.up.append(
                nn.Sequential(_convolution(2 * width, width), _convolution(width, width))
            )
        self.head = nn.Conv2d(widths[0], 4 * len(OUTPUTS), 3, padding=1)
        self.unfold = nn.PixelShuffle(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps ``(n, 3, height, width)`` of images ``(n, 1, height, width)``."""
        x = self.fold(image)
        passed = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else self.pool(x))
            passed.append(x)
        passed.pop()
        for narrow, stage in zip(self.narrow, self.up, strict=True):
            x = stage(torch.cat([self.grow(narrow(x)), passed.pop()], dim=1))
        return self.unfold(self.head(x))


def folded(net: SegmentationNet) -> SegmentationNet:
    """A copy for prediction, a third faster: batch normalization is folded into the convolutions.

    Its answers differ from those of the network by rounding only.
    """
    out = copy.deepcopy(net).eval()
    for block in out.modules():
        if not isinstance(block, nn.Sequential):
            continue
        first, second = block[0], block[1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            block[0] = fuse_conv_bn_eval(first, second)
            block[1] = nn.Identity()
            block[2] = nn.ReLU(inplace=True)
    return out.to(memory_format=torch.channels_last)
