"""The linear model against full enumeration of starts and signs, in Fractions."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory.errors import DataError, KindError, ShapeError
from rpstheory.linear_model import (
    expected_linear_residual,
    linear_residual,
    penalty_matrix,
    residual_given_cells,
    residual_variance_over_signs,
    ridge_bound,
    ridge_value,
    ridge_weights,
)
from rpstheory.mappings import (
    AbstractMapping,
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
    Top,
)

SHARED = [
    Fold(3, 2, 0),
    Fold(4, 2, 0),
    Fold(5, 2, 0),
    Fold(5, 3, 0),
    Fold(4, 1, 0),
    Fold(3, 5, 0),
    Chunk(5, 3, 0, chunk=2),
    Chunk(5, 4, 0, chunk=3),
    Hashed(4, 3, 0),
    Hashed(5, 2, 0),
]
BLOCKS = [Block(5, 3, 0, block=2), Block(6, 4, 0, block=2, shape=None), Block(6, 5, 0, (2, 2), (2, 3))]

# Variances, weights, scales: repeated, spread out, zero; the scales 0 only in the last.
S = [Fraction(v) for v in ("3", "1/7", "1", "0", "200", "1/7")]
W = [Fraction(v) for v in ("1", "-2", "1/3", "5", "-1", "0")]
LAM = [Fraction(v) for v in ("1", "2", "1/2", "3", "0", "1")]
MODELS = [(S, W, None), (W[::-1], W, LAM), ([1] * 6, [1] * 6, None), (S, W, LAM)]
MODELS = [([abs(v) for v in s], w, lam) for s, w, lam in MODELS]


@dataclass(frozen=True)
class Drawn(AbstractMapping):
    """A draw written out."""

    cells_drawn: tuple
    signs_drawn: tuple

    def cell(self, i):
        return np.array(self.cells_drawn)[i]

    def sign(self, i):
        return np.array(self.signs_drawn)[i]


def cells_of_all_draws(mapping):
    index = [mapping.chunk_and_offset(i) for i in range(mapping.n)]
    for starts in product(range(mapping.starts), repeat=mapping.chunks):
        yield tuple((starts[chunk] + offset) % mapping.m for chunk, offset in index)


def signs_of_all_draws(n):
    return list(product((-1, 1), repeat=n))


def matrix_of(cells, signs, m, lam=None):
    rows = [[Fraction(0)] * len(cells) for _ in range(m)]
    for i, (cell, sign) in enumerate(zip(cells, signs, strict=True)):
        rows[cell][i] = sign * (Fraction(1) if lam is None else lam[i])
    return np.array(rows, dtype=object)


def solved(matrix, right):
    """Some solution of a consistent symmetric system, by elimination."""
    n = len(right)
    rows = [[*map(Fraction, matrix[i]), Fraction(right[i])] for i in range(n)]
    pivots, done = [], 0
    for column in range(n):
        found = next((r for r in range(done, n) if rows[r][column]), None)
        if found is None:
            continue
        rows[done], rows[found] = rows[found], rows[done]
        rows[done] = [v / rows[done][column] for v in rows[done]]
        for r in range(n):
            if r != done and rows[r][column]:
                rows[r] = [a - rows[r][column] * b for a, b in zip(rows[r], rows[done], strict=True)]
        pivots.append(column)
        done += 1
    assert not any(row[n] for row in rows[done:])
    answer = np.array([Fraction(0)] * n, dtype=object)
    for row, column in zip(rows, pivots, strict=False):
        answer[column] = row[n]
    return answer


def least_loss(gram, pull, energy, s):
    """min over theta of |y - X S' theta|^2, from the normal equations."""
    return energy - (s @ pull) @ solved(s @ gram @ s.T, s @ pull)


def diagonal_loss(cells, signs, m, s, w, lam):
    sigma = np.diag(np.array([Fraction(v) for v in s], dtype=object))
    w = np.array([Fraction(v) for v in w], dtype=object)
    return least_loss(sigma, sigma @ w, w @ sigma @ w, matrix_of(cells, signs, m, lam))


def cut(model, n):
    s, w, lam = model
    return s[:n], w[:n], None if lam is None else lam[:n]


def mean(values):
    values = list(values)
    return sum(values, Fraction(0)) / len(values)


