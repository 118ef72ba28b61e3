"""What a model holds, tensor by tensor, and what a checkpoint says of it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
import torch.nn as tnn

from nn.bank import Bank, View
from nn.bridge import drawn, key_of
from nn.factors import PREFIX, Factor, Product
from nn.gamma import SCALERS
from nn.layers import views_of
from nn.sharing import NAME
from rpstheory.errors import ArgumentError, KindError

SAMPLED = 256  # positions whose cells and signs are pinned

Held = dict[str, Any]  # views, parameters and buffers by name


@dataclass(frozen=True)
class BankRecord:
    """A bank.

    Attributes:
        name: Of the parameter.
        mapping: What ``to_json`` says; or class and seed of a mapping that is not rpstheory's.
        draws: SHA-256 of some of its cells and signs.
        scaler: gamma, v1 or none.
        scales: lambda of every weight, in the order of their positions.
    """

    name: str
    mapping: dict[str, Any]
    draws: str
    scaler: str
    scales: dict[str, float]

    def __post_init__(self) -> None:
        """Check all that can be seen here.

        Raises:
            ValueError: If no bank is like that.
        """
        if not re.fullmatch(rf"(.+\.)?{NAME}(_[1-9][0-9]*)?", self.name) or self.scaler not in SCALERS:
            raise ValueError(f"no bank is called {self.name!r} and scaled by {self.scaler!r}")
        if not self.scales or not all(type(s) is float and 0 < s < inf for s in self.scales.values()):
            raise ValueError(f"{self.name} has a lambda that is not positive and finite")
        if type(self.mapping) is not dict or type(self.mapping.get("seed")) is not int:
            raise ValueError(f"{self.name} has no mapping with a seed")


@dataclass(frozen=True)
class FactorRecord:
    """A stored matrix.

    Attributes:
        name: Of the parameter.
        shape: Rows and columns.
        block: Of the blocks that are kept or not; None if it is dense.
    """

    name: str
    shape: list[int]
    block: list[int] | None

    def __post_init__(self) -> None:
        """Check all that can be seen here.

        Raises:
            ValueError: If no factor is like that.
        """
        sizes = [self.shape, *([] if self.block is None else [self.block])]
        whole = all(len(size) == 2 and all(type(n) is int and n > 0 for n in size) for size in sizes)
        if not re.fullmatch(rf"(.+\.)?{PREFIX}[0-9]+", self.name) or not whole:
            raise ValueError(f"no factor is called {self.name!r} and has the shape {self.shape}")
        if self.block is not None and any(n % b for n, b in zip(self.shape, self.block, strict=True)):
            raise ValueError(f"blocks of {self.block} do not divide {self.name}")


@dataclass(frozen=True)
class ProductRecord:
    """A weight that is a product.

    Attributes:
        links: Name of each factor, and whether it is transposed.
        flipped: Whether the weight is the transpose of the product.
    """

    links: list[tuple[str, bool]]
    flipped: bool


def held_by(owner: str, model: Any) -> Held:
    """Every view, parameter and stored buffer of a model, under each of its names.

    Raises:
        ArgumentError: If a module keeps something that is no tensor.
        KindError: If it is no model, or a tensor cannot be read from a file and written into.
    """
    if not isinstance(model, tnn.Module):
        raise KindError(
            f"{owner}: {type(model).__name__} came; a model is needed, or for load what builds one"
        )
    held: Held = {}
    for prefix, module in model.named_modules():
        if type(module).get_extra_state is not tnn.Module.get_extra_state:
            raise ArgumentError(
                f"{owner}: {prefix or 'the model'} has extra state, which only pickle could store; "
                "keep it in buffers"
            )
        passing = module._non_persistent_buffers_set
        buffers = {local: value for local, value in module._buffers.items() if local not in passing}
        for local, value in {**views_of(module), **module._parameters, **buffers}.items():
            if value is not None:
                name = f"{prefix}.{local}" if prefix else local
                _require_plain(owner, name, memory_of(value))
                held[name] = value
    return held


def memory_of(value: Any) -> torch.Tensor:
    """The tensor itself, or a parameter that a view reads."""
    return value.memory if isinstance(value, View | Product) else value


def stored_forms(held: Held) -> dict[str, str]:
    """Kind and shape of every tensor that is stored, under the first of its names."""
    first = _first_names(held)
    return {k: _form(v) for k, v in held.items() if isinstance(v, torch.Tensor) and first[id(v)] == k}


def dense_forms(held: Held) -> dict[str, str]:
    """What each parameter and buffer is in the dense model; "= name" if it is tied to one before."""
    first, found = _first_names(held), {}
    read = {id(value.bank.phi) for value in held.values() if isinstance(value, View)}
    read |= {id(tensor) for factor in _factors(held) for tensor in (factor.parameter, factor.bits)}
    for name, value in held.items():
        what = "parameter" if isinstance(value, View | Product | tnn.Parameter) else "buffer"
        if id(value) not in read:
            tied = first[id(value)] != name
            found[name] = f"= {first[id(value)]}" if tied else f"{what} {_form(value)}"
    return found


def bank_records(owner: str, held: Held) -> list[BankRecord]:
    """The records of all banks that are read.

    Raises:
        ArgumentError: If the model lacks a bank, or a module that reads a weight of one.
    """
    first, views = _first_names(held), [value for value in held.values() if isinstance(value, View)]
    records = []
    for bank in {id(view.bank): view.bank for view in views}.values():
        if id(bank.phi) not in first:
            raise ArgumentError(
                f"{owner}: the bank {bank.name} is not a parameter of this model; pass the whole model that "
                "was shared"
            )
        read = {view.first: first[id(view)] for view in views if view.bank is bank}
        for span in bank.spans:
            if span.first not in read:
                raise ArgumentError(
                    f"{owner}: no module reads the {span.count} weights of {bank.name} from position "
                    f"{span.first} on; put back the module that was taken out, or share what is left anew"
                )
        scales = {read[span.first]: float(span.scale) for span in bank.spans}
        mapping = _described(owner, bank)
        records.append(BankRecord(first[id(bank.phi)], mapping, draws_of(bank.mapping), bank.scaler, scales))
    return records


def factor_records(owner: str, held: Held) -> tuple[list[FactorRecord], dict[str, ProductRecord]]:
    """The records of all factors, and of all weights that are products of them, by the first of their names.

    Raises:
        ArgumentError: If the model lacks a factor.
    """
    first = _first_names(held)
    for factor in _factors(held):
        if id(factor.parameter) not in first:
            raise ArgumentError(
                f"{owner}: {factor.name} is not a parameter of this model; pass the whole model that was "
                "shared"
            )
    factors = [
        FactorRecord(first[id(f.parameter)], list(f.shape), None if f.block is None else list(f.block))
        for f in _factors(held)
    ]
    products = {
        name: ProductRecord([(first[id(f.parameter)], turned) for f, turned in value.links], value.flipped)
        for name, value in held.items()
        if isinstance(value, Product) and first[id(value)] == name
    }
    return factors, products


def _factors(held: Held) -> list[Factor]:
    """Every factor that is read, once."""
    products = [value for value in held.values() if isinstance(value, Product)]
    return list(dict.fromkeys(factor for product in products for factor, _ in product.links))


def draws_of(mapping: Any) -> str:
    """SHA-256 of the cells and signs of positions from first to last, evenly spaced."""
    position = torch.tensor([k * (mapping.n - 1) // (SAMPLED - 1) for k in range(SAMPLED)])
    return hashlib.sha256(torch.stack(drawn(mapping, position)).numpy().tobytes()).hexdigest()


def _described(owner: str, bank: Bank) -> dict[str, Any]:
    """What a mapping can be made again from.

    Raises:
        KindError: If it has no seed.
    """
    key, kind, seed = key_of(bank.mapping), type(bank.mapping), getattr(bank.mapping, "seed", None)
    if key.startswith("{"):  # the text of to_json
        return json.loads(key)
    if type(seed) is not int:
        raise KindError(
            f"{owner}: the mapping {kind.__qualname__} of {bank.name} has seed={seed!r}; a whole number is "
            "needed, with which nn.load can make it again; give the class an attribute seed"
        )
    return {"custom": f"{kind.__module__}.{kind.__qualname__}", "seed": seed}


def _require_plain(owner: str, name: str, tensor: torch.Tensor) -> None:
    """Do nothing if a tensor is of the ordinary kind, with memory for each element.

    Raises:
        KindError: If it is not.
    """
    plain = type(tensor) in (torch.Tensor, tnn.Parameter) and tensor.layout is torch.strided
    if not plain or tensor.is_meta or any(map(_repeats, tensor.shape, tensor.stride())):
        raise KindError(
            f"{owner}: {name} is a {type(tensor).__name__} ({tensor.layout}, on {tensor.device}); an "
            "ordinary tensor with memory for each element is needed; put a clone in its place"
        )


def _repeats(size: int, step: int) -> bool:
    return size > 1 and step == 0


def _first_names(held: Held) -> dict[int, str]:
    """The first name of everything, by identity."""
    return {id(value): name for name, value in reversed(held.items())}


def _form(value: Any) -> str:
    return f"{str(memory_of(value).dtype).removeprefix('torch.')} {list(value.shape)}"
