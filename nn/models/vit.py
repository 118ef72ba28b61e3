"""A small vision transformer (Dosovitskiy et al., ICLR 2021), the network without convolutions.

Square patches of an image become tokens; blocks of attention and of a perceptron read them through layer norm
and add to them; the mean over all tokens is classified. No class token and no dropout.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from rpstheory.errors import ArgumentError, ShapeError

Widths = tuple[int, ...]
GRID = 8  # patches along a side for which positions are learnt: 32 pixels at 4 a patch


@final
class Block(tnn.Module):
    """Attention among the tokens and a perceptron on each, both after layer norm and added."""

    def __init__(self, dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm1 = tnn.LayerNorm(dim)
        self.attention = tnn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = tnn.LayerNorm(dim)
        self.perceptron = tnn.Sequential(tnn.Linear(dim, hidden), tnn.GELU(), tnn.Linear(hidden, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, tokens, dim) → (b, tokens, dim)."""
        y = self.norm1(x)
        # weights are asked for because attention that is fused has no second derivative, which GraSP takes
        x = x + self.attention(y, y, y, average_attn_weights=False)[0]
        return x + self.perceptron(self.norm2(x))


@final
class ViT(tnn.Module):
    """Patches, learnt positions, blocks, the mean over all tokens, a linear layer.

    Positions are learnt on a grid of 8 x 8 patches and interpolated where an image has others, so that one
    model reads images of 32 and of 64 pixels. Weights are Xavier uniform, biases 0, positions N(0, 0.02^2).

    Args:
        num_classes: Of the output.
        patch: Side of a patch in pixels; divides that of the images.
        depth: Blocks.
        heads: Of attention.
        widths: Channels of a head, and hidden units of a perceptron; a token has heads x widths[0] numbers.
        channels: Of the images.

    Raises:
        ArgumentError: If an argument is out of range.

    Source: Dosovitskiy et al., ICLR 2021.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        patch: int = 4,
        depth: int = 6,
        heads: int = 4,
        widths: Widths = (32, 256),
        channels: int = 3,
    ) -> None:
        super().__init__()
        if min(num_classes, patch, depth, heads, channels, *widths) < 1 or len(widths) != 2:
            raise ArgumentError(
                f"ViT: num_classes={num_classes}, patch={patch}, depth={depth}, heads={heads}, "
                f"widths={widths}, channels={channels} came; positive numbers are needed, two widths of them"
            )
        self.widths = widths
        dim, hidden = heads * widths[0], widths[1]
        self.patches = tnn.Conv2d(channels, dim, patch, patch)
        self.positions = tnn.Parameter(torch.empty(1, dim, GRID, GRID))
        self.blocks = tnn.Sequential(*(Block(dim, hidden, heads) for _ in range(depth)))
        self.norm = tnn.LayerNorm(dim)
        self.fc = tnn.Linear(dim, num_classes)
        tnn.init.normal_(self.positions, std=0.02)
        for module in self.modules():  # in_proj_weight is Xavier uniform already
            if isinstance(module, tnn.Conv2d | tnn.Linear) and module.bias is not None:
                tnn.init.xavier_uniform_(module.weight.flatten(1))
                tnn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (b, channels, h, w) → logits (b, num_classes).

        Raises:
            ShapeError: If the images cannot be cut into patches.
        """
        (patch, _), (height, width) = self.patches.kernel_size, x.shape[-2:]
        if height % patch or width % patch:
            raise ShapeError(
                f"ViT: images of {height} x {width} pixels came; sides that {patch} divides are needed"
            )
        x = self.patches(x)
        positions: torch.Tensor = self.positions
        if x.shape[2:] != positions.shape[2:]:
            positions = tnnf.interpolate(positions, x.shape[2:], mode="bilinear")
        tokens = (x + positions).flatten(2).transpose(1, 2)
        return self.fc(self.norm(self.blocks(tokens)).mean(dim=1))
