"""What a method is: what it is told, what it plans before any number is read, and what it does.

A method is one file with one frozen dataclass, whose fields are its options. It plans on names and shapes
alone, so that a plan of any size can be made on the meta device; and it changes a model through
:class:`~nn.cross_layer.work.Work`, which hands out weights and activations, keeps what was finished, and
stores factors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from importlib import import_module
from itertools import groupby
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar

from nn.cross_layer.adapters import Projection
from nn.patterns import one_of
from rpstheory.errors import ArgumentError, KindError, ShapeError

if TYPE_CHECKING:
    from nn.cross_layer.work import Work

HOMES = {
    "basis": "nn.cross_layer.basis:Basis",
    "fips": "nn.cross_layer.fips:Fips",
    "geo": "nn.cross_layer.geo:Geo",
    "rps": "nn.cross_layer.rps:Rps",
    "svd": "nn.cross_layer.svd:Svd",
}

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Task:
    """What is to be compressed, and how far.

    Attributes:
        projections: In the order of the model.
        groups: Of layers that may share, together all layers; None: the method chooses.
        strict: Whether the groups were named one by one, so that one of unlike shapes is an error.
        allowance: Bytes that all stored numbers, and what says where they belong, may take.
        seed: Of everything random.
    """

    projections: tuple[Projection, ...]
    groups: Groups | None
    strict: bool
    allowance: int
    seed: int

    @property
    def dense_bytes(self) -> int:
        """Of all projections."""
        return sum(each.bytes for each in self.projections)

    @property
    def kept(self) -> Fraction:
        """The part of the bytes that may stay, at most 1."""
        return Fraction(self.allowance, self.dense_bytes)

    @property
    def layers(self) -> tuple[int, ...]:
        """Those that have a projection, in order."""
        return tuple(sorted({each.layer for each in self.projections}))

    @property
    def roles(self) -> tuple[str, ...]:
        """All kinds of projections, in the order in which they first come."""
        return tuple(dict.fromkeys(each.role for each in self.projections))

    def of(self, role: str, layers: tuple[int, ...] | None = None) -> tuple[Projection, ...]:
        """The projections of a role, in the order of their layers."""
        return tuple(
            sorted(
                (p for p in self.projections if p.role == role and (layers is None or p.layer in layers)),
                key=lambda p: p.layer,
            )
        )

    def shares(self) -> tuple[tuple[Projection, ...], ...]:
        """What may share: the projections of one role, shape and kind in each group of layers.

        Raises:
            ShapeError: If the layers of a group that was named have unlike shapes.
        """
        groups = self.groups or tuple((layer,) for layer in self.layers)
        found = []
        for group in groups:
            for role in self.roles:
                runs = [tuple(run) for _, run in groupby(self.of(role, group), key=lambda p: p.form)]
                if self.strict and len(runs) > 1:
                    first, other = runs[0][0], runs[1][0]
                    raise ShapeError(
                        f"share_layers: {first.name} is {first.form} and {other.name} {other.form}, and "
                        f"layers that share must be alike; take layer {first.layer} or {other.layer} out of "
                        "the group"
                    )
                found += runs
        return tuple(found)


@dataclass(frozen=True)
class Unit:
    """Projections that are made from the same factors.

    Attributes:
        label: In words.
        names: Of their weights.
        rank: Of the factors; None if they have none.
        values: Bytes of all numbers that are stored for them.
        index: Bytes of what says where numbers belong.
    """

    label: str
    names: tuple[str, ...]
    rank: int | None
    values: int
    index: int = 0

    @property
    def bytes(self) -> int:
        """Of both."""
        return self.values + self.index


class Method(ABC):
    """A way to compress; a subclass is a frozen dataclass of its options, final.

    Attributes:
        name: As in ``method=``.
        groups: What ``groups=None`` means.
    """

    name: ClassVar[str]
    groups: ClassVar[str] = "auto"

    @property
    def calibrated(self) -> bool:
        """Whether calibration is needed."""
        return True

    @abstractmethod
    def plan(self, task: Task) -> tuple[Unit, ...]:
        """Ranks, groups and bytes, from names and shapes alone; together within the allowance.

        Raises:
            ArgumentError: If no rank reaches the allowance.
        """

    @abstractmethod
    def fit(self, work: Work) -> None:
        """Change ``work.model`` as planned in ``work.units``."""

    @abstractmethod
    def operations(self, task: Task, units: tuple[Unit, ...], tokens: int) -> int:
        """Floating-point operations of :meth:`fit` beside the model's own, for the estimate of time."""


def method_of(name: str, options: Mapping[str, Any]) -> Method:
    """The method of this name with these options.

    Raises:
        ArgumentError: If there is no such method.
        KindError: If it has no such option.
    """
    home, _, kind = HOMES[one_of("share_layers", "method", name, HOMES)].partition(":")
    found = getattr(import_module(home), kind)
    known = [field.name for field in fields(found)]
    for option in options:
        if option not in known:
            raise KindError(
                f"share_layers: {option}= came, which method {name!r} does not have; its options are "
                f"{', '.join(known) or 'none'}"
            )
    return found(**options)


def as_groups(groups: Any, layers: tuple[int, ...]) -> tuple[Groups | None, bool]:
    """The groups that an argument means, and whether they were named one by one.

    "adjacent:n" takes n layers after each other from the first on; a list of lists names layers by their
    place in the model, and those it leaves out stay alone; "auto" leaves the choice to the method.

    Raises:
        ArgumentError: If it is none of these, or names a layer twice or one that is not there.
    """
    if groups == "auto":
        return None, False
    wrong = f"share_layers: groups={groups!r} came; "
    if isinstance(groups, str):
        head, _, count = groups.partition(":")
        if head != "adjacent" or not count.isdecimal() or int(count) < 1:
            raise ArgumentError(f"{wrong}pass 'adjacent:2', a list of lists of layers, or 'auto'")
        size = int(count)
        return tuple(layers[k : k + size] for k in range(0, len(layers), size)), False
    try:
        named = tuple(tuple(map(index, group)) for group in groups)
    except TypeError:
        raise ArgumentError(f"{wrong}pass 'adjacent:2', a list of lists of layers, or 'auto'") from None
    flat = [layer for group in named for layer in group]
    strange = [layer for layer in flat if layer not in layers or flat.count(layer) > 1]
    if strange or not all(named):
        what = f"{strange[0]} is not there or comes twice" if strange else "one is empty"
        raise ArgumentError(
            f"{wrong}{what}; name each of the layers {layers[0]} … {layers[-1]} at most once, in groups of "
            "one or more"
        )
    return (*named, *((layer,) for layer in layers if layer not in flat)), True