# ------------------------------------------------------------------------- one draw, exactly


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mapping", [Fold(3, 2, 0), Fold(4, 1, 0), Chunk(5, 4, 0, chunk=3), Hashed(4, 3, 0)])
def test_linear_residual_is_the_least_loss_of_every_draw(mapping, model):
    n, m, (s, w, lam) = mapping.n, mapping.m, cut(model, mapping.n)
    for cells in cells_of_all_draws(mapping):
        for signs in signs_of_all_draws(n)[:: max(1, 2**n // 8)]:
            found = linear_residual(Drawn(n, m, cells, signs), s, w, lam)
            assert isinstance(found, Fraction)
            assert found == diagonal_loss(cells, signs, m, s, w, lam)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mapping", [Fold(5, 2, 0), Fold(5, 3, 0), Chunk(5, 4, 0, chunk=3)])
def test_mean_and_variance_over_signs_are_those_of_all_signs(mapping, model):
    n, m, (s, w, lam) = mapping.n, mapping.m, cut(model, mapping.n)
    for cells in set(cells_of_all_draws(mapping)):
        draws = [Drawn(n, m, cells, signs) for signs in signs_of_all_draws(n)]
        values = [linear_residual(draw, s, w, lam) for draw in draws]
        middle = mean(values)
        assert residual_given_cells(draws[0], s, w, lam) == middle
        spread = mean((v - middle) ** 2 for v in values)
        assert residual_variance_over_signs(draws[0], s, w, lam) == spread


@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 2**64 - 1),
    st.sampled_from([Fold, Hashed, KeepExact, KeepBernoulli]),
    st.data(),
)
def test_a_shipped_draw_loses_what_its_cells_and_signs_say(n, m, seed, kind, data):
    mapping = kind(n, min(m, n), seed)
    s = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    w = data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
    expected = sum(Fraction(a * b * b) for a, b in zip(s, w, strict=True))
    for cell in range(mapping.cells):
        own = [i for i in range(n) if mapping.cell(i) == cell and mapping.sign(i)]
        carried = sum(s[i] for i in own)
        pull = sum(mapping.sign(i) * s[i] * w[i] for i in own)
        expected -= Fraction(pull**2, carried) if carried else 0
    assert linear_residual(mapping, s, w) == expected


@given(st.integers(1, 30), st.integers(0, 20), st.integers(0, 2**64 - 1), st.data())
def test_fold_loses_nothing_when_every_weight_has_a_cell(n, extra, seed, data):
    mapping = Fold(n, n + extra, seed)
    s = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    w = data.draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n))
    assert linear_residual(mapping, s, w) == 0
    assert expected_linear_residual(mapping, s, w) == 0
    assert ridge_bound(mapping, s, w) == 0


def test_a_dropped_weight_loses_all_it_explains():
    mapping = Top([0, 5, 1], 1)
    assert linear_residual(mapping, [1, 1, 2], [3, 4, 5]) == 9 + 50
    assert residual_given_cells(mapping, [1, 1, 2], [3, 4, 5]) == 59
    assert expected_linear_residual(mapping, [1, 1, 2], [3, 4, 5]) == 59
    assert residual_variance_over_signs(mapping, [1, 1, 2], [3, 4, 5]) == 0


def test_a_dropped_weight_takes_nothing_in_a_shared_cell():
    draw = Drawn(3, 1, (0, 0, 0), (1, 0, -1))
    expected = diagonal_loss((0, 0, 0), (1, 0, -1), 1, [1, 7, 2], [1, 1, 1], None)
    assert linear_residual(draw, [1, 7, 2], [1, 1, 1]) == expected


def test_a_weight_of_scale_zero_loses_all_it_explains():
    for mapping in (Fold(2, 2, 0), KeepExact(2, 2, 0), Top([1, 1], 2)):
        assert linear_residual(mapping, [2, 1], [3, 1], [0, 1]) == 18
        assert residual_given_cells(mapping, [2, 1], [3, 1], [0, 1]) == 18
        assert expected_linear_residual(mapping, [2, 1], [3, 1], [0, 1]) == 18


