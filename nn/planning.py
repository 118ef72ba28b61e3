"""What sharing a model would do, before anything is allocated; also on the meta device."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dict
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import floor, prod
from numbers import Real
from typing import Any, Literal, NamedTuple

import torch
import torch.nn as tnn
from torch.nn.utils.parametrize import ParametrizationList

from nn.bridge import Mapping, factory_of, require_conforming
from nn.gamma import SCALERS, Scaler
from nn.layers import views_of
from nn.patterns import as_patterns, is_exact, matches, require_used
from rpstheory.errors import ArgumentError, KindError
from rpstheory.hashing import MASK, mix
from rpstheory.mappings.base import check_count, check_seed

SMALLEST = 1024  # elements; below, a weight stays dense unless it is included by name
STD_RANGE = 1e4
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

_WEIGHT = (tnn.Linear, tnn.Bilinear, tnn.modules.conv._ConvNd, tnn.Embedding, tnn.EmbeddingBag)
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")

Scope = Literal["global", "layer"]


@dataclass(frozen=True)
class Options:
    """How a group of weights is shared.

    Attributes:
        compression: Compressible weights over cells of the bank, >= 1.
        mapping: fold, hashed, chunk, block, or a function (n, m, seed).
        scaler: gamma, v1 or none.
        init_std: C, the standard deviation of theta; lambda = sigma / C.
        scope: One bank for the whole group, or one for each weight.
    """

    compression: float
    mapping: Mapping = "fold"
    scaler: Scaler = "gamma"
    init_std: float = 1.0
    scope: Scope = "global"

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            ArgumentError: If one is out of range.
            KindError: If one is of the wrong kind.
        """
        factory_of(self.mapping)
        for name in ("compression", "init_std"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), Real):
                raise KindError(f"share: {name}={getattr(self, name)!r} came; a number is needed")
        if not 1 <= self.compression < float("inf"):
            raise ArgumentError(
                f"share: compression={self.compression} came; it is weights over cells, at least 1 "
                "(1 is no compression); pass 10 to keep a tenth"
            )
        if not 1 / STD_RANGE <= self.init_std <= STD_RANGE:
            raise ArgumentError(
                f"share: init_std={self.init_std} came; pass {1 / STD_RANGE:g} … {STD_RANGE:g}: beyond, "
                "numbers of 16 bits overflow"
            )
        if self.scaler not in SCALERS:
            raise ArgumentError(f"share: scaler={self.scaler!r} came; one of {', '.join(SCALERS)} is needed")
        if self.scope not in ("global", "layer"):
            raise ArgumentError(f"share: scope={self.scope!r} came; pass 'global' or 'layer'")


