"""Models by name, for commands and records: a name, the data's shape, and a scale of the widths."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn as tnn

from nn.models.resnet import ResNet
from nn.models.vgg import VGG
from nn.patterns import one_of

Make = Callable[[int, int, float], tnn.Module]


def _resnet(depth: int, classes: int, channels: int, scale: float) -> ResNet:
    one, two, three = (max(1, round(scale * width)) for width in (16, 32, 64))
    return ResNet(depth, classes, widths=(one, two, three), channels=channels)


def _vgg(depth: int, classes: int, channels: int, scale: float) -> VGG:
    return VGG(depth, classes, width=max(1, round(scale * 64)), channels=channels)


MODELS: dict[str, Make] = {
    **{f"resnet{depth}": partial(_resnet, depth) for depth in (8, 20, 32, 44, 56)},
    **{f"vgg{depth}": partial(_vgg, depth) for depth in (11, 13, 16)},
}


def build(name: str, classes: int, channels: int, scale: float = 1.0) -> tnn.Module:
    """A model of this name.

    Args:
        name: One of :data:`MODELS`; resnet8 is the smallest of its family.
        classes: Of the output.
        channels: Of the images.
        scale: Of the widths; 1 is the architecture of the literature.

    Raises:
        ArgumentError: If there is none of this name.
    """
    return MODELS[one_of("train", "model", name, MODELS)](classes, channels, scale)
