"""Theory beside practice: what the formulas say about a trained network, and what is measured in it.

Each part predicts numbers from a run's own weights and activations, and measures them: checks with designed
error rates and verdicts, as in ``rps verify``. Names load on first use, as those of :mod:`nn`.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Practice": "nn.practice.practising",
    "Trained": "nn.practice.network",
    "practice": "nn.practice.practising",
    "trained": "nn.practice.network",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'nn.practice' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
