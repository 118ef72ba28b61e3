"""Randomized parameter sharing for PyTorch models, at its true memory cost.

Names load on first use: ``import nn`` is light, and torch comes with the first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "nn.advice.advising": ("Advice", "advise"),
    "nn.cross_layer.planning": ("LayersPlan", "plan_layers"),
    "nn.cross_layer.sharing": ("share_layers",),
    "nn.exporting": ("export_onnx",),
    "nn.fitting": ("fit",),
    "nn.planning": ("Plan", "plan"),
    "nn.pruning.methods": ("prune",),
    "nn.reporting": ("Report", "report"),
    "nn.saving": ("load", "save"),
    "nn.sharing": ("share", "to_dense"),
}
_WHERE = {name: home for home, names in _HOME.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'nn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
