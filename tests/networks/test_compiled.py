"""Compilers, exporters, transforms and copies see a shared model as they see any other.

Every parameter is a whole number, every lambda is 1 and every root of Gamma 1 or 2, so that all sums are
exact, whatever their order.
"""

import copy
import io
import os
import pickle
import shutil

import pytest
import torch
import torch.nn as tnn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

import nn
from nn.sharing import banks_of
from rpstheory.errors import KindError

F64 = torch.float64
KINDS = ["fold", "hashed"]  # Gamma in a few stretches, and one number per cell


pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script")  # torch of itself


class Words(tnn.Module):
    """An embedding and a head tied to it."""

    def __init__(self):
        super().__init__()
        self.table = tnn.Embedding(16, 8)
        self.head = tnn.Linear(8, 16, bias=False)
        self.head.weight = self.table.weight

    def forward(self, index):
        return self.head(torch.relu(self.table(index)))


def perceptron():
    net = tnn.Sequential(tnn.Linear(16, 16), tnn.ReLU(), tnn.Linear(16, 8))
    return net, torch.arange(48, dtype=F64).view(3, 16) % 7 - 3


def convolution():
    net = tnn.Sequential(tnn.Conv2d(2, 4, 3), tnn.ReLU(), tnn.Conv2d(4, 8, 3, groups=2), tnn.Flatten())
    net.append(tnn.Linear(8, 4))
    return net, torch.arange(2 * 2 * 5 * 5, dtype=F64).view(2, 2, 5, 5) % 7 - 3


def words():
    return Words(), torch.tensor([[1, 0], [15, 1], [7, 7]])


def bag():
    return tnn.EmbeddingBag(32, 8, mode="sum"), torch.tensor([[1, 0, 31], [1, 7, 7], [9, 9, 9]])


NETS = {"perceptron": perceptron, "convolution": convolution, "words": words, "bag": bag}


def whole(name, mapping="fold"):
    """A shared net of whole numbers and inputs; every cell of a fold has 4 weights, and Gamma is 4."""
    net, x = NETS[name]()
    scaler = "gamma" if mapping == "fold" else "none"
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape) % 2 * 2 - 1)
        shared = nn.share(net, 4, include="*", scaler=scaler, mapping=mapping)
        for parameter in shared.parameters():
            parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape) * 7 % 5 - 2)
    return shared, x


def pulled(shared, forward, x):
    """Outputs and gradients."""
    shared.zero_grad()
    out = forward(x)
    out.square().sum().backward()
    return [out, *(parameter.grad for parameter in shared.parameters())]


def same(left, right):
    return all(map(torch.equal, left, right)) and len(left) == len(right)


# ------------------------------------------------------------------------------------ compilers


@pytest.fixture(autouse=True)
def _forget_graphs():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("mapping", KINDS)
@pytest.mark.parametrize("name", NETS)
def test_a_compiled_net_is_one_graph_and_equals_the_eager_one(name, mapping):
    shared, x = whole(name, mapping)
    expected = pulled(shared, shared, x)
    compiled = torch.compile(shared, fullgraph=True, backend="aot_eager")
    assert same(pulled(shared, compiled, x), expected)
    assert expected[1].abs().sum() > 0
    with torch.no_grad():
        assert torch.equal(compiled(x), expected[0])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="inductor needs a C++ compiler")
def test_generated_code_equals_the_eager_net(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)  # no pool for a few kernels
    shared, x = whole("words")
    expected = pulled(shared, shared, x)
    compiled = torch.compile(shared, fullgraph=True, backend="inductor")
    assert same(pulled(shared, compiled, x), expected)


def test_training_compiles_once_and_takes_the_steps_of_the_eager_net():
    one, x = whole("perceptron")
    other, counted = copy.deepcopy(one), torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(other, fullgraph=True, backend=counted)
    for forward, net in ((one, one), (compiled, other)):
        optimizer = torch.optim.Adam(net.parameters(), 0.1)
        for _ in range(4):
            optimizer.zero_grad()
            forward(x).square().sum().backward()
            optimizer.step()
    assert same(list(one.parameters()), list(other.parameters()))
    assert counted.frame_count == 1


