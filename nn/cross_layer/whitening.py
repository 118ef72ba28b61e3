r"""Low rank in the norm of the activations: what per-layer SVD and Basis Sharing have in common.

With S'S = X'X, the error of the outputs is that of the weights in another norm, |X dW|_F = |S dW|_F, and the
best W of rank k is had from the singular vectors of S W (Eckart and Young).

Source: SVD-LLM, arXiv 2403.07378; Basis Sharing, arXiv 2410.03765, in the form of its code: the paper prints
S S' = X'X.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import ceil, floor

import torch

from nn.cross_layer.adapters import Projection, blocks_of
from nn.cross_layer.method import Task, Unit
from nn.cross_layer.work import Work
from rpstheory.errors import ArgumentError

REPAIR = 7e-6  # added beyond the smallest eigenvalue; as published

SOURCES = {"k": "q", "v": "q", "up": "gate"}  # roles that read the same input as another

Share = tuple[Projection, ...]


def whitener(gram: torch.Tensor) -> torch.Tensor:
    """The upper triangular S with S'S = gram, (d, d) float64.

    If ``gram`` is not positive definite, (7e-6 - its smallest eigenvalue) I is added, as published; and ten
    times as much, again and again, where its size is such that this is lost in rounding.

    Args:
        gram: (d, d) float64, symmetric.
    """
    factor, wrong = torch.linalg.cholesky_ex(gram, upper=True)
    step = REPAIR
    while bool(wrong):
        shift = step - torch.linalg.eigvalsh(gram)[0]
        factor, wrong = torch.linalg.cholesky_ex(gram + shift * torch.eye(len(gram)).to(gram), upper=True)
        step *= 10
    return factor


def rank_of(share: Share, kept: Fraction) -> int:
    """The rank at which a shared basis and the coefficients of every layer keep a part of the numbers.

    k = floor(d1 d2 n x / (d1 + d2 n)) for n matrices of d1 x d2 side by side, of which x is kept.
    """
    n, rows, columns = len(share), share[0].rows, share[0].columns
    return floor(rows * columns * n * kept / (rows + columns * n))


def units_of(shares: Sequence[Share], task: Task) -> tuple[Unit, ...]:
    """What shares cost.

    Raises:
        ArgumentError: If the rank of one would be 0.
    """
    worst = max(shares, key=_least)
    if rank_of(worst, task.kept) < 1:
        raise ArgumentError(
            f"share_layers: the budget keeps {float(task.kept):.3g} of the projections, with which "
            f"{label_of(worst)} ({worst[0].form}) reach no rank of 1; {keeping(_least(worst), task)}, or "
            "exclude them"
        )
    return tuple(map(_unit, shares, [task] * len(shares)))


def keeping(least: Fraction, task: Task) -> str:
    """What to ask for so that a part of the bytes is kept; the compression is rounded so that it is."""
    most = floor(Fraction(100 * task.dense_bytes, ceil(least * task.dense_bytes))) / 100
    return f"keep at least {float(least):.3g} of them (compression {most:g})"


def _least(share: Share) -> Fraction:
    """The part that must be kept for a rank of 1."""
    n, rows, columns = len(share), share[0].rows, share[0].columns
    return Fraction(rows + columns * n, rows * columns * n)


def _unit(share: Share, task: Task) -> Unit:
    first, rank = share[0], rank_of(share, task.kept)
    count = rank * (first.rows + first.columns * len(share))
    return Unit(label_of(share), tuple(p.name for p in share), rank, count * first.itemsize)


def label_of(share: Share) -> str:
    """In words."""
    return f"{share[0].role} of {layers_in_words([p.layer for p in share])}"


def layers_in_words(layers: Iterable[int]) -> str:
    """Their numbers; of more than four that follow one another the ends: layers 0, 2, 4-31."""
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if not runs or layer != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(layer)
    told = [f"{run[0]}-{run[-1]}" if len(run) > 4 else ", ".join(map(str, run)) for run in runs]
    return f"layer{'s' * (sum(map(len, runs)) > 1)} {', '.join(told)}"


def weights_of(work: Work, share: Share) -> torch.Tensor:
    """[W1 … Wn], (d1, n d2) float64."""
    return torch.cat([work.weight(p.name).double() for p in share], dim=1)


def unfinished(work: Work, shares: Sequence[Share]) -> Iterator[tuple[Share, torch.Tensor]]:
    """As :func:`gathered`; shares whose stage, of their label, is kept come first, with nothing summed."""
    kept = [share for share in shares if work.has(label_of(share))]
    yield from ((share, torch.empty(0)) for share in kept)
    yield from gathered(work, [share for share in shares if share not in kept])


def gathered(work: Work, shares: Iterable[Share]) -> Iterator[tuple[Share, torch.Tensor]]:
    """Each share with the sum of its layers' X'X, as soon as the last of its layers has been run.

    A weight that is tied has inputs wherever it is used.
    """
    blocks = blocks_of(work.task.projections)
    waiting = {s: {name for p in s for block in blocks for name in p.names_in(block)} for s in shares}
    sums: dict[Share, torch.Tensor] = {}
    for layer in work.stream() if waiting else ():
        mine = {name: share for share in waiting for p in share for name in p.names_in(layer.block)}
        grams = layer.grams(list(mine))
        for name, share in mine.items():
            sums[share] = sums[share] + grams[name] if share in sums else grams[name]
            waiting[share].discard(name)
        grams.clear()
        for share in [share for share, names in waiting.items() if not names]:
            del waiting[share]
            yield share, sums.pop(share)
        if not waiting:
            return


def cost_of_svd(rows: int, columns: int) -> int:
    """Operations of a thin singular value decomposition, roughly (Golub and Van Loan, table 8.6.1)."""
    small, large = sorted((rows, columns))
    return 14 * large * small**2 + 8 * small**3


def cost_of_gram(shares: Sequence[Share], tokens: int) -> int:
    """Operations of all X'X; projections of one block that read the same input need one."""
    inputs = {(p.block, SOURCES.get(p.role, p.role)): p.rows for share in shares for p in share}
    return sum(2 * tokens * rows**2 for rows in inputs.values())
