"""Samplers are pure functions of the draws' seeds, equal to the mapping objects draw by draw."""

import pickle
import tracemalloc
from dataclasses import replace
from functools import partial

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
    compress,
    samplers,
)
from rpstheory.distributions import Independent, Pairs, Rows
from rpstheory.kernels import reference
from rpstheory.kernels.reference import draw_many, seeds
from rpstheory.samplers import (
    Cases,
    DataProducts,
    Draws,
    Products,
    blocks,
    differs,
    exceeds,
    falls_short,
    generator,
    itself,
    squared_error,
)

FIRST = st.integers(0, 2**64 - 1)
SEEDED = (
    Fold(12, 5, 0),
    Hashed(12, 5, 0),
    Chunk(12, 5, 0, chunk=3),
    Block(12, 5, 0, block=3),
    Block(12, 7, 0, block=(2, 3), shape=(3, 4)),
    KeepExact(12, 5, 0),
    KeepBernoulli(12, 5, 0),
)
X, Y = np.arange(12) - 5.0, np.arange(12) % 4 + 1.0


def reseeded(mapping, seed):
    return replace(mapping, seed=seed % 2**64)


def used_cells(cells, signs):
    """Distinct cells that carry a weight."""
    return np.array([len(set(c[s != 0])) for c, s in zip(cells, signs, strict=True)], float)


def first_random_is_small(random):
    return random.random() < 0.5


LAW = Independent((1.0, 2.0, 0.5) * 4, family="laplace")
EVERY = (
    Products(SEEDED[0], X, Y),
    Products(SEEDED[5], X, X, partial(squared_error, about=3.0)),
    DataProducts(SEEDED[0], LAW),
    DataProducts(SEEDED[1], LAW, "random", SEEDED[6]),
    Draws(SEEDED[2], used_cells),
    Cases(first_random_is_small),
)


@pytest.mark.parametrize("mapping", SEEDED, ids=repr)
@given(first=FIRST)
@settings(max_examples=25)
def test_products_equal_those_of_the_mapping_objects_draw_by_draw(mapping, first):
    found = Products(mapping, X, Y)(first, 4, "numpy")
    for t, value in enumerate(found):
        draw = reseeded(mapping, first + t)
        exact = mapping.rescale * int(compress(draw, X) @ compress(draw, Y))
        assert value == pytest.approx(float(exact), rel=1e-15)


@pytest.mark.parametrize("mapping", SEEDED, ids=repr)
@given(first=FIRST)
@settings(max_examples=25)
def test_draw_many_equals_the_mapping_objects_draw_by_draw(mapping, first):
    cells, signs = draw_many(mapping, first, 4)
    place = np.arange(mapping.n)
    for t in range(4):
        draw = reseeded(mapping, first + t)
        assert cells[t].tolist() == draw.cell(place).tolist()
        assert signs[t].tolist() == draw.sign(place).tolist()


def test_draw_many_repeats_a_mapping_without_a_seed():
    cells, signs = draw_many(Top([3, 1, 2], 2), 5, 4)
    assert cells.tolist() == [[0, 1, 2]] * 4
    assert signs.tolist() == [[1, 0, 1]] * 4


def test_seeds_go_round_after_the_last_one():
    assert seeds(2**64 - 2, 4).tolist() == [2**64 - 2, 2**64 - 1, 0, 1]
    assert seeds(-1, 2).tolist() == [2**64 - 1, 0]


def test_products_of_norms_compress_once_and_agree_with_products():
    norms = Products(SEEDED[0], X, X)(9, 50, "numpy")
    assert norms.tolist() == Products(SEEDED[0], X, X.copy())(9, 50, "numpy").tolist()


@given(FIRST)
@settings(max_examples=20)
def test_inner_products_take_one_row_of_data_per_draw(first):
    random = np.random.default_rng(3)
    x, y = random.integers(-9, 9, (2, 5, 12)).astype(float)
    for mapping in SEEDED:
        found = reference.inner_products(mapping, x, y, first, 5)
        for t, value in enumerate(found):
            draw = reseeded(mapping, first + t)
            exact = mapping.rescale * int(compress(draw, x[t]) @ compress(draw, y[t]))
            assert value == pytest.approx(float(exact), rel=1e-15)


@pytest.mark.parametrize("sampler", EVERY, ids=lambda s: type(s).__name__)
def test_sampler_gives_one_float_per_draw_and_the_same_again(sampler):
    found = sampler(123, 9, "numpy")
    assert found.shape == (9,)
    assert found.dtype == np.float64
    assert found.tolist() == sampler(123, 9, "numpy").tolist()
    assert found.tolist() != sampler(124, 9, "numpy").tolist()
    assert sampler.cost > 0


@pytest.mark.parametrize("sampler", EVERY, ids=lambda s: type(s).__name__)
def test_sampler_travels_to_other_processes(sampler):
    other = pickle.loads(pickle.dumps(sampler))
    assert other(7, 6, "numpy").tolist() == sampler(7, 6, "numpy").tolist()


