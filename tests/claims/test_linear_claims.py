"""The exact predictions that live in claims 11, 12 and 18 themselves, against enumeration."""

from itertools import permutations, product

import numpy as np
import pytest

from rpstheory.claims.c11_linear_model import isotropic, power_law_spectrum
from rpstheory.claims.c12_linear_residual import Diagonal, power_law, random_order_mean
from rpstheory.claims.c18_informed_pruning import two_level_gap
from rpstheory.closed_form import mean_squared_error, norm_variance
from rpstheory.linear_model import expected_linear_residual
from rpstheory.mappings import Fold, Top

# Sums of at most a few thousand positive floats: 1e-12 is far above their rounding.
EXACT = {"rel": 1e-12, "abs": 0}


@pytest.mark.parametrize(("n", "m"), [(3, 2), (4, 2), (5, 2), (5, 3)])
def test_mean_over_random_orders_equals_all_permutations(n, m):
    s, w = np.array([1.0, 0.3, 2.0, 0.1, 5.0])[:n], np.array([1.0, 2.0, 0.5, 3.0, 1.0])[:n]
    orders = [list(order) for order in permutations(range(n))]
    exact = np.mean([expected_linear_residual(Fold(n, m, 0), s[o], w[o]) for o in orders])
    assert random_order_mean(Diagonal("", s, w), m) == pytest.approx(exact, **EXACT)


def test_random_order_of_the_ragged_example_is_below_pruning():
    three = Diagonal("", np.array([1.0, 1.0, 1.2]), np.ones(3))
    assert random_order_mean(three, 2) == pytest.approx(35 / 33, **EXACT)
    assert 35 / 33 < 16 / 15


def test_random_order_number_printed_in_the_claim_is_right():
    model = power_law(24)
    assert round(random_order_mean(model, 6) / model.total, 3) == 0.204


@pytest.mark.parametrize(("low", "high"), [(1.0, 9.0), (0.0, 1.0)])
def test_two_level_means_equal_all_data_sets(low, high):
    n, m, share = 8, 2, 0.3
    fold = top = 0.0
    for bits in product((0, 1), repeat=n):
        x = np.sqrt(np.where(bits, high, low))
        chance, energy = share ** sum(bits) * (1 - share) ** (n - sum(bits)), float(x @ x)
        if energy:
            fold += chance * float(norm_variance(Fold(n, m, 0), x)) / energy**2
            top += chance * float(mean_squared_error(Top(x, m), x, x)) / energy**2
    assert two_level_gap(n, m, low, high, share) == pytest.approx((fold, top), **EXACT)


def test_regressions_are_what_they_say():
    steep, flat = power_law_spectrum(8), isotropic(np.array([1.0, -2.0]))
    assert np.linalg.eigvalsh(steep.gram)[::-1] == pytest.approx(np.arange(1, 9) ** -2.0, rel=1e-10)
    assert steep.loss(steep.best) == pytest.approx(steep.energy / 11, rel=1e-9)  # the noise: 0.1 of 1.1
    assert flat.loss(flat.best) == 0
