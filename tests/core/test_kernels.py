"""The CPU kernels draw what the mappings say, to the bit, and sum it as the reference does."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpstheory import Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact, Top
from rpstheory.errors import ShapeError
from rpstheory.hashing import NARROW, PRIME
from rpstheory.kernels import reference

cpu = pytest.importorskip("rpstheory.kernels.cpu", reason="numba is not installed")
field = pytest.importorskip("rpstheory.kernels.field")

seeds = st.one_of(st.integers(0, 2**64 - 1), st.integers(2**64 - 3, 2**64 - 1))
draws = st.integers(1, 3)
# Both sides of a register block (32), of the field values drawn one by one (16 * 64), and ragged.
weights = st.one_of(st.integers(1, 70), st.integers(1000, 1100), st.integers(1, 3000))
cells = st.one_of(st.integers(1, 70), st.integers(500, 530), st.integers(1, 4000))


@st.composite
def tiles(draw):
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    tall, wide = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    m = draw(st.integers(tall * wide, tall * wide + 300))
    return Block(n=rows * columns, m=m, seed=0, block=(tall, wide), shape=(rows, columns))


@st.composite
def mappings(draw, m=cells):
    n, m = draw(weights), draw(m)
    kind = draw(st.sampled_from([Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact]))
    if kind in (Block, Chunk):
        return kind(n, m, 0, draw(st.one_of(st.integers(1, m), st.just(m), st.just(1))))
    if kind in (Fold, Hashed):
        return kind(n, m, 0)
    return kind(n, draw(st.integers(1, n)), 0)


wide = st.integers(NARROW - 2, NARROW + 2**12)
every = st.one_of(mappings(), tiles())


def integers(mapping, count, seed):
    """Small enough that every sum is exact in float64; one vector, or one row per draw."""
    rng = np.random.default_rng(seed)
    shape = (count, mapping.n) if rng.integers(2) else (mapping.n,)
    return rng.integers(-1000, 1001, shape)


def assert_same_draws(mapping, seed, count):
    cells, signs = cpu.draw(mapping, seed, count)
    expected_cells, expected_signs = reference.draw_many(mapping, seed, count)
    assert cells.dtype == signs.dtype == np.int64
    assert np.array_equal(cells, expected_cells)
    assert np.array_equal(signs, expected_signs)


def assert_same_products(mapping, seed, count):
    x, y = integers(mapping, count, [seed, 0]), integers(mapping, count, [seed, 1])
    for a, b in ((x, y), (x, x)):
        expected = reference.inner_products(mapping, a, b, seed, count)
        assert np.array_equal(cpu.inner_products(mapping, a, b, seed, count), expected)


@given(every, seeds, draws)
@example(Fold(1, 1, 0), 0, 1)
@example(KeepExact(1, 1, 0), 0, 1)
@example(Fold(4096, 512, 0), 2**64 - 1, 2)
def test_cells_and_signs_are_those_of_the_mapping(mapping, seed, count):
    assert_same_draws(mapping, seed, count)


@given(every, seeds, draws)
@example(Fold(1, 1, 0), 0, 1)
@example(Fold(4096, 512, 0), 2**64 - 1, 2)
@example(Fold(4096, 500, 0), 0, 2)
@example(Hashed(4096, 512, 0), 0, 2)
@example(Hashed(3, NARROW, 0), 0, 1)
def test_inner_products_equal_the_reference_on_integers(mapping, seed, count):
    assert_same_products(mapping, seed, count)


@pytest.mark.parametrize("kind", [Fold, Hashed, lambda n, m, s: Chunk(n, m, s, 7)])
@pytest.mark.parametrize("m", [NARROW, NARROW + 1, 2**21 + 5])
def test_banks_around_and_beyond_the_narrow_range_equal_the_reference(kind, m):
    assert_same_draws(kind(500, m, 0), 11, 2)
    assert_same_products(kind(500, m, 0), 11, 2)


def test_a_fold_of_several_wide_laps_equals_the_reference():
    mapping = Fold(2 * NARROW + 77, NARROW + 3, 0)
    assert_same_draws(mapping, 5, 1)
    assert_same_products(mapping, 5, 1)


@given(every, seeds, st.integers(0, 2**32))
def test_inner_products_are_within_rounding_of_the_reference(mapping, seed, data):
    x, y = np.random.default_rng(data).normal(size=(2, mapping.n))
    # n <= 3000 summands of |x||y| in all, each rounded at most n times: n eps < 1e-12.
    bound = 1e-12 * np.linalg.norm(x) * np.linalg.norm(y) * float(mapping.rescale)
    got = cpu.inner_products(mapping, x, y, seed, 2)
    assert np.all(np.abs(got - reference.inner_products(mapping, x, y, seed, 2)) <= bound)


@given(every, seeds, st.integers(0, 4))
def test_a_range_of_draws_may_be_cut_anywhere(mapping, seed, cut):
    x, y = np.random.default_rng(cut).normal(size=(2, mapping.n))
    whole = cpu.inner_products(mapping, x, y, seed, 4)
    parts = [
        cpu.inner_products(mapping, x, y, seed, cut),
        cpu.inner_products(mapping, x, y, seed + cut, 4 - cut),
    ]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    "mapping",
    [
        Top(np.arange(5.0), 2),
        Hashed(4, cpu.WIDEST + 1, 0),
        KeepBernoulli(40, 7, 0),
    ],
)
def test_what_no_kernel_serves_goes_to_the_reference(mapping, monkeypatch):
    monkeypatch.setattr(cpu, "LIMIT", 32)
    assert_same_draws(mapping, 3, 2)
    assert_same_products(mapping, 3, 2)


def test_floats_of_any_kind_and_layout_are_read():
    mapping = Fold(100, 17, 0)
    x = np.random.default_rng(0).integers(-9, 9, 200).astype(np.float32)[::2]
    expected = reference.inner_products(mapping, x, x, 0, 3)
    assert np.array_equal(cpu.inner_products(mapping, x, x, 0, 3), expected)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (4, 3), (1, 1, 4)])
def test_inner_products_names_the_shape_that_does_not_fit(shape):
    with pytest.raises(ShapeError, match=r"x has shape .* n=4"):
        cpu.inner_products(Fold(4, 2, 0), np.ones(shape), np.ones(4), 0, 3)


def test_scaling_without_a_division_is_exact_where_the_quotient_changes():
    for size in (1, 2, 3, 512, 1000, NARROW - 1, NARROW):
        quotients = np.unique(np.linspace(0, size - 1, 1000).astype(np.int64))
        first = -(-quotients * PRIME // size)  # smallest value with this quotient
        values = np.unique(np.clip(np.concatenate([first - 1, first]), 0, PRIME - 1))
        scaled = field.scaled.py_func(values.astype(np.uint64), np.uint64(size))
        assert np.array_equal(scaled, values * size // PRIME)


def test_kernels_compile_where_no_cache_can_be_written():
    code = (
        "from numba.core.caching import CacheImpl\n"
        "CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from rpstheory import Fold\n"
        "from rpstheory.kernels import cpu\n"
        "assert cpu.inner_products(Fold(2, 2, 0), np.ones(2), np.ones(2), 0, 1)[0] == 2.0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
