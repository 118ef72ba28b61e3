"""Weights that are products of stored matrices: exact on whole numbers, stored once, saved and loaded.

All matrices hold small whole numbers, of which sums and products are exact in double precision whatever the
order: so results are compared with ==.
"""

import copy
from math import prod

import pytest
import torch
import torch.nn as tnn
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import nn
from nn.budget import budget
from nn.factoring import Place, install
from nn.factors import Matrix
from nn.layers import factors_of, views_of
from nn.sharing import sign
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError


def whole(*shape, seed=0, kind=torch.float64):
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).to(kind)


class Net(tnn.Module):
    """Three layers of 6 to 8 and back, of which two share; a norm with buffers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.back = tnn.Linear(6, 8), tnn.Linear(6, 8), tnn.Linear(8, 6)
        self.norm = tnn.BatchNorm1d(6)
        for number, (name, parameter) in enumerate(self.named_parameters()):
            if "norm" not in name:
                parameter.data.copy_(whole(*parameter.shape, seed=number))
        self.double()

    def forward(self, x):
        return self.back(self.first(x) + self.second(x))


PLACES = [Place((f"{name}.weight",), True) for name in ("first", "second", "back")]


def chains(mask=None, block=(1, 1)):
    """A basis of two layers; a third with a turned, perhaps sparse, matrix and the same basis turned."""
    basis = Matrix(whole(6, 2, seed=1))
    sparse = Matrix(whole(8, 2, seed=4) + 10, mask, block)
    return {
        PLACES[0]: (basis, Matrix(whole(2, 8, seed=2))),
        PLACES[1]: (basis, Matrix(whole(2, 8, seed=3))),
        PLACES[2]: (sparse, basis.T),
    }


MASK = whole(8, 2, seed=9) > 0
BLOCKS = (whole(4, 1, seed=8) > 0).repeat_interleave(2, 0).repeat_interleave(2, 1)
FORMS = {"dense": (None, (1, 1)), "sparse": (MASK, (1, 1)), "blocks": (BLOCKS, (2, 2))}


@pytest.fixture(params=FORMS)
def made(request):
    net, given = Net(), chains(*FORMS[request.param])
    install(net, given)
    return net, given


def product(chain):
    found = None
    for each in chain:
        matrix = each if isinstance(each, Matrix) else each.T
        values = matrix.values if matrix.mask is None else torch.where(matrix.mask, matrix.values, 0)
        values = values if isinstance(each, Matrix) else values.T
        found = values if found is None else found @ values
    return found


def test_a_weight_is_the_product_of_its_factors(made):
    net, given = made
    for place, chain in given.items():
        assert torch.equal(net.get_submodule(place.names[0][:-7]).weight, product(chain).T)


def test_the_forward_is_that_of_the_dense_model(made):
    net, _ = made
    x = whole(5, 6)
    assert torch.equal(net(x), nn.to_dense(net)(x))


def test_a_matrix_of_several_chains_is_stored_once(made):
    net, given = made
    matrices = {each if isinstance(each, Matrix) else each.T for chain in given.values() for each in chain}
    assert len(factors_of(net)) == len(matrices) == 4
    numbers = sum(each.values.numel() if each.mask is None else int(each.mask.sum()) for each in matrices)
    bits = sum(-(-each.mask.numel() // prod(each.block) // 8) for each in matrices if each.mask is not None)
    assert sum(f.parameter.nbytes for f in factors_of(net)) == 8 * numbers
    assert sum(f.index_bytes for f in factors_of(net)) == bits


def test_gradients_of_the_factors_are_those_of_the_dense_product(made):
    net, _ = made
    x = whole(5, 6)
    net(x).sum().backward()
    through = {f: f.parameter.grad.clone() for f in factors_of(net)}
    dense = nn.to_dense(net)
    dense(x).sum().backward()
    for factor in factors_of(net):
        factor.parameter.grad = None
    for name in ("first", "second", "back"):
        getattr(net, name).weight.backward(getattr(dense, name).weight.grad)
    assert all(torch.equal(grad, f.parameter.grad) for f, grad in through.items())


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_a_sparse_matrix_keeps_its_numbers_and_a_bit_for_each_block(rows, columns, high, wide, seed):
    grid = whole(rows, columns, seed=seed) > 0
    mask = grid.repeat_interleave(high, 0).repeat_interleave(wide, 1)
    values = whole(*mask.shape, seed=seed + 1)
    layer = tnn.Linear(*mask.shape, bias=False).double()
    matrix = Matrix(values, mask, (high, wide))
    factor = install(layer, {Place(("weight",), True): (matrix,)})[matrix]
    assert torch.equal(factor.read(), torch.where(mask, values, 0))
    assert torch.equal(factor.mask, mask)
    assert factor.parameter.shape == (int(mask.sum()),)
    assert factor.index_bytes == -(-rows * columns // 8)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9), st.integers(1, 12))
def test_products_run_in_the_order_of_fewest_multiply_adds(tokens, rows, rank, columns):
    layer = tnn.Linear(rows, columns, bias=False).double()
    install(layer, {Place(("weight",), True): (Matrix(whole(rows, rank)), Matrix(whole(rank, columns)))})
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(whole(tokens, rows))
    through, formed = tokens * rank * (rows + columns), rows * columns * (rank + tokens)
    assert counter.get_total_flops() == 2 * min(through, formed)


def test_factors_replace_factors_and_those_that_nobody_reads_go(made):
    net, given = made
    again = {PLACES[0]: (Matrix(whole(6, 8, seed=5)),)}
    install(net, again)
    assert torch.equal(net.first.weight, again[PLACES[0]][0].values.T)
    assert len(factors_of(net)) == 4  # the coefficients of the first layer made room for the new matrix
    assert {n for n, _ in net.named_parameters() if n.startswith("factor")} == {
        f.name for f in factors_of(net)
    }


def test_matrices_that_do_not_fit_are_refused_and_the_model_is_as_it_was():
    net = Net()
    before = net.state_dict()
    with pytest.raises(ShapeError, match=r"factors of \(6, 7\) came for first.weight, \(6, 8\)"):
        install(net, {PLACES[0]: (Matrix(whole(6, 2)), Matrix(whole(2, 7)))})
    with pytest.raises(ShapeError, match="cannot be multiplied"):
        install(net, {PLACES[0]: (Matrix(whole(6, 2)), Matrix(whole(3, 8)))})
    with pytest.raises(ShapeError, match="not constant on blocks"):
        Matrix(whole(4, 4), torch.eye(4) > 0, (2, 2))
    with pytest.raises(ShapeError, match="that the blocks divide"):
        Matrix(whole(4, 4), torch.eye(4) > 0, (3, 2))
    with pytest.raises(ShapeError, match="pass a matrix"):
        Matrix(whole(4))
    assert list(net.state_dict()) == list(before)
    assert type(net.first) is tnn.Linear


def test_a_copy_has_factors_of_its_own(made):
    net, _ = made
    twin = copy.deepcopy(net)
    x = whole(5, 6)
    expected = net(x)
    with torch.no_grad():
        for factor in factors_of(net):
            factor.parameter.zero_()
    assert torch.equal(twin(x), expected)
    assert not net.first.weight.any()


def test_casting_casts_the_factors(made):
    net, _ = made
    assert net.float().first.weight.dtype == torch.float32
    assert torch.equal(net(whole(5, 6).float()).double(), nn.to_dense(net).double()(whole(5, 6)))


def test_the_dense_model_holds_nothing_of_the_factors(made):
    net, _ = made
    dense = nn.to_dense(net)
    assert set(dense.state_dict()) == set(Net().state_dict())
    assert type(dense.first) is tnn.Linear
    assert not factors_of(dense)


def test_saving_and_loading_is_exact(made, tmp_path):
    net, _ = made
    nn.save(net, tmp_path / "model")
    for target in (Net(), copy.deepcopy(net)):
        loaded = nn.load(tmp_path / "model", target)
        assert loaded is target
        assert torch.equal(loaded(whole(5, 6)), net(whole(5, 6)))
        assert [f.shape for f in factors_of(loaded)] == [f.shape for f in factors_of(net)]
        assert {name: value.tolist() for name, value in loaded.state_dict().items()} == {
            name: value.tolist() for name, value in net.state_dict().items()
        }
    nn.save(nn.load(tmp_path / "model", Net()), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_a_loaded_model_is_trained_and_shared_as_before(made, tmp_path):
    net, _ = made
    nn.save(net, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", Net())
    with torch.no_grad():
        factors_of(loaded)[0].parameter.zero_()
    assert not loaded.first.weight.any()
    assert not loaded.second.weight.any()


def test_a_file_of_another_model_is_refused(made, tmp_path):
    net, _ = made
    nn.save(net, tmp_path / "model")
    other = Net()
    other.second = tnn.Linear(6, 9).double()
    with pytest.raises(DataError, match=r"second.weight is parameter float64 \[8, 6\]"):
        nn.load(tmp_path / "model", other)
    assert type(other.first) is tnn.Linear


def test_part_of_a_model_cannot_be_saved(made, tmp_path):
    net, _ = made
    with pytest.raises(ArgumentError, match="not a parameter of this model; pass the whole model"):
        nn.save(net.first, tmp_path / "model")


def test_a_state_that_is_wired_otherwise_is_refused():
    one, other = Net(), Net()
    install(one, chains())
    basis = Matrix(whole(6, 2, seed=1))
    first, second, back = chains().values()
    # equal shapes under equal names, but the coefficients of the first two layers are exchanged
    swapped = {PLACES[1]: (basis, first[1]), PLACES[0]: (basis, second[1]), PLACES[2]: (back[0], basis.T)}
    install(other, swapped)
    assert {n: v.shape for n, v in one.state_dict().items()} == {
        n: v.shape for n, v in other.state_dict().items()
    }
    with pytest.raises(DataError, match="reads its bank in another way"):
        other.load_state_dict(one.state_dict())
    copy.deepcopy(one).load_state_dict(one.state_dict())


def test_the_report_divides_each_factor_among_its_readers(made):
    net, _ = made
    report = nn.report(net)
    factors = factors_of(net)
    fixed = sum(p.numel() for n, p in net.named_parameters() if not n.startswith("factor"))
    assert report.weights == 3 * 48
    assert report.cells == sum(f.parameter.numel() for f in factors)
    assert report.stored_params == fixed + report.cells
    assert report.disk_bytes == sum(t.nbytes for t in net.state_dict().values())
    rows = {row.name: row for row in report.rows}
    third = factors[0].parameter.numel() / 3
    assert rows["first.weight"].stored_params == third + factors[1].parameter.numel()
    assert rows["first.weight"].ranks == (2,)
    read = {name: row.factors for name, row in rows.items() if row.factors}
    assert read == {
        "first.weight": (factors[0].name, factors[1].name),
        "second.weight": (factors[0].name, factors[2].name),
        "back.weight": (factors[3].name, factors[0].name),
    }
    assert sum(row.index_bytes for row in report.rows) == sum(f.index_bytes for f in factors)
    assert "4 factors, 1 of them in several weights" in str(report)
    assert " rank" in str(report)
    assert "lambda" not in str(report)


def test_the_budget_counts_factors_bits_and_their_products(made):
    net, _ = made
    found = budget(net, Net(), (6,))
    factors = factors_of(net)
    values, bits = sum(f.parameter.numel() for f in factors), sum(f.index_bytes for f in factors)
    assert (found.weights, found.dense_weights, found.index) == (values, 144, bits)
    assert found.bytes == sum(t.nbytes for t in net.state_dict().values())
    assert found.flops == 2 * sum(prod(f.shape) for f in factors) + 2 * 2 * prod(factors[0].shape)
    assert found.dense_flops == 2 * 144
    assert found.form == "factored"
    with pytest.raises(ArgumentError, match="shared or pruned itself"):
        budget(net, net, (6,))


class Final(tnn.Linear):
    """A class without subclasses."""

    def __init_subclass__(cls):
        raise TypeError("final")


def test_a_class_that_cannot_be_changed_is_refused():
    net = tnn.Sequential(Final(2, 2))
    with pytest.raises(KindError, match="cannot be shared"):
        install(net, {Place(("0.weight",), True): (Matrix(whole(2, 2)),)})


def test_signing_twice_is_signing_once():
    net = Net()
    install(net, chains())
    sign(net)
    assert len(net._state_dict_hooks) == len(net._load_state_dict_pre_hooks) == 1
    assert not nn.to_dense(net)._state_dict_hooks


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_through_factors_is_that_of_the_class(need_weights, batch_first):
    layer = tnn.MultiheadAttention(8, 2, batch_first=batch_first).double()
    x = whole(3, 5, 8) / 8
    inside = Matrix(whole(8, 3, seed=1) / 8), Matrix(whole(3, 24, seed=2) / 8)
    out = Matrix(whole(8, 3, seed=3) / 8), Matrix(whole(3, 8, seed=4) / 8)
    install(layer, {Place(("in_proj_weight",), True): inside, Place(("out_proj.weight",), True): out})
    dense = nn.to_dense(layer)
    assert type(dense) is tnn.MultiheadAttention
    assert torch.equal(dense.in_proj_weight, (inside[0].values @ inside[1].values).T)
    expected, found = dense(x, x, x, need_weights=need_weights), layer(x, x, x, need_weights=need_weights)
    # all numbers are below 8 in size, and each is the end of fewer than 64 roundings
    assert (expected[0] - found[0]).abs().max() < 8 * 64 * torch.finfo(torch.float64).eps
    assert (found[1] is None) == (expected[1] is None) == (not need_weights)
    tokens = 5 if batch_first else 3
    mask = torch.ones(tokens, tokens).triu(1) > 0
    other = whole(3, 5, 8, seed=7) / 8
    for arguments in (
        (x, other, x),
        (x, x, x),
    ):  # what is left to the forward of the class: equal in each bit
        assert torch.equal(dense(*arguments, attn_mask=mask)[0], layer(*arguments, attn_mask=mask)[0])


def test_the_first_class_of_a_factored_module_is_its_own():
    net = Net()
    install(net, chains())
    assert isinstance(net.first, tnn.Linear)
    assert set(views_of(net.first)) == {"weight"}
    assert (net.first.in_features, net.first.weight.shape) == (6, (8, 6))
