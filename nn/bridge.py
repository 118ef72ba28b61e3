"""The one door to the mappings: named kinds, factories, and the text by which an operator finds one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from rpstheory.conformance import check_mapping
from rpstheory.errors import ArgumentError, KindError
from rpstheory.mappings import AbstractMapping, Block, Chunk, Fold, Hashed, from_json

Factory = Callable[[int, int, int], Any]
Mapping = str | Factory

TILE = 32  # weights per chunk and block where none is named, as in ROAST


def _chunk(n: int, m: int, seed: int) -> Chunk:
    return Chunk(n, m, seed, chunk=min(TILE, m))


def _block(n: int, m: int, seed: int) -> Block:
    return Block(n, m, seed, block=min(TILE, m))


KINDS: dict[str, Factory] = {"fold": Fold, "hashed": Hashed, "chunk": _chunk, "block": _block}
ASKED = ("sizes", "memory", "range", "determinism", "purity", "arrays", "adjoint", "signs")
_vouched: set[Factory] = set()
_others: dict[str, Any] = {}  # holds what it names, so that no id comes twice


def factory_of(mapping: Mapping) -> Factory:
    """What builds a mapping of n weights over m cells.

    Raises:
        ArgumentError: If the name is unknown.
        KindError: If it is neither a name nor callable.
    """
    if isinstance(mapping, str):
        if mapping not in KINDS:
            raise ArgumentError(
                f"share: mapping={mapping!r} came; {', '.join(KINDS)} or a function (n, m, seed) is needed"
            )
        return KINDS[mapping]
    if not callable(mapping):
        raise KindError(
            f"share: mapping={mapping!r} came; pass a name ({', '.join(KINDS)}) or a function (n, m, seed)"
        )
    if not isinstance(mapping, Hashable):
        raise KindError(f"share: mapping={mapping!r} came, which cannot be hashed; pass a plain function")
    return mapping


def require_conforming(mapping: Mapping) -> None:
    """Do nothing if a mapping can share a network's weights; a factory is asked once, for a second.

    Raises:
        LawBroken: If it breaks a law of :mod:`rpstheory.conformance`.
        ArgumentError: If it drops weights in place of sharing them.
    """
    if not isinstance(mapping, str) and mapping not in KINDS.values() and mapping not in _vouched:
        _ask(mapping)


def vouched(factory: Factory) -> Factory:
    """A factory of this package, whose mappings the tests hold to the laws; it is not asked again."""
    _vouched.add(factory)
    return factory


@lru_cache(maxsize=64)
def _ask(factory: Factory) -> None:
    if check_mapping(factory, laws=ASKED).outcomes["signs"].status != "holds":
        raise ArgumentError(
            f"share: mapping={factory!r} drops weights (some signs are 0); pass one that shares them all"
        )
    check_mapping(factory, laws=["unbiased"])


def key_of(mapping: Any) -> str:
    """Text from which :func:`mapping_of` finds an equal mapping in this process."""
    if isinstance(mapping, AbstractMapping) and type(mapping).__module__.startswith("rpstheory.mappings"):
        return mapping.to_json()
    kind = type(mapping)
    key = f"{kind.__module__}.{kind.__qualname__}({mapping.n}, {mapping.m}) at {id(mapping)}"
    _others[key] = mapping
    return key


@lru_cache(maxsize=1024)
def mapping_of(key: str) -> Any:
    """The mapping that :func:`key_of` named."""
    return _others[key] if key in _others else from_json(key)


def drawn(mapping: Any, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells and signs, int64; a mapping that is not of this library is asked with NumPy arrays."""
    if isinstance(mapping, AbstractMapping):
        return mapping.cell(position), mapping.sign(position)
    asked = position.cpu().numpy()
    cell, sign = (
        torch.as_tensor(np.asarray(ask(asked)).astype(np.int64)) for ask in (mapping.cell, mapping.sign)
    )
    return cell.to(position.device), sign.to(position.device)
