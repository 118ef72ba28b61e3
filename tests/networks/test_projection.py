"""Post-training sharing loses what claim 12 says: enumerated over every sign, every shift and every cell.

``init="project"`` solves the linear model whose features have the importance for variance, so its loss is
that of :mod:`rpstheory.linear_model`. The bank is compared with the normal equations solved in Fractions;
means are over all draws of tiny mappings, not over seeds. Weights are integers and the masses of cells
powers of two where the projection itself must be exact in float64.
"""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn as tnn

import nn
from nn.bank import Bank
from nn.gamma import Span
from nn.planning import Group, Options, Weight
from nn.sharing import banks_of, projected
from rpstheory import Fold
from rpstheory.linear_model import expected_linear_residual, linear_residual, residual_given_cells

F64 = torch.float64
KINDS = ("fold", "hashed", "chunk", "block")
EIGHT = (5, 2, 1, 1, 1, 0, 0, 0)  # mean square 4: lambda is 2
INTEGERS = (7, -1, 3, 2, -5, 4, 1, -6)


class Drawn:
    """One draw out of all, given by its cells and signs."""

    def __init__(self, cells, signs, m):
        self.cells_drawn, self.signs_drawn = np.array(cells), np.array(signs)
        self.n, self.m, self.cells = len(cells), m, m

    def cell(self, i):
        return self.cells_drawn[i]

    def sign(self, i):
        return self.signs_drawn[i]


def all_signs(n):
    return list(product((-1, 1), repeat=n))