@pytest.mark.parametrize(
    "sampler",
    [s for s in EVERY if not isinstance(s, DataProducts)],
    ids=lambda s: type(s).__name__,
)
@given(first=FIRST, cut=st.integers(1, 8))
@settings(max_examples=25)
def test_sampler_of_mappings_does_not_depend_on_how_draws_are_cut(sampler, first, cut):
    whole = sampler(first, 9, "numpy").tolist()
    later = sampler((first + cut) % 2**64, 9 - cut, "numpy").tolist()
    assert sampler(first, cut, "numpy").tolist() + later == whole


@pytest.mark.parametrize("sampler", EVERY, ids=lambda s: type(s).__name__)
def test_sampler_does_not_depend_on_the_size_of_its_working_arrays(sampler, monkeypatch):
    whole = sampler(5, 40, "numpy").tolist()
    monkeypatch.setattr(reference, "ENTRIES", 3 * 12)
    if not isinstance(sampler, DataProducts):  # its data come in runs of their own
        monkeypatch.setattr(samplers, "ENTRIES", 4 * 3 * 12)
    assert sampler(5, 40, "numpy").tolist() == whole


@given(st.integers(1, 3000), st.integers(1, 10**7))
def test_blocks_cover_all_draws_once_in_order(count, n):
    found = blocks(count, n)
    assert found[0][0] == 0
    assert all(size >= 1 for _, size in found)
    assert [low + size for low, size in found[:-1]] == [low for low, _ in found[1:]]
    assert sum(size for _, size in found) == count


@pytest.mark.parametrize("mapping", SEEDED, ids=repr)
def test_data_products_of_one_row_are_the_squared_errors_of_its_norm(mapping, monkeypatch):
    monkeypatch.setattr(samplers, "ENTRIES", 4 * 12 * 7)  # several runs of draws
    law = Rows(X[None, :])
    found = DataProducts(mapping, law)(11, 30, "numpy")
    wanted = Products(mapping, X, X, partial(squared_error, about=float(X @ X)))(11, 30, "numpy")
    assert found.tolist() == wanted.tolist()


def test_data_products_in_random_order_see_other_orders_of_the_same_entries():
    spike = Rows(np.eye(12)[:1])  # fold of a spike has no error, wherever the spike goes
    assert DataProducts(Fold(12, 5, 0), spike, "random")(11, 30, "numpy").tolist() == [0.0] * 30
    first_lap = Rows(np.repeat([[1.0, 0.0]], [5, 7], axis=1))  # no error until entries leave the lap
    assert DataProducts(Fold(12, 5, 0), first_lap)(11, 30, "numpy").tolist() == [0.0] * 30
    assert DataProducts(Fold(12, 5, 0), first_lap, "random")(11, 30, "numpy").max() > 0


def test_data_products_against_another_mapping_use_the_same_pairs():
    law = Pairs(12, 0.5, "uniform")
    one, two = (DataProducts(m, law)(11, 30, "numpy") for m in SEEDED[:2])
    assert DataProducts(SEEDED[0], law, against=SEEDED[1])(11, 30, "numpy").tolist() == (one - two).tolist()
    assert DataProducts(SEEDED[0], law, against=SEEDED[0])(11, 30, "numpy").tolist() == [0.0] * 30


def test_draws_hand_over_cells_and_signs():
    found = Draws(Fold(12, 5, 0), used_cells)(3, 20, "numpy")
    assert found.tolist() == [5.0] * 20
    found = Draws(KeepExact(12, 5, 0), used_cells)(3, 20, "numpy")
    assert found.tolist() == [5.0] * 20


def test_cases_count_violations_of_cases_with_seeds_of_their_own():
    found = Cases(first_random_is_small)(2**64 - 3, 6, "numpy")
    seeds_of_cases = [2**64 - 3, 2**64 - 2, 2**64 - 1, 0, 1, 2]
    assert found.tolist() == [float(generator(s).random() < 0.5) for s in seeds_of_cases]


def test_values_are_compared_as_their_names_say():
    values = np.array([1.0, 2.0, 3.0])
    assert itself(values) is values
    assert squared_error(values, 2.0).tolist() == [1.0, 0.0, 1.0]
    assert exceeds(values, 2.0, 1.0).tolist() == [0.0, 0.0, 1.0]
    assert falls_short(values, 2.0, 1.0).tolist() == [1.0, 0.0, 0.0]
    assert differs(values, 2.0, 0.5).tolist() == [1.0, 0.0, 1.0]


def test_products_need_no_more_memory_for_more_draws():
    sampler = Products(Hashed(64, 16, 0), np.arange(64.0), np.arange(64.0))

    def peak(count):
        tracemalloc.start()
        try:
            sampler(0, count, "numpy")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    step = reference.ENTRIES // 64
    # Beyond one run of draws only the values themselves, 8 bytes a draw, may grow.
    assert peak(3 * step) <= 1.1 * peak(step) + 3 * 8 * 3 * step


@pytest.mark.parametrize(("rows", "rarest"), [(1, 1 / 12), (2, 1 / 12), (50, 2 / 50 / 12)])
def test_a_row_is_rare_and_so_is_that_two_of_its_weights_meet(rows, rarest):
    assert DataProducts(Fold(12, 5, 0), Rows(np.ones((rows, 12)))).rarest == rarest
    assert DataProducts(Fold(12, 5, 0), Pairs(12)).rarest == 1 / 12
