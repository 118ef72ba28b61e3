"""The scaler and the stable ranges, exact: Fractions, enumeration, and the examples of claim 13."""

from fractions import Fraction
from functools import partial
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory import Chunk, Fold, Hashed, KeepBernoulli, KeepExact, compress, expand
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError
from rpstheory.stability import (
    effective_scaler,
    heavy_ball_range,
    quadratic_threshold,
    stability_range,
)

SCALERS = ("gamma", "v1", "none")
FUNCTIONS = (
    effective_scaler,
    partial(stability_range, smoothness=1),
    partial(heavy_ball_range, smoothness=1),
)
RATIONAL = st.fractions(min_value=Fraction(1, 9), max_value=9, max_denominator=9)
MOMENTUM = st.fractions(min_value=0, max_value=Fraction(9, 10), max_denominator=10)


@st.composite
def draws(draw, most=8):
    """A mapping and one positive Fraction per weight."""
    n, m = draw(st.integers(1, most)), draw(st.integers(1, most))
    seed = draw(st.integers(0, 2**64 - 1))
    kind = draw(st.sampled_from(("fold", "hashed", "chunk", "keep")))
    mapping = {
        "fold": lambda: Fold(n, m, seed),
        "hashed": lambda: Hashed(n, m, seed),
        "chunk": lambda: Chunk(n, m, seed, chunk=1 + seed % m),
        "keep": lambda: KeepExact(n, min(n, m), seed),
    }[kind]()
    return mapping, draw(st.lists(RATIONAL, min_size=n, max_size=n))


def members(mapping, scales):
    """The scales of the weights in each cell, one weight at a time."""
    found = [[] for _ in range(mapping.cells)]
    for i, scale in enumerate(scales):
        if mapping.sign(i):
            found[mapping.cell(i)].append(scale)
    return found


@given(draws())
def test_gamma_is_the_sum_of_squared_scales_of_a_cell(drawn):
    mapping, scales = drawn
    expected = [sum(s * s for s in cell) or 1 for cell in members(mapping, scales)]
    assert effective_scaler(mapping, scales).tolist() == expected


@given(draws())
def test_v1_is_the_squared_sum_over_the_number_of_weights(drawn):
    mapping, scales = drawn
    expected = [sum(cell) ** 2 / len(cell) if cell else 1 for cell in members(mapping, scales)]
    assert effective_scaler(mapping, scales, "v1").tolist() == expected


@given(draws())
def test_v1_equals_gamma_where_the_scales_of_a_cell_are_equal_and_is_smaller_elsewhere(drawn):
    mapping, scales = drawn
    gamma, v1 = effective_scaler(mapping, scales), effective_scaler(mapping, scales, "v1")
    for cell, large, small in zip(members(mapping, scales), gamma, v1, strict=True):
        assert small == large if len(set(cell)) <= 1 else large / len(cell) < small < large


@given(draws())
def test_no_scaler_divides_by_one(drawn):
    assert set(effective_scaler(*drawn, "none")) == {1}


@given(draws())
def test_the_scaler_is_the_diagonal_of_the_operator(drawn):
    mapping, scales = drawn
    rows = expand(
        mapping,
        np.array(
            [[Fraction(int(i == j)) for i in range(mapping.cells)] for j in range(mapping.cells)],
            dtype=object,
        ),
    ) * np.array(scales)
    gram = rows @ rows.T
    gamma = effective_scaler(mapping, scales)
    for j, cell in enumerate(members(mapping, scales)):
        assert gram[j].tolist() == [gamma[j] if i == j and cell else 0 for i in range(mapping.cells)]


@given(draws(), RATIONAL, st.sampled_from(("gamma", "v1")))
def test_the_scaler_is_of_degree_two_in_the_scales(drawn, c, scaler):
    mapping, scales = drawn
    used = np.array([bool(cell) for cell in members(mapping, scales)])
    shrunk = effective_scaler(mapping, [s / c for s in scales], scaler)
    assert (shrunk[used] * c * c == effective_scaler(mapping, scales, scaler)[used]).all()


@given(draws())
def test_floats_that_are_integers_give_the_exact_scaler(drawn):
    mapping, scales = drawn
    whole = [s.numerator for s in scales]
    floats = effective_scaler(mapping, np.array(whole, dtype=np.float64))
    assert floats.dtype == np.float64
    assert floats.tolist() == effective_scaler(mapping, whole).tolist()


@given(draws(), RATIONAL)
def test_the_range_under_gamma_is_two_over_the_smoothness_whatever_the_bank(drawn, smoothness):
    low, upper = stability_range(*drawn, smoothness)
    assert (low, upper) == (0, 2 / smoothness)
    assert isinstance(upper, Fraction)


