"""What a mutant is: one attribute of ``rpstheory`` replaced for a while, and who has to object."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["mapping", "hash", "formula", "sampler", "statistics"]


class Survived(Exception):
    """A mutant that its catcher did not notice."""


@dataclass(frozen=True)
class Catcher:
    """A check that is content with the toolkit as it is.

    Attributes:
        name: Which check, as it is called where it lives.
        objection: What it objects to; None when it is content.
    """

    name: str
    objection: Callable[[], str | None]


@dataclass(frozen=True)
class Mutant:
    """A mistake, and who catches it.

    Attributes:
        name: A few words, unique among mutants.
        kind: What sort of thing is broken.
        broken: What is wrong, in words.
        home: What is replaced, as ``module:attribute`` or ``module:Class.attribute``.
        replacement: By what.
        catchers: Each of them must object.
    """

    name: str
    kind: Kind
    broken: str
    home: str
    replacement: Any
    catchers: tuple[Catcher, ...]

    def hunt(self) -> tuple[str, ...]:
        """What each catcher says while the mutant is in place.

        Raises:
            Survived: If one of them is content.
        """
        said = []
        with in_place(self.home, self.replacement):
            for catcher in self.catchers:
                objection = catcher.objection()
                if objection is None:
                    raise Survived(f"{self.name}: {catcher.name} is content; the mistake goes unnoticed")
                said.append(objection)
        return tuple(said)


@contextmanager
def in_place(home: str, replacement: Any) -> Iterator[None]:
    """Replace an attribute, in this process only, and bring it back whatever happens.

    A function or class is replaced in every module of ``rpstheory`` or of ``agreement`` that imported it.
    """
    module, _, path = home.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original = vars(owner)[name]
    everywhere = not outer and getattr(original, "__module__", None) == module
    places = list(_holders(original)) if everywhere else [(owner, name)]
    for place, key in places:
        setattr(place, key, replacement)
    try:
        yield
    finally:
        later = _holders(replacement) if everywhere else ()  # imported meanwhile
        for place, key in (*places, *later):
            setattr(place, key, original)


def _holders(thing: Any) -> Iterator[tuple[Any, str]]:
    """Modules of ``rpstheory``, and of what agrees with it, in which something has a name, and that name."""
    for title, module in list(sys.modules.items()):
        if title.startswith(("rpstheory", "proofs_checks.agreement")):
            yield from ((module, key) for key, value in list(vars(module).items()) if value is thing)
