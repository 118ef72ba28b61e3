"""VGG networks with batch norm for small images, as the papers on pruning and STABLE-RPS train them.

Convolutions of 3 x 3 pixels with bias, batch norm, four times a maximum over 2 x 2 pixels, the mean over
what is left, and one linear layer in the place of VGG's three.
"""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
import torch.nn as tnn

from rpstheory.errors import ArgumentError

# Channels of each convolution in units of the width; a maximum follows every stage but the last.
_STAGES = {
    11: ((1,), (2,), (4, 4), (8, 8), (8, 8)),
    13: ((1, 1), (2, 2), (4, 4), (8, 8), (8, 8)),
    16: ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8)),
}


@final
class VGG(tnn.Module):
    """Eight to thirteen convolutions in five stages, and a linear layer.

    Weights are Kaiming normal, those of batch norm 1, all biases 0, as in the protocol.

    Args:
        depth: 11, 13 or 16, after the layers of the original.
        num_classes: Of the output.
        width: Channels of the first stage; below 64 it is a "smaller model".
        channels: Of the images, which are at least 16 x 16 pixels.

    Raises:
        ArgumentError: If an argument is out of range.

    Source: Simonyan & Zisserman, ICLR 2015; Tanaka et al., NeurIPS 2020 (SynFlow); Desai & Shrivastava,
    ICLR 2024.
    """

    def __init__(self, depth: int, num_classes: int = 10, *, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        if depth not in _STAGES:
            raise ArgumentError(f"VGG: depth={depth} came; one of {', '.join(map(str, _STAGES))} is needed")
        if min(num_classes, width, channels) < 1:
            raise ArgumentError(
                f"VGG: num_classes={num_classes}, width={width}, channels={channels} came; "
                "positive numbers are needed"
            )
        layers: list[tnn.Module] = []
        before = channels
        for stage in _STAGES[depth]:
            layers += [tnn.MaxPool2d(2)] if layers else []
            widths = [before, *(width * unit for unit in stage)]
            for one, other in pairwise(widths):
                layers += [tnn.Conv2d(one, other, 3, padding=1), tnn.BatchNorm2d(other), tnn.ReLU()]
            before = widths[-1]
        self.layers = tnn.Sequential(*layers)
        self.fc = tnn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, tnn.Conv2d | tnn.Linear):
                tnn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    tnn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (b, channels, h, w) → logits (b, num_classes)."""
        return self.fc(self.layers(x).mean(dim=(2, 3)))


def vgg11(num_classes: int = 10, *, width: int = 64, channels: int = 3) -> VGG:
    """VGG-11 with batch norm: 9,231,114 parameters, 9,222,848 of them compressible; see :class:`VGG`."""
    return VGG(11, num_classes, width=width, channels=channels)


def vgg13(num_classes: int = 10, *, width: int = 64, channels: int = 3) -> VGG:
    """VGG-13 with batch norm; see :class:`VGG`."""
    return VGG(13, num_classes, width=width, channels=channels)


def vgg16(num_classes: int = 10, *, width: int = 64, channels: int = 3) -> VGG:
    """VGG-16 with batch norm; see :class:`VGG`."""
    return VGG(16, num_classes, width=width, channels=channels)