@pytest.mark.parametrize("operator", ["expand", "compress", "expand_rows", "compress_rows", "linear"])
@pytest.mark.parametrize("mapping", KINDS)
def test_operators_are_what_they_tell_the_compiler(operator, mapping):
    shared, _ = whole("words", mapping)
    (bank,) = banks_of(shared)
    roots, edges, *_ = bank._tables
    m, place = bank.mapping.m, (roots, edges, bank._key, 8)
    phi, three, rows = whole_numbers(m), whole_numbers(3, 8), torch.tensor([2, 0, 2])
    inputs = {
        "expand": (phi, *place, 24, 1.0),
        "compress": (whole_numbers(24), *place, m, 1.0),
        "expand_rows": (phi, *place, 3, 8, rows, 1.0),
        "compress_rows": (three, *place, 3, m, rows, 1.0),
        "linear": (three, phi, *place, 3, 1.0),
    }
    called = getattr(torch.ops.rps, operator).default
    assert set(torch.library.opcheck(called, inputs[operator]).values()) == {"SUCCESS"}


def whole_numbers(*shape):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=F64).view(shape) % 5 - 2).requires_grad_()


# ------------------------------------------------------------------------------------ exporters


@pytest.mark.parametrize("mapping", KINDS)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_an_exported_program_comes_back_with_the_bank_stored_once(name, strict, mapping):
    shared, x = whole(name, mapping)
    file = io.BytesIO()
    torch.export.save(torch.export.export(shared, (x,), strict=strict), file)
    file.seek(0)
    program = torch.export.load(file)
    assert torch.equal(program.module()(x), shared(x))
    stored = {id(tensor): tensor.numel() for tensor in program.state_dict.values()}
    assert sum(stored.values()) == sum(parameter.numel() for parameter in shared.parameters())


