"""Bytes, counted on real objects: formats of nn.costs, and what VGG-11 at 100x keeps in every state."""

import pickle
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from safetensors.torch import load_file
from torch.nn.utils import prune

import nn
from nn.costs import formats
from nn.models import vgg11
from nn.sharing import banks_of

COMPRESSION = 10


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def network():
    """Two matrices and a convolution of odd sizes, so that rows, bits and laps do not come out even."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tnn.Sequential(tnn.Linear(37, 41), tnn.Conv2d(7, 19, 3), tnn.Linear(101, 11))


def weights(model):
    return [module.weight for module in model]


def counted(model, compression=COMPRESSION):
    return {cost.name: cost for cost in formats(nn.plan(model, compression=compression))}


def kept_at_random(model):
    """Masks that keep as many weights as the bank has cells, over all tensors together."""
    every, cells = weights(model), nn.plan(model, compression=COMPRESSION).cells
    order = torch.randperm(sum(w.numel() for w in every), generator=torch.Generator().manual_seed(0))
    flat = order < cells
    return [part.view(w.shape) for part, w in zip(flat.split([w.numel() for w in every]), every, strict=True)]


def sparse(model, kind):
    """The tensors of every pruned weight as torch's CSR, a row for each output."""
    found = []
    for weight, mask in zip(weights(model), kept_at_random(model), strict=True):
        csr = (weight.detach() * mask).flatten(1).to_sparse_csr()
        found += [csr.values(), csr.crow_indices().to(kind), csr.col_indices().to(kind)]
    return found


@pytest.fixture(scope="module")
def big():
    return nn.share(vgg11(), compression=100)


def test_dense_bytes_are_those_of_the_weights():
    model = network()
    assert counted(model)["dense"].total == size(weights(model))


def test_bytes_of_weight_and_mask_are_those_that_pruning_in_torch_holds():
    model = network()
    expected = counted(model)["pruned, weight and mask"].total
    for module, mask in zip(model, kept_at_random(model), strict=True):
        prune.custom_from_mask(module, "weight", mask)
    held = chain.from_iterable((m.weight_orig, m.weight_mask) for m in model)
    assert expected == size(held)


def test_bytes_of_stored_zeros_are_those_of_a_pruning_made_permanent():
    model = network()
    expected = counted(model)["pruned, zeros stored"].total
    for module, mask in zip(model, kept_at_random(model), strict=True):
        prune.remove(prune.custom_from_mask(module, "weight", mask), "weight")
    assert expected == size(weights(model))


@pytest.mark.filterwarnings("ignore:Sparse")  # torch calls its CSR a beta
@pytest.mark.parametrize(("name", "kind"), [("int64", torch.int64), ("int32", torch.int32)])
def test_bytes_of_csr_are_those_of_tensors_in_that_layout(name, kind):
    model = network()
    assert counted(model)[f"pruned, CSR, {name}"].total == size(sparse(model, kind))


def test_bytes_of_a_bitmask_are_those_of_packed_bits_and_the_values_left():
    model = network()
    masks = kept_at_random(model)
    bits = sum(np.packbits(mask.numpy().reshape(-1)).nbytes for mask in masks)
    values = size(w[mask] for w, mask in zip(weights(model), masks, strict=True))
    cost = counted(model)["pruned, bitmask"]
    assert (cost.values, cost.index) == (values, bits)


def test_bytes_of_a_stored_index_are_those_of_cells_signs_and_bank():
    model = network()
    (group,) = nn.plan(model, compression=COMPRESSION).groups
    mapping, place = group.mapping(), torch.arange(group.n)
    cells, signs = mapping.cell(place), mapping.sign(place).to(torch.float32)
    cost = counted(model)["shared, index stored"]
    assert (cost.values, cost.index) == (size([torch.empty(group.m)]), size([cells, signs]))


def test_bytes_of_a_shared_model_are_those_of_the_bank_in_its_file(tmp_path):
    model = network()
    expected = counted(model)["shared"].total
    nn.save(nn.share(model, compression=COMPRESSION), tmp_path / "model")
    assert expected == size([load_file(tmp_path / "model")["shared_bank"]])


def test_bytes_of_banks_of_several_kinds_add_up():
    model = tnn.Sequential(tnn.Linear(40, 40, bias=False), tnn.Linear(40, 40, bias=False).double())
    what = nn.plan(model, compression=10, scope="layer")
    found = {cost.name: cost.total for cost in formats(what)}
    kept = 160 * 4 + 160 * 8
    assert found["dense"] == 1600 * 4 + 1600 * 8
    assert found["pruned, CSR, int32"] == kept + 4 * (320 + 2 * 41)
    assert found["pruned, bitmask"] == kept + 2 * 200
    assert found["shared, index stored"] == kept + 12 * 3200
    assert found["shared"] == kept


def test_bytes_are_counted_on_the_meta_device():
    assert counted(vgg11().to("meta"), 100) == counted(vgg11(), 100)


def test_the_stored_index_of_vgg11_at_100x_is_three_times_the_dense_model():
    cost = counted(vgg11(), 100)
    assert cost["shared, index stored"].index == 3 * cost["dense"].total == 12 * 9_222_848
    assert cost["shared"].total == 4 * 92_229


def test_vgg11_at_100x_is_a_file_of_at_most_600_000_bytes(big, tmp_path):
    nn.save(big, tmp_path / "model")
    assert (tmp_path / "model").stat().st_size <= 600_000


def test_vgg11_at_100x_is_at_most_600_000_bytes_at_rest_with_all_that_its_modules_hold(big):
    tensors = size(chain(big.parameters(), big.buffers())) + sum(bank.table_bytes for bank in banks_of(big))
    assert nn.report(big).resident_bytes == tensors <= 600_000
    assert len(pickle.dumps(big)) <= 600_000


def test_vgg11_at_100x_is_at_most_1_200_000_bytes_with_its_momentum():
    model = nn.share(vgg11(), compression=100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tnnf.cross_entropy(model(torch.ones(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    optimizer.step()
    optimizer.zero_grad()
    state = size(state["momentum_buffer"] for state in optimizer.state.values())
    assert state == size(model.parameters())
    assert nn.report(model).resident_bytes + state <= 1_200_000


def saved_for_backward(model):
    """Bytes of the storages that one forward pass keeps, each counted once."""
    held = {}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.ones(2, 3, 32, 32))
    assert output.requires_grad
    return sum(storage.nbytes() for storage in held.values())


def test_vgg11_at_100x_keeps_for_backward_exactly_what_the_dense_model_keeps(big):
    assert saved_for_backward(big) == saved_for_backward(vgg11())
