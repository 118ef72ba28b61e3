"""Every law, one after another, on anybody's mapping: as a call and as a pytest test for each law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rpstheory.conformance import answers, chance, repetition, structure, training
from rpstheory.conformance.law import Law, Outcome, held_to
from rpstheory.conformance.sizes import LEVELS, LevelName
from rpstheory.conformance.subject import FALSE_ALARM, Subject, is_integer
from rpstheory.errors import ArgumentError, KindError, MissingError

Factory = Callable[[int, int, int], Any]

# From what has to work for anything to be asked, to what theory makes of it.
_LAWS = (
    answers.SIZES,
    answers.MEMORY,
    answers.RANGE,
    repetition.DETERMINISM,
    repetition.PURITY,
    answers.ARRAYS,
    repetition.RECORD,
    repetition.GOLDEN,
    structure.ADJOINT,
    chance.UNBIASED,
    chance.VARIANCE,
    chance.SIGNS,
    chance.SIGNS_AND_CELLS,
    structure.LOAD,
    chance.COLLISIONS,
    chance.SEEDS,
    structure.PARETO,
    training.TRAINING,
)


@dataclass(frozen=True)
class Conformance:
    """A mapping that broke no law.

    Attributes:
        mapping: Name of the factory.
        level: quick or full.
        outcomes: Of each law, in the order they were asked.
        refused: Sizes it refused, and with what words.
        false_alarm: Chance that a mapping which obeys every law is accused, over all that was counted.
    """

    mapping: str
    level: LevelName
    outcomes: dict[str, Outcome]
    refused: dict[tuple[int, int], str]
    false_alarm: float

    def __str__(self) -> str:
        rows = [("law", "verdict", "seen", "would have caught")]
        rows += [
            (name, o.status, o.seen, o.catches if o.status == "holds" else "")
            for name, o in self.outcomes.items()
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = ["  ".join([*(row[k].ljust(widths[k]) for k in range(3)), row[3]]).rstrip() for row in rows]
        refused = ", ".join(map(str, self.refused)) or "none"
        return "\n".join(
            [
                f"{self.mapping} conforms ({self.level})",
                *lines,
                f"sizes (n, m) refused: {refused}",
                f"chance to accuse a mapping that obeys every law: at most {self.false_alarm:g}",
            ]
        )


def laws() -> tuple[Law, ...]:
    """Every law, in the order in which they are asked.

    Example:
        >>> [law.name for law in laws()][:3]
        ['sizes', 'memory', 'range']
    """
    return _LAWS


def check_mapping(
    factory: Factory,
    *,
    level: LevelName = "quick",
    golden: str | None = None,
    laws: Sequence[str] | None = None,
    first_seed: int = 0,
    false_alarm: float = FALSE_ALARM,
) -> Conformance:
    """Hold a mapping to every law; return what was looked at.

    Args:
        factory: ``factory(n, m, seed)`` makes an object with ``n``, ``m``, ``cell(i)`` and ``sign(i)``; it
            may refuse a size with a ValueError. What else the object declares is checked too: see
            docs/conformance.md.
        level: "quick" takes seconds, "full" looks ten times longer and also asks a fresh process.
        golden: The :func:`fingerprint` that it must have.
        laws: Names of the laws to ask, in place of all.
        first_seed: First of the consecutive seeds whose draws are counted.
        false_alarm: Chance that a mapping which obeys every law is accused, for all that is counted.

    Raises:
        LawBroken: At the first law it breaks, with the smallest example.
        KindError: If ``factory`` cannot be called.
        ArgumentError: If the level or a law is unknown, or the false alarm is not a probability.

    Example:
        >>> from rpstheory import Fold
        >>> print(check_mapping(Fold, laws=["range"]).outcomes["range"].status)
        holds
    """
    subject = _subject(factory, level, golden, first_seed, false_alarm)
    asked = _chosen(laws)
    outcomes = {law.name: held_to(law, subject, law.check) for law in asked}
    return Conformance(subject.name, level, outcomes, subject.refused, false_alarm)


@dataclass(frozen=True, eq=False)
class Case:
    """One law as a test: call it. The cases of one mapping share their draws."""

    law: Law
    shared: _Shared

    def __call__(self) -> Outcome:
        """Ask the law; a law that is not concerned skips the test.

        Raises:
            LawBroken: If it is broken.
        """
        import pytest

        __tracebackhide__ = True
        outcome = held_to(self.law, self.shared.subject, self.law.check)
        if outcome.status != "holds":
            pytest.skip(f"{outcome.status}: {outcome.seen}")
        return outcome


@dataclass(frozen=True)
class _Shared:
    """What the cases of one mapping have in common, made by the first that is run."""

    make: Callable[[], Subject]

    @cached_property
    def subject(self) -> Subject:
        """The factory under examination."""
        return self.make()


def parametrize_with_laws(
    factory: Factory,
    *,
    level: LevelName = "quick",
    golden: str | None = None,
    laws: Sequence[str] | None = None,
    first_seed: int = 0,
    false_alarm: float = FALSE_ALARM,
) -> Callable[[Any], Any]:
    """A decorator that turns a test function of one argument ``law`` into a test for each law.

    The function calls its argument, and that is all: ``def test_my_mapping(law): law()``.

    Args:
        factory: As for :func:`check_mapping`.
        level: "quick" or "full".
        golden: The :func:`fingerprint` that it must have.
        laws: Names of the laws to ask, in place of all.
        first_seed: As for :func:`check_mapping`.
        false_alarm: As for :func:`check_mapping`, for all the tests together.

    Raises:
        MissingError: If pytest is not installed.
        KindError: If ``factory`` cannot be called.
        ArgumentError: If the level or a law is unknown, or a number is out of range.
    """
    try:
        import pytest
    except ModuleNotFoundError:
        raise MissingError(
            "parametrize_with_laws: pytest is not installed; install it, or call check_mapping"
        ) from None

    def make() -> Subject:
        return _subject(factory, level, golden, first_seed, false_alarm)

    make()
    shared = _Shared(make)
    return pytest.mark.parametrize(
        "law", [pytest.param(Case(law, shared), id=law.name) for law in _chosen(laws)]
    )


def _subject(
    factory: Factory, level: LevelName, golden: str | None, first_seed: int, false_alarm: float
) -> Subject:
    owner = "check_mapping"
    if not callable(factory):
        raise KindError(
            f"{owner}: {factory!r} came; a factory is called as factory(n, m, seed); pass a class"
        )
    if level not in LEVELS:
        raise ArgumentError(f"{owner}: level={level!r} came; pass one of {', '.join(LEVELS)}")
    if not 0 < false_alarm < 1:
        raise ArgumentError(f"{owner}: false_alarm={false_alarm} came; a chance between 0 and 1 is needed")
    if not is_integer(first_seed) or first_seed < 0:
        raise ArgumentError(f"{owner}: first_seed={first_seed!r} came; a whole number >= 0 is needed")
    return Subject(factory, LEVELS[level], golden, first_seed, false_alarm)


def _chosen(names: Sequence[str] | None) -> list[Law]:
    if names is None:
        return list(_LAWS)
    names = [names] if isinstance(names, str) else names
    known = {law.name: law for law in _LAWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ArgumentError(f"check_mapping: law {unknown[0]!r} came; pass some of {', '.join(known)}")
    return [law for law in _LAWS if law.name in set(names)]