def test_floats_are_not_lost_beside_large_ones():
    tiny = 1e-20
    draw = Drawn(2, 1, (0, 0), (1, -1))
    exact = 2 * Fraction(tiny) / (1 + Fraction(tiny))  # e = u: both weights lose u_1 u_2 / (u_1 + u_2)
    assert residual_given_cells(draw, [1.0, tiny], [1.0, 1.0]) == pytest.approx(
        float(exact), rel=1e-14, abs=0
    )
    assert expected_linear_residual(Fold(2, 1, 0), [1.0, tiny], [1, 1]) == pytest.approx(
        float(exact), rel=1e-12, abs=0
    )


# ----------------------------------------------------------------------- all draws, on average


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mapping", SHARED, ids=str)
def test_expected_loss_equals_full_enumeration(mapping, model):
    n, (s, w, lam) = mapping.n, cut(model, mapping.n)
    exact = mean(
        residual_given_cells(Drawn(n, mapping.m, cells, (1,) * n), s, w, lam)
        for cells in cells_of_all_draws(mapping)
    )
    # 12 digits are promised; enumeration is exact.
    assert expected_linear_residual(mapping, s, w, lam) == pytest.approx(float(exact), rel=1e-12, abs=0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mapping", SHARED + BLOCKS, ids=str)
def test_expected_loss_is_at_most_the_ridge_bound(mapping, model):
    n, (s, w, lam) = mapping.n, cut(model, mapping.n)
    exact = mean(
        residual_given_cells(Drawn(n, mapping.m, cells, (1,) * n), s, w, lam)
        for cells in cells_of_all_draws(mapping)
    )
    assert exact <= ridge_bound(mapping, s, w, lam)


@pytest.mark.parametrize("kind", [KeepExact, KeepBernoulli])
def test_pruning_loses_its_share_and_the_bound_is_attained(kind):
    mapping = kind(5, 2, 0)
    s, w, _ = cut(MODELS[0], 5)
    expected = Fraction(3, 5) * sum(a * b * b for a, b in zip(s, w, strict=True))
    assert expected_linear_residual(mapping, s, w) == expected
    assert ridge_bound(mapping, s, w) == expected


def test_the_bound_is_attained_on_equal_variances_when_m_divides_n():
    assert ridge_bound(Fold(6, 2, 0), [1] * 6, [1, 2, 3, 4, 5, 6]) == Fraction(2, 3) * 91


def test_a_ragged_lap_can_make_sharing_lose_to_pruning():
    s = [1, 1, Fraction(6, 5)]
    assert residual_given_cells(Fold(3, 2, 0), s, [1] * 3) == Fraction(12, 11)
    assert expected_linear_residual(KeepExact(3, 2, 0), s, [1] * 3) == Fraction(16, 15)


@pytest.mark.parametrize(
    ("mapping", "last", "share"),
    [(Fold(24, 6, 0), 24, 0.119), (Fold(24, 6, 0), 12, 0.960), (Fold(24, 6, 0), 6, 0.976)],
)
def test_the_numbers_printed_in_the_claim_are_right(mapping, last, share):
    s = np.arange(1, 25) ** -2.0
    w = np.arange(1, 25) > 24 - last
    found = expected_linear_residual(mapping, s, w) / float((s * w).sum())
    assert round(found, 3) == share


@given(st.integers(2, 12), st.integers(1, 5), st.floats(-140, 140), st.integers(0, 2**32))
def test_expected_loss_does_not_depend_on_the_unit(n, m, exponent, seed):
    random = np.random.default_rng(seed)
    s, w = 10.0 ** random.uniform(-9, 0, n), random.standard_normal(n)
    unit = 2.0 ** round(exponent / 2)
    plain = expected_linear_residual(Hashed(n, m, 0), s, w)
    assert expected_linear_residual(Hashed(n, m, 0), s * unit, w) / unit == pytest.approx(
        plain, rel=1e-12, abs=0
    )


def test_expected_loss_holds_over_six_hundred_orders_of_magnitude():
    s = [1e-300, 1.0, 1e300]
    exact = mean(
        residual_given_cells(Drawn(3, 2, cells, (1,) * 3), [Fraction(v) for v in s], [1, 1, 1])
        for cells in cells_of_all_draws(Hashed(3, 2, 0))
    )
    assert expected_linear_residual(Hashed(3, 2, 0), s, [1.0] * 3) == pytest.approx(
        float(exact), rel=1e-12, abs=0
    )


# ------------------------------------------------------------------- correlated features, ridge

ROWS = [[1, 2, 0, -1], [0, 1, 1, 3], [2, -1, 1, 0]]


def gram_of(rows):
    x = np.array([[Fraction(v) for v in row] for row in rows], dtype=object)
    return x, x.T @ x


def weighted_maps(mapping):
    """Every S'S of a mapping (rescaled) with its probability, for ideal randomness."""
    n = mapping.n
    if isinstance(mapping, KeepExact):
        kept = [set(c) for c in combinations(range(n), mapping.m)]
        weighted = [(Fraction(1, len(kept)), c) for c in kept]
    elif isinstance(mapping, KeepBernoulli):
        p = Fraction(mapping.m, n)
        kept = [set(c) for size in range(n + 1) for c in combinations(range(n), size)]
        weighted = [(p ** len(c) * (1 - p) ** (n - len(c)), c) for c in kept]
    else:
        draws = list(product(cells_of_all_draws(mapping), signs_of_all_draws(n)))
        for cells, signs in draws:
            yield Fraction(1, len(draws)), matrix_of(cells, signs, mapping.m)
        return
    for chance, c in weighted:
        yield chance, matrix_of(range(n), [int(i in c) for i in range(n)], n)


@pytest.mark.parametrize(
    "mapping",
    [
        Fold(4, 2, 0),
        Fold(4, 3, 0),
        Chunk(4, 3, 0, chunk=2),
        Block(4, 3, 0, block=2),
        KeepExact(4, 2, 0),
        KeepExact(4, 4, 0),
        KeepBernoulli(4, 3, 0),
    ],
    ids=str,
)
def test_penalty_is_the_summed_variance_of_all_rows(mapping):
    x, gram = gram_of(ROWS)
    penalty = penalty_matrix(mapping, gram)
    for v in ([1, 0, 0, 0], [1, -2, 3, 1], [0, 1, 1, 0]):
        v = np.array([Fraction(a) for a in v], dtype=object)
        spread = Fraction(0)
        for chance, s in weighted_maps(mapping):
            error = x @ (mapping.rescale * (s.T @ (s @ v)) - v)
            spread += chance * (error @ error)
        assert v @ penalty @ v == spread


@pytest.mark.parametrize(
    "mapping", [Fold(4, 2, 0), Fold(4, 3, 0), Hashed(4, 2, 0), KeepExact(4, 2, 0)], ids=str
)
def test_mean_of_the_least_loss_is_at_most_the_ridge_value(mapping):
    x, gram = gram_of(ROWS)
    y = np.array([Fraction(v) for v in (1, -2, 4)], dtype=object)
    least = sum(p * least_loss(gram, x.T @ y, y @ y, s) for p, s in weighted_maps(mapping))
    penalty = penalty_matrix(mapping, gram)
    exact = y @ y - (x.T @ y) @ solved(gram + penalty, x.T @ y)
    value = ridge_value(gram.astype(float), penalty.astype(float), (x.T @ y).astype(float), float(y @ y))
    assert least <= exact <= y @ y
    assert value == pytest.approx(float(exact), abs=1e-12 * float(y @ y))  # rounding, relative to |y|^2


def test_ridge_weights_attain_the_ridge_value():
    x, gram = gram_of(ROWS)
    penalty = penalty_matrix(Fold(4, 2, 0), gram)
    pull, energy = x.T @ np.array([1, -2, 4], dtype=object), 21
    v = ridge_weights(gram, penalty, pull)
    total = (gram + penalty).astype(float)
    attained = energy - 2 * v @ pull.astype(float) + v @ total @ v
    assert attained == pytest.approx(ridge_value(gram, penalty, pull, energy), abs=1e-12 * energy)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_ridge_bound_of_exact_numbers_is_exact_where_nothing_is_elsewhere_too(n):
    found = ridge_bound(Fold(n, 3, 0), [Fraction(1, 3)] * n, [1, 2, 3, 4, 5][:n], [0, 1, 1, 1, 1][:n])
    assert type(found) is Fraction


def test_ridge_bound_is_the_ridge_value_of_uncorrelated_features():
    s, w = np.array([3.0, 0.0, 1.0, 0.25, 2.0]), np.array([1.0, 2.0, -1.0, 4.0, 0.5])
    for mapping in (Fold(5, 2, 0), Hashed(5, 3, 0), Block(5, 3, 0, block=2), KeepExact(5, 2, 0)):
        gram = np.diag(s)
        value = ridge_value(gram, penalty_matrix(mapping, gram), s * w, float(s @ w**2))
        assert ridge_bound(mapping, s, w) == pytest.approx(value, rel=1e-12, abs=0)


# ------------------------------------------------------------------------------ what is refused


def test_block_has_no_closed_form_and_says_what_to_use():
    with pytest.raises(KindError, match=r"Block came; a closed form is known .* use ridge_bound"):
        expected_linear_residual(Block(4, 3, 0, block=2), [1] * 4, [1] * 4)


@pytest.mark.parametrize("function", [linear_residual, residual_given_cells, expected_linear_residual])
def test_a_length_that_is_not_n_is_named(function):
    with pytest.raises(ShapeError, match=r"shape \(3,\) came, the mapping has n=4"):
        function(Fold(4, 2, 0), [1, 1, 1], [1] * 4)


def test_a_batch_is_refused():
    with pytest.raises(ShapeError, match=r"shape \(2, 4\) came; one row of n=4"):
        linear_residual(Fold(4, 2, 0), np.ones((2, 4)), np.ones(4))


@pytest.mark.parametrize(("s", "lam", "name"), [([1, -2], [1, 1], "variances"), ([1, 1], [1, -2], "scales")])
def test_a_negative_variance_or_scale_is_named(s, lam, name):
    with pytest.raises(DataError, match=rf"{name} hold -2.*pass numbers >= 0"):
        ridge_bound(Fold(2, 1, 0), s, [1, 1], lam)


@pytest.mark.parametrize(("s", "lam"), [(1e300, 1e10), (1e-300, 1e-10)])
def test_products_that_leave_float64_are_refused(s, lam):
    with pytest.raises(DataError, match="leaves the range of float64; change the units"):
        linear_residual(Fold(2, 1, 0), [s, s], [1.0, 1.0], [lam, lam])


def test_not_a_number_is_refused():
    with pytest.raises(DataError, match="nan or inf"):
        expected_linear_residual(Fold(2, 1, 0), [1.0, np.nan], [1.0, 1.0])


@pytest.mark.parametrize("function", [ridge_bound, lambda mapping, s, w: penalty_matrix(mapping, np.eye(2))])
def test_a_biased_map_has_no_ridge_penalty(function):
    with pytest.raises(KindError, match="Top is not an unbiased random map"):
        function(Top([1, 2], 1), [1, 1], [1, 1])


def test_a_gram_matrix_of_the_wrong_shape_is_named():
    with pytest.raises(ShapeError, match=r"shape \(3, 2\) came; \(2, 2\) is needed"):
        penalty_matrix(Fold(2, 1, 0), np.ones((3, 2)))


def test_a_gram_matrix_that_is_not_symmetric_is_refused():
    with pytest.raises(DataError, match="not symmetric; pass X'X"):
        penalty_matrix(Fold(2, 1, 0), np.array([[1.0, 2.0], [0.0, 1.0]]))


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ShapeError, (np.eye(3), np.eye(3), [1.0, 2.0]), r"shape \(3, 3\) came, X'y has 2 entries"),
        (ShapeError, (np.eye(2), np.ones(2), [1.0, 2.0]), r"a matrix of shape \(2,\) came; .*; pass Q"),
        (ShapeError, (4, np.eye(2), [1.0, 2.0]), r"shape \(\) came, X'y has 2 entries"),
        (ShapeError, (np.eye(2), np.eye(2), 3.0), r"X'y of shape \(\) came; pass one row"),
        (KindError, (np.eye(2), np.eye(2), ["a", "b"]), "data of dtype <U1 came"),
    ],
)
def test_ridge_says_which_of_its_arguments_does_not_fit(error, arguments, message):
    for ask in (partial(ridge_weights, *arguments), partial(ridge_value, *arguments, 1.0)):
        with pytest.raises(error, match=message):
            ask()


@pytest.mark.parametrize(
    ("error", "yty"),
    [(DataError, float("nan")), (DataError, -1.0), (DataError, float("inf")), (KindError, "a")],
)
def test_the_square_of_y_is_a_finite_number(error, yty):
    with pytest.raises(error, match=r"ridge_value: yty=.* came; .* is needed; pass \|y\|\^2"):
        ridge_value(np.eye(2), np.eye(2), [1.0, 2.0], yty)
