"""ONNX files that stay small: the bank once, and the hash as integer arithmetic beside it.

Left to itself the exporter would fold the hash into constants and write every weight out. Here expand is
put in terms that ONNX has, and nothing is folded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn as tnn

from nn.bridge import mapping_of
from nn.layers import factors_of
from nn.sharing import banks_of
from rpstheory.errors import ArgumentError, BackendError
from rpstheory.report.files import check_writable, write_bytes

_ATEN = torch.ops.aten


def export_onnx(model: tnn.Module, args: tuple[Any, ...], path: Path | str) -> None:
    """Write a shared model as ONNX, its bank stored once and no weight written out.

    Args:
        model: From :func:`nn.share` or :func:`nn.load`, in the mode it is to be used in.
        args: Example inputs.
        path: File to write.

    Raises:
        ArgumentError: If nothing in the model is shared.
        BackendError: If onnx or onnxscript is missing.
        DataError: If the file cannot be written.
    """
    if not (banks_of(model) or factors_of(model)):
        raise ArgumentError("export_onnx: nothing in this model is shared; use torch.onnx.export")
    check_writable(path, "export_onnx")
    program = torch.export.export(model, args)
    program = program.run_decompositions(
        {torch.ops.rps.expand.default: _expand, torch.ops.rps.expand_rows.default: _expand_rows}
    )
    program = program.run_decompositions({_ATEN.__rshift__.Tensor: _shift, _ATEN.__and__.Scalar: _and})
    try:
        written: Any = torch.onnx.export(program, args, dynamo=True, optimize=False, verbose=False)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"export_onnx: {error.name} is not installed; install the extra export "
            "(pip install 'rps-toolkit[export]')"
        ) from None
    model_proto = written.model_proto
    for node in model_proto.graph.node:
        del node.metadata_props[:]  # stack traces, several times the size of a small bank
    write_bytes(path, model_proto.SerializeToString(), "export_onnx")


def _expand(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    scale: float,
) -> torch.Tensor:
    return _at(bank, roots, edges, mapping, torch.arange(first, first + count), scale)


def _expand_rows(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    first: int,
    count: int,
    width: int,
    rows: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    column = torch.arange(first, first + width)
    return _at(bank, roots, edges, mapping, rows.to(torch.int64).unsqueeze(-1) * width + column, scale)


def _at(
    bank: torch.Tensor,
    roots: torch.Tensor,
    edges: torch.Tensor,
    mapping: str,
    position: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    which, factors = mapping_of(mapping), (scale / roots).to(bank.dtype)
    cell, sign = which.cell(position), which.sign(position).to(bank.dtype)
    begins = torch.zeros(which.m, dtype=torch.int64).scatter(0, edges[1:], torch.ones_like(edges[1:]))
    return bank[cell] * factors[torch.cumsum(begins, 0)[cell]] * sign


def _shift(value: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    return torch.bitwise_right_shift(value, bits)


def _and(value: torch.Tensor, mask: int) -> torch.Tensor:
    return torch.bitwise_and(value, torch.full_like(value, mask))
