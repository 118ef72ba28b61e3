"""Randomized parameter sharing: mappings, exact closed forms, and claims that can be refuted.

Names load on first use, so that ``import rpstheory`` brings in neither numba nor matplotlib, and
never torch or CuPy.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "rpstheory.mappings": (
        "Block", "Chunk", "Fold", "Hashed", "KeepBernoulli", "KeepExact", "Top", "from_json",
    ),
    "rpstheory.operator": ("compress", "expand", "load"),
    "rpstheory.closed_form": (
        "expected_variance", "inner_product_variance", "mean_squared_error", "norm_variance",
        "worst_case_variance",
    ),
    "rpstheory.linear_model": ("expected_linear_residual", "linear_residual"),
    "rpstheory.stability": ("effective_scaler", "stability_range"),
    "rpstheory.verification": ("verify",),
    "rpstheory.claim": ("Verdict",),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rpstheory' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
