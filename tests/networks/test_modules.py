"""Modules that need not form their weight equal those that do, to the last bit on whole numbers."""

import pytest
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

import nn
from nn.bank import Bank

F64 = torch.float64


def whole(module, compression=4, **options):
    """The module shared, its bank whole numbers and its lambda 1: every sum is exact."""
    module = module.double()
    with torch.no_grad():
        module.weight.copy_(torch.arange(module.weight.numel()).view(module.weight.shape) % 2 * 2.0 - 1)
    shared = nn.share(module, compression, include=["weight"], scaler="none", **options)
    size = shared.shared_bank.numel()
    with torch.no_grad():
        shared.shared_bank.copy_((torch.arange(size) * 7 % 31 - 15).double())
    return shared


def twins(shared):
    """The shared module, and one that has its weight as a parameter."""
    return shared, nn.to_dense(shared)


def pulled(shared, dense, forward, pull):
    """Gradient of the bank, and what the gradient of the dense weight is when compressed."""
    (forward(shared) * pull).sum().backward()
    (forward(dense) * pull).sum().backward()
    view = shared.__dict__["_views"]["weight"]
    return shared.shared_bank.grad, view.bank.compress(dense.weight.grad.reshape(-1), view.first, view.scale)


@pytest.fixture
def forbid_forming(monkeypatch):
    def refuse(*args):
        raise AssertionError("the whole weight was formed")

    monkeypatch.setattr(Bank, "expand", refuse)


KINDS = ["fold", "hashed", "chunk", "block"]
rows = torch.tensor([[3, 0, 3, 0], [49, 1, 0, 0]])  # bags of 4, or of 2 where row 0 is the padding


@pytest.mark.parametrize("mapping", KINDS)
@pytest.mark.parametrize("padding", [None, 0])
def test_embedding_reads_rows_and_adds_their_gradients(mapping, padding):
    shared, dense = twins(whole(tnn.Embedding(50, 24, padding_idx=padding), mapping=mapping))
    assert torch.equal(shared(rows), dense(rows))
    pull = torch.arange(2 * 4 * 24, dtype=F64).view(2, 4, 24) % 13 - 6
    found, wanted = pulled(shared, dense, lambda module: module(rows), pull)
    assert torch.equal(found, wanted)
    assert found.abs().sum() > 0


def test_embedding_does_not_form_its_table(forbid_forming):
    shared = nn.share(tnn.Embedding(2000, 16), 10)
    shared(rows).sum().backward()
    assert shared.shared_bank.grad is not None
    with pytest.raises(AssertionError, match="was formed"):
        _ = shared.weight


@pytest.mark.parametrize("option", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_embedding_that_looks_at_the_whole_table_is_still_right(option):
    shared, dense = twins(whole(tnn.Embedding(50, 24, **option)))
    assert torch.equal(shared(rows), dense(rows))


@pytest.mark.parametrize("row", [-1, 50])
def test_row_that_the_table_does_not_have_is_an_index_error(row):
    shared = whole(tnn.Embedding(50, 24))
    with pytest.raises(IndexError, match=f"embedding: row {row} came; the table has 50; pass 0 … 49"):
        shared(torch.tensor([0, row]))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("flat", [False, True])
def test_embedding_bag_reads_rows_and_adds_their_gradients(mode, padding, flat):
    module = tnn.EmbeddingBag(50, 24, mode=mode, padding_idx=padding, include_last_offset=flat)
    shared, dense = twins(whole(module))
    given = (rows.reshape(-1), torch.tensor([0, 4, 8])) if flat else (rows,)
    assert torch.equal(shared(*given), dense(*given))
    pull = 4 * (torch.arange(2 * 24, dtype=F64).view(2, 24) % 13 - 6)  # so that means are whole
    found, wanted = pulled(shared, dense, lambda module: module(*given), pull)
    assert torch.equal(found, wanted)
    assert found.abs().sum() > 0


def test_embedding_bag_weighs_its_rows():
    shared, dense = twins(whole(tnn.EmbeddingBag(50, 24, mode="sum")))
    weights = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]], dtype=F64)
    assert torch.equal(shared(rows, None, weights), dense(rows, None, weights))


def test_embedding_bag_takes_empty_bags():
    shared, dense = twins(whole(tnn.EmbeddingBag(50, 24, mode="sum")))
    nothing = torch.empty(0, dtype=torch.int64)
    assert torch.equal(shared(nothing, torch.tensor([0, 0])), dense(nothing, torch.tensor([0, 0])))


@pytest.mark.parametrize("bias", [False, True])
def test_linear_without_gradients_never_forms_its_weight(bias, forbid_forming):
    shared = nn.share(tnn.Linear(512, 256, bias=bias), 16, include=["weight"])
    with torch.no_grad():
        assert shared(torch.randn(3, 512)).shape == (3, 256)
    shared.requires_grad_(False)
    assert shared(torch.randn(1, 512)).shape == (1, 256)
    with pytest.raises(AssertionError, match="was formed"):
        shared(torch.randn(1, 512, requires_grad=True))


@pytest.mark.parametrize("mapping", ["fold", "chunk"])
def test_linear_without_gradients_is_exact_on_whole_numbers(mapping):
    shared, dense = twins(whole(tnn.Linear(512, 256), 16, mapping=mapping))
    x = torch.arange(5 * 512, dtype=F64).view(5, 512) % 11 - 5
    with torch.no_grad():
        shared.bias.copy_(torch.arange(256) % 5)
        dense.bias.copy_(torch.arange(256) % 5)
        assert torch.equal(shared(x), dense(x))


def test_linear_under_autocast_forms_its_weight_as_a_dense_one_does():
    shared = nn.share(tnn.Linear(512, 256), 16)
    x = torch.randn(2, 512)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = shared(x)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, tnnf.linear(x, shared.weight, shared.bias))


def test_subclass_with_a_forward_of_its_own_keeps_it():
    class Scaled(tnn.Embedding):
        def forward(self, input):
            return 2 * super().forward(input)

    shared, dense = twins(whole(Scaled(50, 24)))
    assert torch.equal(shared(rows), dense(rows))
