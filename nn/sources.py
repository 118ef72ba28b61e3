"""By which code numbers were made, in a line: two of them can be told apart where a version is the same."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch

import nn
import rpstheory

HASHED = 16  # hexadecimal digits


@cache
def code_but_for(*left_out: str) -> str:
    """The version of torch, and a digest of the sources of nn and of the mappings, at the first call.

    Args:
        left_out: Files and folders of nn that make none of these numbers.
    """
    theory, here = Path(rpstheory.__file__).parent, Path(nn.__file__).parent
    own = [path for path in here.rglob("*.py") if path.relative_to(here).parts[0] not in left_out]
    own += [*theory.glob("mappings/**/*.py"), theory / "hashing.py"]
    digest = hashlib.sha256()
    for path in sorted(own):
        digest.update(path.read_bytes())
    return f"torch {torch.__version__}, sources {digest.hexdigest()[:HASHED]}"
