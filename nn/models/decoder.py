"""A small decoder of text (Radford et al., 2019): a transformer whose tokens see none that comes after them.

Tokens become vectors, and learnt positions are added; blocks of causal attention and of a perceptron read
them through layer norm and add to them; what comes next is scored by the very vectors that tokens become.
These are tied since a token that is rare as an input is still learnt as an answer that is wrong, and so that
each of them has part in every output, as scores of pruning need. No dropout.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from rpstheory.errors import ArgumentError, ShapeError

Widths = tuple[int, ...]


@final
class Attention(tnn.Module):
    """Each token looks at those up to itself.

    Written out: attention that is fused has no second derivative, which GraSP takes.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = tnn.Linear(dim, dim)
        self.k_proj = tnn.Linear(dim, dim)
        self.v_proj = tnn.Linear(dim, dim)
        self.out_proj = tnn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, tokens, dim) → (b, tokens, dim)."""
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = q @ k.mT / q.shape[3] ** 0.5
        later = torch.ones(scores.shape[2:], dtype=torch.bool, device=x.device).triu(1)
        seen = scores.masked_fill(later, -torch.inf).softmax(3) @ v
        return self.out_proj(seen.transpose(1, 2).flatten(2))


@final
class Block(tnn.Module):
    """Causal attention and a perceptron on each token, both after layer norm and added."""

    def __init__(self, dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm1 = tnn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = tnn.LayerNorm(dim)
        self.perceptron = tnn.Sequential(tnn.Linear(dim, hidden), tnn.GELU(), tnn.Linear(hidden, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, tokens, dim) → (b, tokens, dim)."""
        x = x + self.attention(self.norm1(x))
        return x + self.perceptron(self.norm2(x))


@final
class Decoder(tnn.Module):
    """Vectors of tokens, learnt positions, blocks, and the vectors again: 842,496 parameters.

    Weights are Xavier uniform, biases 0, vectors and positions N(0, 0.02^2).

    Args:
        num_classes: Tokens that there are; 256 are bytes.
        depth: Blocks.
        heads: Of attention.
        widths: Channels of a head, and hidden units of a perceptron; a token has heads x widths[0] numbers.
        context: Tokens that it reads at most.

    Raises:
        ArgumentError: If an argument is out of range.

    Source: Radford, Wu, Child, Luan, Amodei & Sutskever, 2019 (GPT-2); Press & Wolf, EACL 2017, tie the two.
    """

    def __init__(
        self,
        num_classes: int = 256,
        *,
        depth: int = 4,
        heads: int = 4,
        widths: Widths = (32, 512),
        context: int = 128,
    ) -> None:
        super().__init__()
        if min(num_classes, depth, heads, context, *widths) < 1 or len(widths) != 2:
            raise ArgumentError(
                f"Decoder: num_classes={num_classes}, depth={depth}, heads={heads}, widths={widths}, "
                f"context={context} came; positive numbers are needed, two widths of them"
            )
        self.widths = widths
        dim, hidden = heads * widths[0], widths[1]
        self.embedding = tnn.Embedding(num_classes, dim)
        self.positions = tnn.Parameter(torch.empty(context, dim))
        self.blocks = tnn.Sequential(*(Block(dim, hidden, heads) for _ in range(depth)))
        self.norm = tnn.LayerNorm(dim)
        for vectors in (self.embedding.weight, self.positions):
            tnn.init.normal_(vectors, std=0.02)
        for module in self.modules():
            if isinstance(module, tnn.Linear):
                tnn.init.xavier_uniform_(module.weight)
                tnn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (b, t), whole numbers of any kind → logits (b, t, num_classes) of the tokens after each.

        Raises:
            ShapeError: If these are no tokens, or too many.
        """
        if x.ndim != 2 or x.shape[1] > len(self.positions):
            raise ShapeError(
                f"Decoder: an input of shape {tuple(x.shape)} came; tokens (b, t) are needed, t at most "
                f"{len(self.positions)}"
            )
        tokens = self.embedding(x.long()) + self.positions[: x.shape[1]]
        return tnnf.linear(self.norm(self.blocks(tokens)), self.embedding.weight)