def all_folds(n, m):
    for shifts in product(range(m), repeat=n // m):
        yield tuple((shifts[i // m] + i) % m for i in range(n))


def mean(values):
    values = list(values)
    return sum(values, Fraction(0)) / len(values)


def project(draw, w, parts):
    """What nn makes of integer weights, cut into tensors (size, lambda, importance), under one draw."""
    dense, importance, weights, spans, first = {}, {}, [], [], 0
    for place, (size, scale, h) in enumerate(parts):
        name = str(place)
        dense[name] = torch.tensor(w[first : first + size], dtype=F64)
        importance[name] = torch.full((size,), float(h), dtype=F64)
        weights.append(Weight(name, (), "Linear", (size,), 8, "float64"))
        spans.append(Span(first, size, float(scale)))
        first += size
    owner = tnn.Module()
    owner.register_parameter("bank", tnn.Parameter(torch.zeros(draw.m, dtype=F64)))
    bank = Bank(owner, "bank", draw, spans, "none")
    group = Group("", tuple(weights), draw.m, 0, Options(1.0, scaler="none"))
    theta = projected(bank, group, dense, importance)
    scales = torch.cat([torch.full((size,), float(scale), dtype=F64) for size, scale, _ in parts])
    return scales * torch.from_numpy(draw.signs_drawn) * theta[torch.from_numpy(draw.cells_drawn)]


def loss(found, w, parts):
    h = [each for size, _, each in parts for _ in range(size)]
    exact = [Fraction(value) for value in found.tolist()]
    return sum(a * (b - c) ** 2 for a, b, c in zip(h, w, exact, strict=True))


def best_loss(cells, signs, m, h, w, scales):
    """Least weighted squared error, from the normal equation of every cell."""
    lost = Fraction(0)
    for cell in range(m):
        own = [i for i in range(len(w)) if cells[i] == cell]
        mass = sum(h[i] * scales[i] ** 2 for i in own)
        pull = sum(signs[i] * h[i] * scales[i] * w[i] for i in own)
        theta = Fraction(pull, mass) if mass else Fraction(0)
        lost += sum(h[i] * (w[i] - signs[i] * scales[i] * theta) ** 2 for i in own)
    return lost


# ------------------------------------------------------------------------- the bank of nn.share


def shuffled(values, times, dice):
    signed = np.tile(values, times) * dice.choice([-1, 1], len(values) * times)
    return torch.tensor(dice.permutation(signed), dtype=F64)


@pytest.fixture
def net():
    dice = np.random.default_rng(0)
    net = tnn.Sequential(*(tnn.Linear(32, 32, bias=False, dtype=F64) for _ in range(2)))
    for layer, factor in zip(net, (1, 4), strict=True):  # lambda 2 and 8
        layer.weight.data = factor * shuffled(EIGHT, 128, dice).view(32, 32)
    return net


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mapping", KINDS)
def test_bank_solves_the_normal_equations_with_one_rounding(net, mapping, weighted):
    dice = np.random.default_rng(1)
    h = {f"{i}.weight": torch.tensor(dice.integers(0, 5, (32, 32)), dtype=F64) for i in (0, 1)}
    given = h if weighted else None
    shared = nn.share(net, 5, mapping=mapping, init="project", importance=given, scaler="none", seed=2)
    (bank,) = banks_of(shared)
    pull, mass = [0] * bank.mapping.m, [0] * bank.mapping.m
    place = np.arange(2048)
    cells, signs = bank.mapping.cell(place).tolist(), bank.mapping.sign(place).tolist()
    for i, (cell, sign) in enumerate(zip(cells, signs, strict=True)):
        layer, scale = i // 1024, (2, 8)[i // 1024]
        w = int(net[layer].weight.flatten()[i % 1024])
        each = int(h[f"{layer}.weight"].flatten()[i % 1024]) if weighted else 1
        pull[cell] += sign * each * scale * w
        mass[cell] += each * scale * scale
    expected = [float(Fraction(a, b)) if b else 0.0 for a, b in zip(pull, mass, strict=True)]
    assert shared.shared_bank.tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_shared_network_loses_the_residual_of_claim_12_to_the_last_bit(seed):
    """Four laps of lambda 2 and three of lambda 4: every cell has mass 4 * 4 + 3 * 16 = 64."""
    dice, m = np.random.default_rng(seed), 512
    net = tnn.Sequential(tnn.Linear(m, 4, bias=False, dtype=F64), tnn.Linear(m, 3, bias=False, dtype=F64))
    net[0].weight.data = shuffled(EIGHT, m // 2, dice).view(4, m)
    net[1].weight.data = 2 * shuffled(EIGHT, 3 * m // 8, dice).view(3, m)
    shared = nn.share(net, 7, init="project", scaler="none", seed=seed)
    lost = sum((a.weight - b.weight).square().sum().item() for a, b in zip(net, shared, strict=True))
    (bank,) = banks_of(shared)
    w = [int(value) for layer in net for value in layer.weight.flatten()]
    assert bank.mapping == Fold(7 * m, m, seed)
    assert lost == linear_residual(bank.mapping, [1] * 7 * m, w, [2] * 4 * m + [4] * 3 * m)


# --------------------------------------------------------------------------------- means over draws


@pytest.mark.parametrize(("n", "m"), [(4, 2), (6, 3), (8, 2), (4, 1), (8, 8)])
def test_a_fold_of_equal_scales_loses_one_minus_m_over_n_whatever_the_weights_and_shifts(n, m):
    w, parts = INTEGERS[:n], [(n, 1, 1)]
    energy = sum(value * value for value in w)
    for cells in list(all_folds(n, m))[::3]:
        lost = mean(loss(project(Drawn(cells, s, m), w, parts), w, parts) for s in all_signs(n))
        assert lost / energy == 1 - Fraction(m, n)


def test_unequal_scales_and_importance_keep_their_share_of_the_cell():
    """Masses 1^2 * 4 and 2^2 * 3 of 16: the first tensor keeps a quarter of its energy, the second 3/4."""
    m, w = 3, INTEGERS[:6]
    parts = [(3, 1, 4), (3, 2, 3)]
    expected = sum(4 * v * v * Fraction(3, 4) for v in w[:3]) + sum(3 * v * v * Fraction(1, 4) for v in w[3:])
    for cells in all_folds(6, m):
        draws = [Drawn(cells, signs, m) for signs in all_signs(6)]
        assert mean(loss(project(draw, w, parts), w, parts) for draw in draws) == expected
        assert residual_given_cells(draws[0], [4] * 3 + [3] * 3, w, [1] * 3 + [2] * 3) == expected


def test_mean_over_signs_of_a_projected_weight_is_its_share_of_itself():
    """1/k at equal scales: projection does not only add noise, it shrinks."""
    n, m, w, parts = 8, 2, INTEGERS, [(8, 1, 1)]
    for cells in list(all_folds(n, m))[::5]:
        found = sum(project(Drawn(cells, signs, m), w, parts) for signs in all_signs(n))
        assert (found * 4 / 2**n).tolist() == list(map(float, w))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (4, 2), (4, 3), (3, 4)])
def test_hashed_loses_more_by_its_empty_cells(n, m):
    w, one = INTEGERS[:n], [1] * n
    energy = sum(value * value for value in w)
    lost = mean(
        best_loss(cells, signs, m, one, w, one)
        for cells in product(range(m), repeat=n)
        for signs in all_signs(n)
    )
    assert lost / energy == 1 - Fraction(m, n) * (1 - (1 - Fraction(1, m)) ** n)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("h", [(1, 1, 1, 1), (3, 0, 1, 5)])
@pytest.mark.parametrize("scales", [(1, 1, 1, 1), (4, 1, 2, 1)])
def test_mean_over_signs_is_never_below_pruning_to_as_many_weights(n, h, scales):
    w = INTEGERS[:n]
    energy = sorted(a * b * b for a, b in zip(h, w, strict=False))
    for m in range(1, n + 1):
        dropped = sum(energy[: n - m])
        for cells in product(range(m), repeat=n):
            signs = all_signs(n)
            assert mean(best_loss(cells, each, m, h, w, scales) for each in signs) >= dropped


def test_one_draw_can_beat_pruning():
    assert best_loss((0, 0), (1, 1), 1, (1, 1), (1, 1), (1, 1)) == 0  # pruning to one weight loses 1


@pytest.mark.parametrize("compression", [2, 4, 8])
def test_closed_form_over_all_draws_of_a_fold_is_one_minus_m_over_n(compression):
    """The value of the integral in rpstheory, right to 12 digits."""
    n = 8 * compression
    w = np.random.default_rng(0).standard_normal(n)
    found = expected_linear_residual(Fold(n, 8, 0), np.ones(n), w) / (w @ w)
    assert found == pytest.approx(1 - 1 / compression, rel=1e-12)


@pytest.mark.parametrize("w", [(1, 1, 3, 3), (2, -2, 5, 5), (4, 4, 4, 4)])
def test_scales_that_follow_the_weights_lose_at_most_the_loss_of_equal_ones(w):
    """Two tensors with |w| = lambda; equal only where the two scales are."""
    energy, scales = sum(v * v for v in w), [abs(v) for v in w]
    for cells in all_folds(4, 2):
        lost = mean(best_loss(cells, signs, 2, (1, 1, 1, 1), w, scales) for signs in all_signs(4))
        assert lost == sum(
            2 * Fraction((v * u) ** 2, v * v + u * u)
            for v, u in [(w[0], w[cells.index(cells[0], 1)]), (w[1], w[cells.index(cells[1], 2)])]
        )
        assert (lost < energy / Fraction(2)) == (len(set(scales)) > 1)


def test_scales_against_the_weights_lose_more_than_equal_ones():
    for scales, kept in (((1, 1), 5), ((1, 3), Fraction(9, 5))):
        lost = mean(best_loss((0, 0), signs, 1, (1, 1), (3, 1), scales) for signs in all_signs(2))
        assert 10 - lost == kept
