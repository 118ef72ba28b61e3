"""Fast draws: NumPy reference, numba on the CPU, CuPy on a GPU; bit-equal cells and signs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rpstheory.backend import cupy, has_gpu, has_numba
from rpstheory.errors import ArgumentError, BackendError

if TYPE_CHECKING:
    from rpstheory.mappings import AbstractMapping

_MODULES = {"numpy": "reference", "numba": "cpu", "cupy": "cuda"}
BACKENDS = ("auto", *_MODULES)


def resolve(backend: str) -> str:
    """The backend that "auto" stands for here, or the one named, known to be usable.

    Raises:
        ArgumentError: If the name is unknown.
        BackendError: If it is not installed or has no device.
    """
    if backend not in BACKENDS:
        raise ArgumentError(f"backend: {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if backend == "auto":
        return "cupy" if has_gpu() else "numba" if has_numba() else "numpy"
    if backend == "numba" and not has_numba():
        raise BackendError("backend numba: numba is not installed; install it or use --backend numpy")
    if backend == "cupy":
        cupy()
    return backend


def inner_products(backend: str, mapping: AbstractMapping, x: Any, y: Any, first: int, count: int) -> Any:
    """rescale * <Sx, Sy> for draws first … first+count-1, (count,); see ``reference``.

    Mappings that no GPU kernel knows, such as a user's own, are drawn on the host.
    """
    module = importlib.import_module(f"rpstheory.kernels.{_MODULES[backend]}")
    if backend == "cupy" and not module.serves(mapping):
        module = importlib.import_module("rpstheory.kernels.reference")
    return module.inner_products(mapping, x, y, first, count)
