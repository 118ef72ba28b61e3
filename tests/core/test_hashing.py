"""The hash against big integers, and its independence by enumeration over small fields."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory import KeepBernoulli, KeepExact, hashing
from rpstheory.hashing import (
    COEFFICIENTS,
    GOLDEN,
    MASK,
    NARROW,
    PRIME,
    SIGN_STREAM,
    SIGNS_PER_WORD,
    START_STREAM,
    Signs,
    Uniform,
    coefficient,
    coefficients,
    collision_deviation,
    field_values,
    horner,
    mix,
    narrow_range,
    sign_of_bit,
    wide_range,
)

LIMIT = 2**60
EDGES = (0, 1, 15, 16, PRIME - 1, PRIME, PRIME + 1, 2**31, 2 * PRIME, 2**32, 2**40, LIMIT - 1)
SEEDS = st.integers(0, MASK)
ELEMENTS = st.one_of(st.integers(0, PRIME - 1), st.sampled_from([0, 1, PRIME - 2, PRIME - 1]))
POSITIONS = st.one_of(
    st.integers(0, LIMIT - 1),
    st.sampled_from(EDGES).flatmap(lambda edge: st.integers(max(0, edge - 40), min(LIMIT - 1, edge + 40))),
)


def polynomial(c, position):
    """The documented formula in big integers, without Horner's rule or a reduction in between."""
    u, v = (0, position) if len(c) == 4 else divmod(position, PRIME)
    return sum(c[j + 4 * k] * v**j * u**k for j in range(4) for k in range(len(c) // 4)) % PRIME


# -------------------------------------------------------------------------------- arithmetic


@given(st.lists(ELEMENTS, min_size=4, max_size=4), st.lists(ELEMENTS, min_size=1, max_size=9))
def test_horner_equals_the_polynomial_in_big_integers_for_any_coefficients(c, places):
    wanted = [polynomial(tuple(c), v) for v in places]
    assert [horner(tuple(c), v) for v in places] == wanted
    assert horner(tuple(c), np.array(places)).tolist() == wanted


@given(st.lists(ELEMENTS, min_size=16, max_size=16), st.lists(POSITIONS, min_size=1, max_size=9))
def test_field_values_equal_the_polynomial_in_big_integers_at_any_position(c, places):
    wanted = [polynomial(tuple(c), t) for t in places]
    assert [field_values(tuple(c), t) for t in places] == wanted
    assert field_values(tuple(c), np.array(places)).tolist() == wanted


def test_field_values_do_not_overflow_at_the_largest_coefficients_and_positions():
    c = (PRIME - 1,) * 16
    places = [PRIME * u + v for u in (0, 1, 2**28, 2**29 - 1) for v in (0, 1, PRIME - 2, PRIME - 1)]
    places = [t for t in places if t < LIMIT]
    assert field_values(c, np.array(places)).tolist() == [polynomial(c, t) for t in places]


@given(SEEDS, st.integers(0, 3000))
def test_coefficient_of_an_array_of_seeds_equals_python_integers(seed, number):
    seeds = [seed, 0, 1, MASK]
    found = coefficient(np.array(seeds, dtype=np.uint64), number)
    assert found.dtype == np.int64
    assert found.tolist() == [coefficient(s, number) for s in seeds]


@given(SEEDS, st.integers(0, 3000))
def test_coefficient_is_the_documented_splitmix_of_splitmix(seed, number):
    key = mix((seed + GOLDEN) % 2**64)
    assert coefficient(seed, number) == mix((key + (number + 1) * GOLDEN) % 2**64) % PRIME


def test_mix_gives_the_published_output_of_splitmix64():
    # Seed 1234567, as in the reference implementation's own test vector.
    wanted = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [mix((1234567 + k * GOLDEN) % 2**64) for k in range(1, 6)] == wanted
    words = np.array([(1234567 + k * GOLDEN) % 2**64 for k in range(1, 6)], dtype=np.uint64)
    assert mix(words).tolist() == wanted


def test_coefficients_are_pinned():
    assert [coefficient(0, c) for c in range(4)] == [455555280, 1531352428, 1105271234, 1450802721]
    wanted = [1848018567, 381276278, 32203104, 1605962148]
    assert [coefficient(2**64 - 1, c) for c in (0, 15, 16, 47)] == wanted


def test_field_values_are_pinned_beyond_the_field():
    c = coefficients(7, START_STREAM, 2**40)
    wanted = [1539422412, 1070319313, 410110166, 2128085363, 285091897]
    assert [field_values(c, t) for t in (0, 5, 2**31, 2**32 + 9, 2**40 - 1)] == wanted


@pytest.mark.parametrize("count", [1, 5, PRIME, PRIME + 1, LIMIT])
def test_coefficients_are_four_within_the_field_and_sixteen_beyond(count):
    assert len(coefficients(3, 0, count)) == (4 if count <= PRIME else 16)


@given(SEEDS, st.lists(POSITIONS, min_size=1, max_size=20))
def test_signs_of_an_array_equal_those_of_python_integers(seed, places):
    signs = Signs(seed, LIMIT)
    found = signs(np.array(places)).tolist()
    assert found == [signs(t) for t in places]
    assert set(found) <= {-1, 1}


@given(
    SEEDS,
    st.one_of(st.integers(1, LIMIT), st.integers(NARROW - 2, NARROW + 2), st.integers(1, 9)),
    st.lists(POSITIONS, min_size=1, max_size=20),
)
def test_uniform_of_an_array_equals_that_of_python_integers_and_is_in_range(seed, size, places):
    uniform = Uniform(seed, START_STREAM, LIMIT, size)
    found = uniform(np.array(places)).tolist()
    assert found == [uniform(t) for t in places]
    assert all(0 <= value < size for value in found)


@given(st.integers(0, PRIME - 1), st.integers(1, NARROW))
def test_narrow_range_stays_below_its_size_without_overflow(value, size):
    wanted = value * size // PRIME
    assert 0 <= wanted < size
    assert narrow_range(np.int64(value), size) == wanted


@given(ELEMENTS, ELEMENTS, st.integers(1, LIMIT))
def test_wide_range_equals_big_integers(high, low, size):
    wanted = (high * PRIME + low) % size
    assert wide_range(np.array([high]), np.array([low]), size).tolist() == [wanted]


# ------------------------------------------------------------------------------ independence


@pytest.fixture(params=[5, 7])
def small_prime(request, monkeypatch):
    monkeypatch.setattr(hashing, "PRIME", request.param)
    return request.param


def all_coefficients(prime, number):
    grid = np.meshgrid(*[np.arange(prime)] * number, indexing="ij")
    return tuple(c.ravel() for c in grid)


def code_of(values, base):
    """One number per row of values, base ``base``."""
    code = 0
    for value in values:
        code = code * base + value
    return code


def test_field_values_are_exactly_4_wise_independent_within_the_field(small_prime):
    c = all_coefficients(small_prime, 4)
    for places in combinations(range(small_prime), 4):
        code = code_of([field_values(c, t) for t in places], small_prime)
        assert (np.bincount(code, minlength=small_prime**4) == 1).all()


def test_field_values_are_exactly_4_wise_independent_beyond_the_field_by_enumeration(monkeypatch):
    monkeypatch.setattr(hashing, "PRIME", 2)
    c = all_coefficients(2, 16)
    code = code_of([field_values(c, t) for t in range(4)], 2)
    assert np.bincount(code, minlength=16).tolist() == [2**12] * 16


def evaluation_vectors(places, prime):
    """Row t: the 16 numbers by which the coefficients enter the value at place t."""
    unit = np.eye(16, dtype=np.int64)
    basis = tuple(unit[c] for c in range(16))
    return np.array([field_values(basis, t) for t in places]) % prime


def rank_is_full(rows, prime):
    """Whether each (…, 4, 16) matrix has rank 4 over the field."""
    rows = rows.copy() % prime
    count = np.arange(len(rows))
    full = np.ones(len(rows), dtype=bool)
    for r in range(4):
        column = (rows[:, r] != 0).argmax(axis=1)
        pivot = rows[count, r, column]
        full &= pivot != 0
        inverse = np.array([pow(int(p), prime - 2, prime) for p in pivot])
        for below in range(r + 1, 4):
            factor = rows[count, below, column] * inverse % prime
            rows[:, below] = (rows[:, below] - factor[:, None] * rows[:, r]) % prime
    return full


def test_field_values_are_exactly_4_wise_independent_at_every_four_places_of_a_square(small_prime):
    vectors = evaluation_vectors(range(small_prime**2), small_prime)
    fours = np.array(list(combinations(range(small_prime**2), 4)))
    assert rank_is_full(vectors[fours], small_prime).all()


@given(st.lists(POSITIONS, min_size=4, max_size=4, unique=True))
def test_field_values_of_the_shipped_prime_are_exactly_4_wise_independent(places):
    assert rank_is_full(evaluation_vectors(places, PRIME)[None], PRIME).all()


@pytest.mark.parametrize(
    "places",
    [
        (0, PRIME, 2 * PRIME, 3 * PRIME),  # one place in four blocks of positions
        (0, 1, 2, 3),
        (0, 1, PRIME, PRIME + 1),
        (5, PRIME - 1, 2**31 + 5, LIMIT - 1),
    ],
)
def test_field_values_are_exactly_4_wise_independent_across_blocks_of_positions(places):
    assert rank_is_full(evaluation_vectors(places, PRIME)[None], PRIME).all()


@given(
    st.lists(ELEMENTS, min_size=16, max_size=16),
    st.lists(ELEMENTS, min_size=16, max_size=16),
    POSITIONS,
)
def test_field_values_are_linear_in_the_coefficients(c, d, place):
    both = tuple((a + b) % PRIME for a, b in zip(c, d, strict=True))
    apart = field_values(tuple(c), place) + field_values(tuple(d), place)
    assert field_values(both, place) == apart % PRIME


def test_field_values_are_not_5_wise_independent_within_the_field(monkeypatch):
    monkeypatch.setattr(hashing, "PRIME", 5)
    c = all_coefficients(5, 4)
    code = code_of([field_values(c, t) for t in range(5)], 5)
    assert np.bincount(code, minlength=5**5).max() == 1
    assert np.count_nonzero(np.bincount(code, minlength=5**5)) == 5**4


# -------------------------------------------------------------------------- stated deviations


def collisions(values, size, distance=0):
    """P(a + distance = b mod size) for two independent uniform entries of ``values``."""
    count = np.bincount(np.asarray(values), minlength=size)
    met = sum(int(count[c]) * int(count[(c + distance) % size]) for c in range(size))
    return Fraction(met, len(values) ** 2)


@pytest.mark.parametrize("prime", [5, 7, 11, 31])
def test_collision_deviation_is_exact_for_a_narrow_range_by_counting(prime, monkeypatch):
    monkeypatch.setattr(hashing, "PRIME", prime)
    for size in range(1, 2 * prime):
        values = narrow_range(np.arange(prime), size)
        deviation = Fraction(*collision_deviation(size))
        assert collisions(values, size) - Fraction(1, size) == deviation
        for distance in range(size):
            assert abs(collisions(values, size, distance) - Fraction(1, size)) <= deviation


@pytest.mark.parametrize("prime", [3, 5, 7])
def test_collision_deviation_is_exact_for_a_wide_range_by_counting(prime, monkeypatch):
    monkeypatch.setattr(hashing, "PRIME", prime)
    monkeypatch.setattr(hashing, "NARROW", 0)
    high, low = (a.ravel() for a in np.meshgrid(np.arange(prime), np.arange(prime)))
    for size in range(1, prime**2 + 2):
        values = wide_range(high, low, size)
        deviation = Fraction(*collision_deviation(size))
        assert collisions(values, size) - Fraction(1, size) == deviation
        for distance in range(size):
            assert abs(collisions(values, size, distance) - Fraction(1, size)) <= deviation


def test_collision_deviation_of_every_narrow_range_is_relatively_below_2_to_the_minus_24():
    size = np.arange(1, NARROW + 1)
    rest = PRIME % size
    assert (rest * (size - rest) * 2**24 < PRIME**2).all()  # at most 2^62


@given(st.integers(1, 2**49))
def test_collision_deviation_is_within_the_documented_bounds(size):
    field = PRIME if size <= NARROW else PRIME**2
    deviation = Fraction(*collision_deviation(size))
    assert 0 <= deviation <= Fraction(size, 4 * field**2)
    assert deviation * size < Fraction(1, 2**24)


def test_sign_word_is_within_2_to_the_minus_31_of_uniform_in_total_variation():
    words = 2**SIGNS_PER_WORD
    low_bits = np.arange(words)
    count = (PRIME - 1 - low_bits) // words + 1  # field values with these low bits
    assert int(count.sum()) == PRIME
    excess = sum(Fraction(abs(int(c) * words - PRIME), words * PRIME) for c in count)
    assert excess / 2 < Fraction(1, 2**31)


def test_signs_of_a_word_are_the_low_bits_of_its_field_value():
    signs, word = Signs(11, 2**20), coefficients(11, SIGN_STREAM, 2**16)
    for place in range(64):
        bits = field_values(word, place // SIGNS_PER_WORD)
        assert signs(place) == (-1 if bits >> (place % SIGNS_PER_WORD) & 1 else 1)


def test_sign_of_bit_is_minus_one_where_the_bit_is_set():
    assert [sign_of_bit(0b0110, bit) for bit in range(4)] == [1, -1, -1, 1]


# ----------------------------------------------------------------------------------- streams


def test_streams_of_a_seed_share_no_coefficient():
    numbers = [coefficient(1, c) for c in range(100 * COEFFICIENTS)]
    assert len(set(numbers)) == len(numbers)


def test_signs_starts_and_kept_weights_use_different_coefficients():
    n = 2**40
    used = [Signs(5, n)._coefficients, Uniform(5, START_STREAM, n, n)._high]
    used += [Uniform(5, START_STREAM, n, n)._low, *KeepBernoulli(n, 9, 5)._coefficients]
    assert len(set().union(*used)) == sum(map(len, used)) == 5 * COEFFICIENTS


@pytest.mark.parametrize("n", [2, 64, 2**40])
def test_rounds_of_an_exact_subset_use_different_coefficients(n):
    functions = KeepExact(n, 1, 5)._functions
    used = [f._high for f in functions] + [f._low for f in functions]
    assert len(set().union(*used)) == sum(map(len, used))


@given(SEEDS)
def test_neighbouring_seeds_give_different_coefficients(seed):
    one, two = (coefficients(s % 2**64, 0, 1) for s in (seed, seed + 1))
    assert one != two


def test_every_pair_of_values_comes_up_for_some_seed():
    start = Uniform(np.arange(400, dtype=np.uint64), START_STREAM, 2**40, 3)
    found = set(zip(start(0).tolist(), start(2**33).tolist(), strict=True))
    assert found == set(product(range(3), repeat=2))
