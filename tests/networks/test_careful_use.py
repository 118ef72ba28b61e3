"""Uses that once gave wrong numbers, or none: each is answered rightly, or refused in a sentence."""

import threading

import pytest
import torch
import torch.nn as tnn
from torch._dynamo.testing import CompileCounter

import nn
from nn.bridge import key_of
from nn.kernels import Piece
from rpstheory import Block, Fold
from rpstheory.errors import ArgumentError, DataError, KindError


def stack(layers=3, width=64):
    torch.manual_seed(0)
    return tnn.Sequential(*(tnn.Linear(width, width) for _ in range(layers)))


@pytest.mark.parametrize("width", [256, 300, 700, 1024])
def test_input_of_another_width_is_refused_without_gradients_too(width):
    shared = nn.share(tnn.Linear(512, 512), 10)
    with torch.no_grad(), pytest.raises(RuntimeError, match="cannot be multiplied"):
        shared(torch.ones(4, width))


@pytest.mark.parametrize("mapping", ["hashed", "chunk"])
def test_threads_that_call_first_after_a_cast_agree(mapping):
    for _ in range(10):
        shared = nn.share(stack(), 10, mapping=mapping).double()
        alone, x = nn.share(stack(), 10, mapping=mapping).double(), torch.ones(2, 64, dtype=torch.float64)
        found, gate = [], threading.Barrier(6)

        def call(shared=shared, x=x, found=found, gate=gate):
            gate.wait()
            found.append(shared(x).detach())

        threads = [threading.Thread(target=call) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 6
        assert all(torch.equal(each, alone(x)) for each in found)


def test_reading_weights_between_calls_compiles_nothing_anew():
    shared, counter, x = nn.share(stack(12), 10), CompileCounter(), torch.ones(2, 64)
    compiled = torch.compile(shared, backend=counter, fullgraph=True)
    for layer in shared:
        compiled(x)
        layer.weight.norm()
    assert counter.frame_count == 1


def test_a_state_of_another_mapping_is_refused_and_nothing_is_loaded():
    one, other = nn.share(stack(), 10, seed=1), nn.share(stack(), 10, seed=2)
    before = other.shared_bank.detach().clone()
    with pytest.raises(DataError, match=r"nn\.load"):
        other.load_state_dict(one.state_dict())
    assert torch.equal(other.shared_bank, before)


def test_a_state_of_other_lambdas_is_refused_also_through_a_file(tmp_path):
    one, again = nn.share(stack(), 10), nn.share(stack(), 10)
    torch.manual_seed(1)
    other = nn.share(tnn.Sequential(*(tnn.Linear(64, 64) for _ in range(3))), 10)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again.load_state_dict(state)
    with pytest.raises(DataError, match="lambda"):
        tnn.Sequential(other).load_state_dict(tnn.Sequential(one).state_dict())
    with pytest.raises(DataError, match="lambda"):
        other.load_state_dict(state)


def test_a_dense_model_again_loads_any_state():
    dense = nn.to_dense(nn.share(stack(), 10))
    assert not dense._state_dict_hooks
    assert not dense._load_state_dict_pre_hooks
    dense.load_state_dict(stack().state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mapping", [Fold(5000, 70, 3), Block(5000, 70, 3, block=32)], ids=["fold", "block"])
def test_sixteen_bits_are_rounded_once(dtype, mapping):
    draw = torch.Generator().manual_seed(0)
    bank, values = torch.randn(70, generator=draw).to(dtype), torch.randn(5000, generator=draw).to(dtype)
    roots, edges = torch.tensor([1.7, 2.3], dtype=torch.float64), torch.tensor([0, 40])
    piece = Piece(roots, edges, key_of(mapping), 0, 5000, 70, 0.3)
    assert torch.equal(piece.expand(bank), piece.expand(bank.float()).to(dtype))
    assert torch.equal(piece.compress(values), piece.compress(values.float()).to(dtype))


def test_rows_of_sixteen_bits_are_those_of_the_table():
    shared = nn.share(tnn.Embedding(200, 16), 10).bfloat16()
    rows = torch.tensor([[3, 3], [199, 0]])
    assert torch.equal(shared(rows), shared.weight[rows])


def test_frozen_weights_stay_frozen_there_and_back():
    net = stack()
    net.requires_grad_(False)
    shared = nn.share(net, 10)
    assert not shared.shared_bank.requires_grad
    assert not any(p.requires_grad for p in nn.to_dense(shared).parameters())


def test_a_bank_is_not_half_frozen():
    net = stack()
    net[0].weight.requires_grad_(False)
    with pytest.raises(ArgumentError, match=r"0\.weight is frozen and 1\.weight is not"):
        nn.share(net, 10)
    layered = nn.share(net, 10, scope="layer")
    assert [p.requires_grad for n, p in layered.named_parameters() if "bank" in n] == [False, True, True]


@pytest.mark.parametrize(("layers", "call"), [(1, dict(compression=5000)), (10, dict(budget_params=5))])
def test_less_than_one_cell_is_refused(layers, call):
    net = tnn.Sequential(*(tnn.Linear(64, 64, bias=False) for _ in range(layers)))
    with pytest.raises(ArgumentError, match=r"less than one cell|pass at least 10, or share more"):
        nn.plan(net, scope="layer", **call)


@pytest.mark.parametrize("size", [1e-4, 300.0])
def test_weights_of_sixteen_bits_are_measured_in_more(size):
    net = tnn.Linear(64, 64, bias=False).half()
    torch.manual_seed(0)
    with torch.no_grad():
        net.weight.copy_(torch.randn(64, 64) * size)
    (bank,) = nn.sharing.banks_of(nn.share(net, 2, init="project"))
    assert bank.spans[0].scale == float(net.weight.detach().float().square().mean().sqrt())


@pytest.mark.parametrize("rows", [torch.tensor([1.9]), torch.tensor([True])])
def test_rows_that_are_no_whole_numbers_are_refused(rows):
    with pytest.raises(KindError, match="whole numbers"):
        nn.share(tnn.Embedding(200, 16), 10)(rows)


def test_positions_beyond_two_to_the_thirty_give_the_bits_of_the_reference():
    mapping, first = Fold(2**33 + 5, 2**12 + 1, 7), 2**33 - 3000
    draw = torch.Generator().manual_seed(0)
    bank, values = (torch.randint(-8, 9, (k,), generator=draw).double() for k in (mapping.m, 3005))
    roots, edges = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    piece = Piece(roots, edges, key_of(mapping), first, 3005, mapping.m, 1.0)
    assert type(piece.kernels(bank)).__name__ == "_OnCpu"
    position = torch.arange(first, first + 3005)
    cell, sign = mapping.cell(position), mapping.sign(position).double()
    assert torch.equal(piece.expand(bank), bank[cell] * sign)
    expected = torch.zeros_like(bank).index_add_(0, cell, values * sign)
    assert torch.equal(piece.compress(values), expected)


@pytest.mark.parametrize("cell", [tnn.LSTMCell, tnn.GRUCell, tnn.RNNCell])
def test_recurrent_cells_are_shared_too(cell):
    shared = nn.share(cell(32, 64), 4)
    out = shared(torch.ones(2, 32))
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    assert shared.shared_bank.grad.abs().sum() > 0
    assert {n for n, _ in shared.named_parameters()} == {"shared_bank", "bias_ih", "bias_hh"}


def test_an_override_that_comes_too_late_is_refused():
    with pytest.raises(ArgumentError, match="put it first"):
        nn.plan(stack(), 10, overrides={"*": {"compression": 2}, "0.weight": {"compression": 4}})


def test_a_parametrized_model_is_told_so():
    net = tnn.utils.parametrizations.weight_norm(tnn.Linear(64, 64))
    with pytest.raises(ArgumentError, match="parametrized"):
        nn.share(net, 10)


def test_a_plan_says_what_it_chose():
    assert str(nn.plan(stack(), 10, seed=5)).splitlines() == [
        "12,288 weights in 1,229 cells (9.998x), seed 5, 10 laps, 2 positions of the last empty",
        "192 parameters stay dense; 12,480 become 1,421: 8.8x",
    ]


def test_a_mapping_that_cannot_be_hashed_is_refused():
    class Odd:
        __hash__ = None

        def __call__(self, n, m, seed):
            return Fold(n, m, seed)

    with pytest.raises(KindError, match="plain function"):
        nn.share(stack(), 10, mapping=Odd())


def test_an_empty_path_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="empty path"):
        nn.save(nn.share(stack(), 10), "")
    assert not list(tmp_path.iterdir())
