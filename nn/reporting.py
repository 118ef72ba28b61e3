"""What a model costs, tensor by tensor and in total: as a table, JSON, Markdown, or a pandas frame."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Any

import torch.nn as tnn

from nn.bank import View
from nn.gamma import Stretches
from nn.layers import own_class, views_of
from nn.sharing import banks_of
from rpstheory.errors import BackendError

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One tensor of the model.

    Attributes:
        name: Of the parameter or buffer.
        kind: Class of its module, or "buffer".
        shape: Of the tensor.
        dense_params: Elements in the dense model; 0 for buffers and for a name that is tied to another.
        stored_params: Elements that are stored for it; of a bank the part that its weights take.
        disk_bytes: In a checkpoint, less the header.
        resident_bytes: Held between steps, Gamma included.
        index_bytes: Of stored cells and signs.
        scale: lambda, where the tensor is shared.
        load: Least and greatest number of weights in a cell of its bank.
        gamma: Least and greatest Gamma of its bank.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dense_params: int
    stored_params: float
    disk_bytes: float
    resident_bytes: float
    index_bytes: int = 0
    scale: float | None = None
    load: tuple[int, int] | None = None
    gamma: tuple[float, float] | None = None


@dataclass(frozen=True)
class Report:
    """What a model costs.

    Attributes:
        rows: One for each tensor.
        weights: n, compressible weights that are shared.
        cells: m, cells of all banks.
        remarks: What the plan chose, in words.
    """

    rows: tuple[Row, ...]
    weights: int
    cells: int
    remarks: tuple[str, ...]

    @property
    def dense_params(self) -> int:
        """Parameters of the dense model."""
        return sum(row.dense_params for row in self.rows)

    @property
    def stored_params(self) -> int:
        """Parameters that are stored."""
        return round(sum(row.stored_params for row in self.rows if row.kind != "buffer"))

    @property
    def disk_bytes(self) -> int:
        """Bytes in a checkpoint, less the header."""
        return round(sum(row.disk_bytes for row in self.rows))

    @property
    def resident_bytes(self) -> int:
        """Bytes held between steps."""
        return round(sum(row.resident_bytes for row in self.rows))

    @property
    def compression(self) -> float:
        """The paper's: compressible weights over cells; 1 where nothing is shared."""
        return self.weights / self.cells if self.cells else 1.0

    @property
    def total_compression(self) -> float:
        """All parameters of the dense model over all that are stored."""
        return self.dense_params / max(1, self.stored_params)

    @property
    def summary(self) -> str:
        """One line."""
        index = sum(row.index_bytes for row in self.rows)
        return (
            f"{self.compression:.4g}x of the compressible weights ({self.weights:,} in {self.cells:,} "
            f"cells), {self.total_compression:.4g}x in total ({self.dense_params:,} parameters in "
            f"{self.stored_params:,}); {self.disk_bytes:,} bytes of tensors on disk, "
            f"{self.resident_bytes:,} at rest, {index:,} of index"
        )

    @property
    def lines(self) -> tuple[Row, ...]:
        """What tables show: every shared tensor, and one line each for what stays dense and for buffers."""
        shared = [row for row in self.rows if row.scale is not None]
        dense = [row for row in self.rows if row.scale is None and row.kind != "buffer"]
        buffers = [row for row in self.rows if row.kind == "buffer"]
        return (*shared, *_together("dense tensors", dense), *_together("buffers", buffers))

    def to_json(self) -> str:
        """Every row and the totals."""
        totals = {
            name: getattr(self, name)
            for name in (
                "weights", "cells", "compression", "total_compression",
                "dense_params", "stored_params", "disk_bytes", "resident_bytes",
            )
        }  # fmt: skip
        return json.dumps(
            totals | {"remarks": self.remarks, "rows": [asdict(row) for row in self.rows]}, indent=1
        )

    def to_markdown(self) -> str:
        """A table and the summary."""
        lines = [
            "| " + " | ".join(_HEAD) + " |",
            "| :-- | :-- | " + " | ".join(["--:"] * (len(_HEAD) - 2)) + " |",
        ]
        lines += ["| " + " | ".join(cells) + " |" for cells in map(_cells, self.lines)]
        return "\n".join([*lines, "", self.summary, *(f"- {text}" for text in self.remarks)]) + "\n"

    def to_pandas(self) -> Any:
        """A frame with a row for each tensor.

        Raises:
            BackendError: If pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise BackendError("report: pandas is not installed; install it, or use to_json()") from None
        return pandas.DataFrame([asdict(row) for row in self.rows], columns=[f.name for f in fields(Row)])

    def to_table(self) -> Table:
        """For rich's print."""
        from rich.table import Table

        table = Table(box=None, caption=self.summary, caption_justify="left", caption_style="none")
        for place, head in enumerate(_HEAD):
            table.add_column(head, justify="left" if place < 2 else "right")
        for row in self.lines:
            table.add_row(*_cells(row))
        return table

    def __str__(self) -> str:
        """The table and the summary as plain text."""
        heads, body = list(_HEAD), [_cells(row) for row in self.lines]
        width = [max(len(line[c]) for line in [heads, *body]) for c in range(len(heads))]
        lines = []
        for line in [heads, *body]:
            left = [cell.ljust(width[c]) for c, cell in enumerate(line[:2])]
            lines.append("  ".join(left + [cell.rjust(width[c + 2]) for c, cell in enumerate(line[2:])]))
        return "\n".join([*(line.rstrip() for line in lines), self.summary, *self.remarks])


