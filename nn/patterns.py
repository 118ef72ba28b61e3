"""Names of weights and the patterns that choose them: exact, glob, or ``re:`` and a regular expression."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from rpstheory.errors import ArgumentError, KindError


def as_patterns(owner: str, name: str, given: str | Iterable[str]) -> tuple[str, ...]:
    """One pattern or several, as a tuple.

    Raises:
        KindError: If they are not text.
        ArgumentError: If a regular expression is wrong.
    """
    if not isinstance(given, Iterable):
        raise KindError(f"{owner}: {name}={given!r} came; pass names, globs or 're:' expressions")
    patterns = (given,) if isinstance(given, str) else tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise KindError(f"{owner}: {name} holds {pattern!r}; pass names, globs or 're:' expressions")
        if pattern.startswith("re:"):
            try:
                re.compile(pattern[3:])
            except re.error as error:
                raise ArgumentError(
                    f"{owner}: {name} holds {pattern!r}, which is no expression ({error})"
                ) from None
    return patterns


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern chooses the parameter ``name`` by its own name or that of its module."""
    both = (name, name.rpartition(".")[0])
    if pattern.startswith("re:"):
        return any(re.fullmatch(pattern[3:], each) for each in both)
    return any(fnmatchcase(each, pattern) for each in both)


def is_exact(pattern: str) -> bool:
    """Whether it names one thing."""
    return not pattern.startswith("re:") and not any(mark in pattern for mark in "*?[")


def require_used(owner: str, argument: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    """Do nothing if every pattern chooses something.

    Raises:
        ArgumentError: If one does not; it suggests the nearest name.
    """
    for pattern in patterns:
        if not any(matches(pattern, name) for name in names):
            modules = [name.rpartition(".")[0] for name in names]
            near = difflib.get_close_matches(pattern, [*names, *modules], n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else "nn.plan(model, compression=1) lists all names"
            raise ArgumentError(f"{owner}: {argument}={pattern!r} matches no weight of the model; {hint}")


def one_of(owner: str, argument: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is known.

    Raises:
        ArgumentError: If it is not; it suggests the nearest.
    """
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? One" if near else "one"
        raise ArgumentError(f"{owner}: {argument}={name!r} came; {hint} of {', '.join(names)} is needed")
    return name
