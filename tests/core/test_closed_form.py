"""Every closed form against a universe of its own: all starts, all signs, all subsets, in Fractions."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpstheory import (
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
    Top,
    expected_variance,
    inner_product_variance,
    mean_squared_error,
    norm_variance,
    worst_case_variance,
)
from rpstheory.closed_form import lap_sizes, pairs_in_different_laps, raggedness
from rpstheory.distributions import (
    FREEDOM,
    AbstractDistribution,
    Fixed,
    Independent,
    Mixture,
    Pairs,
    Rows,
    kurtosis,
    power_law,
    standardised,
)
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError
from rpstheory.mappings import AbstractMapping

WHOLE = st.integers(-3, 3)
ROUNDING = 1e-12  # a few hundred operations on numbers of like size


# -------------------------------------------------------------------------- the universe


def chunks_and_starts(mapping):
    """(chunk, offset) of every weight, number of starts and bank: from the definitions."""
    n, m = mapping.n, mapping.m
    if isinstance(mapping, Block) and mapping.shape is not None:
        (tall, wide), columns = mapping.block, mapping.shape[1]
        across = -(-columns // wide)
        places = [divmod(i, columns) for i in range(n)]
        where = [((r // tall) * across + c // wide, r % tall * wide + c % wide) for r, c in places]
        return where, m - tall * wide + 1, m
    kind = type(mapping)
    size = {Fold: m, Hashed: 1}.get(kind) or (mapping.chunk if kind is Chunk else mapping.block)
    return [divmod(i, size) for i in range(n)], m - size + 1 if kind is Block else m, m


def sharing_products(mapping, x, y):
    """<Sx, Sy> for every start of every chunk and every sign, one integer each."""
    where, starts, m = chunks_and_starts(mapping)
    n, chunks = len(x), 1 + max(chunk for chunk, _ in where)
    signs = np.array(list(product((-1, 1), repeat=n)))
    found = []
    for start in product(range(starts), repeat=chunks):
        cell = np.zeros((n, m), dtype=np.int64)
        for i, (chunk, offset) in enumerate(where):
            cell[i, (start[chunk] + offset) % m] = 1
        found.append((((signs * x) @ cell) * ((signs * y) @ cell)).sum(axis=1))
    return np.concatenate(found)


def law_of(mapping, x, y):
    """[(probability, value)] of the estimate of <x, y>, over every draw of the mapping."""
    n, m = mapping.n, mapping.m
    if isinstance(mapping, KeepExact):
        subsets = list(combinations(range(n), m))
        return [(Fraction(1, len(subsets)), kept_product(k, x, y, n, m)) for k in subsets]
    if isinstance(mapping, KeepBernoulli):
        share = Fraction(m, n)
        masks = [[i for i in range(n) if mask >> i & 1] for mask in range(2**n)]
        return [(share ** len(k) * (1 - share) ** (n - len(k)), kept_product(k, x, y, n, m)) for k in masks]
    values = sharing_products(mapping, np.array(x), np.array(y))
    return [(Fraction(1, len(values)), int(v)) for v in values]


def kept_product(kept, x, y, n, m):
    return Fraction(n, m) * sum(x[i] * y[i] for i in kept)


def mean_and_variance(law):
    mean = sum(p * v for p, v in law)
    return mean, sum(p * v * v for p, v in law) - mean**2


NAMES = ("Fold", "Hashed", "Chunk", "Block", "Tile", "KeepExact", "KeepBernoulli")


@st.composite
def mappings(draw, name, most=4):
    """A random mapping of a kind, small enough to enumerate unless ``most`` says otherwise."""
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, most))
    if name in ("KeepExact", "KeepBernoulli"):
        kept = draw(st.integers(1, n))
        return KeepExact(n, kept, 0) if name == "KeepExact" else KeepBernoulli(n, kept, 0)
    if name in ("Fold", "Hashed"):
        return Fold(n, m, 0) if name == "Fold" else Hashed(n, m, 0)
    if name == "Tile":
        shape = draw(st.sampled_from([(1, n), (n, 1)] + [(2, n // 2)] * (n % 2 == 0)))
        tiles = [(a, b) for a, b in product((1, 2), repeat=2) if a * b <= m]
        return Block(n, m, 0, block=draw(st.sampled_from(tiles)), shape=shape)
    size = draw(st.integers(1, m))
    return Chunk(n, m, 0, chunk=size) if name == "Chunk" else Block(n, m, 0, block=size)


def vectors(n, count=2):
    return st.tuples(*[st.lists(WHOLE, min_size=n, max_size=n)] * count)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=40)
def test_inner_product_variance_equals_full_enumeration(name, data):
    mapping = data.draw(mappings(name))
    x, y = data.draw(vectors(mapping.n))
    mean, variance = mean_and_variance(law_of(mapping, x, y))
    assert mean == sum(a * b for a, b in zip(x, y, strict=True))
    found = inner_product_variance(mapping, x, y)
    assert type(found) is Fraction
    assert found == variance


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20)
def test_norm_variance_equals_full_enumeration(name, data):
    mapping = data.draw(mappings(name))
    (x,) = data.draw(vectors(mapping.n, 1))
    mean, variance = mean_and_variance(law_of(mapping, x, x))
    assert mean == sum(a * a for a in x)
    assert norm_variance(mapping, x) == variance


@pytest.mark.parametrize(
    "mapping",
    [
        Fold(7, 3, 0),  # ragged: laps of 3, 3, 1
        Fold(8, 5, 0),
        Fold(6, 3, 0),
        Fold(5, 6, 0),
        Hashed(6, 3, 0),
        Chunk(7, 3, 0, chunk=2),
        Chunk(8, 4, 0, chunk=3),
        Block(7, 4, 0, block=3),
        Block(8, 6, 0, block=2),
        Block(6, 5, 0, block=(2, 2), shape=(2, 3)),
        Block(9, 6, 0, block=(2, 2), shape=(3, 3)),
        KeepExact(7, 3, 0),
        KeepBernoulli(7, 3, 0),
    ],
    ids=repr,
)
def test_inner_product_variance_equals_full_enumeration_on_larger_ragged_cases(mapping):
    n = mapping.n
    x, y = [(3 * i) % 7 - 3 for i in range(n)], [(5 * i * i + 1) % 6 - 2 for i in range(n)]
    assert inner_product_variance(mapping, x, y) == mean_and_variance(law_of(mapping, x, y))[1]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20)
def test_inner_product_variance_of_fractions_is_exact_under_scaling(name, data):
    mapping = data.draw(mappings(name, most=40))
    x, y = data.draw(vectors(mapping.n))
    thirds = [Fraction(v, 3) for v in x]
    found = inner_product_variance(mapping, thirds, y)
    assert found == inner_product_variance(mapping, x, y) / 9
    assert found == inner_product_variance(mapping, y, thirds)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=30)
def test_inner_product_variance_of_floats_agrees_with_fractions(name, data):
    mapping = data.draw(mappings(name, most=40))
    x, y = data.draw(vectors(mapping.n))
    found = inner_product_variance(mapping, np.array(x, float), np.array(y, float))
    scale = max(1, sum(v * v for v in x) * sum(v * v for v in y)) * mapping.n
    assert isinstance(found, float)
    assert found >= 0
    assert abs(found - float(inner_product_variance(mapping, x, y))) <= ROUNDING * scale


@pytest.mark.parametrize("name", NAMES)
@given(st.data(), st.integers(-30, 30))
@settings(max_examples=40)
def test_inner_product_variance_of_floats_is_never_negative(name, data, exponent):
    mapping = data.draw(mappings(name, most=12))
    numbers = st.floats(-1, 1, allow_subnormal=False)
    x = np.array(data.draw(st.lists(numbers, min_size=mapping.n, max_size=mapping.n)))
    flip = np.where(np.arange(mapping.n) % 2, 1.0, -1.0)  # x_i y_j + x_j y_i = 0 for odd, even
    assert inner_product_variance(mapping, x * 2.0**exponent, x * flip) >= 0


def test_inner_product_variance_of_floats_does_not_go_below_zero_by_rounding():
    # x_1 y_2 + x_2 y_1 = 0: the two sums cancel to -5.6e-17 in float64 where the truth is 8e-34.
    x, y = np.array([-1.4, 1.1]), np.array([-1.4, -1.1]) * -0.3
    assert inner_product_variance(Hashed(2, 1, 0), x, y) == 0.0


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=15)
def test_inner_product_variance_takes_batches_row_by_row(name, data):
    mapping = data.draw(mappings(name))
    rows = data.draw(vectors(mapping.n, 6))
    x, y = np.array(rows[:3]).reshape(3, 1, -1), np.array(rows[3:])
    found = inner_product_variance(mapping, x, y)
    assert found.shape == (3, 3)
    for i, j in product(range(3), repeat=2):
        exact = float(inner_product_variance(mapping, rows[i], rows[3 + j]))
        assert found[i, j] == pytest.approx(exact, rel=ROUNDING, abs=1e-9)
    thirds = np.vectorize(lambda v: Fraction(int(v), 3), otypes=[object])(x)
    exact = inner_product_variance(mapping, thirds, y.astype(object))
    assert exact.shape == (3, 3)
    assert exact[2, 1] == inner_product_variance(mapping, rows[2], rows[4]) / 9


def test_inner_product_variance_of_numpy_integers_does_not_overflow():
    big = np.array([10**6, 2 * 10**6, 3 * 10**6])
    wanted = inner_product_variance(Hashed(3, 2, 0), big.tolist(), big.tolist())
    assert wanted > 2**63
    for row in (list(big), big.astype(object), np.array(list(big), dtype=object)):
        assert inner_product_variance(Hashed(3, 2, 0), row, row) == wanted


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=15)
def test_inner_product_variance_of_floats_scales_by_powers_of_two_to_the_last_bit(name, data):
    mapping = data.draw(mappings(name))
    x, y = (np.array(row) / 7 for row in data.draw(vectors(mapping.n)))
    found = inner_product_variance(mapping, x, y)
    if not isinstance(mapping, KeepExact | KeepBernoulli):
        law = mapping.collision_sum
        assert found == max(0.0, law(x * x, y * y) + law(x * y, x * y))
    for of_x, of_y in ((-700, 700), (-600, 500), (400, -500)):
        scaled = inner_product_variance(mapping, np.ldexp(x, of_x), np.ldexp(y, of_y))
        assert scaled == np.ldexp(found, 2 * (of_x + of_y))
    rows = np.array([np.ldexp(x, 600), x])
    assert inner_product_variance(mapping, rows, np.ldexp(y, -600)).tolist() == [
        found,
        inner_product_variance(mapping, x, np.ldexp(y, -600)),
    ]


def test_variances_leave_float64_by_name_above_and_as_zero_below():
    fold, top = Fold(4, 2, 0), Top([1, 2, 3, 4], 1)
    for owner, ask in (
        ("inner_product_variance", partial(inner_product_variance, fold)),
        ("mean_squared_error", partial(mean_squared_error, top)),
    ):
        with pytest.raises(DataError, match=f"{owner}: the answer is too large for float64; change the un"):
            ask([1e200] * 4, [1e200] * 4)
        with pytest.raises(DataError, match=f"{owner}: the data are too large for float64; pass all of"):
            ask([10**400] * 4, [0.5] * 4)
        assert ask([1e-200] * 4, [1e-200] * 4) == 0.0
        assert ask([10**400] * 4, [Fraction(1, 10**400)] * 4) == ask([1] * 4, [1] * 4)


@pytest.mark.parametrize("mapping", [Hashed(2, 3, 0), KeepExact(2, 1, 0), Top([1, 2], 1)], ids=repr)
def test_exact_numbers_beside_floats_are_floats(mapping):
    x, y = np.array([3.3, 1.1]), [3, -1]  # x_1 y_2 + x_2 y_1 = 0: as objects, -1.4e-14 by rounding
    for one, other in ((x, y), (y, x), (np.stack([x, x]), [Fraction(v) for v in y])):
        found = mean_squared_error(mapping, one, other)
        assert found.dtype == np.float64
        assert (found == mean_squared_error(mapping, x, np.array(y, float))).all()
        assert (found >= 0).all()


def test_inner_product_variance_ignores_the_seed():
    x = [1, 2, 3, 4, 5]
    assert norm_variance(Fold(5, 2, 0), x) == norm_variance(Fold(5, 2, 99), x)


@given(st.integers(1, 8), st.integers(0, 5), st.data())
def test_fold_with_room_for_every_weight_has_no_variance(n, spare, data):
    x, y = data.draw(vectors(n))
    for mapping in (Fold(n, n + spare, 0), KeepExact(n, n, 0), KeepBernoulli(n, n, 0)):
        assert inner_product_variance(mapping, x, y) == 0
        assert inner_product_variance(mapping, np.array(x, float), np.array(y, float)) == 0.0


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.data())
def test_top_has_no_variance_but_its_squared_bias(scores, data):
    n = len(scores)
    x, y = data.draw(vectors(n))
    top = Top(scores, data.draw(st.integers(1, n)))
    dropped = [i for i in range(n) if not top.sign(i)]
    wanted = sum(x[i] * y[i] for i in dropped) ** 2
    assert inner_product_variance(top, x, y) == 0
    assert mean_squared_error(top, x, y) == wanted
    assert mean_squared_error(top, np.array(x, float), np.array(y, float)) == wanted


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=10)
def test_mean_squared_error_of_an_unbiased_mapping_is_its_variance(name, data):
    mapping = data.draw(mappings(name))
    x, y = data.draw(vectors(mapping.n))
    assert mean_squared_error(mapping, x, y) == inner_product_variance(mapping, x, y)


# ------------------------------------------------------------- values of docs, theory claims 4, 5


def test_order_of_the_mappings_has_the_known_counterexamples():
    x = [0, 0, 1, 1]
    assert norm_variance(Chunk(4, 3, 0, chunk=2), x) == 0
    assert norm_variance(Fold(4, 3, 0), x) == Fraction(4, 3)
    for x, wanted in (([1, 0, 1, 0], 2), ([1, 1, 0, 0], 0)):
        assert norm_variance(Block(4, 3, 0, block=2), x) == wanted
        assert norm_variance(Hashed(4, 3, 0), x) == Fraction(4, 3)
    assert norm_variance(Block(12, 3, 0, block=2), [1] * 12) == 90
    assert norm_variance(Hashed(12, 3, 0), [1] * 12) == 88


def test_exact_pruning_loses_on_orthogonal_vectors_by_n_over_n_minus_1():
    x, y = [1, 1, 1, 1], [1, -1, 2, -2]
    exact, bernoulli = (inner_product_variance(k(4, 2, 0), x, y) for k in (KeepExact, KeepBernoulli))
    assert exact == bernoulli * Fraction(4, 3)


# -------------------------------------------------------------------------------- worst case


def attaining(mapping):
    """Energy 1/k on the first weight of every chunk, or a spike."""
    if isinstance(mapping, KeepExact | KeepBernoulli):
        return [1] + [0] * (mapping.n - 1)
    where, _, _ = chunks_and_starts(mapping)
    return [int(offset == 0) for _, offset in where]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=30)
def test_worst_case_variance_is_attained(name, data):
    mapping = data.draw(mappings(name, most=40))
    x = attaining(mapping)
    assert norm_variance(mapping, x) == worst_case_variance(mapping) * sum(x) ** 2


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=40)
def test_worst_case_variance_is_not_exceeded(name, data):
    mapping = data.draw(mappings(name, most=12))
    x, y = data.draw(vectors(mapping.n))
    limit = worst_case_variance(mapping) * sum(v * v for v in x) * sum(v * v for v in y)
    assert inner_product_variance(mapping, x, y) <= limit
    assert norm_variance(mapping, x) <= worst_case_variance(mapping) * sum(v * v for v in x) ** 2


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20)
def test_worst_case_variance_is_exact_and_zero_only_without_loss(name, data):
    mapping = data.draw(mappings(name, most=40))
    worst = worst_case_variance(mapping)
    assert type(worst) is Fraction
    assert (worst == 0) == mapping.pareto_continuous


@given(st.integers(1, 12), st.integers(1, 12))
def test_worst_case_ratio_of_pruning_to_fold_is_the_documented_one(m, more):
    n, k = m + more, -(-(m + more) // m)
    ratio = worst_case_variance(KeepExact(n, m, 0)) / worst_case_variance(Fold(n, m, 0))
    assert ratio == Fraction(k * (n - m), 2 * (k - 1))
    assert (ratio == Fraction(n, 2)) == (n % m == 0)


def test_worst_case_variance_refuses_top():
    with pytest.raises(ArgumentError, match="worst_case_variance: Top is not an unbiased random map"):
        worst_case_variance(Top([1, 2], 1))


# ------------------------------------------------------------------------------ over data


@dataclass(frozen=True)
class FinitePairs(AbstractDistribution):
    """Entries (x_i, y_i) i.i.d. uniform over a few points: any mean, any moments."""

    length: int
    points: tuple[tuple[int, int], ...]

    @property
    def n(self) -> int:
        return self.length

    @property
    def moments(self) -> tuple[Any, Any, Any, Any]:
        x, y = np.array(self.points, float).T
        ones = np.ones(self.n)
        return tuple(ones * v.mean() for v in (x * x, y * y, x * y, x * x * y * y))

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Any, Any]:
        raise NotImplementedError


def mean_over(pairs, mapping):
    """Mean of the exact variance over a list of pairs of vectors."""
    return sum(inner_product_variance(mapping, x, y) for x, y in pairs) / Fraction(len(pairs))


def sign_pairs(scales, others):
    """x_i = ± scale_i, y_i = ± other_i, every combination: rademacher entries."""
    n = len(scales)
    signs = list(product((-1, 1), repeat=n))
    scaled = [[s * v for s, v in zip(row, scales, strict=True)] for row in signs]
    return [(x, [s * v for s, v in zip(row, others, strict=True)]) for x, row in product(scaled, signs)]


OVER_DATA = (
    Fold(4, 3, 0),
    Fold(4, 2, 0),
    Hashed(4, 3, 0),
    Chunk(4, 3, 0, chunk=2),
    Block(4, 3, 0, block=2),
    Block(4, 3, 0, block=(1, 2), shape=(2, 2)),
    KeepExact(4, 3, 0),
    KeepBernoulli(4, 3, 0),
    Fold(4, 4, 0),
)


@pytest.mark.parametrize("mapping", OVER_DATA, ids=repr)
@pytest.mark.parametrize("others", [None, (2, 0, 3, 1)])
def test_expected_variance_of_independent_entries_equals_the_mean_over_all_of_them(mapping, others):
    scales = (1, 2, 0, 5)
    wanted = mean_over(sign_pairs(scales, others or scales), mapping)
    for family in ("rademacher", "gaussian", "uniform"):
        law = Independent(tuple(map(float, scales)), others and tuple(map(float, others)), family)
        assert expected_variance(mapping, law) == pytest.approx(float(wanted), rel=ROUNDING)


@pytest.mark.parametrize("mapping", OVER_DATA, ids=repr)
def test_expected_variance_of_equal_pairs_equals_the_mean_over_all_of_them(mapping):
    points = ((0, 1), (2, -1), (-1, -3))
    pairs = [tuple(zip(*entries, strict=True)) for entries in product(points, repeat=4)]
    wanted = mean_over(pairs, mapping)
    law = FinitePairs(4, points)
    for order in ("given", "random"):  # the entries are exchangeable
        found = expected_variance(mapping, law, order=order)
        assert found == pytest.approx(float(wanted), rel=ROUNDING)


@pytest.mark.parametrize("mapping", OVER_DATA, ids=repr)
def test_expected_variance_of_correlated_signs_equals_the_mean_over_all_of_them(mapping):
    c, d = Fraction(3, 5), Fraction(4, 5)
    signs = [[Fraction(s) for s in row] for row in product((-1, 1), repeat=4)]
    pairs = [
        (x, [c * a + d * b for a, b in zip(x, copy, strict=True)]) for x, copy in product(signs, repeat=2)
    ]
    law = Pairs(4, 0.6, "rademacher")
    wanted = float(mean_over(pairs, mapping))
    assert expected_variance(mapping, law) == pytest.approx(wanted, rel=ROUNDING)


ROWS = ((1, 2, 0, -1), (0, 3, 1, 1), (2, -2, 1, 4))


@pytest.mark.parametrize("mapping", OVER_DATA, ids=repr)
def test_expected_variance_of_rows_equals_the_mean_over_all_pairs_of_rows(mapping):
    wanted = mean_over(list(product(ROWS, repeat=2)), mapping)
    found = expected_variance(mapping, Rows(np.array(ROWS, float)))
    assert found == pytest.approx(float(wanted), rel=ROUNDING)


@pytest.mark.parametrize("mapping", OVER_DATA, ids=repr)
def test_expected_variance_in_random_order_is_the_mean_over_all_orders(mapping):
    scales, others = np.array([1.0, 2.0, 0.0, 5.0]), np.array([2.0, 0.0, 3.0, 1.0])
    orders = [list(order) for order in permutations(range(4))]
    laws = [Independent(tuple(scales[o]), tuple(others[o])) for o in orders]
    rows = [Rows(np.array(ROWS, float)[:, o]) for o in orders]
    for same in (laws, rows):
        wanted = np.mean([expected_variance(mapping, law) for law in same])
        found = expected_variance(mapping, same[0], order="random")
        assert found == pytest.approx(wanted, rel=ROUNDING)


def test_expected_variance_has_the_documented_values_of_ragged_laps():
    flat = Independent((1.0,) * 3)
    assert expected_variance(Fold(3, 2, 0), flat) == 2.0
    assert expected_variance(KeepExact(3, 2, 0), flat) == 1.5
    spike = Independent((*(1.0,) * 100, 10**0.5))  # variances 1, ..., 1, 10
    assert expected_variance(Fold(101, 100, 0), spike) == pytest.approx(20, rel=ROUNDING)
    assert expected_variance(KeepBernoulli(101, 100, 0), spike) == pytest.approx(2, rel=ROUNDING)


@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_expected_variance_of_fold_never_exceeds_pruning_when_m_divides_n(m, k, data):
    scales = data.draw(st.lists(st.integers(0, 9), min_size=m * k, max_size=m * k))
    law = Independent(tuple(map(float, scales)))
    fold, prune = (expected_variance(kind(m * k, m, 0), law) for kind in (Fold, KeepExact))
    assert fold <= prune * (1 + ROUNDING)


@pytest.mark.parametrize("order", ["given", "random"])
def test_expected_variance_is_zero_for_one_weight(order):
    for mapping in (Fold(1, 1, 0), Hashed(1, 1, 0), Block(1, 2, 0, block=1), KeepExact(1, 1, 0)):
        assert expected_variance(mapping, Independent((3.0,)), order) == 0.0


# -------------------------------------------------------------------------------- the laws


QUADRATURE = {  # nodes and weights of a rule that is exact for polynomials of degree 9
    "gaussian": (*np.polynomial.hermite_e.hermegauss(5),),
    "uniform": (np.polynomial.legendre.leggauss(5)[0] * 3**0.5, np.polynomial.legendre.leggauss(5)[1]),
    "rademacher": (np.array([-1.0, 1.0]), np.ones(2)),
    "laplace": (
        np.concatenate([s * np.polynomial.laguerre.laggauss(5)[0] / 2**0.5 for s in (-1, 1)]),
        np.tile(np.polynomial.laguerre.laggauss(5)[1], 2),
    ),
}


@pytest.mark.parametrize("family", QUADRATURE)
def test_kurtosis_of_a_family_equals_quadrature(family):
    node, weight = QUADRATURE[family]
    second, fourth = (float(weight @ node**d / weight.sum()) for d in (2, 4))
    assert second == pytest.approx(1, rel=ROUNDING)
    assert kurtosis(family) == pytest.approx(fourth, rel=ROUNDING)


def test_kurtosis_of_student_t_is_that_of_its_freedom():
    assert kurtosis("student-t") == 3 * (FREEDOM - 2) / (FREEDOM - 4)


@pytest.mark.parametrize("family", QUADRATURE)
@pytest.mark.parametrize("correlation", [-1.0, -0.25, 0.0, 0.6, 1.0])
def test_moments_of_pairs_equal_quadrature(family, correlation):
    node, weight = QUADRATURE[family]
    both = np.outer(weight, weight) / weight.sum() ** 2
    x = node[:, None]
    y = correlation * x + (1 - correlation**2) ** 0.5 * node[None, :]
    wanted = [(both * v).sum() for v in (x * x, y * y, x * y, (x * y) ** 2)]
    found = Pairs(3, correlation, family).moments
    for value, array in zip(wanted, found, strict=True):
        assert array.shape == (3,)
        assert array.tolist() == pytest.approx([value] * 3, rel=1e-11, abs=1e-13)


FAMILIES = ("gaussian", "uniform", "student-t", "laplace", "rademacher")


@pytest.mark.parametrize("family", FAMILIES)
def test_sampled_entries_have_the_stated_second_and_fourth_moment(family):
    # Fixed seed; at 6 standard errors a true moment fails with chance 2e-9, a few times more for skew.
    draws = standardised(family, np.random.Generator(np.random.Philox(key=5)), (400, 1000)).ravel()
    for power, wanted in ((1, 0.0), (2, 1.0), (3, 0.0), (4, kurtosis(family))):
        values = draws**power
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - wanted) <= 6 * error + ROUNDING


@pytest.mark.parametrize(
    "law",
    [
        Independent((1.0, 2.0), (3.0, 0.5), "laplace"),
        Independent((1.0, 2.0)),
        Pairs(2, 0.6, "uniform"),
        Pairs(2, 1.0),
        Mixture(2, 0.6),
        Rows(np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]])),
    ],
    ids=["other scales", "one scale", "pairs", "norms", "mixture", "rows"],
)
def test_sampled_pairs_have_the_stated_moments(law):
    x, y = law.sample(np.random.Generator(np.random.Philox(key=6)), 200_000)
    for values, wanted in zip((x * x, y * y, x * y, (x * y) ** 2), law.moments, strict=True):
        error = values.std(axis=0) / len(values) ** 0.5
        assert (np.abs(values.mean(axis=0) - wanted) <= 6 * error + ROUNDING).all()


def test_rows_know_their_second_moments():
    rows = np.array(ROWS, float)
    wanted = [[np.mean(rows[:, i] * rows[:, j]) for j in range(4)] for i in range(4)]
    assert Rows(rows).gram == pytest.approx(np.array(wanted), rel=ROUNDING)


@given(st.integers(1, 20), st.floats(-3, 3))
def test_power_law_scales_have_variances_that_fall_like_a_power(n, exponent):
    scales = np.array(power_law(n, exponent))
    assert scales**2 == pytest.approx(np.arange(1, n + 1) ** -exponent, rel=ROUNDING)


# ------------------------------------------------------------------------------------- laps


@given(st.integers(1, 60), st.integers(1, 20))
def test_laps_and_their_pairs_equal_counting(n, m):
    lap = [i // m for i in range(n)]
    assert lap_sizes(n, m) == [lap.count(p) for p in range(lap[-1] + 1)]
    assert pairs_in_different_laps(n, m) == sum(a != b for a, b in product(lap, repeat=2))
    rest = n - lap[-1] * m  # length of the last lap
    assert pairs_in_different_laps(n, m) == n * (n - m) + rest * (m - rest)


@given(st.integers(1, 40), st.integers(1, 60))
def test_raggedness_is_one_iff_m_divides_n_and_within_its_bounds(m, more):
    n, rho = m + more, raggedness(m + more, m)
    k = len(lap_sizes(n, m))
    assert rho == Fraction(pairs_in_different_laps(n, m), n * (n - m))
    assert (rho == 1) == (n % m == 0)
    assert 1 <= rho < 2
    assert k < 3 or rho <= 1 + Fraction(1, 4 * (k - 1) * (k - 2))


@given(st.integers(1, 20), st.integers(0, 20))
def test_raggedness_refuses_a_bank_with_room_for_every_weight(n, spare):
    with pytest.raises(ArgumentError, match=f"raggedness: n={n} <= m={n + spare} came"):
        raggedness(n, n + spare)


# -------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("count", [lap_sizes, pairs_in_different_laps, raggedness])
def test_laps_are_of_whole_sizes_from_one_on(count):
    with pytest.raises(ArgumentError, match="m=0 came; at least 1 is needed"):
        count(5, 0)
    with pytest.raises(KindError, match=r"n=2\.5 came; a whole number is needed"):
        count(2.5, 1)


FOLD = Fold(3, 2, 0)
BAD_DATA = [
    (DataError, [1.0, 2.0, float("nan")], "the data hold nan or inf; pass finite numbers"),
    (DataError, np.array([1.0, 2.0, -np.inf]), "the data hold nan or inf; pass finite numbers"),
    (KindError, [1.0, 2.0, 1j], "data of dtype complex128 came; pass real numbers"),
    (KindError, ["1", "2", "3"], "data of dtype <U1 came; pass real numbers"),
    (KindError, np.array([1.0, 2.0, None]), "data of dtype object came; pass real numbers"),
    (KindError, [1, 2.5, Fraction(1, 3)], "data of dtype object came; pass real numbers"),
    (KindError, None, "data of dtype object came; pass real numbers"),
    (ShapeError, [1, 2], r"an array of shape \(2,\) came, the mapping has n=3 weights; pass one"),
    (ShapeError, np.zeros((3, 2)), r"an array of shape \(3, 2\) came, the mapping has n=3"),
    (ShapeError, [], r"an array of shape \(0,\) came, the mapping has n=3"),
    (ShapeError, 3.0, r"an array of shape \(\) came, the mapping has n=3"),
    (ShapeError, [[1, 2, 3], [4]], "rows of different lengths came; pass rows of one length"),
]


@pytest.mark.parametrize(("error", "data", "message"), BAD_DATA)
@pytest.mark.parametrize("mapping", [FOLD, KeepExact(3, 2, 0), Top([1, 2, 3], 1)], ids=repr)
def test_inner_product_variance_refuses_bad_data_on_either_side(mapping, error, data, message):
    for x, y in ((data, [1, 2, 3]), ([1, 2, 3], data)):
        if y is None:
            continue  # y=None stands for y = x
        with pytest.raises(error, match=f"^inner_product_variance: {message}"):
            inner_product_variance(mapping, x, y)


@pytest.mark.parametrize(("error", "data", "message"), BAD_DATA)
def test_mean_squared_error_of_top_refuses_bad_data(error, data, message):
    for x, y in ((data, [1, 2, 3]), ([1, 2, 3], data)):
        with pytest.raises(error, match=f"^mean_squared_error: {message}"):
            mean_squared_error(Top([1, 2, 3], 1), x, y)


def test_variances_refuse_leading_axes_that_do_not_fit():
    message = r"x has shape \(2, 3\), y \(4, 3\); pass leading axes that broadcast"
    with pytest.raises(ShapeError, match=f"inner_product_variance: {message}"):
        inner_product_variance(FOLD, np.ones((2, 3)), np.ones((4, 3)))
    with pytest.raises(ShapeError, match=f"mean_squared_error: {message}"):
        mean_squared_error(Top([1, 2, 3], 1), np.ones((2, 3)), np.ones((4, 3)))


def test_inner_product_variance_says_what_a_new_mapping_must_declare():
    @dataclass(frozen=True)
    class Lawless(AbstractMapping):
        def cell(self, i: Any) -> Any:
            return i

        def sign(self, i: Any) -> Any:
            return i

    with pytest.raises(KindError, match=r"Lawless declares no collision_sum\(a, b\); add one"):
        norm_variance(Lawless(3, 2), [1, 2, 3])


def test_expected_variance_refuses_another_length_an_unknown_order_and_top():
    law = Independent((1.0, 1.0))
    with pytest.raises(ShapeError, match="the law has n=2, the mapping n=3; make them equal"):
        expected_variance(FOLD, law)
    with pytest.raises(ArgumentError, match="order='best' came; pass 'given' or 'random'"):
        expected_variance(Fold(2, 1, 0), law, order="best")
    with pytest.raises(ArgumentError, match="Top is not a random map of fixed law; use mean_squared"):
        expected_variance(Top([1, 2], 1), law)


@pytest.mark.parametrize(
    ("error", "build", "message"),
    [
        (ShapeError, lambda: Independent((1.0, 2.0), (1.0,)), "2 scales of x and 1 of y came"),
        (ArgumentError, lambda: Independent(()), "scales are empty or not finite"),
        (ArgumentError, lambda: Independent((1.0, float("nan"))), "scales are empty or not finite"),
        (ArgumentError, lambda: Independent((1.0,), (float("inf"),)), "empty or not finite"),
        (ArgumentError, lambda: Independent((1.0,), family="cauchy"), "'cauchy' is unknown; choose"),
        (ArgumentError, lambda: Pairs(3, family="cauchy"), "'cauchy' is unknown; choose"),
        (ArgumentError, lambda: Pairs(3, 1.5), r"correlation=1.5 came; it lies in \[-1, 1\]"),
        (ArgumentError, lambda: Pairs(3, float("nan")), "correlation=nan came; it lies in"),
        (ArgumentError, lambda: Pairs(0), "length=0 came; at least 1 is needed"),
        (KindError, lambda: Pairs(2.0), "length=2.0 came; a whole number is needed"),
        (DataError, lambda: Rows([[1.0, 2.0]]), r"a NumPy matrix \(N, n\) of floats is needed"),
        (DataError, lambda: Rows(np.ones(3)), r"a NumPy matrix \(N, n\) of floats is needed"),
        (DataError, lambda: Rows(np.ones((2, 2), complex)), "of floats is needed"),
        (DataError, lambda: Rows(np.ones((0, 2))), "no rows, nan or inf came"),
        (DataError, lambda: Rows(np.array([[1.0, np.nan]])), "no rows, nan or inf came"),
        (DataError, lambda: Rows(np.full((1, 2), 1e200)), r"Rows: the largest entry is 1e\+200; products"),
        (DataError, lambda: Independent((1.0,), (1e-90,)), "Independent: the largest entry is 1e-90"),
        (DataError, lambda: Fixed([1.0, 2.0], [1e90, 1.0]), r"lies in 1e-60..1e\+60; change the units"),
        (DataError, lambda: Fixed([1.0, float("nan")], [1, 2]), "Fixed: nan or inf came; pass finite"),
        (ShapeError, lambda: Fixed([1.0, 2.0], [1.0]), r"arrays of shape \(2,\) and \(1,\) came; pass two"),
        (ShapeError, lambda: Fixed([[1.0], [1.0]], [1.0]), "pass two vectors of one length"),
        (ShapeError, lambda: Fixed([], []), "pass two vectors of one length"),
        (KindError, lambda: Fixed([1.0], ["a"]), "dtype float64 and <U1 came; pass floats or integers"),
        (DataError, lambda: power_law(0, 1.0), "power_law: n=0 came; at least one entry is needed"),
        (ArgumentError, lambda: standardised("cauchy", None, (2,)), "'cauchy' is unknown; choose"),
    ],
)
def test_laws_refuse_parameters_out_of_range(error, build, message):
    with pytest.raises(error, match=message):
        build()