_HEAD = ("name", "kind", "shape", "dense", "stored", "bytes", "at rest", "index", "lambda", "load", "Gamma")


def report(model: tnn.Module) -> Report:
    """What the model costs, shared or not.

    Args:
        model: Any module.
    """
    banks = banks_of(model)
    gamma = {id(bank): bank.gamma for bank in banks}
    rows: list[Row] = []
    seen = {id(bank.phi) for bank in banks}
    for prefix, module in model.named_modules():
        dot = f"{prefix}." if prefix else ""
        for local, view in views_of(module).items():
            rows.append(_of_view(dot + local, module, view, gamma[id(view.bank)], id(view) in seen))
            seen.add(id(view))
        for local, parameter in module._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            size = parameter.numel() * parameter.element_size()
            count, kind = parameter.numel(), own_class(module).__name__
            rows.append(Row(dot + local, kind, tuple(parameter.shape), count, count, size, size))
        for local, buffer in module._buffers.items():
            if buffer is not None and id(buffer) not in seen:
                seen.add(id(buffer))
                size = buffer.numel() * buffer.element_size()
                kept = 0 if local in module._non_persistent_buffers_set else size
                rows.append(Row(dot + local, "buffer", tuple(buffer.shape), 0, buffer.numel(), kept, size))
    weights, cells = sum(bank.n for bank in banks), sum(bank.mapping.m for bank in banks)
    return Report(tuple(rows), weights, cells, tuple(remark(b.mapping, b.n) for b in banks))


def remark(mapping: Any, n: int) -> str:
    """What the plan chose for a bank, in words."""
    laps, kind = -(-n // mapping.m), type(mapping).__name__
    last = n - (laps - 1) * mapping.m
    whole = (
        f"{laps} laps, m divides n"
        if last == mapping.m
        else f"{laps} laps, the last of {last:,} ({mapping.m - last:,} positions of it empty)"
    )
    return f"{kind}: n={n:,} weights over m={mapping.m:,} cells, {whole}"


def _of_view(name: str, module: tnn.Module, view: View, gamma: Stretches, again: bool) -> Row:
    bank, count = view.bank, 0 if again else prod(view.shape)
    part = count / bank.n
    size = part * bank.phi.numel() * bank.phi.element_size()
    return Row(
        name=name,
        kind=own_class(module).__name__,
        shape=view.shape,
        dense_params=count,
        stored_params=part * bank.phi.numel(),
        disk_bytes=size,
        resident_bytes=size + part * bank.table_bytes,
        scale=view.scale,
        load=(int(gamma.load.min()), int(gamma.load.max())),
        gamma=(float(gamma.square.min()), float(gamma.square.max())),
    )


def _together(what: str, rows: list[Row]) -> list[Row]:
    """One line for all rows, if there are any."""
    if not rows:
        return []
    names = ("dense_params", "stored_params", "disk_bytes", "resident_bytes")
    totals = {name: sum(getattr(row, name) for row in rows) for name in names}
    return [Row(name=f"{len(rows)} {what}", kind="", shape=(), **totals)]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        "x".join(map(str, row.shape)),
        f"{row.dense_params:,}",
        f"{row.stored_params:,.0f}",
        f"{row.disk_bytes:,.0f}",
        f"{row.resident_bytes:,.0f}",
        f"{row.index_bytes:,}",
        "" if row.scale is None else f"{row.scale:.4g}",
        "" if row.load is None else _range(*row.load),
        "" if row.gamma is None else _range(*row.gamma),
    )


def _range(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"
