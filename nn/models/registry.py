"""Models by name, for commands and records: a name, the data's shape, and the widths of the stages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn as tnn

from nn.models.decoder import Decoder
from nn.models.resnet import ResNet, resnet18
from nn.models.vgg import VGG
from nn.models.vit import ViT
from nn.patterns import one_of

Widths = tuple[int, ...]


def _decoder(classes: int, *, widths: Widths, channels: int) -> Decoder:
    return Decoder(classes, widths=widths, context=channels)


MODELS: dict[str, tuple[Callable[..., tnn.Module], Widths]] = {
    **{f"resnet{depth}": (partial(ResNet, depth), (16, 32, 64)) for depth in (8, 20, 32, 44, 56)},
    "resnet18": (resnet18, (64, 128, 256, 512)),
    **{f"vgg{depth}": (partial(VGG, depth), (64, 128, 256, 512, 512)) for depth in (11, 13, 16)},
    "vit": (ViT, (32, 256)),
    "decoder": (_decoder, (32, 512)),
}
READERS = ("decoder",)  # of text; the others take images


def build(name: str, classes: int, channels: int, scale: float | Widths = 1.0) -> tnn.Module:
    """A model of this name.

    Args:
        name: One of :data:`MODELS`; resnet8 is the smallest of its family.
        classes: Of the output.
        channels: Of the images; of a text, the tokens of a window.
        scale: Of the widths of all stages, 1 being the architecture of the literature; or these widths.

    Raises:
        ArgumentError: If there is none of this name.
    """
    make, whole = MODELS[one_of("train", "model", name, MODELS)]
    widths = scale if isinstance(scale, tuple) else tuple(max(1, round(scale * width)) for width in whole)
    return make(classes, widths=widths, channels=channels)
