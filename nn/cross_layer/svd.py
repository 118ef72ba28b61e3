"""Each projection by itself, cut to a rank: plain, or in the norm of its activations (SVD-LLM).

Source: Wang et al., SVD-LLM, ICLR 2025, arXiv 2403.07378, the truncation-aware whitening; no fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from nn.cross_layer.method import Method, Task, Unit
from nn.cross_layer.whitening import (
    Share,
    cost_of_gram,
    cost_of_svd,
    label_of,
    rank_of,
    unfinished,
    units_of,
    whitener,
)
from nn.cross_layer.work import Tensors, Work
from nn.factors import Matrix
from rpstheory.errors import KindError


@final
@dataclass(frozen=True)
class Svd(Method):
    """Truncated singular value decomposition of each layer; groups have no effect.

    Attributes:
        whiten: Measure the error on the activations; False: on the weights, without calibration.
    """

    name: ClassVar[str] = "svd"
    whiten: bool = True

    def __post_init__(self) -> None:
        """Check the option.

        Raises:
            KindError: If it is of the wrong kind.
        """
        if not isinstance(self.whiten, bool):
            raise KindError(f"share_layers: whiten={self.whiten!r} came; True or False is needed")

    @property
    def calibrated(self) -> bool:
        """Only whitening looks at activations."""
        return self.whiten

    def plan(self, task: Task) -> tuple[Unit, ...]:
        """The same part of every projection."""
        return units_of(_alone(task), task)

    def fit(self, work: Work) -> None:
        """Decompose layer after layer, and install all at the end."""
        found: dict[str, Tensors] = {}
        shares = _alone(work.task)
        for share, gram in unfinished(work, shares) if self.whiten else ((share, None) for share in shares):
            found[share[0].name] = _once(work, share, gram)
        work.install({n: (Matrix(each["left"]), Matrix(each["right"])) for n, each in found.items()})

    def operations(self, task: Task, units: tuple[Unit, ...], tokens: int) -> int:
        """The decompositions, and X'X if it is needed."""
        shares = _alone(task)
        whole = sum(cost_of_svd(p.rows, p.columns) for (p,) in shares)
        return whole + (cost_of_gram(shares, tokens) if self.whiten else 0)


def _once(work: Work, share: Share, gram: torch.Tensor | None) -> Tensors:
    """Both factors of a projection, in the kind of its weight."""

    def compute() -> Tensors:
        weight = work.weight(share[0].name)
        left, right = truncated(weight.double(), rank_of(share, work.task.kept), gram)
        return {"left": left.to(weight.dtype), "right": right.to(weight.dtype)}

    return work.once(label_of(share), compute)


def truncated(
    weight: torch.Tensor, rank: int, gram: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors (d1, k) and (k, d2) whose product is nearest to a weight; each takes the roots of sigma.

    Args:
        weight: (d1, d2) float64.
        rank: k.
        gram: X'X, (d1, d1): near in |X dW|_F; None: in |dW|_F.
    """
    root = None if gram is None else whitener(gram)
    u, s, vh = torch.linalg.svd(weight if root is None else root @ weight, full_matrices=False)
    half = s[:rank].sqrt()
    left, right = u[:, :rank] * half, half[:, None] * vh[:rank]
    return left if root is None else torch.linalg.solve_triangular(root, left, upper=True), right


def _alone(task: Task) -> list[Share]:
    return [(projection,) for projection in task.projections]
