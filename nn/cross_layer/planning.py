"""What compressing a transformer would do, before any number is read; also on the meta device."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import floor
from numbers import Rational
from typing import Any, NamedTuple

import torch
import torch.nn as tnn

from nn.cross_layer.adapters import Projection, projections_of, unknown_in
from nn.cross_layer.method import Method, Task, Unit, as_groups, method_of
from nn.cross_layer.streams import Batch, as_batches
from nn.planning import Fixed, survey
from rpstheory.errors import ArgumentError, KindError
from rpstheory.mappings.base import check_count, check_seed

TOKENS = 256 * 2048  # on which Basis Sharing was calibrated: what a plan without data reckons with
PROBE = 384  # side of the matrices by which the speed of this machine is measured


@dataclass(frozen=True)
class LayersPlan:
    """What becomes of the projections of a transformer, and what stays.

    Attributes:
        method: By name.
        units: What is made from the same factors.
        projections: All that are compressed.
        allowance: Bytes that they may take.
        fixed: Parameters that stay.
        unknown: Matrices in the same blocks that stay because their names are not known.
        buffer_bytes: Of the model's buffers.
        tokens: Of the calibration data, or, where none came, as many as are usual; 0 where none is needed.
        seconds: What it takes on this machine, roughly.
    """

    method: str
    units: tuple[Unit, ...]
    projections: tuple[Projection, ...]
    allowance: int
    fixed: tuple[Fixed, ...]
    unknown: tuple[str, ...]
    buffer_bytes: int
    tokens: int
    seconds: float

    @property
    def dense_bytes(self) -> int:
        """Of the projections now."""
        return sum(each.bytes for each in self.projections)

    @property
    def bytes(self) -> int:
        """Of the projections then."""
        return sum(unit.bytes for unit in self.units)

    @property
    def compression(self) -> float:
        """Bytes of the projections now over those then."""
        return self.dense_bytes / self.bytes

    @property
    def total_compression(self) -> float:
        """The same of the whole model."""
        rest = sum(each.bytes for each in self.fixed) + self.buffer_bytes
        return (self.dense_bytes + rest) / (self.bytes + rest)

    def __str__(self) -> str:
        """A line for each unit, and one for the whole."""
        wide = max(len(unit.label) for unit in self.units)
        lines = [
            f"{unit.label.ljust(wide)}  {'' if unit.rank is None else f'rank {unit.rank:>5,}':<10}  "
            f"{unit.bytes:>15,} bytes" + (f", {unit.index:,} of index" if unit.index else "")
            for unit in self.units
        ]
        lines += self.unknown_in_words()
        return "\n".join(
            (
                *lines,
                f"{self.method}: {len(self.projections)} projections, {self.dense_bytes:,} bytes become "
                f"{self.bytes:,} ({self.compression:.4g}x; the whole model {self.total_compression:.4g}x); "
                f"about {_spoken(self.seconds)} here" + f" for {self.tokens:,} tokens" * (self.tokens > 0),
            )
        )

    def unknown_in_words(self) -> tuple[str, ...]:
        """A line if there are matrices whose names are not known."""
        told = f"not known by name, left as they are: {', '.join(self.unknown)}; see naming"
        return (told,) if self.unknown else ()

    def to_json(self) -> str:
        """The plan as JSON, with what follows from it."""
        record = asdict(self)
        for name in ("dense_bytes", "bytes", "compression", "total_compression"):
            record[name] = getattr(self, name)
        return json.dumps(record, indent=1)


class Setting(NamedTuple):
    """A plan, and what it was made from."""

    plan: LayersPlan
    method: Method
    task: Task
    batches: tuple[Batch, ...]


def plan_layers(
    model: tnn.Module,
    method: str = "basis",
    *,
    compression: float | None = None,
    budget_params: int | None = None,
    budget_bytes: int | None = None,
    calibration: Iterable[Any] | None = None,
    groups: str | Iterable[Iterable[int]] | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    naming: Mapping[str, str | Iterable[str]] | None = None,
    seed: int = 0,
    **options: Any,
) -> LayersPlan:
    """What :func:`nn.share_layers` would do with these arguments; the model is only looked at.

    Raises:
        ArgumentError: If an argument is out of range, no rank reaches the budget, or the model holds no
            projection that is known.
        KindError: If an argument is of the wrong kind.
        ShapeError: If layers that were named as a group are not alike.
    """
    return setting_of(
        model, method, compression, budget_params, budget_bytes, calibration, groups, include, exclude,
        naming, seed, options,
    ).plan  # fmt: skip


def setting_of(
    model: tnn.Module,
    method: str,
    compression: float | None,
    budget_params: int | None,
    budget_bytes: int | None,
    calibration: Iterable[Any] | None,
    groups: str | Iterable[Iterable[int]] | None,
    include: str | Iterable[str],
    exclude: str | Iterable[str],
    naming: Mapping[str, str | Iterable[str]] | None,
    seed: int,
    options: Mapping[str, Any],
) -> Setting:
    """The plan and all that it was made from; see :func:`plan_layers`."""
    chosen = method_of(method, options)
    projections = projections_of(model, naming=naming, include=include, exclude=exclude)
    fixed = _fixed(model, projections)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    spent = _Spent(sum(f.count for f in fixed), sum(f.bytes for f in fixed) + buffers)
    allowance = _allowance(projections, spent, compression, budget_params, budget_bytes)
    batches = () if calibration is None else as_batches(calibration)
    layers = tuple(sorted({p.layer for p in projections}))
    divided, strict = as_groups(chosen.groups if groups is None else groups, layers)
    task = Task(projections, divided, strict, allowance, check_seed("share_layers", seed))
    units = chosen.plan(task)
    given = sum(_tokens(batch, projections[0].rows) for batch in batches)
    tokens = (given or TOKENS) if chosen.calibrated else 0
    own = 4 * tokens * sum(p.count for p in projections)  # two passes of a multiply and an add
    seconds = (own + chosen.operations(task, units, tokens)) / _speed()
    unknown = unknown_in(model, projections) if naming is None else ()
    plan = LayersPlan(method, units, projections, allowance, fixed, unknown, buffers, tokens, seconds)
    return Setting(plan, chosen, task, batches)


class _Spent(NamedTuple):
    """What stays as it is takes so much."""

    params: int
    bytes: int


def _fixed(model: tnn.Module, projections: Iterable[Projection]) -> tuple[Fixed, ...]:
    chosen = {projection.name for projection in projections}
    return tuple(
        Fixed(found.names[0], found.parameter.numel(), found.parameter.nbytes, found.why or "no projection")
        for found in survey(model)
        if not chosen.intersection(found.names)
    )


def _allowance(
    projections: tuple[Projection, ...],
    spent: _Spent,
    compression: float | None,
    params: int | None,
    size: int | None,
) -> int:
    """Bytes that the projections may take.

    Raises:
        ArgumentError: If not exactly one budget came, or it is out of range.
        KindError: If it is no number.
    """
    given = {"compression": compression, "budget_params": params, "budget_bytes": size}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ArgumentError(
            f"share_layers: {' and '.join(named) or 'no budget'} came; "
            "pass exactly one of compression, budget_params and budget_bytes"
        )
    dense, name = sum(p.bytes for p in projections), named[0]
    if compression is not None:
        given_one: object = compression
        if isinstance(given_one, bool) or not isinstance(given_one, Rational | float):
            raise KindError(f"share_layers: compression={compression!r} came; a number is needed")
        if not 1 <= compression < float("inf"):
            raise ArgumentError(
                f"share_layers: compression={compression} came; it is bytes of the projections over those "
                "kept, at least 1; pass 2 to keep half"
            )
        return floor(dense / Fraction(compression))
    budget = check_count("share_layers", name, given[name], low=0)
    unit = 1 if size is not None else min(p.itemsize for p in projections)
    rest = spent.bytes if size is not None else spent.params
    left = (budget - rest) * unit
    if left < 1:
        raise ArgumentError(
            f"share_layers: {name}={budget} came; what is no projection takes {rest} already; pass more, or "
            "exclude less"
        )
    if left > dense:
        raise ArgumentError(
            f"share_layers: {name}={budget} came; the model needs only {rest + dense // unit}; pass at most "
            "that"
        )
    return left


def _tokens(batch: Batch, width: int) -> int:
    """Roughly: of images, as many as hold their pixels in vectors of this width."""
    first = batch.tensors[0]
    return first.numel() if not first.is_floating_point() else max(1, first.numel() // width)


def _speed() -> float:
    """Floating-point operations in a second, in double precision, of a small product of matrices."""
    a = torch.ones(PROBE, PROBE, dtype=torch.float64)
    a @ a
    begin = time.perf_counter()
    for _ in range(3):
        a @ a
    return 3 * 2 * PROBE**3 / max(time.perf_counter() - begin, 1e-9)


def _spoken(seconds: float) -> str:
    """A length of time in its natural unit."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds):.0f} seconds"