@given(draws(), RATIONAL, st.sampled_from(SCALERS))
def test_the_range_is_sharp_on_an_isotropic_quadratic(drawn, smoothness, scaler):
    mapping, scales = drawn
    upper = stability_range(mapping, scales, smoothness, scaler)[1]
    theta = np.array([Fraction(1)] * mapping.cells, dtype=object)
    w = expand(mapping, theta) * np.array(scales)
    gradient = compress(mapping, smoothness * w * np.array(scales))
    after = theta - upper * gradient / effective_scaler(mapping, scales, scaler)
    assert after.min() == -1
    assert after.max() <= 1


@given(draws(), MOMENTUM, st.booleans(), st.sampled_from(SCALERS))
def test_momentum_moves_the_end_to_where_a_root_of_the_recursion_reaches_minus_one(
    drawn, mu, nesterov, scaler
):
    plain = stability_range(*drawn, 1, scaler)[1]
    push = 2 * stability_range(*drawn, 1, scaler, mu, nesterov)[1] / plain  # step times curvature
    z = -1
    if nesterov:
        assert z * z - (1 + mu) * (1 - push) * z + mu * (1 - push) == 0
    else:
        assert z * z - (1 + mu - push) * z + mu == 0


@given(draws(), MOMENTUM, st.sampled_from(SCALERS))
def test_heavy_ball_is_safe_on_a_shorter_range(drawn, mu, scaler):
    plain = stability_range(*drawn, 3, scaler)[1]
    assert heavy_ball_range(*drawn, 3, scaler, mu) == (0, (1 - mu) * plain)


def one_step(scaler, step):
    """What a step on |w|^2/2 multiplies the one cell by, scales 1 and 3."""
    mapping, scales = Fold(2, 1, 0), np.array([Fraction(1), Fraction(3)], dtype=object)
    theta = np.array([Fraction(1)], dtype=object)
    gradient = compress(mapping, expand(mapping, theta) * scales * scales)
    return (theta - step * gradient / effective_scaler(mapping, [1, 3], scaler))[0]


def test_v1_diverges_at_a_step_that_gamma_survives():
    assert one_step("v1", Fraction(9, 5)) == Fraction(-5, 4)
    assert one_step("gamma", Fraction(9, 5)) == Fraction(-4, 5)


def test_v1_leaves_the_range_by_nearly_the_number_of_weights():
    scales = [1, *[Fraction(1, 10**6)] * 3]
    upper = stability_range(Fold(4, 1, 0), scales, 2, "v1")[1]
    assert Fraction(1, 4) < upper < Fraction(1, 4) * (1 + Fraction(1, 10**5))


def test_heavy_ball_cycles_inside_the_range_of_quadratics():
    def slope(w):
        return 25 * w if w < 1 else w + 24 if w < 2 else 25 * w - 24

    step, mu = Fraction(1, 9), Fraction(4, 9)
    one = (Fold(1, 1, 0), [1], 25)
    assert heavy_ball_range(*one, momentum=mu)[1] < step < stability_range(*one, momentum=mu)[1]
    start = Fraction(792, 1225), Fraction(-2208, 1225), Fraction(2592, 1225)
    path = list(start)
    for _ in range(6):
        path.append(path[-1] - step * slope(path[-1]) + mu * (path[-1] - path[-2]))
    assert tuple(path) == start * 3


def test_floats_give_floats():
    low, upper = stability_range(Hashed(4, 2, 0), np.ones(4), 2.0, momentum=0.5)
    assert (low, upper) == (0, 1.5)
    assert type(upper) is float


@given(draws(), st.integers(0, 2**32), st.sampled_from(SCALERS), st.booleans())
def test_the_threshold_on_a_quadratic_is_that_of_the_banks_hessian(drawn, seed, scaler, nesterov):
    mapping, scales = drawn
    floats = np.array([float(s) for s in scales])
    factor = np.random.default_rng(seed).integers(-3, 4, (mapping.n, mapping.n))
    hessian = factor.T @ factor + np.eye(mapping.n)
    rows = expand(mapping, np.eye(mapping.cells)) * floats
    bank = rows @ hessian @ rows.T / effective_scaler(mapping, floats, scaler)[:, None]
    top = np.abs(np.linalg.eigvals(bank)).max()
    mu = 0.5
    expected = (2 * 1.5 / 2 if nesterov else 2 * 1.5) / top
    found = quadratic_threshold(mapping, scales, hessian, scaler, mu, nesterov)
    # similar matrices; scales differ by at most 81, so eigenvalues are good to 1e-10
    assert abs(found / expected - 1) < 1e-10


@given(draws(), st.integers(0, 2**32))
def test_sharing_under_gamma_is_never_less_stable_than_dense_training(drawn, seed):
    mapping, scales = drawn
    factor = np.random.default_rng(seed).standard_normal((mapping.n, mapping.n))
    hessian = factor.T @ factor
    dense = 2 / np.linalg.eigvalsh(hessian)[-1]
    assert quadratic_threshold(mapping, scales, hessian) >= dense * (1 - 1e-12)  # rounding of eigenvalues


def test_a_flat_loss_has_no_threshold():
    assert quadratic_threshold(Fold(3, 2, 0), [1, 1, 1], np.zeros((3, 3))) == inf


