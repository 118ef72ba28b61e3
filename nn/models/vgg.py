"""VGG networks with batch norm for small images, as the papers on pruning and STABLE-RPS train them.

Convolutions of 3 x 3 pixels with bias, batch norm, four times a maximum over 2 x 2 pixels, the mean over
what is left, and one linear layer in the place of VGG's three.
"""

from __future__ import annotations

from typing import TypedDict, Unpack, final

import torch
import torch.nn as tnn

from rpstheory.errors import ArgumentError

Widths = tuple[int, ...]

# Convolutions of each stage; a maximum follows every stage but the last.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}


class Options(TypedDict, total=False):
    """What a network of a given depth can be asked for; see :class:`VGG`."""

    widths: Widths
    channels: int


@final
class VGG(tnn.Module):
    """Eight to thirteen convolutions in five stages, and a linear layer.

    Weights are Kaiming normal, those of batch norm 1, all biases 0, as in the protocol.

    Args:
        depth: 11, 13 or 16, after the layers of the original.
        num_classes: Of the output.
        widths: Channels of the five stages; with fewer it is a "smaller model".
        channels: Of the images, which are at least 16 x 16 pixels.

    Raises:
        ArgumentError: If an argument is out of range.

    Source: Simonyan & Zisserman, ICLR 2015; Tanaka et al., NeurIPS 2020 (SynFlow); Desai & Shrivastava,
    ICLR 2024.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        *,
        widths: Widths = (64, 128, 256, 512, 512),
        channels: int = 3,
    ) -> None:
        super().__init__()
        if depth not in _STAGES:
            raise ArgumentError(f"VGG: depth={depth} came; one of {', '.join(map(str, _STAGES))} is needed")
        if min(num_classes, channels, *widths) < 1 or len(widths) != 5:
            raise ArgumentError(
                f"VGG: num_classes={num_classes}, widths={widths}, channels={channels} came; "
                "positive numbers are needed, five widths of them"
            )
        self.widths = widths
        layers: list[tnn.Module] = []
        before = channels
        for convolutions, after in zip(_STAGES[depth], widths, strict=True):
            layers += [tnn.MaxPool2d(2)] if layers else []
            for _ in range(convolutions):
                layers += [tnn.Conv2d(before, after, 3, padding=1), tnn.BatchNorm2d(after), tnn.ReLU()]
                before = after
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


def vgg11(num_classes: int = 10, **options: Unpack[Options]) -> VGG:
    """VGG-11 with batch norm: 9,231,114 parameters, 9,222,848 of them compressible; see :class:`VGG`."""
    return VGG(11, num_classes, **options)


def vgg13(num_classes: int = 10, **options: Unpack[Options]) -> VGG:
    """VGG-13 with batch norm; see :class:`VGG`."""
    return VGG(13, num_classes, **options)


def vgg16(num_classes: int = 10, **options: Unpack[Options]) -> VGG:
    """VGG-16 with batch norm; see :class:`VGG`."""
    return VGG(16, num_classes, **options)
