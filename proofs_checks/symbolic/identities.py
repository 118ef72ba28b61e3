"""Identities between rational expressions, settled by cancelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from proofs_checks.check import require


def require_identity(left: Any, right: Any, name: str, roots: Mapping[Any, Any] | None = None) -> None:
    """Do nothing if two rational expressions are equal.

    Args:
        left: One side.
        right: The other.
        name: What is compared.
        roots: Symbols that stand for square roots, and what they are the roots of.
    """
    rest = sp.fraction(sp.cancel(sp.together(left - right)))[0]
    for root, square in (roots or {}).items():
        rest = sp.rem(sp.expand(rest), root**2 - square, root)
    require(sp.expand(rest) == 0, f"{name}: the two sides differ by {sp.factor(rest)}")
