"""Ways to bring a network down to a budget, each built with the weights that it has, and with its noise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import numpy as np
import torch
import torch.nn as tnn

from nn.advice.inputs import layers_of, matrix_of
from nn.advice.noise import (
    Judged,
    Noise,
    Placed,
    judged,
    of_draw,
    of_keeping,
    of_narrowing,
    of_sharing,
    of_weights,
)
from nn.advice.ordering import Laid, Order, best_order
from nn.advice.splitting import split
from nn.bridge import drawn as at
from nn.layers import views_of
from nn.methods import ALL, SHARING, Builder, narrowed, prepare
from nn.planning import Plan, Weight, level, plan, survey
from nn.pruning import masked, prune
from nn.pruning.scores import Batch
from nn.sharing import apply, banks_of
from rpstheory.errors import ArgumentError

LAYERED, ORDERED, WEIGHED = "stable-rps, divided", "stable-rps, ordered", "stable-rps, weighed"
DIVIDED = "random, divided"


@dataclass(frozen=True, eq=False)
class Choice:
    """One way.

    Attributes:
        name: Of it.
        method: That of ``rps train``, or the nearest.
        model: With the weights that are left of those it had, to start from or to measure; for "smaller" a
            fresh one.
        noise: By the closed forms, of every weight that is seen.
        drawn: Of the draw that was built, at the scale that is right on average; nothing for "smaller".
        cells: Of each weight by itself, where the budget is divided.
        order: In which weights are laid into the bank, where it is not the model's.
        scales: lambda over the root mean square of each weight, where it is not 1.
        gain: Share of the noise that this order takes off, at the same lambdas.
    """

    name: str
    method: str
    model: tnn.Module
    noise: Noise
    drawn: Noise
    cells: dict[str, int] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    scales: dict[str, float] = field(default_factory=dict)
    gain: float = 0.0


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that is to come down to a budget.

    Attributes:
        model: Plain; left as it is.
        batches: Images and labels.
        compression: Compressible weights over those stored.
        build: The architecture by its widths; None if there is no narrower one.
        seed: Of mappings and masks.
        whole: What may be compressed, all in one bank.
        tensors: The same, with what their layers met.
    """

    model: tnn.Module
    batches: Sequence[Batch]
    compression: float
    build: Builder | None
    seed: int
    whole: Plan
    tensors: tuple[Judged, ...]

    @property
    def dense(self) -> dict[str, torch.Tensor]:
        """The compressible weights by name."""
        found = {each.names[0]: each.parameter for each in survey(self.model)}
        return {weight.name: found[weight.name].detach() for weight in self.whole.groups[0].weights}

    @property
    def weights(self) -> dict[str, Weight]:
        """As a plan names them."""
        return {weight.name: weight for weight in self.whole.groups[0].weights}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of weights of each."""
        return {each.name: each.weight.size for each in self.tensors}


def subject(
    model: tnn.Module,
    batches: Sequence[Batch],
    compression: float | None,
    *,
    budget_params: int | None = None,
    build: Builder | None = None,
    seed: int = 0,
) -> Subject:
    """A network, run on the batches once.

    Raises:
        ArgumentError: If it has no layers that are seen, or the budget is out of range.
    """
    whole = plan(model, compression, budget_params=budget_params, mapping="hashed", seed=seed, **ALL)
    found = {each.names[0]: each.parameter.detach() for each in survey(model)}
    layers = layers_of(copy.deepcopy(model), torch.cat([images for images, _ in batches]))
    weights = [
        (weight.name, weight.shape, found[weight.name].double().numpy()) for weight in whole.groups[0].weights
    ]
    tensors = tuple(judged(weights, layers))
    if not any(each.seen for each in tensors):
        raise ArgumentError(
            "advise: no convolution and no linear layer of the model answers to these images; pass batches "
            "of its own data"
        )
    ratio = _within(whole.weights, whole.cells) if compression is None else compression
    return Subject(model, tuple(batches), ratio, build, seed, whole, tensors)


def _within(n: int, m: int) -> float:
    """The compression that gives m cells, or the most below."""
    return next(n / cells for cells in range(m, 0, -1) if level(n, n / cells) <= m)


# ----------------------------------------------------------------------------------------- choices


def choices(what: Subject, methods: Sequence[str]) -> Iterator[Choice]:
    """Every way of these methods."""
    makers: dict[str, Callable[[Subject], Iterator[Choice]]] = {"stable-rps": _stable, "smaller": _smaller}
    for method in methods:
        if method in makers:
            yield from makers[method](what)
        elif method in SHARING:
            yield _shared(what, method)
        elif method == "random":
            yield from _random(what)
        else:
            yield _informed(what, method)


def _shared(what: Subject, method: str) -> Choice:
    """The bank of a method, as ``rps train`` makes it."""
    model = prepare(method, lambda _: copy.deepcopy(what.model), what.compression, seed=what.seed)
    return _of_banks(what, method, method, model)


def _of_banks(what: Subject, name: str, method: str, model: tnn.Module, **about: Any) -> Choice:
    """A shared model, filled with the weights that it had."""
    noise = noise_of_banks(model, what.tensors)
    return Choice(name, method, model, noise, _fill(what, model), **about)


def _stable(what: Subject) -> Iterator[Choice]:
    yield (published := _shared(what, "stable-rps"))
    own = {each.name: _size(each) for each in what.tensors}
    whole = plan(what.model, what.compression, seed=what.seed, **ALL)
    for name, scales in ((ORDERED, _lambdas(published.model, own)), (WEIGHED, _weighed(what.tensors))):
        laid = Laid(what.tensors, tuple(scales.values()), what.whole.cells)
        order = best_order(laid)
        names = tuple(what.tensors[place].name for place in order)
        group = replace(whole.groups[0], weights=tuple(what.weights[each] for each in names))
        model = _applied(what, replace(whole, groups=(group,)), scales)
        yield _of_banks(
            what, name, "stable-rps", model, order=names,
            scales={} if name == ORDERED else {each: scales[each] / own[each] for each in scales},
            gain=_gain(laid, order),
        )  # fmt: skip
    if len(what.tensors) <= what.whole.cells:
        divided = _divided(what)
        cells = {group.weights[0].name: group.m for group in divided.groups}
        yield _of_banks(what, LAYERED, "stable-rps", _applied(what, divided, own), cells=cells)


def _lambdas(model: tnn.Module, names: Iterable[str]) -> dict[str, float]:
    """Those with which a model reads its one bank, in the order of the names."""
    (bank,) = banks_of(model)
    found = names_in(model, bank)
    scales = {found[span.first]: span.scale for span in bank.spans}
    return {name: scales[name] for name in names}


def _gain(laid: Laid, order: Order) -> float:
    """Share of the noise in the model's own order that another takes off."""
    own = laid.noise(tuple(range(len(order))))
    return 1 - laid.noise(order) / own if own else 0.0


