"""`nn.advise`: what a network loses to each method at a budget, predicted, drawn once, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from textwrap import wrap
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as tnn
from torch.nn.utils import parametrize

from nn.advice.choices import Choice, Subject, choices, subject
from nn.advice.noise import total
from nn.budget import Budget, budget
from nn.methods import SHARING, Builder
from nn.patterns import one_of
from nn.pruning import METHODS as PRUNING
from nn.pruning import masks_of
from nn.pruning.scores import Batch
from rpstheory.errors import ArgumentError, DataError, KindError
from rpstheory.report import from_json

if TYPE_CHECKING:
    from rpstheory.report import Report

METHODS = (*SHARING, *PRUNING, "smaller")
REPEATS = 3
WIDTH = 80
CLAIMS = {  # names of claims of practice, the parts that check them, and what they say
    "pre-activation": ("preactivations", "the closed forms, measured over draws"),
    "ranking": ("ranking", "less noise goes with higher accuracy after training"),
}
UNTRAINED = (
    "Noise is what is lost before anything is trained again; that less of it trains better has not been "
    "shown (docs/practice.md), and rps practice RUN… --part ranking looks at runs of your own"
)


@dataclass(frozen=True, eq=False)
class Option:
    """One way to the budget.

    Attributes:
        choice: How, and the model.
        budget: What it stores.
        latency: Seconds for a batch, median of a few.
    """

    choice: Choice
    budget: Budget
    latency: float

    @property
    def noise(self) -> float:
        """Predicted, of the network."""
        return total(self.choice.noise)

    @property
    def worst(self) -> str:
        """The weight that loses most."""
        return max(self.choice.noise, key=self.choice.noise.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """All but the model; an infinite noise is null."""
        own = self.choice
        return {
            "name": own.name,
            "method": own.method,
            "noise": _finite(self.noise),
            "layers": {name: _finite(value) for name, value in own.noise.items()},
            "drawn": {name: _finite(value) for name, value in own.drawn.items()},
            "cells": own.cells,
            "order": list(own.order),
            "scales": own.scales,
            "gain": own.gain,
            "budget": asdict(self.budget),
            "latency": self.latency,
        }


@dataclass(frozen=True, eq=False)
class Advice:
    """Every way to a budget, the one with the least noise first.

    Attributes:
        subject: What is to come down to it.
        options: The ways.
        dense: Seconds that the network as it is takes for a batch.
        images: Of that batch.
        seconds: That the advice took.
        validation: How far such predictions have been checked, in sentences.
    """

    subject: Subject
    options: tuple[Option, ...]
    dense: float
    images: int
    seconds: float
    validation: tuple[str, ...]

    def __str__(self) -> str:
        """The tables that ``rps advise`` prints."""
        return text(self)

    @property
    def best(self) -> Option:
        """The way with the least noise."""
        return self.options[0]

    def model(self, name: str) -> tnn.Module:
        """The network by one of the ways, with the weights that are left of its own.

        Args:
            name: Of the way, as in the table.

        Raises:
            ArgumentError: If there is none of this name.
        """
        known = {option.choice.name: option.choice.model for option in self.options}
        return known[one_of("advise", "name", name, known)]

    @property
    def unseen(self) -> list[str]:
        """Compressible weights whose inputs are not known, so that nothing is predicted for them."""
        return [each.name for each in self.subject.tensors if not each.seen]

    def to_json(self) -> str:
        """As JSON."""
        record = {
            "compression": self.subject.compression,
            "weights": self.subject.whole.weights,
            "cells": self.subject.whole.cells,
            "unseen": self.unseen,
            "options": [option.to_json() for option in self.options],
            "dense_latency": self.dense,
            "images": self.images,
            "seconds": self.seconds,
            "validation": list(self.validation),
        }
        return json.dumps(record, indent=1)


def advise(
    model: tnn.Module,
    batches: Sequence[Batch],
    compression: float | None = None,
    *,
    budget_params: int | None = None,
    build: Builder | None = None,
    methods: Sequence[str] = (),
    seed: int = 0,
    verdicts: Path | str | None = None,
) -> Advice:
    """What a network loses to each method at a budget, the least first.

    For every method, also with the budget divided among layers as is best and with the best order of the
    weights in one bank: the noise of each layer (:mod:`nn.advice.noise`) by the closed forms on real
    weights and inputs, that of one draw, the bytes that are stored, and the time of a batch.

    Args:
        model: Plain, trained or not; it is left as it is, and runs in the mode it is in.
        batches: (images, labels); a patch of each image, and for scores of pruning all of it.
        compression: Compressible weights over those stored.
        budget_params: In its place: parameters of the whole model.
        build: The architecture by its widths, for "smaller".
        methods: Of :data:`METHODS`; all when empty, "smaller" only with ``build``, and "synflow", which
            scores an input of ones, not for tokens.
        seed: Of mappings and masks.
        verdicts: A report that ``rps practice --json`` wrote, to say how far predictions were checked.

    Raises:
        ArgumentError: If the budget is out of range, a method unknown, or no layer can be judged.
        DataError: If weights are constant, images are not finite numbers or not what the model takes, or the
            report cannot be read.
        KindError: If the batches are no list of pairs of tensors.
    """
    began = perf_counter()
    _require_batches(batches)
    images = batches[0][0]
    known = [method for method in METHODS if method != "synflow" or images.is_floating_point()]
    wanted = [one_of("advise", "method", method, METHODS) for method in methods or known]
    checked = validation(None if verdicts is None else Path(verdicts))
    what = subject(model, batches, compression, budget_params=budget_params, build=build, seed=seed)
    options = [_option(what, choice, images) for choice in choices(what, wanted)]
    if not options:
        raise ArgumentError(f"advise: {', '.join(wanted)} came without build=; pass the architecture")
    options.sort(key=lambda option: option.noise)
    return Advice(what, tuple(options), latency(model, images), len(images), perf_counter() - began, checked)


def _require_batches(batches: object) -> None:
    """Do nothing if there are batches of numbers.

    Raises:
        ArgumentError: If there are none.
        DataError: If images hold what is no finite number, or are not all of one shape.
        KindError: If they are no list of pairs of tensors.
    """
    wanted = "a list of pairs of tensors, [(images, labels), …]"
    if not isinstance(batches, Sequence):
        raise KindError(f"advise: batches={type(batches).__name__} came; pass {wanted}")
    if not batches:
        raise ArgumentError("advise: no batches came; pass a few, [(images, labels), …]")
    for place, batch in enumerate(batches):
        pair = batch if isinstance(batch, Sequence) and len(batch) == 2 else ()
        if not pair or not all(isinstance(each, torch.Tensor) for each in pair):
            raise KindError(f"advise: batch {place} is no pair of tensors; pass {wanted}")
        if not pair[0].isfinite().all():
            raise DataError(
                f"advise: images of batch {place} hold NaN or infinity, of which no noise can be told; leave "
                "those images out"
            )
    if len(shapes := {tuple(images.shape[1:]) for images, _ in batches}) > 1:
        raise DataError(
            f"advise: images of shapes {' and '.join(map(str, sorted(shapes)))} came, and they are run "
            "together; pass images of one shape"
        )


def _option(what: Subject, choice: Choice, images: torch.Tensor) -> Option:
    cost = budget(choice.model, what.model, tuple(images.shape[1:]), dtype=images.dtype)
    return Option(choice, cost, latency(choice.model, images))


@torch.no_grad()
def latency(model: tnn.Module, images: torch.Tensor) -> float:
    """Seconds that a batch takes in eval mode, the median of a few; masks are made zeros before.

    Args:
        model: Left as it is.
        images: A batch.
    """
    training = {module: module.training for module in model.modules()}
    with parametrize.cached():  # a mask is applied once
        model.eval()
        model(images)
        times = []
        for _ in range(REPEATS):
            begin = perf_counter()
            model(images)
            times.append(perf_counter() - begin)
    for module, mode in training.items():
        module.training = mode
    return median(times)


def validation(path: Path | None) -> tuple[str, ...]:
    """How far predictions like these were checked, by a report of ``rps practice``.

    Args:
        path: Of the report; None if there is none.

    Raises:
        DataError: If it cannot be read.
    """
    if path is None:
        return (f"not checked on this network: no report of rps practice came (--verdicts). {UNTRAINED}",)
    report = _read(path)
    found = []
    for name, (part, words) in CLAIMS.items():
        status = [v.status for v in report.verdicts if v.claim.partition("/")[0] == name]
        if status:
            counts = ", ".join(f"{status.count(each)} {each}" for each in dict.fromkeys(status))
            found.append(f"{words}: {counts}, on {report.settings.data}")
        else:
            found.append(f"{words}: not in the report; rps practice RUN… --part {part} checks it")
    return tuple(found)


def _read(path: Path) -> Report:
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(
            f"advise: {path} cannot be read ({reason}); pass what rps practice --json wrote"
        ) from None


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


# ------------------------------------------------------------------------------------------- words


def text(advice: Advice) -> str:
    """Tables of the ways, and of the best one layer by layer, and how far to trust them."""
    what = advice.subject
    lines = [
        *_wrapped(
            f"{what.whole.weights:,} compressible weights at {what.compression:.4g}x: {what.whole.cells:,} "
            f"are stored; {sum(each.seen for each in what.tensors)} layers judged on "
            f"{sum(len(images) for images, _ in what.batches)} images in {advice.seconds:.0f} s"
        ),
        "",
        *_aligned(_rows(advice)),
        "",
        *_wrapped(
            "noise: mean squared error of the pre-activations over what is kept of them, at the best scale "
            "of each layer, added over layers; predicted, and of one draw"
        ),
        *_about(advice),
    ]
    return "\n".join(lines)


def _rows(advice: Advice) -> list[tuple[str, ...]]:
    """The table, its head first."""
    rows = [("method", "noise", "drawn", "most in", "bytes", f"ms/{advice.images}")]
    rows += [
        (
            option.choice.name,
            _number(option.noise),
            _number(total(option.choice.drawn)) if option.choice.drawn else "",
            option.worst.removesuffix(".weight"),
            f"{option.budget.bytes:,}",
            f"{option.latency * 1e3:.1f}",
        )
        for option in advice.options
    ]
    dense = advice.options[0].budget
    return [*rows, ("(dense)", "0", "0", "", f"{dense.dense_bytes:,}", f"{advice.dense * 1e3:.1f}")]


def _about(advice: Advice) -> list[str]:
    """The least noise, layer by layer where it is divided, and what was not looked at."""
    best, found = advice.best.choice, [""]
    found.append(f"Least noise: {best.name}.")
    sharing = next((o.choice for o in advice.options if o.choice.method in SHARING), None)
    if sharing is not None and sharing is not best:
        found.append(f"Least among those that share: {sharing.name}.")
    found += [
        f"{o.choice.name}: the order of the weights takes {o.choice.gain:.2%} off."
        for o in advice.options
        if o.choice.order
    ]
    found.append("nn.advise(…).model(NAME) is the network brought down so, to train on.")
    rows = [("weight", "noise", "drawn", "stored", "of")]
    sizes = advice.subject.sizes
    cells = best.cells or {name: int(mask.sum()) for name, mask in masks_of(best.model).items()}
    for name, noise in ((name, best.noise[name]) for name in sizes if name in best.noise):
        drawn = _number(best.drawn[name]) if best.drawn else ""
        stored = f"{cells[name]:,}" if cells else ""
        rows.append((name.removesuffix(".weight"), _number(noise), drawn, stored, f"{sizes[name]:,}"))
    found += ["", *_aligned(rows), ""]
    if advice.unseen:
        found += _wrapped(f"Not judged, inputs unknown or zero: {', '.join(advice.unseen)}.")
    return found + [line for each in advice.validation for line in _wrapped(f"How far checked: {each}.")]


def _wrapped(words: str) -> list[str]:
    """Lines for a terminal of 80 columns."""
    return wrap(words, WIDTH, break_long_words=False)


def _number(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "all lost"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns two spaces apart, the words of the first and numbers to the right."""
    width = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            each.rjust(size) if place else each.ljust(size)
            for place, (each, size) in enumerate(zip(row, width, strict=True))
        ).rstrip()
        for row in rows
    ]
