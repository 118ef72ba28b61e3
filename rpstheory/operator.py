r"""What a mapping does to a vector: $z = S x$ and its adjoint $w = S^\top z$, matrix-free.

Knows no formula: the closed forms live in a room of their own, so that agreement is evidence.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rpstheory.backend import arange_like, array_of, namespace, scatter_add
from rpstheory.errors import KindError, ShapeError
from rpstheory.mappings import AbstractMapping


def compress(mapping: AbstractMapping, x: Any) -> Any:
    r"""Sum the signed weights that share a cell, $z = S x$.

    Args:
        mapping: Says which cell and sign each weight has.
        x: Weights (…, n), any array kind, real or integer, or objects such as ``Fraction``.

    Returns:
        (…, cells) in the kind, type and unit of ``x``, integers of fewer bits as int64; exact for
        integers whose sums fit: beyond, int64 wraps as everywhere in NumPy. The rescaling of pruning is
        *not* applied: ``mapping.rescale * <Sx, Sy>`` is the unbiased product.

    Raises:
        KindError: If ``x`` is not an array of numbers.
        ShapeError: If the last axis of ``x`` does not have n entries.

    Example:
        >>> from rpstheory import Fold
        >>> int(compress(Fold(n=3, m=3, seed=0), np.array([1, 2, 3])).sum() % 2)
        0

    Source: Weinberger et al. 2009 (feature hashing); docs/notation.md for symbols.
    """
    x = _vector("compress", x, mapping.n, f"the mapping has n={mapping.n} weights")
    index = arange_like(mapping.n, x)
    return scatter_add(x * _like(mapping.sign(index), x), mapping.cell(index), mapping.cells)


def expand(mapping: AbstractMapping, z: Any) -> Any:
    r"""Read every weight from its cell, $w = S^\top z$: the adjoint of :func:`compress`.

    Args:
        mapping: Says which cell and sign each weight has.
        z: One value per cell, (…, cells).

    Returns:
        (…, n) in the kind and type of ``z``, integers of fewer bits as int64; exact.

    Raises:
        KindError: If ``z`` is not an array of numbers.
        ShapeError: If the last axis of ``z`` does not have one entry per cell.

    Source: Desai & Shrivastava 2024, w = lambda S^T theta at lambda = 1.
    """
    z = _vector("expand", z, mapping.cells, f"the mapping has {mapping.cells} cells")
    index = arange_like(mapping.n, z)
    xp = namespace(z)
    return xp.take(z, mapping.cell(index), axis=-1) * _like(mapping.sign(index), z)


def load(mapping: AbstractMapping) -> Any:
    """Weights carried by each cell, (cells,) int64; dropped weights are not counted.

    Source: claim 9.
    """
    index = np.arange(mapping.n, dtype=np.int64)
    carried = np.abs(np.asarray(mapping.sign(index)))
    return np.bincount(mapping.cell(index), weights=carried, minlength=mapping.cells).astype(np.int64)


def _like(sign: Any, x: Any) -> Any:
    xp = namespace(x)
    return sign.astype(x.dtype) if xp is np else xp.astype(sign, x.dtype)


def _vector(owner: str, x: Any, size: int, expected: str) -> Any:
    x = array_of(owner, x)
    xp = namespace(x)
    if x.ndim < 1 or x.shape[-1] != size:
        raise ShapeError(
            f"{owner}: an array of shape {tuple(x.shape)} came, {expected}; "
            f"pass one value per {'weight' if owner == 'compress' else 'cell'} on the last axis"
        )
    kind = str(x.dtype).rpartition(".")[2]
    if kind.rstrip("0123456789") not in ("int", "uint", "float", "bfloat", "complex", "object"):
        raise KindError(f"{owner}: data of dtype {kind} came; pass numbers with a sign")
    if kind == "uint64":
        raise KindError(f"{owner}: data of dtype uint64 came, signs do not fit; convert to int64")
    if "int" not in kind or kind == "int64":
        return x
    return x.astype(np.int64) if xp is np else xp.astype(x, xp.int64)
