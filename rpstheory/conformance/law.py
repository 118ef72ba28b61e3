"""What a law is, how one is broken, and what is said when it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from rpstheory.errors import LawBroken

if TYPE_CHECKING:
    from rpstheory.conformance.subject import Subject

T = TypeVar("T")
Status = Literal["holds", "not declared", "does not apply"]


class CounterExample(Exception):
    """What a law finds; the kit turns it into :class:`rpstheory.errors.LawBroken`."""

    def __init__(self, n: int, m: int, seeds: Sequence[int], positions: Sequence[int], found: str) -> None:
        self.n, self.m, self.found = n, m, found
        self.seeds = seeds
        self.positions = tuple(positions)
        super().__init__(found)


@dataclass(frozen=True)
class Outcome:
    """A law that was not broken.

    Attributes:
        status: Whether it holds, or why it was not asked.
        seen: How much was looked at, in words.
        catches: Which deviation would have been found, and how surely.
    """

    status: Status
    seen: str = ""
    catches: str = "any example among these"


@dataclass(frozen=True)
class Law:
    """A rule that every mapping must obey.

    Attributes:
        name: One word or two.
        statement: The rule, as a sentence.
        meaning: What breaking it does to training or compression.
        check: Looks for a counter-example, smallest first.
        counted: Whether it is about chance, and decided by counting draws.
    """

    name: str
    statement: str
    meaning: str
    check: Callable[[Subject], Outcome]
    counted: bool = False


@dataclass(frozen=True)
class Violation:
    """A broken law and its smallest example.

    Attributes:
        mapping: Name of the factory.
        law: Name of the law.
        statement: The law as a sentence.
        n: Number of weights of the example.
        m: Its number of cells.
        seeds: Its seed, or all the seeds that were counted over.
        positions: The weights concerned; empty where it is about the mapping as a whole.
        found: What came, and what the law asks for.
        meaning: What it does to training or compression.
        searched: Among what the example is the smallest.
    """

    mapping: str
    law: str
    statement: str
    n: int
    m: int
    seeds: Sequence[int]
    positions: tuple[int, ...]
    found: str
    meaning: str
    searched: str

    @property
    def example(self) -> str:
        """Size, seeds and positions in words."""
        words = [f"n={self.n}", f"m={self.m}"]
        if len(self.seeds) == 1:
            words.append(f"seed={self.seeds[0]}")
        elif self.seeds:
            words.append(f"{len(self.seeds)} seeds from {min(self.seeds)} to {max(self.seeds)}")
        if self.positions:
            plural = "s" if len(self.positions) > 1 else ""
            words.append(f"position{plural} {', '.join(map(str, self.positions))}")
        return ", ".join(words)

    def __str__(self) -> str:
        return (
            f"{self.mapping} breaks the law of {self.law}: {self.statement}\n"
            f"  example:  {self.example}\n"
            f"  found:    {self.found}\n"
            f"  meaning:  {self.meaning}\n"
            f"  searched: {self.searched}"
        )


def held_to(law: Law, subject: Subject, check: Callable[[Subject], T]) -> T:
    """What a check returns.

    Raises:
        LawBroken: If it finds a counter-example.
    """
    __tracebackhide__ = True  # pytest shows the law that is broken, not this
    try:
        return check(subject)
    except CounterExample as example:
        raise LawBroken(
            Violation(
                subject.name,
                law.name,
                law.statement,
                example.n,
                example.m,
                example.seeds,
                example.positions,
                example.found,
                law.meaning,
                subject.searched(law.counted),
            )
        ) from example.__cause__