@pytest.mark.parametrize("name", NETS)
def test_an_exported_program_takes_batches_of_any_size(name):
    shared, x = whole(name)
    program = torch.export.export(shared, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    longer = torch.cat([x, x, x])
    assert torch.equal(program.module()(longer), shared(longer))


# ----------------------------------------------------------------------------------- transforms


def of_bank(shared, x):
    """The bank, and the output as a function of it."""
    bank = shared.shared_bank.detach()
    return bank, lambda phi: functional_call(shared, {"shared_bank": phi}, (x,))


def jacobian(function, at):
    """By one backward pass for each output."""
    return torch.autograd.functional.jacobian(function, at)


cases = pytest.mark.parametrize("name", ["perceptron", "convolution", "words"])  # torch cannot batch bags
both = pytest.mark.parametrize("mapping", KINDS)


@cases
@both
def test_a_functional_call_takes_another_bank(name, mapping):
    shared, x = whole(name, mapping)
    bank, out = of_bank(shared, x)
    other = copy.deepcopy(shared)
    with torch.no_grad():
        other.shared_bank.add_(1)
    assert torch.equal(out(bank + 1), other(x))
    assert not torch.equal(out(bank + 1), out(bank))


@cases
@both
def test_gradients_and_reverse_jacobians_are_those_of_autograd(name, mapping):
    bank, out = of_bank(*whole(name, mapping))
    expected = jacobian(out, bank)
    assert expected.abs().sum() > 0
    assert torch.equal(jacrev(out)(bank), expected)
    squares = grad(lambda phi: out(phi).square().sum())(bank)
    assert torch.equal(squares, 2 * (out(bank)[..., None] * expected).flatten(0, -2).sum(0))


@cases
@both
def test_forward_derivatives_are_those_of_autograd(name, mapping):
    bank, out = of_bank(*whole(name, mapping))
    expected, tangent = jacobian(out, bank), torch.arange(len(bank), dtype=F64) % 3 - 1
    assert torch.equal(jacfwd(out)(bank), expected)
    assert torch.equal(jvp(out, (bank,), (tangent,))[1], expected @ tangent)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(out(forward_ad.make_dual(bank, tangent))).tangent
    assert torch.equal(found, expected @ tangent)


@pytest.mark.parametrize("name", ["perceptron", "words"])
def test_second_derivatives_are_those_of_autograd(name):
    bank, out = of_bank(*whole(name))
    expected = torch.autograd.functional.hessian(lambda phi: out(phi).square().sum(), bank)
    assert torch.equal(hessian(lambda phi: out(phi).square().sum())(bank), expected)


@cases
@both
def test_ensembles_of_banks_run_as_a_batch(name, mapping):
    bank, out = of_bank(*whole(name, mapping))
    banks = torch.stack([bank, bank + 1, 1 - bank])
    assert torch.equal(vmap(out)(banks), torch.stack([out(each) for each in banks]))


@cases
@both
def test_inputs_run_one_by_one_as_a_batch_with_gradients_of_their_own(name, mapping):
    shared, x = whole(name, mapping)
    assert torch.equal(vmap(shared)(x[:, None])[:, 0], shared(x))
    bank, _ = of_bank(shared, x)

    def loss(phi, example):
        return functional_call(shared, {"shared_bank": phi}, (example[None],)).square().sum()

    each = vmap(grad(loss), (None, 0))(bank, x)
    assert torch.equal(each, torch.stack([grad(loss)(bank, example) for example in x]))
    assert torch.equal(each.sum(0), pulled(shared, shared, x)[1])


def test_forward_derivatives_of_a_frozen_linear_follow_its_input():
    shared = nn.share(tnn.Linear(512, 128, bias=False).double(), 16).requires_grad_(False)
    x, tangent = torch.ones(1, 512, dtype=F64), torch.arange(512, dtype=F64)[None]
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(shared(forward_ad.make_dual(x, tangent))).tangent
    assert torch.equal(found, tnn.functional.linear(tangent, shared.weight))


def test_compiled_forward_derivatives_of_the_bank_are_refused():
    bank, out = of_bank(*whole("perceptron"))
    compiled = torch.compile(lambda phi: jvp(out, (phi,), (phi,))[1], backend="aot_eager", fullgraph=True)
    with pytest.raises((KindError, torch._dynamo.exc.Unsupported), match="cannot be compiled"):
        compiled(bank)


@cases
def test_finite_differences_agree(name):
    bank, out = of_bank(*whole(name))
    moved = bank * 0.75 + 0.01  # away from the corners of ReLU
    assert torch.autograd.gradcheck(out, moved.requires_grad_(), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(out, moved, fast_mode=True)


# --------------------------------------------------------------------------------------- copies


def stored(shared):
    """By torch.save, as a whole."""
    file = io.BytesIO()
    torch.save(shared, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(shared):
    return pickle.loads(pickle.dumps(shared))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled, stored])
@cases
@both
def test_a_copy_is_equal_and_has_a_bank_of_its_own(name, mapping, again):
    shared, x = whole(name, mapping)
    twin = again(shared)
    assert same(pulled(twin, twin, x), pulled(shared, shared, x))
    before = shared(x)
    with torch.no_grad():
        twin.shared_bank.add_(1)
    assert torch.equal(shared(x), before)
    assert not torch.equal(twin(x), before)


@cases
@both
def test_a_state_dict_holds_tensors_alone_and_fills_a_model_without_numbers(name, mapping):
    shared, x = whole(name, mapping)
    file = io.BytesIO()
    torch.save(shared.state_dict(), file)
    file.seek(0)
    empty = copy.deepcopy(shared).to("meta")
    assert empty(x.to("meta")).shape == shared(x).shape
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(filled(x), shared(x))
    assigned = copy.deepcopy(shared).to("meta")
    assigned.load_state_dict(shared.state_dict(), assign=True)
    assert torch.equal(assigned(x), shared(x))


@both
def test_tables_of_gamma_follow_a_bank_that_is_moved_and_cast_at_once(mapping):
    shared = nn.share(tnn.Linear(64, 64), 4, mapping=mapping).to("meta", torch.bfloat16)
    (bank,) = banks_of(shared)
    bank.settle()
    assert {table.device.type for table in bank._tables[:3] if table is not None} == {"meta"}


@both
def test_a_compiled_net_is_copied_as_any_other(mapping):
    shared, x = whole("perceptron", mapping)
    twin = copy.deepcopy(torch.compile(shared, fullgraph=True, backend="aot_eager"))
    assert torch.equal(twin(x), shared(x))
