"""Products without the weight: those of the dense weight, to the last bit on whole numbers."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as tnnf
from hypothesis import given, settings
from hypothesis import strategies as st

from nn.bridge import key_of
from nn.kernels import Piece, cpu
from nn.kernels.products import ROWS, SUMS, linear, linear_op, pays
from rpstheory import Block, Chunk, Fold, Hashed

F64 = torch.float64
KINDS = {
    "fold": lambda n, m, seed, z: Fold(n, m, seed),
    "hashed": lambda n, m, seed, z: Hashed(n, m, seed),
    "chunk": lambda n, m, seed, z: Chunk(n, m, seed, chunk=z),
    "block": lambda n, m, seed, z: Block(n, m, seed, block=z),
    "tile": lambda n, m, seed, z: Block(n, m + 6, seed, block=(2, 3), shape=(1, n)),
}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def place_of(mapping, first=0, edges=(0,), roots=(1.0,)):
    """What linear and expand are told of where the weights lie."""
    return torch.tensor(roots, dtype=F64), torch.tensor(edges), key_of(mapping), first


def weight_of(bank, place, count, columns, scale=1.0):
    return Piece(*place, count * columns, len(bank), scale).expand(bank).view(count, columns)


def whole(generator, *shape, dtype=F64):
    return torch.randint(-9, 10, shape, generator=generator).to(dtype)


@st.composite
def cases(draw):
    """A bank of whole numbers, where a weight lies in it, and the weight's shape; every factor is whole."""
    count, columns, first = draw(st.integers(1, 12)), draw(st.integers(1, 150)), draw(st.integers(0, 70))
    n, m = first + count * columns + draw(st.integers(0, 50)), draw(st.integers(1, 400))
    kind, seed = draw(st.sampled_from(sorted(KINDS))), draw(st.integers(0, 2**64 - 1))
    mapping = KINDS[kind](n, m, seed, draw(st.integers(1, m)))
    edges = sorted({0, *draw(st.lists(st.integers(0, mapping.m - 1), max_size=3))})
    roots = draw(st.lists(st.sampled_from((0.5, 1.0, 2.0)), min_size=len(edges), max_size=len(edges)))
    generator = torch.Generator().manual_seed(seed % 2**32)
    return generator, whole(generator, mapping.m), place_of(mapping, first, edges, roots), count, columns


@given(cases(), st.integers(0, 2 * ROWS + 3))
@settings(max_examples=200)
def test_products_equal_those_of_the_weight_on_whole_numbers(case, batch):
    generator, bank, place, count, columns = case
    x = whole(generator, batch, columns)
    found = linear(x, bank, *place, count, 2.0)
    assert (found == tnnf.linear(x, weight_of(bank, place, count, columns, 2.0))).all()
    assert found.shape == (batch, count)


@given(cases(), st.sampled_from((torch.float32, F64)))
@settings(max_examples=100)
def test_products_with_unit_vectors_are_the_weights_to_the_last_bit(case, dtype):
    generator, bank, (roots, *rest), count, columns = case
    bank = torch.randn(len(bank), generator=generator, dtype=dtype)
    place = (roots * 0.7, *rest)
    found = linear(torch.eye(columns, dtype=dtype), bank, *place, count, 0.3)
    assert (found == weight_of(bank, place, count, columns, 0.3).T).all()


