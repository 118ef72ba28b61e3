"""Which cell and which sign each weight gets: the single source of truth. One mapping, one file."""

from __future__ import annotations

import json
from typing import Any

from rpstheory.errors import DataError
from rpstheory.mappings.base import AbstractMapping
from rpstheory.mappings.block import Block
from rpstheory.mappings.chunk import Chunk
from rpstheory.mappings.fold import Fold
from rpstheory.mappings.hashed import Hashed
from rpstheory.mappings.keep import AbstractKeep, KeepBernoulli, KeepExact
from rpstheory.mappings.sharing import AbstractSharing
from rpstheory.mappings.top import Top

__all__ = [
    "AbstractKeep",
    "AbstractMapping",
    "AbstractSharing",
    "Block",
    "Chunk",
    "Fold",
    "Hashed",
    "KeepBernoulli",
    "KeepExact",
    "Top",
    "from_json",
]

_BY_NAME = {kind.__name__: kind for kind in (Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact)}


def from_json(text: str) -> AbstractMapping:
    """The mapping that ``to_json`` described.

    Raises:
        DataError: If the text is not such a description.
    """
    try:
        record = json.loads(text)
        kind = _BY_NAME[record.pop("mapping")]
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        return kind(**arguments)
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"from_json: {str(text)[:80]!r} describes no mapping ({error}); pass the text of to_json()"
        ) from None
