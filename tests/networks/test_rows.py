"""Rows without the table: those of the dense table, and gradients that are their adjoint."""

import numpy as np
import pytest
import torch
import torch.nn.functional as tnnf
from hypothesis import given, settings
from hypothesis import strategies as st

from nn.bridge import key_of
from nn.kernels import Piece, cpu
from nn.kernels.rows import RowError, compress_rows, compress_rows_op, expand_rows, expand_rows_op
from rpstheory import Block, Chunk, Fold, Hashed
from rpstheory.errors import ArgumentError

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
    """What the operators are told of where the table lies."""
    return torch.tensor(roots, dtype=F64), torch.tensor(edges), key_of(mapping), first


@st.composite
def cases(draw):
    """A mapping, where a table lies in it, the table's shape, and rows; every factor is whole."""
    count, width, first = draw(st.integers(1, 12)), draw(st.integers(1, 150)), draw(st.integers(0, 70))
    n, m = first + count * width + draw(st.integers(0, 50)), draw(st.integers(1, 400))
    kind, seed = draw(st.sampled_from(sorted(KINDS))), draw(st.integers(0, 2**64 - 1))
    mapping = KINDS[kind](n, m, seed, draw(st.integers(1, m)))
    edges = sorted({0, *draw(st.lists(st.integers(0, mapping.m - 1), max_size=3))})
    roots = draw(st.lists(st.sampled_from((0.5, 1.0, 2.0)), min_size=len(edges), max_size=len(edges)))
    shape = draw(st.sampled_from(((0,), (1,), (7,), (2, 3), ())))
    rows = draw(st.lists(st.integers(0, count - 1), min_size=9, max_size=9))[: int(np.prod(shape))]
    kind_of_rows = draw(st.sampled_from((torch.int64, torch.int32)))
    return (
        mapping,
        place_of(mapping, first, edges, roots),
        count,
        width,
        torch.tensor(rows, dtype=kind_of_rows).view(shape),
    )


def randoms(seed, *shape, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed % 2**32), dtype=dtype)


def whole(seed, *shape):
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(seed % 2**32)).double()


@given(cases(), st.sampled_from((torch.float32, F64)))
@settings(max_examples=200)
def test_rows_are_those_of_the_table_to_the_last_bit(case, dtype):
    mapping, (roots, *rest), count, width, rows = case
    bank, place = randoms(mapping.seed, mapping.m, dtype=dtype), (roots * 0.7, *rest)
    table = Piece(*place, count * width, mapping.m, 0.3).expand(bank).view(count, width)
    found = expand_rows(bank, *place, count, width, rows, 0.3)
    assert (found == tnnf.embedding(rows, table)).all()
    assert found.shape == (*rows.shape, width)


@given(cases())
@settings(max_examples=200)
def test_gradients_are_those_of_the_table_on_whole_numbers(case):
    mapping, place, count, width, rows = case
    values, bank = whole(mapping.seed, *rows.shape, width), whole(mapping.seed + 1, mapping.m)
    of_table = torch.zeros(count, width, dtype=F64)
    of_table.index_add_(0, rows.reshape(-1), values.reshape(-1, width))
    expected = Piece(*place, of_table.numel(), mapping.m, 2.0).compress(of_table.view(-1))
    assert (compress_rows(values, *place, count, mapping.m, rows, 2.0) == expected).all()
    bank.requires_grad_()
    expand_rows(bank, *place, count, width, rows, 2.0).backward(values)
    assert (bank.grad == expected).all()
    values.requires_grad_()
    compress_rows(values, *place, count, mapping.m, rows, 2.0).backward(bank.detach())
    assert (values.grad == expand_rows(bank.detach(), *place, count, width, rows, 2.0)).all()


def test_rows_and_gradients_are_the_same_bits_on_any_number_of_threads(threads):
    count, width, taken = 900, 77, 3 * cpu.SHORT // 77 + 1  # enough for three threads
    mapping = Fold(count * width, 5003, 3)
    rows = torch.randint(count, (taken,), generator=torch.Generator().manual_seed(0))
    bank, values = randoms(1, mapping.m, dtype=torch.float32), randoms(2, taken, width, dtype=torch.float32)
    place = place_of(mapping, edges=(0, 777, 2000), roots=(1.1, 0.9, 1.3))
    threads(1)
    up = expand_rows(bank, *place, count, width, rows, 1.0)
    down = compress_rows(values, *place, count, mapping.m, rows, 1.0)
    for number in (2, 3):
        threads(number)
        assert (expand_rows(bank, *place, count, width, rows, 1.0) == up).all()
        assert (compress_rows(values, *place, count, mapping.m, rows, 1.0) == down).all()


def test_every_cell_adds_rows_in_the_order_in_which_they_came():
    place, rows = place_of(Fold(1, 1, 0)), torch.zeros(3, dtype=torch.int64)
    values = torch.tensor([[2.0**60], [-(2.0**60)], [1.0]], dtype=F64)
    up, down = (compress_rows(v, *place, 1, 1, rows, 1.0).abs().item() for v in (values, values.flip(0)))
    assert (up, down) == (1.0, 0.0)


def test_a_table_larger_than_the_memory_gives_its_rows():
    count, width = 2**20, 2**10
    mapping = Fold(count * width, 1000, 9)
    bank, rows = whole(0, 1000), torch.tensor([0, 1, count // 2, count - 1])
    position = rows[:, None] * width + torch.arange(width)
    expected = bank[mapping.cell(position)] * mapping.sign(position)
    assert (expand_rows(bank, *place_of(mapping), count, width, rows, 1.0) == expected).all()


@pytest.mark.parametrize(("rows", "wrong"), [([0, 4, 1], 4), ([3, -1], -1)])
def test_rows_that_the_table_does_not_have_are_refused(rows, wrong):
    bank, place, rows = torch.ones(5, dtype=F64), place_of(Fold(12, 5, 0)), torch.tensor(rows)
    message = rf"embedding: row {wrong} came; the table has 4; pass 0 … 3"
    for kind in (IndexError, ArgumentError, RowError):
        with pytest.raises(kind, match=message):
            expand_rows(bank, *place, 4, 3, rows, 1.0)
    with pytest.raises(RowError, match=message):
        compress_rows(torch.ones(len(rows), 3, dtype=F64), *place, 4, 5, rows, 1.0)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_the_operators_pass_the_checks_of_torch(kind, dtype):
    mapping = KINDS[kind](200, 30, 3, 8)
    rows, place = torch.tensor([[0, 4], [4, 8]]), place_of(mapping, 4)
    bank = randoms(0, mapping.m, dtype=dtype).requires_grad_()
    torch.library.opcheck(expand_rows_op, (bank, *place, 9, 20, rows, 0.5))
    values = randoms(1, 2, 2, 20, dtype=dtype).requires_grad_()
    torch.library.opcheck(compress_rows_op, (values, *place, 9, mapping.m, rows, 0.5))


def test_rows_survive_a_compiler_without_a_break():
    place, rows = place_of(Fold(120, 17, 3)), torch.tensor([3, 1, 3])
    bank = randoms(0, 17)
    look_up = lambda rows: expand_rows(bank, *place, 12, 10, rows, 1.0)  # noqa: E731
    assert (torch.compile(look_up, backend="eager", fullgraph=True)(rows) == look_up(rows)).all()
