r"""Basis Sharing: layers of a group share a basis and keep coefficients of their own.

The weights of n layers stand side by side, W = [W1 … Wn], and their inputs one above another, so that X'X is
the sum of the layers'. With S'S = X'X and S W ≈ U Σ V' of rank k, the basis is B = S^-1 U Σ and the
coefficients are C = V'; as S W V = U Σ, this B is W V, and nothing is inverted. A layer computes x B C_l.

Source: Wang et al., Basis Sharing, ICLR 2025, arXiv 2410.03765, and its code. Two things are read from it and
not written there: that the losses of the rule are norms, not squares, which alone makes a pair comparable
with the sum of two; and that groups="auto" is this rule applied to all ways of cutting the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, final

import torch

from nn.cross_layer.adapters import ROLES
from nn.cross_layer.method import Method, Task, Unit
from nn.cross_layer.streams import Layer
from nn.cross_layer.whitening import (
    Share,
    cost_of_gram,
    cost_of_svd,
    gathered,
    label_of,
    rank_of,
    unfinished,
    units_of,
    weights_of,
    whitener,
)
from nn.cross_layer.work import Tensors, Work
from nn.factors import Factor, Matrix
from rpstheory.errors import ArgumentError, KindError

SHARED = ("q", "k", "v", "qkv", "gate", "up", "gate_up", "fc1")  # as published; o, down and fc2 are not
LARGEST = 5  # layers that share when groups are found: beyond, the published tables only get worse
REFIT = Fraction(3, 5)  # kept: coefficients are refitted from here on


@final
@dataclass(frozen=True)
class Basis(Method):
    """A basis for each group of layers and role.

    Attributes:
        share: Which roles share: "published" (all that read the hidden states), "loss" (a group shares if its
            loss is less than the sum of its layers' own), or roles by name.
        refit: Fit the coefficients again, to the inputs that the compressed model gives; None: if 40 % or
            more is removed.
    """

    name: ClassVar[str] = "basis"
    groups: ClassVar[str] = "adjacent:2"
    share: str | tuple[str, ...] = "published"
    refit: bool | None = None

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ArgumentError: If there is no such role.
            KindError: If an option is of the wrong kind.
        """
        if self.refit not in (None, True, False):
            raise KindError(f"share_layers: refit={self.refit!r} came; pass True, False or None")
        if self.share in ("published", "loss"):
            return
        if isinstance(self.share, str) or not isinstance(self.share, Iterable):
            raise ArgumentError(
                f"share_layers: share={self.share!r} came; pass 'published', 'loss' or roles, ('q', 'k')"
            )
        object.__setattr__(self, "share", tuple(self.share))
        strange = [role for role in self.share if role not in ROLES]
        if strange:
            raise ArgumentError(
                f"share_layers: share has the role {strange[0]!r}; one of {', '.join(ROLES)} is needed"
            )

    def plan(self, task: Task) -> tuple[Unit, ...]:
        """The same part of every share; where the losses decide, what each layer takes by itself."""
        return units_of(self._shares(task), task)

    def operations(self, task: Task, units: tuple[Unit, ...], tokens: int) -> int:
        """The decompositions and every X'X; both again for a refit."""
        shares = self._shares(task)
        whole = cost_of_gram(shares, tokens) * (2 if self._refits(task) else 1)
        return whole + sum(cost_of_svd(s[0].rows, s[0].columns * len(s)) for s in shares)

    def fit(self, work: Work) -> None:
        """Bases group after group, in one pass over the layers; then the coefficients in another."""
        shares = self._decided(work) if self._decides(work.task) else self._shares(work.task)
        found: dict[Share, Tensors] = {}
        for share, gram in unfinished(work, shares):
            found[share] = _once(work, share, gram)
        chains: dict[str, tuple[Matrix, Matrix]] = {}
        for share in shares:
            basis = Matrix(found[share]["basis"])
            parts = found[share]["coefficients"].split_with_sizes([p.columns for p in share], 1)
            chains |= {p.name: (basis, Matrix(part)) for p, part in zip(share, parts, strict=True)}
        stored = work.install(chains)
        if self._refits(work.task):
            _refit(work, {name: tuple(stored[each] for each in chain) for name, chain in chains.items()})

    def _shares(self, task: Task) -> list[Share]:
        """What shares a basis; each projection by itself where this is still open."""
        found: list[Share] = []
        for share in task.shares():
            together = self._may(share[0].role) and not self._decides(task)
            found += [share] if together else [(p,) for p in share]
        return found

    def _decides(self, task: Task) -> bool:
        return task.groups is None or self.share == "loss"

    def _may(self, role: str) -> bool:
        """Whether a role can share, whatever the losses say."""
        if self.share == "loss":
            return True
        return role in (SHARED if self.share == "published" else self.share)

    def _refits(self, task: Task) -> bool:
        return task.kept <= REFIT if self.refit is None else self.refit

    def _decided(self, work: Work) -> list[Share]:
        """The shares of least loss: of each group or none, or of all ways of cutting the layers."""
        task = work.task

        def compute() -> Tensors:
            shares = self._least(work)
            color = {p: number for number, share in enumerate(shares) for p in share}
            return {"color": torch.tensor([color[p] for p in task.projections])}

        found: dict[int, Share] = {}
        for p, color in zip(task.projections, work.once("which layers share", compute)["color"], strict=True):
            found[int(color)] = (*found.get(int(color), ()), p)
        return list(found.values())

    def _least(self, work: Work) -> list[Share]:
        task, found = work.task, list[Share]()
        runs = task if task.groups is not None else replace(task, groups=(task.layers,))
        single = [(p,) for p in task.projections if self._may(p.role)]
        alone = {share[0]: gram for share, gram in gathered(work, single)}

        def loss(share: Share) -> float:
            gram = torch.stack([alone[p] for p in share]).sum(0)
            return scaled_loss(weights_of(work, share), gram, rank_of(share, task.kept))

        for run in runs.shares():
            apart: list[Share] = [(p,) for p in run]
            if not self._may(run[0].role):
                found += apart
            elif task.groups is None:
                found += least(run, loss)
            else:
                found += [run] if loss(run) < sum(map(loss, apart)) else apart
        return found


def decomposed(weight: torch.Tensor, gram: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The basis W V (d1, k) and the coefficients V' (k, n d2) that come nearest in |X dW|_F.

    Args:
        weight: [W1 … Wn], (d1, n d2) float64.
        gram: X'X, (d1, d1).
        rank: k.
    """
    vh = torch.linalg.svd(whitener(gram) @ weight, full_matrices=False)[2][:rank]
    return weight @ vh.T, vh


def scaled_loss(weight: torch.Tensor, gram: torch.Tensor, rank: int) -> float:
    """|S dW|_F at a rank: the root of the squares of the singular values that are cut off."""
    return float(torch.linalg.svdvals(whitener(gram) @ weight)[rank:].norm())


def least(run: Share, loss: Callable[[Share], float]) -> list[Share]:
    """The way of cutting a run into groups of at most 5 with the least sum of losses.

    Exact: the best cut of the first k layers ends in some group, before which it is best again.
    """
    best: list[tuple[float, list[Share]]] = [(0.0, [])]
    for end in range(1, len(run) + 1):
        ways = []
        for begin in range(max(0, end - LARGEST), end):
            before, shares = best[begin]
            ways.append((before + loss(run[begin:end]), [*shares, run[begin:end]]))
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1]


def coefficients(basis: torch.Tensor, gram: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """C = (B'X'X B)^-1 B'X'X W, (k, d2) float64: the least squares of S B C = S W, the smallest of all."""
    root = whitener(gram)
    return torch.linalg.pinv(root @ basis) @ (root @ weight)


def _once(work: Work, share: Share, gram: torch.Tensor) -> Tensors:
    """Basis and coefficients of a share, in the kind of its weights."""

    def compute() -> Tensors:
        basis, parts = decomposed(weights_of(work, share), gram, rank_of(share, work.task.kept))
        kind = work.weight(share[0].name).dtype
        return {"basis": basis.to(kind), "coefficients": parts.to(kind)}

    return work.once(label_of(share), compute)


def _refit(work: Work, factors: Mapping[str, tuple[Factor, ...]]) -> None:
    """Layer after layer, the coefficients for the inputs that the layers before now give."""
    for layer in work.stream(live=True):
        names = [name for name in factors if name.startswith(f"{layer.block}.")]

        def compute(layer: Layer = layer, names: list[str] = names) -> Tensors:
            found = {}
            for name, gram in layer.grams(names).items():
                basis = factors[name][0].parameter.detach()
                found[name] = coefficients(basis.double(), gram, work.weight(name).double()).to(basis.dtype)
            return found

        for name, found in work.once(f"refit of {layer.block}", compute).items():
            with torch.no_grad():
                factors[name][1].parameter.copy_(found)
        layer.forget()
