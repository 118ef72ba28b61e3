"""Data sets read from their official files, decoded once, and cut into batches that are pure functions.

Nothing is downloaded: :func:`load` says where to get what is missing and where to put it. Names load on
first use, so that commands start without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "nn.data.augmentation": ("crop_flip", "normalised"),
    "nn.data.batches": ("Batches", "Feed", "feed", "split"),
    "nn.data.datasets": ("DATASETS", "Dataset", "load"),
}
_WHERE = {name: home for home, names in _HOME.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'nn.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
