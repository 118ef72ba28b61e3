"""What a model costs, tensor by tensor and in total: as a table, JSON, Markdown, or a pandas frame."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Any

import torch.nn as tnn

from nn.bank import View
from nn.factors import PREFIX, Factor, Product
from nn.gamma import Stretches
from nn.layers import factors_of, own_class, views_of
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
        index_bytes: Of stored cells and signs, or of the bits of sparse factors.
        scale: lambda, where the tensor is in a bank.
        load: Least and greatest number of weights in a cell of its bank.
        gamma: Least and greatest Gamma of its bank.
        ranks: Between the factors whose product the tensor is, if it is one.
        factors: Names of these factors, from left to right; who shares with whom.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dense_params: int
    stored_params: float
    disk_bytes: float
    resident_bytes: float
    index_bytes: float = 0
    scale: float | None = None
    load: tuple[int, int] | None = None
    gamma: tuple[float, float] | None = None
    ranks: tuple[int, ...] | None = None
    factors: tuple[str, ...] | None = None

    @property
    def shared(self) -> bool:
        """Whether it is read from a bank or from factors."""
        return self.scale is not None or self.ranks is not None


@dataclass(frozen=True)
class Report:
    """What a model costs.

    Attributes:
        rows: One for each tensor.
        weights: n, compressible weights that are shared.
        cells: m, cells of all banks and numbers of all factors.
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
        index = round(sum(row.index_bytes for row in self.rows))
        numbers = "numbers of factors" if any(row.ranks for row in self.rows) else "cells"
        return (
            f"{self.compression:.4g}x of the compressible weights ({self.weights:,} in {self.cells:,} "
            f"{numbers}), {self.total_compression:.4g}x in total ({self.dense_params:,} parameters in "
            f"{self.stored_params:,}); {self.disk_bytes:,} bytes of tensors, "
            f"{self.resident_bytes:,} in memory" + (f", {index:,} of index" if index else "")
        )

    @property
    def lines(self) -> tuple[Row, ...]:
        """What tables show: every shared tensor, and one line each for what stays dense and for buffers."""
        shared = [row for row in self.rows if row.shared]
        dense = [row for row in self.rows if not row.shared and row.kind != "buffer"]
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
        heads, *body = _cells(self.lines)
        lines = [
            "| " + " | ".join(heads) + " |",
            "| :-- | :-- | " + " | ".join(["--:"] * (len(heads) - 2)) + " |",
        ]
        lines += ["| " + " | ".join(cells) + " |" for cells in body]
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
        heads, *body = _cells(self.lines)
        for place, head in enumerate(heads):
            table.add_column(head, justify="left" if place < 2 else "right")
        for cells in body:
            table.add_row(*cells)
        return table

    def __str__(self) -> str:
        """The table and the summary as plain text."""
        cells = _cells(self.lines)
        width = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = []
        for line in cells:
            left = [cell.ljust(width[c]) for c, cell in enumerate(line[:2])]
            lines.append("  ".join(left + [cell.rjust(width[c + 2]) for c, cell in enumerate(line[2:])]))
        return "\n".join([*(line.rstrip() for line in lines), self.summary, *self.remarks])


_HEAD = ("name", "kind", "shape", "dense", "stored", "bytes", "in memory", "index")
_OF_FACTORS = ("rank", "factors")
_OF_BANKS = ("lambda", "load", "Gamma")


def report(model: tnn.Module) -> Report:
    """What the model costs, shared or not.

    Args:
        model: Any module.
    """
    banks = banks_of(model)
    gamma = {id(bank): bank.gamma for bank in banks}
    rows: list[Row] = []
    factors, uses = factors_of(model), _uses(model)
    seen = {id(bank.phi) for bank in banks}
    seen |= {id(tensor) for factor in factors for tensor in (factor.parameter, factor.bits)}
    for prefix, module in model.named_modules():
        dot = f"{prefix}." if prefix else ""
        for local, view in views_of(module).items():
            if isinstance(view, Product):
                rows.append(_of_product(dot + local, module, view, uses, id(view) in seen))
            else:
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
    weights = sum(row.dense_params for row in rows if row.shared)
    cells = sum(bank.mapping.m for bank in banks) + sum(factor.parameter.numel() for factor in factors)
    remarks = [remark(bank.mapping, bank.n) for bank in banks]
    if factors:
        several = sum(uses[factor] > 1 for factor in factors)
        remarks.append(f"{len(factors)} factors, {several} of them in several weights")
    return Report(tuple(rows), weights, cells, tuple(remarks))


def _uses(model: tnn.Module) -> dict[Factor, int]:
    """How many weights read each factor."""
    views = {id(view): view for module in model.modules() for view in views_of(module).values()}
    products = [view for view in views.values() if isinstance(view, Product)]
    return Counter(factor for product in products for factor in {factor for factor, _ in product.links})


def _of_product(name: str, module: tnn.Module, view: Product, uses: dict[Factor, int], again: bool) -> Row:
    """A weight takes an equal part of each factor that several read."""
    parts = {} if again else {factor: 1 / uses[factor] for factor, _ in view.links}
    index = sum(part * factor.index_bytes for factor, part in parts.items())
    size = index + sum(part * factor.parameter.nbytes for factor, part in parts.items())
    return Row(
        name=name,
        kind=own_class(module).__name__,
        shape=view.shape,
        dense_params=0 if again else prod(view.shape),
        stored_params=sum(part * factor.parameter.numel() for factor, part in parts.items()),
        disk_bytes=size,
        resident_bytes=size,
        index_bytes=index,
        ranks=view.sizes[1:-1],
        factors=tuple(factor.name for factor, _ in view.links),
    )


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


def _cells(rows: tuple[Row, ...]) -> list[tuple[str, ...]]:
    """The heads and a line for each row; ranks, and what only banks have, where there are any."""
    factored, banked = any(row.ranks is not None for row in rows), any(row.scale is not None for row in rows)
    parts: list[tuple[tuple[str, ...], Callable[[Row], tuple[str, ...]]]] = [(_HEAD, _of_row)]
    parts += [(_OF_FACTORS, _of_factors)] if factored else []
    parts += [(_OF_BANKS, _of_bank)] if banked or not factored else []
    lines = [tuple(head for heads, _ in parts for head in heads)]
    return lines + [tuple(cell for _, cells in parts for cell in cells(row)) for row in rows]


def _of_row(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        "x".join(map(str, row.shape)),
        f"{row.dense_params:,}",
        f"{row.stored_params:,.0f}",
        f"{row.disk_bytes:,.0f}",
        f"{row.resident_bytes:,.0f}",
        f"{row.index_bytes:,.0f}",
    )


def _of_factors(row: Row) -> tuple[str, ...]:
    numbers = [name.removeprefix(PREFIX) for name in row.factors or ()]
    return " ".join(map(str, row.ranks or ())), " ".join(numbers)


def _of_bank(row: Row) -> tuple[str, ...]:
    return (
        "" if row.scale is None else f"{row.scale:.4g}",
        "" if row.load is None else _range(*row.load),
        "" if row.gamma is None else _range(*row.gamma),
    )


def _range(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"