@pytest.mark.parametrize("columns", [1, SUMS, cpu.STRETCH - 1, cpu.STRETCH, 2 * cpu.STRETCH + 37])
@pytest.mark.parametrize("batch", [1, ROWS])
def test_rows_longer_than_what_is_held_at_once_are_whole(columns, batch):
    generator, count, first = torch.Generator().manual_seed(columns), 3, 5
    mapping = Fold(first + count * columns, max(1, columns // 3), 11)
    bank, x = whole(generator, mapping.m), whole(generator, batch, columns)
    place = place_of(mapping, first)
    weight = weight_of(bank, place, count, columns)
    assert (linear(x, bank, *place, count, 1.0) == tnnf.linear(x, weight)).all()


@given(cases(), st.data())
@settings(max_examples=100)
def test_an_infinite_input_meets_no_weight_but_its_own(case, data):
    generator, bank, place, count, columns = case
    bank = bank.abs() + 1
    x = whole(generator, 2, columns)
    x[0, data.draw(st.integers(0, columns - 1))] = torch.inf
    found = linear(x, bank, *place, count, 1.0)
    assert (found == tnnf.linear(x, weight_of(bank, place, count, columns))).all()
    assert found[0].isinf().all()


def test_outputs_are_the_same_bits_on_any_number_of_threads_and_in_any_batch(threads):
    generator, count, columns = torch.Generator().manual_seed(0), 511, 1003
    assert count * columns >= 3 * cpu.SHORT  # enough for three threads
    mapping = Fold(count * columns, 30011, 3)
    bank = torch.randn(mapping.m, generator=generator)
    x = torch.randn(2 * ROWS + 3, columns, generator=generator)
    place = place_of(mapping, edges=(0, 777, 20000), roots=(1.1, 0.9, 1.3))
    threads(1)
    found = linear(x, bank, *place, count, 1.0)
    for number in (2, 3):
        threads(number)
        assert (linear(x, bank, *place, count, 1.0) == found).all()
    for row, each in zip(x, found, strict=True):
        assert (linear(row, bank, *place, count, 1.0) == each).all()


@pytest.mark.parametrize("columns", [7, 500])
def test_rounding_errors_keep_the_bound_that_is_stated(columns):
    generator, count = torch.Generator().manual_seed(1), 40
    mapping = Fold(count * columns, 61, 5)
    bank = torch.randn(mapping.m, generator=generator)
    x = torch.randn(columns, generator=generator)
    place = place_of(mapping, edges=(0, 17), roots=(1.0, 3.0))
    found = linear(x, bank, *place, count, 1.0)
    weight = weight_of(bank, place, count, columns)
    unit = Fraction(1, 2**24)
    k = -(-columns // SUMS) + 6
    for y, row in zip(found.tolist(), weight.tolist(), strict=True):
        products = [Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), row, strict=True)]
        bound = k * unit / (1 - k * unit) * sum(map(abs, products))
        assert abs(Fraction(y) - sum(products)) <= bound


@given(cases(), st.integers(1, 5))
@settings(max_examples=60)
def test_gradients_equal_those_of_the_weight_on_whole_numbers(case, batch):
    generator, bank, place, count, columns = case
    x, pull = whole(generator, batch, columns), whole(generator, batch, count)
    ours, dense = [[t.clone().requires_grad_() for t in (x, bank)] for _ in range(2)]
    found = linear(*ours, *place, count, 2.0)
    found.backward(pull)
    tnnf.linear(dense[0], weight_of(dense[1], place, count, columns, 2.0)).backward(pull)
    for a, b in zip(ours, dense, strict=True):
        assert (a.grad == b.grad).all()


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_the_operator_passes_the_checks_of_torch(kind, dtype):
    mapping = KINDS[kind](200, 30, 3, 8)
    bank = torch.randn(mapping.m, dtype=dtype, requires_grad=True)
    x = torch.randn(2, 3, 20, dtype=dtype, requires_grad=True)
    torch.library.opcheck(linear_op, (x, bank, *place_of(mapping, 4), 9, 0.5))
    torch.library.opcheck(linear_op, (x.detach(), bank.detach(), *place_of(mapping, 4), 9, 0.5))


def test_products_survive_a_compiler_without_a_break():
    mapping = Fold(120, 17, 3)
    bank, x = torch.randn(17, dtype=F64), torch.randn(4, 10, dtype=F64)
    place = place_of(mapping)
    compiled = torch.compile(lambda x: linear(x, bank, *place, 12, 1.0), backend="eager", fullgraph=True)
    assert (compiled(x) == linear(x, bank, *place, 12, 1.0)).all()


@pytest.mark.parametrize("shape", [(0, 5), (5,), (2, 3, 5), (2, 0, 5)])
def test_leading_dimensions_of_the_input_stay(shape):
    bank, place = torch.ones(7, dtype=F64), place_of(Fold(20, 7, 0))
    x = torch.ones(shape, dtype=F64)
    found = linear(x, bank, *place, 4, 1.0)
    assert found.shape == (*shape[:-1], 4)
    assert (found == tnnf.linear(x, weight_of(bank, place, 4, 5))).all()


def test_inputs_with_strides_are_read_as_they_are():
    generator, place = torch.Generator().manual_seed(2), place_of(Fold(400, 70, 0))
    bank, x = whole(generator, 70, 2)[:, 0], whole(generator, 40, 6).T[::2]
    assert (linear(x, bank, *place, 10, 1.0) == tnnf.linear(x, weight_of(bank, place, 10, 40))).all()


def test_products_are_chosen_for_few_rows_of_large_weights_in_long_runs():
    long, short = cpu.plan_of(Fold(2**24, 2**20, 0)), cpu.plan_of(Chunk(2**24, 2**20, 0, chunk=32))
    hashed = cpu.plan_of(Hashed(2**24, 2**20, 0))
    tiles = cpu.plan_of(KINDS["tile"](2**24, 2**20, 0, 0))
    for plan, count, columns, batch in ((long, 256, 256, 8), (short, 4096, 4096, 8), (long, 4096, 4096, 32)):
        assert pays(plan, count, columns, batch)
        assert not pays(plan, count, columns, batch + 1)
        assert not pays(plan, 10, 64, 1)
    assert not pays(hashed, 4096, 4096, 1)
    assert not pays(tiles, 4096, 4096, 1)
