"""Laws of S itself, draw by draw: its adjoint, how full its cells are, and when it loses nothing."""

from __future__ import annotations

from itertools import combinations
from math import expm1, log
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.conformance.declared import meeting
from rpstheory.conformance.law import Law, Outcome
from rpstheory.conformance.sizes import ORDINARY, WIDE, WIDE_DRAWS, WIDE_UNUSED
from rpstheory.conformance.subject import Guarded, Sample, Subject
from rpstheory.operator import compress, expand

if TYPE_CHECKING:
    from collections.abc import Callable


def matrix(mapping: Guarded) -> Any:
    """S, (cells, n) int64, written down one position at a time."""
    mapping.answers(range(mapping.n))  # in their range, or else a counter-example
    dense = np.zeros((mapping.cells, mapping.n), dtype=np.int64)
    for i in range(mapping.n):
        dense[mapping.integer("cell", i), i] = mapping.integer("sign", i)
    return dense


def operators(mapping: Guarded) -> list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Whose, compress and expand: this package's, and its own where it brings both."""
    pairs: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
        ("rpstheory's", lambda x: compress(mapping.as_mapping, x), lambda z: expand(mapping.as_mapping, z))
    ]
    if mapping.declared("compress") is not None and mapping.declared("expand") is not None:
        pairs.append(("its own", lambda x: mapping.call("compress", x), lambda z: mapping.call("expand", z)))
    return pairs


def check_adjoint(subject: Subject) -> Outcome:
    """compress is S, and expand its transpose."""
    count = 0
    for mapping in subject.draws((*subject.level.small, *ORDINARY)):
        count += 1
        dense = matrix(mapping)
        for whose, narrow, widen in operators(mapping):
            for i, x in enumerate(np.eye(mapping.n, dtype=np.int64)):
                _same(mapping, (i,), f"{whose} compress of unit vector {i}", narrow(x), dense[:, i])
            for c, z in enumerate(np.eye(mapping.cells, dtype=np.int64)):
                _same(mapping, (), f"{whose} expand of unit vector {c}", widen(z), dense[c])
            x, z = np.arange(mapping.n) ** 2 - 3, np.arange(mapping.cells) ** 2 - 5
            _same(mapping, (), f"{whose} compress of {x.tolist()}", narrow(x), dense @ x)
            _same(mapping, (), f"{whose} expand of {z.tolist()}", widen(z), dense.T @ z)
    return Outcome("holds", f"{count} draws")


def check_load(subject: Subject) -> Outcome:
    """No cell holds two weights that may not meet, and none is never used."""
    samples, draws, rarest = 0, 0, 0.0
    for sample in subject.samples():
        _check_forbidden_pairs(sample)
        cells = sample.first.cells
        if sample.complete and sample.first.n >= cells:
            _check_unused_cells(sample)
            # A cell used with this chance is missed in all draws with chance share / cells.
            rarest = max(rarest, -expm1(log(subject.share / cells) / len(sample.seeds)))
        samples, draws = samples + 1, draws + len(sample.seeds)
    _check_reach(subject)
    return Outcome(
        "holds",
        f"{samples} sizes, {draws} draws",
        f"any draw of these; a cell is called unused only if used in less than {rarest:.3f} of draws",
    )


def check_pareto(subject: Subject) -> Outcome:
    """Where nothing is said to be lost, S is an isometry in every draw."""
    asked = draws = 0
    for sample in subject.samples():
        declared = sample.first.declared("pareto_continuous")
        if declared is None:
            return Outcome("not declared", "no pareto_continuous")
        if not isinstance(declared, bool | np.bool_):
            raise sample.first.wrong((), f"pareto_continuous={declared!r}; True or False is needed")
        if declared:
            _check_isometry(sample)
            asked, draws = asked + 1, draws + len(sample.seeds)
    if not asked:
        return Outcome("does not apply", "no size declares it")
    return Outcome("holds", f"{asked} sizes that declare it, {draws} draws")


def _same(mapping: Guarded, positions: tuple[int, ...], what: str, came: Any, wanted: Any) -> None:
    if not np.array_equal(came, wanted):
        raise mapping.wrong(positions, f"{what} is {np.asarray(came).tolist()}, S says {wanted.tolist()}")


def _check_forbidden_pairs(sample: Sample) -> None:
    chance = meeting(sample.first)
    if chance is None:
        return
    for i, j in combinations(range(len(sample.positions)), 2):
        met = np.flatnonzero(sample.cells[:, i] == sample.cells[:, j])
        if met.size and chance(*sample.at((i, j))) == 0:
            row = sample.cells[met[0]]
            load = np.count_nonzero(row == row[i])
            found = (
                f"both are in cell {row[i]}, but declared never to meet; it carries {load} of these weights"
            )
            raise sample.wrong((i, j), found, draw=int(met[0]))


def _check_reach(subject: Subject) -> None:
    """No large part of a large bank is out of reach."""
    for n, m in WIDE:
        first = None if subject.drops else subject.build(n, m)
        if first is None:
            continue
        used, everywhere = np.zeros(first.cells, dtype=bool), np.arange(n)
        for seed in range(subject.first_seed, subject.first_seed + WIDE_DRAWS):
            used[subject.draw(n, m, seed).answers(everywhere)[0]] = True
            if used.mean() >= 1 - WIDE_UNUSED:
                break
        else:
            share, cell = 1 - used.mean(), np.argmin(used)
            found = f"cell {cell}, and {share:.1%} of all, carry no weight in any of {WIDE_DRAWS} draws"
            raise first.wrong((), found)


def _check_unused_cells(sample: Sample) -> None:
    carried = np.where(sample.signs != 0, sample.cells, -1)
    unused = np.setdiff1d(np.arange(sample.first.cells), carried)
    if unused.size:
        raise sample.wrong((), f"cell {unused[0]} carries no weight in any of these draws")


def _check_isometry(sample: Sample) -> None:
    if sample.first.rescale != 1:
        raise sample.first.wrong(
            (), f"it declares that nothing is lost, and rescales by {sample.first.rescale}"
        )
    dropped = np.argwhere(sample.signs == 0)
    if dropped.size:
        draw, k = dropped[0]
        raise sample.wrong((k,), "it declares that nothing is lost, and drops this weight", draw=int(draw))
    for i, j in combinations(range(len(sample.positions)), 2):
        met = np.flatnonzero(sample.cells[:, i] == sample.cells[:, j])
        if met.size:
            raise sample.wrong(
                (i, j), "it declares that nothing is lost, and both share a cell", draw=int(met[0])
            )


ADJOINT = Law(
    "adjoint",
    "compress is the matrix S that cells and signs write down, and expand its transpose, exactly",
    "the gradient of the bank is not the gradient of the loss: training goes somewhere else",
    check_adjoint,
)
LOAD = Law(
    "load",
    "weights that are declared never to meet do not, in any draw, so that no cell carries more than that "
    "allows; with n >= m every cell is used in some draw",
    "some cells are overloaded, so that their weights cannot move apart, or paid for and never trained",
    check_load,
    counted=True,
)
PARETO = Law(
    "pareto",
    "where pareto_continuous is declared, S is an isometry in every draw: no two weights share a cell, and "
    "none is dropped",
    "a model at compression 1 is not the model it was: it loses accuracy before anything is saved",
    check_pareto,
    counted=True,
)
