"""The rooms of SymPy and Z3: every statement settled, every twin disproved, every correction kept."""

from fractions import Fraction
from itertools import product
from math import isqrt

import pytest
import sympy as sp
import z3

from proofs_checks.check import Disproved
from proofs_checks.smt import solver
from proofs_checks.smt.order import block, chunk
from proofs_checks.smt.solver import Statement, prove, reals, refute
from proofs_checks.symbolic import init_invariance, inner_products, one_x, over_data
from proofs_checks.symbolic.identities import require_identity
from proofs_checks.symbolic.stability import conditions, heavy_ball, nesterov
from proofs_checks.symbolic.sums import Family
from proofs_checks.symbolic.training import Bank


@pytest.mark.parametrize("values", [((2, 3),), ((1, -2), (3, 5)), ((1, 4), (2, -1), (-3, 7))])
def test_sums_over_a_symbolic_range_are_the_sums_written_out(values):
    family = Family("", sp.Symbol("n"), "ab")
    (a, b), (c, d) = family.at("i"), family.at("j")
    powers = list(product(range(4), repeat=2))
    known = {
        family.power_sum(p, q): sum(x**p * y**q for x, y in values) for p, q in powers if (p, q) != (0, 0)
    } | {family.size: len(values)}

    def summand(x, y, u, v):
        return x**2 * v + 3 * y * u - x * y * v + 7

    all_pairs = family.sum(summand(a, b, c, d), "i", "j").subs(known)
    apart = family.sum_distinct(summand(a, b, c, d)).subs(known)
    assert all_pairs == sum(summand(*p, *q) for p in values for q in values)
    assert apart == sum(summand(*p, *q) for i, p in enumerate(values) for j, q in enumerate(values) if i != j)


def test_identity_uses_what_its_roots_are_roots_of():
    root, square = sp.symbols("rho Gamma")
    require_identity(root**3 / root, square, "rho^2", {root: square})
    with pytest.raises(Disproved, match=r"rho\^2: the two sides differ by"):
        require_identity(root**2, square, "rho^2")


def test_a_solver_that_gives_up_has_shown_nothing(monkeypatch):
    x = reals("x", 6)
    hard = Statement("hard", z3.Sum([v**4 for v in x]) >= x[0] * x[1] * x[2] * x[3])
    monkeypatch.setattr(solver, "EFFORT", 1)
    for settle_it in (prove, refute):
        with pytest.raises(Disproved, match="hard: undecided"):
            settle_it([hard])


def test_no_statements_are_no_proof():
    for settle_it in (prove, refute):
        with pytest.raises(Disproved, match="no statement"):
            settle_it([])


def test_a_disproof_carries_its_values():
    x = z3.Real("x")
    with pytest.raises(Disproved, match="square: x = 1/2"):
        prove([Statement("square", x * x >= x, [2 * x == 1])])


# ------------------------------------------------- what theory.md has false, open, or with a condition


def test_norms_force_only_the_sum_of_the_three_pairings_to_vanish():
    found = inner_products.solutions(inner_products.error(inner_products.X).coeffs())
    free = set().union(*(sp.sympify(value).free_symbols for value in found.values()))
    assert len(free) == 2
    assert free < set(inner_products.quadruples())


@pytest.mark.parametrize("laps", [2, 3, 4, 7])
def test_rho_stays_below_its_sharp_bound_at_every_ragged_size(laps):
    # rho - 1 <= (u - sqrt(u^2 - 1))^2 with u = laps - 1, that is x + 1/x >= 4u^2 - 2 for x = rho - 1.
    u, m = laps - 1, 60
    for r in range(1, m):
        n = u * m + r
        excess = Fraction(r * (m - r), n * (n - m))
        assert excess + 1 / excess >= 4 * u * u - 2


def test_theory_bound_on_rho_is_not_sharp():
    # At k = 3 theory.md allows 1/8; the largest is 7 - 4 sqrt(3), and 1000 sqrt(3) >= isqrt(3 * 10**6).
    assert 7 - 4 * Fraction(isqrt(3 * 10**6), 1000) < Fraction(1, 8)


def test_a_mean_moves_the_threshold_of_correlated_copies():
    x, z = sp.symbols("x z")
    mean = sp.Rational(1, 2)
    law = (mean, 1, mean, 3)
    y = sp.Rational(3, 5) * x + sp.Rational(4, 5) * z
    alpha, beta, gamma = over_data.pair_moments(x, y, {x: law, z: law})
    assert gamma - alpha - 2 * beta == sp.Rational(-14, 25)


def test_block_falls_below_chunk_on_a_flat_vector_where_its_length_does_not_divide_n():
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    flat = [sum(2 * law(5, 4)(i, j) for i, j in pairs) for law in (block, chunk)]
    assert flat == [3, Fraction(16, 5)]


