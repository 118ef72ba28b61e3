"""The claims: one file each, found by their number."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING

from rpstheory.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rpstheory.claim import Claim


def all_claims() -> tuple[Claim, ...]:
    """Every claim, in order of number."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[1:3].isdigit())
    return tuple(importlib.import_module(f"{__name__}.{name}").CLAIM for name in names)


def select(names: str | int | Iterable[str | int]) -> tuple[Claim, ...]:
    """The claims with these names or numbers (or this one), in order; all when there are none.

    Raises:
        ArgumentError: If a name is unknown; it suggests the nearest.
    """
    claims = all_claims()
    wanted = [str(name).strip() for name in ([names] if isinstance(names, str | int) else names)]
    if not wanted:
        return claims
    by_key = {key: c for c in claims for key in (c.name, str(c.number))}
    for name in wanted:
        if name not in by_key:
            near = difflib.get_close_matches(name, by_key, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]}?" if near else "see rps explain --all"
            raise ArgumentError(
                f"claims: {name!r} is not a claim (1 to {claims[-1].number} or a name); {hint}"
            )
    chosen = {by_key[name].number for name in wanted}
    return tuple(c for c in claims if c.number in chosen)
