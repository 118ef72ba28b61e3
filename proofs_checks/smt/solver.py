"""A statement over the reals, proved by showing that its negation has no solution.

The solver's work is bounded by a count of its own steps, not by time, so that a verdict does not depend on
the machine. When it gives up, nothing has been shown, and that counts as a failure.

Does not show: other sizes than the statements list, nor that Z3 is right where it finds no solution; the
values of a counter-example are put in again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from proofs_checks.check import Check, Level, require

EFFORT = 50_000_000  # of the solver's resource units; far more than any statement here takes


@dataclass(frozen=True)
class Statement:
    """An implication for all values of its variables.

    Attributes:
        name: With the sizes.
        claim: What follows.
        given: From what.
    """

    name: str
    claim: Any
    given: Sequence[Any] = ()


Statements = Callable[[Level], Iterable[Statement]]


def reals(name: str, count: int) -> list[Any]:
    """Real variables."""
    return [z3.Real(f"{name}{i}") for i in range(count)]


def counter_example(statement: Statement) -> Any | None:
    """Values for which all that is given holds and the claim does not, None if there are none.

    Raises:
        Disproved: If the solver gave up.
    """
    solver = z3.Solver()
    solver.set("rlimit", EFFORT)
    solver.add(*statement.given, z3.Not(statement.claim))
    found = solver.check()
    require(found != z3.unknown, f"{statement.name}: undecided, {solver.reason_unknown()}")
    if found == z3.unsat:
        return None
    model = solver.model()
    seen = [model.eval(part, model_completion=True) for part in (*statement.given, z3.Not(statement.claim))]
    require(
        all(map(z3.is_true, seen)),
        f"{statement.name}: the solver's counter-example is none, {written(model)}",
    )
    return model


def prove(statements: Iterable[Statement]) -> int:
    """How many were proved.

    Raises:
        Disproved: If one has a counter-example, or the solver gave up.
    """
    count = 0
    for statement in statements:
        model = counter_example(statement)
        require(model is None, f"{statement.name}: {written(model)}")
        count += 1
    require(count, "no statement to prove")
    return count


def refute(statements: Iterable[Statement]) -> list[str]:
    """A counter-example for each.

    Raises:
        Disproved: If one holds, or the solver gave up.
    """
    found = []
    for statement in statements:
        model = counter_example(statement)
        require(model is not None, f"{statement.name}: holds, no counter-example")
        found.append(f"{statement.name}: {written(model)}")
    require(found, "no statement to refute")
    return found


def written(model: Any) -> str:
    """The values of a model, by name; nothing for none."""
    if model is None:
        return ""
    return ", ".join(sorted(f"{name} = {model[name]}" for name in model.decls()))


def both_ways(
    claim: int, name: str, statement: str, condition: str, inside: Statements, outside: Statements
) -> tuple[Check, Check]:
    """Two checks: the statement holds under its condition, and fails without it.

    Each is the other's twin: what is proved inside must have a counter-example outside.

    Args:
        claim: Its number.
        name: Of both.
        statement: What is shown.
        condition: What is dropped.
        inside: Statements under the condition, at a level.
        outside: The same without it, each with a counter-example.
    """

    def holds(level: Level) -> str:
        return f"{prove(inside(level))} statements proved, for all reals"

    def fails(level: Level) -> str:
        found = refute(outside(level))
        return f"{len(found)} counter-examples; {found[0]}"

    return (
        Check(
            claim,
            name,
            statement,
            "smt",
            holds,
            f"without: {condition}",
            lambda: prove(outside(Level.QUICK)),
        ),
        Check(
            claim,
            f"{name}, without its condition",
            f"fails without: {condition}",
            "smt",
            fails,
            f"with: {condition}",
            lambda: refute(inside(Level.QUICK)),
            scope="fails outside",
        ),
    )