def _random(what: Subject) -> Iterator[Choice]:
    n, m = what.whole.weights, what.whole.cells
    model = prune(what.model, "random", what.compression, seed=what.seed, **ALL)
    ratios = dict.fromkeys(what.sizes, n / m)
    yield Choice("random", "random", model, of_keeping(what.tensors, n, m), _off(what, model, ratios))
    if len(what.tensors) > m:
        return
    costs = [each.weight.size * (max(0.0, each.kept) if each.seen else 1.0) for each in what.tensors]
    cells = dict(zip(what.sizes, split(costs, list(what.sizes.values()), m), strict=True))
    random, masks = torch.Generator().manual_seed(what.seed), {}
    for name, weight in what.dense.items():
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[torch.randperm(weight.numel(), generator=random)[: cells[name]]] = True
        masks[name] = mask.view(weight.shape)
    noise = Noise()
    for each in what.tensors:
        noise |= of_keeping([each], each.weight.size, cells[each.name])
    model = masked(copy.deepcopy(what.model), masks)
    ratios = {name: size / cells[name] for name, size in what.sizes.items()}
    yield Choice(DIVIDED, "random", model, noise, _off(what, model, ratios), cells)


def _informed(what: Subject, method: str) -> Choice:
    """Weights that a score chooses: their noise is no mean over draws, but that of the choice."""
    model = prune(what.model, method, what.compression, batches=what.batches, seed=what.seed, **ALL)
    noise = of_weights(what.tensors, weights_in(model, what.tensors))
    return Choice(method, method, model, noise, noise)


def _smaller(what: Subject) -> Iterator[Choice]:
    if what.build is None:
        return
    with torch.random.fork_rng(devices=[]):
        model = what.build(narrowed(what.build, what.compression))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    yield Choice("smaller", "smaller", model, of_narrowing(what.tensors, shapes), Noise())


