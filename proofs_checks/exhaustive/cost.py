"""Claim 19 by exhaustion: what a product with shared weights multiplies, adds, reads and writes.

Shows: small products, executed on a machine that counts, over every draw at the sizes listed: that every way
of reading the weights gives the dense product, and what each costs. A cached bank is read once per cell.
Does not show: time; caches that hold a part of the bank (claim 10 has its lines).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from proofs_checks import universes as u
from proofs_checks.check import Check, Level, require


@dataclass
class Machine:
    """Counts what it does with weights.

    Attributes:
        multiplied: Products of two numbers.
        added: Sums of two numbers.
        read: Words loaded from memory.
        written: Words stored to memory.
        cache: Cells that a cache holds.
    """

    multiplied: int = 0
    added: int = 0
    read: int = 0
    written: int = 0
    cache: dict[int, int] = field(default_factory=dict)

    def load(self, memory: list[int], place: int) -> int:
        """A word from memory."""
        self.read += 1
        return memory[place]

    def load_cached(self, memory: list[int], place: int) -> int:
        """A word from memory the first time, from the cache afterwards."""
        if place not in self.cache:
            self.cache[place] = self.load(memory, place)
        return self.cache[place]

    def store(self, memory: list[int], value: int) -> None:
        """A word more in memory."""
        self.written += 1
        memory.append(value)

    def dot(self, left: Iterable[int], right: Iterable[int]) -> int:
        """Sum of products of two rows."""
        terms = [a * b for a, b in zip(left, right, strict=True)]
        self.multiplied += len(terms)
        return self.sum(terms)

    def sum(self, terms: list[int]) -> int:
        """Sum of at least one number."""
        self.added += len(terms) - 1
        return sum(terms)


@dataclass(frozen=True)
class Layer:
    """A shared matrix, row by row.

    Attributes:
        cells: Cell of each weight.
        signs: Sign of each weight.
        bank: The shared words.
        width: Weights of a row.
    """

    cells: list[int]
    signs: list[int]
    bank: list[int]
    width: int

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.cells)

    @property
    def rows(self) -> Iterator[range]:
        """Places of the weights of each row."""
        return (range(first, first + self.width) for first in range(0, self.n, self.width))


Product = Callable[[Layer, list[int], Machine], list[int]]


def dense(layer: Layer, x: list[int], machine: Machine) -> list[int]:
    """Weights that are stored, each for itself."""
    weights = [g * layer.bank[c] for c, g in zip(layer.cells, layer.signs, strict=True)]
    return [machine.dot((machine.load(weights, i) for i in row), x) for row in layer.rows]


def expand_first(layer: Layer, x: list[int], machine: Machine) -> list[int]:
    """The weights written out from a cached bank, then read again."""
    weights: list[int] = []
    for cell, sign in zip(layer.cells, layer.signs, strict=True):
        machine.store(weights, sign * machine.load_cached(layer.bank, cell))
    return [machine.dot((machine.load(weights, i) for i in row), x) for row in layer.rows]


def fused(layer: Layer, x: list[int], machine: Machine) -> list[int]:
    """Every weight taken from a cached bank where it is used."""
    bank = layer.bank
    return [
        machine.dot((layer.signs[i] * machine.load_cached(bank, layer.cells[i]) for i in row), x)
        for row in layer.rows
    ]


def streamed(layer: Layer, x: list[int], machine: Machine) -> list[int]:
    """Every weight taken from a bank that stays in no cache."""
    return [
        machine.dot((layer.signs[i] * machine.load(layer.bank, layer.cells[i]) for i in row), x)
        for row in layer.rows
    ]


def grouped(layer: Layer, x: list[int], machine: Machine) -> list[int]:
    """Inputs of weights that share a cell added first, row by row."""
    found = []
    for row in layer.rows:
        cells = list(dict.fromkeys(layer.cells[i] for i in row))
        inputs = [
            machine.sum([layer.signs[i] * x[i - row[0]] for i in row if layer.cells[i] == c]) for c in cells
        ]
        found.append(machine.dot((machine.load_cached(layer.bank, c) for c in cells), inputs))
    return found


def layers(n: int, m: int, cells: Any) -> Iterator[Layer]:
    """Every draw of these cells, a few signs, every width that divides n."""
    signs = u.all_signs(n)[:: max(1, 2**n // 3)].tolist()
    for width in (d for d in range(1, n + 1) if n % d == 0):
        for drawn, sign in product(cells.tolist(), signs):
            yield Layer(drawn, sign, [i * i + 1 for i in range(m)], width)


def run(layer: Layer, way: Product) -> Machine:
    """What one product cost.

    Raises:
        Disproved: If it is not the dense product.
    """
    x, machine = [2 * i + 1 for i in range(layer.width)], Machine()
    right = dense(layer, x, Machine())
    found = way(layer, x, machine)
    require(found == right, f"{way.__name__} of {layer}: {found} in place of {right}")
    return machine


def flops(level: Level) -> str:
    """n products and n - rows sums, whichever way the weights are read."""
    most = level.pick(4, 5, 6)
    for n, m in product(range(1, most + 1), range(1, 5)):
        for layer in layers(n, m, u.fold_cells(n, m)):
            for way in (dense, expand_first, fused, streamed):
                require_flops(layer, way)
    return f"n <= {most}, m <= 4, every draw of fold and width that divides n"


def require_flops(layer: Layer, way: Product) -> None:
    """Do nothing if this way multiplies and adds as the dense product does."""
    machine = run(layer, way)
    found, expected = (machine.multiplied, machine.added), (layer.n, layer.n - layer.n // layer.width)
    require(found == expected, f"{way.__name__} of {layer}: {found} products and sums, dense {expected}")


def traffic(level: Level) -> str:
    """Dense n; expand first min(n, m) + n + n; fused min(n, m) cached, n streamed."""
    most = level.pick(4, 5, 6)
    for n, m in product(range(1, most + 1), range(1, 5)):
        once = min(n, m)
        for layer in layers(n, m, u.fold_cells(n, m)):
            for way, read, written in ((dense, n, 0), (expand_first, once + n, n), (fused, once, 0)):
                require_traffic(layer, way, read, written)
            require_traffic(layer, streamed, n, 0)
    return f"n <= {most}, m <= 4, every draw of fold and width that divides n; held: m words, dense n"


def require_traffic(layer: Layer, way: Product, read: int, written: int) -> None:
    """Do nothing if this way reads and writes so many words."""
    machine = run(layer, way)
    found = machine.read, machine.written
    require(found == (read, written), f"{way.__name__} of {layer}: {found} words, not {(read, written)}")


def hashed(level: Level) -> str:
    """Hashed: a cached bank is read m(1 - (1-1/m)^n) times on average, less than min(n, m) for n, m > 1."""
    most = level.pick(4, 5, 6)
    for n, m in product(range(2, most + 1), range(2, 4)):
        require_fewer(n, m, u.hashed_cells(n, m))
    return f"2 <= n <= {most}, m = 2, 3, every map"


def require_fewer(n: int, m: int, cells: Any) -> None:
    """Do nothing if a cached bank is read less than min(n, m) times on average, by that formula."""
    reads = [run(Layer(row, [1] * n, [1] * m, n), fused).read for row in cells.tolist()]
    found, expected = Fraction(sum(reads), len(reads)), m * (1 - (1 - Fraction(1, m)) ** n)
    require(found == expected < min(n, m), f"n={n}, m={m}: {found} reads on average, formula {expected}")


def added_first(level: Level) -> str:
    """One product per distinct cell of a row, as many sums as before; m products for d >= 2m - 1."""
    most = level.pick(5, 6, 8)
    for n, m in product(range(1, most + 1), range(1, 4)):
        for layer in layers(n, m, u.fold_cells(n, m)):
            require_grouped(layer, m)
    return f"n <= {most}, m <= 3, every draw of fold and width that divides n"


def require_grouped(layer: Layer, m: int) -> None:
    """Do nothing if grouping saves products by cell, no sum, and none at all while rows lie inside laps."""
    machine = run(layer, grouped)
    distinct = [len({layer.cells[i] for i in row}) for row in layer.rows]
    require(machine.multiplied == sum(distinct), f"{layer}: {machine.multiplied} products")
    require(machine.added == layer.n - len(distinct), f"{layer}: {machine.added} sums")
    for row, count in zip(layer.rows, distinct, strict=True):
        whole = row[0] // m == row[-1] // m
        require(not whole or count == layer.width, f"{layer}: {count} products in a row inside a lap")
        require(layer.width < 2 * m - 1 or count == m, f"{layer}: {count} products in a row of 2m-1 or more")


def whole_lines(level: Level) -> str:
    """A streamed bank fetches lines: Z + B - 1 words on average for a tile of Z inside a lap, Z <= m-B+1."""
    most = level.pick(8, 16, 32)
    for m in range(1, most + 1):
        for line in (b for b in range(1, m + 1) if m % b == 0):
            for length in range(1, m - line + 2):
                require_fetched(m, line, length, length + line - 1)
    return f"B | m <= {most}, every rotation"


def require_fetched(m: int, line: int, length: int, words: int) -> None:
    """Do nothing if a tile fetches this many words on average."""
    cells = (np.arange(m)[:, None] + np.arange(length)) % m
    fetched = [line * len(set(row)) for row in (cells // line).tolist()]
    require(sum(fetched) == m * words, f"m={m}, B={line}, Z={length}: {Fraction(sum(fetched), m)} words")


CHECKS = (
    Check(
        19,
        "operations",
        "expand first, fused, streamed: n products and n - rows sums, as dense",
        "exhaustive",
        flops,
        "inputs that share a cell are added first",
        lambda: require_flops(Layer([0, 0], [1, 1], [3], 2), grouped),
    ),
    Check(
        19,
        "words moved",
        "dense n; expand first min(n, m) + n read, n written; fused min(n, m) with the bank cached, else n",
        "exhaustive",
        traffic,
        "expanding is taken to read nothing again",
        lambda: require_traffic(Layer([0, 1, 0], [1, 1, 1], [3, 4], 3), expand_first, 2, 3),
    ),
    Check(
        19,
        "hashed cells",
        "min(n, m) reads fail for hashing: m(1 - (1-1/m)^n) on average, as cells stay unused",
        "exhaustive",
        hashed,
        "cells of a fold",
        lambda: require_fewer(3, 2, u.fold_cells(3, 2)),
        scope="fails outside",
    ),
    Check(
        19,
        "adding first",
        "one product per distinct cell, no sum less; none saved inside a lap, m products for d >= 2m - 1",
        "exhaustive",
        added_first,
        "hashed cells",
        lambda: require_grouped(Layer([0, 0], [1, 1], [3, 4], 2), 2),
    ),
    Check(
        19,
        "whole lines",
        "a streamed bank fetches Z + B - 1 words per tile of Z inside a lap on average, B | m, Z <= m-B+1",
        "exhaustive",
        whole_lines,
        "Z words",
        lambda: require_fetched(8, 2, 4, 4),
    ),
)