@dataclass(frozen=True)
class Weight:
    """A weight tensor that is shared.

    Attributes:
        name: Of the parameter; the first, if it is tied.
        aliases: Its other names.
        kind: Class of its module.
        shape: Of the tensor.
        itemsize: Bytes per element.
        dtype: float32, float64, bfloat16 or float16.
    """

    name: str
    aliases: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    itemsize: int
    dtype: str

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Group:
    """Weights that share one bank, in the order of their positions.

    Attributes:
        label: "" for the whole model, else the pattern or the weight it belongs to.
        weights: What shares.
        m: Cells.
        seed: Of the mapping.
        options: How.
    """

    label: str
    weights: tuple[Weight, ...]
    m: int
    seed: int
    options: Options

    @property
    def n(self) -> int:
        """Compressible weights."""
        return sum(weight.count for weight in self.weights)

    @property
    def laps(self) -> int:
        """Laps of m positions."""
        return -(-self.n // self.m)

    @property
    def empty(self) -> int:
        """Positions of the last lap that no weight takes; 0 iff m divides n."""
        return self.laps * self.m - self.n

    def __str__(self) -> str:
        """In a line."""
        lap = "m divides n" if not self.empty else f"{self.empty:,} positions of the last empty"
        name = f"{self.label}: " if self.label else ""
        return (
            f"{name}{self.n:,} weights in {self.m:,} cells ({self.n / self.m:.4g}x), seed {self.seed}, "
            f"{self.laps} laps, {lap}"
        )

    def mapping(self) -> Any:
        """The group's mapping."""
        return factory_of(self.options.mapping)(self.n, self.m, self.seed)


@dataclass(frozen=True)
class Fixed:
    """A parameter that stays as it is.

    Attributes:
        name: Of the parameter.
        count: Elements.
        bytes: In its own kind.
        why: norm or bias, small, excluded, or not a floating-point number.
    """

    name: str
    count: int
    bytes: int
    why: str


@dataclass(frozen=True)
class Plan:
    """What is shared, how, and what stays.

    Attributes:
        groups: One for each bank.
        fixed: Parameters that stay dense.
        buffer_bytes: Of the model's buffers.
    """

    groups: tuple[Group, ...]
    fixed: tuple[Fixed, ...]
    buffer_bytes: int

    @property
    def weights(self) -> int:
        """n: compressible weights."""
        return sum(group.n for group in self.groups)

    @property
    def cells(self) -> int:
        """m: cells of all banks."""
        return sum(group.m for group in self.groups)

    @property
    def dense_params(self) -> int:
        """Parameters of the dense model."""
        return self.weights + sum(each.count for each in self.fixed)

    @property
    def stored_params(self) -> int:
        """Parameters of the shared model."""
        return self.cells + sum(each.count for each in self.fixed)

    @property
    def compression(self) -> float:
        """The paper's: compressible weights over cells."""
        return self.weights / self.cells

    @property
    def total_compression(self) -> float:
        """All parameters of the dense model over all of the shared one."""
        return self.dense_params / self.stored_params

    def __str__(self) -> str:
        """What was chosen, a line for each bank and one for the whole."""
        dense = self.stored_params - self.cells
        return "\n".join(
            (
                *map(str, self.groups),
                f"{dense:,} parameters stay dense; {self.dense_params:,} become {self.stored_params:,}:"
                f" {self.total_compression:.1f}x",
            )
        )

    def to_json(self) -> str:
        """The plan as JSON, with what follows from it."""
        record = asdict(self)
        for group, own in zip(record["groups"], self.groups, strict=True):
            mapping = own.options.mapping
            group["options"]["mapping"] = mapping if isinstance(mapping, str) else repr(mapping)
            group |= {"n": own.n, "laps": own.laps, "empty": own.empty}
        for name in ("compression", "total_compression", "dense_params", "stored_params"):
            record[name] = getattr(self, name)
        return json.dumps(record, indent=1)


@dataclass(frozen=True)
class Found:
    """A parameter and where it sits.

    Attributes:
        parameter: The tensor.
        places: (module, local name), one for each module that has it.
        names: Its full names.
        why: Empty if it is compressible by default, else why not.
    """

    parameter: tnn.Parameter
    places: tuple[tuple[tnn.Module, str], ...]
    names: tuple[str, ...]
    why: str


def plan(
    model: tnn.Module,
    compression: float | None = None,
    *,
    budget_params: int | None = None,
    budget_bytes: int | None = None,
    mapping: Mapping = "fold",
    scope: Scope = "global",
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    overrides: Dict[str, Dict[str, Any]] | None = None,
    scaler: Scaler = "gamma",
    init_std: float = 1.0,
    seed: int = 0,
) -> Plan:
    """What :func:`nn.share` would do with these arguments; the model is only looked at.

    Raises:
        ArgumentError: If an argument is out of range, a pattern matches nothing, nothing is left to
            share, or the model is shared already.
        KindError: If an argument is of the wrong kind.
        LawBroken: If a mapping of your own breaks a law of :mod:`rpstheory.conformance`.
    """
    given = {"compression": compression, "budget_params": budget_params, "budget_bytes": budget_bytes}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ArgumentError(
            f"share: {' and '.join(named) or 'no budget'} came; "
            "pass exactly one of compression, budget_params and budget_bytes"
        )
    seed = check_seed("share", seed)
    if overrides is not None and not isinstance(overrides, Dict):
        raise KindError(f"share: overrides={overrides!r} came; pass a dict of patterns and options")
    found = survey(model)
    chosen, fixed = _choose(found, include, exclude)
    options = Options(compression if compression is not None else 1, mapping, scaler, init_std, scope)
    parts = _parts(chosen, options, overrides or {})
    for part in parts:
        require_conforming(part.options.mapping)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    if compression is None:
        parts = _within(parts, fixed, buffers, budget_params, budget_bytes)
    groups = tuple(
        Group(part.label, part.weights, part.cells, _seed(seed, place), part.options)
        for place, part in enumerate(_split(parts))
    )
    return Plan(groups, fixed, buffers)


def survey(model: tnn.Module) -> list[Found]:
    """Every parameter once, in the order of the model, with every place where it sits.

    Raises:
        ArgumentError: If the model is shared already.
        KindError: If it is no module, or compiled, or a parameter has no shape yet.
    """
    if not isinstance(model, tnn.Module):
        raise KindError(f"share: {type(model).__name__} came; a torch.nn.Module is needed")
    if "_orig_mod" in model._modules or isinstance(model, torch.jit.ScriptModule):
        raise KindError(f"share: a compiled model came ({type(model).__name__}); share it, then compile it")
    places: dict[int, dict[tuple[int, str], tuple[tnn.Module, str, str]]] = {}
    parameters: dict[int, tnn.Parameter] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if views_of(module):
            raise ArgumentError(
                f"share: {prefix or 'the model'} is shared already; start from nn.to_dense(model)"
            )
        for local, parameter in module._parameters.items():
            if isinstance(parameter, tnn.UninitializedParameter):
                raise KindError(
                    f"share: {prefix or 'the model'} is lazy and has no shape yet; run it once before"
                )
            if parameter is not None:
                parameters[id(parameter)] = parameter
                name = f"{prefix}.{local}" if prefix else local
                places.setdefault(id(parameter), {}).setdefault((id(module), local), (module, local, name))
    return [_found(parameters[key], list(where.values())) for key, where in places.items()]


def level(n: int, compression: float) -> int:
    """Cells for n weights: n / compression, moved up to ceil(n / laps) where that is a rounding.

    Then the last lap misses fewer positions than there are laps: m divides the padded range.
    """
    m = max(1, min(n, round(n / compression)))
    even = -(-n // max(1, round(compression)))
    return even if abs(even - m) <= 1 else m


def _found(parameter: tnn.Parameter, where: list[tuple[tnn.Module, str, str]]) -> Found:
    reasons = [_why_not(module, local, parameter) for module, local, _ in where]
    return Found(
        parameter,
        tuple((module, local) for module, local, _ in where),
        tuple(name for _, _, name in where),
        "" if "" in reasons else reasons[0],
    )


def _why_not(module: tnn.Module, local: str, parameter: tnn.Parameter) -> str:
    if isinstance(module, ParametrizationList):
        return "parametrized"
    if parameter.dtype not in FLOATS or parameter.layout is not torch.strided:
        return "not floating-point"
    if not _is_weight(module, local):
        return "norm, bias or bare parameter"
    if not parameter.numel():
        return "without elements"
    return "" if parameter.numel() >= SMALLEST else "small"


def _is_weight(module: tnn.Module, local: str) -> bool:
    if isinstance(module, _WEIGHT) or (type(module).__name__ == "Conv1D" and hasattr(module, "nf")):
        return local == "weight"
    if isinstance(module, tnn.MultiheadAttention):
        return local in _ATTENTION
    return isinstance(module, tnn.RNNBase | tnn.RNNCellBase) and local.startswith("weight_")


def _choose(
    found: list[Found], include: str | Iterable[str], exclude: str | Iterable[str]
) -> tuple[list[tuple[Weight, Found]], tuple[Fixed, ...]]:
    """What is shared and what stays.

    Raises:
        ArgumentError: If a pattern matches nothing, or nothing is left to share.
    """
    wanted, unwanted = as_patterns("share", "include", include), as_patterns("share", "exclude", exclude)
    names = [name for each in found for name in each.names]
    require_used("share", "include", wanted, names)
    require_used("share", "exclude", unwanted, names)
    chosen, fixed = [], []
    for each in found:
        why = _decide(each, wanted, unwanted)
        parameter = each.parameter
        if why:
            size = parameter.numel()
            fixed.append(Fixed(each.names[0], size, size * parameter.element_size(), why))
        else:
            kind = type(each.places[0][0]).__name__
            shape, dtype = tuple(parameter.shape), str(parameter.dtype).removeprefix("torch.")
            size = parameter.element_size()
            chosen.append((Weight(each.names[0], each.names[1:], kind, shape, size, dtype), each))
    if not chosen:
        hint = "include=['*'] takes the small ones too"
        if any(each.why == "parametrized" for each in fixed):
            hint = (
                "some are parametrized: share first, or remove the parametrizations (or the pruning) before"
            )
        raise ArgumentError(
            f"share: nothing is left to share: no weight of at least {SMALLEST} elements"
            f"{' but what is excluded' if unwanted else ''}; {hint}"
        )
    return chosen, tuple(fixed)


def _decide(each: Found, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> str:
    """Empty if it is shared, else why not.

    Raises:
        KindError: If a weight that was named is not floating-point.
        ArgumentError: If it has no elements.
    """
    if any(matches(pattern, name) for pattern in unwanted for name in each.names):
        return "excluded"
    exact = any(is_exact(p) and p in each.names for p in wanted)
    if exact and not each.parameter.numel():
        raise ArgumentError(f"share: include={each.names[0]!r} has no elements; leave it out")
    if exact and (each.parameter.dtype not in FLOATS or each.parameter.layout is not torch.strided):
        raise KindError(
            f"share: include={each.names[0]!r} holds {each.parameter.dtype} ({each.parameter.layout}); only "
            "floating-point weights of 16 bits or more, with memory for each, can be shared; leave it out"
        )
    if exact or (each.why == "small" and any(matches(p, name) for p in wanted for name in each.names)):
        return ""
    return each.why


class Part(NamedTuple):
    """Weights that are shared alike, before they are cut into groups.

    Attributes:
        label: As in :class:`Group`.
        weights: What shares.
        options: How.
        budget: Cells per weight that must not be exceeded, where a budget was given.
    """

    label: str
    weights: tuple[Weight, ...]
    options: Options
    budget: Fraction | None = None

    @property
    def n(self) -> int:
        """Elements."""
        return sum(weight.count for weight in self.weights)

    @property
    def cells(self) -> int:
        """m, if all of them share one bank."""
        m = level(self.n, self.options.compression)
        return m if self.budget is None else min(m, floor(self.n * self.budget))


def _parts(
    chosen: list[tuple[Weight, Found]], options: Options, overrides: Dict[str, Dict[str, Any]]
) -> list[Part]:
    """The default part first, then one for each override; a weight goes to the first that matches.

    Raises:
        KindError: If an override holds unknown options.
        ArgumentError: If an override comes too late.
    """
    patterns = as_patterns("share", "overrides", overrides)
    require_used("share", "overrides", patterns, [name for _, each in chosen for name in each.names])
    taken: dict[str, list[Weight]] = {pattern: [] for pattern in ("", *patterns)}
    for weight, each in chosen:
        first = next((p for p in patterns if any(matches(p, name) for name in each.names)), "")
        taken[first].append(weight)
    parts = [Part("", tuple(taken[""]), options)] if taken[""] else []
    for pattern in patterns:
        try:
            how = replace(options, **overrides[pattern])
        except TypeError as error:
            raise KindError(
                f"share: overrides[{pattern!r}]={overrides[pattern]!r} came ({error}); "
                "pass a dict of compression, mapping, scaler, init_std and scope"
            ) from None
        if not taken[pattern]:
            raise ArgumentError(
                f"share: overrides[{pattern!r}] decides nothing: every weight it matches went to a pattern "
                "before it; put it first, or leave it out"
            )
        parts.append(Part(pattern, tuple(taken[pattern]), how))
    return parts


def _within(
    parts: list[Part],
    fixed: tuple[Fixed, ...],
    buffers: int,
    params: int | None,
    size: int | None,
) -> list[Part]:
    """The compression of the first part that uses up the budget of the whole model.

    Raises:
        ArgumentError: If the budget is smaller than one cell, or larger than the model.
    """
    first, others = parts[0], parts[1:]
    if first.label:
        raise ArgumentError(
            f"share: a budget came and overrides for all weights ({first.label!r} and others), so that it "
            "decides nothing; leave one of them out"
        )
    name, value = ("budget_bytes", size) if params is None else ("budget_params", params)
    budget = check_count("share", name, value, low=0)

    def unit(part: Part) -> int:
        return part.weights[0].itemsize if params is None else 1

    spent = sum(each.count if params is not None else each.bytes for each in fixed)
    spent += sum(part.cells * unit(part) for part in _split(others)) + (buffers if params is None else 0)
    banks = [(part.n, part.n * unit(part)) for part in _split([first])]
    whole, left = sum(cost for _, cost in banks), budget - spent
    least = -(-whole // min(n for n, _ in banks))  # a cell for the smallest
    if left < least:
        raise ArgumentError(
            f"share: {name}={budget} came; what stays dense, or has overrides, takes {spent} already; "
            f"pass at least {spent + least}, or share more of the model"
        )
    if left > whole:
        raise ArgumentError(
            f"share: {name}={budget} came; the model needs only {spent + whole}; pass at most that"
        )
    kept = sum(n * left // whole for n, _ in banks)
    options = replace(first.options, compression=first.n / kept)
    return [first._replace(options=options, budget=Fraction(left, whole)), *others]


def _same_kind(weights: tuple[Weight, ...]) -> None:
    """Do nothing if one bank can serve all weights.

    Raises:
        KindError: If they are not all of one floating-point kind.
    """
    first = weights[0]
    for other in weights:
        if other.dtype != first.dtype:
            raise KindError(
                f"share: {first.name} is {first.dtype} and {other.name} {other.dtype}, and one bank has one "
                "kind; cast the model, exclude some, or give them a bank of their own with overrides"
            )


def _split(parts: list[Part]) -> Iterator[Part]:
    """A part for each weight where the scope is the layer."""
    for part in parts:
        if part.options.scope == "global":
            _same_kind(part.weights)
            yield _with_a_cell(part)
        else:
            for weight in part.weights:
                yield _with_a_cell(part._replace(label=weight.name, weights=(weight,)))


def _with_a_cell(part: Part) -> Part:
    """The part itself.

    Raises:
        ArgumentError: If less than one cell is left to it.
    """
    if part.budget is None and part.n < part.options.compression:  # a budget was seen to leave one to each
        raise ArgumentError(
            f"share: compression={part.options.compression:g} leaves less than one cell to the {part.n} "
            f"weights of {part.label or 'the model'}; ask for less, or leave them dense"
        )
    return part


def _seed(seed: int, place: int) -> int:
    """The seed itself for the first bank; others must not repeat its draws."""
    return seed if place == 0 else mix((seed + place) & MASK)
