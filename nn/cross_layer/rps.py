"""Random sharing in the place of structured: the bank that comes nearest to the projections of a transformer.

One bank for all, by ``init="project"`` of :func:`nn.share`, so that it stands in one table with methods that
look for structure. Weighted by curvature, the error of a weight counts by the diagonal of the Hessian of the
calibration loss (:mod:`nn.cross_layer.curvature`), taken as a number for its row times one for its column,
which a few gradients determine well. Groups have no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from nn.bank import WORD
from nn.bridge import Mapping, factory_of, require_conforming
from nn.cross_layer.curvature import gradients
from nn.cross_layer.method import Method, Task, Unit
from nn.cross_layer.work import Tensors, Work
from nn.planning import level, survey
from nn.sharing import share
from rpstheory.errors import ArgumentError, KindError

PASSES = 4  # back through the model for each batch, roughly, in the estimate of time
FLOOR = 1e-3  # of the mean importance, added to all: what calibration did not see is not free


@final
@dataclass(frozen=True)
class Rps(Method):
    """The projected bank.

    Attributes:
        weighted: By curvature; False: all errors count alike, and no calibration is needed.
        mapping: As in :func:`nn.share`.
    """

    name: ClassVar[str] = "rps"
    weighted: bool = False
    mapping: Mapping = "fold"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            KindError: If one is of the wrong kind.
            ArgumentError: If there is no such mapping.
            LawBroken: If a mapping of your own breaks a law of :mod:`rpstheory.conformance`.
        """
        if not isinstance(self.weighted, bool):
            raise KindError(f"share_layers: weighted={self.weighted!r} came; pass True or False")
        factory_of(self.mapping)
        require_conforming(self.mapping)

    @property
    def calibrated(self) -> bool:
        """Only curvature needs data."""
        return self.weighted

    def plan(self, task: Task) -> tuple[Unit, ...]:
        """All in one bank: its cells, its seed, and a scale for each projection.

        Raises:
            ArgumentError: If not one cell is left.
            KindError: If the projections are not of one kind.
        """
        first, count = task.projections[0], sum(p.count for p in task.projections)
        for p in task.projections:
            if p.dtype != first.dtype:
                raise KindError(
                    f"share_layers: {first.name} is {first.dtype} and {p.name} {p.dtype}, and one bank has "
                    "one kind; cast the model, or exclude some"
                )
        index = WORD * (1 + len(task.projections))
        room = (task.allowance - index) // first.itemsize
        if room < 1:
            raise ArgumentError(
                f"share_layers: the budget leaves {task.allowance} bytes to the projections, and a bank "
                f"takes {index + first.itemsize} at least, its seed, scales and a cell; keep more"
            )
        cells = min(room, level(count, count / room))
        names = tuple(p.name for p in task.projections)
        return (Unit("one bank for all projections", names, None, cells * first.itemsize, index),)

    def operations(self, task: Task, units: tuple[Unit, ...], tokens: int) -> int:
        """A pass over all weights, and the gradients."""
        count = sum(p.count for p in task.projections)
        return 10 * count + (4 * PASSES * tokens * count if self.weighted else 0)

    def fit(self, work: Work) -> None:
        """Project; the whole is one stage, made again after a stop, but for the importance."""
        own = {p.name for p in work.task.projections}
        rest = [found for found in survey(work.model) if not own.intersection(found.names)]
        cells = work.units[0].values // work.task.projections[0].itemsize
        importance = _importance(work) if self.weighted else None
        work.tell(work.units[0].label)
        share(
            work.model,
            budget_params=cells + sum(found.parameter.numel() for found in rest),
            mapping=self.mapping,
            include=sorted(own),
            exclude=[found.names[0] for found in rest],
            init="project",
            importance=importance,
            seed=work.task.seed,
            inplace=True,
        )


def _importance(work: Work) -> Tensors:
    """The diagonal of the Hessian of each weight, in its own form, as a product of rows and columns."""

    def compute() -> Tensors:
        sums: Tensors = {}
        draw = work.generator("importance")
        for found in gradients(work.model, work.batches, work.dense, draw):
            for name, each in found.items():
                square = each.double().square()
                for side in (0, 1):
                    sums[f"{side} {name}"] = sums.get(f"{side} {name}", 0) + square.sum(1 - side)
        return sums

    sums, found = work.once("importance of every weight", compute), {}
    for name in work.dense:
        rows, columns = sums[f"0 {name}"], sums[f"1 {name}"]
        total = rows.sum()
        mean = total / (len(rows) * len(columns))
        found[name] = torch.outer(rows, columns) / torch.where(total > 0, total, 1) + FLOOR * mean
    return found
