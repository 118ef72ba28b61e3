"""A check of the survey: a statement, a way to settle it exactly, and a broken twin that must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeVar

Method = Literal["enumeration", "symbolic", "smt", "exhaustive", "agreement"]
Scope = Literal["holds", "fails outside"]
T = TypeVar("T")


class Level(IntEnum):
    """How far a check goes."""

    QUICK = 0
    STANDARD = 1
    DEEP = 2

    def pick(self, quick: T, standard: T, deep: T) -> T:
        """The one of three that belongs to this level."""
        return (quick, standard, deep)[self]


class Disproved(Exception):
    """A statement that fails; the message is the counter-example."""


@dataclass(frozen=True)
class Check:
    """One statement and how it is settled.

    Attributes:
        claim: Number of the claim, as in docs/claims.md.
        name: A few words, unique within its claim and method.
        statement: What is shown, as a formula or a short sentence.
        method: enumeration (of every draw), symbolic (SymPy), smt (Z3), exhaustive (all small cases) or
            agreement (of the shipped formula with enumeration).
        survey: Settles it at a level and returns the domain covered, in words; raises
            :class:`Disproved` with a counter-example.
        broken: What is wrong in the twin, in words.
        twin: The same survey with that mistake in it; must raise :class:`Disproved`.
        scope: "fails outside" when the statement is that a claim fails where a condition is dropped.
    """

    claim: int
    name: str
    statement: str
    method: Method
    survey: Callable[[Level], str]
    broken: str
    twin: Callable[[], object]
    scope: Scope = "holds"

    @property
    def key(self) -> str:
        """Name among all checks."""
        return f"{self.claim}/{self.method}/{self.name}"


def require(holds: object, counter_example: str) -> None:
    """Do nothing if it holds.

    Raises:
        Disproved: With the counter-example, if it does not.
    """
    if not holds:
        raise Disproved(counter_example)