def broken_line(points, values, end):
    """The function through the points, continued with slope ``end``."""
    order = sorted(zip(points, values, strict=True))

    def at(point):
        if point <= order[0][0]:
            return order[0][1] + end * (point - order[0][0])
        for (low, bottom), (high, top) in zip(order, order[1:], strict=False):
            if point <= high:
                return bottom + (top - bottom) * (point - low) / (high - low)
        return order[-1][1] + end * (point - order[-1][0])

    return at


def test_nesterov_cycles_for_ever_below_its_range_on_quadratics():
    mu, cycle = Fraction(9, 10), [-11, -11, 0, 12, 16, 9, -4]
    ahead = [w + mu * (w - cycle[t - 1]) for t, w in enumerate(cycle)]
    pushes = [y - cycle[(t + 1) % 7] for t, y in enumerate(ahead)]
    order = sorted(zip(ahead, pushes, strict=True))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(order, order[1:], strict=False)]
    step = max(map(abs, slopes))
    assert step == Fraction(63, 47) < 2 * (1 + mu) / (1 + 2 * mu)
    assert min(slopes) < 0  # the loss is not convex
    push = broken_line(ahead, pushes, step)  # step times the gradient, |slope| <= step * L with L = 1
    before, w, seen = Fraction(cycle[-1]), Fraction(cycle[0]), []
    for _ in range(21):
        seen.append(w)
        y = w + mu * (w - before)
        before, w = w, y - push(y)
    assert seen == cycle * 3


def test_heavy_ball_is_drawn_into_its_cycle_on_a_strongly_convex_loss():
    mu, step = Fraction(4, 9), Fraction(1, 9)
    cycle = [Fraction(part, 1225) for part in (792, -2208, 2592)]

    def gradient(w):
        return 25 * w if w < 1 else w + 24 if w < 2 else 25 * w - 24

    before, w = cycle[1], cycle[2] + Fraction(1, 100)
    for _ in range(60):
        before, w = w, w + mu * (w - before) - step * gradient(w)
    assert abs(w - cycle[2]) < Fraction(1, 10**6)
    assert step < 2 * (1 + mu) / 25


@pytest.mark.parametrize(("rule", "end"), [(heavy_ball, Fraction(2)), (nesterov, Fraction(2))])
def test_without_momentum_both_ranges_are_those_of_gradient_descent(rule, end):
    low, high, inside = (part.subs("mu", 0) for part in conditions(rule()))
    q = sp.Symbol("q")
    assert (low, high, inside) == (q, end - q, 1)


def test_the_ratio_of_gamma_to_v1_comes_close_to_k_and_stays_below():
    # Scales 1 and 1/s: Gamma/v1 = 2 (1 + s^2)/(1 + s)^2.
    ratios = [Fraction(2 * (1 + s * s), (1 + s) ** 2) for s in (1, 10, 1000)]
    assert ratios[0] == 1
    assert Fraction(1996, 1000) < ratios[-1] < 2


@pytest.mark.parametrize(
    ("name", "values", "ratio"),
    [
        ("divided by the sum of the scales", {"C": 2}, Fraction(1, 2)),
        ("decay added before the division", {"C": 2, "G": 0, "omega": 1, "z": 1}, Fraction(4)),
        (
            "an epsilon beside Gamma",
            {"C": 1000, "epsilon": Fraction(1, 10**6), "sigma0": Fraction(3, 5), "sigma1": Fraction(4, 5)},
            Fraction(1000001, 2000000),
        ),
        ("the bank's gradient clipped", {"C": 2}, Fraction(2)),
        ("the divided gradient clipped", {"C": 2}, Fraction(1, 2)),
        ("Adam on theta", {"C": 2}, Fraction(1, 2)),
        ("AdamW on theta", {"C": 2, "delta": Fraction(1, 10), "z": 1}, Fraction(6, 11)),
        ("RMSProp on theta", {"C": 2}, Fraction(1, 2)),
    ],
)
def test_first_steps_differ_by_a_known_factor(name, values, ratio):
    way = next(way for found, way, _ in init_invariance.WAYS if found == name)
    formula = init_invariance.first_ratio(way)
    known = {letter: values[letter.name] for letter in formula.free_symbols}
    assert sp.Rational(ratio) == formula.subs(known)


@pytest.mark.parametrize("power", [0, 1, 2, 3, 4])
def test_a_divisor_of_degree_p_scales_the_first_step_by_c_to_the_p_minus_2(power):
    found = init_invariance.first_ratio(lambda _, g, bank: g / bank.sum_of_scales(power)[0])
    assert found == init_invariance.C ** (power - 2)


def test_a_rule_that_reads_the_norm_of_the_bank_leaves_dense_training_below_1x():
    bank = Bank(2, (1,), (sp.Integer(-1),), (sp.Integer(1),))
    state, slopes = (sp.Integer(4), sp.Integer(3)), (sp.Symbol("f", positive=True),)
    (dense,) = one_x.by_norm(bank.weights(state), slopes)
    (shared,) = bank.weights(one_x.by_norm(state, bank.collect(slopes)))
    eta = sp.Symbol("eta", positive=True)
    assert (dense, shared) == (-3 - 3 * eta, -3 - 5 * eta)