def test_a_bank_without_weights_has_no_upper_end():
    draws_of_one = (KeepBernoulli(8, 1, seed) for seed in range(100))
    nothing = next(draw for draw in draws_of_one if not draw.sign(range(8)).any())
    assert stability_range(nothing, [1] * 8, 1)[1] == inf


@pytest.mark.parametrize("function", FUNCTIONS)
def test_scales_must_be_one_per_weight(function):
    with pytest.raises(ShapeError, match=r"shape \(3,\) came, the mapping has n=4 weights"):
        function(Fold(4, 2, 0), [1, 2, 3])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_scales_must_be_one_row(function):
    with pytest.raises(ShapeError, match=r"scales of shape \(2, 4\) came; pass one row, \(4,\)"):
        function(Fold(4, 2, 0), np.ones((2, 4)))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bad", [0, -1])
def test_scales_must_be_positive(function, bad):
    with pytest.raises(ArgumentError, match=f"scales hold {bad}; every scale must be positive"):
        function(Fold(4, 2, 0), [1, 2, 3, bad])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_scales_must_be_finite(function):
    with pytest.raises(DataError, match="the data hold nan or inf"):
        function(Fold(2, 2, 0), [1.0, float("nan")])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_scaler_is_named(function):
    with pytest.raises(ArgumentError, match="scaler='v5' came; pass one of gamma, v1, none"):
        function(Fold(2, 2, 0), [1, 1], scaler="v5")


@pytest.mark.parametrize("bad", [0, -1, inf, float("nan")])
def test_smoothness_must_be_positive_and_finite(bad):
    with pytest.raises(ArgumentError, match=f"smoothness={bad} came; a positive finite number"):
        stability_range(Fold(2, 2, 0), [1, 1], bad)


@pytest.mark.parametrize("bad", ["1", None, True, 1j])
def test_smoothness_must_be_a_real_number(bad):
    with pytest.raises(KindError, match="smoothness=.* came; a real number is needed"):
        stability_range(Fold(2, 2, 0), [1, 1], bad)


@pytest.mark.parametrize("bad", [-0.1, 1, 1.5, float("nan")])
@pytest.mark.parametrize("function", [stability_range, heavy_ball_range])
def test_momentum_must_be_below_one(function, bad):
    with pytest.raises(ArgumentError, match=f"momentum={bad} came; 0 <= momentum < 1 is needed"):
        function(Fold(2, 2, 0), [1, 1], 1, momentum=bad)


@pytest.mark.parametrize(
    ("error", "hessian", "message"),
    [
        (ShapeError, np.eye(3), r"an array of shape \(3, 3\) came, the mapping has n=2"),
        (ShapeError, np.ones((3, 2)), r"a matrix of shape \(3, 2\) came; \(2, 2\) is needed; pass the Hess"),
        (DataError, [[1.0, 2.0], [0.0, 1.0]], "the matrix is not symmetric; pass the Hessian"),
        (DataError, [[1e-9, 5e-9], [0.0, 1e-9]], "the matrix is not symmetric; pass the Hessian"),
        (DataError, [[1.0, inf], [inf, 1.0]], "the data hold nan or inf"),
        (DataError, [[1e-9, 0.0], [0.0, -1e-9]], "the Hessian has the eigenvalue -1e-09, along which every"),
        (KindError, [[1j, 0], [0, 1]], "data of dtype complex128 came; pass real numbers"),
    ],
)
def test_the_hessian_must_be_real_symmetric_and_positive_semidefinite(error, hessian, message):
    with pytest.raises(error, match=f"^quadratic_threshold: {message}"):
        quadratic_threshold(Fold(2, 2, 0), [1, 1], hessian)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_scales_whose_squares_are_no_floats_are_refused(size):
    for scaler in ("gamma", "v1"):
        with pytest.raises(DataError, match="^effective_scaler: squares of the scales leave the range of fl"):
            effective_scaler(Fold(4, 2, 0), [size] * 4, scaler)
        with pytest.raises(DataError, match="^stability_range: squares of the scales leave the range of flo"):
            stability_range(Fold(4, 2, 0), [size] * 4, 1, scaler)
    assert effective_scaler(Fold(4, 2, 0), [size] * 4, "none").tolist() == [1.0, 1.0]
    assert effective_scaler(Fold(4, 2, 0), [Fraction(size)] * 4).tolist() == [2 * Fraction(size) ** 2] * 2


@pytest.mark.parametrize("function", [stability_range, heavy_ball_range])
@pytest.mark.parametrize(("size", "smoothness"), [(1.0, 5e-324), (1e-100, 1e-200), (1e140, 1e100)])
def test_an_end_that_is_no_float_is_refused(function, size, smoothness):
    with pytest.raises(DataError, match=f"^{function.__name__}: the upper end leaves the range of float64"):
        function(Fold(2, 2, 0), [size] * 2, smoothness, "none")
