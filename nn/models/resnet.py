"""Residual networks for small images (He et al., CVPR 2016), as papers on pruning and STABLE-RPS train them.

Stages of blocks at full, half, quarter … resolution: three for CIFAR, four in the ResNet-18 of Tiny ImageNet.
Where a stage begins, the shortcut is a convolution of one pixel with batch norm ("projection", the protocol
of STABLE-RPS), or every second pixel with zeros for the new channels ("identity", option A of He et al.).
"""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack, final

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from rpstheory.errors import ArgumentError

Shortcut = Literal["projection", "identity"]
Norms = Literal["uniform", "ones"]
Widths = tuple[int, ...]


class Options(TypedDict, total=False):
    """What a network of a given depth can be asked for; see :class:`ResNet`."""

    widths: Widths
    shortcut: Shortcut
    norms: Norms
    channels: int


@final
class Subsample(tnn.Module):
    """Every ``stride``-th pixel, and ``more`` channels of zeros after the others."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) → (b, c + more, ceil(h / stride), ceil(w / stride))."""
        return tnnf.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


@final
class Block(tnn.Module):
    """Two convolutions of 3 x 3 pixels and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = tnn.BatchNorm2d(after)
        self.conv2 = tnn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = tnn.BatchNorm2d(after)
        self.shortcut: tnn.Module
        if stride == 1 and before == after:
            self.shortcut = tnn.Identity()
        elif shortcut == "identity":
            self.shortcut = Subsample(after - before, stride)
        else:
            project = tnn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = tnn.Sequential(project, tnn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, before, h, w) → (b, after, ceil(h / stride), ceil(w / stride))."""
        y = tnnf.relu(self.bn1(self.conv1(x)))
        return tnnf.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


@final
class ResNet(tnn.Module):
    """2sk + 2 layers: a convolution, s stages of k blocks, the mean over all pixels, a linear layer.

    Weights are Kaiming normal; those of batch norm uniform on [0, 1], as in the protocol of STABLE-RPS, or 1.

    Args:
        depth: 2sk + 2.
        num_classes: Of the output.
        widths: Channels of the s stages; (8, 16, 32) is a "smaller model".
        shortcut: "projection" or "identity".
        norms: Weights of batch norm at the start, "uniform" or "ones".
        channels: Of the images.

    Raises:
        ArgumentError: If an argument is out of range.

    Source: He, Zhang, Ren & Sun, CVPR 2016, section 4.2; Desai & Shrivastava, ICLR 2024.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        *,
        widths: Widths = (16, 32, 64),
        shortcut: Shortcut = "projection",
        norms: Norms = "uniform",
        channels: int = 3,
    ) -> None:
        super().__init__()
        _check(depth, num_classes, widths, shortcut, norms, channels)
        self.widths = widths
        before, *_ = widths
        self.conv = tnn.Conv2d(channels, before, 3, padding=1, bias=False)
        self.bn = tnn.BatchNorm2d(before)
        blocks: list[tnn.Module] = []
        for stage, after in enumerate(widths):
            for place in range((depth - 2) // (2 * len(widths))):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(Block(before, after, stride, shortcut))
                before = after
        self.blocks = tnn.Sequential(*blocks)
        self.fc = tnn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, tnn.Conv2d | tnn.Linear):
                tnn.init.kaiming_normal_(module.weight)
            elif isinstance(module, tnn.BatchNorm2d) and norms == "uniform":
                tnn.init.uniform_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (b, channels, h, w) → logits (b, num_classes)."""
        x = tnnf.relu(self.bn(self.conv(x)))
        return self.fc(self.blocks(x).mean(dim=(2, 3)))


def resnet8(num_classes: int = 10, **options: Unpack[Options]) -> ResNet:
    """ResNet-8, the smallest of the family; see :class:`ResNet`."""
    return ResNet(8, num_classes, **options)


def resnet20(num_classes: int = 10, **options: Unpack[Options]) -> ResNet:
    """ResNet-20: 272,474 parameters, 270,896 of them compressible; see :class:`ResNet`."""
    return ResNet(20, num_classes, **options)


def resnet32(num_classes: int = 10, **options: Unpack[Options]) -> ResNet:
    """ResNet-32; see :class:`ResNet`."""
    return ResNet(32, num_classes, **options)


def resnet44(num_classes: int = 10, **options: Unpack[Options]) -> ResNet:
    """ResNet-44; see :class:`ResNet`."""
    return ResNet(44, num_classes, **options)


def resnet56(num_classes: int = 10, **options: Unpack[Options]) -> ResNet:
    """ResNet-56; see :class:`ResNet`."""
    return ResNet(56, num_classes, **options)


def resnet18(num_classes: int = 200, **options: Unpack[Options]) -> ResNet:
    """ResNet-18 for 64 x 64 pixels: 11,271,432 parameters, 11,261,632 of them compressible.

    As in the code of SynFlow, the first convolution is of 3 x 3 pixels at stride 1 and no pooling follows, in
    the place of the 7 x 7 at stride 2 and the pooling for ImageNet: so the last stage has 8 x 8 pixels of 64,
    as it has 7 x 7 of 224 there. Batch norm starts at 1. See :class:`ResNet`.

    Source: Tanaka et al., NeurIPS 2020.
    """
    whole: Options = {"widths": (64, 128, 256, 512), "norms": "ones"}
    return ResNet(18, num_classes, **(whole | options))


def _check(
    depth: int, num_classes: int, widths: Widths, shortcut: Shortcut, norms: Norms, channels: int
) -> None:
    if min(num_classes, channels, *widths) < 1 or len(widths) not in (3, 4):
        raise ArgumentError(
            f"ResNet: num_classes={num_classes}, widths={widths}, channels={channels} came; positive "
            "numbers are needed, three or four widths of them"
        )
    per_block = 2 * len(widths)
    if depth < per_block + 2 or (depth - 2) % per_block:
        raise ArgumentError(
            f"ResNet: depth={depth} came for {len(widths)} stages; {per_block}k + 2 is needed: "
            f"{', '.join(str(per_block * k + 2) for k in (1, 2, 3))} …"
        )
    if shortcut not in ("projection", "identity"):
        raise ArgumentError(f"ResNet: shortcut={shortcut!r} came; pass 'projection' or 'identity'")
    if norms not in ("uniform", "ones"):
        raise ArgumentError(f"ResNet: norms={norms!r} came; pass 'uniform' or 'ones'")
    if shortcut == "identity" and list(widths) != sorted(widths):
        raise ArgumentError(
            f"ResNet: widths={widths} came; an identity shortcut can add channels, not drop them; "
            "let widths grow, or pass shortcut='projection'"
        )