# ----------------------------------------------------------------------------------- what is built


def noise_of_banks(model: tnn.Module, tensors: Sequence[Judged]) -> Noise:
    """By the closed forms, from the mappings and lambdas with which a model reads its weights.

    Args:
        model: Shared.
        tensors: Of the plain model, by the same names.
    """
    known, noise = {each.name: each for each in tensors}, Noise()
    for bank in banks_of(model):
        names = names_in(model, bank)
        placed = [Placed(known[names[span.first]], span.first, span.scale) for span in bank.spans]
        noise |= of_sharing(bank.mapping, placed)
    return noise


def names_in(model: tnn.Module, bank: Any) -> dict[int, str]:
    """The first name of what is read from each position of a bank where a tensor begins."""
    found: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for local, view in views_of(module).items():
            if view.bank is bank:
                found.setdefault(view.first, f"{prefix}.{local}" if prefix else local)
    return found


def weights_in(model: tnn.Module, tensors: Sequence[Judged]) -> dict[str, Any]:
    """What a model multiplies with, (outputs, d), for every tensor that is seen."""
    return {
        each.name: matrix_of(model.get_submodule(each.name.rpartition(".")[0]))
        for each in tensors
        if each.seen
    }


def _size(each: Judged) -> float:
    """Root mean square of the weights; 1 where all are 0."""
    return float(np.sqrt(np.square(each.weight).mean())) or 1.0


def _weighed(tensors: Sequence[Judged]) -> dict[str, float]:
    """The lambdas that make the noise of one bank least, but for laps: lambda^4 = b / a.

    A tensor that is not seen gets what it would have if directions were random: a = 1 / sigma^2.
    """
    found = {}
    for each in tensors:
        size = _size(each)
        put = each.weight.size * size**2
        read = len(each.weight) * float(each.squares.sum()) / each.energy if each.seen else size**-2
        found[each.name] = sqrt(sqrt(put / read))
    return found


def _divided(what: Subject) -> Plan:
    """A bank for each weight: of the sizes of :func:`split`, or next to them for even laps."""
    sizes, most = what.sizes, what.whole.cells
    costs = [
        max(0.0, each.pairs) * n / max(1, n - 1) if each.seen else n
        for each, n in zip(what.tensors, sizes.values(), strict=True)
    ]
    budget = most
    while True:
        cells = split(costs, list(sizes.values()), budget)
        ratios = {name: {"compression": n / m} for (name, n), m in zip(sizes.items(), cells, strict=True)}
        found = plan(what.model, what.compression, scope="layer", overrides=ratios, seed=what.seed, **ALL)
        if found.cells <= most or budget == len(sizes):
            return found
        budget = max(len(sizes), budget - (found.cells - most))


def _applied(what: Subject, how: Plan, scales: Dict[str, float]) -> tnn.Module:
    """A copy of the model, shared as a plan says."""
    model = copy.deepcopy(what.model)
    apply(model, how, scales)
    return model


def _fill(what: Subject, model: tnn.Module) -> Noise:
    """Put the weights into the banks of a shared model, and measure what was drawn.

    Read from theta = S w / lambda they are right on average, with the variance that is predicted; so they
    are measured. Left in the banks is theta over the load of its cell: the same, but for a factor.
    """
    dense, drawn = what.dense, Noise()
    for bank in banks_of(model):
        names = names_in(model, bank)
        with torch.no_grad():
            sums = torch.zeros(bank.mapping.m, dtype=torch.float64)
            load = torch.zeros_like(sums)
            for span in bank.spans:
                place = torch.arange(span.first, span.first + span.count)
                cell, sign = at(bank.mapping, place)
                sums.index_add_(0, cell, sign * dense[names[span.first]].reshape(-1).double() / span.scale)
                load.index_add_(0, cell, torch.ones(span.count, dtype=torch.float64))
            bank.phi.copy_(sums * bank.roots())
        read = set(names.values())
        drawn |= of_draw([t for t in what.tensors if t.name in read], weights_in(model, what.tensors))
        with torch.no_grad():
            bank.phi.copy_(bank.phi / load.clamp(min=1))
    return drawn


def _off(what: Subject, model: tnn.Module, ratios: Dict[str, float]) -> Noise:
    """Noise of a mask that was drawn, its weights scaled so that they are right on average."""
    kept = weights_in(model, what.tensors)
    return of_draw(what.tensors, {name: weight * ratios[name] for name, weight in kept.items()})
